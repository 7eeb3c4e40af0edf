//! A small HTTP/1.1 server whose answers a function gives, bodies of requests streamed to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A running server, and the heads that it has seen.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
}

impl Request {
    /// The value of a field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// Path and query.
    pub fn parts(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }
}

/// An answer; its length is added.
pub struct Answer {
    pub status: u16,
    /// Their values are bytes, as old servers send them.
    pub fields: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Answer { status: 200, fields: Vec::new(), body: body.into() }.with("Content-Type", content_type)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

impl Server {
    /// Starts one. `answer` reads as much of the body as it likes.
    pub fn start(answer: impl Fn(&Request, &mut dyn Read) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let log = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (answer.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &*answer, &log));
            }
        });
        Server { address, seen }
    }

    /// What was asked since the last time.
    pub fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// None when the connection ends.
fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request, &mut dyn Read) -> Answer,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let request = Request { method, target, fields };
        log.lock().unwrap().push(request.clone());
        assert_eq!(request.field("transfer-encoding"), "", "the browser tells how long its bodies are");
        let mut body = (&mut reader).take(request.field("content-length").parse().unwrap_or(0));
        let Answer { status, fields, body: page } = answer(&request, &mut body);
        std::io::copy(&mut body, &mut std::io::sink()).ok()?;
        let mut out = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n", page.len()).into_bytes();
        for (name, value) in fields {
            out.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        out.extend(b"\r\n");
        if request.method != "HEAD" {
            out.extend(page);
        }
        reader.get_mut().write_all(&out).ok()?;
    }
}
