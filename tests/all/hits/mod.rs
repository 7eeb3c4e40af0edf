//! Hits: from exchanges to a database, and back by `waypost hits`.

mod command;
mod gateway;
mod kill;
pub mod postgres;
mod sqlite;

use std::{path::Path, sync::Arc, time::Duration};

use jiff::civil::{Date, date};
use waypost::{
    config::{Gateway, HitsDatabase, HitsSettings},
    hits::{self, Collector, Period, Query, Reader, Stats},
    model::Outcome,
    telemetry::{Consumer, Exchange},
};

use crate::program::until;

/// Settings by which everything is written at once, on days of UTC.
fn settings(database: HitsDatabase) -> HitsSettings {
    let gateway = Gateway::default();
    HitsSettings {
        database: Some(database),
        flush: Duration::ZERO,
        // Exchanges of all years are counted here.
        keep_days: 10_000,
        keep_months: 1_000,
        zone: Some("UTC".to_owned()),
        ..gateway.hits
    }
}

pub fn sqlite(folder: &Path) -> HitsSettings {
    settings(HitsDatabase::Sqlite(folder.join("hits.sqlite")))
}

/// What counts, and what it tells of itself.
pub struct Counting {
    pub collector: Collector,
    stats: Arc<Stats>,
}

impl Counting {
    pub fn new(settings: &HitsSettings) -> Self {
        let (collector, stats) = hits::open(settings).unwrap().unwrap();
        Counting { collector, stats }
    }

    pub fn count(&mut self, exchange: Exchange<'_>) {
        self.collector.exchange(&exchange);
    }

    /// Waits until all that was counted is written.
    fn flush(&mut self) {
        let before = self.stats.flushes();
        until("a flush", || {
            self.collector.pause();
            self.stats.flushes() > before
        });
    }
}

/// A request for a URL of a site, on the 23rd of November 2026 by UTC.
pub fn hit<'a>(site: &'a str, key: &'a str) -> Exchange<'a> {
    Exchange {
        at: 1_795_395_600_000_000,
        status: 404,
        outcome: Outcome::NotFound,
        unmapped: true,
        client: Some([192, 0, 2, 77].into()),
        site,
        method: "GET",
        host: b"jyj.old.example",
        target: key.as_bytes(),
        key: key.as_bytes(),
        user_agent: b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
        ..Exchange::default()
    }
}

pub fn redirected<'a>(site: &'a str, key: &'a str) -> Exchange<'a> {
    Exchange { status: 301, outcome: Outcome::Redirect, unmapped: false, ..hit(site, key) }
}

/// Everything that there is.
fn all() -> Query<'static> {
    let period = Period { since: date(2000, 1, 1), until: Date::MAX };
    Query { period, site: None, unmapped: false, top: 100_000 }
}

fn reader(settings: &HitsSettings) -> Reader {
    Reader::open(settings.database.as_ref().unwrap()).unwrap()
}
