//! What a copy holds.

use k8s_openapi::ByteString;
use serde_json::json;

use crate::harness::{Case, PREFIX};

#[tokio::test]
async fn a_copy_holds_data_and_binary_data_to_the_byte_and_carries_our_marks_only() {
    let case = Case::shared("bytes").await;
    let data = json!({
        "plain": "v", "empty": "", "Unicode_-.key": "grüße 🎉 \u{2028} \u{7f} \\ \" </script>", "lines": "a\r\nb\n\n\tc \n",
    });
    let binary = json!({ "all": "AAECA/////7/gA==", "none": "" });
    let source = case
        .create(
            &case.src,
            "cm",
            json!({
                "metadata": { "labels": { "app": "x" }, "annotations": { "argocd.argoproj.io/tracking-id": "y" } },
                "data": data, "binaryData": binary,
            }),
        )
        .await;
    let sync = case.sync("s", json!({})).await;
    let status = case.until_ready("s").await;
    let copy = case.copy().await;
    assert_eq!((json!(copy.data), json!(copy.binary_data)), (data, binary));
    assert_eq!(copy.immutable, None);

    let namespace =
        case.kubectl(&["get", "namespace", &case.dst, "--output=jsonpath={.metadata.uid}"], "").await.unwrap();
    let [source_uid, sync_uid] = [&source.metadata, &sync.metadata].map(|meta| meta.uid.clone().unwrap());
    let source_rv = source.metadata.resource_version.clone().unwrap();
    let mark = |name: &str| format!("{PREFIX}{name}");
    assert_eq!(
        json!(copy.metadata.labels),
        json!({
            (mark("sync-name")): "s", (mark("sync-namespace")): case.syncs, (mark("managed-by")): "configmapsync-controller",
        })
    );
    let mut annotations = copy.metadata.annotations.clone().unwrap();
    let hash = annotations.remove(&mark("source-hash")).unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    let written = annotations.remove(&mark("last-sync")).unwrap();
    assert!(written.ends_with('Z') && written.contains('T'), "{written}");
    assert_eq!(
        json!(annotations),
        json!({
            (mark("sync")): format!("{}/s/{sync_uid}", case.syncs),
            (mark("source")): format!("{}/cm/{source_uid}/{source_rv}", case.src),
            (mark("at")): format!("{namespace}/cm"),
            (mark("at-namespace")): case.dst,
        })
    );
    assert_eq!(copy.metadata.owner_references, None);
    let told = status.source.unwrap();
    assert_eq!((told.uid, told.resource_version), (source_uid, source_rv));
    assert_eq!(status.copy.unwrap().uid, copy.metadata.uid.unwrap());
}

