//! The texts of a request that rules look at.

use std::borrow::Cow;

use super::literals::fold;

/// A header field's value as text: UTF-8, or else GB18030, which never fails.
pub(super) fn of_field(value: &[u8]) -> Cow<'_, str> {
    let text = match str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(value).0,
    };
    match fold(&text) {
        Some(folded) => Cow::Owned(folded),
        None => text,
    }
}

/// The name or the value of a query parameter as text: decoded once, then as [`of_field`].
pub(super) fn of_query(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        return of_field(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let hex = |at: usize| raw.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    Cow::Owned(of_field(&decoded).into_owned())
}

/// The parameters of a target's query: name and value, as sent.
pub(super) fn parameters(target: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = target.iter().position(|&b| b == b'?').map_or(&[][..], |at| &target[at + 1..]);
    query.split(|&b| b == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        match piece.iter().position(|&b| b == b'=') {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (piece, &[][..]),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_once() {
        for (raw, text) in [
            (&b"union+select"[..], "union select"),
            (b"%2527", "%27"),
            (b"%E7%A7%91", "科"),
            (b"%BF%C6", "科"),
            (b"100%", "100%"),
            (b"%4", "%4"),
            (b"%zz", "%zz"),
        ] {
            assert_eq!(of_query(raw), text);
        }
        assert_eq!(of_field(b"\xBF\xC6+%41"), "科+%41");
    }

    #[test]
    fn parameters_are_found() {
        let found: Vec<_> = parameters(b"/a?b=c&&d&e=f=g?").collect();
        assert_eq!(found, [(&b"b"[..], &b"c"[..]), (b"d", b""), (b"e", b"f=g?")]);
        assert_eq!(parameters(b"/a").count(), 0);
    }
}
