//! The access log on other days, on full disks, and with others in its folder.

use std::{
    fs::{self, File},
    io::{self, BufRead, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, AtomicUsize},
};

use jiff::{Timestamp, tz};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::config::ClientShown;
use crate::model::{Outcome, Reason};
use crate::telemetry::{Lane, Protocol};

/// Noon of a day in Lanjiang, in Unix seconds.
const NOON: i64 = 1_795_320_000;

const DAY: i64 = 86_400;

const EXCHANGE: Exchange<'_> = Exchange {
    at: NOON * 1_000_000 + 7_654,
    took: 1_000_042,
    status: 301,
    outcome: Outcome::Redirect,
    reason: None,
    lane: Lane::Fast,
    protocol: Protocol::Http11,
    secure: true,
    unmapped: false,
    client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))),
    sent: 0,
    received: 0,
    site: "lanjiang/jyj",
    method: "GET",
    host: b"jyj.old.example",
    target: b"/a.htm?id=7",
    key: b"/a.htm?id=7",
    location: "https://www.new.example/a",
    file: "lanjiang/jyj.csv",
    line: 12,
    platform: "",
    cache: b"",
    referer: b"https://search.example/?q=\"a\"",
    user_agent: b"Mozilla/5.0",
    tags: "",
    trace: "",
    span: 0,
    parent: 0,
    sampled: false,
};

/// A folder in a world whose time passes and whose disk fills up as the test wants it.
struct Place {
    base: TempDir,
    settings: AccessLogSettings,
    world: World,
    second: Arc<AtomicI64>,
    /// Bytes for which there is space.
    space: Arc<AtomicUsize>,
}

impl Place {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let settings = AccessLogSettings {
            format: LogFormat::Json,
            folder: base.path().join("logs"),
            client: ClientShown::Full,
            rotate_bytes: 1 << 20,
            keep: 190,
            max_bytes: 1 << 30,
        };
        let (second, space) = (Arc::new(AtomicI64::new(NOON)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (clock, disk) = (second.clone(), space.clone());
        let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap();
        let time = now.clone();
        let write = move |mut file: &File, bytes: &[u8]| {
            let space = disk.load(Ordering::Relaxed);
            if space == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = file.write(&bytes[..bytes.len().min(space)])?;
            disk.fetch_sub(count, Ordering::Relaxed);
            // A file was written to at the world's time.
            file.set_modified(time().into())?;
            Ok(count)
        };
        let world = World { now: Arc::new(now), zone: tz::TimeZone::fixed(tz::offset(8)), write: Arc::new(write) };
        Place { base, settings, world, second, space }
    }

    fn log(&self) -> AccessLog {
        AccessLog::within(&self.settings, self.world.clone())
    }

    fn pass(&self, seconds: i64) {
        self.second.fetch_add(seconds, Ordering::Relaxed);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.folder.join(name)
    }

    /// The files whose names are shown, in the order of their names.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.settings.folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// The targets of all lines, each of which is whole.
    fn targets(&self) -> Vec<String> {
        let mut targets = Vec::new();
        for file in rotated(&self.settings.folder).unwrap() {
            targets.extend(file.open().unwrap().lines().map(|line| target(&line.unwrap())));
        }
        let text = fs::read_to_string(self.path(CURRENT)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'));
        targets.extend(text.lines().map(target));
        targets
    }
}

fn target(line: &str) -> String {
    Record::of_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}")).target.into_owned()
}

fn tell(log: &mut AccessLog, target: &str) {
    log.exchange(&Exchange { target: target.as_bytes(), ..EXCHANGE });
}

/// The line of an exchange.
fn line(format: LogFormat, exchange: &Exchange<'_>) -> String {
    let mut out = Vec::new();
    Lines::new(format, tz::TimeZone::fixed(tz::offset(8))).write(exchange, &Clients::Full, &mut out);
    String::from_utf8(out).unwrap()
}

/// An exchange with something in every field.
fn full() -> Exchange<'static> {
    Exchange {
        reason: Some(Reason::Waf),
        unmapped: true,
        received: 9,
        sent: u64::MAX,
        platform: "青山",
        cache: b"waypost; hit",
        tags: "school old",
        trace: "4bf92f3577b34da6a3ce929d0e0e4736",
        target: b"/\xd6\xd0?100%",
        client: Some("2001:db8::1".parse().unwrap()),
        ..EXCHANGE
    }
}

