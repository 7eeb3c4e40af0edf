//! Site files → the survey that they came from, with what has changed since.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use rust_xlsxwriter::Workbook;
use serde::{Deserialize, Serialize};

use super::columns::Columns;
use super::entry;
use super::files::{host_text, midnight};
use super::form::{Field, Form};
use super::sheet::{Row, Sheet};
use super::wave::wave_number;
use super::words::yes_or_no;
use crate::config::{CensusRow, Site};
use crate::model::{Disposition, HostPattern};

/// What is kept of a survey besides its rows: titles, headings, rows that are no site's. It stands in the hidden folder
/// `.census` of the routes, which the gateway does not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub forms: Vec<Form>,
    pub columns: Columns,
}

impl Kept {
    pub fn text(&self) -> String {
        // Texts, numbers and lists of them: nothing that could fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

pub(super) fn kept_name(survey: &str) -> String {
    let name: String = survey.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    format!(".census/{name}.json")
}

/// In which charset CSV is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// With the mark by which spreadsheet programs know it.
    Utf8,
    /// As they write CSV by default in China.
    Gb18030,
}

/// A survey as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Its sheets, in their order.
    pub sheets: Vec<Sheet>,
}

/// The surveys that sites come from, with how many each.
pub fn surveys(sites: &[&Site]) -> BTreeMap<String, usize> {
    let mut surveys = BTreeMap::new();
    for row in sites.iter().filter_map(|site| site.census.as_ref()) {
        *surveys.entry(row.survey.clone()).or_insert(0) += 1;
    }
    surveys
}

/// A survey as the files of its sites say now: cells word for word, but those whose value has changed there. With `all`,
/// sites that no survey knows come last.
///
/// # Errors
/// When what was kept of the survey can't be read.
pub fn export(root: &Path, sites: &[&Site], survey: &str, all: bool) -> io::Result<Exported> {
    let of_survey = |row: &CensusRow| row.survey == survey;
    let mut rows: Vec<(&Site, &CensusRow)> =
        sites.iter().filter_map(|site| Some((*site, site.census.as_ref().filter(|row| of_survey(row))?))).collect();
    rows.sort_by_key(|(site, row)| (row.row, &site.id));
    let path = root.join(kept_name(survey));
    let mut kept = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice::<Kept>(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
        Err(error) => return Err(error),
    };
    // Without it, the headings that the rows have, in their order.
    let known: BTreeSet<String> = kept.forms.iter().map(|form| form.sheet.clone()).collect();
    let lost: BTreeSet<&str> =
        rows.iter().map(|(_, row)| row.sheet.as_str()).filter(|sheet| !known.contains(*sheet)).collect();
    for sheet in lost {
        let of_sheet = rows.iter().filter(|(_, row)| row.sheet == sheet).map(|(_, row)| *row);
        kept.forms.extend(form_of(sheet, of_sheet));
    }
    let mut exported = Exported::default();
    for form in &kept.forms {
        let mut lines: Vec<(u32, Vec<String>)> = form.others.clone();
        let of_sheet = rows.iter().filter(|(_, row)| row.sheet == form.sheet);
        lines.extend(of_sheet.map(|(site, row)| (row.row, cells(form, &kept.columns, site, &row.cells))));
        lines.sort_by_key(|(row, _)| *row);
        let titles = form.titles.iter().chain([&form.headings]).cloned();
        let rows = titles.chain(lines.into_iter().map(|(_, cells)| cells));
        exported.sheets.push(Sheet { name: form.sheet.clone(), rows: numbered(rows) });
    }
    if exported.sheets.is_empty() {
        kept.forms.push(template_form());
        exported.sheets.push(Sheet { name: String::new(), rows: numbered([template_form().headings]) });
    }
    if all {
        let nobody = |site: &&&Site| site.census.is_none();
        let form = &kept.forms[kept.forms.len() - 1];
        let others = sites.iter().filter(nobody).map(|site| cells(form, &kept.columns, site, &[]));
        if let Some(sheet) = exported.sheets.last_mut() {
            let rows = sheet.rows.drain(..).map(|row| row.cells).chain(others).collect::<Vec<_>>();
            sheet.rows = numbered(rows);
        }
    }
    Ok(exported)
}

