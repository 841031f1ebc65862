//! What fuzzing found, as tests that fail until it is mended, and inputs that no property makes.
