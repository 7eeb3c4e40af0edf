//! A spreadsheet's file → rows of text.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Cursor, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use calamine::{Data, DataRef, ExcelDateTime, Reader, Xlsx};

use crate::config::mapping;

/// Largest file, in bytes.
const MAX_FILE: u64 = 32 << 20;

/// Most that a packed file may unpack to, in bytes: a survey of 100,000 sites takes less.
const MAX_UNPACKED: u64 = 128 << 20;

/// Sheets, rows, columns and bytes of a cell that are read.
const MAX_SHEETS: usize = 64;
const MAX_ROWS: u32 = 200_000;
const MAX_COLUMNS: u32 = 256;
const MAX_CELL: usize = 32 << 10;

/// Bytes of all cells, those that a merged area repeats among them.
const MAX_TEXT: usize = 128 << 20;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// It can't be read at all.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no spreadsheet that is known here, or a damaged one.
    #[error("{0}")]
    Format(String),
    /// It is larger than any survey.
    #[error("this is larger than any survey: {0}")]
    TooLarge(&'static str),
}

/// A sheet: what its rows say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Its name; empty for CSV.
    pub name: String,
    /// The rows that have any text.
    pub rows: Vec<Row>,
}

/// A row that has any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its number, counted from 1 as spreadsheet programs do.
    pub number: u32,
    /// Its cells; those that are missing at the end are empty.
    pub cells: Vec<String>,
}

impl Row {
    /// A cell.
    pub fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }
}

/// Reads a file of either kind.
///
/// # Errors
/// When it is none, or too large.
pub fn read(path: &Path) -> Result<Vec<Sheet>, SheetError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(SheetError::TooLarge("more than 32 MiB"));
    }
    parse(&path.to_string_lossy(), bytes)
}

/// Reads the bytes of a file of either kind; its first bytes say which it is.
///
/// # Errors
/// When it is none, or too large.
pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Vec<Sheet>, SheetError> {
    if bytes.starts_with(b"PK") {
        return xlsx(bytes);
    }
    if bytes.starts_with(&[0xD0, 0xCF, 0x11, 0xE0]) {
        return Err(SheetError::Format(
            "this is a workbook of before 2007, or a locked one: save it as .xlsx".to_owned(),
        ));
    }
    let file = mapping::decode(name, bytes).map_err(|fault| {
        SheetError::Format(format!("{}, nor a workbook (.xlsx)", fault.message.replace("table", "file")))
    })?;
    Ok(vec![Sheet { name: String::new(), rows: csv(&file.text)? }])
}

fn xlsx(bytes: Vec<u8>) -> Result<Vec<Sheet>, SheetError> {
    bound(&bytes)?;
    // Whatever a damaged file makes the reader stumble over, it is the file's fault.
    let read = catch_unwind(AssertUnwindSafe(|| workbook(bytes)));
    read.unwrap_or_else(|_| Err(SheetError::Format("this workbook is damaged".to_owned())))
}

