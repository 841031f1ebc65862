//! What the operator's program is built of: an SBOM in the JSON of CycloneDX, for the image and for whoever asks.
//!
//! The same Cargo.lock makes the same bytes: there is no time in it, and its serial number is a digest of the rest. Cargo says
//! which crates are built (`cargo tree`, with the features of just this program, for each target of the image), and which licence
//! each has (`cargo metadata`). Cargo.lock has the checksums. Rust's standard library and the C library come with the toolchain
//! and are not in Cargo.lock, so the document calls itself incomplete.

mod document;
mod lock;
mod package;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use document::Component;
use package::Package;
use tree::Tree;

/// The program's package.
const PROGRAM: &str = "configmapsync-operator";

/// What the image is built for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// The document for the workspace in this directory.
///
/// # Errors
/// When Cargo does not answer, or tells of a crate that Cargo.lock does not have.
pub fn document(root: &Path) -> anyhow::Result<String> {
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = lock::checksums(&lock);
    let mut licences = BTreeMap::new();
    let mut everything = Tree::default();
    let mut targets: BTreeMap<Package, Vec<&str>> = BTreeMap::new();
    let mut in_the_program = BTreeSet::new();
    for target in TARGETS {
        licences.extend(licences_for(root, target)?);
        in_the_program.extend(tree(root, target, "normal,no-proc-macro")?.packages().cloned());
        let all = tree(root, target, "normal,build")?;
        for package in all.packages() {
            targets.entry(package.clone()).or_default().push(target);
        }
        everything.add(all);
    }

    let program = everything.root().context("cargo tree printed nothing")?.clone();
    let mut components = Vec::new();
    for (package, targets) in &targets {
        if *package == program {
            continue;
        }
        let checksum = checksums.get(package).with_context(|| {
            format!("{} {} is not a crate of a registry, or not in Cargo.lock", package.name, package.version)
        })?;
        let only = (targets.len() < TARGETS.len()).then(|| targets[0]);
        let licence = licences.get(package).map(String::as_str);
        components.push(Component::library(package, in_the_program.contains(package), checksum, licence, only));
    }
    let licence = licences.get(&program).map(String::as_str);
    document::text(&program, licence, &components, &everything)
}

fn tree(root: &Path, target: &str, edges: &str) -> anyhow::Result<Tree> {
    let arguments = ["tree", "--locked", "--package", PROGRAM, "--target", target, "--edges", edges];
    Tree::parse(&cargo(root, &[&arguments[..], &["--prefix", "depth", "--format", " {p}"]].concat())?)
}

fn licences_for(root: &Path, target: &str) -> anyhow::Result<BTreeMap<Package, String>> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        name: String,
        version: String,
        license: Option<String>,
    }
    // For one target at a time: for all systems Cargo would fetch what only Windows needs.
    let answer = cargo(root, &["metadata", "--locked", "--format-version", "1", "--filter-platform", target])?;
    let metadata: Metadata = serde_json::from_str(&answer).context("cargo metadata")?;
    let licence = |entry: Entry| Some((Package { name: entry.name, version: entry.version }, entry.license?));
    Ok(metadata.packages.into_iter().filter_map(licence).collect())
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root).env("CARGO_TERM_COLOR", "never").output()?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
