//! Kubeconfigs: the administrator's, and ones for a ServiceAccount, so that what is tested never runs as administrator.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

/// How a token of [`for_service_account`] is valid: longer than any test or load run, so that none has to renew it.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// A kubeconfig with one cluster and one bearer token. JSON, which is YAML.
pub(crate) fn with_token(cluster: Value, token: &str) -> anyhow::Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "testbed", "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "current-context": "testbed",
    });
    Ok(serde_json::to_string_pretty(&config)?)
}

/// A client for use by tests: patient, and named `testbed` in the audit log.
///
/// # Errors
/// When TLS or the way to log in cannot be set up.
pub fn test_client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(Duration::from_secs(10));
    // Watches and waits of a test may be silent for long; the test has its own deadline.
    config.read_timeout = None;
    config.write_timeout = Some(Duration::from_secs(60));
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("testbed/", env!("CARGO_PKG_VERSION")))));
    let server = config.cluster_url.clone();
    Client::try_from(config).with_context(|| format!("cannot make a client for {server}"))
}

/// `kubectl` for a kubeconfig, with nothing of the user's own settings and caches: kubectl caches what a server offers by
/// its address, and another control plane had that port yesterday.
pub(crate) fn kubectl(program: &Path, kubeconfig: &Path, directory: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env("KUBECONFIG", kubeconfig).env("KUBECACHEDIR", directory.join("kubectl-cache")).env("KUBERC", "off");
    command
}

/// kube's configuration for a kubeconfig file, to make a client of one's own with.
///
/// # Errors
/// When the file cannot be read or names something that is not there.
pub async fn config(kubeconfig: &Path) -> anyhow::Result<Config> {
    let unusable = || format!("cannot use the kubeconfig {}", kubeconfig.display());
    let content = Kubeconfig::read_from(kubeconfig).with_context(unusable)?;
    Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.with_context(unusable)
}

/// The content of a kubeconfig for a ServiceAccount of the cluster that `administrator` is for, with a token that the API
/// server gives out as it does for a pod.
///
/// # Errors
/// When there is no such ServiceAccount, or `client` may not create a token for it.
pub async fn for_service_account(
    client: &Client,
    administrator: &Path,
    namespace: &str,
    name: &str,
) -> anyhow::Result<String> {
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let token = Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| {
            format!("no token for the ServiceAccount {namespace}/{name}: create it, with its RBAC rules, first")
        })?
        .status
        .and_then(|status| status.token)
        .with_context(|| format!("the token for the ServiceAccount {namespace}/{name} came without content"))?;
    with_token(cluster_of(administrator)?, &token)
}

/// The `cluster` part of a kubeconfig's current context.
fn cluster_of(kubeconfig: &Path) -> anyhow::Result<Value> {
    let content = Kubeconfig::read_from(kubeconfig)?;
    let name = content.current_context.as_deref().and_then(|current| {
        let context = content.contexts.iter().find(|context| context.name == current)?;
        Some(context.context.as_ref()?.cluster.as_str())
    });
    let cluster = content.clusters.iter().find(|cluster| Some(cluster.name.as_str()) == name);
    let cluster = cluster.with_context(|| format!("{} has no current context with a cluster", kubeconfig.display()))?;
    Ok(serde_json::to_value(&cluster.cluster)?)
}
