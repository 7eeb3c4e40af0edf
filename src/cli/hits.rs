//! `waypost hits`: what was asked for.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use jiff::{Timestamp, civil::Date};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::output::{count, print};
use super::{NodeArgs, load};
use crate::config::Gateway;
use crate::hits::{By, Calendar, Group, Period, Query, Reader, Sum, UrlHits};

/// What is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Asked {
    /// Of this site only: its id (the site file without `.toml`, as `county/jyj`) or one of its hosts.
    site: Option<String>,
    /// Of hosts that no site has: which forgotten domains are still asked for.
    #[arg(long, conflicts_with_all = ["site", "unmapped"])]
    unknown_hosts: bool,
    /// Only URLs of which nothing says where they went: no mapping, no rule, the site's fallback answered.
    #[arg(long)]
    unmapped: bool,
    /// How many rows, those with the most hits; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 50)]
    top: u32,
    /// The first day: a date (2026-11-01), or so many days until today (30d).
    #[arg(long, value_name = "DAY", default_value = "30d", value_parser = day)]
    since: Day,
    /// The last day, as --since; today where absent.
    #[arg(long, value_name = "DAY", default_value = "1d", hide_default_value = true, value_parser = day)]
    until: Day,
    /// What hits are added up by.
    #[arg(long, value_enum, default_value = "url")]
    by: Column,
    /// Print as CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Column {
    /// URL, and how it was answered.
    Url,
    /// Site.
    Site,
    /// Owner of the site, as its file says today.
    Owner,
    /// Day; month where days are not kept any more.
    Day,
    /// Kind of answer.
    Outcome,
    /// Host of the pages that led there: of each URL and day, the one that most referrals came from.
    Referrer,
}

#[derive(Clone, Copy, Debug)]
enum Day {
    Date(Date),
    /// So many days, today included.
    Last(u32),
}

fn day(text: &str) -> Result<Day, String> {
    let last = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| *days > 0).map(Day::Last);
    let fault = || format!("`{text}` is neither a date (2026-11-01) nor a number of days (30d)");
    last.or_else(|| text.parse().ok().map(Day::Date)).ok_or_else(fault)
}

/// Tells what was asked for.
pub(super) fn run(node: &NodeArgs, asked: &Asked) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let Some(database) = &gateway.hits.database else {
        bail!("hits are not counted: gateway.toml has no [hits] database, or a faulty one (`waypost check`)");
    };
    let mut calendar = Calendar::new(&gateway.hits);
    let mut date = |day| match day {
        Day::Date(date) => date,
        Day::Last(days) => calendar.days_ago(days - 1),
    };
    let period = Period { since: date(asked.since), until: date(asked.until) };
    let mut reader = Reader::open(database)?;
    let site = site(&gateway, &mut reader, asked, period)?;
    let top = if asked.top == 0 { u32::MAX } else { asked.top };
    let query = Query { period, site: site.as_deref(), unmapped: asked.unmapped, top };
    let sum = reader.sum(&query)?;
    // To add up all URLs takes as long as to find the first of them; other tables have no need for it.
    let unnamed = match asked.by {
        Column::Url => sum.hits.saturating_sub(reader.named(&query)?),
        _ => 0,
    };
    let table = match asked.by {
        Column::Url => urls(reader.urls(&query)?),
        Column::Site => groups("site", reader.groups(&query, By::Site)?),
        Column::Owner => owners(&gateway, reader.groups(&Query { top: u32::MAX, ..query.clone() }, By::Site)?, top)?,
        Column::Day => groups("day", reader.groups(&query, By::Day)?),
        Column::Outcome => groups("outcome", reader.groups(&query, By::Outcome)?),
        Column::Referrer => referrers(reader.groups(&query, By::Referrer)?),
    };
    print(&if asked.csv {
        table.csv()
    } else if asked.json {
        let Sum { hits, unmapped, bots } = sum;
        let mut report = json!({
            "since": period.since.to_string(),
            "until": period.until.to_string(),
            "sum": { "hits": hits, "unmapped": unmapped, "bots": bots },
            "rows": table.json(),
        });
        if asked.by == Column::Url {
            report["sum"]["unnamed"] = unnamed.into();
        }
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        format!("{}{}", table.text(), total(&query, sum, unnamed))
    })
}

