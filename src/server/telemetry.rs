//! Who is told of each request, and what is shown of it.

use std::sync::Arc;

use crate::config::Gateway;
use crate::hits;
use crate::telemetry::{Consumer, LoopDetector, Metrics, Pipeline, names};

/// Starts to tell the consumers that gateway.toml asks for, and shows how they are.
///
/// # Errors
/// If the system has no thread left, or a metric is there already.
pub(super) fn start(gateway: &Gateway, threads: usize, metrics: &Metrics) -> anyhow::Result<Arc<Pipeline>> {
    let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
    let loops = LoopDetector::default();
    let seen = loops.seen();
    metrics.add_readings(vec![(names::REDIRECT_LOOPS, Box::new(move || seen.get() as f64))])?;
    consumers.push(Box::new(loops));
    if let Some((collector, stats)) = hits::open(&gateway.hits)? {
        hits::show(metrics, &stats)?;
        consumers.push(Box::new(collector));
    }
    let connections = f64::from(crate::door::room(gateway.limits.connections));
    let pipeline = Arc::new(Pipeline::start(consumers, threads, MEMORY)?);
    let dropped = pipeline.clone();
    metrics.add_readings(vec![
        (names::TELEMETRY_DROPPED, Box::new(move || dropped.dropped() as f64)),
        (names::WORKERS, Box::new(move || threads as f64)),
        (names::CONNECTIONS_LIMIT, Box::new(move || connections)),
    ])?;
    Ok(pipeline)
}

/// Bytes of what is yet to be told: a second or so at full load.
const MEMORY: usize = 64 << 20;
