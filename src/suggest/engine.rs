//! Evidence of all kinds, put together: for each old address the likeliest page, and how sure that is.
//!
//! Each way (rules, titles, names, columns) gives pages and the logarithm of odds that it is the right one against all others,
//! "there is none" among them. Ways that agree add up, pages compete. What is left is made consistent: two different articles
//! don't become one.

use std::collections::{BTreeMap, HashMap};

use super::rules::{Folders, Ground, Kind, NAME, Rule, Seed, Space, name_key, spaces};
use super::shape::{Shape, hashed, is_list_like};
use super::wording::{Index, Wording, wordings};
use super::{Choice, Material, Reason, Suggestion};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A page that an address may have become.
#[derive(Clone, Debug)]
struct Candidate {
    page: u32,
    weight: f64,
    reasons: Vec<Reason>,
    /// An export, or an operator, says so: then two may become one.
    is_told: bool,
}

/// Suggests a page for each old address, in their order.
pub(super) fn suggest(material: &Material) -> Vec<Suggestion> {
    Engine::new(material).run()
}

struct Engine<'a> {
    material: &'a Material,
    olds: Vec<Shape>,
    pages: Vec<Shape>,
    known: Vec<(Shape, u32)>,
    spaces: Vec<Space>,
    old_titles: Vec<Option<Wording>>,
    page_titles: Vec<Option<Wording>>,
}

impl<'a> Engine<'a> {
    fn new(material: &'a Material) -> Self {
        let pages: Vec<Shape> = material
            .pages
            .iter()
            .map(|page| {
                let mut shape = Shape::of(&page.url);
                shape.day = page.day.or(shape.day);
                shape
            })
            .collect();
        Engine {
            material,
            olds: material.olds.iter().map(|old| Shape::of(&old.key)).collect(),
            known: material.known.iter().map(|(old, page)| (Shape::of(old), *page)).collect(),
            spaces: spaces(&material.exports, &pages),
            old_titles: wordings(material.olds.iter().map(|old| old.title.as_deref())),
            page_titles: wordings(material.pages.iter().map(|page| page.title.as_deref())),
            pages,
        }
    }

