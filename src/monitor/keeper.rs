//! The loop: looks every second what is due, claims it, visits it, writes down what came of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::schedule::LATE;
use super::{DAY, Due, Gauges, History, Page, Rounds, Schedule, Visit, Visitor, pages};
use crate::config::{Gateway, HitsDatabase};
use crate::hits::HitsError;
use crate::routing::Snapshot;

/// Keeps visiting.
pub struct Keeper {
    gateway: Gateway,
    database: HitsDatabase,
    visitor: Arc<Visitor>,
    gauges: Arc<Gauges>,
    /// What is live.
    snapshot: Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// Unix seconds.
    now: fn() -> i64,
}

/// What goes on.
struct State {
    rounds: Rounds,
    history: Option<History>,
    pages: Vec<Page>,
    /// What the pages were made of.
    of: Arc<Snapshot>,
    /// When they were.
    at: i64,
    /// Visits that are done and not written yet.
    done: Vec<(Due, Visit)>,
    refreshed: Option<Instant>,
    tidied: i64,
}

impl Keeper {
    /// One for what `snapshot` gives, if gateway.toml says that anything is visited.
    ///
    /// # Errors
    /// If the file of roots can't be used.
    pub fn new(
        gateway: &Gateway,
        gauges: Arc<Gauges>,
        snapshot: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static,
    ) -> anyhow::Result<Option<Self>> {
        let Some(database) = gateway.hits.database.clone().filter(|_| gateway.monitor.enabled) else { return Ok(None) };
        Ok(Some(Keeper {
            visitor: Arc::new(Visitor::new(&gateway.monitor)?),
            gateway: gateway.clone(),
            database,
            gauges,
            snapshot: Box::new(snapshot),
            now: || Timestamp::now().as_second(),
        }))
    }

    /// Visits until it is dropped.
    pub async fn run(&self) {
        let settings = &self.gateway.monitor;
        let of = (self.snapshot)();
        let now = (self.now)();
        let mut state = State {
            rounds: Rounds::new(Schedule::new(settings.visits), now),
            history: None,
            pages: pages(&self.gateway, &of, now),
            of,
            at: now,
            done: Vec::new(),
            refreshed: None,
            tidied: 0,
        };
        let room = Arc::new(Semaphore::new(settings.concurrency));
        let mut visits: JoinSet<Option<(Due, Visit)>> = JoinSet::new();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            while let Some(visit) = visits.try_join_next() {
                match visit {
                    Ok(visit) => state.done.extend(visit),
                    Err(error) => log::error!("a visit ended badly: {error}"),
                }
            }
            let claimed = self.turn(&mut state).await;
            for due in claimed {
                let (visitor, room, gauges, now) = (self.visitor.clone(), room.clone(), self.gauges.clone(), self.now);
                visits.spawn(async move {
                    // It is never closed.
                    let _place = room.acquire().await;
                    if now() - due.at > 2 * LATE {
                        return None;
                    }
                    let visit = visitor.visit(&due.page, due.family).await;
                    gauges.visited(due.family, visit.finding);
                    Some((due, visit))
                });
            }
        }
    }

    /// Writes what is done, and claims what is due.
    async fn turn(&self, state: &mut State) -> Vec<Due> {
        let now = (self.now)();
        let live = (self.snapshot)();
        // Phases change by themselves.
        if !Arc::ptr_eq(&live, &state.of) || now - state.at > HOUR {
            state.pages = pages(&self.gateway, &live, now);
            (state.of, state.at) = (live, now);
        }
        let due = state.rounds.turn(now, &state.pages);
        let work = timeout(PATIENCE, self.write(state, now, due));
        let claimed = match work.await {
            Ok(claimed) => claimed.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the database of hits takes nothing within {} seconds", PATIENCE.as_secs())),
        };
        match claimed {
            Ok(claimed) => {
                if self.gauges.set_failing(false) {
                    log::info!("visits of homes and platforms are written again");
                }
                claimed
            }
            Err(error) => {
                state.history = None;
                // What is not claimed is missed. Once is enough to tell.
                if self.gauges.set_failing(true) {
                    log::warn!("homes and platforms can't be visited: {error}");
                }
                Vec::new()
            }
        }
    }

    async fn write(&self, state: &mut State, now: i64, due: Vec<Due>) -> Result<Vec<Due>, HitsError> {
        let history = match &mut state.history {
            Some(history) => history,
            empty => {
                let settings = &self.gateway;
                empty.insert(History::write(&self.database, &settings.hits, settings.monitor.slow).await?)
            }
        };
        let claimed = history.claim(due).await?;
        history.finish(&state.done).await?;
        state.done.clear();
        let began = Instant::now();
        if state.refreshed.is_none_or(|next| began >= next) {
            self.gauges.set_weeks(history.week(now).await?);
            // To read a large week takes a second: not too much of the time.
            state.refreshed = Some(Instant::now() + REFRESH.max(began.elapsed() * 20));
        }
        if now - state.tidied > DAY {
            history.tidy(now).await?;
            state.tidied = now;
        }
        Ok(claimed)
    }
}

/// Time between two readings of the week, at least.
const REFRESH: Duration = Duration::from_secs(10);

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(30);

const HOUR: i64 = 3_600;
