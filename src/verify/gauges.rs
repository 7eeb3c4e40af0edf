//! What verification found, in numbers: the gateway reads them from the database, where `waypost verify` has put them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::time::sleep;

use super::freeze::{homes, proposals};
use super::{Kind, Results, SiteResults};
use crate::config::HitsDatabase;
use crate::hits::HitsError;
use crate::routing::Snapshot;
use crate::telemetry::{
    Metrics,
    names::{Family, SITE_VERIFY_TARGETS, VERIFY_LAST, VERIFY_LOOKED, VERIFY_PROPOSALS, VERIFY_TARGETS, site_label},
};

/// The numbers of one gateway. Of nodes that share a database all show the same.
#[derive(Debug, Default)]
pub struct Gauges {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sites: BTreeMap<String, SiteResults>,
    /// When the last run ended; 0 if none did.
    last: i64,
    proposals: usize,
}

/// Where a reading was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    run: i64,
    ended: i64,
}

impl Gauges {
    /// Has them shown among the metrics, once there are any.
    ///
    /// # Errors
    /// If they are there already.
    pub fn show(metrics: &Metrics) -> Result<Arc<Self>, prometheus::Error> {
        let gauges = Arc::new(Gauges::default());
        metrics.add(Shown::new(gauges.clone(), &[VERIFY_TARGETS, VERIFY_LOOKED, VERIFY_LAST, VERIFY_PROPOSALS])?)?;
        metrics.add_of_sites(Shown::new(gauges.clone(), &[SITE_VERIFY_TARGETS])?)?;
        Ok(gauges)
    }

    /// Reads them whenever a run has begun or ended, and now and then while one goes on. Ends never.
    pub async fn keep(
        self: Arc<Self>,
        database: HitsDatabase,
        snapshot: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static,
    ) {
        let snapshot = Arc::new(snapshot);
        let mut read: Option<(Mark, Instant)> = None;
        let mut is_told = false;
        loop {
            let (gauges, database, snapshot, before) = (self.clone(), database.clone(), snapshot.clone(), read);
            // It blocks, for as long as the database does.
            let done = tokio::task::spawn_blocking(move || gauges.read(&database, &snapshot(), before)).await;
            match done {
                Ok(Ok(now)) => (read, is_told) = (now.or(read), false),
                // Nothing was ever written.
                Ok(Err(HitsError::Missing(_))) | Err(_) => {}
                Ok(Err(error)) => {
                    if !is_told {
                        log::warn!("what `waypost verify` found can't be shown: {error}");
                    }
                    is_told = true;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Takes a reading, unless nothing can be new.
    fn read(
        &self,
        database: &HitsDatabase,
        snapshot: &Snapshot,
        before: Option<(Mark, Instant)>,
    ) -> Result<Option<(Mark, Instant)>, HitsError> {
        let mut results = Results::open(database)?;
        let runs = results.runs(RUNS)?;
        let Some(newest) = runs.first() else { return Ok(None) };
        let mark = Mark { run: newest.run, ended: newest.ended };
        if let Some((known, at)) = before
            && known == mark
            && at.elapsed() < AGAIN
        {
            return Ok(None);
        }
        let proposals = proposals(&mut results, snapshot, &homes(snapshot))?.len();
        let last = runs.iter().map(|run| run.ended).max().unwrap_or(0);
        *self.lock() = Known { sites: results.sites()?, last, proposals };
        Ok(Some((mark, Instant::now())))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some of the families.
struct Shown {
    gauges: Arc<Gauges>,
    families: &'static [Family],
    descs: Vec<Desc>,
}

impl Shown {
    fn new(gauges: Arc<Gauges>, families: &'static [Family]) -> Result<Self, prometheus::Error> {
        let descs = families.iter().map(Family::desc).collect::<Result<_, _>>()?;
        Ok(Shown { gauges, families, descs })
    }
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let known = self.gauges.lock();
        if known.sites.is_empty() {
            return Vec::new();
        }
        let of_kind = |sites: &mut dyn Iterator<Item = &SiteResults>, kind: Kind| -> u64 {
            sites.filter_map(|site| site.kinds.get(&kind)).sum()
        };
        let family = |family: &Family| match family.name {
            name if name == VERIFY_TARGETS.name => family.with(
                Kind::ALL.iter().map(|&kind| (vec![kind.name()], of_kind(&mut known.sites.values(), kind) as f64)),
            ),
            name if name == VERIFY_LOOKED.name => {
                family.with([(vec![], known.sites.values().map(|site| site.targets).sum::<u64>() as f64)])
            }
            name if name == VERIFY_LAST.name => family.with([(vec![], known.last as f64)]),
            name if name == VERIFY_PROPOSALS.name => family.with([(vec![], known.proposals as f64)]),
            _ => family.with(known.sites.iter().flat_map(|(id, site)| {
                site.kinds.iter().map(move |(kind, count)| (vec![site_label(id), kind.name()], *count as f64))
            })),
        };
        self.families.iter().map(family).filter(|family| !family.get_metric().is_empty()).collect()
    }
}

/// How often it is seen whether there is something new.
const PAUSE: Duration = Duration::from_secs(15);

/// How long a reading is good while nothing begins or ends.
const AGAIN: Duration = Duration::from_secs(600);

/// Runs among which the last that ended is looked for.
const RUNS: u32 = 20;
