//! Why the guard refuses a request.

use super::Methods;

/// The kinds of refusal, as metrics and logs name them: a closed set, so that a label can't grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Reason {
    /// The site doesn't take this method.
    Method,
    /// The client's address is denied, or not among those that are allowed.
    Address,
    /// The client's country is.
    Country,
    /// The target has control characters.
    Control,
    /// The target's bytes are no text, or escaped twice.
    Encoding,
    /// The path has a backslash.
    Backslash,
    /// The path leaves its root.
    Traversal,
    /// What the target says would, decoded, end a header field.
    Injection,
    /// A probe for software that was never here.
    Probe,
    /// A platform would send the client to a host that is not allowed.
    Target,
    /// A rule of the operators.
    Rule,
    /// Too many requests.
    Rate,
    /// Too many requests of one client at the same time.
    Concurrency,
    /// The web application firewall.
    Waf,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 14] = [
        Reason::Method,
        Reason::Address,
        Reason::Country,
        Reason::Control,
        Reason::Encoding,
        Reason::Backslash,
        Reason::Traversal,
        Reason::Injection,
        Reason::Probe,
        Reason::Target,
        Reason::Rule,
        Reason::Rate,
        Reason::Concurrency,
        Reason::Waf,
    ];

    /// The word for labels, logs and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Method => "method",
            Reason::Address => "address",
            Reason::Country => "country",
            Reason::Control => "control",
            Reason::Encoding => "encoding",
            Reason::Backslash => "backslash",
            Reason::Traversal => "traversal",
            Reason::Injection => "injection",
            Reason::Probe => "probe",
            Reason::Target => "target",
            Reason::Rule => "rule",
            Reason::Rate => "rate",
            Reason::Concurrency => "concurrency",
            Reason::Waf => "waf",
        }
    }

    /// What is wrong, in English, for whoever repairs the client.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Method => "the site does not take this method",
            Reason::Address => "requests from your network are not admitted",
            Reason::Country => "requests from your country are not admitted",
            Reason::Control => "the address has control characters",
            Reason::Encoding => "the address is not encoded as text",
            Reason::Backslash => "the path has a backslash",
            Reason::Traversal => "the path leads out of the site",
            Reason::Injection => "the address has a line break",
            Reason::Probe => "there is no such software here",
            Reason::Target => "the answer leads to a host that is not allowed",
            Reason::Rule => "a rule of the operators refuses this request",
            Reason::Rate => "there were too many requests: try again later",
            Reason::Concurrency => "you have too many requests open: wait for their answers",
            Reason::Waf => "the request looks like an attack",
        }
    }

    /// The status of the answer, where nothing nearer says.
    pub fn status(self) -> u16 {
        match self {
            Reason::Control | Reason::Encoding | Reason::Backslash | Reason::Traversal | Reason::Injection => 400,
            Reason::Address | Reason::Country | Reason::Rule | Reason::Waf => 403,
            Reason::Probe => 404,
            Reason::Method => 405,
            Reason::Rate | Reason::Concurrency => 429,
            Reason::Target => 501,
        }
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The status of the answer.
    pub status: u16,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u32>,
    /// The methods that are taken, if that is what is wrong.
    pub allow: Option<Methods>,
}

impl Denial {
    /// For a reason, with its status.
    pub fn new(reason: Reason) -> Self {
        Denial { reason, status: reason.status(), retry_after: None, allow: None }
    }
}
