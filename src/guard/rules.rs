//! Request rules, compiled: which of them hold for a request, in order, at a cost that hardly grows with their number.
//!
//! Of each condition one test is chosen that must be true for the rule to hold, and that can be asked together with those
//! of the other rules: all paths in one pass, all texts of a header field in one pass. Only the rules whose test is true
//! are looked at as a whole. What can't be asked together (methods, networks, expressions without a literal text) is
//! asked when a rule gets that far, or each time if a rule has nothing else.
//!
//! Bounded: expressions run in linear time and have limits of size; a text of a request is looked at once for all rules,
//! and once for each expression that may match it.

use std::{cell::RefCell, collections::HashMap, ops::ControlFlow, sync::Arc};

use aho_corasick::AhoCorasick;
use regex::{Regex, RegexBuilder, bytes::RegexSet, bytes::RegexSetBuilder};

use super::View;
use super::crawlers::Crawlers;
use super::literals::required;
use super::networks::Networks;
use super::text::{of_field, of_query, parameters};
use crate::config::condition::{Condition, MAX_REGEX, Part, Standing, Test, TextTest, habits};
use crate::config::{RequestAction, RequestRule, RequestRules};
use crate::url::{Canonical, Canonicalizer, Form};

/// The rules of one file.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    predicates: Vec<Predicate>,
    /// What is known of each predicate before the request is looked at.
    initial: Vec<Truth>,
    /// For each predicate, the rule that can hold only if it is true, if it was chosen.
    decides: Vec<Option<u32>>,
    /// Rules of which no predicate was chosen.
    always: Vec<u32>,
    paths: Paths,
    /// By the names of query parameters, and of header fields.
    query: HashMap<Box<str>, Texts>,
    fields: Vec<(Box<str>, Texts)>,
    /// Sources with a predicate that was chosen.
    first: Vec<usize>,
    /// How many literals the texts look for together.
    literals: usize,
}

/// A rule, and what of it stays when its condition is compiled.
#[derive(Debug)]
pub struct Rule {
    /// Its name, or its place.
    pub label: Arc<str>,
    /// Its place: `gateway.toml:12`.
    pub place: Arc<str>,
    /// What it does.
    pub action: RequestAction,
    /// Whether it is only counted and told.
    pub shadow: bool,
    condition: Node,
}

impl Rule {
    /// What it does and where it stands, for people.
    pub fn told(&self) -> String {
        let what = match &self.action {
            RequestAction::Deny(status) => format!("deny {status}"),
            RequestAction::Redirect(to, status) => format!("redirect to {to} ({status})"),
            RequestAction::Tag(tag) => format!("tag {tag}"),
            RequestAction::Rate(class) => format!("rate {class}"),
            RequestAction::Log => "log".to_owned(),
        };
        let name = if self.label == self.place { String::new() } else { format!("{}: ", self.label) };
        format!("{name}{what}  ({})", self.place)
    }
}

#[derive(Debug)]
enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Is(u32),
}

#[derive(Debug)]
enum Predicate {
    Method(Box<[Box<str>]>),
    Client(Networks),
    Crawler(Standing, Box<[Box<str>]>),
    Tagged(Box<[Box<str>]>),
    Path,
    /// A test of the texts of a source; an expression is asked for one by one where they don't rule it out.
    Text(usize, Option<(Part, Regex)>),
}

/// What is known of a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    No,
    Yes,
    /// It must be asked.
    Unknown,
}

/// Where texts come from. Header fields are numbered from `FIELDS` on.
const PATH: usize = 0;
const QUERY: usize = 1;
const FIELDS: usize = 2;

/// Memory of the expressions of all paths of a file together, and of the states that they are in.
const SET_LIMIT: usize = 64 << 20;
const STATES_LIMIT: usize = 8 << 20;

/// What predicates ask of paths.
#[derive(Debug)]
struct Paths {
    canonicalizer: Canonicalizer,
    literals: HashMap<Box<str>, Vec<u32>, foldhash::fast::RandomState>,
    /// Patterns that are tried together, and the predicate of each.
    patterns: Vec<(RegexSet, Vec<u32>)>,
}

/// What predicates ask of the texts of one header field or parameter.
#[derive(Debug, Default)]
struct Texts {
    present: Vec<u32>,
    exact: HashMap<Box<str>, Vec<u32>>,
    literals: Option<AhoCorasick>,
    /// For each literal, the predicates it makes true, and those that may be true then.
    of_literal: Vec<(Vec<u32>, Vec<u32>)>,
    /// Number of the first literal among those of all texts.
    first_literal: usize,
}

