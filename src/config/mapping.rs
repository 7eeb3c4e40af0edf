//! Mapping tables: CSV, one old URL a row, as spreadsheet programs save it.

use std::{ops::Range, sync::Arc};

use encoding_rs::DecoderResult;

use super::diagnostic::{Diagnostic, SourceFile, suggestion};
use super::reader::{STATUS_HINT, parse_status};
use super::records::{Record, Records, field_span, misquoted};
use crate::model::RedirectStatus;

/// A column of a mapping table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The old URL: a path, or a whole URL.
    Old,
    /// The new URL; none means gone.
    New,
    /// The status of the redirect, or 410.
    Status,
    /// A page that may help instead, for rows that are gone.
    Suggest,
    /// A copy in an archive, for rows that are gone.
    Archive,
    /// For other operators.
    Note,
}

/// Header names, the canonical one of each column first.
const HEADERS: [(&str, Column); 12] = [
    ("old", Column::Old),
    ("new", Column::New),
    ("status", Column::Status),
    ("suggest", Column::Suggest),
    ("archive", Column::Archive),
    ("note", Column::Note),
    ("old url", Column::Old),
    ("new url", Column::New),
    ("suggested link", Column::Suggest),
    ("archive link", Column::Archive),
    ("suggested url", Column::Suggest),
    ("archive url", Column::Archive),
];

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowAction {
    /// Redirect to the `new` column, with this status or the site's.
    Redirect(Option<RedirectStatus>),
    /// 410.
    Gone,
}

/// One row; empty cells are empty texts.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Line on which the row begins, counted from 1.
    pub line: u32,
    /// What it does.
    pub action: RowAction,
    span: Range<usize>,
    cells: [&'a str; 6],
    positions: [usize; 6],
}

impl<'a> Row<'a> {
    /// A cell, without white space around it.
    pub fn cell(&self, column: Column) -> &'a str {
        self.cells[column as usize]
    }
}

/// Turns the bytes of a table into text: UTF-8 with or without byte order mark, else GB18030.
///
/// # Errors
/// A diagnostic at the first byte that is neither.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Arc<SourceFile>, Box<Diagnostic>> {
    // UTF-16 has its mark, or this character, which no table has.
    let marked = [[0xFF, 0xFE], [0xFE, 0xFF]].iter().any(|mark| bytes.starts_with(mark));
    if marked || bytes.contains(&0) {
        let at = if marked { 0 } else { bytes.iter().position(|&b| b == 0).unwrap_or(0) };
        let before = String::from_utf8_lossy(&bytes[..at]).len();
        return Err(bad_charset(name, String::from_utf8_lossy(&bytes).into_owned(), before));
    }
    let utf8_error = match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            return Ok(source(name, text));
        }
        Err(error) => error,
    };
    let valid = utf8_error.utf8_error().valid_up_to();
    let bytes = utf8_error.into_bytes();
    if let Some(text) = encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(&bytes) {
        return Ok(source(name, text.into_owned()));
    }
    // The charset that gets further is what was meant.
    let (good, read) = gb18030_prefix(&bytes);
    if read <= valid {
        return Err(bad_charset(name, String::from_utf8_lossy(&bytes).into_owned(), valid));
    }
    let (rest, _) = encoding_rs::GB18030.decode_without_bom_handling(&bytes[read..]);
    Err(bad_charset(name, [&good, &*rest].concat(), good.len()))
}

fn source(name: &str, text: String) -> Arc<SourceFile> {
    // Old spreadsheets end lines with a carriage return alone; everybody else counts line feeds.
    let text = if text.contains('\r') && !text.contains('\n') { text.replace('\r', "\n") } else { text };
    Arc::new(SourceFile::new(name, text))
}

/// The text up to the first byte that is no GB18030, and how many bytes that is.
fn gb18030_prefix(bytes: &[u8]) -> (String, usize) {
    let mut decoder = encoding_rs::GB18030.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(0));
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        DecoderResult::Malformed(bad, after) => (text, read.saturating_sub(usize::from(bad) + usize::from(after))),
        _ => (text, read),
    }
}

