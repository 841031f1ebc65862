//! What the fuzz targets share with `cargo test --test fuzz`.

#[path = "../../tests/fuzz/mutate.rs"]
pub mod mutate;
#[path = "../../tests/fuzz/properties/mod.rs"]
pub mod properties;

/// Makes a fuzz target of a property.
#[macro_export]
macro_rules! target {
    ($property:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::properties::$property(bytes));
        // Half of all inputs are changed as JSON, so that they get past the parser.
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, longest: usize, seed: u32| {
            $crate::mutate::in_place(data, size, longest, seed)
                .unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, longest))
        });
    };
}
