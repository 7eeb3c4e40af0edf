//! What the report tells.

use std::fs;

use waypost::monitor::Finding;

use super::{County, last_week, sample, site};
use crate::program::waypost;

#[test]
fn a_week_is_told() {
    let county = sample();
    let week = last_week();
    let page = county.path().join("report.html");
    let told = county.report(&["--week", "-o", page.to_str().unwrap(), "--csv", "tables"]);
    assert_eq!((&told["span"]["name"], &told["is_over"]), (&week.name.as_str().into(), &true.into()));
    assert_eq!(told["missing"], serde_json::json!(["links"]));
    let summary = &told["summary"];
    let number = |name: &str| summary[name].as_u64().unwrap();
    // The sums of what was counted and visited, made another way.
    let asked: u64 = (0..7).flat_map(|day| (0..15).map(move |site| (site * 7 + day * 3) % 23 + 1)).sum();
    assert_eq!((number("hits"), number("unmapped"), number("unknown")), (asked + 7 * 5 * 5, 7 * 5 * 5, 14));
    assert_eq!(number("coverage"), asked * 10_000 / (asked + 175));
    assert_eq!(told["summary_before"]["hits"], 7 * 15 * 3);
    // 168 visits by each family; one page lost 67 by IPv4; ten have no IPv6.
    assert_eq!((number("visits"), number("failed")), (20 * 168 - 67 + 10 * 168, 9 + 8 + 17));
    assert_eq!((number("vetoes"), number("pages"), number("ipv6")), (2, 20, 10));
    let pages = told["pages"].as_array().unwrap();
    let of = |end: &str| pages.iter().find(|page| page["url"].as_str().unwrap().ends_with(end)).unwrap();
    let verdict = |end: &str, family: &str| of(end)[family]["weeks"][0][1].as_str().unwrap_or("-").to_owned();
    assert_eq!(of("/hongshan/1/")["v4"]["failed"], 9);
    for (end, v4, v6) in [
        ("/hongshan/1/", "veto", "-"),
        ("/lanjiang/2/", "passes", "-"),
        ("/hongshan/4/", "too_few", "-"),
        ("/lanjiang/12/", "passes", "veto"),
        ("/qingshan/13/", "passes", "passes"),
    ] {
        assert_eq!((verdict(end, "v4").as_str(), verdict(end, "v6").as_str()), (v4, v6), "{end}");
    }
    let home = |number: usize, owner: &str| format!("https://www.lanjiang.example/{owner}/{number}/");
    assert_eq!(told["new_vetoes"], serde_json::json!([home(1, "hongshan"), home(12, "lanjiang")]));
    assert_eq!(told["cleared_vetoes"], serde_json::json!([home(5, "qingshan")]));
    // Owners with a veto have nothing; the third has it all but for old URLs.
    let owners: Vec<(&str, u64)> = told["owners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["owner"].as_str().unwrap(), row["score"].as_u64().unwrap()))
        .collect();
    assert_eq!((owners[0].0, owners[1].1, owners[2].1), ("qingshan", 0, 0));
    // Four sites moved in that week; four will much later.
    assert_eq!(told["began"].as_array().unwrap().len(), 4);
    assert_eq!((number("sites"), number("to_close"), number("closed"), number("rate")), (20, 20, 16, 8_000));
    assert_eq!(told["summary_before"]["closed"], 12);
    let status: serde_json::Value = serde_json::from_str(&county.run(&["status", "--json"])).unwrap();
    assert!(status.to_string().contains("16"), "{status}");

    let html = fs::read_to_string(&page).unwrap();
    for words in [
        "一票否决",
        "www.lanjiang.example/hongshan/1/",
        "qingshan第0局",
        "第 1 批",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "80.00 %",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("<script") && html.len() < 1_000_000);
    // It asks nobody for anything.
    for outside in ["src=", "@import", "url(", "<link", "<iframe", "<img"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let english = county.run(&["report", "--week", "--lang", "en", "-o", "-"]);
    assert!(english.contains("<html lang=\"en\">") && english.contains("Ranking of owners"));
    let table = |name: &str| fs::read_to_string(county.path().join("tables").join(name)).unwrap();
    assert!(table("unmapped.csv").contains(",forgotten.example,14,"), "{}", table("unmapped.csv"));
    assert_eq!(table("sites.csv").lines().count(), 21);
    assert!(table("pages.csv").contains("hongshan/1/,ipv4,1,hongshan,168,9,0,94.64,1,0,0,"), "{}", table("pages.csv"));
    for name in ["days.csv", "owners.csv", "hosts.csv", "waves.csv", "changes.csv"] {
        assert!(table(name).starts_with('\u{FEFF}') && table(name).lines().count() > 1, "{name}");
    }

    of_one_owner(&county, asked);
    months_and_years(&county);
}

/// Only its sites, its pages, its URLs.
fn of_one_owner(county: &County, all: u64) {
    let told = county.report(&["--week", "--owner", "lanjiang"]);
    let sites = told["sites"].as_array().unwrap();
    assert!(sites.len() == 4 && sites.iter().all(|site| site["owner"] == "lanjiang"), "{sites:?}");
    let hits: u64 = sites.iter().map(|site| site["hits"].as_u64().unwrap()).sum();
    assert_eq!(told["summary"]["hits"].as_u64().unwrap(), hits);
    assert!(hits < all && told["summary"]["pages"] == 4 && told["owners"].as_array().unwrap().len() == 1);
    let days: u64 = told["days"].as_array().unwrap().iter().map(|day| day["hits"].as_u64().unwrap()).sum();
    assert_eq!(days, hits);
    let unmapped = told["unmapped"].as_array().unwrap();
    assert!(!unmapped.is_empty() && unmapped.iter().all(|row| row["site"].as_str().unwrap().starts_with("lanjiang/")));
    assert_eq!((&told["unknown_hosts"], &told["summary"]["unknown"]), (&serde_json::json!([]), &0.into()));
    let output = waypost(county.path(), &["report", "--week", "--owner", "nobody", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no site has the owner `nobody`"), "{output:?}");
}

/// The same figures, over a longer time.
fn months_and_years(county: &County) {
    let week = last_week();
    let year = county.report(&["--year", "--of", &week.since.to_string()]);
    let (both, one) = (week.since.year() == week.until.year(), county.report(&["--week"]));
    if both && week.before().since.year() == week.since.year() {
        let sum = |report: &serde_json::Value, name: &str| report["summary"][name].as_u64().unwrap();
        let before = one["summary_before"]["hits"].as_u64().unwrap();
        assert_eq!(sum(&year, "hits"), sum(&one, "hits") + before);
        let visits = one["summary_before"]["visits"].as_u64().unwrap();
        assert_eq!(sum(&year, "visits"), sum(&one, "visits") + visits);
        assert_eq!((sum(&year, "vetoes"), year["days"].as_array().unwrap().len()), (3, 12));
    }
    for (args, want) in [
        (&["report", "--week", "--of", "2026-13", "--json"][..], "2026-W47"),
        (&["report", "--week", "--of", "2999-W01", "--json"], "not begun"),
        (&["report", "--week"], "say where it goes"),
        (&["report", "--json"], "--week"),
    ] {
        let output = waypost(county.path(), args).output().unwrap();
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(want),
            "{args:?} {output:?}"
        );
    }
}

#[test]
fn nothing_is_told_where_nothing_is_known() {
    let county = County::new([("a".to_owned(), site("甲", "a.example", "https://www.lanjiang.example/", "q", 1, ""))]);
    for (lang, words) in [("zh", "没有访问记录"), ("en", "No pages were visited")] {
        let html = county.run(&["report", "--month", "--lang", lang, "-o", "-"]);
        assert!(html.contains(words), "{html}");
    }
    let told = county.report(&["--week"]);
    assert_eq!(told["missing"], serde_json::json!(["hits", "visits", "links"]));
    assert_eq!(told["summary"]["coverage"], serde_json::Value::Null);
}

/// As many sites as a province has: bounded, and all there.
#[test]
fn a_province_fits_on_a_page() {
    let sites = (0..3_206).map(|number| {
        let owner = format!("county{}", number % 122);
        let home = format!("https://www.lanjiang.example/{number}/");
        (
            format!("{owner}/s{number}"),
            site(&format!("第{number}局"), &format!("s{number}.example"), &home, &owner, 1 + number % 3, ""),
        )
    });
    let county = County::new(sites);
    let week = last_week();
    let ids: Vec<String> = (0..3_206).map(|number| format!("county{}/s{number}", number % 122)).collect();
    county.count(
        ids.iter().flat_map(|id| [(id.as_str(), "/a.htm", week.since, 2, false), (id, "/b.htm", week.until, 1, true)]),
    );
    for number in 0..60 {
        let url = format!("https://www.lanjiang.example/{number}/");
        county.visit(&url, &week, |_, visit| (visit < 2).then_some((Finding::Open, 100)));
    }
    let told = county.report(&["--week", "-o", "report.html", "--csv", "tables"]);
    assert_eq!((told["summary"]["hits"].as_u64(), told["summary"]["sites"].as_u64()), (Some(3 * 3_206), Some(3_206)));
    let html = fs::read_to_string(county.path().join("report.html")).unwrap();
    assert!(html.len() < 1_000_000, "{}", html.len());
    let rows = fs::read_to_string(county.path().join("tables/sites.csv")).unwrap().lines().count();
    assert_eq!(rows, 3_207);
}
