//! Request rules, compiled: which of them hold for a request, in order, at a cost that hardly grows with their number.
//!
//! Of each condition one test is chosen that must be true for the rule to hold, and that can be asked together with those
//! of the other rules: all paths in one pass, all texts of a header field in one pass. Only the rules whose test is true
//! are looked at as a whole. What can't be asked together (methods, networks, expressions without a literal text) is
//! asked when a rule gets that far, or each time if a rule has nothing else.
//!
//! Bounded: expressions run in linear time and have limits of size; a text of a request is looked at once for all rules,
//! and once for each expression that may match it.

mod compile;

use std::{cell::RefCell, collections::HashMap, ops::ControlFlow, sync::Arc};

use aho_corasick::AhoCorasick;
use regex::{Regex, bytes::RegexSet};

use super::View;
use super::addresses::AddressSet;
use super::crawlers::{Crawlers, Declared};
use super::text::{of_field, of_query, parameters};
use crate::config::condition::{Part, Standing};
use crate::config::{RequestAction, RequestRule, RequestRules};
use crate::url::{Canonical, Canonicalizer, Form};
use compile::Compiler;

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
    asks_who: bool,
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
    Client(AddressSet),
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
    /// What each literal tells.
    of_literal: Vec<Literal>,
    /// Number of the first literal among those of all texts.
    first_literal: usize,
}

/// What is known when a literal is found: predicates that are true, and predicates that may be.
#[derive(Debug, Default)]
struct Literal {
    sure: Vec<u32>,
    possible: Vec<u32>,
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

    /// Whether any rule looks at the client or at a header field.
    pub fn asks_who(&self) -> bool {
        self.asks_who
    }

    /// Tells the rules that hold for a request, in order, until it is enough. `tags` are those that the request has, to
    /// which those of the rules are added; `crawlers` are those that are declared, and what is known of clients.
    pub fn holding<'a>(
        &'a self,
        view: &View<'_>,
        crawlers: (&Declared, &Crawlers),
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
    crawlers: (&'r Declared, &'r Crawlers),
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
            Predicate::Crawler(standing, names) => self.crawlers.1.is_known_as(self.crawlers.0, *standing, names, view),
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
            let Literal { sure, possible } = &texts.of_literal[literal];
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

#[cfg(test)]
mod tests;