/// Working space of a thread.
#[derive(Debug, Default)]
struct Scratch {
    truth: Vec<Truth>,
    /// Sources that have been looked at, and literals that have been seen.
    looked: Vec<bool>,
    seen: Vec<bool>,
    candidates: Vec<u32>,
    path: Canonical,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl RuleSet {
    /// The rules of a file, compiled once for all sites that have it among theirs.
    pub fn of(file: &RequestRules) -> Arc<Self> {
        file.compiled(|| RuleSet::new(&file.rules))
    }

    /// Compiles rules.
    pub fn new(rules: &[RequestRule]) -> Self {
        let mut compiler = Compiler::default();
        let conditions: Vec<Node> = rules.iter().map(|rule| compiler.node(&rule.condition)).collect();
        compiler.finish(rules, conditions)
    }

    /// Tells the rules that hold for a request, in order, until it is enough. `tags` are those that the request has, to
    /// which those of the rules are added.
    pub fn holding<'a>(
        &'a self,
        view: &View<'_>,
        crawlers: &Crawlers,
        tags: &mut Vec<Arc<str>>,
        tell: &mut dyn FnMut(&'a Rule) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.rules.is_empty() {
            return ControlFlow::Continue(());
        }
        // `tell` may do what it likes, another look at rules included.
        let mut scratch = SCRATCH.take();
        let flow = Look { set: self, view, crawlers, scratch: &mut scratch, tags }.run(tell);
        SCRATCH.set(scratch);
        flow
    }
}

/// One look at one request.
struct Look<'a, 'r> {
    set: &'a RuleSet,
    view: &'r View<'r>,
    crawlers: &'r Crawlers,
    scratch: &'r mut Scratch,
    tags: &'r mut Vec<Arc<str>>,
}

impl<'a> Look<'a, '_> {
    fn run(mut self, tell: &mut dyn FnMut(&'a Rule) -> ControlFlow<()>) -> ControlFlow<()> {
        let set = self.set;
        let Scratch { truth, looked, seen, candidates, .. } = &mut *self.scratch;
        truth.clone_from(&set.initial);
        looked.clear();
        looked.resize(FIELDS + set.fields.len(), false);
        seen.clear();
        seen.resize(set.literals, false);
        candidates.clear();
        candidates.extend_from_slice(&set.always);
        for &source in &set.first {
            self.look_at(source);
        }
        self.scratch.candidates.sort_unstable();
        self.scratch.candidates.dedup();
        // What is looked at from now on adds no candidates that matter: what decides has been looked at.
        let candidates = std::mem::take(&mut self.scratch.candidates);
        let mut flow = ControlFlow::Continue(());
        for &number in &candidates {
            let rule = &set.rules[number as usize];
            if self.holds(&rule.condition) {
                if let RequestAction::Tag(tag) = &rule.action
                    && !rule.shadow
                {
                    self.tags.push(tag.clone());
                }
                flow = tell(rule);
                if flow.is_break() {
                    break;
                }
            }
        }
        self.scratch.candidates = candidates;
        flow
    }

    fn holds(&mut self, node: &Node) -> bool {
        match node {
            Node::All(parts) => parts.iter().all(|part| self.holds(part)),
            Node::Any(parts) => parts.iter().any(|part| self.holds(part)),
            Node::Not(inner) => !self.holds(inner),
            Node::Is(number) => self.is_true(*number as usize),
        }
    }

    fn is_true(&mut self, number: usize) -> bool {
        let predicate = &self.set.predicates[number];
        match predicate {
            Predicate::Path => self.look_at(PATH),
            Predicate::Text(source, _) => self.look_at(*source),
            _ => {}
        }
        if self.scratch.truth[number] == Truth::Unknown {
            let truth = self.ask(predicate);
            self.scratch.truth[number] = if truth { Truth::Yes } else { Truth::No };
        }
        self.scratch.truth[number] == Truth::Yes
    }

    fn ask(&self, predicate: &Predicate) -> bool {
        let view = self.view;
        match predicate {
            Predicate::Method(methods) => methods.iter().any(|method| **method == *view.method),
            Predicate::Client(networks) => view.client.is_some_and(|client| networks.contains(client)),
            Predicate::Tagged(tags) => self.tags.iter().any(|tag| tags.iter().any(|asked| **asked == **tag)),
            Predicate::Crawler(standing, names) => self.crawlers.is_known_as(*standing, names, view),
            Predicate::Text(_, Some((part, regex))) => {
                let mut found = false;
                match part {
                    Part::Header(name) => {
                        view.fields.each(name, &mut |value| found = found || regex.is_match(&of_field(value)));
                    }
                    Part::Query(name) => {
                        found = parameters(view.target)
                            .filter(|(own, _)| of_query(own).eq_ignore_ascii_case(name))
                            .any(|(_, value)| regex.is_match(&of_query(value)));
                    }
                }
                found
            }
            Predicate::Path | Predicate::Text(_, None) => false,
        }
    }

    /// Looks at a source for all predicates about it, once.
    fn look_at(&mut self, source: usize) {
        if std::mem::replace(&mut self.scratch.looked[source], true) {
            return;
        }
        let set = self.set;
        match source {
            PATH => self.look_at_path(),
            QUERY => {
                for (name, value) in parameters(self.view.target) {
                    let name = of_query(name).to_ascii_lowercase();
                    if let Some(texts) = set.query.get(name.as_str()) {
                        self.look_for(texts, &of_query(value));
                    }
                }
            }
            field => {
                let (name, texts) = &set.fields[field - FIELDS];
                self.view.fields.each(name, &mut |value| self.look_for(texts, &of_field(value)));
            }
        }
    }

    fn look_at_path(&mut self) {
        let paths = &self.set.paths;
        let mut path = std::mem::take(&mut self.scratch.path);
        // A target that is no URL is not like any path.
        if paths.canonicalizer.canonicalize(self.view.target, Form::Wire, &mut path).is_ok() {
            let key = str::from_utf8(path.key()).unwrap_or_default();
            for &number in paths.literals.get(key).into_iter().flatten() {
                self.found(number, Truth::Yes);
            }
            for (patterns, numbers) in &paths.patterns {
                for pattern in &patterns.matches(path.path().as_bytes()) {
                    self.found(numbers[pattern], Truth::Yes);
                }
            }
        }
        self.scratch.path = path;
    }

    fn look_for(&mut self, texts: &Texts, text: &str) {
        for &number in &texts.present {
            self.found(number, Truth::Yes);
        }
        if !texts.exact.is_empty() {
            for &number in texts.exact.get(text.to_ascii_lowercase().as_str()).into_iter().flatten() {
                self.found(number, Truth::Yes);
            }
        }
        let Some(literals) = &texts.literals else { return };
        for found in literals.find_overlapping_iter(text) {
            let literal = found.pattern().as_usize();
            if std::mem::replace(&mut self.scratch.seen[texts.first_literal + literal], true) {
                continue;
            }
            let (sure, possible) = &texts.of_literal[literal];
            for &number in sure {
                self.found(number, Truth::Yes);
            }
            for &number in possible {
                self.found(number, Truth::Unknown);
            }
        }
    }

    /// Notes what is now known of a predicate.
    fn found(&mut self, number: u32, truth: Truth) {
        let known = &mut self.scratch.truth[number as usize];
        if *known == Truth::No {
            *known = truth;
            self.scratch.candidates.extend(self.set.decides[number as usize]);
        }
    }
}

