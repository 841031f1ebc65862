//! Who watches the copies and remembers what each held, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::task::JoinHandle;

/// The numbers that each copy held under the key `k`, in order, since the witness came.
pub struct Witness {
    seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Begins to watch these ConfigMaps; it has seen what is there when this returns.
    pub async fn of(maps: Api<ConfigMap>) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
        let expected = maps.list(&ListParams::default()).await.unwrap().items.iter().filter_map(number).count();
        let notes = seen.clone();
        let task = tokio::spawn(async move {
            let mut stream = watcher(maps, watcher::Config::default()).boxed();
            loop {
                match stream.try_next().await {
                    Ok(Some(Event::Apply(map) | Event::InitApply(map))) => note(&notes, map),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        super::eventually("the witness sees what is there", async || match seen.lock().unwrap().len() {
            n if n >= expected => Ok(()),
            n => Err(format!("{n} of {expected}")),
        })
        .await;
        Self { seen, task }
    }

    /// Fails when a copy ever held less than it had held before.
    pub fn no_copy_went_back(&self) {
        for (name, numbers) in self.seen.lock().unwrap().iter() {
            assert!(numbers.is_sorted(), "{name} went back: {numbers:?}");
        }
    }
}

fn number(map: &ConfigMap) -> Option<u64> {
    map.data.as_ref()?.get("k")?.parse().ok()
}

fn note(seen: &Mutex<BTreeMap<String, Vec<u64>>>, map: ConfigMap) {
    let number = number(&map);
    let (Some(name), Some(number)) = (map.metadata.name, number) else { return };
    seen.lock().unwrap().entry(name).or_default().push(number);
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
