//! What the operator says: one set of field names, and more or less of it without a restart.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Bed, Case, eventually};
use crate::script::root;

/// The fields that every line has.
const COMMON: &str = "timestamp level message target";

/// All other fields that a line may have, and no other word for any of them. `cause`: what went wrong. `session`: the
/// session that a line is about; `holder`: the one that holds or held a shard.
const FIELDS: &str = "address attempt cause copies copy flags holder host identity lease level name namespace panicked paths place policy \
    replica request resource result retry_in seconds session shard shards signal source_version stream syncs task verb \
    version reason";

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The arguments of a macro's call that begins here, split at its commas.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut from, mut found) = (0, false, false, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                found.push(text[from..at].trim());
                return found;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    panic!("no end of a call: {}", &text[..80.min(text.len())]);
}

/// The fields and messages of all log lines that these sources write; what tests say is left out.
fn told(dir: &Path, fields: &mut BTreeSet<String>, messages: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                told(&path, fields, messages);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            for (at, _) in code.match_indices(level) {
                let mut arguments = arguments(&code[at + level.len()..]);
                arguments.retain(|argument| !argument.is_empty());
                let message = arguments.pop().unwrap();
                messages.insert(message.to_owned());
                let name =
                    |argument: &&str| argument.split(" = ").next().unwrap().trim_start_matches(['%', '?']).to_owned();
                fields.extend(arguments.iter().map(name));
            }
        }
    }
}

#[test]
fn log_lines_use_one_set_of_field_names_and_messages_without_values() {
    let (mut fields, mut messages) = (BTreeSet::new(), BTreeSet::new());
    told(&root().join("src"), &mut fields, &mut messages);
    assert_eq!(fields, words(FIELDS));
    assert!(messages.len() > 40, "{messages:#?}");
    // A value in a message cannot be searched for, and the same message would read differently each time.
    let wrong = messages.iter().filter(|message| {
        let text = message.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        text.is_none_or(|text| text.contains('{') || text.ends_with('.') || text.starts_with(char::is_uppercase))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The process that was started under this identity.
fn pid(identity: &str) -> u32 {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let wanted = format!("\0--identity\0{identity}\0");
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(env!("CARGO_BIN_EXE_configmapsync-operator").as_bytes())
            && String::from_utf8_lossy(&line).contains(&wanted)
    };
    let found: Vec<u32> = processes.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[tokio::test]
async fn log_lines_of_a_whole_life_use_one_set_of_field_names() {
    let Some(bed) = Bed::own("log_lines_of_a_whole_life").await else { return };
    let case = Case::on(&bed, "story").await;
    let operator = bed.operator_with("story", &["--leader-elect"]).await;
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    case.sync("missing", json!({ "configMapName": "missing", "destinationName": "missing" })).await;
    case.until_ready("s").await;
    case.sync("rival", json!({})).await;
    case.until_stalled("rival", "DestinationConflict").await;
    case.patch(&case.dst, "cm", json!({ "data": { "k": "by hand" } })).await;
    case.until_copied(json!({ "k": "1" })).await;
    case.until_ready("s").await;
    case.delete_sync("s").await;
    case.until_sync_gone("s").await;
    let log = operator.log().to_owned();
    assert!(operator.terminate().await.is_some_and(|status| status.success()));
    let text = std::fs::read_to_string(log).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        seen.extend(line.as_object().unwrap().keys().cloned());
    }
    let known: BTreeSet<String> = &words(COMMON) | &words(FIELDS);
    let others: Vec<&String> = seen.difference(&known).collect();
    assert!(others.is_empty(), "new names of fields: {others:?}; is there one for it already? {seen:?}");
    for field in ["timestamp", "level", "message", "target", "namespace", "name", "shard", "cause"] {
        assert!(seen.contains(field), "{field} is not among {seen:?}");
    }
}

#[tokio::test]
async fn sigusr1_shows_details_and_hides_them_again_without_a_restart() {
    let Some(bed) = Bed::own("sigusr1_shows_details").await else { return };
    let case = Case::on(&bed, "levels").await;
    let identity = format!("levels-{}", std::process::id());
    let operator = bed.operator_with(&identity, &["--log-level=info"]).await;
    bed.until_all_shards_are_held().await;
    case.source(json!({ "k": "1" })).await;
    case.sync("s", json!({})).await;
    case.until_ready("s").await;
    assert_eq!(operator.said(&["DEBUG"]), Vec::<String>::new());

    let usr1 = async |word: &str| {
        let kill = tokio::process::Command::new("kill").args(["-USR1", &pid(&identity).to_string()]).status();
        assert!(kill.await.unwrap().success());
        eventually(format!("it says {word}"), async || operator.said(&[word]).pop().ok_or_else(String::new)).await;
    };
    usr1("the log level changes; the same signal changes it back").await;
    case.patch(&case.src, "cm", json!({ "data": { "k": "2" } })).await;
    eventually("it says more", async || operator.said(&["DEBUG", "copy written"]).pop().ok_or_else(String::new)).await;
    case.until_ready("s").await;
    usr1("the log level changes back").await;
    let before = operator.said(&["DEBUG"]).len();
    case.patch(&case.src, "cm", json!({ "data": { "k": "3" } })).await;
    case.until_copied(json!({ "k": "3" })).await;
    case.until_ready("s").await;
    assert_eq!(operator.said(&["DEBUG"]).len(), before);
    assert_eq!(operator.said(&["the operator starts"]).len(), 1, "it is the same process");
}
