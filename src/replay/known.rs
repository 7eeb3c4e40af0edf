//! What came of requests that come again and again, so that not every line has to be judged.
//!
//! A table of places, one of which is for a request by the hash of its method, scheme, host and target. What comes to a place
//! that another has takes it, unless the other was asked for in the meantime: so what is asked for often stays, whatever
//! comes once. Requests are told apart by 128 bits of two hashes whose keys nobody knows, so that a place is little more than a line of
//! a processor's cache: what is compared byte for byte takes three of them, and most of the time goes into waiting for memory.

use std::hash::{BuildHasher, Hasher};

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

/// The table of a thread.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: Box<[Option<Place>]>,
    /// How many places there may be.
    most: usize,
    /// Requests that were kept since the table has had its size.
    kept: usize,
    hashers: [RandomState; 2],
}

#[derive(Clone, Debug)]
struct Place {
    hashes: [u64; 2],
    figures: Figures,
    /// Whether it was asked for since another wanted the place.
    wanted: bool,
}

impl Known {
    /// A table of that many places, a power of two, if there is so much to keep.
    pub fn new(most: usize) -> Self {
        Known { places: vec![None; most.min(FIRST)].into(), most, ..Known::default() }
    }

    /// What came of the same request before.
    pub fn find(&mut self, asked: &Asked<'_>) -> Option<&Figures> {
        let hashes = self.hashes(asked)?;
        let number = self.number(hashes);
        let place = self.places.get_mut(number)?.as_mut().filter(|place| place.hashes == hashes)?;
        place.wanted = true;
        Some(&place.figures)
    }

    /// Remembers what came of a request.
    pub fn keep(&mut self, asked: &Asked<'_>, figures: Figures) {
        let Some(hashes) = self.hashes(asked) else { return };
        self.kept += 1;
        if self.kept > self.places.len() && self.places.len() < self.most {
            // What is forgotten now is soon known again.
            self.places = vec![None; (self.places.len() * GROWTH).min(self.most)].into();
            self.kept = 0;
        }
        let number = self.number(hashes);
        match self.places.get_mut(number) {
            None => {}
            Some(Some(place)) if place.hashes != hashes && place.wanted => place.wanted = false,
            Some(place) => *place = Some(Place { hashes, figures, wanted: false }),
        }
    }

    /// The number of the place that a request may have.
    fn number(&self, hashes: [u64; 2]) -> usize {
        hashes[0] as usize & self.places.len().wrapping_sub(1)
    }

    /// What a request is told by.
    fn hashes(&self, asked: &Asked<'_>) -> Option<[u64; 2]> {
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
        Some(self.hashers.each_ref().map(|hasher| {
            let mut hasher = hasher.build_hasher();
            // Where the host ends is said, too.
            hasher.write_u64(flags | (host.len() as u64) << 8);
            hasher.write(host);
            hasher.write(line.target);
            hasher.finish()
        }))
    }
}

/// Places at first, and how many times as many there are when these are too few.
const FIRST: usize = 1 << 10;
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

    #[test]
    fn requests_are_told_apart_by_all_that_is_asked() {
        let mut known = Known::new(1 << 10);
        let all = [
            ("GET", "a.example", "/b", false),
            ("GET", "a.example", "/b", true),
            ("HEAD", "a.example", "/b", false),
            ("GET", "a.example/", "b", false),
            ("GET", "", "a.example/b", false),
            ("GET", "a.example", "/B", false),
        ];
        for (number, request) in (0..).zip(all) {
            ask(request, |asked| known.keep(asked, figures(number)));
        }
        // Two may have wanted one place; what is found is right.
        let found = all.map(|request| ask(request, |asked| known.find(asked).map(|figures| figures.place)));
        assert!((0..).zip(found).all(|(number, found)| found.is_none_or(|place| place == number)), "{found:?}");
        assert!(found.iter().flatten().count() >= 3, "{found:?}");
        ask(("POST", "a.example", "/b", false), |asked| {
            known.keep(asked, figures(9));
            assert_eq!(known.find(asked), None);
        });
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let mut known = Known::new(1);
        let keep = |known: &mut Known, target: &str, place| {
            ask(("GET", "a.example", target, false), |asked| known.keep(asked, figures(place)));
        };
        let find = |known: &mut Known, target: &str| {
            ask(("GET", "a.example", target, false), |asked| known.find(asked).map(|figures| figures.place))
        };
        keep(&mut known, "/1", 1);
        keep(&mut known, "/2", 2);
        assert_eq!((find(&mut known, "/1"), find(&mut known, "/2")), (None, Some(2)));
        keep(&mut known, "/3", 3);
        assert_eq!((find(&mut known, "/3"), find(&mut known, "/2")), (None, Some(2)));
        keep(&mut known, "/2", 4);
        assert_eq!(find(&mut known, "/2"), Some(4));
        // The first that comes spends what it was wanted, the second takes the place.
        keep(&mut known, "/3", 3);
        keep(&mut known, "/3", 3);
        assert_eq!((find(&mut known, "/3"), find(&mut known, "/2")), (Some(3), None));
    }

    #[test]
    fn it_grows_as_far_as_it_may() {
        let mut known = Known::new(FIRST * GROWTH);
        for number in 0..3 * FIRST as u32 {
            ask(("GET", "a.example", &format!("/{number}"), false), |asked| known.keep(asked, figures(number)));
        }
        assert_eq!(known.places.len(), FIRST * GROWTH);
        let kept = known.places.iter().flatten().count();
        assert!((FIRST..=2 * FIRST).contains(&kept), "{kept}");
        assert!(Known::new(0).places.is_empty());
    }
}
