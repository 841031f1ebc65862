//! Leases as they are on the API server: reading them, writing them, watching them. Decides nothing.
//!
//! Leases have a client of their own, so that a heartbeat never waits behind copies. Each request is sent once: the gate
//! counts from when a renewal was sent, and could not know of one that is sent again behind its back.

mod format;
pub mod notes;
mod object;
mod parse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use http::Uri;
use http::uri::PathAndQuery;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use tracing::{debug, info, warn};

pub use format::identity;
pub use object::LeaseObject;
pub use parse::Parser;
pub use parse::version;

use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::backoff::WatchBackoff;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::failures::Failures;
use crate::kubernetes::leases::notes::Notes;
use crate::leadership::{Answer, Phase, Request, SessionName, SessionRecord, Timing};
use crate::rules::shard::Shard;
use crate::rules::uid::Version;

/// The name of the Lease by which the fleet leader is elected.
pub const FLEET_LEADER: &str = "configmapsync-fleet-leader";

/// The same address with `?timeout=`, so that the server does not begin on a request after we gave it up.
fn with_timeout(uri: &Uri, timeout: Duration) -> Option<Uri> {
    let query = uri.query().unwrap_or("");
    let and = if query.is_empty() { "" } else { "&" };
    let mut parts = uri.clone().into_parts();
    let path = format!("{}?{query}{and}timeout={}ms", uri.path(), timeout.as_millis());
    parts.path_and_query = Some(path.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// The Leases of the fleet.
#[derive(Clone)]
pub struct Leases {
    client: Client,
    api: Api<LeaseObject>,
    timing: Timing,
    /// What the names of our sessions begin with, for the log.
    base: String,
    /// What fails: an outage is logged once, not with every heartbeat.
    failures: Arc<Failures>,
    notes: Notes,
}

impl Leases {
    /// The Leases in this namespace. `client` is [`Clients::leases`](crate::kubernetes::client::Clients::leases).
    pub fn new(client: Client, namespace: &str, timing: Timing, base: &str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { client, api, timing, base: base.to_owned(), failures: Arc::default(), notes: Notes::new(base) }
    }

    /// What replicas tell each other on their sessions' Leases.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Sends one request, once, and says what became of it.
    pub async fn send(&self, request: &Request) -> Answer {
        let sent = async {
            match request {
                Request::LookAtSession(name) => self.look(name).await,
                _ => self.write(request).await,
            }
        };
        let answer = match tokio::time::timeout(self.timing.lease_request, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ApiError::Conflict | ApiError::AlreadyExists)) => Answer::Conflict,
            Ok(Err(error)) => self.failed(request, &error),
            Err(_) => self.failed(request, &ApiError::Unavailable("no answer in time".to_owned())),
        };
        if answer != Answer::Failed {
            self.answered(kind(request));
        }
        answer
    }

    async fn write(&self, request: &Request) -> Result<Answer, ApiError> {
        let mut lease = format::lease(request, self.timing.lease, crate::environment::clock::wall());
        if let (Request::CreateSession { .. } | Request::Renew { phase: Phase::Live, .. }, Some(note)) =
            (request, self.notes.own())
        {
            lease.metadata.annotations.get_or_insert_default().insert(format::annotation(format::NOTE), note);
        }
        let digest = match request {
            Request::ReleaseShard(shard, ..) => self.notes.leaving(*shard),
            // What the last holder left stays true, and a replica that starts later may need it.
            Request::TakeShard(shard, ..) => self.notes.left(*shard),
            _ => None,
        };
        if let Some(digest) = digest {
            lease.metadata.annotations.get_or_insert_default().insert(format::annotation(format::DIGEST), digest);
        }
        let body = serde_json::to_vec(&lease).map_err(kube::Error::SerdeError)?;
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let requests = kube::core::Request::new(self.api.resource_url());
        let built = match request {
            Request::CreateSession { .. } | Request::CreateShard(..) => requests.create(&params, body),
            _ => requests.replace(lease.metadata.name.as_deref().unwrap_or_default(), &params, body),
        };
        let mut http = built.map_err(kube::Error::BuildRequest)?;
        if let Some(uri) = with_timeout(http.uri(), self.timing.lease_request) {
            *http.uri_mut() = uri;
        }
        let lease: LeaseObject = self.client.request(http).await?;
        Ok(version(&lease.0.metadata).map_or(Answer::Failed, Answer::Done))
    }

    /// Reads our session's Lease from etcd and not from a cache.
    async fn look(&self, name: &SessionName) -> Result<Answer, ApiError> {
        Ok(match self.api.get_opt(&format::session_lease(name)).await? {
            Some(lease) => Parser::default().session(&lease.0).map_or(Answer::Failed, Answer::Found),
            None => Answer::Missing,
        })
    }

    fn failed(&self, request: &Request, error: &ApiError) -> Answer {
        debug!(replica = %self.base, ?request, cause = %error, "a request to a Lease failed");
        self.fails(kind(request), error);
        Answer::Failed
    }

    /// Notes that requests of this kind fail, and says so once.
    pub fn fails(&self, kind: &'static str, error: &ApiError) {
        if self.failures.begin(kind, error) {
            warn!(replica = %self.base, request = kind, cause = %error, "requests to Leases fail; they are tried again until they are answered");
        }
    }

    /// Notes that one of this kind was answered.
    pub fn answered(&self, kind: &'static str) {
        if self.failures.end(kind) {
            info!(replica = %self.base, request = kind, "requests to Leases are answered again");
        }
    }

    /// A failure that stays until somebody mends it, if there is one.
    pub fn lacks(&self) -> Option<ApiError> {
        self.failures.lasting()
    }

    /// Deletes the Lease of a session that is dead, if it is still the very one that was judged.
    ///
    /// # Errors
    /// The API server refused, or did not answer in time. A Lease that is gone or changed is no error.
    pub async fn sweep(&self, session: &SessionRecord) -> Result<(), ApiError> {
        self.delete(&format::session_lease(&session.name), session.version).await
    }

    /// Deletes a Lease under preconditions.
    ///
    /// # Errors
    /// As [`Leases::sweep`].
    pub async fn delete(&self, name: &str, version: Version) -> Result<(), ApiError> {
        let preconditions =
            Preconditions { uid: Some(version.uid.to_string()), resource_version: Some(version.rv.to_string()) };
        match self.api.delete(name, &DeleteParams::default().preconditions(preconditions)).await.map_err(ApiError::from)
        {
            Ok(_)
            | Err(
                ApiError::NotFound(_)
                | ApiError::NoNamespace(_)
                | ApiError::NotInstalled
                | ApiError::Conflict
                | ApiError::AlreadyExists,
            ) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A Lease's version, whatever else it says; `None` when there is no such Lease.
    ///
    /// # Errors
    /// The API server refused, or did not answer in time.
    pub async fn version(&self, name: &str) -> Result<Option<Version>, ApiError> {
        Ok(self.api.get_opt(name).await?.and_then(|lease| version(&lease.0.metadata)))
    }

    /// All Leases in the namespace. Ours are known by their names and not by labels: a label that somebody takes off would
    /// look like a deletion, and hide the Lease from the replica that wants to create it anew.
    pub fn watch(&self) -> impl Stream<Item = watcher::Result<watcher::Event<LeaseObject>>> + Send + use<> {
        let leases = self.clone();
        // Soon, since no gate opens without a watch.
        watcher::watcher(self.api.clone(), watcher::Config::default())
            .backoff(WatchBackoff::up_to(Duration::from_secs(2)))
            .inspect(move |event| match event {
                Ok(event) => {
                    leases.hand_on_note(event);
                    if !matches!(event, watcher::Event::Init) {
                        leases.answered(WATCH);
                    }
                }
                Err(error) => leases.fails(WATCH, &error.into()),
            })
            .boxed()
    }
}

impl Leases {
    fn hand_on_note(&self, event: &watcher::Event<LeaseObject>) {
        let (lease, gone) = match event {
            watcher::Event::Init => return self.notes.list_begins(),
            watcher::Event::InitDone => return self.notes.list_ends(),
            watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) => (&lease.0, false),
            watcher::Event::Delete(lease) => (&lease.0, true),
        };
        let annotation =
            |name: &str| lease.metadata.annotations.as_ref()?.get(&format::annotation(name)).map(String::as_str);
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        if let Some(session) = name.strip_prefix(format::SESSION) {
            self.notes.observe(session, annotation(format::NOTE).filter(|_| !gone));
        } else if let Some(digest) = annotation(format::DIGEST)
            && let Some(shard) = name.strip_prefix(format::SHARD).and_then(|number| Shard::new(number.parse().ok()?))
        {
            self.notes.observe_shard(shard, digest);
        }
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("base", &self.base).finish_non_exhaustive()
    }
}

const WATCH: &str = "watch";

/// The verb of a request, as in a Role.
fn kind(request: &Request) -> &'static str {
    match request {
        Request::CreateSession { .. } | Request::CreateShard(..) => "create",
        Request::LookAtSession(_) => "get",
        Request::Renew { .. } | Request::EndSession(_) | Request::TakeShard(..) | Request::ReleaseShard(..) => "update",
    }
}

/// The name of a shard's Lease.
pub fn shard_lease(shard: Shard) -> String {
    format::shard_lease(shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/apis/x/leases/a", "/apis/x/leases/a?timeout=2000ms")]
    #[case("/apis/x/leases?limit=500", "/apis/x/leases?limit=500&timeout=2000ms")]
    #[case("https://h:1/apis/x/leases?&fieldManager=m", "https://h:1/apis/x/leases?&fieldManager=m&timeout=2000ms")]
    fn requests_carry_their_timeout(#[case] uri: &str, #[case] expected: &str) {
        let with = with_timeout(&uri.parse().unwrap(), Duration::from_secs(2)).unwrap();
        assert_eq!(with, expected.parse::<Uri>().unwrap());
    }
}
