//! Rings of syncs: a ConfigMap that would, over some syncs, be copied onto itself.

use crate::rules::record::{ObjectKey, Sync};

/// How many links of a chain are followed. A ring longer than this is not found, and settles anyway: in a ring all
/// copies come to have one content, and then nothing is written.
const LONGEST: usize = 100;

/// The ring that `sync` is part of, as the places from its source back to its source, if there is one. `writer_of`
/// names the sync that owns a place as a destination.
pub fn ring<W: std::borrow::Borrow<Sync>>(
    sync: &Sync,
    writer_of: impl Fn(&ObjectKey) -> Option<W>,
) -> Option<Vec<ObjectKey>> {
    let spec = sync.spec.as_ref().ok()?;
    let mut upstream = vec![spec.destination.clone(), spec.source.clone()];
    let mut at = spec.source.clone();
    while upstream.len() < LONGEST {
        let writer = writer_of(&at)?;
        let next = writer.borrow().spec.as_ref().ok()?.source.clone();
        if next == spec.destination {
            upstream.push(next);
            upstream.reverse();
            return Some(upstream);
        }
        if upstream.contains(&next) {
            return None; // a ring further up, which this one only drinks from
        }
        upstream.push(next.clone());
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn ring_of(syncs: &[Sync], of: usize) -> Option<String> {
        let writer = |place: &ObjectKey| syncs.iter().find(|s| s.destination() == Some(place));
        ring(&syncs[of], writer).map(|ring| ring.iter().map(ObjectKey::to_string).collect::<Vec<_>>().join(" → "))
    }

    #[test]
    fn a_chain_is_no_ring() {
        let syncs = [sync("n/ab", 1, "a/x", "b/x"), sync("n/bc", 2, "b/x", "c/x")];
        assert_eq!(ring_of(&syncs, 0), None);
        assert_eq!(ring_of(&syncs, 1), None);
    }

    #[test]
    fn every_member_of_a_ring_sees_it_and_who_hangs_on_it_does_not() {
        let syncs = [
            sync("n/ab", 1, "a/x", "b/x"),
            sync("n/bc", 2, "b/x", "c/x"),
            sync("n/ca", 3, "c/x", "a/x"),
            sync("n/cd", 4, "c/x", "d/x"),
        ];
        assert_eq!(ring_of(&syncs, 0).as_deref(), Some("b/x → c/x → a/x → b/x"));
        assert!(ring_of(&syncs, 1).is_some() && ring_of(&syncs, 2).is_some());
        assert_eq!(ring_of(&syncs, 3), None);
    }
}
