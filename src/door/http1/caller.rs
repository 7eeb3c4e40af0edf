//! A connection of HTTP/1 as the cache's answers are written to it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::output::Output;
use crate::answer::{Clock, wire, wire::Persistence};
use crate::cache::{Body, Interim, Reader, write_line};
use crate::door::connection::Connection;
use crate::relay::{AnswerDate, Client, broke_off};

/// The client at the other end, for one answer.
pub(super) struct Caller<'c> {
    connection: &'c mut Connection,
    is_1_1: bool,
    persistence: Persistence,
    clock: &'c Clock,
    /// What is to be sent.
    output: Output,
    /// Bytes of the body.
    body: u64,
}

impl<'c> Caller<'c> {
    /// `persistence` is what the answer is to say of the connection.
    pub fn new(connection: &'c mut Connection, is_1_1: bool, persistence: Persistence, clock: &'c Clock) -> Self {
        Caller { connection, is_1_1, persistence, clock, output: Output::with_capacity(HEAD), body: 0 }
    }

    /// What the answer has said of the connection.
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Writes a head; `is_chunked` if the body comes in chunks.
    fn head(&mut self, status: u16, fields: &HeaderMap, is_chunked: bool) {
        let out = self.output.bytes();
        wire::status_line(out, status);
        let is_dated = fields.get(header::DATE).is_some_and(|date| date.len() == AnswerDate::LENGTH);
        for (name, value) in fields {
            if *name != header::DATE || is_dated {
                write_line(out, name, value);
            }
        }
        if !is_dated {
            // RFC 9110, 6.6.1.
            self.clock.date(|date| {
                out.extend_from_slice(b"Date: ");
                out.extend_from_slice(date);
                out.extend_from_slice(b"\r\n");
            });
        }
        if is_chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        wire::connection(out, self.persistence);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes a body while it comes. What has come at a time goes out together.
    async fn stream(&mut self, mut reader: Reader, framing: Framing) -> Result<()> {
        let mut left = if let Framing::Length(length) = framing { length } else { u64::MAX };
        while left > 0 {
            let next = match soon(reader.next()).await {
                Some(next) => next,
                None => {
                    self.send().await?;
                    let mut gone = pin!(self.gone());
                    tokio::select! {
                        biased;
                        next = reader.next() => next,
                        gone = &mut gone => return Err(gone),
                    }
                }
            };
            match next {
                Some(Ok(piece)) => {
                    left = left.saturating_sub(piece.len() as u64);
                    self.piece(&piece, framing).await?;
                }
                Some(Err(aborted)) => {
                    // A client must not take what it has for all of it.
                    self.send().await?;
                    return Err(broke_off(aborted));
                }
                None => break,
            }
        }
        if framing == Framing::Chunked {
            self.output.bytes().extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }

    async fn piece(&mut self, piece: &Bytes, framing: Framing) -> Result<()> {
        if framing != Framing::None {
            self.body += piece.len() as u64;
        }
        match framing {
            Framing::None => return Ok(()),
            Framing::Chunked => {
                let size = format!("{:x}\r\n", piece.len());
                self.output.bytes().extend_from_slice(size.as_bytes());
                self.output.append(piece);
                if self.output.len() > MOST {
                    self.send().await?;
                }
                self.output.bytes().extend_from_slice(b"\r\n");
            }
            Framing::Length(_) | Framing::Closed => self.output.append(piece),
        }
        if self.output.len() > MOST { self.send().await } else { Ok(()) }
    }

    /// Sends what is written.
    async fn send(&mut self) -> Result<()> {
        let Caller { connection, output, .. } = self;
        let sent = async {
            while !output.is_empty() {
                poll_fn(|cx| output.poll_send(connection, cx)).await?;
            }
            output.clear();
            connection.flush().await
        };
        sent.await.map_err(|error| Error::because(ErrorType::WriteError, "sending an answer", error).into_down())
    }
}

impl Client for Caller<'_> {
    fn version(&self) -> Version {
        if self.is_1_1 { Version::HTTP_11 } else { Version::HTTP_10 }
    }

    async fn interim(&mut self, interim: &Interim) -> Result<()> {
        if !self.is_1_1 {
            // RFC 9110, 15.2.
            return Ok(());
        }
        let out = self.output.bytes();
        wire::status_line(out, interim.status);
        interim.fields.iter().for_each(|(name, value)| write_line(out, name, value));
        out.extend_from_slice(b"\r\n");
        self.send().await
    }

    async fn answer(&mut self, status: u16, fields: HeaderMap, body: Body) -> Result<()> {
        let framing = match &body {
            Body::Stream(_) if matches!(status, 204 | 304) => Framing::None,
            Body::Stream(_) => {
                match fields.get(header::CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse().ok()) {
                    Some(Some(length)) => Framing::Length(length),
                    None if self.is_1_1 => Framing::Chunked,
                    // The end of the connection is the end of the body.
                    Some(None) | None => Framing::Closed,
                }
            }
            Body::Empty | Body::Pieces(_) => Framing::None,
        };
        if framing == Framing::Closed {
            self.persistence = Persistence::Closed;
        }
        self.head(status, &fields, framing == Framing::Chunked);
        match body {
            Body::Empty => {}
            Body::Pieces(pieces) => {
                for piece in &pieces {
                    self.piece(piece, Framing::Closed).await?;
                }
            }
            Body::Stream(reader) => self.stream(reader, framing).await?,
        }
        self.send().await
    }

    fn sent(&self) -> u64 {
        self.body
    }

    async fn gone(&mut self) -> Box<Error> {
        // What it sends meanwhile is kept for the next request.
        let mut byte = [0];
        let read = poll_fn(|cx| Pin::new(&mut *self.connection).poll_read(cx, &mut ReadBuf::new(&mut byte))).await;
        match read {
            Ok(()) => Error::new(ErrorType::ConnectionClosed).into_down(),
            Err(error) => Error::because(ErrorType::ReadError, "waiting for an answer", error).into_down(),
        }
    }
}

/// How the client knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// With the connection.
    Closed,
}

/// What comes of `work` if it need not be waited for.
async fn soon<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        Poll::Ready(match work.as_mut().poll(cx) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

/// Bytes that most heads have room in.
const HEAD: usize = 1024;

/// Bytes that are gathered before they are sent.
const MOST: usize = 16 * 1024;
