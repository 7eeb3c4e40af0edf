//! Where canonical text is collected.

use std::ops::Range;

/// A text in two spellings that share their offsets: folded, for comparing, and with its case as sent.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) folded: Vec<u8>,
    pub(super) cased: Vec<u8>,
    /// Some character's lower case has another length in UTF-8, so the offsets are not shared after all.
    skewed: bool,
}

impl Buffers {
    pub(super) fn clear(&mut self) {
        self.folded.clear();
        self.cased.clear();
        self.skewed = false;
    }

    pub(super) fn len(&self) -> usize {
        self.folded.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.folded.truncate(len);
        self.cased.truncate(len);
    }

    pub(super) fn folded_str(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.folded[range]).unwrap_or_default()
    }

    pub(super) fn cased_str(&self, range: Range<usize>) -> &str {
        let text = if self.skewed { &self.folded } else { &self.cased };
        std::str::from_utf8(&text[range]).unwrap_or_default()
    }

    #[inline]
    pub(super) fn push_ascii(&mut self, byte: u8, fold: bool) {
        self.folded.push(if fold { byte.to_ascii_lowercase() } else { byte });
        self.cased.push(byte);
    }

    pub(super) fn push_ascii_run(&mut self, run: &[u8], fold: bool) {
        let start = self.folded.len();
        self.folded.extend_from_slice(run);
        self.cased.extend_from_slice(run);
        if fold {
            self.folded[start..].make_ascii_lowercase();
        }
    }

    pub(super) fn push_escape(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let escape = [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        self.folded.extend_from_slice(&escape);
        self.cased.extend_from_slice(&escape);
    }

    pub(super) fn push_str(&mut self, text: &str, fold: bool) {
        self.cased.extend_from_slice(text.as_bytes());
        if !fold {
            self.folded.extend_from_slice(text.as_bytes());
            return;
        }
        let start = self.folded.len();
        let mut utf8 = [0; 4];
        for lower in text.chars().flat_map(char::to_lowercase) {
            self.folded.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
        }
        self.skewed |= self.folded.len() - start != text.len();
    }
}

/// A character of a text that is Unicode already.
pub(super) fn push_literal(raw: &[u8], fold: bool, out: &mut Buffers) -> usize {
    let head = &raw[..raw.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(first) => {
            out.push_str(&valid[..first.len_utf8()], fold);
            first.len_utf8()
        }
        None => {
            out.push_escape(raw[0]);
            1
        }
    }
}
