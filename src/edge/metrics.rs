//! The Prometheus exporter: buckets, upkeep, the build's version, and what the process itself takes.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::io::instruments;

/// From a cached answer to a fan-out on a server that is down for a while. Without buckets the exporter would turn
/// histograms into summaries, which cannot be added up over replicas.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Observations are kept raw until the next scrape or upkeep: often enough that a burst without scrapes costs nothing.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The way to the page; clones share it.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    started: f64,
}

/// Makes the process's recorder, which everything that counts writes to.
///
/// # Errors
/// When there is a recorder already.
pub fn install() -> anyhow::Result<Exporter> {
    let handle = builder()?.install_recorder().context("a metrics recorder is installed already")?;
    instruments::describe();
    metrics::gauge!(instruments::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(Exporter { handle, started: seconds_since_1970() })
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .context("the histogram buckets are refused")
}

impl Exporter {
    /// One that is not the process's, for tests.
    #[cfg(test)]
    pub(super) fn of_its_own() -> anyhow::Result<Self> {
        Ok(Self { handle: builder()?.build_recorder().handle(), started: 0.0 })
    }

    /// The page in Prometheus' text format. Takes some milliseconds: not for an async thread.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = self.handle.render();
        process_metrics(&mut page, self.started);
        page
    }

    /// Sorts observations into their buckets now and then, until `stop` is cancelled.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut turns = tokio::time::interval(UPKEEP_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let handle = self.handle.clone();
            if let Err(broken) = tokio::task::spawn_blocking(move || handle.run_upkeep()).await {
                tracing::warn!(cause = %broken, "metrics upkeep failed");
            }
        }
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The standard names of Prometheus' client libraries. Few enough to be read here, without a crate that polls.
/// What cannot be read (another system than Linux) is left out.
fn process_metrics(page: &mut String, started: f64) {
    let mut line = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    };
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // seconds and nanoseconds of CPU time are far below 2^52
    let cpu = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = std::fs::read_dir("/proc/self/fd").ok().and_then(|fds| u32::try_from(fds.count()).ok());
    line("process_cpu_seconds_total", "counter", "CPU time spent, user and system.", Some(cpu));
    line("process_resident_memory_bytes", "gauge", "Resident memory.", number(&status, "VmRSS:").map(|kb| kb * 1024.0));
    line("process_virtual_memory_bytes", "gauge", "Virtual memory.", number(&status, "VmSize:").map(|kb| kb * 1024.0));
    line("process_threads", "gauge", "Threads.", number(&status, "Threads:"));
    // The directory that is being read is one of them.
    line("process_open_fds", "gauge", "Open file descriptors.", open.map(|fds| f64::from(fds.saturating_sub(1))));
    line("process_max_fds", "gauge", "The most file descriptors.", number(&limits, "Max open files"));
    line("process_start_time_seconds", "gauge", "Start of the process since 1970.", Some(started));
}

/// The first number behind `label` at the start of a line.
fn number(text: &str, label: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recorder for this test alone: the process's one belongs to everybody.
    fn page(count: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            instruments::describe();
            count();
        });
        handle.run_upkeep();
        Exporter { handle, started: 1.5 }.render()
    }

    #[test]
    fn histograms_have_buckets_and_help() {
        let page = page(|| metrics::histogram!(instruments::FANOUT_DURATION_SECONDS).record(0.3));
        assert!(page.contains("# TYPE configmapsync_fanout_duration_seconds histogram"), "{page}");
        assert!(page.contains("# HELP configmapsync_fanout_duration_seconds From a source's change"), "{page}");
        assert!(page.contains("configmapsync_fanout_duration_seconds_bucket{le=\"0.25\"} 0"), "{page}");
        assert!(page.contains("configmapsync_fanout_duration_seconds_bucket{le=\"0.5\"} 1"), "{page}");
        assert!(page.contains("configmapsync_fanout_duration_seconds_bucket{le=\"+Inf\"} 1"), "{page}");
    }

    #[test]
    fn counters_without_labels_start_at_zero() {
        assert!(page(|| ()).contains("\nconfigmapsync_gate_closed_total 0\n"));
    }

    #[test]
    fn the_process_is_measured() {
        let page = page(|| ());
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"] {
            let value = number(&page, name).unwrap_or_else(|| panic!("{name} is missing in {page}"));
            assert!(value >= 1.0, "{name} {value}");
        }
        assert!(number(&page, "process_cpu_seconds_total").unwrap() > 0.0);
        assert_eq!(number(&page, "process_start_time_seconds"), Some(1.5));
    }
}
