//! Rules that can never match, because no URL is like them, or because what comes before them takes every URL that they
//! would.
//!
//! Exact, not a guess: the rule's automaton is walked together with those of the earlier rules, looking for a canonical
//! path that only the later one takes. Where the walk would grow too long nothing is reported.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

use crate::config::pattern::{Pattern, QueryTest, ValueTest};
use crate::config::{Diagnostic, Rule, Site};

use super::automaton::{Dfa, Walk, find};
use super::site::SiteTable;

/// How many states are looked at for the rules of a site together before giving up.
const BUDGET: usize = 200_000;

/// How many earlier rules may hide a rule together.
const MAX_TOGETHER: usize = 8;

/// How many automata of packs are kept.
const MAX_KEPT: usize = 4096;

/// Every canonical path: an overestimate, which is on the safe side.
const CANONICAL: &str = r"\A/(?s-u:[^\x00-\x20\x7F?#])*\z";

/// The same where case is folded: only escapes have capitals.
const FOLDED: &str = r"\A/(?s-u:%[0-9A-F][0-9A-F]|[^\x00-\x20\x7F?#A-Z])*\z";

/// Automata of packs' rules, which many sites have: determinising them again for each would take most of the time.
#[derive(Default)]
pub(super) struct Automata(HashMap<(String, bool), Option<Arc<Own>>>);

/// A rule's automaton, and a canonical path that it takes, if one was looked for and found.
struct Own {
    dfa: Dfa,
    sample: Option<Vec<u8>>,
}

impl Automata {
    fn of(&mut self, rule: &Rule, canonical: &Dfa, folds: bool) -> Option<Arc<Own>> {
        let path = &rule.pattern.path;
        if rule.pack.is_none() {
            return Dfa::new(path).map(|dfa| Arc::new(Own { dfa, sample: None }));
        }
        let build = || {
            let dfa = Dfa::new(path)?;
            let sample = match find(&dfa, Some(canonical), &[], &mut BUDGET.clone()) {
                Walk::Found(path) => Some(path),
                _ => None,
            };
            Some(Arc::new(Own { dfa, sample }))
        };
        if self.0.len() >= MAX_KEPT {
            self.0.clear();
        }
        self.0.entry((path.clone(), folds)).or_insert_with(build).clone()
    }
}

impl fmt::Debug for Automata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Automata").field(&self.0.len()).finish()
    }
}

/// Reports the rules of a site that can never match; of packs, those of which no rule can.
pub(super) fn shadowed_rules(site: &Site, table: &SiteTable, known: &mut Automata) -> Vec<Diagnostic> {
    let Some(canonical) = canonical(table).filter(|_| !site.rules.is_empty()) else { return Vec::new() };
    let folds = table.canonicalizer.settings().ignore_case;
    let automata: Vec<Option<Arc<Own>>> = site.rules.iter().map(|rule| known.of(rule, canonical, folds)).collect();
    let mut budget = BUDGET;
    let mut faults = Vec::new();
    let mut hidden: Vec<&Rule> = Vec::new();
    for (number, rule) in site.rules.iter().enumerate() {
        let Some((why, hint)) = never(site, table, canonical, &automata, number, &mut budget) else { continue };
        let mut what = "rule";
        if rule.pack.is_some() {
            what = "pack";
            hidden.push(rule);
            let of_this = |rules: &[&Rule]| rules.iter().filter(|other| other.place == rule.place).count();
            if of_this(&hidden) < of_this(&site.rules.iter().collect::<Vec<_>>()) {
                continue;
            }
        }
        let file = &site.files[usize::from(rule.place.file)];
        let fault =
            file.error("unreachable-rule", rule.place.span.clone(), format!("this {what} can never match: {why}"));
        faults.push(fault.maybe_hint(hint).warning());
    }
    faults
}

