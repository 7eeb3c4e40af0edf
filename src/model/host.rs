//! Host names of requests and route files, in one canonical spelling.

use std::{borrow::Borrow, fmt, net::Ipv6Addr};

/// A host in canonical spelling: lower-case ASCII (A-labels for international names), no port, no trailing dot;
/// an IPv4 address as sent, an IPv6 address in brackets and RFC 5952 form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

/// Longest host name in octets (RFC 1035, 2.3.4), with room for brackets.
const MAX_HOST: usize = 255;

/// Longest label of a name in octets (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// Why a text is not a host. The client (or the file) is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// Over 255 octets.
    #[error("the host is longer than 255 characters")]
    TooLong,
    /// A label that begins with `xn--` and stands for nothing.
    #[error("not a host name: what follows its `xn--` is no international name")]
    NotInternational,
    /// A character that no host has, an empty label, or an international name that IDNA refuses.
    #[error("not a host name")]
    Invalid,
}

impl Host {
    /// Parses the value of a `Host` header, an authority or a line of a route file.
    ///
    /// # Errors
    /// What is wrong with the text; never panics, whatever the bytes.
    pub fn parse(raw: &[u8]) -> Result<Self, HostError> {
        let mut buf = HostBuf::default();
        Self::canonical(raw, &mut buf).map(|host| Host(host.into()))
    }

    /// The canonical spelling of `raw`, written into `buf` if it differs; allocation-free for ASCII names.
    ///
    /// # Errors
    /// As [`Host::parse`].
    pub fn canonical<'b>(raw: &[u8], buf: &'b mut HostBuf) -> Result<&'b str, HostError> {
        let name = without_port(raw)?;
        let name = without_trailing_dot(name).unwrap_or(name);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        // A character takes up to four bytes of UTF-8, and may take one of its A-label.
        if name.len() > MAX_HOST && (name.is_ascii() || name.len() > 4 * MAX_HOST) {
            return Err(HostError::TooLong);
        }
        if name[0] == b'[' {
            let address = std::str::from_utf8(&name[1..name.len() - 1]).map_err(|_| HostError::Invalid)?;
            let address: Ipv6Addr = address.parse().map_err(|_| HostError::Invalid)?;
            return Ok(buf.set(format!("[{address}]").as_bytes()));
        }
        if !name.is_ascii() {
            let ascii = idna::domain_to_ascii_cow(name, idna::AsciiDenyList::URL).map_err(|_| HostError::Invalid)?;
            if ascii.len() > MAX_HOST {
                return Err(HostError::TooLong);
            }
            return buf.fold(ascii.as_bytes());
        }
        buf.fold(name)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the host of a request was spelled with the trailing dot of a fully qualified name.
pub(crate) fn has_trailing_dot(raw: &[u8]) -> bool {
    without_port(raw).is_ok_and(|name| without_trailing_dot(name).is_some())
}

/// A name without its trailing dot, if it has one: `.`, or one of those that UTS 46 takes for it.
fn without_trailing_dot(name: &[u8]) -> Option<&[u8]> {
    [".", "\u{3002}", "\u{FF0E}", "\u{FF61}"].iter().find_map(|dot| name.strip_suffix(dot.as_bytes()))
}

/// Strips `:port`; keeps the brackets of an IPv6 address.
fn without_port(raw: &[u8]) -> Result<&[u8], HostError> {
    let raw = raw.trim_ascii();
    let (name, port) = if raw.first() == Some(&b'[') {
        let end = raw.iter().position(|&b| b == b']').ok_or(HostError::Invalid)?;
        raw.split_at(end + 1)
    } else {
        raw.split_at(raw.iter().position(|&b| b == b':').unwrap_or(raw.len()))
    };
    match port {
        [] => Ok(name),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => Ok(name),
        _ => Err(HostError::Invalid),
    }
}

/// Space for the canonical spelling of one host.
#[derive(Debug)]
pub struct HostBuf {
    bytes: [u8; MAX_HOST + 1],
    len: usize,
}

impl Default for HostBuf {
    fn default() -> Self {
        HostBuf { bytes: [0; MAX_HOST + 1], len: 0 }
    }
}

