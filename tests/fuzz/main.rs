//! Fuzzing without a fuzzer: the kept corpus, and a number of inputs made of it, to the properties that `fuzz/` runs
//! under cargo-fuzz. See `fuzz/README.md`.

// Tests may panic: that is how they fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod found;
mod mutate;
mod properties;

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use properties::Property;

/// How many inputs are made for each property, where `FUZZ_CASES` does not say.
const CASES: usize = 4_000;

/// Where the inputs of a property are kept.
fn corpus(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", name].iter().collect()
}

fn kept(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    files.into_iter().map(read).collect()
}

/// Tells the input that a property does not hold for.
fn check((name, property): Property, from: &str, input: &[u8]) {
    if catch_unwind(|| property(input)).is_err() {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&path, input).unwrap();
        panic!("{name} does not hold for {} (of {from}):\n{}", path.display(), String::from_utf8_lossy(input));
    }
}

#[test]
fn every_property_holds_for_the_kept_inputs() {
    for property in properties::ALL {
        let kept = kept(property.0);
        assert!(kept.len() >= 5, "{} has a corpus", property.0);
        for (path, input) in kept {
            check(property, &path, &input);
        }
    }
}

/// Inputs that are made of the kept ones, and of those that were made so before.
fn hold_for_made_inputs(property: Property) {
    let cases = std::env::var("FUZZ_CASES").map_or(CASES, |cases| cases.parse().expect("FUZZ_CASES is a number"));
    let seed = std::env::var("FUZZ_SEED").map_or(0, |seed| seed.parse().expect("FUZZ_SEED is a number"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut pool: Vec<Vec<u8>> = kept(property.0).into_iter().map(|(_, input)| input).collect();
    let kept = pool.len();
    for case in 0..cases {
        let input = mutate::mutated(&pool[random.random_range(0..pool.len())], &mut random);
        check(property, &format!("case {case}, seed {seed}"), &input);
        // What was kept stays; what was made is made place for.
        match pool.len() < 2 * kept {
            true => pool.push(input),
            false => pool[random.random_range(kept..2 * kept)] = input,
        }
    }
}

/// One test for each, so that they run side by side.
macro_rules! made {
    ($($test:ident: $at:literal),*) => {$(
        #[test]
        fn $test() {
            hold_for_made_inputs(properties::ALL[$at]);
        }
    )*};
}
made!(
    made_cluster_syncs: 0, made_config_maps: 1, made_consents: 2, made_contents: 3, made_leases: 4, made_namespaces: 5,
    made_refusals: 6, made_specs: 7, made_syncs: 8
);
