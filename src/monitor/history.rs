//! What is remembered of visits, in the database of hits.
//!
//! A visit is claimed by a row without a result, so that one node of a fleet makes it. When it is done, its row gets the result
//! and the day's sum grows, in one transaction. Rows are kept for some days, sums as long as those of hits.

use std::time::Duration;

use jiff::{ToSpan, civil::Date};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row, any::AnyRow};

use super::{Due, Family, Finding, Tally, Visit, WEEK};
use crate::config::{HitsDatabase, HitsSettings};
use crate::hits::{Access, Calendar, HitsError, connect, fault, place};

/// A connection to the history. Not for threads that serve requests.
pub struct History {
    connection: AnyConnection,
    database: HitsDatabase,
    calendar: Calendar,
    keep_days: u32,
    keep_months: u32,
    slow: i64,
}

/// What is known of a page by one family, of the seven days until now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Week {
    /// Visits and failures.
    pub tally: Tally,
    /// Visits that were tried, of which nothing was learnt: there was no address, or no network.
    pub unmade: u64,
    /// Of them, those because the page has no address of the family.
    pub no_address: u64,
    /// The first moment at which a visit was due, in Unix seconds; 0 if none was.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// What the last one found.
    pub now: Option<Finding>,
    /// Milliseconds that the visits took by which the page opened, added up.
    pub millis: u64,
    /// Milliseconds of the last of them.
    pub last_millis: u64,
    /// Of them, those that took longer than they should.
    pub slow: u64,
}

/// Visits of a page by one family on one day (or in a month, where days are not kept any more), that found the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaySum {
    /// `2026-11-23`, or `2026-11`.
    pub day: String,
    /// The page's URL.
    pub url: String,
    /// By which family.
    pub family: Family,
    /// What they found.
    pub finding: Finding,
    /// How many.
    pub visits: u64,
    /// Milliseconds that they took, added up.
    pub millis: u64,
    /// Those that took longer than they should.
    pub slow: u64,
    /// Milliseconds that the longest took.
    pub longest: u64,
}

