//! A cluster with the CRDs and the RBAC that are shipped, and operators on it.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize as _;
use serde_json::{Value, json};
use testbed::{Cluster, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::operator::Operator;
use super::wait::eventually;
use super::{ACCOUNT, SYSTEM};

/// Control planes beside the shared one: two cores carry no more at once.
static OWN_BEDS: Semaphore = Semaphore::const_new(2);
static SHARED: OnceCell<(Bed, Operator)> = OnceCell::const_new();

/// A cluster on which the operator is installed but for its Deployment.
pub struct Bed {
    cluster: Cluster,
    logs: Mutex<Vec<PathBuf>>,
}

/// A bed that one test has to itself.
pub struct OwnBed {
    bed: Bed,
    _turn: SemaphorePermit<'static>,
}

impl Deref for OwnBed {
    type Target = Bed;
    fn deref(&self) -> &Bed {
        &self.bed
    }
}

/// For what needs a way to any cluster.
impl Deref for Bed {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Bed {
    /// The bed of all tests that only need an operator, and that operator. It lives as long as the process.
    pub async fn shared() -> &'static (Self, Operator) {
        SHARED
            .get_or_init(|| async {
                let bed = Self {
                    cluster: Cluster::connect_or_start(Options::default()).await.unwrap(),
                    logs: Mutex::default(),
                };
                bed.install(|_| {}).await;
                let operator = bed.operator("shared").await;
                bed.until_all_shards_are_held().await;
                (bed, operator)
            })
            .await
    }

    /// A control plane for this test alone, without an operator as yet. `None`, said on standard error, where
    /// `KUBECONFIG` asks for another cluster to be used.
    pub async fn own(test: &str) -> Option<OwnBed> {
        let bed = Self::bare(test).await?;
        bed.install(|_| {}).await;
        Some(bed)
    }

    /// As [`Bed::own`], and the audit log has what writes of ConfigMaps send.
    pub async fn own_with_bodies(test: &str) -> Option<OwnBed> {
        let options = Options { audited_objects: vec![("", "configmaps")], ..Options::default() };
        let bed = Self::with(test, options).await?;
        bed.install(|_| {}).await;
        Some(bed)
    }

    /// As [`Bed::own`], for what Kubernetes has from this version on; `None`, said on standard error, on an older one.
    pub async fn own_since(test: &str, what: &str, since: (u32, u32)) -> Option<OwnBed> {
        let bed = Self::bare(test).await?;
        let (version, (major, minor)) = (bed.version().await.unwrap(), since);
        if version < since {
            let said =
                format!("SKIPPED {test}: Kubernetes {}.{} has no {what}, {major}.{minor} has\n", version.0, version.1);
            // Not by eprintln, which the test runner would keep to itself.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return None;
        }
        bed.install(|_| {}).await;
        Some(bed)
    }

    /// As [`Bed::own`], with nothing installed on it.
    pub async fn bare(test: &str) -> Option<OwnBed> {
        Self::with(test, Options::default()).await
    }

    async fn with(test: &str, options: Options) -> Option<OwnBed> {
        if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
            eprintln!("SKIPPED {test}: it needs a control plane of its own; unset KUBECONFIG to run it");
            return None;
        }
        let turn = OWN_BEDS.acquire().await.unwrap();
        let cluster = Cluster::connect_or_start(options).await.unwrap();
        Some(OwnBed { bed: Self { cluster, logs: Mutex::default() }, _turn: turn })
    }

    /// Applies what `deploy/install.yaml` has, but for its Deployment. `change` may alter each document before.
    pub async fn install(&self, change: impl Fn(&mut Value)) {
        let manifests = include_str!("../../../deploy/install.yaml");
        let mut documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(manifests)
            .map(|document| Value::deserialize(document).unwrap())
            .filter(|document| document["kind"] != "Deployment")
            .collect();
        documents.iter_mut().for_each(change);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &list.to_string()).await.unwrap();
        let crds = ["crd/configmapsyncs.apps.kapendra.com", "crd/clusterconfigmapsyncs.apps.kapendra.com"];
        let wait = [&["wait", "--for=condition=Established", "--timeout=60s"], &crds[..]].concat();
        self.kubectl(&wait, "").await.unwrap();
    }

    /// Starts an operator with the account and the rights that are shipped.
    pub async fn operator(&self, name: &str) -> Operator {
        self.operator_with(name, &[]).await
    }

    /// As [`Bed::operator`], with more flags.
    pub async fn operator_with(&self, name: &str, flags: &[&str]) -> Operator {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
        let operator = Operator::start(&kubeconfig, self.cluster.dir(), name, flags).await;
        self.logs.lock().unwrap().push(operator.log().to_owned());
        operator
    }

    /// Starts an operator of another version.
    pub async fn operator_of(&self, program: &str, name: &str) -> Operator {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
        let operator = Operator::launch_program(program, &kubeconfig, self.cluster.dir(), name, &[], &[]).await;
        self.logs.lock().unwrap().push(operator.log().to_owned());
        operator
    }

    /// Starts an operator where something is missing that it needs: it is waited for only until it listens.
    pub async fn operator_in_need(&self, name: &str) -> Operator {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
        let operator = Operator::launch(&kubeconfig, self.cluster.dir(), name, &[]).await;
        self.logs.lock().unwrap().push(operator.log().to_owned());
        operator
    }

    /// Starts an operator with a kubeconfig of the test's own making and these variables in its environment, and waits
    /// until it is ready. `change` alters the kubeconfig of the operator's account.
    pub async fn operator_in(
        &self,
        name: &str,
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut Value),
    ) -> Operator {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
        let mut content: Value = serde_json::from_slice(&std::fs::read(&kubeconfig).unwrap()).unwrap();
        change(&mut content);
        std::fs::write(&kubeconfig, content.to_string()).unwrap();
        let operator = Operator::launch_with(&kubeconfig, self.cluster.dir(), name, &[], variables).await;
        self.logs.lock().unwrap().push(operator.log().to_owned());
        eventually(format!("operator {name} is ready"), async || operator.get("/readyz").await).await;
        operator
    }

    /// Starts an operator of which this task will panic.
    pub async fn operator_that_fails(&self, task: &str) -> Operator {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
        let variables = [("CONFIGMAPSYNC_FAILPOINT", task)];
        let operator = Operator::launch_with(&kubeconfig, self.cluster.dir(), task, &[], &variables).await;
        self.logs.lock().unwrap().push(operator.log().to_owned());
        operator
    }

    /// Starts an operator and waits until it holds all shards.
    pub async fn holder(&self, name: &str) -> Operator {
        let operator = self.operator(name).await;
        eventually(format!("operator {name} holds all shards"), async || {
            let held = operator.metric("configmapsync_shards_held", &[]).await;
            if held == 64.0 { Ok(()) } else { Err(format!("{held} shards")) }
        })
        .await;
        operator
    }

    /// Waits until each of the 64 shard Leases names a holder.
    pub async fn until_all_shards_are_held(&self) {
        let leases = Api::<Lease>::namespaced(self.cluster.client().unwrap(), SYSTEM);
        eventually("all 64 shard Leases are held", async || {
            let list = leases.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let held = list.items.into_iter().filter(|lease| {
                let shard = lease.metadata.name.as_deref().is_some_and(|name| name.starts_with("configmapsync-shard-"));
                shard && lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.is_some())
            });
            match held.count() {
                64 => Ok(()),
                held => Err(format!("{held} are held")),
            }
        })
        .await;
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs kubectl as administrator. Returns what it printed, or what it complained of.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<String, String> {
        let mut command = tokio::process::Command::from(self.cluster.kubectl());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The logs of all operators that were ever started on it.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.logs.lock().unwrap().clone()
    }
}
