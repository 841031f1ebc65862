use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::package::Package;
use super::tree::Tree;
use super::{document, lock};

const KEPT: &str = include_str!("../../../deploy/sbom.cdx.json");
const LOCK: &str = include_str!("../../../Cargo.lock");
const MANIFEST: &str = include_str!("../../../Cargo.toml");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn kept() -> Value {
    serde_json::from_str(KEPT).unwrap()
}

fn components() -> Vec<Value> {
    kept()["components"].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// The names in a table of Cargo.toml.
fn named_in(table: &str) -> BTreeSet<&'static str> {
    let lines = MANIFEST.split(table).nth(1).unwrap().lines().skip(1).take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ']).next()).filter(|name| !name.is_empty() && *name != "#").collect()
}

#[test]
fn the_kept_document_is_the_one_of_this_lock_file_and_twice_the_same() {
    let fresh = document(&root()).unwrap();
    assert!(fresh == KEPT, "deploy/sbom.cdx.json is out of date: run 'make sbom'");
    assert!(document(&root()).unwrap() == fresh, "another time, other bytes");
}

#[test]
fn each_crate_stands_in_the_lock_file_with_that_checksum() {
    let components = components();
    assert!(components.len() > 100, "{}", components.len());
    for component in components {
        let entry = format!(
            "name = \"{}\"\nversion = \"{}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{}\"\n",
            text(&component, "name"),
            text(&component, "version"),
            text(&component["hashes"][0], "content"),
        );
        assert!(LOCK.contains(&entry), "not in Cargo.lock:\n{entry}");
        assert!(!text(&component["licenses"][0], "expression").contains('/'), "{component}");
    }
}

#[test]
fn all_that_the_program_depends_on_is_there_and_what_only_tests_use_is_not() {
    let with_scope = |scope: &str| -> BTreeSet<String> {
        let of = components().into_iter().filter(|component| text(component, "scope") == scope);
        of.map(|component| text(&component, "name").to_owned()).collect()
    };
    let (in_it, for_the_build) = (with_scope("required"), with_scope("excluded"));
    let dependencies = named_in("\n[dependencies]");
    assert!(dependencies.contains("kube") && dependencies.contains("tokio"), "{dependencies:?}");
    for name in &dependencies {
        assert!(in_it.contains(*name), "{name} is a dependency");
    }
    for name in ["serde_derive", "syn", "cc"] {
        assert!(for_the_build.contains(name) && !in_it.contains(name), "{name} runs only while it is built");
    }
    // kube brings tokio-rustls along.
    for name in named_in("\n[dev-dependencies]").difference(&dependencies).filter(|name| **name != "tokio-rustls") {
        assert!(!in_it.contains(*name) && !for_the_build.contains(*name), "only tests use {name}");
    }
    assert!(!in_it.iter().chain(&for_the_build).any(|name| name.starts_with("windows")), "the image is for Linux");
}

#[test]
fn whatever_is_needed_is_described() {
    let kept = kept();
    let known: BTreeSet<&str> =
        kept["components"].as_array().unwrap().iter().map(|component| text(component, "bom-ref")).collect();
    let own = text(&kept["metadata"]["component"], "bom-ref");
    let mut reached = BTreeSet::from([own]);
    let mut next = vec![own];
    while let Some(reference) = next.pop() {
        let entries = kept["dependencies"].as_array().unwrap();
        let entry = entries.iter().find(|entry| text(entry, "ref") == reference).unwrap();
        for needed in entry["dependsOn"].as_array().unwrap().iter().map(|needed| needed.as_str().unwrap()) {
            assert!(known.contains(needed), "{reference} needs {needed}");
            if reached.insert(needed) {
                next.push(needed);
            }
        }
    }
    assert_eq!(reached.len(), known.len() + 1, "something is there that nobody needs");
}

#[test]
fn a_tree_is_read_with_what_was_printed_before() {
    let tree =
        Tree::parse("0 a v1.0.0 (/src)\n1 b v2.0.0\n2 c v3.0.0+x (proc-macro)\n1 d v4.0.0\n2 b v2.0.0 (*)\n").unwrap();
    let package = |name: &str, version: &str| Package { name: name.to_owned(), version: version.to_owned() };
    let (a, b, c, d) = (package("a", "1.0.0"), package("b", "2.0.0"), package("c", "3.0.0+x"), package("d", "4.0.0"));
    assert_eq!(tree.root(), Some(&a));
    let needs: Vec<_> = tree.needs().map(|(package, needs)| (package.clone(), needs.clone())).collect();
    let expected = [
        (a, BTreeSet::from([b.clone(), d.clone()])),
        (b.clone(), BTreeSet::from([c.clone()])),
        (c, BTreeSet::new()),
        (d, BTreeSet::from([b])),
    ];
    assert_eq!(needs, expected);
    for wrong in ["a v1", "0 a 1.0.0", "1 a v1.0.0"] {
        assert!(Tree::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn checksums_are_those_of_the_registry() {
    let lock = r#"version = 4

[[package]]
name = "ours"
version = "0.1.0"
dependencies = [
 "theirs",
]

[[package]]
name = "theirs"
version = "1.2.3"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "abc"

[[package]]
name = "elsewhere"
version = "1.0.0"
source = "git+https://example.com/elsewhere"
"#;
    let theirs = Package { name: "theirs".to_owned(), version: "1.2.3".to_owned() };
    assert_eq!(lock::checksums(lock).into_iter().collect::<Vec<_>>(), [(theirs, "abc".to_owned())]);
}
