//! The request line, before Pingora sees it.
//!
//! Old pages and old browsers send targets that no URI may be: raw GBK bytes, `<`, `|`, `^`, spaces. Which page they
//! mean is for the site's settings to say, but Pingora parses every target as a URI and refuses the request. So such
//! bytes are escaped here for Pingora, and the target as it was sent is kept for the decision.

use std::{io, ops::Range, time::Duration};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::{io::AsyncReadExt, time::timeout};

/// What one read asks for: the heads of most requests fit.
const READ: usize = 4096;

/// Longest request line that is looked at. A target is at most 8 KiB; what is longer still Pingora may refuse.
const MAX_LINE: usize = 20 * 1024;

/// Reads until `buffer` holds a whole request line, or more than one may be long. False if the client closed the
/// connection, or took longer than `patience`.
pub(super) async fn receive(stream: &mut Stream, buffer: &mut BytesMut, patience: Duration) -> bool {
    if is_received(buffer) {
        return true;
    }
    let read = async {
        loop {
            buffer.reserve(READ);
            match stream.read_buf(buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ if is_received(buffer) => return io::Result::Ok(()),
                _ => {}
            }
        }
    };
    matches!(timeout(patience, read).await, Ok(Ok(())))
}

fn is_received(buffer: &[u8]) -> bool {
    buffer.len() > MAX_LINE || buffer[leading_newlines(buffer)..].contains(&b'\n')
}

/// Escapes what Pingora would refuse in the target; the target as it was sent, if that is anything.
pub(super) fn escape_target(buffer: &mut BytesMut) -> Option<Box<[u8]>> {
    let range = target(buffer)?;
    let bad = buffer[range.clone()].iter().filter(|&&byte| !may_stand(byte)).count();
    if bad == 0 {
        return None;
    }
    let sent: Box<[u8]> = buffer[range.clone()].into();
    let mut escaped = BytesMut::with_capacity(buffer.len() + 2 * bad + READ);
    escaped.extend_from_slice(&buffer[..range.start]);
    for &byte in &sent {
        if may_stand(byte) {
            escaped.extend_from_slice(&[byte]);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            escaped.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    escaped.extend_from_slice(&buffer[range.end..]);
    *buffer = escaped;
    Some(sent)
}

/// Where the target is, if this looks like a request line.
fn target(buffer: &[u8]) -> Option<Range<usize>> {
    let start = leading_newlines(buffer);
    let end = start + buffer[start..].iter().position(|&b| b == b'\n')?;
    let line = &buffer[start..end];
    let first = line.iter().position(|&b| b == b' ')?;
    let last = line.iter().rposition(|&b| b == b' ')?;
    let is_line = first < last && line[last + 1..].starts_with(b"HTTP/");
    is_line.then_some(start + first + 1..start + last)
}

/// Empty lines before a request line are ignored (RFC 9112, 2.2).
fn leading_newlines(buffer: &[u8]) -> usize {
    buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// What stays as it is: what a URI is made of (RFC 3986, 2), and control characters, which no page's address has and
/// which are for the parser to refuse.
fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_uri_can_not_hold_is_escaped() {
        type Case = (&'static [u8], &'static [u8], Option<&'static [u8]>);
        let cases: [Case; 8] = [
            (b"GET /a?b=%20&c=[1] HTTP/1.1\r\nHost: a|b\r\n", b"GET /a?b=%20&c=[1] HTTP/1.1\r\nHost: a|b\r\n", None),
            (b"GET /\xd0\xc2|<x> HTTP/1.1\r\n\xff", b"GET /%D0%C2%7C%3Cx%3E HTTP/1.1\r\n\xff", Some(b"/\xd0\xc2|<x>")),
            (b"\r\nGET /a b HTTP/1.1\r\n", b"\r\nGET /a%20b HTTP/1.1\r\n", Some(b"/a b")),
            (b"GET http://h/\\^ HTTP/1.0\n", b"GET http://h/%5C%5E HTTP/1.0\n", Some(b"http://h/\\^")),
            (b"GET /a|b\r\n", b"GET /a|b\r\n", None),
            (b"GET /a|b HTP/1.1\r\n", b"GET /a|b HTP/1.1\r\n", None),
            (b"GET  HTTP/1.1\r\n", b"GET  HTTP/1.1\r\n", None),
            (b"GET /a|b HTTP/1.1", b"GET /a|b HTTP/1.1", None),
        ];
        for (head, want, sent) in cases {
            let mut buffer = BytesMut::from(head);
            assert_eq!(escape_target(&mut buffer).as_deref(), sent);
            assert_eq!(&buffer[..], want);
        }
    }

    #[test]
    fn a_line_is_received_with_its_end() {
        assert!(!is_received(b"") && !is_received(b"\r\n\r\n") && !is_received(b"GET / HTTP/1.1"));
        assert!(
            is_received(b"GET / HTTP/1.1\r\n")
                && is_received(b"\r\nGET / HTTP/1.1\n")
                && is_received(&[b'a'; MAX_LINE + 1])
        );
    }
}
