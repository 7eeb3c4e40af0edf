//! What no request for a page needs: traversal, line breaks, NUL and other controls, in whatever spelling.
//!
//! Old URLs are odd, and most oddities are harmless: `//`, `\`, raw GBK, `/x/../a`, a `%0A` that was copied along. What
//! they mean is for [`crate::url`] and the site's settings to say. Here stands only what is an attack in any reading:
//!
//! - dot segments that leave the root, or that hide behind a path parameter (`..;`), where dots, slashes and backslashes
//!   may be escaped once or twice, as `%u002e`, or as overlong UTF-8;
//! - NUL, line breaks and other controls with something behind them in the path; NUL in the query, and line breaks in
//!   the query that begin a header field.
//!
//! Raw controls never come here: the parsers of heads refuse them. No check reads text in a charset, so that nothing that
//! is text in GBK or Big5 is refused: both have no second byte below `0`, and one that looks like `\` is only counted as
//! a separator between dot segments. What a site wants to be stricter about is in [`Strictness`].

use crate::config::Strictness;
use crate::model::Reason;
use crate::url::{Charset, split_target};

/// The checks, as a site's URLs want them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hygiene {
    /// The charset of its URLs.
    pub charset: Charset,
    /// Whether plain dot segments mean anything (`[url] dots`): where they are compared as sent, `/../a` is a name like others.
    pub resolves_dots: bool,
    /// What else is refused.
    pub strict: Strictness,
}

impl Hygiene {
    /// What is wrong with a request target (as sent), if anything is.
    pub fn check(&self, target: &[u8]) -> Option<Reason> {
        let (path, query) = split_target(target);
        let reason = if is_suspicious(path) { self.check_path(path) } else { None };
        reason.or_else(|| query.and_then(check_query)).or_else(|| self.check_strictly(path, query))
    }

    fn check_path(&self, path: &[u8]) -> Option<Reason> {
        let once = || Decoded(path.iter().copied());
        let twice = || Decoded(once());
        if let Some(reason) = control_inside(once()).or_else(|| control_inside(twice())) {
            return Some(reason);
        }
        let plain = lowest_depth(path.iter().copied(), |byte| byte == b'/');
        let readings = [lowest_depth(Overlong(once()), is_separator), lowest_depth(Overlong(twice()), is_separator)];
        // Where plain dots are names, only what other spellings add to them counts.
        let floor = if self.resolves_dots { Some(0) } else { plain.map(|depth| depth.min(0)) };
        let stays = |reading: Option<i32>| reading.zip(floor).is_some_and(|(depth, floor)| depth >= floor);
        (!stays(plain) || !readings.into_iter().all(stays)).then_some(Reason::Traversal)
    }

    fn check_strictly(&self, path: &[u8], query: Option<&[u8]>) -> Option<Reason> {
        let strict = self.strict;
        if strict.backslash && self.has_backslash(path) {
            return Some(Reason::Backslash);
        }
        if strict.double_encoding && has_escape(Decoded(path.iter().copied())) {
            return Some(Reason::Encoding);
        }
        let is_utf8 = |raw: &[u8]| String::from_utf8(Decoded(raw.iter().copied()).collect()).is_ok();
        if strict.invalid_utf8 && self.charset == Charset::Utf8 && !(is_utf8(path) && query.is_none_or(is_utf8)) {
            return Some(Reason::Encoding);
        }
        None
    }

    fn has_backslash(&self, path: &[u8]) -> bool {
        let mut bytes = Decoded(path.iter().copied());
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => return true,
                // The second byte of a character may look like a backslash.
                0x81..=0xFE if self.charset != Charset::Utf8 => _ = bytes.next(),
                _ => {}
            }
        }
        false
    }
}

