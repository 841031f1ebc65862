//! One play per seed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use rand::Rng;

use crate::faults::{Faults, LONGEST_KEPT};
use crate::laws;
use crate::play::People;
use crate::server::Resource;
use crate::sim::Sim;

/// Seeds that are played unless `SIM_SEEDS` says how many.
const SEEDS: u64 = 20;
/// Of these one in so many is played twice.
const TWICE: u64 = 5;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(45);
/// In the end all settles within this time: the longest backoff, and then some.
const SETTLES: Duration = Duration::from_secs(1_200);
/// A late write is refused, or repaired within this time.
const REPAIRED: Duration = Duration::from_secs(5);
/// A copy whose sync nobody saw go is swept after this time.
const UNSEEN: Duration = Duration::from_secs(400);
/// For so long a session without a replica, made by a late creation, may draw shards to itself.
const GHOST: Duration = Duration::from_secs(30);
/// After this time each connection over which nothing comes has been found to be broken, and what follows is done.
const CONNECTIONS_BREAK: Duration = Duration::from_secs(110);
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(60);

/// How a play went.
#[derive(Debug, PartialEq, Eq, Default)]
struct Played {
    fingerprint: u64,
    simulated: Duration,
    settled: Duration,
    requests: usize,
    writes: usize,
    stale: usize,
}

fn play(seed: u64) -> Result<Played, String> {
    let mut sim = Sim::new(seed);
    let mut people = People::default();
    let mut faults = Faults::default();
    // In every third play requests lie in the network for as long as they like.
    sim.laws.assumptions_hold = !seed.is_multiple_of(3);
    sim.server.page = 4;
    people.begin(&mut sim);
    for _ in 0..sim.random.random_range(1..4) {
        Faults::start(&mut sim);
    }
    let quiet = Duration::from_secs(sim.random.random_range(0..25));
    sim.run_for(quiet);
    if !sim.laws.assumptions_hold {
        sim.hold_share = 0.01;
    }
    let until = sim.now + TROUBLE;
    while sim.now < until {
        let wait = sim.random.random_range(20..1_500);
        sim.run_for(Duration::from_millis(wait));
        faults.pass(&mut sim);
        if sim.random.random_bool(0.7) {
            people.act(&mut sim);
        } else {
            faults.strike(&mut sim);
        }
        sim.fine()?;
    }
    faults.end(&mut sim);
    people.make_peace(&mut sim);
    sim.hold_share = 0.0;
    let settled = settle(&mut sim, SETTLES)?;
    // What admission kept is carried out by now, and repaired.
    sim.run_for(LONGEST_KEPT);
    settle(&mut sim, UNSEEN).map_err(|why| format!("after what admission kept: {why}"))?;
    while sim.let_one_go() {
        sim.run_for(Duration::from_millis(500));
        let begun = sim.now;
        while let Err(why) = laws::in_order_everywhere(&sim.server, &sim.laws.protected) {
            // A copy whose sync went before any of those who run now were there is swept after five minutes.
            let nobody_saw = why.ends_with("is a copy whose sync is gone");
            if sim.now - begun > if nobody_saw { UNSEEN } else { REPAIRED } {
                return Err(format!("after a late write: {why}"));
            }
            sim.run_for(Duration::from_millis(100));
        }
        // A late creation of a session's Lease is a replica that does not exist: it is waited for once.
        settle(&mut sim, GHOST).map_err(|why| format!("after a late write: {why}"))?;
    }
    let requests = sim.requests.values().sum();
    rest(&mut sim)?;
    Ok(Played {
        fingerprint: sim.fingerprint(),
        simulated: sim.now,
        settled,
        requests,
        writes: sim.laws.writes,
        stale: sim.laws.stale,
    })
}

