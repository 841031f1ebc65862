//! Why a request did not do what it was sent for: what that means for decisions, and what mends it.

use std::borrow::Cow;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

/// A busy API server is asked again after this time at the latest, in seconds.
const LONGEST_BUSY: u32 = 60;

const NEW_CREDENTIALS: &str = "renew the kubeconfig and start again, or in a cluster kubectl rollout restart \
                               deployment/configmapsync-controller-manager -n configmapsync-system";
const GRANT: &str = "apply our roles again (helm upgrade, or kubectl apply -f deploy/install.yaml), or add the \
                     namespace to rbac.targetNamespaces";
const INSTALL_CRD: &str = "kubectl apply -f crds/";

fn create_namespace(name: &str) -> String {
    format!("kubectl create namespace {name}")
}

/// A request that did not do what it was sent for. Its text says what mends it, where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404 whose details name the object: it is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// 404 on account of the namespace.
    #[error("namespace {0} does not exist: {remedy}", remedy = create_namespace(.0))]
    NoNamespace(String),
    /// 404 without details: the server knows no such resource.
    #[error("the CustomResourceDefinition configmapsyncs.apps.kapendra.com is not installed: {INSTALL_CRD}")]
    NotInstalled,
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
    /// 401, with what the server says.
    #[error("the API server does not accept our credentials ({0}): {NEW_CREDENTIALS}")]
    Unauthorized(String),
    /// 403: a role lacks a right. It says whose and which, without the object's name, which is another one each time.
    #[error("User {0}: {GRANT}")]
    LacksRight(String),
    /// 403: an admission policy.
    #[error("{0}")]
    Forbidden(String),
    /// No answer in time, 5xx.
    #[error("{0}")]
    Unavailable(String),
    /// The connection cannot be made, or it broke: mostly that is no namespace's doing.
    #[error("the API server does not answer ({0}): kubectl cluster-info tells whether it does")]
    Unreachable(String),
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
    /// Its name in metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::NoNamespace(_) => "no_namespace",
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already_exists",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Busy(_) => "throttled",
            Self::Invalid(_) => "invalid",
            Self::Unauthorized(_) | Self::LacksRight(_) | Self::Forbidden(_) => "forbidden",
            Self::NotInstalled | Self::Unavailable(_) | Self::Unreachable(_) => "unavailable",
            Self::SetApart(..) => "set_apart",
            Self::TooLong(_) => "too_long",
            Self::NoRoom(_) => "no_room",
            Self::GateClosed => "gate_closed",
            Self::ObserveOnly => "observe_only",
        }
    }

    /// The command that mends it, where it is known.
    pub fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoNamespace(name) => Some(create_namespace(name).into()),
            Self::NotInstalled => Some(INSTALL_CRD.into()),
            Self::Unauthorized(_) => Some(NEW_CREDENTIALS.into()),
            Self::LacksRight(_) => Some(GRANT.into()),
            _ => None,
        }
    }

    /// Whether it stays until somebody mends it: a right, a definition or a namespace is missing, or the credentials are
    /// wrong.
    pub fn is_lasting(&self) -> bool {
        self.remedy().is_some()
    }
}

