//! Header fields that hold links: `Location`, `Content-Location`, `Link`, `Refresh`, `Set-Cookie`; and what becomes of
//! the others when the body changes.

use std::ops::Range;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, ETAG, Entry, HeaderMap,
    HeaderName, HeaderValue, LINK, LOCATION, REFRESH, SET_COOKIE, VARY,
};

use super::coding::Coding;
use super::cookie;
use super::links::{Edit, Links};
use super::values;

/// Maps the links in the header fields of a response. Values that don't change stay byte for byte.
pub fn headers(links: &Links, headers: &mut HeaderMap) {
    edit_values(headers, &LOCATION, |value| links.edit(value).into_iter().collect());
    edit_values(headers, &CONTENT_LOCATION, |value| links.edit(value).into_iter().collect());
    edit_values(headers, &LINK, |value| {
        link_targets(value).into_iter().filter_map(|at| edit_at(links, value, at)).collect()
    });
    edit_values(headers, &REFRESH, |value| {
        values::refresh(value).into_iter().filter_map(|at| edit_at(links, value, at)).collect()
    });
    edit_values(headers, &SET_COOKIE, |value| cookie::edits(links, value));
}

/// What a changed body does to its header fields. `coding`: what it is coded with now.
///
/// The entity tag becomes a weak one, since the same page has other bytes for other hosts; length, digests and ranges
/// were those of another body. Whether the coding was negotiated is told by [`vary_by_coding`].
pub fn changed(headers: &mut HeaderMap, coding: Option<Coding>) {
    for name in [CONTENT_LENGTH, ACCEPT_RANGES, CONTENT_ENCODING] {
        headers.remove(name);
    }
    for name in DIGESTS {
        headers.remove(name);
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    if let Some(etag) = headers.remove(ETAG)
        && let Some(weak) = weak(etag)
    {
        headers.insert(ETAG, weak);
    }
}

/// Says that the response was chosen by `Accept-Encoding` (RFC 9110, 12.5.5). For all responses of a URL that may be
/// compressed, the one without a coding included.
pub fn vary_by_coding(headers: &mut HeaderMap) {
    let is_said = headers.get_all(VARY).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        })
    });
    if !is_said {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Whether the response forbids changes of its body (`Cache-Control: no-transform`; RFC 9110, 7.7): then it is neither
/// rewritten nor compressed.
pub fn no_transform(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|value| {
        unquoted_parts(value.as_bytes(), b',').any(|at| {
            let directive = &value.as_bytes()[at];
            let name = directive.split(|&byte| byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"no-transform")
        })
    })
}

/// The weak form of an entity tag; `None` if it is none, as old servers send them without quotes.
fn weak(etag: HeaderValue) -> Option<HeaderValue> {
    let bytes = etag.as_bytes();
    if bytes.starts_with(b"W/\"") {
        return Some(etag);
    }
    (bytes.len() >= 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\""))
        .then(|| HeaderValue::from_bytes(&[b"W/", bytes].concat()).ok())
        .flatten()
}

fn edit_values(headers: &mut HeaderMap, name: &HeaderName, edits: impl Fn(&[u8]) -> Vec<Edit>) {
    let Entry::Occupied(mut entry) = headers.entry(name) else { return };
    for value in entry.iter_mut() {
        let edits = edits(value.as_bytes());
        // An edit is inert, so that this never fails; if it did, the value would stay.
        if !edits.is_empty()
            && let Ok(edited) = HeaderValue::from_bytes(&apply(value.as_bytes(), edits))
        {
            *value = edited;
        }
    }
}

