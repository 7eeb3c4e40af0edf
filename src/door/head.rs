//! Heads of HTTP/1 requests, parsed from a connection's buffer (RFC 9112).
//!
//! Strict where two parties on the way could read a head differently, which is how requests are smuggled: line ends, Host,
//! Content-Length, Transfer-Encoding. Lenient in the bytes of a target, since old pages and old browsers send raw GBK,
//! `<`, `|` and `^`, and which page they mean is for the site's settings to say. Both lanes get only what this lets through.

use httparse::{EMPTY_HEADER, Header, Status};

use super::body::Framing;
use crate::answer::Refusal;
use crate::guard;
use crate::telemetry::Limit;

/// A head that is well-formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method's name.
    pub method: &'a str,
    /// As it was sent: any bytes but controls and spaces.
    pub target: &'a [u8],
    /// HTTP/1.1, and not 1.0.
    pub is_1_1: bool,
    /// Bytes of the request line with its end, after any empty lines.
    pub line: usize,
    /// Bytes of the head with the empty lines before it.
    pub length: usize,
    /// Empty lines before it, in bytes.
    pub skipped: usize,
    /// The Host header.
    pub host: Option<&'a [u8]>,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the client keeps the connection.
    pub keep_alive: bool,
    /// Whether it said that it does not.
    closes: bool,
    /// Whether the client waits to be told before it sends its body.
    pub expects: bool,
    /// Whether the client asks for WebSocket.
    pub upgrades: bool,
    /// Whether the cache may answer without looking at the fields again: there is no body, and no field that says more of
    /// what is wanted than `accept_encoding` (see [`crate::cache::Cache::NOT_PLAIN`]).
    pub is_plain: bool,
    /// Whether there is a cookie.
    pub has_cookie: bool,
    /// `Accept-Encoding`.
    pub accept_encoding: Option<&'a [u8]>,
    /// `Accept-Language`.
    pub accept_language: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Option<&'a [u8]>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<&'a [u8]>,
}

/// The lines of a head that is well-formed, to be looked at again for fields that are not noted in [`Head`].
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(&'a [u8]);

impl guard::Fields for Lines<'_> {
    fn each(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        for line in self.0.split(|&byte| byte == b'\n') {
            if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
                tell(line[name.len() + 1..].trim_ascii());
            }
        }
    }
}

/// The bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the target.
    pub target: usize,
    /// Bytes of a whole head.
    pub head: usize,
    /// Header fields.
    pub fields: usize,
}

/// Reads the head that `bytes` begin with; none if it has not wholly arrived.
///
/// # Errors
/// If it is malformed or over a bound, as soon as that can be told. Nothing that follows on the connection can be trusted.
pub fn parse(bytes: &[u8], bounds: Bounds) -> Result<Option<Head<'_>>, Refusal> {
    let skipped = empty_lines(bytes);
    let rest = &bytes[skipped..];
    let Some(mut head) = request_line(rest, bounds.target)? else { return Ok(None) };
    let mut few = [EMPTY_HEADER; FEW];
    let parsed = match httparse::parse_headers(&rest[head.line..], &mut few) {
        Err(httparse::Error::TooManyHeaders) if bounds.fields > FEW => {
            let mut many = vec![EMPTY_HEADER; bounds.fields];
            fields(httparse::parse_headers(&rest[head.line..], &mut many), &mut head)?
        }
        parsed => fields(parsed, &mut head)?,
    };
    let Some((length, count)) = parsed else {
        return if rest.len() > bounds.head { Err(TOO_LARGE) } else { Ok(None) };
    };
    let lines = &rest[head.line..head.line + length];
    if memchr::memchr_iter(b'\n', lines).any(|at| at == 0 || lines[at - 1] != b'\r') {
        return Err(malformed("a line of the head does not end with CR LF"));
    }
    if head.line + length > bounds.head || count > bounds.fields {
        return Err(TOO_LARGE);
    }
    if head.host.is_none() && head.is_1_1 {
        // RFC 9112, 3.2. HTTP/1.0 has no Host, and no site either.
        return Err(malformed("an HTTP/1.1 request needs a Host header"));
    }
    head.length = skipped + head.line + length;
    head.skipped = skipped;
    Ok(Some(head))
}

