//! Bodies of HTTP/1 answers: where they end, and no more of them than is wanted.

use std::io::Read;

/// Takes a body in as it comes.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    pub bytes: Vec<u8>,
    limit: usize,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are missing.
    Length(u64),
    /// Until the connection is closed.
    Close,
    Chunked(Chunk),
    Done,
}

#[derive(Debug)]
enum Chunk {
    /// The line with the size, as far as it is there.
    Size(Vec<u8>),
    /// So many bytes of the chunk are missing.
    Data(u64),
    /// The line end behind a chunk.
    End,
    /// Lines after the last chunk; whether the current one has something.
    Trailer(bool),
}

impl Body {
    /// By the header: chunked, or so long, or until the end. `limit` is how many bytes are kept.
    pub fn new(is_chunked: bool, length: Option<u64>, limit: usize) -> Self {
        let framing = match (is_chunked, length) {
            (true, _) => Framing::Chunked(Chunk::Size(Vec::new())),
            (false, Some(0)) => Framing::Done,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
        };
        Body { framing, bytes: Vec::new(), limit }
    }

    /// Whether no more is wanted.
    pub fn is_done(&self) -> bool {
        matches!(self.framing, Framing::Done) || self.bytes.len() >= self.limit
    }

    /// The connection was closed. Says whether all has come.
    pub fn ends_well(&self) -> bool {
        matches!(self.framing, Framing::Done | Framing::Close) && self.bytes.len() < self.limit
    }

    /// Takes in what came. False if it is not what was announced.
    pub fn push(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() && !self.is_done() {
            match &mut self.framing {
                Framing::Done => {}
                Framing::Close => {
                    let taken = data.len();
                    self.keep(&data[..taken]);
                    data = &[];
                }
                Framing::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.framing = Framing::Done;
                    }
                    self.keep(&data[..taken]);
                    data = &data[taken..];
                }
                Framing::Chunked(chunk) => {
                    let byte = data[0];
                    match chunk {
                        Chunk::Size(line) if byte == b'\n' => {
                            let digits: &[u8] = line.split(|&b| b == b';').next().unwrap_or_default();
                            let digits = std::str::from_utf8(digits).unwrap_or_default().trim();
                            let Ok(size) = u64::from_str_radix(digits, 16) else { return false };
                            *chunk = if size == 0 { Chunk::Trailer(false) } else { Chunk::Data(size) };
                            data = &data[1..];
                        }
                        Chunk::Size(line) => {
                            if line.len() >= LONGEST_SIZE {
                                return false;
                            }
                            line.push(byte);
                            data = &data[1..];
                        }
                        Chunk::Data(left) => {
                            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                            *left -= taken as u64;
                            if *left == 0 {
                                *chunk = Chunk::End;
                            }
                            self.keep(&data[..taken]);
                            data = &data[taken..];
                        }
                        Chunk::End => {
                            match byte {
                                b'\r' => {}
                                b'\n' => *chunk = Chunk::Size(Vec::new()),
                                _ => return false,
                            }
                            data = &data[1..];
                        }
                        Chunk::Trailer(has_text) => {
                            match byte {
                                b'\n' if !*has_text => self.framing = Framing::Done,
                                b'\n' => *has_text = false,
                                b'\r' => {}
                                _ => *has_text = true,
                            }
                            data = &data[1..];
                        }
                    }
                }
            }
        }
        true
    }

    fn keep(&mut self, data: &[u8]) {
        let room = self.limit - self.bytes.len();
        self.bytes.extend(&data[..room.min(data.len())]);
    }
}

/// What is in a gzip stream, as far as it goes, but no more than `limit` bytes: a small body may hold a huge one.
pub(super) fn unzip(bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    // What is cut or broken is good as far as it was read.
    let _ = flate2::read::MultiGzDecoder::new(bytes).take(limit as u64).read_to_end(&mut out);
    out
}

/// Longest line with the size of a chunk, its extensions included.
const LONGEST_SIZE: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(mut body: Body, data: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
        for part in data.chunks(step) {
            if !body.push(part) {
                return None;
            }
        }
        let is_done = body.is_done();
        Some((body.bytes, is_done))
    }

    #[test]
    fn bodies_end_where_they_say() {
        let chunked = b"5;x=1\r\nhello\r\nA\r\n, everyone\r\n0\r\nTrailer: a\r\n\r\nrest";
        for step in 1..=chunked.len() {
            let whole = Some((b"hello, everyone".to_vec(), true));
            assert_eq!(read(Body::new(true, None, 100), chunked, step), whole);
            assert_eq!(read(Body::new(false, Some(5), 100), b"hello, everyone", step), Some((b"hello".to_vec(), true)));
            assert_eq!(read(Body::new(false, None, 5), b"hello, everyone", step), Some((b"hello".to_vec(), true)));
            assert_eq!(read(Body::new(true, None, 7), chunked, step), Some((b"hello, ".to_vec(), true)));
        }
        assert_eq!(read(Body::new(true, None, 100), b"5\r\nhel", 1), Some((b"hel".to_vec(), false)));
        for bad in [&b"x\r\n"[..], b"\r\n", b"3\r\nabcd\r\n", &[b'1'; 300], b"ffffffffffffffffff\r\n"] {
            assert_eq!(read(Body::new(true, None, 100), bad, 1), None, "{bad:?}");
        }
    }

    #[test]
    fn bombs_stay_small() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b'a'; 10 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 20_000);
        assert_eq!(unzip(&bomb, 1000), [b'a'; 1000]);
        assert_eq!(unzip(&bomb[..bomb.len() / 2], 1000), [b'a'; 1000]);
        assert_eq!(unzip(b"no gzip", 1000), b"");
    }
}
