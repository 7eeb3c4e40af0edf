//! A client's connection: the socket, TLS over it, and the bounds of the exchange that Pingora may see of it.
//!
//! Pingora gets a connection for one request at a time. It reads no further than that request's body: what comes after is
//! kept here for the next request, so the lanes can take turns on one connection and pipelined requests stay in order.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    raw_connect::ProxyDigest, tls::SslDigest,
};
use rustls::ServerConnection;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::body::Body;
use super::outgoing::Outgoing;
pub(super) use super::pace::Pace;
use crate::relay::AnswerDate;

/// A socket that was accepted.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a client.
pub(super) struct Connection {
    transport: Transport,
    /// Whom it comes from, as far as it is known: the peer, or whom a PROXY header names.
    pub client: Option<SocketAddr>,
    /// Whether the peer is a proxy whose word about the client's requests counts.
    pub trusted: bool,
    /// Whether its end waits until the client has heard of it. Not needed where the client knows that it sends no more.
    pub lingers: bool,
    tls: Option<Box<Tls>>,
    exchange: Option<Box<Exchange>>,
    sending: Option<Box<Sending>>,
    lingering: Option<Box<Lingering>>,
}

enum Transport {
    Plain(Socket),
    // Boxed: most of its size is for handshakes, and plain connections should not carry it.
    Tls(Box<TlsStream<Socket>>),
}

/// What a handshake said.
struct Tls {
    digest: Arc<SslDigest>,
    sni: Option<Box<str>>,
    http2: bool,
}

/// What Pingora sees of the connection.
struct Exchange {
    body: Body,
    /// Bytes that have arrived and not been handed on.
    ahead: Vec<u8>,
    pace: Pace,
    /// What Pingora writes, if it is HTTP/1.
    outgoing: Option<Outgoing>,
}

/// What is being sent, by somebody who does not see to it that it is taken.
struct Sending {
    rate: u32,
    /// While the client is behind.
    pace: Option<Pace>,
    is_behind: Arc<AtomicBool>,
}

impl Connection {
    pub fn plain(socket: Socket, client: Option<SocketAddr>, trusted: bool) -> Self {
        Connection::new(Transport::Plain(socket), client, trusted, None)
    }

    /// The connection after its handshake.
    pub fn encrypted(stream: TlsStream<Socket>, client: Option<SocketAddr>, trusted: bool) -> Self {
        let session = stream.get_ref().1;
        let (version, cipher) = names(session);
        let tls = Tls {
            digest: Arc::new(SslDigest::new(cipher, version, None, None, Vec::new())),
            sni: session.server_name().map(Into::into),
            http2: session.alpn_protocol() == Some(b"h2"),
        };
        Connection::new(Transport::Tls(Box::new(stream)), client, trusted, Some(Box::new(tls)))
    }

    fn new(transport: Transport, client: Option<SocketAddr>, trusted: bool, tls: Option<Box<Tls>>) -> Self {
        Connection { transport, client, trusted, lingers: true, tls, exchange: None, sending: None, lingering: None }
    }

    /// The address that it comes from.
    pub fn peer(&self) -> Option<IpAddr> {
        self.client.map(|client| client.ip())
    }

