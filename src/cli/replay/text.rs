//! The report for people.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{counted, grouped};
use crate::replay::coverage::Fate;
use crate::replay::{Changes, Coverage, Report, Said, Share, Unmapped};

/// The report as text.
pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    head(report, &mut out);
    if report.requests > 0 {
        coverage(report, &mut out);
        sites(report, &mut out);
        unmapped(report, &mut out);
        unknown_hosts(report, &mut out);
    }
    if let Some(changes) = &report.changes {
        self::changes(changes, &mut out);
    }
    out
}

fn head(report: &Report, out: &mut String) {
    let speed = report.lines as f64 / report.seconds.max(0.001);
    let files = counted(report.files.len() as u64, "log");
    line(
        out,
        format!(
            "{} of {files} in {:.1} s ({} a second)",
            counted(report.lines, "line"),
            report.seconds,
            grouped(speed as u64)
        ),
    );
    for file in report.files.iter().take(SHOWN_FILES) {
        let format = file.format.as_deref().unwrap_or("not read");
        let host = file.host.as_ref().map(|host| format!(", {host} where a line has no host")).unwrap_or_default();
        line(out, format!("  {}: {format}, {}{host}", file.path, counted(file.lines, "line")));
    }
    if report.files.len() > SHOWN_FILES {
        line(out, format!("  … and {} more", report.files.len() - SHOWN_FILES));
    }
    let parts = [
        (report.requests, "requests"),
        (report.left_out, "left out"),
        (report.no_request, "without a request"),
        (report.comments, "comments"),
        (report.unreadable, "unreadable"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, name)| *number > 0 || *name == "requests")
        .map(|(number, name)| format!("{} {name}", grouped(*number)))
        .collect();
    line(out, parts.join(", "));
    for bad in &report.unreadable_lines {
        line(out, format!("  {}:{}: {}: {}", bad.file, bad.line, bad.why, bad.text));
    }
}

fn coverage(report: &Report, out: &mut String) {
    let total = &report.total;
    let urls = if report.urls_exact { "URLs" } else { "≈ URLs" };
    let mut rows = vec![row(&["", "hits", "", urls, "", "found before", ""])];
    let names = ["redirected", "served", "gone", "missing", "other", "unmapped", "denied", "unknown_host"];
    for name in names {
        if let Some(share) = total.fates.get(name).filter(|share| share.hits > 0) {
            rows.push(shares(name, share));
        }
    }
    rows.push(shares("all", &total.all));
    line(out, String::new());
    table(&rows, out);
    line(out, String::new());
    line(out, covered(total));
    if !report.denied.is_empty() {
        let reasons: Vec<String> =
            report.denied.iter().map(|(reason, hits)| format!("{reason} {}", grouped(*hits))).collect();
        line(out, format!("denied for: {}", reasons.join(", ")));
    }
}

fn covered(total: &Coverage) -> String {
    format!(
        "covered: {} of the hits that sites were asked for, {} of the URLs; of what the old servers had, {} of the hits, {} of the URLs",
        percent(total.covered.hits_share),
        percent(total.covered.urls_share),
        percent(total.covered.found_hits_share),
        percent(total.covered.found_urls_share)
    )
}

fn shares(name: &str, share: &Share) -> Vec<String> {
    vec![
        name.to_owned(),
        grouped(share.hits),
        percent(share.hits_share),
        grouped(share.urls),
        percent(share.urls_share),
        grouped(share.found_hits),
        percent(share.found_hits_share),
    ]
}

fn sites(report: &Report, out: &mut String) {
    let mut sites: Vec<_> = report.sites.iter().collect();
    let missed = |coverage: &Coverage| coverage.fates.get("unmapped").map_or(0, |share| share.hits);
    sites.sort_by_key(|site| std::cmp::Reverse(missed(&site.coverage)));
    sites.truncate(SHOWN_SITES);
    if report.sites.len() < 2 {
        return;
    }
    line(out, format!("\nsites by unmapped hits ({} were asked for; --csv=sites lists all)", report.sites.len()));
    let mut rows = vec![row(&["site", "unmapped", "asked", "covered", "covered of what was found", "name"])];
    for site in sites {
        let coverage = &site.coverage;
        rows.push(vec![
            site.site.clone(),
            grouped(missed(coverage)),
            grouped(coverage.asked.hits),
            percent(coverage.covered.hits_share),
            percent(coverage.covered.found_hits_share),
            site.name.clone(),
        ]);
    }
    table(&rows, out);
}

