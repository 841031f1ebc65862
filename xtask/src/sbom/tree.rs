//! Who needs whom, as `cargo tree --prefix depth` prints it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::package::Package;

/// Each package with those that it needs.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Option<Package>,
    needs: BTreeMap<Package, BTreeSet<Package>>,
}

impl Tree {
    /// A line is a depth and a package, `2 getrandom v0.3.4 (*)`. What stands in brackets does not matter here: (*) says that
    /// what the package needs was printed further up, and this takes it from there.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        let mut path: Vec<Package> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (depth, package) = parse_line(line).with_context(|| format!("cargo tree printed {line:?}"))?;
            tree.needs.entry(package.clone()).or_default();
            if depth > path.len() {
                anyhow::bail!("cargo tree printed {line:?} with nothing above it");
            }
            path.truncate(depth);
            match path.last() {
                Some(parent) => drop(tree.needs.entry(parent.clone()).or_default().insert(package.clone())),
                None => tree.root = Some(package.clone()),
            }
            path.push(package);
        }
        Ok(tree)
    }

    /// What another target needs as well.
    pub(super) fn add(&mut self, other: Self) {
        self.root = other.root;
        for (package, needs) in other.needs {
            self.needs.entry(package).or_default().extend(needs);
        }
    }

    pub(super) fn root(&self) -> Option<&Package> {
        self.root.as_ref()
    }

    pub(super) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.needs.keys()
    }

    pub(super) fn needs(&self) -> impl Iterator<Item = (&Package, &BTreeSet<Package>)> {
        self.needs.iter()
    }
}

fn parse_line(line: &str) -> Option<(usize, Package)> {
    let mut words = line.split(' ');
    let depth = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some((depth, Package { name, version }))
}
