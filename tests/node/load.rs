//! Changes to sources all the time, and a look at each copy: none may be missed, and the longest wait for one is the gap that a
//! user would see in a hand-over.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::installed::Installed;
use crate::wait::eventually;

/// Changes a second: what two cores carry beside a whole cluster and a compiler.
const RATE: u32 = 40;
const APPLY: &str = "node-test";

/// What the copies have shown so far.
#[derive(Default)]
struct Seen {
    /// By source: changes that its copy does not show yet, with their times.
    pending: BTreeMap<String, VecDeque<(u64, Instant)>>,
    /// By source: what its copy shows.
    shown: BTreeMap<String, u64>,
    waits: Vec<Duration>,
    faults: Vec<String>,
}

impl Seen {
    fn shows(&mut self, name: &str, number: u64) {
        let before = self.shown.insert(name.to_owned(), number).unwrap_or(0);
        if number < before {
            self.faults.push(format!("the copy {name} went back from {before} to {number}"));
        }
        let pending = self.pending.entry(name.to_owned()).or_default();
        // A copy may skip what its source no longer says.
        while pending.front().is_some_and(|(change, _)| *change <= number) {
            self.waits.extend(pending.pop_front().map(|(_, since)| since.elapsed()));
        }
    }

    fn left(&self) -> usize {
        self.pending.values().map(VecDeque::len).sum()
    }
}

/// How the copies followed.
pub struct Report {
    /// Changes made, each of which has been seen in its copy, or a newer one in its place.
    pub changes: usize,
    /// Half of them waited no longer.
    pub median: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, median, longest } = self;
        write!(f, "{changes} changes, none missed; median {median:.0?}, longest {longest:.0?}")
    }
}

/// A running load; ended by [`Load::end`].
pub struct Load {
    client: Client,
    name: String,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    writer: tokio::task::JoinHandle<()>,
    witness: tokio::task::JoinHandle<()>,
}

impl Load {
    /// `syncs` sources, each with a sync of its own; changes begin when all copies are there.
    pub async fn begin(installed: &Installed, name: &str, syncs: usize) -> Self {
        let client = installed.client.clone();
        for namespace in [source_namespace(name), copy_namespace(name)] {
            installed.kubectl(&["create", "namespace", &namespace]).await;
        }
        let seen = Arc::<Mutex<Seen>>::default();
        let witness = tokio::spawn(watch(client.clone(), copy_namespace(name), Arc::clone(&seen)));
        let names: Vec<String> = (0..syncs).map(|number| format!("cm-{number}")).collect();
        let create = |source: String| {
            let (client, seen) = (client.clone(), Arc::clone(&seen));
            async move {
                change(&client, name, &source, 1, &seen).await;
                sync(&client, name, &source).await;
            }
        };
        futures::stream::iter(names.clone()).map(create).buffer_unordered(16).collect::<Vec<()>>().await;
        until_all_seen(&seen).await;
        // What came before is not what is measured.
        seen.lock().unwrap().waits.clear();
        let stop = Arc::<AtomicBool>::default();
        let writer = tokio::spawn(write(client.clone(), name.to_owned(), names, Arc::clone(&seen), Arc::clone(&stop)));
        Self { client, name: name.to_owned(), seen, stop, writer, witness }
    }

    /// The longest wait since this was last asked, of changes that are seen by now.
    pub fn longest(&self, from: &mut usize) -> Duration {
        let seen = self.seen.lock().unwrap();
        let longest = seen.waits[*from..].iter().max().copied().unwrap_or_default();
        *from = seen.waits.len();
        longest
    }

    /// Waits until as many more changes have been seen in their copies.
    pub async fn until_more(&self, changes: usize) {
        let seen = || self.seen.lock().unwrap().waits.len();
        let wanted = seen() + changes;
        eventually(&format!("{changes} more changes are seen"), async || match seen() {
            now if now >= wanted => Ok(()),
            now => Err(format!("{} are missing", wanted - now)),
        })
        .await;
    }

