//! The operator's image: what the Dockerfile makes, from the same build.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Image, is_static};
use crate::build::path_from;
use crate::directory::Directory;
use crate::process::{self, Command};

/// The program's name.
pub const PROGRAM: &str = "configmapsync-operator";

/// The name by which the shipped manifests ask for the image of this version.
pub const NAME: &str = concat!("docker.io/kapendra007/configmapsync:v", env!("CARGO_PKG_VERSION"));

/// The environment of the operator in its image. The C library would give each thread a heap of its own, which takes a third
/// more memory for the same records.
pub const ENVIRONMENT: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// What a shipped image, not compressed, must stay under, in bytes.
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

/// Builds the static program of the checkout in `root` by deploy/tools/program.sh, for an architecture in the words of container
/// images, or else this machine's, with a profile of Cargo.toml: `dist` is what is shipped and takes minutes, the others are
/// quicker and make a larger program. Returns its path.
///
/// # Errors
/// When it does not build; the compiler says why on standard error.
pub async fn build(root: &Path, architecture: Option<&str>, profile: &str) -> anyhow::Result<PathBuf> {
    let architecture = architecture.into_iter().flat_map(|architecture| ["--arch", architecture]);
    let args: Vec<_> = architecture.chain(["--profile", profile]).collect();
    path_from(&root.join("deploy/tools/program.sh"), &args).await
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

/// Builds it for these architectures, or else this machine's, and writes it as one archive.
///
/// # Errors
/// As the two, when it cannot be written, and when what is to be shipped has become too large.
pub async fn write(
    root: &Path,
    name: &str,
    architectures: &[String],
    profile: &str,
    archive: &Path,
) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    for architecture in architectures {
        programs.push(build(root, Some(architecture), profile).await?);
    }
    if programs.is_empty() {
        programs.push(build(root, None, profile).await?);
    }
    let directory = archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let images: Vec<_> = programs.iter().map(|program| image(name, program)).collect::<anyhow::Result<_>>()?;
    super::write(&images, archive)?;
    let (size, most) = (archive.metadata()?.len(), LARGEST * u64::try_from(images.len())?);
    if profile == SHIPPED && size >= most {
        bail!("{} has {size} bytes, of at most {most}: see what it has grown by", archive.display());
    }
    Ok(())
}

/// The image to run: the archive that `CONFIGMAPSYNC_IMAGE` names, or else one of the program that Cargo built beside this one,
/// written to `archive`. Where that one is not static the operator is built once more, as it has to be for an image.
///
/// # Errors
/// When it does not build, and when the archive cannot be written.
pub async fn to_run(archive: &Path) -> anyhow::Result<PathBuf> {
    if let Some(image) = env::var_os("CONFIGMAPSYNC_IMAGE").filter(|value| !value.is_empty()) {
        return Ok(image.into());
    }
    let program = match beside(PROGRAM) {
        Ok(program) if is_static(&program)? => program,
        _ => build(&checkout()?, None, "dev").await?,
    };
    let directory = Directory::temporary()?;
    image(NAME, &stripped(&program, directory.path()).await?)?.write(archive)?;
    Ok(archive.to_owned())
}

/// What Cargo built beside this program, with the same profile. A test stands one directory further down.
///
/// # Errors
/// When it is not there; the message says how to build it.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let here = env::current_exe().context("this program cannot tell where it is")?;
    let profile = here.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).context("this program is nowhere")?;
    let program = profile.join(name);
    if !program.is_file() {
        let release = if profile.ends_with("release") { " --release" } else { "" };
        bail!(
            "{name} is not built: run `cargo build{release} --workspace` first, or use make ({} is missing)",
            program.display()
        );
    }
    Ok(program)
}

/// A copy in this directory without what only debuggers read, which is most of a quick build. Without a `strip` the program is
/// taken as it is.
async fn stripped(program: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let small = directory.join(PROGRAM);
    let strip = Command::new("strip").args(["--strip-debug", "-o"]).arg(&small).arg(program);
    let done = match process::spawn(&strip) {
        Ok(strip) => strip.wait().await?.success(),
        Err(_) => false,
    };
    Ok(if done { small } else { program.to_owned() })
}
