//! The firewall's keys of `[guard]`: how much of the rule set runs on a site, and what of it does not count.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use thiserror::Error;

use super::keys::{Key, Kind, Scope, key, only};
use super::reader::{At, Table};

/// What the rules do on a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// They are heard, and the request goes on.
    Detect,
    /// A request whose score reaches the threshold is refused.
    Block,
}

impl Mode {
    const WORDS: [&str; 3] = ["off", "detect", "block"];

    fn named(word: &str) -> Self {
        match word {
            "detect" => Mode::Detect,
            "block" => Mode::Block,
            _ => Mode::Off,
        }
    }
}

/// What becomes of a request that could not be inspected, or not in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AtBound {
    /// It goes on.
    #[default]
    Pass,
    /// It is refused, where the rules may refuse.
    Refuse,
}

impl AtBound {
    const WORDS: [&str; 2] = ["pass", "refuse"];
}

/// What a site's layers say; `None` is what none of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WafSettings {
    /// Whether the rules run.
    pub mode: Option<Mode>,
    /// Their paranoia level, 1 to 4.
    pub paranoia: Option<u8>,
    /// The score from which on a request is an attack.
    pub threshold: Option<u32>,
    /// What does not count.
    pub exclusions: Option<Vec<Exclusion>>,
    /// What happens at the bounds.
    pub at_bound: Option<AtBound>,
}

/// A fault of a list: the layer, where it stands, and what is wrong.
pub(super) type Fault = (u16, std::ops::Range<usize>, String, Option<String>);

impl WafSettings {
    /// Reads what `layers` say, nearest first.
    pub(super) fn read(layers: &[(u16, &Table)]) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let number = |name: &str| layers.iter().find_map(|(_, table)| Some(table.number(name)?.value));
        let mode = layers.iter().find_map(|(layer, table)| Some((*layer, table.text("waf")?)));
        if let Some((layer, At { value, span })) = &mode
            && Mode::named(value) != Mode::Off
            && !cfg!(feature = "waf")
        {
            let hint = "take waypost from a package, or build it with `--features waf`; or write \"off\"";
            faults.push((
                *layer,
                span.clone(),
                "this waypost was built without the feature `waf`".into(),
                Some(hint.into()),
            ));
        }
        let exclusions = layers.iter().find_map(|(layer, table)| Some((*layer, table.texts("waf-exclude")?)));
        let exclusions = exclusions.map(|(layer, list)| {
            let mut out = Vec::new();
            for At { value, span } in list.value {
                match value.parse() {
                    Ok(exclusion) => out.push(exclusion),
                    Err(BadExclusion(_)) => faults.push((
                        layer,
                        span.clone(),
                        format!("`{value}` names no rules"),
                        Some("a rule's number (`942100`) or a tag (`tag:attack-sqli`), and after a space the path if it is for one only: `942100 /search`, `942100 /mail/{*rest}`".into()),
                    )),
                }
            }
            out
        });
        let at_bound = layers.iter().find_map(|(_, table)| table.text("waf-at-bound"));
        let settings = WafSettings {
            mode: mode.map(|(_, mode)| if cfg!(feature = "waf") { Mode::named(mode.value) } else { Mode::Off }),
            paranoia: number("waf-paranoia").and_then(|level| u8::try_from(*level).ok()),
            threshold: number("waf-threshold").and_then(|score| u32::try_from(*score).ok()),
            exclusions,
            at_bound: at_bound.map(|at| if at.value == "refuse" { AtBound::Refuse } else { AtBound::Pass }),
        };
        (settings, faults)
    }
}

impl WafSettings {
    /// The value of a key, by its name, as TOML.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "waf" => format!("{:?}", Mode::WORDS[self.mode? as usize]),
            "waf-paranoia" => self.paranoia?.to_string(),
            "waf-threshold" => self.threshold?.to_string(),
            "waf-exclude" => {
                format!("{:?}", self.exclusions.as_ref()?.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            "waf-at-bound" => format!("{:?}", AtBound::WORDS[self.at_bound? as usize]),
            _ => return None,
        })
    }
}

