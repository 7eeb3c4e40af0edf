//! What clients send, made safe for a line: nothing in it ends a line or a value, and no terminal obeys it.

use std::str;

/// Appends `bytes` as a JSON string, quotes included. Returns whether they are not UTF-8: then they are percent-encoded,
/// `%` as `%25`, so that they can be had back.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let plain = plain(bytes);
    out.extend_from_slice(&bytes[..plain]);
    let rest = &bytes[plain..];
    let is_text = rest.is_empty()
        || match str::from_utf8(rest) {
            Ok(text) => {
                escape(text.as_bytes(), out);
                true
            }
            Err(_) => {
                out.truncate(out.len() - plain);
                percent(bytes, out);
                false
            }
        };
    out.push(b'"');
    !is_text
}

/// Appends `bytes` for the combined format, escaped as nginx does it: `\xHH` for what could end the value or the line, and
/// for all that is not ASCII. Nothing is `-`.
pub(super) fn combined(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return out.push(b'-');
    }
    let mut rest = bytes;
    loop {
        let plain = plain(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { return };
        out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte & 15)]);
        rest = &rest[plain + 1..];
    }
}

/// As [`combined`], for a value without quotes around it: a space is escaped, too.
pub(super) fn combined_word(bytes: &[u8], out: &mut Vec<u8>) {
    let mut words = bytes.split(|&byte| byte == b' ');
    combined(words.next().unwrap_or_default(), out);
    for word in words {
        out.extend_from_slice(b"\\x20");
        if !word.is_empty() {
            combined(word, out);
        }
    }
}

/// The digits of a number.
pub(super) fn number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// The last `N` digits of a number.
pub(super) fn digits<const N: usize>(mut number: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// How many bytes at the beginning need no escape in any format.
fn plain(bytes: &[u8]) -> usize {
    // Without branches within a block, so that the compiler makes vector instructions of it: most of a line's bytes come
    // from clients, and nearly all of those are plain.
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let good = blocks.iter().take_while(|block| block.iter().fold(true, |good, &byte| good & is_plain(byte))).count();
    let start = good * BLOCK;
    let more = bytes[start..].iter().take(BLOCK).take_while(|&&byte| is_plain(byte)).count();
    start + more
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// Appends what is UTF-8 for a JSON string.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut start = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1).copied().unwrap_or_default();
        let (code, length) = match byte {
            0x20.. if is_plain(byte) => (None, 1),
            b'"' | b'\\' | ..0x20 | 0x7f => (Some(u16::from(byte)), 1),
            // C1 controls: some terminals obey them.
            0xc2 if (0x80..0xa0).contains(&next) => (Some(u16::from(next)), 2),
            // Line separators of JavaScript.
            0xe2 if next == 0x80 && matches!(text.get(at + 2), Some(0xa8 | 0xa9)) => {
                (Some(0x2000 | u16::from(text[at + 2]) & 0x3f), 3)
            }
            _ => (None, 1),
        };
        if let Some(code) = code {
            out.extend_from_slice(&text[start..at]);
            match code as u8 {
                short @ (b'"' | b'\\') if code < 0x80 => out.extend_from_slice(&[b'\\', short]),
                _ => {
                    let [high, low] = code.to_be_bytes();
                    out.extend_from_slice(b"\\u");
                    out.extend([high >> 4, high & 15, low >> 4, low & 15].map(|digit| hex(digit).to_ascii_lowercase()));
                }
            }
            start = at + length;
        }
        at += length;
    }
    out.extend_from_slice(&text[start..]);
}

/// Appends what is not UTF-8 for a JSON string.
fn percent(bytes: &[u8], out: &mut Vec<u8>) {
    let escaped = |byte: u8| [b'%', hex(byte >> 4), hex(byte & 15)];
    for chunk in bytes.utf8_chunks() {
        for (number, part) in chunk.valid().as_bytes().split(|&byte| byte == b'%').enumerate() {
            if number > 0 {
                out.extend_from_slice(&escaped(b'%'));
            }
            escape(part, out);
        }
        chunk.invalid().iter().for_each(|&byte| out.extend_from_slice(&escaped(byte)));
    }
}

fn hex(digit: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(digit & 15)]
}

/// Bytes that are looked at together.
const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_json(bytes: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let escaped = json(bytes, &mut out);
        (String::from_utf8(out).unwrap(), escaped)
    }

    fn as_combined(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        combined(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, more)) = rest.split_first() {
            if byte == b'%' {
                bytes.push(u8::from_str_radix(str::from_utf8(&more[..2]).unwrap(), 16).unwrap());
                rest = &more[2..];
            } else {
                bytes.push(byte);
                rest = more;
            }
        }
        bytes
    }

    #[test]
    fn what_ends_a_value_or_moves_a_cursor_is_escaped() {
        assert_eq!(as_json(b"/a b?x=%E4"), ("\"/a b?x=%E4\"".to_owned(), false));
        assert_eq!(as_json("科普\"\\\n\u{7f}\u{9b}\u{2028}é".as_bytes()).0, r#""科普\"\\\u000a\u007f\u009b\u2028é""#);
        assert_eq!(as_json(b"/%41\xd6\xd0"), ("\"/%2541%D6%D0\"".to_owned(), true));
        assert_eq!(as_json(b"").0, "\"\"");
        assert_eq!(as_combined(b""), "-");
        assert_eq!(as_combined(b"a\" 200 \"\r\n\\\x7f\xd6"), r"a\x22 200 \x22\x0D\x0A\x5C\x7F\xD6");
        let mut word = Vec::new();
        combined_word(b"a  b ", &mut word);
        assert_eq!(word, br"a\x20\x20b\x20");
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        for value in [0, 9, 10, 1_234_567, u64::MAX] {
            number(value, &mut out);
            out.push(b' ');
        }
        digits::<6>(42, &mut out);
        assert_eq!(out, b"0 9 10 1234567 18446744073709551615 000042");
    }

    /// Bytes in which what is special is frequent.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => 0x20..0x7f_u8,
            2 => any::<u8>(),
            2 => prop::sample::select(&b"\"\\%\n\r\xc2\x80\x9b\xe2\xa8\xd6\xd0\x7f\x00"[..]),
        ];
        prop::collection::vec(byte, 0..80)
    }

    proptest! {
        #[test]
        fn a_json_string_says_what_was_sent(bytes in bytes()) {
            let (text, escaped) = as_json(&bytes);
            let read: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(escaped, str::from_utf8(&bytes).is_err());
            prop_assert_eq!(if escaped { unescape(&read) } else { read.into_bytes() }, bytes);
            prop_assert!(!text.chars().any(char::is_control));
        }

        #[test]
        fn nothing_gets_out_of_a_value_of_the_combined_format(bytes in bytes()) {
            let text = as_combined(&bytes);
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"'));
            // A backslash begins an escape, and nothing else.
            let mut read = Vec::new();
            let mut rest = text.as_bytes();
            while let Some((&byte, more)) = rest.split_first() {
                if byte == b'\\' {
                    prop_assert_eq!(more[0], b'x');
                    read.push(u8::from_str_radix(str::from_utf8(&more[1..3]).unwrap(), 16).unwrap());
                    rest = &more[3..];
                } else {
                    read.push(byte);
                    rest = more;
                }
            }
            prop_assert_eq!(if bytes.is_empty() { b"-".to_vec() } else { bytes }, read);
        }
    }
}
