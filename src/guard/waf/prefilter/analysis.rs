//! What rules look for in plain text.
//!
//! Rules are gone through in their order, as the engine would for a request whose varying parts are plain. A rule that
//! can't match such a request drops out; of one that can, what it looks for is collected; one that surely matches and
//! skips others skips them here. A rule that could match for another reason (who the client is, what it did before)
//! means that nothing can be said of requests at all.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use super::{LINE, PLAIN, VARYING, pcre};
use crate::guard::waf::{
    Severity,
    directives::{Link, RuleSet, Unit, files},
};

/// What the rules of a paranoia level look for, as patterns.
#[derive(Debug, Default)]
pub struct Sought {
    /// In a path.
    pub path: Vec<String>,
    /// In a name or a value of an argument or a cookie.
    pub argument: Vec<String>,
    /// In one of them, decoded from base64.
    pub decoded: Vec<String>,
    /// In a target, a query or a request line.
    pub line: Vec<String>,
    /// In each of the fields that vary.
    pub fields: Vec<(&'static str, Vec<String>)>,
    /// What a request line has to match.
    pub lines: Vec<String>,
}

/// Goes through rules for a paranoia level.
///
/// # Errors
/// If there is a rule that can match whatever a plain request looks like, or that is not understood.
pub fn analyse(rules: &RuleSet, level: u8) -> Result<Sought, String> {
    let mut walk = Walk { known: known(level), sought: Sought::default() };
    walk.sought.fields = VARYING.iter().map(|field| (field.name, Vec::new())).collect();
    let mut skip_to: Option<String> = None;
    for unit in &rules.units {
        if let Some(marker) = &skip_to {
            if unit.name == "SecMarker" && unit.text.contains(marker.as_str()) {
                skip_to = None;
            }
            continue;
        }
        skip_to = walk.unit(unit)?;
    }
    Ok(walk.sought)
}

/// Variables that are set before any rule runs.
fn known(level: u8) -> HashMap<String, Values> {
    let names = ["paranoia_level", "executing_paranoia_level", "blocking_paranoia_level", "detection_paranoia_level"];
    let sure = |value: String| Values { values: vec![value], sure: true };
    names.into_iter().map(|name| (format!("tx.{name}"), sure(level.to_string()))).collect()
}

#[derive(Clone, Debug, Default)]
struct Values {
    values: Vec<String>,
    /// Whether it surely has one.
    sure: bool,
}

struct Walk {
    known: HashMap<String, Values>,
    sought: Sought,
}

/// Whether a link, or a rule, matches a plain request.
#[derive(Clone, Debug)]
enum Match {
    Never,
    Always,
    /// If one of these is found, or (`head`) if the head is one that it matches.
    If {
        needles: Vec<Needle>,
        head: bool,
    },
    /// Nobody knows; why.
    Unknown(String),
}

#[derive(Clone, Debug)]
struct Needle {
    place: Place,
    pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Path,
    Argument,
    Decoded,
    Line,
    /// A request line that does not match.
    NotLine,
    Field(usize),
}

/// Where a variable's text comes from.
enum From {
    /// Nowhere, in a request without a body.
    Absent,
    Places(Vec<Place>),
    /// The rest of the head, and perhaps fields that vary.
    Head(Vec<Place>),
    /// A variable that rules set.
    Set(String),
    /// An earlier link of the same chain.
    Earlier,
    Unknown,
}

impl Walk {
    /// Takes a directive in; the marker to which it surely skips.
    fn unit(&mut self, unit: &Unit) -> Result<Option<String>, String> {
        if !matches!(unit.name.as_str(), "SecRule" | "SecAction") || phase(unit) > 2 {
            return Ok(None);
        }
        let found = self.rule(unit);
        if matches!(found, Match::Never) {
            return Ok(None);
        }
        let sure = matches!(found, Match::Always);
        for (name, value) in sets(unit) {
            let entry = self.known.entry(name).or_default();
            entry.sure |= sure;
            entry.values.push(value);
        }
        if unit.severity > Severity::None || unit.denies {
            self.take(unit, found)?;
        }
        let skip = unit.actions.iter().find_map(|action| action.strip_prefix("skipAfter:"));
        Ok(skip.filter(|_| sure).map(|marker| marker.trim_matches('\'').to_owned()))
    }

