//! Redirect statuses.

use std::fmt;

use super::Method;

/// The status that a redirect is sent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RedirectStatus {
    /// 301 for GET and HEAD, 308 for every other method, so that a form's method and body survive (RFC 9110, 15.4.9).
    #[default]
    Permanent,
    /// 302 for GET and HEAD, 307 for every other method.
    Temporary,
    /// This number, whatever the method.
    Fixed(u16),
}

impl RedirectStatus {
    /// The numbers that a route file may ask for.
    pub const NUMBERS: [u16; 5] = [301, 302, 303, 307, 308];

    /// A fixed status; `None` if `code` is not one of [`Self::NUMBERS`].
    pub fn fixed(code: u16) -> Option<Self> {
        Self::NUMBERS.contains(&code).then_some(RedirectStatus::Fixed(code))
    }

    /// The status for a request's method.
    pub fn code(self, method: Method) -> u16 {
        match (self, method) {
            (RedirectStatus::Permanent, Method::Get | Method::Head) => 301,
            (RedirectStatus::Permanent, Method::Other) => 308,
            (RedirectStatus::Temporary, Method::Get | Method::Head) => 302,
            (RedirectStatus::Temporary, Method::Other) => 307,
            (RedirectStatus::Fixed(code), _) => code,
        }
    }
}

impl fmt::Display for RedirectStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedirectStatus::Permanent => f.write_str("permanent"),
            RedirectStatus::Temporary => f.write_str("temporary"),
            RedirectStatus::Fixed(code) => write!(f, "{code}"),
        }
    }
}