/// An empty survey, with headings that are known.
pub fn template() -> Exported {
    Exported { sheets: vec![Sheet { name: String::new(), rows: numbered([template_form().headings]) }] }
}

fn template_form() -> Form {
    let headings = [
        "序号",
        "网站名称",
        "主办单位",
        "网站标识码",
        "域名",
        "其他域名",
        "处理意见",
        "批次",
        "迁移去向",
        "公告时间",
        "关停时间",
        "备注",
    ];
    form_of_headings("", headings.iter().map(|heading| (*heading).to_owned()).collect())
}

fn form_of_headings(sheet: &str, headings: Vec<String>) -> Form {
    let header = Sheet { name: sheet.to_owned(), rows: numbered([headings.clone()]) };
    let found = Form::find(&header, &Columns::default()).map(|(form, _)| form);
    found.unwrap_or_else(|| Form {
        sheet: sheet.to_owned(),
        fields: vec![None; headings.len()],
        headings,
        header: 1,
        ..Form::default()
    })
}

fn form_of<'a>(sheet: &str, rows: impl Iterator<Item = &'a CensusRow>) -> Option<Form> {
    let mut headings: Vec<String> = Vec::new();
    for (key, _) in rows.flat_map(|row| &row.cells) {
        if !headings.contains(key) {
            headings.push(key.clone());
        }
    }
    (!headings.is_empty()).then(|| form_of_headings(sheet, headings))
}

