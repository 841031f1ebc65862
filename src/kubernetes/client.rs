//! The clients of a replica: for the watches, for reads and writes, for Leases. No client sends a request again by itself:
//! a write must not be sent late, behind the gate's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::kubernetes::error::by_proxy;
use crate::kubernetes::exchange::{LONGEST, Longer};
use crate::kubernetes::pages::Pages;
use crate::telemetry::instruments;

/// Asks for metadata only: contents of ConfigMaps are not even sent.
pub const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
// With plain JSON as the second choice: without it the API server prints a refusal over 13 lines, and kube takes each
// line of what a watch is answered for an event, of which it cannot make sense, and waits after each.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const METADATA_WATCH: &str = METADATA_ONLY;

/// A watch that says nothing for this long is broken: the server sends a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(100);

/// What an API server in this very process answers.
pub type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Where the API server is.
#[derive(Clone)]
pub enum Server {
    /// Across the network.
    Remote(Box<Config>),
    /// In this very process: a simulation.
    Within(BoxCloneSyncService<Request<Body>, Answer, BoxError>),
}

/// The clients.
#[derive(Clone)]
pub struct Clients {
    /// For reads and writes.
    pub requests: Client,
    /// For the watch of syncs.
    pub watches: Client,
    /// For watches of metadata.
    pub metadata: Client,
    /// For Leases alone: else a big fan-out would starve the heartbeat.
    pub leases: Client,
    /// When each watch last said anything.
    pub activity: WatchActivity,
}

impl Clients {
    /// Makes them. `agent` names this replica in the server's audit log.
    ///
    /// # Errors
    /// When the configuration is of no use, for instance for a certificate that cannot be read.
    pub fn new(server: &Server, agent: &str) -> Result<Self, kube::Error> {
        let config = match server {
            Server::Remote(config) => config_for(config, agent),
            Server::Within(service) => return Ok(Self::within(service)),
        };
        let mut watching = config.clone();
        watching.read_timeout = Some(SILENCE);
        let activity = WatchActivity::default();
        Ok(Self {
            requests: client(config.clone(), &activity, false)?,
            watches: client(watching.clone(), &activity, false)?,
            metadata: client(watching, &activity, true)?,
            leases: client(config, &activity, false)?,
            activity,
        })
    }

    fn within(service: &BoxCloneSyncService<Request<Body>, Answer, BoxError>) -> Self {
        let activity = WatchActivity::default();
        let client = |metadata_only| {
            let layer = MeasuredLayer::new(&activity, metadata_only, None);
            ClientBuilder::new(service.clone(), "default").with_layer(&layer).build()
        };
        Self {
            requests: client(false),
            watches: client(false),
            metadata: client(true),
            leases: Client::new(service.clone(), "default"),
            activity,
        }
    }
}

/// `config` without retries, and with a name for the audit log.
pub fn config_for(config: &Config, agent: &str) -> Config {
    let mut config = config.clone();
    config.default_retry = false;
    if let Ok(agent) = HeaderValue::from_str(agent) {
        config.headers.retain(|(name, _)| name != USER_AGENT);
        config.headers.push((USER_AGENT, agent));
    }
    config
}

fn client(config: Config, activity: &WatchActivity, metadata_only: bool) -> Result<Client, kube::Error> {
    let proxy = config.proxy_url.as_ref().and_then(http::Uri::authority).map(|proxy| host_and_port(proxy).into());
    let layer = MeasuredLayer::new(activity, metadata_only, proxy);
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// Without the name and the password that stand before them.
fn host_and_port(authority: &http::uri::Authority) -> String {
    authority.port_u16().map_or_else(|| authority.host().to_owned(), |port| format!("{}:{port}", authority.host()))
}

/// When each watch last said anything, be it only a bookmark: by the plural of what it follows.
#[derive(Clone)]
pub struct WatchActivity {
    start: Instant,
    last: Arc<parking_lot::Mutex<AHashMap<Box<str>, Arc<AtomicU64>>>>,
}

impl Default for WatchActivity {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }
}

