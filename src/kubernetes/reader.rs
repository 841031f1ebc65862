//! GETs of single objects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::names::{ANNOTATION_HASH, FIELD_MANAGER, LABEL_CLUSTER_SYNC_NAME};
use crate::api::shape::is_reserved;
use crate::kubernetes::budget::{ByteBudget, Reservation};
use crate::kubernetes::decode::{ClusterSyncObject, ConfigMapObject, NamespaceObject, SyncObject};
use crate::kubernetes::error::ApiError;
use crate::kubernetes::exchange::{LONGEST, exchange, unreadable};
use crate::rules::cluster::record::ClusterSync;
use crate::rules::copy::content::{Content, SourceContent, hash_text, label_value};
use crate::rules::copy::facts::{Hash, Read};
use crate::rules::copy::shape::Notes;
use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, OwnerMark, Sync};
use crate::rules::uid::Version;

/// How many bytes copies may take that are being read, or were read and are not done with.
const ROOM: usize = 16 << 20;
/// The room that a copy may need, as long as its size is not known.
const COPY: usize = 2 << 20;
/// How long room is waited for; then the key gives back what it has, and comes again.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many copies a page has at most.
const PAGE: usize = 200;
/// How much smaller a page is asked for again that was too large.
const SHRINK: usize = 8;

/// How long a GET may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends GETs. The server answers a GET without a resourceVersion from etcd, and not from a cache.
#[derive(Clone)]
pub struct Reader {
    client: kube::Client,
    /// Room for copies that are being read, and for what is kept of them until their keys' work is done.
    copies: ByteBudget,
}

/// A ConfigMap that was read in full.
#[derive(Debug)]
pub struct CopyRead {
    /// What decisions need of it.
    pub read: Read,
    /// Its metadata as the server sent it, so that what others put on it can be kept.
    pub metadata: Map<String, Value>,
    /// The hash of its content alone.
    pub content: Hash,
    /// How many bytes the metadata has.
    pub size: usize,
    _reserved: Reservation,
}

/// One of the many copies of an object, as a page of them tells.
#[derive(Debug)]
pub struct PagedCopy {
    /// Where it stands.
    pub key: ObjectKey,
    /// Its resourceVersion.
    pub rv: u64,
    /// Whose copy its marks say it is.
    pub mark: OwnerMark,
    /// Whether it holds what its marks say.
    pub as_marked: bool,
}

/// The copies of a ClusterConfigMapSync, read page by page.
pub struct CopiesPages<'a> {
    reader: &'a Reader,
    object: &'a str,
    /// How many copies a page has at most.
    limit: usize,
    /// What tells the server where the next page begins, as a part of the query; `None` after the last one.
    next: Option<String>,
}

impl CopyRead {
    /// The hash that its marks name, as it is written there.
    pub fn hash_text(&self) -> Option<&str> {
        named_hash(&self.metadata)
    }

    /// The field manager, other than us, that wrote to it last.
    pub fn last_manager(&self) -> Option<&str> {
        let entries = self.metadata.get("managedFields")?.as_array()?;
        let others = entries.iter().filter(|entry| entry["manager"] != FIELD_MANAGER);
        others.max_by_key(|entry| entry["time"].as_str())?["manager"].as_str()
    }
}

impl Reader {
    /// A reader.
    pub fn new(client: kube::Client) -> Self {
        Self { client, copies: ByteBudget::new(ROOM) }
    }

    /// The content of a source, if the whole ConfigMap has at most `longest` bytes.
    ///
    /// # Errors
    /// `NotFound` when it is missing, `TooLong` when it has more.
    pub async fn source(&self, key: &ObjectKey, longest: usize) -> Result<SourceContent, ApiError> {
        let text = self.get_up_to(&configmap_path(key), longest.min(LONGEST)).await?;
        let (meta, SourceText { data, binary_data, immutable, metadata }) = configmap(&text)?;
        let content = Content { data, binary_data, immutable };
        let mut source = SourceContent::new(key.clone(), meta.version, content).map_err(ApiError::Invalid)?;
        source.sharing = meta.sharing;
        let kept = |all: Option<BTreeMap<String, String>>| {
            all.into_iter().flatten().filter(|(name, _)| !is_reserved(name)).collect()
        };
        Ok(source.with_notes(Notes { labels: kept(metadata.labels), annotations: kept(metadata.annotations) }))
    }

