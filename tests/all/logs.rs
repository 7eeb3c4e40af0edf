//! The access log, and `waypost logs` over it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tempfile::TempDir;
use waypost::{
    config::{AccessLogSettings, Gateway},
    model::Outcome,
    telemetry::{
        self, Consumer, Exchange, Protocol,
        access_log::{self, AccessLog},
    },
};

use crate::client::Conn;
use crate::lanes::{self, Lane};
use crate::program::{Program, Successor, signal, until, waypost};
use crate::serve;

/// 2026-11-22, noon in UTC, in microseconds.
const NOON: i64 = 1_795_348_800_000_000;

const SECOND: i64 = 1_000_000;

const EXCHANGE: Exchange<'_> = Exchange {
    at: NOON,
    took: 42,
    status: 301,
    outcome: Outcome::Redirect,
    reason: None,
    lane: telemetry::Lane::Fast,
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
    span: 0,
    parent: 0,
    sampled: false,
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

/// The values of the lines of a file, by their targets.
fn by_target(file: &Path) -> BTreeMap<String, serde_json::Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.map(|value: serde_json::Value| (value["target"].as_str().unwrap().to_owned(), value)).collect()
}

#[test]
fn every_request_is_a_line_on_every_lane() {
    for &lane in Lane::ALL {
        let routes = serve::routes();
        let gateway = serve::gateway(routes.path());
        let file = gateway.access_log.folder.join("access.log");
        let running = lane.start(gateway);
        let mut client = lane.client(&running);
        let headers = [("Referer", "https://search.example/?q=\"\\x\""), ("User-Agent", "robot\t\u{e9}")];
        for (host, target, status) in [
            ("jyj.old.example", &b"/a.htm"[..], 301),
            ("jyj.old.example", b"/b.htm?id=7", 302),
            ("jyj.old.example", b"/gone.htm", 410),
            ("jyj.old.example", b"/nothing.htm", 404),
            ("nobody.example", b"/nobody", 404),
            ("jyj.old.example", b"/x?q=\xd6\xd0%20", 404),
        ] {
            if lane.target(host, target).is_none() || (lane.is_h2() && !target.is_ascii()) {
                continue;
            }
            let request = lanes::Request { headers: &headers, ..lanes::Request::get(host, target) };
            assert_eq!(client.ask(&request).status, status, "{lane}");
        }
        // What was told is written, at the latest when it ends.
        running.stop();
        let lines = by_target(&file);
        assert_eq!(lines.len(), if lane.is_h2() { 5 } else { 6 }, "{lane}: {lines:#?}");
        let line = &lines["/a.htm"];
        for (field, value) in [
            ("client", "127.0.0.1"),
            ("method", "GET"),
            ("scheme", if lane.is_tls() { "https" } else { "http" }),
            ("protocol", if lane.is_h2() { "HTTP/2.0" } else { "HTTP/1.1" }),
            ("outcome", "redirect"),
            ("site", "jyj"),
            ("location", "https://www.new.example/a"),
            ("rule", "jyj.csv:2"),
            ("referer", "https://search.example/?q=\"\\x\""),
            ("user_agent", "robot\t\u{e9}"),
            (
                "lane",
                if lane.is_h2() {
                    "http2"
                } else if lane == Lane::Session {
                    "session"
                } else {
                    "fast"
                },
            ),
        ] {
            assert_eq!(line[field], value, "{lane}: {field} in {line}");
        }
        assert!(line["status"] == 301 && line["sent"] == 0 && line["took"].as_f64().unwrap() < 10.0, "{line}");
        assert!(line["host"].as_str().unwrap().starts_with("jyj.old.example"), "{line}");
        assert!(line["unmapped"].is_null());
        assert!(lines["/nothing.htm"]["unmapped"] == true && lines["/nothing.htm"]["sent"].as_u64().unwrap() > 100);
        assert!(lines["/nobody"]["outcome"] == "unknown_host" && lines["/nobody"]["site"].is_null());
        if !lane.is_h2() {
            let raw = &lines["/x?q=%D6%D0%2520"];
            assert_eq!(raw["escaped"], serde_json::json!(["target"]));
        }
    }
}

const SITE: &str = "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\n";

/// A folder with a gateway.
fn node() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    fs::write(folder.path().join("routes/a.toml"), SITE).unwrap();
    let text = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 2\n[process]\ndirectory = \"control\"\n[reload]\nwatch = false\n";
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    folder
}

fn metric(program: &Program, name: &str) -> f64 {
    let text = Conn::new(program.admin).get("localhost", "/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn a_full_disk_costs_no_answer_and_no_line() {
    let folder = node();
    // No file may be longer than 8 KiB: the system refuses what is more as it does on a full disk, in the middle of a line.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" serve", env!("CARGO_BIN_EXE_waypost")]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let mut program = Program::start_by(command);
    let mut conn = Conn::new(program.http[0]);
    for number in 0..100 {
        assert_eq!(conn.get("old.example", &format!("/{number}")).status, 404);
    }
    until("the failure", || metric(&program, "waypost_access_log_failing") == 1.0);
    let file = folder.path().join("logs/access.log");
    let first = fs::read(&file).unwrap();
    assert!(first.len() <= 8192 && first.ends_with(b"}\n"), "{}", first.len());
    assert_eq!(metric(&program, "waypost_access_log_lost_total"), 0.0);
    // Somebody makes space, a bit at a time.
    let mut found = BTreeMap::new();
    for number in 0.. {
        let moved = folder.path().join(number.to_string());
        if fs::rename(&file, &moved).is_ok() {
            found.extend(by_target(&moved));
        }
        if found.len() == 100 {
            break;
        }
        until("another file", || file.exists());
        until("the rest", || {
            metric(&program, "waypost_access_log_failing") == 1.0
                || metric(&program, "waypost_access_log_lines_total") == 100.0
        });
    }
    until("a good end", || metric(&program, "waypost_access_log_failing") == 0.0);
    assert_eq!(metric(&program, "waypost_access_log_lines_total"), 100.0);
    program.wait_for("the access log is written again; 0 of its lines are lost");
    program.signal("TERM");
    assert!(program.end().success());
}

#[test]
fn both_processes_of_an_upgrade_write_one_log() {
    let folder = node();
    let mut program = Program::start(folder.path());
    let address = program.http[0];
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let successor = std::thread::scope(|scope| {
        for kept in [true, false] {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || {
                let mut conn = Conn::new(address);
                while !stop.load(Ordering::SeqCst) {
                    if !kept {
                        conn = Conn::new(address);
                    }
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    conn.get("old.example", &format!("/{number}"));
                }
            });
        }
        let more = || {
            let before = asked.load(Ordering::SeqCst);
            until("traffic", || asked.load(Ordering::SeqCst) > before + 100);
        };
        more();
        let output = waypost(folder.path(), &["upgrade"]).output().unwrap();
        more();
        stop.store(true, Ordering::SeqCst);
        let told = String::from_utf8(output.stdout).unwrap();
        Successor(told.split([' ', ',']).nth(2).unwrap().parse().unwrap())
    });
    assert!(program.end().success());
    signal(successor.0, "TERM");
    let file = folder.path().join("logs/access.log");
    let asked = asked.into_inner();
    until("the last line", || fs::read(&file).unwrap().iter().filter(|byte| **byte == b'\n').count() >= asked);
    let lines = by_target(&file);
    assert!((0..asked).all(|number| lines.contains_key(&format!("/{number}"))) && lines.len() == asked);
}
