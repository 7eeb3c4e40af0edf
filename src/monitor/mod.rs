//! How the gateway is, and whether what it leads to opens.
//!
//! Owns: the state behind `/readyz` ([`Monitor`]); visits of homes and platforms by the rule of the checklist for government
//! sites: what is visited ([`pages`]) and when ([`Rounds`]), one visit ([`Visitor`]), what is remembered ([`History`]), how it
//! is judged ([`Tally`]), and the loop that does it all ([`Keeper`]).
//! Never does: HTTP for others (`admin` shows metrics), decisions about requests.
//!
//! Invariants:
//! - A visit is due at a moment that follows from the page's URL, the family of addresses and the number of visits a day, so all
//!   nodes agree on it; of those that share a database, the one that claims it first makes it.
//! - A visit is *made* if something was learnt about the page: it opened, or it did not. What was missed (the node was down,
//!   its clock jumped, its own network was away, the page has no address of the family) was not made, and is no failure.
//! - The sums of a day in the database are exactly the made visits that were due on it: a visit and its sum are written in one
//!   transaction, once.
//! - Memory and time of a visit are bounded, whatever the page does.
//!
//! Called by: `server` (the loop, `/readyz`), `reload` (what is live), `admin`, `cli`, `report`.

mod gauges;
mod history;
mod keeper;
mod page;
mod rule;
mod schedule;
mod status;
mod visit;
mod wire;

pub use self::gauges::Gauges;
pub use self::history::{DaySum, History, Week};
pub use self::keeper::Keeper;
pub use self::page::{Page, front, pages};
pub use self::rule::{Tally, Verdict};
pub use self::schedule::{Due, Rounds, Schedule};
pub use self::status::{Certificates, FaultyFile, FaultySite, LastReload, Monitor, Status};
pub use self::visit::{Finding, Visit, Visitor};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Seconds of a week.
pub const WEEK: i64 = 7 * DAY;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// As the database has it.
    pub fn number(self) -> i64 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// That of a number.
    pub fn of(number: i64) -> Option<Self> {
        Family::ALL.into_iter().find(|family| family.number() == number)
    }

    /// The word for labels and people.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}
