//! Changes of the routes, of what the guard reads, and of the certificates go live: watch → read → swap → report.
//!
//! Owns: the [`Loader`], the state that traffic sees ([`Live`]), the certificates ([`Tls`]), the watching of their
//! folders. Routes and certificates are reloaded one after the other, and neither waits for the other's faults. Never does: deciding which
//! site a fault keeps back (the loader does), or anything per request.
//!
//! Invariants: reloads happen one after the other; [`Live`] is swapped as a whole, so no request sees half of a reload
//! and none waits for one; what can't be read changes nothing and is reported, on the log once and on `/readyz` and in
//! the metrics as long as it lasts; where nothing changed, nothing is logged or swapped.
//!
//! Called by: `server`, which runs [`Reloader::run`] beside the traffic, and tests ([`Reloader::reload_now`]).

mod certificates;
mod log;
mod settings;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal as UnixSignal, SignalKind, signal},
    sync::{mpsc, watch as channel},
    time::{sleep, timeout},
};

use crate::answer::{Live, LiveCell};
use crate::config::{Diagnostic, Gateway};
use crate::monitor::Monitor;
use crate::routing::{LoadReport, Loader};
use crate::telemetry::{Metrics, ReloadResult};
use crate::tls::{CertReport, Challenges, STATE_FOLDER, Tls, TlsError};

use certificates::Certificates;
use settings::Settings;
use watch::{Signal, Wanted, Watch};

/// How often the folder is read where watching it doesn't work.
const POLL: Duration = Duration::from_secs(5);

/// How often it is read where watching works, as far as anyone can tell: on network file systems changes that another
/// machine makes are not told. A reading that finds nothing looks at the files' dates only.
const BACKSTOP: Duration = Duration::from_secs(60);

/// A folder that never comes to rest is read after this many times the quiet that is waited for.
const MAX_DEBOUNCE: u32 = 10;

/// How often the files of the guard are looked at in a row, while the routes name others each time.
const MAX_ROUNDS: usize = 3;

/// How long a file may stay open that somebody writes to before it is read all the same.
const WRITER_TIME: Duration = Duration::from_secs(1);

/// Keeps what traffic sees up to date with a folder.
pub struct Reloader {
    root: PathBuf,
    watch: bool,
    debounce: Duration,
    state: Mutex<State>,
    live: Arc<LiveCell>,
    certificates: Option<Certificates>,
    challenges: Arc<Challenges>,
    metrics: Arc<Metrics>,
    monitor: Arc<Monitor>,
}

/// What one reload leaves for the next.
struct State {
    loader: Loader,
    settings: Settings,
    diagnostics: Vec<Diagnostic>,
    /// Why the last reload failed, if it did.
    failure: Option<String>,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Something may have changed: silence if it hasn't.
    Watch,
    /// An operator asked, and gets an answer.
    Asked,
}

