//! Who and what is admitted: a request is looked at before any other work, on every lane.
//!
//! Owns: the filters and their order, what they count, what operators set of them ([`Policy`]), and the files of addresses
//! and countries ([`Sources`]), which are read beside the traffic. Never does: network, waiting, answering.
//!
//! Invariants: the ruling depends on the policy, the [`View`], the moment and the counters only, so `explain` asks the same
//! function; each request is looked at once, whatever way it takes afterwards; a refusal has a [`Reason`].
//!
//! Called by: `answer`, for every lane.

pub mod access;
pub mod addresses;
pub mod countries;
pub mod lists;

mod buckets;
mod client;
mod concurrency;
mod crawlers;
mod hygiene;
mod literals;
pub(crate) mod names;
mod policy;
mod probes;
mod rates;
mod rules;
mod sources;
mod text;
pub mod waf;

use std::{net::IpAddr, ops::ControlFlow, sync::Arc, time::Instant};

use crate::config::RequestAction;
use crate::model::{Denial, Method, Reason};
use crate::url::{Charset, UrlSettings};
use hygiene::Hygiene;

pub use access::Access;
pub use client::Client;
pub use concurrency::{Concurrency, Occupied, TooMany};
pub use crawlers::{Crawlers, Declared};
pub use policy::{Asks, Policy};
pub(crate) use probes::Probes;
use rates::{Asked, Rates};
pub use rules::{Rule, RuleSet};
pub use sources::{Refreshed, Sources};

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
    /// Whether that is a trusted proxy which names nobody: it may stand for a whole province, so no rate of one client is its.
    pub is_many: bool,
    /// Its header fields.
    pub fields: &'a dyn Fields,
    /// The URL habits of the site that is asked; none if no site has the host.
    pub habits: Option<&'a UrlSettings>,
    /// Whether the site has a mapping for the target. Takes a while, and is rarely asked.
    pub is_mapped: &'a dyn Fn() -> bool,
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
    /// It is sent elsewhere, by a rule of the operators.
    Redirect {
        /// A checked http(s) URL in printable ASCII, whose host is allowed.
        location: Arc<str>,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
}

/// What is to be counted of a request besides its ruling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Why it would have been refused, if what only counts had a say.
    pub shadowed: Vec<Reason>,
    /// The rules that hold for it.
    pub rules: Vec<Holding>,
    /// Tags that rules gave it.
    pub tags: Vec<Arc<str>>,
}

/// A rule that holds for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its name, or its place.
    pub rule: Arc<str>,
    /// What it does, as files say it.
    pub action: &'static str,
    /// Whether it is only counted.
    pub shadow: bool,
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
    crawlers: Crawlers,
    rates: Rates,
    /// Requests that are being worked on.
    working: Arc<Concurrency>,
}

impl Guard {
    /// Nothing is remembered yet. `rate_entries` is for how many clients there is memory, as in gateway.toml.
    pub fn new(rate_entries: usize, crawlers: Crawlers, now: Instant) -> Self {
        Guard { crawlers, rates: Rates::new(rate_entries, now), working: Arc::default() }
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
        if let Err(denied) = policy.access.check(view.client) {
            trace.step("address", || denied.to_string());
            return Ruling::Refuse(Denial::new(denied.reason()));
        }
        if !policy.methods.contains(view.method) {
            trace.step("method", || format!("the site takes {}", policy.methods));
            return Ruling::Refuse(Denial { allow: Some(policy.methods), ..Denial::new(Reason::Method) });
        }
        let hygiene = Hygiene {
            charset: view.habits.map_or(Charset::Utf8, |habits| habits.charset),
            resolves_dots: view.habits.is_none_or(|habits| habits.resolve_dots),
            strict: policy.strict,
        };
        if let Some(reason) = hygiene.check(view.target) {
            trace.step("hygiene", || reason.text().to_owned());
            return Ruling::Refuse(Denial::new(reason));
        }
        if let Some(pattern) = policy.probes.find(view.target) {
            let is_mapped = (view.is_mapped)();
            trace.step("probes", || match is_mapped {
                true => format!("`{pattern}` is what scanners ask for, but there is a mapping"),
                false => format!("`{pattern}` is what scanners ask for (allow-probes lets it through)"),
            });
            if !is_mapped {
                return Ruling::Refuse(Denial::new(Reason::Probe));
            }
        }
        let class = match self.rules(policy, view, notes, trace) {
            Ok(class) => class,
            Err(ruling) => return ruling,
        };
        let asked =
            Asked { site: view.site, client: view.client.filter(|_| !view.is_many), target: view.target, class, now };
        let shadowed = |_: &_| notes.shadowed.push(Reason::Rate);
        if let Err(exceeded) = self.rates.admit(&policy.rates, &asked, shadowed, trace) {
            trace.step("rate", || format!("over `{}`", exceeded.rate));
            let retry_after = u32::try_from(exceeded.retry_after()).ok();
            return Ruling::Refuse(Denial { retry_after, ..Denial::new(Reason::Rate) });
        }
        Ruling::Admit
    }

    /// Asks the operators' rules: the class of rates that they put the request into, or what they make of it.
    fn rules<'a>(
        &self,
        policy: &'a Policy,
        view: &View<'_>,
        notes: &mut Notes,
        trace: &mut impl Trace,
    ) -> Result<Option<&'a str>, Ruling> {
        let mut class = None;
        let mut ruling = None;
        let Notes { shadowed, rules, tags } = notes;
        for set in &policy.rules {
            let flow = set.holding(view, (&policy.crawlers, &self.crawlers), tags, &mut |rule| {
                let action = rule.action.name();
                trace.step("rule", || format!("{}{}", if rule.shadow { "shadow of " } else { "" }, rule.told()));
                rules.push(Holding { rule: rule.label.clone(), action, shadow: rule.shadow });
                match &rule.action {
                    RequestAction::Deny(_) if rule.shadow => shadowed.push(Reason::Rule),
                    RequestAction::Deny(status) => {
                        ruling = Some(Ruling::Refuse(Denial { status: *status, ..Denial::new(Reason::Rule) }));
                    }
                    _ if rule.shadow => {}
                    RequestAction::Redirect(to, _) if policy.refused_targets.contains(to.host()) => {
                        trace.step("rule", || format!("{} is no allowed target", to.host()));
                        ruling = Some(Ruling::Refuse(Denial { status: 501, ..Denial::new(Reason::Rule) }));
                    }
                    RequestAction::Redirect(to, status) => {
                        let status = status.code(Method::parse(view.method));
                        ruling = Some(Ruling::Redirect { location: to.as_str().into(), status });
                    }
                    RequestAction::Rate(name) => class = class.or(Some(&**name)),
                    RequestAction::Tag(_) | RequestAction::Log => {}
                }
                if ruling.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if flow.is_break() {
                break;
            }
        }
        ruling.map_or(Ok(class), Err)
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