fn bad_charset(name: &str, text: String, at: usize) -> Box<Diagnostic> {
    let file = SourceFile::new(name, text);
    Box::new(
        file.error("bad-charset", at..at + 1, "this table is neither UTF-8 nor GB18030")
            .hint("save it as \"CSV UTF-8\" in the spreadsheet program"),
    )
}

/// Reads a table row by row; `row` gets each good row, `faults` every bad one.
pub fn read(file: &SourceFile, faults: &mut Vec<Diagnostic>, mut row: impl FnMut(&Row<'_>, &mut Vec<Diagnostic>)) {
    let mut records = Records::new(file.text.as_bytes());
    let Some(header) = records.next_record() else {
        faults.push(
            file.error("bad-table", 0..0, "this table is empty").hint("its first line is a header: old,new,status"),
        );
        return;
    };
    if let Some(fault) = misquoted(file, &header.span) {
        faults.push(fault);
        return;
    }
    let Some(columns) = columns(file, &records, &header, faults) else { return };
    while let Some(record) = records.next_record() {
        let fields = record.fields;
        if fields == 1 && records.field(0).trim_ascii().is_empty() {
            continue;
        }
        if let Some(fault) = misquoted(file, &record.span) {
            faults.push(fault);
            continue;
        }
        match parse_row(file, &records, &record, &columns) {
            Ok(Some(parsed)) => row(&parsed, faults),
            Ok(None) => {}
            Err(fault) => faults.push(*fault),
        }
    }
}

/// The columns of a table, in their order; nothing for those without a name, or with one that is not known.
pub fn columns_of(file: &SourceFile) -> Option<Vec<Option<Column>>> {
    let mut records = Records::new(file.text.as_bytes());
    let header = records.next_record()?;
    let columns = columns(file, &records, &header, &mut Vec::new())?;
    let column = |header| if let Header::Is(column) = header { Some(column) } else { None };
    Some(columns.into_iter().map(column).collect())
}

/// Finds cells of a table's rows again.
pub struct Targets<'a> {
    file: &'a SourceFile,
    records: Records<'a>,
    /// Number of the column `new`.
    column: usize,
}

impl<'a> Targets<'a> {
    /// For a table that was read without a fault in its header.
    pub fn new(file: &'a SourceFile) -> Self {
        let mut records = Records::new(file.text.as_bytes());
        let columns = records.next_record().and_then(|header| columns(file, &records, &header, &mut Vec::new()));
        let column = columns.unwrap_or_default().iter().position(|column| *column == Header::Is(Column::New));
        Targets { file, records, column: column.unwrap_or(0) }
    }

    /// Where the new URL of the row that begins on `line` stands. Lines must be asked for in order.
    pub fn span(&mut self, line: u32) -> Range<usize> {
        while let Some(record) = self.records.next_record() {
            if record.line >= line {
                return field_span(&self.file.text, &record.span, self.column);
            }
        }
        0..0
    }
}

/// A fault in a cell of a row.
pub fn fault(
    file: &SourceFile,
    row: &Row<'_>,
    column: Column,
    code: &'static str,
    message: impl Into<String>,
) -> Diagnostic {
    file.error(code, field_span(&file.text, &row.span, row.positions[column as usize]), message)
}

/// What the header says of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Is(Column),
    /// A name that was reported, so that its cells need not be.
    Unknown,
    /// No name: spreadsheets leave empty columns at the end.
    Empty,
}

