//! In a real PostgreSQL, which several gateways share.
//!
//! Needs Debian's `postgresql`, and says `skipped` where it is absent: `tests/run` installs it, and fails where it is still
//! absent. The server is the test's own, in a temporary folder, on a Unix socket.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use tempfile::TempDir;
use waypost::{
    config::{HitsDatabase, HitsSettings},
    hits::{By, Query, Reader},
    telemetry::{Consumer, Exchange},
};

use super::{Counting, all, hit, reader, redirected, settings};
use crate::program::until;

#[test]
fn several_gateways_add_up() {
    let Some(server) = Server::start() else {
        // Past the harness, which shows no output of a test that passes.
        let _ = writeln!(io::stderr(), "skipped: there is no PostgreSQL in {PROGRAMS}");
        return;
    };
    two_nodes(&server);
    restarts(&server);
    commits_of_which_nobody_learns(&server);
    passwords(&server);
    days_become_months_once(&server);
    crate::monitor::fleet(&server.database("visits"));
}

/// Two gateways count at the same time, the same URLs and others.
fn two_nodes(server: &Server) {
    let settings = server.database("two_nodes");
    thread::scope(|scope| {
        for node in ["x", "y"] {
            let settings = &settings;
            scope.spawn(move || {
                let mut counting = Counting::new(settings);
                for round in 0..20 {
                    for n in 0..50 {
                        counting.count(hit("a", &format!("/{n}")));
                        counting.count(redirected("a", &format!("/{node}/{round}/{n}")));
                    }
                    counting.flush();
                }
                counting.collector.end();
                assert_eq!((counting.stats.written(), counting.stats.lost()), (2_000, 0));
            });
        }
    });
    let mut reader = reader(&settings);
    assert_eq!(reader.sum(&all()).unwrap().hits, 4_000);
    assert_eq!(reader.named(&all()).unwrap(), 4_000);
    let urls = reader.urls(&Query { site: Some("a"), unmapped: true, ..all() }).unwrap();
    assert!(urls.len() == 50 && urls.iter().all(|url| url.hits == 40), "{urls:?}");
    assert_eq!(reader.groups(&all(), By::Day).unwrap().len(), 1);
    assert_eq!(reader.groups(&all(), By::Referrer).unwrap(), []);
    let pairs = reader.pairs(&all(), By::Month, By::Site).unwrap();
    assert!(pairs.len() == 1 && pairs[0].0 == "2026-11" && pairs[0].2.hits == 4_000, "{pairs:?}");
}

/// The server crashes again and again while two gateways write.
fn restarts(server: &Server) {
    let settings = server.database("restarts");
    let ends = AtomicBool::new(false);
    let (counted, flushes) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counting = Counting::new(&settings);
                while !ends.load(Ordering::Acquire) {
                    for n in 0..100 {
                        counting.count(hit("a", &format!("/{n}")));
                    }
                    counted.fetch_add(100, Ordering::AcqRel);
                    counting.flush();
                    flushes.fetch_add(1, Ordering::AcqRel);
                }
                counting.collector.end();
                assert_eq!(counting.stats.lost(), 0);
            });
        }
        for _ in 0..4 {
            let before = flushes.load(Ordering::Acquire);
            until("flushes", || flushes.load(Ordering::Acquire) > before + 3);
            server.control(&["restart", "-m", "immediate"]);
        }
        ends.store(true, Ordering::Release);
    });
    let mut reader = reader(&settings);
    assert_eq!(reader.sum(&all()).unwrap().hits, u64::from(counted.load(Ordering::Acquire)));
    assert_eq!(reader.named(&all()).unwrap(), u64::from(counted.load(Ordering::Acquire)));
}

/// The connection breaks when a commit has been sent, before its answer: it is done, and the gateway can't know.
fn commits_of_which_nobody_learns(server: &Server) {
    let direct = server.database("commits");
    let cut = Cut::new(server, 3);
    let through = HitsSettings {
        database: Some(HitsDatabase::Postgres { url: cut.url("commits"), password: None }),
        ..direct.clone()
    };
    let mut counting = Counting::new(&through);
    for _ in 0..5 {
        counting.count(hit("a", "/"));
        counting.flush();
    }
    counting.collector.end();
    assert_eq!(cut.left.load(Ordering::Acquire), 0, "three commits were cut off");
    assert!(counting.stats.failures() >= 3);
    assert_eq!((counting.stats.written(), counting.stats.lost()), (5, 0));
    assert_eq!(reader(&direct).sum(&all()).unwrap().hits, 5, "each is counted once");
}

/// A server that asks for a password gets it from a file.
fn passwords(server: &Server) {
    server.sql("postgres", "CREATE ROLE waypost LOGIN PASSWORD 'p&w =+%'");
    let settings = server.database("passwords");
    server.sql("passwords", "GRANT ALL ON SCHEMA public TO waypost");
    server.access("local all waypost scram-sha-256\nlocal all all trust\n");
    let file = server.folder.path().join("password");
    fs::write(&file, "p&w =+%\n").unwrap();
    let Some(HitsDatabase::Postgres { url, .. }) = &settings.database else { unreachable!() };
    let url = url.replace("postgres@", "waypost@");
    let wrong = HitsDatabase::Postgres { url: url.clone(), password: None };
    assert!(Reader::open(&wrong).is_err());
    let database = Some(HitsDatabase::Postgres { url, password: Some(file) });
    let settings = HitsSettings { database, ..settings };
    let mut counting = Counting::new(&settings);
    counting.count(hit("a", "/"));
    counting.flush();
    counting.collector.end();
    assert_eq!(reader(&settings).sum(&all()).unwrap().hits, 1);
}

