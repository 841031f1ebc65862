//! What goes wrong: replicas are killed, frozen, cut off, told to end and started; watches break, the server forgets,
//! messages are lost, refused and late, admission is slow.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom as _;

use crate::network::{Admission, Weather};
use crate::play::TARGETS;
use crate::replica::Start;
use crate::server::Resource;
use crate::sim::Sim;

/// The clocks of any two replicas differ by no more than twice this share.
const DRIFT: f64 = 0.02;
/// The most replicas at once.
const MOST: usize = 4;

/// The longest that admission keeps a write.
pub const LONGEST_KEPT: Duration = Duration::from_secs(15);

/// What went wrong and is not yet right again.
#[derive(Default)]
pub struct Faults {
    cuts: Vec<(Duration, usize)>,
    weather_until: Option<Duration>,
    /// Until when admission is slow, in which namespace.
    slow: Vec<(Duration, &'static str)>,
}

impl Faults {
    /// A replica with a clock of its own.
    pub fn start(sim: &mut Sim) -> usize {
        let rate = 1.0 + sim.random.random_range(-DRIFT..DRIFT);
        sim.start(Start { rate, ..Start::default() })
    }

    fn any(sim: &mut Sim) -> Option<usize> {
        let running: Vec<usize> = sim.replicas.keys().copied().collect();
        running.choose(&mut sim.random).copied()
    }

    /// Rights what it is time for.
    pub fn pass(&mut self, sim: &mut Sim) {
        let now = sim.now;
        let due: Vec<usize> =
            self.cuts.extract_if(.., |(until, _)| *until <= now).map(|(_, replica)| replica).collect();
        for replica in due {
            let broken = sim.random.random_bool(0.5);
            sim.mend(replica, broken);
        }
        if self.weather_until.is_some_and(|until| until <= now) {
            self.weather_until = None;
            sim.network.weather = Weather::default();
        }
        for (_, namespace) in self.slow.extract_if(.., |(until, _)| *until <= now) {
            sim.network.admission.remove(namespace);
        }
        if let Some(replica) = sim.network.kept_long.take()
            && !sim.network.admission.is_empty()
            && sim.random.random_bool(0.7)
        {
            self.outlive(sim, replica);
        }
    }

    /// A write that admission keeps outlives the replica that sent it, or finds it frozen.
    fn outlive(&mut self, sim: &mut Sim, replica: usize) {
        let frozen_until = sim.now + LONGEST_KEPT + Duration::from_secs(5);
        match sim.replicas.get_mut(&replica) {
            Some(running) if sim.random.random_bool(0.5) => running.frozen_until = Some(frozen_until),
            _ => sim.kill(replica),
        }
        if sim.replicas.len() < MOST {
            Self::start(sim);
        }
    }

    /// Something goes wrong.
    pub fn strike(&mut self, sim: &mut Sim) {
        let Some(replica) = Self::any(sim) else {
            Self::start(sim);
            return;
        };
        match sim.random.random_range(0..100) {
            0..12 => {
                sim.kill(replica);
                if sim.random.random_bool(0.7) {
                    Self::start(sim);
                }
            }
            12..22 => {
                if let Some(running) = sim.replicas.get(&replica) {
                    running.terminate();
                }
                if sim.random.random_bool(0.6) {
                    Self::start(sim);
                }
            }
            22..32 if sim.replicas.len() < MOST => drop(Self::start(sim)),
            32..47 => {
                let pause = Duration::from_millis(sim.random.random_range(100..25_000));
                let now = sim.now;
                if let Some(running) = sim.replicas.get_mut(&replica) {
                    running.frozen_until = Some(now + pause);
                }
            }
            47..62 => {
                let only = [None, Some(Resource::Leases), Some(Resource::ConfigMaps), Some(Resource::Syncs)];
                let only = only.choose(&mut sim.random).copied().flatten();
                let during = Duration::from_millis(sim.random.random_range(500..30_000));
                sim.cut(replica, only);
                self.cuts.push((sim.now + during, replica));
            }
            62..72 => {
                let of = sim.random.random_bool(0.7).then_some(replica);
                let in_order = sim.random.random_bool(0.5);
                sim.break_watches(of, in_order);
                if sim.random.random_bool(0.5) {
                    sim.compact();
                }
            }
            72..82 => {
                // In one namespace for some time, or in all so long that a write may outlive the tenure of its sender.
                let most = LONGEST_KEPT.mul_f64(sim.random.random_range(0.0..1.0));
                let (namespaces, admission) = if sim.random.random_bool(0.5) {
                    let one = sim.random.random_range(0..TARGETS.len());
                    (&TARGETS[one..=one], Admission::takes_up_to(most))
                } else {
                    let least = LONGEST_KEPT.mul_f64(0.8);
                    (&TARGETS[..], Admission { least, ..Admission::takes_up_to(LONGEST_KEPT) })
                };
                let until = sim.now + Duration::from_millis(sim.random.random_range(1_000..20_000));
                for namespace in namespaces {
                    sim.network.admission.insert((*namespace).to_owned(), admission.clone());
                    self.slow.push((until, namespace));
                }
            }
            _ => {
                let mut share = |most: f64| sim.random.random_range(0.0..most);
                let weather = Weather {
                    lost: share(0.1),
                    answer_lost: share(0.1),
                    refused: share(0.15),
                    slow: share(0.4),
                    late: share(0.3),
                };
                sim.network.weather = weather;
                let during = Duration::from_millis(sim.random.random_range(1_000..15_000));
                self.weather_until = Some(sim.now + during);
            }
        }
    }

    /// All is right again, and as many replicas run as is usual.
    pub fn end(&mut self, sim: &mut Sim) {
        self.cuts.iter_mut().for_each(|(until, _)| *until = sim.now);
        self.weather_until = Some(sim.now);
        self.slow.iter_mut().for_each(|(until, _)| *until = sim.now);
        self.pass(sim);
        sim.replicas.values_mut().for_each(|replica| {
            replica.frozen_until = replica.frozen_until.map(|until| until.min(sim.now));
        });
        let wanted = sim.random.random_range(1..=MOST);
        while sim.replicas.values().filter(|replica| replica.takes_part()).count() < wanted {
            Self::start(sim);
        }
    }
}
