//! What was counted, for commands.

use std::io;

use jiff::civil::Date;
use sqlx::{AnyConnection, AssertSqlSafe, Executor, Row, any::AnyRow};
use tokio::runtime::{Builder, Runtime};

use super::database::{Access, HitsError, connect, fault};
use crate::config::HitsDatabase;

/// A connection to the database of hits that changes nothing; the gateway may go on writing. Blocks: not for threads that
/// serve requests.
#[derive(Debug)]
pub struct Reader {
    runtime: Runtime,
    connection: AnyConnection,
    database: HitsDatabase,
}

/// The days that are asked for, both included. Of what was added up to months, whole months are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first.
    pub since: Date,
    /// The last.
    pub until: Date,
}

/// Which hits are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// On which days.
    pub period: Period,
    /// Of this site only; empty for hosts that no site has.
    pub site: Option<&'a str>,
    /// Only where nothing says where the URL went.
    pub unmapped: bool,
    /// How many rows, those with the most hits.
    pub top: u32,
}

/// A sum of hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// All.
    pub hits: u64,
    /// Those of URLs of which nothing says where they went.
    pub unmapped: u64,
    /// Those by bots.
    pub bots: u64,
}

/// What hits can be added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Id of the site.
    Site,
    /// Day (`2026-11-23`) or month (`2026-11`).
    Day,
    /// Month (`2026-11`).
    Month,
    /// Kind of answer.
    Outcome,
    /// Host that most referrals to a URL came from, on each day; only those referrals count.
    Referrer,
}

/// Hits that have something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub name: String,
    /// How many.
    pub sum: Sum,
}

/// A URL, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlHits {
    /// Id of its site; empty for hosts that no site has.
    pub site: String,
    /// The canonical URL without its host, or the host that no site has.
    pub url: String,
    /// Kind of answer.
    pub outcome: String,
    /// Status; 0 if there was no answer.
    pub status: u16,
    /// Whether nothing says where it went.
    pub unmapped: bool,
    /// How often; perhaps more (see [`super`]).
    pub hits: u64,
    /// How often by bots.
    pub bots: u64,
    /// In Unix seconds.
    pub first_seen: i64,
    /// In Unix seconds.
    pub last_seen: i64,
    /// The host that most referrals came from; empty if none is known.
    pub referrer: String,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// If the database can't be reached, or nothing was ever written to it.
    pub fn open(database: &HitsDatabase) -> Result<Self, HitsError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let no_runtime = |error: io::Error| fault(database, &sqlx::Error::Io(error));
        let runtime = runtime.map_err(no_runtime)?;
        let connection = runtime.block_on(connect(database, Access::Read))?;
        Ok(Reader { runtime, connection, database: database.clone() })
    }

    /// All hits that fit. `top` is of no concern.
    ///
    /// # Errors
    /// If the database fails.
    pub fn sum(&mut self, query: &Query<'_>) -> Result<Sum, HitsError> {
        let sql = format!("SELECT {SUM} FROM hits_sums {}", Filter::new(query, Table::Sums).text);
        let rows = self.rows(sql, query, false)?;
        rows.first().map_or(Ok(Sum::default()), |row| self.told(sum_of(row, 0)))
    }

    /// Those of them that are counted for a URL. The others are of URLs that were too many, or too rare to be kept.
    ///
    /// # Errors
    /// If the database fails.
    pub fn named(&mut self, query: &Query<'_>) -> Result<u64, HitsError> {
        let sql = format!("SELECT {SUM} FROM hits_urls {}", Filter::new(query, Table::Urls).text);
        let rows = self.rows(sql, query, false)?;
        rows.first().map_or(Ok(0), |row| self.told(sum_of(row, 0)).map(|sum| sum.hits))
    }

    /// Hits added up: those with the most first, days in their order.
    ///
    /// # Errors
    /// If the database fails.
    pub fn groups(&mut self, query: &Query<'_>, by: By) -> Result<Vec<Group>, HitsError> {
        let (column, table) = match by {
            By::Site => ("site", Table::Sums),
            By::Day => ("day", Table::Sums),
            By::Month => (MONTH, Table::Sums),
            By::Outcome => ("outcome", Table::Sums),
            By::Referrer => ("referrer", Table::Urls),
        };
        let (sum, filter) = match by {
            By::Referrer => (REFERRALS, " AND referrer <> ''"),
            _ => (SUM, ""),
        };
        let order = if matches!(by, By::Day | By::Month) { "1" } else { "2 DESC, 1" };
        let Filter { text, next } = Filter::new(query, table);
        let sql = format!(
            "SELECT {column}, {sum} FROM {} {text}{filter} GROUP BY {column} ORDER BY {order} LIMIT ${next}",
            table.name()
        );
        let rows = self.rows(sql, query, true)?;
        let group = |row: &AnyRow| Ok(Group { name: row.try_get(0)?, sum: sum_of(row, 1)? });
        self.told(rows.iter().map(group).collect())
    }

    /// Hits added up by two things, in the order of both. Referrers are not known for sums.
    ///
    /// # Errors
    /// If the database fails.
    pub fn pairs(&mut self, query: &Query<'_>, by: By, and: By) -> Result<Vec<(String, String, Sum)>, HitsError> {
        let column = |by| match by {
            By::Site => "site",
            By::Day => "day",
            By::Month => MONTH,
            By::Outcome => "outcome",
            By::Referrer => "''",
        };
        let Filter { text, next } = Filter::new(query, Table::Sums);
        let sql = format!(
            "SELECT {}, {}, {SUM} FROM hits_sums {text} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT ${next}",
            column(by),
            column(and)
        );
        let rows = self.rows(sql, query, true)?;
        let pair = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?, sum_of(row, 2)?));
        self.told(rows.iter().map(pair).collect())
    }

    /// The URLs with the most hits, by how they were answered.
    ///
    /// # Errors
    /// If the database fails.
    pub fn urls(&mut self, query: &Query<'_>) -> Result<Vec<UrlHits>, HitsError> {
        let Filter { text, next } = Filter::new(query, Table::Urls);
        // The days of the site are named, so that a URL's rows are found by the index, which begins with the day.
        let sql = format!(
            "SELECT t.*, COALESCE((
                SELECT r.referrer FROM hits_urls AS r
                {text} AND r.day IN (SELECT s.day FROM hits_sums AS s WHERE s.site = t.site) AND r.site = t.site AND r.url = t.url AND r.outcome = t.outcome AND r.status = t.status
                    AND r.unmapped = t.unmapped AND r.referrer <> ''
                GROUP BY r.referrer ORDER BY SUM(r.referrals) DESC, r.referrer LIMIT 1
            ), '') FROM (
                SELECT site, url, outcome, status, unmapped, CAST(SUM(hits) AS BIGINT) AS hits,
                    CAST(SUM(bots) AS BIGINT), MIN(first_seen), MAX(last_seen)
                FROM hits_urls {text} GROUP BY site, url, outcome, status, unmapped
                ORDER BY hits DESC, site, url, outcome, status LIMIT ${next}
            ) AS t ORDER BY t.hits DESC, t.site, t.url, t.outcome, t.status"
        );
        let rows = self.rows(sql, query, true)?;
        let url = |row: &AnyRow| {
            Ok(UrlHits {
                site: row.try_get(0)?,
                url: row.try_get(1)?,
                outcome: row.try_get(2)?,
                status: u16::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                unmapped: row.try_get::<i64, _>(4)? != 0,
                hits: number(row, 5)?,
                bots: number(row, 6)?,
                first_seen: row.try_get(7)?,
                last_seen: row.try_get(8)?,
                referrer: row.try_get(9)?,
            })
        };
        self.told(rows.iter().map(url).collect())
    }

    fn rows(&mut self, sql: String, query: &Query<'_>, is_limited: bool) -> Result<Vec<AnyRow>, HitsError> {
        let Period { since, until } = query.period;
        let since = since.to_string();
        let month = since.get(..7).unwrap_or(&since).to_owned();
        let mut bound = sqlx::query(AssertSqlSafe(sql)).bind(month).bind(since).bind(until.to_string());
        if let Some(site) = query.site {
            bound = bound.bind(site.to_owned());
        }
        if is_limited {
            bound = bound.bind(i64::from(query.top));
        }
        let rows = self.runtime.block_on(self.connection.fetch_all(bound));
        self.told(rows)
    }

    fn told<T>(&self, result: sqlx::Result<T>) -> Result<T, HitsError> {
        result.map_err(|error| fault(&self.database, &error))
    }
}

