//! GETs of single objects.

use std::time::Duration;

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::names::{ANNOTATION_HASH, FIELD_MANAGER};
use crate::kubernetes::budget::{ByteBudget, Reservation};
use crate::kubernetes::decode::{ConfigMapObject, NamespaceObject, SyncObject};
use crate::kubernetes::error::ApiError;
use crate::kubernetes::exchange::{LONGEST, exchange, unreadable};
use crate::rules::copy::content::{Content, SourceContent, hexadecimal};
use crate::rules::copy::facts::Read;
use crate::rules::record::{ConfigMapMeta, Namespace, ObjectKey, Sync, Version};

/// How many bytes copies may take that are being read, or were read and are not done with.
const ROOM: usize = 16 << 20;
/// The room that a copy may need, as long as its size is not known.
const COPY: usize = 2 << 20;
/// How long room is waited for; then the key gives back what it has, and comes again.
const PATIENCE: Duration = Duration::from_secs(1);

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
    /// How many bytes the metadata has.
    pub size: usize,
    _reserved: Reservation,
}

impl CopyRead {
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
        let (meta, content) = configmap(&text)?;
        SourceContent::new(key.clone(), meta.version, content).map_err(ApiError::Invalid)
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
        let (meta, content) = configmap(&text)?;
        let hash = content.hash().map_err(ApiError::Invalid)?;
        let MetadataOf { metadata } = serde_json::from_str(&text).map_err(unreadable)?;
        let marked = metadata.get("annotations").and_then(|all| all[ANNOTATION_HASH].as_str());
        let as_marked = marked == Some(&*hexadecimal(&hash));
        let read = Read { meta, hash, immutable: content.immutable == Some(true), as_marked };
        let size = text.len().saturating_sub(content.len());
        reserved.shrink_to(size);
        Ok(Some(CopyRead { read, metadata, size, _reserved: reserved }))
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
                Ok(object.record.map(|(_, namespace)| namespace))
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

    /// How long the CRD has existed; `None` when it is missing or being deleted.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn crd_age(&self) -> Result<Option<Duration>, ApiError> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/configmapsyncs.apps.kapendra.com";
        let crd: CustomResourceDefinition = match self.get(path).await {
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
        let uri = format!("{path}?timeout={}s", TIMEOUT.as_secs());
        let request = Request::get(uri).body(Body::empty()).map_err(unreadable)?;
        match tokio::time::timeout(TIMEOUT, exchange(&self.client, request, longest)).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Unavailable(format!("no answer within {TIMEOUT:?}"))),
        }
    }
}

#[derive(Deserialize)]
struct MetadataOf {
    metadata: Map<String, Value>,
}

fn configmap(text: &str) -> Result<(ConfigMapMeta, Content<'_>), ApiError> {
    let object: ConfigMapObject = serde_json::from_str(text).map_err(unreadable)?;
    let content = serde_json::from_str(text).map_err(unreadable)?;
    let (_, meta) = object.record.ok_or_else(|| ApiError::Unavailable("an object without a uid".to_owned()))?;
    Ok((meta, content))
}

fn configmap_path(key: &ObjectKey) -> String {
    format!("/api/v1/namespaces/{}/configmaps/{}", key.namespace, key.name)
}
