//! Where an answer sends those who get it: only to hosts that may be.

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, REFRESH};

use super::{headers::link_targets, values};
use crate::model::Host;

/// Confines the header fields of an answer: a `Location` or `Refresh` that leads to a host that `allows` doesn't take leads
/// to `instead`, which is a path; a `Link` field with such a target is removed. `allows` gets hosts in canonical spelling;
/// relative references stay, since they lead to the host that was asked.
///
/// URLs are read as browsers read them (WHATWG URL, 4.4), and those that a careful reader can't read alike (user names,
/// escapes in the host, schemes but http and https) lead nowhere. What was refused is returned, for the log.
pub fn confine(headers: &mut HeaderMap, instead: &HeaderValue, allows: impl Fn(&str) -> bool) -> Option<String> {
    let mut refused = None;
    for name in [LOCATION, REFRESH] {
        let mut is_foreign = false;
        for value in headers.get_all(&name) {
            let urls = match name == LOCATION {
                true => vec![value.as_bytes()],
                // A browser that finds no URL there takes the page's own.
                false => values::refresh(value.as_bytes()).map(|at| &value.as_bytes()[at]).into_iter().collect(),
            };
            if let Some(foreign) = urls.into_iter().find(|url| !leads_to_allowed(url, &allows)) {
                is_foreign = true;
                refused = Some(String::from_utf8_lossy(foreign).into_owned());
            }
        }
        if is_foreign {
            confine_field(headers, name, instead);
        }
    }
    if let Entry::Occupied(links) = headers.entry(LINK) {
        let is_foreign = |value: &HeaderValue| {
            let value = value.as_bytes();
            link_targets(value).into_iter().any(|at| !leads_to_allowed(&value[at], &allows))
        };
        if links.iter().any(is_foreign) {
            let (_, values) = links.remove_entry_mult();
            let kept: Vec<HeaderValue> = values.filter(|value| !is_foreign(value)).collect();
            kept.into_iter().for_each(|value| _ = headers.append(LINK, value));
        }
    }
    refused
}

fn confine_field(headers: &mut HeaderMap, name: HeaderName, instead: &HeaderValue) {
    let value = match name == LOCATION {
        true => Some(instead.clone()),
        false => HeaderValue::from_bytes(&[b"0; url=", instead.as_bytes()].concat()).ok(),
    };
    match value {
        Some(value) => _ = headers.insert(name, value),
        None => _ = headers.remove(name),
    }
}

/// Whether a browser that follows `url` stays on the host of the page, or goes to one that is allowed.
fn leads_to_allowed(url: &[u8], allows: impl Fn(&str) -> bool) -> bool {
    // What stands around a URL is cut off, and tabs and line ends in it are taken out.
    let start = url.iter().position(|&byte| byte > b' ').unwrap_or(url.len());
    let end = url.iter().rposition(|&byte| byte > b' ').map_or(start, |last| last + 1);
    let url: Vec<u8> = url[start..end].iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n')).collect();
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let rest = match scheme(&url) {
        Some((b"http" | b"https", rest)) => rest,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https") => rest,
        Some(_) => return false,
        None if url.len() >= 2 && url[..2].iter().all(is_slash) => &url[..],
        None => return true,
    };
    let begin = rest.iter().position(|byte| !is_slash(byte)).unwrap_or(rest.len());
    let authority = &rest[begin..];
    let authority = &authority
        [..authority.iter().position(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).unwrap_or(authority.len())];
    // Browsers decode escapes in a host, take what stands before an `@` for a user, and give up at a blank.
    !authority.iter().any(|byte| matches!(byte, b'@' | b'%' | 0..=b' '))
        && Host::parse(authority).is_ok_and(|host| allows(host.as_str()))
}

/// The scheme of an absolute URL, and what follows its colon.
fn scheme(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = url.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = (&url[..colon], &url[colon + 1..]);
    let is_scheme = scheme.first()?.is_ascii_alphabetic()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTEAD: HeaderValue = HeaderValue::from_static("/refused");

    fn allows(host: &str) -> bool {
        host == "old.example" || host.ends_with(".new.example") || host == "10.1.2.3"
    }

    fn confined(name: HeaderName, value: &str) -> Option<String> {
        let mut fields = HeaderMap::new();
        fields.insert(&name, HeaderValue::from_str(value).unwrap());
        let refused = confine(&mut fields, &INSTEAD, allows);
        let left = fields.get(&name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        assert_eq!(refused.is_some(), name != LINK && left.as_deref() != Some(value), "{value}");
        left
    }

    #[test]
    fn a_location_leads_to_hosts_that_may_be() {
        for stays in [
            "/login?back=http://evil.example/",
            "login",
            "",
            "?a=//evil.example",
            "#a:b",
            "./a:b",
            "http://old.example/a",
            "HTTPS://WWW.New.Example:8443/a@b%40?c:d",
            "//www.new.example",
            "http:\\\\www.new.example\\a",
            "http://10.1.2.3:8080/",
            "https://www.new.example.",
            "/a//evil.example",
        ] {
            assert_eq!(confined(LOCATION, stays).as_deref(), Some(stays));
        }
        for goes in [
            "http://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example/",
            "/\t/evil.example",
            " \t//evil.example",
            "///evil.example",
            "http:evil.example",
            "http:/evil.example",
            "https:\\evil.example",
            "http://www.new.example@evil.example/",
            "http://evil.example\\@www.new.example/",
            "http://evil.example#@www.new.example/",
            "http://www.new.example%2Eevil.example/",
            "http://%65vil.example/",
            "http://www.new.example.evil.example/",
            "http://evilnew.example/",
            "http://www.new.example /",
            "http://",
            "https:///",
            "javascript:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "weixin://dl/",
            "http://[::1]/",
        ] {
            assert_eq!(confined(LOCATION, goes).as_deref(), Some("/refused"), "{goes}");
        }
    }

    #[test]
    fn refresh_and_link_too() {
        for stays in ["5", "5; url=/a", "0;URL='https://www.new.example/'", "5; url=a"] {
            assert_eq!(confined(REFRESH, stays).as_deref(), Some(stays));
        }
        for goes in ["5; url=http://evil.example/", "0;url='//evil.example'", "0 url=javascript:alert(1)"] {
            assert_eq!(confined(REFRESH, goes).as_deref(), Some("0; url=/refused"), "{goes}");
        }
        let link = "</a>; rel=preload, <https://www.new.example/>; rel=canonical";
        assert_eq!(confined(LINK, link).as_deref(), Some(link));
        assert_eq!(confined(LINK, "</a>; rel=preload, <https://evil.example/>; rel=canonical"), None);
        let mut fields = HeaderMap::new();
        for value in ["</a>", "<//evil.example>", "</b>"] {
            fields.append(LINK, HeaderValue::from_static(value));
        }
        fields.append(LOCATION, HeaderValue::from_static("/a"));
        fields.append(LOCATION, HeaderValue::from_static("http://evil.example"));
        assert_eq!(confine(&mut fields, &INSTEAD, allows).as_deref(), Some("http://evil.example"));
        assert_eq!(fields.get_all(LINK).iter().collect::<Vec<_>>(), ["</a>", "</b>"]);
        assert_eq!(fields.get_all(LOCATION).iter().collect::<Vec<_>>(), ["/refused"]);
    }
}