impl From<&kube::Error> for ApiError {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(&**status),
            // A token file or a plugin that gives no credentials says so in its own words.
            error if causes(error).any(|cause| cause.is::<kube::client::AuthError>()) => {
                Self::Unavailable(with_causes(error))
            }
            kube::Error::Service(_) | kube::Error::HyperError(_) => Self::Unreachable(innermost(error)),
            other => Self::Unavailable(with_causes(other)),
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&watcher::Error> for ApiError {
    fn from(error: &watcher::Error) -> Self {
        match error {
            // kube reads the refusal of a watch as its first event.
            watcher::Error::InitialListFailed(failed)
            | watcher::Error::WatchStartFailed(failed)
            | watcher::Error::WatchFailed(failed) => Self::from(failed),
            other => Self::Unavailable(with_causes(other)),
        }
    }
}

impl From<&Status> for ApiError {
    fn from(status: &Status) -> Self {
        let details = status.details.as_ref();
        let named = details.map_or("", |details| details.name.as_str());
        let caused_by = |reason: &str| details.is_some_and(|details| details.causes.iter().any(|c| c.reason == reason));
        // A webhook may ask for more than a century.
        let retry_after = details.map_or(0, |details| details.retry_after_seconds.min(LONGEST_BUSY));
        match status.code {
            404 if details.is_some_and(|details| details.kind == "namespaces") => Self::NoNamespace(named.to_owned()),
            404 if !named.is_empty() => Self::NotFound(named.to_owned()),
            404 => Self::NotInstalled,
            409 if status.reason == "AlreadyExists" => Self::AlreadyExists,
            409 => Self::Conflict,
            401 => Self::Unauthorized(message(status)),
            403 if caused_by("NamespaceTerminating") => Self::NamespaceTerminating,
            403 => lacks(status)
                .map_or_else(|| Self::Forbidden(message(status)), |lacks| Self::LacksRight(lacks.to_owned())),
            429 => Self::Busy(Duration::from_secs(u64::from(retry_after.max(1)))),
            503 if retry_after > 0 => Self::Busy(Duration::from_secs(u64::from(retry_after))),
            400 | 413 | 422 => Self::Invalid(message(status)),
            _ => Self::Unavailable(message(status)),
        }
    }
}

/// The user and what that user cannot do, where a role lacks a right and no admission policy refused.
fn lacks(status: &Status) -> Option<&str> {
    let (_, lacks) = status.message.split_once("is forbidden: User ")?;
    lacks.contains(" cannot ").then_some(lacks)
}

/// What the server says.
fn message(status: &Status) -> String {
    if status.message.is_empty() { format!("the API server answered {}", status.code) } else { status.message.clone() }
}

/// An error of a request that went by way of this proxy. What a plugin for credentials says stays as it is.
pub(super) fn by_proxy(error: tower::BoxError, proxy: &str) -> tower::BoxError {
    if causes(&*error).any(|cause| cause.is::<kube::client::AuthError>()) {
        return error;
    }
    format!("{}, by way of the proxy {proxy}", innermost(&*error)).into()
}

/// An error and what it was caused by, in one line.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// An error, what caused it, what caused that, and so on.
pub(super) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The innermost cause: the errors around it say nothing to a reader.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const LACKS: &str = r#"configmaps "cm" is forbidden: User "u" cannot update resource "configmaps" in API group "" in the namespace "a""#;
    const POLICY: &str =
        r#"configmaps "cm" is forbidden: ValidatingAdmissionPolicy 'frozen' with binding 'frozen' denied request: no"#;

    #[rstest]
    #[case(401, "Unauthorized", json!({}), Some("kubectl rollout restart"))]
    #[case(403, LACKS, json!({"name": "cm"}), Some(r#"User "u" cannot update resource "configmaps" in API group "" in the namespace "a": apply our roles again (helm upgrade, or kubectl apply -f deploy/install.yaml)"#))]
    #[case(403, POLICY, json!({"name": "cm"}), None)]
    #[case(404, "", json!({"name": "ops", "kind": "namespaces"}), Some("kubectl create namespace ops"))]
    #[case(404, "404 page not found", json!({}), Some("kubectl apply -f crds/"))]
    #[case(404, "", json!({"name": "cm", "kind": "configmaps"}), None)]
    #[case(500, "", json!({}), None)]
    fn what_is_missing_is_named_with_the_command_that_mends_it(
        #[case] code: u16,
        #[case] message: &str,
        #[case] details: serde_json::Value,
        #[case] expected: Option<&str>,
    ) {
        let status = json!({ "code": code, "message": message, "details": details, "reason": "" });
        let error = ApiError::from(&serde_json::from_value::<Status>(status).unwrap());
        assert_eq!(error.is_lasting(), expected.is_some(), "{error}");
        assert!(expected.is_none_or(|words| error.to_string().contains(words)), "{error}");
        assert!(error.remedy().is_none_or(|remedy| error.to_string().ends_with(&format!(": {remedy}"))), "{error}");
    }
}
