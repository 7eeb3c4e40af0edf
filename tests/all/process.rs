//! The process: what it listens on, how it ends, and how another takes over from it. With the real program.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tempfile::TempDir;

use crate::client::Conn;
use crate::program::{Program, Successor, signal, until, waypost};

const SITE: &str =
    "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\n[[rule]]\nfrom = \"/v\"\ntext = \"1\"\n";

/// A folder with gateway.toml and routes.
fn folder(listen: &str, process: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    fs::write(folder.path().join("routes/a.toml"), SITE).unwrap();
    let text = format!(
        "[listen]\n{listen}\nadmin = \"127.0.0.1:0\"\nthreads = 2\n[process]\ndirectory = \"control\"\n{process}\n[reload]\nwatch = false\n"
    );
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    folder
}

fn text(address: SocketAddr) -> String {
    Conn::new(address).get("old.example", "/v").text()
}

#[test]
fn sigterm_drains() {
    let folder = folder("http = [\"127.0.0.1:0\"]", "lame-duck = 300");
    let mut program = Program::start(folder.path());
    let (address, admin) = (program.http[0], program.admin);
    let mut idle = Conn::new(address);
    assert_eq!(idle.get("old.example", "/v").status, 200);
    // A request that is under way: its body is still being sent.
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"POST /v HTTP/1.1\r\nHost: old.example\r\nContent-Length: 4\r\n\r\nab").unwrap();
    program.signal("TERM");
    // The lame duck: readiness says no, connections are still served.
    program.wait_for("are accepted for another");
    assert_eq!(Conn::new(admin).get("localhost", "/readyz").status, 503);
    program.wait_for("connections are open");
    until("the end of listening", || TcpStream::connect(address).is_err());
    assert_eq!(Conn::new(admin).get("localhost", "/readyz").status, 503, "told until the end");
    slow.write_all(b"cd").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n1"), "{answer}");
    assert!(program.end().success());
    assert_eq!(fs::read_dir(folder.path().join("control")).unwrap().count(), 0, "the control socket is gone");
}

#[test]
fn draining_is_bounded_and_a_second_signal_ends_it() {
    for (process, signals) in [("drain = 50", 1), ("drain = 3600000", 2)] {
        let folder = folder("http = [\"127.0.0.1:0\"]", process);
        let mut program = Program::start(folder.path());
        let mut stuck = TcpStream::connect(program.http[0]).unwrap();
        stuck.write_all(b"POST /v HTTP/1.1\r\nHost: old.example\r\nContent-Length: 4\r\n\r\nab").unwrap();
        assert_eq!(text(program.http[0]), "1");
        for _ in 0..signals {
            program.signal("INT");
            program.wait_for(" connections ");
        }
        assert!(program.end().success());
    }
}

#[test]
fn listeners_of_every_kind() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("http.sock");
    for reuse_port in [false, true] {
        let listen = format!(
            "http = [\"[::]:0\", \"127.0.0.1:0\", \"unix:{}\"]\nhttps = [\"127.0.0.1:0\"]\nreuse-port = {reuse_port}",
            path.display()
        );
        let folder = folder(&listen, "");
        let mut program = Program::start(folder.path());
        let [any, local] = program.http[..] else { panic!("{:?}", program.http) };
        let mut addresses = vec![local, ([127, 0, 0, 1], any.port()).into()];
        if any.is_ipv6() {
            addresses.push(SocketAddr::new("::1".parse().unwrap(), any.port()));
        }
        for address in addresses {
            // Enough for every socket of a set to get some.
            for _ in 0..20 {
                assert_eq!(text(address), "1", "{address}");
            }
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /v HTTP/1.1\r\nHost: old.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        program.signal("TERM");
        assert!(program.end().success() && !path.exists());
    }
}

