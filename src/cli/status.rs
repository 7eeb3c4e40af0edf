//! `waypost status`: how far the consolidation has come.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::output::{count, print};
use super::{NodeArgs, load};
use crate::config::{Site, TlsMode, parse_date};
use crate::model::{Disposition, Https, Phase};
use crate::tls::{Inventory, inventory};
use crate::waves::{Blocked, Consolidation, Group, Tally, status};

/// What is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Asked {
    /// Of this owner's sites only.
    #[arg(long)]
    owner: Option<String>,
    /// As of this date or moment; now where absent.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    date: Option<i64>,
    /// What begins within so many days is due.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// How many lines are shown of what is due, overdue and blocked; 0 shows all.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(super) fn run(node: &NodeArgs, asked: &Asked) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = asked.date.unwrap_or_else(load::now);
    let routes = load::routes(&gateway, now)?;
    let is_asked = |site: &&Site| asked.owner.is_none() || site.owner == asked.owner;
    let sites: Vec<&Site> = routes.loader.checked_sites().filter(is_asked).collect();
    if let (Some(owner), true) = (&asked.owner, sites.is_empty()) {
        bail!("no site has the owner `{owner}`");
    }
    let mut found = status(sites.iter().copied(), &routes.report.diagnostics, now, asked.days);
    // Without certificates of our own (development) nobody can say what is missing.
    if gateway.tls.mode == TlsMode::Production && gateway.acme.directory.is_none() {
        let have = inventory(&gateway).context("can't read the certificates")?;
        found.blocked.extend(without_certificate(&sites, &have, now));
    }
    let text =
        if asked.json { format!("{}\n", serde_json::to_string_pretty(&json(&found))?) } else { text(&found, asked) };
    print(&text)
}

/// Sites to close that insist on HTTPS, and have a host that no valid certificate covers.
fn without_certificate(sites: &[&Site], have: &Inventory, now: i64) -> Vec<Blocked> {
    let wants = |site: &&&Site| site.disposition == Disposition::Close && site.https.0 != Https::Allow;
    let is_covered = |host: &str| have.certificates.iter().any(|known| known.is_valid_at(now) && known.covers(host));
    let blocked = |site: &&Site| {
        let host = site.hosts.iter().map(|(host, _)| host.to_string()).find(|host| !is_covered(host))?;
        let why = format!("it wants HTTPS, and no certificate covers {host}: `waypost certs doctor {host}`");
        Some(Blocked { site: site.id.clone(), name: site.name.clone(), wave: site.wave, why })
    };
    sites.iter().filter(wants).filter_map(blocked).collect()
}

fn text(found: &Consolidation, asked: &Asked) -> String {
    let Tally { sites, to_close, closed, kept, exempt, .. } = found.all;
    let mut text = format!(
        "{} on {}: {closed} of {to_close} closed, {kept} kept, {exempt} exempt\nrate: {} % closed, {} % when all is done\n\n",
        count(sites, "site"),
        day(found.now),
        percent(found.all.rate()),
        percent(found.all.planned_rate()),
    );
    let mut phases: Vec<[String; 2]> =
        Phase::ALL.iter().map(|phase| [phase.name().to_owned(), found.all.in_phase(*phase).to_string()]).collect();
    phases.push(["kept".to_owned(), kept.to_string()]);
    phases.push(["exempt".to_owned(), exempt.to_string()]);
    text += &table(&["PHASE", "SITES"], phases.iter().map(|row| row.to_vec()).collect());
    text += &groups("WAVE", &found.waves, |wave| wave.to_string());
    text += &groups("OWNER", &found.owners, String::clone);
    let wave = |wave: Option<u16>| wave.map_or_else(|| "-".to_owned(), |wave| wave.to_string());
    let due = found
        .due
        .iter()
        .map(|due| vec![day(due.at), due.phase.name().to_owned(), wave(due.wave), due.site.clone(), due.name.clone()]);
    text += &section(
        &format!("due within {} days", asked.days),
        &["DATE", "PHASE", "WAVE", "SITE", "NAME"],
        due,
        asked.top,
    );
    let overdue = found.overdue.iter().map(|late| {
        vec![
            day(late.since),
            wave(late.wave),
            late.site.clone(),
            late.name.clone(),
            format!("{}: `{}`", late.why, late.hint),
        ]
    });
    text += &section("overdue", &["SINCE", "WAVE", "SITE", "NAME", "WHY"], overdue, asked.top);
    let blocked = found
        .blocked
        .iter()
        .map(|blocked| vec![wave(blocked.wave), blocked.site.clone(), blocked.name.clone(), blocked.why.clone()]);
    text + &section("blocked", &["WAVE", "SITE", "NAME", "WHY"], blocked, asked.top)
}

