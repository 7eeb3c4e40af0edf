//! Who and what is admitted: a request is looked at before any other work, on every lane.
//!
//! Owns: the filters and their order, what they count, and what operators set of them ([`Policy`]). Never does: network,
//! files, waiting, answering.
//!
//! Invariants: the ruling depends on the policy, the [`View`], the moment and the counters only, so `explain` asks the same
//! function; each request is looked at once, whatever way it takes afterwards; a refusal has a [`Reason`].
//!
//! Called by: `answer`, for every lane.

mod buckets;
mod client;
mod concurrency;
mod crawlers;
mod literals;
mod names;
mod networks;
mod policy;
mod rates;
mod rules;
mod text;

use std::{net::IpAddr, sync::Arc, time::Instant};

use crate::model::{Denial, Reason};

pub use client::Client;
pub use concurrency::{Concurrency, Occupied, TooMany};
pub use crawlers::Crawlers;
pub use policy::Policy;
use rates::{Asked, Rates};

/// A request as the filters see it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The id of the site that it is for; empty if no site has its host.
    pub site: &'a str,
    /// The method's name.
    pub method: &'a str,
    /// Whom the request is for, as sent.
    pub host: Option<&'a [u8]>,
    /// The target in origin-form, as sent.
    pub target: &'a [u8],
    /// Whether the client came by HTTPS.
    pub secure: bool,
    /// The client; none behind a Unix socket that names nobody.
    pub client: Option<IpAddr>,
    /// Its header fields.
    pub fields: &'a dyn Fields,
}

/// The header fields of a request, which few filters need.
pub trait Fields {
    /// Tells each value of a field, whose name is given in lower case.
    fn each(&self, name: &str, tell: &mut dyn FnMut(&[u8]));
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on.
    Admit,
    /// It is refused.
    Refuse(Denial),
}

/// What is to be counted of a request besides its ruling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Why it would have been refused, if what only counts had a say.
    pub shadowed: Vec<Reason>,
}

/// Hears which filter looked at a request, and what came of it.
pub trait Trace {
    /// A filter's name and what it found, if anybody wants to know.
    fn step(&mut self, filter: &'static str, found: impl FnOnce() -> String);
}

/// Nobody wants to know.
impl Trace for () {
    fn step(&mut self, _filter: &'static str, _found: impl FnOnce() -> String) {}
}

/// What is remembered from request to request; one for a process, whatever is reloaded.
#[derive(Debug)]
pub struct Guard {
    rates: Rates,
    /// Requests that are being worked on.
    working: Arc<Concurrency>,
}

impl Guard {
    /// Nothing is remembered yet. `rate_entries` is for how many clients there is memory, as in gateway.toml.
    pub fn new(rate_entries: usize, now: Instant) -> Self {
        Guard { rates: Rates::new(rate_entries, now), working: Arc::default() }
    }

    /// Looks at a request that came at `now`.
    pub fn admit(
        &self,
        policy: &Policy,
        view: &View<'_>,
        now: Instant,
        notes: &mut Notes,
        trace: &mut impl Trace,
    ) -> Ruling {
        if !policy.methods.contains(view.method) {
            trace.step("method", || format!("the site takes {}", policy.methods));
            return Ruling::Refuse(Denial { allow: Some(policy.methods), ..Denial::new(Reason::Method) });
        }
        let asked = Asked { site: view.site, client: view.client, target: view.target, class: None, now };
        let shadowed = |_: &_| notes.shadowed.push(Reason::Rate);
        if let Err(exceeded) = self.rates.admit(&policy.rates, &asked, shadowed, trace) {
            trace.step("rate", || format!("over `{}`", exceeded.rate));
            let retry_after = u32::try_from(exceeded.retry_after()).ok();
            return Ruling::Refuse(Denial { retry_after, ..Denial::new(Reason::Rate) });
        }
        Ruling::Admit
    }

    /// Counts a request as being worked on, until what is returned is dropped.
    ///
    /// # Errors
    /// If its client has as many as it may.
    pub fn occupy(&self, policy: &Policy, client: Option<IpAddr>) -> Result<Option<Occupied>, Denial> {
        let Some(client) = client else { return Ok(None) };
        let entered = self.working.enter(client.into(), policy.client_concurrency);
        entered.map_err(|TooMany| Denial { retry_after: Some(1), ..Denial::new(Reason::Concurrency) })
    }

    /// How many clients' rates are remembered.
    pub fn rate_entries(&self, now: Instant) -> usize {
        self.rates.in_use(now)
    }
}

/// Fields as they come with HTTP/2.
impl Fields for http::HeaderMap {
    fn each(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| tell(value.as_bytes()));
    }
}

/// Fields by name and value, as `explain` has them.
impl Fields for Vec<(String, String)> {
    fn each(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        let values = self.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        values.for_each(|(_, value)| tell(value.as_bytes()));
    }
}
