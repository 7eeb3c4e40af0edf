//! The gateway over real sockets: what citizens, load balancers and monitoring see.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use waypost::{
    config::{AccessLogSettings, AdminSettings, Gateway, HitsSettings, Limits},
    server::{self, Running},
};

use crate::client::{Conn, Response};

const SITE: &str = r#"
name  = "青山县教育局"
hosts = ["jyj.old.example", "*.jyj.old.example"]
home  = "https://www.new.example/jyj/"
code  = "4300000012"
archive = "https://archive.example/{timestamp}/{url}"
timestamp = "20190101"
[url]
charset = "gb18030"
keep-query = ["id"]
[[rule]]
from = "/news.asp?classname={name}"
to   = "https://www.new.example/search?q={name}"
[[rule]]
from  = "/mailbox/{*rest}"
serve = "new"
[[rule]]
from = "/verify.txt"
text = "b1946ac9"
"#;

const TABLE: &str = "old,new,status,suggest,archive,note\n\
    /a.htm,https://www.new.example/a,,,,\n\
    /b.htm?id=7,https://www.new.example/b7,302,,,\n\
    /gone.htm,,,https://www.new.example/instead,,\n\
    /科普/,https://www.new.example/kp,,,,\n";

/// The settings that tests run with, on free ports.
pub fn gateway(routes: &Path) -> Gateway {
    let text =
        "[platforms.new]\norigins = [\"http://127.0.0.1:1\"]\nhost = \"www.new.example\"\n[guard]\nmethods = [\"*\"]\n"
            .to_owned();
    let (gateway, faults) = Gateway::parse("gateway.toml", text, Path::new(""));
    assert!(faults.is_empty());
    Gateway {
        // Hidden from the loader.
        admin_settings: AdminSettings { audit: routes.join(".audit.jsonl"), ..gateway.admin_settings },
        access_log: AccessLogSettings { folder: routes.join(".logs"), ..gateway.access_log },
        routes: routes.to_owned(),
        http: vec!["127.0.0.1:0".parse().unwrap()],
        admin: "127.0.0.1:0".parse().unwrap(),
        watch: false,
        debounce: 20,
        // Whoever wants to count says where.
        hits: HitsSettings { database: None, ..gateway.hits },
        // Connections are counted, so none may end because it was used much.
        limits: Limits { requests: 0, ..gateway.limits },
        ..gateway
    }
}

/// A folder with one site that has a bit of everything.
pub fn routes() -> tempfile::TempDir {
    let routes = tempfile::tempdir().unwrap();
    fs::write(routes.path().join("jyj.toml"), SITE).unwrap();
    fs::write(routes.path().join("jyj.csv"), TABLE).unwrap();
    routes
}

fn start(routes: &Path) -> (Running, Conn) {
    let running = server::start(gateway(routes)).unwrap();
    let conn = Conn::new(running.http[0]);
    (running, conn)
}

fn admin(running: &Running, path: &str) -> Response {
    Conn::new(running.admin).get("localhost", path)
}

/// The sum of all series of a metric that have the labels of `series`, such as `name{label="value"}`; 0 if there are none.
pub fn metric(running: &Running, series: &str) -> f64 {
    let labels_of = |series: &str| {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end().strip_suffix('}').unwrap().split(',').map(str::to_owned).collect::<Vec<_>>();
        (name.trim_end().to_owned(), labels)
    };
    let (name, wanted) = labels_of(series);
    let path =
        if name.starts_with("waypost_site_") && name != "waypost_site_faulty" { "/metrics/sites" } else { "/metrics" };
    let text = admin(running, path).text();
    let found = text.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix(&name)?.rsplit_once(' ')?;
        let (rest, labels) = labels_of(series);
        let has = |label: &String| label.is_empty() || labels.contains(label);
        (rest.is_empty() && wanted.iter().all(has)).then(|| value.parse::<f64>().unwrap())
    });
    found.sum()
}

