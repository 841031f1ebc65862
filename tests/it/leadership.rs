//! Sessions, shard Leases and the fleet leader against a real API server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use configmapsync_operator::controller::leadership::{self, Leadership, LeadershipEvent, Settings, fleet_leader};
use configmapsync_operator::controller::supervisor::Supervisor;
use configmapsync_operator::environment::clock::Clock;
use configmapsync_operator::kubernetes::client::{Clients, Server};
use configmapsync_operator::kubernetes::leases::FLEET_LEADER;
use configmapsync_operator::leadership::Timing;
use configmapsync_operator::rules::shard::{SHARDS, Shard};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use serde_json::json;
use testbed::{Cluster, Options, Patience};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);

/// A replica that does nothing but lead.
struct Replica {
    leadership: Leadership,
    cancel: CancellationToken,
    /// What happened, and when.
    news: JoinHandle<Vec<(Instant, LeadershipEvent)>>,
}

impl Replica {
    fn start(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        Self::start_with(cluster, namespace, name, LEASE)
    }

    fn start_with(cluster: &Cluster, namespace: &str, name: &str, lease: Duration) -> Self {
        let server = Server::Remote(Box::new(cluster.config()));
        let client = Clients::new(&server, "test").unwrap().leases;
        let settings = Settings {
            namespace: namespace.to_owned(),
            identity: name.to_owned(),
            timing: Timing::new(lease).unwrap(),
            clock: Clock::Boot,
        };
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let supervisor = Supervisor::new(tracker, cancel.clone(), cancel.clone());
        let (leadership, mut events, run) = leadership::start(client.clone(), settings.clone(), cancel.clone());
        supervisor.spawn("leadership", run);
        supervisor.spawn("fleet-leader", fleet_leader::start(client, &settings, leadership.clone(), cancel.clone()).0);
        let answers = leadership.clone();
        let news = tokio::spawn(async move {
            let mut news = vec![];
            while let Some(event) = events.recv().await {
                match &event {
                    LeadershipEvent::Closing(shard) => {
                        assert!(!answers.holds(*shard) && !answers.may_write(*shard), "closing is told too early");
                        answers.drained(*shard);
                    }
                    LeadershipEvent::Lost(shard) => assert!(!answers.may_write(*shard), "a loss is told too early"),
                    LeadershipEvent::Opened(_) | LeadershipEvent::Restored => {}
                }
                news.push((Instant::now(), event));
            }
            news
        });
        Self { leadership, cancel, news }
    }

    /// Like SIGKILL: nothing is released.
    async fn kill(self) -> Vec<(Instant, LeadershipEvent)> {
        self.cancel.cancel();
        self.news.await.unwrap()
    }

    fn writable(&self) -> usize {
        Shard::all().filter(|shard| self.leadership.may_write(*shard)).count()
    }
}

async fn namespace(cluster: &Cluster, name: &str) -> Api<DynamicObject> {
    let client = cluster.client().unwrap();
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    Api::namespaced_with(client, name, &kube::api::ApiResource::erase::<Lease>(&()))
}

