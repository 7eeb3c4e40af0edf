//! The lifecycle of a retired site.

use std::fmt;

/// What happens to a site's requests at a point in time, in the order in which a site lives through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The old origin still answers, through the gateway.
    Proxy,
    /// A page says where things went, then goes there.
    Notice,
    /// Old URLs are redirected.
    Redirect,
    /// Every URL is gone (410), with a link to the archive's copy.
    Archive,
    /// Safe to deregister; answered like [`Phase::Archive`] as long as requests still arrive.
    Retired,
}

impl Phase {
    /// Every phase, in order of life.
    pub const ALL: [Phase; 5] = [Phase::Proxy, Phase::Notice, Phase::Redirect, Phase::Archive, Phase::Retired];

    /// The word that route files and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Proxy => "proxy",
            Phase::Notice => "notice",
            Phase::Redirect => "redirect",
            Phase::Archive => "archive",
            Phase::Retired => "retired",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When each phase begins, as Unix seconds, earliest first.
///
/// Before `notice` or `redirect` begins the old origin is still there, so the site is proxied; a site that only says when
/// its archive begins is redirected until then. A site without dates is in [`Phase::Redirect`] for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle(Vec<(i64, Phase)>);

impl Lifecycle {
    /// A lifecycle from starts in Unix seconds; `None` if the phases don't begin in their order of life.
    pub fn new(mut starts: Vec<(i64, Phase)>) -> Option<Self> {
        starts.sort_by_key(|&(_, phase)| phase);
        starts.is_sorted_by_key(|&(at, _)| at).then_some(Lifecycle(starts))
    }

    /// The phase at `now` (Unix seconds).
    pub fn at(&self, now: i64) -> Phase {
        match self.0.iter().rev().find(|&&(start, _)| start <= now) {
            Some(&(_, phase)) => phase,
            None => match self.0.first() {
                None | Some((_, Phase::Archive | Phase::Retired)) => Phase::Redirect,
                Some(_) => Phase::Proxy,
            },
        }
    }

    /// The starts, earliest first.
    pub fn starts(&self) -> &[(i64, Phase)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_the_dates() {
        let life = Lifecycle::new(vec![(300, Phase::Archive), (100, Phase::Notice), (200, Phase::Redirect)]).unwrap();
        let at = |now| life.at(now);
        assert_eq!(
            [at(99), at(100), at(199), at(200), at(300)],
            [Phase::Proxy, Phase::Notice, Phase::Notice, Phase::Redirect, Phase::Archive]
        );
        assert_eq!(Lifecycle::default().at(0), Phase::Redirect);
        assert_eq!(Lifecycle::new(vec![(300, Phase::Archive)]).unwrap().at(0), Phase::Redirect);
        assert_eq!(Lifecycle::new(vec![(100, Phase::Redirect), (50, Phase::Archive)]), None);
    }
}
