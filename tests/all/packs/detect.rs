//! `waypost packs detect`, on sites that nobody told the signs of packs about: their addresses are made after the shapes that such
//! systems are known for, with the noise of real logs.

use std::{fs, io::Write, path::Path};

use serde_json::Value;
use waypost::replay::Input;
use waypost::replay::families::{FamiliesJob, FamiliesReport, families};

use crate::program::waypost;

/// Pseudo-random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    fn n(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.n(0, of.len() as u64 - 1) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.n(1, 100) <= percent
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a & 0xFFFF,
            a >> 16 & 0xFFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF
        )
    }

    fn word(&mut self) -> &'static str {
        self.one(&[
            "xxgk", "tzgg", "zwgk", "bsfw", "hdjl", "jyxw", "zcfg", "rsxx", "ghjh", "tjsj", "ldjs", "jgsz", "gzdt",
        ])
    }

    /// Year, month and day.
    fn day(&mut self) -> (u64, u64, u64) {
        (self.n(2005, 2020), self.n(1, 12), self.n(1, 28))
    }
}

/// The families of systems, by the names of their packs.
const FAMILIES: [&str; 17] = [
    "jcms",
    "trs-wcm",
    "trs-was",
    "vsb",
    "eportal",
    "easysite",
    "gkmlpt",
    "phpcms",
    "powereasy",
    "kesion",
    "dedecms",
    "epoint",
    "web-content",
    "column-date",
    "content-article",
    "generic-asp",
    "generic-php",
];

/// An address of a page of a system. `site` is what a site has for all its pages.
fn page(family: &str, site: u64, r: &mut Random) -> String {
    let (y, m, d) = r.day();
    let id = r.n(100, 9_999_999);
    match family {
        "jcms" => match r.n(0, 9) {
            0..=5 => format!("/art/{y}/{m}/{d}/art_{}_{id}.html", r.n(100, 99_999)),
            6..=7 => format!("/col/col{}/index.html", r.n(100, 99_999)),
            8 => format!("/col/col{}/", r.n(100, 99_999)),
            _ => format!("/jcms_files/jcms1/web{site}/site/attach/0/{id}.pdf"),
        },
        "trs-wcm" => {
            let front = if site.is_multiple_of(3) { format!("/zwgk_{site}") } else { String::new() };
            let ending = if site.is_multiple_of(5) { "htm" } else { "html" };
            let (a, b) = (r.word(), r.word());
            match r.n(0, 5) {
                0 => format!("{front}/{a}/{b}/index.html"),
                _ => format!("{front}/{a}/{b}/{y}{m:02}/t{y}{m:02}{d:02}_{id}.{ending}"),
            }
        }
        "trs-was" => {
            let channel = r.n(200_000, 299_999);
            match r.n(0, 2) {
                0 => format!("/was5/web/search?channelid={channel}&page={}", r.n(1, 30)),
                1 => format!("/was5/web/search?searchword=%E6%95%99%E8%82%B2{id}&channelid={channel}"),
                _ => format!("/was5/web/search?channelid={channel}&page=1&searchword={id}&perpage=10"),
            }
        }
        "vsb" => match r.n(0, 4) {
            0 => format!("/{}/{}.htm", r.word(), r.n(1, 40)),
            _ => format!("/info/{}/{id}.htm", r.n(1000, 9999)),
        },
        "eportal" => {
            format!("/eportal/ui?pageId={}&currentPage={}&moduleId={}", r.n(300_000, 320_000), r.n(1, 9), r.uuid())
        }
        "easysite" => match r.n(0, 4) {
            0 => format!("/n{}/n{}/index.html", site * 7 + 1000, r.n(1000, 9_999_999)),
            1 => {
                format!("/n{}/n{}/n{}/c{id}/content.html", site * 7 + 1000, r.n(1000, 9_999_999), r.n(1000, 9_999_999))
            }
            _ => format!("/n{}/n{}/c{id}/content.html", site * 7 + 1000, r.n(1000, 9_999_999)),
        },
        "gkmlpt" => {
            let twin = if r.chance(30) { "mpost" } else { "post" };
            format!("/gkmlpt/content/{}/{}/{twin}_{id}.html", id / 1_000_000, id / 1000)
        }
        "phpcms" => match r.n(0, 2) {
            0 => format!("/index.php?m=content&c=index&a=lists&catid={}&page={}", r.n(1, 200), r.n(1, 20)),
            _ => format!("/index.php?m=content&c=index&a=show&catid={}&id={id}", r.n(1, 200)),
        },
        "powereasy" if site.is_multiple_of(2) => format!("/Item/{id}.aspx"),
        "powereasy" => {
            let folder = if r.chance(40) { "/Article" } else { "" };
            format!("{folder}/ShowArticle.asp?ArticleID={id}")
        }
        "kesion" => match r.n(0, 3) {
            0 => format!("/Item/Show.asp?m=1&d={id}"),
            _ => format!("/Item/list.asp?id={}", r.n(100, 9999)),
        },
        "dedecms" => match r.n(0, 1) {
            0 => format!("/plus/view-{id}-{}.html", r.n(1, 3)),
            _ => format!("/plus/list.php?tid={}&TotalResult={}&PageNo={}", r.n(1, 90), r.n(20, 900), r.n(1, 20)),
        },
        "epoint" => {
            let front = ["DongZhifront", "qingshanfront", "ggzyfront"][site as usize % 3];
            format!(
                "/{front}/InfoDetail/?InfoID={}&CategoryNum={:03}{:03}{:03}",
                r.uuid(),
                r.n(1, 9),
                r.n(1, 9),
                r.n(1, 9)
            )
        }
        "web-content" => format!("/web/{}/{}/{}/content_{id}.html", r.n(1000, 9999), r.n(1000, 9999), r.n(1000, 9999)),
        "column-date" => format!("/c{}/{y}{m:02}{d:02}/i{id}.html", r.n(1000, 9999)),
        "content-article" => format!("/content/article/{id}.html"),
        "generic-asp" => match r.n(0, 3) {
            0 => format!("/list.asp?classid={}&page={}", r.n(1, 90), r.n(1, 9)),
            1 => format!("/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6{}", r.n(1, 90)),
            2 => format!("/{}/shownews.asp?id={id}", r.word()),
            _ => format!("/news_view.aspx?newsid={id}"),
        },
        "generic-php" => match r.n(0, 2) {
            0 => format!("/list.php?cid={}&page={}", r.n(1, 90), r.n(1, 9)),
            1 => format!("/news.php?id={id}"),
            _ => format!("/{}/show.php?id={id}", r.word()),
        },
        other => panic!("{other}"),
    }
}

