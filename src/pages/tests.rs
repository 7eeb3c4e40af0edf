use super::*;

/// The most that a page may weigh with all facts.
const MAX_PAGE: usize = 6 * 1024;

const LOCATION: &str = "https://www.qingshan.example/jyj/c12/77.html";

fn every_page() -> [Page<'static>; 12] {
    [
        Page::NotFound,
        Page::Gone,
        Page::Notice { location: LOCATION },
        Page::Leaving { location: LOCATION },
        Page::Frozen,
        Page::UnknownHost,
        Page::NotServed,
        Page::Refused,
        Page::HttpsRequired { location: "https://jyj.qingshan.example/news.asp?classid=3&id=77" },
        Page::BadRequest { reason: "the path has a NUL" },
        Page::Denied { reason: "there were too many requests" },
        Page::Unavailable,
    ]
}

fn every_rendering(facts: &Facts<'_>) -> Vec<String> {
    every_page().iter().flat_map(|&page| [Lang::Zh, Lang::En].map(|lang| render(page, facts, lang))).collect()
}

#[test]
fn every_page_is_small_whole_and_accessible() {
    let report = report_link(
        crate::config::site::REPORT_LINK,
        "4300000012",
        "http://jyj.qingshan.example/news.asp?classid=3&id=77",
    );
    let facts = Facts {
        site_name: Some("青山县教育局"),
        home: Some("https://www.qingshan.example/jyj/"),
        url: "http://jyj.qingshan.example/news.asp?classid=3&id=77",
        suggest: Some("https://www.qingshan.example/jyj/tzgg/"),
        archive: Some("https://archive.example/20190101/http://jyj.qingshan.example/news.asp?classid=3&id=77"),
        report: Some(&report),
        code: Some("4300000012"),
    };
    for html in every_rendering(&facts).into_iter().chain(every_rendering(&Facts::default())) {
        assert!(html.len() < MAX_PAGE, "{} bytes", html.len());
        assert!(!html.contains("{{") && !html.contains("<script") && !html.contains("src="), "{html}");
        assert!(html.starts_with("<!doctype html>\n<html lang=\"") && html.ends_with("</html>\n"));
        for once in ["<h1>", "</h1>", "<main>", "</main>", "<title>", "content=\"noindex\"", "<footer>"] {
            assert_eq!(html.matches(once).count(), 1, "{once}");
        }
    }
}

#[test]
fn a_page_stays_small_under_a_huge_url() {
    let url = format!("http://a.example/{}", "<".repeat(100_000));
    let html = render(Page::NotFound, &Facts { url: &url, ..Facts::default() }, Lang::Zh);
    assert!(html.len() < MAX_PAGE && html.contains('…'), "{} bytes", html.len());
}

#[test]
fn whatever_is_inserted_is_escaped() {
    let evil = "https://a.example/?\"'><script>alert(1)</script>&\0{{home}}";
    let facts = Facts {
        site_name: Some(evil),
        home: Some(evil),
        url: evil,
        suggest: Some(evil),
        archive: Some(evil),
        report: Some(evil),
        code: Some(evil),
    };
    let plain = Facts::default();
    let one_by_one = [
        Facts { site_name: facts.site_name, ..plain },
        Facts { home: facts.home, ..plain },
        Facts { url: facts.url, ..plain },
        Facts { suggest: facts.suggest, ..plain },
        Facts { archive: facts.archive, ..plain },
        Facts { report: facts.report, ..plain },
        Facts { code: facts.code, ..plain },
    ];
    let escaped = "?&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;\u{fffd}{{home}}";
    let pages = [Page::NotFound, Page::Notice { location: evil }, Page::BadRequest { reason: evil }];
    for html in one_by_one.iter().chain([&facts]).flat_map(|facts| {
        let evil_pages = pages.map(|page| render(page, facts, Lang::Zh));
        evil_pages.into_iter().chain(every_rendering(facts))
    }) {
        assert!(html.contains(escaped), "{html}");
        assert!(
            !html.contains("<script") && !html.contains("alert(1)</") && !html.contains("?\"") && !html.contains('\0'),
            "{html}"
        );
    }
    let html = render(Page::BadRequest { reason: evil }, &plain, Lang::En);
    assert!(html.contains(escaped) && !html.contains("<script"));
}

