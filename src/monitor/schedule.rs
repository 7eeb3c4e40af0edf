//! When pages are visited: a pure function of their URLs and the time.

use super::{DAY, Family, Page};

/// Moments of visits: evenly spaced, each page at a time of its own, by IPv6 half-way between two visits by IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds between two visits.
    interval: i64,
}

/// A visit that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Of what.
    pub page: Page,
    /// By which family.
    pub family: Family,
    /// When, in Unix seconds.
    pub at: i64,
}

impl Schedule {
    /// So many visits a day; from 1 to one a second.
    pub fn new(visits: u32) -> Self {
        Schedule { interval: DAY / i64::from(visits).clamp(1, DAY) }
    }

    /// The moments after `after`, until `until`, at which a page is due.
    pub fn moments(self, page: &Page, family: Family, after: i64, until: i64) -> impl Iterator<Item = i64> + use<> {
        let half = if family == Family::V6 { self.interval / 2 } else { 0 };
        let phase = (page.id() % self.interval + half) % self.interval;
        // Far from any time there is, so that nothing overflows.
        let (after, until) = (after.clamp(0, i64::MAX / 4), until.min(i64::MAX / 4));
        let since = (after - phase).rem_euclid(self.interval);
        let first = after + self.interval - since;
        (0..).map(move |number| first + number * self.interval).take_while(move |&at| at <= until)
    }
}

/// Goes through time, and says what has become due. What became due more than a minute ago was missed: nobody visits twice at
/// once to make up for it.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    schedule: Schedule,
    /// Until when has been looked.
    done: i64,
}

impl Rounds {
    /// From now on.
    pub fn new(schedule: Schedule, now: i64) -> Self {
        Rounds { schedule, done: now }
    }

    /// What has become due since the last time. If the clock went back, nothing has: until then all was visited.
    pub fn turn(&mut self, now: i64, pages: &[Page]) -> Vec<Due> {
        // A clock that was ahead by a mistake must not stop the visits until that time comes.
        if now < self.done {
            if self.done.saturating_sub(now) > LATE {
                self.done = now;
            }
            return Vec::new();
        }
        let after = self.done.max(now.saturating_sub(LATE));
        self.done = now;
        let mut due = Vec::new();
        for page in pages {
            for family in Family::ALL {
                let moments = self.schedule.moments(page, family, after, now);
                due.extend(moments.map(|at| Due { page: page.clone(), family, at }));
            }
        }
        due
    }
}

/// Seconds that a visit may be late.
pub(super) const LATE: i64 = 60;

#[cfg(test)]
mod tests {
    use super::super::WEEK;
    use super::*;
    use crate::model::Target;

    fn page(url: &str) -> Page {
        Page::new(Target::parse(url).unwrap())
    }

    #[test]
    fn visits_are_spaced() {
        let now = 1_795_000_000;
        for visits in [21, 24, 143, 1440] {
            let schedule = Schedule::new(visits);
            for url in ["https://a.example/", "https://b.example/jyj/"] {
                for family in Family::ALL {
                    let moments: Vec<i64> = schedule.moments(&page(url), family, now, now + WEEK).collect();
                    assert!(moments.len() as u32 >= 7 * visits, "{visits}: {}", moments.len());
                    let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
                    assert!(gaps.into_iter().all(|gap| gap == DAY / i64::from(visits)));
                }
            }
        }
        let schedule = Schedule::new(24);
        let first = |family| schedule.moments(&page("https://a.example/"), family, now, now + DAY).next().unwrap();
        assert_eq!((first(Family::V4) - first(Family::V6)).abs(), 1800);
    }

    #[test]
    fn each_is_due_once_whatever_the_clock_does() {
        let pages = [page("https://a.example/"), page("https://b.example/")];
        let start = 1_795_000_000;
        let mut rounds = Rounds::new(Schedule::new(24), start);
        let mut seen = std::collections::BTreeSet::new();
        let mut count = |rounds: &mut Rounds, now| {
            for due in rounds.turn(now, &pages) {
                assert!(due.at <= now && due.at > now - LATE - 1);
                assert!(seen.insert((due.page.id(), due.family, due.at)), "twice: {due:?}");
            }
            seen.len()
        };
        // Steps of odd lengths, and a second more than once.
        let mut now = start;
        while now < start + DAY {
            count(&mut rounds, now);
            count(&mut rounds, now);
            now += [1, 7, 30][(now % 3) as usize];
        }
        let all = count(&mut rounds, start + DAY);
        assert_eq!(all, 4 * 24);
        // The node is away for half a day: what was due then is not made up for.
        let after = count(&mut rounds, start + DAY + DAY / 2);
        assert!(after - all <= 4, "{after}");
        // The clock goes back a little, or far, and on again.
        let now = start + DAY + DAY / 2;
        assert!(rounds.turn(now - 30, &pages).is_empty());
        assert!(rounds.turn(now - DAY / 4, &pages).is_empty());
        assert_eq!(rounds.turn(now - DAY / 4, &pages), []);
        assert_eq!(rounds.turn(i64::MIN, &pages), []);
        rounds.turn(i64::MAX, &pages);
    }
}
