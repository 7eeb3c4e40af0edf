//! The access log, and `waypost logs` over it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use waypost::{
    config::{AccessLogSettings, Gateway},
    model::Outcome,
    telemetry::{
        Consumer, Exchange, Lane, Protocol,
        access_log::{self, AccessLog},
    },
};

use crate::program::waypost;
use crate::serve::until;

/// 2026-11-22, noon in UTC, in microseconds.
const NOON: i64 = 1_795_348_800_000_000;

const SECOND: i64 = 1_000_000;

const EXCHANGE: Exchange<'_> = Exchange {
    at: NOON,
    took: 42,
    status: 301,
    outcome: Outcome::Redirect,
    reason: None,
    lane: Lane::Fast,
    protocol: Protocol::Http11,
    secure: false,
    unmapped: false,
    client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))),
    sent: 0,
    received: 0,
    site: "lanjiang/jyj",
    method: "GET",
    host: b"jyj.old.example",
    target: b"/",
    key: b"/",
    location: "https://www.new.example/a",
    file: "lanjiang/jyj.csv",
    line: 12,
    platform: "",
    cache: b"",
    referer: b"",
    user_agent: b"curl/8",
    tags: "",
    trace: "",
};

fn settings(folder: &Path, text: &str) -> AccessLogSettings {
    let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), folder);
    assert!(faults.is_empty(), "{faults:?}");
    gateway.access_log
}

fn open(settings: &AccessLogSettings) -> AccessLog {
    AccessLog::open(settings).unwrap().0
}

/// A folder with a log of a request a second, of which every tenth is for a URL of which nobody says where it went: the first
/// third in a file that is compressed, the second in one that is not, the last in the file that is written.
fn folder() -> (TempDir, PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let settings = settings(base.path(), "");
    for part in 0..3 {
        let mut log = open(&settings);
        for number in part * 100..(part + 1) * 100 {
            let target = format!("/news/{number}.asp?id={number}");
            let exchange = Exchange { at: NOON + number * SECOND, target: target.as_bytes(), ..EXCHANGE };
            log.exchange(&match number % 10 {
                0 => Exchange {
                    status: 404,
                    outcome: Outcome::NotFound,
                    unmapped: true,
                    host: b"WJ.old.example:8080",
                    site: "lanjiang/wj",
                    ..exchange
                },
                _ => exchange,
            });
        }
        log.end();
        let current = settings.folder.join("access.log");
        match part {
            0 => {
                let gz = settings.folder.join("access-2026-11-22.001.log.gz");
                let done = Command::new("gzip").arg("-c").arg(&current).stdout(File::create(gz).unwrap()).status();
                assert!(done.unwrap().success());
                fs::remove_file(current).unwrap();
            }
            1 => fs::rename(current, settings.folder.join("access-2026-11-22.002.log")).unwrap(),
            _ => {}
        }
    }
    (base, settings.folder)
}

fn logs(base: &Path, args: &[&str]) -> Output {
    waypost(base, &[&["logs"], args].concat()).env("TZ", "Asia/Shanghai").output().unwrap()
}

