//! Tests of what the cache knows of what owners say.

use crate::controller::cache::{Cache, Told};
use crate::kubernetes::decode::{ConfigMapRecord, NamespaceRecord};
use crate::rules::cluster::selection::Labels;
use crate::rules::consent::Consent;
use crate::rules::record::{ConfigMapMeta, Namespace, SlimArc, Sync};
use crate::rules::sharing::Sharing;
use crate::rules::testing::{meta, object_key, sync, uid};
use crate::rules::uid::Uid;

fn says(share: &str) -> Option<Sharing> {
    Sharing::read(Some(share), None)
}

fn asking(number: u64, source: &str, destination: &str) -> Sync {
    let mut sync = sync(&format!("n/s{number}"), number, source, destination);
    sync.spec.as_mut().unwrap().require_consent = true;
    sync
}

/// A namespace, of which the watch tells; the objects that are woken.
fn namespace(cache: &Cache, name: &str, number: u64, labels: &[(&str, &str)], sharing: Option<Sharing>) -> Vec<Uid> {
    let labels = Labels::new(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())));
    let namespace = Namespace { uid: uid(number), terminating: false, refuses: false };
    let mut affected = Vec::new();
    cache.namespace_observed(NamespaceRecord { name: name.into(), namespace, labels, sharing }, &mut affected);
    affected
}

fn shown(cache: &Cache, at: &str, rv: u64, sharing: Option<Sharing>) {
    let meta = ConfigMapMeta { sharing: sharing.map(SlimArc::new), ..meta(50, rv) };
    let record = ConfigMapRecord { key: object_key(at), meta, content: None };
    cache.configmap_applied(record, Told::Listed, &mut Vec::new(), &mut Vec::new());
}

fn consent(cache: &Cache) -> Consent {
    cache.consent(true, &object_key("src/x"), None, &"dst".into()).consent
}

#[test]
fn what_a_namespace_says_wakes_those_who_copy_from_it_and_goes_with_it() {
    let cache = Cache::default();
    namespace(&cache, "src", 100, &[], None);
    for sync in [asking(1, "src/x", "dst/x"), asking(2, "other/x", "dst/y")] {
        cache.sync_applied(sync, &mut Vec::new());
    }
    shown(&cache, "src/x", 7, None);
    assert_eq!(consent(&cache), Consent::Missing);
    assert_eq!(namespace(&cache, "src", 100, &[], says("all")), [uid(1)]);
    assert_eq!(namespace(&cache, "src", 100, &[], says("all")), [], "nothing is new");
    assert_eq!(consent(&cache), Consent::Given);
    assert_eq!(namespace(&cache, "src", 100, &[], says("none")), [uid(1)]);
    assert_eq!(consent(&cache), Consent::Refused);
    // Made again by somebody else: what the former owner said is no word of hers.
    namespace(&cache, "src", 100, &[], says("all"));
    namespace(&cache, "src", 101, &[], None);
    assert_eq!(consent(&cache), Consent::Missing);
    namespace(&cache, "src", 101, &[], says("all"));
    cache.namespace_deleted("src", &mut Vec::new());
    assert_eq!(consent(&cache), Consent::Missing);
}

#[test]
fn labels_of_a_destination_wake_those_who_ask_for_consent() {
    for (required, woken) in [(false, vec![uid(1)]), (true, vec![uid(1), uid(2)])] {
        let cache = Cache::default().requiring_consent(required);
        namespace(&cache, "dst", 100, &[], None);
        cache.sync_applied(asking(1, "src/x", "dst/x"), &mut Vec::new());
        cache.sync_applied(sync("n/s2", 2, "src/x", "dst/y"), &mut Vec::new());
        assert_eq!(namespace(&cache, "dst", 100, &[("team", "blue")], None), woken);
    }
}

#[test]
fn what_a_get_told_counts_until_the_watch_tells() {
    let cache = Cache::default();
    // The watch showed it while nobody copied it, and so it was not kept.
    shown(&cache, "src/x", 7, says("all"));
    cache.sync_applied(asking(1, "src/x", "dst/x"), &mut Vec::new());
    assert_eq!(consent(&cache), Consent::Unknown);
    cache.note_sharing(&object_key("src/x"), 7, says("all").map(SlimArc::new));
    assert_eq!(consent(&cache), Consent::Given);
    // What comes with a content counts for that content alone.
    let in_hand = cache.consent(true, &object_key("src/x"), Some(None), &"dst".into());
    assert_eq!(in_hand.consent, Consent::Missing);
    shown(&cache, "src/x", 8, None);
    assert_eq!(consent(&cache), Consent::Missing);
    cache.note_sharing(&object_key("src/x"), 7, says("all").map(SlimArc::new));
    assert_eq!(consent(&cache), Consent::Missing, "it is kept no more");
    cache.configmap_deleted(&object_key("src/x"), 9, &mut Vec::new(), &mut Vec::new());
    assert_eq!(consent(&cache), Consent::Unknown, "and does not come back");
}
