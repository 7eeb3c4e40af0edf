//! Rules that are learnt from the material: which number of a family of old addresses is the id of which list.
//!
//! A hypothesis is: "the number at this place of these addresses, plus this offset, is the key of that list". It is weighed by
//! what would be otherwise if it were chance: how often neighbouring numbers are keys too, whether days and columns of both
//! sides belong together more than those of neighbours do, and what is known of pairs already. So nothing need be known of any
//! CMS, and dense lists, in which every number is a key, are believed only for other reasons.

use std::collections::HashMap;

use super::shape::{Shape, hashed, id, is_column_name, is_list_like, is_number};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A list of pages by a key.
#[derive(Debug)]
pub(super) struct Space {
    pub kind: Kind,
    keys: Map<u64, u32>,
    /// The keys that are numbers, sorted.
    numbers: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The export with this number, and the heading of its column of old ids.
    Export(usize, String),
    /// Numbers in addresses of pages of this family.
    Pages(String),
    /// Names of files.
    Names,
}

/// More than one page has the key.
const AMBIGUOUS: u32 = u32::MAX;

/// The place of the name of the file, in place of a number.
pub(super) const NAME: usize = usize::MAX;

impl Space {
    pub fn new(kind: Kind, rows: impl Iterator<Item = (u64, u32)>) -> Self {
        let mut keys: Map<u64, u32> = Map::default();
        for (key, page) in rows {
            keys.entry(key).and_modify(|known| *known = if *known == page { page } else { AMBIGUOUS }).or_insert(page);
        }
        let mut numbers: Vec<u64> = keys.keys().copied().filter(|key| is_number(*key)).collect();
        numbers.sort_unstable();
        Space { kind, keys, numbers }
    }

    /// The keys of each page.
    pub fn by_page(&self) -> HashMap<u32, Vec<u64>, foldhash::fast::FixedState> {
        let mut pages: Map<u32, Vec<u64>> = Map::default();
        self.keys.iter().for_each(|(&key, &page)| pages.entry(page).or_default().push(key));
        pages
    }

    fn page(&self, key: u64, offset: i64) -> Option<u32> {
        let key = if is_number(key) { key.checked_add_signed(offset)? } else { key };
        self.keys.get(&key).copied().filter(|page| *page != AMBIGUOUS)
    }

    fn has(&self, key: u64, offset: i64) -> bool {
        self.page(key, offset).is_some()
    }
}

/// All lists: the exports, numbers in addresses of pages, and names.
pub(super) fn spaces(exports: &[(String, Vec<(String, u32)>)], pages: &[Shape]) -> Vec<Space> {
    let mut spaces = Vec::new();
    for (number, (heading, rows)) in exports.iter().enumerate() {
        let rows = rows.iter().map(|(text, page)| (export_key(text), *page));
        spaces.push(Space::new(Kind::Export(number, heading.to_lowercase()), rows));
    }
    let mut families: Map<&str, Vec<u32>> = Map::default();
    for (number, page) in (0u32..).zip(pages).filter(|(_, page)| !page.ids.is_empty()) {
        families.entry(&page.family).or_default().push(number);
    }
    let mut families: Vec<(&str, Vec<u32>)> = families.into_iter().filter(|(_, pages)| pages.len() >= FEW).collect();
    families.sort_by_key(|(name, pages)| (std::cmp::Reverse(pages.len()), *name));
    for (family, members) in families.into_iter().take(MOST_SPACES) {
        let slots = members.iter().map(|&n| pages[n as usize].ids.len()).min().unwrap_or(0);
        for slot in 0..slots.min(MOST_SLOTS) {
            let rows = members.iter().map(|&n| (pages[n as usize].ids[slot], n));
            let space = Space::new(Kind::Pages(family.to_owned()), rows);
            if space.keys.len() * 2 >= members.len() {
                spaces.push(space);
            }
        }
    }
    let names = (0u32..).zip(pages).filter_map(|(n, page)| Some((name_key(page)?, n)));
    spaces.push(Space::new(Kind::Names, names));
    spaces
}

/// An old id as an export has it: a number, any text, or the name of a file with the number in it.
fn export_key(text: &str) -> u64 {
    let text = text.trim().trim_matches(['{', '}']);
    let key = id(text);
    if is_number(key) || !text.contains('.') && !text.contains('_') {
        return key;
    }
    Shape::of(&format!("/{text}")).ids.last().copied().unwrap_or(key)
}

