//! What verification found, for who tells it: commands, metrics, the report.

use std::{collections::BTreeMap, io};

use sqlx::{AnyConnection, AssertSqlSafe, Executor, Row, any::AnyRow};
use tokio::runtime::{Builder, Runtime};

use super::kind::{Kind, Kinds};
use super::store::{RUN, Run, run_of};
use crate::config::HitsDatabase;
use crate::hits::{Access, HitsError, connect, fault};

/// A connection that changes nothing. Blocks: not for threads that serve requests.
#[derive(Debug)]
pub struct Results {
    runtime: Runtime,
    connection: AnyConnection,
    database: HitsDatabase,
}

/// What is known of the targets of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteResults {
    /// Targets that were looked at, at any time.
    pub targets: u64,
    /// Targets by what is wrong with them; one may be of several kinds.
    pub kinds: BTreeMap<Kind, u64>,
    /// Targets with which something is wrong ([`Kinds::findings`]).
    pub faulty: u64,
    /// When the last of them was looked at, in Unix seconds.
    pub last: i64,
}

/// A target, and what was seen of it when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Id of the site.
    pub site: String,
    /// The target.
    pub url: String,
    /// Its host.
    pub host: String,
    /// The line that names it: `county/jyj.csv:17`.
    pub source: String,
    /// What is wrong with it.
    pub kinds: Kinds,
    /// The same in words.
    pub detail: String,
    /// Status of the last answer; 0 if there was none.
    pub status: u16,
    /// Redirects that were followed.
    pub hops: u32,
    /// Where it leads, or last led; empty if that was never seen.
    pub landing: String,
    /// The title there.
    pub title: String,
    /// How long it took, in milliseconds, turns of the robot aside.
    pub millis: u64,
    /// When it was looked at, in Unix seconds.
    pub checked: i64,
}

impl Results {
    /// Connects.
    ///
    /// # Errors
    /// If the database can't be reached, or was never written to.
    pub fn open(database: &HitsDatabase) -> Result<Self, HitsError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error: io::Error| fault(database, &sqlx::Error::Io(error)))?;
        let connection = runtime.block_on(connect(database, Access::Read))?;
        Ok(Results { runtime, connection, database: database.clone() })
    }

    /// What is known of each site that was looked at.
    ///
    /// # Errors
    /// If the database fails.
    pub fn sites(&mut self) -> Result<BTreeMap<String, SiteResults>, HitsError> {
        let sql = "SELECT site, findings, CAST(COUNT(*) AS BIGINT), MAX(checked) FROM verify_targets
            WHERE checked > 0 GROUP BY site, findings";
        let mut sites: BTreeMap<String, SiteResults> = BTreeMap::new();
        for row in self.rows(sqlx::query(sql))? {
            let read = || -> sqlx::Result<(String, i64, i64, i64)> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            };
            let (site, findings, count, last) = self.told(read())?;
            let (kinds, count) = (Kinds::of_bits(findings), u64::try_from(count).unwrap_or_default());
            let sum = sites.entry(site).or_default();
            sum.targets += count;
            sum.last = sum.last.max(last);
            for kind in kinds.iter() {
                *sum.kinds.entry(kind).or_default() += count;
            }
            if kinds.iter().any(|kind| kind != Kind::Robots) {
                sum.faulty += count;
            }
        }
        Ok(sites)
    }

    /// Targets with which something of these kinds is wrong: of a site or of all, by site and URL, at most so many.
    ///
    /// # Errors
    /// If the database fails.
    pub fn findings(&mut self, site: Option<&str>, kinds: Kinds, most: u32) -> Result<Vec<Finding>, HitsError> {
        let of_site = if site.is_some() { "AND site = $3" } else { "" };
        let sql = format!(
            "SELECT site, url, host, source, findings, detail, status, hops, landing, title, millis, checked
            FROM verify_targets WHERE checked > 0 AND (findings & $1) <> 0 {of_site}
            ORDER BY site, host, url LIMIT $2"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(kinds.bits()).bind(i64::from(most));
        if let Some(site) = site {
            query = query.bind(site.to_owned());
        }
        let rows = self.rows(query)?;
        self.told(rows.iter().map(finding).collect())
    }

    /// Of each host: targets that were looked at, and those of a kind.
    ///
    /// # Errors
    /// If the database fails.
    pub fn hosts(&mut self, kind: Kind) -> Result<BTreeMap<String, (u64, u64)>, HitsError> {
        let sql = "SELECT host, CAST(COUNT(DISTINCT url) AS BIGINT),
            CAST(COUNT(DISTINCT CASE WHEN (findings & $1) <> 0 THEN url END) AS BIGINT)
            FROM verify_targets WHERE checked > 0 GROUP BY host";
        let rows = self.rows(sqlx::query(sql).bind(Kinds::from(kind).bits()))?;
        let host = |row: &AnyRow| {
            let (all, some): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
            Ok((row.try_get(0)?, (u64::try_from(all).unwrap_or_default(), u64::try_from(some).unwrap_or_default())))
        };
        self.told(rows.iter().map(host).collect())
    }

    /// The last runs, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn runs(&mut self, most: u32) -> Result<Vec<Run>, HitsError> {
        let sql = format!("SELECT {RUN} FROM verify_runs ORDER BY run DESC LIMIT $1");
        let rows = self.rows(sqlx::query(AssertSqlSafe(sql)).bind(i64::from(most)))?;
        self.told(rows.iter().map(run_of).collect())
    }

    fn rows(
        &mut self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
    ) -> Result<Vec<AnyRow>, HitsError> {
        match self.runtime.block_on(self.connection.fetch_all(query)) {
            // A version that knew nothing of it has made the database, and none has written since.
            Err(sqlx::Error::Database(error)) if is_absent(error.message()) => Ok(Vec::new()),
            rows => self.told(rows),
        }
    }

    fn told<T>(&self, result: sqlx::Result<T>) -> Result<T, HitsError> {
        result.map_err(|error| fault(&self.database, &error))
    }
}

/// Whether a database says that it has no such table.
fn is_absent(message: &str) -> bool {
    message.contains("verify_") && (message.contains("no such table") || message.contains("does not exist"))
}

fn finding(row: &AnyRow) -> sqlx::Result<Finding> {
    let number = |at: usize| row.try_get::<i64, _>(at).map(|number| u64::try_from(number).unwrap_or_default());
    Ok(Finding {
        site: row.try_get(0)?,
        url: row.try_get(1)?,
        host: row.try_get(2)?,
        source: row.try_get(3)?,
        kinds: Kinds::of_bits(row.try_get(4)?),
        detail: row.try_get(5)?,
        status: u16::try_from(number(6)?).unwrap_or_default(),
        hops: u32::try_from(number(7)?).unwrap_or_default(),
        landing: row.try_get(8)?,
        title: row.try_get(9)?,
        millis: number(10)?,
        checked: row.try_get(11)?,
    })
}
