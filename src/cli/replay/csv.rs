//! Tables of the report as CSV (RFC 4180), in UTF-8.

use clap::ValueEnum;

use crate::replay::{Coverage, Report, Said, Share};

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Table {
    /// One row for each site that was asked for, and a first one for all.
    Sites,
    /// URLs of which nothing says where they went.
    Unmapped,
    /// Hosts that no site has.
    UnknownHosts,
    /// URLs that other routes answer another way.
    Changes,
}

/// A table, with a header.
pub(super) fn print(report: &Report, table: Table) -> String {
    let mut out = String::new();
    match table {
        Table::Sites => sites(report, &mut out),
        Table::Unmapped => {
            row(&mut out, UNMAPPED.iter().map(|name| (*name).to_owned()));
            for url in &report.unmapped {
                let (hits, found) = (url.hits.to_string(), url.found_hits.to_string());
                let texts = [&url.site, &url.key, &url.example, &url.seen].map(Clone::clone);
                row(&mut out, [hits, found].into_iter().chain(texts));
            }
        }
        Table::UnknownHosts => {
            row(&mut out, ["hits", "host", "example", "seen"].map(str::to_owned));
            for host in &report.unknown_hosts {
                row(&mut out, [host.hits.to_string(), host.host.clone(), host.example.clone(), host.seen.clone()]);
            }
        }
        Table::Changes => {
            let said = ["fate", "first", "outcome", "status", "platform", "to", "site", "source"];
            let names = ["before", "after"].map(|when| said.map(|name| format!("{when}_{name}"))).into_iter().flatten();
            row(&mut out, ["hits", "method", "url", "seen"].map(str::to_owned).into_iter().chain(names));
            for change in report.changes.iter().flat_map(|changes| &changes.list) {
                let start = [change.hits.to_string(), change.method.clone(), change.url.clone(), change.seen.clone()];
                row(&mut out, start.into_iter().chain(cells(&change.before)).chain(cells(&change.after)));
            }
        }
    }
    out
}

fn sites(report: &Report, out: &mut String) {
    let shares = ["all", "asked", "covered"].into_iter().chain(report.total.fates.keys().copied());
    let shares = shares.flat_map(|name| NUMBERS.map(|number| format!("{name}_{number}")));
    row(out, ["site", "name", "owner", "wave"].map(str::to_owned).into_iter().chain(shares));
    let total = ["", "all", "", ""].map(str::to_owned);
    row(out, total.into_iter().chain(numbers(&report.total)));
    for site in &report.sites {
        let wave = site.wave.map_or_else(String::new, |wave| wave.to_string());
        let start = [site.site.clone(), site.name.clone(), site.owner.clone().unwrap_or_default(), wave];
        row(out, start.into_iter().chain(numbers(&site.coverage)));
    }
}

fn numbers(coverage: &Coverage) -> impl Iterator<Item = String> {
    let shares = [coverage.all, coverage.asked, coverage.covered].into_iter().chain(coverage.fates.values().copied());
    shares.collect::<Vec<_>>().into_iter().flat_map(|share| {
        let Share { hits, hits_share, urls, found_hits, found_hits_share, .. } = share;
        [
            hits.to_string(),
            format!("{hits_share:.6}"),
            urls.to_string(),
            found_hits.to_string(),
            format!("{found_hits_share:.6}"),
        ]
    })
}

fn cells(said: &Said) -> [String; 8] {
    [
        said.fate.name().to_owned(),
        said.first.unwrap_or_default().to_owned(),
        said.outcome.to_owned(),
        said.status.to_string(),
        said.platform.clone(),
        said.to.clone(),
        said.site.clone(),
        said.source.clone(),
    ]
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for (number, cell) in cells.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        // What a client sent may look like a formula to a spreadsheet program.
        let cell = if cell.starts_with(['=', '+', '-', '@', '\t']) { format!("'{cell}") } else { cell };
        if cell.contains([',', '"', '\n', '\r']) {
            out.push_str(&format!("\"{}\"", cell.replace('"', "\"\"")));
        } else {
            out.push_str(&cell);
        }
    }
    out.push_str("\r\n");
}

const UNMAPPED: [&str; 6] = ["hits", "found_hits", "site", "old", "example", "seen"];

const NUMBERS: [&str; 5] = ["hits", "hits_share", "urls", "found_hits", "found_hits_share"];
