//! What the operator's account asked for and was not allowed, and what of its rights it used.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use serde_json::Value;
use testbed::Cluster;

use super::{ACCOUNT, SYSTEM};

/// How far the audit log of a cluster has come, and which API server writes it. `None` where it is not shown to us.
pub fn audit_now(cluster: &Cluster) -> Option<(u64, u32)> {
    let mark = cluster.audit().ok()?.mark().ok()?;
    let server = cluster.control_plane().ok()?.pid(testbed::Component::ApiServer)?;
    Some((mark.offset(), server))
}

/// The requests of the operator's account that its rights did not cover, since then. An API server that has just been
/// started again does not know anybody's rights for a moment: where that happened, there is no answer.
pub fn refused(cluster: &Cluster, (since, server): (u64, u32)) -> BTreeSet<String> {
    let now = audit_now(cluster).filter(|(_, now)| *now == server);
    let lines = now.map(|_| lines(cluster, since)).unwrap_or_default();
    lines.iter().filter(|line| line["annotations"]["authorization.k8s.io/decision"] == "forbid").map(right).collect()
}

/// The rights that the operator's account used, as `group/resource verb`.
pub fn used(cluster: &Cluster) -> BTreeSet<String> {
    lines(cluster, 0).iter().map(right).collect()
}

fn right(line: &Value) -> String {
    let object = &line["objectRef"];
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let resource = match text("subresource") {
        none if none.is_empty() => text("resource"),
        sub => format!("{}/{sub}", text("resource")),
    };
    format!("{}/{resource} {}", text("apiGroup"), line["verb"].as_str().unwrap_or_default())
}

/// The lines about the operator's account.
fn lines(cluster: &Cluster, since: u64) -> Vec<Value> {
    let account = format!("system:serviceaccount:{SYSTEM}:{ACCOUNT}");
    let mut file = File::open(cluster.audit().unwrap().path()).unwrap();
    file.seek(SeekFrom::Start(since)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains(&account));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}
