//! Worker threads: each accepts connections on its own handle of every socket, and serves what it accepted.
//!
//! A connection lives and dies on the thread that accepted it: each worker has a runtime of one thread, so no task is
//! stolen and no other thread woken.
//!
//! Owns: the threads, the accept loops, what happens when accepting fails. Never does: anything with a connection but
//! to hand it to [`Serve`].
//!
//! Invariants: every socket is accepted from by at least one worker (one that nobody accepts from would swallow its
//! share of the connections); a fault of the system never makes a loop spin, fill the log or end.
//!
//! Called by: `server`, for the public addresses and for the admin address.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc as sync_mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime,
    sync::mpsc,
    time::sleep,
};

use super::drain::{Drain, State};
use super::listen::{Inner, Listener, Origin};

/// A connection that was accepted.
#[derive(Debug)]
pub enum Accepted {
    /// Over TCP, without delay (TCP_NODELAY), and who it came from.
    Tcp(TcpStream, SocketAddr),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Who serves connections.
pub trait Serve: Send + Sync + 'static {
    /// Called on the worker thread that will serve the connection; spawns a task there and returns at once.
    fn accepted(self: &Arc<Self>, stream: Accepted, origin: &Arc<Origin>);

    /// The system can't give out connections now, for want of file descriptors or memory: to be counted. It is tried
    /// again after a pause.
    fn not_accepted(&self, _error: &io::Error, _origin: &Origin) {}
}

/// Worker threads that run.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// Each accept loop has a sender: it ends when they do.
    accepting: mpsc::Receiver<()>,
}

/// What one worker accepts from.
type Share = Vec<(Inner, Arc<Origin>)>;

impl Workers {
    /// Starts `threads` workers (at least one); when this returns, all of them accept. They stop accepting when
    /// `drain` says that it is draining, and end when it says that it is over.
    ///
    /// # Errors
    /// If the system gives no more threads or file descriptors.
    pub fn start<S: Serve>(
        name: &str,
        threads: usize,
        listeners: &[Listener],
        serve: &Arc<S>,
        drain: &Arc<Drain>,
    ) -> io::Result<Self> {
        let (alive, accepting) = mpsc::channel(1);
        let mut workers = Workers { threads: Vec::new(), accepting };
        let (started, outcomes) = sync_mpsc::channel();
        for (number, share) in shares(listeners, threads.max(1))?.into_iter().enumerate() {
            let (serve, drain, alive, started) = (serve.clone(), drain.clone(), alive.clone(), started.clone());
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(share, &serve, &drain, alive, started))?;
            workers.threads.push(thread);
        }
        drop((alive, started));
        outcomes.into_iter().collect::<io::Result<()>>()?;
        Ok(workers)
    }

    /// Returns when nothing is accepted any more.
    pub async fn closed(&mut self) {
        // Nothing is ever sent.
        let _ = self.accepting.recv().await;
    }

    /// Waits for the threads to end, after `drain` is over. Blocks.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a worker thread has failed");
            }
        }
    }
}

/// Which worker accepts from which socket. The one socket of a listener is everybody's. Of several each worker has
/// its own; where the numbers differ (after an upgrade that changed them), no worker and no socket is left out.
fn shares(listeners: &[Listener], threads: usize) -> io::Result<Vec<Share>> {
    let mut shares: Vec<Share> = (0..threads).map(|_| Vec::new()).collect();
    for Listener { origin, sockets, .. } in listeners.iter().filter(|listener| !listener.sockets.is_empty()) {
        for number in 0..threads.max(sockets.len()) {
            let handle = sockets[number % sockets.len()].handle()?;
            shares[number % threads].push((handle, origin.clone()));
        }
    }
    Ok(shares)
}

/// The life of a worker thread.
fn work<S: Serve>(
    share: Share,
    serve: &Arc<S>,
    drain: &Arc<Drain>,
    alive: mpsc::Sender<()>,
    started: sync_mpsc::Sender<io::Result<()>>,
) {
    // An error means that whoever started this has given up; then the drain is over soon.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    runtime.block_on(async {
        for (socket, origin) in share {
            match Acceptor::new(socket) {
                Ok(acceptor) => {
                    let (serve, drain, alive) = (serve.clone(), drain.clone(), alive.clone());
                    tokio::spawn(async move {
                        accept(acceptor, &origin, &serve, &drain).await;
                        drop(alive);
                    });
                }
                Err(error) => return drop(started.send(Err(error))),
            }
        }
        drop(alive);
        let _ = started.send(Ok(()));
        // Who started this waits for the last of them.
        drop(started);
        let _ = drain.watch().wait_for(|&state| state == State::Over).await;
    });
    // Connections are dropped here; what blocks may take a moment longer.
    runtime.shutdown_timeout(END);
}

/// Accepts until draining begins.
async fn accept<S: Serve>(mut acceptor: Acceptor, origin: &Arc<Origin>, serve: &Arc<S>, drain: &Drain) {
    let mut state = drain.watch();
    let closing = state.wait_for(|&state| state != State::Serving);
    tokio::pin!(closing);
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut closing => break,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok(stream) => serve.accepted(stream, origin),
            // The client was gone before we looked.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                serve.not_accepted(&error, origin);
                if complained.is_none_or(|when| when.elapsed() > COMPLAINT) {
                    complained = Some(Instant::now());
                    log::error!("{}: can't accept connections: {error}", origin.address);
                }
                tokio::select! {
                    biased;
                    _ = &mut closing => break,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
    // What has connected by now would be reset with the socket, so it is taken in.
    for stream in acceptor.rest().into_iter().flatten() {
        serve.accepted(stream, origin);
    }
}

/// Whether an error of accept(2) is about one connection, not about us.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable | TimedOut
    )
}

