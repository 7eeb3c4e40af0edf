//! The work of one thread: lines → requests → verdicts → counts.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::model::Reason;

use super::Job;
use super::changes::{Change, Said};
use super::coverage::{Before, Counts, Fate, is_same};
use super::distinct::Distinct;
use super::format::{Line, LineScratch, NoLine};
use super::frequent::Frequent;
use super::input::Block;
use super::judge::{Asked, Depends, Judged, Space, reason};
use super::known::{Changed, Figures, Known};
use super::seen::{Seen, cut, cut_bytes, url, without_port};

/// What all threads have in common.
#[derive(Debug)]
pub(super) struct Shared<'j> {
    pub job: &'j Job,
    /// The host of each log, for lines that name none.
    pub hosts: &'j [Option<String>],
    /// The number of the only site that counts.
    pub only: Option<usize>,
    /// Different URLs by site and fate; marked by [`FOUND`].
    pub urls: Distinct,
    /// Different URLs that change, by the fates before and after.
    pub changed: Distinct,
    /// What came of requests.
    known: Known,
    room: usize,
}

/// What a thread has counted.
#[derive(Debug)]
pub(super) struct Worker<'j> {
    shared: &'j Shared<'j>,
    pub counts: Counts,
    pub reasons: [u64; Reason::ALL.len()],
    pub tally: Tally,
    pub unmapped: Frequent<Seen>,
    pub unknown: Frequent<Seen>,
    pub changes: Frequent<Change>,
    /// Hits by the fates before and after.
    pub changed: [[u64; Fate::ALL.len()]; Fate::ALL.len()],
    /// The first lines that can't be read, by log and number.
    pub unreadable: Vec<(usize, u64, String, &'static str)>,
}

/// Working space of a thread.
#[derive(Debug, Default)]
pub(super) struct Desk {
    line: LineScratch,
    spaces: [Space; 2],
}

/// Numbers of lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub lines: u64,
    pub comments: u64,
    pub unreadable: u64,
    pub no_request: u64,
    /// Outside of the time that was asked for, or of another site.
    pub left_out: u64,
    pub requests: u64,
}

/// Marks a URL that the old server had.
pub(super) const FOUND: u8 = 1;

impl<'j> Shared<'j> {
    pub fn new(job: &'j Job, hosts: &'j [Option<String>]) -> Self {
        Self::with(job, hosts, KNOWN)
    }

    /// One that remembers what came of that many requests (a power of two, or none).
    fn with(job: &'j Job, hosts: &'j [Option<String>], known: usize) -> Self {
        let sites = job.judge.snapshot().sites();
        let only = job.site.as_ref().map(|id| sites.iter().position(|site| site.id == *id).unwrap_or(usize::MAX));
        // Lists are exact as long as they have room; what is wanted is always a small part of it.
        let room = (job.top.saturating_mul(4)).clamp(ROOM, MAX_ROOM);
        let (urls, changed) = (Distinct::new(URLS), Distinct::new(URLS));
        Shared { job, hosts, only, urls, changed, known: Known::new(known), room }
    }
}

impl<'j> Worker<'j> {
    pub fn new(shared: &'j Shared<'j>) -> Self {
        Worker {
            shared,
            counts: Counts::new(shared.job.judge.snapshot().sites().len()),
            reasons: [0; _],
            tally: Tally::default(),
            unmapped: Frequent::new(shared.room),
            unknown: Frequent::new(shared.room),
            changes: Frequent::new(shared.room.max(CHANGES)),
            changed: [[0; _]; _],
            unreadable: Vec::new(),
        }
    }

