//! Which file of a crate names which other one: read from the sources, tests left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One source file that ships.
pub struct File {
    /// Its path from the root of the project.
    pub file: String,
    /// Its module, from the root of the crate.
    module: Vec<String>,
    text: String,
    /// How many lines ship.
    pub lines: usize,
}

/// A file names something of this crate.
pub struct Arrow<'a> {
    /// The file that names it.
    pub from: &'a File,
    /// The file that it is in.
    pub to: &'a File,
    /// The line.
    pub line: usize,
    /// What is named, from the root of the crate.
    pub path: String,
}

/// The files of a crate.
pub struct Crate(Vec<File>);

impl File {
    /// The first part of its module: the room.
    pub fn room(&self) -> String {
        self.module.first().cloned().unwrap_or_default()
    }

    /// The lines that ship, with their numbers, comments left out.
    pub fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = |line: &str| line.find("//").unwrap_or(line.len());
        self.text.lines().take(self.lines).enumerate().map(move |(at, line)| (at + 1, &line[..code(line)]))
    }

    /// What it names of its own crate, with the line: `crate::`, `super::` and `self::` resolved, groups taken apart.
    fn names(&self) -> Vec<(usize, Vec<String>)> {
        let code: Vec<(usize, &str)> = self.production().collect();
        let text: String = code.iter().map(|(_, line)| format!("{line}\n")).collect();
        let mut found = Vec::new();
        for root in ["crate::", "super::", "self::"] {
            for (at, _) in text.match_indices(root) {
                if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                    continue;
                }
                let line = text[..at].matches('\n').count() + 1;
                let mut base = match root {
                    "crate::" => Vec::new(),
                    _ => self.module.clone(),
                };
                let mut rest = &text[at + root.len()..];
                if root == "super::" {
                    base.pop();
                    while let Some(deeper) = rest.strip_prefix("super::") {
                        base.pop();
                        rest = deeper;
                    }
                }
                let mut paths = Vec::new();
                tree(rest, &base, &mut paths);
                found.extend(paths.into_iter().map(|path| (line, path)));
            }
        }
        found
    }
}

/// Reads a path with its groups; returns what follows.
fn tree<'t>(text: &'t str, base: &[String], paths: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if let Some(after) = rest.strip_prefix(',') {
                rest = after;
                continue;
            }
            let before = rest.len();
            rest = tree(rest, base, paths);
            if rest.len() == before {
                return rest; // not a path: give up on this group
            }
            if let Some(after) = rest.trim_start().strip_prefix("as ") {
                let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
                rest = &after[end..];
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let mut path = base.to_vec();
    if end > 0 && &text[..end] != "self" {
        path.push(text[..end].to_owned());
    }
    match text[end..].strip_prefix("::") {
        Some(rest) if end > 0 && rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{' || c == '*') => {
            if let Some(after) = rest.strip_prefix('*') {
                paths.push(path);
                return after;
            }
            tree(rest, &path, paths)
        }
        _ => {
            paths.push(path);
            text[end..].strip_prefix('*').unwrap_or(&text[end..])
        }
    }
}

impl Crate {
    /// Reads what ships below `dir`.
    pub fn read(root: &Path, dir: &str) -> Self {
        let mut files = Vec::new();
        collect(root, Path::new(dir), Path::new(dir), &mut files);
        files.sort_by(|a, b| a.file.cmp(&b.file));
        assert!(!files.is_empty(), "{dir} has no sources");
        Self(files)
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// Who names whom.
    pub fn arrows(&self) -> Vec<Arrow<'_>> {
        let modules: BTreeMap<&[String], &File> = self.0.iter().map(|file| (&*file.module, file)).collect();
        let mut arrows = Vec::new();
        for from in &self.0 {
            for (line, path) in from.names() {
                let longest = (0..=path.len()).rev().find_map(|end| modules.get(&path[..end]));
                let Some(to) = longest.filter(|to| to.file != from.file) else { continue };
                arrows.push(Arrow { from, to, line, path: path.join("::") });
            }
        }
        arrows
    }

    /// Whether one of two files names the other, or a file of the other's folder.
    pub fn is_linked(&self, a: &str, b: &str) -> bool {
        let is = |file: &str, named: &str| file == named || (named.ends_with('/') && file.starts_with(named));
        let linked = |arrow: &Arrow<'_>| {
            let (from, to) = (&*arrow.from.file, &*arrow.to.file);
            (is(from, a) && is(to, b)) || (is(from, b) && is(to, a))
        };
        self.arrows().iter().any(linked)
    }

    /// Files that import each other, on whatever way.
    pub fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        circles(arrows.iter().map(|arrow| {
            let says = format!("{}:{}: crate::{}", arrow.from.file, arrow.line, arrow.path);
            (arrow.from.file.clone(), arrow.to.file.clone(), says)
        }))
    }

    /// Rooms that import each other, on whatever way.
    pub fn circles_of_rooms(&self) -> Vec<String> {
        let arrows = self.arrows();
        let between = arrows.iter().filter(|arrow| !arrow.from.room().is_empty() && !arrow.to.room().is_empty());
        circles(between.filter(|arrow| arrow.from.room() != arrow.to.room()).map(|arrow| {
            let says = format!("{}:{}: crate::{}", arrow.from.file, arrow.line, arrow.path);
            (arrow.from.room(), arrow.to.room(), says)
        }))
    }
}

/// What each arrow that is part of a circle says.
fn circles(arrows: impl Iterator<Item = (String, String, String)>) -> Vec<String> {
    let arrows: Vec<(String, String, String)> = arrows.collect();
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to, _) in &arrows {
        next.entry(from).or_default().insert(to);
    }
    let reaches = |from: &str, target: &str| {
        let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = open.pop() {
            if at == target {
                return true;
            }
            open.extend(next.get(at).into_iter().flatten().filter(|to| seen.insert(**to)));
        }
        false
    };
    arrows.iter().filter(|(from, to, _)| reaches(to, from)).map(|(_, _, says)| says.clone()).collect()
}

fn collect(root: &Path, top: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(root.join(dir)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = dir.join(&name);
        if entry.file_type().unwrap().is_dir() {
            if name != "tests" {
                collect(root, top, &path, files);
            }
            continue;
        }
        let Some(stem) = name.strip_suffix(".rs").filter(|_| name != "testing.rs") else { continue };
        let within = dir.strip_prefix(top).unwrap().iter().map(|part| part.to_str().unwrap().to_owned());
        let mut module: Vec<String> = within.collect();
        if !matches!(stem, "mod" | "lib" | "main") {
            module.push(stem.to_owned());
        }
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        let tests = text.lines().zip(text.lines().skip(1).chain([""])).position(|(attribute, next)| {
            attribute == "#[cfg(test)]" && (next.starts_with("mod tests {") || next.starts_with("#[path"))
        });
        let lines = tests.unwrap_or(text.lines().count());
        files.push(File { file: path.to_str().unwrap().to_owned(), module, text, lines });
    }
}
