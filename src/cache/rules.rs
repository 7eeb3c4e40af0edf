//! What a site may change of how it is cached.

use http::HeaderName;

/// How the responses of a site are cached. All times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything is cached at all.
    pub enabled: bool,
    /// How long a response is fresh that says nothing about it, if its status lets a cache guess (RFC 9110, 15.1) and is
    /// no error; stands before [`Self::heuristic`].
    pub default_ttl: Option<u32>,
    /// The shortest time that a response is fresh, whatever it says; `no-cache`, `no-store` and `private` still count.
    pub min_ttl: u32,
    /// The longest.
    pub max_ttl: Option<u32>,
    /// Whether to guess from `Last-Modified`: a tenth of the time since then, a day at most (RFC 9111, 4.2.2).
    pub heuristic: bool,
    /// How long a stale response is used while a new one is fetched, where the response has no
    /// `stale-while-revalidate` of its own.
    pub stale_while_revalidate: u32,
    /// How long a stale response is used instead of an error, where it has no `stale-if-error` of its own.
    pub stale_if_error: u32,
    /// How long a stale response is used while the platform can't be reached or says so itself (502, 503, 504).
    pub stale_if_down: u32,
    /// Whether [`Self::stale_if_down`] counts more than `must-revalidate`, `proxy-revalidate`, `s-maxage` and
    /// `no-cache`, against RFC 9111, 4.2.4.
    pub down_overrides: bool,
    /// How long responses of these statuses are fresh if they don't say so themselves.
    pub negative: Vec<(u16, u32)>,
    /// Largest body that is stored, in bytes, where it is not [`super::Settings::object_bytes`].
    pub object_bytes: Option<u64>,
    /// Request fields that do not count where `Vary` names them.
    pub vary_ignore: Vec<HeaderName>,
    /// Whether clients may ask for fresher or staler responses (`Cache-Control` and `Pragma` of requests).
    pub client_directives: bool,
    /// Cookies that make a request personal: it is neither answered from the cache nor stored.
    pub private_cookies: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            enabled: true,
            default_ttl: None,
            min_ttl: 0,
            max_ttl: None,
            heuristic: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            stale_if_down: 7 * 86_400,
            down_overrides: false,
            negative: Vec::new(),
            object_bytes: None,
            vary_ignore: Vec::new(),
            client_directives: true,
            private_cookies: Vec::new(),
        }
    }
}

impl Rules {
    /// How long a response of this status is fresh by [`Self::negative`].
    pub(super) fn negative_ttl(&self, status: u16) -> Option<u32> {
        self.negative.iter().find_map(|&(of, ttl)| (of == status).then_some(ttl))
    }
}