    fn take(&mut self, unit: &Unit, found: Match) -> Result<(), String> {
        let rule = || format!("rule {}", unit.id.unwrap_or_default());
        match found {
            Match::Never => Ok(()),
            Match::Always => Err(format!("{} matches every request", rule())),
            Match::Unknown(why) => Err(format!("{}: {why}", rule())),
            Match::If { needles, .. } => {
                for Needle { place, pattern } in needles {
                    match place {
                        Place::Path => self.sought.path.push(pattern),
                        Place::Argument => self.sought.argument.push(pattern),
                        Place::Decoded => self.sought.decoded.push(pattern),
                        Place::Line => self.sought.line.push(pattern),
                        Place::NotLine => self.sought.lines.push(pattern),
                        Place::Field(field) => self.sought.fields[field].1.push(pattern),
                    }
                }
                Ok(())
            }
        }
    }

    /// A rule matches if all its links do. One link that finds nothing is enough for it not to.
    fn rule(&self, unit: &Unit) -> Match {
        let mut whole = Match::Always;
        for link in &unit.links {
            whole = match (whole, self.link(unit, link, &unit.links[0])) {
                (Match::Never, _) | (_, Match::Never) => return Match::Never,
                (one, Match::Always) | (Match::Always, one) => one,
                // Whatever the one says, the other has to find something too.
                (Match::Unknown(_), Match::If { needles, head }) | (Match::If { needles, head }, Match::Unknown(_)) => {
                    Match::If { needles, head }
                }
                (Match::Unknown(why), Match::Unknown(_)) => Match::Unknown(why),
                (Match::If { needles: a, head: false }, Match::If { needles: b, head: false }) => {
                    Match::If { needles: if breadth(&b) < breadth(&a) { b } else { a }, head: false }
                }
                // Only one that has nothing to do with heads decides alone.
                (Match::If { needles, head: false }, Match::If { .. })
                | (Match::If { .. }, Match::If { needles, head: false }) => Match::If { needles, head: false },
                (Match::If { needles: a, .. }, Match::If { needles: b, .. }) => {
                    Match::If { needles: [a, b].concat(), head: true }
                }
            };
        }
        whole
    }

    /// A link matches if its operator does on one of its variables.
    fn link(&self, unit: &Unit, link: &Link, first: &Link) -> Match {
        let mut whole = Match::Never;
        for variable in link.variables.iter().filter(|variable| !variable.starts_with('!')) {
            whole = match (whole, self.variable(unit, link, first, variable)) {
                (Match::Always, _) | (_, Match::Always) => return Match::Always,
                (Match::Never, one) | (one, Match::Never) => one,
                (Match::Unknown(why), _) | (_, Match::Unknown(why)) => Match::Unknown(why),
                (Match::If { needles: a, head: x }, Match::If { needles: b, head: y }) => {
                    Match::If { needles: [a, b].concat(), head: x || y }
                }
            };
        }
        whole
    }

    fn variable(&self, unit: &Unit, link: &Link, first: &Link, variable: &str) -> Match {
        let unknown = |what: &str| Match::Unknown(format!("{what} `{variable}`"));
        if let Some(counted) = variable.strip_prefix('&') {
            if counted.to_ascii_uppercase().starts_with("REQUEST_HEADERS") {
                // Which fields there are is part of the head.
                return Match::If { needles: Vec::new(), head: true };
            }
            let count = match source(counted) {
                From::Absent => Some(0),
                From::Set(name) => match self.values(&name) {
                    None => Some(0),
                    Some(values) if values.sure && !name.contains('/') => Some(1),
                    Some(_) => None,
                },
                _ => None,
            };
            return match count.and_then(|count| self.compare(link, &count.to_string())) {
                Some(true) => Match::Always,
                Some(false) => Match::Never,
                None => unknown("it depends on how many there are of"),
            };
        }
        match source(variable) {
            From::Absent => Match::Never,
            From::Places(places) => self.search(unit, link, &places, false),
            From::Head(places) => match self.search(unit, link, &places, true) {
                Match::If { needles, .. } => Match::If { needles, head: true },
                Match::Never => Match::If { needles: Vec::new(), head: true },
                other => other,
            },
            From::Set(name) if name.starts_with("tx.extension") => {
                self.extension(link).unwrap_or_else(|| unknown("it depends on"))
            }
            // Scores are what this is all about: nothing has any yet.
            From::Set(name) if name.contains("anomaly_score") && !name.contains("threshold") => Match::Never,
            From::Set(name) => match self.values(&name) {
                // An operator is not asked about what is not there.
                None => Match::Never,
                Some(values) => {
                    let results: Option<Vec<bool>> =
                        values.values.iter().map(|value| self.compare(link, value)).collect();
                    match results {
                        Some(results) if results.iter().all(|result| !result) => Match::Never,
                        Some(results) if values.sure && results.iter().all(|result| *result) => Match::Always,
                        _ => unknown("it depends on"),
                    }
                }
            },
            // What it is about has been found, if its first link has found something.
            From::Earlier if !std::ptr::eq(link, first) => Match::Always,
            From::Earlier | From::Unknown => unknown("it depends on"),
        }
    }