#[test]
fn a_port_is_shared_by_ipv4_and_ipv6() {
    let port = match TcpListener::bind("[::1]:0") {
        Ok(free) => free.local_addr().unwrap().port(),
        // Nothing to share without IPv6.
        Err(_) => return,
    };
    for (v4, reuse_port) in [("0.0.0.0", false), ("127.0.0.1", true)] {
        let folder = folder(&format!("http = [\"{v4}:{port}\", \"[::]:{port}\"]\nreuse-port = {reuse_port}"), "");
        let mut program = Program::start(folder.path());
        for _ in 0..8 {
            assert_eq!(text(SocketAddr::from(([127, 0, 0, 1], port))), "1");
            assert_eq!(text(SocketAddr::new("::1".parse().unwrap(), port)), "1");
        }
        program.signal("QUIT");
        let line = program.wait_for("serves now");
        let pid = line.split("process ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let successor = Successor(pid.parse().unwrap());
        assert!(program.end().success());
        assert_eq!(text(SocketAddr::new("::1".parse().unwrap(), port)), "1");
        signal(successor.0, "TERM");
        until("the end", || TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn what_keeps_it_from_starting_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let any = "http = [\"127.0.0.1:0\"]".to_owned();
    let cases = [
        (format!("http = [\"{port}\"]"), String::new(), format!("{port}: another program has this port")),
        (
            format!("http = [\"{port}\"]\nreuse-port = true"),
            String::new(),
            format!("{port}: another program has this port"),
        ),
        ("http = [\"unix:/no/such/folder/a.sock\"]".to_owned(), String::new(), "its folder is missing".to_owned()),
        (any.clone(), format!("directory = \"{}\"", open.path().display()), "mode 755".to_owned()),
        (any.clone(), "routes".to_owned(), "can't read the routes".to_owned()),
        (
            format!("{any}\nhttps = [\"127.0.0.1:0\"]"),
            "certs".to_owned(),
            "certs/site.key:1: this key has a passphrase, and none was given (put it into a file".to_owned(),
        ),
    ];
    for (listen, process, words) in cases {
        let folder = folder(&listen, "");
        let file = folder.path().join("gateway.toml");
        match process.as_str() {
            "" => {}
            "routes" => fs::remove_dir_all(folder.path().join("routes")).unwrap(),
            "certs" => {
                fs::create_dir(folder.path().join("certs")).unwrap();
                let key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
                fs::write(folder.path().join("certs/site.key"), key).unwrap();
            }
            line => {
                fs::write(&file, fs::read_to_string(&file).unwrap().replace("directory = \"control\"", line)).unwrap()
            }
        }
        let output = waypost(folder.path(), &["serve"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&words) && error.trim().lines().count() == 1, "{words}: {error}");
    }
}

#[test]
fn it_outlives_a_want_of_file_descriptors() {
    let folder = folder("http = [\"127.0.0.1:0\"]", "");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve", env!("CARGO_BIN_EXE_waypost")]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let mut program = Program::start_by(command);
    let address = program.http[0];
    let many: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    program.wait_for("can't accept connections: Too many open files");
    drop(many);
    assert_eq!(text(address), "1");
    program.signal("TERM");
    assert!(program.end().success());
    let complaints = program.lines.iter().filter(|line| line.contains("can't accept")).count();
    assert!(complaints < 4, "{complaints} complaints");
}

/// Clients that never stop asking, on connections of their own for each request and on ones that are kept.
fn under_load<T>(address: SocketAddr, during: impl FnOnce(&dyn Fn()) -> T) -> T {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for kept in [false, false, true, true] {
            let (stop, served) = (&stop, &served);
            scope.spawn(move || {
                let mut conn = Conn::new(address);
                while !stop.load(Ordering::SeqCst) {
                    if !kept {
                        conn = Conn::new(address);
                    }
                    // A connection that is refused, or closed before its first answer, panics here.
                    assert_eq!(conn.get("old.example", "/v").status, 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let traffic = || {
            let before = served.load(Ordering::SeqCst);
            until("traffic", || served.load(Ordering::SeqCst) > before + 100);
        };
        // Or the clients would go on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            traffic();
            let result = during(&traffic);
            traffic();
            result
        }));
        stop.store(true, Ordering::SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn an_upgrade_loses_no_request() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("http.sock");
    for (reuse_port, by_signal) in [(false, true), (true, false)] {
        let listen = format!("http = [\"127.0.0.1:0\", \"unix:{}\"]\nreuse-port = {reuse_port}", path.display());
        let folder = folder(&listen, "");
        let mut program = Program::start(folder.path());
        let (address, admin) = (program.http[0], program.admin);
        let successor = under_load(address, |_| {
            // The new process serves new settings: another text, another number of threads.
            fs::write(folder.path().join("routes/a.toml"), SITE.replace("\"1\"", "\"2\"")).unwrap();
            let file = folder.path().join("gateway.toml");
            let text = fs::read_to_string(&file).unwrap().replace("threads = 2", "threads = 1");
            fs::write(&file, text).unwrap();
            if by_signal {
                program.signal("QUIT");
            } else {
                let output = waypost(folder.path(), &["upgrade", "--json"]).output().unwrap();
                let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(output.status.success() && outcome["error"].is_null(), "{outcome}");
                assert_eq!(outcome["version"], env!("CARGO_PKG_VERSION"));
            }
            let line = program.wait_for("serves now");
            let pid = line.split("process ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
            let successor = Successor(pid.parse().unwrap());
            assert!(program.end().success());
            successor
        });
        assert_eq!(text(address), "2");
        assert_eq!(Conn::new(admin).get("localhost", "/readyz").status, 200);
        UnixStream::connect(&path).unwrap();

        // And once more: the successor is a gateway like any other.
        let output = waypost(folder.path(), &["upgrade"]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.starts_with("upgraded: process "), "{told}");
        let pid: u32 = told.split([' ', ',']).nth(2).unwrap().parse().unwrap();
        let last = Successor(pid);
        assert_ne!(pid, successor.0);
        assert_eq!(text(address), "2");
        signal(pid, "TERM");
        until("the end", || !path.exists() && TcpStream::connect(address).is_err());
        drop((successor, last));
        assert!(!waypost(folder.path(), &["upgrade"]).output().unwrap().status.success());
    }
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("http.sock");
    let listen = format!("http = [\"127.0.0.1:0\", \"unix:{}\"]\nreuse-port = true", path.display());
    let folder = folder(&listen, "");
    let file = folder.path().join("gateway.toml");
    let good = fs::read_to_string(&file).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Program::start(folder.path());
    let address = program.http[0];
    under_load(address, |traffic| {
        // It fails when it reads its settings, and when it has the sockets and binds one more.
        let taken = taken.local_addr().unwrap();
        let unbindable = format!("http = [\"{taken}\", ");
        // It would have more sockets of the first address by then, if it shared the port before it is ready.
        let late = format!("http = [\"127.0.0.1:0\", \"{taken}\", ");
        for (bad, words) in [
            (good.replace("threads", "thread"), "unknown"),
            (good.replace("http = [", &unbindable), "another program has this port"),
            (
                good.replace("http = [\"127.0.0.1:0\", ", &late).replace("threads = 2", "threads = 8"),
                "another program has this port",
            ),
        ] {
            fs::write(&file, &bad).unwrap();
            program.signal("QUIT");
            program.wait_for(words);
            let line = program.wait_for("upgrade: failed");
            assert!(line.contains("ended before it was ready"), "{line}");
            traffic();
        }
    });
    // Asked by an operator.
    fs::write(&file, &good).unwrap();
    fs::rename(folder.path().join("routes"), folder.path().join("elsewhere")).unwrap();
    let output = waypost(folder.path(), &["upgrade", "--json"]).output().unwrap();
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{outcome}");
    assert!(outcome["error"].as_str().unwrap().contains("ended before it was ready"), "{outcome}");
    assert_eq!(text(address), "1");
    UnixStream::connect(&path).unwrap();
    program.signal("TERM");
    assert!(program.end().success() && !path.exists());
}
