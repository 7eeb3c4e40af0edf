//! Checking the audit log: was anything edited, cut, reordered, or lost at its end?

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::log::{Head, head_path, read_head};
use super::record::{BEGIN, Bad, CONTINUE, Record, Torn};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Good lines.
    pub records: u64,
    /// The log's id, if its files say.
    pub log: Option<String>,
    /// The number of the last good line.
    pub seq: u64,
    /// The hash of the last good line: keep it elsewhere, and `--expect` it later.
    pub head: String,
    /// What is wrong, in order.
    pub faults: Vec<Fault>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<Fault>,
}

/// Something about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1 on.
    pub line: u64,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Checks the files of a log, the oldest first. The log must have the line whose hash is `expect`, and the one that the
/// file beside the last says is its last.
///
/// # Errors
/// If a file can't be read.
pub fn verify(files: &[PathBuf], expect: Option<&str>) -> Result<Report, (PathBuf, io::Error)> {
    // Whoever writes meanwhile waits, so that no line is seen half written.
    let beside = files.last().and_then(|file| File::open(head_path(file)).ok());
    let locked = beside.as_ref().map(File::lock_shared);
    let head = beside.as_ref().and_then(read_head);
    let mut chain = Chain { wanted: head.clone(), expect: expect.map(str::to_ascii_lowercase), ..Chain::default() };
    for path in files {
        File::open(path).and_then(|file| chain.file(path, file)).map_err(|error| (path.clone(), error))?;
    }
    drop(locked);
    Ok(chain.end())
}

/// The lines that have been read.
#[derive(Default)]
struct Chain {
    report: Report,
    /// The line that the next must follow.
    last: Option<Anchor>,
    /// A line that is no record, and that the next may explain.
    torn: Option<(Fault, Torn)>,
    file: String,
    line: u64,
    wanted: Option<Head>,
    expect: Option<String>,
    /// Hashes that were asked for and have been seen.
    seen: HashSet<String>,
}

struct Anchor {
    seq: u64,
    hash: String,
    /// Whether the line itself is as it was written.
    is_good: bool,
}

impl Chain {
    fn file(&mut self, path: &Path, file: File) -> io::Result<()> {
        self.give_up_torn();
        (self.file, self.line) = (path.display().to_string(), 0);
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            self.line += 1;
            let is_whole = line.pop_if(|byte| *byte == b'\n').is_some();
            self.line(&line, is_whole);
            line.clear();
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], is_whole: bool) {
        match Record::of_line(line) {
            Ok((record, hash)) => {
                self.explain_torn(&record);
                self.record(&record, &hash);
                self.report.records += 1;
                self.seen(&hash);
                // One that stands too late was followed by others.
                if self.last.as_ref().is_none_or(|last| last.seq < record.seq || !last.is_good) {
                    (self.report.seq, self.report.head) = (record.seq, hash.clone());
                    self.last = Some(Anchor { seq: record.seq, hash, is_good: true });
                }
            }
            Err(Bad::Edited) => {
                self.give_up_torn();
                let fault = self.here("it was edited: it is not what its hash says");
                // What its hash says was written before the next line, and its number, if that was left alone.
                let hash = String::from_utf8_lossy(&line[line.len() - 66..line.len() - 2]).into_owned();
                self.seen(&hash);
                let seq = self.last.as_ref().map_or(1, |last| last.seq + 1);
                self.last = Some(Anchor { seq, hash, is_good: false });
                self.report.faults.push(fault);
            }
            Err(Bad::NoRecord) => {
                self.give_up_torn();
                let what = if is_whole { "it is no record" } else { "it was not written to its end, or cut" };
                self.torn = Some((self.here(what), Torn::of(line)));
            }
        }
    }

    /// Compares a good line with the one before it.
    fn record(&mut self, record: &Record, hash: &str) {
        if self.report.log.is_none() {
            self.report.log.clone_from(&record.log);
        }
        let Some(last) = &self.last else { return self.first(record) };
        if record.previous == last.hash {
            if record.seq != last.seq + 1 && last.is_good {
                self.fault(&format!("its number is {}, after {}", record.seq, last.seq));
            }
            return;
        }
        let (expected, found) = (last.seq + 1, record.seq);
        let message = match found {
            _ if *hash == last.hash => "it is there twice".to_owned(),
            _ if found < expected => format!("record {found} is out of order: it stands after record {}", last.seq),
            _ if found == expected => {
                let message =
                    format!("the line before it, record {}, is not the one that it was written after", last.seq);
                let is_good = last.is_good;
                // It has been said of one that was edited.
                if is_good {
                    self.fault(&message);
                }
                return;
            }
            _ if found == expected + 1 => format!("record {expected} is missing before it"),
            _ => format!("records {expected} to {} are missing before it", found - 1),
        };
        self.fault(&message);
    }

    fn first(&mut self, record: &Record) {
        match record.what.as_str() {
            BEGIN if record.seq == 1 && record.previous.is_empty() => {}
            CONTINUE => {
                let before = record.seq.saturating_sub(1);
                let note = self.here(&format!("it goes on where an earlier file ended, with record {before}"));
                self.report.notes.push(note);
            }
            _ => self.fault(&format!("the log does not begin here: records before {} are missing", record.seq)),
        }
    }

    /// A line that is no record is none that was lost, if the next one tells of it.
    fn explain_torn(&mut self, next: &Record) {
        match self.torn.take() {
            Some((fault, torn)) if next.torn.as_ref() == Some(&torn) => {
                let message = "a crash left it unfinished; nothing was done for it".to_owned();
                self.report.notes.push(Fault { message, ..fault });
            }
            torn => {
                self.torn = torn;
                self.give_up_torn();
            }
        }
    }

    fn give_up_torn(&mut self) {
        self.report.faults.extend(self.torn.take().map(|(fault, _)| fault));
    }

    fn end(mut self) -> Report {
        let is_vouched_for = |head: &Head| self.seen.contains(&head.hash);
        match self.torn.take() {
            // What was vouched for stands before it.
            Some((fault, _)) if self.wanted.as_ref().is_some_and(is_vouched_for) => {
                let message = "it was not written to its end; the next change will say so".to_owned();
                self.report.notes.push(Fault { message, ..fault });
            }
            torn => self.report.faults.extend(torn.map(|(fault, _)| fault)),
        }
        if let Some(head) = self.wanted.take().filter(|head| !self.seen.contains(&head.hash)) {
            let beside = head_path(Path::new(&self.file));
            let message = match self.report.seq < head.seq {
                true => format!("the end is missing: {} says that record {} was the last", beside.display(), head.seq),
                false => format!("{} knows another record {} than there is", beside.display(), head.seq),
            };
            self.fault(&message);
        }
        if let Some(hash) = self.expect.take().filter(|hash| !self.seen.contains(hash)) {
            self.fault(&format!("the end is missing: no line has the hash {hash}"));
        }
        self.report
    }

    fn seen(&mut self, hash: &str) {
        let is_wanted = self.wanted.as_ref().is_some_and(|head| head.hash == hash);
        if is_wanted || self.expect.as_deref() == Some(hash) {
            self.seen.insert(hash.to_owned());
        }
    }

    fn here(&self, message: &str) -> Fault {
        Fault { file: self.file.clone(), line: self.line, message: message.to_owned() }
    }

    fn fault(&mut self, message: &str) {
        let fault = self.here(message);
        if self.report.faults.len() < MAX_FAULTS {
            self.report.faults.push(fault);
        }
    }
}

/// More would tell no more.
const MAX_FAULTS: usize = 1000;
