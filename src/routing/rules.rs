//! A site's rules, compiled: which of them a request matches, in order, at a cost that hardly grows with their number.
//!
//! One multi-pattern automaton says in one pass over the path which rules' paths match; only those are looked at
//! closer (query, captures). Captures are read by a bounded backtracker per rule, whose working space lives in the
//! caller's scratch, so that nothing is locked or allocated per request once that has grown.

use std::{
    collections::HashMap,
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use regex_automata::{
    Anchored, Input, MatchKind, PatternID,
    hybrid::dfa,
    nfa::thompson::{NFA, WhichCaptures, backtrack},
    util::{pool::Pool, primitives::NonMaxUsize, start, syntax},
};

use crate::config::pattern::{Pattern, QueryTest, TOO_LARGE, ValueTest};
use crate::url::{Canonical, MAX_TARGET};

/// Rules by number, in the order in which they are tried.
#[derive(Debug, Default)]
pub struct RuleSet {
    matchers: Vec<Matcher>,
    /// Absent when there are so few rules that trying each is cheaper.
    automaton: Option<Arc<PathAutomaton>>,
}

/// Expressions of packs' rules, compiled: many sites have the same, and compiling takes most of the time of a load.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    one: HashMap<String, backtrack::BoundedBacktracker>,
    sets: HashMap<Vec<String>, Arc<PathAutomaton>>,
}

/// How many expressions, and how many sets of them, are kept.
const MAX_KEPT: usize = 4096;
const MAX_SETS: usize = 512;

/// Up to this many rules are tried one after the other.
const FEW: usize = 4;

/// Memory that the automaton's states may take per rule, and at the least. States are built when paths first need them
/// and dropped when there are too many; this bounds them for paths that nobody foresaw.
const CACHE_PER_RULE: usize = 32 << 10;
const CACHE_AT_LEAST: usize = 1 << 20;

/// Memory of the expressions of all rules of a site together.
const SET_LIMIT: usize = 64 << 20;

/// Memory of one rule's regular expression.
const NFA_LIMIT: usize = 1 << 20;

/// States of one rule's regular expression. States times bytes of the longest path bound the steps of a match, and at
/// one bit each its working space (30 MB), whatever a client sends.
const MAX_STATES: usize = 10_000;

/// Compiles an expression.
type Compile<'c> = dyn FnMut(&str) -> Result<backtrack::BoundedBacktracker, String> + 'c;

#[derive(Debug)]
struct Matcher {
    path: backtrack::BoundedBacktracker,
    /// For each capture of the path, its group in `path`.
    groups: Vec<usize>,
    query: Vec<QueryMatcher>,
    captures: usize,
}

#[derive(Debug)]
struct QueryMatcher {
    key: String,
    value: ValueMatcher,
}

#[derive(Debug)]
enum ValueMatcher {
    Present,
    Is(String),
    Matches { regex: Box<backtrack::BoundedBacktracker>, captures: Range<usize> },
}

/// Working space, used again for every request.
#[derive(Debug, Default)]
pub struct RuleScratch {
    /// Numbers of the rules whose paths match, in order.
    candidates: Vec<u32>,
    cache: Option<backtrack::Cache>,
    slots: Vec<Option<NonMaxUsize>>,
    /// The captures of the rule that matched last, in the case in which they were sent.
    pub captures: Vec<String>,
    used: usize,
}

impl RuleSet {
    /// Compiles patterns. A pattern whose expression is too large is an error with its number.
    ///
    /// # Errors
    /// The number of the pattern (or the last one, if only all of them together are too large) and what is wrong.
    pub fn compile(patterns: &[&Pattern]) -> Result<Self, (usize, String)> {
        let patterns: Vec<(&Pattern, bool)> = patterns.iter().map(|pattern| (*pattern, false)).collect();
        Self::compile_with(&patterns, &mut Compiled::default())
    }

    /// As [`RuleSet::compile`]; the flag says which patterns other sites are likely to have too.
    pub(super) fn compile_with(
        patterns: &[(&Pattern, bool)],
        compiled: &mut Compiled,
    ) -> Result<Self, (usize, String)> {
        let mut matchers = Vec::with_capacity(patterns.len());
        for (number, (pattern, is_common)) in patterns.iter().enumerate() {
            let mut compile = |regex: &str| if *is_common { compiled.backtracker(regex) } else { backtracker(regex) };
            matchers.push(Matcher::compile(pattern, &mut compile).map_err(|error| (number, error))?);
        }
        let automaton = if patterns.len() > FEW {
            let paths: Vec<&str> = patterns.iter().map(|(pattern, _)| pattern.path.as_str()).collect();
            let is_common = patterns.iter().any(|(_, is_common)| *is_common);
            let built = if is_common { compiled.set(&paths) } else { PathAutomaton::build(&paths).map(Arc::new) };
            Some(built.map_err(|error| (patterns.len() - 1, error))?)
        } else {
            None
        };
        Ok(RuleSet { matchers, automaton })
    }

