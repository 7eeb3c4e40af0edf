//! `[verify]`: how targets are followed, to see whether they still answer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::keys::{Key, Kind, key};
use super::reader::Table;

/// The checked settings of `[verify]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifySettings {
    /// Requests to a host in a second.
    pub rate: u32,
    /// Requests to a host at the same time.
    pub per_host: usize,
    /// Requests at the same time in all.
    pub concurrency: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// Targets of each site that are looked at; 0 is all.
    pub sample: usize,
    /// Whether hosts with signs of a hijack are frozen at once.
    pub freeze: bool,
    /// File of certificates that are trusted besides those that browsers know.
    pub root: Option<PathBuf>,
}

impl VerifySettings {
    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        Some(match name {
            "rate" => self.rate.to_string(),
            "per-host" => self.per_host.to_string(),
            "concurrency" => self.concurrency.to_string(),
            "timeout" => self.timeout.as_millis().to_string(),
            "sample" => self.sample.to_string(),
            "freeze" => self.freeze.to_string(),
            "root" => toml::Value::String(self.root.as_ref()?.to_string_lossy().into_owned()).to_string(),
            _ => return None,
        })
    }
}

/// Reads `[verify]` of a `gateway.toml` in `folder`.
pub(super) fn read(top: &Table, default_top: &Table, folder: &Path) -> VerifySettings {
    let tables = || [top, default_top].into_iter().filter_map(|top| Some(top.table("verify")?.value));
    // The table of keys bounds every number.
    let number = |key: &str| tables().find_map(|table| table.number(key)).map_or(0, |at| *at.value) as u64;
    VerifySettings {
        rate: number("rate") as u32,
        per_host: number("per-host") as usize,
        concurrency: number("concurrency") as usize,
        timeout: Duration::from_millis(number("timeout")),
        sample: number("sample") as usize,
        freeze: tables().find_map(|table| table.bool("freeze")).is_some_and(|at| *at.value),
        root: tables().find_map(|table| table.text("root")).map(|at| folder.join(at.value)),
    }
}

/// `[verify]`.
pub(super) const VERIFY: &[Key] = &[
    key(
        "rate",
        Kind::Number(1, 1000),
        "2",
        "Requests to a host in a second, whatever its port; less where its robots.txt names a longer Crawl-delay.",
    ),
    key("per-host", Kind::Number(1, 100), "2", "Requests to a host at the same time."),
    key("concurrency", Kind::Number(1, 10_000), "64", "Requests to all hosts at the same time."),
    key(
        "timeout",
        Kind::Number(100, 600_000),
        "15000",
        "Milliseconds that a request may take, connecting included. A target that does not answer is asked once more before it is called dead.",
    ),
    key("sample", Kind::Number(0, 1_000_000_000), "0", "Targets of each site that are looked at; 0 is all of them."),
    key(
        "freeze",
        Kind::Bool,
        "false",
        "Whether a host with signs of a hijack is written into [guard] frozen-file at once, so that nobody is sent there any more. Where false, it is proposed. A host that sites call home is frozen by itself only if most of its targets have such signs.",
    ),
    key(
        "root",
        Kind::Text,
        "",
        "File of certificates (PEM) that are trusted besides those that browsers know, relative to this file's folder.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    #[test]
    fn config_prints_what_was_read() {
        let text = "[verify]\nrate = 5\nper-host = 3\nconcurrency = 7\ntimeout = 4000\nsample = 10\nfreeze = true\nroot = \"ca.pem\"\n\
            [guard]\nfrozen-file = \"frozen.txt\"\n";
        let folder = Path::new("/etc/waypost");
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), folder);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!((gateway.verify.rate, gateway.verify.timeout), (5, Duration::from_secs(4)));
        assert_eq!(gateway.verify.root.as_deref(), Some(Path::new("/etc/waypost/ca.pem")));
        assert!(gateway.verify.freeze);
        for gateway in [gateway, Gateway::parse("gateway.toml", String::new(), folder).0] {
            let (again, faults) = Gateway::parse("gateway.toml", gateway.to_toml(), folder);
            assert!(faults.is_empty(), "{faults:?}");
            assert_eq!(gateway.verify, again.verify);
        }
        let (gateway, faults) = Gateway::parse("gateway.toml", "[verify]\nrate = 0\nrat = 1\n".to_owned(), folder);
        assert_eq!((faults.len(), gateway.verify.rate), (2, 2), "{faults:?}");
    }

    #[test]
    fn who_freezes_needs_a_list() {
        let text = "[verify]\nfreeze = true\n".to_owned();
        let (gateway, faults) = Gateway::parse("gateway.toml", text, Path::new(""));
        assert!(
            !gateway.verify.freeze && faults.len() == 1 && faults[0].to_string().contains("frozen-file"),
            "{faults:?}"
        );
    }
}