    /// Ends the changes, waits until each is seen, and takes everything away again.
    pub async fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.await.unwrap();
        until_all_seen(&self.seen).await;
        self.witness.abort();
        let report = {
            let mut seen = self.seen.lock().unwrap();
            assert_eq!(seen.faults, Vec::<String>::new());
            seen.waits.sort();
            let waits = &seen.waits;
            assert!(!waits.is_empty(), "nothing was changed");
            Report { changes: waits.len(), median: waits[waits.len() / 2], longest: waits[waits.len() - 1] }
        };
        let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(self.client.clone());
        for namespace in [source_namespace(&self.name), copy_namespace(&self.name)] {
            namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
        }
        // Whoever comes next finds none of them.
        let kind = ApiResource::erase::<configmapsync_operator::api::ConfigMapSync>(&());
        let syncs = Api::<DynamicObject>::namespaced_with(self.client, &source_namespace(&self.name), &kind);
        eventually("all syncs go with their namespace", async || {
            match syncs.list_metadata(&ListParams::default()).await {
                Ok(list) if list.items.is_empty() => Ok(()),
                Ok(list) => Err(format!("{} are left", list.items.len())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        report
    }
}

fn source_namespace(name: &str) -> String {
    format!("{name}-src")
}

fn copy_namespace(name: &str) -> String {
    format!("{name}-dst")
}

async fn write(client: Client, name: String, names: Vec<String>, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    let mut tick = interval(Duration::from_secs(1) / RATE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 2.. {
        for source in &names {
            tick.tick().await;
            if stop.load(Ordering::Relaxed) {
                return;
            }
            change(&client, &name, source, number, &seen).await;
        }
    }
}

async fn change(client: &Client, name: &str, source: &str, number: u64, seen: &Mutex<Seen>) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &source_namespace(name));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": source}, "data": {"number": number.to_string()}});
    // Before it is made, as its copy may be there before the answer.
    seen.lock().unwrap().pending.entry(source.to_owned()).or_default().push_back((number, Instant::now()));
    maps.patch(source, &PatchParams::apply(APPLY), &Patch::Apply(map)).await.unwrap();
}

async fn sync(client: &Client, name: &str, source: &str) {
    let kind = ApiResource::erase::<configmapsync_operator::api::ConfigMapSync>(&());
    let syncs = Api::<DynamicObject>::namespaced_with(client.clone(), &source_namespace(name), &kind);
    let sync = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": source}, "spec": {
        "sourceNamespace": source_namespace(name), "destinationNamespace": copy_namespace(name), "configMapName": source}});
    syncs.patch(source, &PatchParams::apply(APPLY), &Patch::Apply(sync)).await.unwrap();
}

async fn watch(client: Client, namespace: String, seen: Arc<Mutex<Seen>>) {
    let mut events = pin!(watcher(Api::<ConfigMap>::namespaced(client, &namespace), watcher::Config::default()));
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(copy) | Event::InitApply(copy))) => {
                let number = copy.data.and_then(|data| data.get("number")?.parse().ok());
                if let (Some(name), Some(number)) = (copy.metadata.name, number) {
                    seen.lock().unwrap().shows(&name, number);
                }
            }
            Ok(Some(Event::Delete(copy))) => {
                seen.lock().unwrap().faults.push(format!("the copy {:?} was deleted", copy.metadata.name));
            }
            Ok(Some(Event::Init | Event::InitDone)) => {}
            Ok(None) => return,
            Err(error) => eprintln!("watch of copies: {error}"),
        }
    }
}

async fn until_all_seen(seen: &Mutex<Seen>) {
    eventually("every change is seen in its copy", async || match seen.lock().unwrap().left() {
        0 => Ok(()),
        left => Err(format!("{left} are not")),
    })
    .await;
}
