//! A folder of route files → a snapshot; after a change, only what changed is read again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::config::{self, Diagnostic, Gateway, GuardSettings, Layer, Role, Severity, Site, SourceFile, Stamp, Table};
use crate::guard::Sources;
use crate::model::{Host, HostPattern};

use super::build::{Canonicalizers, Policy, build, implicit_targets};
use super::folder::{is_defaults, is_route_file, is_site, read_layer, read_table, scan, table_name};
use super::frozen::FrozenList;
use super::lint::lint;
use super::rules::Compiled;
use super::shadow::Automata;
use super::site::SiteTable;
use super::snapshot::Snapshot;

/// Reads a folder again and again, keeping what has not changed.
///
/// Per site it is all or nothing: a site whose files have errors keeps the table it had. A site that never had one is
/// served with what is good in its files, since for citizens half a table is better than none.
#[derive(Debug)]
pub struct Loader {
    root: PathBuf,
    allowed_targets: Option<Vec<HostPattern>>,
    guard: GuardSettings,
    countries: Option<PathBuf>,
    sources: Arc<Sources>,
    frozen: FrozenList,
    platforms: Vec<(String, Option<Host>)>,
    health_paths: Vec<String>,
    https_port: u16,
    challenges: bool,
    layers: HashMap<String, (Stamp, Arc<Layer>)>,
    sites: BTreeMap<String, SiteState>,
    policy: Policy,
    canonicalizers: Canonicalizers,
    automata: Automata,
    compiled: Compiled,
    loose: Vec<Diagnostic>,
    /// Texts that are read instead of what files say.
    supposed: BTreeMap<String, String>,
}

