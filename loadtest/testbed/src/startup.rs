//! What a start of a control plane is made of: files that its programs read, and waits for what they do.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::audit::{self, AuditLog};
use crate::directory::Directory;
use crate::running::Program;
use crate::{build, keys, kubeconfig, programs};

/// Ample: it takes 2 to 5 s on two idle cores, but the cores may be busy compiling.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn until_listening(port: u16, program: &Program) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        program.check()?;
        if Instant::now() > deadline {
            bail!("nothing listens on port {port} after {} s", READY_WITHIN.as_secs());
        }
        sleep(Duration::from_millis(10)).await;
    }
    // Was it ours that answered? One that found its port taken ends at once.
    sleep(Duration::from_millis(20)).await;
    program.check()
}

/// `check` fails when the API server has ended.
pub(crate) async fn until_certificate(
    directory: &Directory,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if fs::read(directory.path().join(programs::CERTIFICATE_KEY)).is_ok_and(|key| !key.is_empty()) {
            return Ok(fs::read(directory.path().join(programs::CERTIFICATE))?);
        }
        check()?;
        if Instant::now() > deadline {
            bail!("the API server has made no certificate after {} s", READY_WITHIN.as_secs());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the API server says that it is ready and the namespace `default` is there. `check` fails when something that
/// this needs has ended.
pub(crate) async fn until_ready(
    mut config: Config,
    directory: &Directory,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    config.default_retry = false;
    let client = kubeconfig::test_client(config)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        check()?;
        let last = match timeout(Duration::from_secs(5), is_ready(&client)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("no answer within 5 s"),
        };
        if Instant::now() > deadline {
            return Err(last.context(format!(
                "the API server is not ready after {} s; the logs are in {}",
                READY_WITHIN.as_secs(),
                directory.path().display()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn is_ready(client: &Client) -> anyhow::Result<()> {
    client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
    Api::<Namespace>::all(client.clone()).get("default").await?;
    Ok(())
}

/// Tokens for the administrator and for the controllers, which have names of their own in the audit log.
pub(crate) fn write_credentials(directory: &Directory) -> anyhow::Result<[String; 2]> {
    let [admin, controllers] = [keys::token()?, keys::token()?];
    let tokens = format!(
        "{admin},testbed:admin,admin,\"system:masters\"\n{controllers},testbed:controllers,controllers,\"system:masters\"\n"
    );
    directory.write(programs::TOKENS, tokens)?;
    let key = keys::signing_key()?;
    directory.write(programs::SIGNING_PRIVATE, key.private)?;
    directory.write(programs::SIGNING_PUBLIC, key.public)?;
    Ok([admin, controllers])
}

pub(crate) fn write_audit_files(directory: &Directory, objects: &[(&str, &str)]) -> anyhow::Result<AuditLog> {
    directory.write(programs::AUDIT_POLICY, audit::policy(objects))?;
    // There from the beginning, so that a mark can be set before the first request.
    Ok(AuditLog::new(directory.write(programs::AUDIT_LOG, "")?))
}

/// Kubernetes has it from 1.36 on; a server before that does not start with a gate that it does not know. Said once.
pub(crate) fn knows_sharded_watch(bin_dir: &Path) -> anyhow::Result<bool> {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    if let Some(knows) = KNOWS.get() {
        return Ok(*knows);
    }
    let version = build::version(bin_dir)?;
    let knows = version.is_some_and(|version| version >= (1, 36));
    if KNOWS.set(knows).is_ok() && !knows {
        let version = version
            .map_or_else(|| "this Kubernetes".to_owned(), |(major, minor)| format!("Kubernetes {major}.{minor}"));
        eprintln!("testbed: {version} has no sharded watch: going on without it");
    }
    Ok(knows)
}
