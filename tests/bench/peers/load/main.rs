//! The load generator of `tests/bench/peers/run`: one client for every server and every lane.
//!
//! `load LANE --address A --urls FILE --ca PEM …` opens connections to `A`, asks for random URLs of FILE (lines of host,
//! path and expected Location, tab-separated), and prints one line of JSON. Lanes:
//!
//! - `h1`, `h1s`, `h2`: keep-alive requests over HTTP/1.1, HTTP/1.1 in TLS, HTTP/2 in TLS (`--streams` at a time).
//! - `full`, `resumed`: connections that are made, ask for one URL and are closed; TLS with and without resumption.
//! - `idle`, `idles`: connections that ask for one URL each, then rest until standard input ends, plain and TLS.
//!
//! With `--check N` it asks N URLs instead, verifies certificate, status and Location, and tells an answer's bytes.
//!
//! Why not wrk and h2load: they send one SNI per process, and a server may refuse hosts other than the SNI's (421). Here
//! each TLS connection has a host of its own and asks for its URLs, as browsers do; plain connections ask for all hosts,
//! as a balancer in front does. Each connection comes from an address of its own (127.x.y.z), so that no limit per client
//! interferes. The server's CPU time is read from `--pids` when the measured window opens and closes.

use std::{
    cell::{Cell, RefCell},
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, LocalSet, spawn_local},
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::options::Options;
use crate::urls::{HEADERS, Random, Url, Urls};
use crate::wire::{Answer, Buffer};

mod options;
mod tls;
mod urls;
mod wire;

/// Clock ticks per second of /proc/PID/stat: fixed at 100 on every Linux that this runs on.
const TICKS: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(options))
}

/// What the connections share.
struct Run {
    options: Options,
    urls: Urls,
    tls: TlsConnector,
    /// Whether answers count now.
    open: Cell<bool>,
    /// Whether to stop.
    over: Cell<bool>,
    opened: Cell<u32>,
    micros: RefCell<Vec<u32>>,
    tally: RefCell<Tally>,
}

/// What was seen.
#[derive(Default)]
struct Tally {
    wrong: u64,
    bytes: u64,
    body: u64,
    connects: u64,
    failed: u64,
    full: u64,
    resumed: u64,
    handshake: String,
    error: String,
}

async fn run(options: Options) -> anyhow::Result<()> {
    let urls = Urls::read(&options.urls, options.bare)?;
    let tls = TlsConnector::from(Arc::new(tls::client_config(&options)?));
    let run = Rc::new(Run {
        urls,
        tls,
        open: Cell::new(false),
        over: Cell::new(false),
        opened: Cell::new(0),
        micros: RefCell::default(),
        tally: RefCell::default(),
        options,
    });
    match run.options.lane.as_str() {
        _ if run.options.check > 0 => run.check().await?,
        "idle" | "idles" => return run.idle().await,
        "h1" | "h1s" | "h2" | "full" | "resumed" => {}
        lane => bail!("unknown lane {lane}"),
    }
    let (seconds, cpu) = if run.options.check > 0 { (0.0, 0.0) } else { measure(&run).await? };
    report(&run, seconds, cpu);
    Ok(())
}

