//! What is in the files.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use jiff::{civil::Date, tz::TimeZone};

use super::{filter::Filter, show::Show};
use crate::telemetry::access_log::{CURRENT, Record, RotatedFile, rotated};

/// The files of the log as they were at one moment.
pub(super) struct History {
    rotated: Vec<RotatedFile>,
    current: Option<BufReader<File>>,
}

impl History {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        loop {
            let current = open(&folder.join(CURRENT))?;
            let mut rotated = rotated(folder)?;
            // One that is just being compressed.
            rotated.dedup_by_key(|file| (file.day, file.number));
            // A file that was rotated meanwhile would be there twice.
            if current.as_ref().is_none_or(|current| is_there(&folder.join(CURRENT), current.get_ref())) {
                return Ok(History { rotated, current });
            }
        }
    }

    /// The file that is written, as far as it has not been read.
    pub(super) fn into_current(self) -> Option<BufReader<File>> {
        self.current
    }

    /// Shows the requests for which `filter` holds; the last `count` only, if there is a count.
    pub(super) fn show<W: Write>(
        &mut self,
        filter: &Filter,
        count: Option<usize>,
        show: &mut Show<W>,
    ) -> anyhow::Result<()> {
        let zone = TimeZone::system();
        self.rotated.retain(|file| may_have(file, filter, &zone));
        match count {
            Some(count) => self.show_last(filter, count, show)?,
            None => {
                for file in &self.rotated {
                    read_rotated(file, |line, show| pass(line, filter, show), show)?;
                }
                if let Some(current) = &mut self.current {
                    read_current(current, |line| pass(line, filter, show))?;
                }
            }
        }
        Ok(show.flush()?)
    }

    /// From the youngest file back, until there are enough.
    fn show_last<W: Write>(&mut self, filter: &Filter, count: usize, show: &mut Show<W>) -> anyhow::Result<()> {
        let mut last: VecDeque<Vec<u8>> = VecDeque::new();
        if let Some(current) = &mut self.current {
            read_current(current, |line| keep(line, filter, count, &mut last, show))?;
        }
        for file in self.rotated.iter().rev() {
            let room = count - last.len();
            if room == 0 {
                break;
            }
            let mut before = VecDeque::new();
            read_rotated(file, |line, show| keep(line, filter, room, &mut before, show), show)?;
            before.append(&mut last);
            last = before;
        }
        for line in last {
            pass(&line, filter, show)?;
        }
        Ok(())
    }
}

/// Opens the file that is written, if it is there.
pub(super) fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::with_capacity(BUFFER, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `path` leads to `file`.
pub(super) fn is_there(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(own)) = (fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (own.dev(), own.ino())
}

/// Shows a line, if it is to be shown.
pub(super) fn pass<W: Write>(line: &[u8], filter: &Filter, show: &mut Show<W>) -> io::Result<()> {
    match Record::of_line(line) {
        Some(record) if filter.holds(&record) => show.show(line, &record),
        Some(_) => Ok(()),
        None => {
            show.pass_over();
            Ok(())
        }
    }
}

/// Calls `each` with every new line of the file that is written. Half a line at its end is read again when it is whole.
pub(super) fn read_current(reader: &mut BufReader<File>, each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let rest = each_line(reader, each)?;
    reader.seek_relative(-i64::try_from(rest.len()).unwrap_or_default())
}

/// Calls `each` with every line that is whole. Returns what comes after them.
fn each_line(
    reader: &mut (impl BufRead + ?Sized),
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(line);
        }
        each(&line)?;
    }
}

/// Keeps a line that is to be shown, and no more than `count`.
fn keep<W: Write>(
    line: &[u8],
    filter: &Filter,
    count: usize,
    lines: &mut VecDeque<Vec<u8>>,
    show: &mut Show<W>,
) -> io::Result<()> {
    match Record::of_line(line) {
        Some(record) if filter.holds(&record) => {
            lines.push_back(line.to_vec());
            if lines.len() > count {
                lines.pop_front();
            }
        }
        Some(_) => {}
        None => show.pass_over(),
    }
    Ok(())
}

/// Reads a file that is done. One that is damaged, or removed meanwhile, is told, and the others are read.
fn read_rotated<W: Write>(
    file: &RotatedFile,
    mut each: impl FnMut(&[u8], &mut Show<W>) -> io::Result<()>,
    show: &mut Show<W>,
) -> io::Result<()> {
    let mut shown = Ok(());
    let read = file.open().and_then(|mut reader| {
        each_line(&mut *reader, |line| {
            shown = each(line, show);
            match &shown {
                Ok(()) => Ok(()),
                // It is `shown` that counts.
                Err(error) => Err(error.kind().into()),
            }
        })
    });
    shown?;
    if let Err(error) = read {
        eprintln!("warning: {} can't be read to its end: {error}", file.path.display());
    }
    Ok(())
}

/// Whether a file may have requests of the period that is asked for: by its name, give or take a day, since requests are
/// written when they end, and the time zone may have been another.
fn may_have(file: &RotatedFile, filter: &Filter, zone: &TimeZone) -> bool {
    let (since, until) = filter.period();
    let day = |time| zone.to_datetime(time).date();
    let before = |date: Date| date.yesterday().unwrap_or(Date::MIN);
    since.is_none_or(|since| file.day >= before(day(since))) && until.is_none_or(|until| before(file.day) <= day(until))
}

const BUFFER: usize = 256 << 10;
