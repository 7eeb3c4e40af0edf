//! The cache in numbers: read when Prometheus asks.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::cache::{Cache, Counter, Stats};
use crate::telemetry::{Metrics, names};

/// Shows `cache` among the metrics.
///
/// # Errors
/// If it is there already.
pub fn show(metrics: &Metrics, cache: &Cache) -> Result<(), prometheus::Error> {
    let (requests, responses) = (names::CACHE_REQUESTS.counters()?, names::CACHE_RESPONSES.counters()?);
    let bound = |family: &IntCounterVec, table: &[Row]| -> Result<Vec<(IntCounter, Read)>, prometheus::Error> {
        table.iter().map(|(name, read)| Ok((family.get_metric_with_label_values(&[name])?, *read))).collect()
    };
    metrics.add(Numbers {
        bound: [bound(&requests, REQUESTS)?, bound(&responses, RESPONSES)?].concat(),
        requests,
        responses,
        bytes: names::CACHE_BYTES.int_gauge()?,
        entries: names::CACHE_ENTRIES.int_gauge()?,
        cache: cache.clone(),
    })
}

type Read = fn(&Stats) -> &Counter;
type Row = (&'static str, Read);

const REQUESTS: &[Row] = &[
    ("hit", |stats| &stats.hits),
    ("stale_while_revalidate", |stats| &stats.stale_while_revalidate),
    ("stale_if_error", |stats| &stats.stale_if_error),
    ("stale_allowed", |stats| &stats.stale_allowed),
    ("revalidated", |stats| &stats.revalidated),
    ("miss", |stats| &stats.misses),
    ("expired", |stats| &stats.expired),
    ("collapsed", |stats| &stats.collapsed),
    ("pass", |stats| &stats.passes),
];

const RESPONSES: &[Row] = &[
    ("stored", |stats| &stats.stored),
    ("not_stored", |stats| &stats.not_stored),
    ("aborted", |stats| &stats.aborted),
    ("evicted", |stats| &stats.evicted),
];

struct Numbers {
    cache: Cache,
    requests: IntCounterVec,
    responses: IntCounterVec,
    bound: Vec<(IntCounter, Read)>,
    bytes: IntGauge,
    entries: IntGauge,
}

impl Collector for Numbers {
    fn desc(&self) -> Vec<&Desc> {
        let all: [&dyn Collector; 4] = [&self.requests, &self.responses, &self.bytes, &self.entries];
        all.iter().flat_map(|family| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.cache.stats();
        for (counter, read) in &self.bound {
            counter.inc_by(read(stats).get().saturating_sub(counter.get()));
        }
        let (bytes, entries) = self.cache.size();
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let all: [&dyn Collector; 4] = [&self.requests, &self.responses, &self.bytes, &self.entries];
        all.iter().flat_map(|family| family.collect()).collect()
    }
}
