//! A body that is coming, and those who read it meanwhile.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::watch;

use super::{flight::Shared, sync::lock};

/// The body broke off: the client must not take what it has for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the platform's response broke off")]
pub struct Aborted;

/// What has come of a body and is still needed.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// With where they begin.
    chunks: VecDeque<(u64, Bytes)>,
    length: u64,
    /// Bytes that are held, with what it costs to hold them.
    held: usize,
    /// Whether everything is kept, to be stored.
    pub kept: bool,
    pub ended: Option<Result<(), Aborted>>,
    trailers: Option<HeaderMap>,
    /// How far each reader is.
    readers: Vec<Option<u64>>,
}

impl Buffer {
    /// An empty one that keeps everything.
    pub fn keeping() -> Self {
        Buffer { kept: true, ..Buffer::default() }
    }

    pub fn push(&mut self, chunk: Bytes) {
        let start = self.length;
        self.length += chunk.len() as u64;
        self.held += chunk.len() + CHUNK_OVERHEAD;
        self.chunks.push_back((start, chunk));
        self.trim();
    }

    /// What a chunk costs to hold.
    pub fn cost(chunk: &Bytes) -> usize {
        chunk.len() + CHUNK_OVERHEAD
    }

    /// Keeps from now on only what some reader has yet to read.
    pub fn keep_no_longer(&mut self) {
        self.kept = false;
        self.trim();
    }

    /// Everything that has come, where it is kept.
    pub fn chunks(&self) -> Vec<Bytes> {
        self.chunks.iter().map(|(_, chunk)| chunk.clone()).collect()
    }

    /// Lets readers go on in the stored body, so that it is in memory once.
    pub fn end(&mut self, stored: Option<Bytes>, trailers: Option<HeaderMap>) {
        if let Some(stored) = stored {
            self.chunks = VecDeque::from([(0, stored)]);
        }
        self.kept = false;
        self.trailers = trailers;
        self.ended = Some(Ok(()));
        self.trim();
    }

    pub fn abort(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(Err(Aborted));
            self.kept = false;
            self.chunks.clear();
            self.held = 0;
        }
    }

    pub fn add_reader(&mut self) -> usize {
        let free = self.readers.iter().position(Option::is_none).unwrap_or(self.readers.len());
        if free == self.readers.len() {
            self.readers.push(None);
        }
        self.readers[free] = Some(0);
        free
    }

    pub fn has_readers(&self) -> bool {
        self.readers.iter().any(Option::is_some)
    }

    /// Whether a body that isn't stored is too far ahead of its slowest reader.
    pub fn is_full(&self) -> bool {
        !self.kept && self.held > WINDOW
    }

    fn remove_reader(&mut self, reader: usize) {
        self.readers[reader] = None;
        self.trim();
    }

    fn read(&mut self, reader: usize) -> Option<Bytes> {
        let at = self.readers[reader]?;
        let index = self.chunks.partition_point(|(start, chunk)| start + chunk.len() as u64 <= at);
        let (start, chunk) = self.chunks.get(index)?;
        // The difference is less than the chunk's length.
        let rest = chunk.slice((at - start) as usize..);
        self.readers[reader] = Some(at + rest.len() as u64);
        self.trim();
        Some(rest)
    }

    fn trim(&mut self) {
        if self.kept {
            return;
        }
        let slowest = self.readers.iter().flatten().min().copied().unwrap_or(u64::MAX);
        while let Some((start, chunk)) = self.chunks.front()
            && start + chunk.len() as u64 <= slowest
        {
            self.held = self.held.saturating_sub(Self::cost(chunk));
            self.chunks.pop_front();
        }
    }
}

/// A reader's place in a body, which the body waits for.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    reader: usize,
}

impl Place {
    pub fn new(shared: &Arc<Shared>, buffer: &mut Buffer) -> Self {
        Place { shared: shared.clone(), reader: buffer.add_reader() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.shared.state).buffer.remove_reader(self.reader);
        self.shared.room.notify_one();
    }
}

/// Reads a body while it comes.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    changed: watch::Receiver<()>,
}

impl Reader {
    pub(super) fn new(place: Place, changed: watch::Receiver<()>) -> Self {
        Reader { place, changed }
    }

    /// The next piece; nothing after the last one. May be dropped and called again.
    ///
    /// # Errors
    /// If the body broke off.
    pub async fn next(&mut self) -> Option<Result<Bytes, Aborted>> {
        loop {
            self.changed.borrow_and_update();
            {
                let mut state = lock(&self.place.shared.state);
                if let Some(piece) = state.buffer.read(self.place.reader) {
                    drop(state);
                    self.place.shared.room.notify_one();
                    return Some(Ok(piece));
                }
                match state.buffer.ended {
                    Some(Ok(())) => return None,
                    Some(Err(aborted)) => return Some(Err(aborted)),
                    None => {}
                }
            }
            if self.changed.changed().await.is_err() {
                return Some(Err(Aborted));
            }
        }
    }

    /// The fields behind the body (RFC 9110, 6.5), known when it has been read; they are not stored.
    pub fn trailers(&self) -> Option<HeaderMap> {
        lock(&self.place.shared.state).buffer.trailers.clone()
    }
}

/// How far, in bytes, a body that is not stored may be ahead of its slowest reader.
const WINDOW: usize = 256 * 1024;

/// What a chunk costs beside its bytes: many small ones are counted as what they take.
const CHUNK_OVERHEAD: usize = 128;