/// Waits until each shard may be written by exactly one replica and the counts are even; says how long it took.
async fn until_even(replicas: &[Replica]) -> Duration {
    let begun = Instant::now();
    let mut patience = Patience::new("the shards are held evenly", PATIENCE);
    loop {
        let counts: Vec<usize> = replicas.iter().map(Replica::writable).collect();
        for shard in Shard::all() {
            let writers = replicas.iter().filter(|replica| replica.leadership.may_write(shard)).count();
            assert!(writers <= 1, "{writers} may write shard {shard}");
        }
        let even = counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1;
        if counts.iter().sum::<usize>() == SHARDS && even {
            return begun.elapsed();
        }
        patience.look(format!("{counts:?}")).unwrap_or_else(|why| panic!("{why}"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Who holds each shard, as `kubectl get leases` tells it.
async fn holders(leases: &Api<DynamicObject>) -> BTreeMap<String, String> {
    let list = leases.list(&ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .filter_map(|lease| {
            let holder = lease.data["spec"]["holderIdentity"].as_str()?.to_owned();
            Some((lease.metadata.name.filter(|name| name.starts_with("configmapsync-shard-"))?, holder))
        })
        .collect()
}

async fn fleet_of(cluster: &Cluster, namespace: &str, size: usize) -> Vec<Replica> {
    let replicas: Vec<Replica> =
        (0..size).map(|number| Replica::start(cluster, namespace, &format!("pod-{number}"))).collect();
    until_even(&replicas).await;
    replicas
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_follow_the_fleet() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    let leases = namespace(&cluster, "leadership-follow").await;
    let mut replicas = fleet_of(&cluster, "leadership-follow", 3).await;
    let told = holders(&leases).await;
    assert_eq!(told.len(), SHARDS);
    assert_eq!(told.values().collect::<BTreeSet<_>>().len(), 3, "{told:?}");

    replicas.push(Replica::start(&cluster, "leadership-follow", "pod-3"));
    eprintln!("scaled up to 4: even after {:?}", until_even(&replicas).await);

    let leaver = replicas.remove(0);
    let begun = Instant::now();
    assert!(leaver.leadership.leave(Duration::from_secs(5)).await);
    eprintln!("one left: all released after {:?}", begun.elapsed());
    eprintln!("one left: even after {:?} more", until_even(&replicas).await);
    leaver.news.await.unwrap();

    let killed = replicas.remove(0);
    killed.kill().await;
    let took = until_even(&replicas).await;
    // How long at most, the simulation says: here the machine may be slow.
    eprintln!("one killed: even after {took:?}");

    let left = replicas.remove(0);
    assert!(left.leadership.leave(Duration::from_secs(5)).await);
    until_even(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replicas_than_shards_are_fine() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    namespace(&cluster, "leadership-many").await;
    // Each of them hears of each renewal: with short Leases that alone would fill the two cores.
    let lease = Duration::from_secs(30);
    let replicas: Vec<Replica> = (0..70)
        .map(|number| Replica::start_with(&cluster, "leadership-many", &format!("pod-{number}"), lease))
        .collect();
    eprintln!("70 replicas: even after {:?}", until_even(&replicas).await);
    assert_eq!(replicas.iter().filter(|replica| replica.writable() == 0).count(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hands_in_the_leases_are_survived() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    let leases = namespace(&cluster, "leadership-hands").await;
    for (name, spec) in [
        ("configmapsync-shard-00", json!({})),
        ("configmapsync-shard-01", json!({ "holderIdentity": "joe", "renewTime": "9999-12-31T23:59:59.999999Z" })),
        ("configmapsync-shard-99", json!({ "holderIdentity": "joe", "leaseDurationSeconds": 1 })),
        ("configmapsync-session-joe", json!({ "holderIdentity": "jim", "leaseDurationSeconds": 3 })),
        (FLEET_LEADER, json!({ "holderIdentity": "joe", "renewTime": "9999-12-31T23:59:59.999999Z" })),
    ] {
        let lease = serde_json::from_value(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name }, "spec": spec,
        }));
        leases.create(&PostParams::default(), &lease.unwrap()).await.unwrap();
    }
    let replicas = fleet_of(&cluster, "leadership-hands", 2).await;

    let told = holders(&leases).await;
    let session = format!("configmapsync-session-{}", told["configmapsync-shard-05"]);
    leases.delete("configmapsync-shard-03", &DeleteParams::default()).await.unwrap();
    let cleared = Patch::Merge(json!({ "spec": { "holderIdentity": null } }));
    leases.patch("configmapsync-shard-04", &PatchParams::default(), &cleared).await.unwrap();
    let unlabelled = Patch::Merge(json!({ "metadata": { "labels": null } }));
    leases.patch("configmapsync-shard-06", &PatchParams::default(), &unlabelled).await.unwrap();
    leases.delete(&session, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let took = until_even(&replicas).await;
    eprintln!("Leases deleted and cleared by hand: even again after {took:?}");
    assert!(took > LEASE / 2, "what a hand did is waited out, but took {took:?}");

    // The fleet leader's Lease, which the crate can neither read nor take, is cleared away.
    let mut patience = Patience::new("a replica of ours leads the fleet", PATIENCE);
    loop {
        let lease = leases.get_opt(FLEET_LEADER).await.unwrap();
        let holder = lease.as_ref().and_then(|lease| lease.data["spec"]["holderIdentity"].as_str());
        if holder.is_some_and(|holder| holder.starts_with("pod-")) {
            break;
        }
        patience.look(format!("{holder:?} leads")).unwrap_or_else(|why| panic!("{why}"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut restored = 0;
    for replica in replicas {
        restored += replica.kill().await.iter().filter(|(_, event)| *event == LeadershipEvent::Restored).count();
    }
    assert_eq!(restored, 1, "a session's Lease that is missing looks like a restore of etcd");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_one_request_a_period() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    let Ok(audit) = cluster.audit() else { return };
    namespace(&cluster, "leadership-heartbeat").await;
    let replicas = fleet_of(&cluster, "leadership-heartbeat", 2).await;
    tokio::time::sleep(LEASE).await;

    let mark = audit.mark().unwrap();
    let periods = 10;
    tokio::time::sleep(LEASE / 5 * periods).await;
    let mut counts = BTreeMap::new();
    for event in audit.since(mark).unwrap() {
        if event.namespace == "leadership-heartbeat" && event.name != FLEET_LEADER {
            *counts.entry((event.verb, event.name)).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.len(), replicas.len(), "{counts:?}");
    for ((verb, name), count) in counts {
        assert!(verb == "update" && name.starts_with("configmapsync-session-pod-"), "{verb} {name}");
        assert!((periods - 2..=periods + 1).contains(&count), "{count} requests in {periods} periods");
    }
}

/// Why shards are not held with kube-leader-election (`docs/decisions/0003-kube-leader-election.md`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_locks_win_one_expired_lease() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    namespace(&cluster, "leadership-race").await;
    for attempt in 0..200 {
        let lock = |holder: &str| {
            let params = LeaseLockParams {
                lease_name: format!("race-{attempt}"),
                holder_id: holder.to_owned(),
                lease_ttl: Duration::from_secs(1),
            };
            LeaseLock::new(cluster.client().unwrap(), "leadership-race", params)
        };
        let (dead, left, right) = (lock("dead"), lock("left"), lock("right"));
        dead.try_acquire_or_renew().await.unwrap();
        dead.step_down().await.unwrap(); // a Lease of one second, without a holder
        let _ = tokio::join!(left.try_acquire_or_renew(), right.try_acquire_or_renew()); // warms the connections
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (left, right) = tokio::join!(left.try_acquire_or_renew(), right.try_acquire_or_renew());
        if matches!((left, right), (Ok(LeaseLockResult::Acquired(_)), Ok(LeaseLockResult::Acquired(_)))) {
            eprintln!("both were told that they lead, at attempt {attempt}");
            return;
        }
    }
    panic!("no two winners in 200 attempts");
}
