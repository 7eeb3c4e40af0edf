//! Requests: what a stored response may be used for (RFC 9111, 4).

use std::sync::Arc;

use http::{HeaderMap, header};

use super::{
    Cache, Flight, Follower, Forward, Hit, KeyParts, Pass, Rules, Source,
    directives::Request,
    entry::Entry,
    flight::{Course, Shared, serves_errors},
    key::Key,
    store::Resource,
    sync::lock,
};

/// A GET or HEAD that may be answered from the cache.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What it is for.
    pub key: KeyParts<'a>,
    /// Whether it is a HEAD.
    pub head_only: bool,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// How the site is cached.
    pub rules: &'a Arc<Rules>,
    /// The time, in Unix seconds.
    pub now: i64,
    /// Whether the platform is known to be down: then what is stored is used at once.
    pub down: bool,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Lookup {
    /// Answer it with what is stored.
    Hit(Hit),
    /// Answer it with what is stored, and fetch in the background if there is a flight.
    Stale(Hit, Option<Flight>),
    /// Fetch, in a task of its own, and answer with what the follower gets.
    Fetch(Flight, Follower),
    /// Answer it with what another fetches.
    Join(Follower),
    /// Fetch it without the cache; then [`Cache::observe`].
    Pass(Pass),
    /// 504: it is not stored, and the client wants nothing else (RFC 9111, 5.2.1.7).
    GatewayTimeout,
}

impl Cache {
    /// Decides what to do with a request.
    pub fn lookup(&self, asked: &Asked<'_>) -> Lookup {
        let lookup = self.decide(asked);
        let stats = self.stats();
        match &lookup {
            Lookup::Hit(hit) | Lookup::Stale(hit, _) => self.count(hit.source),
            Lookup::Fetch(flight, _) if flight.stored.is_some() => stats.expired.add(1),
            Lookup::Fetch(..) | Lookup::GatewayTimeout => stats.misses.add(1),
            Lookup::Join(_) => stats.collapsed.add(1),
            Lookup::Pass(_) => stats.passes.add(1),
        }
        lookup
    }

    /// What may be answered while the platform is down, or is so slow that it may be: what is stored, however stale, as
    /// far as the site's rules and the response allow.
    pub fn stand_in(&self, asked: &Asked<'_>) -> Option<Hit> {
        let key = asked.key.key();
        let resource = self.0.store.resource(&key)?;
        let entry = self.0.store.find(&key, &resource, asked.fields, asked.now)?;
        let is_for = entry.for_authorized || !asked.fields.contains_key(header::AUTHORIZATION);
        if !is_for || !serves_errors(&entry, true, asked.now) {
            return None;
        }
        self.count(Source::StaleIfDown);
        Some(Hit { entry, source: Source::StaleIfDown, collapsed: false, now: asked.now })
    }

    fn decide(&self, asked: &Asked<'_>) -> Lookup {
        if let Some(pass) = passed(asked) {
            return Lookup::Pass(pass);
        }
        let directives = if asked.rules.client_directives { Request::of(asked.fields) } else { Request::default() };
        if directives.no_store {
            return Lookup::Pass(Pass::NoStore);
        }
        let key = asked.key.key();
        loop {
            let resource = self.0.store.resource(&key);
            let found = resource.as_ref().and_then(|all| self.0.store.find(&key, all, asked.fields, asked.now));
            let forward = match &found {
                Some(entry) => match self.use_stored(asked, &directives, &key, entry) {
                    Ok(lookup) => return lookup,
                    Err(forward) => forward,
                },
                None if directives.only_if_cached => return Lookup::GatewayTimeout,
                None if asked.head_only => return Lookup::Pass(Pass::Head),
                None if asked.fields.contains_key(header::RANGE) => return Lookup::Pass(Pass::Range),
                None if resource.as_ref().is_some_and(|all| all.is_useful(asked.now)) => Forward::VaryMiss,
                None => Forward::UriMiss,
            };
            if let Some(lookup) = self.fetch(asked, &key, resource.as_ref(), found, forward) {
                return lookup;
            }
        }
    }

