//! Request rules that no request reaches, because nothing is like them, or because an earlier rule of the file ends the
//! look for every request that they are for.
//!
//! By the form of the conditions, never by guess: what is reported is so; what is not reported may be so all the same.

use std::collections::HashMap;

use ipnet::IpNet;
use regex::bytes::Regex;

use super::condition::{Condition, Test, TextTest};
use super::diagnostic::{Diagnostic, SourceFile};
use super::pattern::Pattern;
use super::request_rule::RequestRule;

/// Reports the rules of a file that no request reaches.
pub(super) fn unreachable_rules(file: &SourceFile, rules: &[RequestRule]) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    // Earlier rules that end the look.
    let mut last: Vec<&RequestRule> = Vec::new();
    let mut comparison = Comparison { steps: MAX_STEPS, compiled: HashMap::new() };
    for rule in rules {
        let fault = |why: String| file.error("unreachable-rule", rule.span.clone(), why).warning();
        if never(&rule.condition, &mut comparison) {
            let why = "this rule can never hold: parts of its condition exclude each other";
            faults
                .push(fault(why.to_owned()).hint("what a table says must all be true; `any` needs one of its tables"));
            continue;
        }
        if let Some(earlier) = last.iter().find(|earlier| comparison.implies(&rule.condition, &earlier.condition)) {
            let why = format!("this rule never holds: the rule at {}:{} comes before it", earlier.file, earlier.line);
            faults.push(fault(why).hint("move it up, make the earlier one narrower, or delete it"));
        }
        if rule.action.is_last() && !rule.shadow {
            last.push(rule);
        }
    }
    faults
}

/// How many comparisons are made for a file. Then nothing more is reported.
const MAX_STEPS: usize = 2_000_000;

/// How many parts of a condition are looked at for contradictions.
const MAX_PARTS: usize = 64;

/// Compares conditions, as long as its steps last.
struct Comparison<'a> {
    steps: usize,
    /// Expressions of patterns, each compiled once.
    compiled: HashMap<&'a str, Option<Regex>>,
}

/// Whether a condition can't be true.
fn never<'a>(condition: &'a Condition, comparison: &mut Comparison<'a>) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().any(|part| never(part, comparison)) || contradiction(parts, comparison),
        Condition::Any(parts) => parts.iter().all(|part| never(part, comparison)),
        Condition::Not(_) | Condition::Is(_) => false,
    }
}

/// Whether two of these can't be true together.
fn contradiction<'a>(parts: &'a [Condition], comparison: &mut Comparison<'a>) -> bool {
    let mut flat = Vec::new();
    flatten(parts, &mut flat);
    flat.iter().enumerate().any(|(n, one)| flat[..n].iter().any(|other| exclude(one, other, comparison)))
}

/// What must all be true, without the tables around it.
fn flatten<'a>(parts: &'a [Condition], out: &mut Vec<&'a Condition>) {
    for part in parts {
        match part {
            Condition::All(inner) => flatten(inner, out),
            part if out.len() < MAX_PARTS => out.push(part),
            _ => {}
        }
    }
}

fn exclude<'a>(one: &'a Condition, other: &'a Condition, comparison: &mut Comparison<'a>) -> bool {
    match (one, other) {
        (Condition::Not(inner), given) | (given, Condition::Not(inner)) => comparison.implies(given, inner),
        (Condition::Is(Test::Method(one)), Condition::Is(Test::Method(other))) => {
            !one.iter().any(|method| other.contains(method))
        }
        (Condition::Is(Test::Client(one)), Condition::Is(Test::Client(other))) => {
            let apart = |one: &IpNet, other: &IpNet| !one.contains(other) && !other.contains(one);
            comparison.takes_steps(one.len().saturating_mul(other.len()))
                && one.iter().all(|net| other.iter().all(|other| apart(net, other)))
        }
        (Condition::Is(Test::Path(one)), Condition::Is(Test::Path(other))) => {
            let patterns = || one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
            patterns().all(|(one, other)| {
                (one.literal.is_some() || other.literal.is_some())
                    && !comparison.takes(one, other)
                    && !comparison.takes(other, one)
            })
        }
        _ => false,
    }
}

