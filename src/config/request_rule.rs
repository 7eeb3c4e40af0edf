//! `[[guard.rule]]`: what operators want done with requests that are like this or that.
//!
//! A rule is a condition with an action. Rules stand in site files, `defaults.toml` and `gateway.toml`; each file's are
//! read once, whatever the number of sites below it, and tried in the order of the file, the site's own first.

use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::condition::{CONDITION, Condition, Conditions, Crawler, Test};
use super::diagnostic::{Diagnostic, SourceFile, suggestion};
use super::keys::{Key, Kind, key};
use super::reach::unreachable_rules;
use super::reader::Table;
use crate::model::{RedirectStatus, Target};

/// The rules of a file. Two are equal if they are the same: a file that is read again may say what it said.
pub struct RequestRules {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Its rules, in order.
    pub rules: Vec<RequestRule>,
    /// What `guard` compiles of them: here, since it lives as long, and is the same for every site.
    compiled: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl RequestRules {
    /// Crawlers that rules name and nobody knows.
    pub fn unknown_crawlers(&self, known: &[String]) -> Vec<Diagnostic> {
        let mut named = Vec::new();
        self.rules.iter().for_each(|rule| crawlers_in(&rule.condition, &mut named));
        named.retain(|crawler| crawler.name != "*" && !known.contains(&crawler.name));
        let fault = |crawler: &Crawler| {
            let names = || known.iter().map(String::as_str);
            let hint = suggestion(&crawler.name, names())
                .unwrap_or_else(|| format!("one of {}, or one of your own: [[guard.crawler]]", known.join(", ")));
            let message = format!("unknown crawler `{}`", crawler.name);
            self.file.error("unknown-crawler", crawler.span.clone(), message).hint(hint)
        };
        named.into_iter().map(fault).collect()
    }

    /// What `make` makes of the rules, made once. It must always be the same type.
    pub fn compiled<T: Any + Send + Sync>(&self, make: impl Fn() -> T) -> Arc<T> {
        let compiled = self.compiled.get_or_init(|| Arc::new(make())).clone();
        compiled.downcast().unwrap_or_else(|_| Arc::new(make()))
    }
}

impl fmt::Debug for RequestRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestRules").field(&self.rules).finish()
    }
}

impl PartialEq for RequestRules {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for RequestRules {}

impl Hash for RequestRules {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self, state);
    }
}

/// A checked rule.
#[derive(Clone, Debug)]
pub struct RequestRule {
    /// What logs call it; its place, where it has no name.
    pub name: Option<Arc<str>>,
    /// Which requests it is for.
    pub condition: Condition,
    /// What it does.
    pub action: RequestAction,
    /// Whether it is only counted and told.
    pub shadow: bool,
    /// The file it stands in.
    pub file: Arc<str>,
    /// The line of its `[[guard.rule]]`, counted from 1.
    pub line: u32,
    /// The bytes of that, or of the target of a redirect.
    pub span: Range<usize>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAction {
    /// Answer with this status, 400 to 599, and look no further.
    Deny(u16),
    /// Send the client there, and look no further. Whether the target is allowed is for `routing` to say.
    Redirect(Target, RedirectStatus),
    /// Give the request this tag.
    Tag(Arc<str>),
    /// Count the request in this class of rates.
    Rate(Arc<str>),
    /// Say so in the log.
    Log,
}

impl RequestAction {
    /// Whether later rules are not looked at.
    pub fn is_last(&self) -> bool {
        matches!(self, RequestAction::Deny(_) | RequestAction::Redirect(..))
    }

    /// Its word in files.
    pub fn name(&self) -> &'static str {
        match self {
            RequestAction::Deny(_) => "deny",
            RequestAction::Redirect(..) => "redirect",
            RequestAction::Tag(_) => "tag",
            RequestAction::Rate(_) => "rate",
            RequestAction::Log => "log",
        }
    }
}

/// The keys of a rule.
pub static REQUEST_RULE: [Key; CONDITION.len() + OWN.len()] = {
    let mut keys = [OWN[0]; CONDITION.len() + OWN.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = if at < OWN.len() { OWN[at] } else { CONDITION[at - OWN.len()] };
        at += 1;
    }
    keys
};

const OWN: [Key; 8] = [
    key("name", Kind::Text, "", "Name of the rule in logs and `waypost explain`; file and line where absent."),
    key(
        "deny",
        Kind::Number(400, 599),
        "",
        "Refuse the request with this status: 403, or 404 to give nothing away. No later rule is looked at.",
    ),
    key(
        "redirect",
        Kind::Text,
        "",
        "Send the client to this http(s) URL, to the letter; its host must be an allowed target. No later rule is looked at.",
    ),
    key("status", Kind::Status, "\"temporary\"", "Status of `redirect`, as in rules of routes."),
    key(
        "tag",
        Kind::Text,
        "",
        "Give the request this tag (letters, digits, `-`, `_`) in the access log. Later rules are looked at.",
    ),
    key(
        "rate",
        Kind::Text,
        "",
        "Count the request in this class of rates. Later rules are looked at; the first class holds.",
    ),
    key("log", Kind::Bool, "false", "Say in the log that the rule holds. Later rules are looked at."),
    key("shadow", Kind::Bool, "false", "Whether the rule is only counted and told, to see first what it would do."),
];

