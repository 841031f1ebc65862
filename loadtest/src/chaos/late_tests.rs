use std::time::Duration;

use super::*;

/// Shard 23.
const UID: &str = "11111111-2222-3333-4444-555555555555";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn event(millis: i64, by: &str, what: What) -> Event {
    let by = Some(by.to_owned()).filter(|by| !by.is_empty());
    Event { begun: at(millis - 1), over: at(millis), by, refused: false, what }
}

fn tenure(millis: i64, by: &str) -> Event {
    event(millis, by, What::Tenure(Shard::of(Uid::parse(UID).unwrap())))
}

fn source(millis: i64, edition: u64) -> Event {
    event(millis, "", What::Source { name: "s".to_owned(), edition, version: edition * 100 })
}

fn sync(millis: i64, by: &str, life: Life) -> Event {
    event(millis, by, What::Sync { uid: UID.to_owned(), source: "s".to_owned(), life })
}

fn place() -> Place {
    ("n".to_owned(), "c".to_owned())
}

fn copy(millis: i64, by: &str, edition: u64) -> Event {
    let (sync, edition, version) = (Some(UID.to_owned()), Some(edition), millis as u64);
    event(millis, by, What::Copy { place: place(), sync, edition, version })
}

fn status(millis: i64, by: &str, source: u64, copy: u64) -> Event {
    event(millis, by, What::Status { uid: UID.to_owned(), source, copy: Some(copy) })
}

/// Replica a holds the shard, has written the copy, and loses the shard to b at 1 s; then `more`.
fn history(more: Vec<Event>) -> Vec<Late> {
    let mut events = vec![
        source(10, 1),
        sync(20, "", Life::New),
        tenure(100, "a"),
        sync(110, "a", Life::Live),
        copy(120, "a", 1),
        status(130, "a", 100, 120),
        tenure(1_000, "b"),
    ];
    events.extend(more);
    late_writes(&events, at(60_000))
}

fn undone(lates: &[Late]) -> Vec<u128> {
    lates.iter().map(|late| late.undone.as_millis()).collect()
}

#[test]
fn writes_of_the_holder_are_not_late() {
    assert_eq!(history(vec![copy(1_100, "b", 1), status(1_200, "b", 100, 1_100)]), []);
    assert_eq!(history(vec![tenure(1_500, "a"), copy(1_600, "a", 1)]), [], "it came back");
}

#[test]
fn what_is_right_as_written_is_listed_and_forgiven() {
    let lates = history(vec![copy(1_100, "a", 1)]);
    assert_eq!((undone(&lates), lates[0].is_wrong()), (vec![0], false));
    assert_eq!((lates[0].by.as_str(), lates[0].holder.as_str()), ("a", "b"));
}

#[test]
fn an_old_edition_is_wrong_until_the_new_one_stands_there() {
    let late = |undone_at| history(vec![source(1_050, 2), copy(1_100, "a", 1), copy(undone_at, "b", 2)]);
    assert_eq!(undone(&late(3_100)), [2_000]);
    assert!(!late(3_100)[0].is_wrong());
    assert!(late(6_200)[0].is_wrong(), "after more than 5 s");
    let never = history(vec![source(1_050, 2), copy(1_100, "a", 1)]);
    assert_eq!(
        (undone(&never), never[0].is_wrong()),
        (vec![58_900], true),
        "at the latest when all was seen to be whole"
    );
}

#[test]
fn an_edition_that_came_after_the_write_is_not_asked_of_it() {
    assert_eq!(undone(&history(vec![copy(1_100, "a", 1), source(1_150, 2)])), [0]);
}

#[test]
fn a_copy_for_a_sync_that_is_gone_has_to_go() {
    let gone = || vec![event(1_020, "b", What::CopyGone(place())), sync(1_030, "b", Life::Gone), copy(1_100, "a", 1)];
    assert!(history(gone())[0].is_wrong());
    let mut swept = gone();
    swept.push(event(2_000, "b", What::CopyGone(place())));
    let lates = history(swept);
    assert_eq!((undone(&lates), lates[0].is_wrong()), (vec![900], false));
}

#[test]
fn a_deletion_has_to_be_made_good_too() {
    let gone = || event(1_100, "a", What::CopyGone(place()));
    assert!(history(vec![gone()])[0].is_wrong());
    assert_eq!(undone(&history(vec![gone(), copy(1_400, "b", 1)])), [300]);
    let at_once = Event { begun: at(999), ..gone() };
    assert_eq!(history(vec![at_once, copy(1_400, "b", 1)]), [], "it may have come before the swap");
}

#[test]
fn a_status_has_to_speak_of_the_versions_that_are() {
    assert_eq!(undone(&history(vec![status(1_100, "a", 100, 120)])), [0]);
    let old = || vec![source(1_010, 2), copy(1_020, "b", 2), status(1_100, "a", 100, 120)];
    assert!(history(old())[0].is_wrong());
    let mut mended = old();
    mended.push(status(1_300, "b", 200, 1_020));
    assert_eq!(undone(&history(mended)), [200]);
}

#[test]
fn a_status_may_take_longer_and_that_of_an_object_with_many_copies_names_none() {
    let many = |millis, by, source| {
        let what = What::Status { uid: UID.to_owned(), source, copy: None };
        event(millis, by, what)
    };
    let late = |mended| {
        let mut events = vec![source(10, 1), sync(20, "", Life::New), tenure(100, "a"), sync(110, "a", Life::Live)];
        events.extend([tenure(1_000, "b"), source(1_010, 2), many(1_100, "a", 100), many(mended, "b", 200)]);
        late_writes(&events, at(60_000))
    };
    assert_eq!((undone(&late(9_100)), late(9_100)[0].is_wrong()), (vec![8_000], false));
    assert!(late(16_200)[0].is_wrong());
}

#[test]
fn who_never_held_the_shard_may_write_nothing() {
    let lates = history(vec![copy(1_100, "c", 1)]);
    assert!(lates[0].is_wrong() && !lates[0].held_before);
    assert_eq!(lates[0].undone, Duration::ZERO);
}

#[test]
fn a_late_write_that_is_refused_does_no_harm() {
    let refused = |millis, by| Event { refused: true, ..copy(millis, by, 1) };
    let lates = history(vec![source(1_050, 2), copy(1_060, "b", 2), refused(1_100, "a"), refused(1_200, "b")]);
    assert_eq!(lates.iter().map(|late| (late.refused, late.is_wrong())).collect::<Vec<_>>(), [(true, false)]);
    assert_eq!(history(vec![refused(1_000, "a")]), [], "it may have come before the swap");
    assert!(history(vec![refused(1_100, "c")])[0].is_wrong(), "it never held the shard");
}