/// Waits until something is so; fails after ten seconds.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn heads_that_are_wrong() {
    let routes = routes();
    let (running, mut conn) = start(routes.path());
    let mut send = |raw: &str| conn.send(raw.as_bytes(), false).unwrap().status;
    assert_eq!(send("GET /a.htm HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(send("GET /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\nHost: jyj.old.example\r\n\r\n"), 400);
    assert_eq!(send("GET /a.htm HTTP/1.0\r\n\r\n"), 404);
    assert_eq!(send("GET /a.htm HTTP/1.0\r\nHost: jyj.old.example\r\n\r\n"), 301);
    assert_eq!(send("GET /a.htm HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
    assert_eq!(send(&format!("GET /{} HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n", "a".repeat(17_000))), 414);
    assert_eq!(send("GET /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n"), 301);
    // The gateway's own health, on any host.
    assert_eq!(send("GET /healthcheck/live HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"), 200);
    running.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let routes = routes();
    let (running, _) = start(routes.path());
    let mut stream = TcpStream::connect(running.http[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let one = |path: &str, last: bool| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: jyj.old.example\r\n{}\r\n",
            if last { "Connection: close\r\n" } else { "" }
        )
    };
    let raw = one("/a.htm", false) + &one("/b.htm?id=7", false) + &one("/", true);
    stream.write_all(raw.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let locations: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("Location: ").or(line.strip_prefix("location: "))).collect();
    assert_eq!(locations, ["https://www.new.example/a", "https://www.new.example/b7", "https://www.new.example/jyj/"]);
    running.stop();
}

#[test]
fn monitoring() {
    let routes = routes();
    let (running, mut conn) = start(routes.path());
    assert_eq!(admin(&running, "/healthz").status, 200);
    assert_eq!(admin(&running, "/readyz").status, 200);
    for _ in 0..3 {
        conn.get("jyj.old.example", "/a.htm");
    }
    conn.get("jyj.old.example", "/no");
    conn.get("unknown.example", "/");
    assert_eq!(metric(&running, "waypost_site_requests_total{outcome=\"redirect\",site=\"jyj\"}"), 3.0);
    assert_eq!(metric(&running, "waypost_site_requests_total{outcome=\"not_found\",site=\"jyj\"}"), 1.0);
    assert_eq!(metric(&running, "waypost_site_requests_total{outcome=\"unknown_host\",site=\"other\"}"), 1.0);
    assert_eq!(metric(&running, "waypost_request_duration_seconds_count"), 5.0);
    assert_eq!(metric(&running, "waypost_snapshot_mappings"), 4.0);
    assert_eq!(metric(&running, "waypost_build_info"), 1.0);
    assert!(metric(&running, "waypost_reload_last_success_timestamp_seconds") > 1.7e9);
    assert_eq!(admin(&running, "/nothing").status, 404);
    running.stop();
}

#[test]
fn a_bad_file_keeps_the_last_good_table() {
    let routes = routes();
    fs::write(
        routes.path().join("other.toml"),
        "name = \"Other\"\nhosts = [\"other.old.example\"]\nhome = \"https://www.new.example/\"\n",
    )
    .unwrap();
    let (running, mut conn) = start(routes.path());
    let a = |conn: &mut Conn| conn.get("jyj.old.example", "/a.htm").header("location").to_owned();

    fs::write(routes.path().join("jyj.csv"), TABLE.replace("example/a,", "example/changed,")).unwrap();
    let report = running.reloader.reload_now().unwrap();
    assert_eq!(report.rebuilt, ["jyj"], "only the changed site is read again");
    assert_eq!(a(&mut conn), "https://www.new.example/changed");

    // One bad row among good changes: nothing of it goes live.
    let bad = TABLE.replace("example/a,", "example/again,") + "/x.htm,https://foreign.example/,,,,\n";
    fs::write(routes.path().join("jyj.csv"), bad).unwrap();
    let report = running.reloader.reload_now().unwrap();
    assert_eq!(report.faulty, ["jyj"]);
    assert_eq!(a(&mut conn), "https://www.new.example/changed");
    assert_eq!(conn.get("jyj.old.example", "/x.htm").status, 404);
    let ready = admin(&running, "/readyz");
    assert_eq!(ready.status, 200, "the gateway goes on serving");
    assert!(ready.text().contains("jyj.csv:6") && ready.text().contains("foreign.example"), "{}", ready.text());
    assert_eq!(metric(&running, "waypost_site_faulty{site=\"jyj\"}"), 1.0);

    // Not even the syntax is right, and another site changes at the same time: that one goes live.
    fs::write(routes.path().join("jyj.toml"), "name = [").unwrap();
    fs::write(
        routes.path().join("other.toml"),
        "name = \"Other\"\nhosts = [\"other.old.example\"]\nhome = \"https://www.new.example/other\"\n",
    )
    .unwrap();
    running.reloader.reload_now().unwrap();
    assert_eq!(a(&mut conn), "https://www.new.example/changed");
    assert_eq!(conn.get("other.old.example", "/").header("location"), "https://www.new.example/other");

    fs::write(routes.path().join("jyj.toml"), SITE).unwrap();
    fs::write(routes.path().join("jyj.csv"), TABLE.replace("example/a,", "example/healed,")).unwrap();
    let report = running.reloader.reload_now().unwrap();
    assert!(report.faulty.is_empty(), "{:?}", report.diagnostics);
    assert_eq!(a(&mut conn), "https://www.new.example/healed");
    assert!(!admin(&running, "/metrics").text().contains("waypost_site_faulty{site=\"jyj\"} 1"));

    fs::remove_file(routes.path().join("other.toml")).unwrap();
    running.reloader.reload_now().unwrap();
    assert_eq!(conn.get("other.old.example", "/").status, 404);
    running.stop();
}

#[test]
fn a_slip_in_one_file_touches_no_other_site() {
    let routes = tempfile::tempdir().unwrap();
    let site = |name: &str, more: &str| format!("name = \"{name}\"\nhosts = [\"{name}.old.example\"]\n{more}");
    // `b` may redirect to platform.example because it is the home of `a`.
    fs::write(routes.path().join("a.toml"), site("a", "home = \"https://platform.example/\"\n")).unwrap();
    let b = "home = \"https://b.new.example/\"\n[[rule]]\nfrom = \"/x\"\nto = \"https://platform.example/x\"\n";
    fs::write(routes.path().join("b.toml"), site("b", b)).unwrap();
    let (running, mut conn) = start(routes.path());
    assert_eq!(conn.get("b.old.example", "/x").status, 301);
    fs::write(routes.path().join("a.toml"), site("a", "hom = \"https://platform.example/\"\n")).unwrap();
    let report = running.reloader.reload_now().unwrap();
    assert_eq!((report.rebuilt, report.faulty), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(conn.get("a.old.example", "/").header("location"), "https://platform.example/");
    assert_eq!(conn.get("b.old.example", "/x").status, 301);
    // Taken away on purpose, it is no target any more; `b` keeps what it had and is reported.
    fs::write(routes.path().join("a.toml"), site("a", "home = \"https://b.new.example/a\"\n")).unwrap();
    assert_eq!(running.reloader.reload_now().unwrap().faulty, ["b"]);
    running.stop();
}

#[test]
fn reloads_under_load_lose_no_request_and_show_no_half_table() {
    let routes = routes();
    // Two rows that always change together: an answer that mixes them saw half a table.
    let table = |n: usize| format!("old,new\n/one,https://www.new.example/{n}\n/two,https://www.new.example/{n}\n");
    fs::write(routes.path().join("jyj.csv"), table(0)).unwrap();
    let (running, _) = start(routes.path());
    let address = running.http[0];
    let (stop, served, live) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut conn = Conn::new(address);
                let version = |answer: Response| -> usize {
                    assert_eq!(answer.status, 301);
                    answer.header("location").rsplit('/').next().unwrap().parse().unwrap()
                };
                while !stop.load(Ordering::SeqCst) {
                    let floor = live.load(Ordering::SeqCst);
                    let one = version(conn.get("jyj.old.example", "/one"));
                    let two = version(conn.get("jyj.old.example", "/two"));
                    assert!(one >= floor && two >= one, "{one} then {two}, after {floor} was live");
                    served.fetch_add(2, Ordering::SeqCst);
                }
                assert_eq!(conn.opened, 1, "no connection was lost");
            });
        }
        for n in 1..=50 {
            let before = served.load(Ordering::SeqCst);
            fs::write(routes.path().join("new.csv.tmp"), table(n)).unwrap();
            fs::rename(routes.path().join("new.csv.tmp"), routes.path().join("jyj.csv")).unwrap();
            running.reloader.reload_now().unwrap();
            live.store(n, Ordering::SeqCst);
            until("traffic between two reloads", || served.load(Ordering::SeqCst) > before + 10);
        }
        stop.store(true, Ordering::SeqCst);
    });
    running.stop();
}

