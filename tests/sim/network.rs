//! What becomes of a message: how long it takes, whether it is lost, and what the server says instead of doing it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use http::Method;
use rand::Rng;
use rand::rngs::StdRng;

use crate::server::{Answer, Resource, Target};
use crate::sim::WINDOW;
use crate::wire::Sent;

/// A message that is not slow takes from this long …
const FAST: Duration = Duration::from_millis(2 * WINDOW.as_millis() as u64);
/// … to this long.
const USUAL: Duration = Duration::from_millis(25);
/// After this time a client takes a connection that says nothing for broken.
const SILENCE: Duration = Duration::from_secs(100);
/// The longest that a request lies in the network: a part of the margin that the gate has for it and for drift.
const LONGEST_UP: Duration = Duration::from_millis(500);

/// A write that is kept for longer may outlive the tenure of its sender, if that goes soon.
const LONG: Duration = Duration::from_secs(8);
/// The server gives a write no more than this, whatever it asks for.
const LONGEST_WRITE: Duration = Duration::from_secs(34);

/// What becomes of one request.
pub struct Fate {
    /// How long it takes to the server.
    pub up: Duration,
    /// How long the server takes.
    pub work: Duration,
    /// How long the answer takes.
    pub down: Duration,
    /// It never arrives; the client learns of it after this time.
    pub lost_after: Option<Duration>,
    /// It is carried out, and its answer never arrives; the client learns of it after this time.
    pub answer_lost_after: Option<Duration>,
    /// It is not carried out, and this is the answer.
    pub refused: Option<Answer>,
    /// Admission keeps it, perhaps for longer than its sender holds its shard.
    pub kept: bool,
}

impl Fate {
    /// Nothing happens to it.
    pub fn good() -> Self {
        Self {
            up: FAST,
            work: Duration::ZERO,
            down: FAST,
            lost_after: None,
            answer_lost_after: None,
            refused: None,
            kept: false,
        }
    }

    /// The server carries it out so much later. If `?timeout=` is over before, it says so then, and does nothing.
    pub fn keep(&mut self, time: Duration, target: &Target) {
        let bound = timeout(target).unwrap_or(LONGEST_WRITE).min(LONGEST_WRITE);
        self.work += time;
        if self.work >= bound {
            self.work = bound;
            self.refused = Some(Answer::server_error(504));
        }
    }
}

/// Admission that keeps the writes of ConfigMaps of a namespace, like a webhook that answers late. What a write names
/// (UID, version) is compared when it is carried out.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The verbs; none means all.
    pub verbs: Vec<Method>,
    /// It keeps a write at least this long …
    pub least: Duration,
    /// … and at most this long.
    pub most: Duration,
}

impl Admission {
    /// Every write is kept for this time.
    pub fn takes(time: Duration) -> Self {
        Self { verbs: Vec::new(), least: time, most: time }
    }

    /// Each write is kept for some time, up to this.
    pub fn takes_up_to(most: Duration) -> Self {
        Self { verbs: Vec::new(), least: Duration::ZERO, most }
    }

    /// No write is ever answered.
    pub fn never_answers() -> Self {
        Self::takes(Duration::from_secs(3_600))
    }

    fn keeps(&self, random: &mut StdRng, method: &Method) -> Option<Duration> {
        let concerned = *method != Method::GET && (self.verbs.is_empty() || self.verbs.contains(method));
        concerned.then(|| self.least + (self.most - self.least).mul_f64(random.random_range(0.0..=1.0)))
    }
}

/// What a scene does to a request, after the weather.
pub type Scene = Box<dyn FnMut(&Sent, &Target, &mut Fate)>;

/// How bad the weather is: each a share of all requests.
#[derive(Clone, Copy, Default, Debug)]
pub struct Weather {
    /// Lost on the way.
    pub lost: f64,
    /// Carried out, and the answer lost.
    pub answer_lost: f64,
    /// Answered with 429, 500, 503 or 504.
    pub refused: f64,
    /// Long in the network, at the server, or on the way back.
    pub slow: f64,
    /// Of the lines of watches: late, up to 3 s.
    pub late: f64,
}

/// The network.
#[derive(Default)]
pub struct Network {
    /// What it is like.
    pub weather: Weather,
    /// Replicas that are cut off; with a kind: only for that.
    cut: BTreeMap<usize, Option<Resource>>,
    /// A replica that this kind's watches tell nothing, though its requests get through.
    blind: Option<(usize, Resource)>,
    /// Namespaces whose admission is slow.
    pub admission: BTreeMap<String, Admission>,
    /// Who sent the last write that admission keeps for long and then lets through.
    pub kept_long: Option<usize>,
    /// What a scene does besides.
    pub scene: Option<Scene>,
    /// How late all lines of watches are, where a scene wants it so.
    pub lag: Option<Range<Duration>>,
}

