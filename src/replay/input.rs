//! Files of logs → blocks of whole lines.
//!
//! One thread reads, unpacks and cuts; blocks are handed over by a bounded channel and come back to be filled again, so
//! memory does not grow with the files. A line that is longer than a block is dropped and counted.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::format::Format;

/// Where a log comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, packed by gzip or zstd or not at all.
    File(PathBuf),
}

/// Whole lines of one log, all in one format.
#[derive(Debug)]
pub struct Block {
    /// The lines, each with its end; that of the last may be missing.
    pub bytes: Vec<u8>,
    /// The number of the input.
    pub input: usize,
    /// The number of its first line, counted from 1.
    pub first_line: u64,
    /// How its lines are written.
    pub format: Arc<Format>,
}

/// What the reading of a log came to.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Its lines.
    pub lines: u64,
    /// Lines that were too long for a block, and so were not handed over.
    pub too_long: u64,
    /// Whether nothing is in it.
    pub is_empty: bool,
    /// Its format; none if it was not found.
    pub format: Option<Arc<Format>>,
}

impl Input {
    /// What a person calls it.
    pub fn name(&self) -> String {
        match self {
            Input::Stdin => "standard input".to_owned(),
            Input::File(path) => path.display().to_string(),
        }
    }

    /// The inputs that a path stands for: itself, `-` for standard input, or the files below a folder, by name. Hidden
    /// ones are left out.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(path: &Path) -> io::Result<Vec<Input>> {
        if path.as_os_str() == "-" {
            return Ok(vec![Input::Stdin]);
        }
        let mut inputs = Vec::new();
        collect(path, 0, &mut inputs)?;
        Ok(inputs)
    }

    /// Bytes of the file; 0 where nobody knows.
    pub fn size(&self) -> u64 {
        match self {
            Input::Stdin => 0,
            Input::File(path) => fs::metadata(path).map_or(0, |found| found.len()),
        }
    }

    /// Opens it, and unpacks it if it is packed. `read` counts the bytes as they are in the file.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(&self, read: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        let raw: Box<dyn Read> = match self {
            Input::Stdin => Box::new(io::stdin().lock()),
            Input::File(path) => Box::new(File::open(path)?),
        };
        let mut raw = BufReader::with_capacity(RAW, Counted { raw, read: read.clone() });
        let magic = raw.fill_buf()?;
        Ok(if magic.starts_with(&[0x1F, 0x8B]) {
            Box::new(MultiGzDecoder::new(raw))
        } else if magic.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
            Box::new(zstd::stream::read::Decoder::with_buffer(raw)?)
        } else {
            Box::new(raw)
        })
    }
}

fn collect(path: &Path, depth: usize, inputs: &mut Vec<Input>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        inputs.push(Input::File(path.to_owned()));
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden {
            collect(&entry, depth + 1, inputs)?;
        }
    }
    Ok(())
}

/// Counts what is read.
struct Counted<R> {
    raw: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.raw.read(buf)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Reads a log to its end. `detect` says the format by the first lines, `room` gives space for a block, and `take` gets
/// each block and says whether to go on.
///
/// # Errors
/// If reading or unpacking fails; the blocks before that were handed over.
pub fn read_blocks(
    number: usize,
    mut source: impl Read,
    detect: impl Fn(&[u8]) -> Option<Format>,
    mut room: impl FnMut() -> Vec<u8>,
    mut take: impl FnMut(Block) -> bool,
    reading: &mut Reading,
) -> io::Result<()> {
    let mut carried: Vec<u8> = Vec::new();
    let mut is_first = true;
    let mut skips = false;
    loop {
        let mut bytes = room();
        bytes.clear();
        bytes.append(&mut carried);
        let ended = fill(&mut source, &mut bytes);
        let ended = match ended {
            Ok(ended) => ended,
            // What was read before is good.
            Err(error) => {
                hand_over(number, bytes, reading, &mut take);
                return Err(error);
            }
        };
        if is_first {
            is_first = false;
            if bytes.starts_with("\u{feff}".as_bytes()) {
                bytes.drain(..3);
            }
            reading.is_empty = bytes.is_empty();
            reading.format = detect(&bytes).map(Arc::new);
            if reading.format.is_none() {
                return Ok(());
            }
        }
        if skips {
            // The rest of a line that was too long.
            match memchr::memchr(b'\n', &bytes) {
                Some(end) => {
                    bytes.drain(..=end);
                    skips = false;
                }
                None => bytes.clear(),
            }
        }
        if !ended {
            match memchr::memrchr(b'\n', &bytes) {
                Some(end) => carried.extend_from_slice(&bytes[end + 1..]),
                None if !bytes.is_empty() => {
                    reading.count_too_long();
                    bytes.clear();
                    skips = true;
                }
                None => {}
            }
            bytes.truncate(bytes.len() - carried.len());
        }
        if !hand_over(number, bytes, reading, &mut take) || ended {
            return Ok(());
        }
    }
}

/// Hands lines over, as blocks of one format each.
fn hand_over(number: usize, mut bytes: Vec<u8>, reading: &mut Reading, take: &mut impl FnMut(Block) -> bool) -> bool {
    let Some(mut format) = reading.format.clone() else { return false };
    if format.may_change() {
        while let Some((at, next)) = change(&format, &bytes) {
            let rest = bytes.split_off(at);
            if !hand_one(number, bytes, &format, reading, take) {
                return false;
            }
            bytes = rest;
            format = Arc::new(next);
            reading.format = Some(format.clone());
        }
    }
    hand_one(number, bytes, &format, reading, take)
}

fn hand_one(
    input: usize,
    bytes: Vec<u8>,
    format: &Arc<Format>,
    reading: &mut Reading,
    take: &mut impl FnMut(Block) -> bool,
) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let first_line = reading.lines + 1;
    let unended = u64::from(bytes.last() != Some(&b'\n'));
    reading.lines += memchr::memchr_iter(b'\n', &bytes).count() as u64 + unended;
    take(Block { bytes, input, first_line, format: format.clone() })
}

