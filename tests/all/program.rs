//! The real program, for tests that start, signal and replace it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The program, not yet started, in a folder.
pub fn waypost(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command
}

/// The program, and whatever took over from it: they share the pipes that they print to.
pub struct Program {
    child: Child,
    /// What it prints.
    pub lines: mpsc::Receiver<String>,
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub admin: SocketAddr,
}

impl Program {
    pub fn start(folder: &Path) -> Self {
        Self::start_by(waypost(folder, &["serve"]))
    }

    pub fn start_by(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        for pipe in
            [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())]
        {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        drop(sender);
        let mut program =
            Program { child, lines, http: Vec::new(), https: Vec::new(), admin: ([127, 0, 0, 1], 0).into() };
        program.read_welcome();
        program
    }

    /// Reads to the end of what is printed at start, and keeps the addresses.
    fn read_welcome(&mut self) {
        loop {
            let line = self.line();
            match line.split_once(' ').map(|(word, rest)| (word, rest.trim())) {
                Some(("http", url)) => self.http.extend(address(url)),
                Some(("https", url)) => self.https.extend(address(url)),
                // Or a Unix socket, whose path the test knows.
                Some(("admin", url)) => self.admin = address(url).unwrap_or(self.admin),
                Some(("routes", _)) => return,
                _ => {}
            }
        }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Waits for a line with these words.
    pub fn wait_for(&self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("no {words:?} in {seen:#?}") };
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that took over, which is nobody's child.
pub struct Successor(pub u32);

impl Drop for Successor {
    fn drop(&mut self) {
        // It has ended by itself, if all went well, and its number may be another's.
        let program = fs::read_link(format!("/proc/{}/exe", self.0));
        if program.is_ok_and(|program| program == Path::new(env!("CARGO_BIN_EXE_waypost"))) {
            signal(self.0, "KILL");
        }
    }
}

/// The address in a URL; none if it is no address of the internet.
fn address(url: &str) -> Option<SocketAddr> {
    url.split("://").nth(1)?.split('/').next()?.parse().ok()
}

/// Sends a signal, by its name.
pub fn signal(pid: u32, name: &str) {
    // It may have ended.
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Nothing here takes longer, or it hangs.
const PATIENCE: Duration = Duration::from_secs(90);
