//! Request bodies, followed as their bytes pass, to know where they end (RFC 9112, 6 and 7).
//!
//! The door has to know: what follows a body is the next request. A chunk that two parties could measure differently is
//! refused.

use super::head::is_token;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Framing::Length(0)
    }
}

/// A body that is passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body(State);

/// A body that is not framed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not framed as chunks should be")]
pub struct BadChunk;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Left(u64),
    /// The digits of a chunk's size.
    Size {
        size: u64,
        digits: u8,
    },
    /// What a size may be followed by, and how many bytes of it have passed.
    Extension {
        size: u64,
        length: u16,
    },
    SizeEnd {
        size: u64,
    },
    Chunk(u64),
    ChunkEnd,
    ChunkEndLine,
    /// At the start of a line after the last chunk; how many bytes of such lines have passed.
    Trailer(u16),
    TrailerName(u16),
    TrailerValue(u16),
    TrailerLine(u16),
    End,
    /// The connection belongs to another protocol from here on.
    Forever,
}

impl Body {
    /// A body that has yet to come.
    pub fn new(framing: Framing) -> Self {
        Body(match framing {
            Framing::Length(length) => State::Left(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        })
    }

    /// What follows an upgrade to another protocol.
    pub fn forever() -> Self {
        Body(State::Forever)
    }

    /// Whether all of it has passed.
    pub fn is_done(self) -> bool {
        self.0 == State::Left(0)
    }

    /// Whether it ends at all.
    pub fn ends(self) -> bool {
        self.0 != State::Forever
    }

    /// Lets as many bytes pass as belong to the body, and tells how many.
    ///
    /// # Errors
    /// If the chunks are malformed. Nothing that follows can be trusted.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match &mut self.0 {
                State::Forever => return Ok(bytes.len()),
                State::Left(0) => break,
                State::Left(left) | State::Chunk(left) => {
                    let some = (*left).min((bytes.len() - at) as u64);
                    *left -= some;
                    at += some as usize;
                    if self.0 == State::Chunk(0) {
                        self.0 = State::ChunkEnd;
                    }
                    continue;
                }
                state => *state = state.step(byte)?,
            }
            at += 1;
        }
        Ok(at)
    }
}

impl State {
    /// The state after one byte of the framing.
    fn step(self, byte: u8) -> Result<State, BadChunk> {
        let next = match (self, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // 15 digits are a million terabytes.
                if digits == MAX_DIGITS {
                    return Err(BadChunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BadChunk),
            (State::Size { size, .. }, b'\r') => State::SizeEnd { size },
            // RFC 9112, 7.1.1: an extension that isn't known is ignored.
            (State::Size { size, .. }, b';') => State::Extension { size, length: 0 },
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(0),
            (State::SizeEnd { size }, b'\n') => State::Chunk(size),
            (State::ChunkEnd, b'\r') => State::ChunkEndLine,
            (State::ChunkEndLine, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer(_), b'\r') => State::End,
            (State::End, b'\n') => State::Left(0),
            (_, _) => return self.step_line(byte),
        };
        Ok(next)
    }

    /// Lines whose length is bounded.
    fn step_line(self, byte: u8) -> Result<State, BadChunk> {
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7F);
        let is_token = is_token(byte);
        Ok(match (self, byte) {
            (State::TrailerName(n) | State::TrailerValue(n), _) if n >= MAX_TRAILER => return Err(BadChunk),
            (State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Extension { length: MAX_EXTENSION, .. }, _) => return Err(BadChunk),
            (State::Extension { size, length }, _) if is_text => State::Extension { size, length: length + 1 },
            (State::Trailer(n), _) if is_token => State::TrailerName(n + 1),
            (State::TrailerName(n), b':') => State::TrailerValue(n + 1),
            (State::TrailerName(n), _) if is_token => State::TrailerName(n + 1),
            (State::TrailerValue(n), b'\r') => State::TrailerLine(n + 1),
            (State::TrailerValue(n), _) if is_text => State::TrailerValue(n + 1),
            (State::TrailerLine(n), b'\n') => State::Trailer(n + 1),
            _ => return Err(BadChunk),
        })
    }
}

/// Bytes of a body that nobody wants which are let pass, so that the client can read its answer.
pub const MAX_PASSING: u64 = 64 * 1024;

/// Digits of a chunk's size.
const MAX_DIGITS: u8 = 15;

/// Bytes of an extension. Many chunks with long ones are much to read and nothing to have.
const MAX_EXTENSION: u16 = 128;

/// Bytes of all trailers.
const MAX_TRAILER: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes pass, in one piece and byte by byte, and whether the body is then done.
    fn pass(framing: Framing, bytes: &[u8]) -> Result<(usize, bool), BadChunk> {
        let mut body = Body::new(framing);
        let passed = body.pass(bytes).map(|passed| (passed, body.is_done()));
        let mut body = Body::new(framing);
        let mut count = 0;
        let one_by_one = bytes.iter().try_fold(0, |sum, byte| {
            count += 1;
            body.pass(&[*byte]).map(|passed| sum + passed)
        });
        assert_eq!(one_by_one.map(|passed| (passed, body.is_done())), passed, "{}", bytes.escape_ascii());
        passed
    }

    #[test]
    fn a_body_ends_where_it_says() {
        assert_eq!(pass(Framing::Length(0), b"GET"), Ok((0, true)));
        assert_eq!(pass(Framing::Length(5), b"helloGET"), Ok((5, true)));
        assert_eq!(pass(Framing::Length(5), b"hell"), Ok((4, false)));
        for (chunks, rest) in [
            ("0\r\n\r\n", "GET"),
            ("5\r\nhello\r\n00A;name=\"value\"\r\n0123456789\r\n0\r\n\r\n", "0"),
            ("1\r\nx\r\n0\r\nName: value\r\nOther:\r\n\r\n", "\r\n"),
        ] {
            assert_eq!(pass(Framing::Chunked, format!("{chunks}{rest}").as_bytes()), Ok((chunks.len(), true)));
            for part in 0..chunks.len() {
                assert_eq!(pass(Framing::Chunked, &chunks.as_bytes()[..part]), Ok((part, false)), "{part}");
            }
        }
    }

    #[test]
    fn chunks_that_could_be_measured_otherwise_are_refused() {
        for chunks in [
            "\r\n",
            " 5\r\n",
            "5 \r\n",
            "+5\r\n",
            "-1\r\n",
            "0x5\r\n",
            "g\r\n",
            "5\n",
            "5\r5",
            "1000000000000000\r\n",
            ";\r\n",
            "5;a\nb\r\n",
            "5;\x01\r\n",
            "1\r\nxx",
            "1\r\nx\n",
            "1\r\nx\r\r",
            "0\r\n\n",
            "0\r\nname\r\n",
            "0\r\n folded: x\r\n",
            "0\r\nname : x\r\n",
            "0\r\nname: a\x00b\r\n",
            "0\r\nname: a\nb: c\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(pass(Framing::Chunked, chunks.as_bytes()), Err(BadChunk), "{}", chunks.escape_debug());
        }
        let long = |count| format!("1;{}\r\n", "x".repeat(count));
        assert!(
            pass(Framing::Chunked, long(128).as_bytes()).is_ok()
                && pass(Framing::Chunked, long(129).as_bytes()).is_err()
        );
        let trailers = format!("0\r\n{}", "name: value\r\n".repeat(400));
        assert!(pass(Framing::Chunked, trailers.as_bytes()).is_err());
    }
}
