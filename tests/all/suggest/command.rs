//! `waypost suggest`, with real files, a real gateway and real servers.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;
use waypost::{
    config::{Gateway, HitsDatabase},
    server,
};

use crate::{client::Conn, program::waypost};

/// What the command prints on both outputs, and its exit code.
fn suggest(folder: &Path, args: &[&str]) -> (String, String, i32) {
    let output = waypost(folder, &[&["suggest"], args].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn fine(folder: &Path, args: &[&str]) -> (String, String) {
    let (out, err, code) = suggest(folder, args);
    assert_eq!(code, 0, "{out}{err}");
    (out, err)
}

const SITE: &str = "name = \"青山县教育局\"\nhosts = [\"jyj.qingshan.example\"]\nhome = \"https://www.qingshan.example/jyj/\"\n\
    [lifecycle]\nredirect = 2019-02-01\n[url]\nkeep-query = [\"id\"]\n";

/// A site without mappings, and an export of its articles 1000, 1003 … as `export.csv`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("routes")).unwrap();
    fs::write(path("routes/jyj.toml"), SITE).unwrap();
    fs::write(path("gateway.toml"), "[hits]\ndatabase = \"sqlite:hits.sqlite\"\nzone = \"UTC\"\n").unwrap();
    let rows: String = (0..40).map(|n| format!("{},{}\n", 1000 + 3 * n, target(n))).collect();
    fs::write(path("export.csv"), format!("原ID,新地址\n{rows}")).unwrap();
    let olds: String = (0..40).map(|n| format!("http://jyj.qingshan.example{}\n", old(n))).collect();
    fs::write(path("urls.txt"), olds + "/wp-login.php\n/show.asp?id=1001\n").unwrap();
    folder
}

fn old(n: u32) -> String {
    format!("/show.asp?id={}", 1000 + 3 * n)
}

fn target(n: u32) -> String {
    format!("https://www.qingshan.example/jyj/c12/{}.html", 77_000 + n * 7)
}

#[test]
fn a_csv_for_review_and_nothing_else() {
    let folder = folder();
    let files = || {
        let mut files: Vec<_> =
            fs::read_dir(folder.path().join("routes")).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        files
    };
    let (out, err) = fine(folder.path(), &["jyj", "--urls", "urls.txt", "--table", "export.csv"]);
    assert!(out.starts_with("old,new,confidence,reason,hits,accept,"), "{out}");
    assert_eq!(out.lines().count(), 1 + 42);
    let line = out.lines().find(|line| line.starts_with(&old(5))).unwrap();
    assert!(line.contains(&target(5)) && line.contains("id 1015 in export.csv"), "{line}");
    assert!(err.contains("42 old URLs unmapped, 40 pages to choose from; 40 suggestions of at least 0.95"), "{err}");
    assert_eq!(files(), ["jyj.toml"]);
    // By a host, into a file, as JSON.
    let (out, _) = fine(
        folder.path(),
        &["jyj.qingshan.example", "--urls", "urls.txt", "--table", "export.csv", "-o", "r.csv", "--json"],
    );
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 42);
    assert_eq!(report["added"], Value::Null);
    assert!(fs::read_to_string(folder.path().join("r.csv")).unwrap().starts_with("old,new,"));
    let (_, err, code) = suggest(folder.path(), &["nosite", "--urls", "urls.txt", "--table", "export.csv"]);
    assert!(code == 1 && err.contains("`nosite` is no site and no host of one"), "{err}");
    let (_, err, code) = suggest(folder.path(), &["jyj", "--urls", "urls.txt"]);
    assert!(code == 1 && err.contains("--sitemap or --table"), "{err}");
    let (_, err, code) = suggest(folder.path(), &["jyj", "--urls", "urls.txt", "--accept", "0.2"]);
    assert!(code == 2 && err.contains("from 0.5 to 1"), "{err}");
}

