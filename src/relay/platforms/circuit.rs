//! Whether an origin gets requests: what health checks say of it, and how requests to it fared.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

/// What is known of one address. Times are milliseconds on the platform's clock.
///
/// ```text
///            failures in a row            can be reached again           one request takes the trial
///   well ──────────────────────────► out ────────────────────────► due ──────────────────────────► answered: well
///                                     ▲                                                            failed ──┐
///                                     └─────────────────────────────────────────────────────────────────────┘
/// ```
///
/// A health check that fails keeps it out whatever requests say.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Health checks say no.
    unwell: AtomicBool,
    /// Failures since the last answer.
    failures: AtomicU32,
    /// When it is likely to be due; 0 if it isn't out.
    until: AtomicU64,
    /// It can be reached again.
    is_due: AtomicBool,
    /// Somebody tries to reach it.
    is_probed: AtomicBool,
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
    /// None, for so many milliseconds or a bit longer.
    Out(u64),
    /// None until a health check says otherwise.
    Unwell,
}

impl Circuit {
    pub fn state(&self, now: u64) -> State {
        if self.unwell.load(SeqCst) {
            return State::Unwell;
        }
        match self.until.load(SeqCst) {
            0 => State::Well,
            _ if self.is_due.load(SeqCst) && !self.on_trial.load(SeqCst) => State::Due,
            until => State::Out(until.saturating_sub(now)),
        }
    }

    /// Takes the one trial of a circuit that is due; false if another request was faster.
    pub fn try_out(&self) -> bool {
        self.on_trial.compare_exchange(false, true, SeqCst, SeqCst).is_ok()
    }

    /// The trial came to nothing, neither good nor bad: the client went away.
    pub fn give_back(&self) {
        self.on_trial.store(false, SeqCst);
    }

    /// There was an answer. True if it hadn't been well before.
    pub fn succeed(&self) -> bool {
        if self.failures.load(SeqCst) != 0 {
            self.failures.store(0, SeqCst);
        }
        if self.until.load(SeqCst) == 0 {
            return false;
        }
        self.on_trial.store(false, SeqCst);
        self.until.swap(0, SeqCst) != 0
    }

    /// There was a failure, of a trial or of one request among others. True if it is out from now on, and to be probed.
    pub fn fail(&self, now: u64, is_trial: bool, allowed: u32, time: u64) -> bool {
        if !is_trial {
            // Requests that began before it was out say nothing new.
            if self.until.load(SeqCst) != 0 || self.failures.fetch_add(1, SeqCst) + 1 < allowed {
                return false;
            }
        }
        self.is_due.store(false, SeqCst);
        let was_out = self.until.swap((now + time).max(1), SeqCst) != 0;
        self.on_trial.store(false, SeqCst);
        is_trial || !was_out
    }

    /// Whether the caller is to probe it: it is out, and nobody else does.
    pub fn begin_probe(&self) -> bool {
        let is_out = self.until.load(SeqCst) != 0 && !self.is_due.load(SeqCst);
        is_out && self.is_probed.compare_exchange(false, true, SeqCst, SeqCst).is_ok()
    }

    /// It could not be reached. False if it is well by other news, and needs no more probes.
    pub fn put_off(&self, until: u64) -> bool {
        let is_out = self.until.fetch_update(SeqCst, SeqCst, |now| (now != 0).then_some(until.max(1))).is_ok();
        if !is_out {
            self.is_probed.store(false, SeqCst);
        }
        is_out
    }

    /// It was reached: the next request may try it.
    pub fn reached(&self) {
        // First: from then on it may be out again, which is another probe.
        self.is_probed.store(false, SeqCst);
        self.is_due.store(true, SeqCst);
    }

    /// What health checks say. True if that is new.
    pub fn set_well(&self, well: bool) -> bool {
        if well {
            // It may have been out for the same reason.
            self.succeed();
        }
        self.unwell.swap(!well, SeqCst) == well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = 3;
    const TIME: u64 = 1000;

    #[test]
    fn failures_in_a_row_leave_it_alone_and_a_probe_and_a_trial_bring_it_back() {
        let circuit = Circuit::default();
        assert!(!circuit.fail(5, false, ALLOWED, TIME) && !circuit.fail(6, false, ALLOWED, TIME));
        assert!(!circuit.succeed());
        assert!(!circuit.fail(7, false, ALLOWED, TIME) && !circuit.fail(8, false, ALLOWED, TIME));
        assert_eq!(circuit.state(9), State::Well);
        assert!(circuit.fail(10, false, ALLOWED, TIME));
        assert_eq!(circuit.state(11), State::Out(999));
        // A late failure changes nothing.
        assert!(!circuit.fail(500, false, ALLOWED, TIME));
        // Time alone doesn't bring it back.
        assert_eq!(circuit.state(5000), State::Out(0));
        assert!(circuit.begin_probe() && !circuit.begin_probe());
        assert!(circuit.put_off(6000));
        assert_eq!(circuit.state(5000), State::Out(1000));
        circuit.reached();
        assert_eq!(circuit.state(5000), State::Due);
        assert!(!circuit.begin_probe());
        assert!(circuit.try_out() && !circuit.try_out());
        assert_eq!(circuit.state(7000), State::Out(0));
        assert!(circuit.fail(7000, true, ALLOWED, TIME));
        assert_eq!(circuit.state(7001), State::Out(999));
        assert!(circuit.begin_probe());
        circuit.reached();
        assert!(circuit.try_out());
        circuit.give_back();
        assert_eq!(circuit.state(8000), State::Due);
        assert!(circuit.try_out() && circuit.succeed());
        assert_eq!(circuit.state(8001), State::Well);
        assert!(!circuit.put_off(9000) && circuit.state(8001) == State::Well);
        assert!(!circuit.fail(8002, false, ALLOWED, TIME), "the count begins anew");
    }

    #[test]
    fn health_checks_have_the_last_word() {
        let circuit = Circuit::default();
        assert!(!circuit.set_well(true) && circuit.set_well(false) && !circuit.set_well(false));
        circuit.succeed();
        assert_eq!(circuit.state(0), State::Unwell);
        for _ in 0..ALLOWED {
            circuit.fail(1, false, ALLOWED, TIME);
        }
        assert!(circuit.set_well(true));
        assert_eq!(circuit.state(2), State::Well);
    }
}
