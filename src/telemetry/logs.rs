//! Logs: one line an event on the standard error output, JSON or text, times in RFC 3339.
//!
//! Fields keep their names everywhere: `namespace` and `name` of the object, `shard`, `cause` for what went wrong. In
//! JSON an event's fields stand beside `timestamp`, `level`, `target` and `message`; those four names are taken.

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt as _};

/// The form in which log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Text,
}

/// Libraries that say at `info` what only their authors want to know, and kube itself, which warns of each list that
/// is refused, as we do once. A filter that names one of them wins.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,kube_client=error,kube_client::client::builder=off,kube_leader_election=warn,kube_runtime=error,\
                     rustls=warn,tower=warn";

/// What the toggle adds for as long as it is on: our own modules in detail, whatever the filter said.
const DETAIL: &str = "configmapsync_operator=debug";

/// Changes how much is logged while the program runs.
pub struct Toggle {
    filter: String,
    detail: bool,
    apply: Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>,
}

impl Toggle {
    /// From what was asked for at the start to details of our own modules, and back. Says so in the log, also where
    /// that is off.
    ///
    /// # Errors
    /// When the logger is gone.
    pub fn turn(&mut self) -> anyhow::Result<()> {
        let level = if self.detail { self.filter.clone() } else { format!("{},{DETAIL}", self.filter) };
        // Logged while details are on, so that both lines appear.
        if self.detail {
            tracing::info!(level, "the log level changes back");
        }
        (self.apply)(parsed(&level)?)?;
        self.detail = !self.detail;
        if self.detail {
            tracing::info!(level, "the log level changes; the same signal changes it back");
        }
        Ok(())
    }
}

/// Installs the logger of the process, a bridge from the `log` crate (kube-leader-election writes there), and a panic
/// hook, so that a panic in a task is a line like any other.
///
/// # Errors
/// When the filter does not parse, or when a logger is installed already.
pub fn install(format: LogFormat, filter: &str) -> anyhow::Result<Toggle> {
    let (subscriber, toggle) = subscriber(format, filter, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).context("a logger is installed already")?;
    tracing_log::LogTracer::builder()
        .with_max_level(tracing_log::log::LevelFilter::Debug)
        .init()
        .context("a logger for the log crate is installed already")?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let cause = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let cause = cause.unwrap_or("no message");
        tracing::error!(cause, place = location, "a task panicked");
    }));
    Ok(toggle)
}

fn parsed(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{QUIET},{filter}")).context("the log filter does not parse")
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> anyhow::Result<(impl Subscriber + Send + Sync + use<W>, Toggle)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (layer, handle) = tracing_subscriber::reload::Layer::new(parsed(filter)?);
    let apply = Box::new(move |filter| handle.reload(filter).context("the logger is gone"));
    let toggle = Toggle { filter: filter.to_owned(), detail: false, apply };
    Ok((Registry::default().with(lines(format, writer)).with(layer), toggle))
}

fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => Box::new(layer.json().flatten_event(true).with_span_list(false)),
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            Box::new(layer.with_ansi(std::io::stderr().is_terminal()))
        }
    }
}

#[cfg(test)]
#[path = "tests/logs.rs"]
mod tests;
