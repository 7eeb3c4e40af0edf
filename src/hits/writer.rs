//! The thread that writes to the database. It may wait there for as long as it likes.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{Builder, Thread, park_timeout, sleep},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use compact_str::CompactString;
use jiff::{Timestamp, civil::Date};
use sqlx::{AnyConnection, Connection};
use tokio::{runtime::Runtime, time::timeout};

use super::calendar::Calendar;
use super::counts::{Batch, Counts};
use super::database::{Access, HitsError, connect, fault, place};
use super::stats::Stats;
use super::store::{Ticket, store};
use super::upkeep::{keep_house, trim};
use crate::config::{HitsDatabase, HitsSettings};

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Without a buffer: who is busy takes nothing.
    sender: Option<SyncSender<Counts>>,
    ends: Arc<AtomicBool>,
    thread: Thread,
    /// Says that the thread is done, by being dropped.
    done: Receiver<()>,
}

impl Writer {
    /// Starts the thread. It connects at once, so that what is wrong is told at the start.
    pub fn start(settings: HitsSettings, stats: Arc<Stats>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = sync_channel(0);
        let (alive, done) = sync_channel(0);
        let ends = Arc::new(AtomicBool::new(false));
        let work = Work::new(settings, stats, ends.clone());
        let thread = Builder::new().name("hits".to_owned()).spawn(move || {
            let _alive: SyncSender<()> = alive;
            if let Some(work) = work {
                work.run(&runtime, &receiver);
            }
        })?;
        Ok(Writer { sender: Some(sender), ends, thread: thread.thread().clone(), done })
    }

    /// Has counts written. Gives them back if it is busy.
    pub fn write(&self, counts: Counts) -> Result<(), Counts> {
        let Some(sender) = &self.sender else { return Err(counts) };
        sender.try_send(counts).map_err(|error| match error {
            TrySendError::Full(counts) | TrySendError::Disconnected(counts) => counts,
        })
    }

    /// Has the last counts written, and ends the thread. Blocks for some seconds at most. Gives the counts back if nobody
    /// takes them.
    pub fn end(&mut self, mut counts: Counts) -> Result<(), Counts> {
        let until = Instant::now() + LAST_WORDS;
        self.ends.store(true, Ordering::Release);
        self.thread.unpark();
        while !counts.is_empty()
            && let Err(back) = self.write(counts)
        {
            if Instant::now() > until || self.done.try_recv() == Err(TryRecvError::Disconnected) {
                return Err(back);
            }
            counts = back;
            sleep(Duration::from_millis(5));
        }
        self.sender = None;
        let left = until.saturating_duration_since(Instant::now());
        if self.done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            log::error!("the last hits may be lost: their database does not answer");
        }
        Ok(())
    }
}

/// What the thread has.
struct Work {
    settings: HitsSettings,
    database: HitsDatabase,
    calendar: Calendar,
    stats: Arc<Stats>,
    ends: Arc<AtomicBool>,
    connection: Option<AnyConnection>,
    run: String,
    number: i64,
    /// When the house was kept last.
    kept: Option<Date>,
    /// Rows of URLs that were written of a day and site since they were trimmed.
    rows: BTreeMap<(CompactString, CompactString), usize>,
}

impl Work {
    fn new(settings: HitsSettings, stats: Arc<Stats>, ends: Arc<AtomicBool>) -> Option<Self> {
        let mut id = [0; 16];
        // Without random numbers, the time will do: nobody attacks it.
        if rand::fill(&mut id).is_err() {
            id = Timestamp::now().as_nanosecond().to_be_bytes();
        }
        Some(Work {
            database: settings.database.clone()?,
            calendar: Calendar::new(&settings),
            settings,
            stats,
            ends,
            connection: None,
            run: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            number: 0,
            kept: None,
            rows: BTreeMap::new(),
        })
    }

