//! Tests of `logs.rs`.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: LogFormat, filter: &str, say: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    let (subscriber, _) = subscriber(format, filter, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, say);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_has_the_fields_beside_the_message_and_a_time_in_rfc_3339() {
    let text = written(LogFormat::Json, "info", || {
        tracing::warn!(namespace = "default", name = "my-sync", shard = 7, cause = "no \"quorum\"", "copy not written");
    });
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["message"], "copy not written");
    assert_eq!(line["level"], "WARN");
    assert_eq!((&line["namespace"], &line["name"], &line["shard"]), (&"default".into(), &"my-sync".into(), &7.into()));
    assert_eq!(line["cause"], "no \"quorum\"");
    line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn libraries_are_quiet_unless_they_are_named() {
    let say = || {
        tracing::info!(target: "kube_runtime::watcher", "chatter");
        tracing::info!(target: "configmapsync_operator::run", "news");
    };
    let text = written(LogFormat::Text, "info", say);
    assert!(text.contains("news") && !text.contains("chatter"), "{text}");
    let text = written(LogFormat::Text, "info,kube_runtime=info", say);
    assert!(text.contains("chatter"), "{text}");
    assert_eq!(written(LogFormat::Text, "off", say), "");
}

#[test]
fn the_toggle_shows_details_and_hides_them_again() {
    let page = Page::default();
    let writer = page.clone();
    let (subscriber, mut toggle) = subscriber(LogFormat::Text, "off", move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let say = |what| tracing::debug!(target: "configmapsync_operator::run", what);
        say("first");
        toggle.turn().unwrap();
        say("second");
        tracing::debug!(target: "kube_runtime::watcher", "chatter");
        toggle.turn().unwrap();
        say("third");
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("second") && text.contains("changes back"), "{text}");
    for hidden in ["first", "third", "chatter"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}