/// Whether more bytes could complete a head that is not complete yet: a line must have ended among them. Spares parsing
/// again for a client that sends byte by byte.
pub fn has_line_end(news: &[u8]) -> bool {
    memchr::memchr(b'\n', news).is_some()
}

/// Bytes of the empty lines that `bytes` begin with, which are ignored (RFC 9112, 2.2): some clients send one after a body.
pub fn empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take(EMPTY_LINES).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// The head as far as its first line tells it; none if that has not arrived.
fn request_line(bytes: &[u8], max_target: usize) -> Result<Option<Head<'_>>, Refusal> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        // What can't become a request line is refused at once: TLS on a plain port, or a scanner's binary.
        let method = bytes.iter().position(|&b| b == b' ').unwrap_or(bytes.len());
        let starts_well = bytes[..method].iter().all(|&b| is_token(b)) || matches!(bytes, b"\r" | b"");
        if !starts_well || method > MAX_METHOD {
            return Err(malformed("this is no HTTP request"));
        }
        return if bytes.len() > MAX_METHOD + max_target + VERSION { Err(TARGET_TOO_LONG) } else { Ok(None) };
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r") else {
        return Err(malformed("the request line does not end with CR LF"));
    };
    let first = memchr::memchr(b' ', line).unwrap_or(line.len());
    let method = match str::from_utf8(&line[..first]) {
        Ok(method) if !method.is_empty() && first <= MAX_METHOD && method.bytes().all(is_token) => method,
        _ => return Err(malformed("the method is not a token")),
    };
    let rest = line.get(first + 1..).unwrap_or_default();
    let Some(second) = memchr::memchr(b' ', rest) else {
        return Err(if first < line.len() {
            // HTTP/0.9: a method and a target, and nothing else.
            Refusal::limited(505, "the request names no version of HTTP", Limit::Malformed)
        } else {
            malformed("the request line has no target")
        });
    };
    let (target, version) = (&rest[..second], &rest[second + 1..]);
    if target.len() > max_target {
        return Err(TARGET_TOO_LONG);
    }
    if target.is_empty() || target.iter().any(|&b| b < b' ' || b == 0x7F) {
        return Err(malformed("the target is empty or has a control character"));
    }
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Refusal::limited(505, "this version of HTTP is not spoken here", Limit::Malformed));
        }
        _ => return Err(malformed("the request line does not end with a version of HTTP")),
    };
    Ok(Some(Head { method, target, is_1_1, line: end + 1, keep_alive: is_1_1, ..Head::default() }))
}

