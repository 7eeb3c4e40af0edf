//! What is told of visits in numbers.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use prometheus::{
    IntCounterVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{Family, Finding, Verdict, Week};
use crate::telemetry::{
    Metrics, Reading,
    names::{
        self, MONITOR_SECONDS, MONITOR_UP, MONITOR_VETO, MONITOR_WEEK_FAILURES, MONITOR_WEEK_SECONDS,
        MONITOR_WEEK_VISITS,
    },
};

/// The numbers of one gateway. Those of pages are as the database had them last, so of a fleet all nodes show the same.
#[derive(Debug)]
pub struct Gauges {
    visits: IntCounterVec,
    failing: AtomicBool,
    weeks: Mutex<Vec<(String, Family, Week)>>,
}

impl Gauges {
    /// Has them shown among the metrics.
    ///
    /// # Errors
    /// If they are there already.
    pub fn show(metrics: &Metrics) -> Result<Arc<Self>, prometheus::Error> {
        let visits = names::MONITOR_VISITS.counters()?;
        for family in Family::ALL {
            for finding in Finding::ALL {
                visits.get_metric_with_label_values(&[family.name(), finding.name()])?;
            }
        }
        metrics.add(visits.clone())?;
        let gauges = Arc::new(Gauges { visits, failing: AtomicBool::new(false), weeks: Mutex::default() });
        let own = gauges.clone();
        metrics.add_readings(vec![Reading::new(names::MONITOR_FAILING, move || own.is_failing().into())])?;
        metrics.add_of_sites(Pages::new(gauges.clone())?)?;
        Ok(gauges)
    }

    /// Counts a visit of this node's.
    pub fn visited(&self, family: Family, finding: Finding) {
        self.visits.with_label_values(&[family.name(), finding.name()]).inc();
    }

    /// Says whether the database fails: nothing can be visited then. True if that is new.
    pub fn set_failing(&self, is_failing: bool) -> bool {
        self.failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    /// Whether the database fails.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Shows what is known of the week.
    pub fn set_weeks(&self, weeks: Vec<(String, Family, Week)>) {
        *self.weeks.lock().unwrap_or_else(PoisonError::into_inner) = weeks;
    }
}

/// Shows the pages.
struct Pages {
    gauges: Arc<Gauges>,
    descs: Vec<Desc>,
}

impl Pages {
    fn new(gauges: Arc<Gauges>) -> Result<Self, prometheus::Error> {
        let descs = FAMILIES.iter().map(|(family, _)| family.desc()).collect::<Result<_, _>>()?;
        Ok(Pages { gauges, descs })
    }
}

impl Collector for Pages {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let weeks = self.gauges.weeks.lock().unwrap_or_else(PoisonError::into_inner);
        let family = |(family, read): &(names::Family, Read)| {
            let series = weeks.iter().filter_map(|(url, by, week)| Some((vec![url.as_str(), by.name()], read(week)?)));
            family.with(series)
        };
        let families = FAMILIES.iter().map(family);
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

type Read = fn(&Week) -> Option<f64>;

const FAMILIES: &[(names::Family, Read)] = &[
    (MONITOR_UP, |week| {
        let now = week.now.filter(|finding| finding.is_made())?;
        Some(if now == Finding::Open { 1.0 } else { 0.0 })
    }),
    (MONITOR_SECONDS, |week| (week.tally.made > week.tally.failed).then(|| week.last_millis as f64 / 1000.0)),
    (MONITOR_WEEK_VISITS, |week| Some(week.tally.made as f64)),
    (MONITOR_WEEK_FAILURES, |week| Some(week.tally.failed as f64)),
    (MONITOR_WEEK_SECONDS, |week| {
        let opened = week.tally.made - week.tally.failed;
        (opened > 0).then(|| week.millis as f64 / 1000.0 / opened as f64)
    }),
    (MONITOR_VETO, |week| match week.tally.week() {
        Verdict::TooFew => None,
        Verdict::Passes => Some(0.0),
        Verdict::Veto => Some(1.0),
    }),
];
