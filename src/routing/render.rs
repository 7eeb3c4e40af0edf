//! Templates → locations and paths.

use std::fmt::Write;

use crate::config::template::{Filter, Piece, Template, Value};
use crate::url::{Component, MAX_TARGET, encode_component, is_uri_byte};

/// What the values of a template are taken from.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub captures: &'a [String],
    pub host: &'a str,
    /// The request target as it was sent.
    pub target: &'a [u8],
    pub secure: bool,
    pub timestamp: &'a str,
}

/// Longest location that is sent; what grows beyond is not sent at all.
const MAX_LOCATION: usize = 16 * 1024;

/// Renders `template` into `out`. False if a filter can't take its value, or the text grows too long: the rule then
/// doesn't match.
pub(super) fn render(template: &Template, values: &Values<'_>, keep_query: bool, out: &mut String) -> bool {
    out.clear();
    for piece in &template.pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Value { value, filters, in_query } => {
                if !push_value(*value, filters, *in_query, values, out) {
                    return false;
                }
            }
        }
    }
    if keep_query && let Some(query) = path_and_query(values.target).1 {
        // A fragment stays at the end (RFC 3986, 3).
        let fragment = out.find('#').map(|at| out.split_off(at));
        if !query.is_empty() {
            out.push(if out.contains('?') { '&' } else { '?' });
            push_as_sent(query, out);
        }
        out.push_str(&fragment.unwrap_or_default());
    }
    out.len() <= MAX_LOCATION
}

/// Writes the URL that was asked for into `out`, with `https://`: the canonical host, `port` (with its colon; may be empty),
/// path and query as they were sent. False if it is too long to be sent.
pub(super) fn https_url(host: &str, port: &str, target: &[u8], out: &mut String) -> bool {
    out.clear();
    if target.len() > MAX_TARGET {
        return false;
    }
    push_url("https://", host, port, target, out);
    out.len() <= MAX_LOCATION
}

/// Writes path and query of a target as a URI: platforms are less patient than citizens' browsers.
pub(super) fn own_path(target: &[u8], out: &mut String) {
    out.clear();
    push_target(target, out);
    if out.bytes().all(is_uri_byte) {
        return;
    }
    for byte in std::mem::take(out).bytes() {
        if is_uri_byte(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn push_value(value: Value, filters: &[Filter], in_query: bool, values: &Values<'_>, out: &mut String) -> bool {
    match value {
        Value::Capture(number) => {
            let Some(text) = values.captures.get(number) else { return false };
            let component = if in_query { Component::Query } else { Component::Path };
            if filters.is_empty() {
                encode_component(text, component, out);
                return true;
            }
            match filtered(text, filters) {
                Some(text) => encode_component(&text, component, out),
                None => return false,
            }
        }
        Value::Host => out.push_str(values.host),
        Value::Timestamp => out.push_str(values.timestamp),
        Value::Path => push_path(values.target, out),
        Value::Query => match path_and_query(values.target).1 {
            // `…?{query}` without a query ends before the `?`.
            None | Some([]) => out.truncate(out.trim_end_matches(['?', '&']).len()),
            Some(query) => push_as_sent(query, out),
        },
        Value::Url => {
            let scheme = if values.secure { "https://" } else { "http://" };
            push_url(scheme, values.host, "", values.target, out);
        }
    }
    true
}

fn push_url(scheme: &str, host: &str, port: &str, target: &[u8], out: &mut String) {
    out.push_str(scheme);
    out.push_str(host);
    out.push_str(port);
    push_target(target, out);
}

fn push_target(target: &[u8], out: &mut String) {
    push_path(target, out);
    if let Some(query) = path_and_query(target).1 {
        out.push('?');
        push_as_sent(query, out);
    }
}

fn filtered(text: &str, filters: &[Filter]) -> Option<String> {
    let mut text = text.to_owned();
    for filter in filters {
        text = match *filter {
            Filter::Div(by) => (text.parse::<u64>().ok()? / by).to_string(),
            Filter::Mod(by) => (text.parse::<u64>().ok()? % by).to_string(),
            Filter::Lower => map_unescaped(&text, |c, out| out.extend(c.to_lowercase())),
            Filter::Upper => map_unescaped(&text, |c, out| out.extend(c.to_uppercase())),
            Filter::Pad(width) => format!("{text:0>width$}"),
        };
    }
    Some(text)
}

/// Maps every character but those of `%XX` escapes.
fn map_unescaped(text: &str, map: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escape = 0;
    for c in text.chars() {
        if c == '%' {
            escape = 3;
        }
        if escape > 0 {
            escape -= 1;
            out.push(c);
        } else {
            map(c, &mut out);
        }
    }
    out
}

/// Path and query of a request target as sent, without fragment; for absolute-form, what follows the authority.
fn path_and_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    crate::url::split_target(target)
}

fn push_path(target: &[u8], out: &mut String) {
    let (path, _) = path_and_query(target);
    if target == b"*" {
        out.push_str("/*");
        return;
    }
    if path.first() != Some(&b'/') {
        out.push('/');
    }
    push_as_sent(path, out);
}

/// Appends bytes of a request as they were sent; what can't stand in a URL is escaped.
fn push_as_sent(raw: &[u8], out: &mut String) {
    for &byte in raw {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | 0..=b' ' | 0x7F.. => {
                // Writing to a String can't fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_changes_the_host() {
        let (template, _) = Template::target("https://a.example{path}", &[]).unwrap();
        for target in [
            &b"/.evil.example"[..],
            b".evil.example",
            b"@evil.example",
            b":80@evil.example",
            b"\\@evil.example",
            b"//evil.example",
            b"*",
            b"",
            b"http://b.example.evil",
        ] {
            let values = Values { captures: &[], host: "b.example", target, secure: true, timestamp: "" };
            let mut out = String::new();
            assert!(render(&template, &values, true, &mut out));
            assert!(out.starts_with("https://a.example/"), "{out}");
        }
    }
}
