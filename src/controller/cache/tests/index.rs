//! Tests of the cache: its indexes, and who is affected.

use crate::controller::cache::{Cache, Change, OrphanedCopy, SourceVersion, Told};
use crate::kubernetes::decode::ConfigMapRecord;
use crate::rules::record::{ConfigMapMeta, Namespace, Sync};
use crate::rules::testing::{mark, meta, object_key, sync, uid, version};

fn apply(cache: &Cache, sync: Sync) -> (Change, Vec<u64>) {
    let mut affected = Vec::new();
    let change = cache.sync_applied(sync, &mut affected);
    (change, numbers(affected))
}

fn numbers(affected: Vec<crate::rules::uid::Uid>) -> Vec<u64> {
    let mut numbers: Vec<u64> = (1..20).filter(|number| affected.contains(&uid(*number))).collect();
    numbers.sort_unstable();
    numbers
}

/// Who copies it, and who else is affected.
fn configmap(cache: &Cache, at: &str, meta: ConfigMapMeta) -> (Vec<u64>, Vec<u64>) {
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    let record = ConfigMapRecord { key: object_key(at), meta, content: None };
    cache.configmap_applied(record, Told::ChangedHere, &mut sources, &mut others);
    (numbers(sources), numbers(others))
}

fn marked(number: u64, rv: u64, by: u64) -> ConfigMapMeta {
    ConfigMapMeta { mark: Some(mark("n/s", Some(by), Some(100))), ..meta(number, rv) }
}

#[test]
fn an_event_wakes_who_copies_it_and_who_wants_its_place() {
    let cache = Cache::default();
    apply(&cache, sync("n/a", 1, "src/x", "one/x"));
    apply(&cache, sync("n/b", 2, "src/x", "two/x"));
    apply(&cache, sync("n/c", 3, "two/x", "three/x"));
    assert_eq!(configmap(&cache, "src/x", meta(50, 10)), (vec![1, 2], vec![]));
    assert_eq!(configmap(&cache, "two/x", meta(51, 11)), (vec![3], vec![2]));
    assert_eq!(configmap(&cache, "else/x", meta(52, 12)), (vec![], vec![]));
    assert!(cache.configmap(&object_key("else/x")).is_none(), "what concerns nobody is let go");
    let mut affected = Vec::new();
    cache.namespace_applied("three", Namespace { uid: uid(100), terminating: false, refuses: false }, &mut affected);
    assert_eq!(numbers(affected), [3]);
}

#[test]
fn what_was_let_go_leaves_its_version_for_a_sync_that_comes_later() {
    let cache = Cache::default();
    configmap(&cache, "src/x", meta(50, 10));
    apply(&cache, sync("n/a", 1, "src/x", "one/x"));
    apply(&cache, sync("n/b", 2, "other/x", "one/y"));
    assert_eq!(cache.source(&object_key("src/x")), SourceVersion::Version(10));
    assert_eq!(cache.source(&object_key("other/x")), SourceVersion::Unknown);
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    cache.configmap_deleted(&object_key("src/x"), 11, &mut sources, &mut others);
    assert_eq!(cache.source(&object_key("src/x")), SourceVersion::Gone);
    cache.configmaps_listed(&ahash::AHashSet::new(), &mut sources, &mut others);
    assert_eq!(cache.source(&object_key("other/x")), SourceVersion::Gone, "a list tells of every source");
}

#[test]
fn a_status_alone_is_a_lesser_change_and_old_news_are_none() {
    let cache = Cache::default();
    let first = sync("n/a", 1, "src/x", "one/x");
    assert_eq!(apply(&cache, first.clone()).0, Change::Wanted);
    let newer = |rv| Sync { version: version(1, rv), ..first.clone() };
    assert_eq!(apply(&cache, newer(5)).0, Change::Status);
    assert_eq!(apply(&cache, newer(4)).0, Change::Nothing);
    assert_eq!(apply(&cache, Sync { deleting: true, ..newer(6) }).0, Change::Wanted);
}

#[test]
fn a_copy_that_its_sync_no_longer_wants_is_a_leftover_until_it_goes() {
    let cache = Cache::default();
    apply(&cache, sync("n/s", 1, "src/x", "one/x"));
    configmap(&cache, "one/x", marked(50, 10, 1));
    assert!(cache.orphaned_copies(uid(1)).is_empty());
    let moved = Sync { version: version(1, 20), ..sync("n/s", 1, "src/x", "two/x") };
    apply(&cache, moved);
    let at = |place_of: &str, deletion_observed| OrphanedCopy {
        key: object_key(place_of),
        wanted: true,
        deletion_observed,
        orphan: false,
    };
    assert_eq!(cache.orphaned_copies(uid(1)), [at("one/x", false)]);
    let mut affected = Vec::new();
    cache.sync_deleted(&sync("n/s", 1, "src/x", "two/x"), &mut affected);
    assert_eq!((cache.orphaned_copies(uid(1)), numbers(affected)), (vec![at("one/x", true)], vec![1]));
    cache.configmap_deleted(&object_key("one/x"), 30, &mut Vec::new(), &mut Vec::new());
    assert!(cache.orphaned_copies(uid(1)).is_empty());
}

#[test]
fn a_copy_without_a_sync_is_a_leftover_that_nobody_saw_go() {
    let cache = Cache::default();
    assert_eq!(configmap(&cache, "one/x", marked(50, 10, 7)), (vec![], vec![7]));
    assert!(!cache.orphaned_copies(uid(7))[0].deletion_observed);
    assert!(cache.uids().contains(&uid(7)));
    assert_eq!(configmap(&cache, "one/x", meta(50, 11)), (vec![], vec![7]), "its marks were taken off");
    assert!(cache.orphaned_copies(uid(7)).is_empty() && cache.configmap(&object_key("one/x")).is_none());
}

