//! The operator's image: what the Dockerfile makes, from the same build.

use std::env;
use std::ffi::OsString;
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

/// What the program is built of, as `make sbom` writes it, and where it is in the image. Scanners know it by the end of its name.
pub const SBOM: &str = include_str!("../../../../deploy/sbom.cdx.json");
/// Without the leading slash.
pub const SBOM_PATH: &str = "usr/share/sbom/configmapsync-operator.cdx.json";

/// The profile of what is shipped.
const SHIPPED: &str = "dist";

/// The directory of this checkout.
///
/// # Errors
/// When it is gone.
pub fn checkout() -> anyhow::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("the checkout is gone")
}

/// Builds the static program of the checkout in `root` with a profile of Cargo.toml: `dist` is what the Dockerfile uses and takes
/// minutes, `release` is quicker and makes a larger program. Returns its path.
///
/// # Errors
/// When it does not build; the compiler says why on standard error.
pub async fn build(root: &Path, profile: &str) -> anyhow::Result<PathBuf> {
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target_dir = std::path::absolute(target_dir)?;
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
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, &cargo_home()?, &target_dir))
        .env_remove("RUSTFLAGS")
        .stderr(Output::Inherit);
    let status = process::spawn(&command)?.wait().await?;
    if !status.success() {
        bail!("the operator did not build ({status})");
    }
    Ok(target_dir.join(triple).join(profile).join(PROGRAM))
}

/// The compiler's flags: a static program that names no directory of the machine that builds it. A panic's message has the path
/// of a source file, so in another place, or for another user, the bytes would be others. The Dockerfile has the same flags.
fn flags(root: &Path, cargo_home: &Path, target_dir: &Path) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    // The compiler runs in a crate's directory, and knows that one by what a symbolic link leads to.
    let registry = cargo_home.join("registry");
    let registry = registry.canonicalize().unwrap_or(registry);
    // The last one that fits counts, and the target directory is mostly within the checkout.
    for (directory, name) in
        [(root, "/src"), (cargo_home, "/cargo"), (&*registry, "/cargo/registry"), (target_dir, "/target")]
    {
        // What separates flags: a directory may have a space in its name.
        flags.push("\x1f--remap-path-prefix=");
        flags.push(directory);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// Where Cargo keeps the sources of crates.
fn cargo_home() -> anyhow::Result<PathBuf> {
    let default = || env::home_dir().map(|home| home.join(".cargo"));
    let named = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    Ok(std::path::absolute(named.or_else(default).context("there is no home directory: set CARGO_HOME")?)?)
}

/// The image with a program that [`build`] made. It is the Dockerfile's last part.
///
/// # Errors
/// When it is not a static program.
pub fn image(name: &str, program: &Path) -> anyhow::Result<Image> {
    // The name that the program had in the operator's first edition, for Deployments that call it.
    let mut image = Image::of_program(name, program)?.with_link("manager").with_file(SBOM_PATH, SBOM);
    image.user = "65532:65532".to_owned();
    image.ports = vec![8080, 8081];
    image.environment = ENVIRONMENT.to_vec();
    Ok(image)
}

/// Builds and writes it.
///
/// # Errors
/// As the two, when it cannot be written, and when what is to be shipped has become too large.
pub async fn write(root: &Path, name: &str, profile: &str, archive: &Path) -> anyhow::Result<()> {
    let program = build(root, profile).await?;
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
    write(&checkout()?, NAME, "release", archive).await?;
    Ok(archive.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_machine_get_names_and_the_innermost_comes_last() {
        let flags = flags(Path::new("/home/a b/x"), Path::new("/home/a b/.cargo"), Path::new("/home/a b/x/target"));
        assert_eq!(
            flags.to_str().unwrap().split('\x1f').collect::<Vec<_>>(),
            [
                "-Ctarget-feature=+crt-static",
                "--remap-path-prefix=/home/a b/x=/src",
                "--remap-path-prefix=/home/a b/.cargo=/cargo",
                "--remap-path-prefix=/home/a b/.cargo/registry=/cargo/registry",
                "--remap-path-prefix=/home/a b/x/target=/target",
            ]
        );
    }
}
