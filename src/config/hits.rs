//! `[hits]`: how often each old URL is asked for, and where that is written down.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{Key, Kind, key};
use super::reader::Table;

/// The checked settings of `[hits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HitsSettings {
    /// Where counts are kept; nothing is counted without it.
    pub database: Option<HitsDatabase>,
    /// How often they are written there.
    pub flush: Duration,
    /// URLs that are told apart, of each site between two flushes.
    pub counters: usize,
    /// Bytes of memory for the counts of all sites that are not written yet.
    pub memory: usize,
    /// URLs that are kept of each site and day.
    pub rows: u32,
    /// Days after which days become months.
    pub keep_days: u32,
    /// Months after which months are forgotten.
    pub keep_months: u32,
    /// Name of the time zone whose days are counted; the system's where absent.
    pub zone: Option<String>,
}

/// A database of hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HitsDatabase {
    /// A file, which is made where it is missing.
    Sqlite(PathBuf),
    /// A PostgreSQL server, which several gateways may share.
    Postgres {
        /// Its URL, without a password.
        url: String,
        /// A file with the password.
        password: Option<PathBuf>,
    },
}

impl HitsSettings {
    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        Some(match name {
            "database" => match &self.database {
                None => quote(""),
                Some(HitsDatabase::Sqlite(path)) => quote(&format!("{SQLITE}{}", path.to_string_lossy())),
                Some(HitsDatabase::Postgres { url, .. }) => quote(url),
            },
            "password-file" => match &self.database {
                Some(HitsDatabase::Postgres { password: Some(path), .. }) => quote(&path.to_string_lossy()),
                _ => return None,
            },
            "flush" => self.flush.as_secs().to_string(),
            "counters" => self.counters.to_string(),
            "memory" => (self.memory >> 20).to_string(),
            "rows" => self.rows.to_string(),
            "keep-days" => self.keep_days.to_string(),
            "keep-months" => self.keep_months.to_string(),
            "zone" => quote(self.zone.as_ref()?),
            _ => return None,
        })
    }
}

/// What is read of a `gateway.toml` in `folder`.
pub(super) struct Source<'a> {
    pub file: &'a SourceFile,
    pub top: &'a Table,
    pub default_top: &'a Table,
    pub folder: &'a Path,
}

/// Reads `[hits]`.
pub(super) fn read(source: &Source<'_>, faults: &mut Vec<Diagnostic>) -> HitsSettings {
    let tables = || [source.top, source.default_top].into_iter().filter_map(|top| Some(top.table("hits")?.value));
    // The table of keys bounds every number.
    let number = |key: &str| tables().find_map(|table| table.number(key)).map_or(0, |at| *at.value) as usize;
    let small = |key: &str| u32::try_from(number(key)).unwrap_or(u32::MAX);
    HitsSettings {
        database: database(source, faults),
        flush: Duration::from_secs(number("flush") as u64),
        counters: number("counters"),
        memory: number("memory") << 20,
        rows: small("rows"),
        keep_days: small("keep-days"),
        keep_months: small("keep-months"),
        zone: zone(source, faults),
    }
}

fn database(source: &Source<'_>, faults: &mut Vec<Diagnostic>) -> Option<HitsDatabase> {
    let own = source.top.table("hits").map(|at| at.value);
    let default = source.default_top.table("hits").map(|at| at.value);
    let at = [own, default].into_iter().flatten().find_map(|table| table.text("database"))?;
    let password = own.and_then(|table| table.text("password-file"));
    let (text, is_server) = (at.value.as_str(), POSTGRES.iter().any(|scheme| at.value.starts_with(scheme)));
    if let Some(file) = password.as_ref().filter(|_| !is_server) {
        let fault = source.file.error("bad-value", file.span.clone(), "only a PostgreSQL server asks for a password");
        faults.push(fault.hint("leave it out, or name a `database` such as `postgres://waypost@db.internal/waypost`"));
    }
    if text.is_empty() {
        return None;
    }
    if let Some(path) = text.strip_prefix(SQLITE) {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.is_empty() && !path.contains('?') {
            return Some(HitsDatabase::Sqlite(source.folder.join(path)));
        }
    } else if is_server {
        if !has_password(text) {
            let password = password.map(|at| source.folder.join(at.value));
            return Some(HitsDatabase::Postgres { url: text.to_owned(), password });
        }
        let message = "a password does not belong into gateway.toml, which many may read";
        let mut fault = source.file.error("bad-value", at.span, message);
        // Nor does it belong into a log.
        fault.source.clear();
        fault.column = 1;
        fault.length = 1;
        faults.push(fault.hint("write it into a file of its own, and name that as `password-file`"));
        return None;
    }
    faults.push(source.file.error("bad-value", at.span, "this is no database of hits").hint(DATABASE_HINT));
    None
}

/// Whether a URL of a server has a password, after its user or among its parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    user.contains(':') || query.split('&').any(|parameter| parameter.starts_with("password="))
}

fn zone(source: &Source<'_>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let at = source.top.table("hits")?.value.text("zone")?;
    if jiff::tz::TimeZone::get(at.value).is_ok() {
        return Some(at.value.clone());
    }
    let fault = source.file.error("bad-value", at.span, format!("no time zone is named `{}`", at.value));
    faults.push(fault.hint("a name of the IANA time zone database, such as `Asia/Shanghai` or `UTC`"));
    None
}

const SQLITE: &str = "sqlite:";
const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];

