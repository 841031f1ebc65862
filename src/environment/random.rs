//! Chance: jitter, and the ends of names. All of it comes from here, so that a simulation can repeat what happened.

use std::cell::RefCell;

use rand::distr::StandardUniform;
use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::prelude::{Distribution, StdRng};
use rand::{Rng, SeedableRng};

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Any value.
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.random(),
        None => rand::random(),
    })
}

/// A value of this range.
pub fn random_range<T: SampleUniform>(range: impl SampleRange<T>) -> T {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.random_range(range),
        None => rand::random_range(range),
    })
}

/// From now on, chance on this thread is what follows from `seed`. For a simulation.
pub fn seed(seed: u64) {
    SEEDED.set(Some(StdRng::seed_from_u64(seed)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        let draw = || {
            seed(7);
            (random::<u64>(), random_range(0.5..1.0))
        };
        let (first, again): ((u64, f64), (u64, f64)) = (draw(), draw());
        assert_eq!(first, again);
        assert!((0.5..1.0).contains(&first.1));
    }
}