#[test]
fn what_is_accepted_is_checked_and_saved_as_it_was() {
    let folder = folder();
    let table = folder.path().join("routes/jyj.csv");
    let (before, ..) = encoding_rs::GB18030.encode("new,old,note\r\nhttps://www.qingshan.example/,/科普.htm,旧\r\n");
    fs::write(&table, &before).unwrap();
    let args = ["jyj", "--urls", "urls.txt", "--table", "export.csv", "--accept", "≥0.95"];
    let (_, err) = fine(folder.path(), &[&args[..], &["--dry-run"]].concat());
    assert!(err.contains("40 rows would be added"), "{err}");
    assert_eq!(fs::read(&table).unwrap(), &*before);
    let (_, err) = fine(folder.path(), &args);
    assert!(err.contains("40 rows added to"), "{err}");
    let after = fs::read(&table).unwrap();
    assert!(after.starts_with(&before));
    let (text, _, failed) = encoding_rs::GB18030.decode(&after);
    assert!(!failed && text.lines().count() == 2 + 40 && text.ends_with("\r\n"), "{text}");
    assert!(text.contains(&format!("{},{},suggested 0.9", target(5), old(5))), "{text}");
    let check = waypost(folder.path(), &["check"]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    // Nothing is left that is as sure.
    let (_, err) = fine(folder.path(), &args);
    assert!(err.contains("0 rows added"), "{err}");
    assert_eq!(fs::read(&table).unwrap(), after);
}

#[test]
fn rows_that_a_person_would_not_get_through_are_refused() {
    let folder = folder();
    let rows: String = (0..40)
        .map(|n| {
            let host = ["evil.example", "jyj.qingshan.example", "www.qingshan.example"][n as usize % 3];
            format!("{},https://{host}/c12/{}.html\n", 1000 + 3 * n, 77_000 + n * 7)
        })
        .collect();
    fs::write(folder.path().join("export.csv"), format!("old id;new\n{rows}").replace(',', ";")).unwrap();
    let (_, err) = fine(folder.path(), &["jyj", "--urls", "urls.txt", "--table", "export.csv", "--accept", "0.95"]);
    assert!(err.contains("evil.example is no allowed target of the site"), "{err}");
    assert!(err.contains("jyj.qingshan.example is an old host itself"), "{err}");
    assert!(err.contains("27 rows refused") && err.contains("13 rows added"), "{err}");
    let text = fs::read_to_string(folder.path().join("routes/jyj.csv")).unwrap();
    assert!(!text.contains("evil") && text.lines().count() == 14, "{text}");
    // A table with a fault of its own stays as it is.
    fs::write(folder.path().join("routes/jyj.csv"), "old,new\n/a,\"https://www.qingshan.example/\n").unwrap();
    let (_, err, code) =
        suggest(folder.path(), &["jyj", "--urls", "urls.txt", "--table", "export.csv", "--accept", "0.95"]);
    assert!(code == 1 && err.contains("fault of its own"), "{err}");
}

#[test]
fn what_a_reviewer_kept_is_added() {
    let folder = folder();
    fine(folder.path(), &["jyj", "--urls", "urls.txt", "--table", "export.csv", "-o", "review.csv"]);
    let review = fs::read_to_string(folder.path().join("review.csv")).unwrap();
    let (_, err, code) = suggest(folder.path(), &["jyj", "--from", "review.csv"]);
    assert!(code == 1 && err.contains("no row has `yes`"), "{err}");
    // The column stands behind the hits.
    let kept: Vec<String> =
        review
            .lines()
            .map(|line| {
                if line.starts_with("/show.asp?id=1000,") {
                    line.replacen(",0,,", ",0,yes,", 1)
                } else {
                    line.to_owned()
                }
            })
            .collect();
    fs::write(folder.path().join("review.csv"), kept.join("\r\n")).unwrap();
    fine(folder.path(), &["jyj", "--from", "review.csv"]);
    let text = fs::read_to_string(folder.path().join("routes/jyj.csv")).unwrap();
    assert_eq!(text, format!("old,new,note\n{},{},\"suggested, reviewed\"\n", old(0), target(0)));
}

/// Answers requests with what `answer` gives for a host and a target: a status, a type and a body.
fn server(answer: impl Fn(&str, &str) -> (u16, &'static str, Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(first) = lines.next() else { return };
                let host: String = lines
                    .by_ref()
                    .take_while(|line| !line.is_empty())
                    .filter_map(|line| line.to_lowercase().strip_prefix("host: ").map(str::to_owned))
                    .collect();
                let target = first.split(' ').nth(1).unwrap_or_default();
                let (status, kind, body) = answer(&host, target);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let mut stream = stream;
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            });
        }
    });
    address
}