#[test]
fn lines_as_they_are() {
    let expected = concat!(
        r#"{"time":"2026-11-22T04:00:00.007Z","client":"192.0.2.7","method":"GET","scheme":"https","host":"jyj.old.example","#,
        r#""target":"/a.htm?id=7","protocol":"HTTP/1.1","status":301,"outcome":"redirect","site":"lanjiang/jyj","#,
        r#""location":"https://www.new.example/a","rule":"lanjiang/jyj.csv:12","sent":0,"took":1.000042,"lane":"fast","#,
        r#""referer":"https://search.example/?q=\"a\"","user_agent":"Mozilla/5.0"}"#,
        "\n"
    );
    assert_eq!(line(LogFormat::Json, &EXCHANGE), expected);
    let combined = concat!(
        r#"192.0.2.7 - - [22/Nov/2026:12:00:00 +0800] "GET /a.htm?id=7 HTTP/1.1" 301 0 "#,
        r#""https://search.example/?q=\x22a\x22" "Mozilla/5.0""#,
        "\n"
    );
    assert_eq!(line(LogFormat::Combined, &EXCHANGE), combined);
    assert_eq!(line(LogFormat::VhostCombined, &EXCHANGE), format!("jyj.old.example:443 {combined}"));
    for (host, shown) in
        [("a.example:8080", "a.example:8080 "), ("[::1]", "[::1]:443 "), ("", "-:443 "), ("a b:", "a\\x20b::443 ")]
    {
        let line = line(LogFormat::VhostCombined, &Exchange { host: host.as_bytes(), ..EXCHANGE });
        assert!(line.starts_with(shown), "{line}");
    }
    let nobody = Exchange { client: None, referer: b"", status: 0, target: b"/\" 200 \"\n", ..EXCHANGE };
    let combined =
        "- - - [22/Nov/2026:12:00:00 +0800] \"GET /\\x22 200 \\x22\\x0A HTTP/1.1\" 000 0 \"-\" \"Mozilla/5.0\"\n";
    assert_eq!(line(LogFormat::Combined, &nobody), combined);
}

