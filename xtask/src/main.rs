//! Prints what is generated from the code and its tables: `make manifests` writes it, `make verify` compares.

mod crd;
mod dashboard;
mod metrics_page;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crd"] => print!("{}", crd::yaml()?),
        ["metrics"] => print!("{}", metrics_page::page()),
        ["dashboard", description] => print!("{}", dashboard::from_file(description)?),
        _ => bail!("say `xtask crd`, `xtask metrics` or `xtask dashboard DESCRIPTION.yaml`"),
    }
    Ok(())
}
