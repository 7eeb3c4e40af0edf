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
        // What has no escapes is borrowed from the line; fields that never have any are not kept otherwise.
        let borrowed = |text: Cow<'a, str>| match text {
            Cow::Borrowed(text) => text.as_bytes(),
            Cow::Owned(_) => b"",
        };
        let LineScratch { target, referer, user_agent, host } = scratch;
        Ok(Line {
            client: borrowed(fields.client),
            host: kept(fields.host, host),
            secure: match &*fields.scheme {
                "https" => Some(true),
                "http" => Some(false),
                _ => None,
            },
            method: borrowed(fields.method),
            target: kept(fields.target, target),
            is_decoded: false,
            status: fields.status,
            referer: kept(fields.referer, referer),
            user_agent: kept(fields.user_agent, user_agent),
            moment: Moment::Iso(borrowed(fields.time)),
        })
    }
}

fn kept<'a>(text: Cow<'a, str>, out: &'a mut Vec<u8>) -> &'a [u8] {
    match text {
        Cow::Borrowed(text) => text.as_bytes(),
        Cow::Owned(text) => {
            out.clear();
            out.extend_from_slice(text.as_bytes());
            out
        }
    }
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
        for bad in ["", "{", "[]", "{\"method\":\"GET\"}", "{\"method\":1,\"target\":\"/\"}"] {
            let read = Json.read(bad.as_bytes(), &mut scratch);
            assert!(matches!(read, Err(NoLine::Unreadable(_))), "{bad}");
        }
        let none = Json.read(br#"{"method":"\u0016","target":"/"}"#, &mut scratch);
        assert_eq!(none, Err(NoLine::NoRequest));
    }
}