/// Notes the fields that matter; the length of the lines and the number of fields, if they have arrived.
fn fields<'a>(
    parsed: httparse::Result<(usize, &[Header<'a>])>,
    head: &mut Head<'a>,
) -> Result<Option<(usize, usize)>, Refusal> {
    let (length, fields) = match parsed {
        Ok(Status::Complete(complete)) => complete,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(httparse::Error::HeaderName) => return Err(malformed("a header's name is not a token before a colon")),
        Err(_) => return Err(malformed("a header has a control character")),
    };
    let mut framing = Fields::default();
    let mut nominates_upgrade = false;
    head.is_plain = true;
    for Header { name, value } in fields {
        // The length tells most fields apart, so that few names are compared.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => head.set_host(value)?,
            6 if name.eq_ignore_ascii_case("cookie") => head.has_cookie = true,
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(UNMET_EXPECTATION);
                }
                head.expects = true;
            }
            // Nothing else is let through to platforms.
            7 if name.eq_ignore_ascii_case("upgrade") => head.upgrades |= value.eq_ignore_ascii_case(b"websocket"),
            7 if name.eq_ignore_ascii_case("referer") => _ = head.referer.get_or_insert(value),
            10 if name.eq_ignore_ascii_case("user-agent") => _ = head.user_agent.get_or_insert(value),
            10 if name.eq_ignore_ascii_case("connection") => nominates_upgrade |= connection(value, head),
            14 if name.eq_ignore_ascii_case("content-length") => framing.content_length(value)?,
            15 if name.eq_ignore_ascii_case("accept-encoding") => {
                head.is_plain &= head.accept_encoding.replace(value).is_none();
            }
            15 if name.eq_ignore_ascii_case("accept-language") => _ = head.accept_language.get_or_insert(value),
            16 if name.eq_ignore_ascii_case("x-forwarded-host") => _ = head.forwarded_host.get_or_insert(value),
            17 if name.eq_ignore_ascii_case("x-forwarded-proto") => _ = head.forwarded_proto.get_or_insert(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => framing.transfer_encoding(value)?,
            5..=19 => head.is_plain &= !CONDITIONS.iter().any(|condition| name.eq_ignore_ascii_case(condition)),
            _ => {}
        }
    }
    head.keep_alive &= !head.closes;
    head.framing = framing.framing(head.is_1_1)?;
    head.is_plain &= head.framing == Framing::Length(0);
    // RFC 9110, 7.8.
    head.upgrades &= nominates_upgrade && head.is_1_1 && head.framing == Framing::Length(0);
    Ok(Some((length, fields.len())))
}

impl<'a> Head<'a> {
    /// The lines of its fields, in the `bytes` that it was read from.
    pub fn lines<'b>(&self, bytes: &'b [u8]) -> Lines<'b> {
        Lines(&bytes[self.skipped + self.line..self.length])
    }

    fn set_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(malformed("there are several Host headers")),
        }
    }
}

/// RFC 9112, 9.3: `close` wins over everything, in whichever line it stands. Whether `upgrade` is among the options.
fn connection(value: &[u8], head: &mut Head<'_>) -> bool {
    let mut upgrade = false;
    for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
        if option.eq_ignore_ascii_case(b"close") {
            head.closes = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            head.keep_alive = true;
        }
        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
    }
    upgrade
}

