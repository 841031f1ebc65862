//! The operator's image: what the Dockerfile makes, from the same build.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::Image;
use crate::process::{self, Command, Output};

/// The program's name.
const PROGRAM: &str = "configmapsync-operator";

/// The name by which the shipped manifests ask for the image of this version.
pub const NAME: &str = concat!("docker.io/kapendra007/configmapsync:v", env!("CARGO_PKG_VERSION"));

/// The environment of the operator in its image. The C library would give each thread a heap of its own, which takes a third
/// more memory for the same records.
pub const ENVIRONMENT: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// What the shipped image, not compressed, must stay under, in bytes.
pub const LARGEST: u64 = 15 * 1024 * 1024;

/// The profile of what is shipped.
const SHIPPED: &str = "dist";

/// Builds the static program with a profile of Cargo.toml: `dist` is what the Dockerfile uses and takes minutes, `release` is
/// quicker and makes a larger program. Returns its path.
///
/// # Errors
/// When it does not build; the compiler says why on standard error.
pub async fn build(profile: &str) -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let triple = match env::consts::ARCH {
        architecture @ ("x86_64" | "aarch64") => format!("{architecture}-unknown-linux-gnu"),
        other => bail!("no image for the architecture {other}"),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = Command::new(PathBuf::from(cargo))
        .args(["build", "--locked", "--package", PROGRAM, "--bin", PROGRAM, "--profile", profile])
        // Named even where it is the machine's own: without it the flags would go to build scripts and macros too.
        .args(["--target", &triple, "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Output::Inherit);
    let status = process::spawn(&command)?.wait().await?;
    if !status.success() {
        bail!("the operator did not build ({status})");
    }
    Ok(target_dir.join(triple).join(profile).join(PROGRAM))
}

/// The image with a program that [`build`] made. It is the Dockerfile's last part.
///
/// # Errors
/// When it is not a static program.
pub fn image(name: &str, program: &Path) -> anyhow::Result<Image> {
    // The name that the program had in the operator's first edition, for Deployments that call it.
    let mut image = Image::of_program(name, program)?.with_link("manager");
    image.user = "65532:65532".to_owned();
    image.ports = vec![8080, 8081];
    image.environment = ENVIRONMENT.to_vec();
    Ok(image)
}

/// Builds and writes it.
///
/// # Errors
/// As the two, when it cannot be written, and when what is to be shipped has become too large.
pub async fn write(name: &str, profile: &str, archive: &Path) -> anyhow::Result<()> {
    let program = build(profile).await?;
    let directory = archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    image(name, &program)?.write(archive)?;
    let size = archive.metadata()?.len();
    if profile == SHIPPED && size >= LARGEST {
        bail!("{} has {size} bytes, of at most {LARGEST}: see what it has grown by", archive.display());
    }
    Ok(())
}

/// The image to run: the archive that `CONFIGMAPSYNC_IMAGE` names, or else one with the profile `release`, built and written
/// to `archive`.
///
/// # Errors
/// As [`write`].
pub async fn to_run(archive: &Path) -> anyhow::Result<PathBuf> {
    if let Some(image) = env::var_os("CONFIGMAPSYNC_IMAGE").filter(|value| !value.is_empty()) {
        return Ok(image.into());
    }
    write(NAME, "release", archive).await?;
    Ok(archive.to_owned())
}