#[test]
fn every_field_is_there_in_its_order_and_is_read() {
    let line = line(LogFormat::Json, &full());
    let keys: Vec<&str> = fields::ALL.iter().map(|field| field.name).collect();
    let places: Vec<usize> =
        fields::ALL.iter().map(|field| line.find(&format!("\"{}\":", field.name)).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    let Value::Object(object) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    assert_eq!(object.len(), keys.len());

    let record = Record::of_line(line.as_bytes()).unwrap();
    assert_eq!((&*record.time, &*record.client, &*record.method), ("2026-11-22T04:00:00.007Z", "2001:db8::1", "GET"));
    assert_eq!((&*record.scheme, &*record.host, &*record.target), ("https", "jyj.old.example", "/%D6%D0?100%25"));
    assert_eq!(*record.target_bytes(), *b"/\xd6\xd0?100%");
    assert_eq!(*record.host_bytes(), *EXCHANGE.host);
    assert_eq!((&*record.protocol, record.status, &*record.outcome), ("HTTP/1.1", 301, "redirect"));
    assert_eq!((&*record.reason, record.unmapped, &*record.site), ("waf", true, "lanjiang/jyj"));
    assert_eq!((&*record.location, &*record.rule), ("https://www.new.example/a", "lanjiang/jyj.csv:12"));
    assert_eq!((&*record.platform, &*record.cache, record.sent), ("青山", "waypost; hit", u64::MAX));
    assert_eq!((record.received, record.took, &*record.lane), (9, 1.000042, "fast"));
    assert_eq!((&*record.referer, &*record.user_agent), ("https://search.example/?q=\"a\"", "Mozilla/5.0"));
    assert_eq!((&record.tags, &*record.trace), (&vec!["school".into(), "old".into()], full().trace));
    assert_eq!(record.escaped, ["target"]);
    for (format, with_host) in [(LogFormat::Combined, false), (LogFormat::VhostCombined, true)] {
        let mut lines = CombinedLines::new(with_host);
        lines.0 = Lines::new(format, tz::TimeZone::fixed(tz::offset(8)));
        let mut out = Vec::new();
        lines.write(&record, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), self::line(format, &full()));
    }
    // What a later version adds is no reason not to read the rest.
    assert!(Record::of_line(br#"{"target":"/","new":[1]}"#).is_some());
    assert!(Record::of_line(b"192.0.2.7 - - []").is_none());
}

proptest! {
    #[test]
    fn whatever_was_sent_is_one_line_and_is_had_back(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 5),
        words in prop::collection::vec(any::<String>(), 3),
        (at, took, status) in (-62_000_000_000_000_000_i64..250_000_000_000_000_000, any::<u32>(), any::<u16>()),
    ) {
        let exchange = Exchange {
            at, took, status,
            host: &texts[0], target: &texts[1], cache: &texts[2], referer: &texts[3], user_agent: &texts[4],
            method: &words[0], location: &words[1], file: &words[2],
            ..EXCHANGE
        };
        let line = line(LogFormat::Json, &exchange);
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let record = Record::of_line(line.as_bytes()).unwrap();
        for (name, read, sent) in [
            ("host", &record.host, &texts[0]),
            ("target", &record.target, &texts[1]),
            ("cache", &record.cache, &texts[2]),
            ("referer", &record.referer, &texts[3]),
            ("user_agent", &record.user_agent, &texts[4]),
        ] {
            prop_assert_eq!(&*record.bytes(name, read), &sent[..]);
        }
        prop_assert_eq!((&*record.method, &*record.location), (&*words[0], &*words[1]));
        prop_assert_eq!((record.status, (record.took * 1e6).round()), (status, f64::from(took)));
        let time: Timestamp = record.time.parse().unwrap();
        prop_assert_eq!(time.as_millisecond(), at.div_euclid(1000));
        for format in [LogFormat::Combined, LogFormat::VhostCombined] {
            let line = self::line(format, &exchange);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert!(line[..line.len() - 1].bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(line.matches('"').count(), 6);
        }
    }
}

#[test]
fn a_file_ends_at_local_midnight_and_when_it_is_long_enough() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 1000;
    let mut log = place.log();
    for number in 0..4 {
        tell(&mut log, &format!("/{number}"));
        log.pause();
    }
    assert_eq!(place.names(), ["access-2026-11-22.001.log", "access.log"]);
    place.pass(12 * 3600 - 1);
    tell(&mut log, "/late");
    log.pause();
    place.pass(1);
    log.pause();
    let of_first_day = [1, 2, 3].map(|number| format!("access-2026-11-22.00{number}.log"));
    assert_eq!(place.names()[..3], of_first_day);
    assert_eq!(fs::metadata(place.path(CURRENT)).unwrap().len(), 0);
    // An empty file is of no day.
    place.pass(3 * DAY);
    log.pause();
    tell(&mut log, "/4");
    log.end();
    assert_eq!(place.names().len(), 4);
    assert_eq!(place.targets(), ["/0", "/1", "/2", "/3", "/late", "/4"]);
    // The next start finds a file of a day before.
    place.pass(DAY);
    let mut log = place.log();
    tell(&mut log, "/5");
    log.end();
    assert_eq!(place.names()[3], "access-2026-11-26.001.log");
    assert_eq!(log.stats.lines(), 1);
}

#[test]
fn a_file_system_with_another_clock_begins_no_more_files() {
    let place = Place::new();
    for ahead in [-DAY, DAY] {
        let mut log = place.log();
        for number in 0..10 {
            tell(&mut log, &format!("/{number}"));
            log.pause();
            let time = Timestamp::from_second(place.second.load(Ordering::Relaxed) + ahead).unwrap();
            File::open(place.path(CURRENT)).unwrap().set_modified(time.into()).unwrap();
        }
        log.end();
        assert_eq!((place.names().len(), place.targets().len()), (1, 10));
        fs::remove_file(place.path(CURRENT)).unwrap();
    }
}

#[test]
fn what_is_moved_or_removed_begins_anew() {
    let place = Place::new();
    let mut log = place.log();
    tell(&mut log, "/0");
    log.pause();
    // As logrotate does it.
    fs::rename(place.path(CURRENT), place.base.path().join("moved")).unwrap();
    log.pause();
    tell(&mut log, "/1");
    log.pause();
    assert_eq!(place.targets(), ["/1"]);
    assert_eq!(fs::read_to_string(place.base.path().join("moved")).unwrap().lines().count(), 1);
    fs::remove_dir_all(&place.settings.folder).unwrap();
    tell(&mut log, "/2");
    log.pause();
    assert_eq!(place.targets(), ["/2"]);
    // A file that is cut (`copytruncate`) goes on.
    File::options().write(true).open(place.path(CURRENT)).unwrap().set_len(0).unwrap();
    tell(&mut log, "/3");
    log.end();
    assert_eq!(place.targets(), ["/3"]);
    assert!(!log.stats.is_failing() && log.stats.lost() == 0);
}

#[test]
fn a_full_disk_loses_no_more_than_there_is_room_for() {
    let place = Place::new();
    let mut log = place.log();
    tell(&mut log, "/0");
    log.pause();
    let length = fs::metadata(place.path(CURRENT)).unwrap().len();
    // Space for two lines, and a half.
    place.space.store(length as usize * 5 / 2, Ordering::Relaxed);
    (1..5).for_each(|number| tell(&mut log, &format!("/{number}")));
    log.pause();
    assert_eq!(place.targets(), ["/0", "/1", "/2"], "no half line");
    assert!(log.stats.is_failing());
    assert_eq!((log.stats.lines(), log.stats.lost()), (3, 0));
    place.space.store(usize::MAX, Ordering::Relaxed);
    log.pause();
    assert_eq!(place.targets(), ["/0", "/1", "/2", "/3", "/4"]);
    assert!(!log.stats.is_failing());

    place.space.store(0, Ordering::Relaxed);
    let long = "x".repeat(1 << 20);
    (0..10).for_each(|number| tell(&mut log, &format!("/{number}{long}")));
    assert!(log.stats.is_failing());
    assert_eq!(log.stats.lost(), 6, "four MiB wait");
    place.space.store(usize::MAX, Ordering::Relaxed);
    log.pause();
    tell(&mut log, "/end");
    log.end();
    assert_eq!((place.targets().len(), log.stats.lines(), log.stats.lost()), (10, 10, 6));
    assert!(!log.stats.is_failing());

    place.space.store(0, Ordering::Relaxed);
    tell(&mut log, "/lost");
    log.end();
    assert_eq!(log.stats.lost(), 7, "what can't be written at the end is told, too");
}

#[test]
fn a_real_device_that_is_full() {
    let place = Place::new();
    fs::create_dir(&place.settings.folder).unwrap();
    symlink("/dev/full", place.path(CURRENT)).unwrap();
    let mut log = AccessLog::within(&place.settings, World::real());
    tell(&mut log, "/0");
    log.pause();
    assert!(log.stats.is_failing());
    fs::remove_file(place.path(CURRENT)).unwrap();
    log.end();
    assert!(!log.stats.is_failing());
    assert_eq!(place.targets(), ["/0"]);
}

#[test]
fn a_folder_that_is_none_is_tried_again() {
    let place = Place::new();
    fs::write(&place.settings.folder, "a file").unwrap();
    let (mut log, stats) = AccessLog::open(&place.settings).unwrap();
    assert!(stats.is_failing());
    tell(&mut log, "/0");
    log.pause();
    fs::remove_file(&place.settings.folder).unwrap();
    log.pause();
    assert!(!stats.is_failing());
    log.end();
    assert_eq!(place.targets(), ["/0"]);
    let off = AccessLogSettings { format: LogFormat::Off, ..place.settings.clone() };
    assert!(AccessLog::open(&off).is_none());
}

#[test]
fn half_a_line_of_a_crash_is_removed() {
    let place = Place::new();
    let mut log = place.log();
    tell(&mut log, "/0");
    log.end();
    let mut file = File::options().append(true).open(place.path(CURRENT)).unwrap();
    file.write_all(b"{\"time\":\"2026-11-2").unwrap();
    file.set_modified((place.world.now)().into()).unwrap();
    let mut log = place.log();
    tell(&mut log, "/1");
    log.end();
    assert_eq!(place.targets(), ["/0", "/1"]);
}

#[test]
fn two_processes_write_whole_lines_and_rotate() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 20_000;
    let write = &|name: &str| {
        let mut log = place.log();
        for number in 0..2000 {
            tell(&mut log, &format!("/{name}/{number}"));
            if number % 7 == 0 {
                log.pause();
            }
        }
        log.end();
        assert_eq!((log.stats.lines(), log.stats.lost()), (2000, 0));
    };
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            scope.spawn(move || write(name));
        }
        // Meanwhile, files that are done are compressed.
        let mut archive = place.log().archive();
        (0..20).for_each(|_| archive.round());
    });
    let targets = place.targets();
    assert_eq!(targets.len(), 4000);
    for name in ["/a/", "/b/"] {
        let of_one: Vec<&String> = targets.iter().filter(|target| target.starts_with(name)).collect();
        let numbers: Vec<usize> = of_one.iter().map(|target| target[3..].parse().unwrap()).collect();
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>(), "each once, in order");
    }
}