/// A socket within a worker's runtime.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(socket: Inner) -> io::Result<Self> {
        match socket {
            Inner::Tcp(listener) => TcpListener::from_std(listener).map(Acceptor::Tcp),
            Inner::Unix(listener) => UnixListener::from_std(listener).map(Acceptor::Unix),
        }
    }

    async fn accept(&mut self) -> io::Result<Accepted> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                tcp(stream, peer)
            }
            Acceptor::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }

    /// What waits in the socket's queue, asked of the system itself: the runtime knows only what it was told of.
    fn rest(self) -> io::Result<Vec<Accepted>> {
        let mut rest = Vec::new();
        match self {
            Acceptor::Tcp(listener) => {
                let listener = listener.into_std()?;
                while let (true, Ok((stream, peer))) = (rest.len() < MAX_REST, listener.accept()) {
                    stream.set_nonblocking(true)?;
                    rest.extend(TcpStream::from_std(stream).and_then(|stream| tcp(stream, peer)));
                }
            }
            Acceptor::Unix(listener) => {
                let listener = listener.into_std()?;
                while let (true, Ok((stream, _))) = (rest.len() < MAX_REST, listener.accept()) {
                    stream.set_nonblocking(true)?;
                    rest.extend(UnixStream::from_std(stream).map(Accepted::Unix));
                }
            }
        }
        Ok(rest)
    }
}

fn tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<Accepted> {
    // Answers are written whole, so waiting for more would only delay them. It fails if the client is gone already,
    // which the first read says as well.
    let _ = stream.set_nodelay(true);
    Ok(Accepted::Tcp(stream, peer))
}

/// How long accepting pauses when the system has nothing to give: connections end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// How often that is logged, at most.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Connections that one socket may still bring when listening ends; another process may accept from it too.
const MAX_REST: usize = 4096;

/// How long work that blocks may go on after the end.
const END: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::door::Guard;
    use crate::door::listen::{Kind, Options, Socket};
    use std::io::{Read, Write};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers each connection with the name of its thread.
    struct Echo {
        drain: Arc<Drain>,
        origins: Mutex<Vec<(String, bool)>>,
    }

    impl Serve for Echo {
        fn accepted(self: &Arc<Self>, stream: Accepted, origin: &Arc<Origin>) {
            self.origins.lock().unwrap().push((origin.address.clone(), matches!(stream, Accepted::Tcp(..))));
            let guard = self.drain.guard();
            tokio::spawn(async move {
                match stream {
                    Accepted::Tcp(stream, _) => echo(stream, guard).await,
                    Accepted::Unix(stream) => echo(stream, guard).await,
                }
            });
        }
    }

    async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, _guard: Guard) {
        let mut asked = [0; 1];
        if stream.read_exact(&mut asked).await.is_ok() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = stream.write_all(name.as_bytes()).await;
        }
    }

    fn listener(address: &Address, count: usize) -> Listener {
        let options = Options { reuse_port: count > 1, ..Options::default() };
        let mut sockets = vec![Socket::bind(address, options).unwrap()];
        Socket::extend(&mut sockets, count).unwrap();
        let address = sockets[0].address().to_string();
        let origin = Origin { kind: Kind::Http, proxy_protocol: false, address: address.clone() };
        Listener { origin: Arc::new(origin), name: address, sockets }
    }

    fn ask(mut stream: impl Read + Write) -> String {
        stream.write_all(b"?").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn every_socket_is_accepted_from_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let any: Address = "127.0.0.1:0".parse().unwrap();
        // More sockets than threads, as after an upgrade.
        let listeners = [listener(&any, 5), listener(&Address::Unix(path.clone()), 1)];
        let address = listeners[0].inet().unwrap();
        let drain = Drain::new();
        let serve = Arc::new(Echo { drain: drain.clone(), origins: Mutex::default() });
        let mut workers = Workers::start("test", 2, &listeners, &serve, &drain).unwrap();
        for _ in 0..50 {
            assert!(ask(std::net::TcpStream::connect(address).unwrap()).starts_with("test-"));
        }
        ask(std::os::unix::net::UnixStream::connect(&path).unwrap());
        let origins = std::mem::take(&mut *serve.origins.lock().unwrap());
        assert!(origins.len() == 51 && origins[..50].iter().all(|origin| *origin == (address.to_string(), true)));
        assert_eq!(origins[50], (listeners[1].name.clone(), false));

        let waiting = std::net::TcpStream::connect(address).unwrap();
        drain.close();
        drop(listeners);
        workers.closed().await;
        assert!(std::net::TcpStream::connect(address).is_err() && !path.exists());
        // It connected in time, so it is served.
        assert!(!drain.wait_idle(Duration::ZERO).await);
        ask(waiting);
        assert!(drain.wait_idle(Duration::from_secs(10)).await);
        drain.end();
        workers.join();
    }

    #[test]
    fn no_socket_and_no_worker_is_left_out() {
        let any: Address = "127.0.0.1:0".parse().unwrap();
        for (sockets, threads, each) in [(1, 3, 1), (3, 3, 1), (5, 2, 3), (2, 3, 1)] {
            let listeners = [listener(&any, sockets)];
            let shares = shares(&listeners, threads).unwrap();
            assert_eq!(shares.iter().map(Vec::len).max(), Some(each), "{sockets} {threads}");
            assert!(shares.iter().all(|share| !share.is_empty()));
            assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), sockets.max(threads));
        }
    }
}
