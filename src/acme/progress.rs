//! What is told while orders are under way.

use super::ledger::{Failure, OrderId};

/// Something that whoever looks on may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Names are being tried before they are ordered.
    Trying {
        /// So many were.
        done: usize,
        /// Of so many.
        of: usize,
    },
    /// A name was tried, and can't be ordered.
    NotReady(Failure),
    /// An order is placed, or gone on with.
    Ordering {
        /// Its number.
        order: OrderId,
        /// How many names it has.
        names: usize,
    },
    /// The authority looks at its names.
    Proving {
        /// Which.
        order: OrderId,
        /// So many failed.
        failed: usize,
        /// Of so many.
        of: usize,
    },
    /// The authority did not find names proven.
    Failed {
        /// Of which order.
        order: OrderId,
        /// Which, and why.
        failures: Vec<Failure>,
    },
    /// A certificate is in its file.
    Issued {
        /// Of which order.
        order: OrderId,
        /// What it covers.
        names: Vec<String>,
        /// Below the folder of certificates.
        file: String,
        /// Unix seconds.
        not_after: i64,
    },
    /// An order came to nothing.
    Dropped {
        /// Which.
        order: OrderId,
        /// Why.
        why: String,
    },
    /// Nothing can be done before then.
    Waiting {
        /// Unix seconds.
        until: i64,
        /// Why.
        why: String,
    },
}
