//! `[guard]`: whom and what a site admits. It may stand in gateway.toml, `defaults.toml` and site files; the nearest that
//! says something wins, key by key.

use std::{
    ops::Range,
    path::{Component, Path},
    sync::Arc,
};

use ipnet::IpNet;

use super::crawler::{CRAWLER, CrawlerSettings};
use super::diagnostic::suggestion;
use super::gateway::quote_all;
use super::keys::Scope;
use super::keys::{Key, Kind, key, only};
use super::network::{Network, NetworkError};
use super::probe::ProbePattern;
use super::rate::{RATE, RateSettings, SHIPPED};
use super::reader::{At, Table};
use super::request_rule::{REQUEST_RULE, RequestRules};
use super::site::Builder;
use super::waf::{WAF, WafSettings};
use crate::model::{Country, Host, Methods};

/// What one or several `[guard]` tables say together; `None` is what none of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GuardSettings {
    /// Methods that are admitted.
    pub methods: Option<Methods>,
    /// How many requests may come, each rate under another name.
    pub rates: Vec<RateSettings>,
    /// Requests of one client that may be worked on at once; 0 is no bound.
    pub client_concurrency: Option<u32>,
    /// What is done with requests that are like this or that: the nearest file's rules come first.
    pub rules: Vec<Arc<RequestRules>>,
    /// Crawlers that rules can ask for; only gateway.toml has any.
    pub crawlers: Vec<CrawlerSettings>,
    /// Hosts that rules send clients to and may not, where that is known: those redirects are refused.
    pub refused_targets: Option<Vec<Host>>,
    /// Networks that are refused.
    pub deny: Option<Vec<IpNet>>,
    /// Files of networks that are refused.
    pub deny_files: Option<Vec<ListFile>>,
    /// Countries that are refused.
    pub deny_countries: Option<Vec<Country>>,
    /// Networks that are let in.
    pub allow: Option<Vec<IpNet>>,
    /// Files of networks that are let in.
    pub allow_files: Option<Vec<ListFile>>,
    /// Countries that are let in.
    pub allow_countries: Option<Vec<Country>>,
    /// What is refused beyond what always is.
    pub strict: Option<Strictness>,
    /// Patterns of probes beside those that are shipped.
    pub extra_probes: Option<Vec<ProbePattern>>,
    /// Shipped patterns that don't count; `*` is all.
    pub allow_probes: Option<Vec<String>>,
    /// Whether platforms may redirect to any host.
    pub any_redirect: Option<bool>,
    /// What the firewall does.
    pub waf: WafSettings,
}

/// A file with a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListFile {
    /// Its path, as diagnostics show it.
    pub name: String,
    /// Whether the path is one within the routes folder.
    pub in_routes: bool,
}

/// What a site refuses of targets beyond what is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Strictness {
    /// Backslashes in the path, raw or escaped.
    pub backslash: bool,
    /// Paths that hold escapes when they are decoded.
    pub double_encoding: bool,
    /// Bytes that are not valid UTF-8, overlong forms among them; only where the site's charset is UTF-8.
    pub invalid_utf8: bool,
}

impl Strictness {
    /// The words for it in files.
    pub const NAMES: [&str; 3] = ["backslash", "double-encoding", "invalid-utf-8"];

    /// With one more; none if there is no such word.
    fn with(self, name: &str) -> Option<Self> {
        Some(match name {
            "backslash" => Strictness { backslash: true, ..self },
            "double-encoding" => Strictness { double_encoding: true, ..self },
            "invalid-utf-8" => Strictness { invalid_utf8: true, ..self },
            _ => return None,
        })
    }

    /// The words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_on = [self.backslash, self.double_encoding, self.invalid_utf8];
        Self::NAMES.into_iter().zip(is_on).filter(|(_, is_on)| *is_on).map(|(name, _)| name)
    }
}

