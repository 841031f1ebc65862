//! What a flag's text may be, and what the surroundings say where there is no flag. A refusal is one sentence that says
//! what would have been right.

use crate::api::dns;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The namespace of the shipped manifests.
pub const DEFAULT_NAMESPACE: &str = "configmapsync-system";
/// The identity of a machine without a usable name.
pub const DEFAULT_IDENTITY: &str = "configmapsync";
/// A session's Lease is named after the identity plus a random end; 253 characters is the most for both.
const IDENTITY_MAX: usize = 200;
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Where a server listens, in the words of Kubernetes' operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// `0`: nowhere.
    Off,
    /// `HOST:PORT` or `:PORT`.
    At {
        /// `None`: every address of this machine.
        host: Option<String>,
        /// 0: any free port.
        port: u16,
    },
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("0"),
            Self::At { host: None, port } => write!(f, ":{port}"),
            Self::At { host: Some(host), port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::At { host: Some(host), port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The most writes a second; `None`: no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteQps(pub Option<NonZeroU32>);

pub(super) fn bind_address(text: &str) -> Result<BindAddress, String> {
    const FORM: &str = "write :PORT, HOST:PORT, or 0 for none";
    if text == "0" {
        return Ok(BindAddress::Off);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| FORM.to_owned())?;
    let port = port.parse().map_err(|_| format!("{port:?} is no port from 0 to 65535; {FORM}"))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().map(|ip| ip.to_string()).map_err(|_| FORM.to_owned())?,
        None if host.is_empty() => return Ok(BindAddress::At { host: None, port }),
        None if host.contains(':') => return Err(format!("an IPv6 address stands in brackets, as in [::1]:{port}")),
        None if host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-') => host.to_owned(),
        None => return Err(FORM.to_owned()),
    };
    Ok(BindAddress::At { host: Some(host), port })
}

pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .map_err(|_| "write a duration with its unit, as in 10s, 1m30s or 500ms".to_owned())?;
    let value = Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(format!("it must be from {min:?} to {max:?}")) }
}

pub(super) fn write_qps(text: &str) -> Result<WriteQps, String> {
    text.parse().map(|n| WriteQps(NonZeroU32::new(n))).map_err(|_| "write a whole number; 0 means no cap".to_owned())
}

pub(super) fn max_in_flight(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(n) if n.get() <= 1024 => Ok(n),
        _ => Err("write a whole number from 1 to 1024".to_owned()),
    }
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    if dns::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no namespace: at most 63 of a-z, 0-9 and '-', with a letter or digit at both ends"))
    }
}

/// An empty one names none.
pub(super) fn namespace_pattern(text: &str) -> Result<String, String> {
    let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '*' | '?');
    if text.len() <= 63 && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no pattern of namespaces: at most 63 of a-z, 0-9, '-', '*' and '?'"))
    }
}

pub(super) fn identity(text: &str) -> Result<String, String> {
    if text.len() <= IDENTITY_MAX && dns::is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no identity: at most {IDENTITY_MAX} of a-z, 0-9, '-' and '.', \
             with a letter or digit at both ends of each part"
        ))
    }
}

/// EnvFilter alone takes a mistyped level ("inof") for the name of a module, and logs nothing: here a
/// directive without '=' has to be a level.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const FORM: &str = "write error, warn, info, debug, trace or off, or by module as in info,kube=debug";
    for directive in text.split(',').map(str::trim) {
        if !directive.contains('=') && directive.parse::<LevelFilter>().is_err() || directive.is_empty() {
            return Err(format!("{directive:?} is no level; {FORM}"));
        }
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|why| format!("{why}; {FORM}"))
}

/// What a Pod's environment and the machine say, read once.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `POD_NAMESPACE`.
    pub pod_namespace: Option<String>,
    /// What the file of the Pod's service account says.
    pub account_namespace: Option<String>,
    /// `POD_NAME`.
    pub pod_name: Option<String>,
    /// The machine's name.
    pub host_name: Option<String>,
    /// `RUST_LOG`.
    pub rust_log: Option<String>,
}

impl Surroundings {
    /// Reads them. An empty variable counts as not set.
    #[must_use]
    pub fn read() -> Self {
        let variable = |name| filled(std::env::var(name).ok());
        let file = |path| filled(std::fs::read_to_string(path).ok());
        Self {
            pod_namespace: variable("POD_NAMESPACE"),
            account_namespace: file(NAMESPACE_FILE),
            pod_name: variable("POD_NAME"),
            host_name: file("/proc/sys/kernel/hostname").or_else(|| variable("HOSTNAME")),
            rust_log: variable("RUST_LOG"),
        }
    }

    pub(super) fn namespace(&self) -> (&'static str, String) {
        match (&self.pod_namespace, &self.account_namespace) {
            (Some(name), _) => ("POD_NAMESPACE", name.clone()),
            (None, Some(name)) => (NAMESPACE_FILE, name.clone()),
            (None, None) => ("the default", DEFAULT_NAMESPACE.to_owned()),
        }
    }

    pub(super) fn identity(&self) -> (&'static str, String) {
        match (&self.pod_name, &self.host_name) {
            (Some(name), _) => ("POD_NAME", name.clone()),
            (None, Some(name)) => ("the host's name", as_identity(name)),
            (None, None) => ("the default", DEFAULT_IDENTITY.to_owned()),
        }
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A machine may be called `My_Laptop.local`. Its owner did not choose the name for us, so it is made to fit and not refused.
fn as_identity(host: &str) -> String {
    let cut: String = host.chars().take(IDENTITY_MAX).map(|c| c.to_ascii_lowercase()).collect();
    let clean = cut.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    let parts: Vec<&str> =
        clean.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { DEFAULT_IDENTITY.to_owned() } else { parts.join(".") }
}

/// Whether copies need the consent of the source's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Consent {
    /// Where `spec.requireConsent` says so.
    Optional,
    /// All of them.
    Required,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0")]
    #[case(":8080")]
    #[case(":0")]
    #[case("127.0.0.1:8080")]
    #[case("localhost:1")]
    #[case("[::1]:8080")]
    fn an_address_is_shown_as_it_was_written(#[case] text: &str) {
        assert_eq!(bind_address(text).unwrap().to_string(), text);
    }

    #[rstest]
    #[case("My_Laptop.local", "my-laptop.local")]
    #[case("-x-", "x")]
    #[case("...", DEFAULT_IDENTITY)]
    #[case("büro", "b-ro")]
    fn a_host_name_is_made_to_fit(#[case] host: &str, #[case] fits: &str) {
        assert_eq!(as_identity(host), fits);
        assert_eq!(identity(&as_identity(host)).unwrap(), fits);
    }

    #[test]
    fn a_long_host_name_is_cut() {
        let long = "é".repeat(300) + &"x.".repeat(300);
        assert!(identity(&as_identity(&long)).is_ok());
        let long = "x.-".repeat(300);
        assert!(identity(&as_identity(&long)).is_ok());
    }

    #[rstest]
    #[case("info", true)]
    #[case("WARN", true)]
    #[case("off", true)]
    #[case("info,kube=debug,hyper::proto=off", true)]
    #[case("", false)]
    #[case("info,", false)]
    #[case("kube", false)]
    fn a_filter_is_a_level_or_names_modules(#[case] text: &str, #[case] good: bool) {
        assert_eq!(log_filter(text).is_ok(), good);
    }
}
