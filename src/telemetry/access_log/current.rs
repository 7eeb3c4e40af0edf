//! The file that is written.
//!
//! Two processes write to it while one takes over from the other, so everything happens under a lock on a file beside it:
//! whole lines only, and never to a file that has been rotated away.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::Date};

use super::{files, world::World};

/// `access.log`, opened when it is first written to.
#[derive(Debug)]
pub(super) struct Current {
    folder: PathBuf,
    rotate_bytes: u64,
    world: World,
    open: Option<Open>,
    /// Why the file could not be rotated, as it was last told.
    told: String,
}

#[derive(Debug)]
struct Open {
    file: File,
    lock: File,
    /// The day on which this process last wrote to the file.
    wrote: Option<Date>,
}

/// What came of writing.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Lines that are in the file.
    pub lines: u64,
    /// Whether a file is done.
    pub rotated: bool,
    /// Whether another process is writing, so that nothing was done.
    pub busy: bool,
    /// Size of the file.
    pub size: u64,
    /// What kept the rest from being written; it can be tried again.
    pub fault: Option<io::Error>,
}

impl Current {
    pub(super) fn new(folder: &Path, rotate_bytes: u64, world: World) -> Self {
        Current { folder: folder.to_owned(), rotate_bytes, world, open: None, told: String::new() }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(files::CURRENT)
    }

    /// Appends `lines`, of which it takes away what is written; or only looks after the file, if there are none. While
    /// another process is writing, nothing happens.
    pub(super) fn append(&mut self, lines: &mut Vec<u8>) -> Written {
        let mut written = Written::default();
        if let Err(fault) = self.try_append(lines, &mut written) {
            written.fault = Some(fault);
        }
        written
    }

    /// Has the system write down what it has.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    fn try_append(&mut self, lines: &mut Vec<u8>, written: &mut Written) -> io::Result<()> {
        let path = self.path();
        let mut open = match self.open.take() {
            Some(open) if is_there(&path, &open.file.metadata()?) => open,
            _ => self.open(&path)?,
        };
        match open.lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.open = Some(open);
                written.busy = true;
                return Ok(());
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let done = self.locked(&path, &mut open, lines, written);
        open.lock.unlock()?;
        // What is wrong may have to do with the file: then it is opened anew next time.
        if done.is_ok() {
            self.open = Some(open);
        }
        done
    }

    fn locked(&mut self, path: &Path, open: &mut Open, lines: &mut Vec<u8>, written: &mut Written) -> io::Result<()> {
        // Another process may have rotated it before the lock was ours.
        let mut metadata = open.file.metadata()?;
        if !is_there(path, &metadata) {
            (open.file, open.wrote) = (append_to(path)?, None);
            metadata = open.file.metadata()?;
        }
        if metadata.is_file() && metadata.len() > 0 {
            mend(&open.file, metadata.len())?;
        }
        let (day, today) = (self.day(&metadata, open.wrote), self.world.today());
        let is_full = metadata.len() + lines.len() as u64 > self.rotate_bytes;
        if metadata.is_file() && metadata.len() > 0 && (day < today || is_full) {
            match self.rotate(path, day) {
                Ok(()) => {
                    written.rotated = true;
                    (open.file, open.wrote) = (append_to(path)?, None);
                    self.told.clear();
                }
                // A file that gets too long is better than none.
                Err(error) => self.tell(error.to_string()),
            }
        }
        if !lines.is_empty() {
            open.wrote = Some(today);
        }
        let start = open.file.metadata()?.len();
        let result = self.write(&open.file, start, lines, written);
        written.size = open.file.metadata()?.len();
        result
    }

    fn open(&self, path: &Path) -> io::Result<Open> {
        files::make(&self.folder)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.folder.join(LOCK))?;
        Ok(Open { file: append_to(path)?, lock, wrote: None })
    }

    /// The day of a file that has lines: none has lines of more than one, so that of the last will do. Where the clock of
    /// the file system is behind (NFS), it is not asked of what was just written: every write would begin a new file.
    fn day(&self, metadata: &Metadata, wrote: Option<Date>) -> Date {
        let written = Timestamp::new(metadata.mtime(), metadata.mtime_nsec() as i32).unwrap_or_default();
        let day = self.world.day(written);
        wrote.map_or(day, |wrote| day.max(wrote))
    }

    fn rotate(&self, path: &Path, day: Date) -> io::Result<()> {
        let of_day = files::rotated(&self.folder)?.into_iter().filter(|file| file.day == day);
        let last = of_day.map(|file| file.number).max().unwrap_or_default();
        fs::rename(path, self.folder.join(files::name(day, last + 1)))
    }

    fn write(&self, file: &File, start: u64, lines: &mut Vec<u8>, written: &mut Written) -> io::Result<()> {
        let mut done = 0;
        let mut fault = None;
        while done < lines.len() && fault.is_none() {
            match (self.world.write)(file, &lines[done..]) {
                Ok(0) => fault = Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => fault = Some(error),
            }
        }
        let whole = memchr::memrchr(b'\n', &lines[..done]).map_or(0, |at| at + 1);
        written.lines = memchr::memchr_iter(b'\n', &lines[..whole]).count() as u64;
        lines.drain(..whole);
        let Some(fault) = fault else { return Ok(()) };
        if done > whole {
            // Half a line is written again as a whole. If it can't be cut off now, it is before the next one.
            let _ = file.set_len(start + whole as u64);
        }
        Err(fault)
    }

    fn tell(&mut self, error: String) {
        if self.told != error {
            log::error!("access log: {} can't be renamed, and grows on: {error}", self.path().display());
            self.told = error;
        }
    }
}

/// Whether `path` leads to the file of `metadata`.
fn is_there(path: &Path, metadata: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino()))
}

fn append_to(path: &Path) -> io::Result<File> {
    // Reading is for `mend`.
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// Cuts off half a line that a crash left at the end of a file of `length` bytes.
fn mend(file: &File, length: u64) -> io::Result<()> {
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    if last == *b"\n" {
        return Ok(());
    }
    let start = length.saturating_sub(LONGEST);
    let mut tail = vec![0; (length - start) as usize];
    file.read_exact_at(&mut tail, start)?;
    let whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at as u64 + 1);
    log::warn!("access log: a line that was not written to its end is removed: {} bytes", length - start - whole);
    file.set_len(start + whole)
}

/// The file that is locked while the log is written.
const LOCK: &str = ".lock";

/// Bytes in which a line ends, whatever a client has sent.
const LONGEST: u64 = 4 << 20;
