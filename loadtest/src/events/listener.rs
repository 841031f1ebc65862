//! The floor: a process that watches what a replica watches, and keeps nothing.

use std::pin::pin;

use anyhow::Context as _;
use clap::ValueEnum;
use configmapsync_operator::api::configmapsync::ConfigMapSync;
use configmapsync_operator::kubernetes::client::METADATA_ONLY;
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
    /// The same, but the API server sends each only its share of the objects, by their UIDs (KEP-5866).
    Sharded,
}

/// Which share of the objects a listener gets: the first number, from 0, of so many.
pub(super) type Share = (u8, u8);

/// Listens to ConfigMaps and syncs until it is killed.
pub(super) async fn listen(listener: Listener, share: Share) -> anyhow::Result<()> {
    let client = writers::client(Config::infer().await.context("KUBECONFIG has to name the cluster")?)?;
    match listener {
        Listener::Metadata => {
            futures::try_join!(metadata::<ConfigMap>(&client), metadata::<ConfigMapSync>(&client)).map(drop)
        }
        Listener::Raw | Listener::Sharded => {
            let syncs = "/apis/apps.kapendra.com/v1/configmapsyncs";
            let share = (listener == Listener::Sharded).then_some(share);
            futures::try_join!(
                raw(&client, "/api/v1/configmaps", METADATA_ONLY, share),
                raw(&client, syncs, "application/json", share)
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

async fn raw(client: &Client, path: &str, accept: &str, share: Option<Share>) -> anyhow::Result<()> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("watch", "true").append_pair("allowWatchBookmarks", "true");
    if let Some(share) = share {
        query.append_pair("shardSelector", &selector(share));
    }
    let request = Request::get(format!("{path}?{}", query.finish())).header(ACCEPT, accept);
    let mut body = pin!(client.request_stream(request.body(Vec::new())?).await?);
    loop {
        let read = body.fill_buf().await?.len();
        anyhow::ensure!(read > 0, "the watch of {path} has ended");
        body.consume_unpin(read);
    }
}

/// The range of hashes that is a share, as the API server reads it.
fn selector((share, of): Share) -> String {
    // 16 digits, and the end of the last share is one more than they can say.
    let bound = |share: u8| (1_u128 << 64) * u128::from(share) / u128::from(of);
    format!("shardRange(object.metadata.uid, '{:#018x}', '{:#018x}')", bound(share), bound(share + 1))
}
