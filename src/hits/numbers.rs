//! The counting of hits in numbers: read when Prometheus asks.

use std::sync::Arc;

use prometheus::{
    IntCounter, IntCounterVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::Stats;
use crate::telemetry::{Metrics, names};

/// Shows `stats` among the metrics.
///
/// # Errors
/// If they are there already.
pub fn show(metrics: &Metrics, stats: &Arc<Stats>) -> Result<(), prometheus::Error> {
    let read = |read: fn(&Stats) -> f64| {
        let stats = stats.clone();
        Box::new(move || read(&stats)) as Box<dyn Fn() -> f64 + Send + Sync>
    };
    metrics.add_readings(vec![
        (names::HITS_LAST_FLUSH, read(|stats| stats.last_flush() as f64)),
        (names::HITS_ENTRIES, read(|stats| stats.entries() as f64)),
        (names::HITS_UNNAMED, read(|stats| stats.unnamed() as f64)),
        (names::HITS_LOST, read(|stats| stats.lost() as f64)),
    ])?;
    let family = names::HITS_FLUSHES.counters()?;
    let result = |result| family.get_metric_with_label_values(&[result]);
    metrics.add(Flushes { ok: result("ok")?, failed: result("failed")?, family: family.clone(), stats: stats.clone() })
}

struct Flushes {
    stats: Arc<Stats>,
    family: IntCounterVec,
    ok: IntCounter,
    failed: IntCounter,
}

impl Collector for Flushes {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (counter, number) in [(&self.ok, self.stats.flushes()), (&self.failed, self.stats.failures())] {
            counter.inc_by(number.saturating_sub(counter.get()));
        }
        self.family.collect()
    }
}
