//! Nothing is lost: reloads, a new certificate and an upgrade while requests come at a set pace, with the real program.
//!
//! A request is lost if its answer is wrong, does not come whole, or does not come: unless the server had said before
//! that the connection ends (`Connection: close`, GOAWAY), or had closed it while nothing was asked.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, pki_types::ServerName, version::TLS13};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::TlsConnector;

use crate::client::{self, Conn, Dial, Heard, PATIENCE, Response, Wire};
use crate::program::{Program, Successor, until, waypost};

const HOST: &str = "old.example";

/// What the clients share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// The version of the routes that is live everywhere.
    live: AtomicUsize,
    /// The version that was written last.
    written: AtomicUsize,
    answered: AtomicUsize,
    /// Connections that ended because the server had said so.
    announced: AtomicUsize,
    /// Connections that were closed while nothing was asked.
    idle: AtomicUsize,
    /// Streams after the last one that GOAWAY promised an answer to: for the client to ask again (RFC 9113, 6.8).
    refused: AtomicUsize,
    lost: Mutex<Vec<String>>,
    longest: Mutex<Duration>,
}

impl Load {
    /// Calls `ask` so many times a second, whatever time the answers take, until it is over.
    fn pace(&self, per_second: u32, mut ask: impl FnMut()) {
        let start = Instant::now();
        for turn in 0.. {
            if self.stop.load(SeqCst) {
                return;
            }
            thread::sleep(
                (start + Duration::from_secs(1) * turn / per_second).saturating_duration_since(Instant::now()),
            );
            ask();
        }
    }

    /// What is to be compared with the answer to a request that is sent now.
    fn ask(&self) -> (usize, Instant) {
        (self.live.load(SeqCst), Instant::now())
    }

    fn answered(&self, (floor, since): (usize, Instant), answer: &Response) {
        let version = answer.header("location").strip_prefix("https://new.example/").and_then(|v| v.parse().ok());
        match version {
            Some(version) if answer.status == 301 && (floor..=self.written.load(SeqCst)).contains(&version) => {
                self.answered.fetch_add(1, SeqCst);
            }
            _ => self.lost(format!("after version {floor} was live: {answer:?}")),
        }
        let mut longest = self.longest.lock().unwrap();
        *longest = (*longest).max(since.elapsed());
    }

    fn lost(&self, why: impl Into<String>) {
        self.lost.lock().unwrap().push(why.into());
    }
}

/// A client of HTTP/1.1.
struct H1<'l> {
    load: &'l Load,
    dial: Dial,
    wire: Option<Wire>,
    buffer: Vec<u8>,
}

impl H1<'_> {
    /// Sends so many requests in one write. Those that a connection leaves unanswered after the answer that announced its
    /// end are asked again.
    fn ask(&mut self, count: usize) {
        let request = client::head("GET", HOST, b"/a.htm", &[], b"");
        let mut left = count;
        while left > 0 {
            match self.exchange(&request, left) {
                Ok(answered) => left -= answered,
                Err(why) => {
                    (0..left).for_each(|_| self.load.lost(&why));
                    self.wire = None;
                    return;
                }
            }
        }
    }

    fn exchange(&mut self, request: &[u8], count: usize) -> Result<usize, String> {
        if let Some(wire) = &mut self.wire {
            match wire.hear_now(&mut self.buffer) {
                Heard::Silence => {}
                Heard::Closed if self.buffer.is_empty() => {
                    self.load.idle.fetch_add(1, SeqCst);
                    self.wire = None;
                }
                _ => return Err(format!("bytes that nobody asked for: {}", self.buffer.escape_ascii())),
            }
        }
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => {
                self.buffer.clear();
                none.insert(self.dial.open().map_err(|error| format!("connecting: {error}"))?)
            }
        };
        let asked = self.load.ask();
        wire.send(&request.repeat(count)).map_err(|error| format!("sending: {error}"))?;
        for answered in 1..=count {
            let answer = loop {
                if let Some(answer) = Response::take(&mut self.buffer, false)? {
                    break answer;
                }
                let heard = wire.hear(&mut self.buffer, PATIENCE);
                if heard != Heard::Bytes {
                    return Err(format!("{heard:?} after {} answers and {} bytes", answered - 1, self.buffer.len()));
                }
            };
            self.load.answered(asked, &answer);
            if answer.header("connection").eq_ignore_ascii_case("close") {
                self.load.announced.fetch_add(1, SeqCst);
                self.wire = None;
                return Ok(answered);
            }
        }
        Ok(count)
    }

    fn hang_up(&mut self) {
        self.wire = None;
    }
}