/// Starts the connections, lets them run, and returns the seconds and the server's CPU seconds of the measured window.
async fn measure(run: &Rc<Run>) -> anyhow::Result<(f64, f64)> {
    let tasks: Vec<JoinHandle<()>> = (0..run.options.connections)
        .map(|number| {
            let run = run.clone();
            spawn_local(async move {
                while !run.over.get() {
                    if let Err(error) = run.connection(number).await {
                        run.failed(&error);
                        // So that a server that refuses everything isn't flooded.
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs_f64(run.options.warm_up)).await;
    *run.tally.borrow_mut() = Tally::default();
    let (start, before) = (Instant::now(), cpu_seconds(&run.options.pids)?);
    run.open.set(true);
    sleep(Duration::from_secs_f64(run.options.seconds)).await;
    run.open.set(false);
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds(&run.options.pids)? - before);
    run.over.set(true);
    for task in tasks {
        // A connection that hangs now has nothing left to tell.
        let _ = tokio::time::timeout(Duration::from_millis(500), task).await;
    }
    Ok((seconds, cpu))
}

/// User and system time of the processes, with their threads.
fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("{path}: the server has died"))?;
        // The name may contain anything, but ends at the last parenthesis. Then state is field 3, utime 14, stime 15.
        let (_, rest) = stat.rsplit_once(") ").context("a name")?;
        ticks += rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum::<u64>();
    }
    Ok(ticks as f64 / TICKS)
}

fn report(run: &Run, seconds: f64, cpu: f64) {
    let mut micros = run.micros.borrow_mut();
    micros.sort_unstable();
    let percentile = |per_mille: usize| micros.get((micros.len() * per_mille / 1000).min(micros.len().max(1) - 1));
    let tally = run.tally.borrow();
    println!(
        "{}",
        serde_json::json!({
            "requests": micros.len(), "seconds": seconds, "cpu": cpu,
            "p50": percentile(500), "p99": percentile(990),
            "wrong": tally.wrong, "failed": tally.failed, "error": tally.error, "connects": tally.connects,
            "full": tally.full, "resumed": tally.resumed, "handshake": tally.handshake,
            "answer_bytes": tally.bytes, "body_bytes": tally.body,
        })
    );
}

impl Run {
    /// One connection of the lane, until it ends or the run is over.
    async fn connection(self: &Rc<Self>, number: usize) -> anyhow::Result<()> {
        let host = Random::new(self.options.seed * 1000 + number as u64).below(self.urls.hosts.len());
        let seed = self.options.seed << 32 | (number as u64) << 16 | u64::from(self.opened.get() & 0xFFFF);
        let mut random = Random::new(seed);
        let range = self.urls.hosts[host].1.clone();
        match self.options.lane.as_str() {
            "h1" => {
                let mut stream = self.tcp().await?;
                let mut buffer = Buffer::default();
                while !self.over.get() && self.ask(&mut stream, &mut buffer, random.below(self.urls.all.len())).await? {
                }
            }
            "h1s" => {
                let mut stream = self.tls(host, "http/1.1").await?;
                let mut buffer = Buffer::default();
                while !self.over.get()
                    && self.ask(&mut stream, &mut buffer, range.start + random.below(range.len())).await?
                {
                }
            }
            "h2" => self.h2(host, random).await?,
            _ => {
                let start = Instant::now();
                let mut stream = self.tls(host, "http/1.1").await?;
                self.exchange(&mut stream, &mut Buffer::default(), range.start + random.below(range.len())).await?;
                stream.shutdown().await?;
                self.count(start);
            }
        }
        Ok(())
    }

    /// Counts an answer to what was asked at `start`, if the window is open.
    fn count(&self, start: Instant) {
        if self.open.get() {
            self.micros.borrow_mut().push(start.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        let mut tally = self.tally.borrow_mut();
        tally.failed += 1;
        tally.error = format!("{error:#}");
    }

    async fn tcp(&self) -> anyhow::Result<TcpStream> {
        let number = self.opened.get();
        self.opened.set(number + 1);
        let socket = TcpSocket::new_v4()?;
        let [low, middle, high, _] = number.to_le_bytes();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1 + high % 200, middle, low.max(1)), 0)))?;
        let stream = socket.connect(self.options.address).await?;
        stream.set_nodelay(true)?;
        self.tally.borrow_mut().connects += 1;
        Ok(stream)
    }

    async fn tls(&self, host: usize, alpn: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = self.tls.connect(self.urls.hosts[host].0.clone(), self.tcp().await?).await?;
        let session = stream.get_ref().1;
        ensure!(
            session.alpn_protocol().unwrap_or(b"http/1.1") == alpn.as_bytes(),
            "the server did not choose {alpn} by ALPN"
        );
        let mut tally = self.tally.borrow_mut();
        match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => tally.resumed += 1,
            _ => tally.full += 1,
        }
        if tally.handshake.is_empty() {
            tally.handshake = format!(
                "{} {} {}",
                if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "TLS 1.3" } else { "TLS 1.2" },
                session.negotiated_cipher_suite().map(|s| format!("{:?}", s.suite())).unwrap_or_default(),
                session.negotiated_key_exchange_group().map(|g| format!("{:?}", g.name())).unwrap_or_default(),
            );
        }
        drop(tally);
        Ok(stream)
    }

    /// Asks for a URL over HTTP/1.1 and counts it. Returns whether the connection can be used again.
    async fn ask<S>(&self, stream: &mut S, buffer: &mut Buffer, url: usize) -> anyhow::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = Instant::now();
        let answer = self.exchange(stream, buffer, url).await?;
        self.count(start);
        Ok(answer.keep_alive)
    }

    async fn exchange<S>(&self, stream: &mut S, buffer: &mut Buffer, url: usize) -> anyhow::Result<Answer>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(&self.urls.all[url].head).await?;
        let answer = buffer.answer(stream).await?;
        if answer.status != 301 {
            self.tally.borrow_mut().wrong += 1;
        }
        Ok(answer)
    }

    /// One HTTP/2 connection, with `streams` requests at a time.
    async fn h2(self: &Rc<Self>, host: usize, mut random: Random) -> anyhow::Result<()> {
        let stream = self.tls(host, "h2").await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        let driver = spawn_local(connection);
        let streams: Vec<_> = (0..self.options.streams)
            .map(|_| {
                let (run, mut sender, mut random) =
                    (self.clone(), sender.clone(), Random::new(random.below(1 << 31) as u64));
                let range = self.urls.hosts[host].1.clone();
                spawn_local(async move {
                    while !run.over.get() {
                        sender = run.ask_h2(sender, range.start + random.below(range.len())).await?.0;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        drop(sender);
        let mut result = Ok(());
        for stream in streams {
            result = result.and(stream.await?);
        }
        driver.abort();
        result
    }

    async fn ask_h2(
        &self,
        sender: h2::client::SendRequest<Bytes>,
        url: usize,
    ) -> anyhow::Result<(h2::client::SendRequest<Bytes>, Answer)> {
        let mut request = Request::get(self.urls.all[url].uri.clone());
        for (name, value) in HEADERS.iter().filter(|_| !self.options.bare) {
            request = request.header(*name, http::HeaderValue::from_static(value));
        }
        let start = Instant::now();
        let mut sender = sender.ready().await?;
        let (response, _) = sender.send_request(request.body(())?, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            bytes += chunk.len();
            let _ = body.flow_control().release_capacity(chunk.len());
        }
        self.count(start);
        let location =
            head.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let answer = Answer { status: head.status.as_u16(), location, head: 0, body: bytes, keep_alive: true };
        if answer.status != 301 {
            self.tally.borrow_mut().wrong += 1;
        }
        Ok((sender, answer))
    }

    /// Asks for some URLs and compares the answers.
    async fn check(&self) -> anyhow::Result<()> {
        let mut random = Random::new(self.options.seed);
        for _ in 0..self.options.check {
            let host = random.below(self.urls.hosts.len());
            let range = self.urls.hosts[host].1.clone();
            let url = range.start + random.below(range.len());
            let answer = match self.options.lane.as_str() {
                "h1" | "idle" => self.exchange(&mut self.tcp().await?, &mut Buffer::default(), url).await?,
                "h2" => {
                    let (sender, connection) = h2::client::handshake(self.tls(host, "h2").await?).await?;
                    let driver = spawn_local(connection);
                    let answer = self.ask_h2(sender, url).await?.1;
                    driver.abort();
                    answer
                }
                _ => self.exchange(&mut self.tls(host, "http/1.1").await?, &mut Buffer::default(), url).await?,
            };
            let Url { uri, location, .. } = &self.urls.all[url];
            if (answer.status, &answer.location) != (301, location) {
                bail!("{uri}: got {} {:?} instead of 301 {location:?}", answer.status, answer.location);
            }
            let mut tally = self.tally.borrow_mut();
            (tally.bytes, tally.body) = ((answer.head + answer.body) as u64, answer.body as u64);
        }
        Ok(())
    }

    /// Opens connections, some at a time, says so, and keeps them until standard input ends.
    async fn idle(self: &Rc<Self>) -> anyhow::Result<()> {
        let next = Rc::new(Cell::new(0));
        let opener = |run: Rc<Run>, next: Rc<Cell<usize>>| async move {
            let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
            loop {
                let number = next.get();
                if number >= run.options.connections {
                    return anyhow::Ok(kept);
                }
                next.set(number + 1);
                let host = number % run.urls.hosts.len();
                let url = run.urls.hosts[host].1.start;
                let mut buffer = Buffer::default();
                kept.push(if run.options.lane == "idle" {
                    let mut stream = run.tcp().await?;
                    run.exchange(&mut stream, &mut buffer, url).await?;
                    Box::new(stream)
                } else {
                    let mut stream = run.tls(host, "http/1.1").await?;
                    run.exchange(&mut stream, &mut buffer, url).await?;
                    Box::new(stream)
                });
            }
        };
        let openers: Vec<_> = (0..32).map(|_| spawn_local(opener(self.clone(), next.clone()))).collect();
        let mut kept = Vec::new();
        for opener in openers {
            kept.push(opener.await??);
        }
        println!("{}", serde_json::json!({ "open": kept.iter().map(Vec::len).sum::<usize>() }));
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    }
}
