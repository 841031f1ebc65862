//! A budget of bytes: memory is reserved before its content is fetched or made.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes a unit of reservations has.
const UNIT: usize = 1 << 10;

/// Bytes that many share by reserving some of them.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    units: usize,
}

/// Bytes that are reserved until this is dropped.
#[derive(Debug)]
pub struct Reservation(Option<OwnedSemaphorePermit>);

impl ByteBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT);
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Whether so many bytes are free now.
    pub fn has_free(&self, bytes: usize) -> bool {
        self.free.available_permits() >= self.units_of(bytes) as usize
    }

    /// Waits until so many bytes are free. More than the budget is never reserved.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        // An error would say that the semaphore is closed, which it never is.
        Reservation(self.free.clone().acquire_many_owned(self.units_of(bytes)).await.ok())
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.units)).unwrap_or(u32::MAX)
    }
}

impl Reservation {
    /// Gives back what goes beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_is_reserved_is_not_free_until_it_is_given_back() {
        let budget = ByteBudget::new(10 * UNIT);
        let mut most = budget.reserve(8 * UNIT).now_or_never().unwrap();
        assert!(budget.has_free(2 * UNIT) && !budget.has_free(2 * UNIT + 1));
        assert!(budget.reserve(3 * UNIT).now_or_never().is_none());
        most.shrink_to(7 * UNIT - 1);
        assert!(budget.reserve(3 * UNIT).now_or_never().is_some());
        drop(most);
        assert!(budget.has_free(10 * UNIT));
    }

    #[test]
    fn more_than_all_is_all() {
        let budget = ByteBudget::new(10 * UNIT);
        let all = budget.reserve(usize::MAX).now_or_never().unwrap();
        assert!(!budget.has_free(1));
        drop(all);
    }
}
