//! Files that are done: compressed, kept as long as they should be, removed.
//!
//! It happens on a thread of its own, at the lowest priority. Whatever it is stopped in the middle of is done anew at the
//! next start: a compressed file has its name only when all of it is on disk, and only then the other is removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle, park_timeout},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use jiff::civil::Date;

use super::{
    files::{self, RotatedFile},
    stats::AccessLogStats,
    world::World,
};
use crate::config::AccessLogSettings;

/// Looks after the files of a folder.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    keep: u32,
    max_bytes: u64,
    world: World,
    stats: Arc<AccessLogStats>,
    stops: Arc<AtomicBool>,
    /// The fault that was last told.
    told: String,
}

/// The thread that it runs on.
#[derive(Debug)]
pub(super) struct Archivist {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Archivist {
    /// Starts it. If the system has no thread left, nothing is compressed or removed until the next start.
    pub(super) fn start(mut archive: Archive) -> Self {
        let stops = archive.stops.clone();
        let thread = Builder::new().name("access log".to_owned()).spawn(move || archive.run());
        let thread = thread.inspect_err(|error| log::error!("access log: its files are not looked after: {error}"));
        Archivist { stops, thread: thread.ok() }
    }

    /// Says that a file is done.
    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Archivist {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported.
            let _ = thread.join();
        }
    }
}

