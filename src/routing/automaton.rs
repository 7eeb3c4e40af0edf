//! Automata of patterns, to ask which texts they take, and which that others don't.

use std::collections::HashSet;

use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start},
};

use super::rules::syntax;

/// Memory for one automaton.
const LIMIT: usize = 4 << 20;

/// Memory for the expression it is made from.
const NFA_LIMIT: usize = 1 << 20;

/// The automaton of one expression that is matched against whole texts.
pub(super) struct Dfa {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

/// What a walk through automata came to.
pub(super) enum Walk {
    /// A shortest text.
    Found(Vec<u8>),
    /// There is none.
    Nothing,
    /// The budget was not enough to say.
    TooLong,
}

/// Looks for a text that `own` (and `also`, if given) take, and none of `others`. Each state that is looked at costs one
/// of `budget`.
pub(super) fn find(own: &Dfa, also: Option<&Dfa>, others: &[&Dfa], budget: &mut usize) -> Walk {
    let all: Vec<&Dfa> = std::iter::once(own).chain(also).chain(others.iter().copied()).collect();
    let wanted = all.len() - others.len();
    let start: Vec<StateID> = all.iter().map(|automaton| automaton.start).collect();
    let mut seen = HashSet::from([start.clone()]);
    // Every state with the one it was reached from, and by which byte.
    let mut states = vec![(start, 0, 0)];
    let mut at = 0;
    let mut next = Vec::with_capacity(all.len());
    while at < states.len() {
        if *budget == 0 {
            return Walk::TooLong;
        }
        *budget -= 1;
        let accepting = |n: usize| all[n].accepts(states[at].0[n]);
        if (0..wanted).all(accepting) && !(wanted..all.len()).any(accepting) {
            return Walk::Found(text(&states, at));
        }
        let mut last = Vec::new();
        for byte in bytes() {
            next.clear();
            next.extend(all.iter().zip(&states[at].0).map(|(automaton, &state)| automaton.dfa.next_state(state, byte)));
            // Neighbouring bytes mostly lead to the same state.
            if next == last || (0..wanted).any(|n| all[n].dfa.is_dead_state(next[n])) {
                continue;
            }
            last.clone_from(&next);
            if !seen.contains(&next) {
                seen.insert(next.clone());
                states.push((next.clone(), at, byte));
            }
        }
        at += 1;
    }
    Walk::Nothing
}

/// The text by which a state was reached.
fn text(states: &[(Vec<StateID>, usize, u8)], mut at: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while at > 0 {
        let (_, from, byte) = states[at];
        text.push(byte);
        at = from;
    }
    text.reverse();
    text
}

/// Every byte, letters and digits first: what is found is shown to people.
fn bytes() -> impl Iterator<Item = u8> {
    (b'a'..=b'z').chain(b'0'..=b'9').chain((0..=255u8).filter(|b| !b.is_ascii_lowercase() && !b.is_ascii_digit()))
}

impl Dfa {
    /// `None` if it would grow too large.
    pub fn new(regex: &str) -> Option<Self> {
        let dfa = dense::Builder::new()
            .syntax(syntax())
            .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_LIMIT)))
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(LIMIT))
                    .determinize_size_limit(Some(LIMIT)),
            )
            .build(regex)
            .ok()?;
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Dfa { dfa, start })
    }

    /// Whether it takes a text.
    pub fn takes(&self, text: &[u8]) -> bool {
        self.accepts(text.iter().fold(self.start, |state, &byte| self.dfa.next_state(state, byte)))
    }

    fn accepts(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }
}
