//! `[[guard.rate]]`: how many requests may come, of whom, to what.

use std::{fmt, ops::Range};

use regex::bytes::{Regex, RegexBuilder};

use super::guard::Tell;
use super::keys::{Key, Kind, key};
use super::pattern::{Pattern, TOO_LARGE, TOO_LARGE_HINT};
use super::reader::{At, Table};
use crate::url::{Canonicalizer, UrlSettings};

/// One rate. Its numbers make a bucket that is full in a day at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateSettings {
    /// By which a nearer file replaces it, and its buckets are known after a reload.
    pub name: String,
    /// Whose requests are counted together.
    pub per: RatePer,
    /// Requests that may come in `seconds`; 0 is no bound.
    pub requests: u32,
    /// Seconds.
    pub seconds: u32,
    /// Requests that may come at once.
    pub burst: u32,
    /// Patterns of paths, by a site's habits; all where there are none and no class.
    pub paths: Vec<String>,
    /// The class of requests that it is for, which request rules give them.
    pub class: Option<String>,
    /// Whether it only counts.
    pub shadow: bool,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RatePer {
    /// Those of a client at a site.
    Client,
    /// Those of a client at all sites that have a rate of this name.
    ClientEverywhere,
    /// Those of all clients at a site.
    Site,
}

impl RatePer {
    const WORDS: &[&str] = &["client", "client-everywhere", "site"];

    fn parse(word: &str) -> Self {
        match word {
            "client-everywhere" => RatePer::ClientEverywhere,
            "site" => RatePer::Site,
            _ => RatePer::Client,
        }
    }

    fn name(self) -> &'static str {
        RatePer::WORDS[self as usize]
    }
}

impl RateSettings {
    /// By which habits paths are read: those of most sites, whatever a site's own are.
    pub fn canonicalizer() -> Canonicalizer {
        Canonicalizer::new(UrlSettings::default(), false)
    }

    /// What a pattern of `paths` matches, over canonical paths.
    ///
    /// # Errors
    /// What is wrong with it, and perhaps what to do.
    pub fn path(text: &str) -> Result<Regex, (String, Option<String>)> {
        let pattern = Pattern::parse(text, &RateSettings::canonicalizer()).map_err(|faults| {
            faults.into_iter().next().map_or_else(Default::default, |first| (first.message, first.hint))
        })?;
        if !pattern.query.is_empty() {
            let hint = "leave the `?` and what follows out, or let a request rule give such requests a `class`";
            return Err(("it has a query".to_owned(), Some(hint.to_owned())));
        }
        let built = RegexBuilder::new(&pattern.path).size_limit(MAX_REGEX).build();
        built.map_err(|_| (TOO_LARGE.to_owned(), Some(TOO_LARGE_HINT.to_owned())))
    }

    /// The rates of several files, the nearest first: of those of one name the nearest counts.
    pub fn merge<'a>(files: impl IntoIterator<Item = &'a [RateSettings]>) -> Vec<Self> {
        let mut merged: Vec<RateSettings> = Vec::new();
        for rate in files.into_iter().flatten() {
            if !merged.iter().any(|nearer| nearer.name == rate.name) {
                merged.push(rate.clone());
            }
        }
        merged
    }

    /// Reads what `[guard]` tables say, the nearest first. What is faulty is told and left out.
    pub(super) fn read(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Vec<Self> {
        let mut files: Vec<Vec<RateSettings>> = Vec::with_capacity(layers.len());
        for (layer, guard) in layers {
            let mut rates: Vec<RateSettings> = Vec::new();
            for table in guard.tables("rate").map(|at| at.value.as_slice()).unwrap_or_default() {
                let mut tell = |span, code, message, hint| tell(*layer, span, code, message, hint);
                let Some(rate) = RateSettings::read_one(table, &mut tell) else { continue };
                if rates.iter().any(|other| other.name == rate.name) {
                    let span = table.text("name").map_or(table.span.clone(), |at| at.span);
                    let message = format!("the rate `{}` stands twice in this file", rate.name);
                    tell(span, "bad-value", message, Some("give each its own name".to_owned()));
                    continue;
                }
                rates.push(rate);
            }
            files.push(rates);
        }
        RateSettings::merge(files.iter().map(Vec::as_slice))
    }

    fn read_one(table: &Table, tell: &mut Told<'_>) -> Option<Self> {
        let (name, requests) = (table.text("name"), number(table, "requests"));
        let mut is_good = name.as_ref().is_none_or(|name| check_name(name, tell));
        let seconds = number(table, "seconds").unwrap_or(1);
        let burst = number(table, "burst").unwrap_or(requests.unwrap_or(1).max(1));
        if let Some(requests) = requests.filter(|&requests| requests > 0)
            && u64::from(burst) * u64::from(seconds) / u64::from(requests) > MOST_FILL
        {
            let message = format!("{burst} requests at {requests} in {seconds} s take longer than a day");
            let span = table.key_span("burst").unwrap_or(table.span.clone());
            tell(span, "bad-value", message, Some("a smaller burst, or more requests, make it shorter".to_owned()));
            is_good = false;
        }
        let paths: Vec<At<String>> = table.texts("paths").map(|at| at.value.clone()).unwrap_or_default();
        paths.iter().for_each(|path| is_good &= check_path(path, tell));
        let class = table.text("class");
        if let Some(class) = &class {
            is_good &= check_name(class, tell);
            if !paths.is_empty() {
                let message = "a rate is for `paths` or for a `class`, not for both".to_owned();
                tell(class.span.clone(), "bad-value", message, Some("make two rates of it".to_owned()));
                is_good = false;
            }
        }
        // If they are missing or faulty, that has been told.
        let (Some(name), Some(requests), true) = (name, requests, is_good) else { return None };
        Some(RateSettings {
            name: name.value.clone(),
            per: table.text("per").map_or(RatePer::Client, |at| RatePer::parse(at.value)),
            requests,
            seconds,
            burst,
            paths: paths.into_iter().map(|at| at.value).collect(),
            class: class.map(|at| at.value.clone()),
            shadow: table.bool("shadow").is_some_and(|at| *at.value),
        })
    }
}