impl History {
    /// Connects. To write, tables are made where they are missing; to read, they must be there.
    ///
    /// # Errors
    /// If the database can't be reached.
    async fn open(
        database: &HitsDatabase,
        settings: &HitsSettings,
        slow: Duration,
        access: Access,
    ) -> Result<Self, HitsError> {
        let mut connection = connect(database, access).await?;
        // An earlier version may have made the database.
        if access == Access::Read && sqlx::query(IS_THERE).fetch_optional(&mut connection).await.is_err() {
            return Err(HitsError::Missing(place(database)));
        }
        Ok(History {
            connection,
            database: database.clone(),
            calendar: Calendar::new(settings),
            keep_days: settings.keep_days,
            keep_months: settings.keep_months,
            slow: i64::try_from(slow.as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// Connects, to write.
    ///
    /// # Errors
    /// If the database can't be reached.
    pub async fn write(database: &HitsDatabase, settings: &HitsSettings, slow: Duration) -> Result<Self, HitsError> {
        Self::open(database, settings, slow, Access::Write).await
    }

    /// Connects, to read.
    ///
    /// # Errors
    /// If the database can't be reached, or nothing was ever written to it.
    pub async fn read(database: &HitsDatabase, settings: &HitsSettings, slow: Duration) -> Result<Self, HitsError> {
        Self::open(database, settings, slow, Access::Read).await
    }

    /// Claims visits: gives back those that no other node has claimed.
    ///
    /// # Errors
    /// If the database fails; then none is claimed.
    pub async fn claim(&mut self, due: Vec<Due>) -> Result<Vec<Due>, HitsError> {
        let claimed = claim(&mut self.connection, due).await;
        self.told(claimed)
    }

    /// Writes what came of visits that were claimed. One that is written already is not written again.
    ///
    /// # Errors
    /// If the database fails; then none is written, or nobody knows: they may be written again.
    pub async fn finish(&mut self, done: &[(Due, Visit)]) -> Result<(), HitsError> {
        let days: Vec<String> = done.iter().map(|(due, _)| self.calendar.day(due.at).to_string()).collect();
        let finished = finish(&mut self.connection, done, &days, self.slow).await;
        self.told(finished)
    }

    /// What is known of each page that was visited in the seven days until `now`, by URL and family.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn week(&mut self, now: i64) -> Result<Vec<(String, Family, Week)>, HitsError> {
        let found = week(&mut self.connection, now, self.slow).await;
        self.told(found)
    }

    /// The sums of the days from `since` to `until`, both included; of what was added up to months, whole months.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn days(&mut self, since: Date, until: Date) -> Result<Vec<DaySum>, HitsError> {
        let since = since.to_string();
        let month = since.get(..7).unwrap_or(&since).to_owned();
        let query = sqlx::query(DAYS).bind(month).bind(since).bind(until.to_string());
        let rows = query.fetch_all(&mut self.connection).await;
        let sums = rows.and_then(|rows| rows.iter().filter_map(|row| day_sum(row).transpose()).collect());
        self.told(sums)
    }

    /// Removes what is too old, and adds old days up to months. To be done once a day.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tidy(&mut self, now: i64) -> Result<(), HitsError> {
        let today = self.calendar.day(now);
        let tidied = tidy(&mut self.connection, now, today, self.keep_days, self.keep_months).await;
        self.told(tidied)
    }

    fn told<T>(&self, result: sqlx::Result<T>) -> Result<T, HitsError> {
        result.map_err(|error| fault(&self.database, &error))
    }
}

async fn claim(connection: &mut AnyConnection, due: Vec<Due>) -> sqlx::Result<Vec<Due>> {
    let mut ours = Vec::new();
    if due.is_empty() {
        return Ok(ours);
    }
    let mut transaction = connection.begin().await?;
    for due in due {
        let row = sqlx::query(CLAIM).bind(due.page.id()).bind(due.family.number()).bind(due.at);
        if row.execute(&mut *transaction).await?.rows_affected() > 0 {
            let page = sqlx::query(NAME).bind(due.page.id()).bind(due.page.url().as_str().to_owned());
            page.execute(&mut *transaction).await?;
            ours.push(due);
        }
    }
    transaction.commit().await?;
    Ok(ours)
}

async fn finish(connection: &mut AnyConnection, done: &[(Due, Visit)], days: &[String], slow: i64) -> sqlx::Result<()> {
    if done.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    for ((due, visit), day) in done.iter().zip(days) {
        let millis = i64::try_from(visit.took.as_millis()).unwrap_or(i64::MAX);
        let (page, family) = (due.page.id(), due.family.number());
        let row = sqlx::query(FINISH).bind(visit.finding.name()).bind(i64::from(visit.status)).bind(millis);
        let row = row.bind(page).bind(family).bind(due.at).execute(&mut *transaction).await?;
        if row.rows_affected() > 0 {
            let is_slow = visit.finding == Finding::Open && millis > slow;
            let sum = sqlx::query(AssertSqlSafe(format!("{ADD} {MERGE}")));
            let sum = sum.bind(day.as_str()).bind(page).bind(family).bind(visit.finding.name());
            sum.bind(millis).bind(i64::from(is_slow)).bind(millis).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await
}

async fn week(connection: &mut AnyConnection, now: i64, slow: i64) -> sqlx::Result<Vec<(String, Family, Week)>> {
    let sums = sqlx::query(WEEK_SUMS).bind(now - WEEK).bind(now).bind(slow).fetch_all(&mut *connection).await?;
    let mut weeks: Vec<(String, Family, Week)> = Vec::new();
    for row in &sums {
        let (url, finding): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        // Tables of a later version may have findings that we don't know.
        let (Some(family), Some(finding)) = (Family::of(row.try_get(1)?), Finding::of(&finding)) else { continue };
        if !weeks.last().is_some_and(|(last, by, _)| *last == url && *by == family) {
            weeks.push((url, family, Week::default()));
        }
        let Some((_, _, week)) = weeks.last_mut() else { continue };
        let visits = number(row, 3)?;
        let (first, last): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
        if finding.is_made() {
            week.tally.made += visits;
        } else {
            week.unmade += visits;
        }
        match finding {
            Finding::Open => {
                week.millis += number(row, 6)?;
                week.slow += number(row, 7)?;
                week.last_millis = number(row, 8)?;
            }
            Finding::NoAddress => week.no_address += visits,
            finding if finding.is_failure() => week.tally.failed += visits,
            _ => {}
        }
        if last >= week.last {
            (week.last, week.now) = (last, Some(finding));
        }
        week.first = if week.first == 0 { first } else { week.first.min(first) };
    }
    Ok(weeks)
}

async fn tidy(
    connection: &mut AnyConnection,
    now: i64,
    today: Date,
    keep_days: u32,
    keep_months: u32,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM monitor_visits WHERE due < $1").bind(now - VISITS_KEPT).execute(&mut *connection).await?;
    let first_day = today.saturating_sub(i64::from(keep_days).days()).to_string();
    let first_month = today.saturating_sub(i64::from(keep_months).months()).to_string();
    let mut transaction = connection.begin().await?;
    // Two gateways would each add a day to its month.
    transaction.execute(crate::hits::LOCK).await?;
    sqlx::query(AssertSqlSafe(format!("{INTO_MONTHS} {MERGE}"))).bind(&first_day).execute(&mut *transaction).await?;
    let away = "DELETE FROM monitor_days WHERE day < $1 AND LENGTH(day) = 10";
    sqlx::query(away).bind(&first_day).execute(&mut *transaction).await?;
    let away = "DELETE FROM monitor_days WHERE day < $1 AND LENGTH(day) = 7";
    sqlx::query(away).bind(first_month.get(..7).unwrap_or(&first_month)).execute(&mut *transaction).await?;
    let away = "DELETE FROM monitor_pages WHERE id NOT IN (SELECT page FROM monitor_days)
        AND id NOT IN (SELECT page FROM monitor_visits)";
    sqlx::query(away).execute(&mut *transaction).await?;
    transaction.commit().await
}

fn day_sum(row: &AnyRow) -> sqlx::Result<Option<DaySum>> {
    let finding: String = row.try_get(3)?;
    let (Some(family), Some(finding)) = (Family::of(row.try_get(2)?), Finding::of(&finding)) else { return Ok(None) };
    Ok(Some(DaySum {
        day: row.try_get(0)?,
        url: row.try_get(1)?,
        family,
        finding,
        visits: number(row, 4)?,
        millis: number(row, 5)?,
        slow: number(row, 6)?,
        longest: number(row, 7)?,
    }))
}

fn number(row: &AnyRow, at: usize) -> sqlx::Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
}

/// Seconds that single visits are kept: the week that is judged, and as long again.
const VISITS_KEPT: i64 = 2 * WEEK;

const IS_THERE: &str = "SELECT id FROM monitor_pages LIMIT 1";

const CLAIM: &str =
    "INSERT INTO monitor_visits (page, family, due, result, status, millis) VALUES ($1, $2, $3, '', 0, 0)
    ON CONFLICT (page, family, due) DO NOTHING";

const NAME: &str = "INSERT INTO monitor_pages (id, url) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";

const FINISH: &str = "UPDATE monitor_visits SET result = $1, status = $2, millis = $3
    WHERE page = $4 AND family = $5 AND due = $6 AND result = ''";

const ADD: &str = "INSERT INTO monitor_days (day, page, family, result, visits, millis, slow, longest)
    VALUES ($1, $2, $3, $4, 1, $5, $6, $7)";

/// Sums add up.
const MERGE: &str = "ON CONFLICT (day, page, family, result) DO UPDATE SET
    visits = monitor_days.visits + excluded.visits, millis = monitor_days.millis + excluded.millis,
    slow = monitor_days.slow + excluded.slow,
    longest = CASE WHEN excluded.longest > monitor_days.longest THEN excluded.longest ELSE monitor_days.longest END";

const INTO_MONTHS: &str = "INSERT INTO monitor_days (day, page, family, result, visits, millis, slow, longest)
    SELECT SUBSTR(day, 1, 7), page, family, result, CAST(SUM(visits) AS BIGINT), CAST(SUM(millis) AS BIGINT),
        CAST(SUM(slow) AS BIGINT), MAX(longest)
    FROM monitor_days WHERE day < $1 AND LENGTH(day) = 10 GROUP BY SUBSTR(day, 1, 7), page, family, result";

const WEEK_SUMS: &str = "SELECT p.url, s.family, s.result, s.visits, s.first, s.last, s.millis, s.slow, COALESCE((
        SELECT v.millis FROM monitor_visits AS v WHERE v.page = s.page AND v.family = s.family AND v.due = s.last
    ), 0) FROM (
        SELECT page, family, result, COUNT(*) AS visits, MIN(due) AS first, MAX(due) AS last,
            CAST(SUM(millis) AS BIGINT) AS millis, CAST(SUM(CASE WHEN millis > $3 THEN 1 ELSE 0 END) AS BIGINT) AS slow
        FROM monitor_visits WHERE due > $1 AND due <= $2 AND result <> '' GROUP BY page, family, result
    ) AS s JOIN monitor_pages AS p ON p.id = s.page ORDER BY p.url, s.family, s.result";

const DAYS: &str = "SELECT d.day, p.url, d.family, d.result, d.visits, d.millis, d.slow, d.longest
    FROM monitor_days AS d JOIN monitor_pages AS p ON p.id = d.page
    WHERE d.day >= $1 AND (d.day >= $2 OR LENGTH(d.day) = 7) AND d.day <= $3
    ORDER BY p.url, d.family, d.day, d.result";
