//! One test's part of a cluster: namespaces of its own, and what a test does and looks at in them.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use configmapsync_operator::api::{ConfigMapSync, ConfigMapSyncStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::Cluster;
use testbed::audit::Mark;

use super::bed::Bed;
use super::operator::tail;
use super::rights;
use super::wait::{eventually, stays};

/// How many requests of the operator there were, by verb and resource.
pub type Counts = BTreeMap<String, usize>;

/// A test's namespaces on a bed, and the usual names in them: source `cm` in `src`, its copy `cm` in `dst`, syncs in
/// `syncs`.
pub struct Case<'a> {
    /// The bed.
    pub bed: &'a Bed,
    /// The administrator's client.
    pub client: Client,
    /// The namespace that sources stand in.
    pub src: String,
    /// The namespace that copies are made in.
    pub dst: String,
    /// The namespace that the syncs stand in.
    pub syncs: String,
    base: String,
    begun: Option<(u64, u32)>,
    refusals_are_expected: bool,
}

/// Makes namespaces differ from those of earlier runs on a cluster that outlives this process.
static RUN: LazyLock<String> = LazyLock::new(|| format!("{:x}", std::process::id()));

impl Case<'static> {
    /// On the shared bed, with its operator.
    pub async fn shared(test: &str) -> Self {
        let (bed, _) = Bed::shared().await;
        Self::on(bed, test).await
    }
}

impl<'a> Case<'a> {
    /// On a bed.
    pub async fn on(bed: &'a Bed, test: &str) -> Self {
        let base = match bed.cluster() {
            Cluster::Own(_) | Cluster::Node(_) => format!("t-{test}"),
            Cluster::Given(_) => format!("t-{}-{test}", *RUN),
        };
        let name = |suffix: &str| format!("{base}-{suffix}");
        let (src, dst, syncs) = (name("src"), name("dst"), name("syncs"));
        let begun = rights::audit_now(bed.cluster());
        let client = bed.cluster().client().unwrap();
        let case = Self { bed, client, src, dst, syncs, base, begun, refusals_are_expected: false };
        for namespace in [&case.src, &case.dst, &case.syncs] {
            case.create_namespace(namespace).await;
        }
        case
    }

    /// The test takes rights away from the operator: then a request that they do not cover is no fault.
    pub fn expecting_refusals(mut self) -> Self {
        self.refusals_are_expected = true;
        self
    }

