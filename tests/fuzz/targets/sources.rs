//! What suggestions are made from, and evidence that somebody shows: no file panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::{retire::evidence, suggest::sources};

fuzz_target!(|data: &[u8]| {
    let _ = sources::sitemap(data);
    let _ = sources::table(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = evidence::check(text);
        let _ = evidence::public_key(text);
    }
});
