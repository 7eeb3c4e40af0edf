//! The composition root: the parts of a serving gateway, put together, started and stopped.
//!
//! Order: bind every address (a port in use is one clear line, at once) → load the routes → accept. While the routes
//! load, the system queues connections. A gateway that takes over from a running one loads first and binds last.
//!
//! Owns: the process: sockets, threads, signals, what is printed at start. Never does: anything per request.
//!
//! Called by: `cli` ([`run`]) and tests ([`start`]).

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use jiff::Timestamp;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use tokio::{runtime, sync::watch, time::sleep};

use crate::acme::{self, Engine};
use crate::admin::{Admin, AdminService};
use crate::answer::{Clock, LiveCell, Responder};
use crate::cache::{self, Cache};
use crate::config::{Gateway, HitsDatabase};
use crate::door::{Door, Drain, Workers, listen::Kind};
use crate::guard::waf::Waf;
use crate::monitor::{Gauges, Keeper, Monitor};
use crate::relay::{
    self,
    platforms::{self, Platforms},
};
use crate::reload::Reloader;
use crate::routing::LoadReport;
use crate::telemetry::{Metrics, Pipeline, Reading, Tracer, names};
use crate::verify;
use lifecycle::{Lifecycle, Serving, Stop, Succession};
use phases::{Entered, Phases};
use sockets::{Sockets, threads};
use upgrade::{Control, Predecessor};
use warm::Warm;

mod lifecycle;
mod phases;
mod service_manager;
mod sockets;
mod telemetry;
pub mod upgrade;
mod warm;
mod welcome;

/// Seconds that background work may take to end.
const END: u64 = 2;

/// Overrides the level of gateway.toml with a filter such as `waypost=debug`.
const LOG_VARIABLE: &str = "WAYPOST_LOG";

/// A first load that takes longer than this tells how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT. Prints the version, each address and what is served to standard output, and logs to
/// standard error.
///
/// # Errors
/// If an address can't be had, or the routes folder or a certificate file can't be read: one clear line.
pub fn run(gateway: Gateway) -> anyhow::Result<()> {
    log_to_stderr(&gateway.log_level);
    raise_file_limit();
    let parts = assemble(&gateway, Stop::Signals)?;
    parts.serve();
    log::info!("stopped");
    Ok(())
}

/// Each connection is a file descriptor, and the usual soft limit is 1024, for the sake of programs that use select(2).
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        log::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
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
    /// Its IP addresses for plain HTTP, with their real ports.
    pub http: Vec<SocketAddr>,
    /// Its IP addresses for HTTPS, with their real ports.
    pub https: Vec<SocketAddr>,
    /// Its admin address; `0.0.0.0:0` if that is a Unix socket.
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
    let mut running = Running {
        http: parts.addresses(Kind::Http),
        https: parts.addresses(Kind::Https),
        admin: parts.admin,
        reloader: parts.reloader.clone(),
        monitor: parts.monitor.clone(),
        stop,
        thread: None,
    };
    running.thread = Some(std::thread::Builder::new().name("waypost".to_owned()).spawn(move || parts.serve())?);
    Ok(running)
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

/// Everything that runs: connections are accepted already, the rest is ready to run.
struct Parts {
    server: Server,
    lifecycle: Lifecycle,
    listening: Vec<(Kind, SocketAddr)>,
    admin: SocketAddr,
    reloader: Arc<Reloader>,
    monitor: Arc<Monitor>,
}

