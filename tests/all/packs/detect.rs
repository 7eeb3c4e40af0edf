//! `waypost packs detect`, on made-up sites and on small logs.

use std::{fs, io::Write, path::Path};

use serde_json::Value;
use waypost::replay::Input;
use waypost::replay::families::{FamiliesJob, FamiliesReport, families};

use super::sites::{FAMILIES, Random, page, sites};
use crate::program::waypost;

fn detect(text: &[u8]) -> FamiliesReport {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    fs::write(&path, text).unwrap();
    families(&FamiliesJob { inputs: vec![Input::File(path)], format: None, host: None }, |_| {})
}

#[test]
fn the_right_family_is_named_or_none() {
    let (mut all, mut right, mut wrong, mut told) = (0, 0, 0, Vec::new());
    for seed in [1, 20, 300] {
        let sites = sites(seed, 340);
        let mut lines: Vec<String> =
            sites.iter().flat_map(|site| site.urls.iter().map(|url| format!("http://{}{url}", site.host))).collect();
        let mut r = Random(seed);
        for n in (1..lines.len()).rev() {
            lines.swap(n, r.n(0, n as u64) as usize);
        }
        let report = detect(lines.join("\n").as_bytes());
        for site in &sites {
            all += 1;
            let found = report.sites.iter().find(|found| found.host == site.host);
            let family = found.map_or("unknown", |found| found.family.as_str());
            match () {
                () if site.want.contains(&family) => right += 1,
                () if family == "unknown" => {
                    told.push(format!("{}: unknown, not {:?}: {:?}", site.host, site.want, found))
                }
                () => {
                    wrong += 1;
                    told.push(format!("{}: {family}, not {:?}: {:?}", site.host, site.want, found));
                }
            }
        }
    }
    assert!(right * 100 >= all * 97 && wrong == 0, "{right} of {all} right, {wrong} wrong\n{}", told.join("\n"));
}

/// Each family by itself, from as few as five pages and no noise.
#[test]
fn a_few_pages_are_enough() {
    let mut r = Random(7);
    for (number, family) in FAMILIES.into_iter().enumerate() {
        let text: String = (0..6).map(|_| format!("{}\n", page(family, number as u64 + 1, &mut r))).collect();
        let report = detect(text.as_bytes());
        assert_eq!(report.sites.len(), 1, "{text}");
        assert_eq!(report.sites[0].family, family, "{text}{:?}", report.sites[0]);
        assert_eq!(report.sites[0].host, "list.txt");
    }
}

/// The rules that are suggested take the pages that they were suggested for.
#[test]
fn suggested_packs_take_the_pages() {
    let mut r = Random(11);
    for (number, family) in FAMILIES.into_iter().enumerate() {
        let pages: Vec<String> = (0..30).map(|_| page(family, number as u64 + 1, &mut r)).collect();
        let text = format!("[[rule]]\npack = \"{family}\"\nprefix = \"https://www.new.example\"\n");
        let (snapshot, report) = super::load(&super::folder(&text));
        assert!(report.diagnostics.is_empty(), "{:?}", report.diagnostics);
        let mut scratch = waypost::routing::Scratch::default();
        let taken = pages.iter().filter(|url| {
            let request = waypost::routing::Request {
                method: waypost::model::Method::Get,
                host: Some(b"old.example"),
                target: url.as_bytes(),
                secure: false,
                user_agent: b"",
            };
            snapshot.decide(&request, super::NOW, &mut scratch).verdict.status() == 301
        });
        // Index pages of folders are nobody's in particular.
        assert!(taken.count() >= 20, "{family}: {pages:#?}");
    }
}

#[test]
fn logs_tell_what_the_server_had() {
    let mut log = String::new();
    let mut line = |n: u64, url: &str, status: u16| {
        log.push_str(&format!(
            "jyj.old.example 192.0.2.{n} - - [10/Oct/2018:13:55:36 +0800] \"GET {url} HTTP/1.1\" {status} 5 \"-\" \"Mozilla/5.0\"\n"
        ));
    };
    for n in 0..40 {
        line(n, &format!("/info/1001/{n}.htm"), 200);
        // Scanners and old links, which it did not have.
        line(n, &format!("/plus/view-{n}-1.html"), 404);
        line(n, &format!("/plus/list.php?tid={n}"), 404);
    }
    let report = detect(log.as_bytes());
    let site = &report.sites[0];
    assert_eq!((site.host.as_str(), site.family.as_str(), site.pages), ("jyj.old.example", "vsb", 40));
    assert_eq!(site.families.len(), 1);
    assert_eq!(site.families[0].urls, 40);
    // Where it had nothing any more, what was asked for is all there is.
    let gone = log.replace("\" 200 ", "\" 404 ");
    assert_eq!(detect(gone.as_bytes()).sites[0].pages, 120);
}

#[test]
fn the_same_url_counts_once() {
    let text = "old.example/Item/1.aspx\n".repeat(50)
        + &(0..50).map(|n| format!("old.example/a{n}.html\n")).collect::<String>();
    let site = &detect(text.as_bytes()).sites[0];
    assert_eq!((site.family.as_str(), site.pages, site.hits), ("unknown", 51, 100));
    assert_eq!(site.reason.as_deref(), Some("only 1 of 51 pages look like powereasy"));
}

fn run(folder: &Path, args: &[&str]) -> (String, i32) {
    let output = waypost(folder, &[&["packs", "detect"], args].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

#[test]
fn the_command_says_it_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::from("hits,url\n");
    for n in 0..20 {
        list.push_str(&format!("3,http://a.old.example/art/2018/1/2/art_7_{n}.html\n"));
        list.push_str(&format!("1,http://b.old.example/{n}.html\n"));
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(list.as_bytes()).unwrap();
    fs::write(folder.path().join("urls.csv.gz"), packed.finish().unwrap()).unwrap();
    let (text, code) = run(folder.path(), &["urls.csv.gz"]);
    assert_eq!(code, 0);
    for words in [
        "a.old.example: jcms, 大汉 JCMS, 99 % sure\n",
        "  jcms: 20 of 20 pages, 20 of 20 hits\n",
        "         20  an article: /art/2018/1/2/art_7_0.html\n",
        "    pack   = \"jcms\"\n",
        "b.old.example: unknown\n  none of 20 pages has a shape that is known here\n",
        "2 hosts: 1 jcms, 1 unknown\n",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let (json, _) = run(folder.path(), &["urls.csv.gz", "--json"]);
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["sites"][0]["family"], "jcms");
    assert_eq!(told["sites"][0]["families"][0]["signs"][0]["samples"].as_array().unwrap().len(), 3);
    assert!(told["sites"][0]["snippet"].as_str().unwrap().starts_with("[[rule]]\npack   = \"jcms\"\n"));
    assert_eq!(told["sites"][1]["family"], "unknown");
    let (csv, _) = run(folder.path(), &["urls.csv.gz", "--csv"]);
    let want = "host,family,confidence,pages,hits,others,reason\na.old.example,jcms,0.99,20,20,,\nb.old.example,unknown,0.00,20,20,,none of 20 pages has a shape that is known here\n";
    assert_eq!(csv, want);
}

#[test]
fn what_is_neither_log_nor_list_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "this is\nno list of addresses\n").unwrap();
    let (text, code) = run(folder.path(), &["notes.txt"]);
    assert_eq!(code, 1);
    assert!(text.contains("waypost: notes.txt: its first lines are in no format that is known here"), "{text}");
    assert_eq!(run(folder.path(), &["nothing.txt"]).1, 1);
    assert_eq!(run(folder.path(), &[]).1, 2);
}
