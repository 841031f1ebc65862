//! The contents of sources. Each version is fetched once however many syncs want it: who comes while a GET is under
//! way shares its answer. All that is being fetched, in hand or kept for later takes at most [`ROOM`]; the room for the
//! largest ConfigMap is there before a GET is sent.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::controller::cache::SourceVersion;
use crate::controller::reconcile::in_hand::InHand;
use crate::kubernetes::budget::{ByteBudget, Reservation};
use crate::kubernetes::error::ApiError;
use crate::kubernetes::reader::Reader;
use crate::rules::cluster::record::{ClusterSync, Expected};
use crate::rules::copy::content::SourceContent;
use crate::rules::record::ObjectKey;
use crate::telemetry::instruments;

/// How many bytes contents may take.
const ROOM: usize = 8 << 20;
/// The room that a content may need, as long as it is not known: the server takes 1 MiB of data, which escapes may double,
/// and 256 KiB of annotations.
const UNKNOWN: usize = 5 << 19;
/// What any ConfigMap that was read before may have more than then.
const GROWTH: usize = 16 << 10;
/// Whoever waits for room looks this often whether somebody has put a content down.
const LOOK: Duration = Duration::from_millis(20);
/// How many sources are remembered, with or without their content.
const MOST_SOURCES: usize = 4096;
/// For how long one answer "there is none" serves everybody who asks: shorter than the time after which a missing
/// source is looked for again, so that then one of them asks anew.
const MISSING_FOR: Duration = Duration::from_secs(240);

/// What a GET of a source told.
#[derive(Clone, Debug)]
pub enum Found {
    /// Its content.
    Content(Arc<InHand>),
    /// There is none.
    Missing,
}

/// Which answer will do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What the watch knows of it: an older version will not do.
    pub observed: SourceVersion,
    /// The GET must have been sent then or later.
    pub sent_since: Option<Instant>,
}

impl Wanted {
    fn content_with(self, content: &SourceContent, sent: Instant) -> bool {
        match (self.sent_since, self.observed) {
            (Some(since), SourceVersion::Version(rv)) => sent >= since && content.version.rv >= rv,
            (Some(since), _) => sent >= since,
            (None, SourceVersion::Version(rv)) => content.version.rv >= rv,
            // It may have changed while nobody named it, and the dropped versions may have forgotten that.
            (None, SourceVersion::Gone | SourceVersion::Unknown) => false,
        }
    }

    fn none_with(self, sent: Instant) -> bool {
        match (self.sent_since, self.observed) {
            // It has come since: an answer from before will not do, whenever it was asked for.
            (_, SourceVersion::Version(_)) => false,
            (Some(since), _) => sent >= since,
            (None, SourceVersion::Gone | SourceVersion::Unknown) => sent.elapsed() < MISSING_FOR,
        }
    }

    fn with(self, found: &Found, sent: Instant) -> bool {
        match found {
            Found::Content(content) => self.content_with(content, sent),
            Found::Missing => self.none_with(sent),
        }
    }
}

type Answer = Result<Found, ApiError>;
type Flight = Shared<BoxFuture<'static, Answer>>;

/// The cache, and the GETs under way.
pub struct Sources {
    reader: Reader,
    state: Arc<Mutex<State>>,
    room: ByteBudget,
}

#[derive(Default)]
struct State {
    entries: AHashMap<ObjectKey, Entry>,
    clock: u64,
}

struct Entry {
    sent: Instant,
    found: Option<Found>,
    flight: Option<(Instant, Flight)>,
    /// How many bytes it had when it was read last.
    size: Option<usize>,
    /// Earlier versions that held the same as the one that is kept, the newest last.
    same: Vec<u64>,
    /// When the content was last asked for, or came. That a newer one is asked for does not count: else a content that is out of
    /// date would outlive one that just came.
    used: u64,
}

/// How many earlier versions with the same content are remembered.
const SAME: usize = 8;

impl Sources {
    /// An empty cache.
    pub fn new(reader: Reader) -> Self {
        Self { reader, state: Arc::default(), room: ByteBudget::new(ROOM) }
    }

    /// What is in the cache, if it will do.
    pub fn cached(&self, key: &ObjectKey, wanted: Wanted) -> Option<(Found, Instant)> {
        let mut state = self.state.lock();
        state.clock += 1;
        let clock = state.clock;
        let entry = state.entries.get_mut(key)?;
        let found = entry.found.clone().filter(|found| wanted.with(found, entry.sent))?;
        entry.used = clock;
        Some((found, entry.sent))
    }

