//! Runs and results in the database of hits.
//!
//! A target is one row, whatever run looked at it last: results are those of the last look, and the table has as many rows
//! as there are targets. A run plans by marking rows as due; a row that was looked at is due no more. So a run that was
//! killed goes on with what is still due.

use std::{collections::HashSet, hash::BuildHasher};

use foldhash::quality::FixedState;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Executor, Row, any::AnyArguments, query::Query};

use super::kind::Kinds;
use crate::config::HitsDatabase;
use crate::hits::{Access, HitsError, connect, fault};

/// A target that shall be looked at, for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub site: String,
    pub host: String,
    pub url: String,
    /// The line of a file that names it.
    pub source: String,
}

/// A target that is still to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub url: String,
    pub site: String,
    /// Where it led last time, if it did.
    pub landing: String,
    /// The title that it had there.
    pub title: String,
}

/// What was seen of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub host: String,
    pub url: String,
    pub findings: Kinds,
    pub detail: String,
    pub status: u16,
    pub hops: u32,
    /// Where it led; empty if nowhere.
    pub landing: String,
    pub title: String,
    pub millis: u64,
    pub checked: i64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub run: i64,
    /// What was asked.
    pub question: String,
    /// When it began, in Unix seconds.
    pub started: i64,
    /// When it last wrote something.
    pub beat: i64,
    /// When it ended; 0 if it did not.
    pub ended: i64,
    /// Targets that it planned to look at; -1 while they are not all known.
    pub targets: i64,
}

/// The database, for who runs.
#[derive(Debug)]
pub(super) struct Book {
    connection: AnyConnection,
    database: HitsDatabase,
}

impl Book {
    pub async fn open(database: &HitsDatabase) -> Result<Self, HitsError> {
        let mut connection = connect(database, Access::Write).await?;
        if matches!(database, HitsDatabase::Sqlite(_)) {
            // A kill loses nothing, a power cut may lose the last results: they are looked at again.
            let setting = connection.execute("PRAGMA synchronous = NORMAL").await;
            setting.map_err(|error| fault(database, &error))?;
        }
        Ok(Book { connection, database: database.clone() })
    }

    /// The last run that did not end, of a question if one is given.
    pub async fn unfinished(&mut self, question: Option<&str>) -> Result<Option<Run>, HitsError> {
        let sql = format!("SELECT {RUN} FROM verify_runs WHERE ended = 0 ORDER BY run DESC LIMIT 100");
        let rows = self.connection.fetch_all(sqlx::query(AssertSqlSafe(sql))).await;
        let runs = rows.and_then(|rows| rows.iter().map(run_of).collect::<sqlx::Result<Vec<Run>>>());
        let runs = runs.map_err(|error| self.fault(&error))?;
        Ok(runs.into_iter().find(|run| question.is_none_or(|question| run.question == question)))
    }

    /// Reads a run again.
    pub async fn run(&mut self, run: i64) -> Result<Option<Run>, HitsError> {
        let sql = format!("SELECT {RUN} FROM verify_runs WHERE run = $1");
        let row = self.connection.fetch_optional(sqlx::query(AssertSqlSafe(sql)).bind(run)).await;
        let run = row.and_then(|row| row.as_ref().map(run_of).transpose());
        run.map_err(|error| self.fault(&error))
    }

    /// A new run. Unfinished ones of the same question are given up.
    pub async fn begin(&mut self, question: &str, now: i64) -> Result<i64, HitsError> {
        let result = async {
            let mut transaction = self.connection.begin().await?;
            sqlx::query("UPDATE verify_runs SET ended = $1 WHERE ended = 0 AND question = $2")
                .bind(now)
                .bind(question)
                .execute(&mut *transaction)
                .await?;
            let sql = "INSERT INTO verify_runs (run, question, started, beat, ended, targets)
                SELECT COALESCE(MAX(run), 0) + 1, $1, $2, $2, 0, -1 FROM verify_runs";
            sqlx::query(sql).bind(question).bind(now).execute(&mut *transaction).await?;
            let row = sqlx::query("SELECT MAX(run) FROM verify_runs").fetch_one(&mut *transaction).await?;
            let run = row.try_get(0)?;
            transaction.commit().await?;
            Ok(run)
        };
        result.await.map_err(|error| fault(&self.database, &error))
    }

