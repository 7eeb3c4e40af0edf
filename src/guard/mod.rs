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

mod policy;
mod sources;

use std::net::IpAddr;

use crate::model::{Denial, Reason};

pub use access::Access;
pub use policy::Policy;
pub use sources::{Refreshed, Sources};

/// A request as the filters see it.
#[derive(Clone, Copy)]
pub struct View<'a> {
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
#[derive(Debug, Default)]
pub struct Guard {}

impl Guard {
    /// Looks at a request.
    pub fn admit(&self, policy: &Policy, view: &View<'_>, trace: &mut impl Trace) -> Ruling {
        if let Err(denied) = policy.access.check(view.client) {
            trace.step("address", || denied.to_string());
            return Ruling::Refuse(Denial::new(denied.reason()));
        }
        if !policy.methods.contains(view.method) {
            trace.step("method", || format!("the site takes {}", policy.methods));
            return Ruling::Refuse(Denial { allow: Some(policy.methods), ..Denial::new(Reason::Method) });
        }
        Ruling::Admit
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
