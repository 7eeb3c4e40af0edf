//! A row → what it says of a site.

use jiff::civil::Date;

use super::columns::Columns;
use super::form::{Field, Form};
use super::wave::wave_number;
use super::words::{self, plain};
use crate::config::{Origin, OriginPlace, readable_host};
use crate::model::{Disposition, HostPattern, Phase, Target};

/// What a row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub owner: Option<String>,
    pub hosts: Vec<HostPattern>,
    pub code: Option<String>,
    pub disposition: Disposition,
    pub wave: Option<u16>,
    pub home: Option<String>,
    pub origin: Option<String>,
    pub dates: Vec<(Phase, Date)>,
}

/// Something that is wrong with a row, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub is_error: bool,
    pub code: &'static str,
    pub column: Option<usize>,
    pub message: String,
    pub hint: &'static str,
}

/// Reads a row. What it can't read is in the list, and left out.
pub(super) fn read(form: &Form, columns: &Columns, cells: &[String], out: &mut Vec<Complaint>) -> Entry {
    let mut reader = RowReader { form, columns, cells, out };
    let disposition = reader.disposition();
    let hosts = reader.hosts();
    let name = reader.first(Field::Name).map(|(_, text)| text);
    if name.is_none() {
        let column = form.columns(Field::Name).next();
        reader.error("no-name", column, "this site has no name".to_owned(), "citizens see it on pages");
    }
    let is_closed = disposition == Disposition::Close;
    let (wave, home, origin) = (reader.wave(is_closed), reader.home(is_closed, &hosts), reader.origin());
    Entry {
        name: name.unwrap_or_default(),
        owner: reader.first(Field::Owner).map(|(_, text)| text),
        code: reader.code(),
        dates: if is_closed { reader.dates() } else { Vec::new() },
        hosts,
        disposition,
        wave,
        home,
        origin,
    }
}

struct RowReader<'a> {
    form: &'a Form,
    columns: &'a Columns,
    cells: &'a [String],
    out: &'a mut Vec<Complaint>,
}

