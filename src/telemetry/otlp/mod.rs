//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, in JSON (opentelemetry.io/docs/specs/otlp).
//!
//! Owns: batches, the queue of those that are to be sent, and the thread that sends them. Never does: waiting, on the
//! pipeline's thread; what does not fit into the queue is dropped and counted.

mod post;
mod span;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{Builder, Thread},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Consumer, Exchange};
use crate::config::TraceSettings;
use post::Post;

/// Makes spans of the exchanges whose traces are recorded.
#[derive(Debug)]
pub struct TraceExport {
    service: String,
    spans: Vec<Value>,
    /// When the first of them came.
    since: Instant,
    stats: Arc<TraceStats>,
    sender: Option<Sender>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct TraceStats {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl TraceStats {
    /// How many the collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// How many it refused, or was away for.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many were not sent, because too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Spans as they are sent.
#[derive(Debug)]
struct Batch {
    body: Vec<u8>,
    spans: u64,
}

/// The thread that sends.
#[derive(Debug)]
struct Sender {
    queue: SyncSender<Batch>,
    ends: Arc<AtomicBool>,
    thread: Thread,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

impl TraceExport {
    /// The export that these settings want, if they do, and what becomes of spans.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn open(settings: &TraceSettings) -> io::Result<Option<(Self, Arc<TraceStats>)>> {
        let Some(endpoint) = settings.endpoint.clone() else { return Ok(None) };
        let (stats, ends) = (Arc::<TraceStats>::default(), Arc::<AtomicBool>::default());
        let (queue, batches) = mpsc::sync_channel::<Batch>(QUEUE);
        let (alive, ended) = mpsc::channel();
        let post = Post::new(endpoint, stats.clone(), ends.clone());
        let thread = Builder::new().name("traces".to_owned()).spawn(move || {
            let _alive: mpsc::Sender<()> = alive;
            batches.iter().for_each(|batch| post.deliver(&batch));
        })?;
        let sender = Sender { queue, ends, thread: thread.thread().clone(), ended };
        let export = TraceExport {
            service: settings.service.clone(),
            spans: Vec::new(),
            since: Instant::now(),
            stats: stats.clone(),
            sender: Some(sender),
        };
        Ok(Some((export, stats)))
    }

    fn flush(&mut self) {
        let (Some(sender), false) = (&self.sender, self.spans.is_empty()) else { return };
        let spans = std::mem::take(&mut self.spans);
        let batch = Batch { spans: spans.len() as u64, body: span::request(&self.service, spans) };
        if let Err(full) = sender.queue.try_send(batch) {
            let (mpsc::TrySendError::Full(batch) | mpsc::TrySendError::Disconnected(batch)) = full;
            self.stats.dropped.fetch_add(batch.spans, Ordering::Relaxed);
        }
    }
}

impl Consumer for TraceExport {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if !exchange.sampled || exchange.span == 0 {
            return;
        }
        if self.spans.is_empty() {
            self.since = Instant::now();
        }
        self.spans.push(span::of(exchange));
        if self.spans.len() >= BATCH {
            self.flush();
        }
    }

    fn pause(&mut self) {
        if self.since.elapsed() >= INTERVAL {
            self.flush();
        }
    }

    fn end(&mut self) {
        self.flush();
        let Some(Sender { queue, ends, thread, ended }) = self.sender.take() else { return };
        ends.store(true, Ordering::Release);
        drop(queue);
        thread.unpark();
        // An error is what is waited for; a collector that does not answer can't hold up the end for longer.
        let _ = ended.recv_timeout(END);
    }
}

/// Spans that are sent together, at most.
const BATCH: usize = 512;

/// How long a span waits for others, at most.
const INTERVAL: Duration = Duration::from_secs(5);

/// Batches that wait while another is sent: a minute and more of the usual sample at full load, in about 8 MiB.
const QUEUE: usize = 16;

/// How long the end waits for what is still to be sent.
const END: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A collector that gives these answers in turn, one for each connection, then none. What it was sent comes out.
    fn collector(answers: &'static [&'static str]) -> (String, Receiver<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            for answer in answers {
                let mut reader = BufReader::new(listener.accept().unwrap().0);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(reader.read_line(&mut head).unwrap(), 0);
                }
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                assert!(head.to_lowercase().contains("content-type: application/json\r\n"), "{head}");
                let length =
                    head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap()];
                reader.read_exact(&mut body).unwrap();
                sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
                let answer = answer.replace('\n', "\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (endpoint, bodies)
    }

    fn open(endpoint: String) -> (TraceExport, Arc<TraceStats>) {
        let settings =
            TraceSettings { endpoint: Some(endpoint), sample: 0, service: "gateway".to_owned(), trust_clients: false };
        TraceExport::open(&settings).unwrap().unwrap()
    }

    fn sampled(span: u64) -> Exchange<'static> {
        Exchange { trace: "4bf92f3577b34da6a3ce929d0e0e4736", span, sampled: true, ..Exchange::default() }
    }

    /// Waits until so many were exported, failed and dropped.
    fn until(stats: &TraceStats, want: [u64; 3]) {
        let start = Instant::now();
        loop {
            let numbers = [stats.exported(), stats.failed(), stats.dropped()];
            if numbers == want {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{numbers:?} are not {want:?}");
            thread::yield_now();
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);
    const OK: &str = "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 2\n\n{}";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\nConnection: close\nContent-Length: 0\n\n";
    const BAD: &str = "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 0\n\n";
    const PARTLY: &str =
        "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 40\n\n{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}";

    #[test]
    fn spans_are_sent_together_and_those_of_no_trace_are_not() {
        let (endpoint, bodies) = collector(&[OK]);
        let (mut export, stats) = open(endpoint);
        (1..=3).for_each(|span| export.exchange(&sampled(span)));
        export.exchange(&Exchange { sampled: false, ..sampled(4) });
        export.exchange(&Exchange::default());
        export.end();
        let body = bodies.recv_timeout(PATIENCE).unwrap();
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["0000000000000001", "0000000000000002", "0000000000000003"]);
        until(&stats, [3, 0, 0]);
    }

    #[test]
    fn a_collector_that_is_busy_is_asked_again() {
        let (endpoint, bodies) = collector(&[BUSY, OK, BAD, PARTLY]);
        let (mut export, stats) = open(endpoint);
        (0..BATCH).for_each(|_| export.exchange(&sampled(1)));
        let first = bodies.recv_timeout(PATIENCE).unwrap();
        assert_eq!(first, bodies.recv_timeout(PATIENCE).unwrap());
        // What is wrong stays wrong.
        (0..BATCH).for_each(|_| export.exchange(&sampled(2)));
        bodies.recv_timeout(PATIENCE).unwrap();
        export.exchange(&sampled(3));
        export.exchange(&sampled(4));
        export.end();
        bodies.recv_timeout(PATIENCE).unwrap();
        until(&stats, [BATCH as u64 + 1, BATCH as u64 + 1, 0]);
    }

    #[test]
    fn a_collector_that_is_away_costs_spans_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        // It takes connections, and says nothing.
        let (mut export, stats) = open(endpoint);
        let start = Instant::now();
        let batches = QUEUE + 20;
        (0..batches * BATCH).for_each(|_| export.exchange(&sampled(1)));
        let dropped = stats.dropped();
        // One may have left the queue.
        assert!([20, 19].map(|batches| batches * BATCH as u64).contains(&dropped), "{dropped}");
        export.end();
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        drop(listener);
    }
}
