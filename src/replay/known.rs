//! What came of requests that come again and again, so that not every line has to be judged.
//!
//! A table of places, two of which are for a request by the hash of its method, scheme, host and target. What comes to places
//! that others have takes one of them, unless both were asked for in the meantime: so what is asked for often stays, whatever
//! comes once. Requests are told apart by 128 bits of two hashes whose keys nobody knows, so that a place is little more than a line of
//! a processor's cache: what is compared byte for byte takes three of them, and most of the time goes into waiting for memory.

use std::{
    hash::{BuildHasher, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::quality::RandomState;

use crate::model::Reason;

use super::coverage::Fate;
use super::judge::{Asked, Depends};

/// What is counted of a request, whatever else its line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// Whether it is of another site than the one that counts.
    pub left_out: bool,
    /// Where it is counted: [`super::coverage::Counts::place`].
    pub place: u32,
    /// What becomes of it.
    pub fate: Fate,
    /// Why it is refused.
    pub reason: Option<Reason>,
    /// By what the list of unmapped URLs, or of unknown hosts, has it.
    pub listed: u64,
    /// What other routes make of it, if that is something else.
    pub change: Option<Changed>,
    /// On what else the routes' verdict depends, and that of the others.
    pub depends: [Depends; 2],
    /// Whether it was told that the old server had it.
    pub found: bool,
}

/// How a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// By what the list of changes has it.
    pub listed: u64,
    /// What becomes of the request by the routes, and by the others.
    pub fates: [Fate; 2],
}

/// The table. Threads share it, so that each request is judged once and not once by each of them.
#[derive(Debug)]
pub(super) struct Known {
    shards: Box<[Mutex<Shard>]>,
    hashers: [RandomState; 2],
}

/// A part of the table: threads seldom want the same one at the same time.
#[derive(Debug)]
struct Shard {
    places: Box<[Option<Place>]>,
    /// How many places there may be.
    most: usize,
    /// Places that are taken.
    kept: usize,
}

#[derive(Clone, Debug)]
struct Place {
    key: Key,
    figures: Figures,
    /// Whether it was asked for since another wanted the place.
    wanted: bool,
}

/// What a request is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u64; 2]);

impl Known {
    /// A table of that many places (a power of two, or none), if there is so much to keep.
    pub fn new(most: usize) -> Self {
        let shards = SHARDS.min(most.max(1));
        let most = most / shards;
        let shard = |_| Mutex::new(Shard { places: vec![None; most.min(FIRST)].into(), most, kept: 0 });
        Known { shards: (0..shards).map(shard).collect(), hashers: Default::default() }
    }

    /// What a request is told by; none if it is not worth to be remembered.
    pub fn key(&self, asked: &Asked<'_>) -> Option<Key> {
        let line = asked.line;
        let method = match line.method {
            b"GET" => 0,
            b"HEAD" => 1,
            // Few are any other, and those are seldom the same.
            _ => return None,
        };
        let yes = |flag: bool, number: u32| u64::from(flag) << number;
        let flags = method | yes(asked.secure, 1) | yes(line.is_decoded, 2) | yes(asked.host.is_some(), 3);
        let host = asked.host.unwrap_or_default();
        Some(Key(self.hashers.each_ref().map(|hasher| {
            let mut hasher = hasher.build_hasher();
            // Where the host ends is said, too.
            hasher.write_u64(flags | (host.len() as u64) << 8);
            hasher.write(host);
            hasher.write(line.target);
            hasher.finish()
        })))
    }

    /// What came of the same request before.
    pub fn find(&self, key: Key) -> Option<Figures> {
        let mut shard = self.shard(key)?;
        let place = shard.pair(key).iter_mut().flatten().find(|place| place.key == key)?;
        place.wanted = true;
        Some(place.figures)
    }

    /// Remembers what came of a request.
    pub fn keep(&self, key: Key, figures: Figures) {
        let Some(mut shard) = self.shard(key) else { return };
        if shard.kept * 4 >= shard.places.len() * 3 && shard.places.len() < shard.most {
            shard.grow();
        }
        shard.put(Place { key, figures, wanted: false });
    }

    fn shard(&self, key: Key) -> Option<MutexGuard<'_, Shard>> {
        // A thread that panicked while it had one leaves it as good as any.
        let shard = self.shards.get(key.0[1] as usize % self.shards.len())?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// The two places that a request may have, side by side. (None if there is no place at all.)
    fn pair(&mut self, key: Key) -> &mut [Option<Place>] {
        let first = key.0[0] as usize & self.places.len().wrapping_sub(1) & !1;
        self.places.get_mut(first..(first + 2).min(self.places.len())).unwrap_or_default()
    }

