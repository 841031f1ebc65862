//! The fleet leader says when the policies that ask for an author's rights are not in force; nothing stops.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::harness::{Bed, Case, Operator, author_policy_binding, eventually_within, seconds, stays};

const MISSING: &str = "configmapsync_author_policy_missing";
const SAYS: &str = "nobody asks for the rights";
const LONG: Duration = seconds(60);

/// How many replicas say that this policy is missing.
async fn missing(operators: &[&Operator], policy: &str) -> f64 {
    let mut sum = 0.0;
    for operator in operators {
        sum += operator.metric(MISSING, &[&format!(r#"policy="{policy}""#)]).await;
    }
    sum
}

async fn until_missing(operators: &[&Operator], policy: &str, replicas: f64) {
    eventually_within(LONG, format!("{replicas} replicas miss {policy}"), async || {
        let found = missing(operators, policy).await;
        if found == replicas { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_fleet_leader_says_when_a_policy_for_authors_is_not_in_force() {
    let Some(bed) = Bed::own("the_fleet_leader_says_when_a_policy").await else { return };
    let case = Case::on(&bed, "policies").await;
    let flags = ["--author-policy=Deny"];
    let (one, two) = (bed.operator_with("one", &flags).await, bed.operator_with("two", &flags).await);
    bed.until_all_shards_are_held().await;
    let (one_author, all) = ("configmapsync-author", "configmapsync-cluster-author");
    let both = [&one, &two];

    // What is there and denies is not spoken of. A policy that is replaced is away for a moment, and neither is that.
    case.kubectl(&["delete", "validatingadmissionpolicybinding", one_author], "").await.unwrap();
    case.kubectl(&["apply", "-f", "-"], &author_policy_binding(one_author, &["Deny"]).to_string()).await.unwrap();
    stays("nobody misses a policy", seconds(12), async || {
        let lines = both.map(|operator| operator.said(&[SAYS]).len() + operator.said(&["cannot see whether"]).len());
        (missing(&both, one_author).await + missing(&both, all).await > 0.0, lines)
    })
    .await;

    case.kubectl(&["delete", "validatingadmissionpolicybinding", one_author], "").await.unwrap();
    until_missing(&both, one_author, 1.0).await;
    assert_eq!(missing(&both, all).await, 0.0);
    let lines = both.map(|operator| operator.said(&[SAYS, "there is no ValidatingAdmissionPolicyBinding"]).len());
    assert_eq!(lines.iter().sum::<usize>(), 1, "{lines:?}");
    let events = Api::<Event>::namespaced(case.client.clone(), "default");
    eventually_within(LONG, "an Event tells of it", async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let is_it = |event: &&Event| event.reason.as_deref() == Some("AuthorPolicyMissing");
        events.iter().find(is_it).map(drop).ok_or_else(|| format!("{} Events", events.len()))
    })
    .await;
    // Syncs work on.
    case.until_a_sync_works().await;

    // The next leader says it too.
    let is_first = one.metric("leader_election_master_status", &[]).await > 0.0;
    let (leader, follower) = if is_first { (one, two) } else { (two, one) };
    assert!(leader.terminate().await.is_some_and(|status| status.success()));
    until_missing(&[&follower], one_author, 1.0).await;

    case.kubectl(&["apply", "-f", "-"], &author_policy_binding(one_author, &["Deny"]).to_string()).await.unwrap();
    until_missing(&[&follower], one_author, 0.0).await;
    follower.until_said(&["in force again", one_author]).await;

    // One that only warns does not deny.
    case.kubectl(&["apply", "-f", "-"], &author_policy_binding(all, &["Audit", "Warn"]).to_string()).await.unwrap();
    until_missing(&[&follower], all, 1.0).await;
    case.kubectl(&["delete", "validatingadmissionpolicy", one_author], "").await.unwrap();
    until_missing(&[&follower], one_author, 1.0).await;
    // Nobody told this one to look.
    assert!(follower.terminate().await.is_some_and(|status| status.success()));
    let quiet = bed.operator("quiet").await;
    eventually_within(LONG, "it leads", async || match quiet.metric("leader_election_master_status", &[]).await {
        1.0 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    stays("it says nothing", seconds(12), async || {
        (missing(&[&quiet], one_author).await + missing(&[&quiet], all).await > 0.0, quiet.said(&[SAYS]).len())
    })
    .await;
    assert_eq!(quiet.said(&[SAYS]), Vec::<String>::new());
}
