//! `waypost replay`: logs in each format, what other routes change, and that what it counts is what serving counts.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use proptest::prelude::*;
use serde_json::Value;
use waypost::{
    replay::format::{Format, Json, LineScratch, Pattern},
    server,
};

use crate::client::{self, Conn};
use crate::serve;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/replay")
}

fn replay(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .arg("replay")
        .args(args)
        .current_dir(folder)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who is told of a wrong command line does not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

/// Logs in each format, and what is to be found in them: `args` → `expected.json` and `expected.txt`. WAYPOST_BLESS=1
/// rewrites what is expected.
#[test]
fn logs_in_each_format() {
    let bless = env::var_os("WAYPOST_BLESS").is_some_and(|value| value == "1");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(golden().join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 10);
    for case in cases {
        let text = fs::read_to_string(case.join("args")).unwrap();
        let routes = ["--routes", "routes", "--date", "2026-12-01"];
        let args: Vec<&str> = text.lines().chain(routes).collect();
        let one_thread = json(&replay(&golden(), &[&args[..], &["--json", "--threads", "1"]].concat(), b""));
        let output = replay(&golden(), &[&args[..], &["--json", "--threads", "3"]].concat(), b"");
        let without_time = |mut report: Value| {
            report["seconds"] = 0.into();
            report
        };
        let report = without_time(json(&output));
        assert_eq!(report, without_time(one_thread), "{}: whatever the number of threads", case.display());
        let code = output.status.code().unwrap();
        let got = format!("{}\nexit {code}\n", serde_json::to_string_pretty(&report).unwrap());
        let people = replay(&golden(), &args, b"");
        assert_eq!(people.status.code(), Some(code));
        // The first line has the time that it took.
        let people = String::from_utf8(people.stdout).unwrap();
        let people = people.split_once('\n').unwrap().1.to_owned();
        for (file, got) in [("expected.json", got), ("expected.txt", people)] {
            if bless {
                fs::write(case.join(file), &got).unwrap();
            }
            let want = fs::read_to_string(case.join(file)).unwrap_or_default();
            assert_eq!(got, want, "{}/{file}; WAYPOST_BLESS=1 rewrites it", case.display());
        }
    }
}

#[test]
fn packed_logs_and_standard_input_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let plain = fs::read(golden().join("logs/other_vhosts_access.log")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&plain).unwrap();
    let packed = gz.finish().unwrap();
    fs::write(folder.path().join("access.log.2.gz"), &packed).unwrap();
    fs::write(folder.path().join("access.log.3.zst"), zstd::encode_all(&plain[..], 3).unwrap()).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let total = |log: &str, input: &[u8]| {
        let report = json(&replay(&golden(), &[log, "--routes", "routes", "--json"], input));
        (report["total"].clone(), report["unmapped"][0]["hits"].clone(), report["requests"].clone())
    };
    let want = total("logs/other_vhosts_access.log", b"");
    assert_eq!(want.2, 13);
    assert_eq!(total(&path("access.log.2.gz"), b""), want);
    assert_eq!(total(&path("access.log.3.zst"), b""), want);
    assert_eq!(total("-", &plain), want);
    assert_eq!(total("-", &packed), want);
    // What was read before a file breaks off counts, and the exit code tells.
    fs::write(folder.path().join("access.log.2.gz"), &packed[..packed.len() - 9]).unwrap();
    let output = replay(&golden(), &[&path("access.log.2.gz"), "--routes", "routes", "--json"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("access.log.2.gz: "));
    assert!(json(&output)["files"][0]["fault"].is_string());
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("error.log"), "something\nelse\nentirely\n").unwrap();
    let log = folder.path().join("error.log").display().to_string();
    let none = folder.path().join("none").display().to_string();
    for (args, code, want) in [
        (vec![&*log], 1, "in no format that is known here"),
        (vec![&*log, "--format", "iis"], 1, "in no format that is known here"),
        (vec![&*none], 1, "can't read"),
        (vec!["logs", "--site", "nobody"], 1, "no site has the id `nobody`"),
        (vec!["logs", "--nginx-format", "$status"], 2, "no field has the URL"),
        (vec!["logs", "--host", "a b"], 2, "not a host name"),
        (vec!["logs", "--fail-on-change"], 2, "--against"),
        (vec!["logs", "--against", &none], 1, "can't read"),
        (vec![], 2, "LOG"),
    ] {
        let output = replay(&golden(), &[&args[..], &["--routes", "routes"]].concat(), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(want), "{args:?}: {:?} {said}", output.status);
    }
    // An empty log is no fault.
    fs::write(folder.path().join("error.log"), "").unwrap();
    let output = replay(&golden(), &[&log, "--routes", "routes", "--json"], b"");
    assert_eq!((output.status.code(), &json(&output)["requests"]), (Some(0), &Value::from(0)));
}

