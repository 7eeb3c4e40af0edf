//! Writing to the audit log.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{BEGIN, CONTINUE, RECOVER, Record, Torn, hex};

/// The audit log of a gateway: a file, and beside it one that says where it ends.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Such as `token ops`, `certificate CN=ops` or `user 1000`.
    pub who: String,
    /// An address, or another way in.
    pub from: String,
}

/// What is about to be changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The kind, in a word.
    pub what: &'static str,
    /// What is changed.
    pub on: String,
    /// How it is before.
    pub before: Value,
}

/// Why the audit log can't be written. The system or the configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The system says so.
    #[error("the audit log {} can't be written ([admin] audit): {reason}", .path.display())]
    Unwritable {
        /// The file, or the one beside it.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Another process has it.
    #[error("the audit log {} has been locked by another process for {} seconds", .0.display(), LOCK_TIME.as_secs())]
    Locked(PathBuf),
    /// Its last line is no record, and nothing says which line should be there.
    #[error(
        "the end of the audit log {} is damaged (`waypost audit verify` says how): keep it, under another name, and a new one begins", .0.display()
    )]
    Damaged(PathBuf),
}

/// Why a change was not made, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It can't be written down, so it was not made.
    #[error("not done: {0}")]
    NotLogged(AuditError),
    /// It failed, which was written down.
    #[error("{0}")]
    Failed(String),
    /// It was made, and that can't be written down.
    #[error("done, but: {0}")]
    NotConfirmed(AuditError),
}

/// The end of a log as far as it has been vouched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub log: String,
    pub seq: u64,
    pub hash: String,
}

/// The end of a file.
enum Tail {
    /// There is nothing before `torn`.
    Empty,
    /// A good line.
    Record { seq: u64, hash: String },
    /// Something else, that ends like a line.
    Damaged,
}

impl AuditLog {
    /// The log in that file, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        AuditLog { path: path.into() }
    }

    /// Makes a change between two lines of the log: that it begins, and what came of it. `apply` makes it, and returns
    /// what the caller wants of it and how things are after it. Both lines are on disk when this returns. Blocks.
    ///
    /// # Errors
    /// If it can't be written down that it begins, `apply` is not called. The others say themselves what happened.
    pub fn change<T>(
        &self,
        author: &Author,
        change: Change,
        apply: impl FnOnce() -> Result<(T, Value), String>,
    ) -> Result<T, ChangeError> {
        let begun = Record {
            what: change.what.to_owned(),
            on: Some(change.on),
            who: Some(author.who.clone()),
            from: Some(author.from.clone()),
            before: Some(change.before),
            result: Some("begun".to_owned()),
            ..Record::default()
        };
        let of = self.append(begun.clone()).map_err(ChangeError::NotLogged)?;
        let outcome = apply();
        let (after, result) = match &outcome {
            Ok((_, after)) => (Some(after.clone()), "done".to_owned()),
            Err(error) => (None, format!("failed: {error}")),
        };
        let ended = Record { after, of: Some(of), result: Some(result), ..begun };
        let logged = self.append(ended);
        let (value, _) = outcome.map_err(ChangeError::Failed)?;
        logged.map_err(ChangeError::NotConfirmed)?;
        Ok(value)
    }

    /// Why nothing could be written now, if there is a reason that shows without writing.
    pub fn obstacle(&self) -> Option<AuditError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let access = rustix::fs::Access::WRITE_OK;
        let target = if self.path.exists() { &self.path } else { folder };
        let checked = rustix::fs::access(folder, access).and_then(|()| rustix::fs::access(target, access));
        checked.err().map(|error| AuditError::Unwritable { path: self.path.clone(), reason: error.into() })
    }

    /// Appends a line, and what has to come before it. Returns its number.
    fn append(&self, record: Record) -> Result<u64, AuditError> {
        let beside = head_path(&self.path);
        let lock = private().create(true).truncate(false).open(&beside);
        let lock = lock.map_err(|reason| AuditError::Unwritable { path: beside.clone(), reason })?;
        self.lock(&lock)?;
        let unwritable = |reason| AuditError::Unwritable { path: self.path.clone(), reason };
        let is_new = !self.path.exists();
        let mut file = private().append(true).create(true).open(&self.path).map_err(unwritable)?;
        let length = file.seek(SeekFrom::End(0)).map_err(unwritable)?;
        let (tail, rest) = read_tail(&mut file, length).map_err(unwritable)?;
        let mut writer =
            Writer::at(tail, rest, read_head(&lock)).ok_or_else(|| AuditError::Damaged(self.path.clone()))?;
        writer.write(record).map_err(unwritable)?;
        let written = file.write_all(&writer.lines).and_then(|()| file.sync_data());
        if let Err(reason) = written {
            // What is half written would be recovered, but it need not be there. Nobody has been told of it.
            let _ = file.set_len(length);
            return Err(unwritable(reason));
        }
        if is_new && let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // The file is lost with its name. Where folders can't be synchronised, there is nothing more to do.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        let head = writer.head;
        if let Err(error) = write_head(&lock, &head) {
            // The log is ahead of it then, which is how a crash here would leave it, too.
            log::warn!("{} can't be written: {error}", beside.display());
        }
        // The log of the program usually goes to another machine: there nobody can take it back.
        log::info!("audit: line {} of {}, hash {}", head.seq, self.path.display(), head.hash);
        Ok(head.seq)
    }

    fn lock(&self, file: &File) -> Result<(), AuditError> {
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIME => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(AuditError::Locked(self.path.clone())),
                Err(TryLockError::Error(reason)) => {
                    return Err(AuditError::Unwritable { path: self.path.clone(), reason });
                }
            }
        }
    }
}

