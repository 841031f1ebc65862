//! Which kinds of request fail, so that a failure is logged once when it begins and once when it ends.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::kubernetes::error::ApiError;

/// What fails now, by kind of request.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<&'static str, ApiError>>);

impl Failures {
    /// Notes that requests of this kind fail. Whether that is news.
    pub fn begin(&self, kind: &'static str, error: &ApiError) -> bool {
        let before = self.0.lock().insert(kind, error.clone());
        before.is_none_or(|before| before.is_lasting() != error.is_lasting())
    }

    /// Notes that a request of this kind was answered. Whether that is news.
    pub fn end(&self, kind: &'static str) -> bool {
        self.0.lock().remove(kind).is_some()
    }

    /// A failure that stays until somebody mends it.
    pub fn lasting(&self) -> Option<ApiError> {
        self.0.lock().values().find(|error| error.is_lasting()).cloned()
    }
}