/// Where the first line stands that gives the lines from there on another format, and which.
fn change(format: &Format, bytes: &[u8]) -> Option<(usize, Format)> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(b'#', &bytes[from..])?;
        if at == 0 || bytes[at - 1] == b'\n' {
            let rest = &bytes[at..];
            let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
            if let Some(next) = format.after(line).filter(|next| next != format) {
                return Some((at, next));
            }
        }
        from = at + 1;
    }
}

/// Reads until a block is full. Says whether that was all.
fn fill(source: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let wanted = (BLOCK as u64).saturating_sub(bytes.len() as u64).max(1);
    let read = source.by_ref().take(wanted).read_to_end(bytes)?;
    Ok((read as u64) < wanted)
}

impl Reading {
    fn count_too_long(&mut self) {
        self.lines += 1;
        self.too_long += 1;
    }
}

/// Bytes of a block.
const BLOCK: usize = 1 << 20;

/// Bytes that are read of a packed file at once.
const RAW: usize = 256 << 10;

/// Folders within folders.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn blocks(text: &[u8]) -> (Vec<Block>, Reading) {
        let (mut blocks, mut reading) = (Vec::new(), Reading::default());
        let take = |block| {
            blocks.push(block);
            true
        };
        read_blocks(3, text, |start| Format::detect(start, &|_| false), Vec::new, take, &mut reading).unwrap();
        (blocks, reading)
    }

    const LINE: &str = "192.0.2.1 - - [10/Oct/2020:13:55:36 +0800] \"GET /a HTTP/1.1\" 200 5\n";

    #[test]
    fn lines_stay_whole_and_are_numbered() {
        let count = 5 * BLOCK / LINE.len();
        let text = format!("\u{feff}{}", LINE.repeat(count)) + LINE.trim_end();
        let (blocks, reading) = blocks(text.as_bytes());
        assert!(blocks.len() > 4);
        assert_eq!(reading.lines, count as u64 + 1);
        let mut line = 1;
        for block in &blocks {
            assert_eq!((block.first_line, block.input), (line, 3));
            let text = str::from_utf8(&block.bytes).unwrap();
            assert!(text.lines().all(|line| line == LINE.trim_end()));
            line += text.lines().count() as u64;
        }
        assert_eq!(line, reading.lines + 1);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let endless = vec![b'x'; 3 * BLOCK + 17];
        let text = [LINE.as_bytes(), &endless, b"\n", LINE.as_bytes()].concat();
        let (blocks, reading) = blocks(&text);
        let lines: u64 = blocks.iter().map(|block| memchr::memchr_iter(b'\n', &block.bytes).count() as u64).sum();
        assert_eq!((lines, reading.lines, reading.too_long), (2, 3, 1));
        assert_eq!(blocks.last().unwrap().first_line, 3);
        assert!(blocks.iter().all(|block| block.bytes.capacity() <= 2 * BLOCK));
    }

    #[test]
    fn what_has_no_format_is_not_read() {
        assert!(blocks(b"what\nis\nthis\n").0.is_empty());
        assert!(blocks(b"").0.is_empty());
    }

    #[test]
    fn fields_that_change_begin_a_new_block() {
        let text = "#Fields: cs-uri-stem sc-status\n/a 200\n#Fields: cs-uri-stem sc-status\n/b 200\n# x\n#Fields: sc-status cs-uri-stem\n404 /c";
        let (blocks, reading) = blocks(text.as_bytes());
        let seen: Vec<(u64, &str)> = blocks
            .iter()
            .map(|block| (block.first_line, str::from_utf8(&block.bytes).unwrap().lines().last().unwrap()))
            .collect();
        assert_eq!(seen, [(1, "# x"), (6, "404 /c")]);
        assert_eq!(reading.lines, 7);
        assert_ne!(blocks[0].format, blocks[1].format);
    }

    #[test]
    fn packed_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b")).unwrap();
        fs::write(path("a.log"), LINE).unwrap();
        fs::write(path(".hidden"), LINE).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(LINE.as_bytes()).unwrap();
        let member = gz.finish().unwrap();
        // As `cat a.gz b.gz` makes them.
        fs::write(path("b/b.gz"), [&member[..], &member[..]].concat()).unwrap();
        fs::write(path("b/c.zst"), zstd::encode_all(LINE.as_bytes(), 1).unwrap()).unwrap();
        let inputs = Input::of(folder.path()).unwrap();
        let names: Vec<String> = inputs.iter().map(Input::name).collect();
        assert_eq!(names, ["a.log", "b/b.gz", "b/c.zst"].map(|name| path(name).display().to_string()));
        let read = Arc::new(AtomicU64::new(0));
        for (input, times) in inputs.iter().zip([1, 2, 1]) {
            let mut text = String::new();
            input.open(&read).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, LINE.repeat(times));
        }
        assert_eq!(read.load(Ordering::Relaxed), inputs.iter().map(Input::size).sum::<u64>());
        assert_eq!(Input::of(Path::new("-")).unwrap(), [Input::Stdin]);
        assert!(Input::of(&path("none")).is_err());
    }
}
