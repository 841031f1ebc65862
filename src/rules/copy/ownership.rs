//! Whose is the ConfigMap that stands at a destination? Pure questions. What is not touched whoever it belongs to, `guard.rs` says.

use crate::rules::copy::facts::Owner;
use crate::rules::record::{ConfigMapMeta, OwnerMark, Sync};
use crate::rules::uid::Uid;

/// What a ConfigMap is to a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Its copy.
    Ours,
    /// Its copy, with the seed's marks or those of an earlier sync of the same name: to be marked anew when it is next written.
    Inherited,
    /// Its marks name this sync and this ConfigMap, but another namespace's UID: it came back with its namespace, from a
    /// backup. It is the sync's copy if its content is what the marks say.
    Restored,
    /// A copy that another sync wrote here.
    AnotherSyncs,
    /// Not a copy of anybody's. That includes a copy of a copy: somebody duplicated one with kubectl, or restored a
    /// backup into another namespace or cluster, and our marks went along. Such a one does not stand where its marks say.
    Foreign,
}

/// What the ConfigMap `meta`, which stands in a namespace with UID `namespace`, is to `owner`. `wants`: the owner's spec names
/// that very destination.
pub fn claim(meta: &ConfigMapMeta, owner: Owner<'_>, namespace: Uid, wants: bool) -> Claim {
    let Some(mark) = &meta.mark else { return Claim::Foreign };
    match mark.uid {
        // The seed's marks do not name the ConfigMap, so they count only where the sync wants its copy.
        None if mark.sync == *owner.key && wants => Claim::Inherited,
        None => Claim::Foreign,
        Some(_) if mark.at != Some(namespace) && meta.marks_name_it && mark.sync == *owner.key && wants => {
            Claim::Restored
        }
        Some(_) if mark.at != Some(namespace) => Claim::Foreign,
        Some(uid) if uid == owner.uid => Claim::Ours,
        Some(_) if mark.sync == *owner.key && wants => Claim::Inherited,
        Some(_) => Claim::AnotherSyncs,
    }
}

/// Whether `mark`, on a ConfigMap in a namespace with UID `namespace`, says that it stands where it was written.
pub fn stands_where_written(mark: &OwnerMark, namespace: Uid) -> bool {
    mark.uid.is_some() && mark.at == Some(namespace)
}

/// Which of the syncs that want one destination owns it: the one whose mark stands on the copy, else the oldest. The
/// others wait until it lets go, which one that is being deleted does. (By the mark first: an older sync that comes to want it later does not take
/// it away; else by age, which two syncs that swap destinations both win, so that they do not wait for each other.)
pub fn owner<'a>(wanting: impl Iterator<Item = &'a Sync>, mark: Option<&OwnerMark>) -> Option<&'a Sync> {
    let marked = |sync: &Sync| match mark {
        Some(OwnerMark { uid: Some(uid), .. }) => *uid == sync.uid(),
        Some(OwnerMark { uid: None, sync: key, .. }) => *key == sync.key,
        None => false,
    };
    wanting.min_by_key(|sync| (sync.deleting, !marked(sync), sync.created, sync.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;
    use rstest::rstest;

    #[rstest]
    #[case::no_mark(None, true, Claim::Foreign)]
    #[case::own_mark(Some(mark("a/s", Some(1), Some(100))), true, Claim::Ours)]
    #[case::own_mark_at_a_former_destination(Some(mark("a/s", Some(1), Some(100))), false, Claim::Ours)]
    #[case::own_mark_copied_elsewhere(Some(mark("a/s", Some(1), Some(101))), true, Claim::Foreign)]
    #[case::mark_without_place(Some(mark("a/s", Some(1), None)), true, Claim::Foreign)]
    #[case::earlier_uid_of_the_name(Some(mark("a/s", Some(9), Some(100))), true, Claim::Inherited)]
    #[case::earlier_uid_elsewhere(Some(mark("a/s", Some(9), Some(100))), false, Claim::AnotherSyncs)]
    #[case::another_sync(Some(mark("a/t", Some(9), Some(100))), true, Claim::AnotherSyncs)]
    #[case::seed(Some(mark("a/s", None, None)), true, Claim::Inherited)]
    #[case::seed_copied_elsewhere(Some(mark("a/s", None, None)), false, Claim::Foreign)]
    #[case::seed_of_another(Some(mark("a/t", None, None)), true, Claim::Foreign)]
    fn claims(#[case] mark: Option<OwnerMark>, #[case] wants: bool, #[case] expected: Claim) {
        let meta = ConfigMapMeta { mark, ..meta(7, 70) };
        assert_eq!(claim(&meta, Owner::of(&sync("a/s", 1, "src/cm", "dst/cm")), uid(100), wants), expected);
    }

    #[rstest]
    #[case::came_back(Some(9), 101, true, Claim::Restored)]
    #[case::of_this_very_sync(Some(1), 101, true, Claim::Restored)]
    #[case::elsewhere(Some(9), 101, false, Claim::Foreign)]
    #[case::never_away(Some(1), 100, true, Claim::Ours)]
    fn restored_from_a_backup(
        #[case] uid_of: Option<u64>,
        #[case] at: u64,
        #[case] wants: bool,
        #[case] expected: Claim,
    ) {
        let meta = ConfigMapMeta { mark: Some(mark("a/s", uid_of, Some(at))), marks_name_it: true, ..meta(7, 70) };
        assert_eq!(claim(&meta, Owner::of(&sync("a/s", 1, "src/cm", "dst/cm")), uid(100), wants), expected);
        let others = sync("a/t", 1, "src/cm", "dst/cm");
        assert!([Claim::Foreign, Claim::Ours].contains(&claim(&meta, Owner::of(&others), uid(100), wants)));
    }

    #[test]
    fn the_mark_decides_then_age() {
        let old = Sync { created: 1, ..sync("a/old", 1, "src/cm", "dst/cm") };
        let new = Sync { created: 2, ..sync("a/new", 2, "src/cm", "dst/cm") };
        let owner_with = |mark: Option<&OwnerMark>| owner([&new, &old].into_iter(), mark).map(Sync::uid);
        assert_eq!(owner_with(None), Some(uid(1)));
        assert_eq!(owner_with(Some(&mark("a/new", Some(2), Some(100)))), Some(uid(2)));
        assert_eq!(owner_with(Some(&mark("a/new", None, None))), Some(uid(2)), "the seed's marks too");
        assert_eq!(owner_with(Some(&mark("a/gone", Some(3), Some(100)))), Some(uid(1)));
        assert_eq!(owner([].into_iter(), None), None);
    }
}
