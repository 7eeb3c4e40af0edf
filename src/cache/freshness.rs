//! How long a response is fresh, how old it is, and how long it is of use when it is stale (RFC 9111, 4.2; RFC 5861).

use http::{HeaderMap, header};

use super::{
    Rules, date,
    directives::{MAX_SECONDS, Response, delta_seconds},
    lists::members,
};

/// When a response was asked for and when its head had come, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the request was sent.
    pub requested: i64,
    /// When the head of the response had come.
    pub received: i64,
}

/// The life of a stored response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// When it came, in Unix seconds.
    pub received: i64,
    /// How old it was then.
    pub initial_age: u32,
    /// How old it may become and be fresh.
    pub lifetime: u32,
    /// How long it may be used when it is stale: while it is being replaced, instead of an error, and while the
    /// platform is down.
    pub while_revalidate: u32,
    pub if_error: u32,
    pub if_down: u32,
    /// Never to be used without asking (`no-cache`).
    pub ask_always: bool,
    /// Never to be used stale, whatever a client allows (`must-revalidate` and what means the same).
    pub strict: bool,
}

impl Freshness {
    pub fn new(status: u16, fields: &HeaderMap, directives: &Response, rules: &Rules, times: Times) -> Self {
        let ask_always = directives.no_cache;
        // RFC 9111, 5.2.2.10: s-maxage means proxy-revalidate as well.
        let strict = ask_always
            || directives.must_revalidate
            || directives.proxy_revalidate
            || (directives.s_maxage.is_some() && !directives.targeted);
        let allowed = |own: Option<u32>, rule| if strict { 0 } else { own.unwrap_or(rule) };
        Freshness {
            received: times.received,
            initial_age: initial_age(fields, times),
            lifetime: lifetime(status, fields, directives, rules, times),
            while_revalidate: allowed(directives.stale_while_revalidate, rules.stale_while_revalidate),
            if_error: allowed(directives.stale_if_error, rules.stale_if_error),
            if_down: if rules.down_overrides { rules.stale_if_down } else { allowed(None, rules.stale_if_down) },
            ask_always,
            strict,
        }
    }

    /// `current_age` (RFC 9111, 4.2.3). A clock that is set back makes nothing younger than it came.
    pub fn age(&self, now: i64) -> u32 {
        let resident = now.saturating_sub(self.received).max(0);
        let age = i64::from(self.initial_age).saturating_add(resident);
        u32::try_from(age).unwrap_or(MAX_SECONDS).min(MAX_SECONDS)
    }

    /// How long it is fresh still; below zero: how long it has been stale.
    pub fn ttl(&self, now: i64) -> i64 {
        i64::from(self.lifetime) - i64::from(self.age(now))
    }

    pub fn is_fresh(&self, now: i64) -> bool {
        !self.ask_always && self.ttl(now) > 0
    }

    /// Whether it is stale by no more than `allowance`.
    pub fn is_within(&self, allowance: u32, now: i64) -> bool {
        allowance > 0 && self.ttl(now).saturating_neg() < i64::from(allowance)
    }

    /// The longest time for which it is of use when it is stale: what has a validator may be confirmed, and a client may
    /// take what is not forbidden.
    pub fn longest_stale(&self, has_validator: bool) -> u32 {
        let kept = if has_validator || !self.strict { KEPT } else { 0 };
        self.while_revalidate.max(self.if_error).max(self.if_down).max(kept)
    }
}

/// `corrected_initial_age` (RFC 9111, 4.2.3).
fn initial_age(fields: &HeaderMap, times: Times) -> u32 {
    let apparent = date::of(fields, &header::DATE).map_or(0, |date| times.received.saturating_sub(date).max(0));
    // RFC 9111, 5.1: of several the first counts; what is malformed doesn't.
    let first = fields.get(header::AGE).and_then(|line| members(line.as_bytes()).next());
    let age = i64::from(first.and_then(delta_seconds).unwrap_or(0));
    let delay = times.received.saturating_sub(times.requested).max(0);
    let corrected = age.saturating_add(delay);
    u32::try_from(apparent.max(corrected)).unwrap_or(MAX_SECONDS).min(MAX_SECONDS)
}

/// `freshness_lifetime` (RFC 9111, 4.2.1), within the bounds of the site.
fn lifetime(status: u16, fields: &HeaderMap, directives: &Response, rules: &Rules, times: Times) -> u32 {
    let explicit = explicit_lifetime(fields, directives, times);
    let lifetime = explicit.unwrap_or_else(|| implicit_lifetime(status, fields, directives, rules, times));
    lifetime.max(rules.min_ttl).min(rules.max_ttl.unwrap_or(MAX_SECONDS)).min(MAX_SECONDS)
}

