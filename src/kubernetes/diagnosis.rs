//! Why a request fails, in words that name the way out where we know it.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::Status;
use kube::runtime::watcher;
use parking_lot::{Mutex, MutexGuard};

/// Why requests of one kind fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    cause: String,
    /// It stays until somebody mends it: a right, a definition or a namespace is missing, or the credentials are wrong.
    pub lasting: bool,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl Diagnosis {
    /// Something that passes, as far as one can tell.
    pub fn passing(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), lasting: false }
    }

    /// What the error of a request means.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match remedy(status) {
                Some(cause) => Self { cause, lasting: true },
                None => Self::passing(words(status)),
            },
            kube::Error::Service(_) | kube::Error::HyperError(_) => Self::passing(format!(
                "the API server does not answer ({}): kubectl cluster-info tells whether it does",
                innermost(error)
            )),
            other => Self::passing(with_causes(other)),
        }
    }

    /// What the error of a stream means.
    pub fn of_stream(error: &watcher::Error) -> Self {
        match error {
            // kube reads the refusal of a watch as its first event.
            watcher::Error::InitialListFailed(failed)
            | watcher::Error::WatchStartFailed(failed)
            | watcher::Error::WatchFailed(failed) => Self::of(failed),
            other => Self::passing(with_causes(other)),
        }
    }
}

/// What fails, by kind of request, so that each is told once when it begins and once when it ends.
#[derive(Debug, Default)]
pub struct Diagnoses(Mutex<BTreeMap<&'static str, Diagnosis>>);

impl Diagnoses {
    /// Notes that requests of this kind fail. Whether that is news.
    pub fn begin(&self, kind: &'static str, trouble: &Diagnosis) -> bool {
        let before = self.all().insert(kind, trouble.clone());
        before.is_none_or(|before| before.lasting != trouble.lasting)
    }

    /// Notes that one was answered. Whether that is news.
    pub fn end(&self, kind: &'static str) -> bool {
        self.all().remove(kind).is_some()
    }

    /// One that stays until somebody mends it.
    pub fn lasting(&self) -> Option<Diagnosis> {
        self.all().values().find(|trouble| trouble.lasting).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<&'static str, Diagnosis>> {
        self.0.lock()
    }
}

/// What the server says is missing, and the command that mends it; `None` where it is something else.
pub fn remedy(status: &Status) -> Option<String> {
    let details = status.details.as_ref();
    let named = details.map_or("", |details| details.name.as_str());
    match status.code {
        401 => Some(format!(
            "the API server does not accept our credentials ({}): renew the kubeconfig and start again, or in a cluster \
             kubectl rollout restart deployment/configmapsync-controller-manager -n configmapsync-system",
            words(status)
        )),
        // What a role lacks, and not what an admission policy refuses. Without the name of the object, which is another
        // one each time.
        403 => {
            let (_, lacks) = status.message.split_once("is forbidden: User ")?;
            let lacks = lacks.contains(" cannot ").then_some(lacks)?;
            Some(format!("User {lacks}: kubectl apply -f deploy/install.yaml grants it"))
        }
        404 if details.is_some_and(|details| details.kind == "namespaces") => {
            Some(format!("namespace {named} does not exist: kubectl create namespace {named}"))
        }
        404 if named.is_empty() => Some(
            "the CustomResourceDefinition configmapsyncs.apps.kapendra.com is not installed: kubectl apply -f crds/"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The words of the server.
pub fn words(status: &Status) -> String {
    if status.message.is_empty() { format!("the API server answered {}", status.code) } else { status.message.clone() }
}

/// An error and what it was caused by, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The cause of all causes: what lies around it says nothing to a reader.
fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
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
    #[case(403, LACKS, json!({"name": "cm"}), Some(r#"User "u" cannot update resource "configmaps" in API group "" in the namespace "a": kubectl apply -f deploy/install.yaml"#))]
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
        let told = remedy(&serde_json::from_value(status).unwrap());
        assert_eq!(told.is_some(), expected.is_some(), "{told:?}");
        assert!(expected.is_none_or(|words| told.as_ref().is_some_and(|told| told.contains(words))), "{told:?}");
    }
}
