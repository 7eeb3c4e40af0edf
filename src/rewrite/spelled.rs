//! Text as it is spelled in a document: with escapes, each of which may stand for one byte that matters.

use std::ops::Range;

use super::links::Edit;

/// The meaning of a piece of a document, with the place where each byte of it is written.
///
/// Only escapes of ASCII characters are undone. All others stay as they are written: links are told apart by ASCII, and
/// what is not changed is not written anew.
#[derive(Debug, Default)]
pub(super) struct Spelled {
    bytes: Vec<u8>,
    /// Where each byte's spelling starts. Each ends where the next starts.
    starts: Vec<usize>,
    end: usize,
}

impl Spelled {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.end = 0;
    }

    /// Appends `byte`, whose spelling stands at `at`.
    pub(super) fn push(&mut self, byte: u8, at: Range<usize>) {
        self.bytes.push(byte);
        self.starts.push(at.start);
        self.end = at.end;
    }

    /// Where the spelling of these bytes stands.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        let at = |index| self.starts.get(index).copied().unwrap_or(self.end);
        at(range.start)..at(range.end)
    }

    /// The same edit, in the document.
    pub(super) fn edit(&self, edit: Edit) -> Edit {
        Edit { range: self.place(edit.range), with: edit.with }
    }

    /// The value of an HTML attribute, its character references undone.
    pub(super) fn read_attribute(&mut self, raw: &[u8]) {
        self.clear();
        let mut at = 0;
        while let Some(&byte) = raw.get(at) {
            match if byte == b'&' { character_reference(&raw[at..]) } else { None } {
                Some((byte, len)) => {
                    self.push(byte, at..at + len);
                    at += len;
                }
                None => {
                    self.push(byte, at..at + 1);
                    at += 1;
                }
            }
        }
    }
}

/// The ASCII character that the reference at the start of `raw` stands for, and the length of the reference.
fn character_reference(raw: &[u8]) -> Option<(u8, usize)> {
    if raw.get(1) == Some(&b'#') {
        let (radix, start) = if matches!(raw.get(2), Some(b'x' | b'X')) { (16, 3) } else { (10, 2) };
        let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
        let len = raw[start..].iter().take_while(is_digit).count();
        let digits = str::from_utf8(&raw[start..start + len]).ok()?;
        // Zeros before the number may be many; a number that is too large is no ASCII.
        let code = u8::from_str_radix(digits.trim_start_matches('0'), radix).ok().filter(u8::is_ascii)?;
        let semicolon = usize::from(raw.get(start + len) == Some(&b';'));
        return Some((code, start + len + semicolon));
    }
    let len = raw[1..].iter().take(MAX_NAME).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = str::from_utf8(&raw[1..1 + len]).ok()?;
    if raw.get(1 + len) == Some(&b';') {
        let &(_, byte) = NAMED.iter().find(|(known, _)| *known == name)?;
        return Some((byte, len + 2));
    }
    // Old pages leave the semicolon out. In an attribute such a name must not run into letters, digits or `=` (HTML,
    // 13.2.5.73).
    let &(name, byte) = NAMED.iter().find(|(known, _)| BARE.contains(known) && *known == name)?;
    (raw.get(1 + len) != Some(&b'=')).then_some((byte, 1 + name.len()))
}

/// Longest name below.
const MAX_NAME: usize = 16;

/// The named character references that stand for ASCII (HTML, 13.5).
const NAMED: [(&str, u8); 45] = [
    ("AMP", b'&'),
    ("DiacriticalGrave", b'`'),
    ("GT", b'>'),
    ("Hat", b'^'),
    ("LT", b'<'),
    ("NewLine", b'\n'),
    ("QUOT", b'"'),
    ("Tab", b'\t'),
    ("UnderBar", b'_'),
    ("VerticalLine", b'|'),
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("lbrace", b'{'),
    ("lbrack", b'['),
    ("lcub", b'{'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lsqb", b'['),
    ("lt", b'<'),
    ("midast", b'*'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rbrace", b'}'),
    ("rbrack", b']'),
    ("rcub", b'}'),
    ("rpar", b')'),
    ("rsqb", b']'),
    ("semi", b';'),
    ("sol", b'/'),
    ("verbar", b'|'),
    ("vert", b'|'),
];

/// Those of them that need no semicolon.
const BARE: [&str; 8] = ["AMP", "GT", "LT", "QUOT", "amp", "gt", "lt", "quot"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> String {
        let mut spelled = Spelled::default();
        spelled.read_attribute(raw.as_bytes());
        String::from_utf8(spelled.bytes).unwrap()
    }

    #[test]
    fn references_of_ascii_are_undone() {
        for (raw, want) in [
            ("a&amp;b&AMP;c", "a&b&c"),
            ("http&#58;&#x2F;&#X2f;h&#0000000046;x", "http://h.x"),
            ("http&colon;&sol;&sol;h&period;x", "http://h.x"),
            ("&#47a", "/a"),
            ("?a&lt=1&ampb&amp=2&amp", "?a&lt=1&ampb&amp=2&"),
            ("&copy;&unknown;&#20013;&#xFFFFFFFFF;&#;&", "&copy;&unknown;&#20013;&#xFFFFFFFFF;&#;&"),
            ("&quot", "\""),
        ] {
            assert_eq!(read(raw), want, "{raw}");
        }
    }

    #[test]
    fn places_are_those_of_the_spelling() {
        let mut spelled = Spelled::default();
        spelled.read_attribute(b"a&#47;b&amp;");
        assert_eq!(spelled.bytes(), b"a/b&");
        assert_eq!(spelled.place(1..3), 1..7);
        assert_eq!(spelled.place(3..4), 7..12);
        assert_eq!(spelled.place(4..4), 12..12);
    }
}
