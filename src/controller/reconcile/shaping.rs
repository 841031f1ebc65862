//! How it stands with the keys and the metadata of a copy.

use crate::controller::reconcile::in_hand::{InHand, Shaped};
use crate::kubernetes::reader::CopyRead;
use crate::rules::cluster::record::{CopyRecord, content_mark};
use crate::rules::copy::content::hash_text;
use crate::rules::copy::facts::ShapeFacts;
use crate::rules::record::{ConfigMapMeta, Sync};

/// How it stands with the keys and the metadata of a copy. `content`: the source, where it is in hand and not outdated; `read`: the
/// copy, where it was read; `record`: what is known of it where it is one of many.
pub(super) fn facts(
    sync: &Sync,
    content: Option<&InHand>,
    meta: Option<&ConfigMapMeta>,
    read: Option<&CopyRead>,
    record: Option<CopyRecord>,
) -> ShapeFacts {
    let wanted = sync.shape().is_some();
    if !(wanted || meta.is_some_and(|meta| meta.shaped)) {
        return ShapeFacts::default();
    }
    let shaped = content.map(|content| content.shaped_for(sync).map(|shaped| (shaped, content.version.rv))).transpose();
    let Ok(Some((Shaped { hash, content }, source_rv))) = shaped else {
        return ShapeFacts { wanted, key_conflict: shaped.err(), ..ShapeFacts::default() };
    };
    let mark = meta.and_then(|meta| meta.mark.as_ref());
    let from_this_version = mark.is_some_and(|mark| mark.uid == Some(sync.uid()) && mark.source_rv == source_rv);
    let as_the_watch_shows = |record: &CopyRecord| meta.is_some_and(|meta| meta.version.rv == record.rv);
    let other_hash = match read {
        Some(read) => read.hash_text().is_some_and(|text| text != hash_text(&hash, wanted)),
        None => record.filter(as_the_watch_shows).is_some_and(|record| record.content != content_mark(&hash)),
    };
    let holds_content = read.is_some_and(|read| read.content == content);
    let written_otherwise = from_this_version && other_hash;
    ShapeFacts { wanted, key_conflict: None, written_otherwise, holds_content }
}
