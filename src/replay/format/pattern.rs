//! Text formats: fields between literal texts, as `log_format` of nginx says it.

use thiserror::Error;

use super::{Line, LineScratch, Moment, NoLine, is_method, said, split_request, status};

/// A format, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    name: String,
    /// What stands before the first field.
    start: Box<[u8]>,
    pieces: Vec<Piece>,
    /// How many pieces a line must have; behind them it may end.
    needed: usize,
}

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// A `$` without a name.
    #[error("a `$` without a name behind it")]
    NoName,
    /// Two fields that nothing separates.
    #[error("nothing stands between `${0}` and `${1}`, so that nobody can tell where one ends")]
    Adjacent(String, String),
    /// No field has the URL.
    #[error("no field has the URL: `$request`, `$request_uri` or `$uri`")]
    NoTarget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    field: Field,
    /// What ends it; nothing: the end of the line.
    end: Box<[u8]>,
    /// Whether what ends it is part of the next field.
    keeps_end: bool,
    /// Whether it stands in quotes, so that a `\"` doesn't end it.
    quoted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Ignored,
    Client,
    Host,
    Scheme,
    Https,
    Port,
    LocalTime,
    IsoTime,
    UnixTime,
    Request,
    Method,
    Target,
    Query,
    Status,
    Referer,
    UserAgent,
}

impl Pattern {
    /// Apache's `common`, and all that goes on from there: referer and agent are read if they are there.
    pub fn combined() -> Self {
        Self::built_in("combined", COMBINED, COMMON_PIECES)
    }

    /// Apache's `common`.
    pub fn common() -> Self {
        Self::built_in("common", COMMON, COMMON_PIECES)
    }

    /// As [`Pattern::combined`], with the host before it: Apache's `vhost_combined`.
    pub fn vhost() -> Self {
        Self::built_in("vhost", &format!("$host {COMBINED}"), COMMON_PIECES + 1)
    }

    /// As [`Pattern::combined`], with the host as the last of some fields behind it; `before` says of each field before
    /// the host whether it stands in quotes, and `quoted` of the host.
    pub fn vhost_last(before: &[bool], quoted: bool) -> Self {
        let quote = |quoted: bool, name: &str| if quoted { format!(" \"{name}\"") } else { format!(" {name}") };
        let between: String = before.iter().map(|&quoted| quote(quoted, "$ignored")).collect();
        // What may follow is nothing to us.
        let text = format!("{COMBINED}{between}{}", quote(quoted, "$host"));
        Self::built_in("vhost-last", &text, COMMON_PIECES + 4 + before.len())
    }

    fn built_in(name: &str, text: &str, needed: usize) -> Self {
        let mut pattern = Self::parse(text).unwrap_or_else(|_| Pattern {
            name: String::new(),
            start: Box::default(),
            pieces: Vec::new(),
            needed: 0,
        });
        name.clone_into(&mut pattern.name);
        pattern.needed = needed;
        // The last field may be followed by others.
        if let Some(last) = pattern.pieces.last_mut() {
            last.end = if last.quoted { b"\"" } else { b" " }[..].into();
        }
        pattern
    }

