//! Everything that suggestions are made from, put together for one site.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::Path,
    thread,
};

use anyhow::{Context, bail};

use super::super::output::count;
use super::{Args, Day, fetch};
use crate::config::{Gateway, mapping};
use crate::hits::{Calendar, Period, Query, Reader};
use crate::model::{Lifecycle, Method, Phase, Target};
use crate::replay::judge::Judge;
use crate::replay::{Job, inputs, replay};
use crate::routing::{By, Request, Scratch, SiteTable, Snapshot};
use crate::suggest::sources::{Row, table};
use crate::suggest::{Material, Old, Page};
use crate::url::{Canonical, Form, split_absolute};

/// The material, and what a reader should know of it.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub site: String,
    pub material: Material,
    /// Names of the exports in the material.
    pub exports: Vec<String>,
    pub notes: Vec<String>,
}

pub(super) fn gather(
    args: &Args,
    gateway: &Gateway,
    snapshot: Snapshot,
    site: usize,
    now: i64,
) -> anyhow::Result<Gathered> {
    let table = snapshot.sites()[site].clone();
    let present = now;
    let now = moment(&table.lifecycle, now);
    let mut gathered = Gathered { site: table.id.clone(), ..Gathered::default() };
    let mut pages = Pages::default();
    known(gateway, &table, &mut pages, &mut gathered)?;
    for path in &args.table {
        export(path, &table, &mut pages, &mut gathered)?;
    }
    for place in &args.sitemap {
        let found = fetch::pages(place, &mut gathered.notes)?;
        for page in found {
            pages.add(page);
        }
    }
    if pages.all.is_empty() {
        bail!("there is nothing to suggest from: say --sitemap or --table (`waypost suggest --help`)");
    }
    gathered.material.olds = if !args.log.is_empty() {
        of_logs(args, snapshot, &table.id, now, &mut gathered.notes)?
    } else if let Some(path) = &args.urls {
        of_list(path, &snapshot, &table, now, &mut gathered.notes)?
    } else {
        of_hits(args, gateway, &table.id)?
    };
    gathered.material.olds.truncate(args.top as usize);
    for path in &args.titles {
        titles(path, &table, &mut gathered.material.olds)?;
    }
    gathered.material.pages = pages.all;
    args.fetching.fetch(&table, present, &mut gathered)?;
    Ok(gathered)
}

/// A moment at which the site's old URLs are redirected: before and after that nothing of it is unmapped.
fn moment(lifecycle: &Lifecycle, now: i64) -> i64 {
    let starts = lifecycle.starts().iter().map(|&(at, _)| at);
    let first = starts.clone().next().map(|at| at.saturating_sub(1));
    let moments: Vec<i64> = [now].into_iter().chain(starts).chain(first).collect();
    let of = |wanted: Phase| moments.iter().copied().find(|&at| lifecycle.at(at) == wanted);
    of(Phase::Redirect).or_else(|| of(Phase::Notice)).unwrap_or(now)
}

/// Pages, each once.
#[derive(Default)]
struct Pages {
    all: Vec<Page>,
    places: HashMap<String, u32>,
}

impl Pages {
    /// The place of a page; nothing for what is no URL.
    fn add(&mut self, page: Page) -> Option<u32> {
        let target = Target::parse(&page.url).ok()?;
        let url = target.as_str().split('#').next().unwrap_or_default().to_owned();
        if let Some(&place) = self.places.get(&url) {
            let known = &mut self.all[place as usize];
            known.title = known.title.take().or(page.title);
            known.day = known.day.or(page.day);
            return Some(place);
        }
        let place = u32::try_from(self.all.len()).ok()?;
        self.places.insert(url.clone(), place);
        self.all.push(Page { url, ..page });
        Some(place)
    }
}

