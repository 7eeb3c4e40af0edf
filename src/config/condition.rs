//! Conditions of request rules: tests of a request, combined by `all`, `any` and `not`.
//!
//! A condition is a table, and holds if everything that is written in it does: `{ method = ["POST"], path =
//! ["/search/{*rest}"] }`. A list holds if one of its items does. So a table says "and", a list says "or", and `all`,
//! `any` and `not` are only needed for what that can't say.

use std::{net::IpAddr, ops::Range};

use ipnet::IpNet;

use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{Key, Kind, key};
use super::pattern::{MAX_PATTERN, Pattern, TOO_LARGE, TOO_LARGE_HINT};
use super::reader::{At, Table};
use super::template::Fault;
use crate::url::{Canonicalizer, Charset, UrlSettings};

/// What must be true of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of these, in order; true if there are none.
    All(Vec<Condition>),
    /// One of these; false if there are none.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// A test of its own.
    Is(Test),
}

/// A test of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The method is one of these; case counts (RFC 9110, 9.1).
    Method(Vec<String>),
    /// The canonical path, by [`habits`], is like one of these, none of which looks at the query.
    Path(Vec<Pattern>),
    /// One of the texts of this part is like this.
    Text(Part, TextTest),
    /// The client's address is in one of these networks.
    Client(Vec<IpNet>),
    /// An earlier rule gave the request one of these tags.
    Tagged(Vec<String>),
    /// The client says that it is a crawler, and this is known about its word.
    Crawler(Standing, Vec<Crawler>),
}

/// A part of a request that is text, and may be there more than once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The header field of this name, in lower case.
    Header(String),
    /// The query parameter of this name, in lower case.
    Query(String),
}

/// What a text must be like. Case is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextTest {
    /// There.
    Present,
    /// One of these.
    Is(Vec<String>),
    /// With one of these somewhere in it.
    Contains(Vec<String>),
    /// With something in it that this regular expression matches.
    Regex(String),
}

/// A crawler that a condition names, `*` for any.
#[derive(Clone, Debug)]
pub struct Crawler {
    /// Its name.
    pub name: String,
    /// Where it was written, as bytes of the file.
    pub span: Range<usize>,
}

impl PartialEq for Crawler {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Crawler {}

/// What is known of a client that says it is a crawler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is.
    Verified,
    /// It is not.
    Impostor,
}

/// How paths are read that conditions look at, whatever the site: as browsers and old servers do, with a guess at the
/// charset, so that one rule serves sites of every habit.
pub fn habits() -> UrlSettings {
    UrlSettings { charset: Charset::Auto, ..UrlSettings::default() }
}

/// The tests that a condition can make.
const TESTS: [Key; 10] = [
    key("method", Kind::Texts, "", "Methods, such as [\"POST\", \"PUT\"]: the request's is one of them."),
    key(
        "path",
        Kind::Texts,
        "",
        "Patterns of paths as rules of routes have them, without a query: literal text, `{name}` (within a segment), `{name:regex}`, `{*name}` (the rest). The path is like one of them. Escapes are decoded (as UTF-8, or else as GB18030), case, a trailing slash and doubled slashes don't count, `..` is resolved.",
    ),
    key(
        "path-regex",
        Kind::Text,
        "",
        "Regular expression that matches somewhere in the path, which is read as for `path`. Case is ignored.",
    ),
    key(
        "query",
        Kind::Table(&PARAMETER),
        "",
        "A query parameter: { name = \"id\", contains = [\"..\"] }. It is there, and one of its values is as asked; names are compared, and names and values are decoded, without regard to case. Two parameters need `all`.",
    ),
    key(
        "header",
        Kind::Table(&FIELD),
        "",
        "A header field: { name = \"referer\", contains = [\"spam.example\"] }. It is there, and one of its values is as asked. Two fields need `all`.",
    ),
    key(
        "user-agent",
        Kind::Table(&TEXT),
        "",
        "The User-Agent: { contains = [\"sqlmap\", \"nikto\"] }; {} asks that there is one.",
    ),
    key(
        "client",
        Kind::Texts,
        "",
        "Networks and addresses, such as [\"203.0.113.0/24\", \"2001:db8::1\"]: the client's is in one of them.",
    ),
    key(
        "tagged",
        Kind::Texts,
        "",
        "Tags, such as [\"scanner\"]: a rule that came before gave the request one of them.",
    ),
    key(
        "crawler",
        Kind::Texts,
        "",
        "Names of crawlers ([\"baidu\", \"bing\"], or [\"*\"] for any): the client says that it is one of them, and its addresses prove it. Not true before DNS has said so, which takes a moment after the first request from an address.",
    ),
    key(
        "impostor",
        Kind::Texts,
        "",
        "Names of crawlers, as for `crawler`: the client says that it is one of them, and DNS says that it is not. Not true before DNS has said so, and never because DNS is out of order.",
    ),
];

