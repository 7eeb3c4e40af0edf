//! Tells plain page views, of which the rules have nothing to say, without running them.
//!
//! A request is plain if it has no body, and every part of it that differs from page to page and from client to client
//! (target, cookies, referrer, host, validators) consists of letters, digits and a few signs, with nothing in it that a
//! rule looks for. What rules look for is read from the rules themselves ([`analysis`]): of each, at each paranoia level,
//! either no plain text can match it, or its words and patterns are searched here. What is left of the request, its
//! [`Head`], is the same for all requests of a kind of browser: the engine looks at each head once, and the prefilter
//! remembers the clean ones.
//!
//! Invariants: whatever is not understood (a directive, an operator, a pattern) makes requests suspect and never plain.
//! Proof: `tests/waf` compares it with the engine.

mod analysis;
mod pcre;

use std::sync::OnceLock;

use moka::sync::Cache;
use regex::bytes::{Regex, RegexBuilder};

use super::{Request, directives::RuleSet};
use analysis::Sought;

/// What is known of rules.
#[derive(Debug)]
pub struct Prefilter {
    rules: RuleSet,
    /// Read when the first site wants the level.
    levels: [OnceLock<Result<Level, String>>; 4],
    heads: Cache<Head, ()>,
}

/// What the prefilter thinks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// No rule matches it.
    Plain,
    /// No rule matches it if none matches its head, which nobody has looked at yet.
    Unknown(Head),
    /// The rules must look at it.
    Suspect,
}

/// The parts of a request that are the same for many; the others are replaced by plain ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Head {
    method: String,
    version: &'static str,
    paranoia: u8,
    fields: Vec<(String, Vec<u8>)>,
}

/// What rules of a paranoia level look for in plain text.
#[derive(Debug)]
struct Level {
    path: Search,
    argument: Search,
    decoded: Search,
    line: Search,
    fields: Vec<(&'static str, Search)>,
    /// What a request line must match.
    lines: Vec<Regex>,
}

impl Prefilter {
    /// What `rules` look for.
    pub(super) fn new(rules: RuleSet) -> Self {
        let weight = |head: &Head, (): &()| {
            head.fields.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>() as u32
        };
        Prefilter {
            rules,
            levels: Default::default(),
            heads: Cache::builder().weigher(weight).max_capacity(HEADS).build(),
        }
    }

    /// Why no request is plain at a paranoia level (1 to 4), if none is. The first to ask about a level waits until its
    /// rules are read.
    pub fn obstacle(&self, level: u8) -> Option<&str> {
        self.level(level).err()
    }

    fn level(&self, level: u8) -> Result<&Level, &str> {
        let level = level.clamp(1, 4);
        let read = || Level::new(&self.rules, level);
        self.levels[usize::from(level) - 1].get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// Whether a request is plain. While the rules of its level are not read ([`Prefilter::obstacle`]), it is not.
    pub(super) fn judge(&self, request: &Request) -> Judgement {
        let level = self.levels[usize::from(request.paranoia.clamp(1, 4)) - 1].get();
        let Some(Ok(level)) = level else { return Judgement::Suspect };
        let Some(head) = level.head(request) else { return Judgement::Suspect };
        if self.heads.contains_key(&head) { Judgement::Plain } else { Judgement::Unknown(head) }
    }

    /// Remembers a head that the rules have nothing to say of.
    pub(super) fn learn(&self, head: Head) {
        self.heads.insert(head, ());
    }
}

impl Head {
    /// A request with this head, and plain parts that nobody sent.
    pub(super) fn probe(&self) -> Request {
        Request {
            method: self.method.clone(),
            target: b"/waypost/probe.html".to_vec(),
            version: self.version,
            fields: self.fields.clone(),
            paranoia: self.paranoia,
            ..Request::default()
        }
    }
}

impl Level {
    fn new(rules: &RuleSet, level: u8) -> Result<Self, String> {
        let Sought { path, argument, decoded, line, fields, lines } = analysis::analyse(rules, level)?;
        Ok(Level {
            path: Search::new(path)?,
            argument: Search::new(argument)?,
            decoded: Search::new(decoded)?,
            line: Search::new(line)?,
            fields: fields
                .into_iter()
                .map(|(name, sought)| Ok((name, Search::new(sought)?)))
                .collect::<Result<_, String>>()?,
            lines: lines.iter().map(|line| regex(line)).collect::<Result<_, String>>()?,
        })
    }

    /// The head of a request, if all the rest of it is plain.
    fn head(&self, request: &Request) -> Option<Head> {
        if !matches!(request.method.as_str(), "GET" | "HEAD")
            || !request.body.is_empty()
            || !self.is_plain_target(request)
        {
            return None;
        }
        let mut fields = Vec::with_capacity(request.fields.len());
        let mut size = 0;
        for (name, value) in &request.fields {
            size += name.len() + value.len();
            let varying = self.fields.iter().zip(VARYING).find(|((own, _), _)| name.eq_ignore_ascii_case(own));
            let value = match varying {
                Some(((_, search), field)) => {
                    let again = fields.iter().any(|(before, _): &(String, Vec<u8>)| before.eq_ignore_ascii_case(name));
                    if again || !(field.is_plain)(value) || search.finds(value) || search.finds(&without_doubled(value))
                    {
                        return None;
                    }
                    if field.name == "cookie"
                        && !pairs(value, b';').all(|(name, value)| self.is_plain_pair(name, value))
                    {
                        return None;
                    }
                    field.stand_in.as_bytes().to_vec()
                }
                None => value.clone(),
            };
            fields.push((name.clone(), value));
        }
        (size <= LONGEST_HEAD).then(|| Head {
            method: request.method.clone(),
            version: request.version,
            paranoia: request.paranoia,
            fields,
        })
    }

