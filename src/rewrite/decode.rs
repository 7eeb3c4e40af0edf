//! Undoing content codings, piece by piece.

use std::mem;

use brotli::writer::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

use super::body::Failure;
use super::coding::Coding;

/// Undoes the codings of one body, the last applied first. An empty body is taken for an empty page.
pub(super) struct Decoder {
    stages: Vec<Stage>,
}

struct Stage {
    coding: Coding,
    engine: Engine,
    buffer: Box<[u8]>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing has come.
    Empty,
    Inside,
    /// At the end of the body, or of one of its members.
    Complete,
}

enum Engine {
    Gzip(Decompress),
    /// Before its first two bytes are known, which tell zlib from bare deflate.
    DeflateHead(Vec<u8>),
    Deflate(Decompress),
    Brotli(Box<Brotli>),
    Zstd(Zstd<'static>),
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

impl Decoder {
    /// `codings` in the order in which they were applied. `None` if memory is short.
    pub(super) fn new(codings: &[Coding]) -> Option<Self> {
        Some(Decoder { stages: codings.iter().rev().map(|&coding| Stage::new(coding)).collect::<Option<_>>()? })
    }

    /// Decodes the next bytes, and hands over what comes out in pieces of up to [`BUFFER`] bytes.
    pub(super) fn write(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        pass(&mut self.stages, bytes, sink)
    }

    /// The body is over. An error if it broke off.
    pub(super) fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), Failure> {
        for index in 0..self.stages.len() {
            let (stage, rest) = self.stages[index..].split_first_mut().expect("the index is in bounds");
            stage.end(&mut |piece| pass(rest, piece, sink))?;
        }
        Ok(())
    }
}

type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Failure> + 'a;

fn pass(stages: &mut [Stage], bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
    match stages.split_first_mut() {
        None => sink(bytes),
        Some((stage, rest)) => stage.write(bytes, &mut |piece| pass(rest, piece, sink)),
    }
}

impl Stage {
    fn new(coding: Coding) -> Option<Self> {
        let engine = match coding {
            Coding::Gzip => Engine::Gzip(Decompress::new_gzip(MAX_WINDOW_BITS)),
            Coding::Deflate => Engine::DeflateHead(Vec::new()),
            // Strict: without the extension of windows beyond 16 MiB.
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Engine::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = Zstd::new().ok()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Engine::Zstd(decoder)
            }
        };
        Some(Stage { coding, engine, buffer: vec![0; BUFFER].into(), progress: Progress::Empty })
    }

    fn write(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        if let Engine::DeflateHead(head) = &mut self.engine {
            head.extend_from_slice(bytes);
            let &[first, second, ..] = head.as_slice() else { return Ok(()) };
            let is_zlib = first & 15 == 8 && first >> 4 <= 7 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0;
            let head = mem::take(head);
            self.engine = Engine::Deflate(Decompress::new(is_zlib));
            return self.write(&head, sink);
        }
        while !bytes.is_empty() {
            if self.progress == Progress::Complete && !self.begins_another(bytes) {
                // Browsers ignore what follows: padding, or a line end that a script sent too much. The body was whole.
                return Ok(());
            }
            bytes = &bytes[self.run(bytes, sink)?..];
        }
        Ok(())
    }

    /// Whether another member or frame follows the one that ended.
    fn begins_another(&mut self, bytes: &[u8]) -> bool {
        match &mut self.engine {
            // Told by its first byte: the second may come later.
            Engine::Gzip(engine) => {
                let another = bytes.first() == Some(&0x1F);
                if another {
                    *engine = Decompress::new_gzip(MAX_WINDOW_BITS);
                }
                another
            }
            // A frame, or one that is to be skipped; the decoder goes on by itself.
            Engine::Zstd(_) => matches!(bytes.first(), Some(0x28 | 0x50..=0x5F)),
            _ => false,
        }
    }

    /// Decodes until the input is used up or a member ends. Returns how much was used.
    fn run(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<usize, Failure> {
        self.progress = Progress::Inside;
        let bad = Failure::Malformed(self.coding);
        let mut used = 0;
        loop {
            let step = match &mut self.engine {
                Engine::DeflateHead(_) => return Err(bad),
                Engine::Gzip(engine) | Engine::Deflate(engine) => {
                    let (before_in, before_out) = (engine.total_in(), engine.total_out());
                    let status = engine.decompress(&bytes[used..], &mut self.buffer, FlushDecompress::None);
                    Step {
                        is_end: matches!(status.map_err(|_| bad.clone())?, Status::StreamEnd),
                        read: usize::try_from(engine.total_in() - before_in).map_err(|_| bad.clone())?,
                        written: usize::try_from(engine.total_out() - before_out).map_err(|_| bad.clone())?,
                    }
                }
                Engine::Brotli(state) => {
                    let (mut left, mut read, mut room, mut written, mut total) =
                        (bytes.len() - used, 0, self.buffer.len(), 0, 0);
                    let input = &bytes[used..];
                    let result = BrotliDecompressStream(
                        &mut left,
                        &mut read,
                        input,
                        &mut room,
                        &mut written,
                        &mut self.buffer,
                        &mut total,
                        state,
                    );
                    if matches!(result, BrotliResult::ResultFailure) {
                        return Err(bad);
                    }
                    Step { is_end: matches!(result, BrotliResult::ResultSuccess), read, written }
                }
                Engine::Zstd(decoder) => {
                    let mut input = InBuffer::around(&bytes[used..]);
                    let mut output = OutBuffer::around(&mut *self.buffer);
                    let hint = decoder.run(&mut input, &mut output).map_err(|_| bad.clone())?;
                    Step { is_end: hint == 0, read: input.pos(), written: output.pos() }
                }
            };
            used += step.read;
            sink(&self.buffer[..step.written])?;
            if step.is_end {
                self.progress = Progress::Complete;
                return Ok(used);
            }
            // A full buffer means that there may be more without more input.
            if used == bytes.len() && step.written < self.buffer.len() {
                return Ok(used);
            }
            if step.read == 0 && step.written == 0 {
                return Err(bad);
            }
        }
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), Failure> {
        // A single byte of bare deflate can't be a whole stream, but let its decoder say so.
        if let Engine::DeflateHead(head) = &mut self.engine
            && !head.is_empty()
        {
            let head = mem::take(head);
            self.engine = Engine::Deflate(Decompress::new(false));
            self.write(&head, sink)?;
        }
        match self.progress {
            Progress::Inside => Err(Failure::Truncated(self.coding)),
            Progress::Empty | Progress::Complete => Ok(()),
        }
    }
}

struct Step {
    is_end: bool,
    read: usize,
    written: usize,
}

/// How much comes out of a stage at a time.
const BUFFER: usize = 16 << 10;

/// Deflate's largest window: 32 KiB.
const MAX_WINDOW_BITS: u8 = 15;

/// 8 MiB: what a sender may ask of a receiver (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
