//! What a replica is told at its start: checked values only, so that nothing below has to doubt them.
//!
//! `cli` builds this from flags and environment; tests build it by hand.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The shortest lease that is accepted: below it a heartbeat has no room for one slow request.
pub const LEASE_DURATION_MIN: Duration = Duration::from_secs(2);
/// The longest lease that is accepted: a crashed replica's shards stand still for about that long.
pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(600);

/// What the policies for authors are to do with whoever lacks a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[clap(rename_all = "PascalCase")]
pub enum AuthorPolicy {
    /// Refuse.
    Deny,
    /// Note it in the API server's audit log.
    Audit,
    /// Nothing: nobody looks whether they are there.
    Off,
}

impl AuthorPolicy {
    /// The action that a binding has to name.
    pub fn action(self) -> Option<&'static str> {
        match self {
            Self::Deny => Some("Deny"),
            Self::Audit => Some("Audit"),
            Self::Off => None,
        }
    }
}

/// The settings of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A kubeconfig file named on the command line; `None`: `KUBECONFIG`, `~/.kube/config`, or the Pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace that holds the Leases of sessions and shards; the same for the whole fleet.
    pub lease_namespace: String,
    /// The readable part of this replica's identity, a DNS subdomain of at most 200 characters. Whoever opens a
    /// session adds a random end, so that a process that comes back under its old name is a new session.
    pub identity: String,
    /// How long a session lives after its last renewal.
    pub lease_duration: Duration,
    /// The most writes a second this replica sends; `None`: no cap.
    pub write_qps: Option<NonZeroU32>,
    /// The most writes in flight at once; the adaptive limiter stays at or below it.
    pub max_in_flight: NonZeroUsize,
    /// Log what would be written and write nothing.
    pub observe_only: bool,
    /// How long the way down may take after the first signal: requests in flight, then releasing the shards.
    pub grace_period: Duration,
    /// Namespaces that a selector never means; the operator's own is one of them, whether it is named or not.
    pub protected_namespaces: Vec<String>,
    /// What the policies for authors are to do.
    pub author_policy: AuthorPolicy,
    /// Patterns of the namespaces that the operator does not touch.
    pub forbidden_namespaces: Vec<String>,
    /// The most bytes that the copies of one object may take together; `None`: no limit.
    pub max_fanout_bytes: Option<NonZeroU64>,
    /// Copies need the consent of the source's owner, whatever their specs say.
    pub consent_required: bool,
}

impl Config {
    /// Where the API server is and who we are there.
    ///
    /// # Errors
    /// When the named kubeconfig cannot be read or parsed, or when neither a kubeconfig nor a Pod's account is found.
    pub async fn cluster(&self) -> Result<kube::Config, ClusterError> {
        let (mut config, named) = match &self.kubeconfig {
            None => {
                let named = Kubeconfig::read().ok().and_then(|file| proxy_of(&file));
                let inferred = kube::Config::infer().await;
                (inferred.map_err(|source| ClusterError::Infer { source: Box::new(source) })?, named)
            }
            Some(path) => {
                let broken = |source| ClusterError::Kubeconfig { path: path.clone(), source: Box::new(source) };
                let file = Kubeconfig::read_from(path).map_err(broken)?;
                let named = proxy_of(&file);
                let options = KubeConfigOptions::default();
                (kube::Config::from_custom_kubeconfig(file, &options).await.map_err(broken)?, named)
            }
        };
        if named.is_none() {
            let environment = Matcher::from_env();
            config.proxy_url =
                proxy_from_environment(&config.cluster_url, &environment, |name| std::env::var(name).ok())?;
        }
        if let Some(proxy) = &config.proxy_url {
            check_scheme(proxy)?;
            tracing::info!(host = proxy.host(), "the API server is reached through a proxy");
        }
        Ok(config)
    }
}

/// The schemes of proxies that kube knows. What it says of others tells their passwords.
const PROXIES: [&str; 3] = ["http", "https", "socks5"];

fn check_scheme(proxy: &http::Uri) -> Result<(), ClusterError> {
    let known = proxy.scheme_str().is_some_and(|scheme| PROXIES.contains(&scheme));
    if known { Ok(()) } else { Err(ClusterError::ProxyScheme) }
}