pub(super) fn apply(value: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 32);
    let mut at = 0;
    for Edit { range, with } in edits {
        out.extend_from_slice(&value[at..range.start]);
        out.extend_from_slice(with.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(&value[at..]);
    out
}

fn edit_at(links: &Links, value: &[u8], at: Range<usize>) -> Option<Edit> {
    let Edit { range, with } = links.edit(&value[at.clone()])?;
    Some(Edit { range: at.start + range.start..at.start + range.end, with })
}

/// Where the targets of a `Link` field stand: `<…>` at the beginning of each member (RFC 8288, 3). Parameters, such as
/// `anchor`, are left alone.
pub(super) fn link_targets(value: &[u8]) -> Vec<Range<usize>> {
    let mut targets = Vec::new();
    let mut at = 0;
    loop {
        at += value[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
        if value.get(at) != Some(&b'<') {
            return targets;
        }
        // A target may hold commas and quotes.
        let Some(len) = memchr::memchr(b'>', &value[at..]) else { return targets };
        targets.push(at + 1..at + len);
        at += len + 1;
        at += unquoted_parts(&value[at..], b',').next().map_or(0, |part| part.end);
    }
}

/// The parts between separators that stand outside of quoted strings.
fn unquoted_parts(value: &[u8], separator: u8) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let (mut in_quotes, mut escaped) = (false, false);
        let len = value[start..].iter().position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_quotes => escaped = true,
                b'"' => in_quotes = !in_quotes,
                _ => return byte == separator && !in_quotes,
            }
            false
        });
        let end = len.map_or(value.len(), |len| start + len);
        next = len.map(|_| end + 1);
        Some(start..end)
    })
}

