//! A tiny cluster around one sync, for tables of cases: all the steps that the sync takes until it rests, in words.

use crate::api::shape::{CopyMetadata, KeySelection};
use crate::rules::copy::facts::{
    ConsentFacts, CopyFacts, CopyState, Destination, Hash, NamespaceState, Owner, Read, Reported, ShapeFacts, Source,
};
use crate::rules::copy::shape::Shape;
use crate::rules::copy::step::{CopyStep, DestinationStep, Until};
use crate::rules::copy::verdict::Verdict;
use crate::rules::object::facts::ObjectFacts;
use crate::rules::object::plan::next;
use crate::rules::object::step::Step;
use crate::rules::record::{ConfigMapMeta, ObjectKey, OwnerMark, RareFields, SlimArc, Spec, Sync};
use crate::rules::testing::*;
use crate::rules::uid::Version;

/// The cluster around one sync, a/s, which copies a/x (uid 2) to b/x (uid 3) in namespace b (uid 100).
pub(super) struct Scenario {
    pub(super) sync: Sync,
    pub(super) source: Source,
    /// What a GET of the source answers: its version and content.
    pub(super) source_truth: Option<(u64, u8)>,
    /// What the cache answers instead, unless it must be the last word.
    pub(super) cached: Option<(u64, u8)>,
    pub(super) missing_twice: bool,
    pub(super) take_over_waited: bool,
    pub(super) recheck: bool,
    pub(super) destination: Option<Found>,
    pub(super) orphaned_copies: Vec<Found>,
    pub(super) rival: Option<ObjectKey>,
    pub(super) cycle: Option<Vec<ObjectKey>>,
    pub(super) verified: Option<(Version, Version)>,
    pub(super) contested: Option<String>,
    /// Which keys of the source would have one name.
    pub(super) key_conflict: Option<String>,
    /// The hash that the marks of the copy name, and the generation of the sync that it was written for.
    pub(super) written_with: Option<(Hash, u32)>,
    /// Whether a copy that is not as it should be has the right content.
    pub(super) holds_content: bool,
    /// What the source's owner says, and what a GET tells of that. `refused_twice`: the next GET is the second.
    pub(super) consent: ConsentFacts,
    pub(super) clock: u64,
}

/// A place: what is known of it, and what is true.
pub(super) struct Found {
    pub(super) key: ObjectKey,
    pub(super) namespace: NamespaceState,
    pub(super) namespace_truth: NamespaceState,
    pub(super) copy: Copy,
    pub(super) truth: Option<Read>,
    pub(super) wanted_by_another: bool,
    pub(super) held: bool,
    pub(super) forbidden: bool,
}

pub(super) enum Copy {
    Unknown,
    Absent,
    Cached,
    Read,
}

pub(super) const LIVE: u64 = 100;

pub(super) fn found(at: &str, truth: Option<Read>) -> Found {
    let copy = if truth.is_some() { Copy::Cached } else { Copy::Unknown };
    let namespace = NamespaceState::Live(uid(LIVE));
    Found {
        key: object_key(at),
        namespace,
        namespace_truth: namespace,
        copy,
        truth,
        wanted_by_another: false,
        held: false,
        forbidden: false,
    }
}

/// A ConfigMap that is nobody's copy.
pub(super) fn foreign() -> Read {
    Read { meta: meta(3, 30), hash: [9; 32], immutable: false, as_marked: false }
}

/// What a sync left at some place, written there from version 10 of its source.
pub(super) fn copy_of(name: &str, number: u64, at: u64) -> Read {
    let mark = OwnerMark { source_rv: 10, ..mark(name, Some(number), Some(at)) };
    Read { meta: ConfigMapMeta { mark: Some(mark), ..meta(3, 30) }, hash: [8; 32], immutable: false, as_marked: false }
}

/// A copy by the seed's operator.
pub(super) fn seeds_copy(hash: u8) -> Read {
    Read {
        meta: ConfigMapMeta { mark: Some(mark("a/s", None, None)), ..meta(3, 30) },
        hash: [hash; 32],
        immutable: false,
        as_marked: false,
    }
}

