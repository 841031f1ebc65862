//! Why a request did not do what it was sent for, in the words that decisions need.

use std::time::Duration;

use kube::core::Status;

use crate::kubernetes::diagnosis;

/// Whoever is busy is asked again after this time at the latest, in seconds.
const LONGEST_BUSY: u32 = 60;

/// A request that did not do what it was sent for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404 whose details name the object: it is not there. (A missing CRD answers 404 too, without details.)
    #[error("{0} does not exist")]
    NotFound(String),
    /// 404 on account of the namespace.
    #[error("namespace {0} does not exist")]
    NoNamespace(String),
    /// 409: the object is not the version that the request named.
    #[error("somebody else changed it meanwhile")]
    Conflict,
    /// 409: it is there already.
    #[error("it exists already")]
    AlreadyExists,
    /// 403: nothing can be created in a namespace that is being deleted.
    #[error("the namespace is being deleted")]
    NamespaceTerminating,
    /// 429, or 503 with a Retry-After: the server is busy, and says for how long.
    #[error("the API server is busy; it asks to come back in {0:?}")]
    Busy(Duration),
    /// 422: what was sent is not acceptable, for instance a change of an immutable ConfigMap.
    #[error("{0}")]
    Invalid(String),
    /// 401 or 403: permissions, or an admission policy.
    #[error("{0}")]
    Forbidden(String),
    /// No answer in time, a broken connection, 5xx.
    #[error("{0}")]
    Unavailable(String),
    /// Not sent: the namespace is set apart (see [`crate::kubernetes::bulkheads`]); after this time it may be tried.
    #[error("namespace {0} is set apart: an earlier write there was not answered in time")]
    SetApart(String, Duration),
    /// An answer of which no more than these bytes is read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// Not sent: too much that was read is in hand; after this time there may be room.
    #[error("not read: there is no room for it")]
    NoRoom(Duration),
    /// Not sent: the shard's lease might end before the answer.
    #[error("not sent: the lease of this replica may end before the answer")]
    GateClosed,
    /// Not sent: `--observe-only`.
    #[error("not sent: --observe-only")]
    ObserveOnly,
}

impl ApiError {
    /// A word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::NoNamespace(_) => "no_namespace",
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already_exists",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Busy(_) => "throttled",
            Self::Invalid(_) => "invalid",
            Self::Forbidden(_) => "forbidden",
            Self::Unavailable(_) => "unavailable",
            Self::SetApart(..) => "set_apart",
            Self::TooLong(_) => "too_long",
            Self::NoRoom(_) => "no_room",
            Self::GateClosed => "gate_closed",
            Self::ObserveOnly => "observe_only",
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => from_status(&status),
            other => Self::Unavailable(diagnosis::with_causes(&other)),
        }
    }
}

/// What the server's answer means.
pub(super) fn from_status(status: &Status) -> ApiError {
    let details = status.details.as_ref();
    let named = details.map_or("", |details| details.name.as_str());
    let caused_by = |reason: &str| details.is_some_and(|details| details.causes.iter().any(|c| c.reason == reason));
    let message = || diagnosis::remedy(status).unwrap_or_else(|| diagnosis::words(status));
    // A webhook may ask for more than a century.
    let retry_after = details.map_or(0, |details| details.retry_after_seconds.min(LONGEST_BUSY));
    match status.code {
        404 if details.is_some_and(|details| details.kind == "namespaces") => ApiError::NoNamespace(named.to_owned()),
        404 if !named.is_empty() => ApiError::NotFound(named.to_owned()),
        404 => ApiError::Unavailable(message()),
        409 if status.reason == "AlreadyExists" => ApiError::AlreadyExists,
        409 => ApiError::Conflict,
        403 if caused_by("NamespaceTerminating") => ApiError::NamespaceTerminating,
        401 | 403 => ApiError::Forbidden(message()),
        429 => ApiError::Busy(Duration::from_secs(u64::from(retry_after.max(1)))),
        503 if retry_after > 0 => ApiError::Busy(Duration::from_secs(u64::from(retry_after))),
        400 | 413 | 422 => ApiError::Invalid(message()),
        _ => ApiError::Unavailable(message()),
    }
}
