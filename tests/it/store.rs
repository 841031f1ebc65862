//! The store is not what a replica remembers: restored from a backup, its past forgotten, its Leases deleted by hand.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use testbed::process::Signal;
use testbed::{Component, ControlPlane};

use crate::fleet::{change, many, operators, until_all, until_even};
use crate::harness::{Bed, Case, SYSTEM, Witness, eventually, seconds};

const COPIES: usize = 40;

fn copied(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Stops API server and store, does this to the store's directory, and starts them again.
async fn with_the_store_stopped(control_plane: &ControlPlane, act: impl FnOnce(&Path)) {
    control_plane.stop(Component::ApiServer).unwrap();
    control_plane.stop(Component::Etcd).unwrap();
    act(&control_plane.dir().join("etcd"));
    control_plane.start_again(Component::Etcd).await.unwrap();
    control_plane.start_again(Component::ApiServer).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_restored_from_a_backup_is_served_as_it_is_now() {
    let Some(bed) = Bed::own("a_store_that_is_restored_from_a_backup").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    let case = Case::on(&bed, "restored").await;
    case.source(json!({ "k": "1" })).await;
    let replicas = operators(&bed, &["a", "b"], &[]).await;
    many(&case, COPIES).await;
    let backup = control_plane.dir().join("backup");
    with_the_store_stopped(control_plane, |store| copied(store, &backup)).await;

    // What is done from here on will never have been.
    for value in 2..8 {
        change(&case, value).await;
        until_all(&case, COPIES, &value.to_string()).await;
    }
    case.delete_sync("s0").await;
    case.until_sync_gone("s0").await;
    case.sync("later", json!({ "destinationName": "later" })).await;
    case.until_ready("later").await;
    case.create(&case.dst, "stranger", json!({ "data": { "k": "x" } })).await;
    with_the_store_stopped(control_plane, |store| copied(&backup, store)).await;

    until_even(&bed, &["a", "b"]).await;
    until_all(&case, COPIES, "1").await;
    assert!(case.get(&case.dst, "later").await.is_none(), "nothing that was lost comes back");
    change(&case, 9).await;
    until_all(&case, COPIES, "9").await;
    for number in 0..COPIES {
        case.until_ready(&format!("s{number}")).await;
    }
    case.delete(&case.dst, "s1").await;
    case.until_data(&case.dst, "s1", json!({ "k": "9" })).await;
    case.sync("after", json!({ "destinationName": "after" })).await;
    case.until_ready("after").await;
    case.delete_sync("s0").await;
    case.until_sync_gone("s0").await;
    case.until_gone(&case.dst, "s0").await;
    for replica in &replicas {
        assert!(replica.is_running());
        assert_eq!(replica.said(&["panicked"]), Vec::<String>::new());
    }
    let told = replicas.iter().filter(|replica| !replica.said(&["restored from a backup"]).is_empty()).count();
    assert!(told > 0, "a restore is worth a line");
}

#[tokio::test]
async fn what_happened_while_a_replica_was_paused_and_the_server_forgot_it_is_found() {
    let Some(bed) = Bed::own("what_happened_while_a_replica_was_paused").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    let case = Case::on(&bed, "forgotten").await;
    case.source(json!({ "k": "1" })).await;
    case.create(&case.src, "goes", json!({ "data": { "k": "1" } })).await;
    let replicas = operators(&bed, &["a"], &[]).await;
    many(&case, COPIES).await;
    for name in ["of-what-goes", "twice", "forced", "finalized"] {
        let source = if name == "of-what-goes" { "goes" } else { "cm" };
        case.sync(name, json!({ "destinationName": name, "configMapName": source })).await;
        case.until_ready(name).await;
    }
    replicas[0].signal(Signal::Stop);
    change(&case, 2).await;
    case.delete(&case.src, "goes").await;
    case.delete(&case.dst, "s1").await;
    case.patch(&case.dst, "s2", json!({ "data": { "k": "by hand" } })).await;
    case.delete_sync("finalized").await;
    for name in ["forced", "twice"] {
        case.patch_sync(name, json!({ "metadata": { "finalizers": null } })).await;
        case.delete_sync(name).await;
        case.until_sync_gone(name).await;
    }
    case.sync("twice", json!({ "destinationName": "twice" })).await;
    case.sync("new", json!({ "destinationName": "new" })).await;
    control_plane.restart(Component::ApiServer).await.unwrap(); // its watch cache begins here
    replicas[0].signal(Signal::Cont);

    until_even(&bed, &["a"]).await;
    until_all(&case, COPIES + 2, "2").await;
    for number in 0..COPIES {
        case.until_ready(&format!("s{number}")).await;
    }
    for name in ["twice", "new"] {
        case.until_ready(name).await;
    }
    case.until("of-what-goes", "SourceAvailable", "False", "SourceNotFound").await;
    assert!(case.get(&case.dst, "of-what-goes").await.is_some(), "sourceMissingPolicy is Keep");
    case.until_gone(&case.dst, "forced").await;
    case.until_sync_gone("finalized").await;
    case.until_gone(&case.dst, "finalized").await;
}

#[tokio::test]
async fn leases_that_are_deleted_by_hand_are_made_anew_and_no_copy_goes_back() {
    let Some(bed) = Bed::own("leases_that_are_deleted_by_hand").await else { return };
    let case = Case::on(&bed, "leases").await;
    case.source(json!({ "k": "0" })).await;
    let replicas = operators(&bed, &["a", "b"], &[]).await;
    many(&case, COPIES).await;
    let witness = Witness::of(case.maps(&case.dst)).await;
    let leases = Api::<Lease>::namespaced(case.client.clone(), SYSTEM);
    for round in 1..=2 {
        change(&case, 2 * round).await;
        leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        change(&case, 2 * round + 1).await;
        until_all(&case, COPIES, &(2 * round + 1).to_string()).await;
        until_even(&bed, &["a", "b"]).await;
    }
    for number in 0..COPIES {
        case.until_ready(&format!("s{number}")).await;
    }
    eventually("somebody leads the fleet and says that no shard is unheld", async || {
        for replica in &replicas {
            let leads = replica.metric("leader_election_master_status", &[]).await == 1.0;
            if leads && replica.metric("configmapsync_shards_unheld", &[]).await == 0.0 {
                return Ok(());
            }
        }
        Err("nobody does".to_owned())
    })
    .await;
    tokio::time::sleep(seconds(1)).await;
    witness.no_copy_went_back();
}

#[tokio::test]
async fn watches_that_were_refused_for_a_while_are_whole_again_soon() {
    let Some(bed) = Bed::own("watches_that_were_refused_for_a_while").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    let case = Case::on(&bed, "refused").await.expecting_refusals();
    case.source(json!({ "k": "1" })).await;
    let replicas = operators(&bed, &["a"], &[]).await;
    many(&case, 3).await;
    bed.kubectl(&["delete", "clusterrolebinding/configmapsync-controller-manager"], "").await.unwrap();
    control_plane.restart(Component::ApiServer).await.unwrap();
    for stream in ["configmapsyncs", "configmaps", "namespaces"] {
        eventually(format!("the stream of {stream} is refused, and the log says so in words"), async || {
            let told =
                replicas[0].said(&["the watch broke", &format!(r#""stream":"{stream}""#), "cannot watch resource"]);
            if told.is_empty() { Err(format!("{:?}", replicas[0].said(&["the watch broke"]))) } else { Ok(()) }
        })
        .await;
    }
    bed.install(|_| {}).await;
    change(&case, 2).await;
    until_all(&case, 3, "2").await;
    eventually("it is ready", async || replicas[0].get("/readyz").await).await;
}
