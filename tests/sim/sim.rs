//! The simulation: a server, replicas, and the network between them, in one thread and in true time that only it lets
//! pass. Everything that chance decides follows from the seed.
//!
//! Time passes in windows. What was due in a window is done at its beginning; then each replica runs through it, alone.
//! No message is faster than a window, so that nothing which a replica does in it could have reached another. While
//! nothing is on its way the windows are longer, and so are the messages that are sent in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use configmapsync_operator::environment::{clock, random};
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use crate::laws::Laws;
use crate::network::{Fate, Network};
use crate::replica::{Replica, Start};
use crate::server::{Answer, Outcome, Resource, Server, Target, Watch};
use crate::wire::{self, Lines, Reply, Sent};

/// A window.
pub const WINDOW: Duration = Duration::from_millis(5);
/// While nothing is under way, as many windows are passed at once: no more than a usual message takes.
const QUIET: u128 = 5;
/// How often the server tells a silent watch how far it is.
const BOOKMARK: Duration = Duration::from_secs(60);
/// How often the namespace controller looks.
const NAMESPACES: Duration = Duration::from_millis(500);

thread_local! {
    /// What panicked in this thread: a task of a replica that does so ends without a word.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes panics; and tells what happens, if `SIM_LOG` asks for it.
pub fn log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
        if let Ok(filter) = std::env::var("SIM_LOG") {
            let filter = format!("warn,configmapsync_operator={filter},sim={filter}");
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .without_time()
                .init();
        }
    });
}

/// What is to be done at some time.
enum Item {
    /// A request reaches the server, which works on it for so long.
    Arrive(Sent, Fate),
    /// The server has worked on it.
    Work(Sent, Fate),
    /// An answer reaches a replica, or its connection breaks.
    Reply(oneshot::Sender<Reply>, Reply),
    /// Lines of a watch reach a replica.
    Lines(u64, Vec<Bytes>),
    /// A watch ends: in order, or not.
    End(u64, bool),
    Bookmarks,
    Namespaces,
}

/// A watch on its way to a replica.
struct Connection {
    replica: usize,
    resource: Resource,
    watch: Watch,
    lines: Lines,
    /// When the last line that was sent arrives.
    last: Duration,
    /// Nothing gets through; that much waits.
    stuck: Option<Vec<Bytes>>,
}

/// The simulation.
pub struct Sim {
    /// The true time.
    pub now: Duration,
    /// The API server.
    pub server: Server,
    /// The replicas that run, by number. No number is used twice.
    pub replicas: BTreeMap<usize, Replica>,
    /// The network.
    pub network: Network,
    /// Chance.
    pub random: StdRng,
    /// What must hold.
    pub laws: Laws,
    /// How many requests there were, by verb and kind.
    pub requests: BTreeMap<(Method, Resource, bool), usize>,
    agenda: BTreeMap<(Duration, u64), Item>,
    connections: BTreeMap<u64, Connection>,
    number: u64,
    replicas_started: usize,
    hasher: DefaultHasher,
    /// Requests that will be carried out when they are let go.
    held: Vec<Sent>,
    /// Which requests are to be held: the first that this says yes to.
    pub hold: Option<fn(&Sent) -> bool>,
    /// So large a share of all writes is held.
    pub hold_share: f64,
}

impl Sim {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        random::seed(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let mut sim = Self {
            now: Duration::ZERO,
            server: Server::new(random.random()),
            replicas: BTreeMap::new(),
            network: Network::default(),
            random,
            laws: Laws::default(),
            requests: BTreeMap::new(),
            agenda: BTreeMap::new(),
            connections: BTreeMap::new(),
            number: 0,
            replicas_started: 0,
            hasher: DefaultHasher::new(),
            held: Vec::new(),
            hold: None,
            hold_share: 0.0,
        };
        sim.at(BOOKMARK, Item::Bookmarks);
        sim.at(NAMESPACES, Item::Namespaces);
        sim
    }