#[test]
fn what_is_done_is_compressed_whatever_was_there() {
    let place = Place::new();
    let mut log = place.log();
    for day in 0..3 {
        tell(&mut log, &format!("/{day}"));
        log.pause();
        place.pass(DAY);
    }
    log.pause();
    // As a crash leaves it: half a compressed file, and one whose original has not been removed.
    fs::write(place.path(".access.gz.part"), "half").unwrap();
    fs::write(place.path("access-2026-11-23.001.log.gz"), "rubbish").unwrap();
    let mut archive = log.archive();
    archive.round();
    let gz = |day: i64| format!("access-2026-11-{day}.001.log.gz");
    assert_eq!(place.names(), [gz(22), gz(23), gz(24), "access.log".to_owned()]);
    assert_eq!(place.targets(), ["/0", "/1", "/2"]);
    assert!(!place.path(".access.gz.part").exists());
    // Of the day that it has lines of.
    let modified = fs::metadata(place.path(&gz(22))).unwrap().modified().unwrap();
    assert_eq!(Timestamp::try_from(modified).unwrap().as_second(), NOON);
    assert_eq!(log.stats.oldest(), NOON - 12 * 3600);
    let bytes: u64 = place.names().iter().map(|name| fs::metadata(place.path(name)).unwrap().len()).sum();
    assert_eq!(log.stats.bytes(), bytes);
    // What has to stop leaves everything as it was.
    tell(&mut log, "/3");
    log.pause();
    place.pass(DAY);
    log.pause();
    let mut stopped = log.archive();
    stopped.stop();
    stopped.round();
    assert!(place.names().contains(&"access-2026-11-25.001.log".to_owned()) && place.targets().len() == 4);
}