    /// Whether the connection itself is encrypted.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.http2)
    }

    /// The name that the client gave in its handshake.
    pub fn sni(&self) -> Option<&str> {
        self.tls.as_ref()?.sni.as_deref()
    }

    /// Has the connection reset when it is dropped: the system does not go on sending to a client that takes nothing.
    pub fn abandon(&self) {
        if let Socket::Tcp(stream) = self.socket() {
            // If it can't be set, the system gives up by itself after a while.
            let _ = stream.set_zero_linger();
        }
    }

    fn socket(&self) -> &Socket {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Lets readers see no further than `body`, and have `ahead` first. Neither may the body come slower than `rate` bytes
    /// a second, nor may answers be taken more slowly. With `date`, what is written is an answer over HTTP/1, which has
    /// that date.
    pub fn begin_exchange(&mut self, body: Body, ahead: Vec<u8>, rate: u32, date: Option<AnswerDate>) {
        let outgoing = date.map(Outgoing::new);
        self.exchange = Some(Box::new(Exchange { body, ahead, pace: Pace::new(rate), outgoing }));
        self.watch_sending(rate);
    }

    /// Ends that; the bytes that follow the body, or none if the body has not been read to its end.
    pub fn end_exchange(&mut self) -> Option<Vec<u8>> {
        self.sending = None;
        match self.exchange.take() {
            None => Some(Vec::new()),
            Some(exchange) => exchange.body.is_done().then_some(exchange.ahead),
        }
    }

    /// Lets sending fail from here on if the client takes less than `rate` bytes a second. Whoever gives the connection
    /// away sees in what is returned whether the client has yet to take something.
    pub fn watch_sending(&mut self, rate: u32) -> Arc<AtomicBool> {
        let is_behind = Arc::new(AtomicBool::new(false));
        self.sending = Some(Box::new(Sending { rate, pace: None, is_behind: is_behind.clone() }));
        is_behind
    }

    /// Whether what is written is kept for a while.
    fn gathers(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.outgoing.is_some())
    }

    /// Sends what Pingora has written.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.exchange.as_mut().and_then(|exchange| exchange.outgoing.as_mut()) {
            Some(outgoing) => outgoing.poll_send(&mut self.transport, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Waits for the client to take something. Ready if it is too slow: then the connection is given up.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(sending) = &mut self.sending else { return Poll::Pending };
        let pace = sending.pace.get_or_insert_with(|| {
            sending.is_behind.store(true, Ordering::Relaxed);
            Pace::new(sending.rate)
        });
        let error = ready!(pace.poll_slow(cx));
        self.abandon();
        Poll::Ready(error)
    }

    /// Notes what came of a write.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written
            && let Some(pace) = self.sending.as_mut().and_then(|sending| sending.pace.as_mut())
        {
            pace.passed(*count);
        }
        if written.is_pending() { self.poll_behind(cx).map(Err) } else { written }
    }
}

impl Exchange {
    fn poll_read(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.body.is_done() {
            return self.poll_end(transport, cx);
        }
        if self.ahead.is_empty() {
            let before = buf.filled().len();
            if Pin::new(transport).poll_read(cx, buf)?.is_pending() {
                return if self.body.ends() { self.pace.poll_slow(cx).map(Err) } else { Poll::Pending };
            }
            let news = &buf.filled()[before..];
            self.pace.passed(news.len());
            let passed = self.body.pass(news).map_err(malformed)?;
            self.ahead.extend_from_slice(&news[passed..]);
            buf.set_filled(before + passed);
            // If nothing of what came belongs to the body, then the body is done, which the caller knows too.
            return Poll::Ready(Ok(()));
        }
        let some = self.ahead.len().min(buf.remaining());
        let passed = self.body.pass(&self.ahead[..some]).map_err(malformed)?;
        buf.put_slice(&self.ahead[..passed]);
        self.ahead.drain(..passed);
        Poll::Ready(Ok(()))
    }

    /// Waits for the client to go away; what it sends meanwhile is for the next request.
    fn poll_end(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 1024];
        while self.ahead.len() < MAX_AHEAD {
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *transport).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }
}

/// The names of a session's version and cipher suite.
pub(super) fn names(session: &ServerConnection) -> (&'static str, &'static str) {
    let version = session.protocol_version().and_then(|version| version.as_str());
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    (version.unwrap_or(""), cipher.unwrap_or(""))
}

fn malformed(error: super::body::BadChunk) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The end of a connection: the client is told, and what it is still sending is read away. A socket that is closed over
/// unread bytes is reset, and answers on their way are lost (RFC 9112, 9.6).
struct Lingering {
    is_told: bool,
    /// Bytes that may still come.
    left: usize,
    time: Pin<Box<Sleep>>,
}