impl WatchActivity {
    /// How long ago the watch of `resource` last said anything; since the start of this replica, if it never did.
    pub fn age(&self, resource: &str) -> Duration {
        let last = self.last.lock().get(resource).map_or(0, |last| last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(Duration::from_millis(last))
    }

    /// What the watch that a request opens notes its activity in.
    fn of(&self, uri: &http::Uri) -> Arc<AtomicU64> {
        let plural = uri.path().rsplit('/').next().unwrap_or_default();
        self.last.lock().entry(plural.into()).or_default().clone()
    }

    fn note(&self, last: &AtomicU64) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.fetch_max(now, Ordering::Relaxed);
    }
}

/// Counts requests and their time, notes the activity of watches, asks for metadata where that is enough, and reads no more of
/// an answer than there is room for.
#[derive(Clone)]
struct MeasuredLayer {
    activity: WatchActivity,
    pages: Arc<Pages>,
    metadata_only: bool,
    /// The proxy that leads to the server, which a failure names.
    proxy: Option<Arc<str>>,
}

impl MeasuredLayer {
    fn new(activity: &WatchActivity, metadata_only: bool, proxy: Option<Arc<str>>) -> Self {
        Self { activity: activity.clone(), pages: Arc::default(), metadata_only, proxy }
    }
}

impl<S> Layer<S> for MeasuredLayer {
    type Service = Measured<S>;
    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner: Arc::new(Mutex::new(inner)), settings: self.clone() }
    }
}

struct Measured<S> {
    inner: Arc<Mutex<S>>,
    settings: MeasuredLayer,
}

/// Sends one request.
async fn sent<S, B>(inner: &Mutex<S>, request: Request<Body>) -> Result<Response<B>, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    let answer = inner.lock().await.ready().await?.call(request);
    answer.await
}

/// A page of a list, smaller ones where one is too large to be read.
async fn page<S, B>(inner: &Mutex<S>, request: Request<Body>, pages: &Pages) -> Result<Answer, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, _) = request.into_parts();
    loop {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        let (uri, limit) = pages.limited(&parts.uri)?;
        *request.uri_mut() = uri;
        let (head, body) = sent(inner, request).await.map_err(Into::into)?.into_parts();
        match Limited::new(body, LONGEST).collect().await {
            Ok(whole) => {
                let whole = whole.to_bytes();
                pages.fitted(limit, whole.len(), LONGEST);
                return Ok(Response::from_parts(head, Full::new(whole).map_err(|never| match never {}).boxed_unsync()));
            }
            Err(error) if error.is::<http_body_util::LengthLimitError>() && pages.overflowed(limit) => {}
            Err(error) => return Err(error),
        }
    }
}

impl<S, B> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        if self.settings.metadata_only {
            let accept = if watch { METADATA_WATCH } else { METADATA_LIST };
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let method = method(request.method());
        // Only the watch itself shows that it is alive: a POST to the same address does not.
        let watched = watch.then(|| self.settings.activity.of(request.uri()));
        let is_list = Pages::is_list(request.uri()) && request.method() == http::Method::GET;
        let MeasuredLayer { activity, pages, proxy, .. } = self.settings.clone();
        let start = Instant::now();
        let inner = self.inner.clone();
        async move {
            let answer: Result<Answer, BoxError> = if is_list && !watch {
                page(&inner, request, &pages).await
            } else {
                let whole = |body: B| match &watched {
                    Some(_) => body.map_err(Into::into).boxed_unsync(),
                    None => Limited::new(body, LONGEST).map_err(too_long).boxed_unsync(),
                };
                sent(&inner, request).await.map(|answer| answer.map(whole)).map_err(Into::into)
            };
            let answer = match proxy {
                Some(proxy) => answer.map_err(|error| by_proxy(error, &proxy)),
                None => answer,
            };
            let code = answer.as_ref().map_or("<error>".to_owned(), |answer| answer.status().as_u16().to_string());
            metrics::counter!(instruments::REST_CLIENT_REQUESTS_TOTAL, "code" => code, "method" => method).increment(1);
            metrics::histogram!(instruments::REST_CLIENT_REQUEST_DURATION_SECONDS, "verb" => method)
                .record(start.elapsed().as_secs_f64());
            Ok(answer?.map(|body| match watched {
                Some(last) => {
                    activity.note(&last);
                    let noting = body.map_frame(move |frame| {
                        activity.note(&last);
                        frame
                    });
                    noting.boxed_unsync()
                }
                None => body,
            }))
        }
        .boxed()
    }
}

