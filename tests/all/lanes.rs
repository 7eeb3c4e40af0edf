//! The ways a request can take through the gateway, behind one client, so that a suite can run over each.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Uri};
use rustls::{ClientConfig, pki_types::ServerName, version};
use tokio::{net::TcpStream, runtime::Runtime, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;
use waypost::{
    config::Gateway,
    server::{self, Running},
};

use crate::client::{self, Conn, Dial, PATIENCE, Response};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// HTTP/1.1 answered from the connection's buffer.
    Fast,
    /// HTTP/1.1 through Pingora's session.
    Session,
    /// HTTP/1.1 over TLS 1.2.
    Tls12,
    /// HTTP/1.1 over TLS 1.3.
    Tls13,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// Requests that are sent in one write.
const PIPELINED: usize = 16;

impl Lane {
    pub const ALL: &[Lane] = &[Lane::Fast, Lane::Session, Lane::Tls12, Lane::Tls13, Lane::H2, Lane::H2c];
    /// Those that speak HTTP/2.
    pub const TWO: &[Lane] = &[Lane::H2, Lane::H2c];

    /// Starts a gateway that has this lane open on a free port: the one place that knows which settings that takes.
    pub fn start(self, gateway: Gateway) -> Running {
        server::start(Gateway {
            https: vec!["127.0.0.1:0".parse().unwrap()],
            fast_lane: self != Lane::Session,
            h2c: self == Lane::H2c,
            ..gateway
        })
        .unwrap()
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Lane::Tls12 | Lane::Tls13 | Lane::H2)
    }

    pub fn is_h2(self) -> bool {
        Lane::TWO.contains(&self)
    }

    /// Where this lane begins.
    pub fn address(self, running: &Running) -> SocketAddr {
        if self.is_tls() { running.https[0] } else { running.http[0] }
    }

    /// How to connect for a host.
    pub fn dial(self, running: &Running, host: &str) -> Dial {
        let tls = match self {
            Lane::Fast | Lane::Session | Lane::H2c => None,
            Lane::Tls12 => Some(client::tls(&version::TLS12, &["http/1.1"])),
            Lane::Tls13 => Some(client::tls(&version::TLS13, &["http/1.1"])),
            Lane::H2 => Some(client::tls(&version::TLS13, &["h2"])),
        };
        Dial { address: self.address(running), tls: tls.map(|config| (config, server_name(host))) }
    }

    /// A client for this lane.
    pub fn client(self, running: &Running) -> Client {
        let dial = self.dial(running, "");
        let way = if self.is_h2() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            Way::H2(H2 { runtime, open: None })
        } else {
            Way::H1(Conn::over(dial.clone()))
        };
        Client { lane: self, dial, way }
    }

    /// The target as this lane sends it. HTTP/1 sends the bytes as they are; our HTTP/2 client must have a URI, so what no
    /// URI may hold is percent-encoded (the gateway reads both alike). `None` if it can't be said in HTTP/2: an
    /// absolute-form target, or a host that is no authority.
    pub fn target(self, host: &str, target: &[u8]) -> Option<Vec<u8>> {
        if !self.is_h2() {
            return Some(target.to_vec());
        }
        if !target.starts_with(b"/") || host.parse::<Authority>().is_err() {
            return None;
        }
        let mut escaped = Vec::with_capacity(target.len());
        for &byte in target {
            if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte) {
                escaped.push(byte);
            } else {
                escaped.extend(format!("%{byte:02X}").bytes());
            }
        }
        Some(escaped)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Fast => "HTTP/1.1 fast lane",
            Lane::Session => "HTTP/1.1 session",
            Lane::Tls12 => "HTTP/1.1 over TLS 1.2",
            Lane::Tls13 => "HTTP/1.1 over TLS 1.3",
            Lane::H2 => "HTTP/2 over TLS",
            Lane::H2c => "HTTP/2 by prior knowledge",
        })
    }
}

#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub target: &'a [u8],
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    pub const fn get(host: &'a str, target: &'a [u8]) -> Self {
        Request { method: "GET", host, target, headers: &[], body: b"" }
    }

    fn to_bytes(&self) -> Vec<u8> {
        client::head(self.method, self.host, self.target, self.headers, self.body)
    }
}

/// A client that keeps one connection, as long as it asks for the same host where the host matters (TLS).
pub struct Client {
    lane: Lane,
    dial: Dial,
    way: Way,
}

enum Way {
    H1(Conn),
    H2(H2),
}

impl Client {
    /// Asks; a connection that the server has closed meanwhile is opened again.
    ///
    /// # Panics
    /// If the lane can't say the request ([`Lane::target`]), or no answer comes.
    pub fn ask(&mut self, request: &Request<'_>) -> Response {
        self.turn_to(request.host);
        let target = self.lane.target(request.host, request.target).expect("this lane can't send that");
        match &mut self.way {
            Way::H1(conn) => conn.send(&request.to_bytes(), request.method == "HEAD").unwrap(),
            Way::H2(h2) => h2.ask(&self.dial, &Request { target: &target, ..request.clone() }),
        }
    }

