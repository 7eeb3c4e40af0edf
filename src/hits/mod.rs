//! Hits: how often each old URL is asked for, and how it is answered, by site and day.
//!
//! A hit is an answered request whose URL was looked up, or whose host no site has. No hits are: health checks, what the
//! guard refuses, what is no URL at all, and what is first of all sent to https (the request that follows is one).
//!
//! The way of a hit: [`Collector`] (counts in memory, a sketch for each site and day) → a batch, every minute →
//! the writer, on a thread of its own (`store`) → a database (SQLite, or PostgreSQL for several gateways) →
//! [`Reader`], for `waypost hits` and other commands.
//!
//! Owns: the tables of the database, and what is kept for how long. Never does: anything on a thread where a client waits.
//!
//! Invariants:
//! - Sums of a site are exact. A URL's count is never too high; between two flushes it is too low by at most the site's hits
//!   divided by `[hits] counters`. What is missing is told as *unnamed*.
//! - Memory is bounded, whatever comes and however long the database is away.
//! - A batch is a transaction, and is counted once, even if nobody knows what became of its commit: the database remembers
//!   the last batch of each run. A process that is killed loses what came since its last flush, and nothing else.
//! - No address of a client, and no part of a query that the site does not keep, comes in here: URLs are canonical keys, of
//!   a referrer the host alone is kept.
//!
//! Called by: `server`, which hands the [`Collector`] to the pipeline; `cli`.

mod calendar;
mod collector;
mod counts;
mod database;
mod memo;
mod reader;
mod sketch;
mod stats;
mod store;
mod upkeep;
mod writer;

use std::sync::Arc;

pub use self::calendar::Calendar;
pub use self::collector::Collector;
pub use self::database::HitsError;
pub(crate) use self::database::{Access, LOCK, connect, fault, place};
pub use self::reader::{By, Group, Period, Query, Reader, Sum, UrlHits};
pub use self::stats::Stats;
use crate::config::HitsSettings;
use crate::model::Outcome;

/// How a URL was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The kind of answer.
    pub outcome: Outcome,
    /// Its status; 0 if there was none.
    pub status: u16,
    /// Whether nothing of the site said where the URL went.
    pub unmapped: bool,
}

/// Begins to count hits as `settings` say; none if they say that hits are not counted. A database that can't be reached is
/// no error: hits are kept in memory, and it is tried again.
///
/// # Errors
/// If the system has no thread left.
pub fn open(settings: &HitsSettings) -> std::io::Result<Option<(Collector, Arc<Stats>)>> {
    if settings.database.is_none() {
        return Ok(None);
    }
    let stats = Arc::new(Stats::default());
    let writer = writer::Writer::start(settings.clone(), stats.clone())?;
    Ok(Some((Collector::new(settings, writer, stats.clone()), stats)))
}
