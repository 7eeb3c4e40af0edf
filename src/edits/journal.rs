//! What commands have changed, so that it can be taken back.
//!
//! `.edits/000017/` of the routes folder holds one change: `record.json` says what it was and which files, `0.before`, `1.before` … are
//! their old texts.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::changes::{Change, Changes, diff, is_hidden, read};

/// The journal's folder. Names that begin with a dot are no routes.
const FOLDER: &str = ".edits";

/// Changes that were taken back, or are older than so many later ones, are forgotten.
const KEEP: usize = 200;

/// Why nothing was changed, or what could not be taken back.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A file or the journal can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else has changed these files meanwhile.
    #[error("somebody has changed {} meanwhile: nothing was written", .0.join(", "))]
    Changed(Vec<String>),
    /// Another command is changing files.
    #[error("another command is just changing these routes")]
    Busy,
    /// A record of the journal that can't be understood.
    #[error("{}: not a record of changes: {why}", path.display())]
    BadRecord {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> EditError {
    let path = path.to_owned();
    move |error| EditError::Io { path, error }
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Some of its files may be written. Whoever finds it so takes them back.
    Writing,
    Done,
    /// Some of its files may be as before again.
    Undoing,
    Undone,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number; later ones are greater.
    pub number: u32,
    /// What it belongs to, such as `wave 2`: the last of a scope is taken back first.
    pub scope: String,
    /// What it did.
    pub what: String,
    /// When, in RFC 3339.
    pub at: String,
    state: State,
    files: Vec<FileRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileRecord {
    name: String,
    /// SHA-256 of its text before and after, in hex; nothing where there was no file.
    before: Option<String>,
    after: Option<String>,
}

impl Record {
    /// How many route files it changed.
    pub fn files(&self) -> usize {
        self.files.iter().filter(|file| !is_hidden(&file.name)).count()
    }
}

/// The changes of a routes folder. As long as one is held, no other command changes anything.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    /// Locked.
    _lock: File,
}

/// A change that can be taken back.
#[derive(Debug)]
pub struct Undo {
    record: Record,
    changes: Vec<(String, Change)>,
    edited: Vec<String>,
}

impl Undo {
    /// The change.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What would change back, as a unified diff.
    pub fn diff(&self) -> String {
        let shown = self.changes.iter().filter(|(name, change)| change.before != change.after && !is_hidden(name));
        shown.map(|(name, change)| diff(name, change)).collect()
    }

    /// Files that somebody has edited since: taking the change back would lose that.
    pub fn edited(&self) -> &[String] {
        &self.edited
    }
}

impl Journal {
    /// Opens the journal of a routes folder, and takes back what was left half done. Says which changes those were.
    ///
    /// # Errors
    /// When it can't be read or written, or another command has it open.
    pub fn open(root: &Path) -> Result<(Self, Vec<Record>), EditError> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(io_error(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(EditError::Busy),
            Err(fs::TryLockError::Error(error)) => return Err(io_error(&path)(error)),
        }
        let journal = Journal { root: root.to_owned(), _lock: lock };
        let mut mended = Vec::new();
        for record in journal.records()? {
            if matches!(record.state, State::Writing | State::Undoing) {
                let undo = journal.undo_of(record)?;
                if !undo.edited.is_empty() {
                    return Err(EditError::Changed(undo.edited));
                }
                mended.push(undo.record.clone());
                journal.take_back(undo)?;
            }
        }
        Ok((journal, mended))
    }

    /// All changes that have been made and not taken back, latest first.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn done(&self) -> Result<Vec<Record>, EditError> {
        let mut records = self.records()?;
        records.retain(|record| record.state == State::Done);
        records.reverse();
        Ok(records)
    }

    /// Writes all files, or none.
    ///
    /// # Errors
    /// When a file can't be written, or is not any more what it was when the changes were made; all files are as they were then.
    pub fn commit(&self, changes: &Changes, scope: &str, what: &str) -> Result<Record, EditError> {
        self.expect_unchanged(changes.files.iter())?;
        let records = self.records()?;
        let number = records.last().map_or(1, |record| record.number + 1);
        let file = |(name, change): (&String, &Change)| FileRecord {
            name: name.clone(),
            before: change.before.as_deref().map(sha256),
            after: change.after.as_deref().map(sha256),
        };
        let mut record = Record {
            number,
            scope: scope.to_owned(),
            what: what.to_owned(),
            at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            state: State::Writing,
            files: changes.files.iter().map(file).collect(),
        };
        let folder = self.folder(number);
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        for (position, change) in changes.files.values().enumerate() {
            if let Some(before) = &change.before {
                write_synced(&folder.join(format!("{position}.before")), before)?;
            }
        }
        self.save(&record)?;
        let written = self.replace(changes.files.iter());
        if let Err(error) = written {
            // What has been replaced goes back; should that fail too, the next command tries again.
            let undo = self.undo_of(record)?;
            self.take_back(undo)?;
            return Err(error);
        }
        record.state = State::Done;
        self.save(&record)?;
        self.forget(&records);
        Ok(record)
    }

    /// The last change of a scope that has not been taken back, as one to take back.
    ///
    /// # Errors
    /// When the journal or a file can't be read.
    pub fn last(&self, scope: &str) -> Result<Option<Undo>, EditError> {
        let record = self.done()?.into_iter().find(|record| record.scope == scope);
        record.map(|record| self.undo_of(record)).transpose()
    }

    /// Writes the old texts of all files, or none. With `force` also over what was edited since.
    ///
    /// # Errors
    /// As for [`Journal::commit`]; [`EditError::Changed`] names what was edited since.
    pub fn undo(&self, undo: Undo, force: bool) -> Result<Record, EditError> {
        if !undo.edited.is_empty() && !force {
            return Err(EditError::Changed(undo.edited));
        }
        self.expect_unchanged(undo.changes.iter().map(|(name, change)| (name, change)))?;
        self.take_back(undo)
    }

    fn take_back(&self, undo: Undo) -> Result<Record, EditError> {
        let mut record = undo.record;
        record.state = State::Undoing;
        self.save(&record)?;
        self.replace(undo.changes.iter().map(|(name, change)| (name, change)))?;
        record.state = State::Undone;
        self.save(&record)?;
        Ok(record)
    }

    /// What it takes to undo a change: its files as they are now, and as they were.
    fn undo_of(&self, record: Record) -> Result<Undo, EditError> {
        let mut changes = Vec::new();
        let mut edited = Vec::new();
        for (position, file) in record.files.iter().enumerate() {
            let path = self.root.join(&file.name);
            let now = read(&path).map_err(io_error(&path))?;
            let is = |hash: &Option<String>| now.as_deref().map(sha256) == *hash;
            if is(&file.before) {
                continue;
            }
            if !is(&file.after) {
                edited.push(file.name.clone());
            }
            let kept = self.folder(record.number).join(format!("{position}.before"));
            let before = match file.before {
                Some(_) => Some(fs::read(&kept).map_err(io_error(&kept))?),
                None => None,
            };
            if before.as_deref().map(sha256) != file.before {
                return Err(EditError::BadRecord { path: kept, why: "it is not what was kept".to_owned() });
            }
            changes.push((file.name.clone(), Change { before: now, after: before }));
        }
        Ok(Undo { record, changes, edited })
    }

    fn expect_unchanged<'a>(&self, files: impl Iterator<Item = (&'a String, &'a Change)>) -> Result<(), EditError> {
        let mut changed = Vec::new();
        for (name, change) in files {
            let path = self.root.join(name);
            if read(&path).map_err(io_error(&path))? != change.before {
                changed.push(name.clone());
            }
        }
        if changed.is_empty() { Ok(()) } else { Err(EditError::Changed(changed)) }
    }

    /// Puts new texts into files: all are on the disk before the first takes its place.
    fn replace<'a>(&self, files: impl Iterator<Item = (&'a String, &'a Change)>) -> Result<(), EditError> {
        let mut staged: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
        let mut result = Ok(());
        for (name, change) in files {
            let path = self.root.join(name);
            // A link stays one: what it leads to is replaced.
            let path = fs::canonicalize(&path).unwrap_or(path);
            result = match &change.after {
                Some(text) => stage(&path, text).map(|temporary| staged.push((path.clone(), Some(temporary)))),
                None => {
                    staged.push((path.clone(), None));
                    Ok(())
                }
            };
            if result.is_err() {
                break;
            }
        }
        for (path, temporary) in &staged {
            let moved = match (&result, temporary) {
                (Ok(()), Some(temporary)) => fs::rename(temporary, path),
                (Ok(()), None) => match fs::remove_file(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed,
                },
                (Err(_), Some(temporary)) => {
                    // The failure that counts is the first one.
                    let _ = fs::remove_file(temporary);
                    continue;
                }
                (Err(_), None) => continue,
            };
            if let Err(error) = moved {
                result = Err(io_error(path)(error));
            }
        }
        for folder in staged.iter().filter_map(|(path, _)| path.parent()) {
            // Best effort: the journal has what it takes either way.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        result
    }

    fn folder(&self, number: u32) -> PathBuf {
        self.root.join(FOLDER).join(format!("{number:06}"))
    }

    fn save(&self, record: &Record) -> Result<(), EditError> {
        let path = self.folder(record.number).join("record.json");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| EditError::BadRecord { path: path.clone(), why: error.to_string() })?;
        let temporary = path.with_extension("new");
        write_synced(&temporary, &text)?;
        fs::rename(&temporary, &path).map_err(io_error(&path))?;
        let folder = self.folder(record.number);
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(io_error(&folder))
    }

    /// Every change, by number.
    fn records(&self) -> Result<Vec<Record>, EditError> {
        let folder = self.root.join(FOLDER);
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io_error(&folder))? {
            let path = entry.map_err(io_error(&folder))?.path().join("record.json");
            // A folder without a record is one whose change never began.
            let Some(text) = read(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(io_error(&path)(error)),
            })?
            else {
                continue;
            };
            let record: Record = serde_json::from_slice(&text)
                .map_err(|error| EditError::BadRecord { path: path.clone(), why: error.to_string() })?;
            records.push(record);
        }
        records.sort_by_key(|record| record.number);
        Ok(records)
    }

    /// Removes the oldest changes.
    fn forget(&self, records: &[Record]) {
        for record in records.iter().take(records.len().saturating_sub(KEEP)) {
            // What stays takes some space and does no harm.
            let _ = fs::remove_dir_all(self.folder(record.number));
        }
    }
}

/// A new text beside its file, on the disk, with the file's rights.
fn stage(path: &Path, text: &[u8]) -> Result<PathBuf, EditError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io_error(folder))?;
    let temporary = folder.join(format!(".{name}.waypost"));
    write_synced(&temporary, text)?;
    if let Ok(metadata) = fs::metadata(path) {
        let mode = fs::Permissions::from_mode(metadata.permissions().mode());
        fs::set_permissions(&temporary, mode).map_err(io_error(&temporary))?;
    }
    Ok(temporary)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), EditError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io_error(path))
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
