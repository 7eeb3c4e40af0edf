//! The composition root: the parts of a serving gateway, put together, started and stopped.
//!
//! Order: bind every address (a port in use is one clear line, at once) → load the routes → hand both to Pingora. While
//! the routes load, the system queues connections.
//!
//! Owns: the process: services, threads, signals, what is printed at start. Never does: anything per request.
//!
//! Called by: `cli` ([`run`]) and tests ([`start`]).

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::interval,
};

use crate::admin::Admin;
use crate::config::Gateway;
use crate::door::{
    Clock, Door,
    listen::{Listening, Socket},
};
use crate::monitor::Monitor;
use crate::reload::Reloader;
use crate::routing::{LoadReport, Snapshot};
use crate::telemetry::Metrics;

/// Seconds between the end of listening and the end of what is still being answered. (Draining that looks at the
/// connections comes with the next issue; answers take microseconds.)
const GRACE: u64 = 1;

/// Seconds that services may then take to end.
const END: u64 = 2;

/// Overrides the level of gateway.toml with a filter such as `waypost=debug`.
const LOG_VARIABLE: &str = "WAYPOST_LOG";

/// A first load that takes longer than this tells how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, SIGINT or SIGQUIT. Prints the version, each address and what is served to standard output, and
/// logs to standard error.
///
/// # Errors
/// If an address can't be had or the routes folder can't be read: one clear line.
pub fn run(gateway: Gateway) -> anyhow::Result<()> {
    log_to_stderr(&gateway.log_level);
    if !gateway.https.is_empty() {
        log::warn!("listen.https is set, but HTTPS is not served yet: let a proxy in front do TLS until it is");
    }
    let parts = assemble(&gateway, Stop::Signals)?;
    // Nobody may be reading: that is no reason not to serve.
    let _ = std::io::stdout().lock().write_all(parts.welcome(&gateway).as_bytes());
    parts.serve();
    log::info!("stopped");
    Ok(())
}

/// Sends the log to standard error, unless the program has done something else with it.
fn log_to_stderr(level: &str) {
    // Pingora warns about each malformed request, so by itself it may only tell errors: no client can fill the log.
    let filters = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| format!("error,waypost={level}"));
    // An error means that there is a log already.
    let _ = env_logger::Builder::new().parse_filters(&filters).format_target(false).try_init();
}

/// A gateway that runs within this process, for tests.
pub struct Running {
    /// Its addresses for plain HTTP, with their real ports.
    pub http: Vec<SocketAddr>,
    /// Its admin address.
    pub admin: SocketAddr,
    /// Reloads its routes ([`Reloader::reload_now`]) without waiting for the watch.
    pub reloader: Arc<Reloader>,
    /// How it is.
    pub monitor: Arc<Monitor>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a gateway on threads of its own; it serves when this returns. Port 0 takes any free port.
///
/// # Errors
/// As [`run`].
pub fn start(gateway: Gateway) -> anyhow::Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let parts = assemble(&gateway, Stop::Asked(stopped))?;
    let (http, admin) = (parts.http.clone(), parts.admin);
    let (reloader, monitor) = (parts.reloader.clone(), parts.monitor.clone());
    let thread = std::thread::Builder::new().name("waypost".to_owned()).spawn(move || parts.serve())?;
    Ok(Running { http, admin, reloader, monitor, stop, thread: Some(thread) })
}

