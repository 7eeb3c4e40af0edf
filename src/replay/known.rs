//! What came of requests that come again and again, so that not every line has to be judged.
//!
//! A table of places, one of which is for a request by the hash of its method, scheme, host and target. What comes to a place
//! that another has takes it, unless the other was asked for in the meantime: so what is asked for often stays, whatever
//! comes once. Requests are compared byte for byte; what is too long has no place.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

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
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Place {
    figures: Figures,
    /// Whether it was asked for since another wanted the place.
    wanted: bool,
    flags: u8,
    /// Bytes of the host, with which the text begins, and of all of it.
    host: u8,
    length: u8,
    text: [u8; LONGEST],
}

impl Known {
    /// A table of that many places, a power of two, if there is so much to keep.
    pub fn new(most: usize) -> Self {
        Known { places: vec![None; most.min(FIRST)].into(), most, ..Known::default() }
    }

    /// What came of the same request before.
    pub fn find(&mut self, asked: &Asked<'_>) -> Option<&Figures> {
        let (number, flags) = self.number(asked)?;
        let place = self.places[number].as_mut().filter(|place| place.is_of(flags, asked))?;
        place.wanted = true;
        Some(&place.figures)
    }

    /// Remembers what came of a request.
    pub fn keep(&mut self, asked: &Asked<'_>, figures: Figures) {
        let Some((number, flags)) = self.number(asked) else { return };
        self.kept += 1;
        if self.kept > self.places.len() && self.places.len() < self.most {
            // What is forgotten now is soon known again.
            self.places = vec![None; (self.places.len() * GROWTH).min(self.most)].into();
            self.kept = 0;
            return;
        }
        if let Some(place) = &mut self.places[number] {
            if place.is_of(flags, asked) {
                place.figures = figures;
                return;
            }
            if place.wanted {
                place.wanted = false;
                return;
            }
        }
        let (host, target) = texts(asked);
        let length = host.len() + target.len();
        let mut text = [0; LONGEST];
        text[..host.len()].copy_from_slice(host);
        text[host.len()..length].copy_from_slice(target);
        let (host, length) = (host.len() as u8, length as u8);
        self.places[number] = Some(Place { figures, wanted: false, flags, host, length, text });
    }

    /// The number of the place that a request may have, and its flags.
    fn number(&self, asked: &Asked<'_>) -> Option<(usize, u8)> {
        let (host, target) = texts(asked);
        if self.places.is_empty() || host.len() + target.len() > LONGEST {
            return None;
        }
        let method = match asked.line.method {
            b"GET" => 0,
            b"HEAD" => 1,
            // Few are any other, and those are seldom the same.
            _ => return None,
        };
        let yes = |flag: bool, number: u8| u8::from(flag) << number;
        let flags = method | yes(asked.secure, 1) | yes(asked.line.is_decoded, 2) | yes(asked.host.is_some(), 3);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(host);
        hasher.write(target);
        hasher.write_u8(flags);
        Some((hasher.finish() as usize & (self.places.len() - 1), flags))
    }
}

impl Place {
    fn is_of(&self, flags: u8, asked: &Asked<'_>) -> bool {
        let (host, target) = texts(asked);
        let (own, length) = (usize::from(self.host), usize::from(self.length));
        self.flags == flags && self.text[..own] == *host && self.text[own..length] == *target
    }
}

fn texts<'a>(asked: &Asked<'a>) -> (&'a [u8], &'a [u8]) {
    (asked.host.unwrap_or_default(), asked.line.target)
}

/// Places at first, and how many times as many there are when these are too few.
const FIRST: usize = 1 << 10;
const GROWTH: usize = 4;

/// Bytes of the longest host and target that have a place.
const LONGEST: usize = 100;

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
        let (long, other) = ("/".repeat(LONGEST), ("POST", "a.example", "/b", false));
        for request in [("GET", "a.example", &*long, false), other] {
            ask(request, |asked| {
                known.keep(asked, figures(9));
                assert_eq!(known.find(asked), None);
            });
        }
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
