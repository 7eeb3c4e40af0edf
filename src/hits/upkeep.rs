//! What is kept of hits, and for how long.

use jiff::{ToSpan, civil::Date};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};

use super::database::LOCK;
use super::store::{ADD_SUMS, ADD_URLS, SUMS, URLS};
use crate::config::HitsSettings;

/// Adds days that are old enough up to months, and removes old months. To be done once a day; several gateways may do it at
/// the same time.
pub(super) async fn keep_house(
    connection: &mut AnyConnection,
    settings: &HitsSettings,
    today: Date,
) -> sqlx::Result<()> {
    let first_day = today.saturating_sub(i64::from(settings.keep_days).days()).to_string();
    loop {
        let mut transaction = connection.begin().await?;
        // Two gateways would each add a day to its month.
        transaction.execute(LOCK).await?;
        let oldest = sqlx::query(OLDEST_DAY).bind(&first_day).fetch_one(&mut *transaction).await?;
        let Some(day) = oldest.try_get::<Option<String>, _>(0)? else { break };
        for (table, add) in [(SUMS, ADD_SUMS), (URLS, ADD_URLS)] {
            let (name, columns) = table.split_once(' ').unwrap_or((table, ""));
            let others = columns.trim_matches(['(', ')']).trim_start_matches("day, ");
            let up = format!("INSERT INTO {table} SELECT SUBSTR(day, 1, 7), {others} FROM {name} WHERE day = $1 {add}");
            sqlx::query(AssertSqlSafe(up)).bind(&day).execute(&mut *transaction).await?;
            let away = format!("DELETE FROM {name} WHERE day = $1");
            sqlx::query(AssertSqlSafe(away)).bind(&day).execute(&mut *transaction).await?;
        }
        let month = day.get(..7).unwrap_or(&day);
        for site in crowded(&mut transaction, month, settings.rows).await? {
            trim(&mut transaction, month, &site, settings.rows).await?;
        }
        transaction.commit().await?;
    }
    let month = today.saturating_sub(i64::from(settings.keep_months).months()).to_string();
    for statement in [
        "DELETE FROM hits_sums WHERE day < $1 AND LENGTH(day) = 7",
        "DELETE FROM hits_urls WHERE day < $1 AND LENGTH(day) = 7",
    ] {
        sqlx::query(statement).bind(month.get(..7).unwrap_or(&month)).execute(&mut *connection).await?;
    }
    let now = jiff::Timestamp::now().as_second();
    sqlx::query("DELETE FROM hits_batches WHERE written < $1").bind(now - RUNS_KEPT).execute(connection).await?;
    Ok(())
}

/// Sites with more URLs than are kept of a day or month.
async fn crowded(connection: &mut AnyConnection, day: &str, rows: u32) -> sqlx::Result<Vec<String>> {
    let query = sqlx::query("SELECT site FROM hits_urls WHERE day = $1 GROUP BY site HAVING COUNT(*) > $2");
    let sites = query.bind(day).bind(i64::from(rows)).fetch_all(connection).await?;
    sites.iter().map(|row| row.try_get(0)).collect()
}

/// Keeps the URLs with the most hits of a site on a day or in a month.
pub(super) async fn trim(connection: &mut AnyConnection, day: &str, site: &str, rows: u32) -> sqlx::Result<()> {
    sqlx::query(TRIM).bind(day).bind(site).bind(i64::from(rows)).execute(connection).await?;
    Ok(())
}

const OLDEST_DAY: &str = "SELECT MIN(day) FROM (
    SELECT MIN(day) AS day FROM hits_sums WHERE day < $1 AND LENGTH(day) = 10
    UNION ALL SELECT MIN(day) AS day FROM hits_urls WHERE day < $1 AND LENGTH(day) = 10
) AS days";

const TRIM: &str = "DELETE FROM hits_urls WHERE day = $1 AND site = $2 AND (url, outcome, status, unmapped) NOT IN (
    SELECT url, outcome, status, unmapped FROM hits_urls WHERE day = $1 AND site = $2
    ORDER BY hits DESC, url LIMIT $3
)";

/// Seconds for which it is known what a run has written: no gateway tries a batch for that long.
const RUNS_KEPT: i64 = 30 * 86_400;