/// The fields that say how a body ends (RFC 9112, 6).
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = match str::from_utf8(value) {
            // `parse` would take a plus sign.
            Ok(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        match (self.length, length) {
            (None, Some(length)) => self.length = Some(length),
            (Some(_), _) => return Err(malformed("there are several Content-Length headers")),
            (None, None) => return Err(malformed("Content-Length is not a number")),
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(malformed("there are several Transfer-Encoding headers"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let last = value.rsplit(|&b| b == b',').next().unwrap_or_default().trim_ascii();
        let others = value.len() - last.len();
        if last.eq_ignore_ascii_case(b"chunked")
            && !value[..others].to_ascii_lowercase().windows(7).any(|w| w == b"chunked")
        {
            // RFC 9112, 6.1: what isn't understood is answered 501.
            let reason = "only the transfer coding `chunked` is understood";
            return Err(Refusal::limited(501, reason, Limit::Malformed));
        }
        Err(malformed("Transfer-Encoding does not end with a single `chunked`"))
    }

    fn framing(self, is_1_1: bool) -> Result<Framing, Refusal> {
        match self {
            Fields { length: Some(_), chunked: true } => {
                Err(malformed("there are both Content-Length and Transfer-Encoding"))
            }
            Fields { chunked: true, .. } if !is_1_1 => Err(malformed("HTTP/1.0 has no Transfer-Encoding")),
            Fields { chunked: true, .. } => Ok(Framing::Chunked),
            Fields { length, .. } => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const fn malformed(reason: &'static str) -> Refusal {
    Refusal::limited(400, reason, Limit::Malformed)
}

/// What is said of a target that is too long.
pub const TARGET_TOO_LONG: Refusal = Refusal::limited(414, "the target is too long", Limit::Target);

/// What is said of a head that is over its [`Bounds`].
pub const TOO_LARGE: Refusal = Refusal::limited(431, "the header fields are too long or too many", Limit::Head);

/// What is said of a client that expects anything else than to be told when to send its body (RFC 9110, 10.1.1).
pub const UNMET_EXPECTATION: Refusal = Refusal::limited(417, "only 100-continue can be expected", Limit::Malformed);

/// Fields with which a client says more of what it wants than its target does.
const CONDITIONS: [&str; 9] = [
    "range",
    "pragma",
    "if-range",
    "if-match",
    "if-none-match",
    "cache-control",
    "authorization",
    "if-modified-since",
    "if-unmodified-since",
];

/// Fields that most heads have room in.
const FEW: usize = 32;

/// Longer than any method of the registry.
const MAX_METHOD: usize = 32;

/// Bytes of a version, with the spaces and line end around it.
const VERSION: usize = 16;

const EMPTY_LINES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::MAX_TARGET;

    const BOUNDS: Bounds = Bounds { target: MAX_TARGET, head: 2_000, fields: 40 };

    fn status(bytes: &[u8]) -> u16 {
        match parse(bytes, BOUNDS) {
            Ok(Some(_)) => 200,
            Ok(None) => 0,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn a_head_is_read_from_any_first_part_of_it() {
        let bytes =
            b"\r\nPOST /a|\xd0\xc2?b HTTP/1.1\r\nHost: a.example \r\nContent-Length: 5\r\nConnection: TE, Close\r\n\
            Accept-Language: en\r\n\r\nhello";
        let end = bytes.len() - 5;
        for part in 0..end {
            assert_eq!(parse(&bytes[..part], BOUNDS), Ok(None), "{part}");
        }
        let head = parse(bytes, BOUNDS).unwrap().unwrap();
        let want = Head {
            method: "POST",
            target: b"/a|\xd0\xc2?b",
            is_1_1: true,
            line: 23,
            length: end,
            skipped: 2,
            host: Some(b"a.example"),
            framing: Framing::Length(5),
            closes: true,
            accept_language: Some(b"en"),
            ..Head::default()
        };
        assert_eq!(head, want);
    }

    #[test]
    fn connections_stay_as_their_version_and_client_say() {
        for (version, connection, stays) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
            assert_eq!(parse(bytes.as_bytes(), BOUNDS).unwrap().unwrap().keep_alive, stays, "{bytes}");
        }
    }

    #[test]
    fn what_two_parties_could_read_differently_is_refused() {
        let cases: [(u16, &[u8]); 30] = [
            (400, b"GET / HTTP/1.1\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
            (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n"),
            (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
            (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
            (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
            (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            (505, b"GET /\r\n"),
            (400, b"\x16\x03\x01\x02\x00"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n"),
            (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
            (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            (417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n"),
            (200, b"GET / HTTP/1.0\r\n\r\n"),
        ];
        for (want, bytes) in cases {
            assert_eq!(status(bytes), want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn bounds_hold_before_a_head_is_complete() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(MAX_TARGET));
        assert_eq!(status(long.as_bytes()), 414);
        assert_eq!(status(&[b'a'; MAX_METHOD + 1]), 400);
        assert_eq!(status(format!("GET /{}", "a".repeat(MAX_TARGET + 50)).as_bytes()), 414);
        let fields = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!((status(fields(39).as_bytes()), status(fields(40).as_bytes())), (200, 431));
        let field = |length| format!("GET / HTTP/1.1\r\nHost: a\r\na: {}", "b".repeat(length));
        assert_eq!((status(field(1_000).as_bytes()), status(field(2_000).as_bytes())), (0, 431));
        assert_eq!(status(format!("{}\r\n\r\n", field(2_000)).as_bytes()), 431);
    }
}
