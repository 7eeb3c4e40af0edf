//! From the conditions of a file to what is asked of a request: which test decides of a rule, and what is asked together.

use std::{collections::HashMap, sync::Arc};

use aho_corasick::AhoCorasick;
use regex::{RegexBuilder, bytes::RegexSet, bytes::RegexSetBuilder};

use super::{
    FIELDS, Literal, Node, PATH, Paths, Predicate, QUERY, Rule, RuleSet, SET_LIMIT, STATES_LIMIT, Texts, Truth,
};
use crate::config::RequestRule;
use crate::config::condition::{Condition, MAX_REGEX, Part, Test, TextTest, habits};
use crate::guard::literals::required;
use crate::url::Canonicalizer;

/// Collects what the conditions of a file ask.
#[derive(Default)]
pub(super) struct Compiler {
    predicates: Vec<Predicate>,
    initial: Vec<Truth>,
    /// How much is gained by asking a predicate first: none if it can't be asked together with others.
    worth: Vec<Option<Worth>>,
    path_literals: HashMap<Box<str>, Vec<u32>, foldhash::fast::RandomState>,
    patterns: Vec<(String, u32)>,
    query: HashMap<Box<str>, Wanted>,
    fields: Vec<(Box<str>, Wanted)>,
}

/// How seldom a predicate is true, the higher the better.
type Worth = u8;

const COMMON: Worth = 1;
const SOME: Worth = 2;
const RARE: Worth = 3;

/// What is asked of the texts of a field or parameter.
#[derive(Default)]
struct Wanted {
    present: Vec<u32>,
    exact: HashMap<Box<str>, Vec<u32>>,
    literals: Vec<(String, Literal)>,
    by_literal: HashMap<String, usize>,
}

impl Wanted {
    fn literal(&mut self, text: &str) -> &mut Literal {
        let literals = &mut self.literals;
        let number = *self.by_literal.entry(text.to_ascii_lowercase()).or_insert_with_key(|text| {
            literals.push((text.clone(), Literal::default()));
            literals.len() - 1
        });
        &mut self.literals[number].1
    }

    fn texts(self, first_literal: usize) -> Texts {
        let literals = self.literals.iter().map(|(text, _)| text);
        // It fails with more than 2 GiB of texts, which no file has.
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(literals);
        Texts {
            present: self.present,
            exact: self.exact,
            literals: automaton.ok().filter(|_| !self.literals.is_empty()),
            of_literal: self.literals.into_iter().map(|(_, of)| of).collect(),
            first_literal,
        }
    }
}

impl Compiler {
    pub fn node(&mut self, condition: &Condition) -> Node {
        match condition {
            Condition::All(parts) => Node::All(parts.iter().map(|part| self.node(part)).collect()),
            Condition::Any(parts) => Node::Any(parts.iter().map(|part| self.node(part)).collect()),
            Condition::Not(inner) => Node::Not(Box::new(self.node(inner))),
            Condition::Is(test) => Node::Is(self.predicate(test)),
        }
    }

    fn predicate(&mut self, test: &Test) -> u32 {
        let number = self.predicates.len() as u32;
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let (predicate, truth, worth) = match test {
            Test::Method(methods) => (Predicate::Method(boxed(methods)), Truth::Unknown, None),
            Test::Client(networks) => (Predicate::Client(networks.iter().copied().collect()), Truth::Unknown, None),
            Test::Crawler(standing, crawlers) => {
                let names = crawlers.iter().map(|crawler| crawler.name.as_str().into()).collect();
                (Predicate::Crawler(*standing, names), Truth::Unknown, None)
            }
            Test::Tagged(tags) => (Predicate::Tagged(boxed(tags)), Truth::Unknown, None),
            Test::Path(patterns) => {
                let mut worth = RARE;
                for pattern in patterns {
                    match &pattern.literal {
                        Some(literal) => {
                            self.path_literals.entry(literal.as_str().into()).or_default().push(number);
                        }
                        None => {
                            // What takes `/` and everything below it tells nothing.
                            let all = pattern.path.starts_with(r"\A(?:/(?<") || pattern.path.starts_with(r"\A(?s");
                            worth = worth.min(if all { COMMON } else { SOME });
                            self.patterns.push((pattern.path.clone(), number));
                        }
                    }
                }
                (Predicate::Path, Truth::No, Some(worth))
            }
            Test::Text(part, test) => self.text(number, part, test),
        };
        self.predicates.push(predicate);
        self.initial.push(truth);
        self.worth.push(worth);
        number
    }