/// Hears of a fault in a file: where, which kind, what to say of it.
type Told<'a> = dyn FnMut(Range<usize>, &'static str, String, Option<String>) + 'a;

/// As a file has it.
impl fmt::Display for RateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RateSettings { name, per, requests, seconds, burst, paths, class, shadow } = self;
        write!(f, "{{ name = \"{name}\", per = \"{}\", requests = {requests}", per.name())?;
        write!(f, ", seconds = {seconds}, burst = {burst}")?;
        if !paths.is_empty() {
            let paths: Vec<toml::Value> = paths.iter().map(|path| toml::Value::String(path.clone())).collect();
            write!(f, ", paths = {}", toml::Value::Array(paths))?;
        }
        if let Some(class) = class {
            write!(f, ", class = \"{class}\"")?;
        }
        if *shadow {
            f.write_str(", shadow = true")?;
        }
        f.write_str(" }")
    }
}

fn number(table: &Table, key: &str) -> Option<u32> {
    // The table of keys bounds every number.
    table.number(key).and_then(|at| u32::try_from(*at.value).ok())
}

fn check_name(name: &At<&String>, tell: &mut Told<'_>) -> bool {
    let text = name.value;
    let is_good = (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !is_good {
        let hint = format!("letters, digits, `-` and `_`, at most {MAX_NAME}");
        tell(name.span.clone(), "bad-value", format!("`{text}` is no name"), Some(hint));
    }
    is_good
}

fn check_path(path: &At<String>, tell: &mut Told<'_>) -> bool {
    let At { value, span } = path;
    let checked = RateSettings::path(value);
    if let Err((why, hint)) = &checked {
        tell(span.clone(), "bad-pattern", format!("`{value}`: {why}"), hint.clone());
    }
    checked.is_ok()
}

/// Seconds in which a bucket is full.
const MOST_FILL: u64 = 86_400;

/// Memory of a pattern, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Bytes.
const MAX_NAME: usize = 64;

const COUNT: Kind = Kind::Number(1, 100_000_000);

/// The rate where no file says otherwise: one that only machines reach, and not even a county's offices that all have one
/// address. Five thousand people who each open a page of forty files within the same two minutes ask 1,667 times a second; a
/// thousand who do so at the very same moment ask 40,000 times.
pub(super) const SHIPPED: &str =
    "[{ name = \"client\", per = \"client-everywhere\", requests = 2000, seconds = 1, burst = 40000 }]";

/// `[[guard.rate]]`.
pub const RATE: &[Key] = &[
    Key {
        required: true,
        ..key(
            "name",
            Kind::Text,
            "",
            "What it is called. A rate of the same name in a nearer file takes its place; after a reload its counts go on.",
        )
    },
    key(
        "per",
        Kind::Word(RatePer::WORDS),
        "\"client\"",
        "Whose requests are counted together: those of a `client` (an IPv4 address, or an IPv6 /64) at one site, those of a `client-everywhere`, at all sites that have a rate of this name, or those of all clients of a `site`.",
    ),
    Key {
        required: true,
        ..key(
            "requests",
            Kind::Number(0, 100_000_000),
            "",
            "Requests that may come in `seconds`; more are answered 429 with Retry-After. 0 is no bound, which also takes away a rate of that name that files further off have.",
        )
    },
    key("seconds", Kind::Number(1, 86_400), "1", "Seconds in which `requests` may come."),
    key(
        "burst",
        COUNT,
        "",
        "Requests that may come at once after a rest; as many as `requests` where absent. A bucket that is empty has to be full again within a day.",
    ),
    key(
        "paths",
        Kind::Texts,
        "[]",
        "What it is for: patterns as rules have them, without a query, such as \"/search/{*rest}\". They are compared with the path decoded as UTF-8, without regard to case. All requests where absent.",
    ),
    key("class", Kind::Text, "", "What it is for: requests to which a request rule gives this class."),
    key("shadow", Kind::Bool, "false", "Whether it only counts what it would refuse (waypost_guard_shadowed_total)."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::SourceFile;
    use crate::config::guard::GUARD;
    use crate::config::reader::{Role, read};

    fn parse(text: &str) -> (Vec<RateSettings>, Vec<String>) {
        let file = SourceFile::new("a.toml", text.to_owned());
        let mut found = Vec::new();
        let top = read(&file, GUARD, Role::Site, &mut found);
        let mut faults: Vec<String> = found.into_iter().map(|fault| fault.message).collect();
        let rates = RateSettings::read(&[(0, &top)], &mut |_, _, _, message, _| faults.push(message));
        (rates, faults)
    }

    #[test]
    fn a_rate_says_as_little_as_it_likes() {
        let (rates, faults) = parse(
            "[[rate]]\nname = \"a\"\nrequests = 5\n[[rate]]\nname = \"b\"\nper = \"site\"\nrequests = 1\nseconds = 60\nburst = 3\npaths = [\"/Search/{*rest}\"]\nshadow = true\n",
        );
        assert_eq!(faults, Vec::<String>::new());
        let a = RateSettings {
            name: "a".to_owned(),
            per: RatePer::Client,
            requests: 5,
            seconds: 1,
            burst: 5,
            paths: Vec::new(),
            class: None,
            shadow: false,
        };
        let b = RateSettings {
            name: "b".to_owned(),
            per: RatePer::Site,
            requests: 1,
            seconds: 60,
            burst: 3,
            paths: vec!["/Search/{*rest}".to_owned()],
            class: None,
            shadow: true,
        };
        assert_eq!(rates, [a, b]);
    }

    #[test]
    fn faults_are_named_and_left_out() {
        for (text, fault) in [
            ("requests = 5", "this table has no `name`"),
            ("name = \"a\"", "this table has no `requests`"),
            ("name = \"a b\"\nrequests = 5", "`a b` is no name"),
            (
                "name = \"a\"\nrequests = 1\nseconds = 3600\nburst = 25",
                "25 requests at 1 in 3600 s take longer than a day",
            ),
            (
                "name = \"a\"\nrequests = 1\npaths = [\"/{x:(a{1000}){1000}}\"]",
                "`/{x:(a{1000}){1000}}`: a capture's regular expression may have no groups of its own",
            ),
            (
                "name = \"a\"\nrequests = 1\npaths = [\"/{x:(?:a{1000}){1000}}\"]",
                "`/{x:(?:a{1000}){1000}}`: this regular expression is too large",
            ),
            ("name = \"a\"\nrequests = 1\npaths = [\"a\"]", "`a`: a pattern begins with `/`"),
            ("name = \"a\"\nrequests = 1\npaths = [\"/a?b\"]", "`/a?b`: it has a query"),
            (
                "name = \"a\"\nrequests = 1\npaths = [\"/a\"]\nclass = \"b\"",
                "a rate is for `paths` or for a `class`, not for both",
            ),
            ("name = \"a\"\nrequests = 1\nclass = \"\"", "`` is no name"),
        ] {
            assert_eq!(parse(&format!("[[rate]]\n{text}\n")), (Vec::new(), vec![fault.to_owned()]), "{text}");
        }
        let (rates, faults) = parse(&"[[rate]]\nname = \"a\"\nrequests = 5\n".repeat(2));
        assert_eq!((rates.len(), &faults[..]), (1, &["the rate `a` stands twice in this file".to_owned()][..]));
    }

    #[test]
    fn the_nearest_rate_of_a_name_counts() {
        let (shipped, _) = parse(&format!("rate = {SHIPPED}"));
        assert_eq!(parse(&format!("rate = [{}]", shipped[0])).0, shipped);
        let rate = |name: &str, requests| RateSettings { name: name.to_owned(), requests, ..shipped[0].clone() };
        let files = [vec![rate("a", 1), rate("client", 0)], vec![rate("a", 2), rate("b", 3)], shipped.clone()];
        let merged = RateSettings::merge(files.iter().map(Vec::as_slice));
        assert_eq!(merged, [rate("a", 1), rate("client", 0), rate("b", 3)]);
    }
}
