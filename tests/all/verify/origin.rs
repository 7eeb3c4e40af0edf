//! A server of many hosts that answers as a test says, and remembers what it was asked, and when.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

/// What it answers.
pub struct Answer {
    pub status: u16,
    pub fields: String,
    pub body: Vec<u8>,
    pub delay: Duration,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Answer { status, fields: String::new(), body: Vec::new(), delay: Duration::ZERO }
    }

    /// A page in UTF-8.
    pub fn page(title: &str, text: &str) -> Self {
        Answer {
            fields: "Content-Type: text/html; charset=utf-8\r\n".to_owned(),
            body: format!("<!DOCTYPE html><title>{title}</title><p>{text}</p>").into_bytes(),
            ..Answer::new(200)
        }
    }

    /// A page in GBK that says so itself.
    pub fn gbk(title: &str, text: &str) -> Self {
        let page = format!("<html><head><meta charset=gb2312><title>{title}</title></head>{text}");
        let body = encoding_rs::GBK.encode(&page).0.into_owned();
        Answer { fields: "Content-Type: text/html\r\n".to_owned(), body, ..Answer::new(200) }
    }

    pub fn redirect(to: &str) -> Self {
        Answer { fields: format!("Location: {to}\r\n"), ..Answer::new(302) }
    }

    pub fn late(self, delay: Duration) -> Self {
        Answer { delay, ..self }
    }
}

/// A request: when it came, for which host, and for what.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub host: String,
    pub target: String,
}

type Handler = Arc<dyn Fn(&Asked, usize) -> Answer + Send + Sync>;

pub struct Origin {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Origin {
    /// `answer` is given each request, and which it is.
    pub fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::open(None, Arc::new(answer))
    }

    /// Over TLS, with a certificate for these names that nobody vouches for; the certificate as PEM.
    pub fn tls(names: &[&str], answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> (Self, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        (Self::open(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(answer)), made.cert.pem())
    }

    fn open(tls: Option<TlsAcceptor>, answer: Handler) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = asked.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, seen) = (tls.clone(), answer.clone(), seen.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &answer, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &answer, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Origin { address, asked, _runtime: runtime }
    }

    /// All that was asked, in the order in which it came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// `HOST:PORT:ADDRESS:PORT`, for `--resolve`.
    pub fn place(&self, host: &str, port: u16) -> String {
        format!("{host}:{port}:{}", self.address)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Handler, seen: &Mutex<Vec<Asked>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("\r\nUser-Agent: Waypost/"), "{head}");
    let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap().to_owned();
    let asked = Asked { at: Instant::now(), host, target: head.split(' ').nth(1).unwrap().to_owned() };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len()
    };
    let Answer { status, fields, body, delay } = answer(&asked, number);
    if !delay.is_zero() {
        // A slow server.
        tokio::time::sleep(delay).await;
    }
    let head = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    let _ = stream.shutdown().await;
}