    /// Puts it where it belongs, or takes from what is there what kept it out: of two, the first goes that was not wanted.
    fn put(&mut self, new: Place) {
        let pair = self.pair(new.key);
        let same = pair.iter().position(|place| place.as_ref().is_none_or(|place| place.key == new.key));
        let free = same.or_else(|| pair.iter().position(|place| place.as_ref().is_some_and(|place| !place.wanted)));
        match free.and_then(|number| pair.get_mut(number)) {
            Some(place) => {
                let is_new = place.is_none();
                *place = Some(new);
                self.kept += usize::from(is_new);
            }
            None => pair.iter_mut().flatten().for_each(|place| place.wanted = false),
        }
    }

    /// Makes room for more.
    fn grow(&mut self) {
        let places = (self.places.len() * GROWTH).min(self.most);
        let old = std::mem::replace(&mut self.places, vec![None; places].into());
        self.kept = 0;
        old.into_iter().flatten().for_each(|place| self.put(place));
    }
}

/// Parts of a table.
const SHARDS: usize = 256;

/// Places of a part at first, and how many times as many there are when these are too few.
const FIRST: usize = 1 << 8;
const GROWTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::format::Line;

    fn figures(place: u32) -> Figures {
        Figures {
            left_out: false,
            place,
            fate: Fate::Gone,
            reason: None,
            listed: 0,
            change: None,
            depends: [Depends::OnNothing; 2],
            found: false,
        }
    }

    /// Asks for a request by method, host, target and scheme.
    fn ask<R>(of: (&str, &str, &str, bool), with: impl FnOnce(&Asked<'_>) -> R) -> R {
        let (method, host, target, secure) = of;
        let line = Line { method: method.as_bytes(), target: target.as_bytes(), ..Line::default() };
        let host = (!host.is_empty()).then_some(host.as_bytes());
        with(&Asked { line: &line, host, secure })
    }

    fn keep(known: &Known, of: (&str, &str, &str, bool), place: u32) {
        ask(of, |asked| known.key(asked).map(|key| known.keep(key, figures(place))));
    }

    fn find(known: &Known, of: (&str, &str, &str, bool)) -> Option<u32> {
        ask(of, |asked| known.find(known.key(asked)?)).map(|figures| figures.place)
    }

    #[test]
    fn requests_are_told_apart_by_all_that_is_asked() {
        let known = Known::new(1 << 10);
        let all = [
            ("GET", "a.example", "/b", false),
            ("GET", "a.example", "/b", true),
            ("HEAD", "a.example", "/b", false),
            ("GET", "a.example/", "b", false),
            ("GET", "", "a.example/b", false),
            ("GET", "a.example", "/B", false),
        ];
        for (number, request) in (0..).zip(all) {
            keep(&known, request, number);
        }
        // Two may have wanted one place; what is found is right.
        let found = all.map(|request| find(&known, request));
        assert!((0..).zip(found).all(|(number, found)| found.is_none_or(|place| place == number)), "{found:?}");
        assert!(found.iter().flatten().count() >= 3, "{found:?}");
        ask(("POST", "a.example", "/b", false), |asked| assert_eq!(known.key(asked), None));
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let known = Known::new(1);
        let get = |target| ("GET", "a.example", target, false);
        let keep = |target, place| keep(&known, get(target), place);
        let find = |target| find(&known, get(target));
        keep("/1", 1);
        keep("/2", 2);
        assert_eq!((find("/1"), find("/2")), (None, Some(2)));
        keep("/3", 3);
        assert_eq!((find("/3"), find("/2")), (None, Some(2)));
        keep("/2", 4);
        assert_eq!(find("/2"), Some(4));
        // The first that comes spends what it was wanted, the second takes the place.
        keep("/3", 3);
        keep("/3", 3);
        assert_eq!((find("/3"), find("/2")), (Some(3), None));
    }

    #[test]
    fn it_grows_as_far_as_it_may() {
        let known = Known::new(SHARDS * FIRST * GROWTH);
        for number in 0..3 * (SHARDS * FIRST) as u32 {
            keep(&known, ("GET", "a.example", &format!("/{number}"), false), number);
        }
        let shards = || known.shards.iter().map(|shard| shard.lock().unwrap());
        assert!(shards().all(|shard| shard.places.len() == FIRST * GROWTH));
        let kept: usize = shards().map(|shard| shard.places.iter().flatten().count()).sum();
        assert!((2 * SHARDS * FIRST..=3 * SHARDS * FIRST).contains(&kept), "{kept}");
        let none = Known::new(0);
        keep(&none, ("GET", "a.example", "/", false), 1);
        assert_eq!(find(&none, ("GET", "a.example", "/", false)), None);
    }
}
