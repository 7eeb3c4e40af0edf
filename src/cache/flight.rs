//! One fetch, for all who wait for the same.
//!
//! Whoever holds the [`Flight`] fetches, in a task of its own; every client has a [`super::Follower`].

use std::{collections::VecDeque, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::{Notify, watch};

use super::{
    Cache, Encodings, Entry, Filling, Forward, NotStored, Rules, Source, Times,
    buffer::Buffer,
    conditions,
    key::Key,
    policy::{self, Storing},
    sync::lock,
    vary::Selecting,
};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The platform can't be reached.
    #[error("the platform can't be reached")]
    Unreachable,
    /// It has not answered in time.
    #[error("the platform's response has not come in time")]
    Late,
    /// What it sends is no response, or it ends before one.
    #[error("the platform's response is malformed")]
    Malformed,
    /// Whoever fetched has given up.
    #[error("the fetch was given up")]
    Dropped,
}

/// What all who have to do with one fetch share.
#[derive(Debug)]
pub(super) struct Shared {
    pub state: std::sync::Mutex<State>,
    /// Tells readers and followers.
    pub changed: watch::Sender<()>,
    /// Tells the writer.
    pub room: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub stage: Stage,
    /// What the response was chosen by: before it is there, what it will be chosen by, where that is known.
    pub selecting: Option<Selecting>,
    pub buffer: Buffer,
    /// The fields of a response that is for the leader alone; else they are in the head.
    pub own: Option<HeaderMap>,
    /// Interim responses that the leader has yet to be given.
    pub interim: VecDeque<Interim>,
    /// Whether others may join.
    open: bool,
    /// Whether it was purged on its way.
    pub purged: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    Waiting,
    Body(Arc<Head>),
    /// What is stored is the answer, for all or for the leader only.
    Answer {
        entry: Arc<Entry>,
        source: Source,
        shared: bool,
    },
    Failed(Failure),
}

/// The head of an interim response (RFC 9110, 15.2), which is for the one who asked and never stored.
#[derive(Clone, Debug)]
pub struct Interim {
    /// The status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
}

/// The head of a response that is coming.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    /// As it came, for the leader; empty where that has its own.
    pub fields: HeaderMap,
    /// What the others may have of it.
    pub storing: Option<Storing>,
    pub forward: Forward,
    pub received: i64,
}

impl Shared {
    pub fn new(selecting: Option<Selecting>, open: bool) -> Self {
        let state = State {
            stage: Stage::Waiting,
            selecting,
            buffer: Buffer::keeping(),
            own: None,
            interim: VecDeque::new(),
            open,
            purged: false,
        };
        Shared { state: state.into(), changed: watch::Sender::new(()), room: Notify::new() }
    }

    /// Whether it is what the request would fetch.
    pub fn may_join(&self, request: &HeaderMap) -> bool {
        let state = lock(&self.state);
        let suits = || state.selecting.as_ref().is_none_or(|selecting| selecting.suits(request));
        state.open
            && suits()
            && match &state.stage {
                Stage::Waiting => true,
                Stage::Body(head) => state.buffer.kept && head.is_shared(request),
                Stage::Answer { .. } | Stage::Failed(_) => false,
            }
    }

    /// Lets nobody join any more.
    pub fn close(&self) {
        lock(&self.state).open = false;
    }

    fn set(&self, stage: Stage) {
        lock(&self.state).stage = stage;
        self.changed.send_replace(());
    }
}

impl Head {
    /// Whether it is for this request too.
    pub fn is_shared(&self, request: &HeaderMap) -> bool {
        // What is stale at once was an answer to the one who asked.
        self.storing.as_ref().is_some_and(|storing| {
            storing.freshness.is_fresh(self.received)
                && (storing.for_authorized || !request.contains_key(header::AUTHORIZATION))
        })
    }
}

/// What a fetch is about; dropped before its end, the fetch is given up.
#[derive(Debug)]
pub(super) struct Course {
    pub cache: Cache,
    pub shared: Arc<Shared>,
    pub key: Key,
    pub request: HeaderMap,
    pub rules: Arc<Rules>,
    pub forward: Forward,
    /// The purges that came before it.
    pub born: u64,
}

impl Drop for Course {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.shared.state);
            match state.stage {
                Stage::Waiting => state.stage = Stage::Failed(Failure::Dropped),
                Stage::Body(_) if state.buffer.ended.is_none() => {
                    state.buffer.abort();
                    self.cache.stats().aborted.add(1);
                }
                Stage::Body(_) | Stage::Answer { .. } | Stage::Failed(_) => {}
            }
        }
        self.shared.changed.send_replace(());
        self.cache.unlist(&self.key, &self.shared);
    }
}

/// The duty to fetch. Dropped, it is passed on to one of those who wait.
#[derive(Debug)]
pub struct Flight {
    pub(super) course: Course,
    /// What is stored, and is to be confirmed or replaced.
    pub(super) stored: Option<Arc<Entry>>,
    pub(super) conditional: bool,
}

/// What is left to do after the head of a response.
#[derive(Debug)]
pub enum Outcome {
    /// To write the body.
    Body(Box<Filling>),
    /// Nothing: the body, if there is one, is of no use.
    Done,
    /// To fetch again: the platform confirmed something else than what is stored.
    Again(Flight),
}

impl Flight {
    /// Fields of the client's request that are not sent to the platform: they are answered here.
    pub const NOT_SENT: [HeaderName; 5] =
        [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE, header::ACCEPT_ENCODING];

