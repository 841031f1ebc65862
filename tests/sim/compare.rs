//! The model of the API server against the real one: one script of requests, put to both. What is compared is all that
//! the operator goes by: status codes, reasons, what details name, the objects, and whether versions and UIDs moved.

use std::collections::BTreeMap;

use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use testbed::{Cluster, Options};

use crate::script::{Step, script};
use crate::server::{Outcome, Server};

/// Who answers.
enum Side {
    Model(Box<Server>),
    Real(kube::Client),
}

impl Side {
    async fn send(&mut self, request: Request<Vec<u8>>) -> (u16, String) {
        match self {
            Self::Model(server) => match server.handle(&request) {
                Outcome::Answered(answer, _) => (answer.code, answer.body.to_string()),
                Outcome::Watching(watch) => {
                    (200, watch.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
                }
            },
            Self::Real(client) => {
                let answer = client.send(request.map(Body::from)).await.unwrap();
                let code = answer.status().as_u16();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (code, String::from_utf8_lossy(&body).into_owned())
            }
        }
    }
}

/// What was answered so far, so that later requests can name its UIDs and versions.
#[derive(Default)]
struct Memory {
    objects: BTreeMap<String, Value>,
    uids: Vec<String>,
    versions: BTreeMap<String, u64>,
}

impl Memory {
    /// Texts such as `$cm.uid`, `$cm.rv` are replaced.
    fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix('$').and_then(|text| text.split_once('.')) {
                Some((name, "uid")) => self.objects[name]["metadata"]["uid"].clone(),
                Some((name, "rv")) => self.objects[name]["metadata"]["resourceVersion"].clone(),
                _ => value.clone(),
            },
            Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect(),
            Value::Array(values) => values.iter().map(|value| self.fill(value)).collect(),
            _ => value.clone(),
        }
    }

    /// What an answer says, without what differs from server to server.
    fn redact(&mut self, code: u16, body: &str) -> Value {
        let lines: Vec<Value> = body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let all = match serde_json::from_str::<Value>(body) {
            Ok(one) => vec![one],
            Err(_) => lines,
        };
        let said: Vec<Value> = all.iter().map(|one| self.redact_one(one)).collect();
        json!({"code": code, "said": said})
    }

    fn redact_one(&mut self, body: &Value) -> Value {
        if let Some(kind) = body["type"].as_str().filter(|_| body["object"].is_object()) {
            return json!({"type": kind, "object": self.redact_one(&body["object"])});
        }
        if let Some(items) = body["items"].as_array() {
            let items: Vec<Value> = items.iter().map(|item| self.redact_one(item)).collect();
            let more = body["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty());
            return json!({"kind": body["kind"], "items": items, "more": more});
        }
        if body["kind"] == "Status" {
            let details = &body["details"];
            let causes: Vec<&Value> =
                details["causes"].as_array().into_iter().flatten().map(|it| &it["reason"]).collect();
            let terminating = causes.iter().any(|cause| *cause == "NamespaceTerminating");
            return json!({"status": body["status"], "reason": body["reason"], "code": body["code"],
                "name": details["name"], "kind": details["kind"], "group": details["group"],
                "terminating": terminating, "uid": self.uid(&details["uid"])});
        }
        let mut object = body.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in ["managedFields", "selfLink", "creationTimestamp", "deletionGracePeriodSeconds"] {
            metadata.remove(field);
        }
        // A namespace is labelled with its name by the server.
        if body["kind"] == "Namespace" {
            metadata.remove("labels");
            object.as_object_mut().unwrap().remove("spec");
        }
        let metadata = &mut object["metadata"];
        if metadata["deletionTimestamp"].is_string() {
            metadata["deletionTimestamp"] = json!("set");
        }
        metadata["resourceVersion"] = self.version(&body["metadata"]);
        metadata["uid"] = self.uid(&body["metadata"]["uid"]);
        object["metadata"] = metadata
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        object
    }

    fn uid(&mut self, uid: &Value) -> Value {
        let Some(uid) = uid.as_str() else { return Value::Null };
        let at = self.uids.iter().position(|known| known == uid).unwrap_or_else(|| {
            self.uids.push(uid.to_owned());
            self.uids.len() - 1
        });
        json!(format!("uid {at}"))
    }

    /// How this version of an object compares with the last one that was seen of it.
    fn version(&mut self, metadata: &Value) -> Value {
        let (Some(uid), Some(version)) = (metadata["uid"].as_str(), metadata["resourceVersion"].as_str()) else {
            return json!(metadata["resourceVersion"].is_string());
        };
        let version: u64 = version.parse().unwrap();
        match self.versions.insert(uid.to_owned(), version) {
            None => json!("first"),
            Some(before) if before == version => json!("same"),
            Some(before) if before < version => json!("newer"),
            Some(_) => json!("older"),
        }
    }
}

async fn run(side: &mut Side, steps: &[Step]) -> Vec<(String, Value)> {
    let mut memory = Memory::default();
    let mut told = Vec::new();
    for step in steps {
        let mut path = step.path.clone();
        for name in memory.objects.keys() {
            let version = memory.objects[name]["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            path = path.replace(&format!("${name}.rv"), version);
        }
        let body = if step.body.is_null() { Vec::new() } else { memory.fill(&step.body).to_string().into_bytes() };
        let mut request = Request::builder().method(step.method.clone()).uri(path).header("content-type", step.content);
        if let Some(accept) = step.accept {
            request = request.header("accept", accept);
        }
        let (code, answer) = side.send(request.body(body).unwrap()).await;
        if let Some(name) = step.keep {
            memory.objects.insert(name.to_owned(), serde_json::from_str(&answer).unwrap());
        }
        let said = memory.redact(code, &answer);
        if step.compared {
            told.push((format!("{} {} ({})", step.method, step.path, step.what), said));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_answers_as_a_real_api_server() {
    let cluster = Cluster::connect_or_start(Options::default()).await.unwrap();
    let kubectl = |args: &[&str]| {
        let output = cluster.kubectl().args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/configmapsyncs.apps.kapendra.com.yaml"]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd/configmapsyncs.apps.kapendra.com"]);
    let steps = script(&format!("sim-{:x}", std::process::id()));
    let real = run(&mut Side::Real(cluster.client().unwrap()), &steps).await;
    let model = run(&mut Side::Model(Box::new(Server::new(1))), &steps).await;
    let mut differ = 0;
    for ((step, real), (_, model)) in real.iter().zip(&model) {
        if real != model {
            differ += 1;
            eprintln!("{step}\n  real:  {real}\n  model: {model}");
        }
    }
    eprintln!("{} answers compared", real.len());
    assert_eq!(differ, 0, "the model answers otherwise than the real API server");
}
