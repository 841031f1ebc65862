//! The operator's definition or some of its rights are missing: it says which and the command that mends it, lives on
//! without a line every moment, and goes on by itself. (Its API server, its namespace: `tests/install/need.rs`.)

use serde_json::{Value, json};
use testbed::AuditEvent;
use testbed::process::Signal;

use crate::harness::{ACCOUNT, Bed, Case, Operator, SYSTEM, eventually, seconds};

/// Waits until `/readyz` answers 503 with all these words, and the log says them.
async fn until_in_need(operator: &Operator, words: &[&str]) {
    eventually(format!("/readyz answers 503 and says {words:?}"), async || match operator.get("/readyz").await {
        Err(answer) if answer.starts_with("HTTP/1.1 503") && words.iter().all(|word| answer.contains(word)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    operator.get("/healthz").await.unwrap();
    operator.until_said(words).await;
}

/// What is the matter is told once and not again and again, and the server is not overrun.
async fn is_silent(bed: &Bed, operator: &Operator) {
    let is_noise = |line: &String| line.contains(r#""WARN""#) || line.contains(r#""ERROR""#);
    let lines = || operator.said(&[]).into_iter().filter(is_noise).collect::<Vec<_>>();
    let (before, mark) = (lines().len(), bed.cluster().audit().unwrap().mark().unwrap());
    tokio::time::sleep(seconds(5)).await;
    let said = &lines()[before..];
    let events = bed.cluster().audit().unwrap().since(mark).unwrap();
    // A renewal is tried again as often as its lease needs.
    let is_refused = |event: &&AuditEvent| {
        event.agent() == "configmapsync-operator" && event.code >= 400 && event.resource != "leases"
    };
    let refused: Vec<_> =
        events.iter().filter(is_refused).map(|event| (&event.verb, event.what(), &event.name)).collect();
    assert!(said.len() <= 5, "{} lines in five seconds: {said:#?}", said.len());
    // Four streams, each about once a second at the most.
    assert!(refused.len() <= 20, "{} requests in five seconds are refused: {refused:?}", refused.len());
}

async fn until_ready(operator: &Operator) {
    eventually("it is ready", async || operator.get("/readyz").await).await;
}

#[tokio::test]
async fn without_its_definition_it_says_so_and_goes_on_when_that_is_applied() {
    let Some(bed) = Bed::own("without_its_definition_it_says_so").await else { return };
    bed.kubectl(&["delete", "crd", "configmapsyncs.apps.kapendra.com"], "").await.unwrap();
    let operator = bed.operator_in_need("no-crd").await;
    let words = ["CustomResourceDefinition", "configmapsyncs.apps.kapendra.com", "kubectl apply -f crds/"];
    until_in_need(&operator, &words).await;
    is_silent(&bed, &operator).await;
    bed.install(|_| {}).await;
    until_ready(&operator).await;
    Case::on(&bed, "no-crd").await.until_a_sync_works().await;
}

#[tokio::test]
async fn without_its_rights_it_says_which_and_goes_on_when_they_are_granted() {
    let Some(bed) = Bed::own("without_its_rights_it_says_which").await else { return };
    let binding = "clusterrolebinding/configmapsync-controller-manager";
    bed.kubectl(&["delete", binding], "").await.unwrap();
    let operator = bed.operator_in_need("no-rights").await;
    let words = ["cannot list resource", "configmapsyncs", "kubectl apply -f deploy/install.yaml"];
    until_in_need(&operator, &words).await;
    is_silent(&bed, &operator).await;
    bed.install(|_| {}).await;
    until_ready(&operator).await;
    Case::on(&bed, "no-rights").await.until_a_sync_works().await;
}

/// Takes one verb out of the shipped roles, and waits until it is gone.
async fn take(bed: &Bed, resource: &str, verb: &str) {
    bed.install(|document| {
        let Some(rules) = document.get_mut("rules").and_then(Value::as_array_mut) else { return };
        for rule in rules.iter_mut() {
            if rule["resources"].as_array().is_some_and(|resources| resources.contains(&Value::from(resource))) {
                rule["verbs"].as_array_mut().unwrap().retain(|granted| granted != verb);
            }
        }
        rules.retain(|rule| rule["verbs"] != json!([]));
    })
    .await;
    let (name, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let name = match name {
        "configmapsyncs" => "configmapsyncs.apps.kapendra.com",
        "leases" => "leases.coordination.k8s.io",
        "events" => "events.events.k8s.io",
        "customresourcedefinitions" => {
            "customresourcedefinitions.apiextensions.k8s.io/configmapsyncs.apps.kapendra.com"
        }
        other => other,
    };
    let (account, sub) = (format!("--as=system:serviceaccount:{SYSTEM}:{ACCOUNT}"), format!("--subresource={sub}"));
    eventually(format!("it may not {verb} {resource}"), async || {
        match bed.kubectl(&["auth", "can-i", verb, name, &sub, &account, "--namespace", SYSTEM], "").await {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer),
        }
    })
    .await;
}

#[tokio::test]
async fn without_one_of_its_streams_it_says_which_right_is_missing() {
    let Some(bed) = Bed::own("without_one_of_its_streams").await else { return };
    for resource in ["configmapsyncs", "configmaps", "namespaces", "leases"] {
        for verb in ["list", "watch"] {
            take(&bed, resource, verb).await;
            let operator = bed.operator_in_need(&format!("{verb}-{resource}")).await;
            let may_not = format!("cannot {verb} resource");
            until_in_need(&operator, &[&may_not, resource, "kubectl apply -f deploy/install.yaml"]).await;
            is_silent(&bed, &operator).await;
            bed.install(|_| {}).await;
            until_ready(&operator).await;
        }
    }
}

/// Does what makes the operator use a right.
async fn provoke(case: &Case<'_>, operator: &Operator, resource: &str, verb: &str) {
    let name = format!("{verb}-{}", resource.replace('/', "-"));
    match (resource, verb) {
        ("leases", _) => {}
        ("configmaps", "get" | "update") => {
            case.patch(&case.src, "cm", json!({ "data": { "k": verb } })).await;
        }
        ("namespaces", _) => drop(case.sync(&name, json!({ "destinationNamespace": case.name("none") })).await),
        ("configmaps", "delete") => {
            case.sync(&name, json!({ "destinationName": name })).await;
            case.until_ready(&name).await;
            case.delete_sync(&name).await;
        }
        // Torn away from its finalizer before the operator sees it, it is asked for before its copy is swept.
        ("configmapsyncs", "get") | ("customresourcedefinitions", _) => {
            case.sync(&name, json!({ "destinationName": name })).await;
            case.until_ready(&name).await;
            operator.signal(Signal::Stop);
            case.patch_sync(&name, json!({ "metadata": { "finalizers": null } })).await;
            case.delete_sync(&name).await;
            operator.signal(Signal::Cont);
        }
        _ => drop(case.sync(&name, json!({ "destinationName": name })).await),
    }
}

#[tokio::test]
async fn without_a_right_that_it_uses_now_and_then_it_says_which_one() {
    let Some(bed) = Bed::own("without_a_right_that_it_uses_now_and_then").await else { return };
    let case = Case::on(&bed, "rights-gone").await.expecting_refusals();
    let operator = bed.holder("rights-gone").await;
    case.until_a_sync_works().await;
    let rights = [
        ("configmaps", "get"),
        ("configmaps", "create"),
        ("configmaps", "update"),
        ("configmaps", "delete"),
        ("configmapsyncs", "get"),
        ("configmapsyncs", "patch"),
        ("configmapsyncs/status", "update"),
        ("customresourcedefinitions", "get"),
        ("events", "create"),
        ("namespaces", "get"),
        ("leases", "update"),
        ("leases", "create"),
    ];
    for (number, (resource, verb)) in rights.into_iter().enumerate() {
        take(&bed, resource, verb).await;
        if (resource, verb) == ("leases", "create") {
            // A session that is deleted is begun anew.
            bed.kubectl(&["delete", "leases", "--all", "--namespace", SYSTEM], "").await.unwrap();
        }
        provoke(&case, &operator, resource, verb).await;
        let may_not = format!("cannot {verb} resource");
        operator.until_said(&["WARN", &may_not, resource, "kubectl apply -f deploy/install.yaml"]).await;
        if resource == "leases" {
            until_in_need(&operator, &[&may_not, resource]).await;
        }
        is_silent(&bed, &operator).await;
        bed.install(|_| {}).await;
        until_ready(&operator).await;
        // It goes on: at the latest when something changes.
        let number = json!({ "k": number.to_string() });
        case.patch(&case.src, "cm", json!({ "data": number })).await;
        case.until_copied(number).await;
        case.until_ready("s").await;
    }
    for name in ["create-configmaps", "patch-configmapsyncs", "update-configmapsyncs-status", "create-events"] {
        case.until_ready(name).await;
    }
    assert!(operator.is_running());
}

#[tokio::test]
async fn with_credentials_that_are_not_accepted_it_says_so_and_goes_on_when_they_are_renewed() {
    let Some(bed) = Bed::own("with_credentials_that_are_not_accepted").await else { return };
    let right = bed.cluster().service_account_kubeconfig(SYSTEM, ACCOUNT).await.unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(right).unwrap()).unwrap();
    let user = config["users"][0]["user"].as_object_mut().unwrap();
    let token = user.remove("token").expect("it has a token");
    // A file, as in a Pod: it is read again every minute.
    let file = bed.cluster().dir().join("token");
    std::fs::write(&file, "expired").unwrap();
    user.insert("tokenFile".to_owned(), json!(file));
    let kubeconfig = bed.cluster().dir().join("token.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let operator = Operator::launch(&kubeconfig, bed.cluster().dir(), "expired", &[]).await;
    until_in_need(&operator, &["does not accept our credentials", "Unauthorized", "kubectl rollout restart"]).await;
    is_silent(&bed, &operator).await;
    std::fs::write(&file, token.as_str().unwrap()).unwrap();
    let begun = std::time::Instant::now();
    while operator.get("/readyz").await.is_err() && begun.elapsed() < seconds(180) {
        tokio::time::sleep(seconds(1)).await;
    }
    until_ready(&operator).await;
    Case::on(&bed, "expired").await.until_a_sync_works().await;
}
