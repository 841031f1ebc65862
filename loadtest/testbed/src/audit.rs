//! The API server's audit log: who asked it for what. The measure for what a controller costs.
//!
//! The log is written in blocking mode at level Metadata, before a request is over. A test takes a [`AuditLog::mark`], does
//! something, and counts what came [`AuditLog::since`]. (An answer of many kilobytes may reach its client an instant before
//! its line is written.) Requests for Secrets and health checks are not in it. Of the resources in
//! [`crate::Options::audited_objects`] it has the objects that writes send and are answered, too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the API server writes. Health checks are left out because the test bed itself polls them, and Secrets because no
/// test needs them and a log should not know of them.
pub(crate) fn policy(objects: &[(&str, &str)]) -> String {
    let resource = |(group, resource): &(&str, &str)| json!({ "group": group, "resources": [resource] });
    let mut rules = vec![
        json!({ "level": "None", "resources": [{ "group": "", "resources": ["secrets"] }] }),
        json!({ "level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"] }),
    ];
    if !objects.is_empty() {
        rules.push(json!({
            "level": "RequestResponse", "verbs": WRITES, "omitManagedFields": true,
            "resources": objects.iter().map(resource).collect::<Vec<_>>(),
        }));
    }
    rules.push(json!({ "level": "Metadata" }));
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules,
    });
    policy.to_string()
}

const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// How many bytes are looked at at a time for the end of a line.
const PIECE: u64 = 64 << 10;

/// A place in the log, to read on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// How many bytes come before it.
    pub fn offset(self) -> u64 {
        self.0
    }
}

/// One request to the API server. Each request is one event: a watch when its answer begins, any other when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When the request came in.
    pub time: Timestamp,
    /// From the request's coming in to `stage`.
    pub latency: Duration,
    /// Who asked: a user name such as `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The client's own word about what it is; empty when it says nothing.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; in lower case an HTTP method for what
    /// is not a resource.
    pub verb: String,
    /// The resource's API group; empty for the core group.
    pub group: String,
    /// The resource's plural name; empty for what is not a resource, such as `/version`.
    pub resource: String,
    /// Such as `status`; mostly empty.
    pub subresource: String,
    /// The object's namespace; empty for what has none.
    pub namespace: String,
    /// The object's name; empty for lists and for most creations.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// Path and query.
    pub uri: String,
    /// `ResponseComplete`, `ResponseStarted` for a watch, `Panic`.
    pub stage: String,
    /// What a write sent: an object, a patch or the options of a deletion. Null unless it is kept, see
    /// [`crate::Options::audited_objects`].
    pub sent: Value,
    /// What it was answered; null unless it is kept.
    pub answer: Value,
}

impl AuditEvent {
    /// The beginning of the user agent, up to the first slash or space: the program's name by custom.
    pub fn agent(&self) -> &str {
        self.user_agent.split(['/', ' ']).next().unwrap_or_default()
    }

    /// `resource` or `resource/subresource`; the path for what is not a resource.
    pub fn what(&self) -> String {
        match (self.resource.as_str(), self.subresource.as_str()) {
            ("", _) => self.uri.split('?').next().unwrap_or_default().to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, subresource) => format!("{resource}/{subresource}"),
        }
    }

    /// Whether the request changes something when it is granted.
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }

    fn parse(line: &[u8]) -> anyhow::Result<Option<Self>> {
        let line: Line = serde_json::from_slice(line)?;
        // A watch ends long after it was asked for, or never: what counts is that it began.
        let counted = if line.verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        if line.stage != counted && line.stage != "Panic" {
            return Ok(None);
        }
        let object = line.object_ref.unwrap_or_default();
        Ok(Some(Self {
            time: line.request_received_timestamp,
            latency: line
                .stage_timestamp
                .duration_since(line.request_received_timestamp)
                .try_into()
                .unwrap_or_default(),
            user: line.user.username,
            user_agent: line.user_agent,
            verb: line.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            code: line.response_status.unwrap_or_default().code,
            uri: line.request_uri,
            stage: line.stage,
            sent: line.request_object,
            answer: line.response_object,
        }))
    }
}

/// What [`count`] tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKind {
    /// [`AuditEvent::agent`].
    pub agent: String,
    /// [`AuditEvent::verb`].
    pub verb: String,
    /// [`AuditEvent::what`].
    pub what: String,
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.agent, self.verb, self.what)
    }
}

