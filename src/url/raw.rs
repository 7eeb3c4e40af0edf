//! The bytes of a URL as they were sent.

use super::charset::{Charset, Decoded, MAX_BYTES};

/// One byte of a URL, raw or from an escape.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub byte: u8,
    pub escaped: bool,
    pub width: usize,
}

pub(super) fn unit(raw: &[u8], at: usize) -> Option<Unit> {
    let byte = *raw.get(at)?;
    if byte == b'%'
        && let Some(&[high, low]) = raw.get(at + 1..at + 3)
    {
        let digits = (char::from(high).to_digit(16), char::from(low).to_digit(16));
        if let (Some(high), Some(low)) = digits {
            return Some(Unit { byte: (high * 16 + low) as u8, escaped: true, width: 3 });
        }
    }
    Some(Unit { byte, escaped: false, width: 1 })
}

/// Path and query of a target; no fragment, no scheme, no authority.
pub(crate) fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = match target.iter().position(|&b| b == b'#') {
        Some(fragment) => &target[..fragment],
        None => target,
    };
    let target = match target.first() {
        Some(b'/') => target,
        Some(b'*') if target.len() == 1 => b"/",
        _ => split_absolute(target).map_or(target, |absolute| absolute.target),
    };
    match target.iter().position(|&b| b == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// The parts of an absolute URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absolute<'a> {
    /// Whether the scheme is https.
    pub secure: bool,
    /// Host and port.
    pub authority: &'a [u8],
    /// Everything behind: path, query and fragment; may be empty, or begin with `?`.
    pub target: &'a [u8],
}

/// Splits a URL that begins with `http://` or `https://`, in any case; `None` if it doesn't.
pub fn split_absolute(url: &[u8]) -> Option<Absolute<'_>> {
    let (secure, rest) = [(false, &b"http://"[..]), (true, b"https://")].into_iter().find_map(|(secure, scheme)| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((secure, rest))
    })?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    Some(Absolute { secure, authority, target })
}

/// Whether the decoded bytes are valid UTF-8.
pub(super) fn is_utf8(raw: &[u8]) -> bool {
    let mut at = 0;
    while let Some(first) = unit(raw, at) {
        if first.byte.is_ascii() {
            at += first.width;
            continue;
        }
        let mut bytes = [0; MAX_BYTES];
        let mut widths = [0; MAX_BYTES];
        let mut count = 0;
        let mut next = at;
        while count < MAX_BYTES
            && let Some(unit) = unit(raw, next)
        {
            bytes[count] = unit.byte;
            next += unit.width;
            widths[count] = next - at;
            count += 1;
        }
        match Charset::Utf8.decode_first(&bytes[..count]) {
            Decoded::Text { len, .. } => at += widths[len - 1],
            Decoded::Invalid { .. } => return false,
        }
    }
    true
}
