//! A polite HTTP client: asks other servers for pages, one at a time, slowly, and only where they allow it.
//!
//! Owns: the pace for each host ([`Robot::get`] waits for its turn), `robots.txt` (RFC 9309), resolution, one HTTP/1.1
//! exchange over TCP or TLS, and the reading of what came ([`Document`]: charset, title, visible text).
//!
//! Never does: follow a redirect by itself (who asks sees each hop, and decides), send anything but GET, keep a cookie, read
//! more of a body than it was told to.
//!
//! Invariants:
//! - Between the starts of two requests to a host (whatever its port) lies at least the pace; at most `per_host` run at the
//!   same time, and at most `concurrency` in all. Requests for `robots.txt` count.
//! - Memory for an answer is bounded by [`Limits`], for `robots.txt` by [`robots::KEPT`], whatever a server sends.
//! - Each request ends within the time of its [`Limits`], once its turn has come.
//!
//! Called by: `verify`, `suggest`, `monitor`.

mod body;
mod exchange;
mod pace;
mod resolve;
pub mod robots;
mod text;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, header};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use tokio::time::{sleep, timeout};

pub use self::resolve::{Family, Resolve};
pub use self::robots::Permission;
pub use self::text::{Document, decode, title};
pub use ::url::Url;

use self::pace::Pace;
use self::resolve::Resolver;
use self::robots::Rules;

/// How the robot behaves.
#[derive(Clone, Debug)]
pub struct RobotSettings {
    /// Requests to a host in a second; below 1 for less than one. Never more than a thousand.
    pub rate: f64,
    /// Requests to a host at the same time.
    pub per_host: usize,
    /// Requests at the same time in all.
    pub concurrency: usize,
    /// Where hosts are, besides what DNS says.
    pub resolve: Vec<Resolve>,
    /// A PEM file with authorities that are trusted besides those that browsers know.
    pub authorities: Option<PathBuf>,
    /// What is asked for, for the User-Agent: `verify`.
    pub purpose: &'static str,
}

impl Default for RobotSettings {
    fn default() -> Self {
        RobotSettings {
            rate: 2.0,
            per_host: 2,
            concurrency: 64,
            resolve: Vec::new(),
            authorities: None,
            purpose: "robot",
        }
    }
}

/// What one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time until a connection stands, its TLS included.
    pub connect: Duration,
    /// Time of the whole request.
    pub total: Duration,
    /// Bytes of the body that are read, after decompression; the rest is dropped.
    pub body: usize,
    /// Addresses that may be used.
    pub family: Family,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(15),
            body: 256 << 10,
            family: Family::Any,
        }
    }
}

/// How long what took, from the start of the request (its turn had come).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the name was resolved and a connection stood.
    pub connect: Duration,
    /// Until TLS was agreed on; as `connect` without TLS.
    pub tls: Duration,
    /// Until the head of the answer was there.
    pub first_byte: Duration,
    /// Until the body was there, as far as it is read.
    pub whole: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// The beginning of its body, decompressed.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
    /// How long it took.
    pub timings: Timings,
    /// Who answered.
    pub address: SocketAddr,
    /// When the server's certificate ends, in Unix seconds, if it came over TLS.
    pub certificate_ends: Option<i64>,
}

impl Page {
    /// The media type, in lower case and without parameters; empty if none is named.
    pub fn media_type(&self) -> String {
        self.content_type().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The field `Content-Type`; empty if there is none.
    pub fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where a redirect (301, 302, 303, 307, 308) leads from `url`; none if it is none, or leads nowhere that HTTP goes.
    pub fn location(&self, url: &Url) -> Option<Url> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let value = self.headers.get(header::LOCATION)?.as_bytes();
        // Old servers send bytes of their own charset.
        let text: String = match std::str::from_utf8(value) {
            Ok(text) => text.to_owned(),
            Err(_) => value
                .iter()
                .map(|&b| if b.is_ascii() { char::from(b).to_string() } else { format!("%{b:02X}") })
                .collect(),
        };
        let mut next = url.join(text.trim()).ok().filter(is_web)?;
        // A browser keeps it to itself.
        next.set_fragment(None);
        Some(next)
    }

