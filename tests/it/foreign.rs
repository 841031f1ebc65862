//! What is not ours stays as it is to the byte, whatever objects want its place, in whatever order things happen.

use std::collections::BTreeMap;

use configmapsync_operator::api::ConfigMapSync;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{Bed, Case, Many, Operator, PREFIX, eventually_within, seconds};

/// What is done in one run.
const STEPS: usize = 120;
/// The names at which people and objects meet.
const NAMES: [&str; 4] = ["w", "x", "y", "z"];
/// The name at which objects with `conflictPolicy: Overwrite` want their copies, and people and other objects come, too.
const OVERWRITTEN: &str = "v";
const OBJECTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const MANY: [&str; 2] = ["p", "q"];

/// Somebody else's ConfigMaps, as they were left, by namespace and name.
type Theirs = BTreeMap<(String, String), ConfigMap>;

/// Whether an object may replace what stands there: then just the ConfigMap itself has to stay.
fn may_be_replaced(name: &str, map: &ConfigMap) -> bool {
    let owners = map.metadata.owner_references.iter().flatten();
    let protect = format!("{PREFIX}protect");
    let is_protected = map.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(&protect));
    let is_controlled = owners.into_iter().any(|owner| owner.controller == Some(true));
    name == OVERWRITTEN && map.immutable != Some(true) && !is_controlled && !is_protected
}

struct Stage<'a> {
    many: Many<'a>,
    namespaces: Vec<String>,
    uids: Vec<String>,
    random: StdRng,
    theirs: Theirs,
    /// The UID of a sync that was there once.
    departed: String,
    step: usize,
}

