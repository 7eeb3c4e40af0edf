//! An HTTP/1.1 client over one connection, plain or TLS: sends exactly the bytes it is given.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// How long a client waits for anything before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where and how a connection is made.
#[derive(Clone)]
pub struct Dial {
    pub address: SocketAddr,
    /// The TLS settings and the name that is asked for.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dial {
    pub fn plain(address: SocketAddr) -> Self {
        Dial { address, tls: None }
    }

    pub fn open(&self) -> io::Result<Wire> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let io: Box<dyn ReadWrite + Send> = match &self.tls {
            None => Box::new(socket.try_clone()?),
            Some((config, name)) => {
                let connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, socket.try_clone()?))
            }
        };
        Ok(Wire { socket, io })
    }
}

pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// An open connection.
pub struct Wire {
    socket: TcpStream,
    io: Box<dyn ReadWrite + Send>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Bytes,
    /// The server closed the connection, in whatever way.
    Closed,
    /// Nothing came in time.
    Silence,
}

impl Wire {
    /// Sends everything. An error means that the server closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes)?;
        self.io.flush()
    }

    /// Appends what comes within `patience` to `buffer`.
    pub fn hear(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> Heard {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut chunk = [0; 16 * 1024];
        match self.io.read(&mut chunk) {
            Ok(0) => Heard::Closed,
            Ok(read) => {
                buffer.extend_from_slice(&chunk[..read]);
                Heard::Bytes
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Heard::Silence,
            Err(_) => Heard::Closed,
        }
    }

    /// Appends what has come to `buffer`, without waiting.
    pub fn hear_now(&mut self, buffer: &mut Vec<u8>) -> Heard {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.hear(buffer, PATIENCE);
        self.socket.set_nonblocking(false).unwrap();
        heard
    }
}

/// TLS settings that take any certificate, as long as the server has its key.
pub fn tls(version: &'static SupportedProtocolVersion, alpn: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An answer, whatever it came over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Lower-case names; the values of a repeated header are joined by ` && `, so that a repetition is seen.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn add_header(&mut self, name: &str, value: &str) {
        self.headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|old| *old += &format!(" && {value}"))
            .or_insert_with(|| value.to_owned());
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Takes the first response off `buffer`: `None` while it is incomplete. `head` says that it answers a HEAD.
    ///
    /// # Errors
    /// If it is no response that this gateway may send: one without a length and chunks, for instance.
    pub fn take(buffer: &mut Vec<u8>, head: bool) -> Result<Option<Response>, String> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let mut response =
            Response { status: status.ok_or(format!("no status line: {text:?}"))?, ..Response::default() };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("no header line {line:?}: {text:?}"))?;
            response.add_header(name, value.trim());
        }
        if response.status < 200 {
            // Interim: the one that counts comes after it.
            buffer.drain(..end + 4);
            return Response::take(buffer, head);
        }
        if response.header("transfer-encoding") == "chunked" && !head {
            let Some((body, used)) = unchunked(&buffer[end + 4..])? else { return Ok(None) };
            buffer.drain(..end + 4 + used);
            response.body = body;
            return Ok(Some(response));
        }
        let length = match head || response.status == 304 {
            true => 0,
            false => response.header("content-length").parse().map_err(|_| format!("no length: {text:?}"))?,
        };
        if buffer.len() < end + 4 + length {
            return Ok(None);
        }
        buffer.drain(..end + 4);
        response.body = buffer.drain(..length).collect();
        Ok(Some(response))
    }
}

/// A body in chunks without trailers, and how many bytes it took; `None` while it is incomplete.
fn unchunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let digits = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = usize::from_str_radix(&digits, 16).map_err(|_| format!("no chunk: {digits:?}"))?;
        let start = at + line + 2;
        let Some(chunk) = bytes.get(start..start + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(format!("a chunk without end: {digits}"));
        }
        body.extend_from_slice(&chunk[..size]);
        at = start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// A connection that is used for one request after the other.
pub struct Conn {
    dial: Dial,
    wire: Option<Wire>,
    buffer: Vec<u8>,
    /// How often a connection was opened.
    pub opened: usize,
}

impl Conn {
    pub fn new(address: SocketAddr) -> Self {
        Conn::over(Dial::plain(address))
    }

    pub fn over(dial: Dial) -> Self {
        Conn { dial, wire: None, buffer: Vec::new(), opened: 0 }
    }

    /// GET with a Host header.
    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.send(&head("GET", host, target.as_bytes(), &[], b""), false).unwrap()
    }

    /// Sends raw bytes and reads one response.
    pub fn send(&mut self, raw: &[u8], head: bool) -> io::Result<Response> {
        self.pipeline(raw, &[head]).map(|mut responses| responses.remove(0))
    }

    /// Sends several requests in one write and reads their answers, up to the one that closes the connection. `heads`
    /// says of each whether it is a HEAD. A connection that the server closed between requests is opened again.
    pub fn pipeline(&mut self, raw: &[u8], heads: &[bool]) -> io::Result<Vec<Response>> {
        let reused = self.wire.is_some();
        match self.exchange(raw, heads) {
            Err(_) if reused => {
                self.wire = None;
                self.exchange(raw, heads)
            }
            result => result,
        }
    }

    fn exchange(&mut self, raw: &[u8], heads: &[bool]) -> io::Result<Vec<Response>> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => {
                self.buffer.clear();
                self.opened += 1;
                none.insert(self.dial.open()?)
            }
        };
        wire.send(raw)?;
        let mut responses = Vec::with_capacity(heads.len());
        for &head in heads {
            let response = loop {
                if let Some(response) = Response::take(&mut self.buffer, head).unwrap() {
                    break response;
                }
                match wire.hear(&mut self.buffer, PATIENCE) {
                    Heard::Bytes => {}
                    // A server may close between two requests (RFC 9112, 9.3.2): the rest is for the caller to ask again.
                    Heard::Closed if !responses.is_empty() && self.buffer.is_empty() => {
                        self.wire = None;
                        return Ok(responses);
                    }
                    Heard::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Heard::Silence => return Err(io::ErrorKind::TimedOut.into()),
                }
            };
            let closes = response.header("connection").eq_ignore_ascii_case("close");
            responses.push(response);
            if closes {
                self.wire = None;
                break;
            }
        }
        Ok(responses)
    }
}

/// A request as bytes.
pub fn head(method: &str, host: &str, target: &[u8], headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut raw = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\n"].concat();
    for (name, value) in headers {
        raw.extend(format!("{name}: {value}\r\n").bytes());
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT") {
        raw.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    raw.extend(b"\r\n");
    raw.extend(body);
    raw
}