fn assemble(gateway: &Gateway, stop: Stop) -> anyhow::Result<Parts> {
    let metrics = Arc::new(Metrics::new().context("metrics")?);
    let monitor = Arc::new(Monitor::default());
    let announced = match stop {
        Stop::Signals => Predecessor::announced(),
        Stop::Asked(_) => None,
    };
    let (sockets, succession, (reloader, report)) = match announced {
        None => {
            let (sockets, succession) = listen(gateway, &stop, None)?;
            (sockets, succession, load(gateway, &metrics, &monitor)?)
        }
        Some(path) => {
            let routes = load(gateway, &metrics, &monitor)?;
            let (sockets, succession) = listen(gateway, &stop, Some(Predecessor::take(&path)?))?;
            (sockets, succession, routes)
        }
    };

    let clock = Arc::new(Clock::new());
    let pipeline = telemetry::start(gateway, threads(gateway), &metrics)?;
    let live = reloader.live().clone();
    let responder = Arc::new(Responder::new(
        gateway,
        live,
        metrics.clone(),
        pipeline.clone(),
        clock.clone(),
        reloader.challenges().clone(),
    ));
    let guard = responder.guard().clone();
    let entries = move || guard.rate_entries(Instant::now()) as f64;
    metrics.add_readings(vec![Reading::new(names::GUARD_RATE_ENTRIES, entries)])?;
    let platforms = Platforms::new(gateway, metrics.clone());
    let cache = Cache::new(cache::Settings {
        bytes: gateway.cache.bytes,
        object_bytes: gateway.cache.object_bytes,
        flight_bytes: gateway.cache.flight_bytes,
    });
    let warm = Warm::new(gateway, &cache);
    warm.iter().for_each(Warm::load);
    relay::numbers::show(&metrics, &cache)?;
    let waf = Arc::new(Waf::new(gateway.waf.clone()));
    if reloader.live().load().wants_waf() {
        waf.prepare();
    }
    let (conf, tracer) = (Arc::new(settings()), Tracer::new(&gateway.traces));
    let proxy = relay::proxy(&conf, responder.clone(), platforms.clone(), cache.clone(), waf, tracer);
    let drain = Drain::new();
    let door = Door::new(gateway, responder, proxy, reloader.tls().cloned(), cache.clone(), drain.clone());
    let engine = certificates(gateway, &reloader);
    if let Some(engine) = &engine {
        metrics.add_readings(telemetry::of_orders(engine.stats()))?;
    }
    let keeper = keeper(gateway, &metrics, &reloader)?;
    let verified = verify::Gauges::show(&metrics)?;
    let admin_drain = Drain::new();
    let admin = Admin::open(gateway, monitor.clone(), metrics, cache, reloader.live().clone(), &admin_drain)?;
    let welcome = welcome::welcome(gateway, &sockets, &reloader.live().load().snapshot, &report);
    let listening =
        sockets.public.iter().filter_map(|listener| Some((listener.origin.kind, listener.inet()?))).collect();
    let admin_address = sockets.admin.inet().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
    let serving = accept(gateway, sockets, (&door, drain), (&admin, admin_drain), pipeline)?;

    let mut server = Server::new_with_opt_and_conf(None, settings());
    server.add_service(background_service("reload", Background::Reload(reloader.clone())));
    server.add_service(background_service("clock", Background::Clock(clock, reloader.live().clone())));
    let platforms = Background::Platforms(platforms, reloader.live().clone());
    server.add_service(background_service("platforms", platforms));
    if let Some(engine) = engine {
        server.add_service(background_service("acme", Background::Acme(Arc::new(engine))));
    }
    if let Some(keeper) = keeper {
        server.add_service(background_service("monitor", Background::Monitor(Arc::new(keeper))));
    }
    if let Some(database) = gateway.hits.database.clone() {
        let verified = Background::Verified(verified, database, reloader.live().clone());
        server.add_service(background_service("verify", verified));
    }
    let lifecycle = Lifecycle::new(gateway, stop, serving, succession, monitor.clone(), welcome, warm);
    Ok(Parts { server, lifecycle, listening, admin: admin_address, reloader, monitor })
}

