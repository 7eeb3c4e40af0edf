//! Who and what is admitted: a request is looked at before any other work, on every lane.
//!
//! Owns: the filters and their order, what they count, and what operators set of them ([`Policy`]). Never does: network,
//! files, waiting, answering.
//!
//! Invariants: the ruling depends on the policy, the [`View`], the moment and the counters only, so `explain` asks the same
//! function; each request is looked at once, whatever way it takes afterwards; a refusal has a [`Reason`].
//!
//! Called by: `answer`, for every lane.

mod hygiene;
mod policy;
mod probes;

use std::net::IpAddr;

use crate::model::{Denial, Reason};
use crate::url::{Charset, UrlSettings};
use hygiene::Hygiene;

pub use policy::Policy;
pub(crate) use probes::Probes;

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
