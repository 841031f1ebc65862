//! Prints the CustomResourceDefinition as YAML: `make generate` writes it to `crds/`.

fn main() -> anyhow::Result<()> {
    print!("{}", configmapsync_operator::api::configmapsync::crd_yaml()?);
    Ok(())
}
