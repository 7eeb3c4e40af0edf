//! Which column of a sheet says what.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::columns::Columns;
use super::sheet::{Row, Sheet};
use super::words::heading;
use crate::model::{Disposition, Phase};

/// What a column says of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Field {
    Name,
    Owner,
    Hosts,
    Code,
    /// In words.
    Disposition,
    /// Yes or no.
    IsClosed,
    IsKept,
    IsExempt,
    Wave,
    Home,
    Origin,
    /// Dates.
    Notice,
    Redirect,
    Archive,
    Retired,
}

impl Field {
    /// What a yes in its column means.
    pub fn flag(self) -> Option<Disposition> {
        match self {
            Field::IsClosed => Some(Disposition::Close),
            Field::IsKept => Some(Disposition::Keep),
            Field::IsExempt => Some(Disposition::Exempt),
            _ => None,
        }
    }

    /// The phase whose beginning it says.
    pub fn phase(self) -> Option<Phase> {
        match self {
            Field::Notice => Some(Phase::Notice),
            Field::Redirect => Some(Phase::Redirect),
            Field::Archive => Some(Phase::Archive),
            Field::Retired => Some(Phase::Retired),
            _ => None,
        }
    }

    /// The fields by the keys of a columns file.
    pub const NAMED: [(&'static str, Field); 15] = [
        ("name", Field::Name),
        ("owner", Field::Owner),
        ("hosts", Field::Hosts),
        ("code", Field::Code),
        ("disposition", Field::Disposition),
        ("is-closed", Field::IsClosed),
        ("is-kept", Field::IsKept),
        ("is-exempt", Field::IsExempt),
        ("wave", Field::Wave),
        ("home", Field::Home),
        ("origin", Field::Origin),
        ("notice", Field::Notice),
        ("redirect", Field::Redirect),
        ("archive", Field::Archive),
        ("retired", Field::Retired),
    ];
}

/// Headings that are known without a columns file, as [`heading`] compares them.
const KNOWN: &[(Field, &[&str])] = &[
    (Field::Name, &["网站名称", "网站名", "名称", "站点名称", "网站全称", "name", "sitename", "title"]),
    (
        Field::Owner,
        &[
            "主办单位",
            "主办单位名称",
            "主管单位",
            "所属单位",
            "责任单位",
            "单位名称",
            "单位",
            "承办单位",
            "owner",
            "organisation",
            "organization",
        ],
    ),
    (
        Field::Hosts,
        &[
            "域名",
            "网站域名",
            "主域名",
            "网址",
            "网站网址",
            "首页网址",
            "网站首页网址",
            "网站地址",
            "首页地址",
            "原网址",
            "原域名",
            "旧网址",
            "旧域名",
            "其他域名",
            "其它域名",
            "备用域名",
            "附属域名",
            "别名",
            "网站域名网址",
            "英文域名",
            "中文域名",
            "hosts",
            "host",
            "domain",
            "domains",
            "url",
            "website",
        ],
    ),
    (Field::Code, &["网站标识码", "标识码", "政府网站标识码", "code", "sitecode"]),
    (
        Field::Disposition,
        &[
            "处理意见",
            "处置意见",
            "处理方式",
            "处置方式",
            "整合方式",
            "处理结果",
            "去留",
            "处置",
            "意见",
            "关停保留",
            "保留关停",
            "保留关停整合",
            "disposition",
            "action",
        ],
    ),
    (Field::IsClosed, &["是否关停", "是否关闭", "是否整合", "是否迁移", "关停", "关停整合", "close", "closed"]),
    (Field::IsKept, &["是否保留", "保留", "keep", "kept"]),
    (Field::IsExempt, &["是否例外", "是否豁免", "例外", "豁免", "exempt"]),
    (Field::Wave, &["批次", "关停批次", "整合批次", "迁移批次", "所属批次", "波次", "wave"]),
    (
        Field::Home,
        &[
            "迁移去向",
            "迁移至",
            "整合去向",
            "整合至",
            "去向",
            "并入网站",
            "并入网址",
            "新网址",
            "新域名",
            "新地址",
            "迁移后网址",
            "整合后网址",
            "跳转地址",
            "目标网址",
            "home",
            "newurl",
            "target",
        ],
    ),
    (Field::Origin, &["源站", "源站地址", "源站ip", "服务器地址", "服务器ip", "origin", "server"]),
    (Field::Notice, &["公告时间", "公告日期", "公告开始时间", "notice"]),
    (
        Field::Redirect,
        &[
            "关停时间",
            "关停日期",
            "关闭时间",
            "跳转时间",
            "跳转日期",
            "迁移时间",
            "迁移日期",
            "计划关停时间",
            "整合时间",
            "redirect",
        ],
    ),
    (Field::Archive, &["归档时间", "归档日期", "archive"]),
    (Field::Retired, &["注销时间", "注销日期", "域名注销时间", "retired"]),
];

/// Rows that are looked at for the one with the headings.
const HEAD_ROWS: usize = 40;

/// How the rows of a sheet are to be read; what gives it back is the same with its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    /// The sheet; empty for CSV.
    pub sheet: String,
    /// Rows above the headings: titles, who filled it in.
    pub titles: Vec<Vec<String>>,
    /// The headings as they are written.
    pub headings: Vec<String>,
    /// What each column says.
    pub fields: Vec<Option<Field>>,
    /// Rows that are no site's (sums, remarks), by number.
    pub others: Vec<(u32, Vec<String>)>,
    /// Number of the row with the headings.
    pub header: u32,
}