impl Lingering {
    fn new(lingers: bool) -> Self {
        Lingering { is_told: false, left: if lingers { MAX_LINGER } else { 0 }, time: Box::pin(sleep(LINGER_TIME)) }
    }

    fn poll(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !self.is_told {
            ready!(Pin::new(&mut *transport).poll_shutdown(cx))?;
            self.is_told = true;
        }
        let mut space = [0; 4096];
        while self.left > 0 {
            let mut buf = ReadBuf::new(&mut space);
            // An error means that the client is gone.
            let is_open = ready!(Pin::new(&mut *transport).poll_read(cx, &mut buf)).is_ok();
            self.left =
                if is_open && !buf.filled().is_empty() { self.left.saturating_sub(buf.filled().len()) } else { 0 };
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever waits for the client has nothing more to write now. An error shows when something is written.
        let _ = this.poll_outgoing(cx);
        match &mut this.exchange {
            None => Pin::new(&mut this.transport).poll_read(cx, buf),
            Some(exchange) => exchange.poll_read(&mut this.transport, cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.exchange.as_mut().and_then(|exchange| exchange.outgoing.as_mut()) {
            None => Pin::new(&mut this.transport).poll_write(cx, buf),
            Some(outgoing) => outgoing.poll_write(&mut this.transport, cx, buf),
        };
        this.written(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.poll_outgoing(cx)?.is_pending() || Pin::new(&mut this.transport).poll_flush(cx)?.is_pending() {
            return this.poll_behind(cx).map(Err);
        }
        // Whatever there was is with the system now.
        if let Some(sending) = &mut this.sending
            && sending.pace.take().is_some()
        {
            sending.is_behind.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes no longer than a client may need to hear of it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // An error means that the client is gone.
        let has_left = this.poll_outgoing(cx).is_pending();
        let lingering = this.lingering.get_or_insert_with(|| Box::new(Lingering::new(this.lingers)));
        if has_left { lingering.time.as_mut().poll(cx).map(Ok) } else { lingering.poll(&mut this.transport, cx) }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gathers() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return Pin::new(this).poll_write(cx, first);
        }
        let written = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        this.written(cx, written)
    }

    /// What is gathered is handed on piece by piece.
    fn is_write_vectored(&self) -> bool {
        !self.gathers() && self.transport.is_write_vectored()
    }
}

/// Hands each call on to whatever variant there is.
macro_rules! delegate {
    ($type:ty, $($variant:path),+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_read(cx, buf)),+ }
            }
        }
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_write(cx, buf)),+ }
            }
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_flush(cx)),+ }
            }
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_shutdown(cx)),+ }
            }
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($variant(io) => Pin::new(io).poll_write_vectored(cx, bufs)),+ }
            }
            fn is_write_vectored(&self) -> bool {
                match self { $($variant(io) => io.is_write_vectored()),+ }
            }
        }
    };
}

delegate!(Transport, Transport::Plain, Transport::Tls);
delegate!(Socket, Socket::Tcp, Socket::Unix);

/// Of an answer that breaks off the client has what there was.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.gathers() {
            let _ = Pin::new(self).poll_flush(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("client", &self.client).field("secure", &self.is_secure()).finish()
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // An error means that the client is gone.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> i32 {
        match self.socket() {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(self.tls.as_ref()?.digest.clone())
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.tls.as_ref()?.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    /// Tells Pingora the client instead of the peer.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        let digest = SocketDigest::from_raw_fd(self.id());
        let client = self.client.map(pingora::protocols::l4::socket::SocketAddr::Inet);
        // It is new, so it can be set.
        let _ = digest.peer_addr.set(client);
        Some(Arc::new(digest))
    }
}

impl Peek for Connection {}

/// Bytes of pipelined requests that are taken in while Pingora has the connection; the rest waits in the socket.
const MAX_AHEAD: usize = 64 * 1024;

/// Bytes that are read away at the end of a connection, and how long that may take.
const MAX_LINGER: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);