/// The site's own mappings: rules are learnt from them.
fn known(gateway: &Gateway, site: &SiteTable, pages: &mut Pages, gathered: &mut Gathered) -> anyhow::Result<()> {
    let path = gateway.routes.join(format!("{}.csv", site.id));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    // What is wrong with it is for `check` to say.
    let Ok(file) = mapping::decode(&path.to_string_lossy(), bytes) else { return Ok(()) };
    mapping::read(&file, &mut Vec::new(), |row, _| {
        let new = row.cell(mapping::Column::New);
        if gathered.material.known.len() < MOST_KNOWN
            && let Some(key) = key(site, row.cell(mapping::Column::Old))
            && let Some(page) = pages.add(Page { url: new.to_owned(), ..Page::default() })
        {
            gathered.material.known.push((key, page));
        }
    });
    Ok(())
}

fn export(path: &Path, site: &SiteTable, pages: &mut Pages, gathered: &mut Gathered) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rows = table(&fetch::bytes(path)?).with_context(|| path.display().to_string())?;
    let mut ids = Vec::new();
    let mut bad = 0;
    for Row { old_id, old, new, title, day, .. } in rows.rows {
        if new.is_empty() {
            continue;
        }
        let title = (!title.is_empty()).then_some(title);
        let Some(page) = pages.add(Page { url: new, title, day }) else {
            bad += 1;
            continue;
        };
        if !old.is_empty()
            && let Some(key) = key(site, &old)
        {
            gathered.material.told.push((key, page));
        }
        if !old_id.is_empty() {
            ids.push((old_id, page));
        }
    }
    if bad > 0 {
        gathered.notes.push(format!("{}: {} no URL as new address", path.display(), have(bad, "row")));
    }
    if !ids.is_empty() {
        gathered.exports.push(name);
        gathered.material.exports.push((rows.id_heading, ids));
    }
    Ok(())
}

/// Titles of old pages, by their addresses.
fn titles(path: &Path, site: &SiteTable, olds: &mut [Old]) -> anyhow::Result<()> {
    let rows = table(&fetch::bytes(path)?).with_context(|| path.display().to_string())?;
    let mut titles: HashMap<String, String> = HashMap::new();
    for row in rows.rows {
        let old = if row.old.is_empty() { row.new } else { row.old };
        if let Some(key) = key(site, &old).filter(|_| !row.title.is_empty()) {
            titles.insert(key, row.title);
        }
    }
    for old in olds {
        if let Some(title) = titles.remove(&old.key) {
            old.title = Some(title);
        }
    }
    Ok(())
}

fn of_hits(args: &Args, gateway: &Gateway, site: &str) -> anyhow::Result<Vec<Old>> {
    let Some(database) = &gateway.hits.database else {
        bail!(
            "hits are not counted: gateway.toml has no [hits] database, or a faulty one (`waypost check`). Say --log or --urls"
        );
    };
    let mut calendar = Calendar::new(&gateway.hits);
    let since = match args.since {
        Day::Date(date) => date,
        Day::Last(days) => calendar.days_ago(days - 1),
    };
    let period = Period { since, until: calendar.days_ago(0) };
    let mut reader = Reader::open(database)?;
    let rows = reader.urls(&Query { period, site: Some(site), unmapped: true, top: args.top })?;
    let mut hits: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        *hits.entry(row.url).or_default() += row.hits;
    }
    Ok(sorted(hits))
}

fn of_logs(args: &Args, snapshot: Snapshot, site: &str, now: i64, notes: &mut Vec<String>) -> anyhow::Result<Vec<Old>> {
    let inputs = inputs(&args.log)
        .map_err(|(path, error)| anyhow::Error::new(error).context(format!("can't read {}", path.display())))?;
    let table = snapshot.sites().iter().find(|table| table.id == site);
    let host = table.and_then(|table| table.main_host()).map(str::to_owned);
    let of_host = |host: Option<String>, snapshot: Snapshot| Job {
        inputs,
        format: None,
        must_be: None,
        host,
        secure: false,
        judge: Judge::new(snapshot, now),
        against: None,
        site: Some(site.to_owned()),
        since: None,
        until: None,
        top: 0,
        threads: thread::available_parallelism().map_or(1, Into::into),
    };
    // Whoever asks about one site has its logs, whatever they are called.
    let report = replay(&of_host(host, snapshot), |_| {});
    for file in &report.files {
        notes.extend(file.fault.as_ref().map(|fault| format!("{}: {fault}", file.path)));
    }
    let mut hits: BTreeMap<String, u64> = BTreeMap::new();
    let mut shortened = HashSet::new();
    for row in report.unmapped {
        // What the old server had not either is not missed.
        if row.found_hits == 0 && row.old.client_error > 0 {
            continue;
        }
        if !row.key.contains('?') && row.example.contains('?') {
            shortened.insert(row.key.clone());
        }
        *hits.entry(row.key).or_default() += row.hits;
    }
    note_shortened(shortened.len(), notes);
    Ok(sorted(hits))
}