    fn is_plain_target(&self, request: &Request) -> bool {
        let target = &request.target;
        if target.len() > LONGEST_TARGET || !target.starts_with(b"/") || has_doubled(target) {
            return false;
        }
        let mut parts = target.splitn(2, |&byte| byte == b'?');
        let path = parts.next().unwrap_or_default();
        if !all_in(path, PLAIN) || self.path.finds(path) || path.windows(2).any(|pair| pair == b"/.") {
            return false;
        }
        let line = [request.method.as_bytes(), b" ", target, b" HTTP/", request.version.as_bytes()].concat();
        if self.line.finds(target) || self.line.finds(&line) || !self.lines.iter().all(|must| must.is_match(&line)) {
            return false;
        }
        let Some(query) = parts.next() else { return true };
        !self.line.finds(query) && pairs(query, b'&').all(|(name, value)| self.is_plain_pair(name, value))
    }

    /// Whether a name and its value are plain: an argument or a cookie.
    fn is_plain_pair(&self, name: &[u8], value: &[u8]) -> bool {
        // In a query, these begin the escape of a character (`&lt`).
        let is_entity = ENTITIES
            .iter()
            .any(|entity| name.len() >= entity.len() && name[..entity.len()].eq_ignore_ascii_case(entity.as_bytes()));
        !is_entity
            && [name, value].into_iter().all(|part| {
                all_in(part, PLAIN)
                    && !has_doubled(part)
                    && !self.argument.finds(part)
                    && !self.decoded.finds(&base64(part))
            })
    }
}

/// Words and patterns, searched at once.
#[derive(Debug)]
struct Search(Option<Regex>);

impl Search {
    fn new(patterns: Vec<String>) -> Result<Self, String> {
        if patterns.is_empty() {
            return Ok(Search(None));
        }
        let all: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
        regex(&all.join("|")).map(|regex| Search(Some(regex)))
    }

    fn finds(&self, text: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(true)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build();
    built.map_err(|error| format!("a pattern can't be searched: {error}"))
}

fn all_in(text: &[u8], allowed: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || allowed.contains(byte))
}

/// Whether a sign stands twice that means something so: a comment in SQL, a parent folder, an empty one.
fn has_doubled(text: &[u8]) -> bool {
    text.windows(2).any(|pair| matches!(pair, b"--" | b".." | b"//" | b"??" | b"__"))
}

/// As normalising a path would leave it.
fn without_doubled(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = text.to_vec();
    out.dedup_by(|next, before| *next == b'/' && *before == b'/');
    out
}

/// `name=value` pairs, with the white space before them cut off.
fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(move |&byte| byte == separator).map(|pair| {
        let pair = pair.trim_ascii_start();
        match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[..0]),
        }
    })
}

/// What decodes to bytes, up to the first sign that does not.
fn base64(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for &byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// A header field that differs from page to page or from client to client.
struct Varying {
    name: &'static str,
    /// Signs that a plain value has beside letters and digits.
    signs: &'static [u8],
    is_plain: fn(&[u8]) -> bool,
    /// What the engine sees of it when it looks at a head.
    stand_in: &'static str,
}

const VARYING: &[Varying] = &[
    Varying {
        name: "host",
        signs: b".-:",
        is_plain: |value| all_in(value, b".-:") && !has_doubled(value) && value.iter().any(u8::is_ascii_alphabetic),
        stand_in: "www.example.org",
    },
    Varying {
        name: "cookie",
        signs: b"_.-/=; ",
        is_plain: |value| all_in(value, b"_.-/=; ") && !has_doubled(value),
        stand_in: "waypost=probe",
    },
    Varying {
        name: "referer",
        signs: b"_.-/=?&:",
        is_plain: |value| {
            let rest = value.strip_prefix(b"http://").or_else(|| value.strip_prefix(b"https://"));
            rest.is_some_and(|rest| all_in(rest, b"_.-/=?&:") && !has_doubled(rest))
        },
        stand_in: "https://www.example.org/waypost/probe.html",
    },
    Varying {
        name: "if-none-match",
        signs: b"_.-:/\"",
        is_plain: |value| {
            let value = value.strip_prefix(b"W/").unwrap_or(value);
            let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            inner.is_some_and(|inner| all_in(inner, b"_.-:") && !has_doubled(inner))
        },
        stand_in: "\"5a7f3b\"",
    },
    Varying {
        name: "if-modified-since",
        signs: b", :",
        is_plain: |value| all_in(value, b", :") && value.len() == 29 && value.ends_with(b" GMT"),
        stand_in: "Sun, 06 Nov 1994 08:49:37 GMT",
    },
];

/// Signs of a plain path, name and value, beside letters and digits.
const PLAIN: &[u8] = b"_.-/";

/// Signs of a plain request line.
const LINE: &[u8] = b"_.-/?&= ";

const ENTITIES: &[&str] = &["lt", "gt", "quot", "amp", "nbsp"];

/// Longer parts are for the rules; in bytes.
const LONGEST_TARGET: usize = 1024;
const LONGEST_HEAD: usize = 8192;

/// Bytes of heads that are remembered.
const HEADS: u64 = 8 << 20;

/// Of a compiled search, in bytes.
const LARGEST: usize = 64 << 20;
