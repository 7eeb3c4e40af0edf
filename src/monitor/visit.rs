//! One visit: does a page open, by one family of addresses, in time?

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::wire::{self, Answer};
use super::{Family, Page};
use crate::config::MonitorSettings;
use crate::guard::names::{Names, SystemNames};
use crate::model::{Host, Target, split_scheme};
use crate::tls::provider;

/// What a visit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// The page opened in time.
    Open,
    /// DNS does not know its host, or gives no answer.
    Dns,
    /// Nobody takes connections there.
    Connect,
    /// No TLS, or a certificate that browsers would not believe.
    Tls,
    /// It was not there in time.
    Timeout,
    /// What came was no whole answer.
    Broken,
    /// A status of 400 or more.
    Status,
    /// It leads on and on, or to what is no page.
    Redirects,
    /// Not made: it has no address of the family.
    NoAddress,
    /// Not made: this machine's own network was away.
    NoNetwork,
}

impl Finding {
    /// All of them.
    pub const ALL: [Finding; 10] = [
        Finding::Open,
        Finding::Dns,
        Finding::Connect,
        Finding::Tls,
        Finding::Timeout,
        Finding::Broken,
        Finding::Status,
        Finding::Redirects,
        Finding::NoAddress,
        Finding::NoNetwork,
    ];

    /// The word for labels, the database and people.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Open => "open",
            Finding::Dns => "dns",
            Finding::Connect => "connect",
            Finding::Tls => "tls",
            Finding::Timeout => "timeout",
            Finding::Broken => "broken",
            Finding::Status => "status",
            Finding::Redirects => "redirects",
            Finding::NoAddress => "no_address",
            Finding::NoNetwork => "no_network",
        }
    }

    /// That of a word.
    pub fn of(name: &str) -> Option<Self> {
        Finding::ALL.into_iter().find(|finding| finding.name() == name)
    }

    /// Whether something was learnt about the page.
    pub fn is_made(self) -> bool {
        !matches!(self, Finding::NoAddress | Finding::NoNetwork)
    }

    /// Whether that is that it does not open.
    pub fn is_failure(self) -> bool {
        self.is_made() && self != Finding::Open
    }
}

/// A visit that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// What came of it.
    pub finding: Finding,
    /// The last status that came; 0 if none did.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
}

/// Who visits.
pub struct Visitor {
    names: SystemNames,
    tls: TlsConnector,
    timeout: Duration,
    references: Vec<SocketAddr>,
}