#[test]
fn rivals_and_who_is_downstream_are_woken_by_a_new_wish() {
    let cache = Cache::default();
    apply(&cache, sync("n/a", 1, "src/x", "one/x"));
    apply(&cache, sync("n/b", 2, "one/x", "two/x"));
    assert_eq!(apply(&cache, sync("n/c", 3, "two/x", "src/x")).1, [1, 2], "the ring has closed");
    assert!(cache.cycle(&sync("n/a", 1, "src/x", "one/x")).is_some());
    let (_, affected) = apply(&cache, sync("n/d", 4, "else/x", "one/x"));
    assert!(affected.contains(&1), "{affected:?}");
    assert_eq!(cache.owner(&object_key("one/x")).map(|owner| owner.uid()), Some(uid(1)));
    configmap(&cache, "one/x", marked(50, 10, 4));
    assert_eq!(cache.owner(&object_key("one/x")).map(|owner| owner.uid()), Some(uid(4)), "whose mark stands there");
    let mut affected = Vec::new();
    cache.sync_deleted(&sync("n/c", 3, "two/x", "src/x"), &mut affected);
    assert_eq!(numbers(affected), [1, 2, 3], "the ring has opened");
}

#[test]
fn a_list_without_them_ends_syncs_that_the_stream_left_out() {
    let cache = Cache::default();
    apply(&cache, sync("n/a", 1, "src/x", "one/x"));
    apply(&cache, sync("n/b", 2, "src/x", "two/x"));
    let mut affected = Vec::new();
    cache.syncs_listed(&[uid(2)].into_iter().collect(), &mut affected);
    assert!(cache.sync(uid(1)).is_none() && cache.sync(uid(2)).is_some());
    let again = Sync { version: version(9, 40), ..sync("n/b", 9, "src/x", "two/x") };
    apply(&cache, again);
    assert!(cache.sync(uid(2)).is_none(), "one name, one sync");
    assert_eq!(cache.syncs.named(&object_key("n/b")).map(|sync| sync.uid()), Some(uid(9)));
}

#[test]
fn a_namespace_that_appears_wakes_what_stands_in_it_unwanted() {
    let cache = Cache::default();
    configmap(&cache, "one/x", marked(50, 10, 7));
    let mut affected = Vec::new();
    cache.namespace_applied("one", Namespace { uid: uid(100), terminating: false, refuses: false }, &mut affected);
    assert_eq!(numbers(affected), [7]);
}

#[test]
fn a_copy_that_comes_after_its_sync_went_need_not_wait() {
    let cache = Cache::default();
    apply(&cache, sync("n/s", 7, "src/x", "one/x"));
    cache.sync_deleted(&sync("n/s", 7, "src/x", "one/x"), &mut Vec::new());
    configmap(&cache, "one/x", marked(50, 10, 7));
    assert!(cache.orphaned_copies(uid(7))[0].deletion_observed);
}

#[test]
fn a_list_wakes_who_wants_a_place_where_it_shows_nothing() {
    let cache = Cache::default();
    apply(&cache, sync("n/a", 1, "src/x", "one/x"));
    apply(&cache, sync("n/b", 2, "src/x", "two/x"));
    configmap(&cache, "two/x", marked(50, 10, 2));
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    cache.configmaps_listed(&[uid(50)].into_iter().collect(), &mut sources, &mut others);
    assert_eq!(numbers(others), [1]);
}

#[test]
fn whoever_looks_while_a_sync_changes_finds_it() {
    let cache = Cache::default();
    let first = sync("n/a", 1, "src/x", "one/x");
    apply(&cache, first.clone());
    apply(&cache, Sync { created: 9, ..sync("n/b", 2, "src/x", "one/x") });
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for rv in 2..20_000 {
                let mut toggled = Sync { version: version(1, rv), ..first.clone() };
                toggled.spec.as_mut().unwrap().suspend = rv % 2 == 0;
                apply(&cache, toggled);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            assert_eq!(
                cache.owner(&object_key("one/x")).map(|owner| owner.uid()),
                Some(uid(1)),
                "the rival takes the place"
            );
        }
    });
}

#[test]
fn many_who_want_one_place_cost_their_number_and_not_its_square() {
    const MANY: u64 = 2_000;
    let cache = Cache::default();
    let rival = |number| Sync { created: number as u32, ..sync(&format!("n/s{number}"), number, "src/x", "one/x") };
    let mut affected: usize = (1..=MANY).map(|number| apply(&cache, rival(number)).1.len()).sum();
    configmap(&cache, "one/x", marked(50, 10, 1));
    let (_, touched) = configmap(&cache, "one/x", marked(50, 11, 1));
    assert_eq!(touched, [1], "a touch of the copy is for who owns it");
    for number in 1..=MANY / 2 {
        let mut gone = Vec::new();
        cache.sync_deleted(&rival(number), &mut gone);
        affected += gone.len();
    }
    assert!(affected as u64 <= 4 * MANY + 1_000, "{affected} looks for {MANY} syncs");
    assert_eq!(cache.owner(&object_key("one/x")).map(|owner| owner.uid()), Some(uid(MANY / 2 + 1)));
    assert_eq!(cache.changed_hands().len() as u64, MANY / 2, "the others are told together");
    assert!(cache.changed_hands().is_empty(), "once");
}