#[test]
fn from_hits_to_answers() {
    let folder = folder();
    let gateway =
        Gateway { routes: folder.path().join("routes"), ..crate::serve::gateway(&folder.path().join("routes")) };
    let hits = waypost::config::HitsSettings {
        database: Some(HitsDatabase::Sqlite(folder.path().join("hits.sqlite"))),
        zone: Some("UTC".to_owned()),
        ..gateway.hits.clone()
    };
    let running = server::start(Gateway { hits, ..gateway.clone() }).unwrap();
    let mut conn = Conn::new(running.http[0]);
    for n in 0..40 {
        for _ in 0..=n % 3 {
            conn.get("jyj.qingshan.example", &old(n));
        }
    }
    running.stop();
    // The sitemap comes from a server, in parts, one of them packed.
    let fetched = Arc::new(AtomicUsize::new(0));
    let seen = fetched.clone();
    let address = server(move |host, target| {
        seen.fetch_add(1, Ordering::Relaxed);
        let urls = |range: std::ops::Range<u32>| -> Vec<u8> {
            let urls: String = range.map(|n| format!("<url><loc>{}</loc></url>", target_of_kept(n))).collect();
            format!("<urlset>{urls}</urlset>").into_bytes()
        };
        match target {
            "/map.xml" => {
                let maps: String = ["1.xml", "2.xml.gz", "gone.xml"]
                    .iter()
                    .map(|map| format!("<sitemap><loc>http://{host}/{map}</loc></sitemap>"))
                    .collect();
                let foreign = "<sitemap><loc>http://127.0.0.2:1/x.xml</loc></sitemap>";
                (200, "text/xml", format!("<sitemapindex>{maps}{foreign}</sitemapindex>").into_bytes())
            }
            "/1.xml" => (200, "text/xml", urls(0..20)),
            "/2.xml.gz" => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(&urls(20..40)).unwrap();
                (200, "application/gzip", packer.finish().unwrap())
            }
            _ => (404, "text/plain", Vec::new()),
        }
    });
    let map = format!("http://{address}/map.xml");
    let (out, err) = fine(folder.path(), &["jyj", "--sitemap", &map, "--accept", "0.9"]);
    assert_eq!(fetched.load(Ordering::Relaxed), 4);
    assert!(err.contains("gone.xml") && err.contains("127.0.0.2:1/x.xml is left out"), "{err}");
    // Those with the most hits come first.
    let hits: Vec<u32> =
        out.lines().skip(1).map(|line| line.split(',').rev().nth(5).unwrap().parse().unwrap()).collect();
    assert!(hits.is_sorted_by(|a, b| a >= b) && hits[0] == 3, "{out}");
    assert!(err.contains("40 rows added to"), "{err}");
    let running = server::start(gateway).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let answer = conn.get("jyj.qingshan.example", &old(7));
    assert_eq!((answer.status, answer.header("location")), (301, target_of_kept(7).as_str()));
    running.stop();
}

/// Where a page is that kept its id.
fn target_of_kept(n: u32) -> String {
    format!("https://www.qingshan.example/jyj/c12/i{}.html", 1000 + 3 * n)
}

