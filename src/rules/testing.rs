//! Records for unit tests.

use std::collections::BTreeMap;

use mlua::serde::SerializeOptions;
use mlua::{Lua, LuaSerdeExt as _};
use serde_json::Value;

use crate::rules::object::status::StatusContent;
use crate::rules::record::{ConfigMapMeta, ObjectKey, ObservedStatus, OwnerMark, Spec, Sync, generation};
use crate::rules::uid::{Uid, Version};

pub(crate) fn uid(number: u64) -> Uid {
    Uid::parse(&format!("00000000-0000-0000-8000-{number:012x}")).unwrap()
}

pub(crate) fn object_key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

pub(crate) fn version(number: u64, rv: u64) -> Version {
    Version { uid: uid(number), rv }
}

pub(crate) fn sync(key: &str, number: u64, source: &str, destination: &str) -> Sync {
    Sync {
        key: object_key(key),
        version: version(number, 1),
        generation: 1,
        created: 0,
        deleting: false,
        finalizer: false,
        rare: None,
        spec: Ok(Spec {
            source: object_key(source),
            destination: object_key(destination),
            overwrite: true,
            orphan: false,
            delete_with_source: false,
            require_consent: false,
            suspend: false,
        }),
        status: ObservedStatus::default(),
    }
}

pub(crate) fn meta(number: u64, rv: u64) -> ConfigMapMeta {
    ConfigMapMeta {
        version: version(number, rv),
        mark: None,
        adopted: false,
        foreign_metadata: false,
        controlled: false,
        deleting: false,
        protected: false,
        shaped: false,
        marks_name_it: false,
        seed_adopted: false,
        sharing: None,
    }
}

pub(crate) fn mark(sync: &str, number: Option<u64>, at: Option<u64>) -> OwnerMark {
    OwnerMark { sync: object_key(sync), uid: number.map(uid), source_rv: 0, at: at.map(uid) }
}

/// What a status that says `text` is kept as.
pub(crate) fn observed_status(text: &StatusContent<'_>) -> ObservedStatus {
    ObservedStatus {
        observed_generation: generation(text.observed_generation),
        source: text.source,
        source_namespace: text.source_namespace,
        copy: text.copy,
        source_exists: text.source_exists,
        destination_exists: text.destination_exists,
        retry_count: text.retry_count,
        digest: text.digest(),
        ..ObservedStatus::default()
    }
}

/// What Argo CD makes of an object of this kind, by the rule that is shipped for it.
pub(crate) fn argocd_health(kind: &str, object: &Value) -> String {
    let text = include_str!("../../deploy/argocd/argocd-cm.yaml");
    let rules: Value = serde_yaml_ng::from_str(text).unwrap();
    let rule = rules["data"][format!("resource.customizations.health.apps.kapendra.com_{kind}")].as_str().unwrap();
    let lua = Lua::new();
    // As Argo CD hands it over: what is null is not there.
    let options = SerializeOptions::new().serialize_none_to_null(false).serialize_unit_to_null(false);
    lua.globals().set("obj", lua.to_value_with(object, options).unwrap()).unwrap();
    let health: BTreeMap<String, String> = lua.load(rule).eval().unwrap();
    format!("{}: {}", health["status"], health["message"])
}
