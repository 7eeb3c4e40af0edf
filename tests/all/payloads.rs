//! Attacks on redirects: whatever target or host is sent, nobody is led to a host that the site's files don't name, and
//! nothing breaks out of a header.
//!
//! The payloads stand in `tests/golden/payloads`; [`targets`], [`hosts`] and [`international`] read them for whoever sends
//! them over other ways. Here they go through the decision and the answer, and [`browser_host`] reads what comes back.

use std::{collections::BTreeMap, fs, path::Path};

use waypost::{
    answer::{Answer, Content, answer},
    model::{Host, Method, Verdict},
    routing::{Decision, Request, Scratch, Snapshot},
};

use super::https::{NOW, headers, load};

/// The host that payloads are written for; [`attack`] puts another in its place.
pub const OLD: &str = "old.example";

/// Request targets that attack redirects.
pub fn targets() -> Vec<Vec<u8>> {
    lines("targets.txt").iter().map(|line| unescape(line)).collect()
}

/// Values of a Host header that attack redirects.
pub fn hosts() -> Vec<Vec<u8>> {
    lines("hosts.txt").iter().map(|line| unescape(line)).collect()
}

/// International host names as a Host header's value, and the A-labels that each stands for; `None` if it is no name.
pub fn international() -> Vec<(Vec<u8>, Option<String>)> {
    let parse = |line: &String| {
        let (value, expected) = line.split_once('\t').unwrap();
        (unescape(value), (expected != "invalid").then(|| expected.to_owned()))
    };
    lines("international.txt").iter().map(parse).collect()
}

