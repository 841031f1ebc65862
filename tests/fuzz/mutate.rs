//! Changes to inputs: as bytes, and as JSON with what hostile people write.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

/// What people put where a word is wanted.
const WORDS: &[&str] = &[
    "",
    "#",
    "..",
    ".",
    "/",
    "//",
    "?limit=500",
    "x?limit=500",
    "..%2f..%2f..",
    "-",
    "a-",
    "A",
    "a.b",
    "a..b",
    "a/b",
    "é",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "true",
    "null",
    "0",
    "-1",
    "7",
    "18446744073709551615",
    "18446744073709551616",
    "True",
    "False",
    "Unknown",
    "Ready",
    "Synced",
    "Stalled",
    "SourceAvailable",
    "ChangedByAdmission",
    "Success",
    "Delete",
    "Orphan",
    "Overwrite",
    "Fail",
    "Keep",
    "delete",
    "kube-root-ca.crt",
    "kube-system",
    "cm",
    "n",
    "x/y",
    "live",
    "leaving",
    "ended",
    "namespaces",
    "AlreadyExists",
    "NamespaceTerminating",
    "configmapsync-controller",
    "configmapsync-shard-07",
    "configmapsync-shard-64",
    "configmapsync-session-a-1",
    "3fe4c69f.kapendra.com",
    "configmapsync.apps.kapendra.com/finalizer",
    "configmapsync.apps.kapendra.com/",
    "11111111-2222-3333-4444-555555555555",
    "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE",
    "00000000-0000-0000-0000-000000000000",
    "a/s/11111111-2222-3333-4444-555555555555",
    "a//11111111-2222-3333-4444-555555555555",
    "a/../11111111-2222-3333-4444-555555555555",
    "a/s?x/11111111-2222-3333-4444-555555555555",
    "a/s/11111111-2222-3333-4444-555555555555/1",
    "11111111-2222-3333-4444-555555555555/cm",
    "a/cm/11111111-2222-3333-4444-555555555555/42",
    "1969-12-31T23:59:59Z",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.123456789Z",
    "2026-01-01T00:00:00+14:00",
    "2106-02-07T06:28:16Z",
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "0000-01-01T00:00:00Z",
    "label:team,label:app,annotation:note",
    "*.crt",
    "AA==",
    "AB==",
    "!",
];

/// Keys that mean something somewhere.
const KEYS: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
    "controller",
    "labels",
    "annotations",
    "sourceNamespace",
    "destinationNamespace",
    "configMapName",
    "destinationName",
    "conflictPolicy",
    "deletionPolicy",
    "sourceMissingPolicy",
    "suspend",
    "keys",
    "include",
    "exclude",
    "rename",
    "from",
    "to",
    "copyLabels",
    "copyAnnotations",
    "configmapsync.apps.kapendra.com/shaped",
    "lastSyncTime",
    "syncStatus",
    "message",
    "sourceExists",
    "destinationExists",
    "retryCount",
    "observedGeneration",
    "source",
    "copy",
    "lastHandledRequest",
    "conditions",
    "type",
    "reason",
    "lastTransitionTime",
    "data",
    "binaryData",
    "immutable",
    "holderIdentity",
    "leaseDurationSeconds",
    "renewTime",
    "code",
    "details",
    "kind",
    "causes",
    "retryAfterSeconds",
    "managedFields",
    "example.com/theirs",
    "",
    "configmapsync.apps.kapendra.com/sync",
    "configmapsync.apps.kapendra.com/source",
    "configmapsync.apps.kapendra.com/at",
    "configmapsync.apps.kapendra.com/at-namespace",
    "configmapsync.apps.kapendra.com/adopted",
    "configmapsync.apps.kapendra.com/source-hash",
    "configmapsync.apps.kapendra.com/sync-name",
    "configmapsync.apps.kapendra.com/sync-namespace",
    "configmapsync.apps.kapendra.com/managed-by",
    "configmapsync.apps.kapendra.com/requested-at",
    "configmapsync.apps.kapendra.com/phase",
    "configmapsync.apps.kapendra.com/renewal",
    "configmapsync.apps.kapendra.com/released-by",
    "configmapsync.apps.kapendra.com/created-by",
];