fn settle(sim: &mut Sim, within: Duration) -> Result<Duration, String> {
    let begun = sim.now;
    loop {
        sim.fine()?;
        match laws::settled(&sim.server, &sim.replicas, &sim.laws.protected) {
            Ok(()) => return Ok(sim.now - begun),
            Err(why) if sim.now - begun >= within => return Err(format!("not settled after {within:?}: {why}")),
            Err(_) => sim.run_for(Duration::from_secs(1)),
        }
    }
}

/// Nothing is written any more but heartbeats, and nothing is listed.
fn rest(sim: &mut Sim) -> Result<(), String> {
    sim.run_for(CONNECTIONS_BREAK);
    settle(sim, REPAIRED)?;
    sim.run_for(Duration::from_secs(2));
    sim.requests.clear();
    sim.run_for(REST);
    sim.fine()?;
    let replicas = sim.replicas.len();
    let beats = |period: u64| (REST.as_secs() / period + 2) as usize * replicas;
    for ((method, resource, watch), count) in &sim.requests {
        let most = match (method, resource) {
            _ if *watch => 4 * replicas,
            (&Method::GET, Resource::Leases) => beats(5) * 2,
            (&Method::PATCH, Resource::Leases) => beats(5),
            (&Method::PUT, Resource::Leases) => beats(2),
            (&Method::DELETE, Resource::Leases) => 64, // sessions that are over
            (&Method::GET, Resource::ConfigMaps) => 6 * replicas, // sources that are missing
            _ => 0,
        };
        if *count > most {
            return Err(format!("at rest {count} requests {method} {resource:?} in {REST:?}, watch: {watch}"));
        }
    }
    laws::settled(&sim.server, &sim.replicas, &sim.laws.protected).map_err(|why| format!("at rest: {why}"))
}

fn again(seed: u64) -> String {
    format!("SIM_SEED={seed} SIM_LOG=debug cargo test --locked --test sim replicas -- --nocapture")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn replicas_in_every_trouble() {
    crate::sim::log();
    if let Some(seed) = number("SIM_SEED") {
        let played = play(seed);
        eprintln!("seed {seed}: {played:?}");
        played.unwrap();
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(1);
    let (failed, sum) = (Mutex::new(Vec::new()), Mutex::new(Played::default()));
    let (begun, ended) = (Instant::now(), AtomicUsize::new(0));
    in_all_threads(0..usize::try_from(seeds).unwrap(), |number| {
        let seed = first + number as u64;
        match once_or_twice(seed) {
            Ok(played) => {
                let mut sum = sum.lock().unwrap();
                sum.simulated += played.simulated;
                sum.settled = sum.settled.max(played.settled);
                sum.requests += played.requests;
                sum.writes += played.writes;
                sum.stale += played.stale;
            }
            Err(why) => {
                eprintln!("seed {seed}: {why}\n    {}", again(seed));
                failed.lock().unwrap().push(seed);
            }
        }
        let ended = ended.fetch_add(1, Ordering::SeqCst) + 1;
        if ended.is_multiple_of(500) {
            eprintln!("{ended} of {seeds} seeds played");
        }
    });
    let sum = sum.into_inner().unwrap();
    eprintln!(
        "{seeds} seeds from {first}: {:.1} h simulated in {:.0} s; {} requests, {} writes of copies and syncs, of them {} \
         by former holders; settled after {:?} at the most",
        sum.simulated.as_secs_f64() / 3600.0,
        begun.elapsed().as_secs_f64(),
        sum.requests,
        sum.writes,
        sum.stale,
        sum.settled,
    );
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}; the first: {}", failed.len(), again(failed[0]));
}

/// Does something for each number, on as many threads as there are cores.
pub fn in_all_threads(numbers: Range<usize>, each: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|next| *next < numbers.end) {
                    each(number);
                }
            });
        }
    });
}

fn once_or_twice(seed: u64) -> Result<Played, String> {
    let played = std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|_| Err("it panicked".to_owned()))?;
    if seed.is_multiple_of(TWICE) {
        let again = play(seed)?;
        if played != again {
            return Err(format!("played twice it went another way: {played:?} and {again:?}"));
        }
    }
    Ok(played)
}
