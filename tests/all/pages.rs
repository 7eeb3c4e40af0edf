//! What citizens see, compared with `tests/golden/pages`. `WAYPOST_BLESS=1` rewrites the files; read the diff then.

use std::{collections::BTreeMap, env, ffi::OsString, fs, path::Path};

use waypost::{
    config::site::REPORT_LINK,
    pages::{Facts, Lang, Page, render, report_link},
};

const URL: &str = "http://jyj.qingshan.example/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6&id=77";
const CODE: &str = "4300000012";

#[test]
fn pages_look_as_they_did() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pages");
    let pages = every_page();
    if env::var_os("WAYPOST_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(&dir).unwrap();
        for (name, html) in &pages {
            fs::write(dir.join(name), html).unwrap();
        }
    }
    for (name, html) in &pages {
        let want = fs::read_to_string(dir.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; WAYPOST_BLESS=1 writes it"));
        assert_eq!(*html, want, "{name} differs; WAYPOST_BLESS=1 rewrites it");
    }
    let mut found: Vec<OsString> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert!(found.iter().eq(pages.keys().map(String::as_str)), "files that no page has: {found:?}");
}

/// Every kind of page, in both languages, with all facts and with none, by file name.
fn every_page() -> BTreeMap<String, String> {
    let report = report_link(REPORT_LINK, CODE, URL);
    let full = Facts {
        site_name: Some("青山县教育局"),
        home: Some("https://www.qingshan.example/jyj/"),
        url: URL,
        suggest: Some("https://www.qingshan.example/jyj/kxpj/"),
        archive: Some("https://archive.example/20190101/http://jyj.qingshan.example/news.asp?id=77"),
        report: Some(&report),
        code: Some(CODE),
    };
    let kinds = [
        ("not_found", Page::NotFound),
        ("gone", Page::Gone),
        ("notice", Page::Notice { location: "https://www.qingshan.example/jyj/c12/77.html?from=old&lang=zh" }),
        ("unknown_host", Page::UnknownHost),
        ("not_served", Page::NotServed),
        ("refused", Page::Refused),
        ("https_required", Page::HttpsRequired { location: &URL.replace("http:", "https:") }),
        ("bad_request", Page::BadRequest { reason: "the path has a NUL" }),
        ("unavailable", Page::Unavailable),
    ];
    let mut pages = BTreeMap::new();
    for (kind, page) in kinds {
        for (lang_name, lang) in [("zh", Lang::Zh), ("en", Lang::En)] {
            for (facts_name, facts) in [("full", &full), ("empty", &Facts::default())] {
                pages.insert(format!("{kind}.{lang_name}.{facts_name}.html"), render(page, facts, lang));
            }
        }
    }
    pages
}
