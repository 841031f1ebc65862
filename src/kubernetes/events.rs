//! Kubernetes Events for people: at most one a second, 25 at once. Normal Events are dropped first. Events never delay the
//! work.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::names::FIELD_MANAGER;
use crate::kubernetes::error::ApiError;
use crate::rules::cluster::record::ClusterSync;
use crate::rules::reason::Reason;
use crate::rules::record::{ObjectKey, Sync};
use crate::rules::uid::Uid;
use crate::telemetry::instruments;

/// How many Events may be sent at once.
const BURST: f64 = 25.0;
/// How many of them are kept for Warnings.
const FOR_WARNINGS: f64 = 10.0;
/// Names up to this length leave the recorder room for its own end of an Event's name.
const LONGEST_NAME: usize = 230;
/// How many may wait to be sent.
const BACKLOG: usize = 256;

/// Takes Events; sends them when there is time.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
}

/// What sends them.
pub struct EventSender {
    client: kube::Client,
    instance: String,
    recorder: Recorder,
    queue: mpsc::Receiver<(Event, ObjectReference)>,
}

impl Events {
    /// `instance`: the name of this replica.
    pub fn new(client: kube::Client, instance: String) -> (Self, EventSender) {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(instance.clone()) };
        let (sender, queue) = mpsc::channel(BACKLOG);
        let recorder = Recorder::new(client.clone(), reporter);
        (Self { queue: sender }, EventSender { client, instance, recorder, queue })
    }

    /// Something that went well.
    pub fn normal(&self, sync: &Sync, reason: Reason, note: String) {
        self.offer(EventType::Normal, sync, reason, note);
    }

    /// Something that a person should look at.
    pub fn warning(&self, sync: &Sync, reason: Reason, note: String) {
        self.offer(EventType::Warning, sync, reason, note);
    }

    /// Something about an object that wants many copies; `warning`: that a person should look at.
    pub fn on_cluster_sync(&self, object: &ClusterSync, reason: Reason, note: String, warning: bool) {
        let type_ = if warning { EventType::Warning } else { EventType::Normal };
        let reference = ObjectReference {
            api_version: Some("apps.kapendra.com/v1alpha1".to_owned()),
            kind: Some("ClusterConfigMapSync".to_owned()),
            name: Some(object.name.to_string()),
            uid: Some(object.uid().to_string()),
            ..ObjectReference::default()
        };
        self.offer_on(type_, reference, reason, note);
    }

    /// Something that whoever reads this ConfigMap should look at.
    pub fn on_configmap(&self, key: &ObjectKey, uid: Uid, reason: Reason, note: String) {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        self.offer_on(EventType::Warning, reference, reason, note);
    }

    /// An admission policy for authors is missing.
    pub fn on_author_policy(&self, name: &str, note: String) {
        let reference = ObjectReference {
            api_version: Some("admissionregistration.k8s.io/v1".to_owned()),
            kind: Some("ValidatingAdmissionPolicyBinding".to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.offer_on(EventType::Warning, reference, Reason::AuthorPolicyMissing, note);
    }

    fn offer(&self, type_: EventType, sync: &Sync, reason: Reason, note: String) {
        let reference = ObjectReference {
            api_version: Some("apps.kapendra.com/v1".to_owned()),
            kind: Some("ConfigMapSync".to_owned()),
            namespace: Some(sync.key.namespace.to_string()),
            name: Some(sync.key.name.to_string()),
            uid: Some(sync.uid().to_string()),
            ..ObjectReference::default()
        };
        self.offer_on(type_, reference, reason, note);
    }

    fn offer_on(&self, type_: EventType, reference: ObjectReference, reason: Reason, mut note: String) {
        if note.len() > 1000 {
            let cut = (0..=1000).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
            note.truncate(cut);
        }
        let event = Event {
            type_,
            reason: reason.as_str().to_owned(),
            note: Some(note),
            action: "Sync".to_owned(),
            secondary: None,
        };
        if self.queue.try_send((event, reference)).is_err() {
            metrics::counter!(instruments::EVENTS_DROPPED_TOTAL).increment(1);
        }
    }
}

impl EventSender {
    /// Sends nothing until `stop`: for a replica that only observes.
    pub async fn discard(mut self, stop: CancellationToken) {
        while let Some(Some(_)) = stop.run_until_cancelled(self.queue.recv()).await {}
    }

    /// Sends until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut budget = Budget { tokens: BURST, at: Instant::now() };
        let mut refused = false;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = self.queue.recv() => next,
            };
            let Some((event, reference)) = next else { return };
            if !budget.spend(matches!(event.type_, EventType::Warning)) {
                metrics::counter!(instruments::EVENTS_DROPPED_TOTAL).increment(1);
                continue;
            }
            let sent = async {
                match reference.name.as_deref().and_then(|name| name.get(..LONGEST_NAME)) {
                    Some(start) => self.publish_long(&event, &reference, start).await,
                    None => self.recorder.publish(&event, &reference).await,
                }
            };
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(5), sent).await {
                metrics::counter!(instruments::EVENTS_DROPPED_TOTAL).increment(1);
                let (namespace, name) = (reference.namespace, reference.name);
                // A namespace that is gone needs nobody's help. A missing right is logged once.
                let error = ApiError::from(error);
                let lacks = matches!(error, ApiError::LacksRight(_) | ApiError::Unauthorized(_));
                if lacks && !std::mem::replace(&mut refused, true) {
                    tracing::warn!(cause = %error, "no Event can be sent; the work goes on");
                } else {
                    tracing::debug!(namespace, name, cause = %error, "an Event could not be sent");
                }
            }
        }
    }
}

impl EventSender {
    /// The recorder names an Event after its object, and a name has at most 253 characters. For a longer one the Event
    /// goes by the `start` of it; such Events are not counted up.
    async fn publish_long(&self, event: &Event, about: &ObjectReference, start: &str) -> Result<(), kube::Error> {
        let now = crate::environment::clock::wall();
        let namespace = about.namespace.clone().unwrap_or_default();
        let object = k8s_openapi::api::events::v1::Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", start.trim_end_matches(['.', '-']), now.as_nanosecond())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(event.action.clone()),
            event_time: Some(MicroTime(now)),
            note: event.note.clone(),
            reason: Some(event.reason.clone()),
            regarding: Some(about.clone()),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if matches!(event.type_, EventType::Warning) { "Warning" } else { "Normal" }.to_owned()),
            ..k8s_openapi::api::events::v1::Event::default()
        };
        kube::Api::namespaced(self.client.clone(), &namespace).create(&PostParams::default(), &object).await?;
        Ok(())
    }
}

struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    fn spend(&mut self, warning: bool) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64()).min(BURST);
        self.at = now;
        let least = if warning { 1.0 } else { FOR_WARNINGS };
        let affordable = self.tokens >= least;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn normal_events_are_dropped_first() {
        let mut budget = Budget { tokens: BURST, at: Instant::now() };
        assert_eq!((0..100).filter(|_| budget.spend(false)).count(), 16);
        assert_eq!((0..100).filter(|_| budget.spend(true)).count(), 9);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!budget.spend(false));
        assert_eq!((0..100).filter(|_| budget.spend(true)).count(), 3);
    }
}
