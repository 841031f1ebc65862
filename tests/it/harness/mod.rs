//! What every test stands on: beds (a cluster with the CRD, the RBAC and operators), cases (namespaces of one test and
//! what is done in them), and waiting.

mod bed;
mod case;
mod many;
mod operator;
pub mod rights;
mod wait;
pub mod webhook;
mod witness;

pub use bed::Bed;
pub use case::Case;
pub use many::Many;
pub use operator::Operator;
pub use wait::{eventually, eventually_within, seconds, stays};
pub use webhook::Webhook;
pub use witness::Witness;

/// Names that the tests write down themselves, so that a change of one breaks a test.
pub const PREFIX: &str = "configmapsync.apps.kapendra.com/";
/// The finalizer on a sync.
pub const FINALIZER: &str = "configmapsync.apps.kapendra.com/finalizer";
/// Where the operator and its Leases live.
pub const SYSTEM: &str = "configmapsync-system";
/// The operator's account.
pub const ACCOUNT: &str = "configmapsync-controller-manager";

/// A binding of the shipped policy for authors with this name.
pub fn author_policy_binding(name: &str, actions: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": actions },
    })
}
