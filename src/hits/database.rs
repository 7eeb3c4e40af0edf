//! The database: connections, and the tables that it has.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use log::LevelFilter;
use sqlx::{
    AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Executor, Row,
    any::{AnyConnectOptions, install_default_drivers},
};
use tokio::time::timeout;

use crate::config::HitsDatabase;

/// Why the database of hits is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HitsError {
    /// It can't be reached, or refuses. The system, the server or the configuration is at fault.
    #[error("the database of hits {place} ([hits] database) {why}")]
    Database {
        /// The file or the server.
        place: String,
        /// What it says.
        why: String,
    },
    /// The file with its password can't be read. The configuration is at fault.
    #[error("the password of the database of hits can't be read from {} ([hits] password-file): {reason}", .path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// There is none yet.
    #[error("there are no hits yet: {0} is not there, or nothing was written to it")]
    Missing(String),
    /// A later version of the program has been there.
    #[error(
        "the database of hits {place} was made by a later version of waypost (tables {version}; known are those up to {KNOWN})"
    )]
    Newer {
        /// The file or the server.
        place: String,
        /// Version of its tables.
        version: i64,
    },
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Tables are made where they are missing.
    Write,
    /// Nothing is changed.
    Read,
}

/// How a database is named to people: it has no password.
pub(crate) fn place(database: &HitsDatabase) -> String {
    match database {
        HitsDatabase::Sqlite(path) => path.display().to_string(),
        HitsDatabase::Postgres { url, .. } => url.clone(),
    }
}

/// An error of the driver's, for people.
pub(crate) fn fault(database: &HitsDatabase, error: &sqlx::Error) -> HitsError {
    let why = match error {
        sqlx::Error::Database(error) => format!("says: {error}"),
        sqlx::Error::Io(error) => format!("can't be reached: {error}"),
        other => format!("can't be used: {other}"),
    };
    HitsError::Database { place: place(database), why }
}

/// Connects.
pub(crate) async fn connect(database: &HitsDatabase, access: Access) -> Result<AnyConnection, HitsError> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(install_default_drivers);
    let fault = |error: sqlx::Error| fault(database, &error);
    if let (HitsDatabase::Sqlite(path), Access::Read) = (database, access)
        && !path.exists()
    {
        return Err(HitsError::Missing(place(database)));
    }
    // What it does is no concern of the gateway's log.
    let options: AnyConnectOptions = url(database, access)?.parse().map_err(fault)?;
    let options = options.log_statements(LevelFilter::Off).log_slow_statements(LevelFilter::Off, Duration::ZERO);
    let slow = || HitsError::Database {
        place: place(database),
        why: format!("does not answer within {} seconds", PATIENCE.as_secs()),
    };
    let connecting = async {
        let mut connection = options.connect().await.map_err(fault)?;
        let is_sqlite = matches!(database, HitsDatabase::Sqlite(_));
        if access == Access::Write {
            if is_sqlite {
                connection.execute(SETTINGS).await.map_err(fault)?;
            }
            migrate(&mut connection, is_sqlite).await.map_err(fault)?;
        } else if is_sqlite {
            connection.execute(READING).await.map_err(fault)?;
        }
        match version(&mut connection).await {
            Ok(version) if version > KNOWN => Err(HitsError::Newer { place: place(database), version }),
            Ok(_) => Ok(connection),
            // No tables.
            Err(sqlx::Error::Database(_)) if access == Access::Read => Err(HitsError::Missing(place(database))),
            Err(error) => Err(fault(error)),
        }
    };
    timeout(PATIENCE, connecting).await.map_err(|_| slow())?
}

/// As the driver wants it.
fn url(database: &HitsDatabase, access: Access) -> Result<String, HitsError> {
    match database {
        HitsDatabase::Sqlite(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let mode = if access == Access::Write { "rwc" } else { "ro" };
            Ok(format!("sqlite://{}?mode={mode}", escape(&path.to_string_lossy(), b"/")))
        }
        HitsDatabase::Postgres { url, password: None } => Ok(url.clone()),
        HitsDatabase::Postgres { url, password: Some(file) } => {
            let separator = if url.contains('?') { '&' } else { '?' };
            Ok(format!("{url}{separator}password={}", escape(&password(file)?, b"")))
        }
    }
}

