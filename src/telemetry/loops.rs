//! Clients that are sent in a circle: from an old URL to a page that sends them back.
//!
//! `check` finds circles within the routes; this finds those that lead through a platform. A browser gives up after about
//! twenty redirects, so the same client asks for the same URL again and again within seconds.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;

use super::{Consumer, Exchange, Journal};
use crate::model::Outcome;

/// Looks for circles. Its memory is 48 KiB whatever comes: what falls onto another's place takes it.
#[derive(Debug)]
pub struct LoopDetector {
    places: Box<[Trail]>,
    hasher: RandomState,
    seen: Arc<LoopsSeen>,
    journal: Journal,
}

/// How many circles were seen.
#[derive(Debug, Default)]
pub struct LoopsSeen(AtomicU64);

impl LoopsSeen {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client and a URL that it was sent away from.
#[derive(Clone, Copy, Debug, Default)]
struct Trail {
    /// Of both.
    hash: u64,
    /// When it began, in Unix microseconds.
    since: i64,
    times: u32,
}

impl Default for LoopDetector {
    fn default() -> Self {
        LoopDetector {
            places: vec![Trail::default(); PLACES].into(),
            hasher: RandomState::default(),
            seen: Arc::default(),
            journal: Journal::default(),
        }
    }
}

impl LoopDetector {
    /// How many were seen.
    pub fn seen(&self) -> Arc<LoopsSeen> {
        self.seen.clone()
    }

    /// Whether this redirect is the one by which a circle is known.
    fn is_loop(&mut self, exchange: &Exchange<'_>) -> bool {
        let hash = self.hasher.hash_one((exchange.client, exchange.secure, exchange.host, exchange.target));
        let trail = &mut self.places[hash as usize % PLACES];
        if trail.hash != hash || exchange.at - trail.since > TIME {
            *trail = Trail { hash, since: exchange.at, times: 0 };
        }
        trail.times += 1;
        trail.times == TIMES
    }
}

impl Consumer for LoopDetector {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        // Programs that measure ask for the same URL all the time, and follow nothing.
        let is_browser = exchange.user_agent.starts_with(b"Mozilla/");
        if exchange.outcome == Outcome::Redirect && is_browser && self.is_loop(exchange) {
            self.seen.0.fetch_add(1, Ordering::Relaxed);
            self.journal.note(|count| {
                let (host, target) = (exchange.host.escape_ascii(), exchange.target.escape_ascii());
                log::warn!(
                    "a client is sent in a circle: {host}{target} leads to {}, which leads back ({count} seen since the last line)",
                    exchange.location
                );
            });
        }
    }

    fn pause(&mut self) {}

    fn end(&mut self) {}
}

/// Redirects of a client from a URL, within [`TIME`], that make a circle. Nobody clicks so often.
const TIMES: u32 = 8;

/// Microseconds.
const TIME: i64 = 10_000_000;

const PLACES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(at: i64, target: &'static [u8], user_agent: &'static [u8]) -> Exchange<'static> {
        let client = Some([192, 0, 2, 1].into());
        Exchange { at, target, user_agent, client, outcome: Outcome::Redirect, ..Exchange::default() }
    }

    #[test]
    fn a_circle_is_the_same_redirect_again_and_again_within_seconds() {
        let mut loops = LoopDetector::default();
        let seen = loops.seen();
        let mut ask = |gap: i64, target, user_agent| {
            (0..20).for_each(|number| loops.exchange(&redirect(number * gap, target, user_agent)));
            seen.get()
        };
        assert_eq!(ask(1_000, b"/measured", b"wrk"), 0);
        assert_eq!(ask(2_000_000, b"/reloaded-now-and-then", b"Mozilla/5.0"), 0);
        assert_eq!(ask(100_000, b"/circle", b"Mozilla/5.0"), 1);
        for number in 0..100 {
            let target: &'static [u8] = format!("/{number}").leak().as_bytes();
            loops.exchange(&redirect(number, target, b"Mozilla/5.0"));
        }
        assert_eq!(seen.get(), 1);
    }
}