impl Running {
    /// Stops it, and returns when it has stopped.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // An error means that it has stopped already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Everything that runs, ready to run.
struct Parts {
    server: Server,
    stop: Stop,
    http: Vec<SocketAddr>,
    admin: SocketAddr,
    reloader: Arc<Reloader>,
    monitor: Arc<Monitor>,
    report: LoadReport,
}

fn assemble(gateway: &Gateway, stop: Stop) -> anyhow::Result<Parts> {
    let public = gateway.http.iter().map(|&address| Socket::bind(address)).collect::<Result<Vec<_>, _>>()?;
    let admin_socket = Socket::bind(gateway.admin).context("admin address")?;
    let (http, admin) = (public.iter().map(Socket::address).collect(), admin_socket.address());

    let metrics = Arc::new(Metrics::new().context("metrics")?);
    let monitor = Arc::new(Monitor::default());
    let mut progress = Progress { start: Instant::now(), told: Instant::now() };
    let (reloader, report) =
        Reloader::open(gateway, metrics.clone(), monitor.clone(), |done, of| progress.tell(done, of))
            .map_err(|error| anyhow!("can't read the routes: {error}"))?;
    let reloader = Arc::new(reloader);

    let clock = Arc::new(Clock::new());
    let door = Door::new(gateway, reloader.live().clone(), metrics.clone(), clock.clone());
    let mut server = Server::new_with_opt_and_conf(None, settings(gateway, matches!(stop, Stop::Asked(_))));
    server.add_service(Listening::new("door", door, public, None));
    server.add_service(Listening::new("admin", Admin::new(monitor.clone(), metrics), vec![admin_socket], Some(1)));
    server.add_service(background_service("reload", Background::Reload(reloader.clone())));
    server.add_service(background_service("clock", Background::Clock(clock)));
    Ok(Parts { server, stop, http, admin, reloader, monitor, report })
}

/// Pingora finds the threads of a service that doesn't share them by the number of the calling thread, and such numbers
/// are given out again: a server that follows another in one process would hand its tasks to the dead one's threads.
/// Only tests have several (`shared_threads`).
fn settings(gateway: &Gateway, shared_threads: bool) -> ServerConf {
    let threads = match gateway.threads {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        threads => threads,
    };
    ServerConf {
        threads,
        // Measured: moving tasks between threads costs 12 to 15 % where each connection is a Pingora session, and these
        // are many and short. The fast lane of the next issue does not care.
        work_stealing: shared_threads,
        grace_period_seconds: Some(GRACE),
        graceful_shutdown_timeout_seconds: Some(END),
        ..ServerConf::default()
    }
}

impl Parts {
    /// Serves until told to stop.
    fn serve(self) {
        let shutdown_signal = Box::new(StopWatch { stop: self.stop, monitor: self.monitor });
        self.server.run(RunArgs { shutdown_signal });
    }

    /// What a person wants to know at start.
    fn welcome(&self, gateway: &Gateway) -> String {
        let live = self.reloader.live().load();
        let snapshot = &live.snapshot;
        let mut out = format!("waypost {}\n", env!("CARGO_PKG_VERSION"));
        for address in &self.http {
            out += &format!("http   http://{address}\n");
        }
        out += &format!("admin  http://{}/readyz and /metrics\n", self.admin);
        out += &format!(
            "routes {}: {} sites, {} hosts, {} mappings, {} rules, in {} ms\n",
            gateway.routes.display(),
            snapshot.sites().len(),
            snapshot.host_count(),
            snapshot.mapping_count(),
            snapshot.rule_count(),
            self.report.elapsed.as_millis()
        );
        if !self.report.faulty.is_empty() {
            out += &format!("faulty {} of them have errors: run `waypost check`\n", self.report.faulty.len());
        }
        let examples = self.http.first().map(|&address| examples(snapshot, address)).unwrap_or_default();
        if !examples.is_empty() {
            out += "\nTry:\n";
            examples.iter().for_each(|line| out += &format!("  {line}\n"));
        }
        out
    }
}

/// Up to three commands that show what the first sites do.
fn examples(snapshot: &Snapshot, address: SocketAddr) -> Vec<String> {
    // What is bound to every address is tried at the one that is always there.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip == Ipv6Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let base = SocketAddr::new(ip, address.port());
    let sites = snapshot.sites().iter().filter_map(|site| {
        let host = site.main_host()?;
        let charset = site.canonicalizer.settings().charset;
        let mapped = site.mappings.iter().next().map(|(key, _)| crate::url::to_wire(key, charset));
        Some((host, mapped))
    });
    // Sites with mappings show more than a front page.
    let mut sites: Vec<_> = sites.take(100).collect();
    sites.sort_by_key(|(_, mapped)| mapped.is_none());
    let line = |(host, mapped): (&str, Option<String>)| {
        let path = mapped.filter(|path| !path.contains(['\'', '!'])).unwrap_or_else(|| "/".to_owned());
        format!("curl -i -H 'Host: {host}' 'http://{base}{path}'")
    };
    sites.into_iter().take(3).map(line).collect()
}

/// Tells how far a long load is, about once a second.
struct Progress {
    start: Instant,
    told: Instant,
}

impl Progress {
    fn tell(&mut self, done: usize, of: usize) {
        if self.start.elapsed() > PROGRESS && (self.told == self.start || self.told.elapsed() > PROGRESS) {
            self.told = Instant::now();
            log::info!("routes: {done} of {of} sites loaded");
        }
    }
}

/// What runs beside the traffic.
enum Background {
    Reload(Arc<Reloader>),
    Clock(Arc<Clock>),
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        match self {
            Background::Reload(reloader) => reloader.clone().run(shutdown).await,
            Background::Clock(clock) => {
                let mut seconds = interval(Duration::from_secs(1));
                loop {
                    tokio::select! {
                        _ = seconds.tick() => clock.tick(),
                        _ = shutdown.wait_for(|&stop| stop) => return,
                    }
                }
            }
        }
    }
}

