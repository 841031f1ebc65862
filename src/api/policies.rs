//! The policies of a spec. Each keeps a word that it does not know, so that no object fails to be read.

use schemars::{Schema, json_schema};
use serde::{Deserialize, Serialize};

/// A ConfigMap that the operator did not write stands at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConflictPolicy {
    /// It is adopted.
    #[default]
    Overwrite,
    /// It is left alone.
    Fail,
    /// A word that this version does not know.
    #[serde(untagged)]
    Unknown(String),
}

/// The sync is deleted or moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The copy goes.
    #[default]
    Delete,
    /// The copy stays, without the operator's marks.
    Orphan,
    /// A word that this version does not know.
    #[serde(untagged)]
    Unknown(String),
}

/// The source is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceMissingPolicy {
    /// The last copy stays.
    #[default]
    Keep,
    /// The copy goes.
    Delete,
    /// A word that this version does not know.
    #[serde(untagged)]
    Unknown(String),
}

impl ConflictPolicy {
    /// The words that are known, the default first.
    pub const WORDS: [&str; 2] = ["Overwrite", "Fail"];
}

impl From<&str> for ConflictPolicy {
    fn from(text: &str) -> Self {
        match text {
            "Overwrite" => Self::Overwrite,
            "Fail" => Self::Fail,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl DeletionPolicy {
    /// The words that are known, the default first.
    pub const WORDS: [&str; 2] = ["Delete", "Orphan"];
}

impl From<&str> for DeletionPolicy {
    fn from(text: &str) -> Self {
        match text {
            "Delete" => Self::Delete,
            "Orphan" => Self::Orphan,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl SourceMissingPolicy {
    /// The words that are known, the default first.
    pub const WORDS: [&str; 2] = ["Keep", "Delete"];
}

impl From<&str> for SourceMissingPolicy {
    fn from(text: &str) -> Self {
        match text {
            "Keep" => Self::Keep,
            "Delete" => Self::Delete,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// The schema of a policy: its values, the default first.
pub(super) fn schema([default, other]: [&str; 2], description: &str) -> Schema {
    json_schema!({ "type": "string", "enum": [default, other], "default": default, "description": description })
}

/// Whether a field need not be written.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_policy_reads_back_as_it_was_written_also_one_that_is_not_known() {
        for text in ["Keep", "Delete", "Sometimes"] {
            let policy: SourceMissingPolicy = from_value(json!(text)).unwrap();
            assert_eq!(policy, SourceMissingPolicy::from(text));
            assert_eq!(to_value(&policy).unwrap(), json!(text));
        }
        assert_eq!(from_value::<DeletionPolicy>(json!("Orphan")).unwrap(), DeletionPolicy::from("Orphan"));
        assert_eq!(from_value::<ConflictPolicy>(json!("Fail")).unwrap(), ConflictPolicy::from("Fail"));
    }
}