/// What the response says itself.
pub(super) fn explicit_lifetime(fields: &HeaderMap, directives: &Response, times: Times) -> Option<u32> {
    let expires = || {
        if directives.targeted || !fields.contains_key(header::EXPIRES) {
            return None;
        }
        // RFC 9111, 5.3: what is no date lies in the past.
        let expires = date::of(fields, &header::EXPIRES).unwrap_or(i64::MIN);
        let date = date::of(fields, &header::DATE).unwrap_or(times.received);
        let span = expires.saturating_sub(date).max(0);
        Some(u32::try_from(span).unwrap_or(MAX_SECONDS))
    };
    directives.s_maxage.or(directives.max_age).or_else(expires)
}

fn implicit_lifetime(status: u16, fields: &HeaderMap, directives: &Response, rules: &Rules, times: Times) -> u32 {
    if let Some(ttl) = rules.negative_ttl(status) {
        return ttl;
    }
    if !is_heuristically_cacheable(status) && !directives.public {
        return 0;
    }
    if let Some(ttl) = rules.default_ttl
        && status < 400
    {
        return ttl;
    }
    let modified = date::of(fields, &header::LAST_MODIFIED).filter(|_| rules.heuristic);
    modified.map_or(0, |modified| {
        let date = date::of(fields, &header::DATE).unwrap_or(times.received);
        let tenth = date.saturating_sub(modified).max(0) / 10;
        u32::try_from(tenth).unwrap_or(HEURISTIC_MAX).min(HEURISTIC_MAX)
    })
}

/// Whether a cache may guess how long a response of this status is fresh (RFC 9110, 15.1).
pub(super) fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Longest guess, in seconds.
const HEURISTIC_MAX: u32 = 86_400;

