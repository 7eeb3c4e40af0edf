//! Rows of a survey → changes of site files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use jiff::{civil::Date, tz::TimeZone};

use super::entry::Entry;
use super::export::{Kept, kept_name};
use super::survey::{Planned, Survey, Surveyed};
use crate::config::{Site, readable_host};
use crate::edits::{Changes, EditFault, push, quoted, remove, set};
use crate::model::{Disposition, HostPattern, Phase};

/// Longest name of a site file, without its folder.
const MAX_NAME: usize = 200;

/// Keys of a site file in the order in which they stand.
const ORDER: [&str; 9] = ["name", "hosts", "home", "owner", "code", "wave", "disposition", "origin", "status"];

/// Where new files go, and what they say besides.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Folder of new site files below the routes; empty for the routes themselves.
    pub folder: &'a str,
    /// The day of the survey: until a wave moves them, sites are in phase `proxy` since then.
    pub day: Date,
    /// All sites that there are.
    pub sites: &'a [&'a Site],
}

impl Survey {
    /// What would change in the files of a routes folder. What it finds on the way joins the findings.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn plan(&mut self, target: &Target<'_>, mut changes: Changes) -> io::Result<Planned> {
        let known = self.match_sites(target);
        let mut taken: BTreeSet<String> = target.sites.iter().map(|site| site.id.clone()).collect();
        let (mut new, mut counts) = (0, BTreeMap::new());
        for at in 0..self.entries.len() {
            if !self.entries[at].is_good {
                continue;
            }
            match known.get(&at) {
                Some(site) => self.update(at, site, &mut changes)?,
                None => {
                    let Some(id) = self.new_id(at, target.folder, &mut taken) else { continue };
                    let text = self.file(&self.entries[at], target.day);
                    changes.put(&format!("{id}.toml"), text)?;
                    new += 1;
                }
            }
            *counts.entry(self.entries[at].entry.disposition).or_insert(0) += 1;
        }
        let good = self.entries.iter().filter(|surveyed| surveyed.is_good).count();
        if good > 0 {
            let kept = Kept { forms: self.forms.clone(), columns: self.columns.clone() };
            changes.put(&kept_name(&self.name), kept.text())?;
        }
        self.findings.sort_by(|a, b| (&a.sheet, a.row).cmp(&(&b.sheet, b.row)));
        let of = |disposition| counts.get(&disposition).copied().unwrap_or(0);
        Ok(Planned {
            sites: good,
            new,
            to_close: of(Disposition::Close),
            kept: of(Disposition::Keep),
            exempt: of(Disposition::Exempt),
            left_out: self.entries.len() - good,
            changes,
        })
    }

    /// The sites that rows are about, by their hosts.
    fn match_sites<'s>(&mut self, target: &Target<'s>) -> HashMap<usize, &'s Site> {
        let mut owners: HashMap<&HostPattern, &'s Site> = HashMap::new();
        for site in target.sites {
            for (host, _) in &site.hosts {
                owners.entry(host).or_insert(site);
            }
        }
        let mut matched: HashMap<usize, &'s Site> = HashMap::new();
        let mut rows: HashMap<&str, usize> = HashMap::new();
        for at in 0..self.entries.len() {
            let hosts = self.entries[at].entry.hosts.clone();
            let found: BTreeMap<&str, &'s Site> =
                hosts.iter().filter_map(|host| owners.get(host)).map(|site| (site.id.as_str(), *site)).collect();
            let Some((id, site)) = found.first_key_value() else { continue };
            if found.len() > 1 {
                let files: Vec<String> = found.keys().map(|id| format!("{id}.toml")).collect();
                let message = format!("its domains belong to several sites: {}", files.join(", "));
                self.find(
                    at,
                    true,
                    "several-files",
                    None,
                    message,
                    "make one file of them, or two rows of this one".to_owned(),
                );
                self.entries[at].is_good = false;
            } else if let Some(first) = rows.insert(id, at).filter(|_| self.entries[at].is_good) {
                let message = format!("{id}.toml has domains of this row, and of row {} too", self.entries[first].row);
                self.find(
                    at,
                    true,
                    "several-rows",
                    None,
                    message,
                    "make two files of it, or one row of the two".to_owned(),
                );
                self.entries[at].is_good = false;
            } else {
                matched.insert(at, site);
            }
        }
        matched
    }

    /// The id of a new site: its first host, without `www.`.
    fn new_id(&mut self, at: usize, folder: &str, taken: &mut BTreeSet<String>) -> Option<String> {
        let host = self.entries[at].entry.hosts.first()?.to_string();
        let host = host.strip_prefix("*.").unwrap_or(&host);
        let name = host.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(host);
        let mut name = name.replace(['[', ']'], "").replace(':', "-");
        name.truncate(MAX_NAME);
        let id = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if taken.insert(id.clone()) {
            return Some(id);
        }
        let message = format!("its file would be {id}.toml, which is another site's");
        self.find(at, true, "file-exists", None, message, "put another domain first, or rename that file".to_owned());
        self.entries[at].is_good = false;
        None
    }

    /// A new site file.
    fn file(&self, surveyed: &Surveyed, day: Date) -> String {
        let entry = &surveyed.entry;
        let hosts: Vec<String> = entry.hosts.iter().map(host_text).collect();
        let mut lines: Vec<(&str, String)> = vec![("name", quoted(&entry.name)), ("hosts", list(&hosts))];
        lines.extend(scalars(entry).into_iter().filter(|(key, _)| *key != "name"));
        let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let mut text: String = lines.iter().map(|(key, value)| format!("{key:width$} = {value}\n")).collect();
        if entry.disposition == Disposition::Close {
            text += "\n[lifecycle]\n";
            let dates = entry.dates.iter().map(|(phase, date)| format!("{:8} = {date}\n", phase.name()));
            // Its server answers until its wave comes.
            let first = entry.dates.iter().all(|(_, date)| *date > day).then(|| format!("{:8} = {day}\n", "proxy"));
            text.extend(first.into_iter().chain(dates));
        }
        let form = &self.forms[surveyed.form];
        text += &format!("\n[census]\nsurvey = {}\n", quoted(&self.name));
        if !form.sheet.is_empty() {
            text += &format!("sheet  = {}\n", quoted(&form.sheet));
        }
        text += &format!("row    = {}\n\n[census.cells]\n", surveyed.row);
        for (key, cell) in self.cells(surveyed) {
            text += &format!("{} = {}\n", quoted(&key), quoted(&cell));
        }
        text
    }

    fn cells(&self, surveyed: &Surveyed) -> Vec<(String, String)> {
        let keys = self.forms[surveyed.form].keys(surveyed.cells.len());
        keys.into_iter().zip(surveyed.cells.iter().cloned()).collect()
    }

    /// Brings a site's file to what its row says now. What somebody has changed there by hand stays.
    fn update(&mut self, at: usize, site: &Site, changes: &mut Changes) -> io::Result<()> {
        let name = format!("{}.toml", site.id);
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is gone"));
        let text = changes.text(&name)?.ok_or_else(gone)?;
        let before = site.census.as_ref().map(|row| self.entry_before(row, at));
        let mut notes = Vec::new();
        match self.edit(&text, at, site, before.as_ref(), &mut notes) {
            Ok(edited) => changes.put(&name, edited)?,
            Err(fault) => {
                let hint = "mend the file, then import again".to_owned();
                self.find(at, true, "file-fault", None, format!("{name}: {fault}"), hint);
                self.entries[at].is_good = false;
            }
        }
        for (message, hint) in notes {
            self.find(at, false, "edited-by-hand", None, format!("{name}: {message}"), hint);
        }
        Ok(())
    }

    /// What the row said when it was imported last.
    fn entry_before(&self, row: &crate::config::CensusRow, at: usize) -> Entry {
        let form = &self.forms[self.entries[at].form];
        super::entry::read(form, &self.columns, &form.cells(&row.cells), &mut Vec::new())
    }

    fn edit(
        &self,
        text: &str,
        at: usize,
        site: &Site,
        before: Option<&Entry>,
        notes: &mut Vec<(String, String)>,
    ) -> Result<String, EditFault> {
        let surveyed = &self.entries[at];
        let now = &surveyed.entry;
        let mut text = text.to_owned();
        let is = scalars_of(site);
        let was = before.map(scalars);
        let find = |list: &[(&'static str, String)], key: &str| {
            list.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
        };
        for key in ["name", "home", "owner", "code", "wave", "disposition", "origin"] {
            let value = |entry: &Entry| find(&scalars(entry), key);
            let (said, says, has) = (was.as_ref().and_then(|was| find(was, key)), value(now), find(&is, key));
            let Some(says) = says.or_else(|| (key == "disposition").then(|| quoted("close"))) else {
                if said.is_some() && has.is_some() {
                    notes.push((
                        format!("`{key}` stays, which the survey says no more"),
                        "take it out if it is wrong".to_owned(),
                    ));
                }
                continue;
            };
            let said = said.or_else(|| (key == "disposition").then(|| quoted("close")));
            let has = has.or_else(|| (key == "disposition").then(|| quoted("close")));
            if has.as_deref() == Some(&*says) || before.is_some() && said.as_deref() == Some(&*says) {
                continue;
            }
            if has.is_none() || has == said {
                text = set(&text, &[], key, &says, &ORDER, false)?;
            } else {
                let has = has.unwrap_or_default();
                notes.push((
                    format!("`{key}` is {has} there, and {says} in the survey"),
                    "what the file says stays: change one of the two".to_owned(),
                ));
            }
        }
        let has = |host: &HostPattern| site.hosts.iter().any(|(known, _)| known == host);
        let old = before.map(|entry| entry.hosts.clone()).unwrap_or_default();
        for host in now.hosts.iter().filter(|host| !old.contains(host) && !has(host)) {
            text = push(&text, &[], "hosts", &quoted(&host_text(host)))?;
        }
        for host in old.iter().filter(|host| !now.hosts.contains(host) && has(host)) {
            let message = format!("{} stays, which the survey names no more", host_text(host));
            notes.push((message, "take it out of `hosts` if it is wrong".to_owned()));
        }
        let order = Phase::ALL.map(Phase::name);
        for (phase, date) in &now.dates {
            let start = |phase| site.lifecycle.starts().iter().find(|(_, known)| *known == phase).map(|(at, _)| *at);
            let said =
                before.and_then(|entry| entry.dates.iter().find(|(known, _)| known == phase)).map(|(_, date)| *date);
            if said == Some(*date) || start(*phase) == midnight(*date) {
                continue;
            }
            if start(*phase).is_none() || start(*phase) == said.and_then(midnight) {
                if start(Phase::Proxy) > midnight(*date) {
                    text = remove(&text, &["lifecycle"], Phase::Proxy.name())?;
                }
                text = set(&text, &["lifecycle"], phase.name(), &date.to_string(), &order, false)?;
            } else {
                let message = format!("`{phase}` begins at another time there than on {date}, as the survey says");
                notes.push((message, "what the file says stays: change one of the two".to_owned()));
            }
        }
        self.edit_census(&text, surveyed, site)
    }

    fn edit_census(&self, text: &str, surveyed: &Surveyed, site: &Site) -> Result<String, EditFault> {
        const KEYS: [&str; 3] = ["survey", "sheet", "row"];
        let known = site.census.clone().unwrap_or_default();
        let sheet = &self.forms[surveyed.form].sheet;
        let mut text = text.to_owned();
        if known.survey != self.name {
            text = set(&text, &["census"], "survey", &quoted(&self.name), &KEYS, true)?;
        }
        if known.sheet != *sheet {
            text = match sheet.is_empty() {
                true => remove(&text, &["census"], "sheet")?,
                false => set(&text, &["census"], "sheet", &quoted(sheet), &KEYS, true)?,
            };
        }
        if known.row != surveyed.row {
            text = set(&text, &["census"], "row", &surveyed.row.to_string(), &KEYS, true)?;
        }
        let cells = self.cells(surveyed);
        let order: Vec<&str> = cells.iter().map(|(key, _)| key.as_str()).collect();
        for (key, cell) in &cells {
            if !known.cells.iter().any(|known| (&known.0, &known.1) == (key, cell)) {
                text = set(&text, &["census", "cells"], key, &quoted(cell), &order, true)?;
            }
        }
        for (key, _) in known.cells.iter().filter(|(key, _)| !order.contains(&key.as_str())) {
            text = remove(&text, &["census", "cells"], key)?;
        }
        Ok(text)
    }
}

