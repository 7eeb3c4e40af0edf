//! JSON lines, in the fields of the gateway's own access log.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Line, LineScratch, Moment, NoLine, is_method};

/// Lines of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

/// What is read of a line; other fields are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    client: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    scheme: Cow<'a, str>,
    #[serde(borrow, default)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(default)]
    status: u16,
    #[serde(borrow, default)]
    referer: Cow<'a, str>,
    #[serde(borrow, default)]
    user_agent: Cow<'a, str>,
    /// Fields that were no UTF-8, and so are percent-encoded.
    #[serde(default)]
    escaped: Vec<String>,
}

impl Json {
    /// Reads a line.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read<'a>(&self, line: &'a [u8], scratch: &'a mut LineScratch) -> Result<Line<'a>, NoLine> {
        let fields: Fields<'a> =
            serde_json::from_slice(line).map_err(|_| NoLine::Unreadable("it is no JSON with `method` and `target`"))?;
        if !is_method(fields.method.as_bytes()) || fields.target.is_empty() {
            return Err(NoLine::NoRequest);
        }
        if fields.status > 999 {
            return Err(NoLine::Unreadable("its `status` is none of HTTP's"));
        }
        // What has no escapes is borrowed from the line; fields that never have any are not kept otherwise.
        let borrowed = |text: Cow<'a, str>| match text {
            Cow::Borrowed(text) => text.as_bytes(),
            Cow::Owned(_) => b"",
        };
        let LineScratch { target, referer, user_agent, host } = scratch;
        let kept = |name: &str, text, out| kept(text, fields.escaped.iter().any(|escaped| escaped == name), out);
        Ok(Line {
            client: borrowed(fields.client),
            host: kept("host", fields.host, host),
            secure: match &*fields.scheme {
                "https" => Some(true),
                "http" => Some(false),
                _ => None,
            },
            method: borrowed(fields.method),
            target: kept("target", fields.target, target),
            is_decoded: false,
            status: fields.status,
            referer: kept("referer", fields.referer, referer),
            user_agent: kept("user_agent", fields.user_agent, user_agent),
            moment: Moment::Iso(borrowed(fields.time)),
        })
    }
}

fn kept<'a>(text: Cow<'a, str>, escaped: bool, out: &'a mut Vec<u8>) -> &'a [u8] {
    match text {
        Cow::Borrowed(text) if !escaped => text.as_bytes(),
        text => {
            out.clear();
            match escaped {
                true => decode(text.as_bytes(), out),
                false => out.extend_from_slice(text.as_bytes()),
            }
            out
        }
    }
}

/// Appends a text without its percent-encoding.
fn decode(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'%', text) {
        out.extend_from_slice(&text[..at]);
        let digits = text.get(at + 1..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(b'%'));
        text = &text[at + if byte.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines() {
        let mut scratch = LineScratch::default();
        let line = br#"{"time":"2020-10-10T05:55:36.123Z","client":"192.0.2.1","method":"GET","scheme":"https","host":"jyj.old.example","target":"/a\"\u4e2d","status":301,"took":0.000042,"tags":["x"],"user_agent":"M"}"#;
        let read = Json.read(line, &mut scratch).unwrap();
        assert_eq!((read.target, read.secure), ("/a\"中".as_bytes(), Some(true)));
        assert_eq!((read.host, read.status, read.user_agent), (&b"jyj.old.example"[..], 301, &b"M"[..]));
        assert_eq!(read.moment.seconds(), Some(1_602_309_336));
        let line = br#"{"method":"GET","target":"/%B9%AB?a=%25B9","referer":"/%25","escaped":["target"]}"#;
        let read = Json.read(line, &mut scratch).unwrap();
        assert_eq!((read.target, read.referer), (&b"/\xB9\xAB?a=%B9"[..], &b"/%25"[..]));
        for bad in ["", "{", "[]", "{\"method\":\"GET\"}", "{\"method\":1,\"target\":\"/\"}"] {
            let read = Json.read(bad.as_bytes(), &mut scratch);
            assert!(matches!(read, Err(NoLine::Unreadable(_))), "{bad}");
        }
        let odd = Json.read(br#"{"method":"GET","target":"/","status":3021}"#, &mut scratch);
        assert!(matches!(odd, Err(NoLine::Unreadable(why)) if why.contains("status")));
        let none = Json.read(br#"{"method":"\u0016","target":"/"}"#, &mut scratch);
        assert_eq!(none, Err(NoLine::NoRequest));
    }
}
