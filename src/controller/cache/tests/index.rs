//! Tests of the world: its indexes, and who is woken.

use crate::controller::cache::{Change, Leftover, SourceWord, World};
use crate::rules::record::{Namespace, Seen, Sync};
use crate::rules::testing::{mark, place, seen, sync, uid, version};

fn apply(world: &World, sync: Sync) -> (Change, Vec<u64>) {
    let mut woken = Vec::new();
    let change = world.sync_applied(sync, &mut woken);
    (change, numbers(woken))
}

fn numbers(woken: Vec<crate::rules::uid::Uid>) -> Vec<u64> {
    let mut numbers: Vec<u64> = (1..20).filter(|number| woken.contains(&uid(*number))).collect();
    numbers.sort_unstable();
    numbers
}

/// Who copies it, and who else is concerned.
fn configmap(world: &World, at: &str, seen: Seen) -> (Vec<u64>, Vec<u64>) {
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    world.configmap_applied(place(at), seen, &mut sources, &mut others);
    (numbers(sources), numbers(others))
}

fn marked(number: u64, rv: u64, by: u64) -> Seen {
    Seen { mark: Some(mark("n/s", Some(by), Some(100))), ..seen(number, rv) }
}

#[test]
fn an_event_wakes_who_copies_it_and_who_wants_its_place() {
    let world = World::default();
    apply(&world, sync("n/a", 1, "src/x", "one/x"));
    apply(&world, sync("n/b", 2, "src/x", "two/x"));
    apply(&world, sync("n/c", 3, "two/x", "three/x"));
    assert_eq!(configmap(&world, "src/x", seen(50, 10)), (vec![1, 2], vec![]));
    assert_eq!(configmap(&world, "two/x", seen(51, 11)), (vec![3], vec![2]));
    assert_eq!(configmap(&world, "else/x", seen(52, 12)), (vec![], vec![]));
    assert!(world.configmap(&place("else/x")).is_none(), "what concerns nobody is let go");
    let mut woken = Vec::new();
    world.namespace_applied("three", Namespace { uid: uid(100), terminating: false }, &mut woken);
    assert_eq!(numbers(woken), [3]);
}

#[test]
fn what_was_let_go_leaves_its_version_for_a_sync_that_comes_later() {
    let world = World::default();
    configmap(&world, "src/x", seen(50, 10));
    apply(&world, sync("n/a", 1, "src/x", "one/x"));
    apply(&world, sync("n/b", 2, "other/x", "one/y"));
    assert_eq!(world.source(&place("src/x")), SourceWord::Version(10));
    assert_eq!(world.source(&place("other/x")), SourceWord::Unheard);
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    world.configmap_deleted(&place("src/x"), 11, &mut sources, &mut others);
    assert_eq!(world.source(&place("src/x")), SourceWord::Gone);
    world.configmaps_listed(&ahash::AHashSet::new(), &mut sources, &mut others);
    assert_eq!(world.source(&place("other/x")), SourceWord::Gone, "a list tells of every source");
}

#[test]
fn a_status_alone_is_a_lesser_change_and_old_news_are_none() {
    let world = World::default();
    let first = sync("n/a", 1, "src/x", "one/x");
    assert_eq!(apply(&world, first.clone()).0, Change::Wanted);
    let newer = |rv| Sync { version: version(1, rv), ..first.clone() };
    assert_eq!(apply(&world, newer(5)).0, Change::Status);
    assert_eq!(apply(&world, newer(4)).0, Change::Nothing);
    assert_eq!(apply(&world, Sync { deleting: true, ..newer(6) }).0, Change::Wanted);
}

#[test]
fn a_copy_that_its_sync_no_longer_wants_is_a_leftover_until_it_goes() {
    let world = World::default();
    apply(&world, sync("n/s", 1, "src/x", "one/x"));
    configmap(&world, "one/x", marked(50, 10, 1));
    assert!(world.leftovers(uid(1)).is_empty());
    let moved = Sync { version: version(1, 20), ..sync("n/s", 1, "src/x", "two/x") };
    apply(&world, moved);
    let at = |place_of: &str, saw_go| Leftover { place: place(place_of), wanted: true, saw_go, orphan: false };
    assert_eq!(world.leftovers(uid(1)), [at("one/x", false)]);
    let mut woken = Vec::new();
    world.sync_deleted(&sync("n/s", 1, "src/x", "two/x"), &mut woken);
    assert_eq!((world.leftovers(uid(1)), numbers(woken)), (vec![at("one/x", true)], vec![1]));
    world.configmap_deleted(&place("one/x"), 30, &mut Vec::new(), &mut Vec::new());
    assert!(world.leftovers(uid(1)).is_empty());
}

#[test]
fn a_copy_without_a_sync_is_a_leftover_that_nobody_saw_go() {
    let world = World::default();
    assert_eq!(configmap(&world, "one/x", marked(50, 10, 7)), (vec![], vec![7]));
    assert!(!world.leftovers(uid(7))[0].saw_go);
    assert!(world.uids().contains(&uid(7)));
    assert_eq!(configmap(&world, "one/x", seen(50, 11)), (vec![], vec![7]), "its marks were taken off");
    assert!(world.leftovers(uid(7)).is_empty() && world.configmap(&place("one/x")).is_none());
}

