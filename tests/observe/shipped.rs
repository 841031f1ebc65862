//! The files as they are shipped.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// A panel's query.
#[derive(Clone, Debug)]
pub struct Query {
    pub dashboard: &'static str,
    pub panel: String,
    pub expr: String,
}

/// A file of the repository.
pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub const DASHBOARDS: [&str; 2] = ["operations", "sharding"];

pub fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("deploy/monitoring/dashboards/{name}.json"))).unwrap()
}

/// The panels of a dashboard, without its rows.
pub fn panels(dashboard: &Value) -> Vec<Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

/// All queries of all panels.
pub fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    for name in DASHBOARDS {
        for panel in panels(&dashboard(name)) {
            for target in panel["targets"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                all.push(Query { dashboard: name, panel: text(&panel["title"]), expr: text(&target["expr"]) });
            }
        }
    }
    all
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// An alert rule.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    #[serde(rename = "alert")]
    pub name: String,
    pub expr: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub annotations: std::collections::BTreeMap<String, String>,
}

pub const RULES: &str = "deploy/monitoring/rules.yaml";

pub fn alerts() -> Vec<Alert> {
    let groups: Groups = serde_yaml_ng::from_str(&read(RULES)).unwrap();
    groups.groups.into_iter().flat_map(|group| group.rules).collect()
}