    /// Fields to send besides: what is stored, so that the platform need only confirm it (RFC 9111, 4.3.1), and the
    /// codings that every client takes who may get the response.
    pub fn fields(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::new();
        let encodings = Encodings::of(&self.course.request).as_str();
        if !encodings.is_empty() {
            fields.push((header::ACCEPT_ENCODING, HeaderValue::from_static(encodings)));
        }
        if let Some(stored) = self.stored.as_ref().filter(|_| self.conditional) {
            let validators =
                [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
            for (validator, condition) in validators {
                fields.extend(stored.fields.get(validator).map(|value| (condition, value.clone())));
            }
        }
        fields
    }

    /// Passes on the head of an interim response, 102 or 103; the others are about the connection.
    pub fn interim(&self, status: u16, mut fields: HeaderMap) {
        if !(102..200).contains(&status) {
            return;
        }
        policy::remove_hop_by_hop(&mut fields);
        let shared = &self.course.shared;
        {
            let waiting = &mut lock(&shared.state).interim;
            if waiting.len() == MAX_INTERIM {
                return;
            }
            waiting.push_back(Interim { status, fields });
        }
        shared.changed.send_replace(());
    }

    /// Takes the head of the platform's final response (no 1xx). `fields` may still have those of the connection.
    pub fn head(mut self, status: u16, mut fields: HeaderMap, times: Times) -> Outcome {
        let now = times.received;
        if status == 304 {
            let Some(stored) = self.stored.clone().filter(|_| self.conditional) else {
                self.fail(Failure::Malformed, now);
                return Outcome::Done;
            };
            if conditions::is_same(&stored.fields, &fields) {
                self.confirmed(&stored, fields, times);
                return Outcome::Done;
            }
            self.conditional = false;
            return Outcome::Again(self);
        }
        let is_down = matches!(status, 502..=504);
        if (is_down || status == 500) && self.answer_stale(Some(status), is_down, now) {
            return Outcome::Done;
        }
        let course = self.course;
        let storing = policy::storing(&course.request, status, &fields, &course.rules, times);
        let length = content_length(&fields);
        let limit = course.cache.object_bytes(&course.rules);
        let storing = storing.and_then(|storing| match length {
            Some(length) if length > limit => Err(NotStored::Large),
            _ => Ok(storing),
        });
        if storing.is_err() {
            course.cache.stats().not_stored.add(1);
        }
        if let (Err(_), Some(stored), 400..=407 | 409..=428 | 430..=499) = (&storing, &self.stored, status) {
            // It is gone, or not for all any more.
            course.cache.store().remove(&course.key, stored, now);
        }
        policy::remove_hop_by_hop(&mut fields);
        let storing = storing.ok();
        let stored_as = storing.is_some().then(|| fields.clone());
        let (own, fields) = if storing.is_some() { (None, fields) } else { (Some(fields), HeaderMap::new()) };
        let head = Head { status, fields, storing: storing.clone(), forward: course.forward, received: now };
        let is_shared = head.is_shared(&HeaderMap::new());
        if !is_down && status != 500 {
            course.cache.set_failing(&course.key, None);
        }
        let selecting = storing.as_ref().map(|storing| storing.selecting.clone());
        {
            let mut state = lock(&course.shared.state);
            state.selecting = selecting;
            state.own = own;
            if storing.is_none() {
                state.buffer.keep_no_longer();
            }
            state.stage = Stage::Body(Arc::new(head));
        }
        if !is_shared {
            // The next ones need not wait to find that they are to fetch for themselves.
            course.cache.set_alone(&course.key, now);
            course.shared.close();
        }
        course.shared.changed.send_replace(());
        Outcome::Body(Box::new(Filling::new(course, status, storing.zip(stored_as), length, limit, times)))
    }

    /// Whether there is something else to answer with while the platform is down.
    pub fn has_stand_in(&self, now: i64) -> bool {
        self.stored.as_ref().is_some_and(|stored| serves_errors(stored, true, now))
    }

    /// There is no response.
    pub fn fail(self, failure: Failure, now: i64) {
        if !self.answer_stale(None, true, now) {
            self.course.shared.set(Stage::Failed(failure));
        }
    }

    /// Answers with what is stored, if it may be used instead of an error (RFC 5861, 4).
    fn answer_stale(&self, status: Option<u16>, is_down: bool, now: i64) -> bool {
        let Some(stored) = self.stored.as_ref().filter(|stored| serves_errors(stored, is_down, now)) else {
            return false;
        };
        self.course.cache.set_failing(&self.course.key, Some(now));
        let source = Source::StaleIfError(status);
        self.course.shared.set(Stage::Answer { entry: stored.clone(), source, shared: true });
        true
    }

    fn confirmed(self, stored: &Arc<Entry>, fields: HeaderMap, times: Times) {
        let course = &self.course;
        let now = times.received;
        let (entry, refused) = stored.freshened(&course.request, fields, &course.rules, times, course.born);
        let entry = Arc::new(entry);
        match refused {
            None => course.cache.store().replace(&course.key, stored, &entry, now),
            Some(_) => course.cache.store().remove(&course.key, stored, now),
        }
        course.cache.set_failing(&course.key, None);
        let shared = refused.is_none() && entry.freshness.is_fresh(now);
        match shared {
            true => course.cache.set_shared(&course.key),
            false => course.cache.set_alone(&course.key, now),
        }
        course.shared.set(Stage::Answer { entry, source: Source::Revalidated(course.forward), shared });
    }
}

/// Whether a stored response may be used instead of an error.
pub(super) fn serves_errors(entry: &Entry, is_down: bool, now: i64) -> bool {
    let freshness = &entry.freshness;
    freshness.is_fresh(now)
        || freshness.is_within(freshness.if_error, now)
        || (is_down && freshness.is_within(freshness.if_down, now))
}

/// The body's length, if it is said and can be one.
fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Most interim responses that wait for the leader; the rest is dropped.
const MAX_INTERIM: usize = 8;