fn columns(
    file: &SourceFile,
    records: &Records<'_>,
    header: &Record,
    faults: &mut Vec<Diagnostic>,
) -> Option<Vec<Header>> {
    let names: Vec<String> =
        (0..header.fields).map(|n| String::from_utf8_lossy(records.field(n)).trim().to_lowercase()).collect();
    let is_known = |name: &str| HEADERS.iter().any(|(known, _)| *known == name);
    let is_row =
        names.first().is_some_and(|first| first.starts_with('/')) || names.iter().any(|name| name.contains("://"));
    if is_row && !names.iter().any(|name| is_known(name)) {
        faults.push(
            file.error(
                "bad-table",
                field_span(&file.text, &header.span, 0),
                "the first line of a mapping table is its header",
            )
            .hint("put a line `old,new,status` above it"),
        );
        return None;
    }
    let mut columns = Vec::with_capacity(header.fields);
    let mut complete = true;
    for (n, name) in names.iter().enumerate() {
        let span = || field_span(&file.text, &header.span, n);
        let column = match HEADERS.iter().find(|(known, _)| known == name) {
            None if name.is_empty() => Header::Empty,
            None => {
                let hint = suggestion(name, HEADERS.iter().map(|(name, _)| *name))
                    .unwrap_or_else(|| "columns are: old, new, status, suggest, archive, note".to_owned());
                faults.push(file.error("unknown-column", span(), format!("unknown column `{name}`")).hint(hint));
                complete = false;
                Header::Unknown
            }
            Some((_, column)) if columns.contains(&Header::Is(*column)) => {
                faults.push(file.error("bad-table", span(), format!("the column `{name}` stands twice in the header")));
                complete = false;
                Header::Unknown
            }
            Some((_, column)) => Header::Is(*column),
        };
        columns.push(column);
    }
    if !columns.contains(&Header::Is(Column::Old)) {
        // A misspelt `old` has been reported already.
        if complete {
            let whole = header.span.clone();
            faults.push(
                file.error("bad-table", whole, "this table has no column `old`")
                    .hint("its header is: old,new,status,suggest,archive,note"),
            );
        }
        return None;
    }
    Some(columns)
}

fn parse_row<'r>(
    file: &SourceFile,
    records: &'r Records<'_>,
    record: &Record,
    columns: &[Header],
) -> Result<Option<Row<'r>>, Box<Diagnostic>> {
    let mut row = Row {
        line: record.line,
        action: RowAction::Gone,
        span: record.span.clone(),
        cells: [""; 6],
        positions: [0; 6],
    };
    for n in 0..record.fields {
        let text = std::str::from_utf8(records.field(n)).unwrap_or_default().trim();
        match columns.get(n) {
            Some(Header::Is(column)) => {
                row.cells[*column as usize] = text;
                row.positions[*column as usize] = n;
            }
            Some(Header::Unknown) => {}
            _ if text.is_empty() => {}
            _ => {
                let fault = file
                    .error(
                        "bad-row",
                        field_span(&file.text, &record.span, n),
                        "this row has more cells than the header has columns",
                    )
                    .hint("put a cell that contains a comma into double quotes");
                return Err(Box::new(fault));
            }
        }
    }
    if row.cells.iter().all(|cell| cell.is_empty()) {
        return Ok(None);
    }
    if row.cell(Column::Old).is_empty() {
        return Err(Box::new(fault(file, &row, Column::Old, "bad-row", "this row has no old URL")));
    }
    row.action = row_action(file, &row)?;
    Ok(Some(row))
}

fn row_action(file: &SourceFile, row: &Row<'_>) -> Result<RowAction, Box<Diagnostic>> {
    let (new, status) = (row.cell(Column::New), row.cell(Column::Status));
    match status {
        "" if new.is_empty() => Ok(RowAction::Gone),
        "" => Ok(RowAction::Redirect(None)),
        "410" | "gone" if new.is_empty() => Ok(RowAction::Gone),
        "410" | "gone" => Err(Box::new(
            fault(file, row, Column::New, "bad-row", "a page that is gone has no new URL")
                .hint("leave `new` empty, or name the page in the column `suggest`"),
        )),
        text => match parse_status(text) {
            Some(_) if new.is_empty() => Err(Box::new(
                fault(file, row, Column::Status, "bad-row", format!("status {text} needs a new URL"))
                    .hint("fill in `new`, or write 410"),
            )),
            Some(status) => Ok(RowAction::Redirect(Some(status))),
            None => Err(Box::new(
                fault(file, row, Column::Status, "bad-status", format!("`{text}` is no status of a mapping"))
                    .hint(format!("{STATUS_HINT}; 410 or nothing for a page that is gone")),
            )),
        },
    }
}
