//! A Grafana dashboard from a compact description in YAML (`deploy/monitoring/dashboards/*.yaml`): what is the same in
//! every panel stands here, once.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

/// What `SEL` in a query becomes, so that none forgets it.
const SELECTOR: &str = r#"job=~"$job", instance=~"$instance""#;
/// The width of a dashboard.
const WIDTH: u32 = 24;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    uid: String,
    title: String,
    description: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    height: u32,
    panels: Vec<Panel>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Stat,
    Timeseries,
    Bargauge,
    StateTimeline,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    description: String,
    unit: String,
    #[serde(default = "timeseries")]
    kind: Kind,
    width: u32,
    #[serde(default)]
    stacked: bool,
    #[serde(default)]
    max: Option<f64>,
    /// Colours and the value from which each holds; the first holds from below.
    #[serde(default)]
    thresholds: Vec<(String, Option<f64>)>,
    queries: Vec<Query>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    legend: String,
}

fn timeseries() -> Kind {
    Kind::Timeseries
}

/// The JSON that Grafana imports.
pub fn from_file(path: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
    let description: Description = serde_yaml_ng::from_str(&text).with_context(|| format!("{path} is no dashboard"))?;
    Ok(serde_json::to_string_pretty(&dashboard(&description))? + "\n")
}

fn dashboard(of: &Description) -> Value {
    json!({
        "uid": of.uid, "title": of.title, "description": of.description, "tags": ["configmapsync"],
        "editable": false, "graphTooltip": 1, "schemaVersion": 39, "version": 1, "timezone": "browser",
        "refresh": "30s", "time": { "from": "now-1h", "to": "now" },
        "annotations": { "list": [] },
        "links": [{
            "title": "ConfigMapSync", "type": "dashboards", "tags": ["configmapsync"], "asDropdown": false,
            "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "url": "",
        }],
        "templating": { "list": [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "current": {}, "hide": 0, "refresh": 1, "regex": "", "multi": false, "includeAll": false,
            },
            variable("job", "Job", "label_values(configmapsync_build_info, job)"),
            variable("instance", "Replica", r#"label_values(configmapsync_build_info{job=~"$job"}, instance)"#),
        ] },
        "panels": panels(&of.rows),
    })
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "definition": query, "query": { "query": query, "refId": "variable" },
        "current": { "text": "All", "value": "$__all" }, "hide": 0, "refresh": 2, "regex": "", "sort": 1,
        "multi": true, "includeAll": true, "allValue": ".*", "options": [],
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Rows one under the other, and in each the panels from left to right, wrapped at the edge.
fn panels(rows: &[Row]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut y = 0;
    for row in rows {
        let position = json!({ "x": 0, "y": y, "w": WIDTH, "h": 1 });
        all.push(json!({
            "id": all.len() + 1, "type": "row", "title": row.title, "collapsed": false, "gridPos": position, "panels": [],
        }));
        y += 1;
        let mut x = 0;
        for one in &row.panels {
            if x + one.width > WIDTH {
                (x, y) = (0, y + row.height);
            }
            let mut panel = panel(one);
            panel["id"] = json!(all.len() + 1);
            panel["gridPos"] = json!({ "x": x, "y": y, "w": one.width, "h": row.height });
            all.push(panel);
            x += one.width;
        }
        y += row.height;
    }
    all
}

fn panel(of: &Panel) -> Value {
    let (name, mut options, custom) = match of.kind {
        Kind::Stat => {
            ("stat", json!({ "colorMode": "background", "graphMode": "area", "justifyMode": "center" }), json!({}))
        }
        Kind::Bargauge => ("bargauge", json!({ "displayMode": "basic", "orientation": "horizontal" }), json!({})),
        Kind::Timeseries => ("timeseries", legend(), lines(of.stacked)),
        Kind::StateTimeline => {
            ("state-timeline", json!({ "showValue": "never", "mergeValues": true }), json!({ "fillOpacity": 80 }))
        }
    };
    if matches!(of.kind, Kind::Stat | Kind::Bargauge) {
        options["reduceOptions"] = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    }
    let coloured =
        if of.thresholds.is_empty() || of.kind == Kind::Timeseries { "palette-classic" } else { "thresholds" };
    let steps = |(color, value): &(String, Option<f64>)| json!({ "color": color, "value": value });
    let steps: Vec<Value> = of.thresholds.iter().map(steps).collect();
    let mut defaults = json!({
        "unit": of.unit, "min": 0, "color": { "mode": coloured }, "custom": custom,
        "thresholds": { "mode": "absolute", "steps": steps },
    });
    if let Some(max) = of.max {
        defaults["max"] = json!(max);
    }
    json!({
        "type": name, "title": of.title, "description": of.description, "datasource": datasource(),
        "fieldConfig": { "defaults": defaults, "overrides": [] }, "options": options, "targets": targets(&of.queries),
    })
}

fn legend() -> Value {
    json!({
        "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"] },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn lines(stacked: bool) -> Value {
    json!({
        "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "showPoints": "never", "spanNulls": false,
        "fillOpacity": if stacked { 40 } else { 8 }, "axisSoftMin": 0,
        "stacking": { "group": "A", "mode": if stacked { "normal" } else { "none" } },
        "thresholdsStyle": { "mode": "off" },
    })
}

fn targets(queries: &[Query]) -> Vec<Value> {
    let target = |(at, query): (usize, &Query)| {
        // Line breaks are for those who read the description.
        let expr = query.expr.split_whitespace().collect::<Vec<_>>().join(" ").replace("SEL", SELECTOR);
        json!({
            "refId": char::from(b'A'.saturating_add(u8::try_from(at).unwrap_or(u8::MAX))).to_string(),
            "datasource": datasource(), "editorMode": "code", "range": true, "expr": expr, "legendFormat": query.legend,
        })
    };
    queries.iter().enumerate().map(target).collect()
}