    fn run(&self) -> Vec<Suggestion> {
        let mut candidates: Vec<Vec<Candidate>> = vec![Vec::new(); self.olds.len()];
        self.by_title(&mut candidates);
        self.weigh_days(&mut candidates);
        let seeds = self.seeds(&candidates);
        self.by_rules(&mut candidates, &seeds);
        self.by_told(&mut candidates);
        self.weigh_titles(&mut candidates);
        let folders = self.sure_folders(&candidates);
        self.weigh_folders(&mut candidates, &folders);
        self.by_folder(&mut candidates, &folders);
        self.by_name(&mut candidates, &folders);
        for list in &mut candidates {
            list.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.page.cmp(&b.page)));
        }
        self.settle(&mut candidates);
        candidates.iter().enumerate().map(|(old, list)| decide(old, list)).collect()
    }

    /// Pages whose title is the same, or nearly.
    fn by_title(&self, candidates: &mut [Vec<Candidate>]) {
        if self.page_titles.iter().all(Option::is_none) {
            return;
        }
        let index = Index::new(&self.page_titles);
        let alike: Vec<_> =
            self.old_titles.iter().map(|title| title.as_ref().map(|title| index.alike(title))).collect();
        let mut often: Map<u64, u32> = Map::default();
        self.old_titles.iter().flatten().for_each(|title| *often.entry(title.key()).or_default() += 1);
        // How often other pages have the same title, and how often a page is not there any more: both together make
        // the only page of that title the wrong one.
        let titled = self.old_titles.iter().flatten().count().max(1) as f64;
        let shared = self.old_titles.iter().flatten().filter(|title| often[&title.key()] > 1).count() as f64 / titled;
        // The titles that are not known have their share in it.
        let shared = (shared * (self.olds.len() as f64 / titled).min(3.0)).min(0.5);
        let found = alike.iter().flatten().filter(|alike| !alike.equal.is_empty()).count() as f64 / titled;
        let risk = 0.004 + shared * (1.0 - found).max(0.02);
        for (n, alike) in alike.into_iter().enumerate() {
            let (Some(alike), Some(title)) = (alike, &self.old_titles[n]) else { continue };
            let same_olds = often[&title.key()];
            let length = title.length();
            for &page in &alike.equal {
                let mut weight = ((1.0 - risk) / risk).ln();
                weight += if length >= 8 {
                    0.0
                } else if length >= 5 {
                    -1.5
                } else {
                    -3.0
                };
                weight -= 2.5 * (alike.equal_count as f64).ln();
                if same_olds > 1 {
                    weight -= 1.0 + 2.0 * f64::from(same_olds).ln();
                }
                candidates[n].push(Candidate { page, weight, reasons: vec![Reason::SameTitle], is_told: false });
            }
            if let Some((page, likeness, shorter)) = alike.best {
                let margin = likeness - alike.second;
                let mut weight = (likeness - 0.75) * 12.0 + (margin - 0.15).min(0.3) * 6.0;
                weight -= if length < 9 { 1.5 } else { 0.0 };
                weight -= f64::from(same_olds - 1);
                // Words that are added say less than words that are others.
                weight += ((shorter - 0.95) * 20.0).clamp(-3.0, 0.5);
                weight = weight.min(3.2);
                candidates[n].push(Candidate {
                    page,
                    weight,
                    reasons: vec![Reason::AlikeTitle(likeness)],
                    is_told: false,
                });
            }
        }
    }

    /// What days say of pages that were found by their titles: as much as they say where a title leaves no choice.
    fn weigh_days(&self, candidates: &mut [Vec<Candidate>]) {
        let kind = |old: &Shape, page: u32| {
            let (a, b) = (old.day?, self.pages[page as usize].day?);
            Some(match a.distance(b) {
                Some(0) => 0,
                Some(1..=4) => 1,
                None if a.agrees(b) => 2,
                _ => 3usize,
            })
        };
        let (mut sure, mut any) = ([0.5f64; 4], [0.5f64; 4]);
        for (n, list) in candidates.iter().enumerate() {
            let [only] = list.as_slice() else { continue };
            if only.reasons != [Reason::SameTitle] || only.weight < 1.5 {
                continue;
            }
            // The same page with the day of another address is what chance would give.
            let other = &self.olds[(n * 7919 + 13) % self.olds.len()];
            kind(&self.olds[n], only.page).into_iter().for_each(|kind| sure[kind] += 1.0);
            kind(other, only.page).into_iter().for_each(|kind| any[kind] += 1.0);
        }
        let (all_sure, all_any): (f64, f64) = (sure.iter().sum(), any.iter().sum());
        let enough = all_sure >= 22.0;
        let weigh = |kind: usize| {
            let weight =
                if enough { (sure[kind] / all_sure / (any[kind] / all_any)).ln() } else { [2.5, 0.0, 1.0, -2.5][kind] };
            weight.clamp(-4.0, 4.0)
        };
        for (old, list) in self.olds.iter().zip(candidates) {
            for candidate in list {
                candidate.weight += kind(old, candidate.page).map_or(0.0, weigh);
            }
        }
    }

    /// What columns say of pages that were found by their titles alone.
    fn weigh_folders(&self, candidates: &mut [Vec<Candidate>], folders: &Folders) {
        for (old, list) in self.olds.iter().zip(candidates) {
            for candidate in list {
                let by_title = |reason: &Reason| matches!(reason, Reason::SameTitle | Reason::AlikeTitle(_));
                if candidate.reasons.iter().all(by_title) {
                    let page = &self.pages[candidate.page as usize];
                    candidate.weight += folders.weight(old, page, candidate.weight > SURE).clamp(-4.0, 2.0);
                }
            }
        }
    }

    /// Pairs that are known, and those that titles alone make all but sure.
    fn seeds<'s>(&'s self, candidates: &[Vec<Candidate>]) -> Map<&'s str, Vec<Seed<'s>>> {
        let mut seeds: Map<&str, Vec<Seed<'_>>> = Map::default();
        for (old, page) in &self.known {
            seeds.entry(&old.family).or_default().push(Seed { old, page: *page, is_sure: true });
        }
        for (old, list) in self.olds.iter().zip(candidates) {
            if let [only] = list.as_slice()
                && only.reasons == [Reason::SameTitle]
                && only.weight > 2.0
            {
                seeds.entry(&old.family).or_default().push(Seed { old, page: only.page, is_sure: false });
            }
        }
        for list in seeds.values_mut() {
            let step = list.len().div_ceil(MOST_SEEDS).max(1);
            *list = list.iter().copied().step_by(step).collect();
        }
        seeds
    }

    /// Pages that rules give.
    fn by_rules(&self, candidates: &mut [Vec<Candidate>], seeds: &Map<&str, Vec<Seed<'_>>>) {
        let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (n, old) in self.olds.iter().enumerate() {
            families.entry(&old.family).or_default().push(n);
        }
        let ground = Ground { spaces: &self.spaces, pages: &self.pages, olds: self.olds.len() };
        let mut learnt: Vec<(&str, Vec<usize>, Vec<Rule>)> = Vec::new();
        for (family, members) in families {
            let shapes: Vec<&Shape> = members.iter().map(|&n| &self.olds[n]).collect();
            let seeds = seeds.get(family).map_or(&[][..], Vec::as_slice);
            let rules = ground.rules(&shapes, seeds);
            learnt.push((family, members, rules));
        }
        self.contest(&mut learnt);
        for (_, members, rules) in &learnt {
            let sure = rules.first().filter(|rule| rule.weight > SURE && rule.rate > 0.3 && rule.slot != NAME);
            let keys = sure.map(|rule| (rule, self.spaces[rule.space].by_page()));
            for &n in members {
                if let Some((rule, keys)) = &keys {
                    for candidate in &mut candidates[n] {
                        if ground.contradicts(rule, &self.olds[n], keys, candidate.page) {
                            candidate.weight -= 4.0;
                        }
                    }
                }
                let found: Vec<(&Rule, u32)> =
                    rules.iter().filter_map(|rule| Some((rule, ground.page(rule, &self.olds[n])?))).collect();
                for &(rule, page) in &found {
                    // Of two offsets in one list only one can be right.
                    let rivals = found.iter().filter(|(other, _)| (other.space, other.slot) == (rule.space, rule.slot));
                    let best = rivals.map(|(other, _)| other.rank).fold(rule.rank, f64::max);
                    let weight = ground.weight(rule, &self.olds[n], page, best - rule.rank);
                    let mut reasons = vec![self.reason(rule, &self.olds[n])];
                    let (with, of) = ground.folder_counts(rule, &self.olds[n], page);
                    if of >= 4 && with * 2 > of {
                        reasons.push(Reason::Folder { with, of });
                    }
                    let is_told = matches!(self.spaces[rule.space].kind, Kind::Export(..));
                    join(&mut candidates[n], Candidate { page, weight, reasons, is_told });
                }
            }
        }
    }

    /// Ids of an export are those of one program: if pages of two are in it, one of them is by chance, or they are twins.
    fn contest(&self, learnt: &mut [(&str, Vec<usize>, Vec<Rule>)]) {
        for space in 0..self.spaces.len() {
            let (Kind::Export(..) | Kind::Pages(_)) = self.spaces[space].kind else { continue };
            let mut claims: Vec<(usize, usize, f64)> = Vec::new();
            for (family, (_, members, rules)) in learnt.iter().enumerate() {
                for (rule, found) in
                    rules.iter().enumerate().filter(|(_, rule)| rule.space == space && rule.slot != NAME)
                {
                    let strength = found.weight + (members.len() as f64).ln() * 0.1;
                    claims.push((family, rule, strength));
                }
            }
            claims.sort_by(|a, b| b.2.total_cmp(&a.2));
            let Some(&(winner, ..)) = claims.first() else { continue };
            for &(family, rule, _) in &claims[1..] {
                let is_proven = learnt[family].2[rule].lift > PROVEN;
                if family != winner && !twins(learnt[winner].0, learnt[family].0) && !is_proven {
                    learnt[family].2[rule].weight -= 3.5;
                }
            }
        }
    }

    fn reason(&self, rule: &Rule, old: &Shape) -> Reason {
        let key = old.ids.get(rule.slot).map_or_else(|| old.stem.clone(), |id| number(*id, old));
        match &self.spaces[rule.space].kind {
            Kind::Export(number, _) => Reason::Export { id: key, export: *number },
            Kind::Pages(_) => Reason::Number { id: key, offset: rule.offset, share: rule.rate },
            Kind::Names => Reason::Name { name: old.stem.clone() },
        }
    }

    /// Pages that an export names for the address itself.
    fn by_told(&self, candidates: &mut [Vec<Candidate>]) {
        let mut told: Map<&str, Vec<u32>> = Map::default();
        for (key, page) in &self.material.told {
            let pages = told.entry(key).or_default();
            if !pages.contains(page) {
                pages.push(*page);
            }
        }
        for (n, old) in self.material.olds.iter().enumerate() {
            let pages = told.get(old.key.as_str()).map_or(&[][..], Vec::as_slice);
            for &page in pages.iter().take(4) {
                let weight = if pages.len() == 1 { 6.0 } else { 0.0 };
                join(&mut candidates[n], Candidate { page, weight, reasons: vec![Reason::Told], is_told: true });
            }
        }
    }

    /// Titles that contradict, or confirm, what was found in another way.
    fn weigh_titles(&self, candidates: &mut [Vec<Candidate>]) {
        for (n, list) in candidates.iter_mut().enumerate() {
            let Some(title) = &self.old_titles[n] else { continue };
            for candidate in list {
                let by_title = |reason: &Reason| matches!(reason, Reason::SameTitle | Reason::AlikeTitle(_));
                let Some(other) = &self.page_titles[candidate.page as usize] else { continue };
                if candidate.reasons.iter().any(by_title) {
                    continue;
                }
                let likeness = title.likeness(other);
                candidate.weight += match likeness {
                    1.0 => 3.0,
                    _ if likeness >= 0.5 && title.same_numbers(other) => 2.0,
                    _ if likeness >= 0.5 => -2.5,
                    _ if likeness >= 0.3 => -0.5,
                    _ => -3.5,
                };
                if likeness >= 0.5 && title.same_numbers(other) {
                    candidate.reasons.push(if likeness == 1.0 {
                        Reason::SameTitle
                    } else {
                        Reason::AlikeTitle(likeness)
                    });
                }
            }
        }
    }

    /// Where columns went, by the pages that are sure.
    fn sure_folders(&self, candidates: &[Vec<Candidate>]) -> Folders {
        let mut folders = Folders::default();
        for (old, list) in self.olds.iter().zip(candidates) {
            let best = list.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
            if let Some(best) = best.filter(|best| best.weight > SURE) {
                folders.add(old, &self.pages[best.page as usize]);
            }
        }
        for (old, page) in &self.known {
            folders.add(old, &self.pages[*page as usize]);
        }
        folders
    }

    /// The front page of a column goes to that of the column to which its pages went.
    fn by_folder(&self, candidates: &mut [Vec<Candidate>], folders: &Folders) {
        let mut fronts: Map<&str, u32> = Map::default();
        for (n, page) in (0u32..).zip(&self.pages).filter(|(_, page)| page.is_index && page.family.is_empty()) {
            // The front page of a site is the place of nothing.
            if page.folder.contains('/') {
                fronts.entry(&page.folder).or_insert(n);
            }
        }
        let fronts: Map<u64, u32> = fronts.into_iter().map(|(folder, n)| (hashed(folder), n)).collect();
        let most = folders.most(|folder| fronts.contains_key(&folder));
        for (n, old) in self.olds.iter().enumerate() {
            if !old.family.is_empty() || !old.is_index || old.folder.len() < 2 {
                continue;
            }
            let Some(&(to, with, of)) = most.get(&hashed(&old.folder)) else { continue };
            if of < 5 || with * 2 <= of {
                continue;
            }
            let page = fronts[&to];
            let share = (f64::from(with) + 0.5) / (f64::from(of) + 1.0);
            let weight = ((share / (1.0 - share)).ln()).min(3.3);
            join(
                &mut candidates[n],
                Candidate { page, weight, reasons: vec![Reason::Folder { with, of }], is_told: false },
            );
        }
    }

    /// A name that only one old address and one page have, and pages that resemble it: for people, rarely for machines.
    fn by_name(&self, candidates: &mut [Vec<Candidate>], folders: &Folders) {
        let mut pages: Map<u64, Vec<u32>> = Map::default();
        for (n, page) in (0u32..).zip(&self.pages) {
            if let Some(key) = name_key(page) {
                pages.entry(key).or_default().push(n);
            }
        }
        let mut olds: Map<u64, u32> = Map::default();
        self.olds.iter().filter_map(name_key).for_each(|key| *olds.entry(key).or_default() += 1);
        for (n, old) in self.olds.iter().enumerate() {
            let Some(key) = name_key(old).filter(|_| !is_list_like(&old.family)) else { continue };
            let Some(found) = pages.get(&key) else { continue };
            for &page in found.iter().take(8) {
                let base = if found.len() == 1 && olds[&key] == 1 { 0.8 } else { -0.7 - (found.len() as f64).ln() };
                let weight = base + folders.weight(old, &self.pages[page as usize], false).min(1.5);
                if !candidates[n].iter().any(|known| known.page == page) {
                    let reasons = vec![Reason::Name { name: old.stem.clone() }];
                    candidates[n].push(Candidate { page, weight, reasons, is_told: false });
                }
            }
        }
    }

    /// Two articles of one family are not one page.
    fn settle(&self, candidates: &mut [Vec<Candidate>]) {
        let mut claims: Map<(u32, &str), Vec<(usize, f64)>> = Map::default();
        for (n, list) in candidates.iter().enumerate() {
            if let Some(best) = list.first().filter(|best| !best.is_told && best.weight > 0.0) {
                claims.entry((best.page, self.olds[n].family.as_str())).or_default().push((n, best.weight));
            }
        }
        for mut claim in claims.into_values().filter(|claim| claim.len() > 1) {
            claim.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let ids = |n: usize| &self.olds[n].ids;
            let (first, best) = claim[0];
            // The same article under two columns is one article.
            let other = claim.iter().skip(1).find(|(n, _)| ids(*n) != ids(first) || ids(first).is_empty());
            let Some(&(_, next)) = other else { continue };
            for &(n, weight) in &claim {
                let is_best = ids(n) == ids(first) && (best - next > 1.5);
                if !is_best && let Some(candidate) = candidates[n].first_mut() {
                    candidate.weight = (weight - 3.0).min(2.0);
                    candidate.reasons.push(Reason::Contested);
                }
            }
        }
        for list in candidates {
            list.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.page.cmp(&b.page)));
        }
    }
}

