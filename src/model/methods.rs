//! Sets of request methods.

use std::fmt;

/// A set of methods that a gateway may be asked to let through: those of RFC 9110, PATCH (RFC 5789), and those of WebDAV
/// and its kin. CONNECT is not among them, since this is no proxy of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Methods(u32);

impl Methods {
    /// The names that there are.
    pub const NAMES: &[&str] = &[
        "GET",
        "HEAD",
        "POST",
        "OPTIONS",
        "PUT",
        "DELETE",
        "PATCH",
        "TRACE",
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "SEARCH",
        "REPORT",
    ];

    /// Any method, also one without a name here.
    pub const ANY: Methods = Methods(u32::MAX);

    /// No method at all.
    pub const NONE: Methods = Methods(0);

    /// With one more, or with all that there may be (`*`); none if there is no such method. Names are case-sensitive (RFC
    /// 9110, 9.1).
    pub fn with(self, name: &str) -> Option<Self> {
        if name == "*" {
            return Some(Methods::ANY);
        }
        Some(Methods(self.0 | 1 << Self::number(name)?))
    }

    /// Whether a method is in the set.
    pub fn contains(self, name: &str) -> bool {
        match name {
            "GET" => self.0 & 1 != 0,
            _ if self == Methods::ANY => true,
            _ => Self::number(name).is_some_and(|number| self.0 & 1 << number != 0),
        }
    }

    fn number(name: &str) -> Option<usize> {
        Self::NAMES.iter().position(|known| *known == name)
    }
}

/// GET, HEAD, POST and OPTIONS.
impl Default for Methods {
    fn default() -> Self {
        Methods(0b1111)
    }
}

/// As the value of `Allow` (RFC 9110, 10.2.1), or `*`.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Methods::ANY {
            return f.write_str("*");
        }
        let mut separator = "";
        for name in Self::NAMES.iter().filter(|name| self.contains(name)) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_methods() {
        let usual = Methods::default();
        assert_eq!(usual.to_string(), "GET, HEAD, POST, OPTIONS");
        for (name, is_in) in [("GET", true), ("OPTIONS", true), ("get", false), ("PUT", false), ("", false)] {
            assert_eq!(usual.contains(name), is_in, "{name}");
        }
        let more = Methods::NONE.with("REPORT").and_then(|methods| methods.with("GET")).unwrap();
        assert_eq!(more.to_string(), "GET, REPORT");
        assert_eq!(Methods::NONE.with("CONNECT"), None);
        let any = usual.with("*").unwrap();
        assert!(any.contains("BREW") && any.to_string() == "*");
    }
}