    /// Compiles a `log_format` of nginx: its text with `$names`. Names that nobody needs are skipped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.replace("$uri$is_args$args", "$request_uri").replace("$document_uri", "$uri");
        let mut rest = text.as_str();
        let start = literal(&mut rest);
        let mut quoted = start.ends_with('"');
        let mut names: Vec<String> = Vec::new();
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some(behind) = rest.strip_prefix('$') {
            let (name, behind) = name(behind).ok_or(PatternError::NoName)?;
            rest = behind;
            let field = Field::of(name);
            let mut end: Box<[u8]> = literal(&mut rest).as_bytes().into();
            let mut keeps_end = false;
            if end.is_empty() && !rest.is_empty() {
                // `$scheme://$host$request_uri`: a target begins with a slash, and no host has one.
                let next = rest.strip_prefix('$').and_then(self::name).map_or("", |(name, _)| name);
                if field != Field::Host || Field::of(next) != Field::Target {
                    return Err(PatternError::Adjacent(name.to_owned(), next.to_owned()));
                }
                (end, keeps_end) = (b"/"[..].into(), true);
            }
            let is_quoted = quoted && end.first() == Some(&b'"');
            quoted = end.last() == Some(&b'"');
            names.push(name.to_owned());
            pieces.push(Piece { field, end, keeps_end, quoted: is_quoted });
        }
        if !pieces.iter().any(|piece| matches!(piece.field, Field::Request | Field::Target)) {
            return Err(PatternError::NoTarget);
        }
        // Nothing behind the last field that is of use has to be there.
        let last = pieces.iter().rposition(|piece| piece.field != Field::Ignored).unwrap_or_default();
        pieces.truncate(last + 1);
        let needed = pieces.len();
        Ok(Pattern { name: "nginx".to_owned(), start: start.as_bytes().into(), pieces, needed })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read<'a>(&self, line: &'a [u8], scratch: &'a mut LineScratch) -> Result<Line<'a>, NoLine> {
        let mut rest =
            line.strip_prefix(&*self.start).ok_or(NoLine::Unreadable("it does not begin as the format does"))?;
        let mut read = Line::default();
        let (mut request, mut query) = (None, &b""[..]);
        for (number, piece) in self.pieces.iter().enumerate() {
            let Some((text, behind)) = piece.split(rest, number + 1 >= self.needed) else {
                if number >= self.needed {
                    break;
                }
                return Err(NoLine::Unreadable("it has fewer fields than the format"));
            };
            rest = behind;
            match piece.field {
                Field::Ignored => {}
                Field::Client => read.client = text,
                Field::Host => read.host = said(text),
                Field::Scheme => read.secure = Some(text.eq_ignore_ascii_case(b"https")),
                Field::Https => read.secure = Some(text.eq_ignore_ascii_case(b"on")),
                Field::Port => read.secure = (text == b"443").then_some(true).or(read.secure),
                Field::LocalTime => read.moment = Moment::Local(text),
                Field::IsoTime => read.moment = Moment::Iso(text),
                Field::UnixTime => read.moment = Moment::Unix(text),
                Field::Request => request = Some(text),
                Field::Method => read.method = text,
                Field::Target => read.target = text,
                Field::Query => query = said(text),
                Field::Status => match status(text) {
                    0 if text != b"-" && text != b"000" => return Err(NoLine::Unreadable("its status is no number")),
                    status => read.status = status,
                },
                Field::Referer => read.referer = said(text),
                Field::UserAgent => read.user_agent = said(text),
            }
        }
        if let Some(request) = request {
            (read.method, read.target) = split_request(request)?;
        } else if read.method.is_empty() {
            read.method = b"GET";
        }
        if read.target.is_empty() || read.target == b"-" || !is_method(read.method) {
            return Err(NoLine::NoRequest);
        }
        // `%v:%p`.
        if read.secure.is_none() && read.host.ends_with(b":443") {
            read.secure = Some(true);
        }
        let LineScratch { target, referer, user_agent, .. } = scratch;
        if !query.is_empty() && !read.target.contains(&b'?') {
            target.clear();
            unescape(read.target, target);
            target.push(b'?');
            unescape(query, target);
            read.target = target;
        } else {
            read.target = unescaped(read.target, target);
        }
        read.referer = unescaped(read.referer, referer);
        read.user_agent = unescaped(read.user_agent, user_agent);
        Ok(read)
    }
}

