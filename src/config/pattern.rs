//! Patterns of old URLs: `/news/{year:\d{4}}/{*rest}?id={id}` → a regular expression over canonical paths, and tests of
//! query parameters.

use std::ops::Range;

use regex_automata::util::syntax;

use crate::url::{Canonical, Canonicalizer, Form};

use super::template::{Fault, is_built_in};

/// Which requests a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Anchored regular expression over the canonical path with its trailing slash as sent.
    pub path: String,
    /// The whole canonical path, if the pattern is literal.
    pub literal: Option<String>,
    /// Query parameters that must be there; in any order, others may be there too.
    pub query: Vec<QueryTest>,
    /// Names of captures, those of the path first.
    pub captures: Vec<String>,
}

/// One query parameter that a pattern asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTest {
    /// The parameter, canonical.
    pub key: String,
    /// What its value must be.
    pub value: ValueTest,
}

/// What a parameter's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTest {
    /// Present, whatever its value.
    Present,
    /// Exactly this canonical text.
    Is(String),
    /// Anchored regular expression with the captures of these numbers, in order.
    Matches(String, Range<usize>),
}

/// Longest pattern or regular expression, in bytes.
pub const MAX_PATTERN: usize = 4 * 1024;

/// Memory of a compiled regular expression, in bytes; `routing` compiles no larger ones either.
const MAX_REGEX: usize = 1 << 20;

/// What is said of an expression that takes more.
pub(crate) const TOO_LARGE: &str = "this regular expression is too large";
pub(crate) const TOO_LARGE_HINT: &str = "smaller repetitions, or fewer alternatives, make it smaller";

enum Piece<'a> {
    Literal(&'a str),
    Capture { name: &'a str, kind: Capture<'a>, range: Range<usize> },
}

impl<'a> Piece<'a> {
    fn name(&self) -> Option<&'a str> {
        match self {
            Piece::Literal(_) => None,
            Piece::Capture { name, .. } => Some(name),
        }
    }
}

#[derive(Clone, Copy)]
enum Capture<'a> {
    Segment,
    Rest,
    Regex(&'a str),
}

