//! What a connection can't answer by itself, and how it comes back.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{End, Event, Http1, caller::Caller};
use crate::answer::{Answer, Facts, Relayed, wire, wire::Persistence};
use crate::door::{
    body::{Body, Framing},
    connection::Connection,
    head::Head,
};
use crate::model::Method;
use crate::relay::{AnswerDate, Answered, Visit};
use crate::telemetry::Lane;
use crate::url::is_uri_byte;

/// A request for the cache, or for Pingora.
pub(super) struct Handover {
    head: Bytes,
    /// Bytes of its first line.
    line: usize,
    body: Body,
    visit: Visit,
    is_1_1: bool,
    /// What is to be asked of a platform, and what the answer says of the connection, if the cache is to be asked first.
    cached: Option<(Relayed, Persistence)>,
}

/// An answer that takes its time.
pub(super) struct Large {
    pub facts: Facts<'static>,
    pub persistence: Persistence,
}

impl<'d> Http1<'d> {
    pub(super) fn into_http2(self) -> Connection {
        let Http1 { mut connection, unread, door, .. } = self;
        connection.begin_exchange(Body::forever(), unread, door.limits.min_rate, None);
        connection
    }

    /// Lets Pingora have the connection for one request; none if it can't be used again.
    pub(super) async fn relay(self, request: Handover) -> Option<Http1<'d>> {
        let Http1 { door, mut connection, unread, requests, .. } = self;
        let Handover { head, body, mut visit, .. } = request;
        (visit.peer, visit.trusted) = (connection.peer(), connection.trusted);
        let is_last = visit.is_last;
        connection.begin_exchange(body, unread, door.limits.min_rate, Some(visit.date.clone()));
        let mut session = ServerSession::new_http1(Box::new(connection));
        session.set_pipelined_prefix(head.into());
        session.set_connection_user_context(Some(Box::new(visit)));
        let (stream, _) = door.proxy.http().process_new_http(session, &door.drain.shutdown_watch()).await?.consume();
        let mut connection = *stream.into_any().downcast::<Connection>().ok()?;
        // What is an answer without a body Pingora doesn't flush.
        connection.flush().await.ok()?;
        let unread = connection.end_exchange()?;
        let mut http = Http1::new(door, connection);
        http.requests = requests;
        http.is_news = !unread.is_empty();
        http.unread = unread;
        if is_last {
            http.next = Some(Event::End(End::Linger));
        }
        Some(http)
    }

    /// Answers through the cache; false if nothing has been done, since the request is for Pingora.
    pub(super) async fn answer_cached(&mut self, request: &mut Handover) -> bool {
        let (Some((relayed, persistence)), Some(fields)) = (request.cached.take(), request.fields()) else {
            return false;
        };
        let Http1 { door, connection, unread, .. } = self;
        (request.visit.peer, request.visit.trusted) = (connection.peer(), connection.trusted);
        connection.begin_exchange(Body::new(Framing::Length(0)), std::mem::take(unread), door.limits.min_rate, None);
        let mut caller = Caller::new(connection, request.is_1_1, persistence, door.responder.clock());
        let answered = door.proxy.answer_cached(&mut caller, &fields, &mut request.visit, &relayed).await;
        let persistence = caller.persistence();
        self.unread = self.connection.end_exchange().unwrap_or_default();
        match answered {
            Answered::Passed => {
                request.visit.passed = true;
                return false;
            }
            Answered::Whole if persistence != Persistence::Closed => {}
            Answered::Whole | Answered::Cut => self.next = Some(Event::End(End::Linger)),
        }
        self.is_news = !self.unread.is_empty();
        self.idle_since = Instant::now();
        true
    }

    /// Makes an answer that takes its time.
    pub(super) async fn answer_at_length(&mut self, request: Large) {
        let Large { facts, persistence } = request;
        let responder = &self.door.responder;
        let head_only = facts.method == Method::Head;
        let date = responder.clock().date(<[u8]>::to_vec);
        let write = move |answer: &Answer<'_>| {
            let mut out = Vec::new();
            wire::write(&mut out, answer, head_only, persistence, &date);
            out
        };
        let (answer, held) = responder.respond_at_length(facts, Lane::Fast, write).await;
        (self.unsent, self.held) = (answer.into(), held);
        self.needs_flush = self.connection.is_secure();
        self.is_news = !self.unread.is_empty();
        self.next = (persistence == Persistence::Closed).then_some(Event::End(End::Linger));
    }
}

impl Handover {
    /// The head as Pingora takes it: every target a URI in origin-form. What was really asked for is in `facts`.
    pub(super) fn new(head: &Head<'_>, input: &[u8], facts: Facts<'_>, is_last: bool) -> Self {
        let mut bytes = BytesMut::with_capacity(head.length + facts.target.len() / 2);
        bytes.extend_from_slice(head.method.as_bytes());
        bytes.extend_from_slice(b" ");
        let mut rest = &*facts.target;
        while let Some(at) = rest.iter().position(|&byte| !is_uri_byte(byte)) {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let byte = rest[at];
            bytes.extend_from_slice(&rest[..at]);
            bytes.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            rest = &rest[at + 1..];
        }
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(if head.is_1_1 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
        let line = bytes.len();
        bytes.extend_from_slice(&input[head.skipped + head.line..head.length]);
        let body = if head.upgrades { Body::forever() } else { Body::new(head.framing) };
        let visit = Visit {
            facts: facts.into_owned(),
            lane: Lane::Session,
            peer: None,
            trusted: false,
            is_last,
            date: AnswerDate::default(),
            passed: false,
            trace: None,
        };
        Handover { head: bytes.freeze(), line, body, visit, is_1_1: head.is_1_1, cached: None }
    }

    /// Has the cache asked first. The request has no body.
    pub(super) fn ask_cache(&mut self, relayed: Relayed, persistence: Persistence) {
        let facts = &self.visit.facts;
        if facts.method != Method::Other && facts.host.is_some() && relayed.serving().cache.enabled {
            self.cached = Some((relayed, persistence));
        }
    }

    /// Whether the cache is to be asked first.
    pub(super) fn is_for_cache(&self) -> bool {
        self.cached.is_some()
    }

    /// The fields, as parts of the head; none if there is something that can't be one.
    fn fields(&self) -> Option<HeaderMap> {
        let lines = self.head.slice(self.line..self.head.len() - b"\r\n".len());
        let mut fields = HeaderMap::with_capacity(memchr::memchr_iter(b'\n', &lines).count());
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &lines) {
            let line = &lines[start..end];
            let colon = memchr::memchr(b':', line)?;
            let value = line[colon + 1..].trim_ascii();
            let at = value.as_ptr() as usize - lines.as_ptr() as usize;
            let value = HeaderValue::from_maybe_shared(lines.slice(at..at + value.len())).ok()?;
            fields.append(HeaderName::from_bytes(&line[..colon]).ok()?, value);
            start = end + 1;
        }
        Some(fields)
    }
}