/// Changes that nobody announces: written in place, renamed over, swapped by symbolic link, folder replaced.
#[test]
fn changes_go_live_by_themselves() {
    let base = tempfile::tempdir().unwrap();
    let write = |folder: &str, to: &str| {
        let folder = base.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("jyj.toml"), SITE).unwrap();
        fs::write(folder.join("jyj.csv"), format!("old,new\n/a.htm,https://www.new.example/{to}\n")).unwrap();
        folder
    };
    let link = base.path().join("routes");
    std::os::unix::fs::symlink(write("v1", "first"), &link).unwrap();
    let running = server::start(Gateway { watch: true, ..gateway(&link) }).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let mut live = |to: &str| {
        until(to, || {
            conn.get("jyj.old.example", "/a.htm").header("location") == format!("https://www.new.example/{to}")
        });
    };
    live("first");
    write("v1", "in-place");
    live("in-place");
    fs::write(base.path().join("next.csv"), "old,new\n/a.htm,https://www.new.example/renamed\n").unwrap();
    fs::rename(base.path().join("next.csv"), base.path().join("v1/jyj.csv")).unwrap();
    live("renamed");
    std::os::unix::fs::symlink(write("v2", "swapped"), base.path().join("routes.next")).unwrap();
    fs::rename(base.path().join("routes.next"), &link).unwrap();
    live("swapped");
    write("v2", "after-the-swap");
    live("after-the-swap");
    running.stop();
}

