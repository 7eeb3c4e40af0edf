//! Visits of pages in a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{ToSpan, civil::Date};
use tokio::runtime;

use super::super::{Missing, PageRow, Report, Span};
use super::{Selected, Times};
use crate::config::Gateway;
use crate::hits::HitsError;
use crate::monitor::{DaySum, Family, Finding, History, Tally};

pub(super) fn visits(
    gateway: &Gateway,
    selected: &Selected<'_>,
    here: &Times<'_>,
    there: &Times<'_>,
    report: &mut Report,
) -> Result<(Vec<PageRow>, Vec<PageRow>), HitsError> {
    let Some(database) = &gateway.hits.database else {
        report.missing.push(Missing::Visits);
        return Ok((Vec::new(), Vec::new()));
    };
    let no_runtime = |error| HitsError::Missing(format!("no thread: {error}"));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let read = runtime.block_on(async {
        let mut history = History::read(database, &gateway.hits, gateway.monitor.slow).await?;
        // The last week may end after the time itself.
        let mut of = async |span: &Span| history.days(span.since, span.until.saturating_add(6.days())).await;
        Ok((of(here.span).await?, of(there.span).await?))
    });
    let (days, days_before): (Vec<DaySum>, Vec<DaySum>) = match read {
        Err(HitsError::Missing(_)) => (Vec::new(), Vec::new()),
        read => read?,
    };
    if days.iter().any(|sum| sum.day.len() == MONTH) {
        report.missing.push(Missing::Weeks);
    }
    let (pages, pages_before) = (pages(days, selected, here.span), pages(days_before, selected, there.span));
    if pages.is_empty() {
        report.missing.push(Missing::Visits);
    }
    Ok((pages, pages_before))
}

/// Pages of the sums of days.
fn pages(days: Vec<DaySum>, selected: &Selected<'_>, span: &Span) -> Vec<PageRow> {
    let weeks: Vec<(Date, Date)> = span.weeks().collect();
    let mut pages: BTreeMap<String, PageRow> = BTreeMap::new();
    let mut tallies: HashMap<(String, Family, usize), Tally> = HashMap::new();
    let (first, last) = (span.since.to_string(), span.until.to_string());
    for sum in days.into_iter().filter(|sum| selected.has_page(&sum.url)) {
        // Of what was added up to months, nobody knows the week.
        if let Ok(day) = sum.day.parse::<Date>()
            && let Some(week) = weeks.iter().position(|(monday, sunday)| (*monday..=*sunday).contains(&day))
        {
            let tally = tallies.entry((sum.url.clone(), sum.family, week)).or_default();
            *tally = tally.and(tally_of(&sum));
        }
        let is_month = sum.day.len() == MONTH && sum.day.as_str() >= &first[..7] && sum.day.as_str() <= &last[..7];
        if !is_month && !(first.as_str()..=last.as_str()).contains(&sum.day.as_str()) {
            continue;
        }
        let page = pages.entry(sum.url.clone()).or_insert_with(|| {
            let sites = selected.homes.get(sum.url.as_str()).map_or(&[][..], Vec::as_slice);
            let owners: BTreeSet<String> = sites.iter().filter_map(|site| site.owner.clone()).collect();
            PageRow {
                url: sum.url.clone(),
                sites: sites.len(),
                owners: owners.into_iter().collect(),
                ..PageRow::default()
            }
        });
        let visits = match sum.family {
            Family::V4 => &mut page.v4,
            Family::V6 => &mut page.v6,
        };
        let tally = tally_of(&sum);
        visits.made += tally.made;
        visits.failed += tally.failed;
        if !sum.finding.is_made() {
            visits.unmade += sum.visits;
        }
        if sum.finding == Finding::Open {
            visits.millis += sum.millis;
            visits.slow += sum.slow;
            visits.longest = visits.longest.max(sum.longest);
        } else {
            *visits.why.entry(sum.finding.name()).or_default() += sum.visits;
        }
    }
    for page in pages.values_mut() {
        for (family, visits) in [(Family::V4, &mut page.v4), (Family::V6, &mut page.v6)] {
            for (at, (monday, _)) in weeks.iter().enumerate() {
                if let Some(tally) = tallies.get(&(page.url.clone(), family, at)).filter(|tally| tally.made > 0) {
                    visits.weeks.push((monday.to_string(), tally.week().name()));
                }
            }
        }
    }
    pages.into_values().collect()
}

fn tally_of(sum: &DaySum) -> Tally {
    Tally {
        made: if sum.finding.is_made() { sum.visits } else { 0 },
        failed: if sum.finding.is_failure() { sum.visits } else { 0 },
    }
}

/// Length of `2026-11`: what was added up to a month.
const MONTH: usize = 7;