/// A canonical path (and query) that a rule's pattern takes.
pub(super) fn sample(pattern: &Pattern, table: &SiteTable) -> Option<String> {
    let canonical = canonical(table)?;
    let mut budget = BUDGET;
    let Walk::Found(path) = find(&Dfa::new(&pattern.path)?, Some(canonical), &[], &mut budget) else { return None };
    let mut sample = String::from_utf8(path).ok()?;
    for (test, separator) in pattern.query.iter().zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
        sample.push(separator);
        sample.push_str(&test.key);
        match &test.value {
            ValueTest::Present => {}
            ValueTest::Is(value) => sample.push_str(&format!("={value}")),
            ValueTest::Matches(regex, _) => {
                let Walk::Found(value) = find(&Dfa::new(regex)?, None, &[], &mut budget) else { return None };
                sample.push_str(&format!("={}", String::from_utf8(value).ok()?));
            }
        }
    }
    Some(sample)
}

fn canonical(table: &SiteTable) -> Option<&'static Dfa> {
    static AS_SENT: LazyLock<Option<Dfa>> = LazyLock::new(|| Dfa::new(CANONICAL));
    static IN_ONE_CASE: LazyLock<Option<Dfa>> = LazyLock::new(|| Dfa::new(FOLDED));
    if table.canonicalizer.settings().ignore_case { IN_ONE_CASE.as_ref() } else { AS_SENT.as_ref() }
}

/// Why a rule can never match, and what to do about it.
fn never(
    site: &Site,
    table: &SiteTable,
    canonical: &Dfa,
    automata: &[Option<Arc<Own>>],
    number: usize,
    budget: &mut usize,
) -> Option<(String, Option<String>)> {
    let rule = &site.rules[number];
    if contradicts_itself(&rule.pattern.query) {
        return Some(("a repeated parameter never matches".to_owned(), None));
    }
    if let Some(place) = before_rules(site, table, rule) {
        return Some(place);
    }
    let Own { dfa: own, sample } = &**automata[number].as_ref()?;
    let eligible: Vec<(&Rule, &Dfa)> = site.rules[..number]
        .iter()
        .zip(automata)
        // A site that goes before the rules of a defaults.toml means to.
        .filter(|(earlier, _)| {
            earlier.place.file == rule.place.file && asks_no_more(&earlier.pattern.query, &rule.pattern.query)
        })
        // How the rules of a pack stand to each other is its own affair.
        .filter(|(earlier, _)| rule.pack.is_none() || earlier.place != rule.place)
        .filter_map(|(earlier, automaton)| Some((earlier, &automaton.as_ref()?.dfa)))
        .collect();
    if let Some(sample) = sample
        && !eligible.iter().any(|(_, automaton)| automaton.takes(sample))
    {
        return None;
    }
    // Each round finds a path that none of the rules in `hiding` takes, and the first rule that does.
    let mut hiding: Vec<(&Rule, &Dfa)> = Vec::new();
    while hiding.len() <= MAX_TOGETHER {
        let others: Vec<&Dfa> = hiding.iter().map(|(_, automaton)| *automaton).collect();
        match find(own, Some(canonical), &others, budget) {
            Walk::Found(path) => hiding.push(*eligible.iter().find(|(_, automaton)| automaton.takes(&path))?),
            Walk::Nothing if hiding.is_empty() => return impossible(own, budget),
            Walk::Nothing => return Some(hidden(site, rule, &mut hiding)),
            Walk::TooLong => return None,
        }
    }
    None
}

/// Why no URL is like a rule.
fn impossible(own: &Dfa, budget: &mut usize) -> Option<(String, Option<String>)> {
    let mut takes_some = |like: &str| Some(!matches!(find(own, Some(&Dfa::new(like)?), &[], budget), Walk::Nothing));
    let (why, hint) = if !takes_some(r"\A/(?s-u:.*)\z")? {
        ("a path begins with `/`", None)
    } else if !takes_some(r"\A/(?s-u:[^?#]*)\z")? {
        ("a path has no `?` and no `#`", Some("write from = \"/page?name={value}\" to look at the query"))
    } else {
        (
            "no canonical path is like it",
            Some("case is folded, and spaces are `%20`; `waypost explain` shows a URL's canonical form"),
        )
    };
    Some((why.to_owned(), hint.map(str::to_owned)))
}

