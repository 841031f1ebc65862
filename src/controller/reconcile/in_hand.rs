//! A source's content in hand, and what the specs that copy it make of it.

use std::ops::Deref;

use parking_lot::Mutex;

use crate::kubernetes::budget::Reservation;
use crate::rules::cluster::record::{ClusterSync, Expected, content_mark};
use crate::rules::copy::content::SourceContent;
use crate::rules::copy::facts::Hash;
use crate::rules::copy::shape::Shape;
use crate::rules::record::Sync;
use crate::rules::uid::Uid;

/// For so many specs it is remembered what they make of a content.
const MOST_SHAPES: usize = 64;

/// A content, and the room that it takes for as long as anybody holds it.
#[derive(Debug)]
pub struct InHand {
    content: SourceContent,
    known: Mutex<Vec<Known>>,
    _reserved: Reservation,
}

/// What a spec, by its object's UID and generation, is known to make of a content.
#[derive(Clone, Debug)]
struct Known {
    spec: (Uid, u32),
    shaped: Result<Shaped, String>,
}

/// What a spec makes of a content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shaped {
    /// The hash of what we write on a copy: its content, and where the spec says something of keys or metadata, the labels and
    /// annotations too.
    pub hash: Hash,
    /// The hash of the copy's content alone.
    pub content: Hash,
}

impl Deref for InHand {
    type Target = SourceContent;
    fn deref(&self) -> &SourceContent {
        &self.content
    }
}

impl InHand {
    /// A content for which this room is reserved.
    pub fn new(content: SourceContent, reserved: Reservation) -> Self {
        Self { content, known: Mutex::default(), _reserved: reserved }
    }

    /// What the spec of a sync makes of it.
    ///
    /// # Errors
    /// Two keys that would have one name, in a sentence.
    pub fn shaped_for(&self, sync: &Sync) -> Result<Shaped, String> {
        self.shaped(sync.shape(), sync.uid(), sync.generation)
    }

    /// What the copies of an object are to hold.
    ///
    /// # Errors
    /// Two keys that would have one name, in a sentence.
    pub fn expected_by(&self, object: &ClusterSync) -> Result<(Expected, Hash), String> {
        let shape = object.spec.as_ref().ok().and_then(|spec| spec.shape.as_deref());
        let Shaped { hash, .. } = self.shaped(shape, object.uid(), object.generation)?;
        Ok((Expected { source: self.version, content: content_mark(&hash) }, hash))
    }

    fn shaped(&self, shape: Option<&Shape>, uid: Uid, generation: u32) -> Result<Shaped, String> {
        let Some(shape) = shape else { return Ok(Shaped { hash: self.hash, content: self.hash }) };
        let spec = (uid, generation);
        if let Some(known) = self.known.lock().iter().find(|known| known.spec == spec) {
            return known.shaped.clone();
        }
        let shaped = self.hashes(shape).map(|(hash, content)| Shaped { hash, content });
        let mut known = self.known.lock();
        if known.len() >= MOST_SHAPES {
            known.swap_remove(0);
        }
        known.push(Known { spec, shaped: shaped.clone() });
        shaped
    }
}
