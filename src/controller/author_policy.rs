//! Whether the API server asks for an author's own rights: the fleet leader watches the policies that do so, and their bindings.
//! Nothing stops where one is missing: a policy that somebody deleted must not become an outage.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::kubernetes::author_policy::{Binding, Shown, follow};
use crate::kubernetes::client::Clients;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::events::Events;
use crate::telemetry::instruments::AUTHOR_POLICY_MISSING;

/// The policies that are shipped, each with a binding of its name.
const POLICIES: [&str; 2] = ["configmapsync-author", "configmapsync-cluster-author"];
/// A policy that is replaced is away for a moment: it counts as missing after this time.
const AWAY: Duration = Duration::from_secs(10);

/// Looks while this replica leads the fleet, and says what is missing and when it is there again. `action`: what the bindings have to
/// name.
pub(super) async fn look_after(
    clients: Clients,
    action: &'static str,
    mut leads: watch::Receiver<bool>,
    events: Events,
) {
    loop {
        POLICIES.iter().for_each(|policy| report(policy, false));
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            lost = leads.wait_for(|leads| !*leads) => if lost.is_err() { return },
            () = look(&clients, action, &events) => {}
        }
    }
}

async fn look(clients: &Clients, action: &'static str, events: &Events) {
    let follow = |(at, policy): (usize, &&'static str)| -> BoxStream<'static, (usize, watcher::Result<Shown>)> {
        follow(clients, policy).map(move |shown| (at, shown)).boxed()
    };
    let mut shown = select_all(POLICIES.iter().enumerate().map(follow));
    let mut states = POLICIES.map(|name| State { name, ..State::default() });
    loop {
        let next = states.iter().filter_map(State::next_look).min();
        tokio::select! {
            biased;
            Some((at, seen)) = shown.next() => match seen {
                Ok(seen) => states[at].see(seen),
                Err(error) => states[at].fail(&error),
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        for state in &mut states {
            state.tell(action, events);
        }
    }
}

fn report(policy: &'static str, is_missing: bool) {
    metrics::gauge!(AUTHOR_POLICY_MISSING, "policy" => policy).set(u8::from(is_missing));
}

/// What is known of one policy and its binding.
#[derive(Default)]
struct State {
    name: &'static str,
    policy: Option<bool>,
    binding: Option<Option<Binding>>,
    /// The API server knows no such policies.
    is_unknown: bool,
    /// Since when it has been missing.
    since: Option<Instant>,
    is_told: bool,
    /// The watch may not look; said once.
    is_refused: bool,
}

impl State {
    fn see(&mut self, shown: Shown) {
        (self.is_unknown, self.is_refused) = (false, false);
        match shown {
            Shown::Policy(policy) => self.policy = Some(policy),
            Shown::Binding(binding) => self.binding = Some(binding),
        }
    }

    fn fail(&mut self, error: &watcher::Error) {
        let error = ApiError::from(error);
        match error {
            ApiError::NotInstalled => self.is_unknown = true,
            _ if error.is_lasting() && !std::mem::replace(&mut self.is_refused, true) => {
                tracing::warn!(policy = self.name, cause = %error, "cannot see whether the policy for authors is there");
            }
            _ => {}
        }
    }

    /// Why nobody asks for an author's rights; `None`: somebody does, or it is not known yet.
    fn lack(&self, action: &str) -> Option<String> {
        let name = self.name;
        if self.is_unknown {
            return Some("this API server has no ValidatingAdmissionPolicies; they need Kubernetes 1.30".to_owned());
        }
        if self.policy == Some(false) {
            return Some(format!("there is no ValidatingAdmissionPolicy {name}"));
        }
        match self.binding.as_ref()? {
            None => Some(format!("there is no ValidatingAdmissionPolicyBinding {name}")),
            Some(binding) if binding.policy != name => {
                Some(format!("the ValidatingAdmissionPolicyBinding {name} binds the policy {}", binding.policy))
            }
            Some(binding) if !binding.actions.iter().any(|it| it == action) => Some(format!(
                "the ValidatingAdmissionPolicyBinding {name} says {}, and not {action}",
                binding.actions.join(", ")
            )),
            Some(_) => None,
        }
    }

    fn next_look(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_told).map(|since| since + AWAY)
    }

    fn tell(&mut self, action: &str, events: &Events) {
        let Some(lack) = self.lack(action) else {
            self.since = None;
            if std::mem::take(&mut self.is_told) {
                report(self.name, false);
                tracing::info!(policy = self.name, "the policy for authors is in force again");
            }
            return;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.is_told || since.elapsed() < AWAY {
            return;
        }
        self.is_told = true;
        report(self.name, true);
        tracing::warn!(
            policy = self.name,
            cause = lack,
            "nobody asks for the rights of whoever writes a sync: apply the policy, or say --author-policy=Off"
        );
        events.on_author_policy(self.name, format!("Authors may reach ConfigMaps beyond their rights: {lack}."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(policy: Option<bool>, binding: Option<Option<(&str, &[&str])>>) -> State {
        let binding = binding.map(|binding| {
            binding.map(|(policy, actions)| Binding {
                policy: policy.to_owned(),
                actions: actions.iter().map(|&action| action.to_owned()).collect(),
            })
        });
        State { name: "p", policy, binding, ..State::default() }
    }

    #[test]
    fn what_is_there_and_says_what_is_wanted_lacks_nothing() {
        let cases: [(State, &str, Option<&str>); 9] = [
            (state(None, None), "Deny", None),
            (state(Some(true), None), "Deny", None),
            (state(Some(false), None), "Deny", Some("there is no ValidatingAdmissionPolicy p")),
            (state(Some(true), Some(None)), "Deny", Some("there is no ValidatingAdmissionPolicyBinding p")),
            (state(Some(true), Some(Some(("p", &["Deny"])))), "Deny", None),
            (state(Some(true), Some(Some(("p", &["Deny", "Audit"])))), "Audit", None),
            (state(Some(true), Some(Some(("p", &["Warn", "Audit"])))), "Deny", Some("says Warn, Audit, and not Deny")),
            (state(Some(true), Some(Some(("other", &["Deny"])))), "Deny", Some("binds the policy other")),
            (State { is_unknown: true, ..state(None, None) }, "Deny", Some("Kubernetes 1.30")),
        ];
        for (number, (state, action, lack)) in cases.into_iter().enumerate() {
            let found = state.lack(action);
            match lack {
                None => assert_eq!(found, None, "case {number}"),
                Some(lack) => {
                    assert!(found.as_ref().is_some_and(|found| found.contains(lack)), "case {number}: {found:?}")
                }
            }
        }
    }
}