    /// Tells the number of each rule that matches, in order.
    pub(crate) fn each_match(&self, url: &Canonical, scratch: &mut RuleScratch, mut found: impl FnMut(usize)) {
        self.begin(url, scratch);
        let mut from = 0;
        while let Some(number) = self.next_match(from..self.len(), url, scratch) {
            found(number);
            from = number + 1;
        }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.matchers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.matchers.is_empty()
    }

    /// Finds the rules whose paths match; must come before [`RuleSet::next_match`].
    pub(super) fn begin(&self, url: &Canonical, scratch: &mut RuleScratch) {
        scratch.candidates.clear();
        let known = match &self.automaton {
            Some(automaton) => automaton.matches(url.path(), &mut scratch.candidates),
            None => false,
        };
        if !known {
            scratch.candidates.clear();
            scratch.candidates.extend(0..self.matchers.len() as u32);
        }
    }

    /// The rules of `range` whose paths may match.
    pub(super) fn candidates(range: Range<usize>, scratch: &RuleScratch) -> impl Iterator<Item = usize> {
        scratch.candidates.iter().map(|&number| number as usize).filter(move |number| range.contains(number))
    }

    /// The first rule of `range` that matches; its captures are in `scratch` then.
    pub(super) fn next_match(&self, range: Range<usize>, url: &Canonical, scratch: &mut RuleScratch) -> Option<usize> {
        for at in 0..scratch.candidates.len() {
            let number = scratch.candidates[at] as usize;
            if range.contains(&number) && self.matchers[number].matches(url, scratch) {
                return Some(number);
            }
        }
        None
    }
}

impl Compiled {
    fn backtracker(&mut self, regex: &str) -> Result<backtrack::BoundedBacktracker, String> {
        if let Some(known) = self.one.get(regex) {
            return Ok(known.clone());
        }
        if self.one.len() >= MAX_KEPT {
            self.one.clear();
        }
        let new = backtracker(regex)?;
        self.one.insert(regex.to_owned(), new.clone());
        Ok(new)
    }

    fn set(&mut self, paths: &[&str]) -> Result<Arc<PathAutomaton>, String> {
        let key: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        if let Some(known) = self.sets.get(&key) {
            return Ok(known.clone());
        }
        // Those of sites that are gone, or have other rules now.
        self.sets.retain(|_, set| Arc::strong_count(set) > 1);
        let new = Arc::new(PathAutomaton::build(paths)?);
        if self.sets.len() < MAX_SETS {
            self.sets.insert(key, new.clone());
        }
        Ok(new)
    }
}

/// Every rule's path in one automaton, whose states are built when paths first need them.
#[derive(Debug)]
struct PathAutomaton {
    dfa: dfa::DFA,
    caches: Pool<dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync + UnwindSafe + RefUnwindSafe>>,
}

impl PathAutomaton {
    fn build(paths: &[&str]) -> Result<Self, String> {
        let nfa = NFA::compiler()
            .syntax(syntax())
            .configure(NFA::config().nfa_size_limit(Some(SET_LIMIT)).which_captures(WhichCaptures::None))
            .build_many(paths)
            .map_err(|error| error.to_string())?;
        let config = dfa::Config::new()
            .match_kind(MatchKind::All)
            // With such a boundary, text beyond ASCII stops the automaton; then every rule is tried.
            .unicode_word_boundary(true)
            .skip_cache_capacity_check(true)
            .cache_capacity((paths.len() * CACHE_PER_RULE).max(CACHE_AT_LEAST));
        let dfa = dfa::Builder::new().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
        let of = dfa.clone();
        let create: Box<dyn Fn() -> dfa::Cache + Send + Sync + UnwindSafe + RefUnwindSafe> =
            Box::new(move || of.create_cache());
        Ok(PathAutomaton { dfa, caches: Pool::new(create) })
    }

    /// Adds the numbers of the patterns that match the whole path, in order; false if the automaton can't say.
    ///
    /// Every pattern ends in `\z`, so all that match do so after the last byte, and the state there knows them.
    fn matches(&self, path: &str, found: &mut Vec<u32>) -> bool {
        let mut cache = self.caches.get();
        let start = start::Config::new().anchored(Anchored::Yes);
        let Ok(mut state) = self.dfa.start_state(&mut cache, &start) else { return false };
        for &byte in path.as_bytes() {
            state = match self.dfa.next_state(&mut cache, state, byte) {
                Ok(next) if next.is_dead() => return true,
                Ok(next) if !next.is_quit() => next,
                _ => return false,
            };
        }
        let Ok(end) = self.dfa.next_eoi_state(&mut cache, state) else { return false };
        if end.is_match() {
            found.extend(
                (0..self.dfa.match_len(&cache, end)).map(|at| self.dfa.match_pattern(&cache, end, at).as_u32()),
            );
            found.sort_unstable();
        }
        true
    }
}

