//! The report as tables, for spreadsheets: all of it, where the page has the first rows.

use super::{PageRow, Report, Visits};

/// A table.
pub struct Table {
    /// Name of its file.
    pub name: &'static str,
    /// Its text: CSV by RFC 4180 in UTF-8, with the mark by which spreadsheets know that.
    pub text: String,
}

/// Every table. Columns stay as they are; new ones come last.
pub fn tables(report: &Report) -> Vec<Table> {
    let visits = |page: &PageRow, family: &str, visits: &Visits| {
        let verdicts = |verdict: &str| visits.weeks.iter().filter(|(_, told)| *told == verdict).count().to_string();
        vec![
            page.url.clone(),
            family.to_owned(),
            page.sites.to_string(),
            page.owners.join(" "),
            visits.made.to_string(),
            visits.failed.to_string(),
            visits.unmade.to_string(),
            share(visits.tally().opened()),
            verdicts("veto"),
            verdicts("passes"),
            verdicts("too_few"),
            visits.mean().map(|millis| millis.to_string()).unwrap_or_default(),
            visits.longest.to_string(),
            visits.slow.to_string(),
            visits.why.iter().map(|(why, count)| format!("{why} {count}")).collect::<Vec<_>>().join("; "),
        ]
    };
    let pages = report.pages.iter().flat_map(|page| [visits(page, "ipv4", &page.v4), visits(page, "ipv6", &page.v6)]);
    vec![
        table(
            "sites.csv",
            "site,name,owner,wave,phase,home,hits,unmapped,bots,hits_before",
            report.sites.iter().map(|row| {
                vec![
                    row.site.clone(),
                    row.name.clone(),
                    row.owner.clone(),
                    row.wave.map(|wave| wave.to_string()).unwrap_or_default(),
                    row.phase.to_owned(),
                    row.home.clone(),
                    row.hits.to_string(),
                    row.unmapped.to_string(),
                    row.bots.to_string(),
                    row.hits_before.to_string(),
                ]
            }),
        ),
        table(
            "pages.csv",
            "page,family,sites,owners,visits,failed,not_made,opened_percent,weeks_veto,weeks_passed,weeks_too_few,mean_ms,longest_ms,slow,why",
            pages,
        ),
        table(
            "days.csv",
            "day,hits,unmapped",
            report.days.iter().map(|row| vec![row.day.clone(), row.hits.to_string(), row.unmapped.to_string()]),
        ),
        table(
            "unmapped.csv",
            "site,url,hits,bots,referrer",
            report.unmapped.iter().chain(&report.unknown_hosts).map(|row| {
                vec![
                    row.site.clone(),
                    row.url.clone(),
                    row.hits.to_string(),
                    row.bots.to_string(),
                    row.referrer.clone(),
                ]
            }),
        ),
        table(
            "owners.csv",
            "rank,owner,score,sites,hits,unmapped,coverage_percent,visits,failed,availability_percent,vetoes,pages,ipv6_pages,hosts,covered_hosts,to_close,closed,rate_percent,kept,exempt",
            report.owners.iter().map(|row| {
                let sum = &row.summary;
                vec![
                    row.rank.to_string(),
                    row.owner.clone(),
                    share(row.score),
                    sum.sites.to_string(),
                    sum.hits.to_string(),
                    sum.unmapped.to_string(),
                    share(sum.coverage),
                    sum.visits.to_string(),
                    sum.failed.to_string(),
                    share(sum.availability),
                    sum.vetoes.to_string(),
                    sum.pages.to_string(),
                    sum.ipv6.to_string(),
                    sum.hosts.to_string(),
                    sum.covered_hosts.to_string(),
                    sum.to_close.to_string(),
                    sum.closed.to_string(),
                    share(Some(sum.rate)),
                    sum.kept.to_string(),
                    sum.exempt.to_string(),
                ]
            }),
        ),
        table(
            "hosts.csv",
            "host,site,certificate_until,days",
            report.hosts.iter().map(|row| {
                let until = row.until.and_then(|until| jiff::Timestamp::from_second(until).ok());
                vec![
                    row.host.clone(),
                    row.site.clone(),
                    until.map(|until| until.to_string()).unwrap_or_default(),
                    row.days.map(|days| days.to_string()).unwrap_or_default(),
                ]
            }),
        ),
        table(
            "dead_links.csv",
            "site,url,kind,detail,source",
            report.dead_links.iter().map(|row| {
                vec![row.site.clone(), row.url.clone(), row.kind.to_owned(), row.detail.clone(), row.source.clone()]
            }),
        ),
        table(
            "waves.csv",
            "wave,sites,to_close,closed,rate_percent,rate_before_percent",
            report.waves.iter().map(|row| {
                vec![
                    row.wave.map(|wave| wave.to_string()).unwrap_or_default(),
                    row.sites.to_string(),
                    row.to_close.to_string(),
                    row.closed.to_string(),
                    share(Some(row.rate)),
                    share(Some(row.rate_before)),
                ]
            }),
        ),
        table(
            "changes.csv",
            "day,site,name,phase",
            report
                .began
                .iter()
                .map(|row| vec![row.day.to_string(), row.site.clone(), row.name.clone(), row.phase.to_owned()]),
        ),
    ]
}

fn table(name: &'static str, columns: &str, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut text = format!("\u{FEFF}{columns}\r\n");
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
        text += &(cells.join(",") + "\r\n");
    }
    Table { name, text }
}

fn share(share: Option<u64>) -> String {
    share.map(|share| format!("{}.{:02}", share / 100, share % 100)).unwrap_or_default()
}

/// A field. What a spreadsheet would take for a formula gets an apostrophe: citizens have written some of it.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("@a,\"b\""), "\"'@a,\"\"b\"\"\"");
        assert_eq!(quoted("/a b"), "/a b");
        assert_eq!(
            (share(Some(9_512)), share(Some(10_000)), share(None)),
            ("95.12".to_owned(), "100.00".to_owned(), String::new())
        );
    }
}
