//! The admission policies that ask for an author's own rights, and their bindings: watched by name, since the operator may see no
//! other policy.

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watch_object};

use crate::kubernetes::backoff::{LONGEST, WatchBackoff};
use crate::kubernetes::client::Clients;

/// What a watch shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Whether the policy is there.
    Policy(bool),
    /// The binding, if it is there.
    Binding(Option<Binding>),
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The policy that it binds.
    pub policy: String,
    /// What becomes of a request that the policy does not allow: `Deny`, `Audit`, `Warn`.
    pub actions: Vec<String>,
}

/// The policy with this name and its binding, which has the same.
pub fn follow(clients: &Clients, name: &str) -> impl Stream<Item = watcher::Result<Shown>> + Send + use<> {
    let policies = Api::<ValidatingAdmissionPolicy>::all(clients.watches.clone());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(clients.watches.clone());
    let policy = watch_object(policies, name)
        .backoff(WatchBackoff::up_to(LONGEST))
        .map(|policy| policy.map(|policy| Shown::Policy(policy.is_some())));
    let binding = watch_object(bindings, name)
        .backoff(WatchBackoff::up_to(LONGEST))
        .map(|binding| binding.map(|binding| Shown::Binding(binding.map(read))));
    futures::stream::select(policy, binding)
}

fn read(binding: ValidatingAdmissionPolicyBinding) -> Binding {
    Binding { policy: binding.spec.policy_name, actions: binding.spec.validation_actions }
}
