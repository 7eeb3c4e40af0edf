//! Targets with placeholders: `https://www.example.org/jyj/{id|div:1000}/{id}.html`.

use std::ops::Range;

use crate::model::{Host, MAX_TARGET_URL, TargetFault, escape_into, parse_authority, split_scheme};

use super::diagnostic::suggestion;

/// A checked template: text, ready to be sent, between values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is sent as it is.
    Literal(String),
    /// A value, filtered, then escaped for the place where it stands.
    Value {
        /// Where it comes from.
        value: Value,
        /// What is done to it, in order.
        filters: Vec<Filter>,
        /// Whether it stands behind the target's `?` or `#`.
        in_query: bool,
    },
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The capture of that number.
    Capture(usize),
    /// The host of the request, canonical.
    Host,
    /// The path as it was sent, with its leading slash.
    Path,
    /// The query as it was sent, without `?`.
    Query,
    /// The whole URL as it was sent.
    Url,
    /// The site's `timestamp`.
    Timestamp,
}

/// What is done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Whole-number division: `{id|div:1000000}`. Anything but digits makes the rule not match.
    Div(u64),
    /// Remainder: `{id|mod:100}`.
    Mod(u64),
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Zeros in front, to this many characters.
    Pad(usize),
}

/// A fault in a template: the byte range within the text, a message and a hint.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind, as [`super::Diagnostic::code`].
    pub code: &'static str,
    /// Bytes of the text that are meant.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

const BUILT_IN: [(&str, Value); 5] = [
    ("host", Value::Host),
    ("path", Value::Path),
    ("query", Value::Query),
    ("url", Value::Url),
    ("timestamp", Value::Timestamp),
];

/// Longest zero padding.
const MAX_PAD: usize = 64;

/// Whether a name stands for something in every template; no capture can have it.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

