//! Pages, style sheets and header fields of platforms: any bytes, in any pieces; no panic, the pieces come to what the whole
//! comes to, and what names no host of the platform stays as it is.
#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use waypost::rewrite::{self, Body, LinkMap, Links};

const TYPES: [&str; 6] = [
    "text/html; charset=gbk",
    "text/html; charset=utf-8",
    "text/html",
    "text/html; charset=gb18030",
    "text/css",
    "text/html; charset=big5",
];

fuzz_target!(|data: &[u8]| {
    let [kind, size, page @ ..] = data else { return };
    // Without a prefix that is exchanged, or with one: then links within the host change, too.
    let has_prefix = *kind >= 128;
    let links = links(has_prefix);
    let content_type = TYPES[usize::from(*kind) % TYPES.len()];
    let whole = body(&links, content_type, page, usize::MAX);
    let pieces = body(&links, content_type, page, usize::from(*size % 16) + 1);
    assert_eq!(whole, pieces, "the pieces make no difference");
    if let Some(whole) = &whole
        && !has_prefix
        && !names_platform(page)
    {
        assert!(whole == page, "what names no host of the platform stays");
    }
    head(&links, page);
});

fn links(has_prefix: bool) -> Links {
    let prefix = has_prefix.then(|| ("/app/".to_owned(), "/old/".to_owned()));
    let map = LinkMap::new(["new.example", "10.0.0.1:8080"], prefix, Some("https://new.example".to_owned()));
    Links::new(Arc::new(map), "http", "old.example".to_owned())
}

fn body(links: &Links, content_type: &str, page: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut body = Body::new(links.clone(), Some(content_type), &[]).expect("a body that has links");
    let mut out = Vec::new();
    for piece in page.chunks(size.min(page.len().max(1))) {
        body.write(piece, &mut out).ok()?;
    }
    body.end(&mut out).ok()?;
    Some(out)
}

/// Whether a reader might see a link to the platform: the name in any case, or spelt with escapes.
fn names_platform(page: &[u8]) -> bool {
    let lower = page.to_ascii_lowercase();
    let has = |text: &[u8]| lower.windows(text.len()).any(|window| window == text);
    has(b"new") || has(b"10.0") || lower.iter().any(|byte| matches!(byte, b'&' | b'\\' | b'%'))
}

/// Each line is a header field.
fn head(links: &Links, text: &[u8]) {
    const NAMES: [&str; 6] = ["location", "link", "refresh", "set-cookie", "content-location", "content-encoding"];
    let mut fields = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let [name, value @ ..] = line else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.append(name, value);
        }
    }
    let before = fields.clone();
    rewrite::headers(links, &mut fields);
    assert_eq!(before.len(), fields.len(), "no field comes or goes");
    rewrite::codings(&fields);
    rewrite::negotiate(std::str::from_utf8(text).ok(), &[rewrite::Coding::Brotli, rewrite::Coding::Gzip]);
}