/// Hears of a fault: the layer, where, which kind, and what to say of it.
pub(super) type Tell<'a> = dyn FnMut(u16, Range<usize>, &'static str, String, Option<String>) + 'a;

/// Finds the file that a layer names, or says what is wrong with its name.
pub(super) type Find<'a> = dyn Fn(u16, &str) -> Result<ListFile, &'static str> + 'a;

impl GuardSettings {
    /// Reads what `layers` say, nearest first.
    pub(super) fn read(layers: &[(u16, &Table)], find: &Find<'_>, tell: &mut Tell<'_>) -> Self {
        let (waf, faults) = WafSettings::read(layers);
        for (layer, span, message, hint) in faults {
            tell(layer, span, "bad-value", message, hint);
        }
        let number = |key| layers.iter().find_map(|(_, table)| table.number(key)).map(|at| *at.value);
        let file =
            |layer: u16, text: &str| find(layer, text).map_err(|why| (format!("`{text}` {why}"), FILE_HINT.to_owned()));
        GuardSettings {
            methods: methods(layers, tell),
            strict: strict(layers, tell),
            extra_probes: extra_probes(layers, tell),
            allow_probes: allow_probes(layers, tell),
            any_redirect: layers.iter().find_map(|(_, table)| Some(table.text("platform-redirects")?.value == "any")),
            deny: list(layers, "deny", network, tell),
            deny_files: list(layers, "deny-files", file, tell),
            deny_countries: list(layers, "deny-countries", country, tell),
            allow: list(layers, "allow", network, tell),
            allow_files: list(layers, "allow-files", file, tell),
            allow_countries: list(layers, "allow-countries", country, tell),
            rates: RateSettings::read(layers, tell),
            // The table of keys bounds every number.
            client_concurrency: number("client-concurrency").map(|most| most as u32),
            // Whoever has the files adds the rules: each file's are read once.
            rules: Vec::new(),
            crawlers: Vec::new(),
            refused_targets: None,
            waf,
        }
    }

    /// Whether they name countries, of which only a database knows the addresses.
    pub fn names_countries(&self) -> bool {
        self.deny_countries.as_ref().is_some_and(|list| !list.is_empty()) || self.allow_countries.is_some()
    }

    /// A setting as TOML; none where it isn't set.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        fn all<T>(list: Option<&Vec<T>>, text: impl Fn(&T) -> String) -> Option<String> {
            Some(quote_all(&list?.iter().map(text).collect::<Vec<_>>()))
        }
        match name {
            "deny" => all(self.deny.as_ref(), IpNet::to_string),
            "deny-files" => all(self.deny_files.as_ref(), |file| file.name.clone()),
            "deny-countries" => all(self.deny_countries.as_ref(), Country::to_string),
            "allow" => all(self.allow.as_ref(), IpNet::to_string),
            "allow-files" => all(self.allow_files.as_ref(), |file| file.name.clone()),
            "allow-countries" => all(self.allow_countries.as_ref(), Country::to_string),
            _ => None,
        }
    }

    /// The files that they name.
    pub fn files(&self) -> impl Iterator<Item = &ListFile> {
        [&self.deny_files, &self.allow_files].into_iter().flatten().flatten()
    }
}

/// The nearest list of a key, item by item; what is wrong with one comes with advice.
fn list<T>(
    layers: &[(u16, &Table)],
    key: &str,
    parse: impl Fn(u16, &str) -> Result<T, (String, String)>,
    tell: &mut Tell<'_>,
) -> Option<Vec<T>> {
    let (layer, list) = layers.iter().find_map(|(layer, table)| Some((*layer, table.texts(key)?)))?;
    let mut items = Vec::with_capacity(list.value.len());
    for At { value, span } in list.value {
        match parse(layer, value) {
            Ok(item) => items.push(item),
            Err((message, hint)) => tell(layer, span.clone(), "bad-value", message, Some(hint)),
        }
    }
    Some(items)
}

