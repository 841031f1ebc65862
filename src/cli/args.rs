//! The command line: every flag has an environment variable, and every value is checked before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, builder::BoolishValueParser};

use crate::cli::seed_flags::SeedFlags;
use crate::cli::values::{self, BindAddress};
use crate::controller::config::{Config, LEASE_DURATION_MAX, LEASE_DURATION_MIN};
use crate::leadership::protocol::Timing;
use crate::telemetry::logs::LogFormat;

const ABOUT: &str = "\
Keeps copies of ConfigMaps in other namespaces, as ConfigMapSyncs ask for.

Several replicas share the work: each holds some of 64 shards, by Lease, and
only the holder of a shard writes for it. Start as many as you like.

The cluster is the one of KUBECONFIG or ~/.kube/config; inside a Pod, its own.";

const AFTER: &str = "\
Each flag has an environment variable, CONFIGMAPSYNC_ and the flag's name as in
CONFIGMAPSYNC_LEASE_DURATION; the flag wins. Durations are written 10s or 1m30s.
SIGUSR1 switches debug lines of the operator's own on, and off again; SIGTERM
ends it in order, with all shards given back.
Exit codes: 0 stopped cleanly, 1 failed, 2 wrong usage.";

/// The arguments, checked; [`Args::into_config`] makes the run layer's settings of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "configmapsync-operator", version, about = ABOUT, after_help = AFTER, next_line_help = true)]
#[command(args_override_self = true)]
pub struct Args {
    /// For /healthz and /readyz: :PORT, HOST:PORT, or 0 for nowhere
    #[arg(long, env = "CONFIGMAPSYNC_HEALTH_PROBE_BIND_ADDRESS", hide_env = true, value_name = "ADDRESS")]
    #[arg(help_heading = "Serving", default_value = ":8081", value_parser = values::bind_address)]
    pub health_probe_bind_address: BindAddress,

    /// For /metrics; may be the same as that of the probes
    #[arg(long, env = "CONFIGMAPSYNC_METRICS_BIND_ADDRESS", hide_env = true, value_name = "ADDRESS")]
    #[arg(help_heading = "Serving", default_value = ":8080", value_parser = values::bind_address)]
    pub metrics_bind_address: BindAddress,

    /// A kubeconfig file, before KUBECONFIG and the Pod's own account
    #[arg(long, env = "CONFIGMAPSYNC_KUBECONFIG", hide_env = true, value_name = "FILE")]
    #[arg(help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the fleet's Leases, the same for all replicas
    /// [default: POD_NAMESPACE, the Pod's own, or configmapsync-system]
    #[arg(
        long,
        verbatim_doc_comment,
        env = "CONFIGMAPSYNC_LEASE_NAMESPACE",
        hide_env = true,
        value_name = "NAMESPACE"
    )]
    #[arg(help_heading = "Cluster", value_parser = values::namespace)]
    pub lease_namespace: Option<String>,

    /// Name of this replica in its Leases; every start adds a random end
    /// [default: POD_NAME, or the host's name]
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_IDENTITY", hide_env = true, value_name = "NAME")]
    #[arg(help_heading = "Cluster", value_parser = values::identity)]
    pub identity: Option<String>,

    /// How long shards outlive a dead replica, 2s to 10m
    #[arg(long, env = "CONFIGMAPSYNC_LEASE_DURATION", hide_env = true, value_name = "DURATION")]
    #[arg(help_heading = "Cluster", default_value = "10s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Time to end work and give shards back after SIGTERM, from 1s to 1h;
    /// keep it below the Pod's terminationGracePeriodSeconds
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_GRACE_PERIOD", hide_env = true, value_name = "DURATION")]
    #[arg(help_heading = "Cluster", default_value = "25s", value_parser = grace_period)]
    pub grace_period: Duration,

    /// Most writes a second by this replica; 0: no cap
    #[arg(long, env = "CONFIGMAPSYNC_WRITE_QPS", hide_env = true, value_name = "NUMBER")]
    #[arg(help_heading = "Writing", default_value = "0", value_parser = values::write_qps)]
    pub write_qps: values::WriteQps,

    /// Most writes in flight at once, from 1 to 1024;
    /// a slow API server is sent fewer
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_MAX_IN_FLIGHT", hide_env = true, value_name = "NUMBER")]
    #[arg(help_heading = "Writing", default_value = "32", value_parser = values::max_in_flight)]
    pub max_in_flight: std::num::NonZeroUsize,

    /// Say what would be written, and write nothing
    #[arg(long, env = "CONFIGMAPSYNC_OBSERVE_ONLY", hide_env = true, value_name = "BOOL")]
    #[arg(help_heading = "Writing", action = ArgAction::Set, default_value = "false", hide_default_value = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub observe_only: bool,

    /// Form of the log lines on standard error: json or text
    #[arg(long, env = "CONFIGMAPSYNC_LOG_FORMAT", hide_env = true, value_name = "FORMAT")]
    #[arg(help_heading = "Logs", default_value = "json", value_enum, hide_possible_values = true)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace or off;
    /// or by module, as in info,kube=debug [default: RUST_LOG, or info]
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_LOG_LEVEL", hide_env = true, value_name = "FILTER")]
    #[arg(help_heading = "Logs", value_parser = values::log_filter)]
    pub log_level: Option<String>,

    #[command(flatten)]
    seed: SeedFlags,
}

