//! The time of day, to the second, without asking the system for each request.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use jiff::{Timestamp, fmt::rfc2822};

/// The time as of the last tick.
#[derive(Debug)]
pub struct Clock {
    /// Unix seconds.
    second: AtomicI64,
    /// When the clock was made, by the clock that never jumps.
    start: Instant,
    /// When that was by the system's clock as it is now, in Unix microseconds.
    start_time: AtomicI64,
}

impl Clock {
    /// A clock that shows the time of now.
    pub fn new() -> Self {
        let clock = Clock { second: AtomicI64::new(0), start: Instant::now(), start_time: AtomicI64::new(0) };
        clock.tick();
        clock
    }

    /// The time of the last tick, in Unix seconds.
    pub fn now(&self) -> i64 {
        self.second.load(Ordering::Relaxed)
    }

    /// When something happened, in Unix microseconds.
    pub fn time_of(&self, moment: Instant) -> i64 {
        self.start_time.load(Ordering::Relaxed) + self.since_start(moment)
    }

    /// How long it is until the system's clock shows another second: nodes that tick then agree about what second it is.
    pub fn until_next_second() -> Duration {
        let nanoseconds = Timestamp::now().as_nanosecond().rem_euclid(SECOND);
        Duration::from_nanos(u64::try_from(SECOND - nanoseconds).unwrap_or_default())
    }

    /// Reads the system's clock; to be called once a second, soon after a second begins.
    pub fn tick(&self) {
        let now = Timestamp::now();
        self.second.store(now.as_second(), Ordering::Relaxed);
        self.start_time.store(now.as_microsecond() - self.since_start(Instant::now()), Ordering::Relaxed);
    }

    /// Microseconds.
    fn since_start(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.start).as_micros()).unwrap_or(i64::MAX)
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

/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

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
        let before = Timestamp::now().as_microsecond();
        let now = clock.time_of(Instant::now());
        assert!((1..=1_000_000_000).contains(&Clock::until_next_second().as_nanos()));
        assert!((before - 1_000_000..before + 10_000_000).contains(&now), "{now}");
    }
}
