//! An admission webhook in this process, and its configuration in the cluster.

use std::convert::Infallible;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::bed::Bed;
use super::wait::eventually;

/// What the webhook does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It accepts the connection and never answers.
    Never,
    /// It allows the request after this time.
    After(Duration),
    /// It denies the request with these words.
    Denied(String),
}

/// What the API server asks the webhook about.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// CREATE, UPDATE, DELETE.
    pub operations: &'a [&'a str],
    /// Fail or Ignore.
    pub failure_policy: &'a str,
    /// How long the API server waits for an answer.
    pub timeout_seconds: u32,
    /// Only ConfigMaps in namespaces that have this label with the value `yes`.
    pub label: &'a str,
}

/// A webhook for ConfigMaps, in force until it is lifted.
pub struct Webhook<'a> {
    bed: &'a Bed,
    answer: watch::Sender<Answer>,
    task: JoinHandle<()>,
}

const NAME: &str = "webhook";
const IN_FORCE: &str = "the webhook is in force";

impl<'a> Webhook<'a> {
    /// Puts one in force that answers like this. `namespace` is one that the rule holds for; it is tried on.
    pub async fn in_force(bed: &'a Bed, rule: Rule<'_>, namespace: &str, answer: Answer) -> Self {
        let (acceptor, ca_bundle) = tls(bed);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        // A denial is seen at once, whatever the answer will be.
        let (sender, answers) = watch::channel(Answer::Denied(IN_FORCE.to_owned()));
        let task = tokio::spawn(serve(listener, acceptor, answers));
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": NAME },
            "webhooks": [{
                "name": "webhook.example.com",
                "clientConfig": { "url": url, "caBundle": ca_bundle },
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": rule.operations,
                }],
                "failurePolicy": rule.failure_policy,
                "timeoutSeconds": rule.timeout_seconds,
                "namespaceSelector": { "matchLabels": { rule.label: "yes" } },
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        });
        let webhook = Self { bed, answer: sender, task };
        bed.kubectl(&["apply", "-f", "-"], &configuration.to_string()).await.unwrap();
        for operation in rule.operations {
            let maps = Api::<ConfigMap>::namespaced(bed.cluster().client().unwrap(), namespace);
            eventually(format!("the webhook is asked before {operation}"), async || {
                match tried(&maps, operation).await {
                    Err(refusal) if refusal.contains(IN_FORCE) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
        webhook.set(answer);
        webhook
    }

    /// From now on it answers like this.
    pub fn set(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Takes its configuration away. Whoever is asked about still is allowed at once.
    pub async fn lift(self) {
        self.bed.kubectl(&["delete", "validatingwebhookconfiguration", NAME], "").await.unwrap();
        self.set(Answer::After(Duration::ZERO));
        // The API server may go by its old configuration for a moment, so it is served for a moment.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks for an operation that is not carried out. Every namespace has a `kube-root-ca.crt`.
async fn tried(maps: &Api<ConfigMap>, operation: &str) -> Result<(), String> {
    const ROOT: &str = "kube-root-ca.crt";
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let tried = match operation {
        "CREATE" => {
            let probe = serde_json::from_value(json!({ "metadata": { "name": "probe" } })).unwrap();
            maps.create(&dry, &probe).await.map(drop)
        }
        "UPDATE" => {
            let mut root = maps.get(ROOT).await.map_err(|error| error.to_string())?;
            root.metadata.labels.get_or_insert_default().insert("probe".to_owned(), "yes".to_owned());
            maps.replace(ROOT, &dry, &root).await.map(drop)
        }
        "DELETE" => {
            let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
            maps.delete(ROOT, &dry).await.map(drop)
        }
        other => panic!("{other} is no operation that can be tried"),
    };
    tried.map_err(|error| error.to_string())
}

/// The API server's own certificate and key, and the bundle by which the API server trusts them.
fn tls(bed: &Bed) -> (TlsAcceptor, String) {
    let (certificate, key) = bed.cluster().control_plane().unwrap().certificate();
    let ca_bundle = STANDARD.encode(fs::read(&certificate).unwrap());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca_bundle)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answer: watch::Receiver<Answer>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| answered(request, answer.borrow().clone()));
            // The API server ends connections as it likes.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answered(request: Request<Incoming>, answer: Answer) -> Result<Response<Full<Bytes>>, Infallible> {
    let question = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let question: Value = serde_json::from_slice(&question).unwrap_or_default();
    let mut response = json!({ "uid": question["request"]["uid"], "allowed": true });
    match answer {
        Answer::Never => std::future::pending::<()>().await,
        Answer::After(time) => tokio::time::sleep(time).await,
        Answer::Denied(words) => {
            response["allowed"] = json!(false);
            response["status"] = json!({ "message": words });
        }
    }
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Ok(Response::builder()
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(review.to_string())))
        .unwrap())
}