/// Conditions within conditions. Three deep is enough to say anything: `any` of `all` of `not`.
static INNERMOST: [Key; 10] = TESTS;
static INNER: [Key; 13] = with_conditions(&INNERMOST);
static OUTER: [Key; 13] = with_conditions(&INNER);

/// The keys of a condition, which a rule has beside its own.
pub(super) const CONDITION: [Key; 13] = with_conditions(&OUTER);

const fn with_conditions(inner: &'static [Key]) -> [Key; 13] {
    let all = key("all", Kind::Tables(inner), "", "Conditions that must all hold.");
    let any = key("any", Kind::Tables(inner), "", "Conditions of which one must hold.");
    let doc = "A condition that must not hold: false if everything in it is true.";
    let not = key("not", Kind::Table(inner), "", doc);
    let [a, b, c, d, e, f, g, h, i, j] = TESTS;
    [a, b, c, d, e, f, g, h, i, j, all, any, not]
}

/// `user-agent`.
static TEXT: [Key; 3] = TEXT_TESTS;

/// `header`.
static FIELD: [Key; 4] = [
    key("name", Kind::Text, "", "Name of the field, such as \"referer\"; case doesn't count."),
    TEXT_TESTS[0],
    TEXT_TESTS[1],
    TEXT_TESTS[2],
];

/// `query`.
static PARAMETER: [Key; 4] = [
    key("name", Kind::Text, "", "Name of the parameter, decoded; case doesn't count."),
    TEXT_TESTS[0],
    TEXT_TESTS[1],
    TEXT_TESTS[2],
];

const TEXT_TESTS: [Key; 3] = [
    key("is", Kind::Texts, "", "Texts: it is one of them. Case doesn't count."),
    key("contains", Kind::Texts, "", "Texts: one of them stands somewhere in it. Case doesn't count."),
    key("regex", Kind::Text, "", "Regular expression that matches somewhere in it. Case is ignored; (?-i) heeds it."),
];

/// Longest text that a condition may look for, in bytes.
const MAX_TEXT: usize = 1024;

/// Memory of a compiled regular expression, in bytes: `guard` compiles none that are larger.
pub const MAX_REGEX: usize = 1 << 18;

/// Reads the conditions of a file.
pub(super) struct Conditions<'a> {
    pub file: &'a SourceFile,
    pub out: &'a mut Vec<Diagnostic>,
    canonicalizer: Canonicalizer,
}

impl<'a> Conditions<'a> {
    pub fn new(file: &'a SourceFile, out: &'a mut Vec<Diagnostic>) -> Self {
        Conditions { file, out, canonicalizer: Canonicalizer::new(habits(), false) }
    }

    /// The condition that a table states; every fault of it is reported, and what is faulty left out.
    pub fn read(&mut self, table: &Table) -> Condition {
        let mut parts = Vec::new();
        // In the order of the file: who writes the cheap test first gets it first.
        for name in table.keys() {
            match name {
                "method" => parts.extend(table.texts(name).and_then(|list| self.methods(&list))),
                "path" => parts.extend(table.texts(name).and_then(|list| self.paths(&list))),
                "path-regex" => parts.extend(table.text(name).and_then(|text| self.path_regex(&text))),
                "query" | "header" => {
                    parts.extend(table.table(name).and_then(|inner| self.named(name, inner.value)));
                }
                "user-agent" => parts.extend(
                    table.table(name).map(|inner| self.text(&Part::Header("user-agent".to_owned()), inner.value)),
                ),
                "client" => parts.extend(table.texts(name).and_then(|list| self.networks(&list))),
                "tagged" => parts.extend(table.texts(name).and_then(|list| {
                    let tags = list.value.iter().map(|at| at.value.clone()).collect();
                    self.filled(name, &list, tags).map(|tags| Condition::Is(Test::Tagged(tags)))
                })),
                "crawler" => parts.extend(self.crawlers(name, Standing::Verified, table)),
                "impostor" => parts.extend(self.crawlers(name, Standing::Impostor, table)),
                "all" | "any" => {
                    let Some(tables) = table.tables(name) else { continue };
                    if tables.value.is_empty() {
                        self.empty(name, tables.span);
                        continue;
                    }
                    let inner = tables.value.iter().map(|inner| self.read(inner)).collect();
                    parts.push(if name == "all" { Condition::All(inner) } else { Condition::Any(inner) });
                }
                "not" => {
                    let Some(inner) = table.table(name) else { continue };
                    if inner.value.keys().next().is_none() && inner.value.is_whole() {
                        let message = "this `not` says nothing that must not be";
                        self.error("bad-condition", inner.span, message, "not = { client = [\"10.0.0.0/8\"] }");
                        continue;
                    }
                    parts.push(Condition::Not(Box::new(self.read(inner.value))));
                }
                _ => {}
            }
        }
        match parts.len() {
            1 => parts.remove(0),
            _ => Condition::All(parts),
        }
    }

