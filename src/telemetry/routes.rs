//! How often each mapping and each rule of a site has answered.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::routing::{By, SiteTable};

/// The counters of one table: 4 bytes for each place of a mapping, from the first hit of any on.
#[derive(Debug)]
pub struct RouteCounters {
    table: Arc<SiteTable>,
    rules: Box<[AtomicU64]>,
    mappings: OnceLock<Box<[AtomicU32]>>,
}

/// A mapping or rule, and how often it has answered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RouteCount {
    /// The file that it stands in.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The canonical URL of a mapping, or the pattern of a rule.
    pub route: String,
    /// Requests that it has answered since the gateway started.
    pub hits: u64,
}

impl RouteCounters {
    /// Counters for a table: what `before` has counted of the same mappings and rules goes on.
    pub fn new(table: &Arc<SiteTable>, before: Option<&RouteCounters>) -> Self {
        let counters = RouteCounters {
            table: table.clone(),
            rules: (0..table.rule_count()).map(|_| AtomicU64::new(0)).collect(),
            mappings: OnceLock::new(),
        };
        before.into_iter().for_each(|before| counters.take_over(before));
        counters
    }

    /// Whether these are the counters of this very table.
    pub fn is_of(&self, table: &Arc<SiteTable>) -> bool {
        Arc::ptr_eq(&self.table, table)
    }

    /// Counts a request.
    pub fn count(&self, by: By) {
        match by {
            By::Mapping(place) => {
                if let Some(counter) = self.mappings().get(place as usize) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            By::Rule(number) => {
                if let Some(counter) = self.rules.get(number as usize) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            By::Gateway | By::Site | By::Home | By::Fallback => {}
        }
    }

    /// Every rule, and every mapping in the order of its line, with its hits.
    pub fn counts(&self) -> Vec<RouteCount> {
        let rules = self.table.rules().zip(&self.rules).filter_map(|((source, label), hits)| {
            let source = source?;
            let (file, hits) = (source.file.to_string(), hits.load(Ordering::Relaxed));
            Some(RouteCount { file, line: source.line, route: label.to_owned(), hits })
        });
        let table = &self.table.mappings;
        let mappings = (0..table.places()).filter_map(|place| {
            let (key, hit) = table.at(place)?;
            let hits = self.mappings.get().map_or(0, |counters| counters[place].load(Ordering::Relaxed)).into();
            let file = self.table.mapping_source(hit.line)?.file.to_string();
            Some(RouteCount { file, line: hit.line, route: key.to_owned(), hits })
        });
        let mut mappings: Vec<RouteCount> = mappings.collect();
        mappings.sort_unstable_by_key(|mapping| mapping.line);
        rules.chain(mappings).collect()
    }

    fn mappings(&self) -> &[AtomicU32] {
        self.mappings.get_or_init(|| (0..self.table.mappings.places()).map(|_| AtomicU32::new(0)).collect())
    }

    /// Goes on with what was counted for an older table of the site.
    fn take_over(&self, before: &RouteCounters) {
        let known = before.mappings.get().into_iter().flat_map(|counters| counters.iter().enumerate());
        for (place, hits) in known {
            let hits = hits.load(Ordering::Relaxed);
            if hits > 0
                && let Some((key, _)) = before.table.mappings.at(place)
                && let Some(hit) = self.table.mappings.get(key.as_bytes())
            {
                self.mappings()[hit.place as usize].fetch_add(hits, Ordering::Relaxed);
            }
        }
        for ((_, label), hits) in before.table.rules().zip(&before.rules) {
            if let Some(number) = self.table.rules().position(|(_, other)| other == label) {
                self.rules[number].fetch_add(hits.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;
    use crate::model::Method;
    use crate::routing::{Loader, Request, Scratch, Snapshot};

    fn snapshot(routes: &std::path::Path) -> Snapshot {
        let gateway = Gateway { routes: routes.to_owned(), ..Gateway::default() };
        Loader::new(&gateway).load(0, |_, _| {}).unwrap().0
    }

    fn ask(snapshot: &Snapshot, counters: &RouteCounters, target: &str) {
        let request = Request {
            method: Method::Get,
            host: Some(b"a.example"),
            target: target.as_bytes(),
            secure: false,
            user_agent: b"",
        };
        counters.count(snapshot.decide(&request, 0, &mut Scratch::default()).by);
    }

    #[test]
    fn counts_outlive_a_change_of_the_table() {
        let routes = tempfile::tempdir().unwrap();
        let write = |name, text: &str| std::fs::write(routes.path().join(name), text).unwrap();
        let site = "name = \"A\"\nhosts = [\"a.example\"]\nhome = \"https://a.example/\"\n";
        let rule = |from| format!("[[rule]]\nfrom = \"{from}\"\ngone = true\n");
        write("a.toml", &format!("{site}{}{}", rule("/x/{*any}"), rule("/y/{*any}")));
        write("a.csv", "old,new\n/1,\n/2,\n/3,\n");
        let first = snapshot(routes.path());
        let counters = RouteCounters::new(&first.sites()[0], None);
        for target in ["/1", "/1", "/3", "/y/1", "/nothing", "/"] {
            ask(&first, &counters, target);
        }
        let told = |counters: &RouteCounters| -> Vec<(String, u32, String, u64)> {
            counters.counts().into_iter().map(|count| (count.file, count.line, count.route, count.hits)).collect()
        };
        let row = |file: &str, line, route: &str, hits| (file.to_owned(), line, route.to_owned(), hits);
        let want = [
            row("a.toml", 5, "\"/x/{*any}\"", 0),
            row("a.toml", 8, "\"/y/{*any}\"", 1),
            row("a.csv", 2, "/1", 2),
            row("a.csv", 3, "/2", 0),
            row("a.csv", 4, "/3", 1),
        ];
        assert_eq!(told(&counters), want);
        write("a.toml", &format!("{site}{}", rule("/y/{*any}")));
        write("a.csv", "old,new\n/0,\n/1,\n");
        let second = snapshot(routes.path());
        let next = RouteCounters::new(&second.sites()[0], Some(&counters));
        assert!(next.is_of(&second.sites()[0]) && !next.is_of(&first.sites()[0]));
        ask(&second, &next, "/0");
        let want = [row("a.toml", 5, "\"/y/{*any}\"", 1), row("a.csv", 2, "/0", 1), row("a.csv", 3, "/1", 2)];
        assert_eq!(told(&next), want);
    }
}