fn too_long(error: BoxError) -> BoxError {
    match error.is::<http_body_util::LengthLimitError>() {
        true => Longer.into(),
        false => error,
    }
}

fn method(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::PATCH => "PATCH",
        http::Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::error::{ApiError, with_causes};
    use crate::kubernetes::exchange::exchange;

    /// A server that answers everything with `size` bytes, or with fewer where a page has a smaller limit.
    fn server(size: usize) -> Clients {
        let answer = move |request: Request<Body>| async move {
            let limit =
                request.uri().query().and_then(|query| query.split("limit=").nth(1)?.split('&').next()?.parse().ok());
            let body =
                Full::new(Bytes::from(vec![b' '; size.min(limit.unwrap_or(usize::MAX).saturating_mul(100 << 10))]));
            Ok::<_, BoxError>(Response::new(body.map_err(|never| match never {}).boxed_unsync()))
        };
        Clients::within(&BoxCloneSyncService::new(tower::service_fn(answer)))
    }

    async fn answer_size(client: &Client, method: http::Method, uri: &str) -> Result<usize, String> {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let answer = client.send(request).await.map_err(|error| error.to_string())?;
        answer.into_body().collect().await.map(|body| body.to_bytes().len()).map_err(|error| with_causes(&error))
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_lead_to_the_server_is_named() {
        let mut config = Config::new("https://127.0.0.1:443".parse().unwrap());
        // Nothing listens there.
        config.proxy_url = Some("http://somebody:secret@127.0.0.1:1".parse().unwrap());
        let clients = Clients::new(&Server::Remote(Box::new(config)), "test").unwrap();
        let request = Request::builder().uri("/version").body(Body::empty()).unwrap();
        let error = ApiError::from(clients.requests.send(request).await.unwrap_err()).to_string();
        assert!(error.contains(", by way of the proxy 127.0.0.1:1)"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn only_a_watch_itself_counts_as_its_activity() {
        let clients = server(10);
        std::thread::sleep(Duration::from_millis(30));
        let before = clients.activity.age("configmaps");
        for (method, uri) in [
            (http::Method::POST, "/api/v1/namespaces/a/configmaps"),
            (http::Method::GET, "/api/v1/configmaps?limit=500"),
        ] {
            answer_size(&clients.requests, method, uri).await.unwrap();
        }
        assert!(clients.activity.age("configmaps") >= before);
        answer_size(&clients.metadata, http::Method::GET, "/api/v1/configmaps?watch=true").await.unwrap();
        assert!(clients.activity.age("configmaps") < before);
    }

    #[tokio::test]
    async fn each_watch_that_probes_ask_about_has_an_activity_of_its_own() {
        let clients = server(10);
        std::thread::sleep(Duration::from_millis(30));
        let names = ["configmapsyncs", "clusterconfigmapsyncs", "configmaps", "namespaces", "leases"];
        let ages = || names.map(|name| clients.activity.age(name));
        for (number, path) in [
            "/apis/apps.kapendra.com/v1/configmapsyncs",
            "/apis/apps.kapendra.com/v1alpha1/clusterconfigmapsyncs",
            "/api/v1/configmaps",
            "/api/v1/namespaces",
            "/apis/coordination.k8s.io/v1/namespaces/system/leases",
        ]
        .into_iter()
        .enumerate()
        {
            let before = ages();
            answer_size(&clients.watches, http::Method::GET, &format!("{path}?watch=true")).await.unwrap();
            let younger = |other: &usize| ages()[*other] < before[*other];
            assert_eq!((0..names.len()).filter(younger).collect::<Vec<_>>(), [number], "{path}");
        }
    }

    #[tokio::test]
    async fn no_more_of_an_answer_is_read_than_there_is_room_for() {
        let clients = server(50 << 20);
        let object = "/api/v1/namespaces/a/configmaps/b";
        let error = answer_size(&clients.requests, http::Method::GET, object).await.unwrap_err();
        assert!(error.contains("longer than 4 MiB"), "{error}");
        let request = Request::builder().uri(object).body(Body::empty()).unwrap();
        let refused = exchange(&clients.requests, request, LONGEST).await;
        assert_eq!(refused, Err(ApiError::TooLong(LONGEST)));
        let page = answer_size(&clients.metadata, http::Method::GET, "/api/v1/configmaps?limit=500").await.unwrap();
        assert!(page <= LONGEST, "{page}");
    }
}