fn hidden(site: &Site, rule: &Rule, hiding: &mut [(&Rule, &Dfa)]) -> (String, Option<String>) {
    hiding.sort_by_key(|(earlier, _)| earlier.place.span.start);
    let mut places: Vec<String> = hiding
        .iter()
        .map(|(earlier, _)| format!("{}:{}", site.files[usize::from(earlier.place.file)].name, earlier.place.line))
        .collect();
    places.dedup();
    let (why, earlier) = match places.as_slice() {
        [one] => (format!("the rule at {one} comes before it"), "one"),
        [some @ .., last] => (format!("the rules at {} and {last} come before it", some.join(", ")), "ones"),
        [] => (String::new(), ""),
    };
    let first = !rule.first && hiding.iter().any(|(earlier, _)| earlier.first);
    let how = if first { "give it `first = true` too" } else { "move it up" };
    (why, Some(format!("{how}, make the earlier {earlier} narrower, or delete it")))
}

/// What hides a literal rule that doesn't come first: a mapping, or the way home. A rule of a defaults.toml may be right
/// for other sites.
fn before_rules(site: &Site, table: &SiteTable, rule: &Rule) -> Option<(String, Option<String>)> {
    let literal = rule.pattern.literal.as_ref().filter(|_| !rule.first)?;
    // A mapping without significant parameters matches whatever the query.
    if rule.place.file == 0
        && table.canonicalizer.settings().keep_query.is_empty()
        && let Some(hit) = table.mappings.get(literal.as_bytes())
    {
        let why = format!("the mapping at {} comes before it", table.mapping_source(hit.line)?);
        return Some((why, Some("give it `first = true`, or delete one of them".to_owned())));
    }
    let (_, home) = site.home.as_ref()?;
    if literal == "/" && (rule.place.file == 0 || rule.place.file == home.file) {
        let why = format!("`/` goes home ({}:{}) before it", site.files[usize::from(home.file)].name, home.line);
        return Some((why, Some("give it `first = true`, or delete it".to_owned())));
    }
    None
}

/// Whether a parameter would need two values: one that is repeated matches nothing.
fn contradicts_itself(query: &[QueryTest]) -> bool {
    query.iter().enumerate().any(|(n, test)| {
        matches!(test.value, ValueTest::Is(_))
            && query[..n].iter().any(|other| {
                other.key == test.key && matches!(other.value, ValueTest::Is(_)) && other.value != test.value
            })
    })
}

/// Whether every query that passes `later` passes `earlier`.
fn asks_no_more(earlier: &[QueryTest], later: &[QueryTest]) -> bool {
    earlier
        .iter()
        .all(|test| later.iter().any(|other| test.key == other.key && asks_the_same(&test.value, &other.value)))
}

fn asks_the_same(earlier: &ValueTest, later: &ValueTest) -> bool {
    match (earlier, later) {
        (ValueTest::Present, _) => true,
        // Whatever the numbers of the captures.
        (ValueTest::Matches(earlier, _), ValueTest::Matches(later, _)) => earlier == later,
        _ => earlier == later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths_are_found() {
        let folded = Dfa::new(FOLDED).unwrap();
        for path in ["/", "/news/1.html", "/%20a", "/新闻", "/a%2Fb"] {
            assert!(folded.takes(path.as_bytes()), "{path}");
        }
        for path in ["", "a", "/A", "/a?b", "/a b", "/%2f#"] {
            assert!(!folded.takes(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn rules_hide_rules_together() {
        let dfa = |regex: &str| Dfa::new(regex).unwrap();
        let (any, low, high) = (dfa(r"\A/[0-9]\z"), dfa(r"\A/[0-4]\z"), dfa(r"\A/[5-9]\z"));
        let mut budget = BUDGET;
        assert!(matches!(find(&any, None, &[&low, &high], &mut budget), Walk::Nothing));
        assert!(matches!(find(&any, None, &[&low], &mut budget), Walk::Found(path) if high.takes(&path)));
        assert!(matches!(find(&any, None, &[&low, &high], &mut 1), Walk::TooLong));
    }
}