/// Unpacks everything, once, to nowhere: what a packed file says of its sizes need not be true.
fn bound(bytes: &[u8]) -> Result<(), SheetError> {
    let damaged = |error: &dyn std::fmt::Display| SheetError::Format(format!("this workbook is damaged: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let mut left = MAX_UNPACKED;
    for number in 0..archive.len() {
        let entry = archive.by_index(number).map_err(|error| damaged(&error))?;
        let unpacked = io::copy(&mut entry.take(left + 1), &mut io::sink()).map_err(|error| damaged(&error))?;
        left = left.checked_sub(unpacked).ok_or(SheetError::TooLarge("it unpacks to more than 128 MiB"))?;
    }
    Ok(())
}

fn workbook(bytes: Vec<u8>) -> Result<Vec<Sheet>, SheetError> {
    let damaged = |error: &dyn std::fmt::Display| SheetError::Format(format!("this workbook is damaged: {error}"));
    let mut book: Xlsx<_> =
        Xlsx::new(Cursor::new(bytes)).map_err(|error| SheetError::Format(format!("this is no workbook: {error}")))?;
    let names = book.sheet_names();
    if names.len() > MAX_SHEETS {
        return Err(SheetError::TooLarge("more than 64 sheets"));
    }
    let mut sheets = Vec::new();
    let mut left = MAX_TEXT;
    for name in names {
        let merged = book.merge_cells_by_sheet_name(&name).map_err(|error| damaged(&error))?;
        let mut cells: BTreeMap<(u32, u32), String> = BTreeMap::new();
        // Diagrams are sheets without cells.
        let Ok(mut reader) = book.worksheet_cells_reader(&name) else { continue };
        while let Some(cell) = reader.next_cell().map_err(|error| damaged(&error))? {
            let (row, column) = cell.get_position();
            let text = text(cell.get_value());
            if text.trim().is_empty() {
                continue;
            }
            if row >= MAX_ROWS {
                return Err(SheetError::TooLarge("more than 200,000 rows"));
            }
            if column >= MAX_COLUMNS {
                return Err(SheetError::TooLarge("more than 256 columns"));
            }
            take(&mut left, text.len())?;
            cells.insert((row, column), text);
        }
        // Each cell of a merged area says what its first one says: a bureau's name is written once for all its sites.
        for area in merged {
            let Some(text) = cells.get(&area.start).cloned() else { continue };
            for row in area.start.0..=area.end.0.min(MAX_ROWS - 1) {
                for column in area.start.1..=area.end.1.min(MAX_COLUMNS - 1) {
                    take(&mut left, text.len() + 1)?;
                    cells.entry((row, column)).or_insert_with(|| text.clone());
                }
            }
        }
        let mut rows: Vec<Row> = Vec::new();
        for ((row, column), text) in cells {
            if rows.last().is_none_or(|last| last.number != row + 1) {
                rows.push(Row { number: row + 1, cells: Vec::new() });
            }
            if let Some(last) = rows.last_mut() {
                last.cells.resize(column as usize, String::new());
                last.cells.push(text);
            }
        }
        sheets.push(Sheet { name, rows });
    }
    Ok(sheets)
}

fn take(left: &mut usize, bytes: usize) -> Result<(), SheetError> {
    *left = left.checked_sub(bytes).ok_or(SheetError::TooLarge("more than 128 MiB of text"))?;
    Ok(())
}

/// What a cell says. Numbers are as people typed them: a code is no floating-point number, a date no count of days.
fn text(value: &DataRef<'_>) -> String {
    let text = match Data::from(value.clone()) {
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text,
        Data::Int(number) => number.to_string(),
        // Both print exactly; Rust's `Display` of a float has no exponent.
        Data::Float(number) => number.to_string(),
        Data::Bool(value) => if value { "TRUE" } else { "FALSE" }.to_owned(),
        Data::DateTime(moment) => date(&moment),
        Data::Error(error) => error.to_string(),
        Data::Empty => String::new(),
    };
    let text = if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text };
    cut(text)
}

/// A date as ISO has it, with its time if it is not midnight.
fn date(moment: &ExcelDateTime) -> String {
    if moment.is_duration() {
        return moment.as_f64().to_string();
    }
    let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if (hour, minute, second) != (0, 0, 0) {
        // Writing to a `String` can't fail.
        let _ = write!(text, " {hour:02}:{minute:02}:{second:02}");
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_CELL {
        let end = (0..=MAX_CELL).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// What separates cells: commas, tabs or semicolons, whatever there is most of outside quotes. Titles may come first.
fn separator(text: &str) -> char {
    let (mut counts, mut quoted) = ([0_usize; 3], false);
    for c in text.chars().take(MAX_CELL) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => counts[0] += 1,
            '\t' if !quoted => counts[1] += 1,
            ';' if !quoted => counts[2] += 1,
            _ => {}
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    [',', '\t', ';'].into_iter().zip(counts).find(|(_, count)| *count == most).map_or(',', |(c, _)| c)
}

/// The rows of CSV, RFC 4180 and what is near to it.
fn csv(text: &str) -> Result<Vec<Row>, SheetError> {
    let separator = separator(text);
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut number, mut quoted) = (1, false);
    let mut chars = text.chars().peekable();
    loop {
        let next = chars.next();
        match next {
            Some('"') if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            Some('"') if quoted => quoted = false,
            Some(c) if quoted => {
                if c != '\r' || chars.peek() != Some(&'\n') {
                    cell.push(c);
                }
            }
            Some('"') if cell.is_empty() => quoted = true,
            Some(c) if c == separator => row.push(cut(std::mem::take(&mut cell))),
            Some('\r') if chars.peek() == Some(&'\n') => {}
            Some('\n') | None => {
                row.push(cut(std::mem::take(&mut cell)));
                if row.len() > MAX_COLUMNS as usize {
                    return Err(SheetError::TooLarge("more than 256 columns"));
                }
                let cells = std::mem::take(&mut row);
                if cells.iter().any(|cell: &String| !cell.trim().is_empty()) {
                    rows.push(Row { number, cells });
                }
                number += 1;
                if number > MAX_ROWS + 1 {
                    return Err(SheetError::TooLarge("more than 200,000 rows"));
                }
                if next.is_none() {
                    return Ok(rows);
                }
            }
            Some(c) => cell.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<(u32, Vec<String>)> {
        let sheets = parse("a.csv", text.to_vec()).unwrap();
        sheets[0].rows.iter().map(|row| (row.number, row.cells.clone())).collect()
    }

    fn row(number: u32, cells: &[&str]) -> (u32, Vec<String>) {
        (number, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn csv_as_programs_write_it() {
        let wanted = vec![row(2, &["名称", "a,\"b\"\nc"]), row(4, &["x", ""])];
        assert_eq!(rows("\u{feff}\r\n名称,\"a,\"\"b\"\"\r\nc\"\r\n,\r\nx,".as_bytes()), wanted);
        let (gb, _, _) = encoding_rs::GB18030.encode("\n名称;\"a,\"\"b\"\"\nc\"\n;\nx;\n");
        assert_eq!(rows(&gb), wanted);
        assert_eq!(rows(b"a\tb,c\t\n\"unclosed\tx"), [row(1, &["a", "b,c", ""]), row(2, &["unclosed\tx"])]);
        assert_eq!(rows(b""), []);
    }

    #[test]
    fn what_is_no_survey_is_refused() {
        for bytes in [&b"PK\x03\x04 and nothing"[..], b"\xD0\xCF\x11\xE0\xA1", b"\xFF\xFEa\0", b"a\xFF,b"] {
            assert!(matches!(parse("a", bytes.to_vec()), Err(SheetError::Format(_))), "{bytes:?}");
        }
        let wide = ",".repeat(300);
        assert!(matches!(parse("a", wide.into_bytes()), Err(SheetError::TooLarge(_))));
        let long = "x\n".repeat(MAX_ROWS as usize + 5);
        assert!(matches!(parse("a", long.into_bytes()), Err(SheetError::TooLarge(_))));
    }

    /// Rows that a spreadsheet program never writes, and a packer of bombs does.
    #[test]
    fn bombs_are_not_unpacked() {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file("xl/sharedStrings.xml", options).unwrap();
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..=MAX_UNPACKED >> 20 {
            io::Write::write_all(&mut archive, &zeros).unwrap();
        }
        let bytes = archive.finish().unwrap().into_inner();
        assert!(bytes.len() < 1 << 20);
        assert!(matches!(parse("a.xlsx", bytes), Err(SheetError::TooLarge(_))));
    }
}