impl Stage<'_> {
    fn case(&self) -> &Case<'_> {
        &self.many.case
    }

    fn name(&mut self) -> &'static str {
        if self.random.random_bool(0.2) { OVERWRITTEN } else { NAMES.choose(&mut self.random).unwrap() }
    }

    /// Where an object is to have its copies, and what it does with what stands there.
    fn wish(&mut self) -> (&'static str, &'static str) {
        match self.name() {
            OVERWRITTEN if self.random.random_bool(0.7) => (OVERWRITTEN, "Overwrite"),
            name => (name, "Fail"),
        }
    }

    fn uid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string()
    }

    fn place(&mut self) -> usize {
        self.random.random_range(0..self.namespaces.len())
    }

    /// Marks that an object of ours would put on its copy, for another place than the one where they stand; or those that it put on
    /// one in another cluster, and which a backup brought here.
    async fn marks(&mut self, elsewhere: usize, name: &str) -> Value {
        let restored = self.random.random_bool(0.4).then(|| [self.uid(), self.uid()]);
        let syncs = self.case().syncs().list(&ListParams::default()).await.unwrap().items;
        let objects = self.many.api().list(&ListParams::default()).await.unwrap().items;
        let [at, owner] = restored.map_or([Some(self.uids[elsewhere].clone()), None], |uids| uids.map(Some));
        let uid = |uid: &Option<String>| owner.clone().or(uid.clone()).unwrap_or_default();
        let (labels, sync) = match self.random.random_range(0..3) {
            0 if !syncs.is_empty() => {
                let metadata = &syncs[0].metadata;
                let name = metadata.name.clone().unwrap();
                let labels = json!({ (format!("{PREFIX}sync-name")): name, (format!("{PREFIX}sync-namespace")): self.case().syncs });
                (labels, format!("{}/{name}/{}", self.case().syncs, uid(&metadata.uid)))
            }
            1 if !objects.is_empty() => {
                let metadata = &objects[0].metadata;
                let name = metadata.name.clone().unwrap();
                (json!({ (format!("{PREFIX}cluster-sync-name")): name }), format!("/{name}/{}", uid(&metadata.uid)))
            }
            _ => (json!({}), format!("{}/gone/{}", self.case().syncs, self.departed)),
        };
        let mut labels = labels;
        labels[format!("{PREFIX}managed-by")] = json!("configmapsync-controller");
        json!({
            "labels": labels,
            "annotations": {
                (format!("{PREFIX}sync")): sync,
                (format!("{PREFIX}source")): format!("{}/cm/11111111-2222-3333-4444-555555555555/1", self.case().src),
                (format!("{PREFIX}source-hash")): "0".repeat(64),
                (format!("{PREFIX}last-sync")): "2026-01-01T00:00:00Z",
                (format!("{PREFIX}at")): format!("{}/{name}", at.unwrap_or_default()),
                (format!("{PREFIX}at-namespace")): self.namespaces[elsewhere],
            },
        })
    }

    /// Somebody makes a ConfigMap of some kind, unless something stands there.
    async fn people_make(&mut self) {
        let (place, name) = (self.place(), self.name());
        let namespace = self.namespaces[place].clone();
        let elsewhere = (place + self.random.random_range(1..self.namespaces.len())) % self.namespaces.len();
        let mut body = json!({ "data": { "theirs": self.step.to_string() } });
        match self.random.random_range(0..8) {
            0 => {}
            7 => body["metadata"]["annotations"] = json!({ (format!("{PREFIX}protect")): "true" }),
            1 => body["immutable"] = json!(true),
            2 => {
                let owner = self.case().get(&namespace, "owner").await.unwrap();
                body["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid, "controller": true,
                }]);
            }
            3 => body["metadata"]["finalizers"] = json!(["example.com/held"]),
            4 | 5 => body["metadata"] = self.marks(elsewhere, name).await,
            _ => {
                // A copy of ours, taken elsewhere as kubectl does.
                let copies =
                    self.case().maps(&self.namespaces[elsewhere]).list(&ListParams::default()).await.unwrap().items;
                let is_copy = |map: &&ConfigMap| {
                    let annotations = map.metadata.annotations.as_ref();
                    annotations.is_some_and(|all| all.contains_key(&format!("{PREFIX}sync")))
                };
                let Some(copy) = copies.iter().find(is_copy) else { return };
                body = json!({
                    "metadata": { "labels": copy.metadata.labels, "annotations": copy.metadata.annotations },
                    "data": copy.data,
                });
            }
        }
        body["metadata"]["name"] = json!(name);
        let map: ConfigMap = serde_json::from_value(body).unwrap();
        if let Ok(made) = self.case().maps(&namespace).create(&PostParams::default(), &map).await {
            self.theirs.insert((namespace, name.to_owned()), made);
        }
    }

    async fn people_change(&mut self) {
        let all: Vec<(String, String)> = self.theirs.keys().cloned().collect();
        let Some((namespace, name)) = all.choose(&mut self.random) else { return };
        let labels = json!({ "metadata": { "labels": { "relabelled": self.step.to_string() } } });
        let changed = self.case().patch(namespace, name, labels).await;
        self.theirs.insert((namespace.clone(), name.clone()), changed);
    }

    async fn people_delete(&mut self) {
        let all: Vec<(String, String)> = self.theirs.keys().cloned().collect();
        let Some((namespace, name)) = all.choose(&mut self.random) else { return };
        let free = json!({ "metadata": { "finalizers": null } });
        self.case().patch(namespace, name, free).await;
        self.theirs.remove(&(namespace.clone(), name.clone()));
        self.case().delete(namespace, name).await;
    }

    /// An object comes, moves or goes.
    async fn objects(&mut self) {
        let name = *OBJECTS.choose(&mut self.random).unwrap();
        let (place, (at, policy)) = (self.place(), self.wish());
        let orphan = if self.random.random_bool(0.3) { "Orphan" } else { "Delete" };
        let wish = json!({
            "destinationNamespace": self.namespaces[place], "destinationName": at,
            "conflictPolicy": policy, "deletionPolicy": orphan,
        });
        match self.case().syncs().get_opt(name).await.unwrap() {
            None => _ = self.case().sync(name, wish).await,
            Some(_) if self.random.random_bool(0.4) => self.case().delete_sync(name).await,
            // It may be on its way out.
            Some(_) => {
                let patch = json!({ "spec": wish }).to_string();
                let place = format!("--namespace={}", self.case().syncs);
                let _ = self.case().kubectl(&["patch", "cms", name, &place, "--type=merge", "-p", &patch], "").await;
            }
        }
    }

    async fn many_objects(&mut self) {
        let name = *MANY.choose(&mut self.random).unwrap();
        let (at, policy) = self.wish();
        match self.many.api().get_opt(&self.case().name(name)).await.unwrap() {
            None => _ = self.many.create(name, json!({ "destinationName": at, "conflictPolicy": policy })).await,
            Some(_) => self.many.delete(name).await,
        }
    }

    async fn label(&mut self) {
        let place = self.place();
        let value = if self.random.random_bool(0.6) { json!("yes") } else { Value::Null };
        let namespace = self.namespaces[place].clone();
        self.many.label(&namespace, value).await;
    }

    async fn changed(&self, when: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((namespace, name), left) in &self.theirs {
            let found = self.case().get(namespace, name).await;
            let is_there = found.as_ref().is_some_and(|found| found.metadata.uid == left.metadata.uid);
            if !is_there || found.as_ref() != Some(left) && !may_be_replaced(name, left) {
                wrong.push(format!("{when}: {namespace}/{name}\nwas {left:?}\nis  {found:?}"));
            }
        }
        wrong
    }
}