/// Adds a candidate to those of an address; ways that agree make one of more weight.
fn join(list: &mut Vec<Candidate>, new: Candidate) {
    match list.iter_mut().find(|known| known.page == new.page) {
        Some(known) => {
            // They are not quite independent.
            let (high, low) = (known.weight.max(new.weight), known.weight.min(new.weight));
            known.weight = if low > 0.0 { high + 0.7 * low } else { high + 0.3 * low };
            known.is_told |= new.is_told;
            for reason in new.reasons {
                if !known.reasons.contains(&reason) {
                    known.reasons.push(reason);
                }
            }
        }
        None => list.push(new),
    }
}

/// The likeliest page of an address, with what is left of its odds when the others, and none, have theirs.
fn decide(old: usize, list: &[Candidate]) -> Suggestion {
    let odds: Vec<f64> = list.iter().map(|candidate| candidate.weight.clamp(-20.0, 20.0).exp()).collect();
    let all = 1.0 + odds.iter().sum::<f64>();
    let choice = |n: usize| {
        let candidate = list.get(n)?;
        let confidence = (odds[n] / all).min(SUREST);
        (confidence >= LEAST).then(|| Choice {
            page: candidate.page as usize,
            confidence,
            reasons: candidate.reasons.clone(),
        })
    };
    Suggestion { old, best: choice(0), second: choice(1) }
}

