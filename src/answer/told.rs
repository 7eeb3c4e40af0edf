//! What is told of an answer to those who count and log.

use std::{borrow::Cow, convert::Infallible, sync::Arc};

use super::{Answer, Facts};
use crate::cache::Hit;
use crate::model::{Denial, Method, Outcome, Reason, Verdict};
use crate::routing::{By, Decision};
use crate::telemetry::{Exchange, Lane, TraceContext};

/// What was sent for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent<'a> {
    /// The status; 0 if no answer was sent.
    pub status: u16,
    /// Bytes of its body.
    pub bytes: u64,
    /// Bytes of the request's body, as far as it was read.
    pub received: u64,
    /// What the cache had to do with it, by [`crate::cache::Source::name`]; empty if nothing.
    pub cache: &'static str,
    /// The platform that was asked.
    pub platform: &'a str,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

impl Sent<'_> {
    /// An answer of ours, and what of it a client gets.
    pub fn of(answer: &Answer<'_>, facts: &Facts<'_>) -> Self {
        let bytes = if facts.method == Method::Head { 0 } else { answer.body.len() as u64 };
        Sent { status: answer.status, bytes, ..Sent::default() }
    }
}

/// An answer that is stored.
pub trait Stored {
    /// What is sent of it.
    fn sent(&self) -> Sent<'static>;
}

impl Stored for Hit {
    fn sent(&self) -> Sent<'static> {
        let entry = self.entry();
        let bytes = entry.body().len() as u64;
        Sent { status: entry.status(), bytes, cache: self.source().name(), ..Sent::default() }
    }
}

impl Stored for Infallible {
    fn sent(&self) -> Sent<'static> {
        match *self {}
    }
}

/// What was decided about a request, as far as it is told.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    /// Number of the site.
    pub site: Option<usize>,
    outcome: Outcome,
    reason: Option<Reason>,
    /// What said so.
    pub by: By,
    key: Cow<'a, [u8]>,
    location: Cow<'a, str>,
    source: Option<(Cow<'a, Arc<str>>, u32)>,
}

impl<'a> Subject<'a> {
    pub fn of(decision: &Decision<'a>) -> Self {
        let (reason, location) = match decision.verdict {
            Verdict::Denied(Denial { reason, .. }) => (Some(reason), ""),
            Verdict::Redirect { location, .. } | Verdict::Notice { location } | Verdict::Leaving { location } => {
                (None, location)
            }
            _ => (None, ""),
        };
        Subject {
            site: decision.site.map(|(number, _)| number),
            outcome: decision.verdict.outcome(),
            reason,
            by: decision.by,
            key: Cow::Borrowed(decision.key),
            location: Cow::Borrowed(location),
            source: decision.source.map(|source| (Cow::Borrowed(source.file), source.line)),
        }
    }

    /// The same, independent of what it was decided with.
    pub fn into_owned(self) -> Subject<'static> {
        Subject {
            site: self.site,
            outcome: self.outcome,
            reason: self.reason,
            by: self.by,
            key: Cow::Owned(self.key.into_owned()),
            location: Cow::Owned(self.location.into_owned()),
            source: self.source.map(|(file, line)| (Cow::Owned(file.into_owned()), line)),
        }
    }

    /// Tells of an answer to a request that came at `at` (Unix microseconds), whose site has this id.
    pub fn tell(
        &self,
        facts: &Facts<'_>,
        lane: Lane,
        sent: Sent<'_>,
        at: i64,
        site: &str,
        tell: impl FnOnce(&Exchange<'_>),
    ) {
        let tags = match &facts.tags[..] {
            [] => String::new(),
            tags => tags.join(" "),
        };
        let trace = sent.trace.map(|trace| format!("{:032x}", trace.trace_id)).unwrap_or_default();
        let (file, line) = self.source.as_ref().map_or(("", 0), |(file, line)| (&***file, *line));
        tell(&Exchange {
            at,
            took: u32::try_from(facts.since.elapsed().as_micros()).unwrap_or(u32::MAX),
            status: sent.status,
            outcome: self.outcome,
            reason: self.reason,
            lane,
            protocol: facts.protocol,
            secure: facts.secure,
            unmapped: self.by == By::Fallback,
            client: facts.client,
            sent: sent.bytes,
            received: sent.received,
            site,
            method: &facts.method_name,
            host: facts.host.as_deref().unwrap_or_default(),
            target: &facts.target,
            key: &self.key,
            location: &self.location,
            file,
            line,
            platform: sent.platform,
            cache: sent.cache.as_bytes(),
            referer: &facts.referer,
            user_agent: &facts.user_agent,
            tags: &tags,
            trace: &trace,
            span: sent.trace.map_or(0, |trace| trace.span_id),
            parent: sent.trace.and_then(|trace| trace.parent_id).unwrap_or_default(),
            sampled: sent.trace.is_some_and(|trace| trace.sampled),
        });
    }
}
