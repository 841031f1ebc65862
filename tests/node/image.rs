//! The image itself, looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testbed::image::operator;

use crate::installed::{self, say};

#[tokio::test]
async fn the_image_holds_one_static_program_and_its_alias() {
    let archive = installed::image().await;
    let files = files(&archive);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], operator::NAME);
    let manifest: Value = serde_json::from_slice(blob(&files, entry)).unwrap();
    let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
    assert_eq!(
        config["config"],
        json!({"User": "65532:65532", "Entrypoint": ["/configmapsync-operator"], "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}, "8081/tcp": {}}, "Env": ["MALLOC_ARENA_MAX=1"]})
    );
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(config["rootfs"]["diff_ids"], json!([layers[0]["digest"]]));

    // The whole of the root directory, so neither a shell nor anything else.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-root");
    let _ = std::fs::remove_dir_all(&root);
    tar::Archive::new(blob(&files, &layers[0])).unpack(&root).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["configmapsync-operator", "manager", "usr"]);
    names.pop();
    // What the program is built of, and nothing else.
    let mut layer = tar::Archive::new(blob(&files, &layers[0]));
    let paths = layer.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    assert_eq!(paths.filter(|path| path.starts_with("usr")).collect::<Vec<_>>(), [Path::new(operator::SBOM_PATH)]);
    assert_eq!(std::fs::read_to_string(root.join(operator::SBOM_PATH)).unwrap(), operator::SBOM);
    assert_eq!(std::fs::read_link(root.join("manager")).unwrap(), Path::new("configmapsync-operator"));
    for name in names {
        // In an environment without anything, by either name.
        let output = Command::new(root.join(name)).arg("--version").env_clear().output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
    }
    let program = std::fs::read(root.join("configmapsync-operator")).unwrap();
    assert!(!program.windows(10).any(|bytes| bytes == b"/ld-linux-"), "it names no loader");
}

#[test]
fn the_dockerfile_makes_the_same() {
    let dockerfile = include_str!("../../Dockerfile");
    let last = dockerfile.split("FROM scratch\n").nth(1).expect("its last part begins with nothing");
    let lines: Vec<_> = last.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            "COPY --from=build /image/ /",
            "ENV MALLOC_ARENA_MAX=1",
            "USER 65532:65532",
            "EXPOSE 8080 8081",
            r#"ENTRYPOINT ["/configmapsync-operator"]"#
        ]
    );
    for part in [
        // Which `make image` runs as well.
        "deploy/tools/program.sh",
        "ln -s configmapsync-operator /image/manager",
        &format!("deploy/sbom.cdx.json /image/{}", operator::SBOM_PATH),
        "touch --no-dereference --date=@0",
    ] {
        assert!(dockerfile.contains(part), "{part}");
    }
}

#[tokio::test]
async fn the_program_has_no_crate_that_the_sbom_lacks() {
    let layer = layer(&installed::image().await);
    let layer = String::from_utf8_lossy(&layer);
    // Messages of panics have paths of source files.
    let sources: BTreeSet<&str> =
        layer.split("/registry/src/").skip(1).filter_map(|rest| rest.split('/').nth(1)).collect();
    assert!(sources.len() > 50, "{sources:?}");
    let sbom: Value = serde_json::from_str(operator::SBOM).unwrap();
    let required = sbom["components"].as_array().unwrap().iter().filter(|component| component["scope"] == "required");
    let known: BTreeSet<String> = required
        .map(|component| format!("{}-{}", component["name"].as_str().unwrap(), component["version"].as_str().unwrap()))
        .collect();
    let unknown: Vec<_> = sources.iter().filter(|source| !known.contains(**source)).collect();
    assert!(unknown.is_empty(), "the program is built of these as well: {unknown:?}");
}

/// The quicker build is neither.
#[tokio::test]
async fn the_shipped_image_is_small_and_names_no_directory_of_the_machine() {
    if std::env::var_os("CONFIGMAPSYNC_IMAGE").is_none() {
        say(format_args!(
            "SKIPPED the_shipped_image_is_small_and_names_no_directory_of_the_machine: set CONFIGMAPSYNC_IMAGE to the \
             archive that `make image` writes"
        ));
        return;
    }
    let archive = installed::image().await;
    let size = archive.metadata().unwrap().len();
    say(format_args!("the image has {size} bytes"));
    assert!(size < operator::LARGEST, "{size} bytes");
    // With this machine's directories in them, two builds would differ.
    let layer = layer(&archive);
    let layer = String::from_utf8_lossy(&layer);
    let home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap()));
    for directory in [env!("CARGO_MANIFEST_DIR"), &home] {
        assert!(!layer.contains(&format!("{directory}/")), "it names {directory}");
    }
}

#[tokio::test]
async fn the_same_program_makes_the_same_image() {
    let archive = installed::image().await;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-again");
    let _ = std::fs::remove_dir_all(&root);
    tar::Archive::new(&layer(&archive)[..]).unpack(&root).unwrap();
    let again = root.join("again.tar");
    operator::image(operator::NAME, &root.join("configmapsync-operator")).unwrap().write(&again).unwrap();
    assert!(
        std::fs::read(&again).unwrap() == std::fs::read(&archive).unwrap(),
        "another time, another place, other bytes"
    );

    // A program that is linked to libraries would not start: it is refused.
    let refused = operator::image(operator::NAME, Path::new("/bin/sh")).unwrap_err().to_string();
    assert!(refused.contains("crt-static"), "{refused}");
}

/// The one layer.
fn layer(archive: &Path) -> Vec<u8> {
    let files = files(archive);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0])).unwrap();
    blob(&files, &manifest["layers"][0]).to_vec()
}

fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

/// What a descriptor names, which has the size and the digest that it says.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let content = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(descriptor["size"], content.len());
    let actual: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(actual, digest);
    content
}
