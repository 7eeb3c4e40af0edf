//! DER, as far as keys that are encrypted, OCSP responses and signatures need it.

/// The tags that are met here.
pub(super) mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0A;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    /// `[0]`, around other values.
    pub const CONTEXT_0: u8 = 0xA0;
}

/// Values that follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    /// Its first byte. Tags of more than one are not met here.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// Whether nothing follows.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; none if there is none, or it is cut off.
    pub fn value(&mut self) -> Option<Value<'a>> {
        let (value, rest) = split(self.0)?;
        self.0 = rest;
        Some(value)
    }

    /// The content of the next value if it has this tag; else nothing is read.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (value, rest) = split(self.0).filter(|(value, _)| value.tag == tag)?;
        self.0 = rest;
        Some(value.content)
    }

    /// The values within the next one, if that has this tag.
    pub fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.take(tag).map(Reader)
    }

    /// The bytes of the next value if it is a BIT STRING of whole bytes.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(tag::BIT_STRING)?.strip_prefix(&[0])
    }

    /// The next value if it is an INTEGER from 0 to what 32 bits hold.
    pub fn number(&mut self) -> Option<u32> {
        let bytes = self.take(tag::INTEGER)?;
        let bytes = if bytes.len() > 1 { bytes.strip_prefix(&[0]).unwrap_or(bytes) } else { bytes };
        let positive = !bytes.is_empty() && bytes.len() <= 4;
        positive.then(|| bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }
}

fn split(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&[tag, first], _) = bytes.split_first_chunk::<2>()?;
    let (start, length) = match first {
        short @ 0..=0x7F => (2, usize::from(short)),
        long @ 0x81..=0x84 => {
            let digits = bytes.get(2..2 + usize::from(long & 0x7F))?;
            (2 + digits.len(), digits.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)))
        }
        _ => return None,
    };
    let end = start.checked_add(length)?;
    let value = Value { tag, content: bytes.get(start..end)?, whole: bytes.get(..end)? };
    Some((value, &bytes[end..]))
}

/// A value of these parts, one after the other.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let digits = length.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|&&byte| byte == 0).count()..];
    let mut out = vec![tag];
    match (length, digits) {
        (0..0x80, _) => out.push(length as u8),
        (_, digits) => {
            out.push(0x80 | digits.len() as u8);
            out.extend(digits);
        }
    }
    parts.iter().for_each(|part| out.extend(*part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = value(tag::OCTET_STRING, &[&content[..length / 2], &content[length / 2..]]);
            let both = [&written[..], &[tag::NULL, 0]].concat();
            let mut reader = Reader::new(&both);
            assert_eq!(reader.take(tag::NULL), None);
            assert_eq!(reader.value(), Some(Value { tag: tag::OCTET_STRING, content: &content, whole: &written }));
            assert_eq!(reader.take(tag::NULL), Some(&[][..]));
            assert!(reader.is_done() && reader.value().is_none());
            assert_eq!(Reader::new(&written[..written.len() - 1]).value(), None);
        }
        for (bytes, number) in [(&[2, 1, 0][..], Some(0)), (&[2, 2, 0, 200], Some(200)), (&[2, 0], None)] {
            assert_eq!(Reader::new(bytes).number(), number);
        }
        assert_eq!(Reader::new(&[2, 5, 1, 0, 0, 0, 0]).number(), None);
        assert_eq!(Reader::new(&[4, 0x85, 0, 0, 0, 0, 0]).value(), None);
        assert_eq!(Reader::new(&[4, 0x80]).value(), None);
    }
}
