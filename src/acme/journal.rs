//! The file of what happened: one line of JSON for each [`Entry`].
//!
//! A line is on disk before the act that it announces. Whoever has the [`Journal`] has its lock, so at most one process of
//! a fleet orders at a time; a reading without ordering takes no lock ([`read`]).
//!
//! A process that is killed, or a disk that is full, may leave a last line that is cut off: it was never heard of, and it
//! is removed when the file is next opened. Any other line that can't be read is a fault that a person has to look at:
//! guessing what it said could exceed a limit.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::fault::Fault;
use super::ledger::{Entry, Event};
use super::transport::now;
use crate::tls::{make_secret_folder, write_secret};

/// The file of entries, open and locked.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next line begins.
    end: u64,
    /// Held as long as the journal is open, and freed by the system when the process ends.
    _lock: File,
    /// Whether a line could not be written: what the disk has is not known.
    is_broken: bool,
}

/// Why the journal can't be had.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process orders.
    #[error("another process is ordering certificates: {0}")]
    Held(String),
    /// A line says nothing that this program understands.
    #[error(
        "{path}:{line}: this line of the ledger can't be read: {why} (put the file back from a backup, or remove the line: \
         what it counted is then forgotten)"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The file can't be used.
    #[error("{0}: {1}")]
    File(String, io::Error),
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::Held(_) => Fault::Busy(error.to_string()),
            _ => Fault::Local(error.to_string()),
        }
    }
}

impl Journal {
    /// Locks the ledger in the folder of states and reads what it says. What is cut off at its end is removed.
    ///
    /// # Errors
    /// If another process has it, or it can't be read.
    pub fn open(state: &Path) -> Result<(Self, Vec<Entry>), JournalError> {
        let at = |path: &Path| {
            let name = path.display().to_string();
            move |error| JournalError::File(name, error)
        };
        make_secret_folder(state).map_err(at(state))?;
        let lock = lock(&state.join("lock"))?;
        let path = state.join(FILE);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create(true).truncate(false), 0o600);
        let mut file = options.open(&path).map_err(at(&path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at(&path))?;
        let (entries, end) = parse(&path, &bytes)?;
        if end < bytes.len() {
            log::warn!("acme: the last line of {} was cut off; it is removed", path.display());
            file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(at(&path))?;
        }
        // That the file is there must be on disk, too.
        File::open(state).and_then(|folder| folder.sync_all()).map_err(at(state))?;
        Ok((Journal { path, file, end: end as u64, _lock: lock, is_broken: false }, entries))
    }

    /// Writes down what happens now. It is on disk when this returns.
    ///
    /// # Errors
    /// If it can't be written. The journal must then be opened again: until that is possible, nothing more is written.
    pub fn record(&mut self, event: Event) -> io::Result<Entry> {
        let entry = Entry { at: now(), event };
        if self.is_broken {
            return Err(io::Error::other(format!("{} could not be written to before", self.path.display())));
        }
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let written = self.file.seek(SeekFrom::Start(self.end));
        let written = written.and_then(|_| self.file.write_all(&line)).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end += line.len() as u64;
                Ok(entry)
            }
            Err(error) => {
                self.is_broken = true;
                // If this fails, too, the next opening does it.
                let _ = self.file.set_len(self.end);
                Err(io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
            }
        }
    }

    /// Puts these entries in the place of all, as a whole.
    ///
    /// # Errors
    /// If they can't be written; then all are as they were.
    pub fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        write_secret(&self.path, &text)?;
        // The lock is on another file, so it stays.
        let file = File::options().read(true).write(true).open(&self.path);
        self.file = file.inspect_err(|_| self.is_broken = true)?;
        self.end = text.len() as u64;
        Ok(())
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether nothing has happened yet.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }
}

/// What the ledger in the folder of states says, without a lock: another process may be writing its next line.
///
/// # Errors
/// If it can't be read. One that is not there yet is empty.
pub fn read(state: &Path) -> Result<Vec<Entry>, JournalError> {
    let path = state.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes).map(|(entries, _)| entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(JournalError::File(path.display().to_string(), error)),
    }
}