fn of_list(
    path: &Path,
    snapshot: &Snapshot,
    site: &SiteTable,
    now: i64,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Old>> {
    let bytes = fetch::bytes(path)?;
    let rows = match table(&bytes) {
        Ok(rows) if rows.rows.iter().any(|row| !row.old.is_empty()) => rows.rows,
        _ => {
            let text = String::from_utf8_lossy(&bytes);
            let lines = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim());
            let lines = lines.filter(|line| line.starts_with('/') || line.contains("://"));
            lines.map(|line| Row { old: line.to_owned(), ..Row::default() }).collect()
        }
    };
    let host = site.main_host().unwrap_or_default().as_bytes();
    let mut scratch = Scratch::default();
    let mut is_unmapped = |key: &str| {
        let wire = crate::url::to_wire(key, site.canonicalizer.settings().charset);
        let request =
            Request { method: Method::Get, host: Some(host), target: wire.as_bytes(), secure: true, user_agent: b"" };
        snapshot.decide(&request, now, &mut scratch).by == By::Fallback
    };
    let mut olds: BTreeMap<String, Old> = BTreeMap::new();
    let mut shortened = HashSet::new();
    for row in rows {
        let Some(key) = key(site, &row.old) else { continue };
        if !key.contains('?') && row.old.contains('?') {
            shortened.insert(key.clone());
        }
        if let Some(old) = olds.get_mut(&key) {
            old.hits += row.hits;
        } else if is_unmapped(&key) {
            let title = (!row.title.is_empty()).then_some(row.title);
            olds.insert(key.clone(), Old { key, title, hits: row.hits });
        }
    }
    note_shortened(shortened.len(), notes);
    let mut olds: Vec<Old> = olds.into_values().collect();
    olds.sort_by_key(|old| std::cmp::Reverse(old.hits));
    Ok(olds)
}

fn note_shortened(keys: usize, notes: &mut Vec<String>) {
    if keys > 0 {
        notes.push(format!(
            "{} a query, of which the site keeps nothing: if a parameter says which page it is, name it in the site's file \
             (`[url] keep-query = [\"id\"]`)",
            have(keys, "old address")
        ));
    }
}

fn have(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one} has"),
        _ if one.ends_with('s') => format!("{number} {one}es have"),
        _ => format!("{} have", count(number, one)),
    }
}

fn sorted(hits: BTreeMap<String, u64>) -> Vec<Old> {
    let mut olds: Vec<Old> = hits.into_iter().map(|(key, hits)| Old { key, title: None, hits }).collect();
    olds.sort_by_key(|old| std::cmp::Reverse(old.hits));
    olds
}

/// The canonical key of an old address of the site, a whole one or a path.
pub(super) fn key(site: &SiteTable, old: &str) -> Option<String> {
    let old = old.trim();
    if !old.starts_with('/') {
        // Of another site.
        let host = split_absolute(old.as_bytes())?.authority;
        let host = crate::model::Host::parse(host).ok()?;
        site.hosts.iter().find(|pattern| pattern.matches(host.as_str()))?;
    }
    let mut url = Canonical::default();
    site.canonicalizer.canonicalize(old.as_bytes(), Form::Text, &mut url).ok()?;
    String::from_utf8(url.key().to_vec()).ok()
}

/// Mappings that rules are learnt from; more would not make them better.
const MOST_KNOWN: usize = 200_000;