/// Another input, made of this one. Mostly it is JSON still.
pub fn mutated(input: &[u8], random: &mut StdRng) -> Vec<u8> {
    if let Ok(mut value) = serde_json::from_slice::<Value>(input)
        && random.random_ratio(9, 10)
    {
        for _ in 0..random.random_range(1..4) {
            change(&mut value, random);
        }
        return value.to_string().into_bytes();
    }
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..4) {
        change_bytes(&mut bytes, random);
    }
    bytes
}

/// Changes an input of libFuzzer's as JSON, and says how long it is now. `None`: libFuzzer is to change it.
// The test has no use for it.
#[allow(dead_code)]
pub fn in_place(data: &mut [u8], size: usize, longest: usize, seed: u32) -> Option<usize> {
    if seed.is_multiple_of(2) {
        return None;
    }
    let mut value: Value = serde_json::from_slice(data.get(..size)?).ok()?;
    change(&mut value, &mut StdRng::seed_from_u64(seed.into()));
    let text = value.to_string();
    let into = data.get_mut(..text.len()).filter(|into| into.len() <= longest)?;
    into.copy_from_slice(text.as_bytes());
    Some(text.len())
}

/// Changes one value somewhere in it.
fn change(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Object(entries) if !entries.is_empty() && random.random_ratio(4, 5) => {
            let at = random.random_range(0..entries.len());
            if let Some((_, inner)) = entries.iter_mut().nth(at) {
                change(inner, random);
            }
        }
        Value::Array(items) if !items.is_empty() && random.random_ratio(2, 3) => {
            let at = random.random_range(0..items.len());
            change(&mut items[at], random);
        }
        Value::Object(entries) => change_entries(entries, random),
        Value::Array(items) => change_items(items, random),
        Value::String(text) if random.random_ratio(2, 3) => change_text(text, random),
        other => *other = anything(random, 2),
    }
}

fn change_entries(entries: &mut Map<String, Value>, random: &mut StdRng) {
    let key = match entries.len() {
        0 => None,
        all => entries.keys().nth(random.random_range(0..all)).cloned(),
    };
    match (random.random_range(0..4), key) {
        (0, Some(key)) => {
            entries.remove(&key);
        }
        (1, Some(key)) => {
            // Under another name.
            let value = entries.remove(&key).unwrap_or_default();
            entries.insert(pick(KEYS, random), value);
        }
        _ => {
            let value = anything(random, 2);
            entries.insert(pick(KEYS, random), value);
        }
    }
}

fn change_items(items: &mut Vec<Value>, random: &mut StdRng) {
    match (random.random_range(0..3), items.last().cloned()) {
        (0, Some(last)) => items.push(last),
        (1, Some(_)) => {
            items.swap_remove(random.random_range(0..items.len()));
        }
        _ => items.push(anything(random, 2)),
    }
}

fn change_text(text: &mut String, random: &mut StdRng) {
    let word = pick(WORDS, random);
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = places[random.random_range(0..places.len())];
    match random.random_range(0..6) {
        0 => text.truncate(at),
        1 => text.insert_str(at, &word),
        2 => text.insert(at, random.random::<char>()),
        3 => *text = text.to_uppercase(),
        // Not for ever: what is long grows no more.
        4 if text.len() < 2000 => *text = text.repeat(random.random_range(2..20)),
        _ => *text = word,
    }
}

/// Any value, of a few levels.
fn anything(random: &mut StdRng, levels: usize) -> Value {
    match random.random_range(0..if levels == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!([0, 1, -1, i64::MAX, i64::MIN][random.random_range(0..5)]),
        3 => json!(random.random::<u64>() >> random.random_range(0..64)),
        4 => json!([0.5, -0.0, 1e300, 1e-300][random.random_range(0..4)]),
        5 | 6 => pick(WORDS, random).into(),
        7 => (0..random.random_range(0..4)).map(|_| anything(random, levels - 1)).collect(),
        _ => {
            let entries = (0..random.random_range(0..4)).map(|_| (pick(KEYS, random), anything(random, levels - 1)));
            Value::Object(entries.collect())
        }
    }
}

fn change_bytes(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.random()),
        2 => {
            let word = pick(WORDS, random);
            bytes.splice(at..at, word.into_bytes());
        }
        3 => {
            let piece = bytes[at..bytes.len().min(at + 40)].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
}

fn pick(from: &[&str], random: &mut StdRng) -> String {
    from[random.random_range(0..from.len())].to_owned()
}
