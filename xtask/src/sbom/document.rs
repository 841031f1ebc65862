//! The text of the document. A crate is a line, so that a change of Cargo.lock reads well in a review.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::package::Package;
use super::tree::Tree;

/// One crate. The fields are CycloneDX's, in the order in which they are written.
#[derive(Debug, Serialize)]
pub(super) struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    /// `excluded` is what runs only while the program is built: build scripts and macros, and what they need.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Debug, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Debug, Serialize)]
struct Licence {
    expression: String,
}

#[derive(Debug, Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(rename = "dependsOn")]
    depends_on: Vec<String>,
}

impl Component {
    /// A crate of crates.io; `only` names the target if it is built for that one alone.
    pub(super) fn library(
        package: &Package,
        in_the_program: bool,
        checksum: &str,
        licence: Option<&str>,
        only: Option<&str>,
    ) -> Self {
        Self {
            kind: "library",
            reference: purl(package),
            name: package.name.clone(),
            version: package.version.clone(),
            scope: Some(if in_the_program { "required" } else { "excluded" }),
            hashes: vec![Hash { alg: "SHA-256", content: checksum.to_owned() }],
            licenses: licence.map(expression).into_iter().collect(),
            purl: Some(purl(package)),
            properties: only
                .map(|target| Property { name: "cargo:target", value: target.to_owned() })
                .into_iter()
                .collect(),
        }
    }

    /// The program itself, which is in no registry.
    fn program(package: &Package, licence: Option<&str>) -> Self {
        Self {
            kind: "application",
            reference: own_reference(package),
            name: package.name.clone(),
            version: package.version.clone(),
            scope: None,
            hashes: Vec::new(),
            licenses: licence.map(expression).into_iter().collect(),
            purl: None,
            properties: Vec::new(),
        }
    }
}

/// The whole document.
pub(super) fn text(
    program: &Package,
    licence: Option<&str>,
    components: &[Component],
    tree: &Tree,
) -> anyhow::Result<String> {
    let reference = |package: &Package| if package == program { own_reference(package) } else { purl(package) };
    let dependency = |(package, needs): (&Package, &BTreeSet<Package>)| Dependency {
        reference: reference(package),
        depends_on: needs.iter().map(reference).collect(),
    };
    let dependencies: Vec<Dependency> = tree.needs().map(dependency).collect();
    let own = own_reference(program);
    let program = serde_json::to_string(&Component::program(program, licence))?;
    let body = format!(
        "\"version\": 1,\n\"metadata\": {{\"lifecycles\": [{{\"phase\": \"build\"}}], \"component\": {program}}},\n\
         \"components\": [\n{}\n],\n\"dependencies\": [\n{}\n],\n\
         \"compositions\": [{{\"aggregate\": \"incomplete\", \"assemblies\": [\"{own}\"]}}]\n",
        lines(components)?,
        lines(&dependencies)?,
    );
    let serial = serial_number(&body);
    Ok(format!(
        "{{\n\"bomFormat\": \"CycloneDX\",\n\"specVersion\": \"1.5\",\n\"serialNumber\": \"{serial}\",\n{body}}}\n"
    ))
}

fn lines(items: &[impl Serialize]) -> serde_json::Result<String> {
    Ok(items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join(",\n"))
}

fn own_reference(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}

/// The name by which databases of vulnerabilities know a crate. In a version only `+` has to be escaped.
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

/// Old crates write `MIT/Apache-2.0`, which is no expression any more.
fn expression(licence: &str) -> Licence {
    Licence { expression: licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ") }
}

/// A UUID of version 8 from a digest of the rest: another document has another number, and the same one has the same.
fn serial_number(body: &str) -> String {
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(body)[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