/// Nothing is left to do: each object is in order, or says why not.
async fn settled(stage: &Stage<'_>) -> Result<(), String> {
    let syncs: Vec<ConfigMapSync> = stage.case().syncs().list(&ListParams::default()).await.unwrap().items;
    for sync in syncs {
        let status = sync.status.clone().unwrap_or_default();
        let is_told = status.observed_generation == sync.metadata.generation
            && !status.conditions.iter().any(|it| it.type_ == "Reconciling" && it.status == "True");
        if sync.metadata.deletion_timestamp.is_some() || !is_told {
            return Err(serde_json::to_string(&sync).unwrap());
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_stays_as_it_is_to_the_byte() {
    let Some(bed) = Bed::own("what_is_not_ours_stays_as_it_is").await else { return };
    let seed = std::env::var("FOREIGN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("FOREIGN_SEED={seed}");
    let many = Many::on(Case::on(&bed, "foreign").await, "foreign");
    let mut namespaces = Vec::new();
    for suffix in ["one", "two", "three"] {
        namespaces.push(many.selected(suffix).await);
    }
    let mut uids = Vec::new();
    for namespace in &namespaces {
        many.case.create(namespace, "owner", json!({})).await;
        let namespace = Api::<Namespace>::all(many.case.client.clone()).get(namespace).await.unwrap();
        uids.push(namespace.metadata.uid.unwrap());
    }
    many.case.source(json!({ "n": "0" })).await;
    let mut operator: Operator = bed.holder("foreign").await;
    let departed = many.case.sync("gone", json!({ "destinationName": "gone" })).await;
    many.case.until_ready("gone").await;
    many.case.delete_sync("gone").await;
    many.case.until_sync_gone("gone").await;
    let departed = departed.metadata.uid.unwrap();
    let random = StdRng::seed_from_u64(seed);
    let mut stage = Stage { many, namespaces, uids, random, theirs: Theirs::new(), departed, step: 0 };

    let mut made = 0;
    for step in 0..STEPS {
        stage.step = step;
        match stage.random.random_range(0..20) {
            0..6 => stage.people_make().await,
            6..8 => stage.people_change().await,
            8 => stage.people_delete().await,
            9..14 => stage.objects().await,
            14..16 => stage.many_objects().await,
            16 => stage.label().await,
            17 => _ = stage.case().patch(&stage.case().src, "cm", json!({ "data": { "n": step.to_string() } })).await,
            18 if step % 4 == 0 => {
                operator.kill();
                operator = bed.operator(&format!("foreign-{step}")).await;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(stage.random.random_range(0..400))).await,
        }
        made = made.max(stage.theirs.len());
    }
    assert!(made > 2, "people made {made} ConfigMaps at most");
    bed.until_all_shards_are_held().await;
    eventually_within(seconds(120), "all has settled", async || settled(&stage).await).await;
    let wrong = stage.changed("once all has settled").await;
    assert!(wrong.is_empty(), "FOREIGN_SEED={seed}: {}", wrong.join("\n"));

    // All objects go, and what people made stays.
    for name in OBJECTS {
        let _ = stage.case().syncs().delete(name, &DeleteParams::default()).await;
    }
    for name in MANY {
        let _ = stage.many.api().delete(&stage.case().name(name), &DeleteParams::default()).await;
    }
    eventually_within(seconds(120), "all objects are gone", async || {
        let syncs = stage.case().syncs().list(&ListParams::default()).await.unwrap().items.len();
        let objects = stage.many.api().list(&ListParams::default()).await.unwrap().items.len();
        if syncs + objects == 0 { Ok(()) } else { Err(format!("{syncs} and {objects} are there")) }
    })
    .await;
    tokio::time::sleep(seconds(2)).await;
    let wrong = stage.changed("once all objects are gone").await;
    assert!(wrong.is_empty(), "FOREIGN_SEED={seed}: {}", wrong.join("\n"));
    assert!(operator.is_running());
}