/// The id of the site that is asked for.
fn site(gateway: &Gateway, reader: &mut Reader, asked: &Asked, period: Period) -> anyhow::Result<Option<String>> {
    if asked.unknown_hosts {
        return Ok(Some(String::new()));
    }
    let Some(name) = asked.site.as_deref().map(|name| name.strip_suffix(".toml").unwrap_or(name)) else {
        return Ok(None);
    };
    // A site that has hits may have no file any more.
    let query = Query { period, site: Some(name), unmapped: false, top: 1 };
    if !name.is_empty() && reader.sum(&query)?.hits > 0 {
        return Ok(Some(name.to_owned()));
    }
    let snapshot = load::routes(gateway, load::now())?.snapshot;
    let site = load::site(&snapshot, name);
    site.map(|site| Some(site.id.clone()))
        .map_err(|fault| anyhow!("{fault}, and nothing was asked for under that name"))
}

/// What is under a table.
fn total(query: &Query<'_>, sum: Sum, unnamed: u64) -> String {
    let Period { since, until } = query.period;
    let of = if query.unmapped { " of unmapped URLs" } else { "" };
    let mut text = format!(
        "{}{of} from {since} to {until}: {} % by bots",
        count(usize::try_from(sum.hits).unwrap_or(usize::MAX), "hit"),
        share(sum.bots, sum.hits)
    );
    if !query.unmapped {
        text += &format!(", {} unmapped", sum.unmapped);
    }
    if unnamed > 0 {
        text += &format!("; {unnamed} of rare or long URLs, which are not told apart");
    }
    text + "\n"
}

/// In percent.
fn share(part: u64, whole: u64) -> u64 {
    (100 * u128::from(part) / u128::from(whole).max(1)) as u64
}

/// A table, for people and programs.
struct Output {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

fn urls(urls: Vec<UrlHits>) -> Output {
    let row = |row: UrlHits| {
        vec![
            json!(row.hits),
            json!(row.bots),
            json!(row.site),
            json!(row.url),
            json!(row.outcome),
            json!(row.status),
            json!(row.unmapped),
            json!(moment(row.first_seen)),
            json!(moment(row.last_seen)),
            json!(row.referrer),
        ]
    };
    Output { columns: URL_COLUMNS, rows: urls.into_iter().map(row).collect() }
}

fn groups(name: &'static str, groups: Vec<Group>) -> Output {
    let row = |Group { name, sum }| vec![json!(sum.hits), json!(sum.bots), json!(sum.unmapped), json!(name)];
    let columns =
        GROUP_COLUMNS.iter().find(|columns| columns.last() == Some(&name)).map_or(&[][..], |columns| *columns);
    Output { columns, rows: groups.into_iter().map(row).collect() }
}

fn referrers(groups: Vec<Group>) -> Output {
    let row = |Group { name, sum }| vec![json!(sum.hits), json!(sum.unmapped), json!(name)];
    Output { columns: &["referrals", "unmapped", "referrer"], rows: groups.into_iter().map(row).collect() }
}

/// Sites' hits by who owns them.
fn owners(gateway: &Gateway, sites: Vec<Group>, top: u32) -> anyhow::Result<Output> {
    let snapshot = load::routes(gateway, load::now())?.snapshot;
    let owner = |id: &str| snapshot.sites().iter().find(|site| site.id == id)?.owner.clone();
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for Group { name, sum } in sites {
        let all = sums.entry(owner(&name).unwrap_or_default()).or_default();
        all.hits += sum.hits;
        all.unmapped += sum.unmapped;
        all.bots += sum.bots;
    }
    let mut owners: Vec<Group> = sums.into_iter().map(|(name, sum)| Group { name, sum }).collect();
    owners.sort_by_key(|group| std::cmp::Reverse(group.sum.hits));
    owners.truncate(top as usize);
    Ok(groups("owner", owners))
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

impl Output {
    fn json(&self) -> Vec<Value> {
        let row = |row: &Vec<Value>| self.columns.iter().map(|name| (*name).to_owned()).zip(row.clone()).collect();
        self.rows.iter().map(row).map(Value::Object).collect()
    }

    /// RFC 4180, but for its line ends.
    fn csv(&self) -> String {
        let mut text = self.columns.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| quoted(&plain(cell))).collect();
            text += &(cells.join(",") + "\n");
        }
        text
    }

    fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let header = self.columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
        let cells = |row: &Vec<Value>| {
            self.columns.iter().zip(row).map(|(column, cell)| self.cell(column, cell, row)).collect()
        };
        let lines: Vec<Vec<String>> = [header].into_iter().chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let mut out = String::new();
            for ((cell, &width), first) in line.iter().zip(&widths).zip(&self.rows[0]) {
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                // Numbers stand on the right.
                let (before, after) = if first.is_number() { (gap, String::new()) } else { (String::new(), gap) };
                out += &format!("{before}{cell}{after}  ");
            }
            text += &format!("{}\n", out.trim_end());
        }
        text + "\n"
    }

    /// A cell for people: bots as a share, moments as days, nothing that a terminal would obey.
    fn cell(&self, column: &str, cell: &Value, row: &[Value]) -> String {
        match (column, cell) {
            ("bots", Value::Number(bots)) => {
                let hits = row.first().and_then(Value::as_u64).unwrap_or(0);
                format!("{} %", share(bots.as_u64().unwrap_or(0), hits))
            }
            ("first_seen" | "last_seen", Value::String(moment)) => moment.get(..10).unwrap_or(moment).to_owned(),
            (_, Value::Bool(is_so)) => if *is_so { "yes" } else { "" }.to_owned(),
            ("site" | "owner", Value::String(text)) if text.is_empty() => "-".to_owned(),
            _ => printable(&plain(cell)),
        }
    }
}

fn plain(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As a field of CSV.
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A text whose controls, and what turns its direction, are escaped: clients have written it.
fn printable(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
    };
    text.chars().map(|c| if is_odd(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Columns of URLs. Programs read them: new ones come last.
const URL_COLUMNS: &[&str] =
    &["hits", "bots", "site", "url", "outcome", "status", "unmapped", "first_seen", "last_seen", "referrer"];

/// Columns of sums.
const GROUP_COLUMNS: &[&[&str]] = &[
    &["hits", "bots", "unmapped", "site"],
    &["hits", "bots", "unmapped", "owner"],
    &["hits", "bots", "unmapped", "day"],
    &["hits", "bots", "unmapped", "outcome"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_wrote_is_harmless() {
        assert_eq!(printable("/a\u{1b}[2J\u{202e}b\u{9b}命"), "/a\\u{1b}[2J\\u{202e}b\\u{9b}命");
        assert_eq!(quoted("/a,\"b\""), "\"/a,\"\"b\"\"\"");
        assert_eq!(quoted("/a b"), "/a b");
    }

    #[test]
    fn days_are_dates_or_numbers() {
        assert!(matches!(day("30d"), Ok(Day::Last(30))));
        assert!(matches!(day("2026-11-01"), Ok(Day::Date(_))));
        for bad in ["0d", "-1d", "30", "d", "2026-13-01", "999999999999d"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables() {
        let sum = Sum { hits: 1234, unmapped: 4, bots: 617 };
        let table = groups(
            "site",
            vec![
                Group { name: "a/青山".to_owned(), sum },
                Group { name: String::new(), sum: Sum { hits: 1, ..Sum::default() } },
            ],
        );
        assert_eq!(
            table.text(),
            "HITS  BOTS  UNMAPPED  SITE\n1234  50 %         4  a/青山\n   1   0 %         0  -\n\n"
        );
        assert_eq!(table.csv(), "hits,bots,unmapped,site\n1234,617,4,a/青山\n1,0,0,\n");
        assert_eq!(table.json()[0]["site"], "a/青山");
        assert_eq!(share(u64::MAX, u64::MAX), 100);
    }
}
