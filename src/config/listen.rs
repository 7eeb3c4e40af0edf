//! Where a node listens: what `[listen]` and the command line write for one address.

use std::{fmt, net::SocketAddr, os::unix::ffi::OsStrExt, path::PathBuf, str::FromStr};

/// An address to listen on, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// A listener: its address and what is expected of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// Whether each connection begins with a PROXY protocol header (v1 or v2).
    pub proxy: bool,
}

/// Why a text is no listener. The text is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Neither an IP address with its port nor `unix:` and a path.
    #[error("no address")]
    NoAddress,
    /// A word after the address that isn't `proxy`.
    #[error("more than an address: only the word `proxy` may follow")]
    UnknownWord,
    /// A path that does not begin with a slash, or that contains a NUL.
    #[error("no address: a Unix socket has an absolute path")]
    NotAbsolute,
    /// More bytes than the system takes.
    #[error("no address: the path of a Unix socket has at most {MAX_UNIX_PATH} bytes")]
    TooLong,
}

impl Address {
    /// Whether the system chooses the port.
    pub fn is_any_port(&self) -> bool {
        matches!(self, Address::Inet(address) if address.port() == 0)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Inet(address)
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Listen { address: address.into(), proxy: false }
    }
}

impl FromStr for Address {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Address::Inet).map_err(|_| ListenError::NoAddress);
        };
        if !path.starts_with('/') || path.contains('\0') {
            return Err(ListenError::NotAbsolute);
        }
        if path.len() > MAX_UNIX_PATH {
            return Err(ListenError::TooLong);
        }
        Ok(Address::Unix(path.into()))
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        // The path of a Unix socket may have spaces, so the word is looked for at the end.
        let text = text.trim();
        let (address, word) = match text.rsplit_once(char::is_whitespace) {
            Some((address, word)) if word == PROXY || !address.starts_with(UNIX) => (address.trim_end(), Some(word)),
            _ => (text, None),
        };
        let address = address.parse()?;
        match word {
            Some(PROXY) | None => Ok(Listen { address, proxy: word.is_some() }),
            Some(_) => Err(ListenError::UnknownWord),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{UNIX}{}", String::from_utf8_lossy(path.as_os_str().as_bytes())),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.proxy { write!(f, " {PROXY}") } else { Ok(()) }
    }
}

const UNIX: &str = "unix:";

const PROXY: &str = "proxy";

/// `sun_path` has 108 bytes (unix(7)), the last of them a NUL.
const MAX_UNIX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_written_as_they_are_read() {
        for (text, address, proxy) in [
            ("[::]:8080", "[::]:8080", false),
            ("127.0.0.1:81 proxy", "127.0.0.1:81", true),
            (" 127.0.0.1:81 \t proxy ", "127.0.0.1:81", true),
            ("unix:/run/a b.sock", "unix:/run/a b.sock", false),
            ("unix:/run/a.sock proxy", "unix:/run/a.sock", true),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.address.to_string().as_str(), listen.proxy), (address, proxy), "{text}");
            assert_eq!(listen.to_string().parse(), Ok(listen));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("", ListenError::NoAddress),
            ("proxy", ListenError::NoAddress),
            ("8080", ListenError::NoAddress),
            ("localhost:80", ListenError::NoAddress),
            ("127.0.0.1:80 prox", ListenError::UnknownWord),
            ("unix:run/a.sock", ListenError::NotAbsolute),
            ("unix:", ListenError::NotAbsolute),
            ("unix:/a\0b", ListenError::NotAbsolute),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
        let long = format!("unix:/{}", "a".repeat(MAX_UNIX_PATH));
        assert_eq!(long.parse::<Listen>(), Err(ListenError::TooLong));
        assert!(long[..long.len() - 1].parse::<Listen>().is_ok());
    }
}