#[derive(Clone, Copy)]
enum Table {
    Sums,
    Urls,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Sums => "hits_sums",
            Table::Urls => "hits_urls",
        }
    }
}

/// Which rows are looked at: `$1` is the first month, `$2` the first day, `$3` the last, `$4` the site if there is one.
struct Filter {
    text: String,
    /// The number of the next parameter.
    next: u8,
}

impl Filter {
    fn new(query: &Query<'_>, table: Table) -> Self {
        let mut text = String::from("WHERE day >= $1 AND (day >= $2 OR LENGTH(day) = 7) AND day <= $3");
        if query.site.is_some() {
            text.push_str(" AND site = $4");
            if let Table::Urls = table {
                // So that the index is of use, which begins with the day.
                text.push_str(" AND day IN (SELECT day FROM hits_sums WHERE site = $4)");
            }
        }
        if query.unmapped {
            text.push_str(" AND unmapped = 1");
        }
        Filter { text, next: if query.site.is_some() { 5 } else { 4 } }
    }
}

fn sum_of(row: &AnyRow, at: usize) -> sqlx::Result<Sum> {
    Ok(Sum { hits: number(row, at)?, unmapped: number(row, at + 1)?, bots: number(row, at + 2)? })
}

fn number(row: &AnyRow, at: usize) -> sqlx::Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
}

const SUM: &str = "CAST(COALESCE(SUM(hits), 0) AS BIGINT), CAST(COALESCE(SUM(hits * unmapped), 0) AS BIGINT),
    CAST(COALESCE(SUM(bots), 0) AS BIGINT)";

const MONTH: &str = "SUBSTR(day, 1, 7)";

const REFERRALS: &str = "CAST(SUM(referrals) AS BIGINT), CAST(SUM(referrals * unmapped) AS BIGINT), CAST(0 AS BIGINT)";
