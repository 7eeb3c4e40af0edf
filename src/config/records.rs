//! Records of a CSV file, with positions: csv-core reads, and tells nobody where a field stood or how it was quoted.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader};

use super::diagnostic::{Diagnostic, SourceFile};

/// Where a record stands.
pub(super) struct Record {
    /// The line on which it begins, counted from 1.
    pub line: u32,
    pub span: Range<usize>,
    /// How many fields it has.
    pub fields: usize,
}

/// csv-core's reader with growing buffers and positions.
pub(super) struct Records<'a> {
    reader: Reader,
    input: &'a [u8],
    at: usize,
    line: u32,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Records { reader: Reader::new(), input, at: 0, line: 1, output: vec![0; 4096], ends: vec![0; 16] }
    }

    /// A field of the record that was read last, unquoted.
    pub fn field(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.output[start..self.ends[n]]
    }

    /// Reads the next record; nothing at the end.
    pub fn next_record(&mut self) -> Option<Record> {
        // Line ends before a record belong to nobody.
        while let Some(b'\r' | b'\n') = self.input.get(self.at) {
            self.line += u32::from(self.input[self.at] == b'\n');
            self.at += 1;
        }
        let (start, line) = (self.at, self.line);
        let (mut written, mut fields) = (0, 0);
        loop {
            let (result, read, wrote, ended) =
                self.reader.read_record(&self.input[self.at..], &mut self.output[written..], &mut self.ends[fields..]);
            self.at += read;
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => {
                    self.line += self.input[start..self.at].iter().filter(|&&b| b == b'\n').count() as u32;
                    return Some(Record { line, span: start..self.at, fields });
                }
                ReadRecordResult::End => return None,
            }
        }
    }
}

/// A cell as it stands in the file.
struct Cell {
    /// What is in it, without its quotes.
    span: Range<usize>,
    /// What stands between its closing quote and the comma.
    rest: Range<usize>,
    /// Whether it is quoted.
    quoted: bool,
    /// Whether its quote is never closed.
    open: bool,
}

/// The cells of a record, told apart as csv-core does.
fn cells<'a>(text: &'a str, record: &Range<usize>) -> impl Iterator<Item = Cell> + 'a {
    let bytes = text.as_bytes();
    let (mut next, end) = (Some(record.start), record.end);
    let find = move |from: usize, bytes: &[u8], wanted: &[u8]| {
        bytes[from..end].iter().position(|b| wanted.contains(b)).map_or(end, |at| from + at)
    };
    std::iter::from_fn(move || {
        let start = next?;
        let mut close = start;
        let quoted = bytes.get(start) == Some(&b'"') && start < end;
        if quoted {
            // Two quotes within a quoted cell are one.
            loop {
                close = find(close + 1, bytes, b"\"");
                if close + 1 >= end || bytes[close + 1] != b'"' {
                    break;
                }
                close += 1;
            }
        }
        let stop = find((close + usize::from(quoted)).min(end), bytes, b",\r\n");
        next = (bytes.get(stop) == Some(&b',') && stop < end).then_some(stop + 1);
        Some(if quoted {
            Cell { span: start + 1..close, rest: (close + 1).min(end)..stop, quoted, open: close >= end }
        } else {
            Cell { span: start..stop, rest: stop..stop, quoted, open: false }
        })
    })
}

/// Reports a quote that takes in more, or less, than the cell it stands in.
pub(super) fn misquoted(file: &SourceFile, record: &Range<usize>) -> Option<Diagnostic> {
    if !file.text.as_bytes()[record.clone()].contains(&b'"') {
        return None;
    }
    cells(&file.text, record).find_map(|cell| {
        if cell.open {
            let fault = file.error("bad-row", cell.span.start - 1..cell.span.start, "this quote is never closed");
            return Some(fault.hint("close it, or write `\"\"` for a quote within a quoted cell"));
        }
        let follows = !file.text[cell.rest.clone()].trim().is_empty();
        follows.then(|| {
            file.error("bad-row", cell.rest, "text follows the closing quote")
                .hint("quote the whole cell, and write `\"\"` for a quote within it")
        })
    })
}

/// Where field `n` of a record stands in the file, without white space and quotes around it; where the record ends, if
/// it has fewer.
pub(super) fn field_span(text: &str, record: &Range<usize>, n: usize) -> Range<usize> {
    let end = record.start + text[record.clone()].trim_end_matches(['\r', '\n']).len();
    let Some(Cell { span, quoted, .. }) = cells(text, record).nth(n) else { return end..end };
    let (mut cell, mut start) = (&text[span.clone()], span.start);
    if !quoted {
        start = span.end - cell.trim_start().trim_start_matches('"').len();
        cell = text[start..span.end].trim_end();
    }
    start..start + cell.trim_end_matches('"').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_where_csv_core_reads_them() {
        let text = "/a,\"b, \"\"c\"\"\",, d ,\"\"\n\"x\"y,z\r\n\"open, it\n";
        let mut records = Records::new(text.as_bytes());
        let file = SourceFile::new("t.csv", text.to_owned());
        let first = records.next_record().unwrap();
        let spans: Vec<&str> = (0..6).map(|n| &text[field_span(text, &first.span, n)]).collect();
        assert_eq!(spans, ["/a", "b, \"\"c", "", "d", "", ""]);
        assert_eq!(first.fields, 5);
        assert_eq!(misquoted(&file, &first.span), None);
        let second = records.next_record().unwrap();
        assert_eq!(misquoted(&file, &second.span).map(|fault| (fault.line, fault.column)), Some((2, 4)));
        let third = records.next_record().unwrap();
        assert_eq!(misquoted(&file, &third.span).map(|fault| (fault.line, fault.column)), Some((3, 1)));
        assert!(records.next_record().is_none());
    }
}
