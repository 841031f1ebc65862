//! What replicas tell each other beside the protocol: a short text on each session's Lease, which is renewed anyway. The protocol
//! never sees it, and nothing about leadership follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::rules::shard::Shard;

/// The longest note. What is longer is not sent.
pub const LONGEST_NOTE: usize = 4096;

/// This replica's note, and those of the others.
#[derive(Clone, Debug)]
pub struct Notes {
    /// What the names of this replica's sessions begin with.
    base: Arc<str>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    own: String,
    /// By the names of sessions.
    others: BTreeMap<String, String>,
    /// By shard: what goes out with the release of the shard.
    leaving: BTreeMap<usize, String>,
    /// By shard: what came with a release that the watch has shown.
    left: BTreeMap<usize, String>,
}

impl Notes {
    /// No notes yet.
    pub(super) fn new(base: &str) -> Self {
        Self { base: base.into(), state: Arc::default(), changed: watch::Sender::new(()) }
    }

    /// Sends this note with each renewal from now on; an empty one takes it back.
    pub fn publish(&self, note: String) {
        self.state.lock().own = if note.len() <= LONGEST_NOTE { note } else { String::new() };
    }

    /// The note to send.
    pub(super) fn own(&self) -> Option<String> {
        Some(self.state.lock().own.clone()).filter(|note| !note.is_empty())
    }

    /// The notes of the other replicas.
    pub fn others(&self) -> Vec<String> {
        self.state.lock().others.values().cloned().collect()
    }

    /// Sends this with the release of a shard; `None`: nothing.
    pub fn leave(&self, shard: Shard, text: Option<String>) {
        let mut state = self.state.lock();
        match text {
            Some(text) => state.leaving.insert(shard.index(), text),
            None => state.leaving.remove(&shard.index()),
        };
    }

    /// What to send with the release of a shard.
    pub(super) fn leaving(&self, shard: Shard) -> Option<String> {
        self.state.lock().leaving.remove(&shard.index())
    }

    /// What came with the last release of a shard that brought something.
    pub fn left(&self, shard: Shard) -> Option<String> {
        self.state.lock().left.get(&shard.index()).cloned()
    }

    /// The Lease of a shard brings this.
    pub(super) fn observe_shard(&self, shard: Shard, text: &str) {
        if text.len() <= LONGEST_NOTE {
            self.state.lock().left.insert(shard.index(), text.to_owned());
        }
    }

    /// Tells when they change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// All Leases are about to be listed.
    pub(super) fn list_begins(&self) {
        self.state.lock().others.clear();
    }

    /// All Leases are listed.
    pub(super) fn list_ends(&self) {
        self.changed.send_replace(());
    }

    /// The Lease of this session has this note; `None`: it has none, or is gone.
    pub(super) fn observe(&self, session: &str, note: Option<&str>) {
        if session.starts_with(&*self.base) {
            return;
        }
        let mut state = self.state.lock();
        let changed = match note.filter(|note| note.len() <= LONGEST_NOTE) {
            Some(note) if state.others.get(session).is_some_and(|before| before == note) => false,
            Some(note) => {
                state.others.insert(session.to_owned(), note.to_owned());
                true
            }
            None => state.others.remove(session).is_some(),
        };
        drop(state);
        if changed {
            self.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_others_are_kept_and_changes_are_told() {
        let notes = Notes::new("a-1");
        let mut changes = notes.changes();
        notes.observe("a-1", Some("our own"));
        assert!(!changes.has_changed().unwrap() && notes.others().is_empty());
        notes.observe("b-1", Some("x"));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        notes.observe("b-1", Some("x"));
        assert!(!changes.has_changed().unwrap(), "a renewal says nothing new");
        notes.observe("c-1", Some(&"y".repeat(LONGEST_NOTE + 1)));
        assert_eq!(notes.others(), ["x"]);
        notes.observe("b-1", None);
        assert!(changes.has_changed().unwrap() && notes.others().is_empty());
        notes.publish("y".repeat(LONGEST_NOTE + 1));
        assert_eq!(notes.own(), None);
    }
}
