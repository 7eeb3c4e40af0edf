//! Hits of a time.

use std::collections::BTreeMap;

use jiff::ToSpan;

use super::super::{DayRow, Length, Missing, Report, Span, UrlRow};
use super::{Hits, MOST_URLS, Selected, Times};
use crate::config::Gateway;
use crate::hits::{By, Calendar, HitsError, Period, Query, Reader};

pub(super) fn traffic(
    gateway: &Gateway,
    selected: &Selected<'_>,
    here: &Times<'_>,
    there: &Times<'_>,
    report: &mut Report,
) -> Result<(Hits, Hits), HitsError> {
    let none = || Ok((Hits::default(), Hits::default()));
    let reader = match &gateway.hits.database {
        None => Err(HitsError::Missing(String::new())),
        Some(database) => Reader::open(database),
    };
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(HitsError::Missing(_)) => {
            report.missing.push(Missing::Hits);
            return none();
        }
        Err(error) => return Err(error),
    };
    let mut calendar = Calendar::new(&gateway.hits);
    if there.span.since < calendar.days_ago(gateway.hits.keep_days) && here.span.length == Length::Week {
        report.missing.push(Missing::Days);
    }
    let all = |span: &Span| Query {
        period: Period { since: span.since, until: span.until },
        site: None,
        unmapped: false,
        top: u32::MAX,
    };
    let of = |reader: &mut Reader, span: &Span| -> Result<Hits, HitsError> {
        let mut hits = Hits::default();
        for group in reader.groups(&all(span), By::Site)? {
            if group.name.is_empty() {
                hits.unknown = if selected.all { group.sum.hits } else { 0 };
            } else if selected.has_site(&group.name) {
                hits.sites.insert(group.name, group.sum);
            }
        }
        Ok(hits)
    };
    let (hits, before) = (of(&mut reader, here.span)?, of(&mut reader, there.span)?);
    let bucket = if here.span.length == Length::Year { By::Month } else { By::Day };
    let mut days: BTreeMap<String, DayRow> = empty_days(here.span).map(|row| (row.day.clone(), row)).collect();
    for (day, site, sum) in reader.pairs(&all(here.span), bucket, By::Site)? {
        if selected.has_site(&site) {
            let row = days.entry(day.clone()).or_insert(DayRow { day, hits: 0, unmapped: 0 });
            row.hits += sum.hits;
            row.unmapped += sum.unmapped;
        }
    }
    report.days = days.into_values().collect();
    for (outcome, site, sum) in reader.pairs(&all(here.span), By::Outcome, By::Site)? {
        if selected.has_site(&site) {
            *report.outcomes.entry(outcome).or_default() += sum.hits;
        }
    }
    let mut urls = Vec::new();
    let query = Query { unmapped: true, top: MOST_URLS, ..all(here.span) };
    if selected.all {
        urls = reader.urls(&query)?;
        let unknown = reader.urls(&Query { site: Some(""), unmapped: false, ..query })?;
        report.unknown_hosts = unknown.into_iter().map(url_row).collect();
    } else {
        for (id, sum) in &hits.sites {
            if sum.unmapped > 0 {
                urls.extend(reader.urls(&Query { site: Some(id), ..query.clone() })?);
            }
        }
        urls.sort_by(|one, other| {
            other.hits.cmp(&one.hits).then_with(|| (&one.site, &one.url).cmp(&(&other.site, &other.url)))
        });
        urls.truncate(MOST_URLS as usize);
    }
    report.unmapped = urls.into_iter().filter(|row| !row.site.is_empty()).map(url_row).collect();
    Ok((hits, before))
}

/// Every day of a time, or every month of a year: one without hits is told too.
fn empty_days(span: &Span) -> impl Iterator<Item = DayRow> {
    let mut names: Vec<String> = Vec::new();
    let mut day = span.since;
    while day <= span.until {
        let name = day.to_string();
        let name = if span.length == Length::Year { name.get(..7).unwrap_or(&name).to_owned() } else { name };
        if names.last() != Some(&name) {
            names.push(name);
        }
        day = day.saturating_add(1.day());
    }
    names.into_iter().map(|day| DayRow { day, hits: 0, unmapped: 0 })
}

fn url_row(url: crate::hits::UrlHits) -> UrlRow {
    UrlRow { site: url.site, url: url.url, hits: url.hits, bots: url.bots, referrer: url.referrer }
}
