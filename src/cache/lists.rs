//! Values that are lists (RFC 9110, 5.6.1).

use http::{HeaderMap, HeaderName};

/// The members of a list in one field line, split at commas outside quoted strings, without the white space around
/// them; empty members are left out.
pub(super) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = member_end(rest);
            let member = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    })
}

/// The members of a list field, over all its lines.
pub(super) fn list<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).into_iter().flat_map(|line| members(line.as_bytes()))
}

fn member_end(rest: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    rest.len()
}

/// The text of a token or of a quoted string (RFC 9110, 5.6.4).
pub(super) fn unquote(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"") else { return value.into() };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    if memchr::memchr(b'\\', inner).is_none() {
        return inner.into();
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => text.extend(bytes.next()),
            other => text.push(other),
        }
    }
    text.into()
}

/// Whether the byte may stand in a token (RFC 9110, 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A weight (RFC 9110, 12.4.2) in thousandths: of `;q=` among a member's parameters; 1,000 without one, 0 if it is
/// malformed.
pub(super) fn weight(parameters: &[u8]) -> u16 {
    for parameter in parameters.split(|&byte| byte == b';') {
        let parameter = parameter.trim_ascii();
        let Some((b"q" | b"Q", value)) = parameter.split_at_checked(1) else { continue };
        let Some(value) = value.trim_ascii_start().strip_prefix(b"=") else { continue };
        return thousandths(value.trim_ascii());
    }
    1_000
}

fn thousandths(value: &[u8]) -> u16 {
    let (whole, fraction) = match value.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    match whole {
        b"1" => 1_000,
        b"0" => (0..3).fold(0, |sum, at| sum * 10 + fraction.get(at).map_or(0, |&digit| u16::from(digit - b'0'))),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quoted_strings_split_nothing() {
        let of = |line: &'static str| {
            members(line.as_bytes()).map(|member| String::from_utf8_lossy(member).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(" a ,, b=\"x, y\" ,c"), ["a", "b=\"x, y\"", "c"]);
        assert_eq!(of(r#"a="\",b", c"#), [r#"a="\",b""#, "c"]);
        assert_eq!(of(r#"a="b, c"#), [r#"a="b, c"#]);
        assert_eq!(of(",, ,"), [""; 0]);
        assert_eq!(&*unquote(br#""a\"b\\""#), br#"a"b\"#);
        assert_eq!(&*unquote(b"\"open"), b"open");
    }

    #[test]
    fn weights() {
        for (parameters, want) in [
            ("", 1_000),
            (";q=0", 0),
            ("; Q = 0.5", 500),
            (";q=0.001", 1),
            (";q=1.000", 1_000),
            (";q=2", 0),
            (";q=0.1234", 0),
            (";level=1;q=0.25", 250),
        ] {
            assert_eq!(weight(parameters.as_bytes()), want, "{parameters}");
        }
    }
}
