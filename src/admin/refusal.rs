//! Why a request to the admin address is refused.

use std::time::Duration;

use http::StatusCode;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Without a Host, or with more than a host in it.
    BadHost,
    /// By a name that is not the admin address' own.
    ForeignHost,
    /// From a page of another site.
    ForeignOrigin,
    /// Without a token or client certificate, where one is needed.
    NoToken,
    /// With one that is not good.
    BadToken,
    /// From somebody who may only read.
    OnlyReads,
    /// From somebody who has guessed too often; how long to wait.
    TooManyAttempts(Duration),
    /// While others wait for their tokens to be compared.
    Busy,
    /// The file of tokens can't be used.
    NoTokens,
}

impl Refusal {
    /// All that there are, for metrics.
    pub(super) const ALL: [Refusal; 9] = [
        Refusal::BadHost,
        Refusal::ForeignHost,
        Refusal::ForeignOrigin,
        Refusal::NoToken,
        Refusal::BadToken,
        Refusal::OnlyReads,
        Refusal::TooManyAttempts(Duration::ZERO),
        Refusal::Busy,
        Refusal::NoTokens,
    ];

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::BadHost => "bad_host",
            Refusal::ForeignHost => "foreign_host",
            Refusal::ForeignOrigin => "foreign_origin",
            Refusal::NoToken => "no_token",
            Refusal::BadToken => "bad_token",
            Refusal::OnlyReads => "only_reads",
            Refusal::TooManyAttempts(_) => "too_many_attempts",
            Refusal::Busy => "busy",
            Refusal::NoTokens => "no_tokens",
        }
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::BadHost => StatusCode::BAD_REQUEST,
            Refusal::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Refusal::ForeignOrigin | Refusal::OnlyReads => StatusCode::FORBIDDEN,
            Refusal::NoToken | Refusal::BadToken => StatusCode::UNAUTHORIZED,
            Refusal::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Busy | Refusal::NoTokens => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds after which it may be tried again.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Refusal::TooManyAttempts(wait) => Some(wait.as_secs() + 1),
            Refusal::Busy => Some(1),
            _ => None,
        }
    }

    /// What to do.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::BadHost => "this needs a Host\n",
            Refusal::ForeignHost => {
                "not by this host name: use localhost or an IP address, or list the name in [admin] hosts\n"
            }
            Refusal::ForeignOrigin => "not from a page of another site\n",
            Refusal::NoToken => {
                "this needs a token (Authorization: Bearer ...): `waypost admin token NAME` makes one\n"
            }
            Refusal::BadToken => "this token is not good\n",
            Refusal::OnlyReads => "whoever has this token or certificate may read, and change nothing\n",
            Refusal::TooManyAttempts(_) => "too many tokens have been tried: wait\n",
            Refusal::Busy => "too many tokens are being tried: wait\n",
            Refusal::NoTokens => "the file of tokens can't be used: the log of the gateway says why\n",
        }
    }
}