/// The name of a file, where it says something.
pub(super) fn name_key(shape: &Shape) -> Option<u64> {
    let digits = shape.stem.bytes().filter(u8::is_ascii_digit).count();
    let letters = shape.stem.chars().filter(|c| c.is_alphabetic()).count();
    let says = digits == 0 && letters >= 5 || digits == 0 && !shape.stem.is_ascii() && letters >= 3 || digits >= 12;
    says.then(|| hashed(&shape.stem))
}

/// A hypothesis that was found to be likely.
#[derive(Debug)]
pub(super) struct Rule {
    pub space: usize,
    /// The place of the number, or [`NAME`].
    pub slot: usize,
    pub offset: i64,
    /// Logarithm of its odds.
    pub weight: f64,
    /// The same without bounds: which of two rules for one address is the better one.
    pub rank: f64,
    /// What of that is evidence, and no prejudice.
    pub lift: f64,
    /// How many of the addresses are keys.
    pub rate: f64,
    /// How many neighbours are.
    pub chance: f64,
    /// How often days agree, of pairs and of neighbours.
    days: Option<(f64, f64)>,
    folders: Folders,
    local: Map<u64, (u32, u32)>,
}

/// Which columns went where.
#[derive(Debug, Default)]
pub(super) struct Folders {
    pairs: Map<(u64, u64), u32>,
    from: Map<u64, u32>,
    to: Map<u64, u32>,
    all: u32,
}

impl Folders {
    pub fn add(&mut self, old: &Shape, page: &Shape) {
        let (from, to) = (hashed(&old.folder), hashed(&page.folder));
        *self.pairs.entry((from, to)).or_default() += 1;
        *self.from.entry(from).or_default() += 1;
        *self.to.entry(to).or_default() += 1;
        self.all += 1;
    }

    /// How much more (or less) likely it is that a page of the one column is in the other, than any page is: a logarithm.
    /// `itself` says that this pair has been counted.
    pub fn weight(&self, old: &Shape, page: &Shape, itself: bool) -> f64 {
        let (from, to) = (hashed(&old.folder), hashed(&page.folder));
        let less = u32::from(itself);
        let all = self.from.get(&from).copied().unwrap_or(0).saturating_sub(less);
        if all < 4 {
            return 0.0;
        }
        let with = self.pairs.get(&(from, to)).copied().unwrap_or(0).saturating_sub(less);
        let base = f64::from(self.to.get(&to).copied().unwrap_or(0)) / f64::from(self.all.max(1));
        let share = (f64::from(with) + base) / (f64::from(all) + 1.0);
        (share / base.max(1e-3)).ln().clamp(-5.0, 2.5)
    }

    /// Of each old column, the one that most of its pages went to among those wanted: how many did, and how many went anywhere.
    pub fn most(&self, wanted: impl Fn(u64) -> bool) -> HashMap<u64, (u64, u32, u32), foldhash::fast::FixedState> {
        let mut most: Map<u64, (u64, u32, u32)> = Map::default();
        for (&(from, to), &with) in self.pairs.iter().filter(|((_, to), _)| wanted(*to)) {
            let known = most.entry(from).or_insert((to, 0, self.from.get(&from).copied().unwrap_or(0)));
            if (with, to) > (known.1, known.0) {
                (known.0, known.1) = (to, with);
            }
        }
        most
    }

    /// How many pages of the old column went to the new one, and how many went anywhere.
    pub fn counts(&self, old: &Shape, page: &Shape) -> (u32, u32) {
        let (from, to) = (hashed(&old.folder), hashed(&page.folder));
        (self.pairs.get(&(from, to)).copied().unwrap_or(0), self.from.get(&from).copied().unwrap_or(0))
    }
}

/// A pair that is known, or all but known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed<'a> {
    pub old: &'a Shape,
    pub page: u32,
    /// Whether somebody said so; if not, titles are equal.
    pub is_sure: bool,
}

/// Everything that rules are learnt from.
pub(super) struct Ground<'a> {
    pub spaces: &'a [Space],
    pub pages: &'a [Shape],
    /// How many old addresses there are.
    pub olds: usize,
}