/// A payload against `host`.
pub fn attack(payload: &[u8], host: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut rest = payload;
    while let Some(at) = rest.windows(OLD.len()).position(|bytes| bytes == OLD.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(host.as_bytes());
        rest = &rest[at + OLD.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// The host to which a browser at `base` follows a URL, as the WHATWG URL standard reads it: tabs and line breaks are
/// taken out, backslashes are slashes, any number of slashes begins an authority, all before its last `@` is a user. A scheme
/// other than http and https comes back as it is.
pub fn browser_host(url: &str, base: &str) -> String {
    let url: String = url.trim_matches(|c| c <= ' ').chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
    let slash = |c: char| matches!(c, '/' | '\\');
    let scheme = url.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let rest = match scheme {
        Some((scheme, rest)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => rest,
        Some((scheme, _)) => return format!("{scheme}:"),
        None if url.starts_with(slash) && url[1..].starts_with(slash) => &url,
        None => return base.to_owned(),
    };
    let authority = rest.trim_start_matches(slash).split(['/', '\\', '?', '#']).next().unwrap();
    let host = authority.rsplit('@').next().unwrap();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let decoded = percent_decode(host);
    idna::domain_to_ascii(&decoded).unwrap_or(decoded)
}

fn lines(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/payloads").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// `\xNN` is a byte, `\\` a backslash.
pub fn unescape(line: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        rest = match after.strip_prefix('x') {
            Some(hex) => {
                out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                &hex[2..]
            }
            None => {
                out.push(b'\\');
                after.strip_prefix('\\').unwrap()
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn percent_decode(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&piece.as_bytes()[2..]);
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A site under attack: its name (its hosts are NAME.example and all below), what its file says besides, and where its
/// redirects and links may lead.
pub struct Victim {
    pub name: &'static str,
    text: &'static str,
    leads_to: &'static [&'static str],
    /// Whether redirects may stay on the host that was asked for.
    own: bool,
}

const NEW: &str = "new.example";
const TARGET: &str = "target.example";

pub const VICTIMS: [Victim; 18] = [
    victim("home", "", &[NEW]),
    victim("fallback-home", "[fallback]\naction = \"home\"\n", &[NEW]),
    victim("captured", "[[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/base/{rest}\"\n", &[NEW, TARGET]),
    victim(
        "bare",
        "[[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}\"\nquery = \"keep\"\nfirst = true\n",
        &[NEW, TARGET],
    ),
    victim(
        "pieces",
        "[[rule]]\nfrom = \"/go?url={u}\"\nto = \"https://target.example/{u}\"\n\
         [[rule]]\nfrom = \"/go/{*u}\"\nto = \"https://target.example/?to={u}\"\nquery = \"keep\"\n\
         [[rule]]\nfrom = \"/{a}/{*b}\"\nto = \"https://target.example/{b}/{a|lower}?q={a}#{b}\"\nquery = \"keep\"\n\
         [[rule]]\nfrom = \"/{a}\"\nto = \"https://target.example/{a|upper}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "as-sent",
        "[fallback]\naction = \"redirect\"\nto = \"https://target.example{path}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim("in-query", "[fallback]\naction = \"redirect\"\nto = \"https://target.example/?{query}\"\n", &[NEW, TARGET]),
    victim(
        "whole",
        "[[rule]]\nregex = '^(?<p>.*)$'\nto = \"https://target.example/{host}/{url}/{p}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "gb",
        "[url]\ncharset = \"gb18030\"\n[[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "literal",
        "[url]\nescapes = \"keep\"\nslashes = \"keep\"\ndots = \"keep\"\ncase = \"sensitive\"\nkeep-query = [\"*\"]\n\
         [[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "notice",
        "[lifecycle]\nnotice = 2001-01-01\n\
         [[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "leaving",
        "[[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}\"\nquery = \"keep\"\nleaving = true\n",
        &[NEW, TARGET],
    ),
    victim(
        "big5",
        "[url]\ncharset = \"big5\"\n[[rule]]\nfrom = \"/{a}.{b}?id={d}\"\nto = \"https://target.example/{a}?{b}{d}\"\n\
         [[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/?{rest}#{rest}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim(
        "auto",
        "[url]\ncharset = \"auto\"\nkeep-query = [\"*\"]\n\
         [[rule]]\nfrom = \"/{*rest}\"\nto = \"https://target.example/{rest}?x={rest}\"\nquery = \"keep\"\n",
        &[NEW, TARGET],
    ),
    victim("archive", "[lifecycle]\narchive = 2001-01-01\n", &[NEW, "archive.example", "report.example"]),
    victim("proxy", "[lifecycle]\nproxy = 2001-01-01\n", &[NEW]),
    Victim { name: "secured", text: "", leads_to: &[NEW], own: true },
    Victim { name: "required", text: "", leads_to: &[NEW], own: true },
];

const fn victim(name: &'static str, text: &'static str, leads_to: &'static [&'static str]) -> Victim {
    Victim { name, text, leads_to, own: false }
}

impl Victim {
    fn file(&self) -> (String, String) {
        let name = self.name;
        let mut text = format!(
            "name = \"{name}\"\nhosts = [\"{name}.example\", \"*.{name}.example\"]\nhome = \"https://new.example/\"\n"
        );
        text.push_str(match name {
            "secured" => "https = \"redirect\"\nhsts = {}\n",
            "required" => "https = \"require\"\nhsts = {}\n",
            "archive" => {
                "archive = \"https://archive.example/1/{url}\"\ncode = \"1\"\nreport = \"https://report.example/?{code}{url}\"\n"
            }
            _ => "",
        });
        (format!("{name}.toml"), text + self.text)
    }

    pub fn host(&self) -> String {
        format!("{}.example", self.name)
    }

    fn may_lead_to(&self, host: &str) -> bool {
        let own = self.host();
        let is_own = host == own || host.strip_suffix(&own).is_some_and(|rest| rest.ends_with('.') || rest == "aka-");
        self.leads_to.contains(&host) || (self.own && is_own)
    }
}

pub fn victims() -> Snapshot {
    let files: Vec<(String, String)> = VICTIMS.iter().map(Victim::file).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    load("[guard]\nallowed-targets = [\"new.example\", \"target.example\"]\n", &files)
}

/// Asserts that an answer is fit to be sent, and leads nowhere else than its site says. Returns how many ways on it has.
pub fn assert_harmless(request: &Request<'_>, decision: &Decision<'_>, answer: &Answer<'_>) -> usize {
    let said = || {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{:?} {:?}: {:?}", request.host.map(text), text(request.target), decision.verdict)
    };
    for (name, value) in headers(answer) {
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?} for {}", said());
    }
    let mut ways: Vec<String> = answer.location.into_iter().map(str::to_owned).collect();
    if let Some(location) = answer.location {
        assert!(location.starts_with("https://") && location.bytes().all(|b| b.is_ascii_graphic()), "{}", said());
    }
    if let Some(Content::Page(_)) = answer.content {
        ways.extend(links(std::str::from_utf8(&answer.body).unwrap()));
    }
    for way in &ways {
        let victim = decision.site.map(|(_, site)| VICTIMS.iter().find(|victim| victim.name == site.id).unwrap());
        let host = browser_host(way, "nowhere.invalid");
        assert!(victim.is_some_and(|victim| victim.may_lead_to(&host)), "{way:?} leads to {host:?} for {}", said());
    }
    ways.len()
}

/// Where a page leads: its links, and where it goes by itself.
fn links(page: &str) -> Vec<String> {
    let unescape = |text: &str| {
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        entities.iter().fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
    };
    let links = ["href=\"", "; url="].iter().flat_map(|start| page.split(start).skip(1));
    links.map(|rest| unescape(rest.split('"').next().unwrap())).filter(|link| !link.starts_with("data:")).collect()
}

#[test]
fn no_target_leads_astray() {
    let targets = targets();
    assert!(targets.len() >= 966, "{} payloads", targets.len());
    let snapshot = victims();
    let mut scratch = Scratch::default();
    let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
    for victim in &VICTIMS {
        let host = victim.host();
        for payload in &targets {
            let target = attack(payload, &host);
            for (method, secure) in [(Method::Get, false), (Method::Other, true)] {
                let request = Request { method, host: Some(host.as_bytes()), target: &target, secure, user_agent: b"" };
                let decision = snapshot.decide(&request, NOW, &mut scratch);
                let answer = answer(&decision, &request, None, "public");
                *ways.entry(victim.name).or_default() += assert_harmless(&request, &decision, &answer);
            }
        }
    }
    // Each site was led somewhere by many of them, or the test would show nothing.
    for victim in VICTIMS.iter().filter(|victim| victim.name != "home") {
        assert!(ways[victim.name] > targets.len() / 2, "{}: {ways:?}", victim.name);
    }
}

#[test]
fn no_host_leads_astray() {
    let hosts = hosts();
    assert!(hosts.len() + targets().len() >= 966);
    let snapshot = victims();
    let mut scratch = Scratch::default();
    let mut found = 0;
    for victim in &VICTIMS {
        for payload in &hosts {
            let host = attack(payload, &victim.host());
            for target in [&b"/"[..], b"/a?b", b"//evil.example/%0d%0aX:y"] {
                let request =
                    Request { method: Method::Get, host: Some(&host), target, secure: false, user_agent: b"" };
                let decision = snapshot.decide(&request, NOW, &mut scratch);
                let answer = answer(&decision, &request, None, "public");
                assert_harmless(&request, &decision, &answer);
                found += usize::from(decision.site.is_some());
                // A host with a path, a user or a control in it is none.
                if decision.site.is_some() {
                    assert!(!host.iter().any(|b| b"/\\@?#%\r\n\0".contains(b)), "{:?}", String::from_utf8_lossy(&host));
                }
            }
        }
    }
    assert!(found > VICTIMS.len() * 10, "{found}");
}

#[test]
fn every_international_name_finds_its_site_or_none() {
    let names = international();
    assert!(names.len() >= 530, "{} names", names.len());
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for labels in names.iter().filter_map(|(_, labels)| labels.as_deref()) {
        let next = numbers.len();
        numbers.entry(labels).or_insert(next);
    }
    let file = |(labels, number): (&&str, &usize)| {
        let https = if number % 2 == 0 { "allow" } else { "redirect" };
        let home = format!("https://new.example/{number}");
        let text = format!("name = \"{number}\"\nhosts = [\"{labels}\"]\nhome = \"{home}\"\nhttps = \"{https}\"\n");
        (format!("{number}.toml"), text)
    };
    let files: Vec<(String, String)> = numbers.iter().map(file).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let snapshot = load("", &files);
    let mut scratch = Scratch::default();
    let mut faults = Vec::new();
    for (value, labels) in &names {
        let request = Request { method: Method::Get, host: Some(value), target: b"/", secure: false, user_agent: b"" };
        let decision = snapshot.decide(&request, NOW, &mut scratch);
        let fits = match labels {
            Some(labels) => {
                let number = numbers[labels.as_str()];
                let home = format!("https://new.example/{number}");
                let location = if number.is_multiple_of(2) { home } else { format!("https://{labels}/") };
                decision.host == labels && decision.verdict.location() == Some(&location)
            }
            None => matches!(decision.verdict, Verdict::UnknownHost | Verdict::BadRequest(_)),
        };
        if !fits {
            let name = String::from_utf8_lossy(value);
            faults.push(format!("{name:?} is {labels:?}, not {:?}: {:?}", Host::parse(value), decision.verdict));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), names.len(), faults.join("\n"));
}

#[test]
fn the_reader_of_this_test_reads_as_browsers_do() {
    for (url, host) in [
        ("https://a.example/b", "a.example"),
        ("https:a.example", "a.example"),
        ("https:/\\/a.example\\b", "a.example"),
        (" \x01ht\ntps:\t//A.exa\rmple", "a.example"),
        ("//a.example", "a.example"),
        ("/\\a.example", "a.example"),
        ("/\t/a.example", "a.example"),
        ("\\\\a.example/", "a.example"),
        ("/a.example", "base.example"),
        ("a.example", "base.example"),
        ("https://old.example@a.example/", "a.example"),
        ("https://old.example:80@a.example", "a.example"),
        ("https://a.example\\@old.example/", "a.example"),
        ("https://a.example?@old.example", "a.example"),
        ("https://a.example#@old.example", "a.example"),
        ("https://a%2Eexample:443/", "a.example"),
        ("https://a。ｅxample/", "a.example"),
        ("https://[::1]:80/", "[::1]"),
        ("javascript:alert(1)", "javascript:"),
    ] {
        assert_eq!(browser_host(url, "base.example"), host, "{url:?}");
    }
}
