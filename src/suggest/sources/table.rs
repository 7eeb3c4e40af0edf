//! Tables: exports of a platform (old id → new URL), lists of pages with titles, of old addresses with titles.

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::{SourceError, text};
use crate::suggest::Day;

/// A row; empty cells are empty texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The id that the old system had for the page.
    pub old_id: String,
    /// The address that it had.
    pub old: String,
    /// The address that it has.
    pub new: String,
    /// Its title.
    pub title: String,
    /// The day on which it was published.
    pub day: Option<Day>,
    /// How often the old address was asked for.
    pub hits: u64,
    /// Whether a reviewer said that it is right.
    pub accept: bool,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The heading of the column of old ids; empty if there is none.
    pub id_heading: String,
    /// Its rows, without those that say nothing.
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    OldId,
    Old,
    New,
    Title,
    Day,
    Hits,
    Accept,
}

/// Headings without spaces, `-`, `_` and case. Of several columns of a kind the one whose heading stands first here counts.
const HEADINGS: &[(Column, &[&str])] = &[
    (
        Column::OldId,
        &[
            "oldid",
            "旧id",
            "原id",
            "旧编号",
            "原编号",
            "旧文章id",
            "原文章id",
            "旧稿件id",
            "原稿件id",
            "旧信息id",
            "legacyid",
            "sourceid",
            "文章id",
            "稿件id",
            "信息id",
            "内容id",
            "文档id",
            "articleid",
            "docid",
            "infoid",
            "newsid",
            "contentid",
            "itemid",
            "id",
            "编号",
            "文章编号",
            "信息编号",
        ],
    ),
    (
        Column::Old,
        &[
            "old",
            "oldurl",
            "旧地址",
            "原地址",
            "旧url",
            "原url",
            "旧链接",
            "原链接",
            "旧网址",
            "原网址",
            "oldpath",
            "oldlink",
            "from",
            "source",
            "legacyurl",
            "原文地址",
        ],
    ),
    (
        Column::New,
        &[
            "new",
            "newurl",
            "新地址",
            "新url",
            "新链接",
            "新网址",
            "newpath",
            "newlink",
            "to",
            "target",
            "url",
            "地址",
            "链接",
            "网址",
            "link",
            "loc",
            "目标",
            "发布地址",
            "访问地址",
            "address",
        ],
    ),
    (
        Column::Title,
        &[
            "title",
            "标题",
            "文章标题",
            "稿件标题",
            "信息标题",
            "题名",
            "名称",
            "newtitle",
            "新标题",
            "oldtitle",
            "旧标题",
            "原标题",
            "name",
        ],
    ),
    (
        Column::Day,
        &[
            "date",
            "日期",
            "发布日期",
            "发布时间",
            "成文日期",
            "pubdate",
            "publishdate",
            "pubtime",
            "publishtime",
            "时间",
            "created",
            "createtime",
        ],
    ),
    (Column::Hits, &["hits", "访问量", "次数", "count"]),
    (Column::Accept, &["accept", "采纳", "接受"]),
];

/// Reads a table with commas, semicolons or tabs, in UTF-8, UTF-16 with its mark, or GB18030. The first line names its columns;
/// without such a line, cells say what they are.
///
/// # Errors
/// If it is none, or too large.
pub fn table(bytes: &[u8]) -> Result<Rows, SourceError> {
    let text = text(bytes)?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let often = |c: char| first.matches(c).count();
    let delimiter = [',', '\t', ';'].into_iter().max_by_key(|&c| (often(c), c == ',')).unwrap_or(',');
    let mut lines = Records::new(text.as_bytes(), delimiter as u8);
    let Some(header) = lines.next_record() else {
        return Err(SourceError::NoTable("it is empty".to_owned()));
    };
    let mut rows = Rows::default();
    let mut columns = columns(&header);
    let has_header = columns.iter().any(Option::is_some);
    if !has_header {
        columns = guessed(&header);
        if !columns.iter().any(Option::is_some) {
            let shown: String = header.join(",").chars().take(80).collect();
            return Err(SourceError::NoTable(format!(
                "its first line, `{shown}`, names no column that is known (old id, old url, new url, title)"
            )));
        }
        rows.rows.extend(row(&header, &columns));
    } else if let Some(at) = columns.iter().position(|column| *column == Some(Column::OldId)) {
        rows.id_heading = plain(&header[at]);
    }
    while let Some(record) = lines.next_record() {
        rows.rows.extend(row(&record, &columns));
    }
    Ok(rows)
}

fn columns(header: &[String]) -> Vec<Option<Column>> {
    let names: Vec<String> = header.iter().map(|name| plain(name)).collect();
    let mut columns = vec![None; names.len()];
    for (column, known) in HEADINGS {
        let place = known.iter().find_map(|known| names.iter().position(|name| name == known));
        if let Some(place) = place.filter(|place| columns[*place].is_none()) {
            columns[place] = Some(*column);
        }
    }
    columns
}

