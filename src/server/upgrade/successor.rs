//! The old process's part: starts a new one, gives it the sockets and waits until it is ready.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::control::{Control, NAME};
use super::predecessor::VARIABLE;
use super::wire::{self, Outcome, Ready, Request};
use crate::config::Address;
use crate::server::sockets::Sockets;

/// How long a new process may take to be ready: it loads its routes first.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How this process was started.
pub(in crate::server) struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// A new process that serves.
pub(in crate::server) struct Successor {
    /// Its number.
    pub(in crate::server) pid: u32,
    version: String,
    /// The listeners that it took over.
    kept: Vec<String>,
}

impl Start {
    /// Remembers how this process was started. The program is kept by its name, so that a file put in its place, or a
    /// link that was switched, is the new version.
    pub(in crate::server) fn of_this_process() -> Self {
        let mut arguments = env::args_os();
        let program = arguments.next().map(PathBuf::from).unwrap_or_default();
        let program = match program.components().count() {
            0 => env::current_exe().unwrap_or_default(),
            // Found by the search path, now and later.
            1 if program.is_relative() => program,
            _ => env::current_dir().map(|folder| folder.join(&program)).unwrap_or(program),
        };
        Start { program, arguments: arguments.collect() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // The service manager's watchdog is meant for whoever is the main process.
        command.args(&self.arguments).env_remove("WATCHDOG_PID");
        command
    }
}

impl Successor {
    /// Starts a new process and hands the sockets to it; when this returns well, it serves. To be dropped when the
    /// gateway has to end: then the new process ends too.
    ///
    /// # Errors
    /// If it did not become ready; it has ended, and everything is as before.
    pub(in crate::server) async fn start(
        start: &Start,
        control: &mut Control,
        sockets: &Sockets,
    ) -> Result<Self, String> {
        if std::process::id() == 1 {
            return Err("this is process 1, with which its container would end: start a new container".to_owned());
        }
        let Address::Unix(path) = control.socket.address().clone() else { return Err("no control socket".to_owned()) };
        let program = start.program.display();
        let child = start.command().env(VARIABLE, &path).spawn();
        let mut child = Unready(Some(child.map_err(|error| format!("can't start {program}: {error}"))?));
        let deadline = Instant::now() + PATIENCE;
        match Self::accompany(child.process(), control, sockets, deadline).await {
            Ok(ready) => Ok(Successor { pid: child.release(), version: ready.version, kept: ready.kept }),
            Err(failure) => {
                // It may have begun to accept, so it must be gone before anything else happens. An error means that
                // it is.
                let _ = child.process().kill().await;
                Err(failure)
            }
        }
    }

    async fn accompany(
        child: &mut Child,
        control: &mut Control,
        sockets: &Sockets,
        deadline: Instant,
    ) -> Result<Ready, String> {
        let mut handing_over: Option<JoinHandle<io::Result<Ready>>> = None;
        loop {
            tokio::select! {
                // It connects and then ends: what it said counts.
                biased;
                ready = joined(&mut handing_over) => {
                    let error = match ready {
                        Ok(ready) => return Ok(ready),
                        Err(error) => error,
                    };
                    // Its end says more than its silence.
                    return Err(match timeout(LAST_WORDS, child.wait()).await {
                        Ok(Ok(status)) => ended(status),
                        _ => format!("the new process did not take over: {error}"),
                    });
                }
                (request, mut stream) = control.next() => match request {
                    Request::Take if handing_over.is_none() => {
                        let offer = offer(control, sockets).map_err(|error| error.to_string())?;
                        handing_over = Some(tokio::task::spawn_blocking(move || hand_over(stream, offer, deadline)));
                    }
                    Request::Take => log::warn!("control socket: a second process wants to take over"),
                    Request::Upgrade => answer(&mut stream, &Outcome::failed("an upgrade is under way already")),
                },
                status = child.wait() => return Err(status.map_or_else(|error| error.to_string(), ended)),
                () = sleep_until(deadline) => {
                    return Err(format!("the new process was not ready after {} s", PATIENCE.as_secs()));
                }
            }
        }
    }

    /// Whether it listens on what has this name now.
    pub(in crate::server) fn kept(&self, name: &str) -> bool {
        self.kept.iter().any(|kept| kept == name)
    }

    /// Leaves the control socket to it, if it took it over.
    pub(in crate::server) fn leave_control(&self, mut control: Control) {
        if self.kept(NAME) {
            control.socket.leave_file();
        }
    }

    /// What an operator is told.
    pub(in crate::server) fn outcome(&self) -> Outcome {
        Outcome { pid: Some(self.pid), version: Some(self.version.clone()), error: None }
    }
}

/// A process that isn't ready yet, and is ended if it never becomes so, whatever the reason.
struct Unready(Option<Child>);

impl Unready {
    fn process(&mut self) -> &mut Child {
        self.0.as_mut().expect("only release takes it out, and consumes this")
    }

    /// It is on its own from now on; its number.
    fn release(mut self) -> u32 {
        self.0.take().and_then(|child| child.id()).unwrap_or_default()
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // An error means that it has ended.
            let _ = child.start_kill();
        }
    }
}

/// Answers an operator who asked for an upgrade.
pub(in crate::server) fn answer(stream: &mut UnixStream, outcome: &Outcome) {
    if let Err(error) = wire::send(stream, outcome) {
        log::debug!("control socket: whoever asked is gone: {error}");
    }
}

fn ended(status: std::process::ExitStatus) -> String {
    format!("the new process ended before it was ready ({status}); its own messages say why")
}

/// The names and handles of all sockets.
fn offer(control: &Control, sockets: &Sockets) -> io::Result<Vec<(String, OwnedFd)>> {
    let named = sockets.all().flat_map(|listener| listener.sockets.iter().map(|socket| (&*listener.name, socket)));
    let all = named.chain([(NAME, &control.socket)]);
    all.map(|(name, socket)| Ok((name.to_owned(), socket.as_fd().try_clone_to_owned()?))).collect()
}

/// Gives everything, and waits for the word.
fn hand_over(mut stream: UnixStream, offer: Vec<(String, OwnedFd)>, deadline: Instant) -> io::Result<Ready> {
    let borrowed: Vec<_> = offer.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
    wire::send_sockets(&mut stream, &borrowed)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    wire::receive(&mut stream)
}

async fn joined(task: &mut Option<JoinHandle<io::Result<Ready>>>) -> io::Result<Ready> {
    match task {
        Some(task) => task.await.map_err(io::Error::other)?,
        None => std::future::pending().await,
    }
}

/// How long the end of a process that went silent is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