impl Pattern {
    /// Parses `from`.
    ///
    /// # Errors
    /// Every fault that can be told from the others.
    pub fn parse(text: &str, canonicalizer: &Canonicalizer) -> Result<Self, Vec<Fault>> {
        if !text.starts_with('/') {
            let message = "a pattern begins with `/`";
            return Err(vec![
                fault(0..text.len(), message).with_hint("write the path of the old URL, without its host"),
            ]);
        }
        check_length(text)?;
        let (path, query) = split(text)?;
        let mut captures = Vec::new();
        let (path_regex, literal) =
            path_regex(text, &path, canonicalizer, &mut captures).map_err(|fault| vec![fault])?;
        let mut tests = Vec::new();
        let mut faults = Vec::new();
        for parameter in query {
            match query_test(text, &parameter, canonicalizer, &mut captures) {
                Ok(test) => tests.push(test),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Pattern { path: path_regex, literal, query: tests, captures })
    }

    /// Parses `regex`, which is matched anywhere unless it is anchored.
    ///
    /// # Errors
    /// The first fault.
    pub fn regex(text: &str, canonicalizer: &Canonicalizer) -> Result<Self, Vec<Fault>> {
        check_length(text)?;
        if text.is_empty() {
            let message = "an empty regular expression takes every path";
            return Err(vec![Fault {
                code: "bad-regex",
                ..fault(0..0, message).with_hint("write from = \"/{*path}\" if it should")
            }]);
        }
        let too_large_or_bad = |error: regex::Error| vec![regex_fault(&error.to_string(), 0..text.len())];
        let compiled = regex::RegexBuilder::new(text).size_limit(MAX_REGEX).build().map_err(too_large_or_bad)?;
        let captures: Vec<String> = compiled.capture_names().flatten().map(str::to_owned).collect();
        if let Some(name) = captures.iter().find(|name| is_built_in(name)) {
            let range = text.find(&format!("<{name}>")).map_or(0..text.len(), |at| at + 1..at + 1 + name.len());
            return Err(vec![built_in(name, range)]);
        }
        let fold = if canonicalizer.settings().ignore_case { "(?i)" } else { "" };
        let path = format!(r"\A(?s-u:.*?)(?:{fold}{text})(?s-u:.*)\z");
        regex::bytes::RegexBuilder::new(&path).size_limit(MAX_REGEX).build().map_err(too_large_or_bad)?;
        Ok(Pattern { path, literal: None, query: Vec::new(), captures })
    }
}

/// The names of a pattern's captures; none if it is faulty.
pub fn capture_names(text: &str) -> Vec<String> {
    let Ok((path, query)) = split(text) else { return Vec::new() };
    let pieces = std::iter::once(path).chain(query).flat_map(|part| part.pieces);
    pieces.filter_map(|piece| piece.name().map(str::to_owned)).collect()
}

fn fault(range: Range<usize>, message: impl Into<String>) -> Fault {
    Fault { code: "bad-pattern", range, message: message.into(), hint: None }
}

fn regex_fault(error: &str, range: Range<usize>) -> Fault {
    // The library draws the expression with a caret; the last line says what is wrong.
    let message = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    if message.contains("exceeds size limit") {
        return Fault { code: "bad-regex", ..fault(range, TOO_LARGE).with_hint(TOO_LARGE_HINT) };
    }
    Fault { code: "bad-regex", ..fault(range, format!("bad regular expression: {message}")) }
}

fn check_length(text: &str) -> Result<(), Vec<Fault>> {
    if text.len() > MAX_PATTERN {
        return Err(vec![fault(0..text.len(), format!("the pattern is longer than {MAX_PATTERN} bytes"))]);
    }
    Ok(())
}

/// The parts of a pattern: pieces of the path, then of each query parameter, each part with its place.
struct Part<'a> {
    range: Range<usize>,
    pieces: Vec<Piece<'a>>,
}

/// The path, and each query parameter.
fn split(text: &str) -> Result<(Part<'_>, Vec<Part<'_>>), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut parts = vec![Part { range: 0..0, pieces: Vec::new() }];
    let mut names: Vec<&str> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let next = match bytes[at] {
            b'{' => match capture_end(text, at) {
                Ok(end) => {
                    match parse_capture(text, at..end) {
                        Ok(Piece::Capture { name, .. }) if names.contains(&name) => {
                            faults.push(fault(at..end, format!("the capture `{name}` stands twice in this pattern")));
                        }
                        Ok(piece) => {
                            names.extend(piece.name());
                            push(&mut parts, piece, end);
                        }
                        Err(fault) => faults.push(fault),
                    }
                    end
                }
                Err(fault) => {
                    faults.push(fault);
                    break;
                }
            },
            b'}' => {
                faults.push(fault(at..at + 1, "this `}` closes nothing").with_hint("write %7D for a literal brace"));
                at + 1
            }
            b'#' => {
                faults.push(
                    fault(at..text.len(), "a fragment never reaches a server")
                        .with_hint("leave the `#` and what follows out"),
                );
                break;
            }
            b'?' if parts.len() == 1 => {
                parts.push(Part { range: at + 1..at + 1, pieces: Vec::new() });
                at + 1
            }
            b'&' if parts.len() > 1 => {
                parts.push(Part { range: at + 1..at + 1, pieces: Vec::new() });
                at + 1
            }
            _ => {
                let ends: &[u8] = if parts.len() > 1 { b"{}#&" } else { b"{}#?" };
                let end = bytes[at..].iter().position(|b| ends.contains(b)).map_or(text.len(), |end| at + end);
                push(&mut parts, Piece::Literal(&text[at..end]), end);
                end
            }
        };
        at = next;
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let query = parts.split_off(1);
    let path = parts.pop().unwrap_or(Part { range: 0..0, pieces: Vec::new() });
    Ok((path, query))
}

