//! One object with many copies. The namespaces that it selects lose their label now and then, and get it back.

use std::collections::{BTreeMap, BTreeSet};

use configmapsync_operator::api::clusterconfigmapsync::ClusterConfigMapSync;
use configmapsync_operator::api::names::ANNOTATION_SYNC;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::copies::Place;
use crate::objects;

/// The name of the object, of its source and of its copies.
pub const MANY: &str = "many";
/// How many namespaces there are for its copies.
pub const NAMESPACES: usize = 48;
const LABEL: (&str, &str) = ("chaos.kapendra.com/many", "yes");

/// The object; its source stands in the namespace `home`.
pub fn object(home: &str) -> ClusterConfigMapSync {
    objects::cluster_sync(MANY, (home, MANY), MANY, LABEL)
}

/// The namespaces for its copies, all with the label.
pub fn namespaces(owner: &str) -> impl Iterator<Item = Namespace> {
    (0..NAMESPACES).map(move |number| {
        let mut namespace = objects::namespace(&namespace(number), owner);
        namespace.labels_mut().insert(LABEL.0.to_owned(), LABEL.1.to_owned());
        namespace
    })
}

/// The place of a copy.
pub fn place(number: usize) -> Place {
    (namespace(number), MANY.to_owned())
}

fn namespace(number: usize) -> String {
    format!("many-{}", number % NAMESPACES)
}

/// Gives a namespace the label, or takes it off.
///
/// # Errors
/// When the API server refuses.
pub async fn label(client: &Client, number: usize, selected: bool) -> kube::Result<()> {
    let patch = Patch::Merge(json!({ "metadata": { "labels": { LABEL.0: selected.then_some(LABEL.1) } } }));
    let api = Api::<Namespace>::all(client.clone());
    api.patch_metadata(&namespace(number), &PatchParams::default(), &patch).await.map(drop)
}

/// Whether this is one of the namespaces for copies, and whether it has the label.
pub fn is_selected(name: &str, metadata: &Value) -> Option<bool> {
    let number: usize = name.strip_prefix("many-")?.parse().ok()?;
    (number < NAMESPACES).then(|| metadata["labels"][LABEL.0] == LABEL.1)
}

/// What is not as it should be, and the places where copies are wanted.
pub fn missing(
    object: &ClusterConfigMapSync,
    namespaces: &[Namespace],
    source: Option<&ConfigMap>,
    copies: &BTreeMap<Place, &ConfigMap>,
) -> (Vec<String>, BTreeSet<Place>) {
    let selected = namespaces.iter().filter(|it| it.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1));
    let wanted: BTreeSet<Place> = selected.map(|namespace| (namespace.name_any(), MANY.to_owned())).collect();
    let mark = format!("/{MANY}/{}", object.uid().unwrap_or_default());
    let in_order = |place: &&Place| {
        let copy = copies.get(*place);
        copy.is_some_and(|copy| {
            copy.annotations().get(ANNOTATION_SYNC) == Some(&mark)
                && source.is_some_and(|source| copy.data == source.data)
        })
    };
    let mut missing: Vec<String> = wanted
        .iter()
        .filter(|place| !in_order(place))
        .map(|(namespace, name)| format!("{namespace}/{name} is not in order"))
        .collect();
    let version = source.and_then(|source| source.metadata.resource_version.as_ref()?.parse::<u64>().ok());
    let all =
        objects::Told { version: version.unwrap_or_default(), copies: format!("{0}/{0}", wanted.len()), ready: true };
    let told = objects::told(object);
    if told.as_ref() != Some(&all) {
        missing.push(format!("the object says {told:?}, not {all:?}"));
    }
    (missing, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_when_each_selected_namespace_has_its_copy_and_the_object_says_so() {
        let mut object = object("home");
        object.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
        object.status = serde_json::from_value(json!({
            "copies": "2/2",
            "source": { "uid": "x", "resourceVersion": "7" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "AllCopiesInOrder", "message": "",
                             "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        }))
        .unwrap();
        let mut namespaces: Vec<Namespace> = namespaces("test").take(3).collect();
        namespaces[2].labels_mut().clear();
        let content = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
        let mut source = objects::config_map("home", MANY, content.clone());
        source.metadata.resource_version = Some("7".to_owned());
        let mut copy = objects::config_map("", MANY, content);
        let mark = "/many/11111111-2222-3333-4444-555555555555".to_owned();
        copy.annotations_mut().insert(ANNOTATION_SYNC.to_owned(), mark);
        let missing_with = |object: &ClusterConfigMapSync, places: &[usize]| {
            let copies = places.iter().map(|number| (place(*number), &copy)).collect();
            missing(object, &namespaces, Some(&source), &copies).0.len()
        };
        assert_eq!(missing_with(&object, &[0, 1]), 0);
        assert_eq!(missing_with(&object, &[0]), 1);
        object.status.as_mut().unwrap().copies = "3/3".to_owned();
        assert_eq!(missing_with(&object, &[0, 1]), 1);
    }

    #[test]
    fn a_label_tells_who_is_selected() {
        let labelled = json!({ "labels": { LABEL.0: LABEL.1 } });
        assert_eq!(is_selected("many-7", &labelled), Some(true));
        assert_eq!(is_selected("many-7", &Value::Null), Some(false));
        assert_eq!(is_selected("chaos-7", &labelled), None);
    }
}
