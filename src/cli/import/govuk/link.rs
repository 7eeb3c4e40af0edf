//! URLs as these files write them: the old ones, taken apart, and the new ones, made fit for a header.

use crate::model::{Host, Target, split_scheme};

/// An old URL, in the two parts that matter here: port, scheme and fragment decide nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldUrl {
    /// `None` for a bare path.
    pub(super) host: Option<Host>,
    /// Path and query, as written but for bytes that no request can carry.
    pub(super) old: String,
    /// The fragment, without `#`.
    pub(super) fragment: Option<String>,
}

/// Takes an old URL apart: with or without scheme, or a bare path.
///
/// # Errors
/// Why it is no old URL.
pub(super) fn old_url(text: &str) -> Result<OldUrl, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("no Old Url".to_owned());
    }
    if text.contains(['\r', '\n']) {
        return Err(BROKEN.to_owned());
    }
    let (host, rest) = if text.starts_with('/') && !text.starts_with("//") {
        (None, text)
    } else {
        let after = match split_scheme(text) {
            Some((_, rest)) => rest,
            None if text.split(['/', '?']).next().is_some_and(|start| start.ends_with(':')) => {
                return Err("only http and https URLs are known".to_owned());
            }
            None => text.trim_start_matches("//"),
        };
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let host = Host::parse(authority.as_bytes()).map_err(|error| format!("no URL of a site: {error}"))?;
        (Some(host), rest)
    };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment.to_owned())),
        None => (rest, None),
    };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let mut old = slash.to_owned();
    rest.chars().for_each(|c| push_as_requests_do(c, &mut old));
    Ok(OldUrl { host, old, fragment })
}

/// A line break in a URL, most likely because a quotation mark is never closed.
const BROKEN: &str = "a line break in a URL: is a quotation mark not closed?";

/// `<`, `>` and `"` are refused in requests, so only their escapes can ever be asked for; the same for controls.
fn push_as_requests_do(c: char, out: &mut String) {
    match c {
        '<' | '>' | '"' | '\0'..='\x1f' | '\x7f' => out.push_str(&format!("%{:02X}", c as u32)),
        _ => out.push(c),
    }
}

/// A link or target as it goes into a header or page: to the letter, unless it has characters that can't.
///
/// A missing scheme is `http://`, as the old system filled it in.
///
/// # Errors
/// Why it is no URL to send anybody to.
pub(super) fn new_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains(['\r', '\n']) {
        return Err(BROKEN.to_owned());
    }
    let completed;
    let text = if has_no_scheme(text) {
        completed = format!("http://{text}");
        &completed
    } else {
        text
    };
    let target = Target::parse(text).map_err(|fault| fault.to_string())?;
    let sendable = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    Ok(if sendable { text.to_owned() } else { target.as_str().to_owned() })
}

/// Whether a text begins with a host name, with a dot in it.
fn has_no_scheme(text: &str) -> bool {
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    split_scheme(text).is_none() && Host::parse(authority.as_bytes()).is_ok_and(|host| host.as_str().contains('.'))
}

/// The host of a URL that [`new_url`] made.
pub(super) fn host_of(url: &str) -> Option<Host> {
    Target::parse(url).ok().map(|target| target.host().clone())
}

/// A URL as a target of rules, where braces are placeholders.
pub(super) fn as_template(url: &str) -> String {
    url.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_urls_are_taken_apart() {
        for (text, host, old) in [
            ("http://www.a.gov.uk/x?y=1", "www.a.gov.uk", "/x?y=1"),
            (" HTTPS://WWW.A.gov.uk:8080 ", "www.a.gov.uk", "/"),
            ("www.a.gov.uk/b/", "www.a.gov.uk", "/b/"),
            ("//www.a.gov.uk./b c", "www.a.gov.uk", "/b c"),
            ("http://www.a.gov.uk?q=<é\">", "www.a.gov.uk", "/?q=%3Cé%22%3E"),
            ("http://www.a.gov.uk//b//", "www.a.gov.uk", "//b//"),
            ("http://www.a.gov.uk/a\tb", "www.a.gov.uk", "/a%09b"),
        ] {
            let url = old_url(text).unwrap();
            assert_eq!((url.host.unwrap().as_str(), url.old.as_str(), url.fragment), (host, old, None), "{text}");
        }
        let bare = OldUrl { host: None, old: "/a?b".to_owned(), fragment: Some("c#d".to_owned()) };
        assert_eq!(old_url("/a?b#c#d"), Ok(bare));
    }

    #[test]
    fn what_is_no_old_url_says_why() {
        for text in [
            "",
            "  ",
            "ftp://a.gov.uk/x",
            "http://a b/",
            "http://",
            "http://u@a.gov.uk/",
            "mailto:a@b.c",
            "a\nb",
            "http:///x",
        ] {
            assert!(old_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn new_urls_stay_to_the_letter_where_they_can() {
        for (text, want) in [
            ("https://WWW.gov.uk/A?b[]=1|2&c=%7e{x}'^`#Frag", "https://WWW.gov.uk/A?b[]=1|2&c=%7e{x}'^`#Frag"),
            (" www.shelter.org.uk ", "http://www.shelter.org.uk"),
            ("www.a.uk:8080/x?y", "http://www.a.uk:8080/x?y"),
            ("https://www.gov.uk/a b\"é<>", "https://www.gov.uk/a%20b%22%C3%A9%3C%3E"),
            ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ] {
            assert_eq!(new_url(text).as_deref(), Ok(want));
        }
        for text in [
            "",
            "/x",
            "TNA",
            "ftp://a.gov.uk/",
            "mailto:a@b.uk",
            "http://u@a.uk/",
            "http:///x",
            "https://a.uk/\nb",
            "http://a.uk/\u{7}b",
        ] {
            assert!(new_url(text).is_err(), "{text:?}");
        }
    }
}
