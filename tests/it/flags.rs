//! Flags and the environment: what a replica is told to do, it does, beside others and behind a proxy.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;
use testbed::AuditEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::fleet::shards;
use crate::harness::{Bed, Case, Operator, eventually, seconds};

// --- --observe-only ----------------------------------------------------------------------------------------------

/// What the replica called `observer` wrote, Leases and Events too.
fn written_by_the_observer(bed: &Bed, since: testbed::audit::Mark) -> Vec<String> {
    let events = bed.cluster().audit().unwrap().since(since).unwrap();
    let wrote = |event: &&AuditEvent| event.user_agent.ends_with("(observer)") && event.is_write();
    events.iter().filter(wrote).map(|event| format!("{} {} {}", event.verb, event.what(), event.name)).collect()
}

/// Waits until the replica says that it would create the copy `name`.
async fn until_it_would_create(operator: &Operator, name: &str) {
    let words = ["would write", r#""verb":"create""#, &format!(r#""name":"{name}""#)];
    eventually(format!("it would create {name}"), async || {
        operator.said(&words).pop().ok_or_else(|| format!("{:#?}", operator.said(&["would write"])))
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_only_observes_takes_no_work_from_one_that_writes() {
    const COPIES: usize = 20;
    let Some(bed) = Bed::own("a_replica_that_only_observes_takes_no_work").await else { return };
    let case = Case::on(&bed, "beside").await;
    let _operator = bed.holder("writer").await;
    case.source(json!({ "k": "v" })).await;
    let mark = case.mark().unwrap();
    let observer = bed.operator_with("observer", &["--observe-only"]).await;
    tokio::time::sleep(seconds(12)).await; // three leases: one that joins has its share
    let names: Vec<String> = (0..COPIES).map(|number| format!("s{number}")).collect();
    for name in &names {
        case.sync(name, json!({ "destinationName": name })).await;
    }
    eventually("all new syncs are served", async || {
        let mut served = 0;
        for name in &names {
            served += usize::from(case.get(&case.dst, name).await.is_some());
        }
        if served == COPIES { Ok(()) } else { Err(format!("{served} of {COPIES}; {:?}", shards(&bed).await)) }
    })
    .await;
    for name in &names {
        case.until_ready(name).await;
    }
    assert_eq!(
        written_by_the_observer(&bed, mark),
        Vec::<String>::new(),
        "one that only observes writes no Lease either"
    );
    let held = shards(&bed).await;
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [("writer".to_owned(), 64)]);
    assert!(observer.is_running());
}

#[tokio::test]
async fn a_replica_that_only_observes_says_what_it_would_do_though_it_holds_nothing() {
    let Some(bed) = Bed::own("a_replica_that_only_observes_says_what").await else { return };
    let case = Case::on(&bed, "alone").await;
    let mark = case.mark().unwrap();
    let observer = bed.operator_with("observer", &["--observe-only"]).await;
    case.source(json!({ "k": "v" })).await;
    for number in 0..10 {
        case.sync(&format!("s{number}"), json!({ "destinationName": format!("copy{number}") })).await;
    }
    for number in 0..10 {
        until_it_would_create(&observer, &format!("copy{number}")).await;
    }
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(written_by_the_observer(&bed, mark), Vec::<String>::new());
    let nothing = case.maps(&case.dst).list(&kube::api::ListParams::default()).await.unwrap().items;
    assert!(nothing.iter().all(|map| map.metadata.name.as_deref() == Some("kube-root-ca.crt")), "{nothing:?}");
    assert!(observer.terminate().await.is_some_and(|status| status.success()));
    assert_eq!(written_by_the_observer(&bed, mark), Vec::<String>::new(), "at its end");
}

// --- proxies -----------------------------------------------------------------------------------------------------

/// A proxy that carries what CONNECT asks for to this machine, whatever host is named, and remembers it.
struct ConnectProxy {
    address: String,
    asked_for: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ConnectProxy {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked_for = Arc::<Mutex<Vec<String>>>::default();
        let notes = asked_for.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let notes = notes.clone();
                connections.spawn(async move { drop(carried(stream, &notes).await) });
            }
        });
        Self { address, asked_for, task }
    }

    fn asked_for(&self) -> Vec<String> {
        self.asked_for.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carried(mut client: TcpStream, notes: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split(' ');
    let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await;
    };
    notes.lock().unwrap().push(target.to_owned());
    let port = target.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(443);
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// A name of the API server's certificate that only a proxy finds.
const SERVER: &str = "kubernetes.default.svc";

/// The port in a server's URL.
fn port_of(server: &str) -> &str {
    server.rsplit(':').next().unwrap()
}

#[tokio::test]
async fn a_server_that_no_proxy_names_is_reached_without_the_proxy() {
    let Some(bed) = Bed::own("a_server_that_no_proxy_names").await else { return };
    let case = Case::on(&bed, "no-proxy").await;
    for (number, no_proxy) in ["127.0.0.1,localhost", "127.0.0.0/8", "*"].into_iter().enumerate() {
        // Nothing listens there.
        let variables = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", no_proxy)];
        let operator = bed.operator_in(&format!("no-proxy{number}"), &variables, |_| {}).await;
        if number == 0 {
            case.until_a_sync_works().await;
        }
        assert!(operator.terminate().await.is_some_and(|status| status.success()), "NO_PROXY={no_proxy}");
    }
}

#[tokio::test]
async fn a_server_that_only_a_proxy_reaches_is_reached_by_it() {
    let Some(bed) = Bed::own("a_server_that_only_a_proxy_reaches").await else { return };
    let case = Case::on(&bed, "by-proxy").await;
    let proxy = ConnectProxy::start().await;
    let mut target = String::new();
    let variables = [("HTTPS_PROXY", proxy.address.as_str()), ("NO_PROXY", "")];
    let operator = bed
        .operator_in("by-proxy", &variables, |kubeconfig| {
            let server = &mut kubeconfig["clusters"][0]["cluster"]["server"];
            target = format!("{SERVER}:{}", port_of(server.as_str().unwrap()));
            *server = json!(format!("https://{target}"));
        })
        .await;
    case.until_a_sync_works().await;
    let asked_for = proxy.asked_for();
    assert!(!asked_for.is_empty() && asked_for.iter().all(|other| *other == target), "{asked_for:?}");
    assert!(operator.terminate().await.is_some_and(|status| status.success()));
}

#[tokio::test]
async fn a_server_on_this_machine_is_reached_by_the_proxy_unless_no_proxy_names_it() {
    let Some(bed) = Bed::own("a_server_on_this_machine_is_reached_by_the_proxy").await else { return };
    let proxy = ConnectProxy::start().await;
    let variables = [("HTTPS_PROXY", proxy.address.as_str()), ("NO_PROXY", "")];
    let _operator = bed.operator_in("here", &variables, |_| {}).await;
    let asked_for = proxy.asked_for();
    assert!(!asked_for.is_empty() && asked_for.iter().all(|other| other.starts_with("127.0.0.1:")), "{asked_for:?}");
}

#[tokio::test]
async fn the_proxy_of_a_kubeconfig_is_used_whatever_the_environment_says() {
    let Some(bed) = Bed::own("the_proxy_of_a_kubeconfig_is_used").await else { return };
    let case = Case::on(&bed, "proxy-url").await;
    let proxy = ConnectProxy::start().await;
    let variables = [("HTTPS_PROXY", ""), ("NO_PROXY", "*")];
    let _operator = bed
        .operator_in("proxy-url", &variables, |kubeconfig| {
            let cluster = &mut kubeconfig["clusters"][0]["cluster"];
            let server = format!("https://{SERVER}:{}", port_of(cluster["server"].as_str().unwrap()));
            cluster["server"] = json!(server);
            cluster["proxy-url"] = json!(proxy.address);
        })
        .await;
    case.until_a_sync_works().await;
    let asked_for = proxy.asked_for();
    assert!(!asked_for.is_empty() && asked_for.iter().all(|other| other.starts_with(SERVER)), "{asked_for:?}");
}

// --- --write-qps -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_replica_that_may_write_once_a_second_ends_in_time() {
    const SYNCS: usize = 100;
    let Some(bed) = Bed::own("a_replica_that_may_write_once_a_second").await else { return };
    let case = Case::on(&bed, "slow-end").await;
    let operator = bed.operator_with("slow-end", &["--write-qps=1"]).await;
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "v" })).await;
    for number in 0..SYNCS {
        case.sync(&format!("s{number}"), json!({ "destinationName": format!("s{number}") })).await;
    }
    eventually("the first copy is written and many wait", async || {
        let copies = case.maps(&case.dst).list(&kube::api::ListParams::default()).await.unwrap().items.len();
        let waiting = operator.metric("workqueue_depth", &[]).await;
        if copies > 1 && waiting > 50.0 { Ok(()) } else { Err(format!("{copies} ConfigMaps, {waiting} wait")) }
    })
    .await;
    let begun = Instant::now();
    let ended = operator.terminate().await;
    let took = begun.elapsed();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?} after {took:?}");
    let copies = case.maps(&case.dst).list(&kube::api::ListParams::default()).await.unwrap().items;
    let written = copies.iter().filter(|map| map.metadata.name.as_ref().unwrap().starts_with('s')).count();
    eprintln!("it ended after {took:?}, with {written} of {SYNCS} copies written");
    assert!(written < SYNCS, "it waited for all its writes");
    let held = shards(&bed).await;
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(String::new(), 64)], "all shards are given back");
}