impl Args {
    /// Fills in what a Pod's environment, the machine and RUST_LOG say where the command line says nothing.
    ///
    /// # Errors
    /// When such a value is there and is wrong; to be shown like any other wrong usage.
    pub fn with_surroundings(mut self, around: &values::Surroundings) -> Result<Self, clap::Error> {
        let usage = |variable: &str, why: String| {
            <Self as clap::CommandFactory>::command()
                .error(clap::error::ErrorKind::ValueValidation, format!("wrong value in {variable}: {why}"))
        };
        if self.lease_namespace.is_none() {
            let (from, value) = around.namespace();
            self.lease_namespace = Some(values::namespace(&value).map_err(|why| usage(from, why))?);
        }
        if self.identity.is_none() {
            let (from, value) = around.identity();
            self.identity = Some(values::identity(&value).map_err(|why| usage(from, why))?);
        }
        if self.log_level.is_none() {
            let filter = around.rust_log.as_deref().unwrap_or("info");
            self.log_level = Some(values::log_filter(filter).map_err(|why| usage("RUST_LOG", why))?);
        }
        Ok(self)
    }

    /// The flags of the former operator that were given and have no effect here.
    #[must_use]
    pub fn ignored(&self) -> Vec<&'static str> {
        self.seed.given()
    }

    /// The settings of the run layer.
    #[must_use]
    pub fn into_config(self) -> Config {
        Config {
            kubeconfig: self.kubeconfig,
            lease_namespace: self.lease_namespace.unwrap_or_else(|| values::DEFAULT_NAMESPACE.into()),
            identity: self.identity.unwrap_or_else(|| values::DEFAULT_IDENTITY.into()),
            lease_duration: self.lease_duration,
            write_qps: self.write_qps.0,
            max_in_flight: self.max_in_flight,
            observe_only: self.observe_only,
            grace_period: self.grace_period,
        }
    }
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text, LEASE_DURATION_MIN, LEASE_DURATION_MAX)?;
    Timing::new(duration).map(|timing| timing.lease)
}

fn grace_period(text: &str) -> Result<Duration, String> {
    values::duration(text, Duration::from_secs(1), Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

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
            grace_period: Duration::from_secs(25),
        };
        assert_eq!(args.into_config(), expected);
    }

    #[rstest]
    #[case(&["--lease-duration=1m30s"], |c: &Config| c.lease_duration == Duration::from_secs(90))]
    #[case(&["--lease-duration", "2s"], |c: &Config| c.lease_duration == Duration::from_secs(2))]
    #[case(&["--write-qps=50"], |c: &Config| c.write_qps == NonZeroU32::new(50))]
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
        let manifests = include_str!("../../deploy/install.yaml");
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
}