fn network(_layer: u16, text: &str) -> Result<IpNet, (String, String)> {
    match text.parse::<Network>() {
        Ok(Network { network, has_host_bits: false }) => Ok(network),
        Ok(Network { network, .. }) => {
            Err((format!("`{text}` has bits beyond its prefix"), format!("if the whole network is meant: `{network}`")))
        }
        Err(error) => Err((format!("`{text}` is {error}"), NetworkError::HINT.to_owned())),
    }
}

fn country(_layer: u16, text: &str) -> Result<Country, (String, String)> {
    text.parse().map_err(|error| (format!("`{text}` is {error}"), "several are separate items of the list".to_owned()))
}

/// The file that `text` in a file of the routes names: those who write such files may name others of the routes only,
/// since what is wrong with a list is shown.
fn in_routes(file: &str, text: &str) -> Result<ListFile, &'static str> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::CurDir => {}
            Component::ParentDir => _ = parts.pop().ok_or("is not within the routes folder")?,
            Component::RootDir | Component::Prefix(_) => return Err("is not relative to this file"),
        }
    }
    if text.is_empty() || text.ends_with('/') || parts.is_empty() {
        return Err("is no file");
    }
    Ok(ListFile { name: parts.join("/"), in_routes: true })
}

fn methods(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Methods> {
    let (layer, list) = layers.iter().find_map(|(layer, table)| Some((*layer, table.texts("methods")?)))?;
    let mut methods = Methods::NONE;
    for At { value, span } in list.value {
        match methods.with(value) {
            Some(more) => methods = more,
            None => {
                let hint = format!("one of: {}, or `*` for all", Methods::NAMES.join(", "));
                tell(
                    layer,
                    span.clone(),
                    "bad-value",
                    format!("`{value}` is no method that can be let through"),
                    Some(hint),
                );
            }
        }
    }
    Some(methods)
}

fn strict(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Strictness> {
    let (layer, list) = nearest(layers, "strict")?;
    let mut strict = Strictness::default();
    for At { value, span } in list.value {
        match strict.with(value) {
            Some(more) => strict = more,
            None => {
                let hint = suggestion(value, Strictness::NAMES)
                    .unwrap_or_else(|| format!("one of: {}", Strictness::NAMES.join(", ")));
                let message = format!("`{value}` is nothing to be strict about");
                tell(layer, span.clone(), "bad-value", message, Some(hint));
            }
        }
    }
    Some(strict)
}

fn extra_probes(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Vec<ProbePattern>> {
    let (layer, list) = nearest(layers, "extra-probes")?;
    let mut patterns = Vec::new();
    for At { value, span } in list.value {
        match ProbePattern::parse(value) {
            Ok(pattern) => patterns.push(pattern),
            Err(fault) => tell(
                layer,
                span.clone(),
                "bad-value",
                format!("`{value}` is no pattern of a probe: {fault}"),
                Some("write names of files and folders: `/old-cms/setup.asp`, `*.bak`".to_owned()),
            ),
        }
    }
    Some(patterns)
}

fn allow_probes(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Vec<String>> {
    let (layer, list) = nearest(layers, "allow-probes")?;
    let shipped: Vec<ProbePattern> = ProbePattern::shipped().collect();
    let mut allowed = Vec::new();
    for At { value, span } in list.value {
        if value == "*" || shipped.iter().any(|pattern| pattern.as_str() == value) {
            allowed.push(value.clone());
        } else {
            let hint = suggestion(value, shipped.iter().map(ProbePattern::as_str))
                .unwrap_or_else(|| "`explain` names the pattern that a URL hits; `*` allows all".to_owned());
            tell(layer, span.clone(), "bad-value", format!("no shipped pattern of a probe is `{value}`"), Some(hint));
        }
    }
    Some(allowed)
}

/// The nearest list of that name, and the layer that it stands in.
fn nearest<'t>(layers: &[(u16, &'t Table)], name: &str) -> Option<(u16, At<&'t Vec<At<String>>>)> {
    layers.iter().find_map(|(layer, table)| Some((*layer, table.texts(name)?)))
}

impl Builder<'_> {
    pub(super) fn guard(&mut self) -> GuardSettings {
        let layers = self.layers;
        let tables: Vec<(u16, &Table)> =
            (0..).zip(layers).filter_map(|(number, layer)| Some((number, layer.table.table("guard")?.value))).collect();
        let find = |layer: u16, text: &str| in_routes(&layers[usize::from(layer)].file.name, text);
        let settings = GuardSettings::read(&tables, &find, &mut |layer, span, code, message, hint| {
            self.error(layer, code, span, message, hint);
        });
        GuardSettings { rules: layers.iter().filter_map(|layer| layer.request_rules.clone()).collect(), ..settings }
    }
}

