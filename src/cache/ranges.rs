//! Ranges of a stored body (RFC 9110, 14).

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::lists::members;

/// What a request asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: there is no range, or none that is worth honouring.
    Whole,
    /// These, in order, which neither touch nor overlap.
    Parts(Vec<Range<usize>>),
    /// None of it exists: 416.
    Unsatisfiable,
}

/// Reads the `Range` of a request for a body of `length` bytes. Many ranges, and ones that overlap, are how one request
/// is made to cost more than its page (RFC 9110, 17.15): the former are ignored, the latter are put together.
pub(super) fn asked(request: &HeaderMap, length: usize) -> Asked {
    let mut lines = request.get_all(header::RANGE).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Asked::Whole };
    let Some((unit, set)) = line.as_bytes().split_at_checked(6) else { return Asked::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Asked::Whole;
    }
    let mut ranges = Vec::new();
    for (count, spec) in members(set).enumerate() {
        match range(spec, length) {
            Some(range) if count < MAX_RANGES => ranges.extend(range),
            _ => return Asked::Whole,
        }
    }
    if ranges.is_empty() {
        return if members(set).next().is_some() { Asked::Unsatisfiable } else { Asked::Whole };
    }
    ranges.sort_by_key(|range: &Range<usize>| range.start);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match parts.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => parts.push(range),
        }
    }
    Asked::Parts(parts)
}

/// One range of the set: `None` if it is malformed, `Some(None)` if there is nothing of it.
fn range(spec: &[u8], length: usize) -> Option<Option<Range<usize>>> {
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (position(&spec[..dash])?, position(&spec[dash + 1..])?);
    let range = match (first, last) {
        (None, None) => return None,
        (None, Some(suffix)) => length.saturating_sub(suffix)..length,
        (Some(first), None) => first..length,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(_), Some(_)) => return None,
    };
    Some(Some(range).filter(|range| range.start < range.end))
}

/// `None` if it is no number, `Some(None)` if it isn't there.
fn position(digits: &[u8]) -> Option<Option<usize>> {
    if digits.is_empty() {
        return Some(None);
    }
    let digit = |sum: usize, digit: &u8| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
    digits.iter().all(u8::is_ascii_digit).then(|| Some(digits.iter().fold(0, digit)))
}

/// The value of `Content-Range` of a part.
pub(super) fn content_range(part: &Range<usize>, length: usize) -> HeaderValue {
    value(format!("bytes {}-{}/{length}", part.start, part.end - 1))
}

/// The value of `Content-Range` of a 416.
pub(super) fn no_range(length: usize) -> HeaderValue {
    value(format!("bytes */{length}"))
}

/// Several parts as `multipart/byteranges` (RFC 9110, 14.6): the value of `Content-Type` and the pieces of the body, which
/// share the stored one.
pub(super) fn multipart(
    parts: &[Range<usize>],
    body: &Bytes,
    content_type: Option<&HeaderValue>,
    boundary: u64,
) -> (HeaderValue, Vec<Bytes>) {
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (at, part) in parts.iter().enumerate() {
        let mut head = Vec::with_capacity(128);
        head.extend_from_slice(if at == 0 { b"--" } else { b"\r\n--" });
        head.extend_from_slice(format!("{boundary:016x}").as_bytes());
        if let Some(content_type) = content_type {
            head.extend_from_slice(b"\r\nContent-Type: ");
            head.extend_from_slice(content_type.as_bytes());
        }
        head.extend_from_slice(b"\r\nContent-Range: ");
        head.extend_from_slice(content_range(part, body.len()).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push(head.into());
        pieces.push(body.slice(part.clone()));
    }
    pieces.push(format!("\r\n--{boundary:016x}--\r\n").into());
    (value(format!("multipart/byteranges; boundary={boundary:016x}")), pieces)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is printable ASCII")
}

/// Most ranges of one request.
const MAX_RANGES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(line: &str, length: usize) -> Asked {
        asked(&HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(line).unwrap())]), length)
    }

    #[test]
    fn rfc_9110_14_1_2_and_14_2() {
        let parts = |ranges: &[(usize, usize)]| Asked::Parts(ranges.iter().map(|&(from, to)| from..to).collect());
        for (line, want) in [
            ("bytes=0-1", parts(&[(0, 2)])),
            ("Bytes=1-", parts(&[(1, 10)])),
            ("bytes=-1", parts(&[(9, 10)])),
            ("bytes=-99", parts(&[(0, 10)])),
            ("bytes=5-99999999999999999999999", parts(&[(5, 10)])),
            ("bytes=0-1, 4-5", parts(&[(0, 2), (4, 6)])),
            ("bytes=4-5, 0-1", parts(&[(0, 2), (4, 6)])),
            ("bytes=0-3,2-5,6-6", parts(&[(0, 7)])),
            ("bytes=0-1, 20-30", parts(&[(0, 2)])),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=", Asked::Whole),
            ("bytes=5-4", Asked::Whole),
            ("bytes=a-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=0-1, x", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,0-,0-,0-,0-,0-,0-,0-,0-", Asked::Whole),
        ] {
            assert_eq!(of(line, 10), want, "{line}");
        }
        assert_eq!(of("bytes=0-", 0), Asked::Unsatisfiable);
    }

    #[test]
    fn rfc_9110_14_6_parts_share_the_body() {
        let body = Bytes::from_static(b"0123456789");
        let plain = HeaderValue::from_static("text/plain");
        let (content_type, pieces) = multipart(&[0..2, 8..10], &body, Some(&plain), 7);
        assert_eq!(content_type, "multipart/byteranges; boundary=0000000000000007");
        assert_eq!(
            String::from_utf8(pieces.concat()).unwrap(),
            "--0000000000000007\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n\
             --0000000000000007\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n\
             --0000000000000007--\r\n"
        );
        assert_eq!(pieces[1].as_ptr(), body.as_ptr());
    }

    proptest! {
        #[test]
        fn parts_are_apart_and_in_the_body(line in "bytes=[0-9, -]{0,40}", length in 0usize..200) {
            if let Asked::Parts(parts) = of(&line, length) {
                let mut end = None;
                for part in parts {
                    prop_assert!(part.start < part.end && part.end <= length);
                    prop_assert!(end.is_none_or(|end| end < part.start));
                    end = Some(part.end);
                }
            }
        }
    }
}
