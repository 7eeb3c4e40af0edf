//! The lines of the audit log.
//!
//! A line is a JSON object. Its last member is `hash`, the SHA-256 of the line up to there, in hexadecimal digits; its
//! last but one is `previous`, the `hash` of the line before. So a line vouches for all that came before it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is written down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The number of the line, from 1 on; it goes on in the next file.
    pub seq: u64,
    /// When, in UTC (RFC 3339).
    pub time: String,
    /// What was done: `purge`, `token`; or one of the log's own words, [`BEGIN`], [`CONTINUE`], [`RECOVER`].
    pub what: String,
    /// The id of the log, with [`BEGIN`] and [`CONTINUE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// With a result: the number of the line that says that it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// `begun`, `done`, or `failed: ` and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The broken line before this one, which a crash left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
    /// The hash of the line before; empty in the first.
    pub previous: String,
}

/// A line that was not written to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Torn {
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// The first line of a log.
pub(super) const BEGIN: &str = "begin";

/// The first line of a file that goes on where another ended.
pub(super) const CONTINUE: &str = "continue";

/// A line after one that a crash left unfinished.
pub(super) const RECOVER: &str = "recover";

/// Why a line is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is no record.
    NoRecord,
    /// It is, but not the one whose hash it has.
    Edited,
}

impl Record {
    /// The line without its end, and its hash.
    ///
    /// # Errors
    /// Only if memory runs out: a record can always be written.
    pub fn to_line(&self) -> serde_json::Result<(Vec<u8>, String)> {
        let mut line = serde_json::to_vec(self)?;
        line.pop();
        let hash = sha256(&line);
        line.extend(HASH.bytes().chain(hash.bytes()).chain(*b"\"}"));
        Ok((line, hash))
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// Why it is no good.
    pub fn of_line(line: &[u8]) -> Result<(Self, String), Bad> {
        let text = line.len().checked_sub(HASH.len() + DIGITS + 2).ok_or(Bad::NoRecord)?;
        let (text, tail) = line.split_at(text);
        let hash = tail.strip_prefix(HASH.as_bytes()).and_then(|tail| tail.strip_suffix(b"\"}"));
        let hash = hash.and_then(|hash| std::str::from_utf8(hash).ok()).ok_or(Bad::NoRecord)?;
        if sha256(text) != hash {
            return Err(Bad::Edited);
        }
        let record = serde_json::from_slice(&[text, b"}"].concat()).map_err(|_| Bad::NoRecord)?;
        Ok((record, hash.to_owned()))
    }
}

impl Torn {
    /// What is said about these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Torn { bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }
}

/// SHA-256 in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Hexadecimal digits.
pub(in crate::admin) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const HASH: &str = ",\"hash\":\"";

/// Digits of a SHA-256.
const DIGITS: usize = 64;
