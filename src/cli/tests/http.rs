//! The server over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

struct Up {
    at: Vec<SocketAddr>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Up {
    async fn start(probes: &BindAddress, metrics: &BindAddress, health: &Health) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let exporter = Exporter::of_its_own().unwrap();
        let at = start((probes, health.clone()), (metrics, exporter), &tasks, &stop).await.unwrap();
        Self { at, tasks, stop }
    }

    async fn down(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await.expect("every task ends");
    }
}

fn local(port: u16) -> BindAddress {
    BindAddress::At { host: Some("127.0.0.1".into()), port }
}

async fn request(at: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    request(at, "GET", path).await
}

#[tokio::test]
async fn probes_and_metrics_on_two_addresses() {
    let health = Health::default();
    let up = Up::start(&local(0), &BindAddress::At { host: None, port: 0 }, &health).await;
    let [probes, metrics] = up.at[..] else { panic!("two listeners, not {:?}", up.at) };
    assert_eq!(get(probes, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(probes, "/readyz").await.0, 503);
    health.ready("streams", || Err("namespaces: no list yet".into()));
    let (code, body) = get(probes, "/readyz").await;
    assert_eq!((code, body.contains("[-]streams failed: namespaces: no list yet")), (503, true), "{body}");
    assert_eq!(get(probes, "/metrics").await.0, 404);
    // The one that listens everywhere answers over IPv4.
    let metrics = SocketAddr::from(([127, 0, 0, 1], metrics.port()));
    let (code, body) = get(metrics, "/metrics").await;
    assert_eq!((code, body.contains("process_resident_memory_bytes")), (200, true), "{body}");
    assert_eq!(get(metrics, "/readyz").await.0, 404);
    assert_eq!(request(metrics, "POST", "/metrics").await.0, 405);
    assert_eq!(request(metrics, "HEAD", "/metrics").await, (200, String::new()));
    up.down().await;
}

#[tokio::test]
async fn one_listener_when_the_addresses_are_equal_and_none_when_off() {
    let both = BindAddress::At { host: Some("127.0.0.1".into()), port: 0 };
    let up = Up::start(&both, &both, &Health::default()).await;
    assert_eq!(up.at.len(), 1);
    assert_eq!(get(up.at[0], "/healthz").await.0, 200);
    assert_eq!(get(up.at[0], "/metrics").await.0, 200);
    up.down().await;
    let up = Up::start(&BindAddress::Off, &BindAddress::Off, &Health::default()).await;
    assert!(up.at.is_empty());
    up.down().await;
}

#[tokio::test]
async fn an_address_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = listen(&local(taken.local_addr().unwrap().port())).await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot be listened on; choose another"), "{error:#}");
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_the_probe_out() {
    let up = Up::start(&local(0), &BindAddress::Off, &Health::default()).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(up.at[0]).await.unwrap());
    }
    let asked = Instant::now();
    assert_eq!(get(up.at[0], "/healthz").await.0, 200);
    let waited = asked.elapsed();
    assert!(waited < HEADERS_WITHIN + Duration::from_secs(2), "waited {waited:?}");
    up.down().await;
}