    /// The history of requests so far, in a number.
    pub fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }

    /// Starts one more replica; returns its number.
    pub fn start(&mut self, start: Start) -> usize {
        let number = self.replicas_started;
        self.replicas_started += 1;
        self.replicas.insert(number, Replica::start(number, start, self.now));
        number
    }

    /// Like SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.replicas.remove(&number);
        self.connections.retain(|_, connection| connection.replica != number);
        self.network.forget(number);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.window(until);
        }
    }

    /// Lets time pass until something holds, `within` at the most. Returns how long it took.
    pub fn run_until(&mut self, within: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> Option<Duration> {
        let begun = self.now;
        while !holds(self) {
            if self.now - begun >= within {
                return None;
            }
            self.run_for(Duration::from_millis(100));
        }
        Some(self.now - begun)
    }

    /// The next window. What is sent in it arrives after its end.
    fn window(&mut self, until: Duration) {
        self.server.now = self.now;
        clock::set_wall(self.server.wall());
        let due = self.agenda.first_key_value().map_or(until, |((when, _), _)| until.min(*when));
        let windows = (due.saturating_sub(self.now).as_micros() / WINDOW.as_micros()).clamp(1, QUIET);
        let next = self.now + WINDOW * u32::try_from(windows).unwrap();
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 < next) {
            let item = entry.remove();
            self.perform(item);
        }
        self.tell_watches();
        let mut sent = Vec::new();
        for replica in self.replicas.values_mut() {
            sent.extend(replica.run_until(self.now, next));
        }
        self.now = next;
        let ended: Vec<usize> =
            self.replicas.iter().filter(|(_, replica)| replica.has_ended()).map(|(number, _)| *number).collect();
        ended.into_iter().for_each(|number| self.kill(number));
        sent.into_iter().for_each(|sent| self.carry(sent));
    }

    fn at(&mut self, when: Duration, item: Item) {
        self.number += 1;
        self.agenda.insert((when, self.number), item);
    }

    // --- requests ------------------------------------------------------------------------------------------------

    /// A request goes out.
    fn carry(&mut self, sent: Sent) {
        let uri = sent.request.uri();
        let path = uri.path().split("/events/").next().unwrap_or_default();
        (sent.at.as_millis(), sent.replica, sent.request.method().as_str(), path).hash(&mut self.hasher);
        let Some(target) = Target::parse(uri) else { panic!("{uri} is not modelled") };
        let count = self.requests.entry((sent.request.method().clone(), target.resource, target.is_watch()));
        *count.or_default() += 1;
        let is_write = sent.request.method() != Method::GET && target.resource != Resource::Events;
        let held = is_write && self.hold_share > 0.0 && self.random.random_bool(self.hold_share);
        if held || self.hold.is_some_and(|hold| hold(&sent)) {
            self.hold = None;
            self.held.push(sent);
            return;
        }
        let fate = self.network.fate(&mut self.random, &sent, &target);
        match fate.lost_after {
            Some(after) => self.at(sent.at + after, Item::Reply(sent.reply, Err("the connection broke".into()))),
            None => self.at(sent.at + fate.up, Item::Arrive(sent, fate)),
        }
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Who sent the first of them.
    pub fn held_by(&self) -> usize {
        self.held[0].replica
    }

    /// One of the requests that are held arrives now; false when there is none.
    pub fn let_one_go(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let sent = self.held.remove(0);
        self.at(self.now, Item::Work(sent, Fate::good()));
        true
    }

    /// Whether no law was broken so far.
    pub fn fine(&self) -> Result<(), String> {
        let panics = PANICS.take();
        match (self.laws.broken.first(), panics.first()) {
            (Some(first), _) => Err(format!("{first} ({} in all)", self.laws.broken.len())),
            (None, Some(panic)) => Err(format!("something panicked: {panic}")),
            (None, None) => Ok(()),
        }
    }

    fn perform(&mut self, item: Item) {
        match item {
            Item::Arrive(sent, fate) => self.at(self.now.max(sent.at + fate.up) + fate.work, Item::Work(sent, fate)),
            Item::Work(sent, fate) => self.work(sent, &fate),
            Item::Reply(reply, answer) => drop(reply.send(answer)),
            Item::Lines(number, lines) => {
                if let Some(connection) = self.connections.get_mut(&number) {
                    if connection.resource != Resource::Leases {
                        let replica = connection.replica;
                        for line in &lines {
                            let line: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
                            let (kind, metadata) = (&line["type"], &line["object"]["metadata"]);
                            let what = [&metadata["namespace"], &metadata["name"], &metadata["resourceVersion"]];
                            tracing::trace!(target: "sim", "{:.3}: r{replica} is told {kind} {what:?}", self.now.as_secs_f64());
                        }
                    }
                    lines.into_iter().for_each(|line| drop(connection.lines.send(Ok(line))));
                }
            }
            Item::End(number, in_order) => {
                if let Some(connection) = self.connections.remove(&number)
                    && !in_order
                {
                    let _ = connection.lines.send(Err("the watch broke off".into()));
                }
            }
            Item::Bookmarks => {
                self.tell_watches();
                self.connections.values_mut().for_each(|connection| connection.watch.bookmark());
                self.at(self.now + BOOKMARK, Item::Bookmarks);
            }
            Item::Namespaces => {
                self.server.empty_namespaces();
                self.at(self.now + NAMESPACES, Item::Namespaces);
            }
        }
    }

    fn work(&mut self, sent: Sent, fate: &Fate) {
        let answer = match &fate.refused {
            Some(refusal) => Outcome::Answered(refusal.clone(), None),
            None => self.server.handle(&sent.request),
        };
        let down = self.now + fate.down;
        match answer {
            Outcome::Answered(answer, effect) => {
                (answer.code, sent.replica).hash(&mut self.hasher);
                self.trace(&sent, &answer);
                if let Some(effect) = effect {
                    self.laws.wrote(&self.server, self.now, &sent, fate.kept, &effect);
                }
                match fate.answer_lost_after {
                    Some(after) => {
                        self.at(self.now + after, Item::Reply(sent.reply, Err("the connection broke".into())))
                    }
                    None => self.at(down, Item::Reply(sent.reply, Ok(wire::response(&answer)))),
                }
            }
            Outcome::Watching(watch) => {
                let (response, lines) = wire::watching();
                self.at(down, Item::Reply(sent.reply, Ok(response)));
                self.number += 1;
                let (number, over, resource) = (self.number, watch.over, watch.target.resource);
                let stuck = self.network.is_cut(sent.replica, resource).then(Vec::new);
                let connection = Connection { replica: sent.replica, resource, watch, lines, last: down, stuck };
                self.connections.insert(number, connection);
                if over {
                    self.tell_watches();
                    self.at(down + WINDOW * 4, Item::End(number, true));
                }
            }
        }
    }

    fn trace(&self, sent: &Sent, answer: &Answer) {
        tracing::debug!(
            target: "sim",
            "r{} {} {} sent {:.3} -> {} {}",
            sent.replica, sent.request.method(), sent.request.uri().path(), sent.at.as_secs_f64(), answer.code,
            answer.body["message"].as_str().unwrap_or_default()
        );
    }

    // --- watches -------------------------------------------------------------------------------------------------

    fn tell_watches(&mut self) {
        let mut news = Vec::new();
        for (number, connection) in &mut self.connections {
            for event in self.server.since(connection.watch.version) {
                connection.watch.offer(event);
            }
            if !connection.watch.lines.is_empty() {
                let lines = std::mem::take(&mut connection.watch.lines);
                if let Some(stuck) = &mut connection.stuck {
                    stuck.extend(lines);
                } else {
                    let late = self.network.lateness(&mut self.random, connection.replica, connection.resource);
                    connection.last = connection.last.max(self.now + late);
                    news.push((connection.last, Item::Lines(*number, lines)));
                }
            }
            if connection.watch.ends <= self.now && !connection.watch.over && connection.stuck.is_none() {
                connection.watch.over = true;
                news.push((connection.last + WINDOW, Item::End(*number, true)));
            }
        }
        news.into_iter().for_each(|(when, item)| self.at(when, item));
    }

    /// The server forgets what happened.
    pub fn compact(&mut self) {
        self.tell_watches();
        self.server.compact();
    }

    /// Breaks watches off, in order or not: of this replica, or of all.
    pub fn break_watches(&mut self, of: Option<usize>, in_order: bool) {
        let concerned = |connection: &&Connection| of.is_none_or(|replica| connection.replica == replica);
        let ends: Vec<(Duration, u64)> = self
            .connections
            .iter()
            .filter(|(_, connection)| concerned(connection))
            .map(|(number, connection)| (connection.last.max(self.now), *number))
            .collect();
        ends.into_iter().for_each(|(when, number)| self.at(when, Item::End(number, in_order)));
    }

    /// Cuts a replica off, or only what it has to do with this kind.
    pub fn cut(&mut self, replica: usize, only: Option<Resource>) {
        self.network.cut(replica, only);
        for connection in self.connections.values_mut() {
            if self.network.is_cut(connection.replica, connection.resource) {
                connection.stuck.get_or_insert_default();
            }
        }
    }

    /// Watches of this kind that are open tell this replica nothing any more, and do not end.
    pub fn mute(&mut self, replica: usize, resource: Resource) {
        let concerned = |it: &&mut Connection| it.replica == replica && it.resource == resource;
        self.connections.values_mut().filter(concerned).for_each(|it| _ = it.stuck.get_or_insert_default());
    }

    /// The network is whole again. What waited arrives now; or connections turn out to be broken.
    pub fn mend(&mut self, replica: usize, broken: bool) {
        self.network.mend(replica);
        let mut news = Vec::new();
        for (number, connection) in self.connections.iter_mut().filter(|(_, it)| it.replica == replica) {
            if let Some(stuck) = connection.stuck.take() {
                connection.last = connection.last.max(self.now + WINDOW * 2);
                let item = if broken { Item::End(*number, false) } else { Item::Lines(*number, stuck) };
                news.push((connection.last, item));
            }
        }
        news.into_iter().for_each(|(when, item)| self.at(when, item));
    }
}
