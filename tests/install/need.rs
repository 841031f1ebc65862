//! Something that the operator needs is missing when it starts: it says what and the command that mends it, lives on,
//! and goes on by itself. (Its definition and its rights: `tests/it/need.rs`.)

use testbed::Component;

use crate::harness::{ACCOUNT, Bed, Case, Operator, SYSTEM, eventually};

/// Waits for a line of the log, and finds the process alive.
async fn until_said(operator: &Operator, words: &[&str]) {
    operator.until_said(words).await;
    operator.get("/healthz").await.unwrap();
    assert!(operator.is_running());
}

async fn works(bed: &Bed, operator: &Operator, name: &str) {
    Case::on(bed, name).await.expecting_refusals().until_a_sync_works().await;
    assert!(operator.is_running());
}

#[tokio::test]
async fn without_an_api_server_it_says_so_and_goes_on_when_one_answers() {
    let Some(bed) = Bed::own("without_an_api_server_it_says_so").await else { return };
    let control_plane = bed.cluster().control_plane().unwrap();
    let kubeconfig = bed.cluster().service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
    control_plane.stop(Component::ApiServer).unwrap();
    let operator = Operator::launch(&kubeconfig, bed.cluster().dir(), "no-server", &[]).await;
    until_said(&operator, &["WARN", "the API server does not answer", "Connection refused", "kubectl cluster-info"])
        .await;
    let ready = operator.get("/readyz").await.unwrap_err();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("kubectl cluster-info"), "{ready}");
    control_plane.start_again(Component::ApiServer).await.unwrap();
    eventually("it is ready", async || operator.get("/readyz").await).await;
    works(&bed, &operator, "no-server").await;
}

#[tokio::test]
async fn without_the_namespace_of_its_leases_it_says_so_and_goes_on_when_it_is_created() {
    let Some(bed) = Bed::own("without_the_namespace_of_its_leases").await else { return };
    // As `make run` does it: with an account that is not in that namespace.
    let flags = ["--lease-namespace=not-there"];
    let operator = Operator::launch(bed.cluster().kubeconfig(), bed.cluster().dir(), "no-namespace", &flags).await;
    let command = "kubectl create namespace not-there";
    until_said(&operator, &["WARN", "requests to Leases fail", command]).await;
    let ready = operator.get("/readyz").await.unwrap_err();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(command), "{ready}");
    bed.kubectl(&["create", "namespace", "not-there"], "").await.unwrap();
    eventually("it holds all shards", async || match operator.metric("configmapsync_shards_held", &[]).await {
        64.0 => Ok(()),
        held => Err(held.to_string()),
    })
    .await;
    eventually("it is ready", async || operator.get("/readyz").await).await;
    works(&bed, &operator, "no-namespace").await;
}
