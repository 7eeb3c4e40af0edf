//! A client that waits for what is being fetched.

use std::sync::Arc;

use http::{HeaderMap, header};
use tokio::sync::watch;

use super::{
    Asked, Body, Cache, Failure, Hit, Reply, Source, Times,
    buffer::{Place, Reader},
    conditions,
    entry::stored_fields,
    flight::{Head, Interim, Shared, Stage},
    reply::not_modified,
    status::{self, CACHE_STATUS},
    sync::lock,
};

/// The right to an answer that is being fetched.
#[derive(Debug)]
pub struct Follower {
    cache: Cache,
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    /// Of the one who asked first, for whom the response is in any case.
    place: Option<Place>,
    leads: bool,
}

/// What came of waiting.
#[derive(Debug)]
pub enum Followed {
    /// An interim response, to be sent at once; the answer has yet to be waited for.
    Interim(Interim, Follower),
    /// An answer.
    Reply(Reply),
    /// It is not for this request: look up again.
    Again,
    /// There is none.
    Failed(Failure),
}

impl Follower {
    pub(super) fn new(cache: &Cache, shared: &Arc<Shared>, leads: bool) -> Self {
        let place = leads.then(|| Place::new(shared, &mut lock(&shared.state).buffer));
        let changed = shared.changed.subscribe();
        Follower { cache: cache.clone(), shared: shared.clone(), changed, place, leads }
    }

    /// Waits for the head of the response, or of one before it. May be dropped, and ends when the flight does.
    pub async fn reply(mut self, asked: &Asked<'_>) -> Followed {
        loop {
            self.changed.borrow_and_update();
            let interim = if self.leads { lock(&self.shared.state).interim.pop_front() } else { None };
            if let Some(interim) = interim {
                return Followed::Interim(interim, self);
            }
            if let Some(followed) = self.look(asked) {
                return followed;
            }
            if self.changed.changed().await.is_err() {
                return Followed::Failed(Failure::Dropped);
            }
        }
    }

    fn look(&mut self, asked: &Asked<'_>) -> Option<Followed> {
        let mut state = lock(&self.shared.state);
        let suits = state.selecting.as_ref().is_none_or(|selecting| selecting.suits(asked.fields));
        let (head, is_kept) = match &state.stage {
            Stage::Waiting => return None,
            Stage::Failed(Failure::Dropped) if !self.leads => return Some(Followed::Again),
            Stage::Failed(failure) => return Some(Followed::Failed(*failure)),
            Stage::Answer { entry, source, shared } => {
                let is_for = entry.selecting.suits(asked.fields)
                    && (entry.for_authorized || !asked.fields.contains_key(header::AUTHORIZATION));
                if !(self.leads || (*shared && is_for)) {
                    return Some(Followed::Again);
                }
                let (entry, source) = (entry.clone(), *source);
                drop(state);
                let hit = Hit { entry, source, collapsed: !self.leads, now: asked.now };
                self.cache.count(source);
                return Some(Followed::Reply(hit.respond(asked)));
            }
            Stage::Body(head) => (head.clone(), state.buffer.kept || matches!(state.buffer.ended, Some(Ok(())))),
        };
        let place = match self.place.take() {
            Some(place) => place,
            // What was stored whole meanwhile is found by looking up again.
            None if is_kept && state.buffer.ended.is_none() && suits && head.is_shared(asked.fields) => {
                Place::new(&self.shared, &mut state.buffer)
            }
            None => return Some(Followed::Again),
        };
        // Once the body is not kept any more, it isn't going to be stored.
        let stored = head.storing.is_some() && is_kept;
        let own = if self.leads { state.own.take() } else { None };
        drop(state);
        let fields = own.unwrap_or_else(|| head.fields.clone());
        Some(Followed::Reply(self.stream(&head, fields, place, stored, asked)))
    }

    /// The response as it comes. It may have been read from another client's request: the conditions of this one count.
    fn stream(&self, head: &Head, fields: HeaderMap, place: Place, stored: bool, asked: &Asked<'_>) -> Reply {
        let source = Source::Fetched { forward: head.forward, status: head.status, stored };
        let is_success = (200..300).contains(&head.status);
        let has_it = is_success && conditions::is_not_modified(asked.fields, &fields, head.received);
        let mut fields = fields;
        let mut ttl = 0;
        if let Some(storing) = &head.storing {
            ttl = storing.freshness.ttl(asked.now);
            if !self.leads {
                let times = Times { requested: head.received, received: head.received };
                fields = stored_fields(&head.fields, &storing.withheld, times);
                fields.insert(header::AGE, storing.freshness.age(asked.now).into());
            }
        }
        fields.append(CACHE_STATUS, status::write(source, !self.leads, ttl));
        if has_it {
            return Reply { status: 304, fields: not_modified(fields), body: Body::Empty, source };
        }
        let body = match asked.head_only {
            true => Body::Empty,
            false => Body::Stream(Reader::new(place, self.changed.clone())),
        };
        Reply { status: head.status, fields, body, source }
    }
}
