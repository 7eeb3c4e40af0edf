//! One request and its answer, over a connection of its own.

use std::{io, net::SocketAddr, time::Duration};

use ::url::{Host, Position, Url};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::body::{Body, unzip};
use super::{Fault, Limits, Page, Shared, Timings};

/// Asks for a page. Bounded in memory; who calls bounds the time of the whole.
pub(super) async fn get(shared: &Shared, url: &Url, limits: &Limits) -> Result<Page, Fault> {
    let start = Instant::now();
    let deadline = start + limits.connect;
    let late = |_| Fault::Timeout(limits.connect.as_secs());
    let addresses = timeout_at(deadline, shared.resolver.addresses(url, limits.family)).await.map_err(late)??;
    let (stream, address) = connect(&addresses, deadline, limits).await?;
    let _ = stream.set_nodelay(true);
    let connect = start.elapsed();
    let exchange = Exchange { start, connect, tls: connect, address, certificate_ends: None, limits };
    if url.scheme() == "http" {
        return exchange.run(stream, url, &shared.agent).await;
    }
    let name = match url.host().ok_or(Fault::Url)? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| Fault::Url)?,
        Host::Ipv4(ip) => ServerName::IpAddress(std::net::IpAddr::V4(ip).into()),
        Host::Ipv6(ip) => ServerName::IpAddress(std::net::IpAddr::V6(ip).into()),
    };
    let shaking = TlsConnector::from(shared.tls.clone()).connect(name, stream);
    let stream = timeout_at(deadline, shaking).await.map_err(late)?.map_err(|error| match error.kind() {
        // The server went away in the middle of it.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            Fault::Tls("the server ends the handshake".to_owned())
        }
        _ => Fault::Tls(error.to_string()),
    })?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let ends = leaf.and_then(|leaf| Some(x509_parser::parse_x509_certificate(leaf).ok()?.1.validity().not_after));
    let certificate_ends = ends.map(|ends| ends.timestamp());
    Exchange { tls: start.elapsed(), certificate_ends, ..exchange }.run(stream, url, &shared.agent).await
}

/// Connects to the first address that answers; none may take all the time that is left.
async fn connect(
    addresses: &[SocketAddr],
    deadline: Instant,
    limits: &Limits,
) -> Result<(TcpStream, SocketAddr), Fault> {
    let mut fault = Fault::Timeout(limits.connect.as_secs());
    for (&address, left) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => fault = Fault::Connect(error.to_string()),
            Err(_) => fault = Fault::Timeout(limits.connect.as_secs()),
        }
    }
    Err(fault)
}

struct Exchange<'a> {
    start: Instant,
    connect: Duration,
    tls: Duration,
    address: SocketAddr,
    certificate_ends: Option<i64>,
    limits: &'a Limits,
}

impl Exchange<'_> {
    async fn run(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &Url, agent: &str) -> Result<Page, Fault> {
        let broken = |error: io::Error| Fault::Protocol(format!("the connection broke: {error}"));
        let target = &url[Position::BeforePath..Position::AfterQuery];
        // The parser lets in no control and no space.
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: zh-CN,zh;q=0.9,en;q=0.5\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut buffer = Vec::with_capacity(READ);
        let (head, length) = loop {
            if let Some((head, length)) = parse(&buffer)? {
                buffer.drain(..length);
                // What came before the answer itself, as 103 does.
                if (100..200).contains(&head.status) {
                    continue;
                }
                break (head, length);
            }
            if buffer.len() >= LONGEST_HEAD {
                return Err(Fault::Protocol("the head of the answer is too long".to_owned()));
            }
            if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
                let what =
                    if buffer.is_empty() { "the server closes without an answer" } else { "the answer breaks off" };
                return Err(Fault::Protocol(what.to_owned()));
            }
        };
        debug_assert!(length <= LONGEST_HEAD + READ);
        let first_byte = self.start.elapsed();
        let mut body = head.body(self.limits.body);
        let mut is_whole = false;
        loop {
            if !body.push(&buffer) {
                return Err(Fault::Protocol("the body is not chunked as announced".to_owned()));
            }
            if body.is_done() {
                is_whole = body.bytes.len() < self.limits.body;
                break;
            }
            buffer.clear();
            match stream.read_buf(&mut buffer).await {
                // TLS that was not closed as it should be is a matter between servers.
                Ok(0) | Err(_) => {
                    is_whole |= body.ends_well();
                    break;
                }
                Ok(_) => {}
            }
        }
        let mut bytes = body.bytes;
        let coding = head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            bytes = unzip(&bytes, self.limits.body);
            is_whole &= bytes.len() < self.limits.body;
        }
        Ok(Page {
            status: head.status,
            headers: head.headers,
            body: bytes,
            is_whole,
            timings: Timings { connect: self.connect, tls: self.tls, first_byte, whole: self.start.elapsed() },
            address: self.address,
            certificate_ends: self.certificate_ends,
        })
    }
}

struct Head {
    status: u16,
    headers: HeaderMap,
}

impl Head {
    fn body(&self, limit: usize) -> Body {
        if matches!(self.status, 204 | 304) {
            return Body::new(false, Some(0), limit);
        }
        let last = |name| self.headers.get_all(name).iter().next_back().map(HeaderValue::as_bytes);
        let coding = last(header::TRANSFER_ENCODING).unwrap_or_default().to_ascii_lowercase();
        let length =
            last(header::CONTENT_LENGTH).and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        Body::new(coding.ends_with(b"chunked"), length, limit)
    }
}

/// A head, if it is whole, and how long it is.
fn parse(buffer: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let mut config = httparse::ParserConfig::default();
    // Old servers are what this is for.
    config.allow_spaces_after_header_name_in_responses(true).ignore_invalid_headers_in_responses(true);
    match config.parse_response(&mut response, buffer) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let mut headers = HeaderMap::new();
            for field in response.headers.iter() {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
                {
                    headers.append(name, value);
                }
            }
            Ok(Some((Head { status: response.code.unwrap_or_default(), headers }, length)))
        }
        Err(error) => Err(Fault::Protocol(format!("the answer is not HTTP/1: {error}"))),
    }
}

/// Bytes of a head.
const LONGEST_HEAD: usize = 64 << 10;

/// Fields of a head.
const MOST_FIELDS: usize = 128;

/// Bytes that are read at once.
const READ: usize = 8 << 10;
