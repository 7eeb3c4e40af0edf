//! Who asks at the admin address, and whether he may.
//!
//! Every browser on the machine can reach a loopback address, and does what web pages tell it to. So the host that is
//! asked for must be an own one (or a page whose name leads here, by DNS rebinding, could read everything), and a request
//! that says it comes from another site's page is refused.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, Method, header};

use super::audit::Author;
use super::proof::Proof;
use super::refusal::Refusal;
use super::tokens::{Role, TokensError};
use crate::config::AdminSettings;
use crate::model::Host;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The way in.
    pub way: Way,
    /// The subject of the client certificate, which has been verified.
    pub certificate: Option<Arc<str>>,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

/// A way in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// An IP address.
    Inet(SocketAddr),
    /// A Unix socket, and the user there.
    Unix(Option<u32>),
}

/// Decides about requests.
#[derive(Debug)]
pub(super) struct Access {
    proof: Option<Proof>,
    asks_certificates: bool,
    changers: Option<Vec<String>>,
    hosts: Vec<Host>,
}

impl Access {
    /// By these settings.
    ///
    /// # Errors
    /// If the file of tokens can't be used.
    pub fn new(settings: &AdminSettings) -> Result<Self, TokensError> {
        Ok(Access {
            proof: settings.tokens.clone().map(Proof::open).transpose()?,
            asks_certificates: settings.client_ca.is_some(),
            changers: settings.client_changers.clone(),
            hosts: settings.hosts.clone(),
        })
    }

    /// Lets a request in, or not.
    ///
    /// # Errors
    /// Why not.
    pub async fn admit(&self, peer: &Peer, method: &Method, fields: &HeaderMap) -> Result<Author, Refusal> {
        // No browser gets to a Unix socket.
        if matches!(peer.way, Way::Inet(_)) {
            self.check_host(fields)?;
        }
        check_origin(fields, peer.secure)?;
        let (who, role) = self.identify(peer, fields).await?;
        let needed = if matches!(*method, Method::GET | Method::HEAD) { Role::Read } else { Role::Change };
        if role < needed {
            return Err(Refusal::OnlyReads);
        }
        let from = match peer.way {
            Way::Inet(address) => address.to_string(),
            Way::Unix(_) => "unix".to_owned(),
        };
        Ok(Author { who, from })
    }

    fn check_host(&self, fields: &HeaderMap) -> Result<(), Refusal> {
        // Without any (HTTP/1.0) it is no browser.
        let Some(host) = fields.get(header::HOST) else { return Ok(()) };
        let name = host.to_str().ok().and_then(without_port).ok_or(Refusal::BadHost)?;
        let is_ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let is_own = || {
            let host = Host::parse(name.as_bytes()).ok();
            host.is_some_and(|host| host.as_str() == LOCALHOST || self.hosts.contains(&host))
        };
        if is_ip || is_own() { Ok(()) } else { Err(Refusal::ForeignHost) }
    }

    async fn identify(&self, peer: &Peer, fields: &HeaderMap) -> Result<(String, Role), Refusal> {
        if let (Some(proof), Some(value)) = (&self.proof, fields.get(header::AUTHORIZATION)) {
            let token = value.to_str().ok().and_then(bearer).ok_or(Refusal::BadToken)?;
            let client = match peer.way {
                Way::Inet(address) => Some(address.ip()),
                Way::Unix(_) => None,
            };
            let (name, role) = proof.check(token, client).await?;
            return Ok((format!("token {name}"), role));
        }
        if let Some(subject) = &peer.certificate {
            let may_change =
                self.changers.as_ref().is_none_or(|changers| changers.iter().any(|name| **name == **subject));
            let role = if may_change { Role::Change } else { Role::Read };
            return Ok((format!("certificate {subject}"), role));
        }
        if self.proof.is_some() || self.asks_certificates {
            return Err(Refusal::NoToken);
        }
        let who = match peer.way {
            Way::Unix(Some(user)) => format!("user {user}"),
            _ => "anybody on this machine".to_owned(),
        };
        Ok((who, Role::Change))
    }
}

/// Refuses what a browser sends for a page of another site.
fn check_origin(fields: &HeaderMap, secure: bool) -> Result<(), Refusal> {
    if let Some(site) = fields.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(Refusal::ForeignOrigin);
    }
    let mut origins = fields.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let scheme: &[u8] = if secure { b"https://" } else { b"http://" };
    let host = fields.get(header::HOST).map(|host| host.as_bytes());
    let is_own = origin.as_bytes().strip_prefix(scheme).is_some_and(|origin| Some(origin) == host);
    if is_own && origins.next().is_none() { Ok(()) } else { Err(Refusal::ForeignOrigin) }
}