    /// What rules may have set a variable to; `tx./^a_/` is all whose names begin so.
    fn values(&self, name: &str) -> Option<Values> {
        let Some((collection, pattern)) = name.split_once("./") else { return self.known.get(name).cloned() };
        let start: String =
            pattern.trim_start_matches('^').chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let mut out = Values::default();
        for (known, values) in &self.known {
            let Some(own) = known.strip_prefix(collection).and_then(|own| own.strip_prefix('.')) else { continue };
            let own = own.split('%').next().unwrap_or_default();
            if own.starts_with(&start) || start.starts_with(own) {
                out.values.extend(values.values.clone());
            }
        }
        (!out.values.is_empty()).then_some(out)
    }

    /// What an operator says of a text that is known; `None` if it depends.
    fn compare(&self, link: &Link, value: &str) -> Option<bool> {
        let argument = match link.argument.strip_prefix("%{").and_then(|name| name.strip_suffix('}')) {
            None => &link.argument,
            Some(name) => match self.known.get(&name.to_ascii_lowercase()) {
                Some(Values { values, sure: true }) if values.iter().all(|value| *value == values[0]) => &values[0],
                _ => return None,
            },
        };
        if argument.contains("%{") || value.contains("%{") || value.starts_with(['+', '-']) {
            return None;
        }
        let numbers = || Some((value.parse::<i64>().ok()?, argument.parse::<i64>().ok()?));
        let result = match link.operator.as_str() {
            "eq" => numbers().map(|(a, b)| a == b)?,
            "ge" => numbers().map(|(a, b)| a >= b)?,
            "gt" => numbers().map(|(a, b)| a > b)?,
            "le" => numbers().map(|(a, b)| a <= b)?,
            "lt" => numbers().map(|(a, b)| a < b)?,
            "streq" => value == argument,
            "rx" if argument == "^$" => value.is_empty(),
            _ => return None,
        };
        Some(result != link.negated)
    }

    /// An extension that the rule set does not want: `.asa/ .asax/`, each with its end.
    fn extension(&self, link: &Link) -> Option<Match> {
        let variable = link.argument.strip_prefix("%{")?.strip_suffix('}')?.to_ascii_lowercase();
        if link.negated || link.operator != "within" {
            return None;
        }
        let values = self.known.get(&variable)?;
        let needles = values.values.iter().flat_map(|value| value.split_whitespace()).map(|extension| Needle {
            place: Place::Path,
            pattern: format!("{}$", regex::escape(extension.trim_end_matches('/'))),
        });
        Some(Match::If { needles: needles.collect(), head: false })
    }