/// What changed, what is wrong, and how long it took.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Ids of the sites that were read again.
    pub rebuilt: Vec<String>,
    /// Ids of the sites that are gone.
    pub removed: Vec<String>,
    /// Lists of addresses and databases that hold something else now; they are live already.
    pub reread: Vec<String>,
    /// Everything that is wrong with the folder now, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// Ids of the sites whose files have errors: they are served from their last good table, or in part.
    pub faulty: Vec<String>,
    /// Files that the guard reads, gateway.toml among them, that have errors: each counts as it last was good.
    pub faulty_files: Vec<String>,
    /// How many sites are live.
    pub live: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl LoadReport {
    /// Whether everything that is live is as its files say.
    pub fn is_whole(&self) -> bool {
        self.faulty.is_empty() && self.faulty_files.is_empty()
    }

    /// Adds what came of reading gateway.toml again: its faults, and whether its `[guard]` says something else now.
    pub fn take_settings(&mut self, file: Option<&Path>, faults: &[Diagnostic], is_guarded_anew: bool) {
        let name = file.map(|file| file.to_string_lossy().into_owned());
        self.reread.extend(name.filter(|_| is_guarded_anew));
        self.add_faulty_files(faults);
        self.diagnostics.extend_from_slice(faults);
    }

    fn add_faulty_files(&mut self, faults: &[Diagnostic]) {
        let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
        let files: BTreeSet<&str> = errors.map(|fault| &*fault.file).collect();
        self.faulty_files.extend(files.into_iter().map(str::to_owned));
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

#[derive(Debug)]
struct SiteState {
    inputs: Vec<(String, Stamp)>,
    /// The site as its files say; without hosts it never goes live.
    checked: Site,
    /// What traffic sees.
    live: Option<Arc<SiteTable>>,
    faults: Vec<Diagnostic>,
    lints: Vec<Diagnostic>,
}

impl SiteState {
    fn has_errors(&self) -> bool {
        self.faults.iter().chain(&self.lints).any(|fault| fault.severity == Severity::Error)
    }

    /// Whether nothing was left out of the site, so that its tests mean something.
    fn is_whole(&self) -> bool {
        self.faults.iter().all(|fault| fault.severity != Severity::Error || fault.code == "bad-test")
    }
}

impl Loader {
    /// A loader for the folder and the policy of a gateway. Nothing is read yet.
    pub fn new(gateway: &Gateway) -> Self {
        Loader {
            root: gateway.routes.clone(),
            allowed_targets: gateway.allowed_targets.clone(),
            guard: gateway.guard.clone(),
            countries: gateway.countries.clone(),
            sources: Arc::new(Sources::new(&gateway.routes)),
            frozen: FrozenList::new(gateway),
            platforms: gateway.platforms.iter().map(|(name, platform)| (name.clone(), platform.host.clone())).collect(),
            health_paths: gateway.health_paths.clone(),
            https_port: gateway.https_port,
            challenges: gateway.acme.directory.is_some(),
            layers: HashMap::new(),
            sites: BTreeMap::new(),
            policy: Policy::default(),
            canonicalizers: Canonicalizers::default(),
            automata: Automata::default(),
            compiled: Compiled::default(),
            loose: Vec::new(),
            supposed: BTreeMap::new(),
        }
    }

    /// A loader that reads `texts` (TOML, by the path of the file below the folder) as if they were in the folder already, to
    /// see what would come of them.
    pub fn supposing(gateway: &Gateway, texts: BTreeMap<String, String>) -> Self {
        Loader { supposed: texts, ..Loader::new(gateway) }
    }

    /// What the guard reads besides settings.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Takes what `[guard]` of a gateway.toml says now; it goes live with the next load. Says whether that is something
    /// else than before.
    pub fn set_guard(&mut self, gateway: &Gateway) -> bool {
        let Gateway { allowed_targets, guard, countries, .. } = gateway;
        let is_new = (allowed_targets, guard, countries) != (&self.allowed_targets, &self.guard, &self.countries);
        self.allowed_targets.clone_from(&gateway.allowed_targets);
        self.guard.clone_from(&gateway.guard);
        self.countries.clone_from(&gateway.countries);
        self.frozen.set(gateway);
        is_new
    }

    /// The list of frozen hosts that is read besides the routes.
    pub fn frozen_file(&self) -> Option<&Path> {
        self.frozen.file()
    }

    /// Reads what changed and puts a snapshot together. `now` (Unix seconds) is the moment for which tests without a
    /// date run. `progress` hears how many of how many sites have been built.
    ///
    /// # Errors
    /// Only when the folder itself can't be read; the loader is then as it was.
    pub fn load(&mut self, now: i64, mut progress: impl FnMut(usize, usize)) -> io::Result<(Snapshot, LoadReport)> {
        let start = Instant::now();
        let mut files = scan(&self.root, is_route_file)?;
        let is_read = |name: &&String| is_route_file(name) && !name.split('/').any(|part| part.starts_with('.'));
        files.extend(self.supposed.keys().filter(is_read).map(|name| (name.clone(), Stamp::UNREADABLE)));
        self.loose.clear();
        self.read_layers(&files);
        let (changed, removed) = self.check_sites(&files);
        let changed = self.apply_policy(changed);

        let mut tables: HashMap<String, Arc<SiteTable>> = HashMap::new();
        for (done, id) in changed.iter().enumerate() {
            progress(done, changed.len());
            if self.is_left_alone(id) {
                continue;
            }
            if let Some(table) = self.build_table(id, &files) {
                tables.insert(id.clone(), Arc::new(table));
            }
        }
        let snapshot = self.assemble(&changed, &tables, now);
        let (frozen, fault) = self.frozen.read();
        let snapshot = snapshot.with_targets(self.policy.allowed.clone(), frozen).with_challenges(self.challenges);
        self.loose.extend(fault);
        self.find_loose_tables(&files);
        self.find_kept_and_closed();
        let mut report = LoadReport {
            rebuilt: changed.into_iter().collect(),
            removed,
            live: snapshot.sites().len(),
            elapsed: start.elapsed(),
            ..LoadReport::default()
        };
        report.diagnostics.append(&mut self.loose.clone());
        report.diagnostics.extend(self.policy.refused_targets().map(|(_, fault)| fault));
        self.refresh_sources(&snapshot, &mut report);
        for (id, state) in &self.sites {
            report.diagnostics.extend(state.faults.iter().chain(&state.lints).cloned());
            if state.has_errors() {
                report.faulty.push(id.clone());
            }
        }
        report.diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        // A faulty defaults.toml is reported once, not for each site below it.
        report.diagnostics.dedup();
        Ok((snapshot, report))
    }

    /// Reads what changed of the lists and the database that the guard of the live sites needs.
    fn refresh_sources(&self, snapshot: &Snapshot, report: &mut LoadReport) {
        let settings = snapshot.sites().iter().map(|site| &site.guard).chain([&self.guard]);
        let refreshed = self.sources.refresh(settings, self.countries.as_deref());
        report.reread = refreshed.changed;
        report.add_faulty_files(&refreshed.faults);
        report.diagnostics.extend(refreshed.faults);
        if self.countries.is_none() {
            for site in snapshot.sites().iter().filter(|site| site.guard.names_countries()) {
                let file = SourceFile::new(format!("{}.toml", site.id), String::new());
                let fault = file.error("no-countries", 0..0, "this site names countries, and no database knows them");
                let hint = "name one in gateway.toml: `[guard] countries = \"countries.mmdb\"`";
                report.diagnostics.push(fault.hint(hint).warning());
            }
        }
    }

    /// The checked sites, for commands that look at more than the snapshot.
    pub fn checked_sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values().map(|state| &state.checked)
    }

    /// Whether the tests of a site were run: not if something was left out of it.
    pub fn is_tested(&self, id: &str) -> bool {
        self.sites.get(id).is_some_and(SiteState::is_whole)
    }

    fn read_layers(&mut self, files: &BTreeMap<String, Stamp>) {
        self.layers.retain(|name, _| files.contains_key(name));
        for (name, &stamp) in files.iter().filter(|(name, _)| name.ends_with(".toml")) {
            if self.layers.get(name).is_some_and(|(known, _)| *known == stamp) {
                continue;
            }
            let role = if is_defaults(name) { Role::Defaults } else { Role::Site };
            let layer = match self.supposed.get(name) {
                Some(text) => Layer::parse(name, text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(), role),
                None => read_layer(&self.root, name, stamp, role),
            };
            self.layers.insert(name.clone(), (stamp, Arc::new(layer)));
        }
        for (name, (_, layer)) in &self.layers {
            // Without a site below it nobody else would report its faults.
            let folder = name.strip_suffix("defaults.toml").unwrap_or(name);
            if is_defaults(name) && !files.keys().any(|file| is_site(file) && file.starts_with(folder)) {
                let nobody = Layer {
                    file: Arc::new(SourceFile::new("", String::new())),
                    table: Table::unreadable(),
                    faults: Vec::new(),
                    request_rules: None,
                };
                self.loose.extend(config::site::build("", &[Arc::new(nobody), layer.clone()]).1);
            }
        }
    }

    /// Checks the sites whose files changed. Returns their ids, and those of sites that are gone.
    fn check_sites(&mut self, files: &BTreeMap<String, Stamp>) -> (BTreeSet<String>, Vec<String>) {
        let mut changed = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for name in files.keys().filter(|name| is_site(name)) {
            let id = name.strip_suffix(".toml").unwrap_or(name).to_owned();
            let chain = self.chain(name);
            let mut inputs: Vec<(String, Stamp)> =
                chain.iter().map(|name| (name.clone(), self.layers[name].0)).collect();
            inputs.extend(files.get(&table_name(&id)).map(|stamp| (table_name(&id), *stamp)));
            seen.insert(id.clone());
            if self.sites.get(&id).is_some_and(|state| state.inputs == inputs) {
                continue;
            }
            let layers: Vec<Arc<Layer>> = chain.iter().map(|name| self.layers[name].1.clone()).collect();
            let (checked, faults) = config::site::build(&id, &layers);
            let live = self.sites.remove(&id).and_then(|state| state.live);
            self.sites.insert(id.clone(), SiteState { inputs, checked, live, faults, lints: Vec::new() });
            changed.insert(id);
        }
        let removed: Vec<String> = self.sites.keys().filter(|id| !seen.contains(*id)).cloned().collect();
        for id in &removed {
            self.sites.remove(id);
        }
        (changed, removed)
    }

    /// The files that a site is read from: its own, then each `defaults.toml` above it, nearest first.
    fn chain(&self, name: &str) -> Vec<String> {
        let mut chain = vec![name.to_owned()];
        let mut folder = name;
        loop {
            folder = folder.rfind('/').map_or("", |slash| &folder[..slash]);
            let defaults =
                if folder.is_empty() { "defaults.toml".to_owned() } else { format!("{folder}/defaults.toml") };
            if self.layers.contains_key(&defaults) {
                chain.push(defaults);
            }
            if folder.is_empty() {
                return chain;
            }
        }
    }

    /// Works out where redirects may go now, and adds the sites for which that makes a difference.
    fn apply_policy(&mut self, mut changed: BTreeSet<String>) -> BTreeSet<String> {
        let platforms = self.platforms.iter().filter_map(|(_, host)| host.as_ref());
        let allowed = match &self.allowed_targets {
            Some(patterns) => patterns.iter().collect(),
            None => {
                let mut allowed = implicit_targets(self.sites.values().map(|state| &state.checked), platforms);
                // A slip in one site's file must not take other sites' targets away: what was good stays good.
                for table in
                    self.sites.values().filter(|state| state.has_errors()).filter_map(|state| state.live.as_ref())
                {
                    table.hosts.iter().for_each(|host| allowed.insert(host));
                    allowed.extend(table.home.iter().map(|home| HostPattern::Exact(home.host().clone())));
                }
                allowed
            }
        };
        let policy = Policy {
            allowed: Arc::new(allowed),
            platforms: self.platforms.iter().map(|(name, _)| name.clone()).collect(),
            crawlers: self.guard.crawlers.iter().map(|crawler| crawler.name.clone()).collect(),
            rules: self.guard.rules.clone(),
            guard: self.guard.clone(),
        };
        if policy != self.policy {
            // Rules of gateway.toml hold for every site, and their targets are checked by each site's policy.
            let other_rules = policy.rules != self.policy.rules || policy.crawlers != self.policy.crawlers;
            let narrower = !policy.allowed.covers(&self.policy.allowed);
            for (id, state) in &mut self.sites {
                let own_policy = state.checked.allowed_targets.is_some();
                // Also by rules of gateway.toml, of which the site's faults say nothing.
                let by_rule = |table: &Arc<SiteTable>| table.guard.refused_targets.iter().any(|all| !all.is_empty());
                let refused = state.faults.iter().any(|fault| fault.code == "target-not-allowed")
                    || state.live.as_ref().is_some_and(by_rule);
                if (other_rules || !own_policy && (narrower || refused)) && changed.insert(id.clone()) {
                    // Checked again from the same files, so that the faults of the table are found anew.
                    let layers: Vec<Arc<Layer>> = state
                        .inputs
                        .iter()
                        .filter_map(|(name, _)| self.layers.get(name))
                        .map(|(_, layer)| layer.clone())
                        .collect();
                    (state.checked, state.faults) = config::site::build(id, &layers);
                }
            }
            self.policy = policy;
        }
        changed
    }

    /// Whether a site stays where it is, without us. What was live of it goes, once its files are good.
    fn is_left_alone(&mut self, id: &str) -> bool {
        let Some(state) = self.sites.get_mut(id) else { return false };
        let is_so = !state.checked.is_fronted();
        if is_so && state.is_whole() {
            state.live = None;
        }
        is_so
    }

    /// Hosts that stay where they are by one file, and are another site's by its own.
    fn find_kept_and_closed(&mut self) {
        let alone: Vec<&Site> =
            self.sites.values().map(|state| &state.checked).filter(|site| !site.is_fronted()).collect();
        if alone.is_empty() {
            return;
        }
        let mut owners: HashMap<&HostPattern, (&Site, u32)> = HashMap::new();
        let fronted = self.sites.values().map(|state| &state.checked).filter(|site| site.is_fronted());
        for site in fronted.chain(alone.iter().copied()) {
            for (host, place) in &site.hosts {
                owners.entry(host).or_insert((site, place.line));
            }
        }
        for site in alone {
            for (host, place) in &site.hosts {
                if let Some((owner, line)) = owners.get(host).filter(|(owner, _)| owner.id != site.id) {
                    let message = format!("`{host}` belongs to another site already");
                    let hint = format!(
                        "{}.toml:{line} has it, with disposition = \"{}\" where this one has \"{}\"; a host belongs to one site",
                        owner.id, owner.disposition, site.disposition
                    );
                    self.loose.push(site.files[0].error("duplicate-host", place.span.clone(), message).hint(hint));
                }
            }
        }
    }

    fn build_table(&mut self, id: &str, files: &BTreeMap<String, Stamp>) -> Option<SiteTable> {
        let state = self.sites.get_mut(id)?;
        let site = &state.checked;
        let name = table_name(id);
        let file = files.contains_key(&name).then(|| read_table(&self.root, &name));
        let file = match file {
            Some(Ok(file)) => Some(file),
            Some(Err(fault)) => {
                state.faults.push(*fault);
                None
            }
            None => None,
        };
        let table =
            build(site, file.as_deref(), &self.policy, &mut self.canonicalizers, &mut self.compiled, &mut state.faults);
        (!table.hosts.is_empty()).then_some(table)
    }

    /// Puts the new tables live where they have no errors, and the old ones where they do.
    fn assemble(&mut self, changed: &BTreeSet<String>, tables: &HashMap<String, Arc<SiteTable>>, now: i64) -> Snapshot {
        // Each round a site with errors falls back to the table it had, which may free or take hosts of others.
        let mut candidates: BTreeSet<String> = changed.clone();
        loop {
            let chosen: Vec<(String, Arc<SiteTable>)> = self
                .sites
                .iter()
                .filter_map(|(id, state)| {
                    let new = tables
                        .get(id)
                        .filter(|_| candidates.contains(id) && (state.live.is_none() || !state.has_errors()));
                    new.or(state.live.as_ref()).map(|table| (id.clone(), table.clone()))
                })
                .collect();
            let is_new = |table: &SiteTable| tables.get(&table.id).is_some_and(|new| std::ptr::eq(&**new, table));
            let (snapshot, conflicts) = Snapshot::new(
                chosen.iter().map(|(_, table)| table.clone()).collect(),
                |table| !is_new(table),
                self.health_paths.clone(),
                self.https_port,
                GuardSettings {
                    refused_targets: Some(self.policy.refused_targets().map(|(host, _)| host).collect()),
                    ..self.guard.clone()
                },
                self.sources.clone(),
            );
            let mut findings: Vec<(String, Diagnostic)> = Vec::new();
            for conflict in &conflicts {
                let (id, owner) = (&chosen[conflict.site].0, &chosen[conflict.owner].0);
                findings.extend(self.host_conflict(id, owner, &chosen[conflict.site].1, conflict.host));
            }
            let checked: Vec<(&Site, bool)> = changed
                .iter()
                .filter_map(|id| self.sites.get(id))
                .map(|state| (&state.checked, state.is_whole()))
                .collect();
            findings.extend(lint(&snapshot, &checked, &self.root, now, &mut self.automata));
            let mut by_site: HashMap<String, Vec<Diagnostic>> = HashMap::new();
            for (id, fault) in findings {
                by_site.entry(id).or_default().push(fault);
            }
            let mut again = false;
            for id in changed {
                let Some(state) = self.sites.get_mut(id) else { continue };
                let was_candidate = candidates.contains(id);
                if !was_candidate {
                    continue;
                }
                state.lints = by_site.remove(id).unwrap_or_default();
                if state.live.is_some() && state.has_errors() {
                    candidates.remove(id);
                    again =
                        tables.contains_key(id) && chosen.iter().any(|(of, table)| of == id && is_new(table)) || again;
                }
            }
            if !again {
                for (id, table) in chosen {
                    if let Some(state) = self.sites.get_mut(&id) {
                        state.live = Some(table);
                    }
                }
                return snapshot;
            }
        }
    }

    fn host_conflict(&self, id: &str, owner: &str, table: &SiteTable, host: usize) -> Option<(String, Diagnostic)> {
        let site = &self.sites.get(id)?.checked;
        let pattern = table.hosts.get(host)?;
        let (_, place) = site.hosts.iter().find(|(known, _)| known == pattern)?;
        let other = &self.sites.get(owner)?.checked;
        let at = other.hosts.iter().find(|(known, _)| known == pattern).map_or(1, |(_, place)| place.line);
        let fault = site.files[0]
            .error("duplicate-host", place.span.clone(), format!("`{pattern}` belongs to another site already"))
            .hint(format!("{owner}.toml:{at} has it; a host belongs to one site"));
        Some((id.to_owned(), fault))
    }

    fn find_loose_tables(&mut self, files: &BTreeMap<String, Stamp>) {
        let mut report = |name: &str, message: &str, hint: String| {
            let file = SourceFile::new(name, String::new());
            self.loose.push(file.error("loose-table", 0..0, message).hint(hint).warning());
        };
        for name in files.keys() {
            let Some((id, ending)) = name.rsplit_once('.').filter(|(_, ending)| ending.eq_ignore_ascii_case("csv"))
            else {
                continue;
            };
            let site = format!("{id}.toml");
            if ending != "csv" {
                report(name, "this mapping table is not read", format!("rename it to `{}`", table_name(id)));
            } else if is_defaults(&site) {
                report(
                    name,
                    "this mapping table belongs to no site",
                    "a defaults.toml has no mappings: put them beside a site file".to_owned(),
                );
            } else if !files.contains_key(&site) {
                report(name, "this mapping table belongs to no site", format!("put a site file `{site}` beside it"));
            }
        }
    }
}