/// Whether a path has anything that the checks look for. Most have not.
fn is_suspicious(path: &[u8]) -> bool {
    let mut last = 0;
    for (at, &byte) in path.iter().enumerate() {
        let is_suspect = match byte {
            b'.' => last == b'.',
            b'\\' | 0xC0 | 0xC1 | 0xE0 | 0xF0 => true,
            b'%' => match path.get(at + 1..at + 3).unwrap_or_default() {
                [b'0' | b'1' | b'u' | b'U', _] => true,
                [b'2', digit] => matches!(digit, b'5' | b'e' | b'E' | b'f' | b'F'),
                [b'5', digit] => matches!(digit, b'c' | b'C'),
                [b'7', digit] => matches!(digit, b'f' | b'F'),
                [b'c' | b'C', digit] => matches!(digit, b'0' | b'1'),
                [b'e' | b'E' | b'f' | b'F', digit] => *digit == b'0',
                _ => false,
            },
            _ => false,
        };
        if is_suspect {
            return true;
        }
        last = byte;
    }
    false
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// How deep below the root (0) a path leads at its lowest point; `None` if a dot segment hides behind a parameter, which
/// servers of Java applications cut off, and others don't.
fn lowest_depth(path: impl Iterator<Item = u8>, is_separator: impl Fn(u8) -> bool) -> Option<i32> {
    let (mut depth, mut lowest) = (0, 0);
    let mut segment = Segment::Empty;
    for byte in path.chain([b'/']) {
        segment = match (segment, byte) {
            (ended, byte) if is_separator(byte) => {
                depth += match ended {
                    Segment::Empty | Segment::Dot => 0,
                    Segment::DotDot => -1,
                    Segment::Name => 1,
                };
                lowest = lowest.min(depth);
                Segment::Empty
            }
            (Segment::Empty, b'.') => Segment::Dot,
            (Segment::Dot, b'.') => Segment::DotDot,
            (Segment::DotDot, b';') => return None,
            _ => Segment::Name,
        };
    }
    Some(lowest)
}

/// What has been read of a segment.
#[derive(Clone, Copy)]
enum Segment {
    Empty,
    Dot,
    DotDot,
    Name,
}

/// A control character with something behind it. At the end of a path stands what was copied along with an address.
fn control_inside(path: impl Iterator<Item = u8>) -> Option<Reason> {
    let mut found = None;
    for byte in path {
        let reason = match byte {
            0 => Reason::Control,
            b'\r' | b'\n' => Reason::Injection,
            b' ' | b'\t' => continue,
            0x01..=0x1F | 0x7F => Reason::Control,
            _ if found.is_some() => return found,
            _ => continue,
        };
        found = found.or(Some(reason));
    }
    None
}

fn check_query(query: &[u8]) -> Option<Reason> {
    if !query.contains(&b'%') {
        return None;
    }
    let once = || Decoded(query.iter().copied());
    header_break(once()).or_else(|| header_break(Decoded(once())))
}

/// NUL with something behind it, or a line break with a header field or a status line behind it. Others are what forms
/// send of texts with several lines.
fn header_break(query: impl Iterator<Item = u8>) -> Option<Reason> {
    let (mut nul, mut line) = (false, None);
    let mut name = [0; LONGEST_FIELD];
    for byte in query {
        if nul && byte != 0 {
            return Some(Reason::Control);
        }
        match (byte, line) {
            (0, _) => nul = true,
            (b'\r' | b'\n', _) => line = Some(0),
            (b' ' | b'\t', Some(0)) => {}
            (b':' | b'/', Some(length)) if is_field(&name[..length], byte) => return Some(Reason::Injection),
            (_, Some(length)) if length < LONGEST_FIELD => {
                name[length] = byte.to_ascii_lowercase();
                line = Some(length + 1);
            }
            (_, Some(_)) => line = None,
            _ => {}
        }
    }
    None
}

fn is_field(name: &[u8], end: u8) -> bool {
    match end {
        b':' => FIELDS.iter().any(|field| field.as_bytes() == name) || name.starts_with(b"access-control-"),
        _ => name == b"http",
    }
}

/// Whether a `%XX` stands in a text.
fn has_escape(text: impl Iterator<Item = u8> + Clone) -> bool {
    let mut text = text;
    while let Some(byte) = text.next() {
        let mut behind = text.clone();
        if byte == b'%' && hex(&mut behind).zip(hex(&mut behind)).is_some() {
            return true;
        }
    }
    false
}

/// Bytes without their percent-escapes; `%uXXXX` is one byte if it stands for one.
#[derive(Clone)]
pub(super) struct Decoded<I>(pub(super) I);

impl<I: Iterator<Item = u8> + Clone> Iterator for Decoded<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.0.next()?;
        if byte != b'%' {
            return Some(byte);
        }
        let mut behind = self.0.clone();
        let mut digits = behind.clone();
        if matches!(digits.next(), Some(b'u' | b'U')) {
            if (hex(&mut digits), hex(&mut digits)) == (Some(0), Some(0))
                && let (Some(high), Some(low)) = (hex(&mut digits), hex(&mut digits))
            {
                self.0 = digits;
                return Some(high * 16 + low);
            }
            return Some(byte);
        }
        let (Some(high), Some(low)) = (hex(&mut behind), hex(&mut behind)) else { return Some(byte) };
        self.0 = behind;
        Some(high * 16 + low)
    }
}