impl Piece {
    /// The field at the start of a text, and what follows what ends it. The last that is needed may end with the line.
    fn split<'a>(&self, text: &'a [u8], may_end: bool) -> Option<(&'a [u8], &'a [u8])> {
        let Some(&first) = self.end.first() else { return Some((text, b"")) };
        let mut from = 0;
        loop {
            let Some(found) = memchr::memchr(first, &text[from..]) else {
                // A field in quotes must have both.
                return (may_end && !self.quoted && !text.is_empty()).then_some((text, b""));
            };
            let at = from + found;
            let ends = text[at..].starts_with(&self.end) || (may_end && text[at + 1..].is_empty());
            if ends && !(self.quoted && is_escaped(text, at)) {
                let behind = if self.keeps_end { at } else { (at + self.end.len()).min(text.len()) };
                return Some((&text[..at], &text[behind..]));
            }
            from = at + 1;
        }
    }
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "remote_addr" | "realip_remote_addr" => Field::Client,
            "host" | "http_host" | "server_name" => Field::Host,
            "scheme" => Field::Scheme,
            "https" => Field::Https,
            "server_port" => Field::Port,
            "time_local" => Field::LocalTime,
            "time_iso8601" => Field::IsoTime,
            "msec" => Field::UnixTime,
            "request" => Field::Request,
            "request_method" => Field::Method,
            "request_uri" | "uri" => Field::Target,
            "args" | "query_string" => Field::Query,
            "status" => Field::Status,
            "http_referer" => Field::Referer,
            "http_user_agent" => Field::UserAgent,
            _ => Field::Ignored,
        }
    }
}

/// Takes what stands before the next `$` (or the end) from a text.
fn literal<'a>(rest: &mut &'a str) -> &'a str {
    let (literal, behind) = rest.split_at(rest.find('$').unwrap_or(rest.len()));
    *rest = behind;
    literal
}

/// The name at the start of a text, and what follows; it may stand in braces.
fn name(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Whether an odd number of backslashes stands before a byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// A text without its escapes; in `out` if it has any.
fn unescaped<'a>(text: &'a [u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr::memchr(b'\\', text).is_none() {
        return text;
    }
    out.clear();
    unescape(text, out);
    out
}

/// Appends a text without the escapes of nginx (`\xHH`, and `\"` with `escape=json`) and Apache (`\"`, `\n`, `\xhh`).
fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        let (byte, length) = match &text[at + 1..] {
            [b'x' | b'X', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) * 16 + hex(*low), 4)
            }
            [escape @ (b'"' | b'\\' | b'/'), ..] => (*escape, 2),
            [b'n', ..] => (b'\n', 2),
            [b't', ..] => (b'\t', 2),
            [b'r', ..] => (b'\r', 2),
            [b'b', ..] => (8, 2),
            [b'f', ..] => (12, 2),
            [b'v', ..] => (11, 2),
            // No escape: a backslash that was sent so.
            _ => (b'\\', 1),
        };
        out.push(byte);
        text = &text[at + length..];
    }
    out.extend_from_slice(text);
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

const COMMON: &str = "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent";

const COMBINED: &str = "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                        \"$http_referer\" \"$http_user_agent\"";

