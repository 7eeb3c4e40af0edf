//! What an engine keeps in mind between two rounds.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::Progress;
use super::account::Authority;
use super::ledger::Failure;
use super::schedule::Wanted;
use super::transport::now;

/// What is kept between rounds, in memory: losing it costs a few questions.
#[derive(Default)]
pub struct Session {
    pub(super) authority: Option<Arc<Authority>>,
    trials: HashMap<String, Trial>,
    /// When the authority wants to be asked about the renewal of a certificate next, by its id.
    pub(super) renewals: HashMap<String, i64>,
}

/// What came of trying a name.
struct Trial {
    outcome: Result<(), String>,
    /// Until when that is good, or when it is tried again, Unix seconds.
    until: i64,
    tries: u32,
}

impl Session {
    /// Whether a name may be ordered, as far as is known.
    pub(super) fn is_ready(&self, name: &str) -> bool {
        self.trials.get(name).is_none_or(|trial| trial.outcome.is_ok())
    }

    /// When a name is tried again that could not be ordered.
    pub(super) fn retry(&self, name: &str) -> Option<i64> {
        self.trials.get(name).filter(|trial| trial.outcome.is_err()).map(|trial| trial.until)
    }

    /// Names that are wanted and can't be ordered, and why.
    pub(super) fn not_ready(&self, wanted: &[Wanted]) -> Vec<Failure> {
        let why = |name: &Wanted| {
            let why = self.trials.get(&name.name)?.outcome.as_ref().err()?.clone();
            Some(Failure { name: name.name.clone(), why })
        };
        wanted.iter().filter_map(why).collect()
    }

    /// Those of these names that have to be tried now.
    pub(super) fn untried(&self, names: &[String], now: i64) -> Vec<String> {
        let is_old = |name: &&String| self.trials.get(*name).is_none_or(|trial| trial.until <= now);
        names.iter().filter(is_old).cloned().collect()
    }

    /// Forgets names that nobody wants any more.
    pub(super) fn keep(&mut self, wanted: &[Wanted]) {
        if self.trials.len() > wanted.len() {
            let names: HashSet<&str> = wanted.iter().map(|name| name.name.as_str()).collect();
            self.trials.retain(|name, _| names.contains(name.as_str()));
        }
    }

    /// Takes note of what came of trying names.
    pub(super) fn note(
        &mut self,
        outcomes: HashMap<String, Result<(), String>>,
        tell: &(dyn Fn(Progress) + Send + Sync),
    ) {
        let now = now();
        for (name, outcome) in outcomes {
            let before = self.trials.get(&name);
            let tries = before.filter(|trial| trial.outcome.is_err()).map_or(0, |trial| trial.tries);
            let until = match &outcome {
                Ok(()) => now + GOOD,
                Err(why) => {
                    if before.is_none_or(|before| before.outcome.as_ref().err() != Some(why)) {
                        tell(Progress::NotReady(Failure { name: name.clone(), why: why.clone() }));
                    }
                    now + (FIRST_TRIAL << tries.min(20)).min(LONGEST_TRIAL)
                }
            };
            self.trials.insert(name, Trial { outcome, until, tries: tries + 1 });
        }
    }
}

/// Seconds for which a name that is ready stays so; and between two trials of one that is not: the first, and the longest.
const GOOD: i64 = 3600;
const FIRST_TRIAL: i64 = 5;
const LONGEST_TRIAL: i64 = 3600;