#[test]
fn titles_are_fetched_from_both_sides() {
    let folder = folder();
    let titles = [
        "春季植树活动情况",
        "义务教育均衡发展座谈会",
        "农村公路养护现场会",
        "困难群众救助资金公示",
        "森林防火演练纪实",
        "食品安全宣传进校园",
    ];
    let new = move |n: usize| format!("https://www.qingshan.example/jyj/{:x}.html", 0xA1B2C3 + n * 7919);
    let urls: String = (0..titles.len()).map(|n| format!("/a{}.htm\n", n * 31 + 5)).collect();
    fs::write(folder.path().join("urls.txt"), urls + "/private/9.htm\n").unwrap();
    let page =
        |title: &str| format!("<html><head><meta charset=gbk><title>{title}</title></head><body>x</body></html>");
    let asked_private = Arc::new(AtomicUsize::new(0));
    let seen = asked_private.clone();
    let address = server(move |host, target| {
        if target == "/robots.txt" {
            return (200, "text/plain", b"User-agent: *\nDisallow: /private/\n".to_vec());
        }
        seen.fetch_add(usize::from(target.starts_with("/private/")), Ordering::Relaxed);
        let old = (0..titles.len()).find(|n| target == format!("/a{}.htm", n * 31 + 5));
        let text = match (host, old) {
            ("jyj.qingshan.example", Some(n)) => page(&format!("{}-青山县教育局", titles[n])),
            _ => match (0..titles.len()).find(|n| new(*n).ends_with(target)) {
                Some(n) => page(&format!("{}_青山县人民政府", titles[n])),
                None => return (404, "text/html", page("没有").into_bytes()),
            },
        };
        (200, "text/html", encoding_rs::GB18030.encode(&text).0.into_owned())
    });
    // New pages by plain HTTP: a server of the test has no certificate.
    let map: String = (0..titles.len()).map(|n| new(n).replace("https", "http") + "\n").collect();
    fs::write(folder.path().join("map.txt"), map).unwrap();
    let args = ["jyj", "--urls", "urls.txt", "--sitemap", "map.txt", "--fetch-titles", "--rate", "1000"];
    let (_, err, code) = suggest(folder.path(), &args);
    assert!(code == 1 && err.contains("--resolve jyj.qingshan.example:80:"), "{err}");
    let at = [format!("jyj.qingshan.example:80:{address}"), format!("www.qingshan.example:80:{address}")];
    let (out, err) = fine(folder.path(), &[&args[..], &["--resolve", &at[0], "--resolve", &at[1], "--json"]].concat());
    assert!(err.contains("titles were fetched of 6 of 7 old pages, and of 6 of 6 new ones"), "{err}");
    assert_eq!(asked_private.load(Ordering::Relaxed), 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for n in 0..titles.len() {
        let row = rows.iter().find(|row| row["old"] == format!("/a{}.htm", n * 31 + 5)).unwrap();
        assert_eq!(row["best"]["new"], new(n).replace("https", "http"), "{row}");
        assert!(row["best"]["reason"].as_str().unwrap().contains("same title"), "{row}");
    }
}

#[test]
fn from_logs_of_the_old_server() {
    let folder = folder();
    let log: String = (0..40)
        .map(|n| format!("192.0.2.7 - - [10/Oct/2018:13:55:36 +0800] \"GET {} HTTP/1.1\" 200 5 \"-\" \"x\"\n", old(n)))
        .collect();
    let missing = "192.0.2.7 - - [10/Oct/2018:13:55:36 +0800] \"GET /never.asp?id=1003 HTTP/1.1\" 404 5 \"-\" \"x\"\n";
    fs::write(folder.path().join("access.log"), log + missing).unwrap();
    let (out, _) = fine(folder.path(), &["jyj", "--log", "access.log", "--table", "export.csv"]);
    assert_eq!(out.lines().count(), 1 + 40, "{out}");
    assert!(!out.contains("never"));
    // A site that keeps no parameter is told so.
    fs::write(folder.path().join("routes/jyj.toml"), SITE.replace("[\"id\"]", "[]")).unwrap();
    let (_, err) = fine(folder.path(), &["jyj", "--log", "access.log", "--table", "export.csv"]);
    assert!(err.contains("keep-query"), "{err}");
}
