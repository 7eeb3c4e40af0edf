//! Query strings: parameters in any order.

use std::ops::Range;

use super::buffers::Buffers;
use super::canonical::{Canonicalizer, Escapes, Form};

/// The parameters of a query string, decoded, in the order in which they were sent.
#[derive(Debug, Default)]
pub struct Params {
    pub(super) text: Buffers,
    list: Vec<Param>,
    order: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Param {
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl Params {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
    }

    /// The value of the only parameter `key` (folded as the site folds case): `None` if there is none or more than
    /// one, since a repeated parameter identifies no page; an empty text if it has no value. The flag asks for the
    /// value as sent (`true`) or folded.
    pub fn only(&self, key: &str) -> Option<(&str, &str)> {
        let mut found = self.list.iter().filter(|p| &self.text.folded[p.key.clone()] == key.as_bytes());
        let param = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let range = param.value.clone().unwrap_or(0..0);
        Some((self.text.folded_str(range.clone()), self.text.cased_str(range)))
    }

    /// Parses `query` (without `?`).
    pub(super) fn parse(&mut self, canonicalizer: &Canonicalizer, query: &[u8], form: Form) {
        self.clear();
        let semicolon = canonicalizer.settings().semicolon_separates;
        for piece in query.split(|&b| b == b'&' || (semicolon && b == b';')) {
            if piece.is_empty() {
                continue;
            }
            let (key, value) = match piece.iter().position(|&b| b == b'=') {
                Some(at) => (&piece[..at], Some(&piece[at + 1..])),
                None => (piece, None),
            };
            let key = self.push(canonicalizer, key, form, Escapes::QueryKey);
            let value = value.map(|value| self.push(canonicalizer, value, form, Escapes::QueryValue));
            self.list.push(Param { key, value });
        }
    }

    fn push(&mut self, canonicalizer: &Canonicalizer, raw: &[u8], form: Form, escapes: Escapes) -> Range<usize> {
        let start = self.text.len();
        canonicalizer.push_text(raw, form, escapes, &mut self.text);
        start..self.text.len()
    }

    /// Appends `?a=1&b=2` to `key`: the parameters that identify a page, sorted. Nothing if there are none.
    pub(super) fn append_significant(&mut self, keep: &[String], key: &mut Vec<u8>) {
        let Params { text, list, order } = self;
        let folded = &text.folded;
        order.clear();
        for (index, param) in list.iter().enumerate() {
            let name = &folded[param.key.clone()];
            if keep.iter().any(|k| k.as_bytes() == name || k == "*") {
                order.push(index as u32);
            }
        }
        let part = |index: &u32| {
            let param = &list[*index as usize];
            (&folded[param.key.clone()], param.value.clone().map(|value| &folded[value]))
        };
        order.sort_unstable_by(|a, b| part(a).cmp(&part(b)));
        for (n, index) in order.iter().enumerate() {
            key.push(if n == 0 { b'?' } else { b'&' });
            let (name, value) = part(index);
            key.extend_from_slice(name);
            if let Some(value) = value {
                key.push(b'=');
                key.extend_from_slice(value);
            }
        }
    }
}