/// Takes over and binds. Only a process of its own can be succeeded by another.
fn listen(
    gateway: &Gateway,
    stop: &Stop,
    mut predecessor: Option<Predecessor>,
) -> anyhow::Result<(Sockets, Option<Succession>)> {
    let mut inherited = predecessor.as_mut().map(|before| std::mem::take(&mut before.sockets)).unwrap_or_default();
    let mut kept: Vec<String> = inherited.keys().cloned().collect();
    let sockets = Sockets::open(gateway, &mut inherited)?;
    kept.retain(|name| !inherited.contains_key(name));
    if matches!(stop, Stop::Asked(_)) {
        return Ok((sockets, None));
    }
    let control = predecessor.as_mut().and_then(|before| before.control.take());
    let control = Control::open(gateway, &sockets.admin.origin.address, control)?;
    Ok((sockets, Some(Succession { control, predecessor: predecessor.map(|before| (before, kept)) })))
}

fn load(
    gateway: &Gateway,
    metrics: &Arc<Metrics>,
    monitor: &Arc<Monitor>,
) -> anyhow::Result<(Arc<Reloader>, LoadReport)> {
    let mut progress = Progress { start: Instant::now(), told: Instant::now() };
    let (mut reloader, report) =
        Reloader::open(gateway, metrics.clone(), monitor.clone(), |done, of| progress.tell(done, of))
            .map_err(|error| anyhow!("can't read the routes: {error}"))?;
    // Whom it keeps out is for the operator to say, so nothing is guessed.
    if let (Some(path), Some(fault)) = (&gateway.countries, reloader.live().load().snapshot.sources().fault()) {
        anyhow::bail!("the database of countries, {}: {fault}", path.display());
    }
    reloader.open_certificates(gateway)?;
    Ok((Arc::new(reloader), report))
}

/// Starts the worker threads.
fn accept(
    gateway: &Gateway,
    mut sockets: Sockets,
    (door, drain): (&Arc<Door>, Arc<Drain>),
    (admin, admin_drain): (&Arc<AdminService>, Arc<Drain>),
    pipeline: Arc<Pipeline>,
) -> anyhow::Result<Serving> {
    sockets.extend(gateway)?;
    let start = || {
        let workers = Workers::start("door", threads(gateway), &sockets.public, door, &drain)?;
        // Scrapes are few, and they must not wait for citizens.
        let admin_workers = Workers::start("admin", 1, std::slice::from_ref(&sockets.admin), admin, &admin_drain)?;
        Ok::<_, std::io::Error>((workers, admin_workers))
    };
    match start() {
        Ok((workers, admin_workers)) => Ok(Serving { sockets, drain, workers, admin_drain, admin_workers, pipeline }),
        Err(error) => {
            drain.end();
            admin_drain.end();
            Err(error).context("can't start the worker threads")
        }
    }
}

/// Pingora runs what isn't a connection.
fn settings() -> ServerConf {
    ServerConf {
        threads: 1,
        // Without it, Pingora finds its threads by the number of the calling thread, and such numbers are given out
        // again: tasks could go to the dead threads of a server before this one in the same process.
        work_stealing: true,
        // When it is told to stop, connections have drained.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(END),
        upstream_keepalive_pool_size: platforms::POOL,
        ..ServerConf::default()
    }
}

impl Parts {
    /// Serves until told to stop.
    fn serve(self) {
        self.server.run(RunArgs { shutdown_signal: Box::new(self.lifecycle) });
    }

