//! An HTTP/2 stream as Pingora's proxy gets it.
//!
//! Pingora's own session of a stream waits for a body as long as the client likes. This is the same session, but for
//! two things: a body has to come at a certain rate, and a client that takes its request back is noticed.

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

use super::{connection::Pace, http2::Peer};

/// A stream on its way through the proxy.
pub(super) struct Stream {
    session: HttpSession,
    peer: Arc<Peer>,
    pace: Pace,
}

impl Stream {
    /// The session for the proxy. The body may not come slower than `rate` bytes a second.
    pub fn session(session: HttpSession, peer: Arc<Peer>, rate: u32) -> ServerSession {
        ServerSession::new_custom(Box::new(Stream { session, peer, pace: Pace::new(rate) }))
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

#[async_trait]
impl Session for Stream {
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let read = {
            let mut reading = pin!(self.session.read_body_bytes());
            poll_fn(|cx| match reading.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending => {
                    let slow = ready!(self.pace.poll_slow(cx));
                    Poll::Ready(Err(Error::because(ErrorType::ReadError, "reading the body of a request", slow)))
                }
            })
            .await
        };
        if let Ok(Some(bytes)) = &read {
            self.pace.passed(bytes.len());
        }
        self.check(read)
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.session.is_body_done() {
            return self.read_body_bytes().await;
        }
        let reason = self.session.idle().await.or_err(ErrorType::H2Error, "waiting for an answer")?;
        self.peer.note_reset();
        Error::e_explain(ErrorType::H2Error, format!("the client takes its request back: {reason}"))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        while !self.session.is_body_done() && self.read_body_bytes().await?.is_some() {}
        Ok(())
    }

    // The rest is Pingora's.

    fn req_header(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session.req_header_mut()
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.session.write_response_header(response, end)
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, end: bool) -> Result<()> {
        self.session.write_response_header_ref(response, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        let written = self.session.write_body(data, end).await;
        self.check(written)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let written = self.session.response_duplex_vec(tasks).await;
        self.check(written)
    }

    /// Without effect: [`Pace`] bounds reading.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session.get_write_timeout()
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

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.session.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.session.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.session.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.session.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.session.body_bytes_sent()
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
