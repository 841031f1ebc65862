//! Watches: what happened since a version, a line each.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, partial};
use super::{Key, Object, Target};

/// One thing that happened.
#[derive(Clone)]
pub struct Event {
    /// The version that it made.
    pub version: u64,
    /// ADDED, MODIFIED or DELETED.
    pub kind: &'static str,
    /// What it happened to.
    pub key: Key,
    /// As it is now; as it was last, if it was deleted.
    pub object: Object,
    lines: Arc<[OnceLock<Bytes>; 2]>,
}

impl Event {
    pub(super) fn new(version: u64, kind: &'static str, key: Key, object: Object) -> Self {
        Self { version, kind, key, object, lines: Arc::default() }
    }

    /// The line of a watch that tells of it.
    fn line(&self, metadata_only: bool) -> Bytes {
        let line = self.lines[usize::from(metadata_only)].get_or_init(|| {
            let object = if metadata_only { partial(&self.object) } else { (*self.object).clone() };
            line(self.kind, &object)
        });
        line.clone()
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

/// A watch that is open.
pub struct Watch {
    /// What it asks for.
    pub target: Target,
    metadata_only: bool,
    /// When the server ends it.
    pub ends: Duration,
    /// The last version that was looked at for it.
    pub version: u64,
    /// Lines that have not been sent.
    pub lines: Vec<Bytes>,
    /// The server has nothing more to say.
    pub over: bool,
}

impl Watch {
    pub(super) fn new(target: Target, metadata_only: bool, ends: Duration, version: u64) -> Self {
        Self { target, metadata_only, ends, version, lines: Vec::new(), over: false }
    }

    /// Looks at something that happened; what is not asked for, or was before its time, is passed over.
    pub fn offer(&mut self, event: &Event) {
        if event.version > self.version {
            self.version = event.version;
            if self.target.selects(&event.key) {
                self.lines.push(event.line(self.metadata_only));
            }
        }
    }

    /// Its version is too old: it is told so, and ends.
    pub(super) fn expire(&mut self) {
        self.lines.push(line("ERROR", &Answer::expired().body));
        self.over = true;
    }

    /// Tells how far it is.
    pub fn bookmark(&mut self) {
        let (api, kind) =
            if self.metadata_only { ("meta.k8s.io/v1", "PartialObjectMetadata") } else { self.target.resource.kind() };
        let metadata = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        self.lines.push(line("BOOKMARK", &json!({"apiVersion": api, "kind": kind, "metadata": metadata})));
    }
}