    fn methods(&mut self, list: &At<&Vec<At<String>>>) -> Option<Condition> {
        let mut methods = Vec::new();
        for At { value, span } in list.value {
            if value.is_empty() || !value.bytes().all(is_token) {
                let message = format!("`{value}` is no method");
                self.error("bad-condition", span.clone(), message, "a method is written like GET or POST");
            } else if value.bytes().any(|b| b.is_ascii_lowercase()) {
                // Case-sensitive by RFC 9110; no registered method has a small letter.
                let message = format!("no client sends the method `{value}`");
                let hint = format!("methods are written in capitals: {}", value.to_ascii_uppercase());
                self.error("bad-condition", span.clone(), message, hint);
            } else {
                methods.push(value.clone());
            }
        }
        self.filled("method", list, methods).map(|methods| Condition::Is(Test::Method(methods)))
    }

    fn paths(&mut self, list: &At<&Vec<At<String>>>) -> Option<Condition> {
        let mut patterns = Vec::new();
        for At { value, span } in list.value {
            let at = At { value, span: span.clone() };
            match Pattern::parse(value, &self.canonicalizer) {
                Ok(pattern) if !pattern.query.is_empty() => {
                    let message = "the path of a condition has no query";
                    self.error("bad-condition", span.clone(), message, "ask for it beside: query = { name = \"id\" }");
                }
                Ok(pattern) => patterns.extend(self.compiles(&pattern.path, &at).then_some(pattern)),
                Err(faults) => self.faults(&at, faults),
            }
        }
        self.filled("path", list, patterns).map(|patterns| Condition::Is(Test::Path(patterns)))
    }

    fn path_regex(&mut self, at: &At<&String>) -> Option<Condition> {
        match Pattern::regex(at.value, &self.canonicalizer) {
            Ok(pattern) => self.compiles(&pattern.path, at).then(|| Condition::Is(Test::Path(vec![pattern]))),
            Err(faults) => {
                self.faults(at, faults);
                None
            }
        }
    }

    /// Whether a path's expression is as small as those of `guard` are.
    fn compiles(&mut self, regex: &str, at: &At<&String>) -> bool {
        let compiled = regex::bytes::RegexBuilder::new(regex).size_limit(MAX_REGEX).build();
        if compiled.is_err() {
            self.error("bad-regex", at.span.clone(), TOO_LARGE, TOO_LARGE_HINT);
        }
        compiled.is_ok()
    }

    /// A header field or a query parameter.
    fn named(&mut self, key: &str, table: &Table) -> Option<Condition> {
        let Some(name) = table.text("name") else {
            if !table.lost("name") {
                let (message, hint) = if key == "header" {
                    ("this test says of no header field what it asks", "header = { name = \"referer\" }")
                } else {
                    ("this test says of no parameter what it asks", "query = { name = \"id\" }")
                };
                self.error("bad-condition", table.span.clone(), message, hint);
            }
            return None;
        };
        let lower = name.value.to_ascii_lowercase();
        let part = if key == "query" {
            Part::Query(lower)
        } else if !lower.is_empty() && lower.bytes().all(is_token) {
            Part::Header(lower)
        } else {
            let message = format!("`{}` is no name of a header field", name.value);
            self.error("bad-condition", name.span, message, "a name such as \"referer\", without a colon");
            return None;
        };
        Some(self.text(&part, table))
    }