/// Asks over one connection of HTTP/2 at a time, several streams at once.
async fn ask_over_h2(load: &Arc<Load>, address: SocketAddr, per_second: u32) {
    let config = client::tls(&TLS13, &["h2"]);
    let (start, slots) = (Instant::now(), Arc::new(Semaphore::new(STREAMS)));
    let mut open: Option<h2::client::SendRequest<Bytes>> = None;
    for turn in 0.. {
        if load.stop.load(SeqCst) {
            break;
        }
        tokio::time::sleep_until((start + Duration::from_secs(1) * turn / per_second).into()).await;
        let slot = slots.clone().acquire_owned().await.unwrap();
        let (asked, answer) = loop {
            let sender = match &mut open {
                Some(sender) => sender,
                none => match connect(address, &config).await {
                    Ok(sender) => none.insert(sender),
                    Err(error) => return load.lost(format!("connecting over HTTP/2: {error}")),
                },
            };
            let asked = load.ask();
            match request(sender).await {
                Ok(answer) => break (asked, answer),
                // It has not been sent.
                Err(error) if error.is_go_away() && error.is_remote() => load.announced.fetch_add(1, SeqCst),
                Err(error) if error.is_io() => load.idle.fetch_add(1, SeqCst),
                Err(error) => return load.lost(format!("sending over HTTP/2: {error}")),
            };
            open = None;
        };
        let load = load.clone();
        tokio::spawn(async move {
            match answer.await {
                Ok(answer) => {
                    let mut response = Response { status: answer.status().as_u16(), ..Response::default() };
                    let location = answer.headers().get("location").map(|value| value.to_str().unwrap());
                    response.add_header("location", location.unwrap_or_default());
                    load.answered(asked, &response);
                }
                // Sent when GOAWAY was on its way, whose last stream is one before it.
                Err(error) if error.is_go_away() && error.is_remote() => drop(load.refused.fetch_add(1, SeqCst)),
                Err(error) => load.lost(format!("over HTTP/2: {error}")),
            }
            drop(slot);
        });
    }
    // Those that are under way.
    let _ = slots.acquire_many(STREAMS as u32).await.unwrap();
}

async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<h2::client::SendRequest<Bytes>, String> {
    let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(config.clone()).connect(name, socket).await.map_err(|error| error.to_string())?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn request(sender: &mut h2::client::SendRequest<Bytes>) -> Result<h2::client::ResponseFuture, h2::Error> {
    *sender = sender.clone().ready().await?;
    let request = http::Request::get(format!("https://{HOST}/a.htm")).version(http::Version::HTTP_2).body(()).unwrap();
    Ok(sender.send_request(request, true)?.0)
}

/// A node with one site and a certificate.
fn node() -> TempDir {
    let node = tempfile::tempdir().unwrap();
    let path = node.path();
    fs::create_dir(path.join("routes")).unwrap();
    fs::create_dir(path.join("certs")).unwrap();
    fs::write(path.join("routes/a.csv"), table(0)).unwrap();
    let site = format!("name = \"A\"\nhosts = [\"{HOST}\"]\nhome = \"https://new.example/\"\n");
    fs::write(path.join("routes/a.toml"), site).unwrap();
    certify(path);
    let settings = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 2\n\
                    [process]\ndirectory = \"control\"\n";
    fs::write(path.join("gateway.toml"), settings).unwrap();
    node
}

/// Many rows, so that a table that is half written or half read would show: the last one is asked for.
fn table(version: usize) -> String {
    let mut table = String::from("old,new\n");
    (0..500).for_each(|row| table += &format!("/row/{row}.htm,https://new.example/row/{row}\n"));
    table + &format!("/a.htm,https://new.example/{version}\n")
}

/// Puts a new certificate into the node's folder, and tells its bytes.
fn certify(node: &Path) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    let beside = node.join("certs/a.new");
    fs::write(&beside, certificate.pem() + &key.serialize_pem()).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, node.join("certs/a.pem")).unwrap();
    certificate.der().to_vec()
}

