//! The log's word of each site that enters another phase of its lifecycle.
//!
//! Decisions read the phase from the time of the clock, so a phase begins on every node in the same second, whether anybody
//! looks at it here or not.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use crate::answer::Live;
use crate::model::Phase;

/// The phases of the sites, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Phases {
    known: HashMap<String, Phase>,
    /// What was live then. It is not kept alive: after a reload it may be as large as what took its place.
    live: Weak<Live>,
    /// When the next phase begins, in Unix seconds, if no file changes.
    next: i64,
}

/// A site that has entered a phase.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entered {
    /// Its id.
    pub site: String,
    /// The phase that it was in.
    pub from: Phase,
    /// The phase that it is in.
    pub to: Phase,
}

impl Phases {
    /// The sites whose phase is another than at the last look, because its time has come or because their files say so
    /// now. To be called once a second; a look at which nothing can have changed costs nothing.
    pub fn entered(&mut self, live: &Arc<Live>, now: i64) -> Vec<Entered> {
        if Weak::as_ptr(&self.live) == Arc::as_ptr(live) && now < self.next {
            return Vec::new();
        }
        self.live = Arc::downgrade(live);
        self.next = i64::MAX;
        let mut entered = Vec::new();
        let mut known = HashMap::with_capacity(self.known.len());
        for site in live.snapshot.sites() {
            let to = site.lifecycle.at(now);
            let coming = site.lifecycle.starts().iter().map(|&(start, _)| start).find(|&start| start > now);
            self.next = self.next.min(coming.unwrap_or(i64::MAX));
            let (id, from) = self.known.remove_entry(&site.id).unwrap_or_else(|| (site.id.clone(), to));
            if from != to {
                entered.push(Entered { site: id.clone(), from, to });
            }
            known.insert(id, to);
        }
        self.known = known;
        entered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;
    use crate::routing::Loader;
    use std::fs;

    fn live(sites: &[(&str, &str)]) -> Arc<Live> {
        let routes = tempfile::tempdir().unwrap();
        for (name, lifecycle) in sites {
            let text = format!(
                "name = \"{name}\"\nhosts = [\"{name}.example\"]\nhome = \"https://new.example/\"\norigin = \"http://127.0.0.1:9\"\n[lifecycle]\n{lifecycle}\n"
            );
            fs::write(routes.path().join(format!("{name}.toml")), text).unwrap();
        }
        let gateway = Gateway { routes: routes.path().to_owned(), ..Gateway::default() };
        let (snapshot, report) = Loader::new(&gateway).load(0, |_, _| {}).unwrap();
        assert_eq!(report.errors(), 0, "{:?}", report.diagnostics);
        Arc::new(Live { snapshot: Arc::new(snapshot), ..Live::default() })
    }

    fn at(second: i64) -> String {
        jiff::Timestamp::from_second(second).unwrap().to_string()
    }

    fn entered(site: &str, from: Phase, to: Phase) -> Entered {
        Entered { site: site.to_owned(), from, to }
    }

    #[test]
    fn each_phase_is_told_once_in_its_second() {
        let a = format!("notice = {}\nredirect = {}", at(1_000), at(2_000));
        let b = format!("redirect = {}", at(2_000));
        let live = live(&[("a", &a), ("b", &b), ("c", "")]);
        let mut phases = Phases::default();
        // At the start nothing has changed.
        assert_eq!(phases.entered(&live, 999), []);
        assert_eq!(phases.next, 1_000);
        assert_eq!(phases.entered(&live, 1_000), [entered("a", Phase::Proxy, Phase::Notice)]);
        assert_eq!(phases.entered(&live, 1_001), []);
        // Seconds may be missed.
        let both = [entered("a", Phase::Notice, Phase::Redirect), entered("b", Phase::Proxy, Phase::Redirect)];
        assert_eq!(phases.entered(&live, 2_005), both);
        assert_eq!((phases.next, phases.entered(&live, i64::MAX - 1)), (i64::MAX, vec![]));
    }

    #[test]
    fn what_files_change_is_told_too() {
        let mut phases = Phases::default();
        let later = format!("notice = {}", at(5_000));
        phases.entered(&live(&[("a", &later), ("b", "")]), 1_000);
        let sooner = format!("notice = {}", at(500));
        // A site that is new has entered nothing, and one that went has left nothing.
        let changed = live(&[("a", &sooner), ("c", &sooner)]);
        assert_eq!(phases.entered(&changed, 1_001), [entered("a", Phase::Proxy, Phase::Notice)]);
        assert_eq!(phases.entered(&live(&[("b", &later), ("a", &sooner)]), 1_002), []);
    }
}