    /// The name of one more namespace of this test; it is not created.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.base)
    }

    /// Creates one more namespace of this test.
    pub async fn namespace(&self, suffix: &str) -> String {
        let name = self.name(suffix);
        self.create_namespace(&name).await;
        name
    }

    /// Creates a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let namespace = object(json!({ "metadata": { "name": name } }));
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// Merges into a Namespace.
    pub async fn patch_namespace(&self, name: &str, body: Value) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.patch(name, &PatchParams::default(), &Patch::Merge(body)).await.unwrap();
    }

    /// Deletes a namespace and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::default()).await.unwrap();
        eventually(format!("namespace {name} goes"), async || match namespaces.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        })
        .await;
    }

    /// kubectl as administrator.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<String, String> {
        self.bed.kubectl(args, input).await
    }

    /// ConfigMaps of a namespace.
    pub fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The syncs of this test.
    pub fn syncs(&self) -> Api<ConfigMapSync> {
        Api::namespaced(self.client.clone(), &self.syncs)
    }

    // --- doing ---------------------------------------------------------------------------------------------------

    /// Creates a ConfigMap; `body` has its fields beside the name.
    pub async fn create(&self, namespace: &str, name: &str, body: Value) -> ConfigMap {
        self.maps(namespace).create(&PostParams::default(), &config_map(name, body)).await.unwrap()
    }

    /// Creates the source `cm` with this data.
    pub async fn source(&self, data: Value) -> ConfigMap {
        self.create(&self.src, "cm", json!({ "data": data })).await
    }

    /// Merges into a ConfigMap, as somebody called `kubectl-edit`.
    pub async fn patch(&self, namespace: &str, name: &str, body: Value) -> ConfigMap {
        let by = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.maps(namespace).patch(name, &by, &Patch::Merge(body)).await.unwrap()
    }

    /// Deletes a ConfigMap.
    pub async fn delete(&self, namespace: &str, name: &str) {
        self.maps(namespace).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// A spec from `src/cm` to `dst`, with these fields changed or added.
    pub fn spec(&self, more: Value) -> Value {
        let mut spec = json!({ "sourceNamespace": self.src, "destinationNamespace": self.dst, "configMapName": "cm" });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    /// Creates a sync with [`Case::spec`].
    pub async fn sync(&self, name: &str, more: Value) -> ConfigMapSync {
        let sync = object(json!({ "metadata": { "name": name }, "spec": self.spec(more) }));
        self.syncs().create(&PostParams::default(), &sync).await.unwrap()
    }

    /// Merges into a sync.
    pub async fn patch_sync(&self, name: &str, body: Value) -> ConfigMapSync {
        self.syncs().patch(name, &PatchParams::default(), &Patch::Merge(body)).await.unwrap()
    }

    /// Deletes a sync, and does not wait.
    pub async fn delete_sync(&self, name: &str) {
        self.syncs().delete(name, &DeleteParams::default()).await.unwrap();
    }

    // --- looking -------------------------------------------------------------------------------------------------

    /// A ConfigMap, if it is there.
    pub async fn get(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.maps(namespace).get_opt(name).await.unwrap()
    }

    /// The copy `dst/cm`.
    pub async fn copy(&self) -> ConfigMap {
        self.get(&self.dst, "cm").await.expect("there is a copy")
    }

    /// The status of a sync, empty where there is none.
    pub async fn status(&self, sync: &str) -> ConfigMapSyncStatus {
        self.syncs().get(sync).await.unwrap().status.unwrap_or_default()
    }

    /// A condition of a sync.
    pub async fn condition(&self, sync: &str, kind: &str) -> Option<Condition> {
        self.status(sync).await.conditions.into_iter().find(|condition| condition.type_ == kind)
    }

    /// Waits until a ConfigMap holds just this data.
    #[track_caller]
    pub fn until_data(&self, namespace: &str, name: &str, data: Value) -> impl Future<Output = ConfigMap> {
        eventually(format!("{namespace}/{name} holds {data}"), async move || {
            let map = self.get(namespace, name).await.ok_or("nothing is there")?;
            if json!(map.data.clone().unwrap_or_default()) == data { Ok(map) } else { Err(format!("{:?}", map.data)) }
        })
    }

    /// Waits until the copy `dst/cm` holds just this data.
    #[track_caller]
    pub fn until_copied(&self, data: Value) -> impl Future<Output = ConfigMap> {
        self.until_data(&self.dst, "cm", data)
    }

    /// Waits until a ConfigMap is gone.
    #[track_caller]
    pub fn until_gone(&self, namespace: &str, name: &str) -> impl Future<Output = ()> {
        eventually(format!("{namespace}/{name} goes"), async move || match self.get(namespace, name).await {
            None => Ok(()),
            Some(map) => Err(format!("{:?}", map.metadata)),
        })
    }

    /// Waits until a sync is gone.
    #[track_caller]
    pub fn until_sync_gone(&self, name: &str) -> impl Future<Output = ()> {
        eventually(format!("sync {name} goes"), async move || match self.syncs().get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(sync) => Err(serde_json::to_string(&sync).unwrap()),
        })
    }

    /// Waits until a condition of a sync's newest generation has this status and reason.
    #[track_caller]
    pub fn until(
        &self,
        sync: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> impl Future<Output = ConfigMapSyncStatus> {
        eventually(format!("{kind} of {sync} is {status}, {reason}"), async move || {
            let object = self.syncs().get(sync).await.unwrap();
            let told = object.status.unwrap_or_default();
            let found = told.observed_generation == object.metadata.generation
                && told.conditions.iter().any(|c| c.type_ == kind && c.status == status && c.reason == reason);
            if found { Ok(told) } else { Err(serde_json::to_string(&told).unwrap()) }
        })
    }

    /// Waits until a sync is in order, and tells so of what stands there now.
    #[track_caller]
    pub fn until_ready(&self, sync: &str) -> impl Future<Output = ConfigMapSyncStatus> {
        eventually(format!("{sync} is ready"), async move || {
            let object = self.syncs().get(sync).await.unwrap();
            let (spec, told) = (object.spec, object.status.unwrap_or_default());
            let name = spec.destination_name.as_ref().unwrap_or(&spec.config_map_name);
            let copy = self.get(&spec.destination_namespace, name).await.ok_or("there is no copy")?;
            let ready = told.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            let told_of = told.copy.as_ref().map(|copy| copy.resource_version.clone());
            if ready
                && told.observed_generation == object.metadata.generation
                && told_of == copy.metadata.resource_version
            {
                Ok(told)
            } else {
                Err(format!("{} {:?}", serde_json::to_string(&told).unwrap(), copy.metadata))
            }
        })
    }

    /// Waits until it is stalled for this reason; returns the sentence.
    #[track_caller]
    pub fn until_stalled(&self, sync: &str, reason: &str) -> impl Future<Output = String> {
        let until = self.until(sync, "Stalled", "True", reason);
        async move { until.await.message }
    }

    /// Makes sure that a ConfigMap stays the very same for so long.
    #[track_caller]
    pub fn stays(&self, namespace: &str, name: &str, during: Duration) -> impl Future<Output = ()> {
        let stays =
            stays(format!("{namespace}/{name} is left alone"), during, async move || self.get(namespace, name).await);
        async move { drop(stays.await) }
    }

    /// The reasons and notes of the Events about a sync.
    pub async fn events(&self, sync: &str) -> Vec<(String, String)> {
        let events = Api::<k8s_openapi::api::events::v1::Event>::namespaced(self.client.clone(), &self.syncs);
        let about = |event: &k8s_openapi::api::events::v1::Event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(sync))
        };
        let events = events.list(&ListParams::default()).await.unwrap().items.into_iter().filter(about);
        events.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
    }

    /// Waits for an Event about a sync; returns its note.
    #[track_caller]
    pub fn until_event(&self, sync: &str, reason: &str) -> impl Future<Output = String> {
        eventually(format!("there is an Event {reason} about {sync}"), async move || {
            let events = self.events(sync).await;
            let found = events.iter().find(|(other, _)| other == reason);
            found.map(|(_, note)| note.clone()).ok_or_else(|| format!("{events:?}"))
        })
    }

    /// Where the audit log ends now; `None` on a cluster that shows us none.
    pub fn mark(&self) -> Option<Mark> {
        self.bed.cluster().audit().ok().map(|audit| audit.mark().unwrap())
    }

    /// A source and a sync `s` of it, until the copy is there and the sync is Ready.
    pub async fn until_a_sync_works(&self) {
        self.source(json!({ "k": "v" })).await;
        self.sync("s", json!({})).await;
        self.until_copied(json!({ "k": "v" })).await;
        self.until_ready("s").await;
    }

    /// The requests of operators about this test's namespaces since then, but for those about Events.
    pub fn requests(&self, since: Mark) -> Counts {
        let events = self.bed.cluster().audit().unwrap().since(since).unwrap();
        let ours = |event: &&testbed::AuditEvent| {
            event.agent() == "configmapsync-operator"
                && event.namespace.starts_with(&self.base)
                && event.resource != "events"
        };
        let mut counts = Counts::new();
        for event in events.iter().filter(ours) {
            *counts.entry(format!("{} {}", event.verb, event.what())).or_default() += 1;
        }
        counts
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in self.bed.logs() {
                eprintln!(
                    "--- {} of namespaces {}-*:\n{}",
                    log.display(),
                    self.base,
                    tail(&log, &[&self.base, "ERROR"])
                );
            }
        } else if let Some(begun) = self.begun
            && !self.refusals_are_expected
        {
            let refused = rights::refused(self.bed.cluster(), begun);
            assert!(refused.is_empty(), "the shipped roles do not cover {refused:?}");
        }
        if matches!(self.bed.cluster(), Cluster::Given(_)) {
            let kubectl = |args: &[&str]| self.bed.cluster().kubectl().args(args).output();
            let _ = kubectl(&["delete", "configmapsyncs", "--all", "--timeout=20s", "--namespace", &self.syncs]);
            let _ = kubectl(&["delete", "namespace", "--wait=false", &self.src, &self.dst, &self.syncs]);
        }
    }
}

/// A ConfigMap with this name and these other fields.
fn config_map(name: &str, mut body: Value) -> ConfigMap {
    body["metadata"]["name"] = json!(name);
    object(body)
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}