/// The real program: its addresses are printed, SIGHUP reloads, SIGTERM ends it.
struct Program {
    child: Child,
    http: SocketAddr,
    lines: Vec<String>,
}

impl Program {
    fn start(routes: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_waypost"))
            .args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--routes"])
            .arg(routes)
            .current_dir(routes)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From here on it is waited for whatever happens.
        let mut program = Program { child, http: "127.0.0.1:0".parse().unwrap(), lines: Vec::new() };
        let mut reader = BufReader::new(program.child.stdout.take().unwrap());
        // The curl lines come last; the routes line stands before them.
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "it ended: {:?}", program.lines);
            if let Some(address) = line.trim().strip_prefix("http").and_then(|rest| rest.trim().strip_prefix("http://"))
            {
                program.http = address.parse().unwrap();
            }
            let done = line.contains("curl ");
            program.lines.push(line);
            if done {
                return program;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_serves_reloads_and_stops() {
    let routes = routes();
    // The program runs with the defaults, which know no platform.
    fs::write(routes.path().join("jyj.toml"), SITE.replace("serve = \"new\"", "gone = true")).unwrap();
    let mut program = Program::start(routes.path());
    assert!(program.lines[0].starts_with("waypost "), "{:?}", program.lines);
    let mut conn = Conn::new(program.http);
    assert_eq!(conn.get("jyj.old.example", "/a.htm").header("location"), "https://www.new.example/a");
    fs::write(routes.path().join("jyj.csv"), TABLE.replace("example/a,", "example/hup,")).unwrap();
    program.signal("HUP");
    until("SIGHUP", || conn.get("jyj.old.example", "/a.htm").header("location") == "https://www.new.example/hup");
    program.signal("TERM");
    let mut status = None;
    until("the end", || {
        status = program.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let routes = routes();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["--http", &address, "--admin", "127.0.0.1:0", "--routes"])
        .arg(routes.path())
        .current_dir(routes.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&address) && error.trim().lines().count() == 1, "{error}");
}