/// Two gateways keep the house at the same time.
fn days_become_months_once(server: &Server) {
    let settings = server.database("months");
    let today = jiff::Timestamp::now().as_second();
    let mut counting = Counting::new(&settings);
    for days in 0..60 {
        let at = (today - days * 86_400) * 1_000_000;
        counting.count(Exchange { at, ..hit("a", "/") });
        counting.flush();
    }
    counting.collector.end();
    let settings = HitsSettings { keep_days: 20, ..settings };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut counting = Counting::new(&settings);
                counting.count(Exchange { at: today * 1_000_000, ..hit("a", "/") });
                counting.flush();
                counting.collector.end();
            });
        }
    });
    let mut reader = reader(&settings);
    assert_eq!(reader.sum(&all()).unwrap().hits, 62);
    assert_eq!(reader.named(&all()).unwrap(), 62);
    let days = reader.groups(&all(), By::Day).unwrap();
    assert_eq!(days.iter().filter(|group| group.name.len() == 10).count(), 21, "{days:?}");
}

/// A server of the test's own.
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
}

impl Server {
    /// None if there is no PostgreSQL.
    pub fn start() -> Option<Self> {
        let versions = fs::read_dir(PROGRAMS).ok()?.filter_map(Result::ok);
        let programs = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file())?;
        let server = Server { folder: tempfile::tempdir().unwrap(), programs };
        // It refuses to be run by root.
        if server.is_root() {
            let folder = server.folder.path().to_str().unwrap();
            assert!(Command::new("chown").args(["postgres", folder]).status().unwrap().success());
        }
        let data = server.data();
        server.run("initdb", &["--auth=trust", "--username=postgres", "--encoding=UTF8", "--pgdata", &data]);
        server.control(&["start"]);
        Some(server)
    }

    fn is_root(&self) -> bool {
        let id = Command::new("id").arg("-u").output().unwrap();
        id.stdout.trim_ascii() == b"0"
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_str().unwrap().to_owned()
    }

    fn run(&self, program: &str, args: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if self.is_root() { Command::new("runuser") } else { Command::new(&program) };
        if self.is_root() {
            command.args(["-u", "postgres", "--"]).arg(&program);
        }
        // What it says goes to a file: the server would keep a pipe open.
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let is_fine = command.status().unwrap().success();
        assert!(is_fine, "{args:?}: {}", fs::read_to_string(self.folder.path().join("log")).unwrap());
    }

    fn control(&self, args: &[&str]) {
        let sockets = self.folder.path().to_str().unwrap();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{sockets}'");
        let data = self.data();
        self.run("pg_ctl", &[&["--wait", "--pgdata", &data, "--options", &options], args].concat());
    }

    /// Who needs which password.
    fn access(&self, text: &str) {
        fs::write(Path::new(&self.data()).join("pg_hba.conf"), text).unwrap();
        self.run("pg_ctl", &["--pgdata", &self.data(), "reload"]);
    }

    fn sql(&self, database: &str, sql: &str) {
        let sockets = self.folder.path().to_str().unwrap();
        self.run("psql", &["-h", sockets, "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", sql]);
    }

    /// A new database, and settings to count there.
    pub fn database(&self, name: &str) -> HitsSettings {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        let url = format!("postgres://postgres@localhost/{name}?host={}", self.folder.path().display());
        settings(HitsDatabase::Postgres { url, password: None })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not `run`, which may panic.
        let data = self.data();
        let program = self.programs.join("pg_ctl");
        let mut command = if self.is_root() { Command::new("runuser") } else { Command::new(&program) };
        if self.is_root() {
            command.args(["-u", "postgres", "--"]).arg(&program);
        }
        let stop = ["--wait", "--pgdata", &data, "--mode", "immediate", "stop"];
        let _ = command.args(stop).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// What stands between a gateway and a server: it lets a commit through, and breaks the connection before its answer.
struct Cut {
    folder: TempDir,
    /// Commits that are still to be cut off.
    left: Arc<AtomicU32>,
}

impl Cut {
    fn new(server: &Server, commits: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let left = Arc::new(AtomicU32::new(commits));
        let (upstream, own) = (server.folder.path().join(SOCKET), left.clone());
        // Ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&upstream).unwrap();
                let (left, mut answers) = (own.clone(), (server.try_clone().unwrap(), client.try_clone().unwrap()));
                let is_cut = Arc::new(AtomicBool::new(false));
                let told = is_cut.clone();
                let back = thread::spawn(move || {
                    let mut bytes = [0; 8192];
                    while let Ok(read @ 1..) = answers.0.read(&mut bytes) {
                        // The server has answered the commit: it is done, and nobody is told.
                        if told.load(Ordering::Acquire) || answers.1.write_all(&bytes[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = answers.1.shutdown(Shutdown::Both);
                    let _ = answers.0.shutdown(Shutdown::Both);
                });
                thread::spawn(move || forward(client, server, &left, &is_cut, back));
            }
        });
        Cut { folder, left }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.path().display())
    }
}

fn forward(
    mut client: UnixStream,
    mut server: UnixStream,
    left: &AtomicU32,
    is_cut: &AtomicBool,
    back: thread::JoinHandle<()>,
) {
    let (mut bytes, mut is_writing) = ([0; 8192], false);
    while let Ok(read @ 1..) = client.read(&mut bytes) {
        let bytes = &bytes[..read];
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        // The commits of batches, not those of making tables.
        is_writing |= has(b"INSERT INTO hits_batches");
        if is_writing && has(b"COMMIT\0") {
            is_writing = false;
            let cut = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
            is_cut.store(cut, Ordering::Release);
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
}

/// Where Debian has them, by version.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// The name of a server's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";
