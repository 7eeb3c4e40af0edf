//! Applying a content coding, piece by piece.

use std::io::{self, Write};

use brotli::CompressorWriter;
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::stream::raw::{CParameter, Encoder as Zstd, InBuffer, Operation, OutBuffer};

use super::body::Failure;
use super::coding::Coding;

/// Compresses one body.
///
/// A body is compressed once, before the cache, and sent many times: so the levels are those from which on more time
/// buys little, not the quickest ones that a server takes that compresses for each hit.
pub struct Encoder {
    coding: Coding,
    engine: Engine,
}

enum Engine {
    Gzip(Compress),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Zstd<'static>),
}

impl Encoder {
    /// `None` for [`Coding::Deflate`], which is never sent (its two readings made it unusable), or if memory is short.
    pub fn new(coding: Coding) -> Option<Self> {
        let engine = match coding {
            Coding::Gzip => Engine::Gzip(Compress::new_gzip(Compression::new(GZIP_LEVEL), 15)),
            Coding::Brotli => {
                Engine::Brotli(Box::new(CompressorWriter::new(Vec::new(), BUFFER, BROTLI_QUALITY, WINDOW_LOG)))
            }
            Coding::Zstd => {
                let mut encoder = Zstd::new(ZSTD_LEVEL).ok()?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).ok()?;
                Engine::Zstd(encoder)
            }
            Coding::Deflate => return None,
        };
        Some(Encoder { coding, engine })
    }

    /// The coding that it applies.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Takes the next bytes, and appends to `out` what is ready. That may be nothing for a long while: see
    /// [`flush`](Self::flush).
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let result = match &mut self.engine {
            Engine::Gzip(engine) => deflate(engine, bytes, FlushCompress::None, out),
            Engine::Brotli(writer) => writer.write_all(bytes).map(|()| out.append(writer.get_mut())),
            Engine::Zstd(encoder) => {
                let mut input = InBuffer::around(bytes);
                drain(out, |output| {
                    encoder.run(&mut input, output)?;
                    Ok(input.pos() < bytes.len())
                })
            }
        };
        result.map_err(|_| Failure::Unencodable(self.coding))
    }

    /// Appends all that was taken so far, so that the client sees it. Costs compression: meant for when the platform
    /// pauses.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let result = match &mut self.engine {
            Engine::Gzip(engine) => deflate(engine, &[], FlushCompress::Sync, out),
            Engine::Brotli(writer) => writer.flush().map(|()| out.append(writer.get_mut())),
            Engine::Zstd(encoder) => drain(out, |output| Ok(encoder.flush(output)? > 0)),
        };
        result.map_err(|_| Failure::Unencodable(self.coding))
    }

    /// Appends the end of the body.
    pub fn end(self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let result = match self.engine {
            Engine::Gzip(mut engine) => deflate(&mut engine, &[], FlushCompress::Finish, out),
            Engine::Brotli(writer) => {
                out.append(&mut writer.into_inner());
                Ok(())
            }
            Engine::Zstd(mut encoder) => drain(out, |output| Ok(encoder.finish(output, true)? > 0)),
        };
        result.map_err(|_| Failure::Unencodable(self.coding))
    }
}

/// Runs the engine until it has taken all of `bytes` and has nothing more to say.
fn deflate(engine: &mut Compress, bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
    let start = engine.total_in();
    loop {
        let used = usize::try_from(engine.total_in() - start).map_err(io::Error::other)?;
        out.reserve(BUFFER);
        let before = out.len();
        let status = engine.compress_vec(&bytes[used..], out, flush).map_err(io::Error::other)?;
        let is_full = out.len() == out.capacity();
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // A second flush without input in between says nothing.
            _ => engine.total_in() - start == bytes.len() as u64 && !is_full,
        };
        if is_done {
            return Ok(());
        }
        if status == Status::BufError && out.len() == before && !is_full {
            return Ok(());
        }
    }
}

/// Calls `step` with room for output, until it says that there is no more.
fn drain(out: &mut Vec<u8>, mut step: impl FnMut(&mut OutBuffer<'_, [u8]>) -> io::Result<bool>) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let mut output = OutBuffer::around(&mut buffer[..]);
        let more = step(&mut output)?;
        let is_full = output.pos() == BUFFER;
        out.extend_from_slice(output.as_slice());
        if !more && !is_full {
            return Ok(());
        }
    }
}

/// Measured on 120 pages of manuals (7.8 MB): 5 makes bodies a twelfth smaller than 4 at nearly its speed, and 9 only 3
/// % smaller than 5 in ten times the time.
const BROTLI_QUALITY: u32 = 5;

/// On the same pages: 3 makes bodies a tenth larger, 9 makes them 1 % smaller in twice the time.
const ZSTD_LEVEL: i32 = 6;

/// zlib's own choice. On the same pages: 4 makes bodies 7 % larger, 9 makes them 1 % smaller in nearly twice the time.
const GZIP_LEVEL: u32 = 6;

/// 512 KiB: larger than nearly all pages, so that a larger one gained nothing, and an encoder stays at a few MiB of
/// memory.
const WINDOW_LOG: u32 = 19;

const BUFFER: usize = 8 << 10;
