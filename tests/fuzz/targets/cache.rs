//! Answers and requests through the cache: any header fields; no panic, and nothing that must not be stored is.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use waypost::cache::{Asked, Cache, KeyParts, Lookup, Outcome, Rules, Settings, Times};

const NOW: i64 = 1_800_000_000;

const NAMES: [&str; 20] = [
    "cache-control",
    "cdn-cache-control",
    "expires",
    "date",
    "age",
    "vary",
    "etag",
    "last-modified",
    "content-length",
    "content-range",
    "set-cookie",
    "pragma",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "accept-encoding",
    "authorization",
    "cookie",
    "content-language",
];

fuzz_target!(|data: &[u8]| {
    let [status, flags, later, text @ ..] = data else { return };
    let mut parts = text.splitn(3, |&byte| byte == 0);
    let (first, answer, second) = (parts.next(), parts.next(), parts.next());
    let (first, answer, second) =
        (fields(first.unwrap_or_default()), fields(answer.unwrap_or_default()), fields(second.unwrap_or_default()));
    let rules = Arc::new(Rules { heuristic: flags & 1 == 1, down_overrides: flags & 2 == 2, ..Rules::default() });
    let cache = Cache::new(Settings::default());
    let key = KeyParts { secure: false, host: b"old.example", target: b"/page?a=1" };
    let asked =
        |fields, now| Asked { key, head_only: flags & 4 == 4, fields, rules: &rules, now, down: flags & 8 == 8 };
    let status = 200 + u16::from(*status);
    if let Lookup::Fetch(flight, follower) = cache.lookup(&asked(&first, NOW)) {
        let times = Times { requested: NOW, received: NOW };
        match flight.head(status, answer.clone(), times) {
            // Nothing waits: what is written is small.
            Outcome::Body(filling) => drop(futures_now(filling_of(*filling))),
            Outcome::Again(flight) => drop(flight),
            Outcome::Done => {}
        }
        drop(follower);
    }
    let later = NOW + i64::from(*later) * 10;
    match cache.lookup(&asked(&second, later)) {
        Lookup::Hit(hit) | Lookup::Stale(hit, _) => {
            assert!(!answer.contains_key(header::SET_COOKIE), "what sets a cookie is not stored");
            let reply = hit.respond(&asked(&second, later));
            assert!(matches!(reply.status, 200..=599));
        }
        _ => {}
    }
});

async fn filling_of(mut filling: waypost::cache::Filling) {
    if filling.write(Bytes::from_static(b"a page")).await.is_ok() {
        // An error means that nobody wants it.
        let _ = filling.end(None);
    }
}

/// Polls a future once.
fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// Each line is a header field: a byte for its name, and its value.
fn fields(text: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n').take(50) {
        let [name, value @ ..] = line else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.append(name, value);
        }
    }
    fields
}
