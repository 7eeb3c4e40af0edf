//! Cookies of a platform, as the old host sets them.
//!
//! A `Domain` that is a mapped host or a parent of one is left out, so that the cookie belongs to the old host alone;
//! unless it is the old host or a parent of it too, for then browsers take it, and the platform wants it shared. Any
//! other `Domain` stays, and browsers refuse the cookie as they would have on the platform.
//!
//! A `Path` under the upstream prefix is mapped. One above it becomes the public prefix, except the root, which stays.
//! `Secure`, `SameSite`, names, values and dates are never touched.

use super::links::{Edit, Links, domain_matches};

/// What must change in a `Set-Cookie` (RFC 6265, 5.2).
pub(super) fn edits(links: &Links, value: &[u8]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let Some(mut semicolon) = memchr::memchr(b';', value) else { return edits };
    // Its path must be the root, or browsers refuse it (RFC 6265bis, 4.1.3.2).
    let is_host_only = value.trim_ascii_start().get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"__Host-"));
    loop {
        let len = memchr::memchr(b';', &value[semicolon + 1..]);
        let end = len.map_or(value.len(), |len| semicolon + 1 + len);
        let attribute = &value[semicolon + 1..end];
        if let Some(equals) = memchr::memchr(b'=', attribute) {
            let name = attribute[..equals].trim_ascii();
            let text = attribute[equals + 1..].trim_ascii();
            if name.eq_ignore_ascii_case(b"domain") && leaves_domain(links, text) {
                edits.push(Edit { range: semicolon..end, with: String::new() });
            } else if name.eq_ignore_ascii_case(b"path")
                && !is_host_only
                && let Some(path) = mapped_path(links, text)
            {
                let start = semicolon + 1 + equals + 1;
                let blanks = attribute[equals + 1..].len() - attribute[equals + 1..].trim_ascii_start().len();
                edits.push(Edit { range: start + blanks..start + blanks + text.len(), with: path });
            }
        }
        if len.is_none() {
            return edits;
        }
        semicolon = end;
    }
}

/// Whether the `Domain` is left out.
fn leaves_domain(links: &Links, domain: &[u8]) -> bool {
    let Ok(domain) = str::from_utf8(domain) else { return false };
    let domain = domain.strip_prefix('.').unwrap_or(domain).to_ascii_lowercase();
    // An empty one is ignored by browsers.
    !domain.is_empty() && links.link_map().has_domain(&domain) && !domain_matches(links.host_name(), &domain)
}

/// The path on the old host; `None` if it stays as it is.
fn mapped_path(links: &Links, path: &[u8]) -> Option<String> {
    let (upstream, public) = links.prefix()?;
    // Else it is the default path, which the browser takes from the URL.
    if !path.starts_with(b"/") {
        return None;
    }
    if let Some(rest) = path.strip_prefix(upstream.as_bytes()) {
        let is_under = upstream.ends_with('/') || rest.is_empty() || rest.starts_with(b"/");
        // What stands in the field already may stand there again.
        return is_under.then(|| Some([public, str::from_utf8(rest).ok()?].concat())).flatten();
    }
    let below = upstream.as_bytes().strip_prefix(path)?;
    // A cookie of `/a` is sent to `/a` and `/a/b`, not to `/ab`; one of `/a/` is not sent to `/a` (RFC 6265, 5.1.4).
    if path.ends_with(b"/") {
        (path.len() > 1).then(|| public.to_owned())
    } else if below.starts_with(b"/") {
        let public = public.trim_end_matches('/');
        Some(if public.is_empty() { "/" } else { public }.to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rewrite::LinkMap;
    use crate::rewrite::headers::apply;

    fn mapped(prefix: Option<(&str, &str)>, value: &[u8]) -> String {
        let map = LinkMap::new(
            ["www.qingshan.example", "www.qingshan.example:8443"],
            prefix.map(|(upstream, public)| (upstream.into(), public.into())),
            None,
        );
        let links = Links::new(Arc::new(map), "https", "jyj.old.example".into());
        String::from_utf8_lossy(&apply(value, edits(&links, value))).into_owned()
    }

    #[test]
    fn domains_and_paths() {
        for (value, want) in [
            ("a=b", "a=b"),
            ("a=b; Domain=www.qingshan.example; Path=/", "a=b; Path=/"),
            ("a=b;domain = .WWW.Qingshan.example ;Secure", "a=b;Secure"),
            ("a=b; HttpOnly; Domain=qingshan.example", "a=b; HttpOnly"),
            ("a=b; Domain=other.example", "a=b; Domain=other.example"),
            ("a=b; Domain=gshan.example", "a=b; Domain=gshan.example"),
            ("a=b; Domain=x.www.qingshan.example", "a=b; Domain=x.www.qingshan.example"),
            ("a=b; Domain=jyj.old.example", "a=b; Domain=jyj.old.example"),
            // Both hosts are under it.
            ("a=b; Domain=example", "a=b; Domain=example"),
            ("a=b; Domain=; Domain", "a=b; Domain=; Domain"),
            ("domain=www.qingshan.example", "domain=www.qingshan.example"),
            ("a=\"Path=/interaction/mail/\"", "a=\"Path=/interaction/mail/\""),
            ("a=b; Path=/interaction/mail/x", "a=b; Path=/mailbox/x"),
            ("a=b; path= /interaction/mail/ ; Secure", "a=b; path= /mailbox/ ; Secure"),
            ("a=b; Path=/interaction", "a=b; Path=/mailbox"),
            ("a=b; Path=/interaction/", "a=b; Path=/mailbox/"),
            ("a=b; Path=/interaction/mail", "a=b; Path=/mailbox"),
            ("a=b; Path=/interact", "a=b; Path=/interact"),
            ("a=b; Path=/other", "a=b; Path=/other"),
            ("a=b; Path=; Path=interaction/mail/", "a=b; Path=; Path=interaction/mail/"),
            ("__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"),
            (
                "a=b; Path=/interaction; Domain=www.qingshan.example; Path=/interaction/mail/y; SameSite=None",
                "a=b; Path=/mailbox; Path=/mailbox/y; SameSite=None",
            ),
        ] {
            assert_eq!(mapped(Some(("/interaction/mail/", "/mailbox/")), value.as_bytes()), want, "{value}");
        }
        let bytes = b"a=\xFF; Path=/interaction; domain=www.qingshan.example";
        assert_eq!(mapped(None, bytes), "a=\u{FFFD}; Path=/interaction");
    }

    #[test]
    fn a_host_cookie_keeps_the_root() {
        let cookie = "__Host-a=b; Path=/; Secure";
        assert_eq!(mapped(Some(("/", "/app/")), cookie.as_bytes()), cookie);
    }

    #[test]
    fn prefixes_of_other_shapes() {
        for (upstream, public, path, want) in [
            ("/app", "/x", "/app", "/x"),
            ("/app", "/x", "/app/a", "/x/a"),
            ("/app", "/x", "/apple", "/apple"),
            ("/app/", "/", "/app", "/"),
            ("/app/", "/", "/app/a", "/a"),
            ("/", "/app/", "/", "/app/"),
            ("/", "/app/", "/a", "/app/a"),
            ("/a/b", "/x", "/a/", "/x"),
            ("/a/b/", "/x/", "/a/b/c;", "/x/c;"),
        ] {
            let got = mapped(Some((upstream, public)), format!("a=b; Path={path}").as_bytes());
            assert_eq!(got, format!("a=b; Path={want}"), "{upstream} {path}");
        }
    }
}