impl<'a> Comparison<'a> {
    /// Whether there are as many steps left; then they are taken.
    fn takes_steps(&mut self, steps: usize) -> bool {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether `earlier` is surely true of every request that `later` is true of.
    fn implies(&mut self, later: &'a Condition, earlier: &'a Condition) -> bool {
        if !self.takes_steps(1) {
            return false;
        }
        match (later, earlier) {
            (_, Condition::All(parts)) => parts.iter().all(|part| self.implies(later, part)),
            (Condition::Any(parts), _) => parts.iter().all(|part| self.implies(part, earlier)),
            (_, Condition::Any(parts)) if parts.iter().any(|part| self.implies(later, part)) => true,
            (Condition::All(parts), _) => parts.iter().any(|part| self.implies(part, earlier)),
            (Condition::Not(later), Condition::Not(earlier)) => self.implies(earlier, later),
            (Condition::Is(later), Condition::Is(earlier)) => self.test_implies(later, earlier),
            _ => false,
        }
    }

    fn test_implies(&mut self, later: &'a Test, earlier: &'a Test) -> bool {
        match (later, earlier) {
            (Test::Method(later), Test::Method(earlier)) => later.iter().all(|method| earlier.contains(method)),
            (Test::Client(later), Test::Client(earlier)) => {
                self.takes_steps(later.len().saturating_mul(earlier.len()))
                    && later.iter().all(|net| earlier.iter().any(|wider| wider.contains(net)))
            }
            (Test::Path(later), Test::Path(earlier)) => {
                later.iter().all(|pattern| earlier.iter().any(|wider| self.takes(wider, pattern)))
            }
            (Test::Text(part, later), Test::Text(of, earlier)) => {
                part == of
                    && match (later, earlier) {
                        (_, TextTest::Present) => true,
                        (TextTest::Is(later), TextTest::Is(earlier)) => {
                            let earlier = lower(earlier);
                            self.takes_steps(later.len().saturating_mul(earlier.len()))
                                && lower(later).iter().all(|text| earlier.contains(text))
                        }
                        (TextTest::Is(later) | TextTest::Contains(later), TextTest::Contains(earlier)) => {
                            let earlier = lower(earlier);
                            self.takes_steps(later.len().saturating_mul(earlier.len()))
                                && lower(later)
                                    .iter()
                                    .all(|text| earlier.iter().any(|part| text.contains(part.as_str())))
                        }
                        (later, earlier) => later == earlier,
                    }
            }
            (Test::Tagged(later), Test::Tagged(earlier)) => later.iter().all(|tag| earlier.contains(tag)),
            (Test::Crawler(what, later), Test::Crawler(of, earlier)) => {
                let any = earlier.iter().any(|crawler| crawler.name == "*");
                what == of && (any || later.iter().all(|crawler| earlier.contains(crawler)))
            }
            _ => false,
        }
    }

    /// Whether a pattern surely takes every path that another one does.
    fn takes(&mut self, wider: &'a Pattern, pattern: &Pattern) -> bool {
        if !self.takes_steps(1) {
            return false;
        }
        match (&wider.literal, &pattern.literal) {
            _ if wider.path == pattern.path => true,
            (Some(wider), Some(literal)) => wider == literal,
            (None, Some(literal)) => {
                let regex = self.compiled.entry(&wider.path).or_insert_with(|| Regex::new(&wider.path).ok());
                regex.as_ref().is_some_and(|regex| regex.is_match(literal.as_bytes()))
            }
            _ => false,
        }
    }
}

fn lower(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::super::reader::{Role, read};
    use super::super::request_rule;
    use super::*;

    /// What is said of the rules of a file, as the numbers of their lines.
    fn unreachable(text: &str) -> Vec<u32> {
        static TOP: [Key; 1] =
            [super::super::keys::key("rule", super::super::keys::Kind::Tables(&request_rule::REQUEST_RULE), "", "")];
        let file = SourceFile::new("test.toml", text);
        let mut faults = Vec::new();
        let table = read(&file, &TOP, Role::Gateway, &mut faults);
        let rules = request_rule::rules(&file, &table, &mut faults);
        let (odd, rest): (Vec<Diagnostic>, Vec<Diagnostic>) =
            faults.into_iter().partition(|fault| fault.code == "unreachable-rule");
        assert!(rest.is_empty(), "{text}: {rest:?}");
        let rule_of = |line: u32| rules.iter().map(|rule| rule.line).filter(|start| *start <= line).max();
        odd.iter().filter_map(|fault| rule_of(fault.line)).collect()
    }

    fn pair(earlier: &str, later: &str) -> Vec<u32> {
        unreachable(&format!("[[rule]]\n{earlier}\ndeny = 403\n[[rule]]\n{later}\nlog = true\n"))
    }

    #[test]
    fn hidden_rules_are_found() {
        for (earlier, later) in [
            ("method = ['GET', 'POST']", "method = ['POST']\npath = ['/a']"),
            ("path = ['/a/{*rest}']", "path = ['/a/b', '/A/c/']"),
            ("client = ['10.0.0.0/8']", "client = ['10.1.0.0/16', '10.9.9.9']"),
            ("user-agent = {}", "user-agent = { contains = ['curl'] }"),
            ("user-agent = { contains = ['CURL', 'wget'] }", "user-agent = { is = ['curl/8.0'] }"),
            ("any = [{ method = ['PUT'] }, { path = ['/a'] }]", "path = ['/a']"),
            ("not = { method = ['GET', 'HEAD'] }", "not = { any = [{ method = ['GET', 'HEAD'] }, { path = ['/x'] }] }"),
            ("crawler = ['*']", "crawler = ['baidu']"),
        ] {
            assert_eq!(pair(earlier, later), [4 + earlier.matches('\n').count() as u32], "{earlier} / {later}");
        }
    }

    #[test]
    fn rules_that_may_be_reached_are_left_alone() {
        for (earlier, later) in [
            ("method = ['POST']\npath = ['/a']", "method = ['POST']"),
            ("path = ['/a/{x}']", "path = ['/a/{*x}']"),
            ("client = ['10.1.0.0/16']", "client = ['10.0.0.0/8']"),
            ("user-agent = { contains = ['curl/8'] }", "user-agent = { contains = ['curl'] }"),
            ("query = { name = 'a' }", "query = { name = 'b' }"),
            ("not = { path = ['/a', '/b'] }", "not = { path = ['/a'] }"),
        ] {
            assert!(pair(earlier, later).is_empty(), "{earlier} / {later}");
        }
        // What only counts ends no look.
        let shadow = "[[rule]]\npath = ['/a']\ndeny = 403\nshadow = true\n[[rule]]\npath = ['/a']\ndeny = 404\n";
        assert!(unreachable(shadow).is_empty());
    }

    #[test]
    fn contradictions_are_found() {
        for condition in [
            "method = ['GET']\nall = [{ method = ['POST'] }]",
            "path = ['/a']\nall = [{ path = ['/b', '/c'] }]",
            "path = ['/a']\nall = [{ path = ['/b/{*rest}'] }]",
            "client = ['10.0.0.0/8']\nnot = { client = ['0.0.0.0/0'] }",
            "user-agent = { contains = ['curl'] }\nnot = { user-agent = {} }",
        ] {
            assert_eq!(unreachable(&format!("[[rule]]\n{condition}\ndeny = 403\n")), [1], "{condition}");
        }
        for condition in [
            "path = ['/a/{x}']\nall = [{ path = ['/{x}/b'] }]",
            "path = ['/b/1']\nall = [{ path = ['/b/{*rest}'] }]",
            "client = ['10.0.0.0/8']\nnot = { client = ['10.1.0.0/16'] }",
        ] {
            assert!(unreachable(&format!("[[rule]]\n{condition}\ndeny = 403\n")).is_empty(), "{condition}");
        }
    }
}
