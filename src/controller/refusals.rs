//! Copies that could not be written are known to the holder of their shard alone. Here the replicas tell each other, so that who
//! holds the object's shard can count them: in a note on the session's Lease, at most [`LONGEST_NOTE`] bytes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::controller::cache::{Cache, FailuresOf};
use crate::controller::queue::Queue;
use crate::kubernetes::leases::notes::{LONGEST_NOTE, Notes};
use crate::rules::cluster::rollup::{Failure, MOST_FAILURES};
use crate::rules::reason::Reason;
use crate::rules::uid::Uid;

/// How often this replica looks whether its own note has changed. It goes out with the next renewal.
const LOOK: Duration = Duration::from_millis(500);
/// A message is cut to so many characters.
const LONGEST_MESSAGE: usize = 240;

/// The failures of one object in a note.
#[derive(Serialize, Deserialize, Default)]
struct OfObject {
    /// Namespace, reason, message, whether only a person can mend it. Only the first few have a message.
    copies: Vec<(String, String, String, bool)>,
    /// How many there was no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    more: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The failures as a note; empty where there are none.
fn write(failures: &FailuresOf) -> String {
    let mut note: BTreeMap<String, OfObject> = BTreeMap::new();
    for (uid, (failures, _)) in failures {
        let of_object = note.entry(uid.to_string()).or_default();
        for (at, failure) in failures.iter().enumerate() {
            let message = if at < MOST_FAILURES { cut(&failure.message) } else { String::new() };
            let reason = failure.reason.as_str().to_owned();
            of_object.copies.push((failure.namespace.to_string(), reason, message, failure.needs_person));
        }
    }
    loop {
        let text = if note.is_empty() { String::new() } else { serde_json::to_string(&note).unwrap_or_default() };
        if text.len() <= LONGEST_NOTE {
            return text;
        }
        // The object with most of them has the least to lose: a share at a time, so that this ends soon.
        let Some(longest) = note.values_mut().max_by_key(|of_object| of_object.copies.len()) else {
            return String::new();
        };
        let left = longest.copies.len() - (longest.copies.len() / 8).max(1).min(longest.copies.len());
        longest.more += longest.copies.len() - left;
        longest.copies.truncate(left);
        if left == 0 && note.values().all(|of_object| of_object.copies.is_empty()) {
            return String::new();
        }
    }
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// What a note says. Nonsense says nothing.
fn read(note: &str) -> FailuresOf {
    let note: BTreeMap<String, OfObject> = serde_json::from_str(note).unwrap_or_default();
    let failure = |(namespace, reason, message, needs_person): (String, String, String, bool)| {
        let reason = Reason::parse(&reason)?;
        Some(Failure { namespace: namespace.as_str().into(), reason, message, needs_person })
    };
    let of_object = |(uid, OfObject { copies, more }): (String, OfObject)| {
        Some((Uid::parse(&uid)?, (copies.into_iter().filter_map(failure).collect(), more)))
    };
    note.into_iter().filter_map(of_object).collect()
}

/// Tells the others what this replica knows, and this replica what they know.
pub(super) async fn share_refusals(notes: Notes, cache: Arc<Cache>, queue: Arc<Queue>) {
    let mut changes = notes.changes();
    let mut sent = String::new();
    let recount = |objects: Vec<Uid>| {
        for uid in objects {
            queue.recount(uid);
        }
    };
    loop {
        match tokio::time::timeout(LOOK, changes.changed()).await {
            Ok(Ok(())) => {
                let mut all = FailuresOf::new();
                for (uid, (failures, more)) in notes.others().iter().flat_map(|note| read(note)) {
                    let of_object = all.entry(uid).or_default();
                    of_object.0.extend(failures);
                    of_object.1 += more;
                }
                recount(cache.failures_elsewhere(all));
            }
            Ok(Err(_)) => return,
            Err(_) => {
                recount(cache.forget_failures(|shard| queue.holds(shard)));
                let note = write(&cache.own_failures());
                if note != sent {
                    notes.publish(note.clone());
                    sent = note;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::uid;

    fn failures(count: usize) -> FailuresOf {
        let failure = |number: usize| Failure {
            namespace: format!("team-{number:04}").as_str().into(),
            reason: Reason::CreateFailed,
            message: "exceeded quota: é".repeat(20),
            needs_person: number.is_multiple_of(2),
        };
        [(uid(1), ((0..count).map(failure).collect(), 0))].into_iter().collect()
    }

    #[test]
    fn a_note_reads_back_and_what_has_no_room_is_counted() {
        assert_eq!((write(&FailuresOf::new()), read("nonsense").len(), read("").len()), (String::new(), 0, 0));
        let three = read(&write(&failures(3)));
        let (copies, more) = &three[&uid(1)];
        assert_eq!((copies.len(), *more, copies[2].needs_person), (3, 0, true));
        assert_eq!(copies[1].message.chars().count(), LONGEST_MESSAGE + 1);
        let note = write(&failures(5_000));
        assert!(note.len() <= LONGEST_NOTE && note.len() > LONGEST_NOTE / 2, "{}", note.len());
        let (copies, more) = &read(&note)[&uid(1)];
        assert_eq!(copies.len() + more, 5_000);
        assert!(copies.len() > 20, "{}", copies.len());
    }
}
