//! Where redirects go.

use std::fmt;

use super::{Host, HostError};

/// An absolute http(s) URL in printable ASCII, ready for a `Location` header: its host is checked, what can't stand in
/// a URL is escaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    text: Box<str>,
    host: Host,
}

/// Longest target in bytes; what browsers and search engines take is far below.
pub const MAX_TARGET_URL: usize = 8 * 1024;

/// Why a text is no target. The file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// It doesn't begin with `http://` or `https://`.
    #[error("a target begins with http:// or https://")]
    Scheme,
    /// The host is none.
    #[error("the target's host is wrong: {0}")]
    Host(HostError),
    /// `user@host`: a trick to make a foreign host look like ours.
    #[error("a target may not contain a user name")]
    User,
    /// A control character.
    #[error("a target may not contain control characters")]
    Control,
    /// Over [`MAX_TARGET_URL`].
    #[error("the target is longer than {MAX_TARGET_URL} characters")]
    TooLong,
}

impl Target {
    /// Parses a URL as an operator writes it: an international host becomes its A-labels; spaces, quotes, `<`, `>` and
    /// characters above U+007F are escaped as UTF-8; everything else stays to the letter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TargetFault> {
        let text = text.trim_matches(' ');
        let (scheme, rest) = split_scheme(text).ok_or(TargetFault::Scheme)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, authority) = parse_authority(authority)?;
        let mut out = format!("{scheme}{authority}");
        escape_into(tail, &mut out)?;
        if out.len() > MAX_TARGET_URL {
            return Err(TargetFault::TooLong);
        }
        Ok(Target { text: out.into(), host })
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `http://` or `https://`, in any case, off a URL.
pub(crate) fn split_scheme(text: &str) -> Option<(&'static str, &str)> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| (scheme, &text[scheme.len()..]))
    })
}

/// The host of an authority, and the authority as it may be sent (canonical host, port as written).
pub(crate) fn parse_authority(authority: &str) -> Result<(Host, String), TargetFault> {
    // Clients take `\` for `/`, but escaped, as it is sent, it would be a part of the host: then `https://a.example\@evil.example`
    // went to evil.example. White space and controls would be sent as they are.
    if authority.bytes().any(|b| b == b'\\' || b <= b' ' || b == 0x7F) {
        return Err(TargetFault::Host(HostError::Invalid));
    }
    if authority.contains('@') {
        return Err(TargetFault::User);
    }
    let host = Host::parse(authority.as_bytes()).map_err(TargetFault::Host)?;
    let port = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => authority[at..].trim_end_matches(':'),
        _ => "",
    };
    let text = format!("{host}{port}");
    Ok((host, text))
}

/// Appends the rest of a URL, escaping what can't stand in one.
pub(crate) fn escape_into(tail: &str, out: &mut String) -> Result<(), TargetFault> {
    for c in tail.chars() {
        match c {
            '\0'..='\x1f' | '\x7f' => return Err(TargetFault::Control),
            ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '\u{80}'.. => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            _ => out.push(c),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_ready_for_the_header() {
        let parse = |text: &str| Target::parse(text).map(|target| target.to_string());
        assert_eq!(
            parse("HTTPS://WWW.Example.ORG:8443/A b?q=é#x").unwrap(),
            "https://www.example.org:8443/A%20b?q=%C3%A9#x"
        );
        assert_eq!(parse("http://青山县.政务").unwrap(), "http://xn--5nr35r7q5c.xn--zfr164b");
        assert_eq!(parse("https://www.gov.example/?a[]=1|2%20{x}").unwrap(), "https://www.gov.example/?a[]=1|2%20{x}");
        assert_eq!(parse("//evil.example/"), Err(TargetFault::Scheme));
        assert_eq!(parse("javascript:alert(1)"), Err(TargetFault::Scheme));
        assert_eq!(parse("https://good.example@evil.example/"), Err(TargetFault::User));
        assert_eq!(parse("https://x/\r\nSet-Cookie: a"), Err(TargetFault::Control));
        assert!(matches!(parse("https:///x"), Err(TargetFault::Host(_))));
        assert_eq!(parse("https://a.example/\\@evil.example").unwrap(), "https://a.example/%5C@evil.example");
    }

    #[test]
    fn a_target_goes_to_its_host() {
        for text in [
            r"https://a.example\@evil.example/",
            r"https://a.example\evil",
            r"https://a.example\.evil.example/",
            r"https://a.example:80\@evil.example/",
            "https://a.example:80@evil.example/",
            "https://a.example%5C@evil.example/",
            "https://a.example%5C.evil.example/",
            "https://a.example%2F@evil.example/",
            "https://a.exa\tmple/",
            "https://a.example\t/",
            "https://a.example\n.evil.example/",
            "https://a.example:80\r\n/",
            "https:// a.example/",
            "https://a.example：80@evil.example/",
            "https://a.example／@evil.example/",
            "https://a.example＼.evil.example/",
            "https://a.example{x}/",
        ] {
            let parsed = Target::parse(text);
            assert!(
                matches!(parsed, Err(TargetFault::Host(HostError::Invalid) | TargetFault::User)),
                "{text:?}: {parsed:?}"
            );
        }
    }
}
