//! What the gateway decided about one request.

use std::{fmt, sync::Arc};

use super::{Denial, Rewriting};

/// The request methods that the decision tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: answered like GET, without the body.
    Head,
    /// Anything else.
    Other,
}

impl Method {
    /// The method named by a request line; names are case-sensitive (RFC 9110, 9.1).
    pub fn parse(name: &str) -> Self {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        }
    }
}

/// Where a decision was written: a file, as the routes folder names it, and a line counted from 1.
///
/// Most verdicts' sources are never read, so the name itself is not touched before it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Path relative to the routes folder, with `/` between folders.
    pub file: &'a Arc<str>,
    /// Line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What to do with a request. Everything borrowed lives in the snapshot or in the scratch space of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Send the client elsewhere. `location` is a checked, absolute http(s) URL in printable ASCII, ready for the header.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The target.
        location: &'a str,
    },
    /// Say where the page went, then go there (phase `notice`).
    Notice {
        /// The target that phase `redirect` would send.
        location: &'a str,
    },
    /// Say that the link leaves for another site, and link there.
    Leaving {
        /// The target, as checked as that of a redirect.
        location: &'a str,
    },
    /// The target is frozen: 503 with a page, and the target is not sent.
    Frozen {
        /// The target.
        target: &'a str,
    },
    /// 410, with what is left of the page.
    Gone(Gone<'a>),
    /// 404 on a site that the gateway knows.
    NotFound(Gone<'a>),
    /// 200 with a fixed small text (site verification files, `security.txt`).
    Text {
        /// The body.
        body: &'a str,
        /// The value of `Content-Type`.
        content_type: &'a str,
    },
    /// The site's `robots.txt`.
    Robots,
    /// The site's sitemap: the index or the only file (`None`), or part n, counted from 1.
    Sitemap(Option<u32>),
    /// Proxy to a platform; answered 501 if it has no origin.
    Serve {
        /// The platform's name in `gateway.toml`; in phase `proxy` the site's `origin`, empty if it has none.
        platform: &'a str,
        /// Path and query to ask the platform for.
        path: &'a str,
        /// How links in the answer are rewritten, if they are.
        rewriting: Option<&'a Rewriting>,
    },
    /// A target that the gateway's allowed targets refuse: answered 501, never sent.
    Refused {
        /// The target as the file has it.
        target: &'a str,
    },
    /// The site answers over HTTPS only, and this request came by plain HTTP: 403.
    HttpsRequired {
        /// The same URL with `https://`, as checked as the location of a redirect.
        location: &'a str,
    },
    /// The gateway's own health, for load balancers in front of it.
    Health,
    /// An authority asks whether the host leads here (ACME's `http-01`).
    Challenge {
        /// What it asks for, checked.
        token: &'a str,
    },
    /// No site has this host: 404 with a page of its own.
    UnknownHost,
    /// The request target can't be a URL: 400.
    BadRequest(&'static str),
    /// The guard does not admit it.
    Denied(Denial),
}

/// What a 404 or 410 page can offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone<'a> {
    /// A page that may help instead.
    pub suggest: Option<&'a str>,
    /// A copy in an archive.
    pub archive: Option<&'a str>,
}

/// The kinds of verdict, as metrics and logs name them: a closed set, so that a label can't grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Outcome {
    /// [`Verdict::Redirect`].
    Redirect,
    /// [`Verdict::Notice`].
    Notice,
    /// [`Verdict::Leaving`].
    Leaving,
    /// [`Verdict::Frozen`].
    Frozen,
    /// [`Verdict::Gone`].
    Gone,
    /// [`Verdict::NotFound`].
    NotFound,
    /// [`Verdict::Text`].
    Text,
    /// [`Verdict::Robots`].
    Robots,
    /// [`Verdict::Sitemap`].
    Sitemap,
    /// [`Verdict::Serve`].
    Serve,
    /// [`Verdict::Refused`].
    Refused,
    /// [`Verdict::HttpsRequired`].
    HttpsRequired,
    /// [`Verdict::Health`].
    Health,
    /// [`Verdict::Challenge`].
    Challenge,
    /// [`Verdict::UnknownHost`].
    UnknownHost,
    /// [`Verdict::BadRequest`].
    BadRequest,
    /// [`Verdict::Denied`].
    Denied,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Outcome; 17] = [
        Outcome::Redirect,
        Outcome::Notice,
        Outcome::Leaving,
        Outcome::Frozen,
        Outcome::Gone,
        Outcome::NotFound,
        Outcome::Text,
        Outcome::Robots,
        Outcome::Sitemap,
        Outcome::Serve,
        Outcome::Refused,
        Outcome::HttpsRequired,
        Outcome::Health,
        Outcome::Challenge,
        Outcome::UnknownHost,
        Outcome::BadRequest,
        Outcome::Denied,
    ];

    /// The word for labels, logs and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Redirect => "redirect",
            Outcome::Notice => "notice",
            Outcome::Leaving => "leaving",
            Outcome::Frozen => "frozen",
            Outcome::Gone => "gone",
            Outcome::NotFound => "not_found",
            Outcome::Text => "text",
            Outcome::Robots => "robots",
            Outcome::Sitemap => "sitemap",
            Outcome::Serve => "serve",
            Outcome::Refused => "refused",
            Outcome::HttpsRequired => "https_required",
            Outcome::Health => "health",
            Outcome::Challenge => "challenge",
            Outcome::UnknownHost => "unknown_host",
            Outcome::BadRequest => "bad_request",
            Outcome::Denied => "denied",
        }
    }
}

impl Verdict<'_> {
    /// Which kind of verdict this is.
    pub fn outcome(&self) -> Outcome {
        match self {
            Verdict::Redirect { .. } => Outcome::Redirect,
            Verdict::Notice { .. } => Outcome::Notice,
            Verdict::Leaving { .. } => Outcome::Leaving,
            Verdict::Frozen { .. } => Outcome::Frozen,
            Verdict::Gone(_) => Outcome::Gone,
            Verdict::NotFound(_) => Outcome::NotFound,
            Verdict::Text { .. } => Outcome::Text,
            Verdict::Robots => Outcome::Robots,
            Verdict::Sitemap(_) => Outcome::Sitemap,
            Verdict::Serve { .. } => Outcome::Serve,
            Verdict::Refused { .. } => Outcome::Refused,
            Verdict::HttpsRequired { .. } => Outcome::HttpsRequired,
            Verdict::Health => Outcome::Health,
            Verdict::Challenge { .. } => Outcome::Challenge,
            Verdict::UnknownHost => Outcome::UnknownHost,
            Verdict::BadRequest(_) => Outcome::BadRequest,
            Verdict::Denied(_) => Outcome::Denied,
        }
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Verdict::Redirect { status, .. } => *status,
            Verdict::HttpsRequired { .. } => 403,
            Verdict::Gone(_) => 410,
            Verdict::NotFound(_) | Verdict::UnknownHost => 404,
            Verdict::Notice { .. }
            | Verdict::Leaving { .. }
            | Verdict::Text { .. }
            | Verdict::Robots
            | Verdict::Sitemap(_)
            | Verdict::Health
            | Verdict::Challenge { .. } => 200,
            Verdict::Frozen { .. } => 503,
            Verdict::Serve { .. } | Verdict::Refused { .. } => 501,
            Verdict::BadRequest(_) => 400,
            Verdict::Denied(denial) => denial.status,
        }
    }

    /// Where the client is sent, if it is sent anywhere.
    pub fn location(&self) -> Option<&str> {
        match self {
            Verdict::Redirect { location, .. } => Some(location),
            _ => None,
        }
    }
}