/// How long, in seconds, what is stale is kept in any case; a page that is asked for once a day is worth it.
const KEPT: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000;
    const AT_ONCE: Times = Times { requested: NOW, received: NOW };

    fn fields(lines: &[(&'static str, String)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    fn at(offset: i64) -> String {
        date::write(NOW + offset).to_str().unwrap().to_owned()
    }

    fn made(status: u16, lines: &[(&'static str, String)], rules: &Rules) -> Freshness {
        let map = fields(lines);
        Freshness::new(status, &map, &Response::of(&map), rules, AT_ONCE)
    }

    fn lifetime_and_age(lines: &[(&'static str, &str)]) -> (u32, u32) {
        let lines: Vec<_> = lines
            .iter()
            .map(|&(name, value)| match value.strip_prefix('@') {
                Some(offset) => (name, at(offset.parse().unwrap())),
                None => (name, value.to_owned()),
            })
            .collect();
        let made = made(200, &lines, &Rules::default());
        (made.lifetime, made.initial_age)
    }

    #[test]
    fn rfc_9111_4_2_1_and_4_2_3_lifetime_and_age() {
        for (lines, want) in [
            (&[("date", "@0")][..], (0, 0)),
            (&[("cache-control", "max-age=3600"), ("expires", "@-10000"), ("date", "@0")], (3600, 0)),
            (&[("cache-control", "max-age=3600"), ("expires", "0")], (3600, 0)),
            (&[("cache-control", "max-age=0"), ("expires", "@10000"), ("date", "@0")], (0, 0)),
            (&[("cache-control", "max-age=3600, s-maxage=1")], (1, 0)),
            (&[("cache-control", "max-age=1"), ("cache-control", "s-maxage=3600")], (3600, 0)),
            (&[("cdn-cache-control", "max-age=60"), ("expires", "@10000"), ("cache-control", "s-maxage=1")], (60, 0)),
            (&[("cdn-cache-control", "no-cache"), ("expires", "@10000")], (0, 0)),
            (&[("expires", "@300"), ("date", "@0")], (300, 0)),
            (&[("expires", "@-300"), ("date", "@0")], (0, 0)),
            (&[("expires", "@0"), ("date", "@0")], (0, 0)),
            (&[("expires", "@300"), ("date", "@400")], (0, 0)),
            (&[("expires", "0"), ("date", "@0")], (0, 0)),
            (&[("expires", "@10"), ("date", "foo")], (10, 0)),
            (&[("expires", "@10")], (10, 0)),
            (&[("expires", "@10"), ("date", "@-10"), ("age", "25")], (20, 25)),
            (&[("expires", "@20"), ("date", "@10"), ("age", "15")], (10, 15)),
            (&[("date", "@-40"), ("age", "7")], (0, 40)),
            (&[("age", "7200,0")], (0, 7200)),
            (&[("age", "0"), ("age", "7200")], (0, 0)),
            (&[("age", "-7200")], (0, 0)),
            (&[("age", "7200.0")], (0, 0)),
            (&[("age", "abc")], (0, 0)),
            (&[("age", "99999999999")], (0, MAX_SECONDS)),
            (&[("last-modified", "@-1000")], (0, 0)),
        ] {
            assert_eq!(lifetime_and_age(lines), want, "{lines:?}");
        }
    }

    #[test]
    fn rfc_9111_4_2_3_the_way_and_the_stay_count() {
        let map = fields(&[("cache-control", "max-age=60".into()), ("age", "30".into())]);
        let times = Times { requested: NOW, received: NOW + 4 };
        let made = Freshness::new(200, &map, &Response::of(&map), &Rules::default(), times);
        assert_eq!((made.age(NOW + 4), made.age(NOW + 29), made.age(NOW - 100)), (34, 59, 34));
        assert!(made.is_fresh(NOW + 29) && !made.is_fresh(NOW + 30));
    }

    #[test]
    fn rfc_9111_4_2_2_guesses_only_where_the_site_allows() {
        let guess = Rules { heuristic: true, ..Rules::default() };
        let day = [("last-modified", at(-86_400)), ("date", at(0))];
        for status in [200, 203, 204, 404, 405, 410, 414, 501] {
            assert_eq!(made(status, &day, &guess).lifetime, 8_640, "{status}");
            assert_eq!(made(status, &day, &Rules::default()).lifetime, 0, "{status}");
        }
        for status in [201, 202, 302, 307, 403, 502, 503, 504, 599] {
            assert_eq!(made(status, &day, &guess).lifetime, 0, "{status}");
        }
        let mut public = day.to_vec();
        public.push(("cache-control", "public".into()));
        assert_eq!(made(599, &public, &guess).lifetime, 8_640);
        assert_eq!(made(200, &[("last-modified", at(-90_000_000))], &guess).lifetime, HEURISTIC_MAX);
        assert_eq!(made(200, &[("last-modified", at(100))], &guess).lifetime, 0);
    }

    #[test]
    fn a_sites_own_times() {
        let rules = Rules { default_ttl: Some(60), negative: vec![(404, 5)], ..Rules::default() };
        for (status, want) in [(200, 60), (301, 60), (404, 5), (410, 0), (302, 0), (500, 0)] {
            assert_eq!(made(status, &[], &rules).lifetime, want, "{status}");
        }
        assert_eq!(made(404, &[("cache-control", "max-age=9".into())], &rules).lifetime, 9);
        let bounds = Rules { min_ttl: 10, max_ttl: Some(100), ..Rules::default() };
        for (own, want) in [("max-age=1", 10), ("max-age=50", 50), ("max-age=500", 100)] {
            assert_eq!(made(200, &[("cache-control", own.into())], &bounds).lifetime, want);
        }
    }

    #[test]
    fn rfc_9111_4_2_4_and_rfc_5861_use_of_what_is_stale() {
        let rules = Rules { stale_while_revalidate: 1, stale_if_error: 2, stale_if_down: 3, ..Rules::default() };
        let spans = |line: &str, rules: &Rules| {
            let made = made(200, &[("cache-control", line.into())], rules);
            (made.while_revalidate, made.if_error, made.if_down)
        };
        for (line, want) in [
            ("max-age=2", (1, 2, 3)),
            ("max-age=2, stale-while-revalidate=10, stale-if-error=20", (10, 20, 3)),
            ("max-age=2, stale-if-error=0", (1, 0, 3)),
            ("max-age=2, must-revalidate, stale-if-error=20", (0, 0, 0)),
            ("max-age=2, proxy-revalidate", (0, 0, 0)),
            ("max-age=2, no-cache", (0, 0, 0)),
            ("s-maxage=2", (0, 0, 0)),
        ] {
            assert_eq!(spans(line, &rules), want, "{line}");
        }
        let over = Rules { down_overrides: true, ..rules };
        assert_eq!(spans("max-age=2, must-revalidate", &over), (0, 0, 3));
    }

    proptest! {
        #[test]
        fn no_time_overflows(
            age in "[0-9]{0,30}", max_age in "[0-9]{0,30}", requested: i64, received: i64, now: i64, expires: i32,
        ) {
            let map = fields(&[
                ("age", age), ("cache-control", format!("max-age={max_age}, stale-if-error={max_age}")),
                ("expires", at(expires.into())), ("date", at(-i64::from(expires))), ("last-modified", at(0)),
            ]);
            let rules = Rules { heuristic: true, ..Rules::default() };
            let made = Freshness::new(200, &map, &Response::of(&map), &rules, Times { requested, received });
            prop_assert!(made.age(now) >= made.initial_age);
            prop_assert!(made.age(now) <= MAX_SECONDS && made.lifetime <= MAX_SECONDS);
            prop_assert_eq!(made.is_fresh(now), made.ttl(now) > 0);
            made.is_within(u32::MAX, now);
        }
    }
}
