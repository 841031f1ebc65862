//! Every metric of this operator: one table, from which the constants, the descriptions on `/metrics` and the page in
//! the documentation are made. A metric that is not in it does not exist.
//!
//! Labels carry no names of objects or namespaces: their number must not grow with the cluster. Process metrics
//! (`process_*`) are written by the exporter itself.

use metrics::Unit;

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// Its name on `/metrics`.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence for the person who reads the page.
    pub help: &'static str,
}

macro_rules! instruments {
    ($($id:ident = $kind:ident $unit:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $id: &str = $name;)*

        /// The table.
        pub const ALL: &[Instrument] = &[$(Instrument {
            name: $name, kind: Kind::$kind, unit: Unit::$unit, labels: &[$($label),*], help: $help,
        }),*];
    };
}

instruments! {
    BUILD_INFO = Gauge Count "configmapsync_build_info" ["version"]
        "Always 1; the label says which version runs.";

    FANOUT_DURATION_SECONDS = Histogram Seconds "configmapsync_fanout_duration_seconds" []
        "From a source's change seen by this replica to the last of its copies written by it.";
    PROPAGATION_SECONDS = Histogram Seconds "configmapsync_propagation_seconds" []
        "From a source's change seen by this replica to one copy written, for each copy.";
    NAMESPACE_SYNC_DURATION_SECONDS = Histogram Seconds "configmapsync_namespace_sync_duration_seconds" []
        "From a namespace that this replica saw come or change to the last copy of a ClusterConfigMapSync written there by it.";
    WRITES_TOTAL = Counter Count "configmapsync_writes_total" ["verb", "resource", "result"]
        "Writes sent to the API server.";
    SOURCE_READS_TOTAL = Counter Count "configmapsync_source_reads_total" ["result"]
        "Reads of a source's content; one serves all copies of a version.";
    SYNCS = Gauge Count "configmapsync_syncs" []
        "ConfigMapSyncs in the shards held by this replica.";
    SYNCS_NOT_READY = Gauge Count "configmapsync_syncs_not_ready" ["reason"]
        "ConfigMapSyncs in the shards held by this replica that are not Ready, by the reason of the condition.";
    CLUSTER_SYNCS = Gauge Count "configmapsync_cluster_syncs" []
        "ClusterConfigMapSyncs in the shards held by this replica.";
    CLUSTER_SYNCS_NOT_READY = Gauge Count "configmapsync_cluster_syncs_not_ready" ["reason"]
        "ClusterConfigMapSyncs in the shards held by this replica that are not Ready: Stalled needs a person.";
    CLUSTER_COPIES = Gauge Count "configmapsync_cluster_copies" ["state"]
        "Copies of ClusterConfigMapSyncs in the shards held by this replica, as their statuses count them: synced, pending, failed or removing.";

    SHARDS_HELD = Gauge Count "configmapsync_shards_held" []
        "Shards held by this replica.";
    SHARDS_UNHELD = Gauge Count "configmapsync_shards_unheld" []
        "Shards that no live replica holds; only the fleet leader says this, one that no longer leads says 0.";
    SHARD_HANDOVERS_TOTAL = Counter Count "configmapsync_shard_handovers_total" ["reason"]
        "Shards taken or given up by this replica.";
    LEASE_RENEWALS_TOTAL = Counter Count "configmapsync_lease_renewals_total" ["result"]
        "Renewals of this replica's session Lease.";
    LEASE_RENEWAL_SECONDS = Histogram Seconds "configmapsync_lease_renewal_seconds" []
        "From a renewal sent to its answer.";
    GATE_CLOSED_TOTAL = Counter Count "configmapsync_gate_closed_total" []
        "Writes held back because the lease might have ended before their answer; one every half second while keys wait for that.";
    LEADER_ELECTION_MASTER_STATUS = Gauge Count "leader_election_master_status" ["name"]
        "1 while this replica is the fleet leader, which no copy depends on.";

    AUTHOR_POLICY_MISSING = Gauge Count "configmapsync_author_policy_missing" ["policy"]
        "1 while the fleet leader sees that this admission policy for authors is not there or does not do what --author-policy says.";

    WATCH_AGE_SECONDS = Gauge Seconds "configmapsync_watch_age_seconds" ["stream"]
        "Since the stream last said anything, be it only a bookmark.";
    WATCH_RESTARTS_TOTAL = Counter Count "configmapsync_watch_restarts_total" ["stream"]
        "Watches that ended and were opened again.";
    UNPARSABLE_OBJECTS_TOTAL = Counter Count "configmapsync_unparsable_objects_total" ["resource"]
        "Objects that could not be understood and were skipped.";
    EVENTS_DROPPED_TOTAL = Counter Count "configmapsync_events_dropped_total" []
        "Kubernetes Events that were not sent because there were too many.";

    QUEUE_DEPTH = Gauge Count "configmapsync_queue_depth" ["lane"]
        "Keys waiting, over all shards held.";
    QUEUE_OLDEST_SECONDS = Gauge Seconds "configmapsync_queue_oldest_seconds" ["lane"]
        "How long the first in line has waited.";
    WRITERS_LIMIT = Gauge Count "configmapsync_writers_limit" []
        "Writes that may be in flight at once, as the limiter has it now.";
    WRITERS_IN_FLIGHT = Gauge Count "configmapsync_writers_in_flight" []
        "Writes in flight.";

    NAMESPACES_SET_APART = Gauge Count "configmapsync_namespaces_set_apart" []
        "Namespaces to which one write at a time is sent, since writes there are slow, not answered or throttled.";

    WORKQUEUE_DEPTH = Gauge Count "workqueue_depth" ["name"]
        "Keys waiting in the queue.";
    WORKQUEUE_ADDS_TOTAL = Counter Count "workqueue_adds_total" ["name"]
        "Keys added to the queue.";
    WORKQUEUE_QUEUE_DURATION_SECONDS = Histogram Seconds "workqueue_queue_duration_seconds" ["name"]
        "How long a key waits before it is worked on.";
    WORKQUEUE_WORK_DURATION_SECONDS = Histogram Seconds "workqueue_work_duration_seconds" ["name"]
        "How long the work on a key takes.";
    WORKQUEUE_RETRIES_TOTAL = Counter Count "workqueue_retries_total" ["name"]
        "Keys that were put back to be tried again.";

    REST_CLIENT_REQUESTS_TOTAL = Counter Count "rest_client_requests_total" ["code", "method"]
        "Requests to the API server by the status code of their answer.";
    REST_CLIENT_REQUEST_DURATION_SECONDS = Histogram Seconds "rest_client_request_duration_seconds" ["verb"]
        "How long requests to the API server take.";

    RECONCILE_TOTAL = Counter Count "controller_runtime_reconcile_total" ["controller", "result"]
        "Reconciliations by result: success, error, requeue, requeue_after.";
    RECONCILE_TIME_SECONDS = Histogram Seconds "controller_runtime_reconcile_time_seconds" ["controller"]
        "How long a reconciliation takes.";
}