    /// Counts the lines of a block; says how many there are.
    pub fn count_block(&mut self, block: &Block, desk: &mut Desk) -> u64 {
        let mut rest = &block.bytes[..];
        let mut number = block.first_line;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            self.count_line(block, line.strip_suffix(b"\r").unwrap_or(line), number, desk);
            rest = rest.get(end + 1..).unwrap_or_default();
            number += 1;
        }
        let lines = number - block.first_line;
        self.tally.lines += lines;
        lines
    }

    fn count_line(&mut self, block: &Block, line: &[u8], number: u64, desk: &mut Desk) {
        match block.format.read(line, &mut desk.line) {
            Ok(line) => self.count(&line, (block.input, number), &mut desk.spaces),
            Err(NoLine::Comment) => self.tally.comments += 1,
            Err(NoLine::NoRequest) => self.tally.no_request += 1,
            Err(NoLine::Unreadable(why)) => {
                self.tally.unreadable += 1;
                self.tell_unreadable((block.input, number, cut(line, MAX_TOLD), why));
            }
        }
    }

    /// Keeps the first few lines, whichever thread has them.
    fn tell_unreadable(&mut self, line: (usize, u64, String, &'static str)) {
        if self.unreadable.len() >= 2 * TOLD_LINES {
            self.unreadable.sort();
            self.unreadable.truncate(TOLD_LINES);
        }
        self.unreadable.push(line);
    }

    fn count(&mut self, line: &Line<'_>, place: (usize, u64), spaces: &mut [Space; 2]) {
        let shared = self.shared;
        let job = shared.job;
        if (job.since.is_some() || job.until.is_some()) && !is_within(line, job.since, job.until) {
            self.tally.left_out += 1;
            return;
        }
        let host = match line.host {
            b"" => shared.hosts.get(place.0).and_then(|host| host.as_ref()).map(|host| host.as_bytes()),
            host => Some(host),
        };
        let asked = Asked { line, host, secure: line.secure.unwrap_or(job.secure) };
        let key = shared.known.key(&asked);
        if let Some(figures) = key.and_then(|key| shared.known.find(key))
            && self.holds(line, figures.depends)
            && self.count_known(&figures, line)
        {
            return;
        }
        let [space, other_space] = spaces;
        let figures =
            job.judge.judge(&asked, space, |judged| match job.against.as_ref().filter(|_| !self.is_left_out(judged)) {
                None => self.count_judged(&asked, judged, None, place),
                Some(against) => {
                    against.judge(&asked, other_space, |after| self.count_judged(&asked, judged, Some(after), place))
                }
            });
        if let Some(key) = key.filter(|_| self.holds(line, figures.depends)) {
            shared.known.keep(key, figures);
        }
    }

    /// Whether what came of the request of a line comes of the same request in each line for which this holds.
    fn holds(&self, line: &Line<'_>, [depends, after]: [Depends; 2]) -> bool {
        let job = self.shared.job;
        job.judge.lets_in(line, depends) && job.against.as_ref().is_none_or(|against| against.lets_in(line, after))
    }

    fn is_left_out(&self, judged: &Judged<'_>) -> bool {
        let site = judged.decision.site.map(|(number, _)| number);
        self.shared.only.is_some_and(|only| site != Some(only))
    }

    /// Counts a request of which all is known that is to be counted; false if not.
    fn count_known(&mut self, figures: &Figures, line: &Line<'_>) -> bool {
        let before = Before::of(line.status);
        if figures.left_out {
            self.tally.left_out += 1;
            return true;
        }
        if before == Before::Found && !figures.found {
            return false;
        }
        let seen = match figures.fate {
            Fate::Unmapped => Some(self.unmapped.find(figures.listed)),
            Fate::UnknownHost => Some(self.unknown.find(figures.listed)),
            _ => None,
        };
        let change = figures.change.map(|change| (change.fates, self.changes.find(change.listed)));
        // A list may have dropped what it had.
        if matches!(seen, Some(None)) || matches!(change, Some((_, None))) {
            return false;
        }
        if let Some(Some(seen)) = seen {
            seen.again().count(line.status);
        }
        if let Some(([one, other], Some(change))) = change {
            change.again().hits += 1;
            self.changed[one as usize][other as usize] += 1;
        }
        self.count_figures(figures, before);
        true
    }

    fn count_figures(&mut self, figures: &Figures, before: Before) {
        self.tally.requests += 1;
        self.counts.count(figures.place, before);
        if let Some(reason) = figures.reason {
            self.reasons[reason as usize] += 1;
        }
    }

    /// Counts a request that was judged; what of that is the same for each such request.
    fn count_judged(
        &mut self,
        asked: &Asked<'_>,
        judged: &Judged<'_>,
        after: Option<&Judged<'_>>,
        place: (usize, u64),
    ) -> Figures {
        let decision = &judged.decision;
        let site = decision.site.map(|(number, _)| number);
        let before = Before::of(asked.line.status);
        let mut figures = Figures {
            left_out: self.is_left_out(judged),
            place: self.counts.place(decision, judged.insists),
            fate: Fate::of(decision),
            reason: reason(&decision.verdict),
            listed: 0,
            change: None,
            depends: [judged.depends, after.map_or(Depends::OnNothing, |after| after.depends)],
            found: before == Before::Found,
        };
        if figures.left_out {
            self.tally.left_out += 1;
            return figures;
        }
        self.count_figures(&figures, before);
        let of = site.map_or(NO_SITE, |site| site as u32);
        let fate = figures.fate as u8;
        let identity = match decision.key {
            b"" => hash(&[&[fate], asked.host.unwrap_or_default(), judged.target]),
            key => hash(&[&[fate], &of.to_le_bytes(), key]),
        };
        let mark = if before == Before::Found { FOUND } else { 0 };
        self.shared.urls.add(identity, of << 3 | u32::from(fate), mark);
        let new = |key: &[u8]| Seen {
            site,
            key: cut_bytes(key),
            example: url(asked, judged.target),
            place,
            statuses: [0; 6],
        };
        match figures.fate {
            Fate::Unmapped => {
                figures.listed = identity;
                self.unmapped.add(identity, || new(decision.key), |seen| seen.count(asked.line.status));
            }
            Fate::UnknownHost => {
                let host = without_port(asked.host.unwrap_or_default());
                figures.listed = hash_folded(host);
                let new = || new(&host.to_ascii_lowercase());
                self.unknown.add(figures.listed, new, |seen| seen.count(asked.line.status));
            }
            _ => {}
        }
        figures.change = after.and_then(|after| self.compare(asked, judged, after, place));
        figures
    }

    /// Counts what other routes make of a request, if that is something else.
    fn compare(
        &mut self,
        asked: &Asked<'_>,
        before: &Judged<'_>,
        after: &Judged<'_>,
        place: (usize, u64),
    ) -> Option<Changed> {
        if before.insists == after.insists && is_same(&before.decision.verdict, &after.decision.verdict) {
            return None;
        }
        let (one, other) = (&before.decision, &after.decision);
        let fates = [one, other].map(Fate::of);
        self.changed[fates[0] as usize][fates[1] as usize] += 1;
        let host = if one.host.is_empty() { asked.host.unwrap_or_default() } else { one.host.as_bytes() };
        let unkeyed = if one.key.is_empty() || other.key.is_empty() { before.target } else { b"" };
        let statuses = [one.verdict.status(), other.verdict.status()].map(u16::to_le_bytes);
        let identity = hash(&[host, one.key, other.key, unkeyed, &statuses[0], &statuses[1]]);
        let kind = (fates[0] as u32) << 3 | fates[1] as u32;
        self.shared.changed.add(identity, kind, 0);
        let new = || Change {
            hits: 0,
            method: cut(asked.line.method, MAX_TOLD),
            url: url(asked, before.target),
            seen: String::new(),
            before: Said::of(before),
            after: Said::of(after),
            place,
        };
        // The first request of a thread comes before its others.
        self.changes.add(identity, new, |change| change.hits += 1);
        Some(Changed { listed: identity, fates })
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: Worker<'_>) {
        self.counts.merge(&other.counts);
        let add = |own: &mut u64, other: &u64| *own += other;
        self.reasons.iter_mut().zip(&other.reasons).for_each(|(own, other)| add(own, other));
        let changed = self.changed.iter_mut().flatten().zip(other.changed.iter().flatten());
        changed.for_each(|(own, other)| add(own, other));
        let Tally { lines, comments, unreadable, no_request, left_out, requests } = other.tally;
        let own = &mut self.tally;
        own.lines += lines;
        own.comments += comments;
        own.unreadable += unreadable;
        own.no_request += no_request;
        own.left_out += left_out;
        own.requests += requests;
        self.unmapped.merge(other.unmapped);
        self.unknown.merge(other.unknown);
        self.changes.merge(other.changes);
        self.unreadable.extend(other.unreadable);
        self.unreadable.sort();
        self.unreadable.truncate(TOLD_LINES);
    }
}