/// Bytes in which characters of ASCII are what they are also where UTF-8 spells them in more bytes than one: `%C0%AE`.
///
/// Only for dot segments: in GBK these bytes are characters like others.
#[derive(Clone)]
struct Overlong<I>(I);

impl<I: Iterator<Item = u8> + Clone> Iterator for Overlong<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let first = self.0.next()?;
        let mut behind = self.0.clone();
        let high = match first {
            0xC0 | 0xC1 => Some(first),
            0xE0 => behind.next(),
            0xF0 if behind.next() == Some(0x80) => behind.next(),
            _ => None,
        };
        let Some(high @ (0x80 | 0x81 | 0xC0 | 0xC1)) = high else { return Some(first) };
        let Some(low @ 0x80..=0xBF) = behind.next() else { return Some(first) };
        self.0 = behind;
        Some(((high & 1) << 6) | (low & 0x3F))
    }
}

fn hex(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    char::from(digits.next()?).to_digit(16).map(|digit| digit as u8)
}

/// Fields that answers are split with.
const FIELDS: &[&str] = &[
    "content-length",
    "content-type",
    "content-disposition",
    "content-location",
    "content-security-policy",
    "cookie",
    "host",
    "link",
    "location",
    "refresh",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-frame-options",
    "x-xss-protection",
];

