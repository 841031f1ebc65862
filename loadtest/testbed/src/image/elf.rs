//! As much of a program's header as tells what it runs on and whether it needs a loader.

use anyhow::{Context as _, bail};

/// The program header that names the loader.
const PT_INTERP: u32 = 3;

/// What an image has to know about a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// In the words of container images.
    pub(super) architecture: &'static str,
    /// It is linked to libraries that are not in it.
    pub(super) needs_loader: bool,
}

impl Header {
    /// Of a 64-bit little-endian program, which those of the architectures here are.
    pub(super) fn parse(content: &[u8]) -> anyhow::Result<Self> {
        if content.get(..6) != Some(b"\x7fELF\x02\x01") {
            bail!("it does not begin like a 64-bit program for Linux");
        }
        let architecture = match u16_at(content, 18)? {
            0x3e => "amd64",
            0xb7 => "arm64",
            other => bail!("it is for an unknown architecture, number {other}"),
        };
        let table = usize::try_from(u64_at(content, 32)?)?;
        let (size, count) = (usize::from(u16_at(content, 54)?), usize::from(u16_at(content, 56)?));
        let mut needs_loader = false;
        for number in 0..count {
            let at = table.checked_add(number * size).context("its header is damaged")?;
            needs_loader |= u32::from_le_bytes(bytes(content, at)?) == PT_INTERP;
        }
        Ok(Self { architecture, needs_loader })
    }
}

fn u16_at(content: &[u8], at: usize) -> anyhow::Result<u16> {
    Ok(u16::from_le_bytes(bytes(content, at)?))
}

fn u64_at(content: &[u8], at: usize) -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(bytes(content, at)?))
}

fn bytes<const N: usize>(content: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    let bytes = content.get(at..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().context("it ends within its header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_needs_a_loader_and_a_text_is_no_program() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(Header::parse(&shell).unwrap().needs_loader);
        assert!(Header::parse(&shell[..70]).is_err());
        assert!(Header::parse(b"#!/bin/sh\n").is_err());
    }
}