impl Matcher {
    fn compile(pattern: &Pattern, compile: &mut Compile<'_>) -> Result<Self, String> {
        let path = compile(&pattern.path)?;
        let info = path.get_nfa().group_info();
        let groups = pattern.captures.iter().map_while(|name| info.to_index(PatternID::ZERO, name)).collect();
        let query = pattern.query.iter().map(|test| QueryMatcher::compile(test, compile)).collect::<Result<_, _>>()?;
        Ok(Matcher { path, groups, query, captures: pattern.captures.len() })
    }

    fn matches(&self, url: &Canonical, scratch: &mut RuleScratch) -> bool {
        scratch.used = 0;
        if !scratch.search(&self.path, url.path()) {
            return false;
        }
        for &group in &self.groups {
            let range = scratch.group(group);
            scratch.push_capture(range.map_or("", |range| url.cased(range)));
        }
        self.query.iter().all(|test| test.matches(url, scratch)) && {
            debug_assert_eq!(scratch.used, self.captures);
            true
        }
    }
}

impl QueryMatcher {
    fn compile(test: &QueryTest, compile: &mut Compile<'_>) -> Result<Self, String> {
        let value = match &test.value {
            ValueTest::Present => ValueMatcher::Present,
            ValueTest::Is(text) => ValueMatcher::Is(text.clone()),
            ValueTest::Matches(regex, captures) => {
                ValueMatcher::Matches { regex: Box::new(compile(regex)?), captures: captures.clone() }
            }
        };
        Ok(QueryMatcher { key: test.key.clone(), value })
    }

    fn matches(&self, url: &Canonical, scratch: &mut RuleScratch) -> bool {
        let Some((folded, cased)) = url.params().only(&self.key) else { return false };
        match &self.value {
            ValueMatcher::Present => true,
            ValueMatcher::Is(text) => text == folded,
            ValueMatcher::Matches { regex, captures } => {
                if !scratch.search(regex, folded) {
                    return false;
                }
                // Groups of a value are numbered in order: the pattern language allows no others.
                for group in 1..=captures.len() {
                    let range = scratch.group(group);
                    scratch.push_capture(range.and_then(|range| cased.get(range)).unwrap_or_default());
                }
                true
            }
        }
    }
}

impl RuleScratch {
    fn search(&mut self, regex: &backtrack::BoundedBacktracker, text: &str) -> bool {
        let cache = match &mut self.cache {
            Some(cache) => {
                cache.reset(regex);
                cache
            }
            empty => empty.insert(regex.create_cache()),
        };
        self.slots.clear();
        self.slots.resize(regex.get_nfa().group_info().slot_len(), None);
        let input = Input::new(text).anchored(Anchored::Yes);
        // The only error is a text longer than the visited set may become, which `backtracker` rules out.
        regex.try_search_slots(cache, &input, &mut self.slots).is_ok_and(|found| found.is_some())
    }

    fn group(&self, group: usize) -> Option<Range<usize>> {
        let slot = |n: usize| self.slots.get(n).copied().flatten().map(NonMaxUsize::get);
        Some(slot(group * 2)?..slot(group * 2 + 1)?)
    }

    fn push_capture(&mut self, text: &str) {
        match self.captures.get_mut(self.used) {
            Some(capture) => {
                capture.clear();
                capture.push_str(text);
            }
            None => self.captures.push(text.to_owned()),
        }
        self.used += 1;
    }
}

/// Patterns may look at bytes: `[^/]` over bytes is a far smaller automaton than over characters, and means the same
/// between the whole characters that stand beside it.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false)
}

/// A backtracker that can read any path up to [`MAX_TARGET`] (a canonical path is at most three times as long).
fn backtracker(regex: &str) -> Result<backtrack::BoundedBacktracker, String> {
    let nfa = NFA::compiler()
        .syntax(syntax())
        .configure(NFA::config().nfa_size_limit(Some(NFA_LIMIT)).which_captures(WhichCaptures::All))
        .build(regex)
        .map_err(|error| error.to_string())?;
    if nfa.states().len() > MAX_STATES {
        return Err(TOO_LARGE.to_owned());
    }
    let bits = nfa.states().len() * (3 * MAX_TARGET + 2);
    let config = backtrack::Config::new().visited_capacity(bits / 8 + 1);
    backtrack::BoundedBacktracker::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())
}
