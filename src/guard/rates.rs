//! How many requests may come: of a client, to a site, to some of its paths.
//!
//! A policy's rates are compiled at load ([`RateLimits`]); what has been taken of them is in [`Rates`], one for the
//! process. Its buckets are known by the rate's name, the site and the client, so a reload changes nothing about them:
//! with other figures they go on from the fill they have.
//!
//! Rates of clients come before those of sites, whatever order they are written in: what a client is refused takes
//! nothing of its site's. The rates that let a request pass before another one refuses it have counted it.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use regex::bytes::Regex;

use super::buckets::{Buckets, Fill, Owner};
use super::{Client, Trace};
use crate::config::{RatePer, RateSettings};
use crate::url::{Canonical, Canonicalizer, Form};

/// The rates of a policy.
#[derive(Debug, Default)]
pub struct RateLimits {
    /// Those of clients first.
    rates: Vec<Rate>,
    /// For their paths.
    canonicalizer: Option<Canonicalizer>,
}

#[derive(Debug)]
struct Rate {
    name: Arc<str>,
    id: u64,
    per: RatePer,
    fill: Fill,
    requests: Requests,
    shadow: bool,
    /// The figures, for people.
    said: Box<str>,
}

/// What a rate is for.
#[derive(Debug)]
enum Requests {
    All,
    Paths(Vec<Regex>),
    Class(Arc<str>),
}

/// What has been taken of all rates.
#[derive(Debug)]
pub struct Rates {
    clients: Buckets,
    /// Of these there are as many as operators wrote, so none is displaced.
    sites: Buckets,
    hasher: RandomState,
}

/// A request, as rates see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The id of the site that it is for; empty if no site has its host.
    pub site: &'a str,
    /// The client; none where nobody knows, and then no client's rate holds.
    pub client: Option<IpAddr>,
    /// The target in origin-form, as sent.
    pub target: &'a [u8],
    /// The class that a request rule gave it.
    pub class: Option<&'a str>,
    /// When it came.
    pub now: Instant,
}

/// A rate that a request is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The name of the rate.
    pub rate: Arc<str>,
    /// How long until it would pass.
    pub wait: Duration,
}