/// The proxy that a kubeconfig names for the cluster of its current context.
fn proxy_of(file: &Kubeconfig) -> Option<String> {
    let current = file.current_context.as_deref()?;
    let context = file.contexts.iter().find(|named| named.name == current)?.context.as_ref()?;
    let cluster = file.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
}

/// The proxy that the environment names for the API server, unless NO_PROXY exempts it. kube reads HTTPS_PROXY for a
/// kubeconfig alone, and NO_PROXY not at all.
fn proxy_from_environment(
    server: &http::Uri,
    environment: &Matcher,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<http::Uri>, ClusterError> {
    // The matcher takes a star for any name, and not for any address.
    let exempts_all = |name| variable(name).is_some_and(|value| value.split(',').any(|host| host.trim() == "*"));
    if environment.intercept(server).is_none() || ["NO_PROXY", "no_proxy"].into_iter().any(exempts_all) {
        return Ok(None);
    }
    let names = match server.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    };
    let named = names.into_iter().find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)));
    let Some((name, value)) = named else { return Ok(None) };
    let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
    // Its value may hold a password.
    with_scheme.parse().map(Some).map_err(|_| ClusterError::Proxy { variable: name })
}

/// Why no cluster could be found.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file of `--kubeconfig` is of no use.
    #[error("the kubeconfig {} cannot be used: {source}", path.display())]
    Kubeconfig {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The environment names a proxy that is no URL.
    #[error("{variable} is no URL of a proxy, as in http://proxy.example:3128; NO_PROXY exempts hosts from it")]
    Proxy {
        /// The variable's name.
        variable: &'static str,
    },
    /// A proxy of another kind.
    #[error("the URL of the proxy has a scheme that is none of {}", PROXIES.join(", "))]
    ProxyScheme,
    /// Nothing was named and nothing was found.
    #[error("no cluster found; set KUBECONFIG, or run in a Pod with a service account: {source}")]
    Infer {
        /// What was tried, in kube's words.
        source: Box<kube::config::InferConfigError>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://proxy:3128", true)]
    #[case("https://proxy:3128", true)]
    #[case("socks5://proxy:1080", true)]
    #[case("socks5h://somebody:secret@proxy:1080", false)]
    fn a_proxy_of_another_kind_is_refused_without_its_password(#[case] proxy: &str, #[case] known: bool) {
        let refused = check_scheme(&proxy.parse().unwrap()).err().map(|error| error.to_string());
        assert_eq!(refused.is_none(), known);
        assert!(refused.is_none_or(|why| why.contains("http, https, socks5") && !why.contains("secret")));
    }

    #[rstest]
    #[case("https://10.0.0.1:443", "", Some("http://proxy:3128/"))]
    #[case("https://10.0.0.1:443", "10.0.0.0/8", None)]
    #[case("https://10.0.0.1:443", "localhost,10.0.0.1", None)]
    #[case("https://api.example.com", ".example.com", None)]
    #[case("https://api.example.com", "*", None)]
    #[case("https://10.0.0.1:443", "localhost, *", None)]
    #[case("https://127.0.0.1:6443", "localhost,127.0.0.1", None)]
    #[case("https://127.0.0.1:6443", "localhost", Some("http://proxy:3128/"))]
    fn no_proxy_exempts_the_api_server(#[case] server: &str, #[case] exempt: &str, #[case] expected: Option<&str>) {
        let environment = Matcher::builder().https("http://proxy:3128").no(exempt).build();
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("proxy:3128".to_owned()),
            "NO_PROXY" => Some(exempt.to_owned()),
            _ => None,
        };
        let proxy = proxy_from_environment(&server.parse().unwrap(), &environment, variable).unwrap();
        assert_eq!(proxy.map(|uri| uri.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_proxy_that_is_no_url_is_named_by_its_variable_alone() {
        let environment = Matcher::builder().https("http://proxy:3128").build();
        let variable = |name: &str| (name == "https_proxy").then(|| "http://user:secret@[".to_owned());
        let error = proxy_from_environment(&"https://a.example".parse().unwrap(), &environment, variable).unwrap_err();
        assert!(error.to_string().contains("https_proxy") && !error.to_string().contains("secret"), "{error}");
    }
}