    /// Marks targets as due.
    pub async fn plan(&mut self, run: i64, targets: &[Planned]) -> Result<(), HitsError> {
        let result = async {
            let mut transaction = self.connection.begin().await?;
            for target in targets {
                sqlx::query(PLAN)
                    .bind(target.host.as_str())
                    .bind(target.url.as_str())
                    .bind(target.site.as_str())
                    .bind(run)
                    .bind(target.source.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        result.await.map_err(|error| fault(&self.database, &error))
    }

    /// Forgets targets that a site has no more. `known` has the hashes ([`hash`]) of those that it has.
    pub async fn forget(&mut self, run: i64, site: &str, known: &HashSet<u64>) -> Result<(), HitsError> {
        let sql = "SELECT host, url FROM verify_targets WHERE site = $1 AND due <> $2";
        let rows = self.connection.fetch_all(sqlx::query(sql).bind(site).bind(run)).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        let result = async {
            let mut transaction = self.connection.begin().await?;
            for row in rows {
                let (host, url): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                if !known.contains(&hash(&url)) {
                    sqlx::query("DELETE FROM verify_targets WHERE host = $1 AND url = $2 AND site = $3")
                        .bind(host)
                        .bind(url)
                        .bind(site)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            transaction.commit().await
        };
        result.await.map_err(|error| fault(&self.database, &error))
    }

    /// Forgets sites that are no more.
    pub async fn forget_sites(&mut self, is_known: impl Fn(&str) -> bool) -> Result<(), HitsError> {
        let result = async {
            let rows = self.connection.fetch_all("SELECT DISTINCT site FROM verify_targets").await?;
            for row in rows {
                let site: String = row.try_get(0)?;
                if !is_known(&site) {
                    sqlx::query("DELETE FROM verify_targets WHERE site = $1")
                        .bind(site)
                        .execute(&mut self.connection)
                        .await?;
                }
            }
            Ok(())
        };
        result.await.map_err(|error| fault(&self.database, &error))
    }

    /// All targets of a run are planned. How many URLs that is.
    pub async fn planned(&mut self, run: i64) -> Result<u64, HitsError> {
        let due = self.hosts(run).await?.iter().map(|(_, due)| due).sum();
        let count = i64::try_from(due).unwrap_or(i64::MAX);
        let query = sqlx::query("UPDATE verify_runs SET targets = $1 WHERE run = $2").bind(count).bind(run);
        query.execute(&mut self.connection).await.map_err(|error| fault(&self.database, &error))?;
        Ok(due)
    }

    /// Hosts that are still to be asked, and for how many URLs.
    pub async fn hosts(&mut self, run: i64) -> Result<Vec<(String, u64)>, HitsError> {
        let sql = "SELECT host, CAST(COUNT(DISTINCT url) AS BIGINT) FROM verify_targets WHERE due = $1
            GROUP BY host ORDER BY 2 DESC, 1";
        let rows = self.connection.fetch_all(sqlx::query(sql).bind(run)).await;
        let hosts = rows.and_then(|rows| {
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.max(0) as u64))).collect()
        });
        hosts.map_err(|error| self.fault(&error))
    }

    /// The next targets of a host, in the order of their URLs.
    pub async fn pull(&mut self, run: i64, host: &str, after: &str, most: usize) -> Result<Vec<Due>, HitsError> {
        let sql = "SELECT url, MIN(site), MAX(landing), MAX(title) FROM verify_targets
            WHERE due = $1 AND host = $2 AND url > $3 GROUP BY url ORDER BY url LIMIT $4";
        let query = sqlx::query(sql).bind(run).bind(host).bind(after).bind(most as i64);
        let rows = self.connection.fetch_all(query).await;
        let due = rows.and_then(|rows| {
            let due = |row: &sqlx::any::AnyRow| {
                Ok(Due {
                    url: row.try_get(0)?,
                    site: row.try_get(1)?,
                    landing: row.try_get(2)?,
                    title: row.try_get(3)?,
                })
            };
            rows.iter().map(due).collect()
        });
        due.map_err(|error| self.fault(&error))
    }

    /// Writes down what was seen, for each site that has the target. When this returns, it is done.
    pub async fn record(&mut self, run: i64, now: i64, seen: &[Seen]) -> Result<(), HitsError> {
        let result = async {
            let mut transaction = self.connection.begin().await?;
            for seen in seen {
                bind(sqlx::query(RECORD), run, seen).execute(&mut *transaction).await?;
            }
            let beat = sqlx::query("UPDATE verify_runs SET beat = $1 WHERE run = $2").bind(now).bind(run);
            beat.execute(&mut *transaction).await?;
            transaction.commit().await
        };
        result.await.map_err(|error| fault(&self.database, &error))
    }

    /// The run is over. Runs that are long over are forgotten.
    pub async fn end(&mut self, run: i64, now: i64) -> Result<(), HitsError> {
        let result = async {
            let end = sqlx::query("UPDATE verify_runs SET ended = $1, beat = $1 WHERE run = $2").bind(now).bind(run);
            end.execute(&mut self.connection).await?;
            sqlx::query("DELETE FROM verify_runs WHERE run <= $1").bind(run - RUNS).execute(&mut self.connection).await
        };
        result.await.map(|_| ()).map_err(|error| fault(&self.database, &error))
    }

    fn fault(&self, error: &sqlx::Error) -> HitsError {
        fault(&self.database, error)
    }
}

fn bind<'q>(query: Query<'q, Any, AnyArguments>, run: i64, seen: &'q Seen) -> Query<'q, Any, AnyArguments> {
    query
        .bind(seen.host.as_str())
        .bind(seen.url.as_str())
        .bind(run)
        .bind(seen.checked)
        .bind(seen.findings.bits())
        .bind(seen.detail.as_str())
        .bind(i64::from(seen.status))
        .bind(i64::from(seen.hops))
        .bind(seen.landing.as_str())
        .bind(seen.title.as_str())
        .bind(i64::try_from(seen.millis).unwrap_or(i64::MAX))
}

pub(super) fn run_of(row: &sqlx::any::AnyRow) -> sqlx::Result<Run> {
    Ok(Run {
        run: row.try_get(0)?,
        question: row.try_get(1)?,
        started: row.try_get(2)?,
        beat: row.try_get(3)?,
        ended: row.try_get(4)?,
        targets: row.try_get(5)?,
    })
}

/// A hash of a URL, the same in each run of the program.
pub(super) fn hash(url: &str) -> u64 {
    FixedState::with_seed(0).hash_one(url)
}

pub(super) const RUN: &str = "run, question, started, beat, ended, targets";

const PLAN: &str = "INSERT INTO verify_targets (host, url, site, due, run, checked, source, findings, detail, status,
        hops, landing, title, millis)
    VALUES ($1, $2, $3, $4, 0, 0, $5, 0, '', 0, 0, '', '', 0)
    ON CONFLICT (host, url, site) DO UPDATE SET due = excluded.due, source = excluded.source";

/// Where nothing was seen, what was seen last is kept to be compared with.
const RECORD: &str =
    "UPDATE verify_targets SET due = 0, run = $3, checked = $4, findings = $5, detail = $6, status = $7,
        hops = $8, landing = CASE WHEN $9 = '' THEN landing ELSE $9 END,
        title = CASE WHEN $10 = '' THEN title ELSE $10 END, millis = $11
    WHERE host = $1 AND url = $2 AND due = $3";

/// Runs that are remembered.
const RUNS: i64 = 1000;
