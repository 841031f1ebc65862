//! A load as YAML, for people who give it to their own cluster with kubectl.

use std::io::{self, BufWriter, Write};

use kube::Resource;
use serde::Serialize;

use super::OWNER;
use super::set::{self, HOME, Set};
use crate::objects;

/// Writes namespaces, sources and syncs, each a document.
pub(super) fn generate(set: &Set, namespaces: usize, to: impl Write) -> anyhow::Result<()> {
    let mut to = BufWriter::new(to);
    for name in std::iter::once(HOME.to_owned()).chain((0..namespaces).map(set::namespace)) {
        document(&mut to, &objects::namespace(&name, OWNER))?;
    }
    for source in 0..set.sources {
        document(&mut to, &set.source(source, 1))?;
    }
    for wanted in &set.copies {
        document(&mut to, &set.sync(wanted))?;
    }
    match to.flush() {
        // Whoever reads has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn document(to: &mut impl Write, object: &(impl Serialize + Resource)) -> anyhow::Result<()> {
    write!(to, "---\n{}", serde_yaml_ng::to_string(object)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    #[test]
    fn what_is_printed_is_what_the_load_test_would_make() {
        let set = Set::new("load", 20, 2, 5, 64);
        let mut text = Vec::new();
        generate(&set, 5, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let kind = |kind: &str| text.lines().filter(|line| *line == format!("kind: {kind}")).count();
        assert_eq!((kind("Namespace"), kind("ConfigMap"), kind("ConfigMapSync")), (6, 2, 20));
        let _: Namespace = serde_yaml_ng::from_str(text.split("---\n").nth(1).unwrap()).unwrap();
    }
}
