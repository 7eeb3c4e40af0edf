//! Certificates without a person: which are wanted, when they may be ordered, and how an authority is asked for them
//! (ACME, RFC 8555).
//!
//! What is decided is pure: [`Ledger`] is what happened, and [`next`] says from it, the names that are wanted, the
//! authority's [limits](crate::config::AcmeLimits) and the time what is to be done: order, renew, go on, or wait. A year
//! of it runs in a test in seconds. What is done is the `engine`'s: it asks [`next`], writes what it is about to do into
//! the [`Journal`], does it, and writes what came of it, so that a process that is killed at any moment goes on where it
//! was. The steps of one order: intent written → order placed → challenges answered → key stored → finalized →
//! certificate in its file → recorded.
//!
//! Owns: the folder `acme` of the certificates and its `.state`: account, ledger, keys of orders under way. Never does:
//! what is served (`tls` watches the folder as any other), HTTP of clients (`answer` answers challenges).
//!
//! Invariants: a limit of the authority is never exceeded by what this ledger knows of; a name that fails does not hold
//! up others; at most one process of a fleet orders at a time (a lock on the journal); a key is on disk before anything
//! signed with it is sent.
//!
//! Called by: `server` (the engine runs beside the traffic), `cli` (`waypost certs`).

mod account;
mod book;
mod dns_hook;
mod domains;
mod engine;
mod fault;
mod journal;
mod ledger;
mod order;
mod preflight;
mod progress;
mod proving;
mod schedule;
mod session;
mod signed;
mod stats;
mod told;
mod transport;
mod wanted;

#[cfg(test)]
mod tests;

use crate::config::Gateway;
use crate::tls::STATE_FOLDER;

pub use domains::registered;
pub use engine::{Engine, Rest};
pub use fault::{Fault, Refusal};
pub use instant_acme::RevocationReason;
pub use journal::{Journal, JournalError};
pub use ledger::{Certificate, Entry, Event, Failure, Ledger, Name, Order, OrderId};
pub use preflight::preflight;
pub use progress::Progress;
pub use schedule::{Batch, Planned, Step, Wanted, next, plan};
pub use session::Session;
pub use stats::EngineStats;
pub use wanted::{Reason, Unwanted, covered, wanted};

/// What happened so far with the authority, for whoever only looks: nothing is locked.
///
/// # Errors
/// If the ledger is there and can't be read or understood.
pub fn read_ledger(gateway: &Gateway) -> Result<Ledger, JournalError> {
    Ok(book::ledger_of(&journal::read(&gateway.certs.join(STATE_FOLDER))?))
}
