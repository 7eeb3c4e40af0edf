//! The work of one thread: lines → requests → verdicts → counts.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::model::Reason;

use super::Job;
use super::changes::{Change, Said};
use super::coverage::{Before, Counts, Fate, is_same};
use super::distinct::{Distinct, Told};
use super::format::{Line, LineScratch, NoLine};
use super::frequent::Frequent;
use super::input::Block;
use super::judge::{Asked, Judged, Space, reason};
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
    told: Told,
    told_changed: Told,
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
        let sites = job.judge.snapshot().sites();
        let only = job.site.as_ref().map(|id| sites.iter().position(|site| site.id == *id).unwrap_or(usize::MAX));
        // Lists are exact as long as they have room; what is wanted is always a small part of it.
        let room = (job.top.saturating_mul(4)).clamp(ROOM, MAX_ROOM);
        Shared { job, hosts, only, urls: Distinct::new(URLS), changed: Distinct::new(URLS), room }
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
            told: Told::default(),
            told_changed: Told::default(),
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

    fn count(&mut self, line: &Line<'_>, place: (usize, u64), [space, other_space]: &mut [Space; 2]) {
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
        job.judge.judge(&asked, space, |judged| {
            let site = judged.decision.site.map(|(number, _)| number);
            if shared.only.is_some_and(|only| site != Some(only)) {
                self.tally.left_out += 1;
                return;
            }
            self.count_judged(&asked, judged, site, place);
            if let Some(against) = &job.against {
                against.judge(&asked, other_space, |after| self.compare(&asked, judged, after, place));
            }
        });
    }

    fn count_judged(&mut self, asked: &Asked<'_>, judged: &Judged<'_>, site: Option<usize>, place: (usize, u64)) {
        let decision = &judged.decision;
        let before = Before::of(asked.line.status);
        self.tally.requests += 1;
        self.counts.count(decision, before, judged.insists);
        if let Some(reason) = reason(&decision.verdict) {
            self.reasons[reason as usize] += 1;
        }
        let fate = Fate::of(decision);
        let of = site.map_or(NO_SITE, |site| site as u32);
        let identity = match decision.key {
            b"" => hash(&[&[fate as u8], asked.host.unwrap_or_default(), judged.target]),
            key => hash(&[&[fate as u8], &of.to_le_bytes(), key]),
        };
        let mark = if before == Before::Found { FOUND } else { 0 };
        self.shared.urls.add(identity, of << 3 | fate as u32, mark, &mut self.told);
        let class = usize::from(asked.line.status / 100).min(5);
        match fate {
            Fate::Unmapped => {
                let new = || Seen {
                    site,
                    key: cut_bytes(decision.key),
                    example: url(asked, judged.target),
                    place,
                    statuses: [0; 6],
                };
                self.unmapped.add(identity, new, |seen| seen.count(class));
            }
            Fate::UnknownHost => {
                let host = without_port(asked.host.unwrap_or_default());
                let new = || Seen {
                    site: None,
                    key: cut_bytes(&host.to_ascii_lowercase()),
                    example: url(asked, judged.target),
                    place,
                    statuses: [0; 6],
                };
                self.unknown.add(hash_folded(host), new, |seen| seen.count(class));
            }
            _ => {}
        }
    }

    fn compare(&mut self, asked: &Asked<'_>, before: &Judged<'_>, after: &Judged<'_>, place: (usize, u64)) {
        if before.insists == after.insists && is_same(&before.decision.verdict, &after.decision.verdict) {
            return;
        }
        let (one, other) = (&before.decision, &after.decision);
        let fates = [one, other].map(Fate::of);
        self.changed[fates[0] as usize][fates[1] as usize] += 1;
        let host = if one.host.is_empty() { asked.host.unwrap_or_default() } else { one.host.as_bytes() };
        let unkeyed = if one.key.is_empty() || other.key.is_empty() { before.target } else { b"" };
        let statuses = [one.verdict.status(), other.verdict.status()].map(u16::to_le_bytes);
        let identity = hash(&[host, one.key, other.key, unkeyed, &statuses[0], &statuses[1]]);
        let kind = (fates[0] as u32) << 3 | fates[1] as u32;
        self.shared.changed.add(identity, kind, 0, &mut self.told_changed);
        let new = || Change {
            hits: 0,
            method: cut(asked.line.method, MAX_TOLD),
            url: url(asked, before.target),
            seen: String::new(),
            before: Said::of(before),
            after: Said::of(after),
            place,
        };
        self.changes.add(identity, new, |change| {
            change.hits += 1;
            if place < change.place {
                (change.place, change.url) = (place, url(asked, before.target));
            }
        });
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

/// URLs of a list that a thread has room for.
const ROOM: usize = 1 << 16;
const MAX_ROOM: usize = 1 << 20;

/// Changes that a thread has room for: 100 MB, if there are so many.
const CHANGES: usize = 1 << 18;