/// What the firewall may take of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WafBounds {
    /// Folder of the rules.
    pub rules: PathBuf,
    /// How long a request waits for them, its turn included.
    pub time: Duration,
    /// Threads that run them; 0 is one for two processors.
    pub threads: usize,
    /// Requests that may wait for a thread.
    pub queue: usize,
    /// Bytes of a body that are inspected.
    pub body: usize,
}

impl WafBounds {
    pub(super) fn read(rules: PathBuf, number: impl Fn(&str) -> i64) -> Self {
        let number = |name| usize::try_from(number(name)).unwrap_or_default();
        WafBounds {
            rules,
            time: Duration::from_millis(number("waf-time") as u64),
            threads: number("waf-threads"),
            queue: number("waf-queue"),
            body: number("waf-body") * 1024,
        }
    }

    /// The value of a key, by its name, as TOML.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "waf-rules" => format!("{:?}", self.rules.to_string_lossy()),
            "waf-time" => self.time.as_millis().to_string(),
            "waf-threads" => self.threads.to_string(),
            "waf-queue" => self.queue.to_string(),
            "waf-body" => (self.body / 1024).to_string(),
            _ => return None,
        })
    }
}

/// `942100`, `tag:attack-sqli`, or either on some paths only: `920350 /path/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exclusion {
    rules: Rules,
    paths: Option<Paths>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Rules {
    Id(u32),
    Tag(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Paths {
    One(String),
    Below(String),
}

/// Why a text is no exclusion.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` names no rules")]
pub struct BadExclusion(String);

impl FromStr for Exclusion {
    type Err = BadExclusion;

    fn from_str(text: &str) -> Result<Self, BadExclusion> {
        let bad = || BadExclusion(text.to_owned());
        let (rules, path) = match text.trim().split_once(' ') {
            Some((rules, path)) => (rules, Some(path.trim())),
            None => (text.trim(), None),
        };
        let rules = match rules.strip_prefix("tag:") {
            Some(tag) if !tag.is_empty() => Rules::Tag(tag.to_owned()),
            Some(_) => return Err(bad()),
            None => Rules::Id(rules.parse().map_err(|_| bad())?),
        };
        let paths = match path {
            None => None,
            Some(path) if !path.starts_with('/') => return Err(bad()),
            Some(path) => Some(match path.strip_suffix('}').and_then(|path| path.split_once("{*")) {
                Some((below, name)) if !name.is_empty() && !below.contains('{') => Paths::Below(below.to_owned()),
                _ if path.contains(['{', '}']) => return Err(bad()),
                _ => Paths::One(path.to_owned()),
            }),
        };
        Ok(Exclusion { rules, paths })
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rules {
            Rules::Id(id) => write!(f, "{id}")?,
            Rules::Tag(tag) => write!(f, "tag:{tag}")?,
        }
        match &self.paths {
            None => Ok(()),
            Some(Paths::One(path)) => write!(f, " {path}"),
            Some(Paths::Below(path)) => write!(f, " {path}{{*rest}}"),
        }
    }
}

impl Exclusion {
    /// Whether a hit of the rule `id` with `tags` on a request for `target` does not count.
    pub fn covers(&self, id: u32, tags: &[String], target: &[u8]) -> bool {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let on_path = match &self.paths {
            None => true,
            Some(Paths::One(one)) => path == one.as_bytes(),
            // What is below is below in every reading: `..` could lead out of it, and an escaped one too.
            Some(Paths::Below(below)) => path.starts_with(below.as_bytes()) && !leads_out(path),
        };
        on_path
            && match &self.rules {
                Rules::Id(own) => id == *own,
                Rules::Tag(tag) => tags.contains(tag),
            }
    }
}

fn leads_out(path: &[u8]) -> bool {
    let lower = path.to_ascii_lowercase();
    ["..", "%2e", "%5c", "%2f", "%25", "\\"].iter().any(|way| memchr::memmem::find(&lower, way.as_bytes()).is_some())
}

const fn gateway(key: Key) -> Key {
    only(Scope::Gateway, key)
}

/// The firewall's part of `[guard]`.
pub(super) const WAF: [Key; 10] = [
    key(
        "waf",
        Kind::Word(&Mode::WORDS),
        "\"off\"",
        "The OWASP Core Rule Set on requests that a platform or the old origin shall answer, head and body: `off`; `detect` logs and counts what it finds; `block` also answers 403 where the score reaches `waf-threshold`. Answers of the gateway's own need none.",
    ),
    key(
        "waf-paranoia",
        Kind::Number(1, 4),
        "1",
        "The rule set's paranoia level: higher ones have more rules, take longer, and need more exclusions. From 3 on, plain page views are inspected too.",
    ),
    key(
        "waf-threshold",
        Kind::Number(1, 10_000),
        "5",
        "The score from which on a request is an attack: rules that match add 5 (critical), 4 (error), 3 (warning) or 2 (notice).",
    ),
    key(
        "waf-exclude",
        Kind::Texts,
        "[]",
        "Rules that don't count: a number (`942100`) or a tag (`tag:attack-sqli`), and after a space a path if it is for one only: `942100 /search`, `942100 /mail/{*rest}`.",
    ),
    key(
        "waf-at-bound",
        Kind::Word(&AtBound::WORDS),
        "\"pass\"",
        "What happens with `block` to a request that can't be inspected in full, since it would wait too long, too many wait, or its body is too long: `pass` lets it go on, `refuse` answers 403. Both are counted.",
    ),
    gateway(key(
        "waf-rules",
        Kind::Text,
        "\"/usr/share/modsecurity-crs\"",
        "Folder of the rule set: Debian's package modsecurity-crs, or a release of it (crs-setup.conf and rules/). Read at the start, if a site wants it.",
    )),
    gateway(key(
        "waf-time",
        Kind::Number(1, 60_000),
        "500",
        "Milliseconds that a request may wait for the rules, its turn included.",
    )),
    gateway(key("waf-threads", Kind::Number(0, 1024), "0", "Threads that run the rules; 0 is one for two processors.")),
    gateway(key("waf-queue", Kind::Number(1, 100_000), "256", "Requests that may wait for a thread.")),
    gateway(key(
        "waf-body",
        Kind::Number(1, 65_536),
        "128",
        "KiB of a request's body that are inspected, and held back until they are.",
    )),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_number_tag_and_path() {
        let cases: &[(&str, &str, bool)] = &[
            ("942100", "/any?x=1", true),
            ("942101", "/any", false),
            ("tag:attack-sqli", "/any", true),
            ("tag:attack-xss", "/any", false),
            ("942100 /search", "/search?q=select", true),
            ("942100 /search", "/searching", false),
            ("942100 /mail/{*rest}", "/mail/new?x", true),
            ("942100 /mail/{*rest}", "/mailbox", false),
            ("942100 /mail/{*rest}", "/mail/../admin", false),
            ("942100 /mail/{*rest}", "/mail/%2E%2e/admin", false),
            ("942100 /mail/{*rest}", "/mail\\..\\admin", false),
        ];
        for (text, target, covers) in cases {
            let exclusion: Exclusion = text.parse().unwrap();
            assert_eq!(
                exclusion.covers(942100, &["attack-sqli".to_owned()], target.as_bytes()),
                *covers,
                "{text} on {target}"
            );
        }
    }

    #[test]
    fn what_names_no_rules_is_told() {
        for text in ["", "sqli", "tag:", "942100 search", "942100 /a/{x}/b", "9421000000000", "942100 /{*}"] {
            let error = text.parse::<Exclusion>().unwrap_err().to_string();
            assert!(error.contains("names no rules"), "{text}: {error}");
        }
    }
}