fn unmapped(report: &Report, out: &mut String) {
    if report.unmapped.is_empty() {
        return;
    }
    line(out, format!("\nunmapped URLs{}", at_least(report.unmapped_missed)));
    let mut rows = vec![row(&["hits", "found before", "site", "old", "first seen as", "at"])];
    for Unmapped { hits, found_hits, site, key, example, seen, .. } in &report.unmapped {
        rows.push(vec![grouped(*hits), grouped(*found_hits), site.clone(), key.clone(), example.clone(), seen.clone()]);
    }
    table(&rows, out);
}

fn unknown_hosts(report: &Report, out: &mut String) {
    if report.unknown_hosts.is_empty() {
        return;
    }
    line(out, format!("\nhosts that no site has{}", at_least(report.unknown_hosts_missed)));
    let mut rows = vec![row(&["hits", "host", "first seen at"])];
    for host in &report.unknown_hosts {
        let name = if host.host.is_empty() { "(none: say --host)".to_owned() } else { host.host.clone() };
        rows.push(vec![grouped(host.hits), name, host.seen.clone()]);
    }
    table(&rows, out);
}

fn changes(changes: &Changes, out: &mut String) {
    if changes.hits == 0 {
        line(out, "\nno URL of these logs would be answered another way by the other routes".to_owned());
        return;
    }
    line(
        out,
        format!("\nchanges by the other routes: {}, {}", counted(changes.urls, "URL"), counted(changes.hits, "hit")),
    );
    let mut rows = vec![row(&["", "URLs", "hits"])];
    for (kind, counts) in &changes.kinds {
        rows.push(vec![kind.clone(), grouped(counts.urls), grouped(counts.hits)]);
    }
    table(&rows, out);
    line(out, format!("\n{} of them{}", grouped(changes.list.len() as u64), at_least(changes.missed)));
    for change in &changes.list {
        line(out, format!("{} {}  ({}, {})", change.method, change.url, counted(change.hits, "hit"), change.seen));
        line(out, format!("  - {}", said(&change.before)));
        line(out, format!("  + {}", said(&change.after)));
    }
}

fn said(said: &Said) -> String {
    let mut out = format!("{} {}", said.status, said.fate.name());
    if let Some(first) = said.first {
        let how = if first == "redirect" { "a redirect to HTTPS" } else { "a refusal without HTTPS" };
        let _ = write!(out, ", after {how}");
    }
    let usual = match said.fate {
        Fate::Redirected => "redirect",
        Fate::Served => "serve",
        Fate::Missing => "not_found",
        fate => fate.name(),
    };
    if said.outcome != usual {
        let _ = write!(out, " ({})", said.outcome);
    }
    for part in [&said.platform, &said.to].into_iter().filter(|part| !part.is_empty()) {
        let _ = write!(out, " {part}");
    }
    if !said.source.is_empty() {
        let _ = write!(out, "  ({})", said.source);
    }
    out
}

/// What is said where a list is not exact.
fn at_least(missed: u64) -> String {
    match missed {
        0 => String::new(),
        _ => format!(" (there are too many to remember all: counts may be up to {} too low)", grouped(missed)),
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Columns side by side; what is a number stands to the right.
fn table(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.width())).max().unwrap_or(0))
        .collect();
    let is_number =
        |cell: &str| cell.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.' | b'%' | b' '));
    let right: Vec<bool> = (0..columns)
        .map(|column| rows[1..].iter().all(|row| row.get(column).is_some_and(|cell| is_number(cell))))
        .collect();
    for row in rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - cell.width());
            text += &if right[column] { format!("  {space}{cell}") } else { format!("  {cell}{space}") };
        }
        line(out, text.trim_end().to_owned());
    }
}

/// A share as people read it; what is not all is never shown as `100 %`.
fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    match (text.as_str(), share) {
        ("100.0", share) if share < 1.0 => "99.9 %".to_owned(),
        ("0.0", share) if share > 0.0 => "0.1 %".to_owned(),
        _ => format!("{text} %"),
    }
}

fn line(out: &mut String, text: String) {
    out.push_str(&text);
    out.push('\n');
}

const SHOWN_FILES: usize = 10;

const SHOWN_SITES: usize = 20;
