//! An HTTP/2 stream as Pingora's proxy gets it.
//!
//! Pingora's own session of a stream waits for a body as long as the client likes, and no longer than ten seconds for a
//! piece of an answer to be taken, however large. This is the same session, but for two things: bodies have to come, and
//! to be taken, at a certain rate, and a client that takes its request back is noticed.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream as Messages;
use h2::SendStream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::{
    Digest,
    http::{
        HttpTask, ServerSession,
        custom::{CustomMessageWrite, server::Session},
        v2::server::HttpSession,
    },
    l4::socket::SocketAddr,
};
use pingora::{Error, ErrorType, OrErr, Result};

use super::{
    connection::Pace,
    http2::{Peer, Untaken, pour},
};

/// A stream on its way through the proxy.
pub(super) struct Stream {
    session: HttpSession,
    peer: Arc<Peer>,
    reading: Pace,
    writing: Pace,
    /// For the answer's body, once there is a head.
    writer: Option<SendStream<Bytes>>,
    /// Bytes of the answer's body that are sent.
    sent: usize,
    /// Whether the answer is.
    is_answered: bool,
}

impl Stream {
    /// The session for the proxy. Bodies may not come, or be taken, slower than `rate` bytes a second.
    pub fn session(session: HttpSession, peer: Arc<Peer>, rate: u32) -> ServerSession {
        ServerSession::new_custom(Box::new(Stream {
            session,
            peer,
            reading: Pace::new(rate),
            writing: Pace::new(rate),
            writer: None,
            sent: 0,
            is_answered: false,
        }))
    }

    fn write_head(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.session.write_response_header(response, end)?;
        if let Some(writer) = self.session.take_response_body_writer() {
            self.writer = Some(writer);
            self.is_answered = end;
        }
        Ok(())
    }

    async fn write_piece(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.is_answered || (data.is_empty() && !end) {
            return Ok(());
        }
        let length = data.len();
        let writer = self.writer.as_mut().ok_or_else(no_head)?;
        match pour(writer, data, end, &mut self.writing).await {
            Ok(()) => {}
            Err(Untaken::TooSlow) => {
                return Err(Error::explain(ErrorType::WriteTimedout, "the client takes too little").into_down());
            }
            Err(Untaken::TakenBack) => {
                self.peer.note_reset();
                return Err(Error::explain(ErrorType::H2Error, "the client takes its request back").into_down());
            }
        }
        self.sent += length;
        self.is_answered = end;
        Ok(())
    }

    fn end_with(&mut self, trailers: HeaderMap) -> Result<()> {
        if !self.is_answered {
            let sent = self.writer.as_mut().ok_or_else(no_head)?.send_trailers(trailers);
            sent.or_err(ErrorType::WriteError, "sending trailers").map_err(Error::into_down)?;
            self.is_answered = true;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if !self.is_answered
            && let Some(writer) = &mut self.writer
        {
            let sent = writer.send_data(Bytes::new(), true);
            sent.or_err(ErrorType::WriteError, "ending an answer").map_err(Error::into_down)?;
            self.is_answered = true;
        }
        Ok(())
    }

    /// Notes a stream that the client resets.
    fn check<T>(&self, outcome: Result<T>) -> Result<T> {
        let is_reset = |error: &Error| {
            error.root_cause().downcast_ref::<h2::Error>().is_some_and(|error| error.is_reset() && error.is_remote())
        };
        outcome.inspect_err(|error| {
            if is_reset(error) {
                self.peer.note_reset();
            }
        })
    }
}

fn no_head() -> Box<Error> {
    Error::explain(ErrorType::H2Error, "a body before its head")
}

#[async_trait]
impl Session for Stream {
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let read = {
            let mut reading = pin!(self.session.read_body_bytes());
            poll_fn(|cx| match reading.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending => {
                    let slow = ready!(self.reading.poll_slow(cx));
                    Poll::Ready(Err(Error::because(ErrorType::ReadError, "reading the body of a request", slow)))
                }
            })
            .await
        };
        if let Ok(Some(bytes)) = &read {
            self.reading.passed(bytes.len());
        }
        self.check(read)
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.session.is_body_done() {
            return self.read_body_bytes().await;
        }
        let reset = match &mut self.writer {
            Some(writer) => poll_fn(|cx| writer.poll_reset(cx)).await.or_err(ErrorType::H2Error, "sending an answer"),
            None => self.session.idle().await.or_err(ErrorType::H2Error, "waiting for an answer"),
        };
        let reason = reset?;
        self.peer.note_reset();
        Error::e_explain(ErrorType::H2Error, format!("the client takes its request back: {reason}"))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        while !self.session.is_body_done() && self.read_body_bytes().await?.is_some() {}
        Ok(())
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_head(response, end)
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, end: bool) -> Result<()> {
        self.write_head(Box::new(response.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write_piece(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.end_with(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut is_last = false;
        for task in tasks {
            is_last |= match task {
                HttpTask::Header(head, end) => {
                    self.write_head(head, end).map_err(Error::into_down)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    self.write_piece(data.unwrap_or_default(), end).await?;
                    end
                }
                HttpTask::Trailer(trailers) => {
                    trailers.map_or(Ok(()), |trailers| self.end_with(*trailers))?;
                    true
                }
                HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "HTTP/2 has no upgrades");
                }
            };
        }
        if is_last {
            self.end()?;
        }
        Ok(is_last)
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if !self.is_answered {
            self.session.shutdown();
        }
    }

    // The rest is Pingora's.

    fn req_header(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session.req_header_mut()
    }

    /// Without effect: [`Pace`] bounds reading.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    /// Without effect: [`Pace`] bounds writing.
    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    /// Without effect: [`Pace`] bounds reading.
    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        self.session.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.session.response_written()
    }

    fn is_body_done(&mut self) -> bool {
        self.session.is_body_done()
    }

    fn is_body_empty(&mut self) -> bool {
        self.session.is_body_empty()
    }

    fn body_bytes_read(&self) -> usize {
        self.session.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.session.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.session.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.session.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.session.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.session.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    // HTTP/2 has no messages besides requests and answers.

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