/// Digests of the body as it was (RFC 9530, RFC 3230, RFC 2616).
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::LinkMap;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn links(prefix: Option<(&str, &str)>) -> Links {
        let map = LinkMap::new(
            ["www.qingshan.example", "www.qingshan.example:8443"],
            prefix.map(|(upstream, public)| (upstream.into(), public.into())),
            Some("https://www.qingshan.example".into()),
        );
        Links::new(Arc::new(map), "https", "jyj.old.example".into())
    }

    fn mapped(links: &Links, name: HeaderName, value: &[u8]) -> Vec<u8> {
        let mut map = HeaderMap::new();
        map.append(&name, HeaderValue::from_bytes(value).unwrap());
        headers(links, &mut map);
        assert_eq!(map.len(), 1);
        map[&name].as_bytes().to_vec()
    }

    #[test]
    fn links_in_fields() {
        let plain = links(None);
        let prefixed = links(Some(("/interaction/mail/", "/mailbox/")));
        for (name, value, with_same_paths, with_prefix) in [
            (
                LOCATION,
                "http://www.qingshan.example/interaction/mail/1",
                "https://jyj.old.example/interaction/mail/1",
                "https://jyj.old.example/mailbox/1",
            ),
            (
                LOCATION,
                "//www.qingshan.example:8443/interaction/mail/1",
                "//jyj.old.example/interaction/mail/1",
                "//jyj.old.example/mailbox/1",
            ),
            (LOCATION, "/interaction/mail/1", "/interaction/mail/1", "/mailbox/1"),
            (LOCATION, "/login", "/login", "https://www.qingshan.example/login"),
            (LOCATION, "login", "login", "login"),
            (
                LOCATION,
                "https://evil.example/?u=http://www.qingshan.example/",
                "https://evil.example/?u=http://www.qingshan.example/",
                "https://evil.example/?u=http://www.qingshan.example/",
            ),
            (
                CONTENT_LOCATION,
                "https://www.qingshan.example/interaction/mail/",
                "https://jyj.old.example/interaction/mail/",
                "https://jyj.old.example/mailbox/",
            ),
            (
                REFRESH,
                "5; url=http://www.qingshan.example/interaction/mail/a",
                "5; url=https://jyj.old.example/interaction/mail/a",
                "5; url=https://jyj.old.example/mailbox/a",
            ),
            (REFRESH, "5; URL='/interaction/mail/a'", "5; URL='/interaction/mail/a'", "5; URL='/mailbox/a'"),
            (REFRESH, "5", "5", "5"),
            (
                LINK,
                "<//www.qingshan.example/interaction/mail/a,b>; rel=\"next, <http://www.qingshan.example/>\\\", <x>\", </interaction/mail/c>;rel=prev;anchor=\"http://www.qingshan.example/\", <d>",
                "<//jyj.old.example/interaction/mail/a,b>; rel=\"next, <http://www.qingshan.example/>\\\", <x>\", </interaction/mail/c>;rel=prev;anchor=\"http://www.qingshan.example/\", <d>",
                "<//jyj.old.example/mailbox/a,b>; rel=\"next, <http://www.qingshan.example/>\\\", <x>\", </mailbox/c>;rel=prev;anchor=\"http://www.qingshan.example/\", <d>",
            ),
            (LINK, "<http://www.qingshan.example/", "<http://www.qingshan.example/", "<http://www.qingshan.example/"),
            (LINK, "http://www.qingshan.example/", "http://www.qingshan.example/", "http://www.qingshan.example/"),
        ] {
            assert_eq!(
                String::from_utf8(mapped(&plain, name.clone(), value.as_bytes())).unwrap(),
                with_same_paths,
                "{value}"
            );
            assert_eq!(String::from_utf8(mapped(&prefixed, name, value.as_bytes())).unwrap(), with_prefix, "{value}");
        }
        // Bytes that are no text stay too.
        assert_eq!(
            mapped(&plain, LOCATION, b"http://www.qingshan.example/\xBF\xC6?a"),
            b"https://jyj.old.example/\xBF\xC6?a"
        );
    }

    #[test]
    fn each_of_several_fields_is_mapped() {
        let mut map = HeaderMap::new();
        for value in ["a=1; Domain=qingshan.example", "b=2", "c=3; Domain=www.qingshan.example"] {
            map.append(SET_COOKIE, HeaderValue::from_static(value));
        }
        headers(&links(None), &mut map);
        assert_eq!(map.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=1", "b=2", "c=3"]);
    }

    #[test]
    fn a_changed_body_changes_its_fields() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("repr-digest", "x"),
            ("content-digest", "x"),
            ("accept-ranges", "bytes"),
            ("etag", "\"a\""),
            ("last-modified", "x"),
        ] {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        changed(&mut map, Some(Coding::Brotli));
        assert_eq!(map.len(), 3);
        assert_eq!(
            (&map["etag"], &map["content-encoding"]),
            (&HeaderValue::from_static("W/\"a\""), &HeaderValue::from_static("br"))
        );
        changed(&mut map, None);
        assert_eq!(map["etag"], "W/\"a\"");
        assert!(!map.contains_key("content-encoding"));
        for bad in ["abc", "\"", "", "w/\"a\""] {
            map.insert(ETAG, HeaderValue::from_static(bad));
            changed(&mut map, None);
            assert!(!map.contains_key(ETAG), "{bad}");
        }
    }

    #[test]
    fn the_coding_is_said_to_vary_once() {
        for (before, want) in [
            (vec![], vec!["accept-encoding"]),
            (vec!["Cookie"], vec!["Cookie", "accept-encoding"]),
            (vec!["cookie, Accept-Encoding"], vec!["cookie, Accept-Encoding"]),
            (vec!["*"], vec!["*"]),
        ] {
            let mut map = HeaderMap::new();
            for value in &before {
                map.append(VARY, HeaderValue::from_static(value));
            }
            vary_by_coding(&mut map);
            assert_eq!(map.get_all(VARY).iter().collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn what_must_not_be_transformed() {
        for (value, want) in [
            ("no-transform", true),
            ("public, No-Transform , max-age=1", true),
            ("private=\"a, no-transform\"", false),
            ("x-no-transform", false),
            ("no-transform=1", true),
            ("max-age=1", false),
        ] {
            let mut map = HeaderMap::new();
            map.insert(CACHE_CONTROL, HeaderValue::from_static(value));
            assert_eq!(no_transform(&map), want, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_value_stays_a_value(value in proptest::collection::vec(prop_oneof![
            Just(b"http://www.qingshan.example/interaction/".to_vec()),
            Just(b"<".to_vec()), Just(b">".to_vec()), Just(b";Domain=".to_vec()), Just(b"; Path=/interaction/mail/".to_vec()),
            Just(b"\"".to_vec()), Just(b",".to_vec()), Just(b"5; url=".to_vec()),
            proptest::collection::vec(32u8..=255, 0..4),
        ], 0..12)) {
            let value = value.concat();
            prop_assume!(HeaderValue::from_bytes(&value).is_ok());
            for prefix in [None, Some(("/interaction/mail/", "/a\r\nb/"))] {
                for name in [LOCATION, LINK, REFRESH, SET_COOKIE] {
                    let mapped = mapped(&links(prefix), name, &value);
                    prop_assert!(!mapped.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                }
            }
        }
    }
}