impl Reloader {
    /// Loads the routes for the first time. `progress` hears how many of how many sites have been built.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn open(
        gateway: &Gateway,
        metrics: Arc<Metrics>,
        monitor: Arc<Monitor>,
        progress: impl FnMut(usize, usize),
    ) -> io::Result<(Self, LoadReport)> {
        let mut loader = Loader::new(gateway);
        let (snapshot, report) = loader.load(Timestamp::now().as_second(), progress)?;
        let live = Live::default().next(snapshot);
        log::diagnostics(&report.diagnostics, &[]);
        let reloader = Reloader {
            root: gateway.routes.clone(),
            watch: gateway.watch,
            debounce: Duration::from_millis(gateway.debounce),
            state: Mutex::new(State {
                loader,
                settings: Settings::new(gateway),
                diagnostics: report.diagnostics.clone(),
                failure: None,
            }),
            live: Arc::new(LiveCell::from_pointee(live)),
            certificates: None,
            challenges: Arc::new(Challenges::open(&gateway.certs.join(STATE_FOLDER))),
            metrics,
            monitor,
        };
        reloader.publish(&report);
        Ok((reloader, report))
    }

    /// Loads the certificates for the first time, if there are addresses for HTTPS; from then on they are reloaded with
    /// the routes.
    ///
    /// # Errors
    /// As [`Tls::open`].
    pub fn open_certificates(&mut self, gateway: &Gateway) -> Result<Option<CertReport>, TlsError> {
        if gateway.https.is_empty() {
            return Ok(None);
        }
        let (certificates, report) = Certificates::open(
            gateway,
            self.live.clone(),
            &self.challenges,
            self.metrics.clone(),
            self.monitor.clone(),
        )?;
        self.certificates = Some(certificates);
        Ok(Some(report))
    }

    /// The certificates, if they have been opened.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.certificates.as_ref().map(|certificates| &certificates.tls)
    }

    /// What authorities are answered.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Where the present state is.
    pub fn live(&self) -> &Arc<LiveCell> {
        &self.live
    }

    /// Reads what changed, and returns when it is live. Blocks; for tests and for threads that may. What can't be read of
    /// the certificates is on the log, on `/readyz` and in the metrics.
    ///
    /// # Errors
    /// If the folder of routes can't be read; then the routes stay as they were.
    pub fn reload_now(&self) -> io::Result<LoadReport> {
        self.reload(Cause::Asked)
    }

    fn reload(&self, cause: Cause) -> io::Result<LoadReport> {
        let routes = self.reload_routes(cause);
        self.challenges.reload();
        if let Some(certificates) = &self.certificates {
            // Reported where it happened.
            let _ = certificates.reload(cause);
        }
        routes
    }

    fn reload_routes(&self, cause: Cause) -> io::Result<LoadReport> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let State { loader, settings, .. } = &mut *state;
        let is_guarded_anew = settings.read().is_some_and(|gateway| loader.set_guard(gateway));
        let (snapshot, mut report) = match loader.load(Timestamp::now().as_second(), |_, _| {}) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.fail(&mut state, error.to_string(), start.elapsed());
                return Err(error);
            }
        };
        report.take_settings(settings.file(), settings.faults(), is_guarded_anew);
        let recovered = state.failure.take().is_some();
        let same = report.reread.is_empty()
            && report.rebuilt.is_empty()
            && report.removed.is_empty()
            && report.diagnostics == state.diagnostics
            && snapshot.sends_as(&self.live.load().snapshot);
        if same && !recovered {
            if cause == Cause::Asked {
                log::nothing_changed();
            }
            return Ok(report);
        }
        let before = self.live.load_full();
        self.live.store(Arc::new(before.next(snapshot)));
        log::reloaded(&report);
        log::diagnostics(&report.diagnostics, &state.diagnostics);
        state.diagnostics.clone_from(&report.diagnostics);
        self.publish(&report);
        Ok(report)
    }

    /// Shows what is live to whoever asks.
    fn publish(&self, report: &LoadReport) {
        let live = self.live.load();
        let snapshot = &live.snapshot;
        let result = if report.is_whole() { ReloadResult::Ok } else { ReloadResult::Partial };
        let errors = report.errors();
        self.metrics.set_live(snapshot, &live.counters);
        self.metrics.set_findings(&report.faulty, errors, report.diagnostics.len() - errors);
        self.metrics.reloaded(result, Timestamp::now().as_second(), report.elapsed);
        self.monitor.loaded(snapshot, report, result);
    }

    fn fail(&self, state: &mut State, error: String, took: Duration) {
        self.metrics.reloaded(ReloadResult::Failed, Timestamp::now().as_second(), took);
        self.monitor.failed(&error, took.as_secs_f64());
        if state.failure.as_ref() != Some(&error) {
            log::failed(&error);
        }
        state.failure = Some(error);
    }

    /// Reloads when a folder changes and on SIGHUP, until `shutdown` says true.
    pub async fn run(self: Arc<Self>, mut shutdown: channel::Receiver<bool>) {
        let (to, mut signals) = mpsc::channel(16);
        let mut hangup =
            signal(SignalKind::hangup()).inspect_err(|error| ::log::warn!("SIGHUP can't be received: {error}")).ok();
        let mut watcher = vec![Watching::new("routes", Wanted::Folder(self.root.clone()))];
        let certificates = self.certificates.as_ref().map(|c| Wanted::Optional(c.folder().to_owned()));
        watcher.extend(certificates.map(|wanted| Watching::new("certificates", wanted)));
        watcher.push(Watching::new("files of the guard", Wanted::Files(Vec::new())));
        let mut cause = Cause::Watch;
        loop {
            let (reloader, to) = (self.clone(), to.clone());
            let round = tokio::task::spawn_blocking(move || {
                reloader.round(&mut watcher, &to, cause);
                watcher
            });
            watcher = match round.await {
                Ok(watcher) => watcher,
                Err(error) => {
                    ::log::error!("reload: given up, the reader of the files failed: {error}");
                    return;
                }
            };
            let told = tokio::select! {
                _ = shutdown.wait_for(|&stop| stop) => return,
                () = hung_up(&mut hangup) => {
                    cause = Cause::Asked;
                    continue;
                }
                told = signals.recv() => told,
                () = sleep(pause(&watcher)) => None,
            };
            cause = Cause::Watch;
            if let Some(signal) = told {
                note(&mut watcher, signal);
                self.settle(&mut signals, &mut watcher).await;
            }
        }
    }

    /// Watches what is there now, and reads what changed.
    fn round(&self, watcher: &mut [Watching], to: &mpsc::Sender<Signal>, cause: Cause) {
        if !self.watch {
            if cause == Cause::Asked {
                // Reported where it happened.
                let _ = self.reload(cause);
            } else {
                self.follow_fleet();
            }
            return;
        }
        let mut cause = cause;
        let mut files = self.files();
        // Again where the routes name other files now.
        for _ in 0..MAX_ROUNDS {
            // Watching comes first: what changes from then on is told, what changed before is read.
            for watching in watcher.iter_mut() {
                watching.watch_files(&files);
                watching.refresh(to);
            }
            let _ = self.reload(cause);
            cause = Cause::Watch;
            let before = std::mem::replace(&mut files, self.files());
            if files == before {
                return;
            }
        }
    }

    /// Reads what a fleet shares and no operator writes: it is no change that somebody has to ask for.
    fn follow_fleet(&self) {
        self.challenges.reload();
        if let Some(certificates) = &self.certificates {
            certificates.tls.refresh_tickets();
        }
    }

    /// The single files that are read: gateway.toml, and what the guard's settings name.
    fn files(&self) -> Vec<PathBuf> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .settings
            .file()
            .map(Path::to_owned)
            .into_iter()
            .chain(state.loader.sources().paths())
            .chain(state.loader.frozen_file().map(Path::to_owned))
            .collect()
    }

    /// Waits until nothing has changed for a while and nobody has a file open for writing, but not for ever.
    async fn settle(&self, signals: &mut mpsc::Receiver<Signal>, watcher: &mut [Watching]) {
        let start = Instant::now();
        loop {
            let is_written = watcher.iter().any(Watching::is_written);
            let (quiet, all) = match is_written {
                true => (WRITER_TIME, WRITER_TIME),
                false => (self.debounce, self.debounce * MAX_DEBOUNCE),
            };
            match timeout(quiet, signals.recv()).await {
                Ok(Some(signal)) => note(watcher, signal),
                _ => break,
            }
            if start.elapsed() >= all {
                break;
            }
        }
        watcher.iter().for_each(Watching::forget_writers);
    }
}