    /// The answers to many requests, which HTTP/1.1 sends several at a time.
    pub fn ask_all(&mut self, requests: &[Request<'_>]) -> Vec<Response> {
        let mut answers = Vec::with_capacity(requests.len());
        while answers.len() < requests.len() {
            let rest = &requests[answers.len()..];
            self.turn_to(rest[0].host);
            let Way::H1(conn) = &mut self.way else {
                answers.push(self.ask(&rest[0]));
                continue;
            };
            let name = server_name(rest[0].host);
            let is_next = |request: &&Request<'_>| self.dial.tls.is_none() || server_name(request.host) == name;
            let next: Vec<&Request<'_>> = rest.iter().take(PIPELINED).take_while(is_next).collect();
            let raw: Vec<u8> = next.iter().flat_map(|request| request.to_bytes()).collect();
            let heads: Vec<bool> = next.iter().map(|request| request.method == "HEAD").collect();
            // What follows an answer that closed the connection is asked again.
            answers.extend(conn.pipeline(&raw, &heads).unwrap());
        }
        answers
    }

    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.ask(&Request::get(host, target.as_bytes()))
    }

    /// How often a connection was opened, over HTTP/1.1; 1 over HTTP/2.
    pub fn opened(&self) -> usize {
        match &self.way {
            Way::H1(conn) => conn.opened,
            Way::H2(_) => 1,
        }
    }

    /// A connection is for one name: one that was made for another is dropped.
    fn turn_to(&mut self, host: &str) {
        let Some((_, name)) = &mut self.dial.tls else { return };
        let asked = server_name(host);
        if *name == asked {
            return;
        }
        *name = asked;
        match &mut self.way {
            Way::H1(conn) => *conn = Conn::over(self.dial.clone()),
            Way::H2(h2) => h2.open = None,
        }
    }
}

/// The name to ask for in a handshake; what is no DNS name sends none.
fn server_name(host: &str) -> ServerName<'static> {
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    // Names of addresses are not sent (RFC 6066, 3).
    ServerName::try_from(name).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
}

struct H2 {
    runtime: Runtime,
    open: Option<(h2::client::SendRequest<Bytes>, JoinHandle<()>)>,
}

impl H2 {
    fn ask(&mut self, dial: &Dial, request: &Request<'_>) -> Response {
        let reused = self.open.is_some();
        match self.exchange(dial, request) {
            Err(error) if reused && (error.is_go_away() || error.is_io()) => {
                self.open = None;
                self.exchange(dial, request).unwrap()
            }
            result => result.unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(request.target))),
        }
    }

    fn exchange(&mut self, dial: &Dial, request: &Request<'_>) -> Result<Response, h2::Error> {
        let H2 { runtime, open } = self;
        runtime.block_on(async {
            let (sender, _) = match open {
                Some(open) => open,
                none => none.insert(connect(dial).await?),
            };
            let exchange = exchange(sender, dial.tls.is_some(), request);
            timeout(PATIENCE, exchange).await.expect("an answer over HTTP/2 in time")
        })
    }
}

/// A connection of HTTP/2, and what drives it.
pub async fn connect(dial: &Dial) -> Result<(h2::client::SendRequest<Bytes>, JoinHandle<()>), h2::Error> {
    let socket = TcpStream::connect(dial.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    Ok(match &dial.tls {
        None => drive(h2::client::handshake(socket).await?),
        Some((config, name)) => {
            let connector = TlsConnector::from(Arc::<ClientConfig>::clone(config));
            let stream = connector.connect(name.clone(), socket).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            drive(h2::client::handshake(stream).await?)
        }
    })
}

fn drive<S>(
    (sender, connection): (h2::client::SendRequest<Bytes>, h2::client::Connection<S>),
) -> (h2::client::SendRequest<Bytes>, JoinHandle<()>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // Its errors come to the requests as well.
    (sender, tokio::spawn(async { drop(connection.await) }))
}

async fn exchange(
    sender: &mut h2::client::SendRequest<Bytes>,
    secure: bool,
    request: &Request<'_>,
) -> Result<Response, h2::Error> {
    let uri = Uri::builder()
        .scheme(if secure { "https" } else { "http" })
        .authority(request.host)
        .path_and_query(PathAndQuery::try_from(request.target).unwrap())
        .build()
        .unwrap();
    let mut message = http::Request::builder().method(request.method).uri(uri).version(http::Version::HTTP_2);
    for (name, value) in request.headers {
        message = message.header(*name, *value);
    }
    if !request.body.is_empty() {
        message = message.header("content-length", request.body.len());
    }
    *sender = sender.clone().ready().await?;
    let (answer, mut stream) = sender.send_request(message.body(()).unwrap(), request.body.is_empty())?;
    if !request.body.is_empty() {
        // An error means that the answer came before the body was asked for.
        let _ = stream.send_data(Bytes::copy_from_slice(request.body), true);
    }
    let (parts, mut body) = answer.await?.into_parts();
    let mut response = Response { status: parts.status.as_u16(), ..Response::default() };
    for (name, value) in &parts.headers {
        response.add_header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        response.body.extend_from_slice(&chunk);
    }
    Ok(response)
}