impl Form {
    /// The form of a sheet, if it has hosts, and the rows below its headings.
    pub fn find<'a>(sheet: &'a Sheet, columns: &Columns) -> Option<(Self, &'a [Row])> {
        let fields = |row: &Row| -> Vec<Option<Field>> { row.cells.iter().map(|cell| field(cell, columns)).collect() };
        let score = |row: &Row| {
            let found: HashSet<Field> = fields(row).into_iter().flatten().collect();
            if found.contains(&Field::Hosts) && found.len() > 1 { found.len() } else { 0 }
        };
        let head = &sheet.rows[..sheet.rows.len().min(HEAD_ROWS)];
        let at = match columns.header {
            Some(number) => head.iter().position(|row| row.number == number)?,
            None => {
                let best = head.iter().map(score).max().filter(|&best| best > 0)?;
                head.iter().position(|row| score(row) == best)?
            }
        };
        let header = &sheet.rows[at];
        let fields = fields(header);
        if !fields.contains(&Some(Field::Hosts)) {
            return None;
        }
        let form = Form {
            sheet: sheet.name.clone(),
            titles: sheet.rows[..at].iter().map(|row| row.cells.clone()).collect(),
            headings: header.cells.clone(),
            fields,
            others: Vec::new(),
            header: header.number,
        };
        Some((form, &sheet.rows[at + 1..]))
    }

    /// The columns that say something.
    pub fn columns(&self, field: Field) -> impl Iterator<Item = usize> {
        let of = move |(column, known): (usize, &Option<Field>)| (*known == Some(field)).then_some(column);
        self.fields.iter().enumerate().filter_map(of)
    }

    /// The names under which a site's file keeps the cells: the headings, each once.
    pub fn keys(&self, width: usize) -> Vec<String> {
        let mut seen: HashSet<String> = HashSet::new();
        (0..width.max(self.headings.len()))
            .map(|column| {
                let heading = self.headings.get(column).map(|text| text.trim().replace('\n', " ")).unwrap_or_default();
                let letters = letters(column);
                let name = if heading.is_empty() { letters.clone() } else { heading };
                let name = if seen.contains(&name) { format!("{name} {letters}") } else { name };
                seen.insert(name.clone());
                name
            })
            .collect()
    }

    /// The cells that a site's file keeps, by column.
    pub fn cells(&self, kept: &[(String, String)]) -> Vec<String> {
        let cell = |key: String| kept.iter().find(|(name, _)| *name == key).map(|(_, text)| text.clone());
        self.keys(0).into_iter().map(|key| cell(key).unwrap_or_default()).collect()
    }
}

/// What a heading says its column is.
fn field(text: &str, columns: &Columns) -> Option<Field> {
    let heading = heading(text);
    if heading.is_empty() {
        return None;
    }
    if let Some((_, field)) = columns.fields.iter().find(|(name, _)| *name == heading) {
        return Some(*field);
    }
    let known = KNOWN.iter().find(|(_, names)| names.contains(&heading.as_str())).map(|(field, _)| *field);
    // What the file says of a field holds instead of what is known.
    known.filter(|known| !columns.fields.iter().any(|(_, field)| field == known))
}

/// `A`, `B`, … `Z`, `AA`: a column as spreadsheet programs call it.
pub(super) fn letters(column: usize) -> String {
    let digit = char::from(b'A' + (column % 26) as u8);
    if column < 26 { digit.to_string() } else { letters(column / 26 - 1) + &digit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(rows: &[&[&str]]) -> Sheet {
        let row = |(number, cells): (u32, &&[&str])| Row {
            number,
            cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
        };
        Sheet { name: "s".to_owned(), rows: (1..).zip(rows).map(row).collect() }
    }

    #[test]
    fn headings_are_found_below_titles() {
        let sheet = sheet(&[
            &["青山县政府网站普查表"],
            &["填报单位：县政府办", "", "网址：见下"],
            &["序号", "网站名称（必填）", "网址", "处理意见", "网址", "备注", "", "备注"],
            &["1", "教育局", "jyj.qingshan.example"],
        ]);
        let (form, rows) = Form::find(&sheet, &Columns::default()).unwrap();
        assert_eq!((form.titles.len(), form.header, rows.len()), (2, 3, 1));
        assert_eq!(
            form.fields,
            [
                None,
                Some(Field::Name),
                Some(Field::Hosts),
                Some(Field::Disposition),
                Some(Field::Hosts),
                None,
                None,
                None
            ]
        );
        assert_eq!(form.keys(0), ["序号", "网站名称（必填）", "网址", "处理意见", "网址 E", "备注", "G", "备注 H"]);
        let kept: Vec<(String, String)> = form.keys(0).into_iter().map(|key| (key.clone(), key)).collect();
        assert_eq!(form.cells(&kept), form.keys(0));
    }

    #[test]
    fn columns_have_letters() {
        assert_eq!([0, 25, 26, 51, 52, 255].map(letters), ["A", "Z", "AA", "AZ", "BA", "IV"]);
    }
}