const DATABASE_HINT: &str = "`sqlite:` and a file, such as `sqlite:/var/lib/waypost/hits.sqlite`; `postgres://USER@HOST/NAME`; or an empty text, and nothing is counted";

/// `[hits]`.
pub(super) const HITS: &[Key] = &[
    key(
        "database",
        Kind::Text,
        "\"sqlite:hits.sqlite\"",
        "Where hits are kept. `sqlite:` and a file, relative to this file's folder: it is made where it is missing. `postgres://USER@HOST:PORT/NAME`, which several gateways may share: their hits add up (`?sslmode=verify-full&sslrootcert=FILE` for TLS; `?host=/run/postgresql` for a Unix socket). Empty: hits are not counted.",
    ),
    key(
        "password-file",
        Kind::Text,
        "",
        "File with the password of the PostgreSQL server, relative to this file's folder. Where absent: the environment variable PGPASSWORD, else ~/.pgpass.",
    ),
    key(
        "flush",
        Kind::Number(1, 3600),
        "60",
        "Seconds between two flushes to the database: what is lost if the process is killed or the power fails.",
    ),
    key(
        "counters",
        Kind::Number(10, 100_000),
        "1000",
        "URLs that are told apart, of each site between two flushes. Where there are more, those that are asked for least are counted for the site alone: the count of a URL is too low by at most the site's hits divided by this number, and never too high.",
    ),
    key(
        "memory",
        Kind::Number(1, 65_536),
        "64",
        "Memory for counts that are not written yet, in MiB, of all sites together; while they are being written, as much again. Some 400 bytes are needed for a URL. When it is full, sites go on with as many URLs as they have.",
    ),
    key(
        "rows",
        Kind::Number(10, 10_000_000),
        "10000",
        "URLs that are kept of each site and day, and month: those with the most hits. The sums of the site stay exact.",
    ),
    key("keep-days", Kind::Number(14, 36_500), "400", "Days that days are kept. Older ones are added up to months."),
    key("keep-months", Kind::Number(1, 1200), "120", "Months that months are kept. Older ones are removed."),
    key(
        "zone",
        Kind::Text,
        "",
        "Time zone in which a day begins, such as `Asia/Shanghai`; that of the system where absent. Gateways that share a database should have the same.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (HitsSettings, Vec<String>) {
        let text = format!("[hits]\n{text}");
        let (gateway, faults) = Gateway::parse("gateway.toml", text, Path::new("/etc/waypost"));
        (gateway.hits, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn databases() {
        let sqlite = |path: &str| Some(HitsDatabase::Sqlite(path.into()));
        assert_eq!(parse("").0.database, sqlite("/etc/waypost/hits.sqlite"));
        assert_eq!(parse("database = \"sqlite:h.db\"").0.database, sqlite("/etc/waypost/h.db"));
        assert_eq!(parse("database = \"sqlite:///var/h.db\"").0.database, sqlite("/var/h.db"));
        assert_eq!(parse("database = \"\""), (HitsSettings { database: None, ..parse("").0 }, vec![]));
        let (settings, faults) = parse("database = \"postgres://w@db/w\"\npassword-file = \"secret\"");
        assert!(faults.is_empty(), "{faults:?}");
        let password = Some("/etc/waypost/secret".into());
        assert_eq!(settings.database, Some(HitsDatabase::Postgres { url: "postgres://w@db/w".to_owned(), password }));
        for bad in ["mysql://w@db/w", "hits.sqlite", "sqlite:", "sqlite:a?mode=ro"] {
            let (settings, faults) = parse(&format!("database = \"{bad}\""));
            assert!(settings.database.is_none() && faults[0].contains("no database of hits"), "{bad}: {faults:?}");
        }
        assert!(parse("password-file = \"p\"").1[0].contains("only a PostgreSQL server"));
    }

    #[test]
    fn passwords_are_refused_and_not_shown() {
        for url in ["postgres://w:s3cret@db/w", "postgresql://w@db/w?sslmode=require&password=s3cret"] {
            let (settings, faults) = parse(&format!("database = \"{url}\""));
            assert!(settings.database.is_none());
            assert!(faults[0].contains("password-file") && !faults.concat().contains("s3cret"), "{faults:?}");
        }
        assert!(!has_password("postgres://w@[::1]:5432/a:b@c?host=/run/postgresql"));
    }

    #[test]
    fn zones_have_names() {
        assert_eq!(parse("zone = \"Asia/Shanghai\"").0.zone.as_deref(), Some("Asia/Shanghai"));
        assert!(parse("zone = \"Asia/Shangai\"").1[0].contains("no time zone"));
    }

    #[test]
    fn config_prints_what_was_read() {
        let text = "[hits]\ndatabase = \"postgres://w@db/w\"\npassword-file = \"p\"\nflush = 5\ncounters = 10\nmemory = 2\n\
            rows = 20\nkeep-days = 30\nkeep-months = 2\nzone = \"UTC\"\n";
        let folder = Path::new("/etc/waypost");
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), folder);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!((gateway.hits.memory, gateway.hits.flush), (2 << 20, Duration::from_secs(5)));
        for gateway in [gateway, Gateway::parse("gateway.toml", String::new(), folder).0] {
            let (again, faults) = Gateway::parse("gateway.toml", gateway.to_toml(), folder);
            assert!(faults.is_empty(), "{faults:?}");
            assert_eq!(gateway.hits, again.hits);
        }
    }
}
