//! The chunks of an answer's body (RFC 9112, 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A body in chunks, which comes to its end as its bytes are taken.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The fields behind the body, and how many bytes they are.
    trailers: HeaderMap,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A piece of it, never an empty one.
    Piece(Bytes),
    /// Nothing before more bytes have come.
    More,
    /// Its end.
    End,
}

/// A body that is not framed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not framed as chunks should be")]
pub(super) struct BadChunk;

impl Chunks {
    pub fn new() -> Self {
        Chunks { state: State::Size, trailers: HeaderMap::new(), length: 0 }
    }

    /// Takes the next piece out of what has come, without copying it.
    ///
    /// # Errors
    /// If the chunks are malformed. Nothing that follows can be trusted.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, BadChunk> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = take_line(buffer, MAX_SIZE_LINE)? else { return Ok(Next::More) };
                    self.state = match size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Data(_) if buffer.is_empty() => return Ok(Next::More),
                State::Data(left) => {
                    let some = left.min(buffer.len() as u64);
                    self.state = if some == left { State::DataEnd } else { State::Data(left - some) };
                    // It is no longer than the buffer.
                    return Ok(Next::Piece(buffer.split_to(some as usize).freeze()));
                }
                State::DataEnd => {
                    let come = buffer.len().min(2);
                    if buffer[..come] != b"\r\n"[..come] {
                        return Err(BadChunk);
                    }
                    if come < 2 {
                        return Ok(Next::More);
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(line) = take_line(buffer, MAX_TRAILERS - self.length)? else { return Ok(Next::More) };
                    self.length += line.len() + 2;
                    if line.is_empty() {
                        self.state = State::Done;
                    } else {
                        self.note(&line)?;
                    }
                }
                State::Done => return Ok(Next::End),
            }
        }
    }

    /// The fields behind the body, if there were any.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        (!self.trailers.is_empty()).then(|| std::mem::take(&mut self.trailers))
    }

    fn note(&mut self, line: &[u8]) -> Result<(), BadChunk> {
        let colon = memchr::memchr(b':', line).ok_or(BadChunk)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| BadChunk)?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| BadChunk)?;
        if !NOT_BEHIND.contains(&name.as_str()) {
            self.trailers.append(name, value);
        }
        Ok(())
    }
}

/// A line without its end, if one has come; it and its end are at most `most` bytes.
fn take_line(buffer: &mut BytesMut, most: usize) -> Result<Option<BytesMut>, BadChunk> {
    let Some(end) = memchr::memchr(b'\n', &buffer[..buffer.len().min(most)]) else {
        return if buffer.len() < most { Ok(None) } else { Err(BadChunk) };
    };
    let mut line = buffer.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') {
        return Err(BadChunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// What a line says of the size of its chunk.
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    // An extension that isn't known is ignored (RFC 9112, 7.1.1). Some old servers fill up with spaces.
    let rest = rest.trim_ascii_start();
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F);
    if !(1..=MAX_DIGITS).contains(&digits.len()) || !(rest.is_empty() || rest[0] == b';') || !rest.iter().all(is_text) {
        return Err(BadChunk);
    }
    let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).unwrap_or(0));
    Ok(digits.iter().fold(0, |size, byte| size << 4 | digit(byte)))
}

/// Fields that must not stand behind a body, where they would come too late (RFC 9110, 6.5.1).
const NOT_BEHIND: [&str; 15] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "keep-alive",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
];

/// Digits of a size: 15 are a million terabytes.
const MAX_DIGITS: usize = 15;

/// Bytes of a line with a size. Many chunks with long ones are much to read and nothing to have.
const MAX_SIZE_LINE: usize = 256;

/// Bytes of all trailers.
const MAX_TRAILERS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, how many bytes are left after it, and the trailers; the same if it comes in pieces of `by` bytes. `None`
    /// if it is not over.
    fn read(bytes: &[u8], by: usize) -> Result<Option<(String, usize, Option<HeaderMap>)>, BadChunk> {
        let (mut chunks, mut buffer, mut body) = (Chunks::new(), BytesMut::new(), Vec::new());
        for (number, piece) in bytes.chunks(by).enumerate() {
            buffer.extend_from_slice(piece);
            loop {
                match chunks.next(&mut buffer)? {
                    Next::Piece(piece) => {
                        assert!(!piece.is_empty());
                        body.extend_from_slice(&piece);
                    }
                    Next::More => break,
                    Next::End => {
                        let left = buffer.len() + bytes.len() - bytes.len().min((number + 1) * by);
                        return Ok(Some((String::from_utf8(body).unwrap(), left, chunks.trailers())));
                    }
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_is_what_is_in_its_chunks() {
        for (chunks, want) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n00A;name=\"value\"\r\n0123456789\r\n0\r\n\r\n", "hello0123456789"),
            ("5   \r\nhello\r\n0 ; a\r\n\r\n", "hello"),
        ] {
            for by in [1, 2, 3, 7, 1000] {
                let whole = format!("{chunks}HTTP");
                assert_eq!(read(whole.as_bytes(), by), Ok(Some((want.to_owned(), 4, None))), "{chunks:?} by {by}");
                for part in 0..chunks.len() {
                    assert_eq!(read(&chunks.as_bytes()[..part], by), Ok(None), "{part} of {chunks:?} by {by}");
                }
            }
        }
    }

    #[test]
    fn trailers_are_told_but_for_those_that_come_too_late() {
        let body = b"1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\nX-Sum:\t2 \r\nSet-Cookie: a=b\r\n\r\n";
        for by in [1, 5, 1000] {
            let (_, left, trailers) = read(body, by).unwrap().unwrap();
            let trailers = trailers.unwrap();
            let sums: Vec<_> = trailers.get_all("x-sum").iter().map(HeaderValue::as_bytes).collect();
            assert_eq!((left, trailers.len(), sums), (0, 2, vec![&b"1"[..], b"2"]));
        }
    }

    #[test]
    fn chunks_that_could_be_measured_otherwise_are_refused() {
        for chunks in [
            "\r\n",
            " 5\r\n",
            "+5\r\n",
            "-1\r\n",
            "0x5\r\n",
            "g\r\n",
            "5 5\r\n",
            "5\n",
            "5\r5\n",
            "1000000000000000\r\n",
            ";\r\n",
            "5;a\x01\r\n",
            "1\r\nxx",
            "1\r\nx\n",
            "1\r\nx\r\r",
            "0\r\n\n",
            "0\r\nname\r\n",
            "0\r\n folded: x\r\n",
            "0\r\nname : x\r\n",
            "0\r\nname: a\x00b\r\n",
        ] {
            for by in [1, 1000] {
                assert_eq!(read(chunks.as_bytes(), by), Err(BadChunk), "{} by {by}", chunks.escape_debug());
            }
        }
        assert_eq!(read(format!("1;{}", "x".repeat(300)).as_bytes(), 1000), Err(BadChunk));
        assert_eq!(read(format!("0\r\n{}", "name: value\r\n".repeat(2_000)).as_bytes(), 1000), Err(BadChunk));
    }
}