fn is_within(line: &Line<'_>, since: Option<i64>, until: Option<i64>) -> bool {
    line.moment
        .seconds()
        .is_some_and(|at| since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until))
}

fn hash(parts: &[&[u8]]) -> u64 {
    FixedState::with_seed(SEED).hash_one(parts)
}

fn hash_folded(host: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    host.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
    hasher.finish()
}

/// The number of the site that hosts without one have.
pub(super) const NO_SITE: u32 = u32::MAX >> 3;

/// Any number, but the same in every run.
const SEED: u64 = 0x5741_5950_4F53_5421;

/// Longest part of a line that is told, in bytes.
const MAX_TOLD: usize = 200;

/// Lines that can't be read of which is told.
pub(super) const TOLD_LINES: usize = 10;

/// Different URLs up to which their number is exact: 120 MB of memory, if there are so many.
const URLS: usize = 7_000_000;

/// Requests of which it is remembered what came of them: 150 MB of memory, if there are so many.
const KNOWN: usize = 1 << 21;

/// URLs of a list that a thread has room for.
const ROOM: usize = 1 << 16;
const MAX_ROOM: usize = 1 << 20;

/// Changes that a thread has room for: 100 MB, if there are so many.
const CHANGES: usize = 1 << 18;

#[cfg(test)]
mod tests;
