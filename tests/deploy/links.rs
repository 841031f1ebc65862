//! Every link of every page leads somewhere: in the repository, where GitHub shows the pages, and in the book that
//! `make docs` makes of those of `docs/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What no page is in: programs, and what they make.
const NOT_OURS: [&str; 4] = ["target", ".git", ".cache", "node_modules"];
/// The page that lists those of the book.
const SUMMARY: &str = "SUMMARY.md";
/// What the book's links to files outside `docs/` begin with.
const REPOSITORY: &str = "https://github.com/kapendra007/k8s-operator/tree/main/operators/src/ConfigMapSync/";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What one page says.
#[derive(Default)]
struct Page {
    /// Where its links and pictures lead.
    links: Vec<String>,
    /// What may stand after the `#` of a link to it.
    anchors: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
        for event in Parser::new_ext(text, options) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into())
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// GitHub and mdBook make the same of a heading: its letters, digits, hyphens and underscores in lower case, and
    /// hyphens for spaces. A second one of the same words is numbered.
    fn add_anchor(&mut self, heading: &str) {
        let letter = |sign: char| match sign {
            ' ' => Some('-'),
            sign if sign.is_alphanumeric() || "-_".contains(sign) => Some(sign),
            _ => None,
        };
        let anchor: String = heading.to_lowercase().chars().filter_map(letter).collect();
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|anchor| !self.anchors.contains(anchor));
        self.anchors.extend(free);
    }
}

/// All pages below `dir`, by their path in it.
fn pages(dir: &Path) -> BTreeMap<PathBuf, Page> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(here) = todo.pop() {
        for entry in std::fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !NOT_OURS.contains(&name) {
                    todo.push(path);
                }
            } else if name.ends_with(".md") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), Page::parse(&text));
            }
        }
    }
    found
}

/// Where a link of the page `from` leads: a path without dots, and what follows the `#`. `None`: out of what `from` is in.
fn follow(from: &Path, link: &str) -> Option<(PathBuf, Option<String>)> {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return Some((from.to_owned(), anchor));
    }
    let mut leads_to = from.parent()?.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => leads_to.push(name),
            Component::ParentDir => leads_to.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some((leads_to, anchor))
}

fn is_of_the_web(link: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// Links of pages in `dir` that lead nowhere in it, a line each.
fn dead_links(dir: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut dead = Vec::new();
    for (from, page) in pages {
        for link in page.links.iter().filter(|link| !is_of_the_web(link)) {
            let why = match follow(from, link) {
                None => "leads out of what the page is in",
                Some((path, _)) if !dir.join(&path).exists() => "leads to no file",
                Some((path, Some(anchor))) => match pages.get(&path) {
                    Some(page) if page.anchors.contains(&anchor) => continue,
                    Some(_) => "names no heading of that page",
                    None => "names a heading of what is no page",
                },
                Some(_) => continue,
            };
            dead.push(format!("{}: {link} {why}", from.display()));
        }
    }
    dead
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let pages = pages(&root());
    for page in ["README.md", "docs/trust.md", "deploy/chart/README.md", "loadtest/README.md"] {
        assert!(!pages[Path::new(page)].links.is_empty(), "{page} has no links");
    }
    report(&dead_links(&root(), &pages));
}

#[test]
fn the_book_has_every_page_once() {
    let pages = pages(&root().join("docs"));
    let summary = &pages[Path::new(SUMMARY)];
    let listed: Vec<PathBuf> =
        summary.links.iter().filter_map(|link| follow(Path::new(SUMMARY), link)).map(|(path, _)| path).collect();
    let wrong: Vec<String> = pages
        .keys()
        .filter(|page| **page != *SUMMARY)
        .filter_map(|page| match listed.iter().filter(|listed| *listed == page).count() {
            0 => Some(format!("docs/SUMMARY.md does not list {}: add a line with its title", page.display())),
            1 => None,
            _ => Some(format!("docs/SUMMARY.md lists {} more than once", page.display())),
        })
        .collect();
    report(&wrong);
}

/// `docs/build.sh` writes the pages that mdBook reads. Those link to each other, or to a file of the repository on GitHub.
#[test]
fn every_link_of_the_book_leads_somewhere() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages-of-the-book");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    let output = Command::new(root().join("docs/build.sh")).arg("--pages").arg(&dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let pages = pages(&dir);
    assert!(pages.contains_key(Path::new("index.md")), "{:?}", pages.keys());
    // mdBook calls a page of that name index.html, and does not mend what leads to it.
    assert!(pages.keys().all(|page| !page.ends_with("README.md")), "{:?}", pages.keys());
    let mut wrong = dead_links(&dir, &pages);
    let mut to_the_repository = 0;
    for (from, page) in &pages {
        for link in &page.links {
            if let Some(path) = link.strip_prefix(REPOSITORY) {
                to_the_repository += 1;
                let path = path.split('#').next().unwrap_or_default();
                if !root().join(path).exists() {
                    wrong.push(format!("{}: {link} leads to no file of the repository", from.display()));
                }
            } else if let Some((path, _)) = (!is_of_the_web(link)).then(|| follow(from, link)).flatten()
                && dir.join(&path).is_dir()
            {
                wrong.push(format!("{}: {link} leads to a directory, which is no page", from.display()));
            }
        }
    }
    report(&wrong);
    assert!(to_the_repository > 10, "{to_the_repository}");
}

#[test]
fn a_dead_link_is_found_and_named() {
    let page = |text: &str| Page::parse(text);
    let pages = BTreeMap::from([
        (
            PathBuf::from("docs/trust.md"),
            page("# A `b` c's\n## Say: no\n## Say: no\n[x](#say-no-1) [y](#a-b-cs) [z](#say-yes)"),
        ),
        (
            PathBuf::from("README.md"),
            page("[a](docs/trust.md#say-no) [b](docs/lost.md) [c](../x) [d](https://example.com)"),
        ),
    ]);
    let found = dead_links(&root(), &pages);
    let expected = [
        "README.md: docs/lost.md leads to no file",
        "README.md: ../x leads out of what the page is in",
        "docs/trust.md: #say-yes names no heading of that page",
    ];
    assert_eq!(found, expected);
}