impl Archive {
    pub(super) fn new(settings: &AccessLogSettings, world: World, stats: Arc<AccessLogStats>) -> Self {
        Archive {
            folder: settings.folder.clone(),
            keep: settings.keep,
            max_bytes: settings.max_bytes,
            world,
            stats,
            stops: Arc::default(),
            told: String::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
    }

    fn run(&mut self) {
        // Of this thread only, on Linux. If it can't be had, it is as important as the others.
        let _ = rustix::process::nice(LOWEST);
        while !self.stops.load(Ordering::Acquire) {
            self.round();
            park_timeout(ROUND);
        }
    }

    /// Does what there is to do.
    pub(super) fn round(&mut self) {
        match self.try_round() {
            Ok(()) => self.told.clear(),
            Err(error) if self.told == error => {}
            Err(error) => {
                log::error!("access log: {error}");
                self.told = error;
            }
        }
    }

    fn try_round(&mut self) -> Result<(), String> {
        let blame = |path: &Path, what: &str| {
            let path = path.display().to_string();
            let what = what.to_owned();
            move |error: io::Error| format!("{path} {what}: {error}")
        };
        // It is made when the first line is written.
        if !self.folder.exists() {
            return Ok(());
        }
        let lock = self.folder.join(LOCK);
        let lock = private(&lock, false).map_err(blame(&lock, "can't be opened"))?;
        if lock.try_lock().is_err() {
            // Another process does all this. There are numbers all the same.
            self.count(&self.list()?);
            return Ok(());
        }
        let mut fault = None;
        for file in self.list()?.iter().filter(|file| !file.is_compressed) {
            match self.compress(&file.path) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    fault = fault.or(Some(blame(&file.path, "can't be compressed")(error)));
                }
            }
        }
        let files = self.remove(self.list()?)?;
        self.count(&files);
        // What was written a round ago is on disk then, whatever happens.
        let synced = File::open(self.folder.join(files::CURRENT)).and_then(|file| file.sync_data());
        if let Err(error) = synced
            && error.kind() != io::ErrorKind::NotFound
        {
            fault = fault.or(Some(blame(&self.folder.join(files::CURRENT), "can't be synchronised")(error)));
        }
        fault.map_or(Ok(()), Err)
    }

    fn list(&self) -> Result<Vec<RotatedFile>, String> {
        files::rotated(&self.folder).map_err(|error| format!("{} can't be read: {error}", self.folder.display()))
    }

    /// Compresses a file, unless it has to stop.
    fn compress(&self, path: &Path) -> io::Result<bool> {
        let part = self.folder.join(PART);
        let written = self.write_compressed(path, &part);
        if !matches!(written, Ok(true)) {
            // An error means that there is none, or that it will be overwritten.
            let _ = fs::remove_file(&part);
            return written;
        }
        fs::rename(&part, files::compressed(path))?;
        File::open(&self.folder)?.sync_all()?;
        fs::remove_file(path)?;
        Ok(true)
    }

    fn write_compressed(&self, path: &Path, part: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(part)?;
        let mut encoder = GzEncoder::new(out, Compression::default());
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.stops.load(Ordering::Acquire) {
                return Ok(false);
            }
            match file.read(&mut buffer)? {
                0 => break,
                count => encoder.write_all(&buffer[..count])?,
            }
        }
        let out = encoder.finish()?;
        // For whoever looks at the folder.
        out.set_modified(file.metadata()?.modified()?)?;
        out.sync_all()?;
        Ok(true)
    }

    /// Removes what is old enough, and what is too much. Returns what is left.
    fn remove(&self, mut files: Vec<RotatedFile>) -> Result<Vec<RotatedFile>, String> {
        let today = self.world.today();
        let remove = |file: &RotatedFile| {
            let removed = fs::remove_file(&file.path);
            removed.map_err(|error| format!("{} can't be removed: {error}", file.path.display()))
        };
        while let Some(oldest) = files.first().filter(|file| self.is_old(file.day, today)) {
            remove(oldest)?;
            files.remove(0);
        }
        let mut early = Vec::new();
        let mut bytes = files.iter().map(|file| file.bytes).sum::<u64>() + self.current_bytes();
        while let Some(oldest) = files.first().filter(|_| bytes > self.max_bytes) {
            remove(oldest)?;
            bytes -= oldest.bytes;
            early.push(files.remove(0));
        }
        if let Some(last) = early.last() {
            log::error!(
                "access log: {} of {} had to go before {} days were over, since all files may have {} MiB together: raise [log] max-size",
                if let [one] = &early[..] { format!("{} bytes", one.bytes) } else { format!("{} files", early.len()) },
                last.day,
                self.keep,
                self.max_bytes >> 20
            );
            self.note_early(last.day);
        }
        Ok(files)
    }

    /// Whether a file of `day` need not be kept any longer: all of it is older than that many days.
    fn is_old(&self, day: Date, today: Date) -> bool {
        today.since(day).is_ok_and(|span| i64::from(span.get_days()) > i64::from(self.keep))
    }

    /// Writes down that a file of `day` is missing, for the next start.
    fn note_early(&self, day: Date) {
        let path = self.folder.join(EARLY);
        let written = private(&path, true).and_then(|mut file| file.write_all(format!("{day}\n").as_bytes()));
        if let Err(error) = written {
            log::warn!("access log: {} can't be written: {error}", path.display());
        }
    }

    /// Shows how things are.
    fn count(&self, files: &[RotatedFile]) {
        let early = fs::read_to_string(self.folder.join(EARLY)).ok().and_then(|day| day.trim().parse::<Date>().ok());
        let is_short = early.is_some_and(|day| !self.is_old(day, self.world.today()));
        self.stats.short.store(is_short, Ordering::Relaxed);
        let bytes = files.iter().map(|file| file.bytes).sum();
        self.stats.rotated_bytes.store(bytes, Ordering::Relaxed);
        let first = files.first().map(|file| file.day).or((self.current_bytes() > 0).then(|| self.world.today()));
        let begins = first.and_then(|day| day.to_zoned(self.world.zone.clone()).ok());
        let begins = begins.map_or(0, |time| time.timestamp().as_second());
        self.stats.oldest.store(begins, Ordering::Relaxed);
    }

    fn current_bytes(&self) -> u64 {
        fs::metadata(self.folder.join(files::CURRENT)).map_or(0, |metadata| metadata.len())
    }
}

fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// The file that is locked by who looks after the others.
const LOCK: &str = ".archive.lock";

/// What is being compressed.
const PART: &str = ".access.gz.part";

/// The file that has the day of the youngest file that was removed before its time.
const EARLY: &str = ".removed-early";

/// How often it looks.
const ROUND: Duration = Duration::from_secs(60);

/// The niceness that yields to everybody.
const LOWEST: i32 = 19;

const BUFFER: usize = 256 << 10;
