//! What `make release` puts together, but for the image, which takes minutes to build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn release(to: &Path, more: &[&str]) -> Output {
    let image = to.with_extension("image");
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(&image, "an image").unwrap();
    let mut command = Command::new(Path::new(ROOT).join(".ci/release.sh"));
    command.arg("--output").arg(to).arg("--image").arg(image).args(more);
    command.output().unwrap()
}

/// What is in a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

#[test]
fn a_release_is_whole_and_the_same_twice() {
    let work = scratch("release");
    let mut releases = Vec::new();
    for name in ["one", "two/deeper"] {
        let to = work.join(name);
        let output = release(&to, &["--trial"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        releases.push(files(&to));
        // Times in archives are kept in seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let [one, two] = &releases[..] else { unreachable!() };
    let names: Vec<_> = one.keys().map(String::as_str).collect();
    let (image, sbom) = (
        format!("configmapsync-operator-v{VERSION}-image.tar"),
        format!("configmapsync-operator-v{VERSION}.sbom.cdx.json"),
    );
    let chart = format!("configmapsync-operator-chart-{VERSION}.tgz");
    let mut wanted = vec![
        "NOTES.md",
        "SHA256SUMS",
        "argocd-health-rules.yaml",
        &image,
        &sbom,
        &chart,
        "crds.yaml",
        "install.sh",
        "install.yaml",
    ];
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (name, content) in one {
        assert!(two[name] == *content, "{name} has other bytes the second time");
    }

    // Everything but the sums is summed, and right.
    let check =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(work.join("one")).output();
    let check = String::from_utf8(check.unwrap().stdout).unwrap();
    assert_eq!(check.matches(": OK").count(), names.len() - 1, "{check}");

    let notes = String::from_utf8(one["NOTES.md"].clone()).unwrap();
    assert!(notes.starts_with("### ") && !notes.contains("\n## "), "{notes}");
    let definitions = String::from_utf8(one["crds.yaml"].clone()).unwrap();
    assert_eq!(serde_yaml_ng::Deserializer::from_str(&definitions).count(), 2);

    // The chart is the one of the checkout, to the byte.
    let unpacked = work.join("chart");
    std::fs::create_dir_all(&unpacked).unwrap();
    let untar = Command::new("tar").arg("-xzf").arg(work.join("one").join(&chart)).arg("-C").arg(&unpacked).status();
    assert!(untar.unwrap().success());
    for file in ["values.yaml", "values.schema.json", "templates/deployment.yaml"] {
        let packed = std::fs::read(unpacked.join("configmapsync-operator").join(file)).unwrap();
        assert!(packed == std::fs::read(Path::new(ROOT).join("deploy/chart").join(file)).unwrap(), "{file}");
    }
}

#[test]
fn what_is_no_release_is_refused_with_a_way_out() {
    let output = release(&scratch("release-refused").join("one"), &["--nonsense"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--nonsense") && said.contains(".ci/release.sh"), "{said}");
}