/// The keys of a rule of which exactly one says what it does.
const ACTIONS: [&str; 5] = ["deny", "redirect", "tag", "rate", "log"];

/// Most rules of a file.
const MAX_RULES: usize = 10_000;

/// Longest name of a rule, tag or class of rates: they stand in log lines.
const MAX_NAME: usize = 64;

/// The rules of the `[guard]` of a file, if it has any.
pub(super) fn of_file(file: &Arc<SourceFile>, top: &Table, out: &mut Vec<Diagnostic>) -> Option<Arc<RequestRules>> {
    let rules = rules(file, top.table("guard")?.value, out);
    (!rules.is_empty()).then(|| Arc::new(RequestRules { file: file.clone(), rules, compiled: OnceLock::new() }))
}

/// The rules of a file's `[guard]`; every fault is reported, and a rule with one is left out, since with a part of its
/// condition missing it would be for other requests.
pub(super) fn rules(file: &SourceFile, guard: &Table, out: &mut Vec<Diagnostic>) -> Vec<RequestRule> {
    let Some(tables) = guard.tables("rule") else { return Vec::new() };
    if let Some(more) = tables.value.get(MAX_RULES) {
        let message = format!("a file has at most {MAX_RULES} rules of requests");
        let hint = "one rule can list many paths, networks or texts";
        out.push(file.error("bad-condition", more.span.clone(), message).hint(hint));
    }
    let rules: Vec<RequestRule> = tables
        .value
        .iter()
        .take(MAX_RULES)
        .filter_map(|table| {
            let faults = out.len();
            let rule = rule(file, table, out);
            rule.filter(|_| out.len() == faults && table.is_whole())
        })
        .collect();
    out.extend(unreachable_rules(file, &rules));
    rules
}

fn crawlers_in<'a>(condition: &'a Condition, out: &mut Vec<&'a Crawler>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| crawlers_in(part, out)),
        Condition::Not(inner) => crawlers_in(inner, out),
        Condition::Is(Test::Crawler(_, crawlers)) => out.extend(crawlers),
        Condition::Is(_) => {}
    }
}

fn rule(file: &SourceFile, table: &Table, out: &mut Vec<Diagnostic>) -> Option<RequestRule> {
    let mut conditions = Conditions::new(file, out);
    let condition = conditions.read(table);
    let silent = matches!(&condition, Condition::All(none) if none.is_empty());
    if silent && table.is_whole() && !table.keys().any(|key| CONDITION.iter().any(|test| test.name == key)) {
        let message = "this rule does not say which requests it is for";
        conditions.error("bad-condition", table.span.clone(), message, "path = [\"/{*any}\"] is all of them");
    }
    let name = label(&mut conditions, table, "name");
    let (action, span) = action(&mut conditions, table)?;
    Some(RequestRule {
        name,
        condition,
        action,
        shadow: table.bool("shadow").is_some_and(|at| *at.value),
        file: file.name.clone(),
        line: file.line(table.span.start),
        span,
    })
}

fn action(out: &mut Conditions<'_>, table: &Table) -> Option<(RequestAction, Range<usize>)> {
    let given: Vec<&str> = table
        .keys()
        .filter(|key| ACTIONS.contains(key))
        // `log = false` says nothing.
        .filter(|key| table.bool(key).is_none_or(|at| *at.value))
        .collect();
    let key = match given.as_slice() {
        [key] => *key,
        [] => {
            if table.is_whole() {
                let hint = format!("give it one of: {}", ACTIONS.join(", "));
                out.error("bad-rule", table.span.clone(), "this rule does nothing", hint);
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("a rule does one thing: `{first}` and `{second}` exclude each other");
            out.error("bad-rule", table.key_span(second)?, message, "make two rules of it");
            return None;
        }
    };
    if let Some(span) = table.key_span("status")
        && key != "redirect"
    {
        let hint = if key == "deny" { "write the status there: deny = 404" } else { "it goes with `redirect`" };
        out.error("bad-rule", span, format!("`status` has no meaning beside `{key}`"), hint);
    }
    let span = table.span.clone();
    let action = match key {
        // The table of keys bounds the number.
        "deny" => RequestAction::Deny(*table.number(key)?.value as u16),
        "redirect" => {
            let at = table.text(key)?;
            let status = table.status("status").map_or(RedirectStatus::Temporary, |at| *at.value);
            match Target::parse(at.value) {
                Ok(target) => return Some((RequestAction::Redirect(target, status), at.span)),
                Err(fault) => {
                    let hint = "the whole URL of one page: nothing of the request goes into it";
                    out.error("bad-target", at.span, fault.to_string(), hint);
                    return None;
                }
            }
        }
        "tag" => RequestAction::Tag(label(out, table, key)?),
        "rate" => RequestAction::Rate(label(out, table, key)?),
        _ => RequestAction::Log,
    };
    Some((action, span))
}

/// A word that stands in log lines.
fn label(out: &mut Conditions<'_>, table: &Table, key: &str) -> Option<Arc<str>> {
    let at = table.text(key)?;
    let fits = !at.value.is_empty() && at.value.len() <= MAX_NAME;
    if !fits || !at.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        let message = format!("`{}` is no word for `{key}`", at.value);
        out.error("bad-value", at.span, message, format!("1 to {MAX_NAME} letters, digits, `-` and `_`"));
        return None;
    }
    Some(at.value.as_str().into())
}
