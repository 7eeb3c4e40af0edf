//! What a connection can't answer by itself, and how it comes back.

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{End, Event, Http1};
use crate::answer::{Answer, Facts, wire, wire::Persistence};
use crate::door::{body::Body, connection::Connection, head::Head};
use crate::model::Method;
use crate::relay::{AnswerDate, Visit};
use crate::telemetry::Lane;
use crate::url::is_uri_byte;

/// A request for Pingora.
pub(super) struct Handover {
    head: BytesMut,
    body: Body,
    facts: Facts<'static>,
    is_last: bool,
    since: Instant,
}

/// An answer that takes its time.
pub(super) struct Large {
    pub facts: Facts<'static>,
    pub persistence: Persistence,
    pub since: Instant,
}

impl Large {
    pub fn new(facts: Facts<'static>, persistence: Persistence) -> Self {
        Large { facts, persistence, since: Instant::now() }
    }
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
        let visit = Visit {
            facts: request.facts,
            lane: Lane::Session,
            peer: connection.peer(),
            trusted: connection.trusted,
            is_last: request.is_last,
            since: request.since,
            date: AnswerDate::default(),
        };
        connection.begin_exchange(request.body, unread, door.limits.min_rate, Some(visit.date.clone()));
        let mut session = ServerSession::new_http1(Box::new(connection));
        session.set_pipelined_prefix(request.head);
        session.set_connection_user_context(Some(Box::new(visit)));
        let (stream, _) = door.proxy.process_new_http(session, &door.drain.shutdown_watch()).await?.consume();
        let mut connection = *stream.into_any().downcast::<Connection>().ok()?;
        // What is an answer without a body Pingora doesn't flush.
        connection.flush().await.ok()?;
        let unread = connection.end_exchange()?;
        let mut http = Http1::new(door, connection);
        http.requests = requests;
        http.is_news = !unread.is_empty();
        http.unread = unread;
        if request.is_last {
            http.next = Some(Event::End(End::Linger));
        }
        Some(http)
    }

    /// Makes an answer that takes its time.
    pub(super) async fn answer_at_length(&mut self, request: Large) {
        let Large { facts, persistence, since } = request;
        let responder = &self.door.responder;
        let head_only = facts.method == Method::Head;
        let date = responder.clock().date(<[u8]>::to_vec);
        let write = move |answer: &Answer<'_>| {
            let mut out = Vec::new();
            wire::write(&mut out, answer, head_only, persistence, &date);
            out
        };
        let (answer, held) = responder.respond_at_length(facts, Lane::Fast, write).await;
        responder.metrics().observe(since.elapsed());
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
        for &byte in &*facts.target {
            if is_uri_byte(byte) {
                bytes.extend_from_slice(&[byte]);
            } else {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                bytes.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        bytes.extend_from_slice(if head.is_1_1 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
        bytes.extend_from_slice(&input[head.skipped + head.line..head.length]);
        let body = if head.upgrades { Body::forever() } else { Body::new(head.framing) };
        Handover { head: bytes, body, facts: facts.into_owned(), is_last, since: Instant::now() }
    }
}