/// Collects what the conditions of a file ask.
#[derive(Default)]
struct Compiler {
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
    literals: Vec<(String, (Vec<u32>, Vec<u32>))>,
    by_literal: HashMap<String, usize>,
}

impl Wanted {
    fn literal(&mut self, text: &str) -> &mut (Vec<u32>, Vec<u32>) {
        let literals = &mut self.literals;
        let number = *self.by_literal.entry(text.to_ascii_lowercase()).or_insert_with_key(|text| {
            literals.push((text.clone(), Default::default()));
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
    fn node(&mut self, condition: &Condition) -> Node {
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
            Test::Client(networks) => (Predicate::Client(Networks::new(networks)), Truth::Unknown, None),
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
                texts.iter().for_each(|text| wanted.literal(text).0.push(number));
                (Predicate::Text(source, None), Truth::No, Some(SOME))
            }
            TextTest::Regex(text) => {
                // The file was checked with these settings.
                let regex = RegexBuilder::new(text).case_insensitive(true).size_limit(MAX_REGEX).build();
                let Ok(regex) = regex else { return (Predicate::Text(source, None), Truth::No, None) };
                let predicate = Predicate::Text(source, Some((part.clone(), regex)));
                match required(text) {
                    Some(literals) => {
                        literals.iter().for_each(|literal| wanted.literal(literal).1.push(number));
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

    fn finish(self, rules: &[RequestRule], conditions: Vec<Node>) -> RuleSet {
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
        RuleSet {
            rules: compiled.collect(),
            predicates: self.predicates,
            initial: self.initial,
            decides,
            always,
            paths: Paths {
                canonicalizer: Canonicalizer::new(habits(), false),
                literals: self.path_literals,
                patterns: sets(&self.patterns),
            },
            query: self.query.into_iter().map(|(name, wanted)| (name, texts(wanted))).collect(),
            fields: self.fields.into_iter().map(|(name, wanted)| (name, texts(wanted))).collect(),
            first,
            literals,
        }
    }
}

/// Sets of patterns: one, or as many as it takes to stay within the limits. The file was checked for that no pattern is
/// too large by itself.
fn sets(patterns: &[(String, u32)]) -> Vec<(RegexSet, Vec<u32>)> {
    if patterns.is_empty() {
        return Vec::new();
    }
    let texts = patterns.iter().map(|(text, _)| text);
    match RegexSetBuilder::new(texts).size_limit(SET_LIMIT).dfa_size_limit(STATES_LIMIT).build() {
        Ok(set) => vec![(set, patterns.iter().map(|(_, number)| *number).collect())],
        Err(_) if patterns.len() == 1 => Vec::new(),
        Err(_) => {
            let (one, other) = patterns.split_at(patterns.len() / 2);
            [sets(one), sets(other)].concat()
        }
    }
}
