//! Tests of `args.rs`.

use std::num::{NonZeroU32, NonZeroU64};

use rstest::rstest;

use super::*;
use crate::cli::values::Surroundings;

/// The variables of the test's own environment are not set: nobody has CONFIGMAPSYNC_… there.
fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
    let around = Surroundings { host_name: Some("Node_1.example".into()), ..Surroundings::default() };
    Args::try_parse_from(std::iter::once(&"configmapsync-operator").chain(flags))?.with_surroundings(&around)
}

#[test]
fn help_reads_well() {
    let help = <Args as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.lines().all(|line| line.len() <= 80), "{help}");
    insta::assert_snapshot!(help);
}

#[test]
fn the_definition_is_sound() {
    <Args as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn without_flags_the_defaults_are_those_of_the_manifests() {
    let args = parse(&[]).unwrap();
    assert_eq!(args.health_probe_bind_address.to_string(), ":8081");
    assert_eq!(args.metrics_bind_address.to_string(), ":8080");
    assert_eq!((args.log_format, args.log_level.as_deref()), (LogFormat::Json, Some("info")));
    let expected = Config {
        kubeconfig: None,
        lease_namespace: "configmapsync-system".into(),
        identity: "node-1.example".into(),
        lease_duration: Duration::from_secs(10),
        write_qps: None,
        max_in_flight: std::num::NonZeroUsize::new(32).unwrap(),
        observe_only: false,
        protected_namespaces: ["kube-system", "kube-public", "kube-node-lease"].map(str::to_owned).to_vec(),
        author_policy: AuthorPolicy::Off,
        forbidden_namespaces: Vec::new(),
        max_fanout_bytes: NonZeroU64::new(1 << 30),
        consent_required: false,
        grace_period: Duration::from_secs(25),
    };
    assert_eq!(args.into_config(), expected);
}

#[rstest]
#[case(&["--lease-duration=1m30s"], |c: &Config| c.lease_duration == Duration::from_secs(90))]
#[case(&["--lease-duration", "2s"], |c: &Config| c.lease_duration == Duration::from_secs(2))]
#[case(&["--write-qps=50"], |c: &Config| c.write_qps == NonZeroU32::new(50))]
#[case(&["--protected-namespaces=a,b"], |c: &Config| c.protected_namespaces == ["a", "b"])]
#[case(&["--forbidden-namespaces=kube-*,prod-?"], |c: &Config| c.forbidden_namespaces == ["kube-*", "prod-?"])]
#[case(&["--author-policy=Deny"], |c: &Config| c.author_policy == AuthorPolicy::Deny)]
#[case(&["--consent=required"], |c: &Config| c.consent_required)]
#[case(&["--max-fanout-bytes=0"], |c: &Config| c.max_fanout_bytes.is_none())]
#[case(&["--write-qps=0"], |c: &Config| c.write_qps.is_none())]
#[case(&["--max-in-flight=1"], |c: &Config| c.max_in_flight.get() == 1)]
#[case(&["--observe-only"], |c: &Config| c.observe_only)]
#[case(&["--observe-only=true"], |c: &Config| c.observe_only)]
#[case(&["--observe-only=false"], |c: &Config| !c.observe_only)]
#[case(&["--identity=a-0.b"], |c: &Config| c.identity == "a-0.b")]
#[case(&["--lease-namespace=ops"], |c: &Config| c.lease_namespace == "ops")]
#[case(&["--kubeconfig=/tmp/k"], |c: &Config| c.kubeconfig == Some("/tmp/k".into()))]
fn good_values_arrive(#[case] flags: &[&str], #[case] holds: fn(&Config) -> bool) {
    let config = parse(flags).unwrap().into_config();
    assert!(holds(&config), "{config:?}");
}

#[rstest]
#[case("--lease-duration=1s", "from 2s to 600s")]
#[case("--lease-duration=11m", "from 2s to 600s")]
#[case("--lease-duration=10", "with its unit")]
#[case("--lease-duration=-10s", "cannot be negative")]
#[case("--grace-period=0s", "from 1s to 3600s")]
#[case("--write-qps=-1", "whole number")]
#[case("--write-qps=many", "whole number")]
#[case("--max-in-flight=0", "from 1 to 1024")]
#[case("--metrics-bind-address=8080", "write :PORT")]
#[case("--metrics-bind-address=:http", "no port")]
#[case("--metrics-bind-address=:65536", "no port")]
#[case("--health-probe-bind-address=::1:80", "brackets")]
#[case("--lease-namespace=Kube_System", "is no namespace")]
#[case("--forbidden-namespaces=Kube-*", "is no pattern of namespaces")]
#[case("--identity=-a", "is no identity")]
#[case("--identity=", "is no identity")]
#[case("--log-level=inof", "\"inof\" is no level")]
#[case("--log-level=info,kube=laud", "write error, warn")]
#[case("--log-format=xml", "[possible values: json, text]")]
#[case("--observe-only=perhaps", "--observe-only")]
#[case("--no-such-flag", "unexpected argument")]
#[case("--lease-duration=2s500ms", "must be in whole seconds")]
#[case("stray", "unexpected argument")]
fn bad_values_are_refused_with_a_sentence_and_exit_code_2(#[case] flag: &str, #[case] sentence: &str) {
    let error = parse(&[flag]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(sentence), "{error}");
}

#[test]
fn every_flag_that_is_shown_has_a_variable() {
    for arg in <Args as clap::CommandFactory>::command().get_arguments().filter(|arg| !arg.is_hide_set()) {
        let flag = arg.get_long().unwrap();
        let variable = format!("CONFIGMAPSYNC_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "--{flag}");
    }
}

#[test]
fn flags_of_the_former_operator_are_taken_and_named() {
    let args = parse(&[
        "--leader-elect",
        "--metrics-secure=false",
        "--enable-http2=false",
        "--zap-log-level=info",
        "--zap-devel",
        "--webhook-cert-path=/certs",
        "--webhook-cert-name",
        "tls.crt",
    ]);
    let named = args.unwrap().ignored().join(" ");
    let all = "--leader-elect --metrics-secure --enable-http2 --zap-devel --webhook-cert-path --webhook-cert-name \
               --zap-log-level";
    assert_eq!(named, all);
}

#[rstest]
#[case(Surroundings { pod_namespace: Some("A".into()), ..Default::default() }, "wrong value in POD_NAMESPACE")]
#[case(Surroundings { pod_name: Some("a_b".into()), ..Default::default() }, "wrong value in POD_NAME")]
#[case(Surroundings { rust_log: Some("loud".into()), ..Default::default() }, "wrong value in RUST_LOG")]
fn what_the_surroundings_say_is_checked_too(#[case] around: Surroundings, #[case] sentence: &str) {
    let error = Args::try_parse_from(["operator"]).unwrap().with_surroundings(&around).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(sentence), "{error}");
}

#[test]
fn a_pod_says_who_and_where_it_is() {
    let around = Surroundings {
        pod_namespace: Some("ops".into()),
        account_namespace: Some("other".into()),
        pod_name: Some("manager-5d9-x2x".into()),
        rust_log: Some("debug".into()),
        ..Surroundings::default()
    };
    let args = Args::try_parse_from(["operator"]).unwrap().with_surroundings(&around).unwrap();
    assert_eq!(args.log_level.as_deref(), Some("debug"));
    let config = args.into_config();
    assert_eq!((config.lease_namespace.as_str(), config.identity.as_str()), ("ops", "manager-5d9-x2x"));
}

#[test]
fn the_manifests_pass_flags_that_are_taken_and_leave_time_for_the_way_down() {
    use serde::de::Deserialize as _;
    let manifests = include_str!("../../../deploy/install.yaml");
    let deployment = serde_yaml_ng::Deserializer::from_str(manifests)
        .map(|document| serde_yaml_ng::Value::deserialize(document).unwrap())
        .find(|document| document["kind"] == "Deployment")
        .unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let flags: Vec<&str> = container["args"].as_sequence().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let args = parse(&flags).unwrap();
    let port = |name: &str| {
        let ports = container["ports"].as_sequence().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64().unwrap()
    };
    assert_eq!(args.health_probe_bind_address.to_string(), format!(":{}", port("health")));
    assert_eq!(args.metrics_bind_address.to_string(), format!(":{}", port("metrics")));
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(args.grace_period + Duration::from_secs(3) <= Duration::from_secs(grace));
}