impl Template {
    /// Parses the target of a redirect. Its host must be literal, and end before the first value.
    ///
    /// # Errors
    /// Every fault.
    pub fn target(text: &str, captures: &[String]) -> Result<(Self, Host), Vec<Fault>> {
        let whole = |fault: TargetFault| vec![bad_target(0..text.len(), fault.to_string())];
        let (scheme, rest) = split_scheme(text).ok_or_else(|| whole(TargetFault::Scheme))?;
        let authority_end = rest.find(['/', '?', '#', '{']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        // The built-in path begins with `/`; no capture can take its name.
        if tail.starts_with('{') && !tail.starts_with("{path}") && !tail.starts_with("{path|") {
            let start = scheme.len() + authority_end;
            let end = tail.find('}').map_or(text.len(), |end| start + end + 1);
            let hint = "end the host with `/` before the first `{`, so that no request can choose where it is sent";
            return Err(vec![bad_target(start..end, "the host of a target must be literal").with_hint(hint)]);
        }
        let (host, authority) = parse_authority(authority).map_err(whole)?;
        let mut pieces = vec![Piece::Literal(format!("{scheme}{authority}"))];
        parse_pieces(text, scheme.len() + authority_end, captures, &mut pieces)?;
        let literal: usize =
            pieces.iter().map(|piece| if let Piece::Literal(text) = piece { text.len() } else { 0 }).sum();
        if literal > MAX_TARGET_URL {
            return Err(whole(TargetFault::TooLong));
        }
        Ok((Template { pieces: join(pieces) }, host))
    }

    /// Parses a path (and query) to ask a platform for.
    ///
    /// # Errors
    /// Every fault.
    pub fn path(text: &str, captures: &[String]) -> Result<Self, Vec<Fault>> {
        if !text.starts_with('/') {
            return Err(vec![bad_target(0..text.len(), "a path begins with `/`")]);
        }
        let mut pieces = Vec::new();
        parse_pieces(text, 0, captures, &mut pieces)?;
        Ok(Template { pieces: join(pieces) })
    }

    /// Parses a link on a page: like a target, but it may go anywhere, since nobody is sent there unasked.
    ///
    /// # Errors
    /// Every fault.
    pub fn link(text: &str, captures: &[String]) -> Result<Self, Vec<Fault>> {
        Self::target(text, captures).map(|(template, _)| template)
    }

    /// The text of a template without values.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

impl Fault {
    pub(super) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

fn bad_target(range: Range<usize>, message: impl Into<String>) -> Fault {
    Fault { code: "bad-target", range, message: message.into(), hint: None }
}

fn parse_pieces(text: &str, start: usize, captures: &[String], pieces: &mut Vec<Piece>) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut in_query = false;
    let mut at = start;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            pieces.push(Piece::Literal(rest[..1].to_owned()));
            at += 2;
        } else if rest.starts_with('{') {
            let Some(end) = rest.find('}') else {
                faults.push(
                    bad_target(at..at + 1, "this `{` is never closed").with_hint("write `{{` for a literal brace"),
                );
                break;
            };
            match parse_value(&rest[1..end], at, captures, in_query) {
                Ok(piece) => pieces.push(piece),
                Err(fault) => faults.push(fault),
            }
            at += end + 1;
        } else if rest.starts_with('}') {
            faults.push(bad_target(at..at + 1, "this `}` closes nothing").with_hint("write `}}` for a literal brace"));
            at += 1;
        } else {
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            let literal = &rest[..end];
            in_query |= literal.contains(['?', '#']);
            let mut escaped = String::new();
            match escape_into(literal, &mut escaped) {
                Ok(()) => pieces.push(Piece::Literal(escaped)),
                Err(fault) => faults.push(bad_target(at..at + end, fault.to_string())),
            }
            at += end;
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn parse_value(inner: &str, at: usize, captures: &[String], in_query: bool) -> Result<Piece, Fault> {
    let range = at..at + inner.len() + 2;
    let mut parts = inner.split('|');
    let name = parts.next().unwrap_or_default().trim();
    let filters = parts.map(|filter| parse_filter(filter.trim(), &range)).collect::<Result<Vec<_>, _>>();
    let value = match captures.iter().position(|capture| capture == name) {
        Some(number) => Value::Capture(number),
        None => match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            Some((_, value)) => *value,
            None => {
                let known = captures.iter().map(String::as_str).chain(BUILT_IN.iter().map(|(name, _)| *name));
                let hint = suggestion(name, known.clone())
                    .unwrap_or_else(|| format!("known here: {}", known.collect::<Vec<_>>().join(", ")));
                let message = format!("unknown capture `{name}`");
                return Err(Fault { code: "unknown-capture", range, message, hint: Some(hint) });
            }
        },
    };
    let filters = filters?;
    if !filters.is_empty() && !matches!(value, Value::Capture(_)) {
        let message = format!("`{name}` takes no filter");
        return Err(Fault { code: "bad-filter", range, message, hint: Some("only captures do".to_owned()) });
    }
    Ok(Piece::Value { value, filters, in_query })
}

fn parse_filter(text: &str, range: &Range<usize>) -> Result<Filter, Fault> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
    let number = |low: u64, high: u64| argument.and_then(|a| a.parse().ok()).filter(|n| (low..=high).contains(n));
    let filter = match (name, argument) {
        ("div", _) => number(1, u64::MAX).map(Filter::Div),
        ("mod", _) => number(1, u64::MAX).map(Filter::Mod),
        ("pad", _) => number(1, MAX_PAD as u64).map(|n| Filter::Pad(n as usize)),
        ("lower", None) => Some(Filter::Lower),
        ("upper", None) => Some(Filter::Upper),
        _ => None,
    };
    filter.ok_or_else(|| Fault {
        code: "bad-filter",
        range: range.clone(),
        message: format!("`{text}` is no filter"),
        hint: Some("div:NUMBER, mod:NUMBER, lower, upper, pad:WIDTH".to_owned()),
    })
}

/// Joins neighbouring literals.
fn join(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Literal(last)), Piece::Literal(text)) => last.push_str(&text),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_target_is_literal() {
        let captures = ["x".to_owned()];
        for text in [
            r"https://a.example\evil",
            r"https://a.example\@evil.example/{x}",
            r"https://a.example:80\{x}",
            "https://a.example:80@evil.example/{x}",
            "https://a.example%5C@evil.example/{x}",
            "https://a.exa\tmple/{x}",
            "https://a.example:80\n/{x}",
            "https://a.example{x}",
            "https://a.example{x}/",
            "https://a.example:{x}/",
            "https://a.example{url}",
            "https://a.example{query}",
            "https://a.example{ path}",
            "https://a.example{{path}}",
            "https://{x}/",
        ] {
            let parsed = Template::target(text, &captures);
            assert!(parsed.is_err(), "{text:?}: {parsed:?}");
        }
        let (template, host) = Template::target("https://a.example{path}", &captures).unwrap();
        assert_eq!(host.as_str(), "a.example");
        assert_eq!(template.pieces[1], Piece::Value { value: Value::Path, filters: Vec::new(), in_query: false });
    }
}