/// Pieces of [`COMMON`] up to the status.
const COMMON_PIECES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &Pattern, line: &str, check: impl FnOnce(Result<Line<'_>, NoLine>)) {
        check(pattern.read(line.as_bytes(), &mut LineScratch::default()));
    }

    #[test]
    fn combined_and_common() {
        let line = r#"192.0.2.1 - - [10/Oct/2020:13:55:36 +0800] "GET /a.asp?id=7 HTTP/1.1" 200 2326 "http://x.example/" "Mozilla/5.0 (\"x\")""#;
        for pattern in [Pattern::combined(), Pattern::common()] {
            read(&pattern, line, |line| {
                let line = line.unwrap();
                assert_eq!(
                    (line.client, line.method, line.target),
                    (&b"192.0.2.1"[..], &b"GET"[..], &b"/a.asp?id=7"[..])
                );
                assert_eq!((line.status, line.moment.seconds()), (200, Some(1_602_309_336)));
                if pattern.name() == "combined" {
                    assert_eq!(
                        (line.referer, line.user_agent),
                        (&b"http://x.example/"[..], &b"Mozilla/5.0 (\"x\")"[..])
                    );
                }
            });
        }
        // Cut short, as where a disk was full: as long as the status is there, it is a request.
        for (end, is_read) in [(line.len() - 5, true), (86, true), (60, false), (10, false)] {
            read(&Pattern::combined(), &line[..end], |line| assert_eq!(line.is_ok(), is_read, "{end}"));
        }
    }

    #[test]
    fn hosts_before_and_behind() {
        let rest = r#"192.0.2.1 - a b [10/Oct/2020:13:55:36 +0800] "GET / HTTP/1.1" 404 - "-" "-""#;
        read(&Pattern::vhost(), &format!("jyj.old.example:443 {rest}"), |line| {
            let line = line.unwrap();
            assert_eq!((line.host, line.secure, line.status), (&b"jyj.old.example:443"[..], Some(true), 404));
            assert_eq!((line.referer, line.user_agent), (&b""[..], &b""[..]));
        });
        for (tail, pattern) in [
            (r#" "jyj.old.example""#, Pattern::vhost_last(&[], true)),
            (" jyj.old.example 0.001", Pattern::vhost_last(&[], false)),
            (r#" "192.0.2.9, 10.0.0.1" jyj.old.example"#, Pattern::vhost_last(&[true], false)),
        ] {
            read(&pattern, &format!("{rest}{tail}"), |line| {
                assert_eq!(line.unwrap().host, b"jyj.old.example", "{tail}")
            });
        }
        read(&Pattern::vhost_last(&[], true), rest, |line| assert!(line.is_err()));
    }

    #[test]
    fn formats_of_nginx() {
        let format = r#"$remote_addr|$time_iso8601|$request_method $scheme://$host$request_uri|$status|"$http_user_agent"|$upstream_addr"#;
        let line =
            r#"192.0.2.1|2020-10-10T13:55:36+08:00|POST https://jyj.old.example/\xB9\xAB\x22?a=\x5C|302|"curl"|-"#;
        read(&Pattern::parse(format).unwrap(), line, |line| {
            let line = line.unwrap();
            assert_eq!((line.host, line.secure), (&b"jyj.old.example"[..], Some(true)));
            assert_eq!((line.method, line.target), (&b"POST"[..], &b"/\xB9\xAB\"?a=\\"[..]));
            assert_eq!((line.status, line.user_agent), (302, &b"curl"[..]));
            assert_eq!(line.moment.seconds(), Some(1_602_309_336));
        });
        read(&Pattern::parse("$msec ${uri}?$args $status").unwrap(), "1602309336.123 /a?b=1 200", |line| {
            let line = line.unwrap();
            assert_eq!(
                (line.method, line.target, line.moment.seconds()),
                (&b"GET"[..], &b"/a?b=1"[..], Some(1_602_309_336))
            );
        });
        for (format, error) in [
            (
                "$request_uri$status",
                "nothing stands between `$request_uri` and `$status`, so that nobody can tell where one ends",
            ),
            ("$status", "no field has the URL: `$request`, `$request_uri` or `$uri`"),
            ("$request $", "a `$` without a name behind it"),
            ("$request ${", "a `$` without a name behind it"),
        ] {
            assert_eq!(Pattern::parse(format).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn what_is_no_request() {
        let line = |request: &str| format!(r#"192.0.2.1 - - [10/Oct/2020:13:55:36 +0800] "{request}" 400 0"#);
        for request in ["-", "", r"\x16\x03\x01", "GET", "GET  "] {
            read(&Pattern::combined(), &line(request), |line| assert_eq!(line, Err(NoLine::NoRequest), "{request}"));
        }
        read(&Pattern::combined(), &line("GET /a\" 200 b HTTP/1.1"), |line| assert!(line.is_ok()));
        for line in ["", "\0\0\0", "a b c", "- - - [] \"GET / HTTP/1.1\" abc 0"] {
            read(&Pattern::combined(), line, |line| assert!(matches!(line, Err(NoLine::Unreadable(_)))));
        }
    }
}