/// Who stops the gateway.
enum Stop {
    Signals,
    Asked(watch::Receiver<bool>),
}

struct StopWatch {
    stop: Stop,
    monitor: Arc<Monitor>,
}

#[async_trait]
impl ShutdownSignalWatch for StopWatch {
    async fn recv(&self) -> ShutdownSignal {
        match &self.stop {
            Stop::Signals => {
                // SIGQUIT will hand the sockets to a new process; until then it ends this one like the others.
                let [mut terminate, mut interrupt, mut quit] =
                    [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()]
                        .map(|kind| signal(kind).ok());
                let name = tokio::select! {
                    () = received(&mut terminate) => "SIGTERM",
                    () = received(&mut interrupt) => "SIGINT",
                    () = received(&mut quit) => "SIGQUIT",
                };
                log::info!("{name}: stopping");
            }
            Stop::Asked(asked) => {
                // An error means that whoever could ask is gone.
                let _ = asked.clone().wait_for(|&stop| stop).await;
            }
        }
        self.monitor.stop();
        ShutdownSignal::GracefulTerminate
    }
}

async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Read, net::TcpStream};

    fn get(address: SocketAddr, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn site(name: &str) -> String {
        format!("name = \"{name}\"\nhosts = [\"{name}.example\"]\nhome = \"https://new.example/{name}\"\n")
    }

    #[test]
    fn gateways_start_reload_and_stop_within_one_process() {
        let routes = tempfile::tempdir().unwrap();
        fs::write(routes.path().join("a.toml"), site("a")).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let gateway = Gateway {
            routes: routes.path().to_owned(),
            http: vec![any, any],
            admin: any,
            threads: 1,
            ..Gateway::default()
        };
        let (one, other) = (start(gateway.clone()).unwrap(), start(gateway).unwrap());
        for address in one.http.iter().chain(&other.http) {
            assert!(get(*address, "a.example", "/").starts_with("HTTP/1.1 301 "));
            assert!(get(*address, "b.example", "/").starts_with("HTTP/1.1 404 "));
        }
        fs::write(routes.path().join("b.toml"), site("b")).unwrap();
        one.reloader.reload_now().unwrap();
        assert!(get(one.http[1], "b.example", "/").contains("https://new.example/b\r\n"));
        let metrics = get(one.admin, "localhost", "/metrics");
        assert!(metrics.contains(r#"waypost_requests_total{outcome="redirect",site="a"} 2"#), "{metrics}");
        assert!(get(one.admin, "localhost", "/readyz").starts_with("HTTP/1.1 200 "));
        let address = one.http[0];
        one.stop();
        assert!(TcpStream::connect(address).is_err());
        assert!(get(other.http[0], "a.example", "/").starts_with("HTTP/1.1 301 "));
    }
}
