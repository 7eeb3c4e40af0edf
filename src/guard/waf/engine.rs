//! What an engine is asked, and what it answers.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use thiserror::Error;

use super::Severity;

/// A request as rules see it: as it came, before anything was decoded.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query, as sent.
    pub target: Vec<u8>,
    /// `1.1`, `1.0` or `2.0`.
    pub version: &'static str,
    /// Header fields in their order; over HTTP/2 with the `host` that `:authority` stands for.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether it goes on after that.
    pub cut: bool,
    /// Whose it is.
    pub client: Option<IpAddr>,
    /// The paranoia level of the rules that are to run, 1 to 4.
    pub paranoia: u8,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its number.
    pub id: u32,
    /// What it adds to the score.
    pub severity: Severity,
    /// The paranoia level that it belongs to.
    pub paranoia: u8,
    /// What it found, in its author's words.
    pub message: std::sync::Arc<str>,
    /// Its tags, such as `attack-sqli`.
    pub tags: std::sync::Arc<[String]>,
    /// Whether it wants the request refused whatever the score (rules of the operator's own).
    pub denies: bool,
}

/// A transaction that came to nothing, through no fault of the request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the rule engine failed while it {0}")]
pub struct Stuck(pub &'static str);

/// What runs rules. Called from threads of its own, never from those of connections.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Every hit of the rules on a request. A rule that matches twice is there twice.
    ///
    /// # Errors
    /// If the engine can't say.
    fn inspect(&self, request: &Request) -> Result<Vec<Hit>, Stuck>;
}