impl Network {
    /// Cuts a replica off.
    pub fn cut(&mut self, replica: usize, only: Option<Resource>) {
        self.cut.insert(replica, only);
    }

    /// What happens to this kind is told to this replica a minute late.
    pub fn blind(&mut self, replica: usize, of: Option<Resource>) {
        self.blind = of.map(|of| (replica, of));
    }

    /// It is whole again.
    pub fn mend(&mut self, replica: usize) {
        self.cut.remove(&replica);
    }

    /// The replica is gone.
    pub fn forget(&mut self, replica: usize) {
        self.cut.remove(&replica);
    }

    /// Whether nothing about this kind gets through to this replica.
    pub fn is_cut(&self, replica: usize, resource: Resource) -> bool {
        self.cut.get(&replica).is_some_and(|only| only.is_none_or(|only| only == resource))
    }

    /// What becomes of a request.
    pub fn fate(&mut self, random: &mut StdRng, sent: &Sent, target: &Target) -> Fate {
        let mut fate = Fate { up: usual(random), down: usual(random), ..Fate::good() };
        let Weather { lost, answer_lost, refused, slow, .. } = self.weather;
        let learns = if random.random_bool(0.5) { usual(random) * 2 } else { SILENCE };
        if self.is_cut(sent.replica, target.resource) {
            fate.lost_after = Some(if random.random_bool(0.3) { learns } else { SILENCE });
        } else if random.random_bool(lost) {
            fate.lost_after = Some(learns);
        } else if random.random_bool(answer_lost) && !target.is_watch() {
            fate.answer_lost_after = Some(learns);
        } else if random.random_bool(refused) {
            fate.refused = Some(match random.random_range(0..5) {
                0 | 1 => Answer::too_many(random.random_range(1..4)),
                2 => Answer::server_error(500),
                3 => Answer::server_error(503),
                _ => Answer::server_error(504),
            });
        } else if random.random_bool(slow) {
            self.slow_down(random, target, &mut fate);
        }
        let admission = self.admission.get(&target.namespace).filter(|_| target.resource == Resource::ConfigMaps);
        if let Some(time) = admission.and_then(|admission| admission.keeps(random, sent.request.method()))
            && fate.refused.is_none()
        {
            fate.keep(time, target);
            fate.kept = true;
            if time >= LONG && fate.refused.is_none() {
                self.kept_long = Some(sent.replica);
            }
        }
        if let Some(scene) = &mut self.scene {
            scene(sent, target, &mut fate);
        }
        fate
    }

    /// The server keeps to `?timeout=`; it counts from when the request has arrived.
    fn slow_down(&self, random: &mut StdRng, target: &Target, fate: &mut Fate) {
        let share = random.random_range(0.0..1.0);
        match random.random_range(0..3) {
            0 => fate.up = FAST + LONGEST_UP.mul_f64(share),
            1 => {
                let timeout = timeout(target).unwrap_or(Duration::from_secs(5));
                fate.up = FAST + LONGEST_UP.mul_f64(random.random_range(0.0..1.0));
                fate.work = timeout.saturating_sub(WINDOW * 2).mul_f64(share);
            }
            _ => fate.down = FAST + Duration::from_secs(6).mul_f64(share),
        }
    }

    /// How late the lines of a watch are.
    pub fn lateness(&self, random: &mut StdRng, replica: usize, resource: Resource) -> Duration {
        if self.blind == Some((replica, resource)) {
            return Duration::from_secs(60);
        }
        if let Some(lag) = self.lag.clone() {
            return random.random_range(lag);
        }
        if random.random_bool(self.weather.late) {
            Duration::from_millis(random.random_range(30..3_000))
        } else {
            usual(random)
        }
    }
}

fn usual(random: &mut StdRng) -> Duration {
    Duration::from_micros(random.random_range(FAST.as_micros() as u64..USUAL.as_micros() as u64))
}

/// How long the server may take, by the request's own word.
fn timeout(target: &Target) -> Option<Duration> {
    target.query("timeout").as_deref().and_then(duration)
}

fn duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(millis) => Some(Duration::from_millis(millis.parse().ok()?)),
        None => Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)),
    }
}
