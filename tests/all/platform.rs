//! A platform for tests of what is relayed: a small server of HTTP/1.1 that keeps connections and tells what it saw.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
};

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
}

/// A platform that answers each request with its body, or as the path says.
pub struct Origin {
    pub address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let sender = sender.clone();
                // It ends when the gateway does.
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || serve_platform(&stream, connection, &sender));
            }
        });
        Origin { address, seen }
    }

    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a request at the platform")
    }
}

/// None when the connection ends, or a request ends too early.
fn serve_platform(mut stream: &TcpStream, connection: usize, sender: &mpsc::Sender<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
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
        let answer = match seen.head.split(' ').nth(1).unwrap_or_default() {
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
            _ if seen.head.starts_with("HEAD") => format!("{head}Content-Length: 42\r\n\r\n"),
            _ => format!("{head}Content-Length: {}\r\n\r\n", body.len()),
        };
        let ends = answer.is_empty() || answer.ends_with("half");
        let echoes = !ends && !seen.head.starts_with("HEAD") && !answer.contains("chunked");
        sender.send(Seen { body: body.clone(), ..seen }).ok()?;
        stream.write_all(answer.as_bytes()).ok()?;
        if echoes {
            stream.write_all(&body).ok()?;
        }
        if ends {
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
    }
}
