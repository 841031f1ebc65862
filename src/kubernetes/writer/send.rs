//! One write on its way: its turn, the gate, its answer, and what that says of the server and of the namespace.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use kube::client::Body;
use parking_lot::MutexGuard;
use tokio::time::Instant;

use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::bulkheads::{Door, Ended};
use crate::kubernetes::client::METADATA_ONLY;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::exchange::{LONGEST, exchange};
use crate::kubernetes::writer::{Attempt, CONFIGMAPS, Inner, Writer, verb};
use crate::rules::record::ObjectKey;
use crate::rules::shard::SHARDS;
use crate::telemetry::instruments;

/// An answer within this time is never late, however fast the others are.
const LATE_ANSWER: Duration = Duration::from_secs(1);

impl Writer {
    pub(super) async fn send(
        &self,
        attempt: Attempt<'_>,
        method: Method,
        resource: &'static str,
        path: &str,
        key: &ObjectKey,
        body: Bytes,
    ) -> Result<String, ApiError> {
        let inner = &*self.inner;
        let Attempt { shard, turn, asked, allowed } = attempt;
        let verb = verb(&method);
        if inner.observe_only {
            let (namespace, name) = (&*key.namespace, &*key.name);
            tracing::info!(namespace, name, shard = shard.index(), verb, resource, "would write");
            return Err(ApiError::ObserveOnly);
        }
        turn.take().await;
        inner.rate.turn(|| !inner.gate.may_write(shard)).await;
        let door = Door { namespace: key.namespace.clone(), resource, verb };
        let mut entry =
            inner.bulkheads.enter(door, asked).map_err(|wait| ApiError::SetApart(key.namespace.to_string(), wait))?;
        let usual = inner.gate.request_timeout();
        let is_apart = entry.timeout().is_some();
        let timeout = entry.timeout().map_or(usual, |timeout| timeout.max(usual));
        let request = request(method, path, resource, timeout, body)?;
        // The gate is asked last, right before the request goes out.
        if !inner.gate.may_write(shard) {
            return Err(ApiError::GateClosed);
        }
        // It may have waited long for its turn: what was decided before is decided anew.
        if !allowed() {
            return Err(ApiError::Conflict);
        }
        let _in_flight = InFlight::one();
        let sent = Instant::now();
        let patience = inner.limiter.patience().min(timeout);
        let mut answering = std::pin::pin!(exchange(&inner.client, request, LONGEST));
        let mut answer = tokio::time::timeout(patience, &mut answering).await;
        if answer.is_err() {
            // Writes that wait for a permit need not wait for this one.
            entry.mark_late();
            turn.mark_late();
            answer = tokio::time::timeout_at(sent + timeout, &mut answering).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Unavailable(format!("no answer within {timeout:?}"))),
        };
        if let Err(ApiError::Unavailable(_) | ApiError::Unreachable(_) | ApiError::NotInstalled) = &answer {
            inner.unsettled()[shard.index()] = Some(sent + inner.gate.surely_over());
        }
        let took = sent.elapsed();
        let ended = inner.judge(&key.namespace, is_apart, sent, took, patience, &answer);
        let why = match &answer {
            Err(error) if ended != Ended::Late => error.to_string(),
            _ => format!("the answer took {took:.1?}"),
        };
        entry.end(ended, &why);
        let result = answer.as_ref().map_or_else(ApiError::category, |_| "ok");
        metrics::counter!(instruments::WRITES_TOTAL, "verb" => verb, "resource" => resource, "result" => result)
            .increment(1);
        answer
    }
}

impl Inner {
    /// What an answer says about the server and about the namespace.
    fn judge(
        &self,
        namespace: &str,
        is_apart: bool,
        sent: Instant,
        took: Duration,
        patience: Duration,
        answer: &Result<String, ApiError>,
    ) -> Ended {
        let late = took > patience.max(LATE_ANSWER);
        let confined = late && self.limiter.server_answers_since(sent);
        match answer {
            // Something on the way ended what took long, while the server answers others.
            Err(ApiError::Unreachable(_)) if is_apart && self.limiter.server_answers_since(sent) => {
                return Ended::Unanswered;
            }
            Err(ApiError::Unreachable(_)) => {
                self.limiter.halve();
                return Ended::NotItsFault;
            }
            Err(ApiError::Busy(_) | ApiError::Unavailable(_) | ApiError::NotInstalled)
                if !self.limiter.failed(namespace, sent) =>
            {
                return Ended::NotItsFault;
            }
            Err(ApiError::Busy(wait)) => return Ended::Throttled(*wait),
            Err(ApiError::Unavailable(_) | ApiError::NotInstalled) => return Ended::Unanswered,
            Ok(_) if !confined => self.limiter.answered(namespace, took),
            _ => {}
        }
        match (late, confined) {
            (false, _) => Ended::InTime,
            (true, true) => Ended::Late,
            (true, false) => Ended::NotItsFault,
        }
    }

    pub(super) fn unsettled(&self) -> MutexGuard<'_, [Option<Instant>; SHARDS]> {
        self.unsettled.lock()
    }
}

/// One more on the gauge of writes in flight, until it is dropped.
struct InFlight;

impl InFlight {
    fn one() -> Self {
        metrics::gauge!(instruments::WRITERS_IN_FLIGHT).increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(instruments::WRITERS_IN_FLIGHT).decrement(1);
    }
}

fn request(
    method: Method,
    path: &str,
    resource: &'static str,
    timeout: Duration,
    body: Bytes,
) -> Result<Request<Body>, ApiError> {
    let is_delete = method == Method::DELETE;
    let manager = if is_delete { String::new() } else { format!("&fieldManager={FIELD_MANAGER}") };
    let uri = format!("{path}?timeout={}ms{manager}", timeout.as_millis());
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(uri).header(http::header::CONTENT_TYPE, content);
    // Nobody reads what was removed. What was written is compared with what was sent.
    if resource == CONFIGMAPS && is_delete {
        request = request.header(http::header::ACCEPT, METADATA_ONLY);
    }
    request.body(body.into()).map_err(|error| ApiError::Unavailable(error.to_string()))
}
