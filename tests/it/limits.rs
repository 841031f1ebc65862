//! What is too large for the API server.

use serde_json::json;

use crate::harness::{Bed, Case, eventually, seconds};

#[tokio::test]
async fn a_copy_that_would_be_too_large_fails_with_the_servers_words_and_heals_by_itself() {
    let Some(bed) = Bed::own("a_copy_that_would_be_too_large").await else { return };
    let case = Case::on(&bed, "large").await;
    let _operator = bed.holder("large").await;
    case.source(json!({ "k": "v" })).await;
    // 256 KiB of annotations are allowed in all: nothing is left for ours.
    let note = "x".repeat(256 * 1024 - 20);
    let body = json!({ "metadata": { "annotations": { "note": note } }, "data": { "old": "v" } });
    case.create(&case.dst, "cm", body).await;
    let mark = case.mark().unwrap();
    case.sync("s", json!({})).await;
    let status = eventually("the status tells of it", async || {
        let status = case.status("s").await;
        if status.message.contains("annotations") { Ok(status) } else { Err(serde_json::to_string(&status).unwrap()) }
    })
    .await;
    assert_eq!((status.sync_status.as_str(), status.retry_count), ("Failed", 1));
    tokio::time::sleep(seconds(10)).await;
    let counts = case.requests(mark);
    assert!(counts.get("update configmaps").is_none_or(|writes| *writes <= 3), "{counts:?}");
    assert_eq!(json!(case.copy().await.data), json!({ "old": "v" }));

    case.patch(&case.dst, "cm", json!({ "metadata": { "annotations": { "note": null } } })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.until_ready("s").await;
}

#[tokio::test]
async fn a_source_of_the_largest_size_is_copied_with_what_others_put_on_the_copy() {
    let Some(bed) = Bed::own("a_source_of_the_largest_size").await else { return };
    let case = Case::on(&bed, "largest").await;
    let _operator = bed.holder("largest").await;
    let content = |letter: &str| json!({ "k": letter.repeat(1024 * 1024 - 1) });
    case.source(content("a")).await;
    let body = json!({ "metadata": { "annotations": { "note": "x".repeat(200 * 1024) } } });
    case.create(&case.dst, "cm", body).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    case.patch(&case.src, "cm", json!({ "data": content("b") })).await;
    eventually("the new content is there, and the annotation", async || {
        let copy = case.copy().await;
        let (data, notes) = (json!(copy.data), copy.metadata.annotations.unwrap_or_default());
        if data == content("b") && notes["note"].len() == 200 * 1024 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    case.until_ready("s").await;
}
