//! Renders what is shipped, and reads it as objects.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde_json::Value;

pub const NAMESPACE: &str = "configmapsync-system";
pub const RELEASE: &str = "configmapsync";

/// Objects by kind, namespace and name.
pub type Objects = BTreeMap<String, Value>;

/// A path in `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// Runs a program to its end. Returns what it printed, or what it complained of.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The helm to use.
pub fn helm() -> Command {
    static PATH: OnceLock<String> = OnceLock::new();
    Command::new(PATH.get_or_init(|| {
        std::env::var("HELM").ok().filter(|path| !path.is_empty()).unwrap_or_else(|| {
            let answer = run(Command::new("bash").arg(deploy("tools/build.sh"))).unwrap();
            format!("{}/helm", answer.lines().last().unwrap())
        })
    }))
}

/// The chart's manifests.
pub fn chart_text(args: &[&str]) -> Result<String, String> {
    run(helm().arg("template").arg(RELEASE).arg(deploy("chart")).args(["--namespace", NAMESPACE]).args(args))
}

/// The chart's objects.
pub fn chart(args: &[&str]) -> Objects {
    objects(&chart_text(args).unwrap())
}

/// The objects of a directory with a kustomization.
pub async fn kustomize(path: &str) -> Objects {
    let kubectl = testbed::bin_dir().await.unwrap().join("kubectl");
    objects(&run(Command::new(kubectl).arg("kustomize").arg(deploy(path))).unwrap())
}

/// The objects of some YAML; two of one name are a mistake.
pub fn objects(yaml: &str) -> Objects {
    let mut objects = Objects::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let object = Value::deserialize(document).unwrap();
        if object.is_null() {
            continue;
        }
        let meta = &object["metadata"];
        let key = format!(
            "{} {}/{}",
            object["kind"].as_str().unwrap(),
            meta["namespace"].as_str().unwrap_or(""),
            meta["name"].as_str().unwrap()
        );
        assert!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    objects
}