    fn text(&mut self, number: u32, part: &Part, test: &TextTest) -> (Predicate, Truth, Option<Worth>) {
        let (source, wanted) = match part {
            Part::Query(name) => (QUERY, self.query.entry(name.as_str().into()).or_default()),
            Part::Header(name) => {
                let known = self.fields.iter().position(|(own, _)| **own == **name);
                let field = known.unwrap_or_else(|| {
                    self.fields.push((name.as_str().into(), Wanted::default()));
                    self.fields.len() - 1
                });
                (FIELDS + field, &mut self.fields[field].1)
            }
        };
        match test {
            TextTest::Present => {
                wanted.present.push(number);
                (Predicate::Text(source, None), Truth::No, Some(COMMON))
            }
            TextTest::Is(texts) => {
                for text in texts {
                    wanted.exact.entry(text.to_ascii_lowercase().into()).or_default().push(number);
                }
                (Predicate::Text(source, None), Truth::No, Some(RARE))
            }
            TextTest::Contains(texts) => {
                texts.iter().for_each(|text| wanted.literal(text).sure.push(number));
                (Predicate::Text(source, None), Truth::No, Some(SOME))
            }
            TextTest::Regex(text) => {
                // The file was checked with these settings.
                let regex = RegexBuilder::new(text).case_insensitive(true).size_limit(MAX_REGEX).build();
                let Ok(regex) = regex else { return (Predicate::Text(source, None), Truth::No, None) };
                let predicate = Predicate::Text(source, Some((part.clone(), regex)));
                match required(text) {
                    Some(literals) => {
                        literals.iter().for_each(|literal| wanted.literal(literal).possible.push(number));
                        (predicate, Truth::No, Some(SOME))
                    }
                    None => (predicate, Truth::Unknown, None),
                }
            }
        }
    }

    /// Predicates of which one must be true for a condition to be, and what it is worth to ask them first.
    fn necessary(&self, node: &Node) -> Option<(Worth, Vec<u32>)> {
        match node {
            Node::Is(number) => self.worth[*number as usize].map(|worth| (worth, vec![*number])),
            Node::All(parts) => {
                let offers = parts.iter().filter_map(|part| self.necessary(part));
                offers.reduce(|best, offer| if offer.0 > best.0 { offer } else { best })
            }
            Node::Any(parts) => {
                let mut all = (RARE, Vec::new());
                for part in parts {
                    let (worth, numbers) = self.necessary(part)?;
                    all.0 = all.0.min(worth);
                    all.1.extend(numbers);
                }
                Some(all)
            }
            Node::Not(_) => None,
        }
    }

    pub fn finish(self, rules: &[RequestRule], conditions: Vec<Node>) -> RuleSet {
        let mut decides = vec![None; self.predicates.len()];
        let mut always = Vec::new();
        let mut first = Vec::new();
        for (number, condition) in (0u32..).zip(&conditions) {
            let Some((_, predicates)) = self.necessary(condition) else {
                always.push(number);
                continue;
            };
            for predicate in predicates {
                decides[predicate as usize] = Some(number);
                first.push(match &self.predicates[predicate as usize] {
                    Predicate::Text(source, _) => *source,
                    _ => PATH,
                });
            }
        }
        first.sort_unstable();
        first.dedup();
        let mut literals = 0;
        let mut texts = |wanted: Wanted| {
            let texts = wanted.texts(literals);
            literals += texts.of_literal.len();
            texts
        };
        let compiled = rules.iter().zip(conditions).map(|(rule, condition)| {
            let place: Arc<str> = format!("{}:{}", rule.file, rule.line).into();
            let label = rule.name.clone().unwrap_or_else(|| place.clone());
            Rule { label, place, action: rule.action.clone(), shadow: rule.shadow, condition }
        });
        let asks_who = self.predicates.iter().any(|predicate| match predicate {
            Predicate::Client(_) | Predicate::Crawler(..) => true,
            Predicate::Text(source, _) => *source >= FIELDS,
            Predicate::Method(_) | Predicate::Tagged(_) | Predicate::Path => false,
        });
        RuleSet {
            rules: compiled.collect(),
            predicates: self.predicates,
            initial: self.initial,
            decides,
            always,
            paths: Paths {
                canonicalizer: Canonicalizer::new(habits(), false),
                literals: self.path_literals,
                patterns: sets(&self.patterns, SET_LIMIT),
            },
            query: self.query.into_iter().map(|(name, wanted)| (name, texts(wanted))).collect(),
            fields: self.fields.into_iter().map(|(name, wanted)| (name, texts(wanted))).collect(),
            first,
            literals,
            asks_who,
        }
    }
}

/// Sets of patterns: one, or as many as it takes to stay within the limits. The file was checked for that no pattern is
/// too large by itself.
pub(super) fn sets(patterns: &[(String, u32)], limit: usize) -> Vec<(RegexSet, Vec<u32>)> {
    if patterns.is_empty() {
        return Vec::new();
    }
    let texts = patterns.iter().map(|(text, _)| text);
    match RegexSetBuilder::new(texts).size_limit(limit).dfa_size_limit(STATES_LIMIT).build() {
        Ok(set) => vec![(set, patterns.iter().map(|(_, number)| *number).collect())],
        Err(_) if patterns.len() == 1 => Vec::new(),
        Err(_) => {
            let (one, other) = patterns.split_at(patterns.len() / 2);
            [sets(one, limit), sets(other, limit)].concat()
        }
    }
}