fn lines(base: &Path, args: &[&str]) -> Vec<String> {
    let output = logs(base, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The numbers of the requests that are shown.
fn numbers(base: &Path, args: &[&str]) -> Vec<usize> {
    let lines = lines(base, &[args, &["--json"]].concat());
    let number = |line: &String| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["target"].as_str().unwrap().rsplit('=').next().unwrap().parse().unwrap()
    };
    lines.iter().map(number).collect()
}

#[test]
fn requests_are_found() {
    let (base, _folder) = folder();
    let numbers = |args: &[&str]| numbers(base.path(), args);
    assert_eq!(numbers(&[]), (0..300).collect::<Vec<_>>());
    let tens: Vec<usize> = (0..300).step_by(10).collect();
    assert_eq!(numbers(&["--unmapped"]), tens);
    assert_eq!(numbers(&["--status", "4xx"]), tens);
    assert_eq!(numbers(&["--status", "404", "--status", "301"]).len(), 300);
    assert_eq!(numbers(&["--outcome", "not_found"]), tens);
    assert_eq!(numbers(&["--host", "wj.old.example"]), tens);
    assert_eq!(numbers(&["--host", "*.old.example"]).len(), 300);
    assert_eq!(numbers(&["--site", "lanjiang/wj"]), tens);
    assert_eq!(numbers(&["--site", "lanjiang/j*"]).len(), 270);
    assert_eq!(numbers(&["--path", "/news/29"]), [29].into_iter().chain(290..300).collect::<Vec<_>>());
    assert_eq!(
        numbers(&["--path", "/news/*9.asp?id=2*"]),
        [29].into_iter().chain((209..300).step_by(10)).collect::<Vec<_>>()
    );
    let period = ["--since", "2026-11-22T12:01:35Z", "--until", "2026-11-22T20:03:25+08:00"];
    assert_eq!(numbers(&period), (95..205).collect::<Vec<_>>());
    assert_eq!(numbers(&["--since", "2026-11-22T20:04:59"]), [299], "local time");
    assert_eq!(numbers(&["--since", "2026-11-25"]), <[usize; 0]>::default());
    assert_eq!(numbers(&["--until", "2026-11-20"]), <[usize; 0]>::default());
    assert_eq!(numbers(&["--count", "3"]), [297, 298, 299]);
    assert_eq!(numbers(&["--count", "150"]), (150..300).collect::<Vec<_>>());
    assert_eq!(numbers(&["-n", "25", "--unmapped"]), tens[5..]);
    assert_eq!(numbers(&["-n", "0"]), <[usize; 0]>::default());
}

#[test]
fn requests_are_shown() {
    let (base, folder) = folder();
    assert_eq!(
        lines(base.path(), &["-n", "1"]),
        [
            "2026-11-22 20:04:59.000  301  redirect           0.042 ms  192.0.2.7        GET   http://jyj.old.example/news/299.asp?id=299  → https://www.new.example/a  lanjiang/jyj.csv:12"
        ]
    );
    // Of another folder, for other tools.
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = folder.to_str().unwrap();
    let combined = r#"192.0.2.7 - - [22/Nov/2026:20:00:10 +0800] "GET /news/10.asp?id=10 HTTP/1.1" 404 0 "-" "curl/8""#;
    assert_eq!(lines(elsewhere.path(), &[folder, "--combined", "--unmapped"])[1], combined);
    assert_eq!(
        lines(elsewhere.path(), &[folder, "--vhost-combined", "--unmapped"])[1],
        format!("WJ.old.example:8080 {combined}")
    );
    // JSON lines are those of the file, byte for byte.
    let current = fs::read_to_string(Path::new(folder).join("access.log")).unwrap();
    let shown = lines(base.path(), &["-n", "100", "--json"]);
    assert!(shown.iter().eq(current.lines()));
}

#[test]
fn what_cannot_be_read_is_told() {
    let (base, folder) = folder();
    let gz = folder.join("access-2026-11-22.001.log.gz");
    let bytes = fs::read(&gz).unwrap();
    fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
    let mut current = File::options().append(true).open(folder.join("access.log")).unwrap();
    current.write_all(b"192.0.2.7 - - combined\n{\"time\":\"half a li").unwrap();
    let output = logs(base.path(), &["--json"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success());
    assert!(
        told.contains("access-2026-11-22.001.log.gz can't be read to its end") && told.contains("1 line left out"),
        "{told}"
    );
    let count = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert!((200..300).contains(&count), "{count}");

    let nowhere = logs(base.path(), &["nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("[log] folder of gateway.toml"));
    for wrong in [["--status", "6xx"], ["--since", "yesterday"], ["--outcome", "lost"]] {
        assert_eq!(logs(base.path(), &wrong).status.code(), Some(2));
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (base, folder) = folder();
    let line = fs::read(folder.join("access.log")).unwrap();
    // More than a pipe takes.
    let mut current = File::options().append(true).open(folder.join("access.log")).unwrap();
    (0..20).for_each(|_| current.write_all(&line).unwrap());
    for more in [&[][..], &["--follow", "--since", "2026-11-01"]] {
        let mut child = waypost(base.path(), &[&["logs", "--json"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::with_capacity(100, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.ends_with("}\n"));
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success() && told.is_empty(), "{told}");
    }
}

#[test]
fn following_goes_on_over_rotations() {
    let base = tempfile::tempdir().unwrap();
    let mut settings = settings(base.path(), "");
    // Some twenty lines.
    settings.rotate_bytes = 5000;
    let mut log = open(&settings);
    let mut tell = |number: usize| {
        log.exchange(&Exchange { target: format!("/?id={number}").as_bytes(), ..EXCHANGE });
        log.pause();
    };
    (0..15).for_each(&mut tell);
    let mut child = waypost(base.path(), &["logs", "-f", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let value: serde_json::Value = serde_json::from_str(&reader.next().unwrap().unwrap()).unwrap();
        value["target"].as_str().unwrap().rsplit('=').next().unwrap().parse::<usize>().unwrap()
    };
    // Ten of what was there, then what comes; as they are waited for, no file is missed.
    (5..15).for_each(|number| assert_eq!(next(), number));
    for start in (15..60).step_by(5) {
        (start..start + 5).for_each(&mut tell);
        (start..start + 5).for_each(|number| assert_eq!(next(), number));
    }
    assert!(access_log::rotated(&settings.folder).unwrap().len() >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn done_files_are_compressed_beside_the_traffic() {
    let base = tempfile::tempdir().unwrap();
    let mut settings = settings(base.path(), "");
    settings.rotate_bytes = 5000;
    let (mut log, stats) = AccessLog::open(&settings).unwrap();
    for number in 0..100 {
        log.exchange(&Exchange { target: format!("/?id={number}").as_bytes(), ..EXCHANGE });
        log.pause();
    }
    until("the compression", || {
        let rotated = access_log::rotated(&settings.folder).unwrap();
        rotated.len() >= 4 && rotated.iter().all(|file| file.is_compressed)
    });
    log.end();
    assert_eq!((stats.lines(), stats.lost(), stats.is_failing(), stats.is_short()), (100, 0, false, false));
    assert_eq!(numbers(base.path(), &[]), (0..100).collect::<Vec<_>>());
    // `zcat` of everybody reads them.
    let gz = access_log::rotated(&settings.folder).unwrap().remove(0).path;
    let output = Command::new("gzip").arg("-dc").arg(gz).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"{\"time\":\"2026-11-22T12:00:00.000Z\","));
}