impl Visitor {
    /// One with these settings.
    ///
    /// # Errors
    /// If the file of roots can't be used: one clear line.
    pub fn new(settings: &MonitorSettings) -> anyhow::Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots(settings.root.as_deref())?).with_no_client_auth();
        Ok(Visitor {
            names: SystemNames::new(&settings.dns),
            tls: Arc::new(config).into(),
            timeout: settings.timeout,
            references: settings.references.clone(),
        })
    }

    /// Visits a page. Takes no longer than the page may take to open, and some seconds more when it fails.
    pub async fn visit(&self, page: &Page, family: Family) -> Visit {
        let start = Instant::now();
        let mut status = 0;
        let opened = timeout(self.timeout, self.open(page.url(), family, &mut status)).await;
        let took = start.elapsed();
        let mut finding = match opened {
            Ok(Ok(())) => Finding::Open,
            Ok(Err(finding)) => finding,
            Err(_) => Finding::Timeout,
        };
        let is_far = matches!(finding, Finding::Dns | Finding::Connect | Finding::Timeout);
        if is_far && status == 0 && self.is_cut_off(family).await {
            finding = Finding::NoNetwork;
        }
        Visit { finding, status, took }
    }

    /// Opens a page, and whatever it leads to.
    async fn open(&self, url: &Target, family: Family, status: &mut u16) -> Result<(), Finding> {
        let mut url = url.clone();
        for hop in 0..=MAX_HOPS {
            let place = Place::of(&url).ok_or(Finding::Redirects)?;
            let addresses = match self.addresses(&place, family).await {
                // That the first has no address of the family says nothing of the page; that what it leads to has none does.
                Err(Finding::NoAddress) if hop > 0 => Err(Finding::Connect),
                found => found,
            }?;
            let stream = connect(&addresses, self.timeout).await?;
            let answer = match &place.secure {
                None => wire::ask(stream, place.authority, place.path).await,
                Some(name) => {
                    let stream = self.tls.connect(name.clone(), stream).await.map_err(|_| Finding::Tls)?;
                    wire::ask(stream, place.authority, place.path).await
                }
            };
            let Answer { status: code, location } = answer?;
            *status = code;
            match location {
                Some(location) => url = follow(&url, &location).ok_or(Finding::Redirects)?,
                None if (200..300).contains(&code) => return Ok(()),
                None if code >= 400 => return Err(Finding::Status),
                None => return Err(Finding::Broken),
            }
        }
        Err(Finding::Redirects)
    }

    async fn addresses(&self, place: &Place<'_>, family: Family) -> Result<Vec<SocketAddr>, Finding> {
        let is_of = |address: &IpAddr| address.is_ipv4() == (family == Family::V4);
        if let Some(address) = place.literal {
            let address = SocketAddr::new(address, place.port);
            return if is_of(&address.ip()) { Ok(vec![address]) } else { Err(Finding::NoAddress) };
        }
        let look_up = |v4| self.names.addresses_of(place.host.as_str(), v4);
        let found = look_up(family == Family::V4).await.map_err(|_| Finding::Dns)?;
        let found: Vec<_> = found.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, place.port)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        // A name that DNS does not know at all is a failure, which is counted once.
        match family {
            Family::V6 => Err(Finding::NoAddress),
            Family::V4 => match look_up(false).await {
                Ok(others) if !others.is_empty() => Err(Finding::NoAddress),
                _ => Err(Finding::Dns),
            },
        }
    }

    /// Whether none of the references of a family answers, if there are any.
    async fn is_cut_off(&self, family: Family) -> bool {
        let of_family = |address: &&SocketAddr| address.is_ipv4() == (family == Family::V4);
        let mut is_cut_off = false;
        for reference in self.references.iter().filter(of_family) {
            is_cut_off = true;
            if matches!(timeout(REFERENCE, TcpStream::connect(reference)).await, Ok(Ok(_))) {
                return false;
            }
        }
        is_cut_off
    }
}

/// Connects to the first address that takes it.
async fn connect(addresses: &[SocketAddr], all: Duration) -> Result<TcpStream, Finding> {
    let each = all / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut fault = Finding::Connect;
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                fault = match error.kind() {
                    // The system has no way there at all.
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Finding::NoNetwork,
                    _ => Finding::Connect,
                }
            }
            Err(_) => fault = Finding::Timeout,
        }
    }
    Err(fault)
}

/// Where a URL leads.
struct Place<'a> {
    /// As a client of TLS needs it, if it is spoken.
    secure: Option<ServerName<'static>>,
    host: Host,
    literal: Option<IpAddr>,
    port: u16,
    /// Host and port, as they are sent.
    authority: &'a str,
    path: &'a str,
}

impl<'a> Place<'a> {
    fn of(url: &'a Target) -> Option<Self> {
        let (scheme, rest) = split_scheme(url.as_str())?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let tail = tail.split('#').next().unwrap_or_default();
        // A query without a path is none that goes over the wire; no home has one.
        let path = if tail.starts_with('/') { tail } else { "/" };
        let host = url.host().clone();
        let bare = host.as_str().trim_matches(['[', ']']);
        let literal: Option<IpAddr> = bare.parse().ok();
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let is_secure = scheme == "https://";
        let port = match port {
            Some((_, port)) if !port.is_empty() => port.parse().ok()?,
            _ if is_secure => 443,
            _ => 80,
        };
        let name = || match literal {
            Some(address) => Some(ServerName::IpAddress(address.into())),
            None => ServerName::try_from(bare.to_owned()).ok(),
        };
        let secure = if is_secure { Some(name()?) } else { None };
        Some(Place { secure, literal, port, authority, path, host })
    }
}

