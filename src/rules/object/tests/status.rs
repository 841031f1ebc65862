//! Tests of `status.rs`.

use serde_json::{Value, json};

use super::*;
use crate::rules::copy::guard::Guard;
use crate::rules::copy::verdict::Failed;
use crate::rules::record::{ForeignFields, ObservedCondition, RareFields};
use crate::rules::testing::*;

fn yaml(verdict: &Verdict) -> String {
    let sync = sync("default/my-first-sync", 1, "default/my-app-config", "kube-system/my-app-config");
    serde_yaml_ng::to_string(&object(&text(verdict, &sync, Known::of(true, true)), &sync, 1_737_541_845)).unwrap()
}

#[test]
fn in_order_is_the_seeds_example() {
    insta::assert_snapshot!(yaml(&Verdict::InOrder { source: version(2, 20), copy: version(3, 30) }));
}

fn every_other_verdict() -> Vec<Verdict> {
    vec![
        Verdict::SourceMissing,
        Verdict::SourceNotShared,
        Verdict::NamespaceMissing,
        Verdict::NamespaceTerminating,
        Verdict::Stalled(Stall::InvalidSpec("sourceNamespace is empty".to_owned())),
        Verdict::Stalled(Stall::Cycle(vec![object_key("a/x"), object_key("b/x"), object_key("a/x")])),
        Verdict::Stalled(Stall::KeyConflict("the keys a and b of the source would both be c in the copy".to_owned())),
        Verdict::Stalled(Stall::DestinationConflict(object_key("default/older"))),
        Verdict::Stalled(Stall::Guarded(Guard::Kubernetes)),
        Verdict::Stalled(Stall::Guarded(Guard::Forbidden)),
        Verdict::Stalled(Stall::Guarded(Guard::Protected)),
        Verdict::Stalled(Stall::Guarded(Guard::Refused)),
        Verdict::Stalled(Stall::DestinationExists),
        Verdict::Stalled(Stall::DestinationControlled),
        Verdict::Stalled(Stall::DestinationImmutable),
        Verdict::Stalled(Stall::Contested("kubectl-edit".to_owned())),
        Verdict::Failed(Failed { reason: Reason::FetchError, message: "cannot read default/x".to_owned(), attempt: 3 }),
        Verdict::CopyHeld(object_key("kube-system/my-app-config")),
        Verdict::Changed { source: version(2, 20), copy: version(3, 30), what: "key injected added".to_owned() },
    ]
}

#[test]
fn every_other_verdict_says_what_to_do() {
    insta::assert_snapshot!(every_other_verdict().iter().map(yaml).collect::<Vec<_>>().join("---\n"));
}

#[test]
fn argo_cd_reads_each_of_them() {
    let sync = sync("default/s", 1, "default/x", "b/x");
    let read = |spec: Value, status: Value| {
        argocd_health("ConfigMapSync", &json!({ "metadata": { "generation": 1 }, "spec": spec, "status": status }))
    };
    let status = |verdict: &Verdict| json!(object(&text(verdict, &sync, Known::of(true, true)), &sync, 9));
    let in_order = Verdict::InOrder { source: version(2, 20), copy: version(3, 30) };
    let others = every_other_verdict();
    let all = [&in_order].into_iter().chain(&others).map(|verdict| read(json!({}), status(verdict)));
    insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n"));
    assert_eq!(read(json!({ "suspend": true }), status(&in_order)), "Suspended: spec.suspend is true");
    for unseen in [Value::Null, json!({}), json!({ "observedGeneration": 0, "conditions": [] })] {
        assert_eq!(read(json!({}), unseen), "Progressing: the operator has not seen it yet");
    }
}

#[test]
fn conditions_of_others_are_passed_on() {
    let mut sync = sync("a/s", 1, "a/x", "b/x");
    let theirs = Condition {
        type_: "Audited".to_owned(),
        status: "True".to_owned(),
        reason: "Seen".to_owned(),
        message: String::new(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    let foreign = ForeignFields { conditions: vec![theirs.clone()], ..ForeignFields::default() };
    sync.rare = Some(Box::new(RareFields { foreign, ..RareFields::default() }));
    let text = text(&Verdict::SourceMissing, &sync, Known::of(false, false));
    assert_eq!(object(&text, &sync, 9).conditions.last(), Some(&theirs));
}

#[test]
fn a_condition_moves_only_when_its_status_does() {
    let mut sync = sync("a/s", 1, "a/x", "b/x");
    sync.status.conditions[0] = Some(ObservedCondition { is_true: true, since: 5 });
    sync.status.conditions[2] = Some(ObservedCondition { is_true: false, since: 5 });
    let text = text(&Verdict::InOrder { source: version(2, 20), copy: version(3, 30) }, &sync, Known::of(true, true));
    let status = object(&text, &sync, 9);
    let since = |at: usize| status.conditions[at].last_transition_time.0.as_second();
    assert_eq!((since(0), since(1), since(2)), (5, 9, 9));
}

#[test]
fn other_words_for_what_is_in_order_make_no_new_status() {
    let sync = sync("a/s", 1, "a/x", "b/x");
    let reworded = |verdict: &Verdict| {
        let mut text = text(verdict, &sync, Known::of(true, true));
        let before = text.digest();
        text.message = "in other words".into();
        text.conditions.iter_mut().flatten().for_each(|condition| condition.message = "so too here".into());
        text.digest() != before
    };
    let in_order = Verdict::InOrder { source: version(2, 20), copy: version(3, 30) };
    assert!(!reworded(&in_order));
    // Here the message names what else may change: the owner, the manager, the server's words.
    assert!(reworded(&Verdict::Stalled(Stall::Contested("kubectl".to_owned()))));
    let mut odd = text(&in_order, &sync, Known::of(true, true));
    odd.sync_status = "Odd".into();
    assert_ne!(odd.digest(), text(&in_order, &sync, Known::of(true, true)).digest());
}
