//! Response header fields that a site's file sets, adds or removes.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// What to do with the header fields of a platform's responses: fields that tell what server software runs there are
/// removed, then those of `remove`, then `set` replaces and `add` appends. So a field that is set stands, even
/// `Server`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Why a field can't be ruled over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Not a token (RFC 9110, 5.6.2).
    #[error("`{0}` can't be the name of a header field: use letters, digits and `-`")]
    Name(String),
    /// It has a line end or another control in it.
    #[error("the value of `{0}` has a control character in it, which could end the field: remove it")]
    Value(HeaderName),
    /// The gateway itself answers for it.
    #[error("`{0}` says how the body is framed or coded, which the gateway itself must keep true: leave it out")]
    Framing(HeaderName),
}

impl HeaderRules {
    /// Names in any case. Values are sent as they are, without the blanks around them.
    ///
    /// # Errors
    /// The first name or value that can't stand, see [`RuleError`].
    pub fn new<S: AsRef<str>>(
        set: impl IntoIterator<Item = (S, S)>,
        add: impl IntoIterator<Item = (S, S)>,
        remove: impl IntoIterator<Item = S>,
    ) -> Result<Self, RuleError> {
        Ok(HeaderRules {
            set: set.into_iter().map(|(name, value)| field(name.as_ref(), value.as_ref())).collect::<Result<_, _>>()?,
            add: add.into_iter().map(|(name, value)| field(name.as_ref(), value.as_ref())).collect::<Result<_, _>>()?,
            remove: remove.into_iter().map(|name| field_name(name.as_ref())).collect::<Result<_, _>>()?,
        })
    }

    /// Applies them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in TELLTALE {
            headers.remove(name);
        }
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), RuleError> {
    let name = field_name(name)?;
    // `HeaderValue` lets tabs through, which are harmless.
    let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
    Ok((name.clone(), value.map_err(|_| RuleError::Value(name))?))
}

fn field_name(text: &str) -> Result<HeaderName, RuleError> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| RuleError::Name(text.to_owned()))?;
    if FRAMING.contains(&name.as_str()) { Err(RuleError::Framing(name)) } else { Ok(name) }
}

/// Fields that tell which software, in which version, on which host made the response. `Via` too: it names the proxies
/// behind the gateway, and a gateway need not send it in responses (RFC 9110, 7.6.3).
const TELLTALE: [&str; 12] = [
    "server",
    "via",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-backend-server",
    "x-generator",
    "x-pingback",
    "x-powered-by",
    "x-powered-by-plesk",
    "x-powered-cms",
    "x-served-by",
    "x-server",
];

/// Fields of one connection or message (RFC 9110, 7.6.1 and 8.4; RFC 9112, 6), which rules may neither set nor remove.
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(&str, &str); 0] = [];

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn rules_apply_in_their_order() {
        let rules = HeaderRules::new(
            [("X-Frame-Options", " SAMEORIGIN "), ("Server", "waypost")],
            [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
            ["X-Secret", "x-frame-options"],
        )
        .unwrap();
        let mut headers = map(&[
            ("server", "Microsoft-IIS/6.0"),
            ("x-powered-by", "ASP.NET"),
            ("x-aspnet-version", "2.0.50727"),
            ("via", "1.1 squid.internal"),
            ("x-frame-options", "DENY"),
            ("x-frame-options", "ALLOW"),
            ("x-secret", "1"),
            ("set-cookie", "c=3"),
            ("content-type", "text/html"),
        ]);
        rules.apply(&mut headers);
        let want = map(&[
            ("content-type", "text/html"),
            ("set-cookie", "c=3"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-frame-options", "SAMEORIGIN"),
            ("server", "waypost"),
        ]);
        assert_eq!(headers, want);
    }

    #[test]
    fn fields_that_would_break_messages_are_refused() {
        for name in FRAMING {
            let upper = name.to_ascii_uppercase();
            for rules in [
                HeaderRules::new([(upper.as_str(), "x")], NONE, []),
                HeaderRules::new(NONE, [(upper.as_str(), "x")], []),
                HeaderRules::new(NONE, NONE, [upper.as_str()]),
            ] {
                assert_eq!(rules, Err(RuleError::Framing(HeaderName::from_static(name))));
            }
        }
        for name in ["", "a b", "a:", "a\r\nb", "名"] {
            assert_eq!(HeaderRules::new([(name, "x")], NONE, []), Err(RuleError::Name(name.into())));
        }
        for value in ["a\r\nSet-Cookie: x=1", "a\nb", "a\0b", "a\rb"] {
            let error = HeaderRules::new([("x-a", value)], NONE, []).unwrap_err();
            assert_eq!(error, RuleError::Value(HeaderName::from_static("x-a")));
        }
    }
}