    /// Uses what suits the request, or says why it has to be fetched.
    fn use_stored(
        &self,
        asked: &Asked<'_>,
        directives: &Request,
        key: &Key,
        entry: &Arc<Entry>,
    ) -> Result<Lookup, Forward> {
        if asked.fields.contains_key(header::AUTHORIZATION) && !entry.for_authorized {
            return Ok(Lookup::Pass(Pass::Authorization));
        }
        let now = asked.now;
        let freshness = &entry.freshness;
        let hit = |source| Hit { entry: entry.clone(), source, collapsed: false, now };
        let ttl = freshness.ttl(now);
        let is_fresh = freshness.is_fresh(now);
        let is_young = !directives.no_cache
            && directives.max_age.is_none_or(|max_age| max_age > 0 && freshness.age(now) <= max_age);
        if is_fresh && is_young && ttl >= i64::from(directives.min_fresh) {
            return Ok(Lookup::Hit(hit(Source::Hit)));
        }
        let is_allowed = directives.max_stale.is_some_and(|max_stale| ttl.saturating_neg() <= i64::from(max_stale));
        if !is_fresh && is_young && is_allowed && !freshness.strict {
            return Ok(Lookup::Hit(hit(Source::StaleAllowed)));
        }
        if directives.only_if_cached {
            return Ok(Lookup::GatewayTimeout);
        }
        let stale = if is_fresh { Source::Hit } else { Source::StaleIfDown };
        if asked.down && serves_errors(entry, true, now) {
            return Ok(Lookup::Hit(hit(stale)));
        }
        if !is_fresh && !directives.is_demanding() && freshness.is_within(freshness.while_revalidate, now) {
            let flight = self.background(asked, key, entry);
            return Ok(Lookup::Stale(hit(Source::StaleWhileRevalidate), flight));
        }
        if let Some(retry) = self.0.failing.get(key)
            && serves_errors(entry, true, now)
        {
            // Nobody waits again for what has failed; one tries now and then.
            let flight = if now >= retry { self.background(asked, key, entry) } else { None };
            return Ok(Lookup::Stale(hit(stale), flight));
        }
        if asked.head_only {
            return Ok(Lookup::Pass(Pass::Head));
        }
        Err(if is_fresh { Forward::Request } else { Forward::Stale })
    }

    /// Joins a fetch, or begins one; `None` if the store has changed meanwhile.
    pub(super) fn fetch(
        &self,
        asked: &Asked<'_>,
        key: &Key,
        resource: Option<&Arc<Resource>>,
        found: Option<Arc<Entry>>,
        forward: Forward,
    ) -> Option<Lookup> {
        let begin = |selecting, open| {
            let shared = Arc::new(Shared::new(selecting, open));
            let follower = Follower::new(self, &shared, true);
            (shared.clone(), Lookup::Fetch(self.flight(asked, key, shared, found.clone(), forward), follower))
        };
        let alone = self.0.alone.get(key).is_some_and(|until| asked.now < until);
        let mut flights = lock(&self.0.flights);
        if alone {
            let (shared, lookup) = begin(None, false);
            flights.entry(key.clone()).or_default().push(shared);
            return Some(lookup);
        }
        // A fetch that has ended since the look-up has stored its response.
        let stored = self.0.store.resource(key);
        if stored.as_ref().map(Arc::as_ptr) != resource.map(Arc::as_ptr) {
            return None;
        }
        let listed = flights.entry(key.clone()).or_default();
        if let Some(shared) = listed.iter().find(|shared| shared.may_join(asked.fields)) {
            return Some(Lookup::Join(Follower::new(self, shared, false)));
        }
        // Who differs from others in what they differ in is not to wait for them.
        let of_flight = || listed.iter().find_map(|shared| lock(&shared.state).selecting.clone());
        let of_stored = || resource.and_then(|all| all.variants.first()).map(|entry| entry.selecting.clone());
        let selecting = of_flight().or_else(of_stored).map(|selecting| selecting.again(asked.fields));
        let (shared, lookup) = begin(selecting, true);
        listed.push(shared);
        Some(lookup)
    }

    /// A fetch that no client waits for; none if there is one already.
    fn background(&self, asked: &Asked<'_>, key: &Key, entry: &Arc<Entry>) -> Option<Flight> {
        let mut flights = lock(&self.0.flights);
        let listed = flights.entry(key.clone()).or_default();
        if listed.iter().any(|shared| shared.may_join(asked.fields)) {
            return None;
        }
        let shared = Arc::new(Shared::new(Some(entry.selecting.clone()), true));
        listed.push(shared.clone());
        Some(self.flight(asked, key, shared, Some(entry.clone()), Forward::Stale))
    }

    fn flight(
        &self,
        asked: &Asked<'_>,
        key: &Key,
        shared: Arc<Shared>,
        stored: Option<Arc<Entry>>,
        forward: Forward,
    ) -> Flight {
        let course = Course {
            cache: self.clone(),
            shared,
            key: key.clone(),
            request: asked.fields.clone(),
            rules: asked.rules.clone(),
            forward,
            born: self.0.store.purges.latest(),
        };
        let conditional = stored.as_ref().is_some_and(|stored| stored.has_validator());
        Flight { course, stored, conditional }
    }
}

/// Why a request is not for the cache, whatever is stored.
fn passed(asked: &Asked<'_>) -> Option<Pass> {
    let has = |name| asked.fields.contains_key(name);
    if !asked.rules.enabled {
        return Some(Pass::Off);
    }
    if has(header::TRANSFER_ENCODING) || asked.fields.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0") {
        return Some(Pass::Body);
    }
    if has(header::IF_MATCH) || has(header::IF_UNMODIFIED_SINCE) {
        return Some(Pass::Precondition);
    }
    has_private_cookie(asked).then_some(Pass::Cookie)
}

fn has_private_cookie(asked: &Asked<'_>) -> bool {
    if asked.rules.private_cookies.is_empty() {
        return false;
    }
    let lines = asked.fields.get_all(header::COOKIE).into_iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';')).map(|cookie| {
        let end = memchr::memchr(b'=', cookie).unwrap_or(cookie.len());
        cookie[..end].trim_ascii()
    });
    names.any(|name| asked.rules.private_cookies.iter().any(|private| private.as_bytes() == name))
}
