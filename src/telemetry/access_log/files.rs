//! The folder of the access log: which files are in it, and in which order they were written.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, BufRead, BufReader},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use jiff::civil::Date;

/// Name of the file that is written.
pub const CURRENT: &str = "access.log";

/// A file that is done: its name says of which day it is, and which of that day's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The local day on which it was written.
    pub day: Date,
    /// Its number among those of the day, from 1.
    pub number: u32,
    /// Whether it is compressed.
    pub is_compressed: bool,
    /// Its size.
    pub bytes: u64,
}

/// The files in `folder` that are done, the oldest first. Of one that is just being compressed there may be two.
///
/// # Errors
/// If the folder can't be read.
pub fn rotated(folder: &Path) -> io::Result<Vec<RotatedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some((day, number, is_compressed)) = parse(&entry.file_name().to_string_lossy())
            // It may have been removed meanwhile.
            && let Ok(metadata) = entry.metadata()
        {
            files.push(RotatedFile { path: entry.path(), day, number, is_compressed, bytes: metadata.len() });
        }
    }
    files.sort_by_key(|file| (file.day, file.number, file.is_compressed));
    Ok(files)
}

/// Makes the folder, if it is not there. Who is in its group may read it, and nobody else.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

/// The name of a file that is done, and not yet compressed.
pub(super) fn name(day: Date, number: u32) -> String {
    format!("{PREFIX}{day}.{number:03}{SUFFIX}")
}

/// What its name is once it is compressed.
pub(super) fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    name.into()
}

impl RotatedFile {
    /// Opens it, decompressed. One that has been compressed meanwhile is found.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn open(&self) -> io::Result<Box<dyn BufRead>> {
        if !self.is_compressed {
            match File::open(&self.path) {
                Ok(file) => return Ok(Box::new(BufReader::with_capacity(BUFFER, file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let path = if self.is_compressed { self.path.clone() } else { compressed(&self.path) };
        let file = BufReader::with_capacity(BUFFER, File::open(path)?);
        Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))))
    }
}

fn parse(name: &str) -> Option<(Date, u32, bool)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (rest, is_compressed) = match rest.strip_suffix(COMPRESSED) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (day, number) = rest.strip_suffix(SUFFIX)?.split_once('.')?;
    Some((day.parse().ok()?, number.parse().ok()?, is_compressed))
}

const PREFIX: &str = "access-";

const SUFFIX: &str = ".log";

const COMPRESSED: &str = ".gz";

const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn names_tell_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let day = date(2026, 11, 22);
        let names = [
            name(day, 1000),
            name(day, 999) + ".gz",
            name(day, 999),
            name(day.yesterday().unwrap(), 1),
            "access.log".to_owned(),
            "access-2026-11-22.001.log.zst".to_owned(),
            "access-today.001.log".to_owned(),
            ".access.gz.part".to_owned(),
        ];
        for name in &names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let found: Vec<_> = rotated(folder.path())
            .unwrap()
            .into_iter()
            .map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            found,
            [
                "access-2026-11-21.001.log",
                "access-2026-11-22.999.log",
                "access-2026-11-22.999.log.gz",
                "access-2026-11-22.1000.log"
            ]
        );
    }
}
