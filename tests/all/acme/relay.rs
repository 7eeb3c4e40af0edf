//! Stands before an authority, counts what is asked of it, and breaks what a test wants broken.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// When a request can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// On its way to the authority.
    Before,
    /// The authority has answered, and nobody has heard it.
    After,
}

/// Whether a request goes on at that moment: by its number, and by what it asks for.
type Judge = dyn Fn(usize, &str, Moment) -> bool + Send + Sync;
type Rewrite = dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>> + Send + Sync;

/// The relay. It ends with the value.
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// How often each thing was asked for: `POST /order-plz`.
    asked: Mutex<BTreeMap<String, usize>>,
    count: Mutex<usize>,
    judge: Mutex<Arc<Judge>>,
    rewrite: Mutex<Box<Rewrite>>,
    ends: AtomicBool,
}

impl Relay {
    /// Before an authority whose files are in `folder`.
    pub fn start(folder: &Path, to: SocketAddr) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = Arc::new(server.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let client = super::authority::client(&folder.join("ca.pem"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            client,
            server,
            asked: Mutex::default(),
            count: Mutex::new(0),
            judge: Mutex::new(Arc::new(|_, _, _| true)),
            rewrite: Mutex::new(Box::new(|_, _| None)),
            ends: AtomicBool::new(false),
        });
        let relay = Relay { address, shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ends.load(Ordering::Acquire) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        relay
    }

    /// URL of the directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Says from now on whether requests go on, which are counted from 1 again.
    pub fn judge(&self, judge: impl Fn(usize, &str, Moment) -> bool + Send + Sync + 'static) {
        *self.shared.count.lock().unwrap() = 0;
        *self.shared.judge.lock().unwrap() = Arc::new(judge);
    }

    /// Gives other answers from now on: by what is asked for, and the authority's answer.
    pub fn rewrite(&self, rewrite: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.shared.rewrite.lock().unwrap() = Box::new(rewrite);
    }

    /// How many requests came since [`Relay::judge`].
    pub fn count(&self) -> usize {
        *self.shared.count.lock().unwrap()
    }

    /// How often something reached the authority, such as `POST /order-plz`.
    pub fn asked(&self, what: &str) -> usize {
        self.shared.asked.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// One request: the connection ends with it.
    fn serve(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let Ok(raw) = stream.try_clone() else { return };
        let server = ServerConnection::new(self.server.clone()).unwrap();
        let mut tls = BufReader::new(StreamOwned::new(server, stream));
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if tls.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                head += "Connection: close\r\n\r\n";
                break;
            }
            if !line.to_ascii_lowercase().starts_with("connection:") {
                head += &line;
            }
        }
        let mut body = vec![0; length];
        if tls.read_exact(&mut body).is_err() {
            return;
        }
        let what = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let number = {
            let mut count = self.count.lock().unwrap();
            *count += 1;
            *count
        };
        let judge = self.judge.lock().unwrap().clone();
        if !judge(number, &what, Moment::Before) {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        }
        *self.asked.lock().unwrap().entry(what.clone()).or_default() += 1;
        let answer = ask(self.to, &self.client, &[head.as_bytes(), &body].concat());
        if !judge(number, &what, Moment::After) {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        }
        let other = (self.rewrite.lock().unwrap())(&what, answer.clone());
        let tls = tls.get_mut();
        let _ = tls.write_all(&other.unwrap_or(answer));
        tls.conn.send_close_notify();
        let _ = tls.flush();
    }
}

/// Sends a request that wants the connection to end, and reads the answer.
pub fn ask(to: SocketAddr, client: &Arc<ClientConfig>, request: &[u8]) -> Vec<u8> {
    let name = ServerName::IpAddress(to.ip().into());
    let connection = ClientConnection::new(client.clone(), name).unwrap();
    let Ok(stream) = TcpStream::connect(to) else { return Vec::new() };
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut tls = StreamOwned::new(connection, stream);
    let mut answer = Vec::new();
    if tls.write_all(request).is_ok() {
        // Some end without saying so.
        let _ = tls.read_to_end(&mut answer);
    }
    answer
}

/// Makes an answer of a body.
pub fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n{body}", body.len()).into_bytes()
}

/// What a file of the ledger says, by line. One that is just being written does not count.
pub fn ledger(certs: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(certs.join("acme/.state/ledger.jsonl")).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