/// Counters of one label that alerts and panels watch for their very first increment, with the values known beforehand.
/// `rate()` sees no increment in a series that begins at 1.
const FROM_ZERO: &[(&str, &str, &[&str])] = &[
    (UNPARSABLE_OBJECTS_TOTAL, "resource", &["configmapsyncs", "configmaps", "namespaces"]),
    (WATCH_RESTARTS_TOTAL, "stream", &["configmapsyncs", "configmaps", "namespaces"]),
    (LEASE_RENEWALS_TOTAL, "result", &["done", "failed", "conflict", "missing"]),
    (WORKQUEUE_RETRIES_TOTAL, "name", &["configmapsync"]),
    (
        SHARD_HANDOVERS_TOTAL,
        "reason",
        &["released", "ended", "unowned", "renewed", "balance", "leaving", "taken", "session_lost"],
    ),
];

/// The same for writes of copies.
const VERBS: &[&str] = &["create", "update", "delete"];
/// How they end well, or badly.
const RESULTS: &[&str] = &["ok", "throttled", "invalid", "forbidden", "unavailable"];
/// The same for requests that the API server turns away.
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];

fn begin_at_zero() {
    for &(name, label, values) in FROM_ZERO {
        for &value in values {
            metrics::counter!(name, label => value).absolute(0);
        }
    }
    for &verb in VERBS {
        for &result in RESULTS {
            metrics::counter!(WRITES_TOTAL, "verb" => verb, "resource" => "configmaps", "result" => result).absolute(0);
        }
    }
    for &method in METHODS {
        metrics::counter!(REST_CLIENT_REQUESTS_TOTAL, "code" => "429", "method" => method).absolute(0);
    }
}

/// Tells the recorder what each metric is, and begins what `rate()` is asked about, counters and histograms, at 0.
pub fn describe() {
    begin_at_zero();
    for &Instrument { name, kind, unit, labels, help } in ALL {
        match kind {
            Kind::Counter => {
                metrics::describe_counter!(name, unit, help);
                if labels.is_empty() {
                    metrics::counter!(name).absolute(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => {
                metrics::describe_histogram!(name, unit, help);
                if labels.is_empty() {
                    let _registered = metrics::histogram!(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = std::collections::BTreeSet::new();
        for one in ALL {
            assert!(names.insert(one.name), "{} stands twice", one.name);
            assert!(one.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", one.name);
            assert_eq!(one.kind == Kind::Counter, one.name.ends_with("_total"), "{}", one.name);
            assert_eq!(one.unit == Unit::Seconds, one.name.ends_with("_seconds"), "{}", one.name);
            assert!(one.help.ends_with('.') && !one.help.contains('\n'), "{}", one.name);
            assert!(!one.labels.iter().any(|label| ["namespace", "uid", "object"].contains(label)), "{}", one.name);
        }
    }
}
