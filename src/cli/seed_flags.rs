//! Flags of the former operator (Kubebuilder's, in Go) that an existing Deployment may still pass. They are taken in
//! every form that Go's flag package takes with two dashes, are not shown by `--help`, and do nothing.

use clap::{ArgAction, Args};

/// One field per flag; a switch may carry a value (`--leader-elect=true`), the others must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct SeedFlags {
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: Option<String>,
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    metrics_secure: Option<String>,
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_http2: Option<String>,
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    zap_devel: Option<String>,
    #[arg(long, hide = true)]
    leader_election_id: Option<String>,
    #[arg(long, hide = true)]
    metrics_cert_path: Option<String>,
    #[arg(long, hide = true)]
    metrics_cert_name: Option<String>,
    #[arg(long, hide = true)]
    metrics_cert_key: Option<String>,
    #[arg(long, hide = true)]
    webhook_cert_path: Option<String>,
    #[arg(long, hide = true)]
    webhook_cert_name: Option<String>,
    #[arg(long, hide = true)]
    webhook_cert_key: Option<String>,
    #[arg(long, hide = true)]
    zap_encoder: Option<String>,
    #[arg(long, hide = true)]
    zap_log_level: Option<String>,
    #[arg(long, hide = true)]
    zap_stacktrace_level: Option<String>,
    #[arg(long, hide = true)]
    zap_time_encoding: Option<String>,
}

impl SeedFlags {
    /// The flags that were given.
    pub(super) fn given(&self) -> Vec<&'static str> {
        [
            ("--leader-elect", &self.leader_elect),
            ("--metrics-secure", &self.metrics_secure),
            ("--enable-http2", &self.enable_http2),
            ("--zap-devel", &self.zap_devel),
            ("--leader-election-id", &self.leader_election_id),
            ("--metrics-cert-path", &self.metrics_cert_path),
            ("--metrics-cert-name", &self.metrics_cert_name),
            ("--metrics-cert-key", &self.metrics_cert_key),
            ("--webhook-cert-path", &self.webhook_cert_path),
            ("--webhook-cert-name", &self.webhook_cert_name),
            ("--webhook-cert-key", &self.webhook_cert_key),
            ("--zap-encoder", &self.zap_encoder),
            ("--zap-log-level", &self.zap_log_level),
            ("--zap-stacktrace-level", &self.zap_stacktrace_level),
            ("--zap-time-encoding", &self.zap_time_encoding),
        ]
        .into_iter()
        .filter_map(|(flag, value)| value.as_ref().map(|_| flag))
        .collect()
    }
}