    fn addresses(&self, kind: Kind) -> Vec<SocketAddr> {
        self.listening.iter().filter(|listening| listening.0 == kind).map(|listening| listening.1).collect()
    }
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

/// What orders certificates for the hosts of the routes, if an authority is named.
fn certificates(gateway: &Gateway, reloader: &Reloader) -> Option<Engine> {
    gateway.acme.directory.as_ref()?;
    let (live, tls, settings) = (reloader.live().clone(), reloader.tls().cloned(), gateway.acme.clone());
    let wanted = move || {
        let now = Timestamp::now().as_second();
        let own = tls.as_ref().map(|tls| tls.own_names(now)).unwrap_or_default();
        let live = live.load();
        acme::wanted(live.snapshot.sites(), &settings, acme::covered(own), now).0
    };
    Some(Engine::new(gateway, reloader.challenges().clone(), wanted))
}

/// What visits homes and platforms, if gateway.toml says so.
fn keeper(gateway: &Gateway, metrics: &Metrics, reloader: &Reloader) -> anyhow::Result<Option<Keeper>> {
    if !gateway.monitor.enabled {
        return Ok(None);
    }
    let live = reloader.live().clone();
    Keeper::new(gateway, Gauges::show(metrics)?, move || live.load().snapshot.clone())
}

/// Runs work that waits for disks on a thread of its own, until the program stops.
async fn apart<W: Future<Output = ()>>(
    name: &str,
    mut shutdown: ShutdownWatch,
    work: impl FnOnce() -> W + Send + 'static,
) {
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                () = work() => {}
                _ = shutdown.wait_for(|&stop| stop) => {}
            }
        });
        // What is under way ends by itself.
        runtime.shutdown_background();
        Ok::<_, std::io::Error>(())
    });
    match thread.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::error!("{name}: it does not start: {error}"),
        Err(error) => log::error!("{name}: it has ended: {error}"),
    }
}

/// What runs beside the traffic.
enum Background {
    Reload(Arc<Reloader>),
    Clock(Arc<Clock>, Arc<LiveCell>),
    Platforms(Arc<Platforms>, Arc<LiveCell>),
    Acme(Arc<Engine>),
    Monitor(Arc<Keeper>),
    Verified(Arc<verify::Gauges>, HitsDatabase, Arc<LiveCell>),
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        match self {
            Background::Reload(reloader) => reloader.clone().run(shutdown).await,
            Background::Platforms(platforms, live) => tokio::select! {
                () = platforms.clone().run(live.clone()) => {}
                _ = shutdown.wait_for(|&stop| stop) => {}
            },
            Background::Acme(engine) => {
                let engine = engine.clone();
                apart("acme: orders of certificates", shutdown, move || async move { engine.run().await }).await;
            }
            Background::Monitor(keeper) => {
                let keeper = keeper.clone();
                apart("monitor: visits of homes", shutdown, move || async move { keeper.run().await }).await;
            }
            Background::Verified(gauges, database, live) => {
                let (gauges, database, live) = (gauges.clone(), database.clone(), live.clone());
                let work = move || gauges.keep(database, move || live.load().snapshot.clone());
                apart("verify: what was found", shutdown, work).await;
            }
            Background::Clock(clock, live) => {
                let mut phases = Phases::default();
                loop {
                    clock.tick();
                    for Entered { site, from, to } in phases.entered(&live.load(), clock.now()) {
                        log::info!("{site} enters phase {to} (was {from})");
                    }
                    tokio::select! {
                        () = sleep(Clock::until_next_second()) => {}
                        _ = shutdown.wait_for(|&stop| stop) => return,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccessLogSettings, HitsSettings};
    use std::{
        fs,
        io::{Read, Write},
        net::TcpStream,
    };

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
            http: vec![any.into(), any.into()],
            admin: any.into(),
            threads: 1,
            access_log: AccessLogSettings { folder: routes.path().join(".logs"), ..Gateway::default().access_log },
            hits: HitsSettings { database: None, ..Gateway::default().hits },
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
        let metrics = get(one.admin, "localhost", "/metrics/sites");
        let line = r#"waypost_site_requests_total{site="a",owner="",outcome="redirect",status="3xx",protocol="http/1.1",lane="fast"} 2"#;
        assert!(metrics.contains(line), "{metrics}");
        assert!(get(one.admin, "localhost", "/readyz").starts_with("HTTP/1.1 200 "));
        let address = one.http[0];
        one.stop();
        assert!(TcpStream::connect(address).is_err());
        assert!(get(other.http[0], "a.example", "/").starts_with("HTTP/1.1 301 "));
    }
}