/// `[guard]`.
pub const GUARD: &[Key] = &[
    only(
        Scope::Gateway,
        key(
            "allowed-targets",
            Kind::Texts,
            "[]",
            "The only hosts that redirects may go to: `example.org` or `*.example.org`. Where absent: the hosts of all homes, sites and platforms.",
        ),
    ),
    only(
        Scope::Gateway,
        key(
            "frozen",
            Kind::Texts,
            "[]",
            "Hosts to which nobody is sent or linked any more, whatever route files say, such as one that was taken over: `example.org` or `*.example.org`. A page (503) says so instead.",
        ),
    ),
    only(
        Scope::Gateway,
        key(
            "frozen-file",
            Kind::Text,
            "",
            "A file with more of them, one a line, `#` before a comment, for a monitor to write; read again when it changes.",
        ),
    ),
    key(
        "platform-redirects",
        Kind::Word(&["listed", "any"]),
        "\"listed\"",
        "Where platforms and old origins may send visitors (Location, Refresh and Link of their answers): `listed` is the old host, the platform's own host and those of its domain, and the allowed targets; a redirect to another becomes one to a page that says so. `any` leaves it to them.",
    ),
    key(
        "methods",
        Kind::Texts,
        "[\"GET\", \"HEAD\", \"POST\", \"OPTIONS\"]",
        "Methods that are admitted, or `*` for all; others are answered 405.",
    ),
    key(
        "rate",
        Kind::Tables(RATE),
        SHIPPED,
        "How many requests may come, of whom, to what; more are answered 429. Those of all files hold; of one name the nearest.",
    ),
    key(
        "rule",
        Kind::Tables(&REQUEST_RULE),
        "",
        "What is done with requests that are like this or that, in order of precedence: the rules of the site's own file, then those of each defaults.toml, the nearest first, then those of gateway.toml. All that is written in a rule must be true of a request; of a list, one item.",
    ),
    only(
        Scope::Gateway,
        key(
            "crawler",
            Kind::Tables(CRAWLER),
            "",
            "Crawlers that rules can ask for by `crawler` and `impostor`, besides those that the gateway knows by itself: baidu, sogou, shenma, bytedance, petal, bing, google, yandex, apple, 360.",
        ),
    ),
    only(
        Scope::Gateway,
        key(
            "crawler-dns",
            Kind::Texts,
            "[]",
            "DNS servers that verify crawlers, from the start of the gateway on, such as [\"10.0.0.53\"] or with a port. Those of /etc/resolv.conf where there are none. Nobody is asked unless a rule needs it.",
        ),
    ),
    key(
        "client-concurrency",
        Kind::Number(0, 10_000_000),
        "1000",
        "Requests of one client (an IPv4 address, or an IPv6 /64), to whatever site, that platforms or large answers may be working on at once; more are answered 429. 0 is no bound.",
    ),
    only(
        Scope::Gateway,
        key(
            "rate-entries",
            Kind::Number(1024, 1 << 26),
            "262144",
            "Clients whose rates are remembered, rounded up to a power of two: 16 bytes each, which is all that any flood of addresses can take. Who is being refused is forgotten last.",
        ),
    ),
    key(
        "deny",
        Kind::Texts,
        "",
        "Addresses and prefixes, such as 192.0.2.0/24 or 2001:db8::/32, that are answered 403, whatever else is set.",
    ),
    key(
        "deny-files",
        Kind::Texts,
        "",
        "Files of such addresses, named relative to the file that names them: one a line, # begins a comment. A change goes live by itself; a faulty file keeps what it was. Site files may name files of the routes folder only.",
    ),
    key(
        "deny-countries",
        Kind::Texts,
        "",
        "Countries (two letters, ISO 3166-1) that are answered 403; gateway.toml must name a database of `countries`.",
    ),
    key(
        "allow",
        Kind::Texts,
        "",
        "Addresses and prefixes that are let in. Where `allow`, `allow-files` or `allow-countries` is set, who is on none of them is answered 403, and so is a client whose address isn't known. An empty list lets nobody in.",
    ),
    key("allow-files", Kind::Texts, "", "Files of addresses that are let in, as `deny-files`."),
    key(
        "allow-countries",
        Kind::Texts,
        "",
        "Countries that are let in. An address that the database doesn't know is in none, such as those of your own network: let those in by `allow`.",
    ),
    only(
        Scope::Gateway,
        key(
            "countries",
            Kind::Text,
            "",
            "A MaxMind database (.mmdb) that says in which country an address is, such as GeoLite2-Country, DB-IP or IPinfo; relative to this file. It is read again when it is replaced.",
        ),
    ),
    key(
        "strict",
        Kind::Texts,
        "[]",
        "What is refused (400) beyond what always is: `backslash` (in the path, raw or escaped), `double-encoding` (a path that has escapes when it is decoded), `invalid-utf-8` (bytes that are no UTF-8, if the site's charset is that). Some old URLs need each of them.",
    ),
    key(
        "extra-probes",
        Kind::Texts,
        "[]",
        "Files and folders that only scanners ask for, beside those that the gateway knows; they are answered 404. A name, or several with `/` between, which begin at the root if a `/` stands before; `*` is any text: `/old-cms/setup.asp`, `*.bak`. What has a mapping is answered all the same.",
    ),
    key(
        "allow-probes",
        Kind::Texts,
        "[]",
        "Patterns of the shipped list that don't count, such as `wp-login.php` where a blog is still proxied; `*` allows all. `explain` names the pattern that a URL hits.",
    ),
    WAF[0],
    WAF[1],
    WAF[2],
    WAF[3],
    WAF[4],
    WAF[5],
    WAF[6],
    WAF[7],
    WAF[8],
    WAF[9],
];

const FILE_HINT: &str = "a path relative to this file, such as `deny.txt` or `lists/deny.txt`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_files_name_lists_of_the_routes_only() {
        for (file, text, want) in [
            ("a.toml", "deny.txt", Ok("deny.txt")),
            ("a.toml", "./lists/deny.txt", Ok("lists/deny.txt")),
            ("p/q/a.toml", "deny.txt", Ok("p/q/deny.txt")),
            ("p/q/a.toml", "../../lists/deny.txt", Ok("lists/deny.txt")),
            ("p/defaults.toml", "q/../deny.txt", Ok("p/deny.txt")),
            ("a.toml", "../deny.txt", Err("is not within the routes folder")),
            ("p/a.toml", "../../etc/shadow", Err("is not within the routes folder")),
            ("a.toml", "/etc/shadow", Err("is not relative to this file")),
            ("a.toml", "", Err("is no file")),
            ("a.toml", ".", Err("is no file")),
            ("a.toml", "lists/", Err("is no file")),
        ] {
            let want = want.map(|name| ListFile { name: name.to_owned(), in_routes: true });
            assert_eq!(in_routes(file, text), want, "{text} in {file}");
        }
    }
}