async fn hung_up(hangup: &mut Option<UnixSignal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// A watch, and what is wrong with it.
struct Watching {
    /// What it holds, for the log.
    what: &'static str,
    wanted: Wanted,
    watch: Option<Watch>,
    broken: Option<String>,
}

impl Watching {
    fn new(what: &'static str, wanted: Wanted) -> Self {
        Watching { what, wanted, watch: None, broken: None }
    }

    /// Other files, if it watches files.
    fn watch_files(&mut self, files: &[PathBuf]) {
        if let Wanted::Files(wanted) = &mut self.wanted {
            files.clone_into(wanted);
        }
    }

    fn is_written(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_written)
    }

    fn forget_writers(&self) {
        self.watch.iter().for_each(Watch::forget_writers);
    }

    /// Watches the folders that are there now.
    fn refresh(&mut self, to: &mpsc::Sender<Signal>) {
        let (what, wanted) = (self.what, &self.wanted);
        let broken = self.broken.take();
        let outcome = match &self.watch {
            Some(watch) if broken.is_none() => match watch.is_current(wanted) {
                Ok(true) => return,
                Ok(false) => Watch::start(wanted, to.clone()),
                // The old watch may see it come back.
                Err(error) => Err(format!("{wanted}: {error}")),
            },
            _ => Watch::start(wanted, to.clone()),
        };
        match outcome {
            Ok(watch) => {
                // The old one ends only now, so that nothing is missed in between.
                self.watch = Some(watch);
                if broken.is_some() {
                    ::log::info!("reload: watching {wanted} again");
                }
            }
            Err(error) => {
                if broken.is_none() {
                    let seconds = POLL.as_secs();
                    ::log::warn!("reload: can't watch the {what}, so they are looked at every {seconds} s: {error}");
                }
                self.broken = Some(error);
            }
        }
    }
}

/// Takes note of what the watcher of some folder says: a broken one is begun anew, and with it all.
fn note(watcher: &mut [Watching], signal: Signal) {
    if let Signal::Broken(error) = signal {
        ::log::warn!("reload: watching failed: {error}");
        watcher.iter_mut().for_each(|watching| watching.broken = Some(error.clone()));
    }
}

fn pause(watcher: &[Watching]) -> Duration {
    if watcher.iter().any(|watching| watching.broken.is_some()) { POLL } else { BACKSTOP }
}