/// The entries, and where the last whole line ends.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Entry>, usize), JournalError> {
    let mut entries = Vec::new();
    let mut end = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        match serde_json::from_slice(text) {
            Ok(entry) => entries.push(entry),
            // A crash may leave the place of a last line that was never written filled with zeros.
            Err(_) if end + line.len() == bytes.len() && text.contains(&0) => break,
            Err(error) => {
                let path = path.display().to_string();
                return Err(JournalError::Damaged { path, line: number, why: error.to_string() });
            }
        }
        end += line.len();
    }
    Ok((entries, end))
}

/// Takes the lock, and writes into it who has it.
fn lock(path: &Path) -> Result<File, JournalError> {
    let fault = |error: io::Error| JournalError::File(path.display().to_string(), error);
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create(true).truncate(false), 0o600);
    let mut lock = options.open(path).map_err(fault)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut who = String::new();
            // Whoever has just taken it may not have written yet.
            let _ = lock.take(MAX_WHO).read_to_string(&mut who);
            let who = who.trim();
            return Err(JournalError::Held(
                if who.is_empty() { "which did not say who it is" } else { who }.to_owned(),
            ));
        }
        Err(error) => return Err(fault(error.into())),
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let who = format!("process {} of {}\n", std::process::id(), host.trim());
    // Only for people: the lock is what counts.
    let _ = lock.set_len(0).and_then(|()| lock.write_all(who.as_bytes()));
    Ok(lock)
}

/// Bytes that are read of who has the lock.
const MAX_WHO: u64 = 300;

/// The file's name in the folder of states.
const FILE: &str = "ledger.jsonl";

#[cfg(test)]
mod tests {
    use super::*;

    fn event(order: u64) -> Event {
        Event::Finalizing { order }
    }

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join(FILE)).unwrap()
    }

    #[test]
    fn what_was_recorded_is_read_again_and_only_one_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("acme/.state");
        assert_eq!(read(&state).unwrap(), []);
        let (mut journal, entries) = Journal::open(&state).unwrap();
        assert!(entries.is_empty() && journal.is_empty());
        let one = journal.record(event(1)).unwrap();
        let two = journal.record(event(2)).unwrap();
        let held = Journal::open(&state).unwrap_err().to_string();
        assert!(held.contains(&format!("process {} of", std::process::id())), "{held}");
        assert_eq!(read(&state).unwrap(), [one.clone(), two.clone()]);
        drop(journal);
        let (mut journal, entries) = Journal::open(&state).unwrap();
        assert_eq!(entries, [one, two.clone()]);
        journal.rewrite(std::slice::from_ref(&two)).unwrap();
        let three = journal.record(event(3)).unwrap();
        assert_eq!(journal.len(), text(&state).len() as u64);
        drop(journal);
        assert_eq!(Journal::open(&state).unwrap().1, [two, three]);
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_line_that_is_cut_off_anywhere_was_never_there() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        let one = journal.record(event(1)).unwrap();
        let whole = journal.len() as usize;
        journal.record(event(2)).unwrap();
        drop(journal);
        let bytes = fs::read(folder.path().join(FILE)).unwrap();
        for cut in whole..bytes.len() {
            fs::write(folder.path().join(FILE), &bytes[..cut]).unwrap();
            assert_eq!(read(folder.path()).unwrap(), std::slice::from_ref(&one), "{cut}");
            let (mut journal, entries) = Journal::open(folder.path()).unwrap();
            assert_eq!(entries, std::slice::from_ref(&one), "{cut}");
            journal.record(event(3)).unwrap();
            drop(journal);
            assert_eq!(text(folder.path()).lines().count(), 2);
        }
        let mut zeros = bytes[..whole].to_vec();
        zeros.extend([0; 20]);
        zeros.push(b'\n');
        fs::write(folder.path().join(FILE), zeros).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, [one]);
    }

    #[test]
    fn a_damaged_line_is_told_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.record(event(1)).unwrap();
        journal.record(event(2)).unwrap();
        drop(journal);
        let good = text(folder.path());
        let bad = good.replacen("finalizing", "finalising", 1);
        fs::write(folder.path().join(FILE), &bad).unwrap();
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ledger.jsonl:1: ") && error.contains("finalising"), "{error}");
        assert_eq!(text(folder.path()), bad);
    }
}
