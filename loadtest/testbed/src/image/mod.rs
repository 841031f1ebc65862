//! Container images put together without a container engine: an OCI archive with one layer, from nothing.
//!
//! The same input makes the same bytes: no time, no owner and no order of a directory gets in.

mod elf;
pub mod operator;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What is to be in an image.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    architecture: &'static str,
    /// The program's name in the root directory, and where it is now.
    program: (String, PathBuf),
    /// Other names of the program: paths from the root directory, without the leading slash.
    links: Vec<String>,
    /// Other files: paths likewise, and what they hold.
    files: Vec<(&'static str, &'static str)>,
    /// `UID:GID`, or the superuser if empty.
    user: String,
    ports: Vec<u16>,
    /// Names and values.
    environment: Vec<(&'static str, &'static str)>,
}

impl Image {
    /// An image that holds one static program and runs it.
    ///
    /// # Errors
    /// When the file is no program for Linux, or one that needs a loader, which there would be none of.
    pub fn of_program(name: &str, program: &Path) -> anyhow::Result<Self> {
        let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        let header = elf::Header::parse(&content).with_context(|| format!("{} is no program", program.display()))?;
        if header.needs_loader {
            bail!(
                "{} is not a static program: build it with RUSTFLAGS='-C target-feature=+crt-static'",
                program.display()
            );
        }
        let file = program.file_name().and_then(|name| name.to_str()).context("the program has no name")?.to_owned();
        Ok(Self {
            name: name.to_owned(),
            architecture: header.architecture,
            program: (file, program.to_owned()),
            links: Vec::new(),
            files: Vec::new(),
            user: String::new(),
            ports: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Gives the program another name: a path from the root directory, such as `bin/kill`.
    #[must_use]
    pub fn with_link(mut self, path: &str) -> Self {
        self.links.push(path.to_owned());
        self
    }

    /// Adds a file that anyone may read, at a path from the root directory.
    #[must_use]
    pub fn with_file(mut self, path: &'static str, content: &'static str) -> Self {
        self.files.push((path, content));
        self
    }

    /// Writes the archive, which `docker load`, `podman load` and `ctr images import` take.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write(&self, archive: &Path) -> anyhow::Result<()> {
        write(std::slice::from_ref(self), archive)
    }

    /// Its layer, configuration and manifest, and how an index names it.
    fn blobs(&self) -> anyhow::Result<([Vec<u8>; 3], Value)> {
        let layer = self.layer()?;
        let config = serde_json::to_vec(&self.config(&digest(&layer)))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        Ok(([layer, config, manifest], entry))
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let (name, path) = &self.program;
        let mut tar = tar::Builder::new(Vec::new());
        add(&mut tar, name, 0o755, &fs::read(path)?)?;
        for link in &self.links {
            let mut header = header(0o777, 0);
            header.set_entry_type(tar::EntryType::Symlink);
            let up = "../".repeat(link.matches('/').count());
            tar.append_link(&mut header, link, format!("{up}{name}"))?;
        }
        for (path, content) in &self.files {
            add(&mut tar, path, 0o644, content.as_bytes())?;
        }
        Ok(tar.into_inner()?)
    }

    fn config(&self, layer: &str) -> Value {
        let mut config = json!({"User": self.user, "Entrypoint": [format!("/{}", self.program.0)], "WorkingDir": "/"});
        if !self.ports.is_empty() {
            config["ExposedPorts"] = self.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
        }
        if !self.environment.is_empty() {
            config["Env"] = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        }
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
    }
}

/// Writes images of one name, each for an architecture of its own, as one archive. As a registry would, it has one name for all.
///
/// # Errors
/// When there is none, and when a file cannot be read or written.
pub fn write(images: &[Image], archive: &Path) -> anyhow::Result<()> {
    let name = &images.first().context("there is no image to write")?.name;
    let (mut blobs, mut entries) = (Vec::new(), Vec::new());
    for image in images {
        let (own, entry) = image.blobs()?;
        blobs.extend(own);
        entries.push(entry);
    }
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let names = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    // One name may stand for several images by an index of its own.
    let mut entry = if let [only] = &mut entries[..] {
        only.take()
    } else {
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))?;
        let entry = descriptor(INDEX, &index);
        blobs.push(index);
        entry
    };
    entry["annotations"] = names;
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))?;

    let mut blobs: Vec<_> = blobs.into_iter().map(|blob| (format!("blobs/sha256/{}", digest(&blob)), blob)).collect();
    blobs.sort();
    blobs.dedup();
    let partial = archive.with_extension("partial");
    let file = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    add(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut tar, "index.json", 0o644, &index)?;
    for (path, blob) in &blobs {
        add(&mut tar, path, 0o644, blob)?;
    }
    tar.into_inner()?.flush()?;
    fs::rename(&partial, archive).with_context(|| format!("cannot write {}", archive.display()))
}

