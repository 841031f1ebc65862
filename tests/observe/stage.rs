//! Three replicas, a load, and a Prometheus that looks on.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::Patience;

use crate::harness::{Bed, Case, Operator, eventually, seconds};
use crate::prometheus::{Prometheus, now};

/// Copies of the one source.
pub const COPIES: usize = 40;
/// More than one scrape and one evaluation of the rules.
const SEEN: Duration = Duration::from_millis(2500);
/// For an alert; most take some 10 s on an idle machine, the longest 50 s.
const PATIENCE: Duration = Duration::from_secs(240);

/// What stands on it.
pub struct Stage<'a> {
    pub bed: &'a Bed,
    pub case: Case<'a>,
    pub prometheus: Prometheus,
    pub replicas: BTreeMap<String, Operator>,
    /// From when to when something was done, by its name.
    pub acts: BTreeMap<&'static str, (f64, f64)>,
    value: AtomicU32,
    ports: BTreeMap<String, u16>,
}

impl<'a> Stage<'a> {
    pub async fn set(bed: &'a Bed, case: Case<'a>, prometheus: Prometheus) -> Self {
        case.source(json!({ "k": "0" })).await;
        Self {
            bed,
            case,
            prometheus,
            replicas: BTreeMap::new(),
            acts: BTreeMap::new(),
            value: AtomicU32::new(0),
            ports: BTreeMap::new(),
        }
    }

    /// Starts a replica, or starts it again, then on the same port: Prometheus takes up to five seconds to follow a target.
    pub async fn start(&mut self, name: &str, flags: &[&str]) {
        let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let port = *self.ports.entry(name.to_owned()).or_insert_with(free);
        let address = format!("127.0.0.1:{port}");
        let probes = format!("--health-probe-bind-address={address}");
        let metrics = format!("--metrics-bind-address={address}");
        let flags: Vec<&str> = [probes.as_str(), &metrics].into_iter().chain(flags.iter().copied()).collect();
        let operator = self.bed.operator_with(name, &flags).await;
        self.prometheus.scrape(name, &address);
        self.replicas.insert(name.to_owned(), operator);
    }

    /// Syncs, each into a copy of its own name.
    pub async fn syncs(&self, count: usize) {
        for number in 0..count {
            let name = format!("s{number}");
            self.case.sync(&name, json!({ "destinationName": name })).await;
        }
    }

    /// Changes the source each quarter of a second, for so long.
    pub async fn load(&self, time: Duration) {
        let begun = std::time::Instant::now();
        while begun.elapsed() < time {
            self.change().await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// One change of the source.
    pub async fn change(&self) {
        let value = self.value.fetch_add(1, Ordering::Relaxed).to_string();
        self.case.patch(&self.case.src, "cm", json!({ "data": { "k": value } })).await;
    }

    /// Notes from when to when something was done, with what Prometheus sees of it a moment later.
    pub async fn act(&mut self, name: &'static str, begun: f64) {
        tokio::time::sleep(SEEN).await;
        self.acts.insert(name, (begun, now()));
    }

    /// Under a load of changes, where `loaded`: the alert that was silent before fires.
    pub async fn until_fires(&self, alert: &str, loaded: bool) {
        let begun = std::time::Instant::now();
        let mut patience = Patience::new(format!("{alert} fires"), PATIENCE);
        loop {
            let firing = self.prometheus.firing().await;
            if firing.iter().any(|one| one == alert) {
                eprintln!("{alert} fires after {:.1} s", begun.elapsed().as_secs_f64());
                return;
            }
            patience.look(format!("{firing:?} fire")).unwrap_or_else(|why| panic!("{why}"));
            if loaded {
                self.change().await;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// The cause is not yet there.
    pub async fn is_silent(&self, alert: &str) {
        let firing = self.prometheus.firing().await;
        assert!(!firing.iter().any(|one| one == alert), "{alert} fires before its cause: {firing:?}");
    }

    /// The cause is gone, and so is the alert.
    pub async fn until_ends(&self, alert: &str) {
        eventually(format!("{alert} ends"), async || {
            let firing = self.prometheus.firing().await;
            if firing.iter().all(|one| one != alert) { Ok(()) } else { Err(format!("{firing:?}")) }
        })
        .await;
    }

    /// Every shard has a holder again.
    pub async fn until_whole(&self) {
        eventually("all replicas hold 64 shards together", async || {
            let mut held = 0.0;
            for operator in self.replicas.values() {
                held += operator.metric("configmapsync_shards_held", &[]).await;
            }
            if held == 64.0 { Ok(()) } else { Err(held.to_string()) }
        })
        .await;
    }

    /// Nothing waits any more.
    pub async fn until_idle(&self) {
        eventually("no replica has a queue", async || {
            let mut waiting = 0.0;
            for operator in self.replicas.values() {
                waiting += operator.metric("configmapsync_queue_depth", &[]).await;
            }
            if waiting == 0.0 { Ok(()) } else { Err(waiting.to_string()) }
        })
        .await;
    }

    /// Puts rules of the API server in force; `tried` is asked until it says that they are.
    pub async fn apply(&self, list: &Value) {
        self.case.kubectl(&["apply", "-f", "-"], &list.to_string()).await.unwrap();
    }

    pub async fn delete(&self, list: &Value) {
        self.case.kubectl(&["delete", "-f", "-"], &list.to_string()).await.unwrap();
        tokio::time::sleep(seconds(1)).await;
    }
}