    fn run(mut self, runtime: &Runtime, receiver: &Receiver<Counts>) {
        if let Err(error) = runtime.block_on(self.connect()) {
            self.fail(&error);
        }
        while let Ok(counts) = receiver.recv() {
            let batch = counts.into_batch();
            self.number += 1;
            if !self.write(runtime, &batch) {
                self.stats.lose(batch.hits);
                return;
            }
            self.stats.unnamed.fetch_add(batch.unnamed, Ordering::Relaxed);
            self.stats.written.fetch_add(batch.hits, Ordering::Release);
            self.stats.flushes.fetch_add(1, Ordering::Release);
            if let Err(error) = runtime.block_on(self.tidy(&batch)) {
                self.connection = None;
                log::warn!("old hits can't be tidied up: {error}");
            }
        }
        if let Some(connection) = self.connection {
            // With SQLite, this also takes the write-ahead log in.
            let _ = runtime.block_on(connection.close());
        }
    }

    /// Tries until it is written; false if it is not, and the gateway stops.
    fn write(&mut self, runtime: &Runtime, batch: &Batch) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            // Once more, if it ends: it was away, and may be back.
            let ends = self.ends.load(Ordering::Acquire);
            match runtime.block_on(self.try_to_write(batch)) {
                Ok(()) => {
                    if self.stats.failing.swap(false, Ordering::Relaxed) {
                        log::info!("hits are written again to {}", place(&self.database));
                    }
                    self.stats.last_flush.store(Timestamp::now().as_second(), Ordering::Relaxed);
                    return true;
                }
                Err(error) => self.fail(&error),
            }
            // What became of the transaction is not known: the next connection finds out.
            self.connection = None;
            if ends {
                return false;
            }
            self.wait(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Waits, unless the gateway stops.
    fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.ends.load(Ordering::Acquire)
            && let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            park_timeout(left);
        }
    }

    async fn try_to_write(&mut self, batch: &Batch) -> Result<(), HitsError> {
        self.connect().await?;
        let Work { connection: Some(connection), database, run, number, .. } = self else { return Ok(()) };
        let ticket = Ticket { run, number: *number };
        let now = Timestamp::now().as_second();
        match timeout(PATIENCE, store(connection, ticket, now, batch)).await {
            Ok(stored) => stored.map_err(|error| fault(database, &error)),
            Err(_) => Err(HitsError::Database {
                place: place(database),
                why: format!("took nothing within {} seconds", PATIENCE.as_secs()),
            }),
        }
    }

    async fn connect(&mut self) -> Result<(), HitsError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.database, Access::Write).await?);
        }
        Ok(())
    }

    fn fail(&self, error: &HitsError) {
        self.stats.failures.fetch_add(1, Ordering::Relaxed);
        // Once is enough.
        if !self.stats.failing.swap(true, Ordering::Relaxed) {
            log::warn!("{error}; hits are kept in memory, and it is tried again");
        }
    }

    /// Trims what has grown, and keeps the house once a day.
    async fn tidy(&mut self, batch: &Batch) -> Result<(), HitsError> {
        for row in &batch.urls {
            *self.rows.entry((row.day.clone(), row.site.clone())).or_default() += 1;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let most = self.settings.rows;
        let told = |error: sqlx::Error| fault(&self.database, &error);
        // At most twice what may be there is there.
        for ((day, site), rows) in self.rows.iter_mut().filter(|(_, rows)| **rows >= most as usize) {
            trim(connection, day, site, most).await.map_err(told)?;
            *rows = 0;
        }
        let today = self.calendar.today();
        if self.kept != Some(today) {
            let today_text = CompactString::from(today.to_string());
            // Yesterday's may still come.
            self.rows.retain(|(day, _), rows| *rows > 0 || *day == today_text);
            keep_house(connection, &self.settings, today).await.map_err(told)?;
            self.kept = Some(today);
        }
        Ok(())
    }
}

/// How long the gateway waits for the last counts when it stops.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long a batch may take. The largest has some 100,000 rows.
const PATIENCE: Duration = Duration::from_secs(300);

/// Time until the database is tried again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
