//! `[monitor]`: how homes and platforms are visited, to see whether they open.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::admin::Source;
use super::diagnostic::Diagnostic;
use super::keys::{Key, Kind, key};
use super::reader::Table;
use crate::model::Target;

/// The checked settings of `[monitor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSettings {
    /// Whether anything is visited.
    pub enabled: bool,
    /// Visits of each page a day, by IPv4 and as many by IPv6.
    pub visits: u32,
    /// How long a page may take to open.
    pub timeout: Duration,
    /// How long it should take at most.
    pub slow: Duration,
    /// Whether the homes of sites are visited.
    pub homes: bool,
    /// Whether the front pages of platforms are visited.
    pub platforms: bool,
    /// What else is visited.
    pub pages: Vec<Target>,
    /// Addresses of others that answer if this machine's own network works.
    pub references: Vec<SocketAddr>,
    /// Servers that are asked for addresses; those of the system if there are none.
    pub dns: Vec<SocketAddr>,
    /// File of certificates by which pages are verified; those that browsers know where absent.
    pub root: Option<PathBuf>,
    /// Visits at the same time.
    pub concurrency: usize,
}

impl MonitorSettings {
    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |items: Vec<String>| super::gateway::quote_all(&items);
        Some(match name {
            "enabled" => self.enabled.to_string(),
            "visits" => self.visits.to_string(),
            "timeout" => self.timeout.as_millis().to_string(),
            "slow" => self.slow.as_millis().to_string(),
            "homes" => self.homes.to_string(),
            "platforms" => self.platforms.to_string(),
            "pages" => list(self.pages.iter().map(ToString::to_string).collect()),
            "references" => list(self.references.iter().map(ToString::to_string).collect()),
            "dns" => list(self.dns.iter().map(ToString::to_string).collect()),
            "root" => quote(&self.root.as_ref()?.to_string_lossy()),
            "concurrency" => self.concurrency.to_string(),
            _ => return None,
        })
    }
}

/// Addresses that `[monitor]` names.
pub(super) struct Servers {
    pub references: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
}

/// Reads `[monitor]`. `has_history` says whether there is a database that visits can be written to.
pub(super) fn read(
    source: &Source<'_>,
    default_top: &Table,
    servers: Servers,
    has_history: bool,
    faults: &mut Vec<Diagnostic>,
) -> MonitorSettings {
    let own = source.top.table("monitor").map(|at| at.value);
    let default = default_top.table("monitor").map(|at| at.value);
    let tables = || [own, default].into_iter().flatten();
    // The table of keys bounds every number.
    let number = |key: &str| tables().find_map(|table| table.number(key)).map_or(0, |at| *at.value) as u64;
    let flag = |key: &str| tables().find_map(|table| table.bool(key)).is_some_and(|at| *at.value);
    let mut enabled = flag("enabled");
    if enabled && !has_history {
        let span = own.and_then(|table| table.bool("enabled")).map_or(0..0, |at| at.span);
        let fault =
            source.file.error("bad-value", span, "visits are written to the database of hits, and there is none");
        faults.push(fault.hint("name one as [hits] database"));
        enabled = false;
    }
    MonitorSettings {
        enabled,
        visits: number("visits") as u32,
        timeout: Duration::from_millis(number("timeout")),
        slow: Duration::from_millis(number("slow")),
        homes: flag("homes"),
        platforms: flag("platforms"),
        pages: pages(source, own, faults),
        references: servers.references,
        dns: servers.dns,
        root: own.and_then(|table| table.text("root")).map(|at| source.folder.join(Path::new(at.value))),
        concurrency: number("concurrency") as usize,
    }
}

fn pages(source: &Source<'_>, own: Option<&Table>, faults: &mut Vec<Diagnostic>) -> Vec<Target> {
    let mut pages = Vec::new();
    for at in own.and_then(|table| table.texts("pages")).map(|at| at.value.to_vec()).unwrap_or_default() {
        match Target::parse(&at.value) {
            Ok(page) => pages.push(page),
            Err(error) => {
                let fault =
                    source.file.error("bad-value", at.span, format!("`{}` can't be visited: {error}", at.value));
                faults.push(fault.hint("a whole URL, such as `https://www.qingshan.example/`"));
            }
        }
    }
    pages
}