/// The certificate that a new connection is shown.
fn shown(address: SocketAddr) -> Vec<u8> {
    let config = client::tls(&TLS13, &["http/1.1"]);
    let mut connection = rustls::ClientConnection::new(config, ServerName::try_from(HOST).unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    connection.peer_certificates().unwrap()[0].to_vec()
}

/// Writes the next version of the routes, in one way or another, and waits until it is live.
fn reload(node: &Path, load: &Load, address: SocketAddr) {
    let version = load.written.fetch_add(1, SeqCst) + 1;
    let (file, text) = (node.join("routes/a.csv"), table(version));
    if version.is_multiple_of(2) {
        fs::write(node.join("routes/a.new"), text).unwrap();
        fs::rename(node.join("routes/a.new"), file).unwrap();
    } else {
        // In place and in pieces.
        let mut file = fs::File::create(file).unwrap();
        for piece in text.as_bytes().chunks(text.len() / 3) {
            file.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    }
    let mut conn = Conn::new(address);
    let location = format!("https://new.example/{version}");
    until("the reload", || conn.get(HOST, "/a.htm").header("location") == location);
    load.live.store(version, SeqCst);
}

#[test]
fn reloads_a_certificate_and_an_upgrade_lose_no_request() {
    let node = node();
    let mut program = Program::start(node.path());
    let (http, https) = (program.http[0], program.https[0]);
    let tls = client::tls(&TLS13, &["http/1.1"]);
    let secure = Dial { address: https, tls: Some((tls, ServerName::try_from(HOST).unwrap())) };
    let plain = Dial::plain(http);
    let load = Arc::new(Load::default());
    let start = Instant::now();
    let successor = thread::scope(|scope| {
        // Requests a second, how many in one write, after how many writes the connection is replaced.
        for (dial, rate, pipelined, writes) in [
            (&plain, 300, 1, usize::MAX),
            (&plain, 400, 4, usize::MAX),
            (&plain, 200, 1, 1),
            (&secure, 300, 1, 50),
            (&secure, 200, 4, usize::MAX),
            (&secure, 100, 1, 5),
        ] {
            let load = &load;
            let mut client = H1 { load, dial: dial.clone(), wire: None, buffer: Vec::new() };
            let mut turn = 0;
            scope.spawn(move || {
                load.pace(rate / pipelined as u32, || {
                    client.ask(pipelined);
                    turn += 1;
                    if turn % writes == 0 {
                        client.hang_up();
                    }
                });
            });
        }
        let h2 = load.clone();
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::join!(ask_over_h2(&h2, https, 300), ask_over_h2(&h2, https, 200));
            });
        });
        // Or the clients would go on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let traffic = || {
                let before = load.answered.load(SeqCst);
                until("traffic", || load.answered.load(SeqCst) > before + 200);
            };
            let mut successor = None;
            for round in 1..=20 {
                traffic();
                reload(node.path(), &load, http);
                if round == 7 {
                    let certificate = certify(node.path());
                    until("the new certificate", || shown(https) == certificate);
                }
                if round == 14 {
                    let output = waypost(node.path(), &["upgrade"]).output().unwrap();
                    let told = String::from_utf8(output.stdout).unwrap();
                    assert!(output.status.success(), "{told}");
                    successor = Some(Successor(told.split([' ', ',']).nth(2).unwrap().parse().unwrap()));
                    // It answers with the routes that it had until its last connection has ended.
                    assert!(program.end().success());
                }
            }
            until("the end of the time", || start.elapsed() > TIME);
            successor
        }));
        load.stop.store(true, SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let took = start.elapsed();
    let (answered, lost) = (load.answered.load(SeqCst), load.lost.lock().unwrap());
    let rate = answered as f64 / took.as_secs_f64();
    println!(
        "{answered} answers in {took:.1?}, {rate:.0} a second, the longest after {:?}; {} lost; \
         {} connections ended as announced, {} while idle, {} streams refused",
        load.longest.lock().unwrap(),
        lost.len(),
        load.announced.load(SeqCst),
        load.idle.load(SeqCst),
        load.refused.load(SeqCst),
    );
    assert!(lost.is_empty(), "{} lost: {:#?}", lost.len(), &lost[..lost.len().min(10)]);
    assert!(rate >= LEAST, "only {rate:.0} requests a second");
    assert!(load.announced.load(SeqCst) >= 5, "the upgrade ended no connection");
    let metrics = Conn::new(program.admin).get("localhost", "/metrics").text();
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("waypost_tls_handshakes_total") && line.contains("resumed=\"true\""))
    );
    drop(successor);
}

/// Streams of an HTTP/2 connection at a time.
const STREAMS: usize = 32;

/// How long requests come.
const TIME: Duration = Duration::from_secs(8);

/// Requests a second without which this says nothing; 2,000 are sent if the machine can.
const LEAST: f64 = 500.0;
