//! Cycles of syncs: a ConfigMap that would, over some syncs, be copied onto itself.

use crate::rules::record::{ObjectKey, Sync};

/// How many links of a chain are followed. A longer cycle is not found, and settles anyway: in a cycle all
/// copies come to have one content, and then nothing is written.
const LONGEST: usize = 100;

/// The cycle that `sync` is part of, as the ConfigMaps from its source back to its source, if there is one. `writer_of`
/// names the sync that owns a ConfigMap as its destination.
pub fn find<W: std::borrow::Borrow<Sync>>(
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
            return None; // a cycle further up, which this sync only hangs on
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

    fn cycle_of(syncs: &[Sync], of: usize) -> Option<String> {
        let writer = |key: &ObjectKey| syncs.iter().find(|s| s.destination() == Some(key));
        find(&syncs[of], writer).map(|cycle| cycle.iter().map(ObjectKey::to_string).collect::<Vec<_>>().join(" → "))
    }

    #[test]
    fn a_chain_is_no_cycle() {
        let syncs = [sync("n/ab", 1, "a/x", "b/x"), sync("n/bc", 2, "b/x", "c/x")];
        assert_eq!(cycle_of(&syncs, 0), None);
        assert_eq!(cycle_of(&syncs, 1), None);
    }

    #[test]
    fn every_member_of_a_cycle_sees_it_and_who_hangs_on_it_does_not() {
        let syncs = [
            sync("n/ab", 1, "a/x", "b/x"),
            sync("n/bc", 2, "b/x", "c/x"),
            sync("n/ca", 3, "c/x", "a/x"),
            sync("n/cd", 4, "c/x", "d/x"),
        ];
        assert_eq!(cycle_of(&syncs, 0).as_deref(), Some("b/x → c/x → a/x → b/x"));
        assert!(cycle_of(&syncs, 1).is_some() && cycle_of(&syncs, 2).is_some());
        assert_eq!(cycle_of(&syncs, 3), None);
    }
}
