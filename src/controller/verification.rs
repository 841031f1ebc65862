//! Copies of which nobody knows whether they were touched: a replica that starts after a crash of the whole fleet has no history. They
//! are read by pages, and what does not hold what its marks say is worked on.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::controller::cache::Cache;
use crate::controller::ingest::Follower;
use crate::controller::queue::Cause;
use crate::controller::reconcile::copies::is_copy_at_rest;
use crate::controller::reconcile::snapshot::expected_by_status;
use crate::kubernetes::error::ApiError;
use crate::kubernetes::reader::Reader;
use crate::rules::key::Key;
use crate::rules::uid::Uid;

/// Shards are taken one after the other: nothing is read until none has come for this long.
const COLLECT: Duration = Duration::from_secs(2);
/// Fewer copies are read one by one.
const WORTH_A_LIST: usize = 50;

/// Copies that are to be read, by their object.
#[derive(Clone, Default)]
pub(super) struct Verification {
    pending: Arc<Mutex<AHashMap<Uid, Vec<Key>>>>,
    more: Arc<Notify>,
}

impl Verification {
    /// Takes those keys of an object out of `keys` whose copies have the right marks.
    pub(super) fn take(&self, cache: &Cache, uid: Uid, keys: &mut Vec<Key>) {
        let Some(object) = cache.cluster_sync(uid) else { return };
        let Ok(spec) = &object.spec else { return };
        let Some(expected) = expected_by_status(&object, cache.source(&spec.source)) else { return };
        let marked = keys.extract_if(.., |key| {
            let Key::Copy(copy) = key else { return false };
            cache
                .copy_record(uid, &spec.copy_of(&copy.name))
                .is_some_and(|record| !record.proven && record.content == expected.content)
        });
        let marked: Vec<Key> = marked.collect();
        if !marked.is_empty() {
            self.pending.lock().entry(uid).or_default().extend(marked);
            self.more.notify_one();
        }
    }

    /// Reads what comes, for ever, and enqueues what needs more than that.
    pub(super) async fn run(self, follower: Follower, reader: Reader) {
        loop {
            self.more.notified().await;
            while timeout(COLLECT, self.more.notified()).await.is_ok() {}
            let pending = std::mem::take(&mut *self.pending.lock());
            for (uid, keys) in pending {
                verify(&follower, &reader, uid, keys).await;
            }
        }
    }
}

async fn verify(follower: &Follower, reader: &Reader, uid: Uid, keys: Vec<Key>) {
    let Some(object) = follower.cache.cluster_sync(uid) else { return };
    let name = &*object.name;
    if keys.len() >= WORTH_A_LIST {
        tracing::info!(name, copies = keys.len(), "nobody knows whether these copies were touched: they are read");
        if let Err(error) = read(follower, reader, name, &keys).await {
            tracing::info!(name, cause = %error, "the copies could not be listed: they are read one by one");
        }
    }
    for keys in keys.chunks(1_000) {
        let left = keys.iter().filter(|key| !is_copy_at_rest(&follower.cache, key));
        follower.wake_copies(&left.cloned().collect::<Vec<Key>>(), &Cause::default());
        tokio::task::yield_now().await;
    }
    follower.queue.recount(uid);
}

async fn read(follower: &Follower, reader: &Reader, name: &str, keys: &[Key]) -> Result<(), ApiError> {
    let mut pages = reader.copies(name);
    // Who holds none of their shards any more has no use for it.
    while keys.iter().any(|key| follower.queue.holds(key.shard())) {
        match pages.next().await {
            Ok(Some(page)) => {
                for copy in page.iter().filter(|copy| copy.as_marked) {
                    let Some(uid) = copy.mark.one_of_many() else { continue };
                    follower.cache.note_as_marked(uid, &copy.key, copy.rv);
                }
            }
            Ok(None) => break,
            Err(ApiError::Busy(wait)) => sleep(wait).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