/// Whether a program needs nothing beside it, no loader either.
fn is_static(program: &Path) -> anyhow::Result<bool> {
    let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    Ok(!elf::Header::parse(&content)?.needs_loader)
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": format!("sha256:{}", digest(blob)), "size": blob.len()})
}

fn digest(blob: &[u8]) -> String {
    Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add(tar: &mut tar::Builder<impl std::io::Write>, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    Ok(tar.append_data(&mut header(mode, u64::try_from(content.len())?), path, content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: u8 = 0x3e;
    const ARM64: u8 = 0xb7;

    /// A program that needs no loader is a header and no table of segments.
    fn program(directory: &Path, machine: u8) -> PathBuf {
        let mut content = vec![0; 64];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        content[18] = machine;
        fs::create_dir_all(directory).unwrap();
        let path = directory.join("program");
        fs::write(&path, content).unwrap();
        path
    }

    fn packed(directory: &Path) -> Vec<u8> {
        let image = Image::of_program("example.com/program:v1", &program(directory, AMD64)).unwrap();
        let archive = directory.join("image.tar");
        image.with_link("bin/alias").with_file("usr/share/note", "a note").write(&archive).unwrap();
        fs::read(archive).unwrap()
    }

    #[test]
    fn another_place_and_another_time_make_the_same_bytes() {
        let work = std::env::temp_dir().join(format!("image-{}", std::process::id()));
        let first = packed(&work.join("one"));
        // The times of files are kept in seconds there.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let second = packed(&work.join("two/deeper"));
        fs::remove_dir_all(&work).unwrap();
        assert!(first == second, "other bytes");
        assert!(first.windows(6).any(|bytes| bytes == b"a note"));
    }

    #[test]
    fn two_architectures_have_one_name_and_an_index() {
        let work = std::env::temp_dir().join(format!("image-two-{}", std::process::id()));
        let images = [AMD64, ARM64].map(|machine| {
            Image::of_program("example.com/program:v1", &program(&work.join(machine.to_string()), machine)).unwrap()
        });
        let archive = work.join("image.tar");
        write(&images, &archive).unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), content);
        }
        fs::remove_dir_all(&work).unwrap();
        let json = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let blob = |entry: &Value| json(&entry["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/"));
        let named = &json("index.json")["manifests"];
        assert_eq!(named[0]["annotations"]["io.containerd.image.name"], "example.com/program:v1");
        assert_eq!(named.as_array().unwrap().len(), 1);
        let manifests = blob(&named[0])["manifests"].clone();
        let architectures = manifests.as_array().unwrap().iter().map(|entry| {
            let config = blob(&blob(entry)["config"]);
            assert_eq!(config["architecture"], entry["platform"]["architecture"]);
            config["architecture"].as_str().unwrap().to_owned()
        });
        assert_eq!(architectures.collect::<Vec<_>>(), ["amd64", "arm64"]);
    }
}
