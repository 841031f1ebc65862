//! The Prometheus exporter: buckets, upkeep, the build's version, and what the process itself takes.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::telemetry::instruments;

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
    pub(crate) fn of_its_own() -> anyhow::Result<Self> {
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

/// What the process takes: name, kind, sentence. The standard names of Prometheus' client libraries, but for the limit,
/// which stands here so that memory can be seen to come near it without another exporter.
pub const PROCESS: &[(&str, &str, &str)] = &[
    ("process_cpu_seconds_total", "counter", "CPU time spent, user and system."),
    ("process_resident_memory_bytes", "gauge", "Resident memory."),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory."),
    ("process_memory_limit_bytes", "gauge", "The container's memory limit; absent where there is none."),
    ("process_threads", "gauge", "Threads."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "The most file descriptors."),
    ("process_start_time_seconds", "gauge", "Start of the process since 1970."),
];

/// Few enough to be read here, without a crate that polls. What cannot be read (another system than Linux) is left out.
fn process_metrics(page: &mut String, started: f64) {
    let mut line = |name: &str, value: Option<f64>| {
        let row = PROCESS.iter().find(|(known, ..)| *known == name);
        if let (Some((name, kind, help)), Some(value)) = (row, value) {
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
    line("process_cpu_seconds_total", Some(cpu));
    line("process_resident_memory_bytes", number(&status, "VmRSS:").map(|kb| kb * 1024.0));
    line("process_virtual_memory_bytes", number(&status, "VmSize:").map(|kb| kb * 1024.0));
    line("process_memory_limit_bytes", memory_limit());
    line("process_threads", number(&status, "Threads:"));
    // The directory that is being read is one of them.
    line("process_open_fds", open.map(|fds| f64::from(fds.saturating_sub(1))));
    line("process_max_fds", number(&limits, "Max open files"));
    line("process_start_time_seconds", Some(started));
}

/// The limit of the process's control group. In a container its own group stands at the root of what it sees, whatever
/// path the file names; elsewhere the path holds. A limit may change while the process runs.
fn memory_limit() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_files(&groups).iter().find_map(|file| limit(&std::fs::read_to_string(file).ok()?))
}

/// Where the limit may stand, by the lines of `/proc/self/cgroup`: version 2 of control groups, then version 1.
fn limit_files(groups: &str) -> Vec<String> {
    let path = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        Some([format!("{root}{path}/{file}"), format!("{root}/{file}")])
    };
    let mut files: Vec<String> = groups.lines().filter_map(path).flatten().collect();
    files.sort_by_key(|file| !file.ends_with("memory.max"));
    files
}

/// Version 2 says `max`, version 1 a number near 2^63 where there is no limit.
fn limit(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|limit| *limit < 1e18)
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
    fn a_histogram_that_saw_nothing_is_there_so_that_its_first_observation_counts() {
        assert!(page(|| ()).contains("\nconfigmapsync_fanout_duration_seconds_bucket{le=\"+Inf\"} 0"));
    }

    #[test]
    fn the_limit_is_looked_for_in_both_versions_of_control_groups() {
        let (two, one) = ("0::/a\n", "9:name=systemd:/\n4:cpu,memory:/b/c\n0::/\n");
        assert_eq!(limit_files(two), ["/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]);
        let in_one = "/sys/fs/cgroup/memory/b/c/memory.limit_in_bytes";
        assert_eq!(limit_files(one)[2..], [in_one, "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert_eq!(limit("134217728\n"), Some(134_217_728.0));
        assert_eq!((limit("max\n"), limit("9223372036854771712\n")), (None, None));
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
