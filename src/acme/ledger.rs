//! What happened with the authority, as it is written down.

use serde::{Deserialize, Serialize};

/// Orders are numbered from 1, by their place in the ledger.
pub type OrderId = u64;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unix seconds.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened. Names are canonical hosts; a wildcard is `*.name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An order is about to be placed. It counts from now on, whatever the authority hears of it.
    Ordering {
        /// Its number.
        order: OrderId,
        /// What it is for.
        names: Vec<String>,
        /// The certificate that it takes the place of, by its id in [`Event::Issued`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<String>,
    },
    /// The authority has taken it.
    Ordered {
        /// Which.
        order: OrderId,
        /// Where it is, at the authority.
        url: String,
    },
    /// The authority did not find names proven.
    Invalid {
        /// Of which order.
        order: OrderId,
        /// Which names, and why.
        failures: Vec<Failure>,
    },
    /// All names are proven, and the key is in its file.
    Finalizing {
        /// Which.
        order: OrderId,
    },
    /// The certificate and its key are in their file.
    Issued {
        /// Of which order.
        order: OrderId,
        /// SHA-256 of the certificate, in hex.
        certificate: String,
        /// Its file, below the folder of certificates.
        file: String,
        /// When it begins and ends to be valid, Unix seconds.
        not_before: i64,
        /// Its end.
        not_after: i64,
    },
    /// The order came to nothing.
    Dropped {
        /// Which.
        order: OrderId,
        /// Why.
        why: String,
    },
    /// The authority wants no orders before then.
    Limited {
        /// Unix seconds.
        until: i64,
        /// What it says.
        why: String,
    },
    /// When the authority would like a certificate to be renewed (ARI, RFC 9773), Unix seconds.
    Suggested {
        /// Which.
        certificate: String,
        /// From then.
        start: i64,
        /// Until then.
        end: i64,
    },
    /// A certificate was revoked.
    Revoked {
        /// Which.
        certificate: String,
        /// Why.
        why: String,
    },
}

/// A name that the authority did not find proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name.
    pub name: String,
    /// What the authority says.
    pub why: String,
}