    /// What an operator looks for in some places.
    fn search(&self, unit: &Unit, link: &Link, places: &[Place], head: bool) -> Match {
        if places.is_empty() {
            return Match::Never;
        }
        let decodes = link.transformations.iter().any(|name| name == "base64decode" || name == "base64decodeext");
        let strange = link
            .transformations
            .iter()
            .find(|name| !HARMLESS.contains(&name.as_str()) && !name.starts_with("base64decode"));
        let mut needles = Vec::new();
        // A rule with `multiMatch` looks at each step of decoding; the others get more than they ask for.
        let decoded = (decodes && places.contains(&Place::Argument)).then_some(Place::Decoded);
        for place in places.iter().copied().chain(decoded) {
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || signs(place).contains(&byte) || place == Place::Decoded;
            let found = match (link.operator.as_str(), link.negated) {
                ("validatebyterange", false) => in_range(&link.argument, &plain).then(Vec::new),
                ("validateurlencoding" | "validateutf8encoding", false) => Some(Vec::new()),
                // Plain text is no SQL and no HTML; `tests/waf` tries.
                ("detectsqli" | "detectxss", false) if place != Place::Decoded => Some(Vec::new()),
                ("rx", false) => match patterns(link, &plain) {
                    Ok(patterns) => Some(patterns),
                    Err(why) => return Match::Unknown(format!("the prefilter does not understand its pattern: {why}")),
                },
                ("rx", true) if place == Place::Line && !link.argument.contains("%{") => {
                    pcre::widen(&link.argument).ok().map(|pattern| vec![pattern])
                }
                (
                    "pm" | "pmf" | "pmfromfile" | "contains" | "containsword" | "streq" | "beginswith" | "endswith"
                    | "strmatch",
                    false,
                ) => phrases(unit, link).map(|phrases| {
                    let plain = phrases.iter().filter(|phrase| phrase.bytes().all(plain));
                    plain.map(|phrase| regex::escape(phrase)).collect()
                }),
                _ => None,
            };
            let Some(found) = found else {
                return Match::Unknown(format!(
                    "the prefilter does not understand `{}@{}`",
                    if link.negated { "!" } else { "" },
                    link.operator
                ));
            };
            let place = if link.negated { Place::NotLine } else { place };
            needles.extend(found.into_iter().map(|pattern| Needle { place, pattern }));
        }
        if let Some(strange) = strange.filter(|_| !matches!(link.operator.as_str(), "validatebyterange")) {
            return Match::Unknown(format!("the prefilter does not understand `t:{strange}`"));
        }
        if needles.is_empty() && !head { Match::Never } else { Match::If { needles, head } }
    }
}

/// How much of what is usual is found: of two links that must both match, the narrower one decides.
fn breadth(needles: &[Needle]) -> usize {
    let finds = |needle: &&Needle| {
        let regex = regex::bytes::RegexBuilder::new(&needle.pattern).unicode(false).case_insensitive(true).build();
        needle.place == Place::NotLine
            || regex.is_ok_and(|regex| USUAL.iter().any(|text| regex.is_match(text.as_bytes())))
    };
    needles.iter().filter(finds).count()
}

/// Where a variable comes from.
fn source(variable: &str) -> From {
    let (name, part) = variable.split_once(':').unwrap_or((variable, ""));
    let part = part.trim_matches('\'').to_ascii_lowercase();
    let fields = || (0..VARYING.len()).map(Place::Field);
    match name.to_ascii_uppercase().as_str() {
        "ARGS" | "ARGS_NAMES" | "ARGS_GET" | "ARGS_GET_NAMES" => From::Places(vec![Place::Argument]),
        "REQUEST_COOKIES" | "REQUEST_COOKIES_NAMES" => From::Places(vec![Place::Argument]),
        "REQUEST_FILENAME" | "REQUEST_BASENAME" | "PATH_INFO" => From::Places(vec![Place::Path]),
        "REQUEST_URI" | "REQUEST_URI_RAW" | "QUERY_STRING" | "REQUEST_LINE" => From::Places(vec![Place::Line]),
        "REQUEST_HEADERS" => match fields().zip(VARYING).find(|(_, field)| field.name == part) {
            Some((field, _)) => From::Places(vec![field]),
            None if part.is_empty() || part.starts_with('/') => From::Head(fields().collect()),
            None => From::Head(Vec::new()),
        },
        "REQUEST_HEADERS_NAMES" | "REQUEST_METHOD" | "REQUEST_PROTOCOL" => From::Head(Vec::new()),
        "ARGS_POST"
        | "ARGS_POST_NAMES"
        | "REQUEST_BODY"
        | "REQUEST_BODY_LENGTH"
        | "FILES"
        | "FILES_NAMES"
        | "FILES_COMBINED_SIZE"
        | "FILES_SIZES"
        | "FILES_TMPNAMES"
        | "FILES_TMP_CONTENT"
        | "XML"
        | "JSON"
        | "MULTIPART_FILENAME"
        | "MULTIPART_NAME"
        | "MULTIPART_PART_HEADERS"
        | "REQBODY_PROCESSOR"
        | "REQBODY_ERROR"
        | "MULTIPART_STRICT_ERROR"
        | "MULTIPART_UNMATCHED_BOUNDARY" => From::Absent,
        "TX" if part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() => From::Earlier,
        "TX" | "IP" | "GLOBAL" | "SESSION" | "USER" | "RESOURCE" => {
            From::Set(format!("{}.{part}", name.to_ascii_lowercase()))
        }
        "MATCHED_VAR" | "MATCHED_VARS" | "MATCHED_VAR_NAME" | "MATCHED_VARS_NAMES" => From::Earlier,
        _ => From::Unknown,
    }
}

fn signs(place: Place) -> &'static [u8] {
    match place {
        Place::Path | Place::Argument | Place::Decoded => PLAIN,
        Place::Line | Place::NotLine => LINE,
        Place::Field(field) => VARYING[field].signs,
    }
}