/// A host as a file has it: readable.
pub(super) fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(host) => readable_host(host.as_str()),
        HostPattern::Below(host) => format!("*.{}", readable_host(host.as_str())),
    }
}

/// The beginning of a day.
pub(super) fn midnight(date: Date) -> Option<i64> {
    TimeZone::system().to_timestamp(date.at(0, 0, 0, 0)).ok().map(|at| at.as_second())
}

/// What an entry says in keys of one value, as TOML has them.
fn scalars(entry: &Entry) -> Vec<(&'static str, String)> {
    let text = |key, text: &Option<String>| text.as_deref().map(|text| (key, quoted(text)));
    let disposition =
        (entry.disposition != Disposition::Close).then(|| ("disposition", quoted(entry.disposition.name())));
    [
        Some(("name", quoted(&entry.name))),
        text("home", &entry.home),
        text("owner", &entry.owner),
        text("code", &entry.code),
        entry.wave.map(|wave| ("wave", wave.to_string())),
        disposition,
        text("origin", &entry.origin),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The same of a site, whichever file says it.
fn scalars_of(site: &Site) -> Vec<(&'static str, String)> {
    scalars(&Entry {
        name: site.name.clone(),
        owner: site.owner.clone(),
        hosts: Vec::new(),
        code: site.code.clone(),
        disposition: site.disposition,
        wave: site.wave,
        home: site.home.as_ref().map(|(home, _)| home.as_str().to_owned()),
        origin: site.origin.as_ref().map(|origin| origin.as_str().to_owned()),
        dates: Vec::new(),
    })
}

/// A list of texts: a few on the line of their key, more on lines of their own.
fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    match items.len() {
        0..=3 => format!("[{}]", items.join(", ")),
        _ => format!("[\n{}]", items.iter().map(|item| format!("    {item},\n")).collect::<String>()),
    }
}
