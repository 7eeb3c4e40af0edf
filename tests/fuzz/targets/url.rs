//! Canonicalisation: any bytes, any habits; no panic, and canonical texts stay as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::{
    model::{Host, HostPattern, Target},
    url::{Canonical, Canonicalizer, Charset, Form, UrlSettings, to_wire},
};

fuzz_target!(|data: &[u8]| {
    let [flags, charset, target @ ..] = data else { return };
    let flag = |n: u8| flags & (1 << n) != 0;
    let settings = UrlSettings {
        charset: [Charset::Utf8, Charset::Gb18030, Charset::Big5, Charset::Auto][usize::from(charset % 4)],
        ignore_case: !flag(0),
        index: vec!["index.html".to_owned(), "Default.aspx".to_owned()],
        keep_query: if flag(1) { vec!["*".to_owned()] } else { vec!["id".to_owned()] },
        semicolon_separates: flag(2),
        ignore_trailing_slash: !flag(3),
        merge_slashes: !flag(4),
        resolve_dots: !flag(5),
        drop_session_id: !flag(6),
        decode_path: !flag(7),
        ..UrlSettings::default()
    };
    let canonicalizer = Canonicalizer::new(settings.clone(), true);
    let mut out = Canonical::default();
    if canonicalizer.canonicalize(target, Form::Wire, &mut out).is_ok() {
        let once = out.key().to_vec();
        let text = std::str::from_utf8(&once).expect("canonical text is UTF-8").to_owned();
        if canonicalizer.canonicalize(&once, Form::Text, &mut out).is_ok() {
            assert_eq!(out.key(), once, "not idempotent");
        }
        assert!(to_wire(&text, settings.charset).is_ascii());
    }
    if let Ok(host) = Host::parse(target) {
        assert_eq!(Host::parse(host.as_str().as_bytes()).as_ref(), Ok(&host), "a canonical host stays as it is");
    }
    if let Ok(text) = std::str::from_utf8(target) {
        let _ = HostPattern::parse(text);
        if let Ok(target) = Target::parse(text) {
            assert!(target.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "a target is ready for a header");
            assert_eq!(Target::parse(target.as_str()).as_ref(), Ok(&target));
        }
    }
});