    /// What stands where a copy is to stand; `None` when nothing does.
    ///
    /// # Errors
    /// When there was no answer that says so.
    pub async fn copy(&self, key: &ObjectKey) -> Result<Option<CopyRead>, ApiError> {
        let mut reserved = self.reserve().await?;
        let text = match self.get(&configmap_path(key)).await {
            Ok(text) => text,
            Err(ApiError::NotFound(_) | ApiError::NoNamespace(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Parsed { read, metadata, content, size } = parsed(&text)?;
        reserved.shrink_to(size);
        Ok(Some(CopyRead { read, metadata, content, size, _reserved: reserved }))
    }

    /// The copies of the ClusterConfigMapSync with this name.
    pub fn copies<'a>(&'a self, object: &'a str) -> CopiesPages<'a> {
        CopiesPages { reader: self, object, limit: PAGE, next: Some(String::new()) }
    }

    /// What stands where a copy stands, whole, if it still is this version.
    ///
    /// # Errors
    /// `Conflict` when it is another version.
    pub async fn whole_copy(&self, key: &ObjectKey, version: Version) -> Result<Value, ApiError> {
        let _reserved = self.reserve().await?;
        let object: Value = serde_json::from_str(&self.get(&configmap_path(key)).await?).map_err(unreadable)?;
        let is = |field: &str, text: String| object["metadata"][field] == text;
        if is("uid", version.uid.to_string()) && is("resourceVersion", version.rv.to_string()) {
            return Ok(object);
        }
        Err(ApiError::Conflict)
    }

    /// A namespace; `None` when it does not exist.
    ///
    /// # Errors
    /// When there was no answer that says so.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, ApiError> {
        match self.get(&format!("/api/v1/namespaces/{name}")).await {
            Ok(text) => {
                let object: NamespaceObject = serde_json::from_str(&text).map_err(unreadable)?;
                Ok(object.record.map(|record| record.namespace))
            }
            Err(ApiError::NotFound(_) | ApiError::NoNamespace(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A sync; `None` when it does not exist.
    ///
    /// # Errors
    /// When there was no answer that says so; a missing CRD is no such answer.
    pub async fn sync(&self, key: &ObjectKey) -> Result<Option<Sync>, ApiError> {
        let path = format!("/apis/apps.kapendra.com/v1/namespaces/{}/configmapsyncs/{}", key.namespace, key.name);
        match self.get(&path).await {
            Ok(text) => Ok(serde_json::from_str::<SyncObject>(&text).map_err(unreadable)?.record),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A ClusterConfigMapSync; `None` when it does not exist.
    ///
    /// # Errors
    /// When there was no answer that says so; a missing CRD is no such answer.
    pub async fn cluster_sync(&self, name: &str) -> Result<Option<ClusterSync>, ApiError> {
        match self.get(&format!("/apis/apps.kapendra.com/v1alpha1/clusterconfigmapsyncs/{name}")).await {
            Ok(text) => Ok(serde_json::from_str::<ClusterSyncObject>(&text).map_err(unreadable)?.record),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How long the CRD of the kind with this plural has existed; `None` when it is missing or being deleted.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn crd_age(&self, plural: &str) -> Result<Option<Duration>, ApiError> {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.apps.kapendra.com");
        let crd: CustomResourceDefinition = match self.get(&path).await {
            Ok(text) => serde_json::from_str(&text).map_err(unreadable)?,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if crd.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let created = crd.metadata.creation_timestamp.map(|time| time.0.as_second());
        let age = crate::environment::clock::wall().as_second().saturating_sub(created.unwrap_or(i64::MAX));
        Ok(Some(Duration::from_secs(u64::try_from(age).unwrap_or(0))))
    }

    /// Room for a copy of the largest size. A key that waits for it may hold some of it already, so no key waits long.
    async fn reserve(&self) -> Result<Reservation, ApiError> {
        tokio::time::timeout(PATIENCE, self.copies.reserve(COPY)).await.map_err(|_| ApiError::NoRoom(PATIENCE))
    }

    async fn get(&self, path: &str) -> Result<String, ApiError> {
        self.get_up_to(path, LONGEST).await
    }

    async fn get_up_to(&self, path: &str, longest: usize) -> Result<String, ApiError> {
        let more = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{more}timeout={}s", TIMEOUT.as_secs());
        let request = Request::get(uri).body(Body::empty()).map_err(unreadable)?;
        match tokio::time::timeout(TIMEOUT, exchange(&self.client, request, longest)).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Unavailable(format!("no answer within {TIMEOUT:?}"))),
        }
    }
}

impl CopiesPages<'_> {
    /// The next page; `None` after the last one. After an error the same page is asked for again.
    ///
    /// # Errors
    /// When there was no answer that tells of them.
    pub async fn next(&mut self) -> Result<Option<Vec<PagedCopy>>, ApiError> {
        let Some(next) = &self.next else { return Ok(None) };
        let (label, object) = (LABEL_CLUSTER_SYNC_NAME.replace('/', "%2F"), label_value(self.object));
        let _reserved = self.reader.copies.reserve(LONGEST).await;
        let text = loop {
            let limit = self.limit;
            let path = format!("/api/v1/configmaps?labelSelector={label}%3D{object}&limit={limit}{next}");
            match self.reader.get(&path).await {
                Err(ApiError::TooLong(_)) if limit > 1 => self.limit = (limit / SHRINK).max(1),
                answer => break answer?,
            }
        };
        let ListText { metadata, items } = serde_json::from_str(&text).map_err(unreadable)?;
        self.next = Some(metadata.next).filter(|next| !next.is_empty()).map(|next| format!("&continue={next}"));
        Ok(Some(items.into_iter().filter_map(|item| paged_copy(item.get())).collect()))
    }
}

fn paged_copy(text: &str) -> Option<PagedCopy> {
    let Parsed { read, metadata, .. } = parsed(text).ok()?;
    let mark = read.meta.mark.filter(|mark| mark.one_of_many().is_some())?;
    let [namespace, name] = ["namespace", "name"].map(|field| metadata.get(field).and_then(Value::as_str));
    let key = ObjectKey::new(namespace?, name?);
    Some(PagedCopy { key, rv: read.meta.version.rv, mark, as_marked: read.as_marked })
}

#[derive(Deserialize)]
struct ListText<'a> {
    #[serde(borrow, default)]
    metadata: ListMetadata<'a>,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct ListMetadata<'a> {
    #[serde(borrow, default, rename = "continue")]
    next: Cow<'a, str>,
}

/// What a ConfigMap's text tells of it as a copy.
struct Parsed {
    read: Read,
    metadata: Map<String, Value>,
    content: Hash,
    /// How many bytes the metadata has.
    size: usize,
}

fn parsed(text: &str) -> Result<Parsed, ApiError> {
    let (meta, content): (_, Content<'_>) = configmap(text)?;
    let content_hash = content.hash().map_err(ApiError::Invalid)?;
    let MetadataOf { metadata } = serde_json::from_str(text).map_err(unreadable)?;
    let notes = Notes::written_on(&metadata);
    let hash = notes.as_ref().map_or(content_hash, |notes| notes.hash_with(&content_hash));
    let as_marked = named_hash(&metadata) == Some(&*hash_text(&hash, notes.is_some()));
    let read = Read { meta, hash, immutable: content.immutable == Some(true), as_marked };
    let size = text.len().saturating_sub(content.len());
    Ok(Parsed { read, metadata, content: content_hash, size })
}

fn named_hash(metadata: &Map<String, Value>) -> Option<&str> {
    metadata.get("annotations")?[ANNOTATION_HASH].as_str()
}

#[derive(Deserialize)]
struct MetadataOf {
    metadata: Map<String, Value>,
}

/// A source: as [`Content`], with its labels and annotations.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceText<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    binary_data: Option<&'a RawValue>,
    immutable: Option<bool>,
    metadata: RawNotes,
}

#[derive(Deserialize)]
struct RawNotes {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

fn configmap<'a, T: Deserialize<'a>>(text: &'a str) -> Result<(ConfigMapMeta, T), ApiError> {
    let object: ConfigMapObject = serde_json::from_str(text).map_err(unreadable)?;
    let content = serde_json::from_str(text).map_err(unreadable)?;
    let record = object.record.ok_or_else(|| ApiError::Unavailable("an object without a uid".to_owned()))?;
    Ok((record.meta, content))
}

fn configmap_path(key: &ObjectKey) -> String {
    format!("/api/v1/namespaces/{}/configmaps/{}", key.namespace, key.name)
}
