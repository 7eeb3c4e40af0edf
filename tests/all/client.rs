//! A plain HTTP/1.1 client over one socket: sends exactly the bytes it is given.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection that is used for one request after the other.
pub struct Conn {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// How often a connection was opened.
    pub opened: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Conn {
    pub fn new(address: SocketAddr) -> Self {
        Conn { address, stream: None, buffer: Vec::new(), opened: 0 }
    }

    /// GET with a Host header.
    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.request("GET", host, target.as_bytes(), &[], b"")
    }

    pub fn request(
        &mut self,
        method: &str,
        host: &str,
        target: &[u8],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut raw = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\n"].concat();
        for (name, value) in headers {
            raw.extend(format!("{name}: {value}\r\n").bytes());
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            raw.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        raw.extend(b"\r\n");
        raw.extend(body);
        self.send(&raw, method == "HEAD").unwrap()
    }

    /// Sends raw bytes and reads one response. A connection that the server closed between requests is opened again.
    pub fn send(&mut self, raw: &[u8], head: bool) -> std::io::Result<Response> {
        let reused = self.stream.is_some();
        match self.exchange(raw, head) {
            Err(_) if reused => {
                self.stream = None;
                self.exchange(raw, head)
            }
            result => result,
        }
    }

    fn exchange(&mut self, raw: &[u8], head: bool) -> std::io::Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
            self.buffer.clear();
            self.opened += 1;
        }
        self.stream.as_mut().unwrap().write_all(raw)?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: Option<usize> = headers.get("content-length").map(|length| length.parse().unwrap());
        let mut body = Vec::new();
        if !head {
            // Everything the gateway sends has a length; a body that ends with the connection would be a fault.
            let length = length.unwrap_or_else(|| panic!("no Content-Length: {text}"));
            while self.buffer.len() < length {
                self.more()?;
            }
            body = self.buffer.drain(..length).collect();
        }
        if headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.stream = None;
        }
        Ok(Response { status, headers, body })
    }

    fn more(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 65536];
        let read = self.stream.as_mut().unwrap().read(&mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}
