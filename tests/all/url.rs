//! Properties of canonicalisation: idempotent, total, and one text per page.

use std::collections::BTreeMap;

use encoding_rs::{BIG5, GB18030, UTF_8};
use proptest::prelude::*;
use waypost::url::{Canonical, Canonicalizer, Charset, Form, UrlSettings, to_wire};

fn key(canonicalizer: &Canonicalizer, target: &[u8], form: Form) -> Option<String> {
    let mut out = Canonical::default();
    canonicalizer.canonicalize(target, form, &mut out).ok()?;
    Some(String::from_utf8(out.key().to_vec()).unwrap())
}

fn charset() -> impl Strategy<Value = Charset> {
    prop_oneof![Just(Charset::Utf8), Just(Charset::Gb18030), Just(Charset::Big5), Just(Charset::Auto)]
}

prop_compose! {
    fn settings()(
        charset in charset(),
        flags in any::<[bool; 9]>(),
        index in prop::bool::ANY,
        keep in prop_oneof![Just(vec![]), Just(vec!["id".to_owned(), "栏目".to_owned()]), Just(vec!["*".to_owned()])],
    ) -> UrlSettings {
        UrlSettings {
            charset,
            ignore_case: flags[0],
            index: if index { vec!["Index.html".to_owned(), "default.aspx".to_owned()] } else { vec![] },
            keep_query: keep,
            semicolon_separates: flags[1],
            ignore_trailing_slash: flags[2],
            merge_slashes: flags[3],
            resolve_dots: flags[4],
            drop_session_id: flags[5],
            decode_path: flags[6],
            refuse_invalid: flags[7],
            accept_trailing_dot: flags[8],
        }
    }
}

