//! As many syncs as a platform has, in the memory that is shipped; and what a replica adds where each has a budget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use configmapsync_operator::api::ConfigMapSync;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::Patience;

use crate::installed::{DEPLOYMENT, Installed, SHIPPED, SYSTEM, say};
use crate::shards::until_even;

/// What the test itself has in flight.
const IN_FLIGHT: usize = 48;

/// Sources, and syncs of them into one namespace.
struct Many {
    client: Client,
    name: &'static str,
    sources: usize,
    copies_of_each: usize,
}

impl Many {
    /// With its namespaces, and sources that say `value`.
    async fn new(
        installed: &Installed,
        name: &'static str,
        sources: usize,
        copies_of_each: usize,
        value: &str,
    ) -> Self {
        let many = Self { client: installed.client.clone(), name, sources, copies_of_each };
        for namespace in [name, &many.copies()] {
            installed.kubectl(&["create", "namespace", namespace]).await;
        }
        many.say(value).await;
        many
    }

    fn syncs(&self) -> usize {
        self.sources * self.copies_of_each
    }

    fn copies(&self) -> String {
        format!("{}-copies", self.name)
    }

    /// Every source says `value` from now on.
    async fn say(&self, value: &str) {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), self.name);
        for source in 0..self.sources {
            let name = format!("source-{source}");
            let map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}});
            maps.patch(&name, &PatchParams::apply("node-test"), &Patch::Apply(map)).await.unwrap();
        }
    }

    async fn create_syncs(&self) {
        let syncs = Api::<ConfigMapSync>::namespaced(self.client.clone(), self.name);
        let create = |number: usize| {
            let name = format!("copy-{number}");
            let sync: ConfigMapSync = serde_json::from_value(json!({
                "apiVersion": "apps.kapendra.com/v1", "kind": "ConfigMapSync", "metadata": {"name": name},
                "spec": {"sourceNamespace": self.name, "configMapName": format!("source-{}", number / self.copies_of_each),
                    "destinationNamespace": self.copies(), "destinationName": name}
            }))
            .unwrap();
            let syncs = syncs.clone();
            async move { syncs.create(&PostParams::default(), &sync).await.map(drop).unwrap() }
        };
        futures::stream::iter(0..self.syncs()).map(create).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    }

    /// Waits until every copy says `value`, and tells how long that took.
    async fn until_all_say(&self, value: &str) -> Duration {
        let copies = Api::<ConfigMap>::namespaced(self.client.clone(), &self.copies());
        let begun = Instant::now();
        self.until_all(|| async {
            let list = copies.list(&ListParams::default()).await.unwrap().items;
            list.iter()
                .filter(|copy| copy.data.iter().any(|data| data.get("value").is_some_and(|it| it == value)))
                .count()
        })
        .await;
        begun.elapsed()
    }

    /// Waits until every sync says that its copy has what its source says now.
    async fn until_all_ready(&self) {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), self.name);
        let sources = maps.list(&ListParams::default()).await.unwrap().items;
        let versions: BTreeMap<_, _> = sources
            .into_iter()
            .map(|map| (map.metadata.name.unwrap(), map.metadata.resource_version.unwrap()))
            .collect();
        let syncs = Api::<ConfigMapSync>::namespaced(self.client.clone(), self.name);
        self.until_all(|| async {
            let list = syncs.list(&ListParams::default()).await.unwrap().items;
            let current = |sync: &&ConfigMapSync| {
                let source = sync.status.as_ref().and_then(|status| status.source.as_ref());
                source.is_some_and(|source| versions[&sync.spec.config_map_name] == source.resource_version)
            };
            list.iter().filter(current).count()
        })
        .await;
    }

    async fn until_all<F: Future<Output = usize>>(&self, count: impl Fn() -> F) {
        let mut patience = Patience::new(format!("{} of them", self.syncs()), Duration::from_secs(180));
        loop {
            let counted = count().await;
            if counted == self.syncs() {
                return;
            }
            patience.look(counted.to_string()).unwrap_or_else(|why| panic!("{why}"));
            // A look at all of it costs the API server as much as some hundred writes.
            tokio::time::sleep(Duration::from_millis(50) + Duration::from_micros(100) * self.syncs() as u32).await;
        }
    }
}