/// Whether two families are one program's: the mobile twin has another name for the same page.
fn twins(a: &str, b: &str) -> bool {
    let plain = |family: &str| -> String {
        let family = family.rsplit('/').next().unwrap_or(family);
        family.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '#').collect()
    };
    // `ArticleID` is the same for whatever shows an article; `id` is anybody's.
    let name = |family: &str| family.split('&').find_map(|part| part.strip_suffix("=#")).map(str::to_owned);
    if name(a).is_some_and(|name_a| name_a.len() > 2 && Some(name_a) == name(b)) {
        return true;
    }
    let (a, b) = (plain(a), plain(b));
    let (long, short) = if a.len() >= b.len() { (&a, &b) } else { (&b, &a) };
    let added = long.strip_suffix(short.as_str());
    added.is_some_and(|added| ["", "m", "wap", "mobile", "phone", "3g"].contains(&added))
}

fn number(id: u64, old: &Shape) -> String {
    if super::shape::is_number(id) { id.to_string() } else { old.stem.clone() }
}

/// Evidence that needs no prejudice.
const PROVEN: f64 = 4.0;
/// What is taken for true when columns are learnt.
const SURE: f64 = 3.0;
/// Nothing is surer.
const SUREST: f64 = 0.999;
/// What is less likely is not worth a person's time.
const LEAST: f64 = 0.05;
const MOST_SEEDS: usize = 3000;
