//! What a replica sends its requests into: they wait in an outbox until the simulation carries them on, and their
//! answers, and the lines of watches, come back through channels.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use configmapsync_operator::kubernetes::client::Answer as Response;
use futures::{FutureExt as _, StreamExt as _};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use crate::server::Answer;

/// A watch that says nothing for this long is broken off by the client's transport (`kubernetes/client.rs`).
const SILENCE: Duration = Duration::from_secs(100);

/// A request that was sent.
pub struct Sent {
    /// Who sent it.
    pub replica: usize,
    /// When, by the true time.
    pub at: Duration,
    /// The request.
    pub request: Request<Vec<u8>>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// What comes back.
pub type Reply = Result<Response, BoxError>;
/// The lines of a watch; an error breaks it off.
pub type Lines = mpsc::UnboundedSender<Result<Bytes, BoxError>>;

/// How the true time follows from a replica's own.
#[derive(Clone, Copy)]
pub struct Reading {
    /// A moment by the replica's clock.
    pub local: Instant,
    /// The same moment by the true time.
    pub truly: Duration,
    /// How fast the replica's clock runs.
    pub rate: f64,
}

/// One replica's end of the network.
pub struct Wire {
    replica: usize,
    outbox: Mutex<Vec<Sent>>,
    reading: Mutex<Reading>,
}

impl Wire {
    /// A replica's.
    pub fn new(replica: usize, reading: Reading) -> Arc<Self> {
        Arc::new(Self { replica, outbox: Mutex::default(), reading: Mutex::new(reading) })
    }

    /// Sets the clock by which the moments of sending are told.
    pub fn set(&self, reading: Reading) {
        *self.reading.lock().unwrap() = reading;
    }

    /// What was sent since the last call.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.outbox.lock().unwrap())
    }

    /// What `kube::Client` sends into.
    pub fn service(self: &Arc<Self>) -> BoxCloneSyncService<Request<Body>, Response, BoxError> {
        let wire = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| wire.clone().send(request).boxed()))
    }

    async fn send(self: Arc<Self>, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        let (reply, answer) = oneshot::channel();
        let at = {
            let Reading { local, truly, rate } = *self.reading.lock().unwrap();
            truly + (Instant::now() - local).div_f64(rate)
        };
        let request = Request::from_parts(parts, body);
        self.outbox.lock().unwrap().push(Sent { replica: self.replica, at, request, reply });
        answer.await.unwrap_or_else(|_| Err("the connection was closed".into()))
    }
}

/// An answer as HTTP.
pub fn response(answer: &Answer) -> Response {
    let mut builder = http::Response::builder().status(answer.code).header("content-type", "application/json");
    if let Some(seconds) = answer.retry_after {
        builder = builder.header("retry-after", seconds);
    }
    let body = Full::new(Bytes::from(answer.body.to_string()));
    builder.body(body.map_err(|never| match never {}).boxed_unsync()).unwrap()
}

/// The answer to a watch, and where its lines go.
pub fn watching() -> (Response, Lines) {
    let (lines, receiver) = mpsc::unbounded_channel::<Result<Bytes, BoxError>>();
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let next = tokio::time::timeout(SILENCE, receiver.recv()).await;
        let next = next.unwrap_or_else(|_| Some(Err("nothing was heard for too long".into())))?;
        Some((next, receiver))
    });
    let body = StreamBody::new(stream.map(|line| line.map(Frame::data)));
    let response = http::Response::builder().status(200).header("content-type", "application/json");
    (response.body(body.boxed_unsync()).unwrap(), lines)
}
