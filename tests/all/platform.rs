//! A platform for tests of what is relayed: a small server of HTTP/1.1 that keeps connections and tells what it saw.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering::SeqCst},
        mpsc,
    },
    thread::JoinHandle,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::client::PATIENCE;

/// A request as the platform saw it.
#[derive(Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection it came over.
    pub connection: usize,
}

impl Seen {
    /// The values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Method and target.
    pub fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }
}

/// A platform that answers each request with its body, or as the path says: `/half`, `/chunked`, `/nothing` (it closes),
/// `/never`, `/held` (until [`Origin::release`]), `/name`, `/health` (with [`Origin::set_health`]'s status). It takes
/// WebSockets and echoes.
pub struct Origin {
    pub address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of an origin share.
#[derive(Default)]
struct State {
    name: String,
    health: AtomicU16,
    /// Accepted connections, and whether each has answered a request and waits for the next.
    open: Mutex<Vec<(TcpStream, bool)>>,
    released: Mutex<bool>,
    release: Condvar,
    stops: AtomicBool,
}

impl Origin {
    pub fn start() -> Self {
        Origin::named("")
    }

    /// One that tells its name at `/name`.
    pub fn named(name: &str) -> Self {
        Origin::listen(name, ([127, 0, 0, 1], 0).into(), None)
    }

    /// One that speaks TLS.
    pub fn secure(config: Arc<ServerConfig>) -> Self {
        Origin::listen("", ([127, 0, 0, 1], 0).into(), Some(config))
    }

    /// One at a known address, where another has stopped.
    pub fn again(name: &str, address: SocketAddr) -> Self {
        Origin::listen(name, address, None)
    }

    fn listen(name: &str, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel();
        let state = Arc::new(State { name: name.to_owned(), health: AtomicU16::new(200), ..State::default() });
        let shared = state.clone();
        let acceptor = std::thread::spawn(move || {
            // Those left end when the gateway does.
            for (connection, stream) in listener.incoming().enumerate() {
                let (sender, state, tls) = (sender.clone(), shared.clone(), tls.clone());
                let stream = stream.unwrap();
                if state.stops.load(SeqCst) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                state.open.lock().unwrap().push((stream.try_clone().unwrap(), false));
                std::thread::spawn(move || match tls {
                    None => serve_platform(stream, connection, &sender, &state),
                    Some(config) => {
                        let connection_tls = ServerConnection::new(config).unwrap();
                        serve_platform(StreamOwned::new(connection_tls, stream), connection, &sender, &state)
                    }
                });
            }
        });
        Origin { address, seen, state, acceptor: Some(acceptor) }
    }

    /// One at a Unix socket.
    pub fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (sender, seen) = mpsc::channel();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (sender, state) = (sender.clone(), shared.clone());
                state.open.lock().unwrap().push((spare_socket(), false));
                std::thread::spawn(move || serve_platform(stream.unwrap(), connection, &sender, &state));
            }
        });
        Origin { address: ([127, 0, 0, 1], 0).into(), seen, state, acceptor: None }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a request at the platform")
    }

    /// The requests that it has seen by now and that nobody has asked about.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }

    /// The status of `/health` from now on.
    pub fn set_health(&self, status: u16) {
        self.state.health.store(status, SeqCst);
    }

    /// Answers the requests for `/held`, and those that come later.
    pub fn release(&self) {
        *self.state.released.lock().unwrap() = true;
        self.state.release.notify_all();
    }

    /// Closes the connections that have served and wait, as a server does that starts anew. How many those were.
    pub fn close_idle(&self) -> usize {
        let open = self.state.open.lock().unwrap();
        let idle = open.iter().filter(|(_, is_idle)| *is_idle);
        idle.filter(|(stream, _)| stream.shutdown(Shutdown::Both).is_ok()).count()
    }

    /// Stops: nothing listens there any more, and every connection ends.
    pub fn stop(mut self) {
        self.state.stops.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        self.acceptor.take().unwrap().join().unwrap();
        for (stream, _) in self.state.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A place in the list of connections for one that isn't TCP.
fn spare_socket() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

/// None when the connection ends, or a request ends too early.
fn serve_platform(
    stream: impl Read + Write,
    connection: usize,
    sender: &mpsc::Sender<Seen>,
    state: &State,
) -> Option<()> {
    let set_idle = |is_idle| {
        if let Some(open) = state.open.lock().unwrap().get_mut(connection) {
            open.1 = is_idle;
        }
    };
    let served = serve_connection(stream, connection, sender, state, &set_idle);
    set_idle(false);
    if let Some((socket, _)) = state.open.lock().unwrap().get(connection) {
        // The list has a handle of it, so that dropping ours would not close it.
        let _ = socket.shutdown(Shutdown::Both);
    }
    served
}

fn serve_connection(
    stream: impl Read + Write,
    connection: usize,
    sender: &mpsc::Sender<Seen>,
    state: &State,
    set_idle: &dyn Fn(bool),
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            set_idle(false);
        }
        let seen = Seen { head, body: Vec::new(), connection };
        let mut body = Vec::new();
        if let [length] = seen.values("content-length")[..] {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).ok()?;
        } else if seen.values("transfer-encoding") == ["chunked"] {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).ok()?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        let head = "HTTP/1.1 200 OK\r\nServer: platform\r\n";
        let with_body = |body: &str| format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut echoes = false;
        let answer = match seen.head.split(' ').nth(1).unwrap_or_default() {
            _ if seen.values("upgrade") == ["websocket"] && seen.head.contains("/socket") => {
                sender.send(seen).ok()?;
                return echo_frames(reader);
            }
            path if path.contains("/half") => format!("{head}Content-Length: 100\r\n\r\nhalf"),
            path if path.contains("/chunked") => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
            }
            path if path.contains("/nothing") => String::new(),
            path if path.contains("/never") => {
                sender.send(seen).ok()?;
                // Until the gateway gives up.
                return reader.read(&mut [0]).ok().and(None);
            }
            path if path.contains("/held") => {
                sender.send(Seen { head: seen.head.clone(), body: body.clone(), connection }).ok()?;
                let released = state.released.lock().unwrap();
                let held = state.release.wait_timeout_while(released, PATIENCE, |released| !*released).unwrap();
                drop(held);
                with_body("held")
            }
            path if path.contains("/name") => with_body(&state.name),
            "/health" => {
                format!("HTTP/1.1 {} Health\r\nContent-Length: 0\r\n\r\n", state.health.load(SeqCst))
            }
            _ if seen.head.starts_with("HEAD") => format!("{head}Content-Length: 42\r\n\r\n"),
            _ => {
                echoes = true;
                format!("{head}Content-Length: {}\r\n\r\n", body.len())
            }
        };
        let ends = answer.is_empty() || answer.ends_with("half");
        if !seen.head.contains(" /health ") && !seen.head.contains("/held") {
            sender.send(Seen { body: body.clone(), ..seen }).ok()?;
        }
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
        if echoes {
            reader.get_mut().write_all(&body).ok()?;
        }
        reader.get_mut().flush().ok()?;
        set_idle(!ends);
        if ends {
            return None;
        }
    }
}

/// Agrees to a WebSocket and sends everything back that comes.
fn echo_frames(mut reader: BufReader<impl Read + Write>) -> Option<()> {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    let mut buffer = [0; 4096];
    loop {
        let read = reader.read(&mut buffer).ok().filter(|&read| read > 0)?;
        reader.get_mut().write_all(&buffer[..read]).ok()?;
        reader.get_mut().flush().ok()?;
    }
}