#[test]
fn rivals_and_who_is_downstream_are_woken_by_a_new_wish() {
    let world = World::default();
    apply(&world, sync("n/a", 1, "src/x", "one/x"));
    apply(&world, sync("n/b", 2, "one/x", "two/x"));
    assert_eq!(apply(&world, sync("n/c", 3, "two/x", "src/x")).1, [1, 2], "the ring has closed");
    assert!(world.ring(&sync("n/a", 1, "src/x", "one/x")).is_some());
    let (_, woken) = apply(&world, sync("n/d", 4, "else/x", "one/x"));
    assert!(woken.contains(&1), "{woken:?}");
    assert_eq!(world.owner(&place("one/x")).map(|owner| owner.uid()), Some(uid(1)));
    configmap(&world, "one/x", marked(50, 10, 4));
    assert_eq!(world.owner(&place("one/x")).map(|owner| owner.uid()), Some(uid(4)), "whose mark stands there");
    let mut woken = Vec::new();
    world.sync_deleted(&sync("n/c", 3, "two/x", "src/x"), &mut woken);
    assert_eq!(numbers(woken), [1, 2, 3], "the ring has opened");
}

#[test]
fn a_list_without_them_ends_syncs_that_the_stream_left_out() {
    let world = World::default();
    apply(&world, sync("n/a", 1, "src/x", "one/x"));
    apply(&world, sync("n/b", 2, "src/x", "two/x"));
    let mut woken = Vec::new();
    world.syncs_listed(&[uid(2)].into_iter().collect(), &mut woken);
    assert!(world.sync(uid(1)).is_none() && world.sync(uid(2)).is_some());
    let again = Sync { version: version(9, 40), ..sync("n/b", 9, "src/x", "two/x") };
    apply(&world, again);
    assert!(world.sync(uid(2)).is_none(), "one name, one sync");
    assert_eq!(world.syncs.named(&place("n/b")).map(|sync| sync.uid()), Some(uid(9)));
}

#[test]
fn a_namespace_that_appears_wakes_what_stands_in_it_unwanted() {
    let world = World::default();
    configmap(&world, "one/x", marked(50, 10, 7));
    let mut woken = Vec::new();
    world.namespace_applied("one", Namespace { uid: uid(100), terminating: false }, &mut woken);
    assert_eq!(numbers(woken), [7]);
}

#[test]
fn a_copy_that_comes_after_its_sync_went_need_not_wait() {
    let world = World::default();
    apply(&world, sync("n/s", 7, "src/x", "one/x"));
    world.sync_deleted(&sync("n/s", 7, "src/x", "one/x"), &mut Vec::new());
    configmap(&world, "one/x", marked(50, 10, 7));
    assert!(world.leftovers(uid(7))[0].saw_go);
}

#[test]
fn a_list_wakes_who_wants_a_place_where_it_shows_nothing() {
    let world = World::default();
    apply(&world, sync("n/a", 1, "src/x", "one/x"));
    apply(&world, sync("n/b", 2, "src/x", "two/x"));
    configmap(&world, "two/x", marked(50, 10, 2));
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    world.configmaps_listed(&[uid(50)].into_iter().collect(), &mut sources, &mut others);
    assert_eq!(numbers(others), [1]);
}

#[test]
fn whoever_looks_while_a_sync_changes_finds_it() {
    let world = World::default();
    let first = sync("n/a", 1, "src/x", "one/x");
    apply(&world, first.clone());
    apply(&world, Sync { created: 9, ..sync("n/b", 2, "src/x", "one/x") });
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for rv in 2..20_000 {
                let mut toggled = Sync { version: version(1, rv), ..first.clone() };
                toggled.spec.as_mut().unwrap().suspend = rv % 2 == 0;
                apply(&world, toggled);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            assert_eq!(
                world.owner(&place("one/x")).map(|owner| owner.uid()),
                Some(uid(1)),
                "the rival takes the place"
            );
        }
    });
}

#[test]
fn many_who_want_one_place_cost_their_number_and_not_its_square() {
    const MANY: u64 = 2_000;
    let world = World::default();
    let rival = |number| Sync { created: number as u32, ..sync(&format!("n/s{number}"), number, "src/x", "one/x") };
    let mut woken: usize = (1..=MANY).map(|number| apply(&world, rival(number)).1.len()).sum();
    configmap(&world, "one/x", marked(50, 10, 1));
    let (_, touched) = configmap(&world, "one/x", marked(50, 11, 1));
    assert_eq!(touched, [1], "a touch of the copy is for who owns it");
    for number in 1..=MANY / 2 {
        let mut gone = Vec::new();
        world.sync_deleted(&rival(number), &mut gone);
        woken += gone.len();
    }
    assert!(woken as u64 <= 4 * MANY + 1_000, "{woken} looks for {MANY} syncs");
    assert_eq!(world.owner(&place("one/x")).map(|owner| owner.uid()), Some(uid(MANY / 2 + 1)));
    assert_eq!(world.changed_hands().len() as u64, MANY / 2, "the others are told together");
    assert!(world.changed_hands().is_empty(), "once");
}
