//! Batches into tables.

use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, any::AnyArguments, query::Query};

use super::counts::{Batch, SumRow, UrlRow};

/// Which batch it is: the numbers of a run's batches grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket<'a> {
    /// Of this process, and no other.
    pub run: &'a str,
    pub number: i64,
}

/// Adds a batch to the tables, all of it or nothing. One that is there already, because it was tried before and nobody
/// learnt how that ended, is not added again.
pub(super) async fn store(
    connection: &mut AnyConnection,
    ticket: Ticket<'_>,
    now: i64,
    batch: &Batch,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    // If an older try is still on its way, this waits for its end.
    let mark = sqlx::query(MARK).bind(ticket.run).bind(ticket.number).bind(now);
    if mark.execute(&mut *transaction).await?.rows_affected() == 0 {
        return transaction.rollback().await;
    }
    for rows in batch.sums.chunks(ROWS) {
        let sql = insert(SUMS, rows.len(), ADD_SUMS);
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(rows.len() == ROWS);
        rows.iter().fold(query, bind_sum).execute(&mut *transaction).await?;
    }
    for rows in batch.urls.chunks(ROWS) {
        let sql = insert(URLS, rows.len(), ADD_URLS);
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(rows.len() == ROWS);
        rows.iter().fold(query, bind_url).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

type Bound<'q> = Query<'q, Any, AnyArguments>;

fn bind_sum<'q>(query: Bound<'q>, row: &'q SumRow) -> Bound<'q> {
    query
        .bind(row.day.as_str())
        .bind(row.site.as_str())
        .bind(row.answer.outcome.name())
        .bind(i64::from(row.answer.status))
        .bind(i64::from(row.answer.unmapped))
        .bind(whole(row.tally.hits))
        .bind(whole(row.tally.bots))
}

fn bind_url<'q>(query: Bound<'q>, row: &'q UrlRow) -> Bound<'q> {
    query
        .bind(row.day.as_str())
        .bind(row.site.as_str())
        .bind(&*row.url)
        .bind(row.answer.outcome.name())
        .bind(i64::from(row.answer.status))
        .bind(i64::from(row.answer.unmapped))
        .bind(whole(row.seen.tally.hits))
        .bind(whole(row.seen.tally.bots))
        .bind(row.seen.first)
        .bind(row.seen.last)
        .bind(row.seen.referrer.host.as_str())
        .bind(whole(row.seen.referrer.votes))
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `INSERT INTO hits_sums (day, …) VALUES ($1, …), (…) ON CONFLICT …`.
fn insert(into: &str, rows: usize, add: &str) -> String {
    let columns = into.split(',').count();
    let row = |row: usize| {
        let values: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", values.join(","))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO {into} VALUES {} {add}", rows.join(","))
}

/// Rows of one statement: 2,400 values, where SQLite takes 32,766 and PostgreSQL 65,535.
const ROWS: usize = 200;

const MARK: &str = "INSERT INTO hits_batches (run, number, written) VALUES ($1, $2, $3)
    ON CONFLICT (run) DO UPDATE SET number = excluded.number, written = excluded.written
    WHERE hits_batches.number < excluded.number";

pub(super) const SUMS: &str = "hits_sums (day, site, outcome, status, unmapped, hits, bots)";

pub(super) const URLS: &str =
    "hits_urls (day, site, url, outcome, status, unmapped, hits, bots, first_seen, last_seen, referrer, referrals)";

/// Sums add up.
pub(super) const ADD_SUMS: &str = "ON CONFLICT (day, site, outcome, status, unmapped) DO UPDATE SET
    hits = hits_sums.hits + excluded.hits, bots = hits_sums.bots + excluded.bots";

/// So do URLs' counts. Majority votes are merged as Misra and Gries' summaries are: those for different hosts cancel out.
pub(super) const ADD_URLS: &str = "ON CONFLICT (day, site, url, outcome, status, unmapped) DO UPDATE SET
    hits = hits_urls.hits + excluded.hits,
    bots = hits_urls.bots + excluded.bots,
    first_seen = CASE WHEN excluded.first_seen < hits_urls.first_seen THEN excluded.first_seen ELSE hits_urls.first_seen END,
    last_seen = CASE WHEN excluded.last_seen > hits_urls.last_seen THEN excluded.last_seen ELSE hits_urls.last_seen END,
    referrer = CASE WHEN excluded.referrals > hits_urls.referrals THEN excluded.referrer ELSE hits_urls.referrer END,
    referrals = CASE WHEN excluded.referrer = hits_urls.referrer THEN hits_urls.referrals + excluded.referrals
        ELSE ABS(hits_urls.referrals - excluded.referrals) END";
