//! All rows of a survey, and what they say of each other.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::columns::Columns;
use super::entry::{self, Complaint, Entry};
use super::finding::Finding;
use super::form::{Field, Form, letters};
use super::sheet::{Row, Sheet, SheetError, read};
use super::words::plain;
use crate::config::{Severity, readable_host};
use crate::edits::Changes;
use crate::model::{Disposition, HostPattern};

/// A survey that has been read.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What it is called: the file's name without its ending, if nobody says otherwise.
    pub name: String,
    /// The file.
    pub(super) file: String,
    pub(super) forms: Vec<Form>,
    pub(super) columns: Columns,
    pub(super) entries: Vec<Surveyed>,
    /// What is wrong with it, row by row.
    pub findings: Vec<Finding>,
    /// Sheets in which nothing says which column has the domains.
    pub skipped: Vec<String>,
}

/// A row with a site.
#[derive(Clone, Debug)]
pub(super) struct Surveyed {
    /// Number of its sheet's form.
    pub form: usize,
    pub row: u32,
    pub cells: Vec<String>,
    pub entry: Entry,
    /// Whether it may become a site file.
    pub is_good: bool,
}

/// What would come of a survey.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Rows that become, or are, site files.
    pub sites: usize,
    /// How many of those are new.
    pub new: usize,
    /// How many of them are to be closed.
    pub to_close: usize,
    /// How many stay.
    pub kept: usize,
    /// How many stay and don't count.
    pub exempt: usize,
    /// Rows that stay out, for their errors.
    pub left_out: usize,
    /// The files that would change.
    pub changes: Changes,
}

impl Survey {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or none of its sheets has a column of domains.
    pub fn read(path: &Path, name: &str, columns: Columns) -> Result<Self, SheetError> {
        Self::of(&path.to_string_lossy(), name, &read(path)?, columns)
    }

    /// Reads the sheets of a file.
    ///
    /// # Errors
    /// When none of them has a column of domains, or one that was asked for isn't there.
    pub fn of(file: &str, name: &str, sheets: &[Sheet], columns: Columns) -> Result<Self, SheetError> {
        let missing = columns.sheets.iter().find(|wanted| !sheets.iter().any(|sheet| sheet.name == **wanted));
        if let Some(missing) = missing {
            let names: Vec<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
            return Err(SheetError::Format(format!("there is no sheet `{missing}`: it has {}", names.join(", "))));
        }
        let mut survey = Survey {
            name: name.to_owned(),
            file: file.to_owned(),
            forms: Vec::new(),
            columns,
            entries: Vec::new(),
            findings: Vec::new(),
            skipped: Vec::new(),
        };
        for sheet in sheets {
            if sheet.rows.is_empty()
                || !(survey.columns.sheets.is_empty() || survey.columns.sheets.contains(&sheet.name))
            {
                continue;
            }
            match Form::find(sheet, &survey.columns) {
                Some((form, rows)) => survey.add(form, rows),
                None => survey.skipped.push(sheet.name.clone()),
            }
        }
        if survey.forms.is_empty() {
            return Err(SheetError::Format(
                "no sheet has a heading that is known to name domains (域名, 网址 …) beside others: say which it is with --columns"
                    .to_owned(),
            ));
        }
        survey.compare();
        survey.findings.sort_by(|a, b| (&a.sheet, a.row).cmp(&(&b.sheet, b.row)));
        Ok(survey)
    }

    fn add(&mut self, mut form: Form, rows: &[Row]) {
        let number = self.forms.len();
        let mut found: Vec<(u32, Vec<String>, Entry, Vec<Complaint>)> = Vec::new();
        for row in rows {
            // Headings once more, as for each printed page; sums; remarks.
            let is_heading = row.cells == form.headings;
            if is_heading || is_remark(&form, row) {
                form.others.push((row.number, row.cells.clone()));
                continue;
            }
            let mut complaints = Vec::new();
            let entry = entry::read(&form, &self.columns, &row.cells, &mut complaints);
            found.push((row.number, row.cells.clone(), entry, complaints));
        }
        // Cells beside the headings are kept, too.
        let width = found.iter().map(|(_, cells, _, _)| cells.len()).max().unwrap_or(0).max(form.headings.len());
        form.headings.resize(width, String::new());
        form.fields.resize(width, None);
        self.forms.push(form);
        for (row, mut cells, entry, complaints) in found {
            cells.resize(cells.len().max(self.forms[number].headings.len()), String::new());
            let is_good = complaints.iter().all(|complaint| !complaint.is_error);
            self.entries.push(Surveyed { form: number, row, cells, entry, is_good });
            let at = self.entries.len() - 1;
            complaints.into_iter().for_each(|complaint| self.complain(at, complaint));
        }
    }

    pub(super) fn complain(&mut self, at: usize, complaint: Complaint) {
        let Complaint { is_error, code, column, message, hint } = complaint;
        self.find(at, is_error, code, column, message, hint.to_owned());
    }

    pub(super) fn find(
        &mut self,
        at: usize,
        is_error: bool,
        code: &'static str,
        column: Option<usize>,
        message: String,
        hint: String,
    ) {
        let surveyed = &self.entries[at];
        let form = &self.forms[surveyed.form];
        let heading = column.and_then(|column| form.headings.get(column)).map(|text| text.trim().replace('\n', " "));
        self.findings.push(Finding {
            severity: if is_error { Severity::Error } else { Severity::Warning },
            code,
            file: self.file.clone(),
            sheet: form.sheet.clone(),
            row: surveyed.row,
            column: column.map(letters).unwrap_or_default(),
            heading: heading.unwrap_or_default(),
            name: surveyed.entry.name.clone(),
            message,
            hint,
        });
    }

