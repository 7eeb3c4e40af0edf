//! From the threads that answer to those who want to know of each exchange: the access log, the counts of hits.
//!
//! A thread that answers appends to a buffer that is all but its own, so that it never waits for a disk or a database; the
//! pipeline's thread takes the buffers away, several times a second, and tells its consumers. What does not fit into a
//! buffer is dropped and counted.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle, Thread, park_timeout},
    time::Duration,
};

use super::Exchange;

/// Somebody who wants to know of every exchange, on a thread where no client waits.
pub trait Consumer: Send {
    /// An exchange. They come in about the order in which they ended.
    fn exchange(&mut self, exchange: &Exchange<'_>);

    /// Everything that had come has been told. Called several times a second, whether something came or not.
    fn pause(&mut self);

    /// Nothing comes any more: everything is to be where it lasts.
    fn end(&mut self);
}

/// Where exchanges are left. Without a consumer, nothing is.
#[derive(Debug, Default)]
pub struct Pipeline {
    buffers: Arc<Buffers>,
    waker: Option<Thread>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Buffers {
    shards: Box<[Shard]>,
    /// Bytes that each may hold.
    room: usize,
    dropped: AtomicU64,
    ends: AtomicBool,
}

/// A buffer that one thread in a few writes to. Its lock is all but never waited for: it is held for as long as it takes to
/// append some hundred bytes, or to put another buffer in its place.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<u8>>);

impl Pipeline {
    /// Starts to tell `consumers`. About `threads` threads will leave exchanges, in `bytes` of memory for what the consumers
    /// have not been told.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(consumers: Vec<Box<dyn Consumer>>, threads: usize, bytes: usize) -> io::Result<Self> {
        if consumers.is_empty() {
            return Ok(Pipeline::default());
        }
        let shards: Box<[Shard]> = (0..threads.clamp(1, MOST_SHARDS)).map(|_| Shard::default()).collect();
        // Half is for what is being told.
        let room = bytes / 2 / shards.len();
        let buffers = Arc::new(Buffers { shards, room, ..Buffers::default() });
        let own = buffers.clone();
        let thread = Builder::new().name("telemetry".to_owned()).spawn(move || own.tell(consumers))?;
        Ok(Pipeline { buffers, waker: Some(thread.thread().clone()), thread: Mutex::new(Some(thread)) })
    }

    /// Whether anybody wants to know of exchanges.
    pub fn is_wanted(&self) -> bool {
        self.waker.is_some()
    }

    /// Leaves an exchange for the consumers. Waits for nobody.
    pub fn leave(&self, exchange: &Exchange<'_>) {
        let Some(waker) = &self.waker else { return };
        let Buffers { shards, room, dropped, .. } = &*self.buffers;
        let mut buffer = shards[thread_number() % shards.len()].lock();
        let before = buffer.len();
        exchange.write(&mut buffer);
        let after = buffer.len();
        if after > *room {
            buffer.truncate(before);
            dropped.fetch_add(1, Ordering::Relaxed);
        } else if before <= room / 2 && after > room / 2 {
            waker.unpark();
        }
    }

    /// How many exchanges were dropped because the consumers are too slow.
    pub fn dropped(&self) -> u64 {
        self.buffers.dropped.load(Ordering::Relaxed)
    }

    /// Tells the consumers all that was left, and ends them. What is left from now on is dropped. Blocks.
    pub fn end(&self) {
        self.buffers.ends.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            // A consumer that failed has been reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Whatever happened to another thread, what stands there are whole exchanges: `Vec` only grows or is cut.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffers {
    fn tell(&self, mut consumers: Vec<Box<dyn Consumer>>) {
        let mut taken = Vec::new();
        loop {
            let ends = self.ends.load(Ordering::Acquire);
            for shard in &self.shards {
                std::mem::swap(&mut *shard.lock(), &mut taken);
                let mut rest = &taken[..];
                while let Some(exchange) = Exchange::take(&mut rest) {
                    consumers.iter_mut().for_each(|consumer| consumer.exchange(&exchange));
                }
                // As much as such a turn takes is kept: memory that is given back has to be cleared when it is had again, by
                // those who answer.
                let used = taken.len();
                taken.clear();
                taken.shrink_to(KEPT.max(2 * used));
            }
            if ends {
                return consumers.iter_mut().for_each(|consumer| consumer.end());
            }
            consumers.iter_mut().for_each(|consumer| consumer.pause());
            park_timeout(TURN);
        }
    }
}

/// The number of this thread, by which it has a shard that few others write to.
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

/// How often the consumers are told, unless there is much to tell.
const TURN: Duration = Duration::from_millis(100);

/// Buffers, at most.
const MOST_SHARDS: usize = 64;

/// Bytes of an empty buffer that are kept for the next turn, however little there was to tell.
const KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Told {
        exchanges: mpsc::Sender<u64>,
        /// Nothing is taken until somebody says so.
        gate: mpsc::Receiver<()>,
        is_open: bool,
    }

    impl Consumer for Told {
        fn exchange(&mut self, exchange: &Exchange<'_>) {
            if !self.is_open {
                self.gate.recv().unwrap();
                self.is_open = true;
            }
            self.exchanges.send(exchange.sent).unwrap();
        }

        fn pause(&mut self) {}

        fn end(&mut self) {
            self.exchanges.send(u64::MAX).unwrap();
        }
    }

    fn start(bytes: usize) -> (Pipeline, mpsc::Receiver<u64>, mpsc::Sender<()>) {
        let ((exchanges, told), (opener, gate)) = (mpsc::channel(), mpsc::channel());
        let consumer = Told { exchanges, gate, is_open: false };
        (Pipeline::start(vec![Box::new(consumer)], 4, bytes).unwrap(), told, opener)
    }

    #[test]
    fn all_that_threads_leave_is_told_by_the_end() {
        let (pipeline, told, opener) = start(64 << 20);
        opener.send(()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let pipeline = &pipeline;
                scope.spawn(move || {
                    for number in 0..1_000 {
                        pipeline.leave(&Exchange { sent: thread * 1_000 + number, ..Exchange::default() });
                    }
                });
            }
        });
        pipeline.end();
        let mut told: Vec<u64> = told.iter().collect();
        assert_eq!(told.pop(), Some(u64::MAX));
        told.sort_unstable();
        assert_eq!(told, (0..8_000).collect::<Vec<_>>());
        assert_eq!(pipeline.dropped(), 0);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
        let (pipeline, told, opener) = start(64 << 10);
        // The consumer takes nothing; each buffer has 8 KiB.
        (0..10_000).for_each(|sent| pipeline.leave(&Exchange { sent, ..Exchange::default() }));
        let dropped = pipeline.dropped();
        assert!((9_000..10_000).contains(&dropped), "{dropped}");
        opener.send(()).unwrap();
        pipeline.end();
        let told: Vec<u64> = told.iter().collect();
        assert_eq!(told.len() as u64 - 1 + dropped, 10_000);
        assert!(told.is_sorted());
    }

    #[test]
    fn without_a_consumer_there_is_nothing_to_do() {
        let pipeline = Pipeline::start(Vec::new(), 4, 1 << 20).unwrap();
        assert!(!pipeline.is_wanted());
        pipeline.leave(&Exchange::default());
        pipeline.end();
        assert_eq!(pipeline.dropped(), 0);
    }
}
