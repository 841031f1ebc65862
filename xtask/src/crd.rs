//! The CustomResourceDefinitions as they are shipped in `crds/`.

use anyhow::{Result, bail};
use configmapsync_operator::api::{clusterconfigmapsync, configmapsync};

/// The definition of the kind with this plural, in YAML.
pub fn yaml(plural: &str) -> Result<String> {
    let (definition, module) = match plural {
        "configmapsyncs" => (configmapsync::definition(), "configmapsync"),
        "clusterconfigmapsyncs" => (clusterconfigmapsync::definition(), "clusterconfigmapsync"),
        other => bail!("there is no kind with the plural {other:?}"),
    };
    let yaml = serde_yaml_ng::to_string(&definition)?;
    Ok(format!("# Generated from src/api/{module}.rs by `make generate`.\n{yaml}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_definitions_are_those_of_the_types() -> Result<()> {
        let shipped = include_str!("../../crds/configmapsyncs.apps.kapendra.com.yaml");
        assert_eq!(shipped, yaml("configmapsyncs")?, "run `make generate`");
        let shipped = include_str!("../../crds/clusterconfigmapsyncs.apps.kapendra.com.yaml");
        assert_eq!(shipped, yaml("clusterconfigmapsyncs")?, "run `make generate`");
        Ok(())
    }
}