    /// What the copies of an object are to hold of the source `key`, where it was read since it changed last.
    pub fn known(&self, key: &ObjectKey, observed: SourceVersion, object: &ClusterSync) -> Option<Expected> {
        let SourceVersion::Version(rv) = observed else { return None };
        let content = match &self.state.lock().entries.get(key)?.found {
            Some(Found::Content(content)) if content.version.rv >= rv => content.clone(),
            _ => return None,
        };
        content.expected_by(object).ok().map(|(expected, _)| expected)
    }

    /// How many bytes the source `key` took when it was read last.
    pub fn size(&self, key: &ObjectKey) -> Option<usize> {
        self.state.lock().entries.get(key)?.size
    }

    /// Whether the version `rv` of the source `key` is known to have held the same as `content`, and to have been as
    /// immutable: then a change of its labels need not rewrite its copies.
    pub fn held_the_same(&self, key: &ObjectKey, rv: u64, content: &SourceContent) -> bool {
        let state = self.state.lock();
        let entry = state.entries.get(key);
        entry.is_some_and(|entry| {
            matches!(&entry.found, Some(Found::Content(kept)) if kept.holds_the_same_as(content))
                && entry.same.contains(&rv)
        })
    }

    /// The source `key`, and when the GET that told it was sent.
    ///
    /// # Errors
    /// What the GET was answered, when it was neither the source nor that there is none.
    pub async fn get(&self, key: &ObjectKey, wanted: Wanted) -> Result<(Found, Instant), ApiError> {
        let asked = Instant::now();
        loop {
            if let Some(hit) = self.cached(key, wanted) {
                return Ok(hit);
            }
            let (sent, flight) = self.join(key);
            let answer = flight.await;
            self.land(key, sent, &answer);
            let found = answer?;
            // The answer to a GET that others had sent before may be too old for us: then the next one is ours. The
            // answer to one that was sent after we asked is the truth, whatever the watch has told.
            if sent >= asked || wanted.with(&found, sent) {
                return Ok((found, sent));
            }
        }
    }

    /// The GET under way, or a new one.
    fn join(&self, key: &ObjectKey) -> (Instant, Flight) {
        let mut state = self.state.lock();
        state.clock += 1;
        let clock = state.clock;
        let entry = state.entries.entry(key.clone()).or_insert_with(|| Entry {
            sent: Instant::now(),
            found: None,
            flight: None,
            size: None,
            same: Vec::new(),
            used: clock,
        });
        if let Some((sent, flight)) = &entry.flight {
            return (*sent, flight.clone());
        }
        let known = entry.size;
        let (reader, at, room, state) = (self.reader.clone(), key.clone(), self.room.clone(), self.state.clone());
        let flight = async move {
            // A panic in here must not spoil every later look.
            let read = std::panic::AssertUnwindSafe(async {
                if let Some(most) = known.map(grown) {
                    let taken = room_for(&room, &state, &at, most).await;
                    match reader.source(&at, most).await {
                        Err(ApiError::TooLong(_)) => {}
                        read => return (read, taken),
                    }
                }
                let taken = room_for(&room, &state, &at, UNKNOWN).await;
                (reader.source(&at, UNKNOWN).await, taken)
            });
            let answer = match read.catch_unwind().await {
                Ok((Ok(content), mut reserved)) => {
                    reserved.shrink_to(content.size());
                    Ok(Found::Content(Arc::new(InHand::new(content, reserved))))
                }
                Ok((Err(ApiError::NotFound(_) | ApiError::NoNamespace(_)), _)) => Ok(Found::Missing),
                Ok((Err(refusal), _)) => Err(refusal),
                Err(_) => Err(ApiError::Unavailable("the read of the source panicked".to_owned())),
            };
            let result = match &answer {
                Ok(Found::Content(_)) => "ok",
                Ok(Found::Missing) => "missing",
                Err(refusal) => refusal.category(),
            };
            metrics::counter!(instruments::SOURCE_READS_TOTAL, "result" => result).increment(1);
            answer
        }
        .boxed()
        .shared();
        let sent = Instant::now();
        entry.flight = Some((sent, flight.clone()));
        (sent, flight)
    }

    /// Keeps the answer; the first of those who shared it does so.
    fn land(&self, key: &ObjectKey, sent: Instant, answer: &Answer) {
        let mut state = self.state.lock();
        state.clock += 1;
        let clock = state.clock;
        let Some(entry) = state.entries.get_mut(key) else { return };
        if entry.flight.as_ref().is_none_or(|(of, _)| *of != sent) {
            return;
        }
        entry.flight = None;
        if let Ok(found) = answer {
            entry.sent = sent;
            entry.note_same(found);
            if let Found::Content(content) = found {
                entry.size = Some(content.size());
            }
            entry.found = Some(found.clone());
            entry.used = clock;
        }
        while state.entries.len() > MOST_SOURCES && state.forget() {}
    }
}