fn push<'a>(parts: &mut [Part<'a>], piece: Piece<'a>, end: usize) {
    if let Some(part) = parts.last_mut() {
        part.pieces.push(piece);
        part.range.end = end;
    }
}

/// The end of the capture that opens at `open`: braces within its regular expression are counted.
fn capture_end(text: &str, open: usize) -> Result<usize, Fault> {
    let mut depth = 0;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            _ => {}
        }
    }
    Err(fault(open..open + 1, "this `{` is never closed").with_hint("write %7B for a literal brace"))
}

fn parse_capture(text: &str, range: Range<usize>) -> Result<Piece<'_>, Fault> {
    let inner = &text[range.start + 1..range.end - 1];
    let (name, kind) = match inner.split_once(':') {
        Some((name, regex)) => {
            if regex.is_empty() {
                return Err(fault(range, "an empty regular expression takes no value")
                    .with_hint("write {name} for anything within a segment"));
            }
            let parsed = syntax::parse(regex).map_err(|error| regex_fault(&error.to_string(), range.clone()))?;
            // A group of its own in it would shift the numbers of the others.
            if parsed.properties().explicit_captures_len() > 0 {
                return Err(fault(range, "a capture's regular expression may have no groups of its own")
                    .with_hint("write (?:…) instead of (…)"));
            }
            (name, Capture::Regex(regex))
        }
        None => match inner.strip_prefix('*') {
            Some(name) => (name, Capture::Rest),
            None => (inner, Capture::Segment),
        },
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        return Err(fault(range, format!("`{name}` is no name for a capture"))
            .with_hint("letters, digits and `_`, as in {id}, {id:[0-9]+}, {*rest}"));
    }
    if is_built_in(name) {
        return Err(built_in(name, range));
    }
    Ok(Piece::Capture { name, kind, range })
}

/// A capture that would hide a built-in: a target that is safe with the path as it was sent would not be with it.
fn built_in(name: &str, range: Range<usize>) -> Fault {
    fault(range, format!("`{name}` is no name for a capture: it is built in"))
        .with_hint("letters, digits and `_`; host, path, query, url and timestamp are built in")
}

/// Stands for capture n while the literal text around it is made canonical: a control character, which stays escaped
/// in every setting.
fn placeholder(n: usize) -> String {
    format!("%01{n}%02")
}

fn path_regex(
    text: &str,
    part: &Part<'_>,
    canonicalizer: &Canonicalizer,
    captures: &mut Vec<String>,
) -> Result<(String, Option<String>), Fault> {
    let mut marked = String::new();
    let mut kinds = Vec::new();
    for piece in &part.pieces {
        match piece {
            Piece::Literal(text) => marked.push_str(text),
            Piece::Capture { name, kind, range } => {
                marked.push_str(&placeholder(kinds.len()));
                kinds.push((*name, *kind, range.clone()));
                captures.push((*name).to_owned());
            }
        }
    }
    let mut canonical = Canonical::default();
    canonicalizer
        .canonicalize(marked.as_bytes(), Form::Text, &mut canonical)
        .map_err(|error| fault(0..text.len(), error.to_string()))?;
    let ignore_slash = canonicalizer.settings().ignore_trailing_slash;
    let path = canonical.path();
    let path = if ignore_slash { path.trim_end_matches('/') } else { path };
    if kinds.is_empty() {
        let literal = if path.is_empty() { "/" } else { path };
        let slash = if ignore_slash { "/*" } else { "" };
        let body = if literal == "/" { "/".to_owned() } else { regex::escape(literal) };
        return Ok((format!(r"\A{body}{slash}\z"), Some(literal.to_owned())));
    }
    let fold = if canonicalizer.settings().ignore_case { "(?i)" } else { "" };
    let mut regex = String::from(r"\A");
    let mut rest = path;
    for (n, (name, kind, range)) in kinds.iter().enumerate() {
        let mark = placeholder(n);
        let Some((before, after)) = rest.split_once(&mark) else {
            return Err(fault(range.clone(), "a capture may not stand in a part of the path that is dropped"));
        };
        rest = after;
        match kind {
            Capture::Segment => regex.push_str(&format!("{}(?<{name}>(?-u:[^/]+))", regex::escape(before))),
            Capture::Regex(inner) => regex.push_str(&format!("{}(?<{name}>{fold}{inner})", regex::escape(before))),
            // `/a/{*rest}` is also `/a`, which is the same page as `/a/`.
            Capture::Rest if ignore_slash && after.is_empty() && before.ends_with('/') => {
                regex.push_str(&format!("{}(?:/(?<{name}>(?s-u:.*)))?", regex::escape(&before[..before.len() - 1])));
            }
            Capture::Rest => regex.push_str(&format!("{}(?<{name}>(?s-u:.*))", regex::escape(before))),
        }
    }
    regex.push_str(&regex::escape(rest));
    if ignore_slash {
        regex.push_str("/*");
    }
    regex.push_str(r"\z");
    Ok((regex, None))
}

