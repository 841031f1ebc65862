//! An account of all that an operator asked of the API server about ConfigMaps, against what the owners of sources and destinations let
//! it do: a path past a rule shows here, whichever it is.
//!
//! Each content of a source is one word, and comes in one write with what the owner says of sharing it. So whether a word may be
//! written into a namespace is known for ever, and no answer depends on when somebody heard of something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use configmapsync_operator::api::ConfigMapSync;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use testbed::AuditEvent;

use crate::harness::{Bed, Case, Many, PREFIX, eventually_within, seconds};
use crate::requests::asked;

const STEPS: usize = 200;
/// Names of sources; the last one is never wanted by anybody.
const SOURCES: [&str; 4] = ["s0", "s1", "s2", "unwanted"];
/// Names of copies.
const COPIES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
const OBJECTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const MANY: [&str; 2] = ["p", "q"];
/// Namespaces of copies: the owner of the third refuses copies, and a flag of the operator names the fourth.
const PLACES: [&str; 4] = ["blue", "red", "closed", "kept"];

struct Stage<'a> {
    many: Many<'a>,
    /// In the order of [`PLACES`].
    places: Vec<String>,
    /// Where sources stand; the Namespace of the second shares with all.
    sources: [String; 2],
    random: StdRng,
    /// Into which namespaces each word may be written.
    shared: BTreeMap<String, BTreeSet<String>>,
    /// What an object ever named as source or as destination.
    named: BTreeSet<(String, String)>,
    protected: BTreeMap<(String, String), ConfigMap>,
}

impl Stage<'_> {
    fn case(&self) -> &Case<'_> {
        &self.many.case
    }

    /// What an owner may say, and into which namespaces it lets a word.
    fn says(&mut self, at: usize) -> (Value, BTreeSet<String>) {
        let [blue, red, ..] = &self.places[..] else { panic!("places") };
        let all = || self.places.iter().cloned().collect::<BTreeSet<_>>();
        let some = |places: &[&String]| places.iter().map(|place| (*place).clone()).collect();
        let none = BTreeSet::new;
        let (share, with) = (format!("{PREFIX}share"), format!("{PREFIX}share-with"));
        let silence = if at == 1 { all() } else { none() };
        let says = [
            (json!({ share.as_str(): null, with.as_str(): null }), silence),
            (json!({ share.as_str(): "all", with.as_str(): null }), all()),
            (json!({ share.as_str(): "*", with.as_str(): null }), all()),
            (json!({ share.as_str(): "*-b*,*-red", with.as_str(): null }), some(&[blue, red])),
            (json!({ share.as_str(): "none", with.as_str(): null }), none()),
            (json!({ share.as_str(): format!("{red},nobody"), with.as_str(): null }), some(&[red])),
            (json!({ share.as_str(): "*-blue, *-r?d", with.as_str(): null }), some(&[blue, red])),
            (json!({ share.as_str(): null, with.as_str(): "team in (blue,green)" }), some(&[blue])),
            (json!({ share.as_str(): red, with.as_str(): "team=blue,!old" }), some(&[blue, red])),
            (json!({ share.as_str(): "All", with.as_str(): null }), none()),
            (json!({ share.as_str(): "", with.as_str(): "team=blue" }), none()),
            (json!({ share.as_str(): blue, with.as_str(): "team in (blue" }), none()),
        ];
        says.choose(&mut self.random).unwrap().clone()
    }

    /// The owner of a source writes another word, and says in the same write with whom it is shared.
    async fn speak(&mut self, step: usize) {
        let (at, name) = (self.random.random_range(0..2), *SOURCES.choose(&mut self.random).unwrap());
        let (annotations, into) = self.says(at);
        let word = format!("{name}-{step}");
        self.shared.insert(word.clone(), into);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "annotations": annotations }, "data": { "word": word },
        });
        let maps = self.case().maps(&self.sources[at]);
        match maps.get_opt(name).await.unwrap() {
            Some(_) => _ = maps.patch(name, &PatchParams::default(), &Patch::Merge(object)).await.unwrap(),
            None => {
                let map: ConfigMap = serde_json::from_value(without_nulls(object)).unwrap();
                maps.create(&PostParams::default(), &map).await.unwrap();
            }
        }
    }

    async fn object(&mut self) {
        let name = *OBJECTS.choose(&mut self.random).unwrap();
        if let Some(found) = self.case().syncs().get_opt(name).await.unwrap() {
            // One that is being deleted may be gone at any moment.
            if found.metadata.deletion_timestamp.is_none() && self.random.random_bool(0.2) {
                self.case().delete_sync(name).await;
            }
            return;
        }
        let place =
            if self.random.random_bool(0.3) { self.random.random_range(0..4) } else { self.random.random_range(0..2) };
        let (from, to) = (self.random.random_range(0..2), self.places[place].clone());
        let (source, copy) =
            (*SOURCES[..3].choose(&mut self.random).unwrap(), *COPIES.choose(&mut self.random).unwrap());
        self.named.extend([(self.sources[from].clone(), source.to_owned()), (to.clone(), copy.to_owned())]);
        let wish = json!({
            "sourceNamespace": self.sources[from], "configMapName": source,
            "destinationNamespace": to, "destinationName": copy, "conflictPolicy": "Overwrite",
        });
        self.case().sync(name, wish).await;
    }

    async fn many_object(&mut self) {
        let name = *MANY.choose(&mut self.random).unwrap();
        if let Some(found) = self.many.api().get_opt(&self.case().name(name)).await.unwrap() {
            if found.metadata.deletion_timestamp.is_none() && self.random.random_bool(0.2) {
                self.many.delete(name).await;
            }
            return;
        }
        let (source, copy) =
            (*SOURCES[..3].choose(&mut self.random).unwrap(), *COPIES.choose(&mut self.random).unwrap());
        let from = self.sources[self.random.random_range(0..2)].clone();
        self.named.insert((from.clone(), source.to_owned()));
        self.named.extend(self.places.iter().map(|place| (place.clone(), copy.to_owned())));
        let wish = json!({
            "sourceNamespace": from, "configMapName": source, "destinationName": copy, "conflictPolicy": "Overwrite",
        });
        self.many.create(name, wish).await;
    }

    /// The owner of a ConfigMap protects it from the beginning, where nothing stands.
    async fn protect(&mut self) {
        let (place, name) =
            (self.places.choose(&mut self.random).unwrap().clone(), *COPIES.choose(&mut self.random).unwrap());
        let map = json!({
            "metadata": { "name": name, "annotations": { (format!("{PREFIX}protect")): "true" } }, "data": { "theirs": "x" },
        });
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        if self.protected.len() < 3
            && let Ok(made) = self.case().maps(&place).create(&PostParams::default(), &map).await
        {
            self.protected.insert((place, name.to_owned()), made);
        }
    }

    /// What no owner allowed in a request.
    fn objection(&self, event: &AuditEvent) -> Option<&'static str> {
        let at = (event.namespace.clone(), event.name.clone());
        if event.verb == "get" {
            return (!self.named.contains(&at)).then_some("no object names it");
        }
        if self.places[2..].contains(&event.namespace) {
            return Some("its namespace is guarded");
        }
        if !self.places.contains(&event.namespace) {
            return Some("it is no place of a copy");
        }
        let word = event.sent["data"]["word"].as_str();
        match word.map(|word| self.shared[word].contains(&event.namespace)) {
            Some(false) => Some("its content is not shared with that namespace"),
            Some(true) => None,
            None => (event.verb != "delete").then_some("its content is nobody's word"),
        }
    }
}

