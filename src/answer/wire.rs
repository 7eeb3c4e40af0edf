//! Answers written as HTTP/1.1, straight into a connection's buffer (RFC 9112, 4).

use super::Answer;
use crate::cache::Hit;

/// What an answer says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1: it stays, as is the rule.
    Kept,
    /// HTTP/1.0: it stays, which has to be said.
    KeptAlive,
    /// This is its last answer.
    Closed,
}

/// Appends an answer to `out`. `date` is the value of `Date`; the body is left out if `head_only` (HEAD).
pub fn write(out: &mut Vec<u8>, answer: &Answer<'_>, head_only: bool, persistence: Persistence, date: &[u8]) {
    status_line(out, answer.status);
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
    answer.headers(|name, value| {
        capitalised(out, name.as_str());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    });
    connection(out, persistence);
    out.extend_from_slice(b"Content-Length: ");
    number(out, answer.body.len());
    out.extend_from_slice(b"\r\n\r\n");
    if !head_only {
        out.extend_from_slice(&answer.body);
    }
}

/// Appends the head of a stored answer of a platform to `out`.
pub fn write_stored_head(out: &mut Vec<u8>, hit: &Hit, persistence: Persistence) {
    status_line(out, hit.entry().status());
    hit.write_head(out);
    connection(out, persistence);
    out.extend_from_slice(b"\r\n");
}

/// Appends what an answer says about the connection, if it has to say anything.
pub fn connection(out: &mut Vec<u8>, persistence: Persistence) {
    out.extend_from_slice(match persistence {
        Persistence::Kept => b"",
        Persistence::KeptAlive => b"Connection: keep-alive\r\n",
        Persistence::Closed => b"Connection: close\r\n",
    });
}

/// Appends the first line of an answer.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    let line: &[u8] = match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        301 => b"HTTP/1.1 301 Moved Permanently\r\n",
        302 => b"HTTP/1.1 302 Found\r\n",
        307 => b"HTTP/1.1 307 Temporary Redirect\r\n",
        308 => b"HTTP/1.1 308 Permanent Redirect\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        410 => b"HTTP/1.1 410 Gone\r\n",
        other => return other_status_line(out, other),
    };
    out.extend_from_slice(line);
}

fn other_status_line(out: &mut Vec<u8>, status: u16) {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("");
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, usize::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Names mean the same in any case (RFC 9110, 5.1), but some old clients know only the usual one.
fn capitalised(out: &mut Vec<u8>, name: &str) {
    let mut first = true;
    for &byte in name.as_bytes() {
        out.push(if first { byte.to_ascii_uppercase() } else { byte });
        first = byte == b'-';
    }
}

fn number(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const DATE: &[u8] = b"Sun, 22 Nov 2026 08:00:00 GMT";

    fn text(answer: &Answer<'_>, head_only: bool, persistence: Persistence) -> String {
        let mut out = Vec::new();
        write(&mut out, answer, head_only, persistence, DATE);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_redirect_is_a_head_with_its_length() {
        let redirect = Answer {
            status: 301,
            location: Some("https://new.example/a"),
            cache_control: "max-age=60",
            ..Answer::default()
        };
        assert_eq!(
            text(&redirect, false, Persistence::Kept),
            "HTTP/1.1 301 Moved Permanently\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\n\
             Location: https://new.example/a\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn the_length_of_a_head_is_that_of_the_body_it_leaves_out() {
        let page = Answer { status: 431, body: Bytes::from(vec![b'x'; 1234]), ..Answer::default() };
        let head = text(&page, true, Persistence::Closed);
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.ends_with("Connection: close\r\nContent-Length: 1234\r\n\r\n"), "{head}");
        assert_eq!(text(&page, false, Persistence::KeptAlive).len(), head.len() + 1234 + "keep-alive".len() - 5);
    }
}
