//! One exchange by HTTP/1.1 with whoever is visited: the head is kept, the body is read to its end and dropped.

use httparse::{Response, Status};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::visit::Finding;

/// What is known of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// Where it leads, as it was sent.
    pub location: Option<Vec<u8>>,
}

/// Asks for a page, and reads the whole answer: of more than [`MAX_BODY`] so much.
pub(super) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &str,
    path: &str,
) -> Result<Answer, Finding> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Mozilla/5.0 (compatible; waypost-monitor/{})\r\n\
         Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let broken = |_| Finding::Broken;
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut read = Vec::with_capacity(READ);
    let (answer, body, at) = loop {
        match head(&read)? {
            // An interim answer: the real one follows.
            Some((answer, _, at)) if answer.status < 200 => {
                read.drain(..at);
            }
            Some(found) => break found,
            None if read.len() > MAX_HEAD => return Err(Finding::Broken),
            None => {
                if stream.read_buf(&mut read).await.map_err(broken)? == 0 {
                    return Err(Finding::Broken);
                }
            }
        }
    };
    // Where a redirect's body ends is of no concern.
    if answer.location.is_some() || answer.status >= 400 {
        return Ok(answer);
    }
    let mut body = body;
    let mut left = MAX_BODY;
    let mut part = read.split_off(at);
    loop {
        if body.take(&part)? || part.len() >= left {
            return Ok(answer);
        }
        left -= part.len();
        part.clear();
        part.reserve(READ);
        let count = match stream.read_buf(&mut part).await {
            Ok(count) => count,
            // Many servers end TLS without saying so.
            Err(_) if matches!(body, Body::ToEnd) => 0,
            Err(_) => return Err(Finding::Broken),
        };
        if count == 0 {
            return if matches!(body, Body::ToEnd) { Ok(answer) } else { Err(Finding::Broken) };
        }
    }
}

/// The head, the body that follows, and where that begins; none if it is not whole yet.
fn head(bytes: &[u8]) -> Result<Option<(Answer, Body, usize)>, Finding> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = Response::new(&mut fields);
    let at = match response.parse(bytes) {
        Ok(Status::Complete(at)) => at,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Finding::Broken),
    };
    let status = response.code.unwrap_or_default();
    let value = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value)
    };
    let is_chunked =
        value("transfer-encoding").is_some_and(|value| memmem::find(&value.to_ascii_lowercase(), b"chunked").is_some());
    let length = value("content-length").and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok());
    let body = match length {
        _ if matches!(status, 204 | 304) => Body::Left(0),
        _ if is_chunked => Body::Chunked(Chunk::Size { digits: String::new(), is_done: false }),
        Some(length) => Body::Left(length),
        None => Body::ToEnd,
    };
    let is_redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
    let location = value("location").filter(|_| is_redirect).map(<[u8]>::to_vec);
    Ok(Some((Answer { status, location }, body, at)))
}

/// What is still to come of a body.
enum Body {
    Left(u64),
    Chunked(Chunk),
    ToEnd,
}

/// Where in a chunked body we are (RFC 9112, 7.1).
enum Chunk {
    /// In the line with a chunk's size.
    Size { digits: String, is_done: bool },
    /// In its data and the line end behind them.
    Data(u64),
    /// Behind the last chunk, in a line of trailers that has so many characters so far.
    Trailer(usize),
}

impl Body {
    /// Takes what has come. True if that was the end.
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Finding> {
        let chunk = match self {
            Body::ToEnd => return Ok(false),
            Body::Left(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                return Ok(*left == 0);
            }
            Body::Chunked(chunk) => chunk,
        };
        while let Some((&byte, rest)) = bytes.split_first() {
            match chunk {
                Chunk::Data(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        *chunk = Chunk::Size { digits: String::new(), is_done: false };
                    }
                    continue;
                }
                Chunk::Size { digits, is_done } => match byte {
                    b'\n' => {
                        let size = u64::from_str_radix(digits, 16).map_err(|_| Finding::Broken)?;
                        *chunk = match size {
                            0 => Chunk::Trailer(0),
                            size => Chunk::Data(size.saturating_add(2)),
                        };
                    }
                    _ if !*is_done && byte.is_ascii_hexdigit() && digits.len() < 15 => digits.push(char::from(byte)),
                    // An extension, or the line end.
                    b';' | b'\r' | b' ' | b'\t' => *is_done = true,
                    _ if *is_done => {}
                    _ => return Err(Finding::Broken),
                },
                Chunk::Trailer(length) => match byte {
                    b'\n' if *length == 0 => return Ok(true),
                    b'\n' => *length = 0,
                    b'\r' => {}
                    _ => *length += 1,
                },
            }
            bytes = rest;
        }
        Ok(false)
    }
}

/// Bytes of a read.
const READ: usize = 16 * 1024;

/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes of a page that are read: no home page has more.
const MAX_BODY: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answer: &[u8]) -> Result<Answer, Finding> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let answering = async move {
                let mut request = vec![0; 4096];
                let count = theirs.read(&mut request).await.unwrap();
                assert!(request[..count].starts_with(b"GET /a?b HTTP/1.1\r\nHost: a.example\r\n"));
                // In the worst pieces.
                for byte in answer {
                    if theirs.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(ask(ours, "a.example", "/a?b"), answering).0
        })
    }

    #[test]
    fn whole_answers() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        ] {
            assert_eq!(asked(answer.as_bytes()), Ok(Answer { status: 200, location: None }), "{answer}");
        }
        let moved = Answer { status: 302, location: Some(b"/b".to_vec()) };
        assert_eq!(asked(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 99\r\n\r\n"), Ok(moved));
        assert_eq!(asked(b"HTTP/1.1 503 No\r\n\r\n"), Ok(Answer { status: 503, location: None }));
    }

    #[test]
    fn broken_answers() {
        for answer in [
            &b""[..],
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(asked(answer), Err(Finding::Broken), "{}", String::from_utf8_lossy(answer));
        }
    }
}
