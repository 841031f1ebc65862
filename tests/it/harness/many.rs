//! What a test does with objects that want a copy in each of many namespaces.

use configmapsync_operator::api::{ClusterConfigMapSync, ClusterConfigMapSyncStatus};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Case, eventually};

/// What a test does with ClusterConfigMapSyncs, beside what its case has. They are named after the test, since they share the
/// cluster.
pub struct Many<'a> {
    pub case: Case<'a>,
    label: String,
}

impl Many<'static> {
    pub async fn shared(test: &str) -> Self {
        Self::on(Case::shared(test).await, test)
    }
}

impl<'a> Many<'a> {
    pub fn on(case: Case<'a>, test: &str) -> Self {
        Self { case, label: format!("test-{test}") }
    }

    pub fn api(&self) -> Api<ClusterConfigMapSync> {
        Api::all(self.case.client.clone())
    }

    pub fn selector(&self) -> Value {
        json!({ "matchLabels": { (self.label.as_str()): "yes" } })
    }

    /// A namespace that the test's selector means.
    pub async fn selected(&self, suffix: &str) -> String {
        let name = self.case.name(suffix);
        let namespace = json!({ "metadata": { "name": name, "labels": { (self.label.as_str()): "yes" } } });
        let namespace = serde_json::from_value(namespace).unwrap();
        Api::<Namespace>::all(self.case.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    pub async fn label(&self, namespace: &str, value: Value) {
        let patch = json!({ "metadata": { "labels": { (self.label.as_str()): value } } });
        self.case.patch_namespace(namespace, patch).await;
    }

    /// The object `name`, whose source is `cm` in `src`, for the namespaces that the test's selector means.
    pub async fn create(&self, name: &str, more: Value) -> ClusterConfigMapSync {
        let mut spec = json!({
            "sourceNamespace": self.case.src, "configMapName": "cm", "namespaceSelector": self.selector(),
        });
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        if spec["namespaceSelector"].is_null() {
            spec.as_object_mut().unwrap().remove("namespaceSelector");
        }
        let object = serde_json::from_value(json!({
            "apiVersion": "apps.kapendra.com/v1alpha1", "kind": "ClusterConfigMapSync",
            "metadata": { "name": self.case.name(name) }, "spec": spec,
        }));
        self.api().create(&PostParams::default(), &object.unwrap()).await.unwrap()
    }

    pub async fn patch(&self, name: &str, patch: Value) {
        self.api().patch(&self.case.name(name), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn status(&self, name: &str) -> ClusterConfigMapSyncStatus {
        self.api().get(&self.case.name(name)).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until `Ready` has this reason, for the spec as it is, and so many copies are in order.
    pub async fn until(&self, name: &str, reason: &str, copies: &str) -> ClusterConfigMapSyncStatus {
        eventually(format!("{name} is {reason} with {copies}"), async || {
            let object = self.api().get(&self.case.name(name)).await.map_err(|error| error.to_string())?;
            let status = object.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|it| it.type_ == "Ready");
            let observed = status.observed_generation == object.metadata.generation;
            match ready {
                Some(ready) if observed && ready.reason == reason && status.copies == copies => Ok(status),
                _ => Err(format!("{status:?}")),
            }
        })
        .await
    }

    pub async fn until_copy(&self, namespace: &str, name: &str, data: Value) -> ConfigMap {
        eventually(format!("{namespace}/{name} holds {data}"), async || match self.case.get(namespace, name).await {
            Some(copy) if json!(copy.data) == data => Ok(copy),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    pub async fn until_none(&self, namespace: &str, name: &str) {
        eventually(format!("{namespace}/{name} goes"), async || match self.case.get(namespace, name).await {
            None => Ok(()),
            Some(copy) => Err(format!("{copy:?}")),
        })
        .await;
    }

    /// The versions of all copies in these namespaces, and of all objects.
    pub async fn versions(&self, namespaces: &[String]) -> Vec<Option<String>> {
        let mut versions: Vec<_> = self
            .api()
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|it| it.metadata.resource_version)
            .collect();
        for namespace in namespaces {
            let copies = self.case.maps(namespace).list(&Default::default()).await.unwrap();
            versions.extend(copies.items.into_iter().map(|copy| copy.metadata.resource_version));
        }
        versions
    }

    pub async fn delete(&self, name: &str) {
        self.api().delete(&self.case.name(name), &DeleteParams::default()).await.unwrap();
    }

    pub async fn until_gone(&self, name: &str) {
        eventually(format!("{name} goes"), async || {
            match self.api().get_opt(&self.case.name(name)).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(object) => Err(format!("{object:?}")),
            }
        })
        .await;
    }
}