fn numbered(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<Row> {
    (1..).zip(rows).map(|(number, cells)| Row { number, cells }).collect()
}

/// A site's row: as it was, but where its file says something else now.
fn cells(form: &Form, columns: &Columns, site: &Site, kept: &[(String, String)]) -> Vec<String> {
    let mut cells = form.cells(kept);
    let said = entry::read(form, columns, &cells, &mut Vec::new());
    // What a defaults.toml says is everybody's, and no change of this site.
    let own: toml::Table = site.files.first().and_then(|file| file.text.parse().ok()).unwrap_or_default();
    let of_site = |key: &str| kept.is_empty() || own.contains_key(key);
    let mut put = |field: Field, text: String| {
        let mut of_field = form.columns(field);
        if let Some(first) = of_field.next() {
            cells[first] = text;
        }
        of_field.for_each(|column| cells[column].clear());
    };
    if site.name != said.name {
        put(Field::Name, site.name.clone());
    }
    let home = site.home.as_ref().map(|(home, _)| home.as_str().to_owned());
    let origin = site.origin.as_ref().map(|origin| origin.as_str().to_owned());
    let wave = site.wave.map(|wave| wave.to_string());
    let is_closed = site.disposition == Disposition::Close;
    for (field, key, now, was) in [
        (Field::Owner, "owner", &site.owner, &said.owner),
        (Field::Code, "code", &site.code, &said.code),
        (Field::Home, "home", &home, &said.home),
        (Field::Origin, "origin", &origin, &said.origin),
        (Field::Wave, "wave", &wave, &said.wave.map(|wave| wave.to_string())),
    ] {
        let is_silent = !is_closed && matches!(field, Field::Home | Field::Wave);
        if now != was && (of_site(key) || now.is_none()) && !is_silent {
            put(field, now.clone().unwrap_or_default());
        }
    }
    let hosts: BTreeSet<String> = site.hosts.iter().map(|(host, _)| host.to_string()).collect();
    if hosts != said.hosts.iter().map(ToString::to_string).collect() {
        let hosts: Vec<String> = site.hosts.iter().map(|(host, _): &(HostPattern, _)| host_text(host)).collect();
        put(Field::Hosts, hosts.join("、"));
    }
    for field in [Field::Notice, Field::Redirect, Field::Archive, Field::Retired] {
        let Some(phase) = field.phase().filter(|_| is_closed) else { continue };
        let start = site.lifecycle.starts().iter().find(|(_, known)| *known == phase).map(|(at, _)| *at);
        let was = said.dates.iter().find(|(known, _)| *known == phase).and_then(|(_, date)| midnight(*date));
        let is_own = own.get("lifecycle").and_then(|table| table.get(phase.name())).is_some();
        if let Some(start) = start.filter(|start| Some(*start) != was && is_own) {
            let moment = Timestamp::from_second(start).unwrap_or_default().to_zoned(TimeZone::system());
            put(field, moment.date().to_string());
        }
    }
    if kept.is_empty() || site.disposition != said.disposition {
        let word = match site.disposition {
            Disposition::Close => "关停",
            Disposition::Keep => "保留",
            Disposition::Exempt => "例外",
        };
        put(Field::Disposition, word.to_owned());
        for field in [Field::IsClosed, Field::IsKept, Field::IsExempt] {
            for column in form.columns(field).collect::<Vec<_>>() {
                let (yes, no) =
                    if cells[column].contains(['√', '✓', '✔']) { ("√", "") } else { ("是", "否") };
                let is_so = field.flag() == Some(site.disposition);
                if yes_or_no(&cells[column]) != Some(is_so) || !is_so {
                    cells[column] = if is_so { yes } else { no }.to_owned();
                }
            }
        }
    }
    debug_assert!(said.wave.is_none_or(|wave| wave_number(&wave.to_string()) == Ok(wave)));
    cells
}

impl Exported {
    /// As CSV; of a survey with several sheets, the one that is named.
    ///
    /// # Errors
    /// When there are several and none is named, or the named one isn't there.
    pub fn csv(&self, sheet: Option<&str>, encoding: Encoding) -> Result<Vec<u8>, String> {
        let names = || self.sheets.iter().map(|sheet| sheet.name.as_str()).collect::<Vec<_>>().join(", ");
        let chosen = match (sheet, self.sheets.as_slice()) {
            (Some(name), sheets) => sheets
                .iter()
                .find(|sheet| sheet.name == name)
                .ok_or_else(|| format!("there is no sheet `{name}`: it has {}", names()))?,
            (None, [one]) => one,
            (None, _) => {
                return Err(format!(
                    "CSV has one sheet, and the survey several: say which with --sheet ({}), or write .xlsx",
                    names()
                ));
            }
        };
        let width = chosen.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &chosen.rows {
            let cells: Vec<String> = (0..width).map(|column| field(row.cell(column))).collect();
            text += &cells.join(",");
            text += "\r\n";
        }
        Ok(match encoding {
            Encoding::Utf8 => format!("\u{feff}{text}").into_bytes(),
            Encoding::Gb18030 => encoding_rs::GB18030.encode(&text).0.into_owned(),
        })
    }

    /// As a workbook. All cells are texts: codes keep their zeros.
    ///
    /// # Errors
    /// When a sheet or a cell can't be written so.
    pub fn xlsx(&self) -> Result<Vec<u8>, String> {
        let mut book = Workbook::new();
        let mut write = || -> Result<Vec<u8>, rust_xlsxwriter::XlsxError> {
            for sheet in &self.sheets {
                let out = book.add_worksheet();
                if !sheet.name.is_empty() {
                    out.set_name(&sheet.name)?;
                }
                for (row, cells) in (0..).zip(&sheet.rows) {
                    for (column, cell) in (0..).zip(&cells.cells).filter(|(_, cell)| !cell.is_empty()) {
                        out.write_string(row, column, cell)?;
                    }
                }
            }
            book.save_to_buffer()
        };
        write().map_err(|error| error.to_string())
    }
}

/// As a field of CSV.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r', '\t', ';']) || text.starts_with('"') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
