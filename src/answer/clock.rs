//! The time of day, to the second, without asking the system for each request.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicI64, Ordering},
};

use jiff::{Timestamp, fmt::rfc2822};

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

    /// The time of the last tick as the value of a `Date` header (RFC 9110, 5.6.7).
    pub fn date<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        let now = self.now();
        DATE.with_borrow_mut(|(second, text)| {
            if *second != now {
                *second = now;
                *text = imf_fixdate(now);
            }
            show(text.as_bytes())
        })
    }
}

thread_local! {
    static DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

fn imf_fixdate(second: i64) -> String {
    // Only years before 0 or after 9999 have no such date.
    let time = Timestamp::from_second(second).unwrap_or_default();
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(imf_fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let clock = Clock::new();
        assert_eq!(clock.date(<[u8]>::to_vec), imf_fixdate(clock.now()).into_bytes());
    }
}