impl RowReader<'_> {
    fn error(&mut self, code: &'static str, column: Option<usize>, message: String, hint: &'static str) {
        self.out.push(Complaint { is_error: true, code, column, message, hint });
    }

    fn warning(&mut self, code: &'static str, column: Option<usize>, message: String, hint: &'static str) {
        self.out.push(Complaint { is_error: false, code, column, message, hint });
    }

    /// The cells of a field that say something, with their columns.
    fn all(&self, field: Field) -> Vec<(usize, String)> {
        let cell = |column: usize| {
            let text = plain(self.cells.get(column).map_or("", String::as_str)).replace('\n', " ");
            (!matches!(text.as_str(), "" | "-" | "—" | "/" | "无")).then_some((column, text))
        };
        self.form.columns(field).filter_map(cell).collect()
    }

    fn first(&self, field: Field) -> Option<(usize, String)> {
        self.all(field).into_iter().next()
    }

    fn disposition(&mut self) -> Disposition {
        let mut said: Vec<(usize, Disposition)> = Vec::new();
        for (column, text) in self.all(Field::Disposition) {
            let own = self.columns.words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
            match own.map_or_else(|| words::disposition(&text), |meant| Ok(Some(meant))) {
                Ok(Some(meant)) => said.push((column, meant)),
                Ok(None) => self.error(
                    "bad-disposition",
                    Some(column),
                    format!("`{text}` says neither keep nor close"),
                    "write 关停, 保留 or 例外 (close, keep, exempt), or name the word under [words] of --columns",
                ),
                Err(()) => self.error(
                    "kept-and-closed",
                    Some(column),
                    format!("`{text}` says both keep and close"),
                    "one of the two",
                ),
            }
        }
        for field in [Field::IsClosed, Field::IsKept, Field::IsExempt] {
            for column in self.form.columns(field).collect::<Vec<_>>() {
                let text = self.cells.get(column).map_or("", String::as_str);
                match (words::yes_or_no(text), field) {
                    (Some(true), _) => said.extend(field.flag().map(|meant| (column, meant))),
                    // An empty cell is no answer.
                    (Some(false), _) if plain(text).is_empty() => {}
                    (Some(false), Field::IsClosed) => said.push((column, Disposition::Keep)),
                    (Some(false), Field::IsKept) => said.push((column, Disposition::Close)),
                    (Some(false), _) => {}
                    (None, _) => {
                        let message = format!("`{}` is neither yes nor no", plain(text));
                        self.error("bad-disposition", Some(column), message, "write 是 or 否");
                    }
                }
            }
        }
        // Exempt sites are kept: that both are said is no contradiction.
        let is_exempt = said.iter().any(|(_, meant)| *meant == Disposition::Exempt);
        said.retain(|(_, meant)| !is_exempt || *meant != Disposition::Keep);
        if let Some((first, rest)) = said.split_first() {
            if let Some((column, other)) = rest.iter().find(|(_, meant)| *meant != first.1) {
                let message =
                    format!("this column says {other}, and column {} says {}", super::form::letters(first.0), first.1);
                self.error("kept-and-closed", Some(*column), message, "one of the two");
            }
            return first.1;
        }
        let fields = [Field::Disposition, Field::IsClosed, Field::IsKept];
        let column = fields.iter().find_map(|field| self.form.columns(*field).next());
        match (words::disposition(&self.form.sheet), column) {
            // A sheet of its own for each list.
            (Ok(Some(meant)), _) => meant,
            (_, None) => Disposition::Close,
            (_, Some(column)) => {
                if !self.out.iter().any(|told| matches!(told.code, "bad-disposition" | "kept-and-closed")) {
                    let message = "nothing says whether this site is kept or closed".to_owned();
                    self.error(
                        "bad-disposition",
                        Some(column),
                        message,
                        "write 关停, 保留 or 例外 (close, keep, exempt)",
                    );
                }
                Disposition::Close
            }
        }
    }

    fn hosts(&mut self) -> Vec<HostPattern> {
        let mut hosts: Vec<HostPattern> = Vec::new();
        let columns: Vec<usize> = self.form.columns(Field::Hosts).collect();
        let mut bad = false;
        for &column in &columns {
            for named in words::hosts(self.cells.get(column).map_or("", String::as_str)) {
                match named.host {
                    Ok(host) => {
                        if let Some(path) = named.path {
                            let message = format!(
                                "`{}`: a site is known by its host; the path `{path}` is left out",
                                named.written
                            );
                            let hint =
                                "if it was a part of another site, it needs no row, but rules in that site's file";
                            self.warning("path", Some(column), message, hint);
                        }
                        // The same once more, in another column or spelling, is no contradiction.
                        if !hosts.contains(&host) {
                            hosts.push(host);
                        }
                    }
                    Err(why) => {
                        bad = true;
                        let message = format!("`{}` is no domain: {why}", named.written);
                        self.error(
                            "bad-host",
                            Some(column),
                            message,
                            "a name such as www.example.gov.cn; several with 、 between them",
                        );
                    }
                }
            }
        }
        if hosts.is_empty() && !bad {
            let message = "this site has no domain".to_owned();
            self.error("no-host", columns.first().copied(), message, "without one nobody can ask for it");
        }
        hosts
    }

    fn code(&mut self) -> Option<String> {
        let (column, text) = self.first(Field::Code)?;
        let code: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let is_known = digits(&code, 10) || code.to_lowercase().strip_prefix("bm").is_some_and(|rest| digits(rest, 8));
        if !is_known {
            let message = format!("`{code}` is no site identification code: those have ten digits");
            let hint =
                "a spreadsheet drops zeros at the front of numbers, and rounds long ones: format the column as text";
            self.warning("bad-code", Some(column), message, hint);
        }
        Some(code)
    }

    fn wave(&mut self, is_closed: bool) -> Option<u16> {
        let found = self.first(Field::Wave);
        match found {
            Some((column, text)) => match wave_number(&text) {
                Ok(wave) if is_closed => return Some(wave),
                Ok(_) => {
                    let message = "a site that stays is in no wave".to_owned();
                    self.warning("wave", Some(column), message, "it is left out");
                }
                Err(why) => self.error("bad-wave", Some(column), why, "such as 2, or 第二批"),
            },
            None if is_closed && self.form.columns(Field::Wave).next().is_some() => {
                let column = self.form.columns(Field::Wave).next();
                let message = "this site is to be closed, and in no wave".to_owned();
                self.warning("wave", column, message, "`waypost wave` does not move it");
            }
            None => {}
        }
        None
    }

    fn home(&mut self, is_closed: bool, hosts: &[HostPattern]) -> Option<String> {
        let (column, text) = self.first(Field::Home)?;
        if !is_closed {
            return None;
        }
        let url = if text.contains("://") { text.clone() } else { format!("https://{text}") };
        let hint = "an address such as https://www.example.gov.cn/jyj/";
        match Target::parse(&url) {
            Ok(target) if !target.host().as_str().contains('.') => {
                self.error("bad-home", Some(column), format!("`{text}` is no address"), hint);
            }
            Ok(target) if hosts.iter().any(|host| host.matches(target.host().as_str())) => {
                let host = readable_host(target.host().as_str());
                let message = format!("this site is to be closed, and moves to {host}, which is its own");
                self.error("bad-home", Some(column), message, "where its content is from then on");
            }
            Ok(target) => return Some(target.as_str().to_owned()),
            Err(error) => self.error("bad-home", Some(column), format!("`{text}`: {error}"), hint),
        }
        None
    }

    fn origin(&mut self) -> Option<String> {
        let (column, text) = self.first(Field::Origin)?;
        let url = if text.contains("://") { text.clone() } else { format!("http://{text}") };
        match Origin::parse(&url) {
            Ok(Origin { place: OriginPlace::Unix(_), .. }) | Err(_) => {
                let message = format!("`{text}` is no address of a server");
                self.warning("bad-origin", Some(column), message, "such as http://10.0.0.7:8080; it is left out");
                None
            }
            Ok(origin) => Some(origin.as_str().to_owned()),
        }
    }

    fn dates(&mut self) -> Vec<(Phase, Date)> {
        let mut dates: Vec<(Phase, Date)> = Vec::new();
        for field in [Field::Notice, Field::Redirect, Field::Archive, Field::Retired] {
            let (Some((column, text)), Some(phase)) = (self.first(field), field.phase()) else { continue };
            match words::date(&text) {
                Some(date) => match dates.last() {
                    Some((before, earlier)) if *earlier > date => {
                        let message = format!("{phase} on {date} would begin before {before}, on {earlier}");
                        self.error(
                            "bad-date",
                            Some(column),
                            message,
                            "phases begin in this order: notice, redirect, archive, retired",
                        );
                    }
                    _ => dates.push((phase, date)),
                },
                None => {
                    let message = format!("`{text}` is no date");
                    self.warning("bad-date", Some(column), message, "such as 2026-03-01; it is left out");
                }
            }
        }
        dates
    }
}