/// The lines that are about to be appended.
struct Writer {
    head: Head,
    lines: Vec<u8>,
    torn: Option<Torn>,
    /// The log's own word for what comes first, if something does.
    first: Option<&'static str>,
}

impl Writer {
    /// Goes on after the `tail` of a file and the `rest` of a line after it, where `head` says how far the log had come.
    /// None if that can't be.
    fn at(tail: Tail, rest: Vec<u8>, head: Option<Head>) -> Option<Self> {
        let mut writer = Writer {
            head: Head { log: String::new(), seq: 0, hash: String::new() },
            lines: Vec::new(),
            torn: None,
            first: None,
        };
        let mut tail = tail;
        if !rest.is_empty() {
            writer.lines.push(b'\n');
            match Record::of_line(&rest) {
                // Nothing but its end is missing.
                Ok((record, hash)) => tail = Tail::Record { seq: record.seq, hash },
                Err(_) => {
                    writer.torn = Some(Torn::of(&rest));
                    writer.first = Some(RECOVER);
                }
            }
        }
        match (tail, head) {
            // What the log has is at least what was vouched for.
            (Tail::Record { seq, hash }, head)
                if head.as_ref().is_none_or(|head| head.seq < seq || head.hash == hash) =>
            {
                writer.head = Head { log: head.map(|head| head.log).unwrap_or_default(), seq, hash };
            }
            (Tail::Empty, Some(head)) => {
                writer.head = head;
                writer.first = Some(CONTINUE);
            }
            // Lines are missing or others than they were. The gap is left, for `verify` to show.
            (_, Some(head)) => writer.head = head,
            (Tail::Empty, None) => {
                let mut id = [0; 16];
                rand::fill(&mut id).ok()?;
                writer.head.log = hex(&id);
                writer.first = Some(BEGIN);
            }
            (_, None) => return None,
        }
        Some(writer)
    }

    /// Adds a record, after the one that has to come first.
    fn write(&mut self, record: Record) -> io::Result<()> {
        if let Some(what) = self.first.take() {
            let log = (what != RECOVER).then(|| self.head.log.clone());
            let torn = self.torn.take();
            self.line(Record { what: what.to_owned(), log, torn, ..Record::default() })?;
        }
        self.line(record)
    }

    fn line(&mut self, mut record: Record) -> io::Result<()> {
        record.seq = self.head.seq + 1;
        record.time = Timestamp::now().to_string();
        record.previous.clone_from(&self.head.hash);
        let (line, hash) = record.to_line()?;
        self.lines.extend(line);
        self.lines.push(b'\n');
        (self.head.seq, self.head.hash) = (record.seq, hash);
        Ok(())
    }
}

/// The last line of a file that is `length` bytes long, and what comes after it without being one.
fn read_tail(file: &mut File, length: u64) -> io::Result<(Tail, Vec<u8>)> {
    let start = length.saturating_sub(MAX_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL).read_to_end(&mut bytes)?;
    let (lines, rest) = match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None if start == 0 => return Ok((Tail::Empty, bytes)),
        None => return Ok((Tail::Damaged, Vec::new())),
    };
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    let tail = match Record::of_line(last) {
        Ok((record, hash)) => Tail::Record { seq: record.seq, hash },
        Err(_) => Tail::Damaged,
    };
    Ok((tail, rest.to_vec()))
}

/// Where the file is that says how far the log has come, and that is locked by who writes to it.
pub(super) fn head_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// What it says; none if it says nothing, or not to its end.
pub(super) fn read_head(mut file: &File) -> Option<Head> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.take(MAX_HEAD).read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_head(file: &File, head: &Head) -> io::Result<()> {
    let mut text = serde_json::to_vec(head)?;
    text.push(b'\n');
    // It hardly ever changes its length, so a crash leaves the old one or the new one.
    file.write_all_at(&text, 0)?;
    file.set_len(text.len() as u64)
}

/// For files that only their owner may read.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

/// How long another process may be writing.
const LOCK_TIME: Duration = Duration::from_secs(5);

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A line is shorter: no request has a longer head.
const MAX_TAIL: u64 = 4 << 20;

const MAX_HEAD: u64 = 4096;