fn query_test(
    text: &str,
    parameter: &Part<'_>,
    canonicalizer: &Canonicalizer,
    captures: &mut Vec<String>,
) -> Result<QueryTest, Fault> {
    let Part { range, pieces } = parameter;
    if pieces.is_empty() {
        let separator = range.start - 1..range.start;
        return Err(fault(separator.clone(), format!("no query parameter follows this `{}`", &text[separator]))
            .with_hint("leave it out"));
    }
    let Some(Piece::Literal(first)) = pieces.first() else {
        return Err(
            fault(range.clone(), "a query parameter's name must be literal").with_hint("write `?name={capture}`")
        );
    };
    let Some((key, value)) = first.split_once('=') else {
        if pieces.len() > 1 {
            return Err(
                fault(range.clone(), "a query parameter's name must be literal").with_hint("write `?name={capture}`")
            );
        }
        return Ok(QueryTest { key: canonicalizer.query_text(first, true), value: ValueTest::Present });
    };
    let key = canonicalizer.query_text(key, true);
    if pieces.len() == 1 {
        return Ok(QueryTest { key, value: ValueTest::Is(canonicalizer.query_text(value, false)) });
    }
    let fold = if canonicalizer.settings().ignore_case { "(?i)" } else { "" };
    let start = captures.len();
    let mut regex = format!(r"\A{}", regex::escape(&canonicalizer.query_text(value, false)));
    for piece in &pieces[1..] {
        match piece {
            Piece::Literal(text) => regex.push_str(&regex::escape(&canonicalizer.query_text(text, false))),
            Piece::Capture { name, kind, .. } => {
                captures.push((*name).to_owned());
                match kind {
                    Capture::Segment => regex.push_str("((?s-u:.+))"),
                    Capture::Rest => regex.push_str("((?s-u:.*))"),
                    Capture::Regex(inner) => regex.push_str(&format!("({fold}{inner})")),
                }
            }
        }
    }
    regex.push_str(r"\z");
    Ok(QueryTest { key, value: ValueTest::Matches(regex, start..captures.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::UrlSettings;

    #[test]
    fn captures_never_hide_built_ins() {
        let canonicalizer = Canonicalizer::new(UrlSettings::default(), true);
        for name in ["host", "path", "query", "url", "timestamp"] {
            for text in [
                format!("/a/{{{name}}}"),
                format!("/a/{{*{name}}}"),
                format!("/a/{{{name}:[0-9]+}}"),
                format!("/a?b={{{name}}}"),
            ] {
                assert!(Pattern::parse(&text, &canonicalizer).is_err(), "{text}");
            }
            for text in [format!("^/a/(?<{name}>.*)"), format!("^/a/(?P<{name}>.*)")] {
                assert!(Pattern::regex(&text, &canonicalizer).is_err(), "{text}");
            }
        }
        assert!(Pattern::parse("/a/{paths}", &canonicalizer).is_ok());
    }
}