fn patterns(link: &Link, plain: &dyn Fn(u8) -> bool) -> Result<Vec<String>, String> {
    if link.argument.contains("%{") {
        return Err("it has a variable".into());
    }
    let pattern = pcre::widen(&link.argument)?;
    Ok(if pcre::may_match(&pattern, plain)? { vec![pattern] } else { Vec::new() })
}

fn phrases(unit: &Unit, link: &Link) -> Option<Vec<String>> {
    if link.argument.contains("%{") {
        return None;
    }
    match link.operator.as_str() {
        "pmf" | "pmfromfile" => {
            let mut out = Vec::new();
            for file in files(unit, link) {
                let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                out.extend(lines.map(str::to_owned));
            }
            Some(out)
        }
        "pm" if !link.argument.contains('|') => Some(link.argument.split_whitespace().map(str::to_owned).collect()),
        "pm" => None,
        _ => Some(vec![link.argument.clone()]),
    }
}

/// Whether all plain bytes are in ranges such as `9,10,13,32-126`.
fn in_range(ranges: &str, plain: &dyn Fn(u8) -> bool) -> bool {
    let range = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.trim().parse::<u16>().ok()?..=to.trim().parse::<u16>().ok()?)
    };
    let ranges: Vec<_> = ranges.split(',').filter_map(range).collect();
    (0..=255u8).filter(|byte| plain(*byte)).all(|byte| ranges.iter().any(|range| range.contains(&u16::from(byte))))
}

fn phase(unit: &Unit) -> u8 {
    let phase = unit.actions.iter().find_map(|action| action.strip_prefix("phase:"));
    match phase.map(|phase| phase.trim_matches('\'')) {
        Some("request") | None => 2,
        Some("response" | "logging") => 4,
        Some(number) => number.parse().unwrap_or(1),
    }
}

/// The variables that a rule sets, with what it sets them to.
fn sets(unit: &Unit) -> BTreeMap<String, String> {
    let texts = unit.actions.iter().filter_map(|action| action.strip_prefix("setvar:"));
    let pairs = texts.map(|text| text.trim_matches('\'').split_once('=').unwrap_or((text.trim_matches('\''), "1")));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

/// Plain text of every day.
const USUAL: &[&str] =
    &["/art/2018/10/26/art_70739_6714054.html", "/news.asp", "id", "1234", "news-and-notices", "http://a.example/b"];

/// Transformations that leave plain text as it is, but for case.
const HARMLESS: &[&str] = &[
    "lowercase",
    "uppercase",
    "urldecode",
    "urldecodeuni",
    "htmlentitydecode",
    "jsdecode",
    "cssdecode",
    "escapeseqdecode",
    "removenulls",
    "replacenulls",
    "utf8tounicode",
    "compresswhitespace",
    "removewhitespace",
    "replacecomments",
    "removecomments",
    "removecommentschar",
    "normalizepath",
    "normalisepath",
    "normalizepathwin",
    "normalisepathwin",
    "cmdline",
    "trim",
    "trimleft",
    "trimright",
];