impl Ground<'_> {
    /// The likely rules for the old addresses of one family, the likeliest first.
    pub fn rules(&self, members: &[&Shape], seeds: &[Seed<'_>]) -> Vec<Rule> {
        let Some(first) = members.first() else { return Vec::new() };
        let mut places: Vec<usize> = (0..first.ids.len().min(MOST_SLOTS)).collect();
        // A column's number, or that of a page of a list, comes again and again; the id of a page does not.
        let various = |slot: usize| {
            let keys: std::collections::HashSet<u64> = members.iter().filter_map(|old| key(old, slot)).collect();
            keys.len()
        };
        let variety: Vec<usize> = places.iter().map(|&slot| various(slot)).collect();
        let most = variety.iter().copied().max().unwrap_or(0);
        places.retain(|&slot| variety[slot] * 2 >= most);
        places.push(NAME);
        let mut rules: Vec<Rule> = Vec::new();
        for (number, space) in self.spaces.iter().enumerate() {
            for &slot in &places {
                if (space.kind == Kind::Names) != (slot == NAME) && !matches!(space.kind, Kind::Export(..)) {
                    continue;
                }
                let mut offsets = vec![0];
                if slot != NAME && matches!(space.kind, Kind::Pages(_)) {
                    offsets.extend(self.offsets(members, seeds, slot, space));
                }
                for offset in offsets {
                    rules.extend(self.weigh(members, seeds, slot, number, offset));
                }
            }
        }
        rules.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        rules.truncate(4);
        for rule in &mut rules {
            self.learn(rule, members);
        }
        rules
    }

    /// The page that a rule gives.
    pub fn page(&self, rule: &Rule, old: &Shape) -> Option<u32> {
        self.spaces[rule.space].page(key(old, rule.slot)?, rule.offset)
    }

    /// Whether the page belongs to another address, by a rule that is sure: its key is in the list, and is not this one's.
    pub fn contradicts(
        &self,
        rule: &Rule,
        old: &Shape,
        keys: &HashMap<u32, Vec<u64>, foldhash::fast::FixedState>,
        page: u32,
    ) -> bool {
        let (Some(own), Some(of_page)) = (key(old, rule.slot), keys.get(&page)) else { return false };
        let own = if is_number(own) { own.checked_add_signed(rule.offset).unwrap_or(own) } else { own };
        !of_page.contains(&own)
    }

    /// How likely a rule makes a page for an address: a logarithm of odds. `behind` is by how much another rule for the address
    /// is better.
    pub fn weight(&self, rule: &Rule, old: &Shape, page: u32, behind: f64) -> f64 {
        let shape = &self.pages[page as usize];
        let mut weight = rule.weight.min(ENOUGH) - behind;
        if let (Some((agree, chance)), Some(a), Some(b)) = (rule.days, old.day, shape.day) {
            weight += if a.agrees(b) {
                (agree / chance).ln().clamp(0.0, 3.0)
            } else {
                ((1.0 - agree) / (1.0 - chance)).ln().clamp(-6.0, 0.0)
            };
        }
        weight += rule.folders.weight(old, shape, true);
        // Where few of a column or range are keys, those that are may be so by chance.
        if rule.chance < 0.5 {
            for place in local(old, rule.slot) {
                let Some(&(all, joined)) = rule.local.get(&place) else { continue };
                let rate = (f64::from(joined) + 5.0 * rule.rate) / (f64::from(all) + 5.0);
                if all >= FEW as u32 && rate < 0.6 * rule.rate {
                    let right = ((rate - rule.chance) / (1.0 - rule.chance) / rate).clamp(0.02, 0.99);
                    weight = weight.min((right / (1.0 - right)).ln());
                }
            }
        }
        weight
    }

    /// How many pages of an old column went to that of a page.
    pub fn folder_counts(&self, rule: &Rule, old: &Shape, page: u32) -> (u32, u32) {
        rule.folders.counts(old, &self.pages[page as usize])
    }

    fn weigh(&self, members: &[&Shape], seeds: &[Seed<'_>], slot: usize, number: usize, offset: i64) -> Option<Rule> {
        let space = &self.spaces[number];
        let sample: Vec<&Shape> = members.iter().step_by(members.len().div_ceil(SAMPLE)).copied().collect();
        let quick = sample.iter().take(100).filter_map(|old| key(old, slot)).filter(|&key| space.has(key, offset));
        if quick.count() == 0 && !seeds.iter().any(|seed| key(seed.old, slot).is_some_and(|key| space.has(key, offset)))
        {
            return None;
        }
        let (mut asked, mut joined) = (0u32, Vec::new());
        for old in &sample {
            let Some(key) = key(old, slot) else { continue };
            asked += 1;
            joined.extend(space.page(key, offset).map(|page| (*old, page)));
        }
        if asked == 0 {
            return None;
        }
        let decoys = decoys(&sample, slot, space, offset);
        let tried = decoys.len().max(1) as f64;
        let hits = decoys.iter().filter(|(_, page)| page.is_some()).count() as f64;
        let numeric = sample.iter().filter_map(|old| key(old, slot)).any(is_number);
        let chance = if numeric { ((hits + 0.5) / (tried + 1.0)).clamp(1e-3, 0.995) } else { 0.005 };
        let rate = joined.len() as f64 / f64::from(asked);
        let mut weight = self.before(members, slot, space, offset);
        // A whole list of ids has no holes: then it says nothing that neighbours are keys too.
        let floor = if matches!(space.kind, Kind::Export(..)) { -1.0 } else { -4.0 };
        let witnesses = if matches!(space.kind, Kind::Export(..)) { WITNESSES } else { JOINS };
        let joins = surprise(joined.len(), asked as usize, chance, witnesses);
        // The best of so many offsets would be good by chance.
        let tried = if offset == 0 { 0.0 } else { (BLIND_OLDS as f64 * space.numbers.len().max(1) as f64).ln() };
        let mut lift = (joins - tried).clamp(floor - tried, 9.0);
        weight += self.range(&sample, slot, space, offset);

        let decoys: Vec<(&Shape, u32)> = decoys.iter().filter_map(|(old, page)| Some((*old, (*page)?))).collect();
        let days = self.days(&joined, &decoys);
        if let Some((agreed, of, chance)) = days {
            lift += surprise(agreed, of, chance, WITNESSES).clamp(-2.0, 8.0);
        }
        let folders = self.folders(&joined);
        if let Some((agreed, of, chance)) = self.columns(&folders, &joined, &decoys) {
            lift += surprise(agreed, of, chance, WITNESSES).clamp(-2.0, 8.0);
        }
        // Right and wrong, of pairs that are sure and of those that titles make likely.
        let (mut sure, mut likely) = ([0usize; 2], [0usize; 2]);
        for seed in seeds {
            let counts = if seed.is_sure { &mut sure } else { &mut likely };
            if let Some(page) = key(seed.old, slot).and_then(|key| space.page(key, offset)) {
                counts[usize::from(page != seed.page)] += 1;
            }
        }
        lift += (sure[0].min(20) as f64 * 3.5 - sure[1].min(40) as f64 * 3.5).clamp(-20.0, 15.0);
        // Titles may be the same by chance, ids that lead to the very page hardly.
        lift += surprise(likely[0], likely[0] + likely[1], 0.01, WITNESSES).clamp(-4.0, 12.0);
        weight += lift;
        let days = days.map(|(agreed, of, chance)| ((agreed as f64 + 1.0) / (of as f64 + 2.0), chance));
        (weight > LEAST).then(|| Rule {
            space: number,
            slot,
            offset,
            weight,
            rank: weight + (joins - tried - 9.0).max(0.0),
            lift,
            rate,
            chance,
            days,
            folders,
            local: Map::default(),
        })
    }

    /// What is to be thought of a hypothesis before looking at keys.
    fn before(&self, members: &[&Shape], slot: usize, space: &Space, offset: i64) -> f64 {
        let first = members[0];
        let list_like = if is_list_like(&first.family) { -4.0 } else { 0.0 };
        if slot == NAME {
            return if space.kind == Kind::Names { 0.5 } else { -1.0 };
        }
        let name = first.names[slot].as_str();
        let named = match name {
            "" => 0.0,
            name if is_column_name(name) => -4.0,
            name if name.contains("id") || name.contains("no") => 1.0,
            _ => 0.0,
        };
        // The last number of a path is its page's, as a rule.
        let is_last = slot + 1 == first.ids.len() || !name.is_empty();
        let place = if is_last { 0.5 } else { -1.0 };
        list_like
            + named
            + place
            + match &space.kind {
                Kind::Export(_, heading) if !heading.is_empty() && heading == name => 5.0,
                Kind::Export(..) => 3.5,
                Kind::Pages(family) if *family == first.family && offset == 0 => 0.5,
                Kind::Pages(_) if offset == 0 => -1.5,
                Kind::Pages(_) => -1.5,
                Kind::Names => -4.0,
            }
    }

    /// Ids of pages are all over a list; those of columns and other things, if they are keys at all, stand at its beginning.
    fn range(&self, sample: &[&Shape], slot: usize, space: &Space, offset: i64) -> f64 {
        let (Some(&low), true) = (space.numbers.get(space.numbers.len() / 10), space.numbers.len() >= 200) else {
            return 0.0;
        };
        let keys: Vec<u64> = sample.iter().filter_map(|old| key(old, slot)).filter(|key| is_number(*key)).collect();
        let below = keys.iter().filter(|key| key.saturating_add_signed(offset) <= low).count();
        if keys.len() >= FEW && below * 10 >= keys.len() * 9 { -4.0 } else { 0.0 }
    }

    /// How many pairs have days that agree, of how many that have days, and how many of the decoys.
    fn days(&self, joined: &[(&Shape, u32)], decoys: &[(&Shape, u32)]) -> Option<(usize, usize, f64)> {
        let agree = |pairs: &[(&Shape, u32)]| {
            let both = pairs.iter().filter_map(|(old, page)| Some((old.day?, self.pages[*page as usize].day?)));
            both.fold((0, 0), |(agreed, all), (a, b)| (agreed + usize::from(a.agrees(b)), all + 1))
        };
        let (agreed, all) = agree(joined);
        let (by_chance, of) = agree(decoys);
        let chance = ((by_chance as f64 + 0.5) / (of as f64 + 2.0)).clamp(0.01, 0.95);
        (all >= 3).then_some((agreed, all, chance))
    }

    fn folders(&self, joined: &[(&Shape, u32)]) -> Folders {
        let mut folders = Folders::default();
        joined.iter().for_each(|(old, page)| folders.add(old, &self.pages[*page as usize]));
        folders
    }

    /// How many pairs are in a column that most of the old column went to, by the others of them, and how many decoys.
    fn columns(
        &self,
        folders: &Folders,
        joined: &[(&Shape, u32)],
        decoys: &[(&Shape, u32)],
    ) -> Option<(usize, usize, f64)> {
        let main = |pairs: &[(&Shape, u32)], itself: u32| {
            let (mut with, mut all) = (0, 0);
            for (old, page) in pairs {
                let (same, of) = folders.counts(old, &self.pages[*page as usize]);
                if of >= 4 {
                    all += 1;
                    with += usize::from((same.saturating_sub(itself)) * 2 > of - itself);
                }
            }
            (with, all)
        };
        let (with, all) = main(joined, 1);
        let (by_chance, of) = main(decoys, 0);
        let share = |n: usize, of: usize| (n as f64 + 0.5) / (of as f64 + 2.0);
        // Without decoys: what a page of any column would have.
        let biggest = folders.to.values().copied().max().unwrap_or(0);
        let any = f64::from(biggest) / f64::from(folders.all.max(1));
        let chance = if of >= 20 { share(by_chance, of) } else { any };
        (all >= 8 && chance < 0.9).then_some((with, all, chance.clamp(0.02, 0.9)))
    }

    /// Offsets that many pairs would have in common.
    fn offsets(&self, members: &[&Shape], seeds: &[Seed<'_>], slot: usize, space: &Space) -> Vec<i64> {
        let mut votes: Map<i64, u32> = Map::default();
        let page_key = |page: u32, old: u64| {
            // The number of the page that lies in this list.
            let page_ids = &self.pages[page as usize].ids;
            page_ids.iter().copied().find(|id| space.keys.get(id) == Some(&page)).filter(|_| is_number(old))
        };
        for seed in seeds {
            let Some(old) = key(seed.old, slot) else { continue };
            if let Some(new) = page_key(seed.page, old) {
                *votes.entry(new.wrapping_sub(old) as i64).or_default() += 3;
            }
        }
        let numeric: Vec<u64> = members.iter().filter_map(|old| key(old, slot)).filter(|key| is_number(*key)).collect();
        // What is a small part of all is not worth the search.
        let is_large = |part: usize, all: usize| part >= 30 && part * 30 >= all;
        if is_large(numeric.len(), self.olds) && is_large(space.numbers.len(), self.pages.len()) {
            // Every pair of a few old ids and all new ones votes; the true offset is what they have in common.
            let olds = numeric.iter().step_by(numeric.len().div_ceil(BLIND_OLDS));
            let news = || space.numbers.iter().step_by(space.numbers.len().div_ceil(BLIND_NEWS));
            let mut blind: Vec<i64> =
                olds.flat_map(|&old| news().map(move |&new| new.wrapping_sub(old) as i64)).collect();
            blind.sort_unstable();
            let mut best: Vec<(u32, i64)> = Vec::new();
            for run in blind.chunk_by(|a, b| a == b) {
                best.push((run.len() as u32, run[0]));
            }
            best.sort_unstable_by_key(|&(count, offset)| (std::cmp::Reverse(count), offset));
            for (count, offset) in best.into_iter().take(3).filter(|(count, _)| *count >= 3) {
                *votes.entry(offset).or_default() += count;
            }
        }
        let mut votes: Vec<(i64, u32)> = votes.into_iter().filter(|(offset, _)| *offset != 0).collect();
        votes.sort_unstable_by_key(|&(offset, count)| (std::cmp::Reverse(count), offset));
        votes.into_iter().take(4).filter(|(_, count)| *count >= 3).map(|(offset, _)| offset).collect()
    }

    /// Counts, for all addresses, what a rule does in each column and range.
    fn learn(&self, rule: &mut Rule, members: &[&Shape]) {
        let mut folders = Folders::default();
        for old in members {
            let page = self.page(rule, old);
            for place in local(old, rule.slot) {
                let (all, joined) = rule.local.entry(place).or_default();
                *all += 1;
                *joined += u32::from(page.is_some());
            }
            if let Some(page) = page {
                folders.add(old, &self.pages[page as usize]);
            }
        }
        rule.folders = folders;
    }
}

fn key(old: &Shape, slot: usize) -> Option<u64> {
    if slot == NAME { name_key(old) } else { old.ids.get(slot).copied() }
}

/// What stands together: a column, and a range of numbers.
fn local(old: &Shape, slot: usize) -> impl Iterator<Item = u64> {
    let range = key(old, slot).filter(|key| is_number(*key)).map(|key| {
        let digits = 64 - key.leading_zeros();
        // Sixteen ranges for each doubling would be too fine for small lists, one too coarse.
        key >> digits.saturating_sub(3) | u64::from(digits) << 8
    });
    [Some(hashed(&old.folder)), range].into_iter().flatten()
}

/// Neighbours of the keys of some addresses, and the pages that they would lead to.
fn decoys<'a>(sample: &[&'a Shape], slot: usize, space: &Space, offset: i64) -> Vec<(&'a Shape, Option<u32>)> {
    let mut out = Vec::new();
    for (n, old) in sample.iter().take(DECOYS).enumerate() {
        let Some(key) = key(old, slot).filter(|key| is_number(*key)) else { continue };
        for step in 0..4 {
            let shift = SHIFTS[(n * 4 + step) % SHIFTS.len()];
            if let Some(shifted) = offset.checked_add(shift) {
                out.push((*old, space.page(key, shifted)));
            }
        }
    }
    out
}

