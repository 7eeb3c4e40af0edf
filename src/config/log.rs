//! `[log]`: what the program tells of itself, and the access log, which tells of every request.

use std::path::{Path, PathBuf};

use super::admin::Source;
use super::diagnostic::Diagnostic;
use super::keys::{Key, Kind, key};

/// The checked settings of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// How a line is written, if any is.
    pub format: LogFormat,
    /// Folder of its files.
    pub folder: PathBuf,
    /// What is told of clients' addresses.
    pub client: ClientShown,
    /// Bytes after which a new file begins.
    pub rotate_bytes: u64,
    /// Days that a file is kept.
    pub keep: u32,
    /// Bytes that all files may have together.
    pub max_bytes: u64,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// There is no access log.
    Off,
    /// A JSON object.
    Json,
    /// The combined format of nginx and Apache.
    Combined,
    /// The same after the host and the port.
    VhostCombined,
}

impl LogFormat {
    const WORDS: [&str; 4] = ["off", "json", "combined", "vhost-combined"];
    const ALL: [LogFormat; 4] = [LogFormat::Off, LogFormat::Json, LogFormat::Combined, LogFormat::VhostCombined];
}

/// What the access log tells of a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShown {
    /// All of it.
    Full,
    /// Its network: the first 24 bits of IPv4, the first 48 of IPv6.
    Truncated,
    /// A hash under a key that lives for a day.
    Hashed,
    /// Nothing.
    None,
}

impl ClientShown {
    const WORDS: [&str; 4] = ["full", "truncated", "hashed", "none"];
    const ALL: [ClientShown; 4] = [ClientShown::Full, ClientShown::Truncated, ClientShown::Hashed, ClientShown::None];
}

impl AccessLogSettings {
    /// Reads the settings of a `gateway.toml` in `folder`, by the values of its keys, all of which have defaults.
    pub(super) fn read(folder: &Path, text: impl Fn(&str) -> String, number: impl Fn(&str) -> i64) -> Self {
        // The reader has refused other words and numbers.
        let place = |words: &[&str], key: &str| words.iter().position(|word| *word == text(key)).unwrap_or_default();
        AccessLogSettings {
            format: LogFormat::ALL[place(&LogFormat::WORDS, "format")],
            folder: folder.join(text("folder")),
            client: ClientShown::ALL[place(&ClientShown::WORDS, "client")],
            rotate_bytes: (number("rotate-size") as u64) << 20,
            keep: u32::try_from(number("keep")).unwrap_or(u32::MAX),
            max_bytes: (number("max-size") as u64) << 20,
        }
    }

    /// Finds what is no error of a single key.
    pub(super) fn check(&self, source: &Source<'_>, faults: &mut Vec<Diagnostic>) {
        if self.format == LogFormat::Off {
            return;
        }
        let span = |key: &str| source.top.table("log").and_then(|at| at.value.key_span(key)).unwrap_or_default();
        if self.keep < LAWFUL_DAYS {
            let message = format!("the access log is kept for {} days", self.keep);
            let hint = "China's Cybersecurity Law wants logs kept for at least six months: 190 days leave room";
            faults.push(source.file.error("short-log", span("keep"), message).hint(hint).warning());
        }
        if self.max_bytes <= self.rotate_bytes {
            let message = "all files of the access log may have no more bytes than one of them".to_owned();
            let hint = "`max-size` has to be more than `rotate-size`, and enough for `keep` days of traffic";
            let key = if span("max-size").is_empty() { "rotate-size" } else { "max-size" };
            faults.push(source.file.error("bad-value", span(key), message).hint(hint));
        }
    }

    /// A knob as TOML.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        Some(match name {
            "format" => quote(LogFormat::WORDS[self.format as usize]),
            "folder" => quote(&self.folder.to_string_lossy()),
            "client" => quote(ClientShown::WORDS[self.client as usize]),
            "rotate-size" => (self.rotate_bytes >> 20).to_string(),
            "keep" => self.keep.to_string(),
            "max-size" => (self.max_bytes >> 20).to_string(),
            _ => return None,
        })
    }
}

/// Six months.
const LAWFUL_DAYS: u32 = 180;

/// `[log]`.
pub(super) const LOG: &[Key] = &[
    key(
        "level",
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        "\"info\"",
        "Least severe level of what the program tells of itself, on standard error. The environment variable WAYPOST_LOG overrides it, with a filter such as `waypost=debug`.",
    ),
    key(
        "format",
        Kind::Word(&LogFormat::WORDS),
        "\"json\"",
        "Lines of the access log, one for each request: `json` (`waypost logs` reads them), `combined` as nginx and Apache write it, `vhost-combined` (the same after HOST:PORT), or `off`: there is no access log.",
    ),
    key(
        "folder",
        Kind::Text,
        "\"logs\"",
        "Folder of the access log's files, relative to this file's folder: `access.log`, which is written, and those of days before, `access-2026-11-22.001.log.gz`. It is made if it is not there.",
    ),
    key(
        "client",
        Kind::Word(&ClientShown::WORDS),
        "\"full\"",
        "What the access log tells of a client's address: `full`; `truncated` (its network: /24 of IPv4, /48 of IPv6); `hashed` (16 hexadecimal digits by which requests of one day can be told to be of one client; the key of a day is deleted after it, so that nobody can find out whose they were); `none`.",
    ),
    key(
        "rotate-size",
        Kind::Number(1, 1_048_576),
        "512",
        "MiB after which a new file begins; one begins at each local midnight anyway. What is done is compressed (gzip).",
    ),
    key(
        "keep",
        Kind::Number(1, 36_500),
        "190",
        "Days that the access log is kept, at least. The law wants six months, so `check` warns of less than 180.",
    ),
    key(
        "max-size",
        Kind::Number(2, 1_073_741_824),
        "51200",
        "MiB that all files of the access log may have together. Where that is not enough for `keep` days the oldest go before their time: the program's log says so, and the metric waypost_access_log_retention_short is 1 until the log is whole again.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (Gateway, Vec<String>) {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new("/etc/waypost"));
        (gateway, faults.iter().map(|fault| format!("{} {}", fault.code, fault.message)).collect())
    }

    #[test]
    fn the_access_log_is_on_and_lawful() {
        let (gateway, faults) = parse("");
        let log = &gateway.access_log;
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!((log.format, log.client, log.keep), (LogFormat::Json, ClientShown::Full, 190));
        assert_eq!((log.rotate_bytes, log.max_bytes), (512 << 20, 50 << 30));
        assert_eq!(log.folder, Path::new("/etc/waypost/logs"));
    }

    #[test]
    fn what_config_prints_is_what_was_read() {
        let text = "[log]\nformat = \"vhost-combined\"\nfolder = \"/var/log/waypost\"\nclient = \"hashed\"\nrotate-size = 7\nkeep = 400\nmax-size = 70\n";
        let (gateway, faults) = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        let (again, faults) = parse(&gateway.to_toml());
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(gateway.access_log, again.access_log);
        assert_eq!((again.access_log.client, again.access_log.keep), (ClientShown::Hashed, 400));
    }

    #[test]
    fn too_little_is_told() {
        let faults = parse("[log]\nkeep = 179").1;
        assert!(faults.len() == 1 && faults[0].starts_with("short-log") && faults[0].contains("179"), "{faults:?}");
        let faults = parse("[log]\nmax-size = 512").1;
        assert!(faults.len() == 1 && faults[0].starts_with("bad-value"), "{faults:?}");
        // What is off is not judged.
        assert_eq!(parse("[log]\nformat = \"off\"\nkeep = 1").1, <[&str; 0]>::default());
    }
}
