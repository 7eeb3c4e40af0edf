//! Where the links stand in values that are more than one link: `srcset`, and `Refresh` in markup and in header fields.

use std::ops::Range;

/// The URLs of a `srcset` (HTML, 4.8.4.2.1).
pub(super) fn srcset(value: &[u8]) -> Vec<Range<usize>> {
    let mut urls = Vec::new();
    let mut at = 0;
    loop {
        at += count(&value[at..], |byte| is_space(byte) || byte == b',');
        let len = count(&value[at..], |byte| !is_space(byte));
        if len == 0 {
            return urls;
        }
        let url = &value[at..at + len];
        let commas = url.iter().rev().take_while(|&&byte| byte == b',').count();
        urls.push(at..at + len - commas);
        at += len;
        if commas == 0 {
            at += descriptors(&value[at..]);
        }
    }
}

/// Length of what stands between a URL and the comma that ends its candidate.
fn descriptors(value: &[u8]) -> usize {
    let mut in_parens = false;
    count(value, |byte| {
        match byte {
            b'(' => in_parens = true,
            b')' => in_parens = false,
            _ => {}
        }
        in_parens || byte != b','
    })
}

/// The URL of a refresh, such as `5; url=/next` (HTML, 4.2.5.3: the shared declarative refresh steps).
pub(super) fn refresh(value: &[u8]) -> Option<Range<usize>> {
    let mut at = count(value, is_space);
    let time = count(&value[at..], |byte| byte.is_ascii_digit() || byte == b'.');
    // Without a time there is no refresh.
    if time == 0 {
        return None;
    }
    at += time;
    let space = count(&value[at..], is_space);
    at += space;
    match value.get(at) {
        Some(b';' | b',') => at += 1,
        Some(_) if space > 0 => {}
        _ => return None,
    }
    at += count(&value[at..], is_space);
    let rest = &value[at..];
    if rest.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"url")) {
        let equals = 3 + count(&rest[3..], is_space);
        if rest.get(equals) == Some(&b'=') {
            at += equals + 1;
            at += count(&value[at..], is_space);
        }
    }
    let end = match value.get(at) {
        Some(&quote @ (b'"' | b'\'')) => {
            at += 1;
            at + count(&value[at..], |byte| byte != quote)
        }
        _ => value.len(),
    };
    (at < end).then_some(at..end)
}

/// How many bytes at the start are such.
fn count(bytes: &[u8], mut is: impl FnMut(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !is(byte)).unwrap_or(bytes.len())
}

/// ASCII whitespace (Infra).
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0C' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_of_a_srcset() {
        for (value, want) in [
            ("", &[][..]),
            (" , ", &[]),
            ("a.png", &["a.png"]),
            ("a.png 1x, b.png 2x", &["a.png", "b.png"]),
            ("a.png, b.png", &["a.png", "b.png"]),
            ("a.png,b.png 2x", &["a.png,b.png"]),
            ("\na.png 1x\n,\n//h/b,c.png 100w 5h,,d", &["a.png", "//h/b,c.png", "d"]),
            ("a f(x, y) 1x, b", &["a", "b"]),
            ("a (, b", &["a"]),
        ] {
            let urls: Vec<_> = srcset(value.as_bytes()).into_iter().map(|url| &value[url]).collect();
            assert_eq!(urls, want, "{value:?}");
        }
    }

    #[test]
    fn the_url_of_a_refresh() {
        for (value, want) in [
            ("5; url=/a", Some("/a")),
            (" 0.5 ,URL = '/a' x", Some("/a")),
            ("0;/a", Some("/a")),
            ("0 /a", Some("/a")),
            ("0;url=\"/a b", Some("/a b")),
            ("0;urls", Some("urls")),
            ("0;url", Some("url")),
            ("0", None),
            ("0;", None),
            ("0/a", None),
            ("url=/a", None),
            ("0;url=''", None),
            ("", None),
        ] {
            assert_eq!(refresh(value.as_bytes()).map(|url| &value[url]), want, "{value:?}");
        }
    }
}
