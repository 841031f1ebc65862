//! Prints what is generated from the code and its tables: `make manifests` writes it, `make verify` compares.

mod crd;
mod dashboard;
mod metrics_page;
mod sbom;

use std::path::Path;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crd", plural] => print!("{}", crd::yaml(plural)?),
        ["metrics"] => print!("{}", metrics_page::page()),
        ["dashboard", description] => print!("{}", dashboard::from_file(description)?),
        ["sbom"] => print!("{}", sbom::document(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?),
        _ => bail!("say `xtask crd PLURAL`, `xtask metrics`, `xtask dashboard DESCRIPTION.yaml` or `xtask sbom`"),
    }
    Ok(())
}
