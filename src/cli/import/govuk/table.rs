//! Bytes of a CSV file → records, with the lines on which they begin.

use std::str::Utf8Error;

use csv_core::{ReadRecordResult, Reader};

/// The records of a CSV file that aren't blank lines.
pub(super) struct Records<'a> {
    reader: Reader,
    input: &'a [u8],
    at: usize,
    line: u32,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// One record.
#[derive(Debug)]
pub(super) struct Record<'r> {
    /// The line on which it begins, counted from 1.
    pub(super) line: u32,
    text: &'r [u8],
    ends: &'r [usize],
}

impl<'a> Records<'a> {
    /// The records of `input`, without its byte order mark.
    pub(super) fn new(input: &'a [u8]) -> Self {
        Records { reader: Reader::new(), input, at: 0, line: 1, text: vec![0; 1024], ends: vec![0; 16] }
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Option<Record<'_>> {
        let blank = self.input[self.at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.advance(blank);
        if self.at == self.input.len() {
            return None;
        }
        let line = self.line;
        let (mut text_len, mut count) = (0, 0);
        loop {
            let input = &self.input[self.at..];
            let (result, read, written, ended) =
                self.reader.read_record(input, &mut self.text[text_len..], &mut self.ends[count..]);
            self.advance(read);
            text_len += written;
            count += ended;
            match result {
                // The reader wants to be told once more that nothing follows.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        Some(Record { line, text: &self.text[..text_len], ends: &self.ends[..count] })
    }

    /// Moves on, counting line ends: LF, CR LF, or CR alone.
    fn advance(&mut self, count: usize) {
        for at in self.at..self.at + count {
            let ends = match self.input[at] {
                b'\n' => true,
                b'\r' => self.input.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line += u32::from(ends);
        }
        self.at += count;
    }
}

impl<'r> Record<'r> {
    /// How many fields it has.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field, trimmed; empty if the record is too short to have it.
    ///
    /// # Errors
    /// If it isn't UTF-8.
    pub(super) fn field(&self, index: usize) -> Result<&'r str, Utf8Error> {
        let Some(&end) = self.ends.get(index) else { return Ok("") };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        std::str::from_utf8(&self.text[start..end]).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Vec<(u32, Vec<String>)> {
        let mut records = Records::new(input.as_bytes());
        let mut all = Vec::new();
        while let Some(record) = records.next() {
            all.push((record.line, (0..record.len()).map(|at| record.field(at).unwrap().to_owned()).collect()));
        }
        all
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let row = |line, fields: &[&str]| (line, fields.iter().map(|&field| field.to_owned()).collect());
        for end in ["\n", "\r\n", "\r"] {
            let file = "\na,b\n\n\n\"c\n\n\"\"d\"\"\",e\n f ,\"\"\ng".replace('\n', end);
            let quoted = "c\n\n\"d\"".replace('\n', end);
            let want = vec![row(2, &["a", "b"]), row(5, &[&quoted, "e"]), row(8, &["f", ""]), row(9, &["g"])];
            assert_eq!(read(&file), want, "{end:?}");
        }
        assert!(read("").is_empty() && read("\n\r\n").is_empty());
        assert_eq!(read("a\n\"b\nc"), [row(1, &["a"]), row(2, &["b\nc"])]);
    }

    #[test]
    fn records_may_be_long_and_wide() {
        let file = format!("{},{}\n", "x".repeat(10_000), "y,".repeat(100));
        let all = read(&file);
        assert_eq!((all.len(), all[0].1.len(), all[0].1[0].len()), (1, 102, 10_000));
    }

    #[test]
    fn other_charsets_are_told() {
        let mut records = Records::new(b"a,\xC7\xE0\n");
        let record = records.next().unwrap();
        assert!(record.field(0).is_ok() && record.field(1).is_err() && record.field(7) == Ok(""));
    }
}
