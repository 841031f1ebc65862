//! The command line: every flag has an environment variable, and every value is checked before anything starts.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, builder::BoolishValueParser};

use crate::cli::seed_flags::SeedFlags;
use crate::cli::values::{self, BindAddress};
use crate::controller::config::{AuthorPolicy, Config, LEASE_DURATION_MAX, LEASE_DURATION_MIN};
use crate::leadership::Timing;
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

/// The arguments, checked; [`Args::into_config`] makes the controller's settings of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "configmapsync-operator", version, about = ABOUT, after_help = AFTER, next_line_help = true)]
#[command(args_override_self = true)]
pub struct Args {
    /// Address of /healthz and /readyz: :PORT, HOST:PORT, or 0 for none
    #[arg(long, env = "CONFIGMAPSYNC_HEALTH_PROBE_BIND_ADDRESS", hide_env = true, value_name = "ADDRESS")]
    #[arg(help_heading = "Serving", default_value = ":8081", value_parser = values::bind_address)]
    pub health_probe_bind_address: BindAddress,

    /// Address of /metrics; it may be that of the probes
    #[arg(long, env = "CONFIGMAPSYNC_METRICS_BIND_ADDRESS", hide_env = true, value_name = "ADDRESS")]
    #[arg(help_heading = "Serving", default_value = ":8080", value_parser = values::bind_address)]
    pub metrics_bind_address: BindAddress,

    /// Kubeconfig file; comes before KUBECONFIG and the Pod's ServiceAccount
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

    /// Namespaces that a selector never means, beside the operator's own
    #[arg(long, env = "CONFIGMAPSYNC_PROTECTED_NAMESPACES", hide_env = true, value_name = "NAMESPACES")]
    #[arg(help_heading = "Many namespaces", value_delimiter = ',', value_parser = values::namespace)]
    #[arg(default_value = "kube-system,kube-public,kube-node-lease")]
    pub protected_namespaces: Vec<String>,

    /// Namespaces that the operator does not touch, whatever a sync says;
    /// * stands for any characters, ? for one
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_FORBIDDEN_NAMESPACES", hide_env = true)]
    #[arg(help_heading = "Writing", value_delimiter = ',', value_parser = values::namespace_pattern)]
    #[arg(value_name = "PATTERNS")]
    pub forbidden_namespaces: Vec<String>,

    /// Most bytes that the copies of one ClusterConfigMapSync may take
    /// together: its source's size times its namespaces; 0: no limit
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_MAX_FANOUT_BYTES", hide_env = true, value_name = "BYTES")]
    #[arg(help_heading = "Many namespaces", default_value = "1073741824")]
    pub max_fanout_bytes: u64,

    /// Whether a source's owner must share it before it is copied: optional
    /// (only where spec.requireConsent says so) or required (everywhere)
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_CONSENT", hide_env = true, value_name = "WORD")]
    #[arg(help_heading = "Trust", default_value = "optional", value_enum, hide_possible_values = true)]
    pub consent: values::Consent,

    /// Log what the operator would write, and write nothing
    #[arg(long, env = "CONFIGMAPSYNC_OBSERVE_ONLY", hide_env = true, value_name = "BOOL")]
    #[arg(help_heading = "Writing", action = ArgAction::Set, default_value = "false", hide_default_value = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub observe_only: bool,

    /// What the policies for authors are to do, Deny or Audit: the fleet
    /// leader says so when they do not; Off: nobody looks
    #[arg(long, verbatim_doc_comment, env = "CONFIGMAPSYNC_AUTHOR_POLICY", hide_env = true, value_name = "MODE")]
    #[arg(help_heading = "Trust", default_value = "Off", value_enum, hide_possible_values = true)]
    pub author_policy: AuthorPolicy,

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

    /// The settings of the controller.
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
            protected_namespaces: self.protected_namespaces,
            author_policy: self.author_policy,
            forbidden_namespaces: self.forbidden_namespaces,
            max_fanout_bytes: NonZeroU64::new(self.max_fanout_bytes),
            consent_required: self.consent == values::Consent::Required,
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
#[path = "tests/args.rs"]
mod tests;
