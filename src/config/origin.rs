//! An address that requests are proxied to, as `origins` of a platform and `origin` of a site write it.

use std::{fmt, net::IpAddr, path::Path};

use crate::model::{Host, HostError, split_scheme};

/// An origin: `http://HOST:PORT`, `https://HOST:PORT`, or `unix:/PATH` of a socket that speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    text: Box<str>,
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Where it is.
    pub place: OriginPlace,
}

/// Where an origin is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OriginPlace {
    /// An IP address and a port.
    Address(IpAddr, u16),
    /// A name that DNS knows, and a port.
    Name(Box<str>, u16),
    /// A Unix socket.
    Unix(Box<str>),
}

/// Why a text is no origin. The file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Neither a URL nor a Unix socket.
    #[error("an origin begins with http://, https:// or unix:/")]
    Scheme,
    /// The host is none.
    #[error("its host is wrong: {0}")]
    Host(HostError),
    /// The port is none.
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// Something follows the port.
    #[error("an origin has no path: every path of a request is asked of it as it is")]
    Path,
    /// A name and a password.
    #[error("an origin may not contain a user name")]
    User,
    /// The path of a socket is relative, or longer than the system takes.
    #[error("the path of a Unix socket is absolute, and no longer than {MAX_SOCKET_PATH} bytes")]
    Socket,
}

impl Origin {
    /// Parses an origin.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = Path::new(path).is_absolute() && path.len() <= MAX_SOCKET_PATH && !path.contains('\0');
            return match fits {
                true => Ok(Origin { text: text.into(), secure: false, place: OriginPlace::Unix(path.into()) }),
                false => Err(OriginError::Socket),
            };
        }
        let (scheme, rest) = split_scheme(text).ok_or(OriginError::Scheme)?;
        let secure = scheme == "https://";
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(OriginError::Path);
        }
        if authority.contains('@') {
            return Err(OriginError::User);
        }
        let usual = if secure { 443 } else { 80 };
        let (name, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address are within its brackets.
            Some((name, port)) if !port.ends_with(']') => {
                let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|&port| port > 0 && is_number).ok_or(OriginError::Port)?;
                (name, port)
            }
            _ => (authority, usual),
        };
        let host = Host::parse(name.as_bytes()).map_err(OriginError::Host)?;
        let bare = host.as_str().trim_start_matches('[').trim_end_matches(']');
        let place = match bare.parse() {
            Ok(address) => OriginPlace::Address(address, port),
            Err(_) => OriginPlace::Name(bare.into(), port),
        };
        let shown = if port == usual { String::new() } else { format!(":{port}") };
        Ok(Origin { text: format!("{scheme}{host}{shown}").into(), secure, place })
    }

    /// The origin in its canonical spelling, which is also its name on dashboards.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host, and port where it is written, as links to it have them; none of a Unix socket.
    pub fn authority(&self) -> Option<String> {
        let (_, rest) = self.text.split_once("://")?;
        Some(rest.trim_end_matches('/').to_owned())
    }

    /// Name or address, without port and brackets: what a certificate is for. None for a Unix socket.
    pub fn name(&self) -> Option<String> {
        match &self.place {
            OriginPlace::Address(address, _) => Some(address.to_string()),
            OriginPlace::Name(name, _) => Some(name.to_string()),
            OriginPlace::Unix(_) => None,
        }
    }

    /// Whether a platform's name is an origin instead: what a site's own `origin` is asked as.
    pub fn is_origin(name: &str) -> bool {
        name.starts_with("unix:") || name.contains("://")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the address of a Unix socket has room for, in bytes (unix(7), less its last zero).
const MAX_SOCKET_PATH: usize = 107;

/// What an origin is like, for hints.
pub(super) const ORIGIN_HINT: &str = "an address such as `https://10.1.2.3:8443` or `http://app.example`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_one_spelling() {
        for (written, canonical) in [
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
            ("HTTP://Old.Example:80/", "http://old.example"),
            ("https://old.example:443", "https://old.example"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://教育.example", "http://xn--wcvs22d.example"),
            ("unix:/run/app/http.sock", "unix:/run/app/http.sock"),
        ] {
            let origin = Origin::parse(written).unwrap();
            assert_eq!(origin.as_str(), canonical);
            assert_eq!(Origin::parse(canonical).unwrap(), origin);
        }
        assert_eq!(Origin::parse("https://[::1]:1").unwrap().name().as_deref(), Some("::1"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (written, error) in [
            ("10.0.0.7:8080", OriginError::Scheme),
            ("ftp://a", OriginError::Scheme),
            ("http://", OriginError::Host(HostError::Empty)),
            ("http://a b", OriginError::Host(HostError::Invalid)),
            ("http://a:0", OriginError::Port),
            ("http://a:65536", OriginError::Port),
            ("http://a:+1", OriginError::Port),
            ("http://a:", OriginError::Port),
            ("http://a/app", OriginError::Path),
            ("http://a?b", OriginError::Path),
            ("http://me@a", OriginError::User),
            ("unix:run/a", OriginError::Socket),
            (&long, OriginError::Socket),
        ] {
            assert_eq!(Origin::parse(written), Err(error), "{written}");
        }
    }
}
