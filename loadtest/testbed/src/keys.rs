//! Random tokens, and the key pair that a control plane signs ServiceAccount tokens with.

use anyhow::anyhow;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| anyhow!("the system has no random numbers"))?;
    Ok(bytes)
}

/// A bearer token of 128 bits.
pub(crate) fn token() -> anyhow::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}

/// A signing key and its public half, in PEM, as the API server and the controller manager read them.
pub(crate) struct SigningKey {
    pub(crate) private: String,
    pub(crate) public: String,
}

/// A fresh one. ECDSA, because an RSA key takes a noticeable part of the start of a control plane.
pub(crate) fn signing_key() -> anyhow::Result<SigningKey> {
    let unusable = |_| anyhow!("cannot make a key for signing ServiceAccount tokens");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(unusable)?;
    let private = pair.to_pkcs8v1().map_err(unusable)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(unusable)?;
    Ok(SigningKey { private: pem("PRIVATE KEY", private.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) })
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {kind}-----\n");
    for start in (0..text.len()).step_by(64) {
        pem.push_str(&text[start..text.len().min(start + 64)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {kind}-----\n"));
    pem
}