impl Exceeded {
    /// `Retry-After`, in seconds.
    pub fn retry_after(&self) -> u64 {
        (self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

impl RateLimits {
    /// Compiles rates, of which no two have the same name.
    pub fn compile(settings: &[RateSettings]) -> Self {
        let rate = |rate: &RateSettings| Rate {
            name: rate.name.as_str().into(),
            id: number(&rate.name),
            per: rate.per,
            fill: Fill::new(rate.requests, rate.seconds, rate.burst),
            requests: Requests::compile(rate),
            shadow: rate.shadow,
            said: format!("{} requests in {} s, {} at once", rate.requests, rate.seconds, rate.burst).into(),
        };
        let mut rates: Vec<Rate> = settings.iter().filter(|rate| rate.requests > 0).map(rate).collect();
        rates.sort_by_key(|rate| rate.per == RatePer::Site);
        let has_paths = rates.iter().any(|rate| matches!(rate.requests, Requests::Paths(_)));
        RateLimits { rates, canonicalizer: has_paths.then(RateSettings::canonicalizer) }
    }
}

impl Requests {
    fn compile(rate: &RateSettings) -> Self {
        if let Some(class) = &rate.class {
            return Requests::Class(class.as_str().into());
        }
        if rate.paths.is_empty() {
            return Requests::All;
        }
        // What can't stand was told when the files were read.
        Requests::Paths(rate.paths.iter().filter_map(|path| RateSettings::path(path).ok()).collect())
    }
}

impl Rates {
    /// Nothing is taken yet. `buckets` is for how many clients there is memory, 16 bytes each: all there will ever be.
    pub fn new(buckets: usize, now: Instant) -> Self {
        Rates {
            clients: Buckets::new(buckets, now),
            sites: Buckets::new(SITE_BUCKETS, now),
            hasher: RandomState::new(),
        }
    }

    /// How many buckets of clients are not full.
    pub fn in_use(&self, now: Instant) -> usize {
        self.clients.sweep(now)
    }

    /// Counts a request, unless it is over a rate. Rates that only count tell `shadowed` that it is over them.
    ///
    /// # Errors
    /// The first rate that it is over.
    pub fn admit(
        &self,
        limits: &RateLimits,
        asked: &Asked<'_>,
        mut shadowed: impl FnMut(&Exceeded),
        trace: &mut impl Trace,
    ) -> Result<(), Exceeded> {
        let site = if limits.rates.is_empty() { 0 } else { number(asked.site) };
        let client = asked.client.map(Client::from);
        let mut path = None;
        for rate in &limits.rates {
            let Some((buckets, of)) = (match rate.per {
                RatePer::Client => client.map(|client| (&self.clients, Of::Client(site, client))),
                RatePer::ClientEverywhere => client.map(|client| (&self.clients, Of::ClientEverywhere(client))),
                RatePer::Site => Some((&self.sites, Of::Site(site))),
            }) else {
                continue;
            };
            if !rate.applies(limits, asked, &mut path) {
                continue;
            }
            let owner = Owner { hash: self.hasher.hash_one((rate.id, of)), site: site as u8 };
            let taken = buckets.take(owner, &rate.fill, asked.now);
            trace.step("rate", || format!("`{}` holds: {}", rate.name, rate.said));
            let Err(wait) = taken else { continue };
            let exceeded = Exceeded { rate: rate.name.clone(), wait };
            if !rate.shadow {
                return Err(exceeded);
            }
            shadowed(&exceeded);
        }
        Ok(())
    }
}

impl Rate {
    fn applies(&self, limits: &RateLimits, asked: &Asked<'_>, path: &mut Option<Path>) -> bool {
        match &self.requests {
            Requests::All => true,
            Requests::Class(class) => asked.class == Some(&**class),
            Requests::Paths(patterns) => {
                path.get_or_insert_with(|| Path::read(limits.canonicalizer.as_ref(), asked.target)).matches(patterns)
            }
        }
    }
}

/// Whose requests are counted together.
#[derive(Hash)]
enum Of {
    Client(u64, Client),
    ClientEverywhere(Client),
    Site(u64),
}

/// The canonical path of a request; none if it has none, and then it gets no further than this anyway.
struct Path(Option<Canonical>);

impl Path {
    fn read(canonicalizer: Option<&Canonicalizer>, target: &[u8]) -> Self {
        let mut url = Canonical::default();
        let read =
            canonicalizer.and_then(|canonicalizer| canonicalizer.canonicalize(target, Form::Wire, &mut url).ok());
        Path(read.map(|()| url))
    }

    fn matches(&self, patterns: &[Regex]) -> bool {
        let matches = |url: &Canonical| patterns.iter().any(|pattern| pattern.is_match(url.path().as_bytes()));
        self.0.as_ref().is_some_and(matches)
    }
}

/// A number that a name has as long as the process runs. (Names are the operators'; nobody else can choose them.)
fn number(name: &str) -> u64 {
    FixedState::default().hash_one(name)
}

/// Buckets for rates of sites: ten times as many as there are sites.
const SITE_BUCKETS: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(name: &str, per: RatePer, requests: u32, burst: u32) -> RateSettings {
        let name = name.to_owned();
        RateSettings { name, per, requests, seconds: 1, burst, paths: Vec::new(), class: None, shadow: false }
    }

    fn limits(rates: &[RateSettings]) -> RateLimits {
        RateLimits::compile(rates)
    }

    struct Run {
        rates: Rates,
        start: Instant,
    }

    impl Run {
        fn new() -> Self {
            let start = Instant::now();
            Run { rates: Rates::new(1024, start), start }
        }

        fn asked<'a>(&self, site: &'a str, client: &str, target: &'a str) -> Asked<'a> {
            Asked { site, client: client.parse().ok(), target: target.as_bytes(), class: None, now: self.start }
        }

        /// How many of 100 requests pass.
        fn passed(&self, limits: &RateLimits, asked: &Asked<'_>) -> usize {
            (0..100)
                .filter(|_| self.rates.admit(limits, asked, |_| panic!("no rate only counts"), &mut ()).is_ok())
                .count()
        }
    }

    #[test]
    fn requests_are_counted_per_client_and_per_site() {
        let run = Run::new();
        let at = |site, client| run.asked(site, client, "/");
        let each = limits(&[rate("each", RatePer::Client, 1, 10)]);
        assert_eq!(run.passed(&each, &at("a", "192.0.2.1")), 10);
        assert_eq!(run.passed(&each, &at("a", "192.0.2.2")), 10);
        assert_eq!(run.passed(&each, &at("b", "192.0.2.1")), 10, "at another site");
        assert_eq!(run.passed(&each, &at("a", "::ffff:192.0.2.1")), 0);
        assert_eq!(run.passed(&each, &at("a", "2001:db8::1")), 10);
        assert_eq!(run.passed(&each, &at("a", "2001:db8::ffff")), 0, "of the same /64");
        assert_eq!(run.passed(&each, &at("a", "nobody")), 100);
        let everywhere = limits(&[rate("everywhere", RatePer::ClientEverywhere, 1, 10)]);
        assert_eq!(run.passed(&everywhere, &at("a", "192.0.2.1")), 10);
        assert_eq!(run.passed(&everywhere, &at("b", "192.0.2.1")), 0);
        let site = limits(&[rate("site", RatePer::Site, 1, 10)]);
        assert_eq!(run.passed(&site, &at("a", "192.0.2.1")), 10);
        assert_eq!(run.passed(&site, &at("a", "192.0.2.2")), 0);
        assert_eq!(run.passed(&site, &at("a", "nobody")), 0);
        assert_eq!(run.passed(&site, &at("b", "192.0.2.1")), 10);
        assert_eq!(run.rates.in_use(run.start), 5);
        assert_eq!(run.rates.in_use(run.start + Duration::from_secs(10)), 0);
    }

    #[test]
    fn what_a_client_is_refused_takes_nothing_of_its_sites() {
        let run = Run::new();
        let both = limits(&[rate("site", RatePer::Site, 1, 50), rate("each", RatePer::Client, 1, 10)]);
        assert_eq!(run.passed(&both, &run.asked("a", "192.0.2.1", "/")), 10);
        let over = run.rates.admit(&both, &run.asked("a", "192.0.2.1", "/"), |_| {}, &mut ()).unwrap_err();
        assert_eq!((&*over.rate, over.wait, over.retry_after()), ("each", Duration::from_secs(1), 1));
        let passed: usize = (2..9).map(|n| run.passed(&both, &run.asked("a", &format!("192.0.2.{n}"), "/"))).sum();
        assert_eq!(passed, 40);
    }

    #[test]
    fn paths_are_known_in_every_spelling() {
        let run = Run::new();
        let paths = vec!["/search/{*rest}".to_owned(), "/so.asp".to_owned()];
        let limits = limits(&[RateSettings { paths, ..rate("search", RatePer::Client, 1, 3) }]);
        for target in ["/search/x?q=1", "//Search/./y", "/%73earch", "/a/../SO.asp?q"] {
            let asked = run.asked(target, "192.0.2.1", target);
            assert_eq!(run.passed(&limits, &asked), 3, "{target}");
        }
        for target in ["/", "/searching", "/a/search/x", "*", ""] {
            assert_eq!(run.passed(&limits, &run.asked(target, "192.0.2.1", target)), 100, "{target}");
        }
    }

    #[test]
    fn classes_are_what_request_rules_say() {
        let run = Run::new();
        let limits = limits(&[RateSettings { class: Some("bots".to_owned()), ..rate("bots", RatePer::Client, 1, 3) }]);
        let asked = run.asked("a", "192.0.2.1", "/");
        assert_eq!(run.passed(&limits, &asked), 100);
        assert_eq!(run.passed(&limits, &Asked { class: Some("people"), ..asked }), 100);
        assert_eq!(run.passed(&limits, &Asked { class: Some("bots"), ..asked }), 3);
    }

    #[test]
    fn a_shadow_refuses_nobody() {
        let run = Run::new();
        let limits = limits(&[RateSettings { shadow: true, ..rate("new", RatePer::Client, 1, 3) }]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            run.rates
                .admit(&limits, &run.asked("a", "192.0.2.1", "/"), |over| seen.push(over.rate.clone()), &mut ())
                .unwrap();
        }
        assert_eq!(seen.iter().map(|name| &**name).collect::<Vec<_>>(), ["new", "new"]);
    }

    #[test]
    fn a_reload_goes_on_from_what_was_taken() {
        let run = Run::new();
        let asked = run.asked("a", "192.0.2.1", "/");
        assert_eq!(run.passed(&limits(&[rate("a", RatePer::Client, 1, 10)]), &asked), 10);
        assert_eq!(run.passed(&limits(&[rate("a", RatePer::Client, 1, 10)]), &asked), 0, "the same");
        assert_eq!(run.passed(&limits(&[rate("a", RatePer::Client, 1, 25)]), &asked), 15, "a larger burst");
        assert_eq!(run.passed(&limits(&[rate("b", RatePer::Client, 1, 10)]), &asked), 10, "another");
    }

    #[test]
    fn whole_seconds_and_at_least_one() {
        let of = |wait| Exceeded { rate: "".into(), wait }.retry_after();
        assert_eq!(
            [of(Duration::from_nanos(1)), of(Duration::from_secs(7)), of(Duration::from_millis(7001))],
            [1, 7, 8]
        );
    }
}
