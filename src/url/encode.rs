//! Canonical text → bytes that may stand in a URL.

use super::Charset;

/// The part of a URL that a text is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A path: `/` stays.
    Path,
    /// A query or fragment: `/` and `?` stay, `&`, `=`, `+` and `;` are escaped.
    Query,
}

/// Appends a piece of canonical text (its `%XX` are escapes already) as UTF-8, escaped for `component`.
pub fn encode_component(text: &str, component: Component, out: &mut String) {
    for byte in text.bytes() {
        let literal = match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'%'
            | b'/'
            | b'!'
            | b'$'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b','
            | b':'
            | b'@' => true,
            b'?' => component == Component::Query,
            b'&' | b'=' | b'+' | b';' => component == Component::Path,
            _ => false,
        };
        if literal { out.push(char::from(byte)) } else { push_escape(byte, out) }
    }
}

/// A canonical key as a URL that the site would take for it: characters in the site's charset, escaped.
pub fn to_wire(key: &str, charset: Charset) -> String {
    let mut out = String::with_capacity(key.len());
    let mut utf8 = [0; 4];
    for c in key.chars() {
        match c {
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' => push_escape(c as u8, &mut out),
            '\0'..='\x7f' => out.push(c),
            _ => {
                let text: &str = c.encode_utf8(&mut utf8);
                match charset.encoding().map(|encoding| encoding.encode(text)) {
                    Some((bytes, _, false)) => bytes.iter().for_each(|&b| push_escape(b, &mut out)),
                    _ => text.bytes().for_each(|b| push_escape(b, &mut out)),
                }
            }
        }
    }
    out
}

/// Whether a URI may have this byte anywhere (RFC 3986, 2).
pub(crate) fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}
