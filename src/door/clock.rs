//! The time of day, to the second, without asking the system for each request.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Unix seconds, as of the last tick.
#[derive(Debug)]
pub struct Clock(AtomicI64);

impl Clock {
    /// A clock that shows the time of now.
    pub fn new() -> Self {
        Clock(AtomicI64::new(Timestamp::now().as_second()))
    }

    /// The time of the last tick.
    pub fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Reads the system's clock; to be called once a second.
    pub fn tick(&self) {
        self.0.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