/// The token in `Authorization` (RFC 6750, 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The host in a Host field.
fn without_port(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)?,
        _ => host,
    };
    (!name.is_empty()).then_some(name)
}

const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn access(edit: impl FnOnce(&mut AdminSettings)) -> Access {
        let mut settings = Gateway::default().admin_settings;
        edit(&mut settings);
        Access::new(&settings).unwrap()
    }

    fn local() -> Peer {
        Peer { way: Way::Inet(([127, 0, 0, 1], 4711).into()), certificate: None, secure: false }
    }

    fn ask(access: &Access, peer: &Peer, method: Method, fields: &[(&'static str, &str)]) -> Result<String, Refusal> {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(access.admit(peer, &method, &fields)).map(|author| author.who)
    }

    #[test]
    fn hosts_of_others_are_refused() {
        let access = access(|settings| settings.hosts = vec![Host::parse(b"gateway.example").unwrap()]);
        let ask = |host: &str| ask(&access, &local(), Method::GET, &[("host", host)]).err();
        for own in
            ["localhost", "LOCALHOST:9180", "127.0.0.1:9180", "[::1]:9180", "[::1]", "10.0.0.1", "Gateway.example:1"]
        {
            assert_eq!(ask(own), None, "{own}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "x.gateway.example", "admin"]
        {
            assert_eq!(ask(foreign), Some(Refusal::ForeignHost), "{foreign}");
        }
        for bad in ["", ":9180", "localhost:x"] {
            assert_eq!(ask(bad), Some(Refusal::BadHost), "{bad}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let access = access(|_| ());
        let own = ("host", "localhost:9180");
        let ask = |fields: &[(&'static str, &str)]| {
            let fields = [&[own], fields].concat();
            ask(&access, &local(), Method::POST, &fields).err()
        };
        assert_eq!(ask(&[]), None);
        assert_eq!(ask(&[("origin", "http://localhost:9180"), ("sec-fetch-site", "same-origin")]), None);
        for origin in
            ["http://evil.example", "null", "http://localhost", "https://localhost:9180", "http://localhost:9180/"]
        {
            assert_eq!(ask(&[("origin", origin)]), Some(Refusal::ForeignOrigin), "{origin}");
        }
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(ask(&[("sec-fetch-site", site)]), Some(Refusal::ForeignOrigin), "{site}");
        }
    }

    #[test]
    fn who_it_was_is_known() {
        let open = access(|_| ());
        let host = [("host", "localhost")];
        assert_eq!(ask(&open, &local(), Method::POST, &host), Ok("anybody on this machine".to_owned()));
        let unix = Peer { way: Way::Unix(Some(1000)), ..local() };
        assert_eq!(ask(&open, &unix, Method::POST, &[("host", "any.example")]), Ok("user 1000".to_owned()));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let ops = super::super::tokens::add(&path, "ops", Role::Change).unwrap();
        let probe = super::super::tokens::add(&path, "probe", Role::Read).unwrap();
        let closed = access(|settings| {
            settings.tokens = Some(path.clone());
            settings.client_changers = Some(vec!["CN=ops".to_owned()]);
        });
        let with = |scheme: &str, token: &str, method| {
            ask(&closed, &local(), method, &[("host", "localhost"), ("authorization", &format!("{scheme}{token}"))])
        };
        for peer in [local(), unix] {
            assert_eq!(ask(&closed, &peer, Method::GET, &host), Err(Refusal::NoToken));
        }
        assert_eq!(with("Bearer ", &ops, Method::POST), Ok("token ops".to_owned()));
        assert_eq!(with("bearer  ", &probe, Method::HEAD), Ok("token probe".to_owned()));
        assert_eq!(with("Bearer ", &probe, Method::POST), Err(Refusal::OnlyReads));
        assert_eq!(with("Basic ", &ops, Method::GET), Err(Refusal::BadToken));
        let known = |subject: &str| Peer { certificate: Some(subject.into()), secure: true, ..local() };
        assert_eq!(ask(&closed, &known("CN=ops"), Method::POST, &host), Ok("certificate CN=ops".to_owned()));
        assert_eq!(ask(&closed, &known("CN=probe"), Method::POST, &host), Err(Refusal::OnlyReads));
        assert_eq!(ask(&closed, &known("CN=probe"), Method::GET, &host), Ok("certificate CN=probe".to_owned()));
    }
}