/// Systems that no pack is for; many look much like one that has.
const FOREIGN: [&str; 12] = [
    "wordpress",
    "empire",
    "discuz",
    "thinkphp",
    "people",
    "xinhua",
    "pinyin",
    "jsp",
    "almost-vsb",
    "almost-jcms",
    "joomla",
    "rails",
];

/// An address of a page of such a system.
fn foreign(system: &str, r: &mut Random) -> String {
    let (y, m, d) = r.day();
    let id = r.n(100, 999_999);
    match system {
        "wordpress" => match r.n(0, 2) {
            0 => format!("/?p={id}"),
            1 => format!("/{y}/{m:02}/{d:02}/{}-{id}/", r.word()),
            _ => format!("/archives/{id}"),
        },
        "empire" => match r.n(0, 2) {
            0 => format!("/e/action/ShowInfo.php?classid={}&id={id}", r.n(1, 90)),
            1 => format!("/e/action/ListInfo/?classid={}&page={}", r.n(1, 90), r.n(1, 9)),
            _ => format!("/{}/{y}-{m:02}-{d:02}/{id}.html", r.word()),
        },
        "discuz" => match r.n(0, 1) {
            0 => format!("/forum.php?mod=viewthread&tid={id}"),
            _ => format!("/thread-{id}-1-{}.html", r.n(1, 9)),
        },
        "thinkphp" => format!("/index.php?m=Home&c=Article&a=show&catid={}&id={id}", r.n(1, 90)),
        "people" => format!("/n1/{y}/{m:02}{d:02}/c{}-{id}.html", r.n(1000, 9999)),
        "xinhua" => format!("/{y}-{m:02}/{d:02}/content_{id}.htm"),
        "pinyin" => format!("/{}/{}/{}{}.html", r.word(), r.word(), r.word(), r.n(1, 300)),
        "jsp" => format!("/portal/detail.do?oid={id}"),
        "almost-vsb" => format!("/info/{id}.html"),
        "almost-jcms" => format!("/art/{y}-{m}/{id}.html"),
        "joomla" => format!("/index.php?option=com_content&view=article&id={id}"),
        "rails" => format!("/{}/{id}", r.one(&["articles", "posts", "notices"])),
        other => panic!("{other}"),
    }
}