fn password(file: &Path) -> Result<String, HitsError> {
    let text = fs::read_to_string(file).map_err(|reason| HitsError::Password { path: file.to_owned(), reason })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Percent-encodes all but letters, digits and `kept`.
fn escape(text: &str, kept: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A text takes everything.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

async fn version(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query("SELECT version FROM hits_schema WHERE id = 1").fetch_one(connection).await?.try_get(0)
}

/// Brings the tables up to date. Gateways that do so at the same time wait for each other, or one of them fails and tries
/// again.
async fn migrate(connection: &mut AnyConnection, is_sqlite: bool) -> sqlx::Result<()> {
    // Most of the time, all is there, and a lock would only be waited for.
    if version(connection).await.is_ok_and(|version| version >= KNOWN) {
        return Ok(());
    }
    let (text, table) = if is_sqlite { ("TEXT", "WITHOUT ROWID") } else { ("TEXT COLLATE \"C\"", "") };
    let dialect = |sql: &str| AssertSqlSafe(sql.replace("TEXT", text).replace("WITHOUT ROWID", table));
    let mut transaction = connection.begin().await?;
    transaction
        .execute("CREATE TABLE IF NOT EXISTS hits_schema (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)")
        .await?;
    transaction.execute("INSERT INTO hits_schema (id, version) VALUES (1, 0) ON CONFLICT (id) DO NOTHING").await?;
    transaction.execute(LOCK).await?;
    let version = version(&mut transaction).await?;
    for (number, statements) in (1..).zip(MIGRATIONS) {
        if number > version {
            for statement in *statements {
                transaction.execute(dialect(statement)).await?;
            }
            let update = sqlx::query("UPDATE hits_schema SET version = $1 WHERE id = 1").bind(number);
            update.execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await
}

/// Until the end of the transaction, nobody else gets past this statement.
pub(crate) const LOCK: &str = "UPDATE hits_schema SET version = version WHERE id = 1";

/// The version of the tables that this program makes.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// What makes each version of the tables from the one before. Never changed, only added to. `TEXT` and `WITHOUT ROWID` are
/// put into the words of each database.
///
/// A day is `2026-11-23`, or `2026-11` for what was added up to a month. `unmapped` is 0 or 1. Moments are Unix seconds.
const MIGRATIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE hits_sums (
        day TEXT NOT NULL, site TEXT NOT NULL, outcome TEXT NOT NULL, status BIGINT NOT NULL, unmapped BIGINT NOT NULL,
        hits BIGINT NOT NULL, bots BIGINT NOT NULL,
        PRIMARY KEY (day, site, outcome, status, unmapped)
    ) WITHOUT ROWID",
        "CREATE INDEX hits_sums_of_site ON hits_sums (site, day)",
        "CREATE TABLE hits_urls (
        day TEXT NOT NULL, site TEXT NOT NULL, url TEXT NOT NULL,
        outcome TEXT NOT NULL, status BIGINT NOT NULL, unmapped BIGINT NOT NULL,
        hits BIGINT NOT NULL, bots BIGINT NOT NULL, first_seen BIGINT NOT NULL, last_seen BIGINT NOT NULL,
        referrer TEXT NOT NULL, referrals BIGINT NOT NULL,
        PRIMARY KEY (day, site, url, outcome, status, unmapped)
    ) WITHOUT ROWID",
        // The last batch of each run of a gateway, so that none is counted twice.
        "CREATE TABLE hits_batches (run TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL, written BIGINT NOT NULL)",
    ],
    &[
        // Visits of homes and platforms (`monitor`). A row without a result is claimed by a node.
        "CREATE TABLE monitor_pages (id BIGINT NOT NULL PRIMARY KEY, url TEXT NOT NULL)",
        "CREATE TABLE monitor_visits (
        page BIGINT NOT NULL, family BIGINT NOT NULL, due BIGINT NOT NULL,
        result TEXT NOT NULL, status BIGINT NOT NULL, millis BIGINT NOT NULL,
        PRIMARY KEY (page, family, due)
    ) WITHOUT ROWID",
        // Their sums.
        "CREATE TABLE monitor_days (
        day TEXT NOT NULL, page BIGINT NOT NULL, family BIGINT NOT NULL, result TEXT NOT NULL,
        visits BIGINT NOT NULL, millis BIGINT NOT NULL, slow BIGINT NOT NULL, longest BIGINT NOT NULL,
        PRIMARY KEY (day, page, family, result)
    ) WITHOUT ROWID",
    ],
    // What verification knows of targets; `due` is the run that still has to look at one, `run` the last that did.
    &[
        "CREATE TABLE verify_runs (
            run BIGINT NOT NULL PRIMARY KEY, question TEXT NOT NULL, started BIGINT NOT NULL, beat BIGINT NOT NULL,
            ended BIGINT NOT NULL, targets BIGINT NOT NULL
        )",
        "CREATE TABLE verify_targets (
            host TEXT NOT NULL, url TEXT NOT NULL, site TEXT NOT NULL,
            due BIGINT NOT NULL, run BIGINT NOT NULL, checked BIGINT NOT NULL, source TEXT NOT NULL,
            findings BIGINT NOT NULL, detail TEXT NOT NULL, status BIGINT NOT NULL, hops BIGINT NOT NULL,
            landing TEXT NOT NULL, title TEXT NOT NULL, millis BIGINT NOT NULL,
            PRIMARY KEY (host, url, site)
        ) WITHOUT ROWID",
        "CREATE INDEX verify_targets_due ON verify_targets (due, host, url)",
        "CREATE INDEX verify_targets_of_site ON verify_targets (site, findings)",
    ],
];

/// For SQLite. A write-ahead log, so that readers and the gateway don't wait for each other; a commit is on the disk when
/// it is done (FULL), which costs one fsync a minute: a power cut costs no more than a kill.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16000";

/// For who reads a whole database of SQLite: 64 MB of it in memory, and what is sorted too.
const READING: &str = "PRAGMA cache_size = -64000; PRAGMA temp_store = MEMORY";

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_for_the_driver() {
        let sqlite = HitsDatabase::Sqlite("/a b/命?%41#.db".into());
        assert_eq!(url(&sqlite, Access::Read).unwrap(), "sqlite:///a%20b/%E5%91%BD%3F%2541%23%2Edb?mode=ro");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "p&w =+\n").unwrap();
        let password = Some(file.path().to_owned());
        let server = |url: &str| HitsDatabase::Postgres { url: url.to_owned(), password: password.clone() };
        let expected = "postgres://w@h/d?password=p%26w%20%3D%2B";
        assert_eq!(url(&server("postgres://w@h/d"), Access::Read).unwrap(), expected);
        assert!(url(&server("postgres://w@h/d?a=b"), Access::Read).unwrap().ends_with("?a=b&password=p%26w%20%3D%2B"));
        let missing = HitsDatabase::Postgres { url: "postgres://h/d".to_owned(), password: Some("/no/such".into()) };
        assert!(url(&missing, Access::Read).unwrap_err().to_string().contains("/no/such"));
    }
}
