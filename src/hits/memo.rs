//! What was found of texts that come again and again.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// What was found of each text that came lately. A text has one place, by its hash, and takes it from another.
#[derive(Clone, Debug)]
pub(super) struct Memo<V> {
    places: Box<[Option<Found<V>>]>,
    hasher: RandomState,
}

/// A text, and what was found of it.
type Found<V> = (Box<[u8]>, V);

impl<V> Memo<V> {
    /// With nothing in it.
    pub fn new() -> Self {
        Memo { places: (0..PLACES).map(|_| None).collect(), hasher: RandomState::default() }
    }

    /// What `find` finds of a text, or has found. The caller bounds the length of texts.
    pub fn get(&mut self, text: &[u8], find: impl FnOnce() -> V) -> &V {
        let place = &mut self.places[self.hasher.hash_one(text) as usize % PLACES];
        if place.as_ref().is_none_or(|(own, _)| **own != *text) {
            *place = None;
        }
        &place.get_or_insert_with(|| (text.into(), find())).1
    }
}

/// Browsers' names, and hosts that link here: a few hundred of them make nearly all requests.
const PLACES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_found_again_and_nothing_else() {
        let mut memo = Memo::new();
        let mut asked = 0;
        for _ in 0..2 {
            for text in [&b""[..], b"a", b"b", b"\0"] {
                let found = *memo.get(text, || {
                    asked += 1;
                    text.to_ascii_uppercase().first().copied()
                });
                assert_eq!(found, text.to_ascii_uppercase().first().copied());
            }
        }
        // Two may have one place.
        assert!((4..=8).contains(&asked), "{asked}");
        let before = asked;
        for number in 0..100_000_u32 {
            let text = number.to_le_bytes();
            memo.get(&text, || {
                asked += 1;
                None
            });
        }
        assert_eq!(asked - before, 100_000);
        assert_eq!(memo.places.len(), PLACES);
    }
}