#[test]
fn tables() {
    let csv = |args: &[&str]| {
        let args = [&["logs/other_vhosts_access.log", "--routes", "routes", "--against", "other"], args].concat();
        let output = replay(&golden(), &args, b"");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let changes = csv(&["--csv"]);
    assert!(changes.starts_with("hits,method,url,seen,before_fate,"), "{changes}");
    let row = changes.lines().find(|line| line.contains("jyj.old.example/a.htm")).unwrap();
    assert!(
        row.contains("https://www.new.example/jyj/a,") && row.contains("https://www.new.example/jyj/new-a,"),
        "{row}"
    );
    let sites = csv(&["--csv=sites"]);
    let (header, total) = (sites.lines().next().unwrap(), sites.lines().nth(1).unwrap());
    assert_eq!(header.split(',').count(), total.split(',').count());
    assert!(total.starts_with(",all,,,13,1.000000,"), "{total}");
    assert!(csv(&["--csv=unmapped"]).contains("/news.asp?id=10,http://jyj.old.example/news.asp?id=10,"));
    assert!(
        csv(&["--csv=unknown-hosts", "--top", "1"])
            .ends_with("\r\n2,www.gone.example,http://WWW.Gone.example/,logs/other_vhosts_access.log:9\r\n")
    );
}

/// The same requests, served and replayed.
#[test]
fn coverage_is_what_serving_counts() {
    let routes = serve::routes();
    fs::write(
        routes.path().join("wsj.toml"),
        "name = \"B\"\nhosts = [\"wsj.old.example\"]\nhome = \"https://www.new.example/wsj/\"\nhttps = \"redirect\"\n\
         [guard]\nmethods = [\"GET\", \"HEAD\"]\n[[guard.rule]]\nuser-agent = { contains = [\"sqlmap\"] }\ndeny = 403\n",
    )
    .unwrap();
    let targets = [
        "/a.htm",
        "/A.HTM",
        "//a.htm?x=1",
        "/b.htm?id=7",
        "/b.htm?id=8",
        "/gone.htm",
        "/%BF%C6%C6%D5/",
        "/",
        "/none.htm",
        "/none.htm?id=1",
        "/news.asp?classname=a",
        "/news.asp",
        "/verify.txt",
        "/robots.txt",
        "/sitemap.xml",
        "/../etc/passwd",
        "/%2e%2e/a",
        "/wp-login.php",
        "/a%00b",
        "/.well-known/waypost/refused",
        "/healthcheck/live",
    ];
    let hosts = ["jyj.old.example", "www.JYJ.old.example.", "wsj.old.example", "unknown.example"];
    let mut requests: Vec<(&str, &str, &str, &str)> = Vec::new();
    for host in hosts {
        for (number, target) in targets.into_iter().enumerate() {
            let method = ["GET", "GET", "HEAD", "POST"][number % 4];
            let agent = if number % 7 == 3 { "sqlmap/1" } else { "Mozilla/5.0" };
            (0..=number % 3).for_each(|_| requests.push((method, host, target, agent)));
        }
    }
    let running = server::start(serve::gateway(routes.path())).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let mut log = String::new();
    for (method, host, target, agent) in &requests {
        let raw = client::head(method, host, target.as_bytes(), &[("User-Agent", agent)], b"");
        let answer = conn.send(&raw, *method == "HEAD").unwrap();
        log += &format!(
            "{host}:80 127.0.0.1 - - [10/Oct/2020:13:55:36 +0800] \"{method} {target} HTTP/1.1\" {} 0 \"-\" \"{agent}\"\n",
            answer.status
        );
    }
    let admin = |path: &str| Conn::new(running.admin).get("localhost", path).text();
    let served = |site: &str, family: &str, label: &str| -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in admin("/metrics/sites").lines().filter(|line| line.starts_with(family)) {
            let value = |name: &str| line.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            if value("site") == Some(site) {
                let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                *counts.entry(value(label).unwrap_or_default().to_owned()).or_default() += count as u64;
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    };
    let sites = ["jyj", "wsj", "other"];
    let outcomes = sites.map(|site| served(site, "waypost_site_requests_total{", "outcome"));
    let reasons = sites.map(|site| served(site, "waypost_site_guard_refused_total{", "reason"));
    let unmapped = sites.map(|site| served(site, "waypost_site_unmapped_total{", "site"));
    let unmapped: u64 = unmapped.iter().flat_map(|counts| counts.values()).sum();
    // Everything is in the gateway's own log when it has stopped.
    running.stop();
    // The settings that `serve::gateway` has beyond the defaults.
    let settings =
        "[platforms.new]\norigins = [\"http://127.0.0.1:1\"]\nhost = \"www.new.example\"\n[guard]\nmethods = [\"*\"]\n";
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("gateway.toml"), settings).unwrap();
    fs::write(elsewhere.path().join("access.log"), &log).unwrap();
    let folder = routes.path().display().to_string();
    let own = routes.path().join(".logs").display().to_string();
    let counts = |value: &Value| -> BTreeMap<String, u64> { serde_json::from_value(value.clone()).unwrap() };
    for (log, format) in [("access.log", "vhost"), (&own, "json")] {
        let report = json(&replay(elsewhere.path(), &[log, "--routes", &folder, "--json"], b""));
        assert_eq!((&report["requests"], &report["files"][0]["format"]), (&requests.len().into(), &format.into()));
        for (site, served) in sites.iter().zip(&outcomes) {
            let found = report["sites"].as_array().unwrap().iter().find(|found| found["site"] == *site);
            assert_eq!(found.is_some(), *site != "other");
            if let Some(found) = found {
                assert_eq!(counts(&found["outcomes"]), *served, "{log}: {site}");
            }
        }
        assert_eq!(counts(&report["outcomes"]), sum(&outcomes), "{log}");
        assert_eq!(counts(&report["denied"]), sum(&reasons), "{log}");
        assert_eq!(report["unmapped_answers"], unmapped, "{log}");
    }
    assert!(unmapped > 0 && sum(&outcomes).len() >= 10 && sum(&reasons).len() >= 4, "{outcomes:?} {reasons:?}");
}

fn sum(counts: &[BTreeMap<String, u64>]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    counts.iter().flatten().for_each(|(name, count)| *all.entry(name.clone()).or_default() += count);
    all
}

/// What a server writes of bytes that a client sent.
#[derive(Clone, Copy, Debug)]
enum Escape {
    Nginx,
    Apache,
}

impl Escape {
    fn write(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            match (self, byte) {
                (Escape::Apache, b'"' | b'\\') => out.extend([b'\\', byte]),
                (Escape::Apache, b'\n') => out.extend(b"\\n"),
                (Escape::Apache, b'\t') => out.extend(b"\\t"),
                (Escape::Nginx, b'"' | b'\\') | (_, 0..0x20 | 0x7F..) => out.extend(format!("\\x{byte:02X}").bytes()),
                _ => out.push(byte),
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_servers_write_is_read(
        target in proptest::collection::vec(any::<u8>(), 0..60),
        agent in proptest::collection::vec(any::<u8>(), 0..60),
        status in 100u16..600,
        apache in any::<bool>(),
    ) {
        // A request line has no other spaces at its ends.
        let target = [b"/", &target[..], b"x"].concat();
        let agent = [b"M", &agent[..]].concat();
        let escape = if apache { Escape::Apache } else { Escape::Nginx };
        let line = [
            b"192.0.2.1 - - [10/Oct/2020:13:55:36 +0800] \"GET ",
            &escape.write(&target)[..],
            format!(" HTTP/1.1\" {status} 17 \"-\" \"").as_bytes(),
            &escape.write(&agent),
            b"\"",
        ]
        .concat();
        let mut scratch = LineScratch::default();
        let format = Format::Text(Pattern::combined());
        let read = format.read(&line, &mut scratch).unwrap();
        prop_assert_eq!((read.target, read.user_agent, read.status), (&target[..], &agent[..], status));
    }

    #[test]
    fn json_that_is_written_is_read(target in ".{0,60}", host in "[ -~]{1,30}", status in 100u16..600, secure in any::<bool>()) {
        let target = format!("/{target}");
        let line = serde_json::json!({
            "time": "2026-11-20T08:00:00.001Z", "method": "GET", "scheme": if secure { "https" } else { "http" }, "host": host,
            "target": target, "status": status, "took": 0.1, "tags": ["a"],
        });
        let (line, mut scratch) = (line.to_string(), LineScratch::default());
        let read = Format::Json(Json).read(line.as_bytes(), &mut scratch).unwrap();
        prop_assert_eq!((read.target, read.host), (target.as_bytes(), host.as_bytes()));
        prop_assert_eq!((read.status, read.secure), (status, Some(secure)));
    }

    #[test]
    fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..300), columns in "[a-z ()-]{0,60}") {
        let iis = format!("#Fields: cs-uri-stem {columns}");
        let formats = [
            Format::Text(Pattern::combined()),
            Format::Text(Pattern::vhost()),
            Format::Json(Json),
            Format::detect(iis.as_bytes(), &|_| true).unwrap(),
        ];
        for format in formats {
            let _ = format.read(&line, &mut LineScratch::default());
        }
        let _ = Format::detect(&line, &|_| true);
    }
}