pub(super) fn groups<K>(what: &str, groups: &[Group<K>], name: impl Fn(&K) -> String) -> String {
    let row = |group: &Group<K>| {
        let Tally { sites, to_close, closed, kept, exempt, .. } = group.tally;
        let next = group
            .next
            .map_or_else(String::new, |(phase, at, sites)| format!("{phase} on {}, {}", day(at), count(sites, "site")));
        let numbers = [sites, to_close, closed, kept, exempt].map(|number| number.to_string());
        let mut row = vec![group.of.as_ref().map_or_else(|| "-".to_owned(), &name)];
        row.extend(numbers);
        row.extend([format!("{} %", percent(group.tally.rate())), next]);
        row
    };
    table(&[what, "SITES", "TO CLOSE", "CLOSED", "KEPT", "EXEMPT", "RATE", "NEXT"], groups.iter().map(row).collect())
}

fn section(title: &str, columns: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>, top: usize) -> String {
    let all = rows.len();
    if all == 0 {
        return format!("{title}: none\n");
    }
    let shown = if top == 0 { all } else { top.min(all) };
    let more = if shown < all { format!(", the first {shown}") } else { String::new() };
    format!("{title}: {all}{more}\n{}", table(columns, rows.take(shown).collect()))
}

/// Columns by their widest cell; numbers stand on the right.
pub(super) fn table(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let header: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let is_number = |column: usize| {
        rows.iter()
            .all(|row| row[column] == "-" || row[column].trim_end_matches(" %").bytes().all(|b| b.is_ascii_digit()))
    };
    let right: Vec<bool> = (0..columns.len()).map(is_number).collect();
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let mut line = String::new();
        for ((cell, &width), &right) in row.iter().zip(&widths).zip(&right) {
            let gap = " ".repeat(width - cell.width());
            line += &if right { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
        }
        text += line.trim_end();
        text += "\n";
    }
    text + "\n"
}

fn json(found: &Consolidation) -> Value {
    let moment = |seconds: i64| Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let mut report = tally(&found.all);
    report["date"] = json!(moment(found.now));
    report["by_wave"] = found.waves.iter().map(|group| group_json("wave", group)).collect();
    report["by_owner"] = found.owners.iter().map(|group| group_json("owner", group)).collect();
    let with = |value: Value, key: &str, at: i64| {
        let mut value = value;
        value[key] = json!(moment(at));
        value
    };
    report["due"] = found.due.iter().map(|due| with(json!(due), "at", due.at)).collect();
    report["overdue"] = found.overdue.iter().map(|late| with(json!(late), "since", late.since)).collect();
    report["blocked"] = json!(found.blocked);
    report
}

fn tally(tally: &Tally) -> Value {
    let phases: serde_json::Map<String, Value> =
        Phase::ALL.iter().map(|phase| (phase.name().to_owned(), json!(tally.in_phase(*phase)))).collect();
    json!({
        "sites": tally.sites,
        "to_close": tally.to_close,
        "closed": tally.closed,
        "kept": tally.kept,
        "exempt": tally.exempt,
        "rate": tally.rate(),
        "planned_rate": tally.planned_rate(),
        "by_phase": phases,
    })
}

pub(super) fn group_json<K: serde::Serialize>(what: &str, group: &Group<K>) -> Value {
    let mut value = tally(&group.tally);
    value[what] = json!(group.of);
    value["next"] = match group.next {
        Some((phase, at, sites)) => {
            json!({ "phase": phase.name(), "at": Timestamp::from_second(at).unwrap_or_default().to_string(), "sites": sites })
        }
        None => Value::Null,
    };
    value
}

/// In percent, to the nearest.
fn percent(rate: f64) -> u32 {
    (100.0 * rate).round() as u32
}

/// The local day of a moment.
pub(super) fn day(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(TimeZone::system());
    moment.date().to_string()
}
