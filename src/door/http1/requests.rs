//! What is made of the bytes that arrived: requests, and their answers.

use std::cell::RefCell;

use tokio::time::Instant;

use super::handover::{Handover, Large};
use super::{End, Event, Http1, INPUT, output::Output};
use crate::answer::{Facts, Parts, Refusal, Reply, Serving, Step, wire, wire::Persistence};
use crate::cache::{Encodings, Hit, KeyParts};
use crate::door::body::{Body, Framing, MAX_PASSING};
use crate::door::head::{self, Bounds, Head};
use crate::model::Method;
use crate::telemetry::{Lane, Limit, Protocol};

thread_local! {
    static KEY: RefCell<Vec<u8>> = RefCell::default();
}

/// A request body that nobody wants, and the request that is answered at its end.
pub(super) struct Passing {
    pub body: Body,
    left: u64,
    pub facts: Facts<'static>,
    persistence: Persistence,
    then: Option<End>,
}

impl Http1<'_> {
    /// Answers into `output` what has arrived as a whole by `now`; how much of `input` that was.
    pub(super) fn take_in(&mut self, input: &[u8], output: &mut Output, now: Instant) -> usize {
        let mut at = 0;
        while at < input.len() && self.next.is_none() {
            let rest = &input[at..];
            if let Some(passing) = &mut self.body {
                let passed = passing.pass(rest);
                at += passed.unwrap_or_default();
                if passed.is_ok() && passing.goes_on() {
                    break;
                }
                if let Some(body) = self.body.take() {
                    match passed {
                        Ok(_) => self.passed(*body, output),
                        Err(refusal) => self.refuse(&body.facts.refuse(refusal), output),
                    }
                }
                continue;
            }
            if output.len() > INPUT {
                // What is answered goes out first.
                self.is_news = true;
                break;
            }
            if self.requests == 0 && self.is_preface(rest) {
                break;
            }
            if head::empty_lines(rest) == rest.len() {
                // After a body, not before a request: nothing to wait for.
                at = input.len();
                break;
            }
            match head::parse(rest, self.bounds()) {
                Ok(Some(head)) => {
                    at += head.length;
                    self.request(&head, rest, output, now);
                }
                Ok(None) => break,
                Err(refusal) => self.refuse(&Facts::refused(refusal, self.connection.peer()), output),
            }
        }
        at
    }

    /// Answers a request, or says who will.
    fn request(&mut self, head: &Head<'_>, input: &[u8], output: &mut Output, now: Instant) {
        let door = self.door;
        self.requests += 1;
        let (peer, trusted, lines) = (self.connection.peer(), self.connection.trusted, head.lines(input));
        let client = door.client(peer, trusted, &lines);
        let parts = Parts {
            method: head.method,
            protocol: if head.is_1_1 { Protocol::Http11 } else { Protocol::Http10 },
            target: head.target,
            host: head.host,
            secure: self.connection.is_secure(),
            sni: self.connection.sni(),
            client,
            is_many: door.is_many(client, trusted),
            trusted,
            forwarded_host: head.forwarded_host,
            forwarded_proto: head.forwarded_proto,
            accept_language: head.accept_language,
            referer: head.referer,
            user_agent: head.user_agent,
        };
        let facts = door.responder.admit(Facts::read(&parts, now.into_std()), &lines);
        let is_spent = door.limits.requests > 0 && self.requests >= door.limits.requests;
        if is_spent {
            door.metrics().limit(Limit::Requests);
        }
        // After an upgrade that the platform declines, nobody knows what the client will send.
        let is_last = is_spent || !head.keep_alive || head.upgrades || !door.drain.is_serving();
        if !door.fast_lane && !facts.is_refused() {
            self.next = Some(Event::Relay(Box::new(Handover::new(head, input, facts, is_last))));
            return;
        }
        let end = if head.keep_alive { End::Linger } else { End::Close };
        // A body that nobody wants passes first, if it is short: then the connection can be used again. One that may be
        // long, or that the client has not begun to send, is not waited for.
        let (waits, then) = match head.framing {
            Framing::Length(0) => (false, is_last.then_some(end)),
            Framing::Length(length) if length <= MAX_PASSING && !head.expects => (true, is_last.then_some(end)),
            Framing::Chunked if !head.expects => (true, Some(End::Linger)),
            _ => (false, Some(End::Linger)),
        };
        let persistence = match then {
            Some(_) => Persistence::Closed,
            None if head.is_1_1 => Persistence::Kept,
            None => Persistence::KeptAlive,
        };
        if waits {
            // It is answered when its body has passed, and counted then; where it goes has to be known before.
            let (body, facts) = (Body::new(head.framing), facts.into_owned());
            self.next = match door.responder.decide(&facts) {
                Step::Relay(_) => Some(Event::Relay(Box::new(Handover::new(head, input, facts, is_last)))),
                _ => {
                    self.body = Some(Box::new(Passing { body, left: MAX_PASSING, facts, persistence, then }));
                    None
                }
            };
            return;
        }
        let stored = |serving: &Serving| self.stored(serving, head, &facts);
        self.next = match self.respond_with(&facts, persistence, output, stored) {
            Step::Answered(()) => then.map(Event::End),
            Step::Large => Some(Event::Large(Box::new(Large { facts: facts.into_owned(), persistence }))),
            Step::Relay(relayed) => {
                let mut handover = Handover::new(head, input, facts, is_last);
                if head.framing == Framing::Length(0) && !head.expects && !head.upgrades {
                    handover.ask_cache(relayed, persistence);
                }
                Some(Event::Relay(Box::new(handover)))
            }
        };
    }

    /// What the cache has for a plain request; none if that has to be looked at more closely.
    fn stored(&self, serving: &Serving, head: &Head<'_>, facts: &Facts<'_>) -> Option<Hit> {
        let rules = &serving.cache;
        let is_personal = head.has_cookie && !rules.private_cookies.is_empty();
        if !rules.enabled || !head.is_plain || is_personal || head.upgrades || facts.method != Method::Get {
            return None;
        }
        let key = KeyParts { secure: facts.secure, host: facts.host.as_deref()?, target: &facts.target };
        let encodings = Encodings::read(head.accept_encoding.into_iter());
        KEY.with_borrow_mut(|bytes| {
            key.write(bytes);
            self.door.cache.fresh(bytes, encodings, self.door.responder.clock().now())
        })
    }

    /// Answers a request whose body has passed.
    fn passed(&mut self, passed: Passing, output: &mut Output) {
        let Passing { facts, persistence, then, .. } = passed;
        self.next = match self.respond(&facts, persistence, output) {
            Step::Answered(()) => then.map(Event::End),
            Step::Large => Some(Event::Large(Box::new(Large { facts, persistence }))),
            // It was ours when its body came.
            Step::Relay(_) => return self.refuse(&facts.refuse(Refusal::CHANGED), output),
        };
    }

    fn respond(&self, facts: &Facts<'_>, persistence: Persistence, output: &mut Output) -> Step<()> {
        self.respond_with(facts, persistence, output, |_| None)
    }

    fn respond_with(
        &self,
        facts: &Facts<'_>,
        persistence: Persistence,
        output: &mut Output,
        stored: impl FnOnce(&Serving) -> Option<Hit>,
    ) -> Step<()> {
        let head_only = facts.method == Method::Head;
        let responder = &self.door.responder;
        responder.respond_with(facts, Lane::Fast, stored, |reply| match reply {
            Reply::Made(answer) => {
                responder.clock().date(|date| wire::write(output.bytes(), answer, head_only, persistence, date))
            }
            Reply::Stored(hit) => {
                wire::write_stored_head(output.bytes(), &hit, persistence);
                output.append(hit.entry().body());
            }
        })
    }

    /// Answers a request that is refused, after which nothing more is read from this connection.
    pub(super) fn refuse(&mut self, refused: &Facts<'_>, output: &mut Output) {
        let _: Step<()> = self.respond(refused, Persistence::Closed, output);
        self.next = Some(Event::End(End::Linger));
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.door.limits;
        Bounds { target: limits.target as usize, head: limits.head as usize, fields: limits.fields as usize }
    }

    /// Whether this is HTTP/2 by prior knowledge, or may become it.
    fn is_preface(&mut self, input: &[u8]) -> bool {
        if !self.door.h2c || self.connection.is_secure() {
            return false;
        }
        let known = input.len().min(PREFACE.len());
        if input[..known] != PREFACE[..known] {
            return false;
        }
        if known == PREFACE.len() {
            self.next = Some(Event::Http2);
        }
        true
    }
}

impl Passing {
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let passed = self.body.pass(bytes).map_err(|_| Refusal::BODY_MALFORMED)?;
        self.left = self.left.saturating_sub(passed as u64);
        Ok(passed)
    }

    /// Whether there is more to wait for. Of a body that turns out to be long, nothing is.
    fn goes_on(&self) -> bool {
        !self.body.is_done() && self.left > 0
    }
}

/// RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
