//! HTTP/1.1 as the client reads it.

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// An answer, as far as it matters here.
pub struct Answer {
    pub status: u16,
    pub location: String,
    pub head: usize,
    pub body: usize,
    pub keep_alive: bool,
}

/// What was read from an HTTP/1.1 connection.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Reads one answer, whole; nothing may follow it.
    pub async fn answer(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Answer> {
        self.bytes.clear();
        self.bytes.reserve(4096);
        loop {
            if stream.read_buf(&mut self.bytes).await? == 0 {
                bail!("the server closed the connection after {} bytes of an answer", self.bytes.len());
            }
            if let Some(answer) = parse(&self.bytes)?.filter(|answer| self.bytes.len() >= answer.head + answer.body) {
                ensure!(self.bytes.len() == answer.head + answer.body, "bytes after the answer");
                return Ok(answer);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.context("a status")?;
    let mut answer = Answer { status, location: String::new(), head, body: 0, keep_alive: true };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            answer.body = std::str::from_utf8(header.value)?.parse()?;
        } else if header.name.eq_ignore_ascii_case("location") {
            answer.location = String::from_utf8_lossy(header.value).into_owned();
        } else if header.name.eq_ignore_ascii_case("connection") {
            answer.keep_alive = !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(anyhow!("a chunked redirect"));
        }
    }
    Ok(Some(answer))
}