    /// What can be read of the page; of what is no text, nothing.
    pub fn document(&self) -> Document {
        Document::read(&self.body, self.content_type())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The URL can't be asked for. Who asks is at fault.
    #[error("not an http(s) URL")]
    Url,
    /// Nobody knows the host, or only under addresses of the other kind. DNS is at fault.
    #[error("{0}")]
    Resolve(String),
    /// No connection. The network or the server is at fault.
    #[error("no connection: {0}")]
    Connect(String),
    /// No agreement over TLS, or a certificate that browsers refuse. The server is at fault.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// What came is not HTTP. The server is at fault.
    #[error("{0}")]
    Protocol(String),
}

impl Fault {
    /// Whether another try may well go better.
    pub fn is_passing(&self) -> bool {
        matches!(self, Fault::Timeout(_) | Fault::Connect(_) | Fault::Protocol(_))
    }
}

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Robot {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    resolver: Resolver,
    tls: Arc<ClientConfig>,
    agent: String,
    rules: robots::Cache,
}

impl Robot {
    /// A robot.
    ///
    /// # Errors
    /// If the file of authorities can't be read.
    pub fn new(settings: &RobotSettings) -> io::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &settings.authorities {
            let bad = |why: String| io::Error::other(format!("{}: {why}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
            let mut found = 0;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                found += 1;
            }
            if found == 0 {
                return Err(bad("it holds no certificate".to_owned()));
            }
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let agent = format!("Waypost/{} (+{})", env!("CARGO_PKG_VERSION"), settings.purpose);
        Ok(Robot {
            shared: Arc::new(Shared {
                pace: Pace::new(settings.rate, settings.per_host, settings.concurrency),
                resolver: Resolver::new(settings.resolve.clone()),
                tls: Arc::new(tls),
                agent,
                rules: robots::Cache::default(),
            }),
        })
    }

    /// Asks for a page, when the host's turn has come. Does not look at `robots.txt`.
    ///
    /// # Errors
    /// Why there is no answer. A status is an answer.
    pub async fn get(&self, url: &Url, limits: &Limits) -> Result<Page, Fault> {
        let host = url.host_str().filter(|_| is_web(url)).ok_or(Fault::Url)?;
        let turn = self.shared.pace.turn(host).await;
        let asked = exchange::get(&self.shared, url, limits);
        let page = timeout(limits.total, asked).await.unwrap_or(Err(Fault::Timeout(limits.total.as_secs())))?;
        if matches!(page.status, 429 | 503)
            && let Some(wait) =
                page.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok())
        {
            turn.pause(Duration::from_secs(wait));
        }
        Ok(page)
    }

    /// Whether the host's `robots.txt` lets this robot ask for a URL. It is fetched once for each origin, at the host's
    /// pace, and forgotten after a day. A `Crawl-delay` in it becomes the pace, if it is slower.
    pub async fn permission(&self, url: &Url) -> Permission {
        match self.rules(url).await {
            Some(rules) => rules.permission(&url[::url::Position::BeforePath..::url::Position::AfterQuery]),
            None => Permission::Refused,
        }
    }

    /// Why `robots.txt` could not be had, where [`Robot::permission`] is unknown because nobody answered; none if the server
    /// did, with an error. It is asked again after a minute.
    pub async fn silence(&self, url: &Url) -> Option<Fault> {
        self.rules(url).await?.silence().cloned()
    }

    async fn rules(&self, url: &Url) -> Option<Arc<Rules>> {
        let host = url.host_str().filter(|_| is_web(url))?;
        let cell = self.shared.rules.cell(url);
        let is_new = cell.get().is_none();
        let ask = || async {
            let rules = self.fetch_rules(url).await;
            if let Some(delay) = rules.delay() {
                self.shared.pace.slow_down(host, delay);
            }
            Arc::new(rules)
        };
        let rules = cell.get_or_init(ask).await.clone();
        if is_new {
            self.shared.rules.weigh(url, &cell);
        }
        Some(rules)
    }

    /// Reads `robots.txt` as RFC 9309, 2.3.1 wants it: up to five redirects, 4xx allows everything, 5xx and silence nothing.
    async fn fetch_rules(&self, url: &Url) -> Rules {
        let limits = Limits { body: robots::LONGEST, ..Limits::default() };
        let Ok(mut at) = url.join("/robots.txt") else { return Rules::nothing_refused() };
        for _ in 0..=5 {
            let page = match self.get(&at, &limits).await {
                Err(fault) if fault.is_passing() => {
                    sleep(RETRY).await;
                    self.get(&at, &limits).await
                }
                answer => answer,
            };
            let page = match page {
                Ok(page) => page,
                Err(fault) => return Rules::unreachable(Some(fault)),
            };
            match page.status {
                200..=299 => return Rules::parse(&page.body, ROBOT_NAME),
                500..=599 => return Rules::unreachable(None),
                _ => {}
            }
            match page.location(&at) {
                // To another host it would be another host's turn, and nobody said that it may be asked.
                Some(next) if next.host_str() == at.host_str() => at = next,
                _ => return Rules::nothing_refused(),
            }
        }
        Rules::nothing_refused()
    }
}

/// Whether a URL is one that the robot can ask for.
fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// What passes by itself may have passed after this.
const RETRY: Duration = Duration::from_secs(1);

/// How `robots.txt` calls this robot.
pub const ROBOT_NAME: &str = "waypost";
