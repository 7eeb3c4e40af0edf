//! The thread's part: a batch is posted until the collector has it, or there is no hope.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use ureq::{Agent, tls::TlsConfig};

use super::{Batch, TraceStats};
use crate::telemetry::Journal;

/// Posts to a collector.
pub(super) struct Post {
    agent: Agent,
    endpoint: String,
    stats: Arc<TraceStats>,
    /// Whether there is no time left to try again.
    ends: Arc<AtomicBool>,
    journal: Journal,
}

/// Why a batch was not taken.
struct Fault {
    why: String,
    /// How long to wait before it is sent again, if the collector says so; none if that makes no sense.
    again: Option<Duration>,
}

impl Post {
    pub fn new(endpoint: String, stats: Arc<TraceStats>, ends: Arc<AtomicBool>) -> Self {
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            // Who is asked says gateway.toml alone.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(TIME))
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        Post { agent: config.build().into(), endpoint, stats, ends, journal: Journal::default() }
    }

    /// Sends a batch. Blocks until it is taken or given up.
    pub fn deliver(&self, batch: &Batch) {
        let mut wait = FIRST_WAIT;
        for is_last in (1..=TRIES).map(|try_| try_ == TRIES) {
            match self.send(&batch.body) {
                Ok(rejected) => {
                    let rejected = rejected.min(batch.spans);
                    self.stats.exported.fetch_add(batch.spans - rejected, Ordering::Relaxed);
                    self.stats.failed.fetch_add(rejected, Ordering::Relaxed);
                    if rejected > 0 {
                        self.complain(&format!("it refused {rejected} spans of {}", batch.spans));
                    }
                    return;
                }
                Err(Fault { why, again }) => {
                    self.complain(&why);
                    match again {
                        Some(asked) if !is_last && self.wait(asked.clamp(wait, MAX_WAIT)) => wait *= 2,
                        _ => break,
                    }
                }
            }
        }
        self.stats.failed.fetch_add(batch.spans, Ordering::Relaxed);
    }

    /// How many spans of these the collector refused, if it took the others.
    fn send(&self, body: &[u8]) -> Result<u64, Fault> {
        let answer = self.agent.post(&self.endpoint).header("content-type", "application/json").send(body);
        let mut answer = answer.map_err(|error| Fault { why: error.to_string(), again: Some(Duration::ZERO) })?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let again = RETRYABLE.contains(&status).then(|| Duration::from_secs(seconds.unwrap_or(0)));
            return Err(Fault { why: format!("it answered {status}"), again });
        }
        // A connection is used again when its answer has been read. What can't be read refuses nothing.
        let answer = answer.body_mut().with_config().limit(ANSWER).read_to_vec().unwrap_or_default();
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let rejected = &answer["partialSuccess"]["rejectedSpans"];
        Ok(rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0))
    }

    /// Whether there is time to wait so long.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.ends.load(Ordering::Acquire) {
            match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return true,
            }
        }
        false
    }

    fn complain(&self, why: &str) {
        self.journal.note(|count| {
            log::warn!("the collector of traces, {}: {why} ({count} such faults since the last line)", self.endpoint);
        });
    }
}

/// Statuses after which the same may be sent again (OTLP 1.x, "Failures").
const RETRYABLE: &[u16] = &[429, 502, 503, 504];

/// How often a batch is sent, at most.
const TRIES: u32 = 6;

/// Between the first two tries; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest time between two tries, whatever the collector asks for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long a post may take, connecting included.
const TIME: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024;