const LONGEST_FIELD: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    impl Default for Hygiene {
        fn default() -> Self {
            Hygiene { charset: Charset::Utf8, resolves_dots: true, strict: Strictness::default() }
        }
    }

    fn check(target: &str) -> Option<Reason> {
        Hygiene::default().check(target.as_bytes())
    }

    #[test]
    fn attacks_in_every_spelling() {
        for (target, want) in [
            ("/../a", Reason::Traversal),
            ("/..", Reason::Traversal),
            ("/a/../../b", Reason::Traversal),
            ("/a/./../../b", Reason::Traversal),
            ("/a//../../b", Reason::Traversal),
            ("/%2e%2E/a", Reason::Traversal),
            ("/.%2e/a", Reason::Traversal),
            ("/..%2fa", Reason::Traversal),
            ("/a/..%2f..%2F..%2fetc/passwd", Reason::Traversal),
            ("/a%2fb/../../../c", Reason::Traversal),
            ("/..\\a", Reason::Traversal),
            ("/a\\..\\..\\b", Reason::Traversal),
            ("/..%5c..%5Cwinnt/system32/cmd.exe", Reason::Traversal),
            ("/%252e%252e/a", Reason::Traversal),
            ("/..%252f..%252fetc", Reason::Traversal),
            ("/..%255c..%255cwinnt", Reason::Traversal),
            ("/%25%32%65%25%32%65/a", Reason::Traversal),
            ("/%u002e%u002e/a", Reason::Traversal),
            ("/%c0%ae%c0%ae/a", Reason::Traversal),
            ("/..%c0%af..%c0%afwinnt", Reason::Traversal),
            ("/..%c1%9cwinnt", Reason::Traversal),
            ("/..%e0%80%afetc", Reason::Traversal),
            ("/%f0%80%80%ae%f0%80%80%ae/etc", Reason::Traversal),
            ("/%25c0%25ae%25c0%25ae/etc", Reason::Traversal),
            ("/a/..;/manager/html", Reason::Traversal),
            ("/a/..;x=y/b", Reason::Traversal),
            ("/a/%2e%2e%3b/b", Reason::Traversal),
            ("/a/..%00/b", Reason::Control),
            ("/a.php%00.jpg", Reason::Control),
            ("/a.php%2500.jpg", Reason::Control),
            ("/a?file=x%00.jpg", Reason::Control),
            ("/a?file=x%2500.jpg", Reason::Control),
            ("/%0d%0aSet-Cookie:a=b", Reason::Injection),
            ("/a%0aLocation:%20//evil.example", Reason::Injection),
            ("/a%250d%250aX:y", Reason::Injection),
            ("/a%u000ab", Reason::Injection),
            ("/a?b=%0d%0aSet-Cookie:%20c=d", Reason::Injection),
            ("/a?b=%0aLOCATION:x", Reason::Injection),
            ("/a?b=%0d%20Link%3ax", Reason::Injection),
            ("/a?b=%0d%0a%0d%0aHTTP/1.1%20200%20OK", Reason::Injection),
            ("/a?b=%250d%250aset-cookie:c", Reason::Injection),
            ("/a?b=%0d%0aAccess-Control-Allow-Origin:*", Reason::Injection),
            ("/a%01b", Reason::Control),
            ("/a%1Bb", Reason::Control),
            ("/a%7f/b", Reason::Control),
        ] {
            assert_eq!(check(target), Some(want), "{target}");
        }
        for raw in [&b"/\xC0\xAE\xC0\xAE/a"[..], b"/..\xC0\xAFa"] {
            assert_eq!(Hygiene::default().check(raw), Some(Reason::Traversal), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn odd_but_harmless() {
        for target in [
            "/",
            "*",
            "",
            "/x/../a",
            "/x/../",
            "/a/%2e%2e/b",
            "/a/b\\..\\c",
            "/a\\b",
            "/a%5cb",
            "/a%255cb",
            "/a%2fb",
            "/a%252fb/c",
            "/...",
            "/a/.../b",
            "/..a/b",
            "/a..b/..index/x",
            "/..%41",
            "//a//b",
            "/100%25.htm",
            "/%25E4%25B8%25AD.htm",
            "/50%",
            "/a%2",
            "/%zz/%u/%u12/%u4E2D%u6587",
            // Copied along with the address.
            "/a.htm%0A",
            "/a.htm%0d%0a",
            "/a.htm%00",
            "/a.htm%09?b",
            "/a%20b%0a%20",
            // Texts with several lines, as forms send them.
            "/a?text=one%0D%0Atwo%0D%0A%0D%0ATel:%20123%0D%0Ahttp://a.example/",
            "/a?back=../../index.html&x=%2e%2e%2f",
            "/a?b=%00",
            "/a?name=set-cookie:x",
            // 喇叭 and 蜡 in GBK, of which %C0%AE and %C0%AF would be overlong; 来源, 兰州.
            "/%C0%AE%B0%C8/%C0%AF.htm",
            "/%C0%B4%D4%B4/%C0%BC%D6%DD?a=%C0%AE%C0%AF",
            // Second bytes that look like `\`.
            "/%E4%5C%81%5C/a",
            "/a;jsessionid=1/b",
            "/a/b;x=..;/c",
        ] {
            assert_eq!(check(target), None, "{target}");
        }
        for raw in [&b"/\xC0\xAE\xB0\xC8/a"[..], b"/\xE4\\\x81\\", b"/\xBF\xC6?\xD6\xAA=\xCA\xB6"] {
            assert_eq!(Hygiene::default().check(raw), None, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn where_plain_dots_are_names_other_spellings_are_not() {
        let names = Hygiene { resolves_dots: false, ..Hygiene::default() };
        for (target, want) in [
            ("/../a", None),
            ("/../../a", None),
            ("/a/../../b", None),
            ("/%2e%2e/a", Some(Reason::Traversal)),
            ("/../%2e%2e/a", Some(Reason::Traversal)),
            ("/..\\..\\a", Some(Reason::Traversal)),
            ("/a/..;/b", Some(Reason::Traversal)),
        ] {
            assert_eq!(names.check(target.as_bytes()), want, "{target}");
        }
    }

    #[test]
    fn what_a_site_is_strict_about() {
        let all = Strictness { backslash: true, invalid_utf8: true, double_encoding: true };
        let strict = |charset, target: &[u8]| Hygiene { charset, strict: all, ..Hygiene::default() }.check(target);
        for (charset, target, want) in [
            (Charset::Utf8, &b"/a\\b"[..], Some(Reason::Backslash)),
            (Charset::Utf8, b"/a%5Cb", Some(Reason::Backslash)),
            (Charset::Utf8, b"/a?b=\\", None),
            (Charset::Gb18030, b"/%E4%5C/\x81\\", None),
            (Charset::Gb18030, b"/%E4%5C%5C", Some(Reason::Backslash)),
            (Charset::Utf8, b"/%BF%C6", Some(Reason::Encoding)),
            (Charset::Utf8, b"/a?b=%C0%AF", Some(Reason::Encoding)),
            (Charset::Utf8, b"/\xBF\xC6", Some(Reason::Encoding)),
            (Charset::Gb18030, b"/%BF%C6?\xBF\xC6", None),
            (Charset::Auto, b"/%BF%C6", None),
            (Charset::Utf8, "/%E4%B8%AD/文?%E4%B8%AD".as_bytes(), None),
            (Charset::Utf8, b"/%252520", Some(Reason::Encoding)),
            (Charset::Utf8, b"/100%25?a=%2520", None),
        ] {
            assert_eq!(strict(charset, target), want, "{charset:?} {}", target.escape_ascii());
        }
    }
}
