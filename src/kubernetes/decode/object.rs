//! What objects have in common: their metadata, of which little is kept.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::names::PREFIX;
use crate::rules::copy::content;
use crate::rules::copy::shape::name_sum;
use crate::rules::lenient::{Field, Listed};
use crate::rules::uid::Version;

/// Makes a [`kube::Resource`] of the object that holds this record.
macro_rules! resource {
    ($record:ty, $scope:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for crate::kubernetes::decode::Object<$record> {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.meta
            }
        }
    };
}

pub(super) use resource;

/// An object of a watch: a record, and the little metadata that kube's watcher asks for. `None`: the object has no UID or
/// version that we can read. No API server sends such an object.
#[derive(Clone, Debug)]
pub struct Object<R> {
    pub(super) meta: ObjectMeta,
    /// What is kept of it.
    pub record: Option<R>,
}

impl<'de, R> Deserialize<'de> for Object<R>
where
    R: FromRaw,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, body) = R::split(R::Raw::deserialize(deserializer)?);
        let version = Version::parse(&metadata.uid, &metadata.resource_version);
        // All that kube's watcher asks for.
        let resource_version = Some(metadata.resource_version.clone().into_owned());
        let meta = ObjectMeta { resource_version, ..ObjectMeta::default() };
        let record = version.map(|version| R::from_raw(metadata, version, body));
        Ok(Self { meta, record })
    }
}

/// How a record is made.
pub trait FromRaw: Sized {
    /// The fields of the object that are decoded.
    type Raw<'a>: Deserialize<'a>;
    /// Those beside the metadata.
    type Body<'a>;
    #[doc(hidden)]
    fn split<'a>(raw: Self::Raw<'a>) -> (Metadata<'a>, Self::Body<'a>);
    /// Makes it of its metadata and of what else was decoded.
    #[doc(hidden)]
    fn from_raw(metadata: Metadata<'_>, version: Version, body: Self::Body<'_>) -> Self;
}

/// An object of which nothing but the metadata is decoded.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawMetadata<'a> {
    #[serde(borrow)]
    pub(super) metadata: Metadata<'a>,
}

/// The fields of an object's metadata that anything here looks at.
#[doc(hidden)]
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) uid: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) resource_version: Cow<'a, str>,
    pub(super) generation: i64,
    #[serde(borrow)]
    pub(super) creation_timestamp: Field<'a>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) finalizers: Listed<Field<'a>>,
    pub(super) owner_references: Listed<Owner>,
    #[serde(borrow)]
    pub(super) labels: Marks<'a>,
    #[serde(borrow)]
    pub(super) annotations: Marks<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) controller: Option<bool>,
}

/// Labels or annotations: ours by name, and whether there are others.
#[derive(Default)]
pub(super) struct Marks<'a> {
    pub(super) ours: Vec<(Cow<'a, str>, Field<'a>)>,
    pub(super) others: bool,
    /// [`name_sum`] of the names of the others.
    pub(super) sum: u64,
}

/// How many annotations we write, as a rule.
const OURS: usize = 7;

impl Marks<'_> {
    fn note_other(&mut self, name: Option<&str>) {
        self.others = true;
        self.sum = self.sum.wrapping_add(name_sum(name.into_iter()));
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.ours.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.text())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Marks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Marks<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_unit<E>(self) -> Result<Marks<'de>, E> {
                Ok(Marks::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Marks<'de>, A::Error> {
                let mut marks = Marks::default();
                while let Some(key) = map.next_key::<Field<'de>>()? {
                    match key {
                        Field::Text(key) if key.starts_with(PREFIX) => {
                            if !content::is_ours(&key) {
                                marks.note_other(Some(&key));
                            }
                            if marks.ours.is_empty() {
                                marks.ours.reserve(OURS);
                            }
                            marks.ours.push((key, map.next_value()?));
                        }
                        other => {
                            marks.note_other(other.text());
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(marks)
            }
        }
        deserializer.deserialize_any(Entries)
    }
}
