//! From exchanges to counts.

use std::{
    mem::take,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use compact_str::CompactString;

use super::Answer;
use super::calendar::Calendar;
use super::counts::{Counts, Hit};
use super::memo::Memo;
use super::stats::Stats;
use super::writer::Writer;
use crate::config::HitsSettings;
use crate::model::{Agent, Host, HostBuf, Outcome};
use crate::telemetry::{Consumer, Exchange};
use crate::url::split_absolute;

/// Counts hits, and has them written now and then.
#[derive(Debug)]
pub struct Collector {
    settings: HitsSettings,
    calendar: Calendar,
    /// Values of `User-Agent` that are programs'.
    bots: Memo<bool>,
    /// Hosts in the values of `Referer`, in canonical spelling.
    referrers: Memo<CompactString>,
    counts: Counts,
    /// Bytes that are left for URLs.
    room: usize,
    flushed: Instant,
    writer: Writer,
    stats: Arc<Stats>,
}

impl Collector {
    pub(super) fn new(settings: &HitsSettings, writer: Writer, stats: Arc<Stats>) -> Self {
        Collector {
            calendar: Calendar::new(settings),
            bots: Memo::new(),
            referrers: Memo::new(),
            counts: Counts::default(),
            room: settings.memory,
            flushed: Instant::now(),
            writer,
            stats,
            settings: settings.clone(),
        }
    }

    /// Hands what was counted to the writer, unless it is busy: then it goes on being counted here.
    fn flush(&mut self) {
        if self.counts.is_empty() {
            self.flushed = Instant::now();
            return;
        }
        match self.writer.write(take(&mut self.counts)) {
            Ok(()) => {
                self.room = self.settings.memory;
                self.flushed = Instant::now();
            }
            Err(counts) => {
                self.counts = counts;
                let lost = self.counts.forget();
                if lost > 0 {
                    self.stats.lose(lost);
                }
            }
        }
    }
}

impl Consumer for Collector {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let mut host = None;
        let Some((site, url)) = place(exchange, &mut host) else { return };
        let at = exchange.at.div_euclid(1_000_000);
        let hit = Hit {
            day: self.calendar.day(at),
            site,
            url,
            answer: Answer { outcome: exchange.outcome, status: exchange.status, unmapped: exchange.unmapped },
            bot: is_bot(exchange.user_agent, &mut self.bots),
            at,
            referrer: referring_host(exchange.referer, &mut self.referrers),
        };
        self.counts.count(&hit, self.settings.counters, &mut self.room);
    }

    fn pause(&mut self) {
        self.stats.entries.store(self.counts.entries() as u64, Ordering::Relaxed);
        // What is asked for by a flood of URLs is written sooner, so that there is room for others.
        let is_full = self.room < self.settings.memory / FULL;
        let wait = if is_full { self.settings.flush / SOONER } else { self.settings.flush };
        if self.flushed.elapsed() >= wait {
            self.flush();
        }
    }

    fn end(&mut self) {
        if let Err(counts) = self.writer.end(take(&mut self.counts)) {
            self.stats.lose(counts.hits());
        }
    }
}

/// The site and URL that an exchange counts for; none if it is no hit. A URL that is empty is not told apart.
fn place<'a>(exchange: &Exchange<'a>, buffer: &'a mut Option<HostBuf>) -> Option<(&'a str, &'a str)> {
    match exchange.outcome {
        Outcome::Health | Outcome::Challenge | Outcome::Denied | Outcome::BadRequest => None,
        _ if exchange.reason.is_some() => None,
        // Hosts are no personal data, and which forgotten ones are asked for is what operators want to know.
        Outcome::UnknownHost => {
            Some(("", Host::canonical(exchange.host, buffer.get_or_insert_default()).unwrap_or_default()))
        }
        _ if exchange.key.is_empty() => None,
        // Canonical keys are text; and no database takes a NUL.
        _ => Some((exchange.site, str::from_utf8(exchange.key).ok().filter(|key| !key.contains('\0')).unwrap_or(""))),
    }
}

/// Whether a hit is a program's.
fn is_bot(user_agent: &[u8], known: &mut Memo<bool>) -> bool {
    let user_agent = user_agent.get(..LONGEST_AGENT).unwrap_or(user_agent);
    *known.get(user_agent, || Agent::of(user_agent) != Agent::Person)
}

/// Bytes of a `User-Agent` that are looked at.
const LONGEST_AGENT: usize = 512;

/// The host in the value of a `Referer`; empty if there is none.
fn referring_host<'a>(referer: &[u8], known: &'a mut Memo<CompactString>) -> &'a str {
    let Some(url) = split_absolute(referer) else { return "" };
    // Without a user's name and password.
    let host = url.authority.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
    if host.len() > LONGEST_REFERRER {
        return "";
    }
    known.get(host, || Host::canonical(host, &mut HostBuf::default()).unwrap_or_default().into())
}

/// Longest authority that is looked at, in bytes: some are spelled with more than their canonical spelling has.
const LONGEST_REFERRER: usize = 1024;

/// Memory is full when this part of it is left.
const FULL: usize = 8;

/// How much sooner a flush comes then.
const SOONER: u32 = 10;