/// What every log is full of.
fn noise(r: &mut Random) -> String {
    let id = r.n(1, 9999);
    match r.n(0, 11) {
        0 => "/".to_owned(),
        1 => "/favicon.ico".to_owned(),
        2 => "/robots.txt".to_owned(),
        3 => format!("/images/{}{id}.jpg", r.word()),
        4 => format!("/css/style{}.css?v={id}", r.n(1, 9)),
        5 => "/js/jquery.min.js".to_owned(),
        6 => "/wp-login.php".to_owned(),
        7 => "/phpmyadmin/index.php".to_owned(),
        8 => format!("/{}/", r.word()),
        9 => "/index.html".to_owned(),
        10 => format!("/UploadFiles/{}/{id}.doc", r.n(2005, 2020)),
        _ => format!("/about{}.html", r.n(1, 9)),
    }
}

/// A site, its URLs, and what is to be said of it.
struct Site {
    host: String,
    urls: Vec<String>,
    /// What it ran; `unknown` where that can't be told.
    want: Vec<&'static str>,
}

/// Sites of all families, and of none.
fn sites(seed: u64, count: u64) -> Vec<Site> {
    let mut r = Random(seed);
    (0..count)
        .map(|number| {
            let host = format!("s{number}.old.example");
            let noises = r.n(0, 40);
            let mut urls: Vec<String> = (0..noises).map(|_| noise(&mut r)).collect();
            let family = FAMILIES[number as usize % FAMILIES.len()];
            let pages = |family: &str, pages: u64, r: &mut Random| -> Vec<String> {
                (0..pages).map(|_| page(family, number, r)).collect()
            };
            let want = match r.n(0, 99) {
                // The usual case.
                0..=54 => {
                    let many = r.n(15, 200);
                    urls.extend(pages(family, many, &mut r));
                    vec![family]
                }
                // Few pages are known.
                55..=64 => {
                    let few = r.n(6, 14);
                    urls.truncate(8);
                    urls.extend(pages(family, few, &mut r));
                    vec![family]
                }
                // All in lower case, as some servers write logs.
                65..=69 => {
                    urls.extend(pages(family, 30, &mut r).iter().map(|url| url.to_lowercase()));
                    vec![family]
                }
                // Behind the proxy for traditional characters, or a mobile twin, in part.
                70..=74 => {
                    let wrap = if r.chance(50) {
                        format!("/gate/big5/{host}")
                    } else {
                        r.one(&["/wap", "/m", "/3g", "/mobile"]).to_owned()
                    };
                    let urls_of = pages(family, 40, &mut r);
                    urls.extend(
                        urls_of
                            .into_iter()
                            .enumerate()
                            .map(|(n, url)| if n < 15 { format!("{wrap}{url}") } else { url }),
                    );
                    vec![family]
                }
                // Two systems, one after the other: either may be named.
                75..=79 => {
                    let other = FAMILIES[..15][r.n(0, 14) as usize];
                    urls.extend(pages(family, 60, &mut r));
                    urls.extend(pages(other, 60, &mut r));
                    vec![family, other]
                }
                // A single stray link among many pages of something else.
                80..=85 => {
                    let system = r.one(&FOREIGN);
                    urls.extend((0..60).map(|_| foreign(system, &mut r)));
                    urls.extend(pages(FAMILIES[..15][r.n(0, 14) as usize], 1, &mut r));
                    vec!["unknown"]
                }
                // No page at all.
                86..=87 => vec!["unknown"],
                _ => {
                    let system = r.one(&FOREIGN);
                    let many = r.n(5, 150);
                    urls.extend((0..many).map(|_| foreign(system, &mut r)));
                    vec!["unknown"]
                }
            };
            Site { host, urls, want }
        })
        .collect()
}

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
