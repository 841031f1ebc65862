//! The floor: a process that watches what a replica watches, and keeps nothing.

use std::pin::pin;

use anyhow::Context as _;
use clap::ValueEnum;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use configmapsync_operator::io::client::METADATA_ONLY;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http::Request;
use http::header::ACCEPT;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};

use crate::writers;

/// What it does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Listener {
    /// kube's own watcher of metadata.
    Metadata,
    /// Reads the same bytes as a replica and decodes none.
    Raw,
}

/// Listens to ConfigMaps and syncs until it is killed.
pub(super) async fn listen(listener: Listener) -> anyhow::Result<()> {
    let client = writers::client(Config::infer().await.context("KUBECONFIG has to name the cluster")?)?;
    match listener {
        Listener::Metadata => {
            futures::try_join!(metadata::<ConfigMap>(&client), metadata::<ConfigMapSync>(&client)).map(drop)
        }
        Listener::Raw => {
            let syncs = "/apis/apps.kapendra.com/v1/configmapsyncs";
            futures::try_join!(
                raw(&client, "/api/v1/configmaps", METADATA_ONLY),
                raw(&client, syncs, "application/json")
            )
            .map(drop)
        }
    }
}

async fn metadata<K>(client: &Client) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    let mut events = pin!(watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), watcher::Config::default()));
    while events.try_next().await?.is_some() {}
    Ok(())
}

async fn raw(client: &Client, path: &str, accept: &str) -> anyhow::Result<()> {
    let request = Request::get(format!("{path}?watch=true&allowWatchBookmarks=true")).header(ACCEPT, accept);
    let mut body = pin!(client.request_stream(request.body(Vec::new())?).await?);
    loop {
        let read = body.fill_buf().await?.len();
        anyhow::ensure!(read > 0, "the watch of {path} has ended");
        body.consume_unpin(read);
    }
}