/// How many requests of each kind there are among these.
pub fn count<'a>(events: impl IntoIterator<Item = &'a AuditEvent>) -> BTreeMap<RequestKind, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let kind = RequestKind { agent: event.agent().to_owned(), verb: event.verb.clone(), what: event.what() };
        *counts.entry(kind).or_insert(0) += 1;
    }
    counts
}

/// The audit log of one control plane; it goes on over restarts of the API server.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file, one JSON object of `audit.k8s.io/v1` a line.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the last whole line of the log ends now: one that is half written comes after the mark.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn mark(&self) -> anyhow::Result<Mark> {
        let mut file = File::open(&self.path).with_context(|| self.unreadable())?;
        let mut end = file.seek(SeekFrom::End(0))?;
        let mut piece = Vec::new();
        while end > 0 {
            let begin = end.saturating_sub(PIECE);
            file.seek(SeekFrom::Start(begin))?;
            piece.clear();
            (&mut file).take(end - begin).read_to_end(&mut piece).with_context(|| self.unreadable())?;
            if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Mark(begin + newline as u64 + 1));
            }
            end = begin;
        }
        Ok(Mark(0))
    }

    /// The requests that came after the mark, in the order of the log.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn since(&self, mark: Mark) -> anyhow::Result<Vec<AuditEvent>> {
        Ok(self.read(mark)?.0)
    }

    /// The requests that came after the mark, and the mark to go on from: for readers that follow a long log.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read(&self, mark: Mark) -> anyhow::Result<(Vec<AuditEvent>, Mark)> {
        let mut file = File::open(&self.path).with_context(|| self.unreadable())?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| self.unreadable())?;
        // The last line may be half written; it is the next reader's.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        let mut events = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event = AuditEvent::parse(line).with_context(|| {
                format!("not an audit event in {}: {}", self.path.display(), String::from_utf8_lossy(line))
            })?;
            events.extend(event);
        }
        Ok((events, Mark(mark.0 + whole as u64)))
    }

    fn unreadable(&self) -> String {
        format!("cannot read the audit log {}", self.path.display())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    #[serde(default)]
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    request_object: Value,
    #[serde(default)]
    response_object: Value,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(verb: &str, stage: &str) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"{stage}",
            "requestURI":"/api/v1/namespaces/a/configmaps/b?timeout=5s","verb":"{verb}","user":{{"username":"me","groups":["g"]}},
            "sourceIPs":["127.0.0.1"],"userAgent":"operator/1.0 (linux)","objectRef":{{"resource":"configmaps","namespace":"a","name":"b",
            "apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z",
            "stageTimestamp":"2026-01-01T00:00:00.250000Z"}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn a_request_is_counted_once() {
        let get = AuditEvent::parse(line("get", "ResponseComplete").as_bytes()).unwrap().unwrap();
        assert_eq!((get.agent(), get.what().as_str(), get.code), ("operator", "configmaps", 200));
        assert_eq!(get.latency, Duration::from_millis(250));
        for (verb, stage) in [("get", "ResponseStarted"), ("watch", "ResponseComplete")] {
            assert_eq!(AuditEvent::parse(line(verb, stage).as_bytes()).unwrap(), None, "{verb} {stage}");
        }
        assert!(AuditEvent::parse(line("watch", "ResponseStarted").as_bytes()).unwrap().is_some());
        let counts = count([&get, &get]);
        assert_eq!(
            counts.into_iter().map(|(kind, n)| format!("{kind}: {n}")).collect::<Vec<_>>(),
            ["operator get configmaps: 2"]
        );
    }

    #[test]
    fn objects_are_kept_where_that_is_asked_for() {
        assert!(!policy(&[]).contains("RequestResponse"));
        let rule = r#""resources":[{"group":"","resources":["configmaps"]}]"#;
        assert!(policy(&[("", "configmaps")]).contains(rule));
        let line =
            line("update", "ResponseComplete").replace(r#""stage""#, r#""requestObject":{"data":{"a":"b"}},"stage""#);
        let update = AuditEvent::parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!((update.sent["data"]["a"].as_str(), update.answer), (Some("b"), Value::Null));
    }

    #[test]
    fn a_mark_is_at_the_end_of_a_whole_line() {
        let directory = std::env::temp_dir().join(format!("testbed-audit-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let log = AuditLog::new(directory.join("audit.log"));
        let line = line("get", "ResponseComplete");
        let half = "x".repeat(2 * PIECE as usize);
        for (text, end) in
            [("half".to_owned(), 0), (format!("{line}\n"), line.len() + 1), (format!("{line}\n{half}"), line.len() + 1)]
        {
            fs::write(log.path(), text).unwrap();
            assert_eq!(log.mark().unwrap(), Mark(end as u64));
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
