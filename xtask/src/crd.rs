//! The CustomResourceDefinition as it is shipped in `crds/`.

use anyhow::Result;
use configmapsync_operator::api::configmapsync::definition;

/// The definition in YAML.
pub fn yaml() -> Result<String> {
    let yaml = serde_yaml_ng::to_string(&definition())?;
    Ok(format!("# Generated from src/api/configmapsync.rs by `make generate`.\n{yaml}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_definition_is_the_one_of_the_type() -> Result<()> {
        let shipped = include_str!("../../crds/configmapsyncs.apps.kapendra.com.yaml");
        assert_eq!(shipped, yaml()?, "run `make generate`");
        Ok(())
    }
}
