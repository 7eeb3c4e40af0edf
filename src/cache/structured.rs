//! Dictionaries of structured fields (RFC 8941, 3.2), as far as cache directives need them.

/// The value of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Integer(i64),
    Boolean(bool),
    String(Vec<u8>),
    /// Anything else that is well-formed.
    Other,
}

/// Reads a dictionary; `None` if it is malformed anywhere. Of a key that comes twice the last counts.
pub(super) fn dictionary(text: &[u8]) -> Option<Vec<(Vec<u8>, Item)>> {
    let mut reader = Reader(text.trim_ascii());
    let mut members: Vec<(Vec<u8>, Item)> = Vec::new();
    while !reader.0.is_empty() {
        let key = reader.key()?.to_vec();
        let item = if reader.take(b'=') { reader.member()? } else { Item::Boolean(true) };
        reader.parameters()?;
        members.retain(|(other, _)| *other != key);
        members.push((key, item));
        reader.space();
        if reader.0.is_empty() {
            break;
        }
        if !reader.take(b',') {
            return None;
        }
        reader.space();
        if reader.0.is_empty() {
            return None;
        }
    }
    Some(members)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_while(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !is(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        if !matches!(self.0.first()?, b'a'..=b'z' | b'*') {
            return None;
        }
        Some(self.take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.take_while(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn member(&mut self) -> Option<Item> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.take_while(|byte| byte == b' ');
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn bare_item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                self.take(b'?');
                let value = self.take(b'1');
                (value || self.take(b'0')).then_some(Item::Boolean(value))
            }
            b':' => {
                self.take(b':');
                self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
                self.take(b':').then_some(Item::Other)
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take_while(|byte| super::lists::is_token_byte(byte) || matches!(byte, b':' | b'/'));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item> {
        let negative = self.take(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            return (matches!(whole.len(), 1..=12) && matches!(fraction.len(), 1..=3)).then_some(Item::Other);
        }
        if !matches!(whole.len(), 1..=15) {
            return None;
        }
        let value = whole.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -value } else { value }))
    }

    fn string(&mut self) -> Option<Item> {
        self.take(b'"');
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(Item::String(text)),
                b'\\' => {
                    let (&escaped @ (b'"' | b'\\'), rest) = self.0.split_first()? else { return None };
                    self.0 = rest;
                    text.push(escaped);
                }
                b' '..=b'~' => text.push(byte),
                _ => return None,
            }
        }
    }
}
