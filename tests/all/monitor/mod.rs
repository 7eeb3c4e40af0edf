//! Visits of homes and platforms: the rule, a fleet's history, real sockets, a real gateway.

mod gateway;
mod history;
mod visits;

use std::{future::Future, time::Duration};

use waypost::{
    config::HitsSettings,
    model::Target,
    monitor::{Due, Family, Finding, History, Page, Visit},
};

pub use history::fleet;
pub use visits::Web;

/// A Monday, midnight by UTC.
const MONDAY: i64 = 1_795_392_000;

fn page(url: &str) -> Page {
    Page::new(Target::parse(url).unwrap())
}

fn due(page: &Page, family: Family, at: i64) -> Due {
    Due { page: page.clone(), family, at }
}

fn found(finding: Finding) -> Visit {
    let status = if finding == Finding::Open { 200 } else { 0 };
    Visit { finding, status, took: Duration::from_millis(120) }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn open(settings: &HitsSettings) -> History {
    let database = settings.database.as_ref().unwrap();
    History::write(database, settings, Duration::from_secs(3)).await.unwrap()
}
