//! Who is told of each request, and what is shown of how they are.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::acme::EngineStats;
use crate::config::Gateway;
use crate::door::room;
use crate::hits;
use crate::telemetry::{
    Consumer, LoopDetector, Metrics, Pipeline, Reading, TraceExport, TraceStats,
    access_log::{AccessLog, AccessLogStats},
    names::{self, Family},
};

/// Starts to tell those whom gateway.toml wants to know. `threads` will leave what is to be told.
///
/// # Errors
/// If the system has no thread left, or a metric is there already.
pub(super) fn start(gateway: &Gateway, threads: usize, metrics: &Metrics) -> anyhow::Result<Arc<Pipeline>> {
    let loops = LoopDetector::default();
    let seen = loops.seen();
    let connections = f64::from(room(gateway.limits.connections));
    let mut readings = vec![
        Reading::new(names::REDIRECT_LOOPS, move || seen.get() as f64),
        Reading::new(names::WORKERS, move || threads as f64),
        Reading::new(names::CONNECTIONS_LIMIT, move || connections),
    ];
    let mut consumers: Vec<Box<dyn Consumer>> = vec![Box::new(loops)];
    if let Some((log, stats)) = AccessLog::open(&gateway.access_log) {
        consumers.push(Box::new(log));
        readings.extend(of_log(&stats));
    }
    if let Some((hits, stats)) = hits::open(&gateway.hits)? {
        consumers.push(Box::new(hits));
        readings.extend(of_hits(&stats));
    }
    if let Some((export, stats)) = TraceExport::open(&gateway.traces)? {
        consumers.push(Box::new(export));
        readings.extend(of_traces(&stats));
    }
    let pipeline = Arc::new(Pipeline::start(consumers, threads, MEMORY)?);
    let own = pipeline.clone();
    readings.push(Reading::new(names::TELEMETRY_DROPPED, move || own.dropped() as f64));
    metrics.add_readings(readings)?;
    Ok(pipeline)
}

fn of_log(stats: &Arc<AccessLogStats>) -> [Reading; 6] {
    let reading = |family: Family, read: fn(&AccessLogStats) -> f64| {
        let stats = stats.clone();
        Reading::new(family, move || read(&stats))
    };
    [
        reading(names::ACCESS_LOG_LINES, |stats| stats.lines() as f64),
        reading(names::ACCESS_LOG_LOST, |stats| stats.lost() as f64),
        reading(names::ACCESS_LOG_FAILING, |stats| stats.is_failing().into()),
        reading(names::ACCESS_LOG_BYTES, |stats| stats.bytes() as f64),
        reading(names::ACCESS_LOG_OLDEST, |stats| stats.oldest() as f64),
        reading(names::ACCESS_LOG_SHORT, |stats| stats.is_short().into()),
    ]
}

fn of_hits(stats: &Arc<hits::Stats>) -> [Reading; 8] {
    let own = |read: fn(&hits::Stats) -> f64| {
        let stats = stats.clone();
        move || read(&stats)
    };
    [
        Reading::of(names::HITS_FLUSHES, "ok", own(|stats| stats.flushes() as f64)),
        Reading::of(names::HITS_FLUSHES, "failed", own(|stats| stats.failures() as f64)),
        Reading::new(names::HITS_LAST_FLUSH, own(|stats| stats.last_flush() as f64)),
        Reading::new(names::HITS_FAILING, own(|stats| stats.is_failing().into())),
        Reading::new(names::HITS_ENTRIES, own(|stats| stats.entries() as f64)),
        Reading::new(names::HITS_WRITTEN, own(|stats| stats.written() as f64)),
        Reading::new(names::HITS_UNNAMED, own(|stats| stats.unnamed() as f64)),
        Reading::new(names::HITS_LOST, own(|stats| stats.lost() as f64)),
    ]
}

fn of_traces(stats: &Arc<TraceStats>) -> [Reading; 3] {
    let own = |result, read: fn(&TraceStats) -> u64| {
        let stats = stats.clone();
        Reading::of(names::TRACES_EXPORTED, result, move || read(&stats) as f64)
    };
    [own("ok", TraceStats::exported), own("failed", TraceStats::failed), own("dropped", TraceStats::dropped)]
}

/// What orders certificates, if anything does.
pub(super) fn of_orders(stats: &Arc<EngineStats>) -> Vec<Reading> {
    let own = |read: fn(&EngineStats) -> u64| {
        let stats = stats.clone();
        move || read(&stats) as f64
    };
    let waiting = |stats: &EngineStats| {
        let covered = stats.covered.load(Relaxed) + stats.failing.load(Relaxed);
        stats.wanted.load(Relaxed).saturating_sub(covered)
    };
    vec![
        Reading::of(names::ACME_NAMES, "covered", own(|stats| stats.covered.load(Relaxed))),
        Reading::of(names::ACME_NAMES, "waiting", own(waiting)),
        Reading::of(names::ACME_NAMES, "failing", own(|stats| stats.failing.load(Relaxed))),
        Reading::of(names::ACME_ORDERS, "issued", own(|stats| stats.issued.load(Relaxed))),
        Reading::of(names::ACME_ORDERS, "failed", own(|stats| stats.dropped.load(Relaxed))),
        Reading::new(names::ACME_FAILING, own(|stats| stats.is_failing.load(Relaxed).into())),
    ]
}

/// Bytes of what is yet to be told: a second or so at full load.
const MEMORY: usize = 64 << 20;