#[tokio::test]
async fn one_mebibyte_is_copied_and_changed() {
    let case = Case::shared("mebibyte").await;
    // As much as a ConfigMap may hold, of bytes that do not compress.
    let mut state = 1u32;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(1024 * 1024)
    .collect();
    case.create(&case.src, "cm", json!({ "binaryData": { "blob": ByteString(bytes.clone()) } })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let holds = async || case.copy().await.binary_data.unwrap().remove("blob").unwrap().0;
    assert!(holds().await == bytes, "to the byte");
    bytes[7] ^= 1;
    let source = case.patch(&case.src, "cm", json!({ "binaryData": { "blob": ByteString(bytes.clone()) } })).await;
    let (sync, rv) = ("s", source.metadata.resource_version);
    crate::harness::eventually("the change is told of", async || {
        let told = case.status(sync).await.source.map(|source| source.resource_version);
        if told == rv { Ok(()) } else { Err(format!("{told:?}, not {rv:?}")) }
    })
    .await;
    assert!(holds().await == bytes, "the change to the byte");
}

#[tokio::test]
async fn names_of_253_characters_work() {
    let case = Case::shared("long-names").await;
    let long = |end: &str| {
        format!("{}{end}", "long.name-".repeat(26)[..253 - end.len()].trim_end_matches(['.', '-']).to_owned())
    };
    let pad = |name: String| format!("{}{name}", "x".repeat(253 - name.len()));
    let (source, copy, sync) = (pad(long("source")), pad(long("copy")), pad(long("sync")));
    assert!([&source, &copy, &sync].iter().all(|name| name.len() == 253));
    case.create(&case.src, &source, json!({ "data": { "k": "v" } })).await;
    let made = case.sync(&sync, json!({ "configMapName": source, "destinationName": copy })).await;
    case.until_ready(&sync).await;
    let map = case.until_data(&case.dst, &copy, json!({ "k": "v" })).await;
    let annotations = map.metadata.annotations.unwrap();
    let uid = made.metadata.uid.unwrap();
    assert_eq!(annotations[&format!("{PREFIX}sync")], format!("{}/{sync}/{uid}", case.syncs), "the truth");
    let label = &map.metadata.labels.unwrap()[&format!("{PREFIX}sync-name")];
    let ends = label.as_bytes().last().is_some_and(u8::is_ascii_alphanumeric);
    assert!(label.len() <= 63 && ends && label[..40] == sync[..40], "{label}");
    case.patch(&case.src, &source, json!({ "data": { "k": "w" } })).await;
    case.until_data(&case.dst, &copy, json!({ "k": "w" })).await;
    case.until_ready(&sync).await;
    case.delete_sync(&sync).await;
    case.until_sync_gone(&sync).await;
    assert!(case.get(&case.dst, &copy).await.is_none());
}

#[tokio::test]
async fn what_is_taken_out_of_the_source_goes_from_the_copy() {
    let case = Case::shared("taken-out").await;
    let body = json!({ "data": { "a": "1", "b": "2" }, "binaryData": { "c": "AAE=" } });
    case.create(&case.src, "cm", body).await;
    case.sync("s", json!({})).await;
    case.until_copied(json!({ "a": "1", "b": "2" })).await;
    case.patch(&case.src, "cm", json!({ "data": { "b": null } })).await;
    case.until_copied(json!({ "a": "1" })).await;
    assert_eq!(json!(case.copy().await.binary_data), json!({ "c": "AAE=" }));
    case.patch(&case.src, "cm", json!({ "data": null, "binaryData": null })).await;
    let copy = case.until_copied(json!({})).await;
    assert_eq!(copy.binary_data.unwrap_or_default().len(), 0);
    case.until_ready("s").await;
    // The same key may turn from data into binaryData.
    case.patch(&case.src, "cm", json!({ "data": { "k": "v" } })).await;
    case.until_copied(json!({ "k": "v" })).await;
    case.patch(&case.src, "cm", json!({ "data": null, "binaryData": { "k": "dg==" } })).await;
    let copy = case.until_copied(json!({})).await;
    assert_eq!(json!(copy.binary_data), json!({ "k": "dg==" }));
    case.until_ready("s").await;
}

#[tokio::test]
async fn an_empty_source_makes_an_empty_copy() {
    let case = Case::shared("empty").await;
    case.create(&case.src, "cm", json!({})).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    let copy = case.copy().await;
    assert_eq!((copy.data.unwrap_or_default().len(), copy.binary_data.unwrap_or_default().len()), (0, 0));
    case.patch(&case.src, "cm", json!({ "data": { "k": "v" } })).await;
    case.until_copied(json!({ "k": "v" })).await;
}

#[tokio::test]
async fn of_many_quick_changes_the_last_one_stands() {
    let case = Case::shared("quick-changes").await;
    case.source(json!({ "n": "0" })).await;
    for name in ["a", "b", "c"] {
        case.sync(name, json!({ "destinationName": name })).await;
    }
    for n in 1..=60 {
        case.patch(&case.src, "cm", json!({ "data": { "n": n.to_string() } })).await;
    }
    for name in ["a", "b", "c"] {
        case.until_data(&case.dst, name, json!({ "n": "60" })).await;
        case.until_ready(name).await;
    }
}