/// The largest values of a metric that the pods have shown, looked at every second.
struct Peak {
    largest: Arc<Mutex<f64>>,
    watch: tokio::task::JoinHandle<()>,
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Peak {
    fn watch(installed: &Installed, metric: &'static str) -> Self {
        let largest = Arc::<Mutex<f64>>::default();
        let (seen, client) = (Arc::clone(&largest), installed.client.clone());
        let watch = tokio::spawn(async move {
            loop {
                for value in values(&client, metric).await {
                    let mut largest = seen.lock().unwrap();
                    *largest = largest.max(value);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Self { largest, watch }
    }

    fn mib(&self) -> f64 {
        *self.largest.lock().unwrap() / 1024.0 / 1024.0
    }
}

/// A metric without labels, of each pod that answers.
async fn values(client: &Client, metric: &str) -> Vec<f64> {
    let pods = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client.clone(), SYSTEM);
    let Ok(pods) = pods.list(&ListParams::default()).await else { return Vec::new() };
    let mut values = Vec::new();
    for name in pods.into_iter().filter_map(|pod| pod.metadata.name) {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        // A pod that starts or ends has no answer.
        let Ok(page) = client.request_text(request).await else { continue };
        let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        values.extend(line.and_then(|value| value.parse::<f64>().ok()));
    }
    values
}

/// On a cluster of its own, which takes thousands of syncs away sooner than anybody could delete them. `NODE_SYNCS=20000`
/// tries as many as that; by default it is fewer, for the time it takes.
#[tokio::test]
async fn thousands_of_syncs_are_served_within_the_shipped_limit_of_memory() {
    let test = "thousands_of_syncs_are_served_within_the_shipped_limit_of_memory";
    let syncs: usize = std::env::var("NODE_SYNCS").map_or(3_000, |text| text.parse().expect("NODE_SYNCS is a number"));
    let Some(installed) = Installed::alone(test).await else { return };
    installed.pods.until(SHIPPED).await;
    until_even(&installed, SHIPPED).await;
    let limits = values(&installed.client, "process_memory_limit_bytes").await;
    assert_eq!(limits, [128.0 * 1024.0 * 1024.0; SHIPPED], "the shipped limit is in force");
    let memory = Peak::watch(&installed, "process_resident_memory_bytes");

    let many = Many::new(&installed, "many", syncs.div_ceil(100), 100, "first").await;
    let begun = Instant::now();
    many.create_syncs().await;
    let created = begun.elapsed();
    many.until_all_say("first").await;
    say(format_args!(
        "{} new syncs: created within {created:.1?}, copied within {:.1?}",
        many.syncs(),
        begun.elapsed()
    ));
    many.until_all_ready().await;
    say(format_args!(
        "all Ready within {:.1?}; most memory of a replica so far {:.1} MiB",
        begun.elapsed(),
        memory.mib()
    ));

    // One alone, which has all of it to write; and one that starts with all of it there.
    installed.scale(1).await;
    until_even(&installed, 1).await;
    let begun = Instant::now();
    many.say("second").await;
    many.until_all_say("second").await;
    say(format_args!("all sources changed, one replica: {:.1?}; {:.1} MiB", begun.elapsed(), memory.mib()));
    let begun = Instant::now();
    installed.kubectl(&["-n", SYSTEM, "rollout", "restart", DEPLOYMENT]).await;
    installed.until_rolled_out().await;
    until_even(&installed, 1).await;
    say(format_args!("another in its place within {:.1?}", begun.elapsed()));
    say(format_args!("the most memory that a replica ever had: {:.1} MiB of 128", memory.mib()));
    installed.pods.check();
    installed.scale(0).await;
}

#[tokio::test]
async fn each_replica_with_a_write_budget_adds_its_throughput() {
    const COPIES: usize = 200;
    const BUDGET: u32 = 20;
    let Some(installed) = Installed::turn("each_replica_with_a_write_budget_adds_its_throughput").await else { return };
    let shipped = ["-n", SYSTEM, "get", DEPLOYMENT, "-o", "jsonpath={.spec.template.spec.containers[0].args}"];
    let shipped = installed.kubectl(&shipped).await;
    let set = async |arguments: &str, replicas: usize| {
        let path = "/spec/template/spec/containers/0/args";
        let patch = json!([{"op": "replace", "path": path, "value": serde_json::from_str::<Value>(arguments).unwrap()},
            {"op": "replace", "path": "/spec/replicas", "value": replicas}]);
        let patch = patch.to_string();
        installed.kubectl(&["-n", SYSTEM, "patch", DEPLOYMENT, "--type=json", "-p", &patch]).await;
    };
    set(&shipped.replacen('[', &format!(r#"["--write-qps={BUDGET}","#), 1), 8).await;

    let many = Many::new(&installed, "budget", 1, COPIES, "0").await;
    let mut rates = Vec::new();
    for replicas in [8, 4, 2, 1] {
        installed.scale(replicas).await;
        installed.until_rolled_out().await;
        installed.pods.until(replicas).await;
        until_even(&installed, replicas).await;
        if rates.is_empty() {
            many.create_syncs().await;
        }
        many.until_all_ready().await;
        let value = replicas.to_string();
        let begun = Instant::now();
        many.say(&value).await;
        many.until_all_say(&value).await;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = COPIES as f64 / begun.elapsed().as_secs_f64();
        say(format_args!("{replicas} replicas with {BUDGET} writes a second each: {rate:.1} copies a second"));
        rates.push(rate);
    }
    assert!(rates[0] > 2.0 * rates[3], "eight replicas write no more than one: {rates:?}");
    set(&shipped, SHIPPED).await;
    for namespace in ["budget", "budget-copies"] {
        installed.kubectl(&["delete", "namespace", namespace, "--timeout=120s"]).await;
    }
    installed.end().await;
}