/// How much likelier it is that `met` of `all` is a rate of its own than that it came by `chance`: a logarithm. Many
/// addresses are no more independent witnesses than a few.
fn surprise(met: usize, all: usize, chance: f64, witnesses: usize) -> f64 {
    if all == 0 {
        return 0.0;
    }
    let n = all.min(witnesses) as f64;
    let k = (met as f64 / all as f64 * n).round();
    // With an unknown rate, every number of hits is as likely as any other.
    let own = -(n + 1.0).ln();
    let by_chance = binomial(n, k) + k * chance.ln() + (n - k) * (1.0 - chance).ln();
    if k / n <= chance { f64::min(own - by_chance, 0.0).min(-0.5) } else { own - by_chance }
}

/// Logarithm of the binomial coefficient, for small numbers.
fn binomial(n: f64, k: f64) -> f64 {
    let factorial = |n: f64| (1..=n as u32).map(|i| f64::from(i).ln()).sum::<f64>();
    factorial(n) - factorial(k) - factorial(n - k)
}

/// A family or list with fewer members is none.
pub(super) const FEW: usize = 5;
const MOST_SPACES: usize = 24;
const MOST_SLOTS: usize = 4;
const SAMPLE: usize = 1000;
const DECOYS: usize = 250;
const WITNESSES: usize = 60;
/// The same for numbers in addresses, of which an offset must have many.
const JOINS: usize = 200;
const BLIND_OLDS: usize = 32;
/// To leave out half of the new ids would leave out half of the votes.
const BLIND_NEWS: usize = 250_000;
/// Hypotheses that are less likely are forgotten.
const LEAST: f64 = -1.5;
/// No rule alone is surer.
const ENOUGH: f64 = 6.0;
const SHIFTS: [i64; 16] = [1, -1, 2, -3, 5, -8, 13, -21, 34, -55, 89, -144, 7, -11, 17, -29];
