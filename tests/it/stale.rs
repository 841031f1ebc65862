//! A former holder that goes on writing beside its successor. The simulation plays it out in every order
//! (`tests/sim/stale.rs`); here it is seen on a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use configmapsync_operator::controller::config::Config;
use configmapsync_operator::controller::health::Health;
use configmapsync_operator::controller::leadership::Leadership;
use configmapsync_operator::controller::replica::{Environment, run_on};
use configmapsync_operator::environment::clock::Clock;
use configmapsync_operator::kubernetes::client::Server;
use configmapsync_operator::kubernetes::writer::Gate;
use configmapsync_operator::rules::shard::Shard;
use futures::StreamExt as _;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use crate::harness::{Bed, Case, SYSTEM, eventually, seconds};

/// The way of one replica to the API server.
#[derive(Clone, Default)]
struct Way {
    /// Nothing about Leases gets through any more.
    without_leases: Arc<AtomicBool>,
    /// Writes of anything but Leases and Events.
    writes: Arc<AtomicUsize>,
}

impl Way {
    fn server(&self, client: Client) -> Server {
        let way = self.clone();
        Server::Within(BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
            let (way, client) = (way.clone(), client.clone());
            async move {
                let path = request.uri().path();
                let about_leases = path.contains("/leases");
                if !about_leases && !path.contains("/events") && request.method() != Method::GET {
                    way.writes.fetch_add(1, Ordering::SeqCst);
                }
                let way = about_leases.then_some(way);
                blocked(way.as_ref()).await;
                let answer = client.send(request).await?;
                Ok::<_, BoxError>(answer.map(|body| {
                    let parts = body.into_data_stream().then(move |part| {
                        let way = way.clone();
                        async move {
                            blocked(way.as_ref()).await;
                            part.map(Frame::data).map_err(BoxError::from)
                        }
                    });
                    StreamBody::new(parts).boxed_unsync()
                }))
            }
        })))
    }
}

/// Never ends once nothing gets through.
async fn blocked(way: Option<&Way>) {
    if way.is_some_and(|way| way.without_leases.load(Ordering::SeqCst)) {
        std::future::pending::<()>().await;
    }
}

/// A gate that nothing closes.
struct HeldOpen(Leadership);

impl Gate for HeldOpen {
    fn may_write(&self, _: Shard) -> bool {
        true
    }
    fn request_timeout(&self) -> Duration {
        self.0.request_timeout()
    }
    fn surely_over(&self) -> Duration {
        self.0.surely_over()
    }
}

fn start(name: &str, server: Server, gate: fn(Leadership) -> Arc<dyn Gate>) -> CancellationToken {
    let config = Config {
        kubeconfig: None,
        lease_namespace: SYSTEM.to_owned(),
        identity: name.to_owned(),
        lease_duration: seconds(4),
        write_qps: None,
        max_in_flight: std::num::NonZeroUsize::new(8).unwrap(),
        observe_only: false,
        protected_namespaces: Vec::new(),
        author_policy: configmapsync_operator::controller::config::AuthorPolicy::Off,
        forbidden_namespaces: Vec::new(),
        max_fanout_bytes: None,
        consent_required: false,
        grace_period: seconds(10),
    };
    let stop = CancellationToken::new();
    let ground = Environment { server, clock: Clock::Boot, gate };
    tokio::spawn(run_on(ground, config, Health::default(), stop.clone()));
    stop
}

async fn until_held_by(case: &Case<'_>, name: &str) {
    let leases = Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(case.client.clone(), SYSTEM);
    eventually(format!("{name} holds all shards"), async || {
        let list = leases.list(&Default::default()).await.map_err(|error| error.to_string())?;
        let holders = list.items.into_iter().filter(|lease| {
            lease.metadata.name.as_deref().is_some_and(|name| name.starts_with("configmapsync-shard-"))
        });
        let held = holders.filter_map(|lease| lease.spec?.holder_identity).filter(|holder| holder.starts_with(name));
        match held.count() {
            64 => Ok(()),
            held => Err(format!("{held} shards")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_holder_that_goes_on_writing_does_no_harm() {
    const COPIES: usize = 6;
    let Some(bed) = Bed::own("a_former_holder_that_goes_on_writing_does_no_harm").await else { return };
    let case = Case::on(&bed, "stale").await;
    let (former, successor) = (Way::default(), Way::default());
    let stop_former = start("former", former.server(case.client.clone()), |leadership| Arc::new(HeldOpen(leadership)));
    until_held_by(&case, "former").await;
    case.source(json!({ "n": "0" })).await;
    for number in 0..COPIES {
        let name = format!("s{number}");
        case.sync(&name, json!({ "destinationName": name })).await;
    }
    for number in 0..COPIES {
        case.until_ready(&format!("s{number}")).await;
    }
    former.without_leases.store(true, Ordering::SeqCst);
    let stop_successor = start("successor", successor.server(case.client.clone()), |leadership| Arc::new(leadership));
    until_held_by(&case, "successor").await;
    let before = [&former, &successor].map(|way| way.writes.load(Ordering::SeqCst));
    for n in 1..=40 {
        let name = format!("s{}", n % COPIES);
        match n % 4 {
            0 => drop(case.maps(&case.dst).delete(&name, &Default::default()).await),
            1 => drop(case.patch(&case.src, "cm", json!({ "data": { "n": n.to_string() } })).await),
            2 => {
                let moved = json!({ "spec": { "destinationName": format!("{name}-{}", n % 3) } });
                case.patch_sync(&name, moved).await;
            }
            _ if case.get(&case.dst, &name).await.is_some() => {
                case.patch(&case.dst, &name, json!({ "data": { "n": "touched" } })).await;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    case.patch(&case.src, "cm", json!({ "data": { "n": "last" } })).await;
    let written = tokio::time::Instant::now();
    for number in 0..COPIES {
        let sync = case.syncs().get(&format!("s{number}")).await.unwrap();
        let place = sync.spec.destination_name.unwrap();
        case.until_data(&case.dst, &place, json!({ "n": "last" })).await;
        case.until_ready(&format!("s{number}")).await;
    }
    eprintln!("all {COPIES} have the last change after {:?}", written.elapsed());
    let after = [&former, &successor].map(|way| way.writes.load(Ordering::SeqCst));
    eprintln!("writes beside each other, of the former holder and of its successor: {before:?} to {after:?}");
    assert!(after[0] > before[0] && after[1] > before[1], "they did not write beside each other");
    // Nothing is left at former places, and they rest.
    eventually("nothing is left at former places", async || {
        let maps = case.maps(&case.dst).list(&Default::default()).await.map_err(|error| error.to_string())?;
        let copies = maps.items.len() - 1; // kube-root-ca.crt
        if copies == COPIES { Ok(()) } else { Err(format!("{copies} copies")) }
    })
    .await;
    tokio::time::sleep(seconds(2)).await;
    let rest = [&former, &successor].map(|way| way.writes.load(Ordering::SeqCst));
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(rest, [&former, &successor].map(|way| way.writes.load(Ordering::SeqCst)), "they fight");
    [stop_former, stop_successor].iter().for_each(CancellationToken::cancel);
}
