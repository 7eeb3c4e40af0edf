//! The charset of a page, as far as finding links needs it.
//!
//! Links are ASCII where it matters, and no charset here uses a byte below 0x40 for anything but ASCII: so `<`, `>`,
//! quotes, `&`, `=`, blanks, `(` and `)` are what they seem even in GBK and Big5. Only `\`, `{`, `}`, `@` and letters
//! may be halves of a character, which matters in CSS alone: there a `\` would take the quote after it for an escape.

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, REPLACEMENT, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
};

use super::values::is_space;

/// How far into a document its own declaration is looked for (HTML, 13.2.3.2).
pub(super) const HEAD: usize = 1024;

/// Which bytes start characters of two bytes whose second may look like ASCII.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Charset {
    /// None: UTF-8, the single-byte charsets, EUC-JP, and what is not known.
    #[default]
    Plain,
    /// GBK, GB18030, Big5, EUC-KR.
    Double,
    ShiftJis,
}

impl Charset {
    pub(super) fn is_lead(self, byte: u8) -> bool {
        match self {
            Charset::Plain => false,
            Charset::Double => matches!(byte, 0x81..=0xFE),
            Charset::ShiftJis => matches!(byte, 0x81..=0x9F | 0xE0..=0xFC),
        }
    }

    /// Whether the byte after a lead belongs to the same character, as far as it looks like ASCII.
    pub(super) fn is_trail(byte: u8) -> bool {
        matches!(byte, 0x40..=0x7E | 0x80..=0xFE)
    }
}

/// The document's kinds whose links are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Css,
}

/// The kind that a `Content-Type` tells, and the charset that it declares, if it is a known one.
pub(super) fn content_type(value: &str) -> Option<(Kind, Option<&'static Encoding>)> {
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let kind = match essence.trim().to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => Kind::Html,
        "text/css" => Kind::Css,
        _ => return None,
    };
    let label = parameters.split(';').find_map(|parameter| {
        let (name, label) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| label.trim().trim_matches('"'))
    });
    Some((kind, label.and_then(|label| Encoding::for_label(label.as_bytes()))))
}

/// Whether a document in this charset can be read byte by byte as a superset of ASCII.
pub(super) fn is_readable(encoding: &'static Encoding) -> bool {
    ![UTF_16BE, UTF_16LE, ISO_2022_JP, REPLACEMENT].contains(&encoding)
}

/// The charset of a document that begins with `head` ([`HEAD`] bytes, or all): by its byte order mark, else as declared
/// by the response, else by the document itself. `None` if it can't be read as a superset of ASCII.
pub(super) fn detect(head: &[u8], declared: Option<&'static Encoding>, kind: Kind) -> Option<Charset> {
    let encoding = match (Encoding::for_bom(head), declared) {
        (Some((encoding, _)), _) => encoding,
        (None, Some(encoding)) => encoding,
        (None, None) => {
            let label = match kind {
                Kind::Html => meta_charset(head),
                Kind::Css => head.strip_prefix(b"@charset \"").and_then(|rest| rest.split(|&byte| byte == b'"').next()),
            };
            match label.and_then(Encoding::for_label) {
                // Who reads the declaration as ASCII does not read UTF-16 (HTML, 13.2.3.2; CSS Syntax, 3.2).
                Some(encoding) if [UTF_16BE, UTF_16LE].contains(&encoding) => UTF_8,
                Some(encoding) => encoding,
                None => UTF_8,
            }
        }
    };
    if !is_readable(encoding) {
        return None;
    }
    Some(if [GBK, GB18030, BIG5, EUC_KR].contains(&encoding) {
        Charset::Double
    } else if encoding == SHIFT_JIS {
        Charset::ShiftJis
    } else {
        Charset::Plain
    })
}

/// The label in the first `<meta charset=…>` or `<meta http-equiv=content-type content="…; charset=…">`, comments left
/// out.
fn meta_charset(mut head: &[u8]) -> Option<&[u8]> {
    while let Some(start) = memchr::memchr(b'<', head) {
        head = &head[start..];
        if head.starts_with(b"<!--") {
            // `<!-->` is a whole comment.
            head = &head[memchr::memmem::find(&head[2..], b"-->")? + 5..];
        } else if head.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"<meta")) {
            let len = memchr::memchr(b'>', head).unwrap_or(head.len());
            if let Some(label) = charset_parameter(&head[..len]) {
                return Some(label);
            }
            head = &head[len..];
        } else {
            head = &head[1..];
        }
    }
    None
}

/// What stands after `charset=`, quoted or not.
fn charset_parameter(text: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"charset";
    let at = text.windows(NAME.len()).position(|name| name.eq_ignore_ascii_case(NAME))?;
    let rest = text[at + NAME.len()..].trim_ascii_start();
    let Some(rest) = rest.strip_prefix(b"=") else { return charset_parameter(rest) };
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
    let len = rest
        .iter()
        .position(|&byte| is_space(byte) || matches!(byte, b'"' | b'\'' | b';' | b'/' | b'>'))
        .unwrap_or(rest.len());
    Some(&rest[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(head: &str) -> Option<Charset> {
        detect(head.as_bytes(), None, Kind::Html)
    }

    #[test]
    fn a_page_declares_its_charset() {
        for head in [
            "<meta charset=gbk>",
            "<META CharSet = 'GB2312'/>",
            "<html><head><meta http-equiv=Content-Type content=\"text/html; charset=big5\">",
            "<meta name=charset content=x><meta charset=\"gb18030\">",
            "<!-- <meta charset=utf-8> --><meta charset=gbk",
            "<!--><meta charset=gbk>",
        ] {
            assert_eq!(html(head), Some(Charset::Double), "{head}");
        }
        assert_eq!(html("<meta charset=shift_jis>"), Some(Charset::ShiftJis));
        for head in
            ["", "<p>charset=gbk", "<meta charset=utf-8><meta charset=gbk>", "<meta charset=utf-16>", "<!-- <meta"]
        {
            assert_eq!(html(head), Some(Charset::Plain), "{head}");
        }
        assert_eq!(html("<meta charset=iso-2022-jp>"), None);
        assert_eq!(html("<meta charset=hz-gb-2312>"), None);
        assert_eq!(detect(b"@charset \"gbk\"; a{}", None, Kind::Css), Some(Charset::Double));
    }

    #[test]
    fn the_byte_order_mark_comes_first_then_the_response() {
        assert_eq!(detect(b"\xFF\xFE<\0", Some(GBK), Kind::Html), None);
        assert_eq!(detect(b"\xEF\xBB\xBF<meta charset=gbk>", Some(BIG5), Kind::Html), Some(Charset::Plain));
        assert_eq!(detect(b"<meta charset=gbk>", Some(UTF_8), Kind::Html), Some(Charset::Plain));
        assert_eq!(detect(b"<meta charset=utf-8>", Some(GBK), Kind::Html), Some(Charset::Double));
    }

    #[test]
    fn content_types_that_are_rewritten() {
        assert_eq!(content_type("text/html"), Some((Kind::Html, None)));
        assert_eq!(content_type("Text/HTML ; Charset=\"GB2312\""), Some((Kind::Html, Some(GBK))));
        assert_eq!(content_type("text/css;charset=utf-8"), Some((Kind::Css, Some(UTF_8))));
        assert_eq!(content_type("application/xhtml+xml;q=1;charset=nonsense"), Some((Kind::Html, None)));
        for other in ["", "text/plain", "text/javascript", "application/json", "text/htmlx", "image/svg+xml"] {
            assert_eq!(content_type(other), None, "{other}");
        }
    }
}
