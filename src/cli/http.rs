//! The small HTTP server behind `/healthz`, `/readyz` and `/metrics`.
//!
//! It must never be the reason why a probe fails: a connection carries one request and has a deadline, so that a slow
//! client cannot keep one of the few connections for long, and pages are made off the async threads.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::values::BindAddress;
use crate::controller::health::{Health, Question, Report};
use crate::telemetry::exporter::Exporter;

/// Connections at once on one listener. Probes and a scrape need three.
const CONNECTIONS: usize = 64;
/// A client that has not sent its request by then is cut off.
const HEADERS_WITHIN: Duration = Duration::from_secs(3);
/// A connection lasts no longer than this, slow readers included; a page takes milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener serves.
#[derive(Clone, Default)]
pub struct Pages {
    /// `/healthz` and `/readyz`.
    pub health: Option<Health>,
    /// `/metrics`.
    pub exporter: Option<Exporter>,
}

impl Pages {
    fn paths(&self) -> &'static str {
        match (&self.health, &self.exporter) {
            (Some(_), Some(_)) => "/healthz /readyz /metrics",
            (Some(_), None) => "/healthz /readyz",
            (None, Some(_)) => "/metrics",
            (None, None) => "",
        }
    }
}

/// Opens the listeners that the two addresses ask for, one if they are equal, and serves them in `tasks` until `stop`
/// is cancelled. Returns the addresses that came about.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn start(
    probes: (&BindAddress, Health),
    metrics: (&BindAddress, Exporter),
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<SocketAddr>> {
    let mut wanted = vec![(probes.0, Pages { health: Some(probes.1), exporter: None })];
    if metrics.0 == probes.0 {
        wanted[0].1.exporter = Some(metrics.1);
    } else {
        wanted.push((metrics.0, Pages { health: None, exporter: Some(metrics.1) }));
    }
    let mut open = Vec::new();
    for (address, pages) in wanted {
        let Some(listener) = listen(address).await? else { continue };
        let at = listener.local_addr().context("a listener has no address")?;
        tracing::info!(address = %at, paths = pages.paths(), "listening");
        tasks.spawn(serve(listener, pages, tasks.clone(), stop.clone()));
        open.push(at);
    }
    Ok(open)
}

async fn listen(address: &BindAddress) -> anyhow::Result<Option<TcpListener>> {
    let BindAddress::At { host, port } = address else { return Ok(None) };
    let listener = match host {
        Some(host) => TcpListener::bind((host.as_str(), *port)).await,
        // `::` takes IPv4 too; where there is no IPv6 at all it fails, and IPv4 is everything.
        None => match TcpListener::bind(("::", *port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("0.0.0.0", *port)).await,
        },
    };
    listener
        .map(Some)
        .with_context(|| format!("{address} cannot be listened on; choose another address, or 0 for none"))
}

async fn serve(listener: TcpListener, pages: Pages, tasks: TaskTracker, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The permit comes first: what cannot be served waits in the kernel's queue, and costs nothing here.
        let next = async { (permits.clone().acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = match stop.run_until_cancelled(next).await {
            Some(next) => next,
            None => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (pages, stop) = (pages.clone(), stop.clone());
                tasks.spawn(async move {
                    stop.run_until_cancelled(tokio::time::timeout(ANSWERED_WITHIN, connection(stream, pages))).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(cause = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, pages: Pages) {
    let answer = service_fn(|request: Request<Incoming>| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &pages).await) }
    });
    let ended = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "a connection ended early");
    }
}

async fn answer(method: &Method, path: &str, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match (path, &pages.health, &pages.exporter) {
        ("/healthz", Some(health), _) => verdict(health.report(Question::Live)),
        ("/readyz", Some(health), _) => verdict(health.report(Question::Ready)),
        ("/metrics", _, Some(exporter)) => {
            let exporter = exporter.clone();
            match tokio::task::spawn_blocking(move || exporter.render()).await {
                Ok(page) => {
                    let mut response = text(StatusCode::OK, page);
                    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    response
                }
                Err(broken) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the page cannot be made: {broken}\n")),
            }
        }
        _ => text(StatusCode::NOT_FOUND, format!("not here; there is {}\n", pages.paths())),
    }
}

fn verdict(report: Report) -> Response<Full<Bytes>> {
    text(if report.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report.text)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
#[path = "tests/http.rs"]
mod tests;