#[test]
fn only_web_links_are_links() {
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/",
        "/jyj/",
        "",
        "httpss://a.example",
        "http:a",
        " https://a",
        "中文网址",
    ] {
        let facts = Facts {
            home: Some(bad),
            suggest: Some(bad),
            archive: Some(bad),
            report: Some(bad),
            code: Some("43"),
            ..Facts::default()
        };
        for page in [Page::Gone, Page::Notice { location: bad }, Page::HttpsRequired { location: bad }] {
            let html = render(page, &facts, Lang::En);
            assert!(
                !html.contains("<a ") && !html.contains("http-equiv") && !html.contains("by itself"),
                "{bad}: {html}"
            );
            assert!(bad.is_empty() || !html.contains(bad), "{bad}: {html}");
            // The code is shown even without the report link.
            assert!(html.contains("Site identification code: 43"));
        }
    }
    let html = render(Page::Gone, &Facts { home: Some("HTTP://a.example/"), ..Facts::default() }, Lang::En);
    assert!(html.contains("href=\"HTTP://a.example/\""));
}

#[test]
fn help_comes_in_order_and_once() {
    let facts = Facts {
        suggest: Some("https://a.example/suggest"),
        home: Some("https://a.example/home"),
        archive: Some("https://a.example/archive"),
        report: Some("https://a.example/report"),
        ..Facts::default()
    };
    for html in every_rendering(&facts) {
        let at = ["suggest", "home", "archive", "report"]
            .map(|name| html.find(&format!("href=\"https://a.example/{name}\"")).unwrap());
        assert!(at.is_sorted(), "{html}");
    }
    let html = render(Page::Notice { location: "https://a.example/home" }, &facts, Lang::Zh);
    assert_eq!(html.matches("href=\"https://a.example/home\"").count(), 1);
}

#[test]
fn the_notice_goes_there_by_itself() {
    let location = "https://www.qingshan.example/?a=1&b='2'";
    let html = render(Page::Notice { location }, &Facts::default(), Lang::Zh);
    let escaped = "https://www.qingshan.example/?a=1&amp;b=&#39;2&#39;";
    assert!(html.contains(&format!("<meta http-equiv=\"refresh\" content=\"10; url={escaped}\">")), "{html}");
    assert!(html.contains(&format!("<a class=\"new\" href=\"{escaped}\">")) && html.contains("10 秒后"), "{html}");
    // The link comes before the address that was asked for.
    let html = render(Page::Notice { location }, &Facts { url: "http://old.example/", ..Facts::default() }, Lang::Zh);
    assert!(html.find("<ul") < html.find("http://old.example/"), "{html}");
    for page in every_page().into_iter().filter(|page| !matches!(page, Page::Notice { .. })) {
        assert!(!render(page, &Facts::default(), Lang::Zh).contains("http-equiv"));
    }
}

#[test]
fn each_language_carries_a_marked_line_of_the_other() {
    let facts = Facts { site_name: Some("青山县教育局"), ..Facts::default() };
    let zh = render(Page::NotFound, &facts, Lang::Zh);
    assert!(
        zh.contains("<html lang=\"zh-CN\">") && zh.contains("<p lang=\"en\">This page was not found. The address"),
        "{zh}"
    );
    let en = render(Page::NotFound, &facts, Lang::En);
    assert!(en.contains("<html lang=\"en\">") && en.contains("<p lang=\"zh-CN\">没有找到这个网页。您要"), "{en}");
    assert!(en.contains("<p lang=\"zh-CN\">青山县教育局</p>") && zh.contains("<p>青山县教育局</p>"));
}

#[test]
fn the_report_link_encodes_its_values() {
    assert_eq!(
        report_link(crate::config::site::REPORT_LINK, "4300000012", "http://a.example/新?x=%BF&y=a b+{code}#~"),
        "https://zfwzgl.www.gov.cn/exposure/jiucuo.html?site_code=4300000012\
         &url=http%3A%2F%2Fa.example%2F%E6%96%B0%3Fx%3D%25BF%26y%3Da%20b%2B%7Bcode%7D%23~"
    );
    assert_eq!(
        report_link("https://a.example/?u={url}&v={url}", "1", "{code}{url}"),
        "https://a.example/?u=%7Bcode%7D%7Burl%7D&v=%7Bcode%7D%7Burl%7D"
    );
    assert_eq!(report_link("https://a.example/", "1", "x"), "https://a.example/");
    assert_eq!(report_link("{code}", "{url}", "x"), "%7Burl%7D");
}

#[test]
fn robots_allows_all_and_names_the_sitemap() {
    assert_eq!(robots("a.example", true), "User-agent: *\nAllow: /\n\nSitemap: https://a.example/sitemap.xml\n");
    assert!(robots("a.example", false).ends_with("Sitemap: http://a.example/sitemap.xml\n"));
}

#[test]
fn a_template_is_filled_once() {
    let value = |name: &str| (name == "a").then(|| "{{a}}".to_owned());
    assert_eq!(fill("x{{a}}y{{b}}z{{a}}", value), "x{{a}}y{{b}}z{{a}}");
    assert_eq!(fill("{{", value), "{{");
    assert_eq!(fill("{{ {{a}}}", value), "{{ {{a}}}");
}
