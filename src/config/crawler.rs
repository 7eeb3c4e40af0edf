//! `[[guard.crawler]]`: crawlers by name, what they call themselves and how they prove it.

use ipnet::IpNet;

use super::condition::network;
use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{Key, Kind, key};
use super::reader::{At, Role, Table, read};
use crate::model::Host;

/// A crawler that rules can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrawlerSettings {
    /// As rules name it.
    pub name: String,
    /// Texts of which its User-Agent contains one, whatever the case.
    pub user_agents: Vec<String>,
    /// Its hosts have these names, or names below them.
    pub domains: Vec<Host>,
    /// Its addresses are in these networks: those need no DNS.
    pub networks: Vec<IpNet>,
}

/// The keys of a crawler.
pub const CRAWLER: &[Key] = &[
    key("name", Kind::Text, "", "Name of the crawler for rules. One of the gateway's own of this name is replaced."),
    key(
        "user-agents",
        Kind::Texts,
        "",
        "Texts of which the crawler's User-Agent contains one, such as [\"Baiduspider\"]; case doesn't count.",
    ),
    key(
        "domains",
        Kind::Texts,
        "",
        "Names that the crawler's hosts have, or are below, such as [\"baidu.com\"]: the reverse look-up of an address gives such a name, and the name's own look-up gives the address.",
    ),
    key(
        "networks",
        Kind::Texts,
        "",
        "Networks of the crawler, such as [\"203.0.113.0/24\"]: addresses in them need no look-up.",
    ),
];

/// The crawlers that the gateway knows by itself.
pub fn known_crawlers() -> Vec<CrawlerSettings> {
    static KEYS: [Key; 1] = [key("crawler", Kind::Tables(CRAWLER), "", "")];
    let file = SourceFile::new("crawlers.toml", include_str!("crawlers.toml"));
    let mut faults = Vec::new();
    let table = read(&file, &KEYS, Role::Gateway, &mut faults);
    let crawlers = crawlers(&file, &table, &mut faults);
    debug_assert!(faults.is_empty(), "{faults:?}");
    crawlers
}

/// The crawlers of a file, less those that are faulty, which is reported.
pub(super) fn crawlers(file: &SourceFile, table: &Table, out: &mut Vec<Diagnostic>) -> Vec<CrawlerSettings> {
    let mut crawlers: Vec<CrawlerSettings> = Vec::new();
    for table in table.tables("crawler").into_iter().flat_map(|tables| tables.value) {
        let faults = out.len();
        let crawler = crawler(file, table, out);
        if crawlers.iter().any(|known| known.name == crawler.name) {
            let message = format!("there are two crawlers of the name `{}`", crawler.name);
            out.push(file.error("bad-crawler", table.span.clone(), message).hint("give one of them another name"));
        }
        if out.len() == faults && table.is_whole() {
            crawlers.push(crawler);
        }
    }
    crawlers
}

fn crawler(file: &SourceFile, table: &Table, out: &mut Vec<Diagnostic>) -> CrawlerSettings {
    let mut crawler = CrawlerSettings::default();
    let mut fault = |span, message: String, hint: String| out.push(file.error("bad-crawler", span, message).hint(hint));
    match table.text("name") {
        Some(at) if at.value.is_empty() || at.value.contains('*') || at.value.chars().any(char::is_control) => {
            fault(at.span, format!("`{}` is no name for a crawler", at.value), "a word such as \"baidu\"".to_owned());
        }
        Some(at) => crawler.name.clone_from(at.value),
        None if table.lost("name") => {}
        None => fault(table.span.clone(), "this crawler has no name".to_owned(), "name = \"baidu\"".to_owned()),
    }
    let texts = |key| table.texts(key).into_iter().flat_map(|list| list.value);
    for At { value, span } in texts("user-agents") {
        if value.is_empty() {
            fault(span.clone(), "every User-Agent contains an empty text".to_owned(), "leave it out".to_owned());
        }
        crawler.user_agents.push(value.to_ascii_lowercase());
    }
    if crawler.user_agents.is_empty() && !table.lost("user-agents") {
        let hint = "user-agents = [\"Baiduspider\"]".to_owned();
        fault(table.span.clone(), "this crawler does not say how it calls itself".to_owned(), hint);
    }
    for At { value, span } in texts("domains") {
        match Host::parse(value.trim_start_matches("*.").as_bytes()) {
            Ok(host) => crawler.domains.push(host),
            Err(error) => {
                fault(span.clone(), format!("`{value}`: {error}"), "a name such as \"baidu.com\"".to_owned());
            }
        }
    }
    for At { value, span } in texts("networks") {
        match network(value) {
            Ok(network) => crawler.networks.push(network),
            Err(hint) => fault(span.clone(), format!("`{value}` is no network"), hint),
        }
    }
    crawler
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_knows_crawlers_by_itself() {
        let crawlers = known_crawlers();
        assert_eq!(crawlers.len(), include_str!("crawlers.toml").matches("[[crawler]]").count());
        let baidu = crawlers.iter().find(|crawler| crawler.name == "baidu").unwrap();
        assert_eq!((&*baidu.user_agents[0], baidu.domains[0].as_str()), ("baiduspider", "baidu.com"));
    }
}
