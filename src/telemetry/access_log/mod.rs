//! The access log: a line for every request.
//!
//! Owns: the folder `[log] folder`: the file that is written, those of days before, and what else stands there under hidden
//! names (locks, the key of clients' hashes). Never does: anything on a thread that answers requests.
//!
//! Invariants: a line is whole, whatever happens to disk or process, but for the last of a crash, which is removed; no
//! client can end a line or a value, and JSON lines say byte for byte what was sent; what can't be written is kept for as
//! long as there is room, then counted as lost, and nothing else suffers. A file is removed only when it is old enough,
//! or when all are too many, which is told ([`AccessLogStats::is_short`]).
//!
//! Whatever may be done to files from outside is noticed at the next pause: one that was moved or removed begins anew.
//!
//! Called by: the pipeline's thread. `waypost logs` reads the files ([`rotated`], [`Record`]).

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Consumer, Exchange, Journal};
use crate::config::{AccessLogSettings, LogFormat};
use archive::{Archive, Archivist};
use client::Clients;
use current::Current;
use line::Lines;
use world::World;

mod archive;
mod client;
mod current;
pub mod fields;
mod files;
mod line;
mod record;
mod stats;
mod text;
mod world;

pub use files::{CURRENT, RotatedFile, rotated};
pub use line::CombinedLines;
pub use record::Record;
pub use stats::AccessLogStats;

#[cfg(test)]
mod tests;

/// The access log of a gateway.
#[derive(Debug)]
pub struct AccessLog {
    settings: AccessLogSettings,
    world: World,
    lines: Lines,
    clients: Clients,
    current: Current,
    /// Lines that are not in the file.
    buffer: Vec<u8>,
    /// How long the buffer may get before it is written.
    patience: usize,
    stats: Arc<AccessLogStats>,
    /// Lines that had been lost when writing began to fail.
    lost_before: u64,
    failures: Journal,
    recoveries: Journal,
    archivist: Option<Archivist>,
}

impl AccessLog {
    /// The access log that the settings want, if they want one. A folder that can't be written to is told in the log and by
    /// [`AccessLogStats::is_failing`], and tried again.
    pub fn open(settings: &AccessLogSettings) -> Option<(Self, Arc<AccessLogStats>)> {
        if settings.format == LogFormat::Off {
            return None;
        }
        let mut log = Self::within(settings, World::real());
        let stats = log.stats.clone();
        log.write();
        log.archivist = Some(Archivist::start(log.archive()));
        Some((log, stats))
    }

    fn within(settings: &AccessLogSettings, world: World) -> Self {
        AccessLog {
            lines: Lines::new(settings.format, world.zone.clone()),
            clients: Clients::new(settings.client, &settings.folder, world.today()),
            current: Current::new(&settings.folder, settings.rotate_bytes, world.clone()),
            buffer: Vec::with_capacity(WRITE + SPARE),
            patience: WRITE,
            stats: Arc::default(),
            lost_before: 0,
            failures: Journal::default(),
            recoveries: Journal::default(),
            archivist: None,
            settings: settings.clone(),
            world,
        }
    }

    fn archive(&self) -> Archive {
        Archive::new(&self.settings, self.world.clone(), self.stats.clone())
    }

    /// Writes what there is, and looks after the file.
    fn write(&mut self) {
        let written = self.current.append(&mut self.buffer);
        self.stats.lines.fetch_add(written.lines, Ordering::Relaxed);
        if written.rotated
            && let Some(archivist) = &self.archivist
        {
            archivist.wake();
        }
        match written.fault {
            Some(error) => self.fail(&error.to_string()),
            None if written.busy => {}
            None => {
                self.stats.current_bytes.store(written.size, Ordering::Relaxed);
                self.recover();
            }
        }
        self.patience = self.buffer.len() + WRITE;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(WRITE + SPARE);
        }
    }

    fn fail(&mut self, why: &str) {
        if !self.stats.failing.swap(true, Ordering::Relaxed) {
            self.lost_before = self.stats.lost();
            let path = self.current.path();
            self.failures.note(|_| {
                log::error!(
                    "the access log {} can't be written: {why}; it is tried again, and requests are answered all the same",
                    path.display()
                );
            });
        }
    }

    fn recover(&mut self) {
        if self.stats.failing.swap(false, Ordering::Relaxed) {
            let lost = self.stats.lost() - self.lost_before;
            self.recoveries.note(|_| log::warn!("the access log is written again; {lost} of its lines are lost"));
        }
    }
}

impl Consumer for AccessLog {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if self.buffer.len() >= MOST {
            self.fail("too much waits to be written");
            self.stats.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines.write(exchange, &self.clients, &mut self.buffer);
        if self.buffer.len() >= self.patience {
            self.write();
        }
    }

    fn pause(&mut self) {
        self.clients.turn(&self.settings.folder, self.world.today());
        self.write();
    }

    fn end(&mut self) {
        let start = Instant::now();
        self.write();
        // Another process may have the lock; it never has it for long.
        while !self.buffer.is_empty() && !self.stats.is_failing() && start.elapsed() < LAST {
            std::thread::sleep(LAST_PAUSE);
            self.write();
        }
        let lost = memchr::memchr_iter(b'\n', &self.buffer).count() as u64;
        self.stats.lost.fetch_add(lost, Ordering::Relaxed);
        self.buffer.clear();
        if lost > 0 {
            log::error!("access log: {lost} lines are lost, since they can't be written");
        }
        if let Err(error) = self.current.sync() {
            log::error!("access log: the end of {} may be lost: {error}", self.current.path().display());
        }
        self.archivist = None;
    }
}

/// Bytes that are written at once, where there is much to write.
const WRITE: usize = 256 << 10;

/// Bytes of the line with which it is enough: but for odd ones, the buffer never grows.
const SPARE: usize = 64 << 10;

/// Bytes of lines that are kept for when they can be written.
const MOST: usize = 4 << 20;

/// How long the end waits for another process.
const LAST: Duration = Duration::from_secs(1);

const LAST_PAUSE: Duration = Duration::from_millis(5);