/// A new sync: nothing stands at its destination.
pub(super) fn new() -> Scenario {
    Scenario {
        sync: sync("a/s", 1, "a/x", "b/x"),
        source: Source::Observed(20),
        source_truth: Some((20, 1)),
        cached: None,
        missing_twice: false,
        take_over_waited: false,
        recheck: false,
        destination: Some(found("b/x", None)),
        orphaned_copies: Vec::new(),
        rival: None,
        cycle: None,
        verified: None,
        contested: None,
        key_conflict: None,
        written_with: None,
        holds_content: false,
        consent: ConsentFacts::default(),
        clock: 40,
    }
}

/// A sync that is in order, as a replica knows it that has just started: by the watches alone.
pub(super) fn settled() -> Scenario {
    let mut scenario = new();
    assert_eq!(scenario.run(), "read source, create, finalizer, report in order, rest");
    scenario.restarted()
}

/// A sync in order that adopted what stood there.
pub(super) fn adopted() -> Scenario {
    let mut scenario = standing(foreign());
    scenario.run();
    scenario.restarted()
}

pub(super) fn standing(read: Read) -> Scenario {
    Scenario { destination: Some(found("b/x", Some(read))), ..new() }
}

impl Scenario {
    pub(super) fn but(mut self, edit: fn(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    pub(super) fn restarted(mut self) -> Self {
        self.verified = None;
        self.source = self.source_truth.map_or(Source::Unknown, |(rv, _)| Source::Observed(rv));
        for found in self.destination.iter_mut().chain(&mut self.orphaned_copies) {
            found.copy = if found.truth.is_some() { Copy::Cached } else { Copy::Unknown };
        }
        self
    }

    pub(super) fn spec(&mut self) -> &mut Spec {
        self.sync.spec.as_mut().unwrap()
    }

    pub(super) fn here(&mut self) -> &mut Found {
        self.destination.as_mut().unwrap()
    }

    pub(super) fn truth(&mut self) -> &mut Read {
        self.here().truth.as_mut().unwrap()
    }

    /// Somebody changed the copy.
    pub(super) fn touched(&mut self, hash: u8) {
        self.clock += 1;
        let rv = self.clock;
        self.truth().meta.version.rv = rv;
        self.truth().hash = [hash; 32];
        self.here().copy = Copy::Cached;
    }

    /// The source has changed, and the watch told.
    pub(super) fn source_is(&mut self, rv: u64, hash: u8) {
        self.source_truth = Some((rv, hash));
        self.source = Source::Observed(rv);
    }

    /// The source was deleted, and the watch told.
    pub(super) fn source_gone(&mut self) {
        self.source_truth = None;
        self.source = Source::Unknown;
    }

    /// It no longer wants the place that it wanted; nothing stands at the new one.
    pub(super) fn moved(&mut self) {
        self.spec().destination = object_key("c/x");
        self.sync.generation += 1;
        self.orphaned_copies.extend(self.destination.replace(found("c/x", None)));
    }

    /// The sync was deleted.
    pub(super) fn deleted(&mut self) {
        self.sync.deleting = true;
    }

    /// The spec says something of keys or metadata now, by which a copy is to have what has this hash.
    pub(super) fn shaped(&mut self, hash: u8) {
        let metadata = CopyMetadata { copy_labels: vec!["team".to_owned()], ..CopyMetadata::default() };
        let shape = Shape::new(KeySelection::default(), metadata).unwrap().map(SlimArc::new);
        self.sync.rare = Some(Box::new(RareFields { shape, ..RareFields::default() }));
        self.edited(hash);
    }

    /// The spec was edited, and a copy is to have what has this hash.
    pub(super) fn edited(&mut self, hash: u8) {
        self.sync.generation += 1;
        let (rv, _) = self.source_truth.unwrap();
        self.source_is(rv, hash);
    }

    fn speaks_of_shape(&self, found: &Found) -> bool {
        self.sync.shape().is_some() || found.truth.as_ref().is_some_and(|read| read.meta.shaped)
    }

    fn shape(&self, found: &Found) -> ShapeFacts {
        let Source::InHand { hash, .. } = self.source else {
            return ShapeFacts { wanted: self.sync.shape().is_some(), ..ShapeFacts::default() };
        };
        let read = self.speaks_of_shape(found) && matches!(found.copy, Copy::Read);
        ShapeFacts {
            wanted: self.sync.shape().is_some(),
            key_conflict: self.key_conflict.clone(),
            written_otherwise: read && self.written_with.is_some_and(|with| with.0 != hash),
            holds_content: read && self.holds_content,
        }
    }

    pub(super) fn next(&self) -> Step {
        let copy = self.destination.as_ref().zip(self.sync.spec.as_ref().ok()).map(|(found, spec)| CopyFacts {
            owner: Owner::of(&self.sync),
            spec,
            reported: Reported::by(&self.sync),
            asked: self.sync.request().is_some(),
            source: self.source,
            missing_twice: self.missing_twice,
            recheck: self.recheck,
            destination: destination(found),
            rival: self.rival.clone(),
            cycle: self.cycle.clone(),
            verified: self.verified.filter(|_| {
                !self.speaks_of_shape(found) || self.written_with.is_some_and(|with| with.1 == self.sync.generation)
            }),
            changed: None,
            contested: self.contested.clone(),
            shape: self.shape(found),
            consent: self.consent,
        });
        let orphaned_copies = self.orphaned_copies.iter().filter(|left| marked(left)).map(destination).collect();
        next(&ObjectFacts { sync: &self.sync, copy, orphaned_copies, take_over_waited: self.take_over_waited })
    }

    /// Carries out step after step until there is nothing left to do; all of them, in words.
    pub(super) fn run(&mut self) -> String {
        let mut steps = Vec::new();
        while steps.len() < 16 {
            let step = self.next();
            steps.push(words(&step));
            if matches!(step, Step::Rest(_) | Step::RemoveFinalizer) {
                return steps.join(", ");
            }
            self.carry_out(step);
        }
        panic!("no end: {}", steps.join(", "));
    }

    fn carry_out(&mut self, step: Step) {
        self.clock += 1;
        let rv = self.clock;
        let mark = |g: &Self| {
            let Source::InHand { version, .. } = g.source else { panic!("nothing to write") };
            OwnerMark { source_rv: version.rv, ..mark("a/s", Some(1), Some(LIVE)) }
        };
        match step {
            Step::Copy(CopyStep::ReadSource { uncached }) => {
                let answer = self.cached.filter(|_| !uncached).or(self.source_truth);
                self.source = answer.map_or(Source::Missing, |(rv, hash)| Source::InHand {
                    immutable: self.holds_content,
                    version: version(2, rv),
                    hash: [hash; 32],
                    uncached,
                });
            }
            Step::Copy(CopyStep::Destination(DestinationStep::ReadNamespace(name))) => {
                for found in self.destination.iter_mut().chain(&mut self.orphaned_copies) {
                    if found.key.namespace == name {
                        found.namespace = found.namespace_truth;
                    }
                }
            }
            Step::Copy(CopyStep::Destination(DestinationStep::ReadCopy(at))) => self.read(&at),
            Step::Copy(CopyStep::Create) if self.here().truth.is_some() => self.read(&object_key("b/x")),
            Step::Copy(CopyStep::Create) => {
                let shaped = self.sync.shape().is_some();
                let new = ConfigMapMeta { mark: Some(mark(self)), shaped, ..meta(3, rv) };
                self.written(Read { meta: new, hash: [0; 32], immutable: false, as_marked: false });
            }
            Step::Copy(CopyStep::Replace { over, adopt }) => {
                let was = self.truth().clone();
                if was.meta.version != over || was.immutable && !self.holds_content {
                    return self.read(&object_key("b/x")); // a conflict, or refused
                }
                let adopted = was.meta.adopted || adopt;
                let (version, shaped) = (Version { rv, ..over }, self.sync.shape().is_some());
                let meta = ConfigMapMeta { version, mark: Some(mark(self)), adopted, shaped, ..was.meta };
                self.written(Read { meta, ..was });
            }
            Step::Copy(CopyStep::Destination(DestinationStep::Remove(at, over))) => {
                let found = self.at(&at);
                let truth = found.truth.as_mut().unwrap();
                assert_eq!(truth.meta.version, over);
                if found.held {
                    truth.meta.deleting = true;
                } else {
                    (found.truth, found.copy) = (None, Copy::Absent);
                }
            }
            Step::Copy(CopyStep::Destination(DestinationStep::Unmark(at))) => {
                let found = self.at(&at);
                let truth = found.truth.as_mut().unwrap();
                truth.meta = ConfigMapMeta {
                    mark: None,
                    adopted: false,
                    version: Version { rv, ..truth.meta.version },
                    ..truth.meta.clone()
                };
                found.copy = Copy::Read; // the answer tells all of it
            }
            Step::AddFinalizer { .. } => self.sync.finalizer = true,
            Step::Report(_, text) => self.sync.status = observed_status(&text),
            Step::Rest(_) | Step::RemoveFinalizer => {}
        }
    }

    fn at(&mut self, at: &ObjectKey) -> &mut Found {
        self.destination.iter_mut().chain(&mut self.orphaned_copies).find(|found| found.key == *at).unwrap()
    }

    fn read(&mut self, at: &ObjectKey) {
        let found = self.at(at);
        found.copy = if found.truth.is_some() { Copy::Read } else { Copy::Absent };
    }

    fn written(&mut self, read: Read) {
        let Source::InHand { version, hash, .. } = self.source else { panic!("nothing to write") };
        self.verified = Some((version, read.meta.version));
        self.written_with = Some((hash, self.sync.generation));
        let here = self.here();
        (here.truth, here.copy) = (Some(Read { hash, ..read }), Copy::Cached);
    }
}

fn destination(found: &Found) -> Destination<'_> {
    let read = found.truth.as_ref();
    Destination {
        key: &found.key,
        namespace: found.namespace,
        copy: match found.copy {
            Copy::Unknown => CopyState::Unknown,
            Copy::Absent => CopyState::Absent,
            Copy::Cached => CopyState::Cached(&read.unwrap().meta),
            Copy::Read => CopyState::Read(read.unwrap()),
        },
        wanted_by_another: found.wanted_by_another,
        wanted_before: true,
        forbidden: found.forbidden,
    }
}

fn marked(found: &Found) -> bool {
    found.truth.as_ref().is_some_and(|read| read.meta.mark.is_some())
}

pub(super) fn words(step: &Step) -> String {
    match step {
        Step::Rest(Until::Change) => "rest".to_owned(),
        Step::Rest(Until::SecondLook) => "rest 10 s".to_owned(),
        Step::Rest(Until::TakeOver) => "rest 10 s for another to take it over".to_owned(),
        Step::Rest(Until::SourceRecheck) => "rest 300 s".to_owned(),
        Step::Copy(CopyStep::ReadSource { uncached: false }) => "read source".to_owned(),
        Step::Copy(CopyStep::ReadSource { uncached: true }) => "ask for source".to_owned(),
        Step::Copy(CopyStep::Destination(DestinationStep::ReadNamespace(name))) => format!("read {name}"),
        Step::Copy(CopyStep::Destination(DestinationStep::ReadCopy(at))) => format!("read {at}"),
        Step::Copy(CopyStep::Create) => "create".to_owned(),
        Step::Copy(CopyStep::Replace { adopt: false, .. }) => "replace".to_owned(),
        Step::Copy(CopyStep::Replace { adopt: true, .. }) => "adopt".to_owned(),
        Step::Copy(CopyStep::Destination(DestinationStep::Remove(at, _))) => format!("remove {at}"),
        Step::Copy(CopyStep::Destination(DestinationStep::Unmark(at))) => format!("unmark {at}"),
        Step::AddFinalizer { ahead: true } => "finalizer first".to_owned(),
        Step::AddFinalizer { ahead: false } => "finalizer".to_owned(),
        Step::RemoveFinalizer => "release".to_owned(),
        Step::Report(Verdict::InOrder { .. }, _) => "report in order".to_owned(),
        Step::Report(Verdict::Stalled(stall), _) => format!("report {}", stall.reason().as_str()),
        Step::Report(Verdict::CopyHeld(at), _) => format!("report {at} held"),
        Step::Report(verdict, _) => format!("report {verdict:?}"),
    }
}
