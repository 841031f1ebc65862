//! The checksums in a Cargo.lock.

use std::collections::BTreeMap;

use super::package::Package;

/// Of each crate that comes from crates.io. What comes from elsewhere, members of the workspace too, is left out.
pub(super) fn checksums(lock: &str) -> BTreeMap<Package, String> {
    lock.split("[[package]]").skip(1).filter_map(entry).collect()
}

fn entry(text: &str) -> Option<(Package, String)> {
    let value =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
    let package = Package { name: value("name")?.to_owned(), version: value("version")?.to_owned() };
    (value("source")? == "registry+https://github.com/rust-lang/crates.io-index").then_some(())?;
    Some((package, value("checksum")?.to_owned()))
}