/// Targets that are made of what trips canonicalisers, between plain bytes.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9]{1,4}".prop_map(String::into_bytes),
        3 => prop::sample::select(vec![
            "/", "//", "\\", "/./", "/../", "..", "?", "&", "=", ";", "#", "%", "%2F", "%2f", "%5C", "%2e", "%00", "%25", "%zz", "+", "%20",
            ";jsessionid=0A1B", "%3Bjsessionid=1", "index.html", "INDEX.HTML", "id=", "*", "http://h.example/", "%C8A", "%c8a", "%E7%A7%91",
            "\u{130}", "\u{212a}", "ẞ", "科普", "%81%30%81%30", "%FE", "~", "%7e", "'", "[", "|",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![b'/'], pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Any bytes at all, in any form and setting: no panic, and the result is text.
    #[test]
    fn total(settings in settings(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let canonicalizer = Canonicalizer::new(settings, true);
        key(&canonicalizer, &bytes, Form::Wire);
        key(&canonicalizer, &bytes, Form::Text);
    }

    /// The canonical text of a canonical text is itself.
    #[test]
    fn idempotent(settings in settings(), target in target()) {
        let canonicalizer = Canonicalizer::new(settings, true);
        if let Some(once) = key(&canonicalizer, &target, Form::Wire) {
            let twice = key(&canonicalizer, once.as_bytes(), Form::Text);
            prop_assert_eq!(twice, Some(once));
        }
    }

    /// What a sitemap lists is found again.
    #[test]
    fn wire_form_leads_back(mut settings in settings(), target in target()) {
        // A guessed charset can't promise to guess its own output, and what is compared as sent has no other form.
        if settings.charset == Charset::Auto {
            settings.charset = Charset::Utf8;
        }
        settings.decode_path = true;
        settings.refuse_invalid = false;
        let canonicalizer = Canonicalizer::new(settings.clone(), true);
        if let Some(once) = key(&canonicalizer, &target, Form::Wire) {
            // Bytes that are no text may make another character of what follows them. No such URL is in a sitemap but by
            // an operator's own hand.
            let bytes_left = once.split('%').skip(1).any(|escape| escape.starts_with(['8', '9', 'A', 'B', 'C', 'D', 'E', 'F']));
            // Characters that the charset lacks go out as UTF-8, which is then another text in it.
            let representable = settings.charset == Charset::Utf8 || {
                let encoding = if settings.charset == Charset::Big5 { BIG5 } else { GB18030 };
                let (bytes, _, lossy) = encoding.encode(&once);
                !lossy && encoding.decode_without_bom_handling(&bytes).0 == once
            };
            if representable && !bytes_left {
                let again = key(&canonicalizer, to_wire(&once, settings.charset).as_bytes(), Form::Wire);
                prop_assert_eq!(again, Some(once));
            }
        }
    }
}

/// A page as its author thinks of it: names of folders and file, and the parameters that identify it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    segments: Vec<String>,
    query: BTreeMap<&'static str, String>,
}

fn page() -> impl Strategy<Value = Page> {
    // Lower case, since case is ignored; no lone dots, no index page, no session id.
    let name = "[a-z0-9科普文件園-]{1,6}(\\.[a-z]{1,3})?";
    let query = prop::collection::btree_map(prop::sample::select(vec!["id", "cat"]), "[a-z0-9&=+%/科]{1,4}", 0..3);
    (prop::collection::vec(name, 0..4), query).prop_map(|(segments, query)| Page { segments, query })
}

/// Choices that a spelling makes, one per byte.
type Dice = Vec<u8>;

/// Writes a page's URL in one of its many spellings.
fn spell(page: &Page, charset: Charset, dice: &Dice) -> Vec<u8> {
    let mut at = 0;
    let mut roll = |sides: u8| {
        at += 1;
        dice[at % dice.len()] % sides
    };
    let encoding = match charset {
        Charset::Gb18030 => GB18030,
        Charset::Big5 => BIG5,
        Charset::Utf8 | Charset::Auto => UTF_8,
    };
    let text = |raw: &str, out: &mut Vec<u8>, roll: &mut dyn FnMut(u8) -> u8| {
        for c in raw.chars() {
            let upper = roll(3) == 0;
            let c = if upper { c.to_ascii_uppercase() } else { c };
            let mut utf8 = [0; 4];
            let (bytes, _, lossy) = encoding.encode(c.encode_utf8(&mut utf8));
            assert!(!lossy);
            let reserved = !c.is_ascii() || matches!(c, '&' | '=' | '+' | '%' | '/');
            for (n, &byte) in bytes.iter().enumerate() {
                // The second byte of a character may be an ASCII letter and stand raw, as in %C8A.
                let may_stand_raw = byte.is_ascii_alphanumeric() && n > 0 || !reserved;
                match roll(4) {
                    0 => out.extend(format!("%{byte:02x}").bytes()),
                    1 => out.extend(format!("%{byte:02X}").bytes()),
                    _ if may_stand_raw => out.push(byte),
                    _ => out.extend(format!("%{byte:02X}").bytes()),
                }
            }
        }
    };
    let mut out = Vec::new();
    if roll(8) == 0 {
        out.extend(b"http://old.example");
    }
    for segment in &page.segments {
        out.extend(match roll(7) {
            0 => &b"//"[..],
            1 => b"\\",
            2 => b"/./",
            3 => b"/x/../",
            4 => b"/%2e/",
            _ => b"/",
        });
        text(segment, &mut out, &mut roll);
        if roll(6) == 0 {
            out.extend(b";JSessionID=0A1B2C3D");
        }
    }
    out.extend(match roll(4) {
        0 => &b"/"[..],
        1 => b"/Index.HTML",
        2 => b"///",
        _ if page.segments.is_empty() => b"/",
        _ => b"",
    });
    let mut parameters: Vec<(&str, Option<&str>)> =
        page.query.iter().map(|(key, value)| (*key, Some(value.as_str()))).collect();
    if roll(2) == 0 {
        parameters.push(("utm_source", Some("wechat")));
    }
    if roll(3) == 0 {
        parameters.push(("print", None));
    }
    if !parameters.is_empty() {
        let first = usize::from(roll(8)) % parameters.len();
        parameters.rotate_left(first);
    }
    for (n, (key, value)) in parameters.iter().enumerate() {
        out.push(if n == 0 { b'?' } else { b'&' });
        text(key, &mut out, &mut roll);
        if let Some(value) = value {
            out.push(b'=');
            text(value, &mut out, &mut roll);
        }
    }
    if roll(4) == 0 {
        out.extend(b"#top");
    }
    out
}

fn one_page_settings(charset: Charset) -> UrlSettings {
    UrlSettings {
        charset,
        index: vec!["index.html".to_owned()],
        keep_query: vec!["id".to_owned(), "cat".to_owned()],
        ..UrlSettings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn two_spellings_of_one_page_meet(
        page in page(),
        charset in prop_oneof![Just(Charset::Utf8), Just(Charset::Gb18030)],
        one in prop::collection::vec(any::<u8>(), 64),
        other in prop::collection::vec(any::<u8>(), 64),
    ) {
        let canonicalizer = Canonicalizer::new(one_page_settings(charset), false);
        let (one, other) = (spell(&page, charset, &one), spell(&page, charset, &other));
        let (a, b) = (key(&canonicalizer, &one, Form::Wire), key(&canonicalizer, &other, Form::Wire));
        prop_assert_eq!(a, b, "{} and {}", one.escape_ascii(), other.escape_ascii());
    }

    #[test]
    fn two_pages_never_meet(
        one in page(),
        other in page(),
        charset in prop_oneof![Just(Charset::Utf8), Just(Charset::Gb18030)],
        dice in prop::collection::vec(any::<u8>(), 64),
    ) {
        prop_assume!(one != other);
        let canonicalizer = Canonicalizer::new(one_page_settings(charset), false);
        let keys = [&one, &other].map(|page| key(&canonicalizer, &spell(page, charset, &dice), Form::Wire));
        prop_assert_ne!(&keys[0], &keys[1]);
    }
}

/// Cases that cost others days, each with its reason.
#[test]
fn known_traps() {
    let gbk =
        UrlSettings { charset: Charset::Gb18030, keep_query: vec!["classname".to_owned()], ..UrlSettings::default() };
    let big5 = UrlSettings { charset: Charset::Big5, ..gbk.clone() };
    let utf8 = UrlSettings::default();
    for (settings, target, want) in [
        (&gbk, &b"/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6"[..], "/news.asp?classname=科普知识"),
        // 華 ends in the byte of an `A`: lower-cased before decoding it would be another character.
        (&gbk, b"/%C8A", "/華"),
        (&gbk, b"/%c8a", "/%C8A is not %C8a"),
        (&gbk, b"/\xBF\xC6", "/科"),
        (&gbk, b"/%81%30%81%30", "/\u{80}"),
        (&gbk, b"/%E9%5C", "/閈"),
        (&big5, b"/%AC%EC", "/科"),
        (&utf8, b"/%E7%A7%91", "/科"),
        (&utf8, b"/a%2Fb", "/a%2Fb"),
        // A literal percent sign, and then a letter like any other.
        (&utf8, b"/a%252Fb", "/a%252fb"),
        (&utf8, b"/%BF%C6", "/%BF%C6"),
        (&utf8, b"/%", "/%25"),
        (&utf8, b"*", "/"),
        (&utf8, b"/../../etc/passwd", "/etc/passwd"),
        (&utf8, b"/a/%2e%2e/b", "/b"),
        (&utf8, b"http://h.example?x", "/"),
        (&utf8, b"/a;jsessionid=1/b;JSESSIONID=2?c", "/a/b"),
    ] {
        let canonicalizer = Canonicalizer::new(settings.clone(), false);
        let got = key(&canonicalizer, target, Form::Wire).unwrap();
        if let Some((path, _)) = want.split_once(" is not ") {
            assert_ne!(got, key(&canonicalizer, path.as_bytes(), Form::Wire).unwrap());
        } else {
            assert_eq!(got, want, "{}", target.escape_ascii());
        }
    }
    let auto = Canonicalizer::new(UrlSettings { charset: Charset::Auto, ..utf8 }, false);
    assert_eq!(key(&auto, b"/%BF%C6", Form::Wire).unwrap(), "/科");
    assert_eq!(key(&auto, b"/%E7%A7%91", Form::Wire).unwrap(), "/科");
}