/// `[monitor]`.
pub(super) const MONITOR: &[Key] = &[
    key(
        "enabled",
        Kind::Bool,
        "false",
        "Whether homes and platforms are visited, as the checklist for government sites does: spaced over the day, by IPv4 and by IPv6, each visit by one node of those that share the database of hits. What came of it is kept there.",
    ),
    key(
        "visits",
        Kind::Number(21, 1440),
        "24",
        "Visits of each page a day, evenly spaced, by IPv4 and as many by IPv6. The checklist wants more than 20. Gateways that share a database should have the same.",
    ),
    key(
        "timeout",
        Kind::Number(100, 60_000),
        "15000",
        "Milliseconds within which a page must have opened, redirects and its whole HTML included; else the visit has failed. The checklist says 15 seconds.",
    ),
    key(
        "slow",
        Kind::Number(100, 60_000),
        "3000",
        "Milliseconds that opening should take at most: what takes longer is counted as slow.",
    ),
    key(
        "homes",
        Kind::Bool,
        "true",
        "Whether the `home` of every site is visited that is not `retired`; of several sites with the same home, once.",
    ),
    key(
        "platforms",
        Kind::Bool,
        "true",
        "Whether the front page of every platform is visited: that of its `host`, as DNS knows it, or of its first origin where it has none.",
    ),
    key("pages", Kind::Texts, "[]", "What else is visited: URLs."),
    key(
        "references",
        Kind::Texts,
        "[]",
        "Addresses (with a port; 53 where absent) that take TCP connections if this machine's own network works, such as those of DNS servers. When a visit fails and none of its kind (IPv4, IPv6) answers, it was not made and is no failure. Without any, only what the system itself calls unreachable is not counted.",
    ),
    key(
        "dns",
        Kind::Texts,
        "[]",
        "DNS servers that are asked for addresses, as `[acme] dns`; those of /etc/resolv.conf where empty.",
    ),
    key(
        "root",
        Kind::Text,
        "",
        "File of certificates (PEM) by which pages are verified, relative to this file's folder. Where absent, those that browsers know.",
    ),
    key("concurrency", Kind::Number(1, 1000), "32", "Visits at the same time."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (Gateway, Vec<String>) {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new("/etc/waypost"));
        (gateway, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_visited_unless_somebody_says_so() {
        let (gateway, faults) = parse("");
        assert!(faults.is_empty() && !gateway.monitor.enabled, "{faults:?}");
        assert_eq!((gateway.monitor.visits, gateway.monitor.timeout.as_secs()), (24, 15));
    }

    #[test]
    fn config_prints_what_was_read() {
        let text = "[monitor]\nenabled = true\nvisits = 48\ntimeout = 2000\nslow = 500\nhomes = false\nplatforms = false\n\
            pages = [\"https://www.qingshan.example/\"]\nreferences = [\"192.0.2.1\", \"[2001:db8::1]:443\"]\n\
            dns = [\"192.0.2.53:5353\"]\nroot = \"ca.pem\"\nconcurrency = 3\n";
        let (gateway, faults) = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        let monitor = &gateway.monitor;
        assert_eq!((monitor.enabled, monitor.visits, monitor.concurrency), (true, 48, 3));
        assert_eq!(monitor.references[0], ([192, 0, 2, 1], 53).into());
        assert_eq!(monitor.root.as_deref(), Some(Path::new("/etc/waypost/ca.pem")));
        assert_eq!(parse(&gateway.to_toml()).0.monitor, gateway.monitor);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, want) in [
            ("[monitor]\nvisits = 20\n", "21"),
            ("[monitor]\npages = [\"www.qingshan.example\"]\n", "can't be visited"),
            ("[monitor]\nreferences = [\"dns.example\"]\n", "no address of a server"),
            ("[monitor]\nenabled = true\n[hits]\ndatabase = \"\"\n", "database of hits"),
            ("[monitor]\nvisit = 24\n", "visits"),
        ] {
            let (gateway, faults) = parse(text);
            assert!(faults.len() == 1 && faults[0].contains(want), "{text}: {faults:?}");
            assert!(!gateway.monitor.enabled && gateway.monitor.visits == 24 && gateway.monitor.pages.is_empty());
        }
    }
}