/// The room for a ConfigMap that had `known` bytes when it was read last: an eighth more, and [`GROWTH`]. One that has
/// grown by more is read twice. One that asks for much more than it needs drives out what others are yet to be
/// written from, and that is read twice then.
const fn grown(known: usize) -> usize {
    known + known / 8 + GROWTH
}

/// Waits for room to read the source `key`; contents of others that nobody holds make way, the least used first.
async fn room_for(room: &ByteBudget, state: &Mutex<State>, key: &ObjectKey, bytes: usize) -> Reservation {
    loop {
        while !room.has_free(bytes) && state.lock().evict_for(key) {}
        if let Ok(reserved) = tokio::time::timeout(LOOK, room.reserve(bytes)).await {
            return reserved;
        }
    }
}

impl Entry {
    fn note_same(&mut self, found: &Found) {
        match (&self.found, found) {
            (Some(Found::Content(before)), Found::Content(now)) if before.holds_the_same_as(now) => {
                if before.version.rv != now.version.rv {
                    self.same.push(before.version.rv);
                }
                self.same.drain(..self.same.len().saturating_sub(SAME));
            }
            _ => self.same.clear(),
        }
    }
}

impl State {
    /// Lets go of the least used content that nobody holds. Whether there was one. That of the source `key`, for whose next
    /// content there has to be room, stays: the two are to be compared.
    fn evict_for(&mut self, key: &ObjectKey) -> bool {
        let idle =
            |entry: &Entry| matches!(&entry.found, Some(Found::Content(content)) if Arc::strong_count(content) == 1);
        let others = self.entries.iter_mut().filter(|(of, entry)| *of != key && idle(entry));
        let Some((_, entry)) = others.min_by_key(|(_, entry)| entry.used) else { return false };
        (entry.found, entry.same) = (None, Vec::new());
        true
    }

    /// Forgets the source that was asked for least. Whether there was one.
    fn forget(&mut self) -> bool {
        let idle = self.entries.iter().filter(|(_, entry)| entry.flight.is_none());
        let key = idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        key.is_some_and(|key| self.entries.remove(&key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(rv: u64) -> SourceContent {
        use crate::rules::testing::{object_key, version};
        SourceContent::new(object_key("a/x"), version(1, rv), crate::rules::copy::content::Content::default()).unwrap()
    }

    #[tokio::test]
    async fn what_just_came_outlives_what_is_out_of_date() {
        use crate::rules::testing::object_key;
        let room = ByteBudget::new(ROOM);
        let mut state = State::default();
        let keys = ["a/old", "a/new", "a/own"].map(object_key);
        for (key, used) in keys.iter().zip([2, 3, 1]) {
            let found = Some(Found::Content(Arc::new(InHand::new(content(5), room.reserve(1).await))));
            let entry = Entry { sent: Instant::now(), found, flight: None, size: None, same: Vec::new(), used };
            state.entries.insert(key.clone(), entry);
        }
        let held = state.entries[&keys[1]].found.clone();
        let kept = |state: &State| keys.each_ref().map(|key| state.entries[key].found.is_some());
        assert!(state.evict_for(&keys[2]));
        assert_eq!(kept(&state), [false, true, true], "the one that is read anew keeps its own to compare with");
        assert!(!state.evict_for(&keys[2]), "nothing that somebody holds makes way");
        drop(held);
        assert!(state.evict_for(&keys[2]));
        assert_eq!(kept(&state), [false, false, true]);
    }

    #[test]
    fn forty_sources_of_150_kb_can_be_read_at_once() {
        assert!(40 * grown(150_000) <= ROOM);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_serves_whom_it_is_new_enough_for() {
        let sent = Instant::now();
        let since = |wanted, sent_since| Wanted { observed: wanted, sent_since };
        let (old, new) = (content(5), content(7));
        assert!(!since(SourceVersion::Version(7), None).content_with(&old, sent));
        assert!(since(SourceVersion::Version(7), None).content_with(&new, sent));
        assert!(!since(SourceVersion::Unknown, None).content_with(&old, sent));
        assert!(!since(SourceVersion::Gone, None).content_with(&new, sent));
        assert!(!since(SourceVersion::Version(7), None).none_with(sent), "it was created since");
        assert!(
            !since(SourceVersion::Version(7), Some(sent)).none_with(sent),
            "it was created since the second request"
        );
        assert!(since(SourceVersion::Gone, None).none_with(sent));
        tokio::time::advance(MISSING_FOR).await;
        assert!(!since(SourceVersion::Gone, None).none_with(sent));
        assert!(!since(SourceVersion::Version(7), Some(Instant::now())).content_with(&new, sent));
        assert!(since(SourceVersion::Gone, Some(sent)).content_with(&old, sent));
    }
}