impl HostBuf {
    /// Lower-cases and checks an ASCII name.
    fn fold(&mut self, name: &[u8]) -> Result<&str, HostError> {
        let mut label = 0;
        for (out, &byte) in self.bytes.iter_mut().zip(name) {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
                b'A'..=b'Z' => label += 1,
                b'.' if (1..=MAX_LABEL).contains(&label) => label = 0,
                _ => return Err(HostError::Invalid),
            }
            *out = byte.to_ascii_lowercase();
        }
        if !(1..=MAX_LABEL).contains(&label) {
            return Err(HostError::Invalid);
        }
        self.len = name.len();
        Ok(self.as_str())
    }

    fn set(&mut self, name: &[u8]) -> &str {
        self.len = name.len().min(self.bytes.len());
        self.bytes[..self.len].copy_from_slice(&name[..self.len]);
        self.as_str()
    }

    /// What was written last.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host of a route file: one name, or every name below one (`*.example.org`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(Host),
    /// Any host that ends in `.` and this, however many labels stand before it.
    Below(Host),
}

impl HostPattern {
    /// Parses `name` or `*.name`.
    ///
    /// # Errors
    /// What is wrong with the name, [`HostError::NotInternational`] among it; a `*` anywhere but as the whole first label is [`HostError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(HostError::Invalid);
        }
        let host = Host::parse(name.as_bytes())?;
        // No client could ask for it: browsers refuse the name. Requests are not held to it, they find no site.
        if host.as_str().contains("xn--") && idna::domain_to_unicode(host.as_str()).1.is_err() {
            return Err(HostError::NotInternational);
        }
        Ok(if below { HostPattern::Below(host) } else { HostPattern::Exact(host) })
    }

    /// Whether `host` is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => name.as_str() == host,
            HostPattern::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => write!(f, "{host}"),
            HostPattern::Below(host) => write!(f, "*.{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_meet() {
        for (raw, want) in [
            ("WWW.Example.ORG", "www.example.org"),
            ("www.example.org.", "www.example.org"),
            ("www.example.org:8080", "www.example.org"),
            ("www.example.org.:443", "www.example.org"),
            ("www.example.org:", "www.example.org"),
            ("青山县.政务", "xn--5nr35r7q5c.xn--zfr164b"),
            ("XN--ZFR164B", "xn--zfr164b"),
            ("青山县。政务。", "xn--5nr35r7q5c.xn--zfr164b"),
            ("www.example．", "www.example"),
            ("10.1.2.3:80", "10.1.2.3"),
            ("[2001:DB8::0:1]:8080", "[2001:db8::1]"),
        ] {
            assert_eq!(Host::parse(raw.as_bytes()).as_ref().map(Host::as_str), Ok(want), "{raw}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(64);
        for raw in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:123456",
            "[::1",
            "[x]",
            "[]",
            "a\0b",
            "a%2eb",
            "a..",
            "青山县..",
            "青山县。.",
            "。",
            &long,
            &format!("{long}.example"),
        ] {
            assert!(Host::parse(raw.as_bytes()).is_err(), "{raw:?}");
        }
        assert_eq!(Host::parse(&[b'a'; 300]), Err(HostError::TooLong));
        assert_eq!(Host::parse("é".repeat(600).as_bytes()), Err(HostError::TooLong));
        // The A-labels count, not the UTF-8.
        let name = "éééééééééé.".repeat(13);
        assert!(name.len() > MAX_HOST && Host::parse(name.as_bytes()).is_ok());
        assert!(Host::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn a_wildcard_is_a_whole_first_label() {
        let below = HostPattern::parse("*.example.org").unwrap();
        assert!(below.matches("a.example.org") && below.matches("a.b.example.org"));
        assert!(!below.matches("example.org") && !below.matches("badexample.org") && !below.matches(".example.org"));
        assert!(HostPattern::parse("a*.example.org").is_err() && HostPattern::parse("*").is_err());
    }

    #[test]
    fn a_label_that_stands_for_no_international_name_is_no_pattern() {
        for bad in ["xn--a.example", "*.xn--a.example", "www.XN--A", "xn--.example"] {
            assert_eq!(HostPattern::parse(bad), Err(HostError::NotInternational), "{bad}");
            // A request for it is a request like any other.
            assert!(Host::parse(bad.trim_start_matches("*.").as_bytes()).is_ok());
        }
        for good in ["xn--5nr35r7q5c.xn--zfr164b", "*.xn--zfr164b", "青山县.政务", "a_b.xn--zfr164b", "axn--a.example"]
        {
            assert!(HostPattern::parse(good).is_ok(), "{good}");
        }
    }
}