    /// Where a row is, for another row's findings.
    fn place(&self, at: usize, from: usize) -> String {
        let (here, there) = (&self.entries[from], &self.entries[at]);
        let sheet = &self.forms[there.form].sheet;
        if here.form == there.form { format!("row {}", there.row) } else { format!("row {} of {sheet}", there.row) }
    }

    /// What rows say of each other.
    fn compare(&mut self) {
        let mut hosts: HashMap<HostPattern, usize> = HashMap::new();
        let mut codes: HashMap<String, usize> = HashMap::new();
        for at in 0..self.entries.len() {
            let mut told: HashSet<usize> = HashSet::new();
            for host in self.entries[at].entry.hosts.clone() {
                match hosts.get(&host) {
                    Some(&first) => {
                        if told.insert(first) {
                            self.same_host(first, at, &host);
                        }
                    }
                    None => drop(hosts.insert(host, at)),
                }
            }
            let Some(code) = self.entries[at].entry.code.clone() else { continue };
            match codes.get(&code) {
                Some(&first) if !told.contains(&first) => {
                    let column = self.forms[self.entries[at].form].columns(Field::Code).next();
                    let message = format!(
                        "code {code} is that of {} already ({})",
                        self.place(first, at),
                        self.entries[first].entry.name
                    );
                    self.find(
                        at,
                        true,
                        "duplicate-code",
                        column,
                        message,
                        "each site has a code of its own".to_owned(),
                    );
                    self.entries[first].is_good = false;
                    self.entries[at].is_good = false;
                }
                Some(_) => {}
                None => drop(codes.insert(code, at)),
            }
        }
        self.homes(&hosts);
    }

    /// Two rows have the same host.
    fn same_host(&mut self, first: usize, at: usize, host: &HostPattern) {
        let column = self.forms[self.entries[at].form].columns(Field::Hosts).next();
        let readable = readable_host(&host.to_string());
        let (place, name) = (self.place(first, at), self.entries[first].entry.name.clone());
        let (one, other) = (&self.entries[first].entry, &self.entries[at].entry);
        if one == other {
            let message = format!("this row says the same as {place}");
            self.find(at, true, "duplicate-row", column, message, "delete one of the two".to_owned());
            self.entries[at].is_good = false;
            return;
        }
        let (code, message, hint) = if one.disposition != other.disposition {
            let said = |meant: Disposition| match meant {
                Disposition::Close => "closed",
                Disposition::Keep => "kept",
                Disposition::Exempt => "exempt",
            };
            let message = format!(
                "{readable} is {} here, and {} in {place} ({name})",
                said(other.disposition),
                said(one.disposition)
            );
            ("kept-and-closed", message, "one of the two rows is wrong: neither is imported")
        } else {
            let message = format!("{readable} is that of {place} already ({name})");
            ("duplicate-host", message, "a domain belongs to one site: neither row is imported")
        };
        self.find(at, true, code, column, message, hint.to_owned());
        self.entries[first].is_good = false;
        self.entries[at].is_good = false;
    }

    /// Sites that move to one that is to be closed itself.
    fn homes(&mut self, hosts: &HashMap<HostPattern, usize>) {
        for at in 0..self.entries.len() {
            let Some(home) = &self.entries[at].entry.home else { continue };
            let Ok(target) = crate::model::Target::parse(home) else { continue };
            let Some(&other) = hosts.get(&HostPattern::Exact(target.host().clone())) else { continue };
            if other == at || self.entries[other].entry.disposition != Disposition::Close {
                continue;
            }
            let column = self.forms[self.entries[at].form].columns(Field::Home).next();
            let message = format!(
                "this site moves to {}, which is to be closed itself ({})",
                readable_host(target.host().as_str()),
                self.place(other, at)
            );
            self.find(at, false, "home-closes", column, message, "name where its content goes in the end".to_owned());
        }
    }

    /// How many rows have a site.
    pub fn rows(&self) -> usize {
        self.entries.len()
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }
}

/// Whether a row is no site's: a sum, a remark.
fn is_remark(form: &Form, row: &Row) -> bool {
    let fields = [Field::Hosts, Field::Code];
    if fields.iter().any(|field| form.columns(*field).any(|column| !row.cell(column).trim().is_empty())) {
        // A remark in a merged cell stands in every column.
        let mut texts = row.cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty());
        let first = texts.next().unwrap_or_default();
        return row.cells.len() > 2
            && row.cells.iter().filter(|cell| !cell.trim().is_empty()).count() > 2
            && texts.all(|text| text == first);
    }
    let first = row.cells.iter().map(|cell| plain(cell)).find(|cell| !cell.is_empty()).unwrap_or_default();
    let begins = ["合计", "总计", "小计", "共计", "注", "备注", "说明", "填表", "填报", "审核", "制表", "联系"];
    let filled = row.cells.iter().filter(|cell| !cell.trim().is_empty()).count();
    begins.iter().any(|word| first.starts_with(word))
        || filled == 1 && form.columns(Field::Name).all(|column| row.cell(column).trim().is_empty())
}