    fn text(&mut self, part: &Part, table: &Table) -> Condition {
        let mut tests = Vec::new();
        for name in table.keys() {
            match name {
                "is" | "contains" => {
                    let Some(list) = table.texts(name) else { continue };
                    let texts = list.value.iter().filter(|at| self.fits(at)).map(|at| at.value.clone()).collect();
                    let Some(texts) = self.filled(name, &list, texts) else { continue };
                    if name == "contains"
                        && let Some(empty) = list.value.iter().find(|at| at.value.is_empty())
                    {
                        let message = "every text contains an empty one";
                        self.error("bad-condition", empty.span.clone(), message, "leave it out");
                        continue;
                    }
                    tests.push(if name == "is" { TextTest::Is(texts) } else { TextTest::Contains(texts) });
                }
                "regex" => {
                    let Some(at) = table.text(name) else { continue };
                    tests.extend(self.regex(&at).then(|| TextTest::Regex(at.value.clone())));
                }
                _ => {}
            }
        }
        if tests.is_empty() {
            tests.push(TextTest::Present);
        }
        let mut tests: Vec<_> = tests.into_iter().map(|test| Condition::Is(Test::Text(part.clone(), test))).collect();
        if tests.len() == 1 { tests.remove(0) } else { Condition::All(tests) }
    }

    fn fits(&mut self, at: &At<String>) -> bool {
        let fits = at.value.len() <= MAX_TEXT;
        if !fits {
            let message = format!("this text is longer than {MAX_TEXT} bytes");
            self.error("bad-condition", at.span.clone(), message, "a part of it will do");
        }
        fits
    }

    fn regex(&mut self, at: &At<&String>) -> bool {
        if at.value.is_empty() || at.value.len() > MAX_PATTERN {
            let message = format!("a regular expression has 1 to {MAX_PATTERN} bytes");
            self.error("bad-regex", at.span.clone(), message, "leave it out to ask whether there is such a text");
            return false;
        }
        match regex::RegexBuilder::new(at.value).case_insensitive(true).size_limit(MAX_REGEX).build() {
            Ok(_) => true,
            Err(regex::Error::CompiledTooBig(_)) => {
                self.error("bad-regex", at.span.clone(), TOO_LARGE, TOO_LARGE_HINT);
                false
            }
            Err(error) => {
                // The library draws the expression with a caret; the last line says what is wrong.
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
                let message = format!("bad regular expression: {why}");
                self.error("bad-regex", at.span.clone(), message, "texts go without one: contains = [\"sqlmap\"]");
                false
            }
        }
    }

    fn networks(&mut self, list: &At<&Vec<At<String>>>) -> Option<Condition> {
        let mut networks = Vec::new();
        for At { value, span } in list.value {
            match network(value) {
                Ok(network) => networks.push(network),
                Err(hint) => {
                    self.error("bad-address", span.clone(), format!("`{value}` is no network"), hint);
                }
            }
        }
        self.filled("client", list, networks).map(|networks| Condition::Is(Test::Client(networks)))
    }

    /// Which crawlers there are is for the gateway's settings to say, not for this file.
    fn crawlers(&mut self, key: &str, standing: Standing, table: &Table) -> Option<Condition> {
        let list = table.texts(key)?;
        let names = list.value.iter().map(|at| Crawler { name: at.value.clone(), span: at.span.clone() }).collect();
        let names = self.filled(key, &list, names)?;
        Some(Condition::Is(Test::Crawler(standing, names)))
    }

    /// What is left of a list; nothing, if it was empty from the start or all of it was faulty.
    fn filled<T>(&mut self, key: &str, list: &At<&Vec<At<String>>>, items: Vec<T>) -> Option<Vec<T>> {
        if list.value.is_empty() {
            self.empty(key, list.span.clone());
        }
        (!items.is_empty()).then_some(items)
    }

    fn empty(&mut self, key: &str, span: Range<usize>) {
        self.error("bad-condition", span, format!("this `{key}` is empty"), "name at least one, or leave it out");
    }

    pub fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.out.push(self.file.error(code, span, message).hint(hint));
    }

    /// Reports faults within a text; their positions are exact if the text stands in the file as it is.
    fn faults(&mut self, at: &At<&String>, faults: Vec<Fault>) {
        let raw = self.file.text.get(at.span.clone()).unwrap_or_default();
        let start = raw.find(at.value.as_str()).filter(|_| !at.value.is_empty()).map(|offset| at.span.start + offset);
        for fault in faults {
            let span = match start {
                Some(start) => start + fault.range.start..start + fault.range.end.min(at.value.len()),
                None => at.span.clone(),
            };
            self.out.push(self.file.error(fault.code, span, fault.message).maybe_hint(fault.hint));
        }
    }
}

/// A network or an address as files have them; else what to write instead.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => Err(format!("write `{}`, or `{}` for the one address", network.trunc(), network.addr())),
        Err(_) => Err("a network such as `10.0.0.0/8` or `2001:db8::/32`, or an address".to_owned()),
    }
}

/// Whether a byte may stand in a method or in the name of a header field (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
