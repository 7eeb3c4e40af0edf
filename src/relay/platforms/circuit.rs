//! Whether an origin gets requests: what health checks say of it, and how requests to it fared.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What is known of one address. Times are milliseconds on the platform's clock.
///
/// Failures in a row leave it alone for a while; then it is due, and one request tries it. Its answer brings the others
/// back, its failure another while. A health check that fails keeps it alone whatever requests say.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Health checks say no.
    unwell: AtomicBool,
    /// Failures since the last answer.
    failures: AtomicU32,
    /// When it is due; 0 if it isn't left alone.
    until: AtomicU64,
    /// A request is trying it.
    on_trial: AtomicBool,
}

/// Whether it gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Any.
    Well,
    /// One, to try it.
    Due,
    /// None for so many milliseconds, or until the trial ends.
    Out(u64),
    /// None until a health check says otherwise.
    Unwell,
}

impl Circuit {
    pub fn state(&self, now: u64) -> State {
        if self.unwell.load(Relaxed) {
            return State::Unwell;
        }
        match self.until.load(Relaxed) {
            0 => State::Well,
            until if now < until => State::Out(until - now),
            _ if self.on_trial.load(Relaxed) => State::Out(0),
            _ => State::Due,
        }
    }

    /// Takes the one trial of a circuit that is due; false if another request was faster.
    pub fn try_out(&self) -> bool {
        self.on_trial.compare_exchange(false, true, Relaxed, Relaxed).is_ok()
    }

    /// The trial came to nothing, neither good nor bad: the client went away.
    pub fn give_back(&self) {
        self.on_trial.store(false, Relaxed);
    }

    /// There was an answer. True if it hadn't been well before.
    pub fn succeed(&self) -> bool {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.until.load(Relaxed) == 0 {
            return false;
        }
        self.on_trial.store(false, Relaxed);
        self.until.swap(0, Relaxed) != 0
    }

    /// There was a failure, of a trial or of one request among others. True if it is left alone from now on, for `time`.
    pub fn fail(&self, now: u64, is_trial: bool, allowed: u32, time: u64) -> bool {
        if !is_trial {
            // Requests that began before it was left alone say nothing new.
            if self.until.load(Relaxed) != 0 || self.failures.fetch_add(1, Relaxed) + 1 < allowed {
                return false;
            }
        }
        let was_out = self.until.swap((now + time).max(1), Relaxed) != 0;
        self.on_trial.store(false, Relaxed);
        is_trial || !was_out
    }

    /// What health checks say. True if that is new.
    pub fn set_well(&self, well: bool) -> bool {
        if well {
            // It may have been left alone for the same reason.
            self.succeed();
        }
        self.unwell.swap(!well, Relaxed) == well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = 3;
    const TIME: u64 = 1000;

    #[test]
    fn failures_in_a_row_leave_it_alone_and_one_trial_brings_it_back() {
        let circuit = Circuit::default();
        assert!(!circuit.fail(5, false, ALLOWED, TIME) && !circuit.fail(6, false, ALLOWED, TIME));
        assert!(!circuit.succeed());
        assert!(!circuit.fail(7, false, ALLOWED, TIME) && !circuit.fail(8, false, ALLOWED, TIME));
        assert_eq!(circuit.state(9), State::Well);
        assert!(circuit.fail(10, false, ALLOWED, TIME));
        assert_eq!(circuit.state(11), State::Out(999));
        // A late failure changes nothing.
        assert!(!circuit.fail(500, false, ALLOWED, TIME));
        assert_eq!(circuit.state(1009), State::Out(1));
        assert_eq!(circuit.state(1010), State::Due);
        assert!(circuit.try_out() && !circuit.try_out());
        assert_eq!(circuit.state(1010), State::Out(0));
        assert!(circuit.fail(1020, true, ALLOWED, TIME));
        assert_eq!(circuit.state(1021), State::Out(999));
        assert!(circuit.try_out());
        circuit.give_back();
        assert_eq!(circuit.state(2020), State::Due);
        assert!(circuit.try_out() && circuit.succeed());
        assert_eq!(circuit.state(2021), State::Well);
        assert!(!circuit.fail(2022, false, ALLOWED, TIME), "the count begins anew");
    }

    #[test]
    fn health_checks_have_the_last_word() {
        let circuit = Circuit::default();
        assert!(!circuit.set_well(true) && circuit.set_well(false) && !circuit.set_well(false));
        circuit.succeed();
        assert_eq!(circuit.state(0), State::Unwell);
        let _ = (0..ALLOWED).map(|_| circuit.fail(1, false, ALLOWED, TIME)).count();
        assert!(circuit.set_well(true));
        assert_eq!(circuit.state(2), State::Well);
    }
}
