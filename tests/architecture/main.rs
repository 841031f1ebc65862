//! The house stands as `docs/architecture.md` says: rooms know only those that they may know, no file imports one that
//! imports it, and no file is too long to be read.

#![allow(clippy::unwrap_used)] // a test fails by it

mod imports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imports::{Arrow, Crate};

/// A production file has at most so many lines.
const LONGEST: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn operator() -> Crate {
    Crate::read(&root(), "src")
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let crates = ["src", "loadtest/src", "loadtest/clock/src", "loadtest/testbed/src", "xtask/src"]
        .map(|dir| Crate::read(&root(), dir));
    let broken: Vec<String> = crates.iter().flat_map(Crate::circles).collect();
    report(&broken);
}

#[test]
fn no_room_imports_one_that_imports_it() {
    let operator = operator();
    report(&operator.circles_of_rooms());
}

#[test]
fn each_room_imports_only_what_it_may() {
    // What a room needs, and nothing else. The rooms that are pure come first.
    let may: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("api", [].as_slice()),
        ("rules", &["api"]),
        ("environment", &[]),
        ("telemetry", &[]),
        ("leadership", &["rules::uid", "rules::shard"]),
        ("kubernetes", &["api", "rules", "environment", "telemetry", "leadership"]),
        ("controller", &["api", "rules", "environment", "telemetry", "leadership", "kubernetes"]),
        ("cli", &["api", "telemetry", "leadership", "controller", "rules"]),
    ]);
    let mut broken = Vec::new();
    for Arrow { from, line, path, .. } in operator().arrows() {
        let room = from.room();
        let Some(may) = may.get(room.as_str()) else { continue };
        let is = |allowed: &&str| path == *allowed || path.starts_with(&format!("{allowed}::"));
        if !is(&room.as_str()) && !may.iter().any(is) {
            broken.push(format!("{}:{line}: {room} imports crate::{path}", from.file));
        }
    }
    report(&broken);
}

#[test]
fn what_is_pure_knows_no_client_no_clock_and_no_executor() {
    const IMPURE: &[&str] = &[
        "kube::",
        "tokio::",
        "tokio_util::",
        "reqwest::",
        "hyper::",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::thread",
        "std::fs",
        "std::net",
        "std::env::",
        "rand::",
        "tracing::",
        "metrics::",
    ];
    let mut broken = Vec::new();
    for file in operator().files() {
        if !file.file.starts_with("src/rules/") && !file.file.starts_with("src/leadership/") {
            continue;
        }
        for (number, line) in file.production() {
            let word = IMPURE.iter().find(|word| {
                line.match_indices(**word)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            });
            if let Some(word) = word {
                broken.push(format!("{}:{number}: a pure room names {word}", file.file));
            }
        }
    }
    report(&broken);
}

#[test]
fn no_production_file_is_too_long() {
    let operator = operator();
    let long = operator.files().filter(|file| file.lines > LONGEST);
    report(&long.map(|file| format!("{}: {} lines, of at most {LONGEST}", file.file, file.lines)).collect::<Vec<_>>());
}

/// The table "The way of a change": its files exist, and each is imported by the next or imports it.
#[test]
fn the_way_of_a_change_is_as_it_is_written() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = page.split("## The way of a change").nth(1).unwrap().split("\n## ").next().unwrap();
    let hops: Vec<Vec<String>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| {
            let files = line.split('|').nth(2).unwrap();
            files.split('`').skip(1).step_by(2).map(|file| format!("src/{file}")).collect()
        })
        .collect();
    assert!((5..=10).contains(&hops.len()), "{} hops", hops.len());
    let operator = operator();
    let mut broken = Vec::new();
    for file in hops.iter().flatten().filter(|file| !Path::new(&root()).join(file).exists()) {
        broken.push(format!("docs/architecture.md names {file}, which does not exist"));
    }
    for pair in hops.windows(2) {
        let linked = pair[0].iter().any(|a| pair[1].iter().any(|b| operator.is_linked(a, b)));
        if !linked {
            broken.push(format!("no import links {:?} and {:?}", pair[0], pair[1]));
        }
    }
    report(&broken);
}

/// What `docs/threat-model.md` names as a place or a proof is there: files by their path, tests as `path::name`.
#[test]
fn the_threat_model_names_what_is_there() {
    let page = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let within = ["src/", "tests/", "deploy/", "docs/", "fuzz/", ".ci/", "loadtest/"];
    let (mut broken, mut tests) = (Vec::new(), 0);
    for name in page.split('`').skip(1).step_by(2) {
        if !within.iter().any(|directory| name.starts_with(directory)) {
            continue;
        }
        let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
        if !root().join(file).exists() {
            broken.push(format!("{name}: there is no such file"));
        } else if let Some(test) = test {
            tests += 1;
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            if !text.contains(&format!("fn {test}(")) {
                broken.push(format!("{name}: the file has no such test"));
            }
        }
    }
    assert!(tests > 20, "only {tests} tests are found on the page");
    report(&broken);
}