/// The URL that a `Location` names, as it stands in an answer of `from` (RFC 3986, 5.2; dots in a path are left to the server).
fn follow(from: &Target, location: &[u8]) -> Option<Target> {
    // Some send bytes of GBK; they are escaped as they are.
    let text: String = match std::str::from_utf8(location) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => location
            .iter()
            .map(|&b| if b.is_ascii() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect(),
    };
    if split_scheme(&text).is_some() {
        return Target::parse(&text).ok();
    }
    let (scheme, rest) = split_scheme(from.as_str())?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    let url = if let Some(rest) = text.strip_prefix("//") {
        format!("{scheme}{rest}")
    } else if text.starts_with('/') {
        format!("{scheme}{authority}{text}")
    } else if text.starts_with(['?', '#']) || text.is_empty() {
        format!("{scheme}{authority}{}{text}", if path.is_empty() { "/" } else { path })
    } else if text.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
        // Another scheme.
        return None;
    } else {
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        format!("{scheme}{authority}{folder}{}", text.strip_prefix("./").unwrap_or(&text))
    };
    Target::parse(&url).ok()
}

fn roots(file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let Some(path) = file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let wrong = |why: String| anyhow::anyhow!("[monitor] root, {}: {why}", path.display());
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        store.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(store)
}

/// Redirects that are followed.
const MAX_HOPS: usize = 5;

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// How long a reference may take.
const REFERENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = |url: &str| {
            let url = Target::parse(url).unwrap();
            Place::of(&url).map(|place| {
                let is_secure = place.secure.is_some();
                (is_secure, place.authority.to_owned(), place.port, place.path.to_owned(), place.literal.is_some())
            })
        };
        let some = |is_secure, authority: &str, port, path: &str, is_literal| {
            Some((is_secure, authority.to_owned(), port, path.to_owned(), is_literal))
        };
        assert_eq!(place("https://a.example"), some(true, "a.example", 443, "/", false));
        assert_eq!(place("http://a.example:8080/x?y#z"), some(false, "a.example:8080", 8080, "/x?y", false));
        assert_eq!(place("https://[2001:db8::1]/"), some(true, "[2001:db8::1]", 443, "/", true));
        assert_eq!(place("http://[2001:db8::1]:81"), some(false, "[2001:db8::1]:81", 81, "/", true));
        assert_eq!(place("http://192.0.2.1/"), some(false, "192.0.2.1", 80, "/", true));
    }

    #[test]
    fn locations() {
        let from = Target::parse("https://a.example/jyj/index.html?x").unwrap();
        let to = |location: &str| follow(&from, location.as_bytes()).map(|url| url.to_string());
        for (location, url) in [
            ("http://b.example/", "http://b.example/"),
            ("//b.example/x", "https://b.example/x"),
            ("/x/", "https://a.example/x/"),
            ("x.html", "https://a.example/jyj/x.html"),
            ("./x", "https://a.example/jyj/x"),
            ("?a=1", "https://a.example/jyj/index.html?a=1"),
            ("", "https://a.example/jyj/index.html"),
        ] {
            assert_eq!(to(location).as_deref(), Some(url), "{location:?}");
        }
        for none in ["javascript:alert(1)", "ftp://a.example/", "http://", "https://u@b.example/"] {
            assert_eq!(to(none), None, "{none}");
        }
        assert_eq!(follow(&from, b"/\xbf\xc6").unwrap().as_str(), "https://a.example/%BF%C6");
    }

    #[test]
    fn findings_have_names() {
        for finding in Finding::ALL {
            assert_eq!(Finding::of(finding.name()), Some(finding));
        }
        assert!(!Finding::Open.is_failure() && !Finding::NoAddress.is_failure() && Finding::Tls.is_failure());
    }
}