fn without_nulls(mut object: Value) -> Value {
    object["metadata"]["annotations"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

#[tokio::test]
async fn no_request_is_beyond_what_the_owners_allow() {
    let Some(bed) = Bed::own_with_bodies("account").await else { return };
    let seed = std::env::var("ACCOUNT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("ACCOUNT_SEED={seed}");
    let many = Many::on(Case::on(&bed, "account").await, "account");
    let labelled = async |name: &str, labels: Value, annotations: Value| {
        many.case.patch_namespace(name, json!({ "metadata": { "labels": labels, "annotations": annotations } })).await;
    };
    let mut places = Vec::new();
    for place in PLACES {
        places.push(many.selected(place).await);
    }
    labelled(&places[0], json!({ "team": "blue" }), json!({})).await;
    labelled(&places[1], json!({ "team": "red" }), json!({})).await;
    labelled(&places[2], json!({ "team": "blue", (format!("{PREFIX}accept")): "false" }), json!({})).await;
    let sources = [many.case.namespace("plain").await, many.case.namespace("open").await];
    labelled(&sources[1], json!({}), json!({ (format!("{PREFIX}share")): "all" })).await;
    let mark = many.case.mark().unwrap();
    let flags = ["--consent=required".to_owned(), format!("--forbidden-namespaces={}", places[3])];
    let operator = bed.operator_with("account", &[&flags[0], &flags[1]]).await;
    bed.until_all_shards_are_held().await;
    let random = StdRng::seed_from_u64(seed);
    let (shared, named, protected) = Default::default();
    let mut stage = Stage { many, places, sources, random, shared, named, protected };
    for step in 0..STEPS {
        match stage.random.random_range(0..10) {
            0..4 => stage.speak(step).await,
            4..7 => stage.object().await,
            7 => stage.many_object().await,
            8 => stage.protect().await,
            _ => tokio::time::sleep(seconds(1)).await,
        }
        tokio::time::sleep(Duration::from_millis(stage.random.random_range(0..200))).await;
    }
    // Withdrawn copies go after two looks ten seconds apart.
    eventually_within(seconds(120), "every sync has its status", async || {
        let syncs: Vec<ConfigMapSync> = stage.case().syncs().list(&ListParams::default()).await.unwrap().items;
        let told = |sync: &&ConfigMapSync| {
            sync.status.as_ref().is_some_and(|it| it.observed_generation == sync.metadata.generation)
        };
        match syncs.iter().find(|sync| !told(sync)) {
            None => Ok(()),
            Some(sync) => Err(serde_json::to_string(sync).unwrap()),
        }
    })
    .await;
    tokio::time::sleep(seconds(15)).await;
    assert!(operator.is_running());

    let mut asked = asked(&bed, mark);
    asked.retain(|event| event.resource == "configmaps" && !["list", "watch"].contains(&&*event.verb));
    let beyond: Vec<String> = asked
        .iter()
        .filter_map(|event| {
            let why = stage.objection(event)?;
            Some(format!("{} {}/{}: {why}: {}", event.verb, event.namespace, event.name, event.sent))
        })
        .collect();
    assert!(beyond.is_empty(), "ACCOUNT_SEED={seed}:\n{}", beyond.join("\n"));
    let writes = asked.iter().filter(|event| ["create", "update"].contains(&&*event.verb)).count();
    let withheld = stage.shared.values().filter(|into| into.len() < 4).count();
    eprintln!(
        "{} requests, {writes} of them write copies; {withheld} of {} words are withheld from some",
        asked.len(),
        stage.shared.len()
    );
    assert!(writes > 5 && withheld > 5, "{writes} copies, {withheld} words");
    for ((namespace, name), left) in &stage.protected {
        assert_eq!(
            stage.case().get(namespace, name).await.as_ref(),
            Some(left),
            "ACCOUNT_SEED={seed}: it is protected"
        );
    }
}