/// For tables without headings: a URL is the new address (the second of two), a path the old one, a number an id.
fn guessed(cells: &[String]) -> Vec<Option<Column>> {
    let is_url = |cell: &String| cell.trim().contains("://");
    let urls: Vec<usize> = (0..cells.len()).filter(|&n| is_url(&cells[n])).collect();
    let is_old = |n: usize| cells[n].trim().starts_with('/') || urls.len() > 1 && urls[0] == n;
    let mut columns = vec![None; cells.len()];
    for n in 0..cells.len().min(MOST_COLUMNS) {
        let cell = cells[n].trim();
        let known = if is_old(n) {
            Column::Old
        } else if is_url(&cells[n]) {
            Column::New
        } else if !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit()) && !urls.is_empty() {
            Column::OldId
        } else if !cell.is_empty() && !urls.is_empty() {
            Column::Title
        } else {
            continue;
        };
        if !columns.contains(&Some(known)) {
            columns[n] = Some(known);
        }
    }
    columns
}

fn row(cells: &[String], columns: &[Option<Column>]) -> Option<Row> {
    let mut row = Row::default();
    for (cell, column) in cells.iter().zip(columns) {
        let cell = cell.trim();
        match column {
            // Spreadsheets write large numbers as `4862855.0`.
            Some(Column::OldId) => row.old_id = cell.strip_suffix(".0").unwrap_or(cell).to_owned(),
            Some(Column::Old) => row.old = cell.to_owned(),
            Some(Column::New) => row.new = cell.to_owned(),
            Some(Column::Title) => row.title = cell.to_owned(),
            Some(Column::Day) => row.day = Day::parse(cell),
            Some(Column::Hits) => row.hits = cell.parse().unwrap_or(0),
            Some(Column::Accept) => {
                row.accept =
                    matches!(cell.to_lowercase().as_str(), "yes" | "y" | "1" | "x" | "true" | "是" | "√" | "✓");
            }
            None => {}
        }
    }
    let says = [&row.old_id, &row.old, &row.new].iter().any(|cell| !cell.is_empty());
    says.then_some(row)
}

fn plain(name: &str) -> String {
    let is_said = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '_' | '.' | '\u{feff}');
    name.chars().filter(is_said).flat_map(char::to_lowercase).collect()
}

struct Records<'a> {
    reader: csv_core::Reader,
    input: &'a [u8],
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(input: &'a [u8], delimiter: u8) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Records { reader, input, output: vec![0; 4096], ends: vec![0; MOST_COLUMNS] }
    }

    /// The next record; cells behind [`MOST_COLUMNS`] and bytes behind [`MOST_RECORD`] are left out.
    fn next_record(&mut self) -> Option<Vec<String>> {
        let (mut written, mut fields, mut is_over) = (0, 0, false);
        loop {
            if fields == self.ends.len() {
                (fields, is_over) = (fields - 1, true);
            }
            let (result, read, wrote, ended) =
                self.reader.read_record(self.input, &mut self.output[written..], &mut self.ends[fields..]);
            self.input = &self.input[read..];
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::OutputFull if self.output.len() < MOST_RECORD => {
                    self.output.resize(self.output.len() * 2, 0);
                }
                ReadRecordResult::OutputFull => {
                    is_over = true;
                    written = self.ends[..fields].last().copied().unwrap_or(0);
                }
                ReadRecordResult::OutputEndsFull | ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record if fields == 0 => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        let mut start = 0;
        let cells = self.ends[..fields].iter().map(|&end| {
            let cell = self.output.get(start..end).unwrap_or_default();
            start = end.max(start);
            String::from_utf8_lossy(cell).into_owned()
        });
        let cells: Vec<String> = cells.collect();
        Some(if is_over { cells.into_iter().take(MOST_COLUMNS / 2).collect() } else { cells })
    }
}

const MOST_COLUMNS: usize = 256;
const MOST_RECORD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read_as_they_come() {
        let rows = table(
            "\u{feff}序号,原ID,新地址,标题,发布时间\r\n1,0077,https://n.example/c12/9.html,\"a,b\",2018/3/5\r\n"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(rows.id_heading, "原id");
        let expected = Row {
            old_id: "0077".into(),
            new: "https://n.example/c12/9.html".into(),
            title: "a,b".into(),
            day: Some(Day { year: 2018, month: 3, day: 5 }),
            ..Row::default()
        };
        assert_eq!(rows.rows, [expected]);
        let (gbk, ..) = encoding_rs::GB18030.encode("旧地址\t新地址\n/a.asp?id=1\thttps://n.example/1\n");
        let rows = table(&gbk).unwrap().rows;
        assert_eq!((rows[0].old.as_str(), rows[0].new.as_str()), ("/a.asp?id=1", "https://n.example/1"));
        let rows = table(b"77,https://n.example/1\n78,https://n.example/2\n").unwrap().rows;
        assert_eq!((rows.len(), rows[1].old_id.as_str()), (2, "78"));
        let rows = table(b"/a.htm,https://n.example/1\n").unwrap().rows;
        assert_eq!(rows[0].old, "/a.htm");
        assert!(table(b"a,b\n1,2\n").is_err());
        assert!(table(b"").is_err());
    }

    #[test]
    fn odd_tables_are_harmless() {
        let wide = format!("id,url\n{}\n5,https://n.example/5\n", "x,".repeat(100_000));
        assert_eq!(table(wide.as_bytes()).unwrap().rows.last().map(|row| row.old_id.clone()), Some("5".to_owned()));
        let long = format!("id,url\n\"{}\n", "x".repeat(3 << 20));
        let _ = table(long.as_bytes());
        let _ = table(b"id,url\n\0\xff");
    }
}
