//! Charsets of percent-encoded bytes, one character at a time.

use encoding_rs::{BIG5, Encoding, GB18030};

/// The charset in which a site's percent-encoded bytes are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Charset {
    /// UTF-8.
    #[default]
    Utf8,
    /// GB18030, and with it its subsets GBK and GB2312.
    Gb18030,
    /// Big5 with the HKSCS extensions (WHATWG).
    Big5,
    /// UTF-8 where a URL's bytes are valid UTF-8, else GB18030. A guess: some GB2312 texts are valid UTF-8 too.
    Auto,
}

/// Longest byte sequence of one character in any charset here.
pub(super) const MAX_BYTES: usize = 4;

/// What a sequence of bytes at the start of a text is.
pub(super) enum Decoded {
    /// `len` bytes that are `text`.
    Text { text: [u8; 8], text_len: usize, len: usize },
    /// `len` bytes that are no text.
    Invalid { len: usize },
}

impl Charset {
    /// The names that route files use.
    pub const NAMES: [&'static str; 6] = ["utf-8", "gb18030", "gbk", "gb2312", "big5", "auto"];

    /// The charset of that name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Charset::Utf8,
            "gb18030" | "gbk" | "gb2312" => Charset::Gb18030,
            "big5" => Charset::Big5,
            "auto" => Charset::Auto,
            _ => return None,
        })
    }

    pub(super) fn encoding(self) -> Option<&'static Encoding> {
        match self {
            Charset::Utf8 | Charset::Auto => None,
            Charset::Gb18030 => Some(GB18030),
            Charset::Big5 => Some(BIG5),
        }
    }

    /// How many bytes the character that starts with these has, judged by their ranges alone; 1 if they start none.
    fn sequence_len(self, bytes: &[u8]) -> usize {
        let second = bytes.get(1).copied().unwrap_or(0);
        match self {
            Charset::Utf8 | Charset::Auto => match bytes[0] {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => 1,
            },
            Charset::Gb18030 => match (bytes[0], second) {
                (0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE) => 2,
                (0x81..=0xFE, 0x30..=0x39) => 4,
                _ => 1,
            },
            Charset::Big5 => match (bytes[0], second) {
                (0x81..=0xFE, 0x40..=0x7E | 0xA1..=0xFE) => 2,
                _ => 1,
            },
        }
    }

    /// Decodes the first character of `bytes` (at least one byte, at most [`MAX_BYTES`] looked at; the first is not
    /// ASCII).
    pub(super) fn decode_first(self, bytes: &[u8]) -> Decoded {
        let len = self.sequence_len(bytes);
        let Some(sequence) = bytes.get(..len) else { return Decoded::Invalid { len: 1 } };
        let mut text = [0; 8];
        match self.encoding() {
            None => match std::str::from_utf8(sequence) {
                Ok(valid) => {
                    text[..len].copy_from_slice(valid.as_bytes());
                    Decoded::Text { text, text_len: len, len }
                }
                Err(_) => Decoded::Invalid { len: 1 },
            },
            Some(encoding) => {
                let mut decoder = encoding.new_decoder_without_bom_handling();
                match decoder.decode_to_utf8_without_replacement(sequence, &mut text, true) {
                    (encoding_rs::DecoderResult::InputEmpty, _, text_len) if text_len > 0 => {
                        Decoded::Text { text, text_len, len }
                    }
                    // A two-byte code that the charset leaves empty is escaped whole: its second byte may look like a
                    // letter, and folding that would make another code of it.
                    _ => Decoded::Invalid { len: if len == 2 { 2 } else { 1 } },
                }
            }
        }
    }
}