fn keep_file(folder: &Path, day: &str, bytes: usize) {
    fs::write(folder.join(format!("access-{day}.001.log.gz")), vec![0; bytes]).unwrap();
}

#[test]
fn files_are_kept_for_as_long_as_they_should_be() {
    let mut place = Place::new();
    place.settings.keep = 2;
    place.settings.max_bytes = 1000;
    let mut log = place.log();
    tell(&mut log, "/");
    log.end();
    let current = fs::metadata(place.path(CURRENT)).unwrap().len() as usize;
    for day in ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21"] {
        keep_file(&place.settings.folder, day, 10);
    }
    fs::write(place.path("notes.txt"), "somebody's").unwrap();
    let mut archive = log.archive();
    archive.round();
    let gz = |day: i64| format!("access-2026-11-{day}.001.log.gz");
    assert_eq!(place.names(), [gz(20), gz(21), CURRENT.to_owned(), "notes.txt".to_owned()], "two whole days");
    assert!(!log.stats.is_short());

    // Two files are too much together.
    keep_file(&place.settings.folder, "2026-11-21", 1000 - current - 9);
    archive.round();
    assert_eq!(place.names(), [gz(21), CURRENT.to_owned(), "notes.txt".to_owned()]);
    assert!(log.stats.is_short());
    // A restart forgets nothing; the day on which all is there again ends it.
    let log = place.log();
    log.archive().round();
    assert!(log.stats.is_short());
    place.pass(DAY);
    log.archive().round();
    assert!(!log.stats.is_short());
}
