//! How it ends: exit codes, and what signals do.

use std::process::{Output, Stdio};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use testbed::Component;
use testbed::process::Signal;

use crate::harness::{ACCOUNT, Bed, Case, Operator, SYSTEM, seconds};

/// Runs the program to its end.
async fn run(flags: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_configmapsync-operator"));
    command.env_remove("KUBECONFIG").env_remove("RUST_LOG").env("HOME", "/nonexistent").stdin(Stdio::null());
    command.args(flags).envs(variables.iter().copied()).kill_on_drop(true);
    let ended = tokio::time::timeout(seconds(30), command.output()).await;
    let Output { status, stdout, stderr } =
        ended.unwrap_or_else(|_| panic!("{flags:?} {variables:?}: it does not end")).unwrap();
    assert!(stdout.is_empty(), "{flags:?} {variables:?}: {}", String::from_utf8_lossy(&stdout));
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Each flag with a value that is wrong, and a word of the sentence that says what would be right.
const WRONG: &[(&str, &str, &str)] = &[
    ("--health-probe-bind-address", "8081", ":PORT"),
    ("--metrics-bind-address", ":99999", "65535"),
    ("--lease-namespace", "Upper", "a-z"),
    ("--identity", "a_b", "a-z"),
    ("--lease-duration", "1s", "2s"),
    ("--lease-duration", "ten", "10s"),
    ("--grace-period", "-1s", "negative"),
    ("--write-qps", "many", "whole number"),
    ("--write-qps", "-1", "whole number"),
    ("--max-in-flight", "0", "1024"),
    ("--observe-only", "perhaps", "perhaps"),
    ("--log-format", "xml", "json"),
    ("--log-level", "inof", "info"),
];

#[tokio::test]
async fn a_wrong_flag_or_variable_ends_it_with_code_2_and_a_sentence_that_names_the_flag() {
    for (flag, value, word) in WRONG {
        let variable = format!("CONFIGMAPSYNC_{}", flag[2..].replace('-', "_").to_uppercase());
        let given = format!("{flag}={value}");
        for (flags, variables) in [(vec![given.as_str()], vec![]), (vec![], vec![(variable.as_str(), *value)])] {
            let (code, said) = run(&flags, &variables).await;
            assert_eq!(code, Some(2), "{flags:?} {variables:?}: {said}");
            assert!(said.contains(flag) && said.contains(word), "{flags:?} {variables:?}: {said}");
            assert!(!said.contains("panicked"), "{said}");
        }
    }
    let (code, said) = run(&["--lease-duratoin=10s"], &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--lease-duratoin") && said.contains("--lease-duration"), "{said}");
    for (variable, value) in [("POD_NAMESPACE", "Upper"), ("POD_NAME", "a_b"), ("RUST_LOG", "inof")] {
        let (code, said) = run(&[], &[(variable, value)]).await;
        assert_eq!(code, Some(2), "{variable}: {said}");
        assert!(said.contains(variable) && said.contains(value), "{said}");
    }
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_ends_it_with_code_1_and_a_sentence_that_names_the_file() {
    let nowhere = ["--health-probe-bind-address=0", "--metrics-bind-address=0"];
    let broken = std::env::temp_dir().join(format!("kubeconfig-broken-{}", std::process::id()));
    std::fs::write(&broken, "clusters: 7\n").unwrap();
    for path in ["/nonexistent/kubeconfig", "/", broken.to_str().unwrap()] {
        let (code, said) = run(&[nowhere[0], nowhere[1], "--kubeconfig", path], &[]).await;
        assert_eq!(code, Some(1), "{path}: {said}");
        assert!(said.contains(&format!("the kubeconfig {path} cannot be used: ")), "{path}: {said}");
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "ERROR", "{said}");
    }
    std::fs::remove_file(&broken).unwrap();
    let (code, said) = run(&nowhere, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no cluster found; set KUBECONFIG"), "{said}");
}

/// The shards that have a holder.
async fn held(bed: &Bed) -> Vec<String> {
    let leases = Api::<Lease>::namespaced(bed.cluster().client().unwrap(), SYSTEM);
    let list = leases.list(&ListParams::default()).await.unwrap().items.into_iter();
    let name = |lease: Lease| lease.metadata.name.unwrap_or_default();
    let held = list.filter(|lease| {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder.is_some_and(|holder| !holder.is_empty())
    });
    held.map(name).filter(|name| name.starts_with("configmapsync-shard-")).collect()
}

#[tokio::test]
async fn sigterm_ends_it_with_code_0_and_no_shard_has_a_holder_then() {
    let Some(bed) = Bed::own("sigterm_ends_it_with_code_0").await else { return };
    let case = Case::on(&bed, "ended").await;
    let operator: Operator = bed.holder("ended").await;
    assert_eq!(held(&bed).await.len(), 64);
    case.source(json!({ "k": "1" })).await;
    for number in 0..20 {
        case.sync(&format!("s{number}"), json!({ "destinationName": format!("s{number}") })).await;
    }
    let ended = operator.terminate().await.expect("it ends in time");
    assert_eq!(ended.code(), Some(0));
    assert_eq!(held(&bed).await, Vec::<String>::new());
    // What it left undone, the next one does.
    let _next = bed.holder("next").await;
    for number in 0..20 {
        case.until_ready(&format!("s{number}")).await;
    }
}

/// How an operator ended, and that it said why in its last line.
async fn ended(operator: &Operator, code: i32, last: &str) {
    assert_eq!(operator.end().await.code(), Some(code));
    let lines = operator.said(&[]);
    assert!(lines.last().unwrap().contains(last), "{lines:#?}");
}

#[tokio::test]
async fn help_and_version_end_it_with_code_0() {
    for flag in ["--help", "--version"] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_configmapsync-operator"));
        let output = command.arg(flag).output().await.unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{flag}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("configmapsync-operator"), "{flag}");
    }
}

#[tokio::test]
async fn an_address_in_use_ends_it_with_code_1_and_a_sentence_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [
        ("--health-probe-bind-address", "--metrics-bind-address=0"),
        ("--metrics-bind-address", "--health-probe-bind-address=0"),
    ] {
        let (code, said) = run(&[&format!("{flag}={address}"), other], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let cause = last["cause"].as_str().unwrap();
        assert!(cause.contains(&format!("{address} cannot be listened on; choose another")), "{said}");
        assert!(cause.contains("in use"), "{said}");
    }
}

#[tokio::test]
async fn sigint_ends_it_as_sigterm_does() {
    let Some(bed) = Bed::own("sigint_ends_it_as_sigterm_does").await else { return };
    let operator = bed.holder("interrupted").await;
    operator.signal(Signal::Int);
    ended(&operator, 0, "the operator ends").await;
    assert_eq!(held(&bed).await, Vec::<String>::new());
}

#[tokio::test]
async fn without_an_api_server_it_ends_within_its_grace_period_and_at_once_by_a_second_signal() {
    let Some(bed) = Bed::own("without_an_api_server_it_ends").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    let kubeconfig = bed.cluster().service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
    let patient = bed.operator_with("patient", &["--grace-period=5s"]).await;
    let hurried = bed.operator_with("hurried", &["--grace-period=1h"]).await;
    bed.until_all_shards_are_held().await;
    control_plane.stop(Component::ApiServer).unwrap();
    // One that never found it.
    let new = Operator::launch(&kubeconfig, bed.cluster().dir(), "new", &["--grace-period=1h"]).await;
    new.signal(Signal::Term);
    ended(&new, 0, "the operator ends").await;

    patient.signal(Signal::Term);
    ended(&patient, 0, "the operator ends").await;
    assert!(!patient.said(&["WARN", "shards could not be given back"]).is_empty());

    hurried.signal(Signal::Term);
    hurried.until_said(&["stopping"]).await;
    tokio::time::sleep(seconds(2)).await;
    assert!(hurried.is_running(), "it waits for an answer");
    hurried.signal(Signal::Int);
    ended(&hurried, 1, "a second signal cut the shutdown short").await;
}

/// A debug build panics where the environment names a task.
#[tokio::test]
async fn a_long_lived_task_that_panics_ends_the_process() {
    let Some(bed) = Bed::own("a_long_lived_task_that_panics").await else { return };
    for task in ["leadership", "configmaps", "configmapsyncs", "namespaces", "hand-over", "dispatcher", "fleet-leader"]
    {
        let operator = bed.operator_that_fails(task).await;
        let status = operator.end().await;
        assert_eq!(status.code(), Some(1), "{task}");
        assert!(!operator.said(&["has ended early", task]).is_empty(), "{task} is not named");
    }
}
