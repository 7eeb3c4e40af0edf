//! The body of a response, on its way into the store and to those who wait.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::{Entry, Times, buffer::Buffer, entry::stored_fields, flight::Course, policy::Storing, sync::lock};

/// Why a body need not be written any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Stopped {
    /// It is not stored, and nobody reads it any more.
    #[error("nobody wants the response any more")]
    Abandoned,
    /// It is longer or shorter than `Content-Length` said.
    #[error("the platform's response has another length than it said")]
    WrongLength,
}

/// Takes the body of a response. Dropped before [`Self::end`], the response broke off: nothing is stored, and readers are
/// told.
#[derive(Debug)]
pub struct Filling {
    course: Course,
    status: u16,
    /// How it is stored, with its fields as they came.
    storing: Option<(Storing, HeaderMap)>,
    times: Times,
    /// What `Content-Length` said.
    expected: Option<u64>,
    length: u64,
    limit: u64,
    /// What it has of the memory that is set aside for bodies on their way.
    reserved: u64,
}

impl Filling {
    pub(super) fn new(
        course: Course,
        status: u16,
        storing: Option<(Storing, HeaderMap)>,
        expected: Option<u64>,
        limit: u64,
        times: Times,
    ) -> Self {
        Filling { course, status, storing, times, expected, length: 0, limit, reserved: 0 }
    }

    /// Whether it is going to be stored, as far as is known.
    pub fn is_storing(&self) -> bool {
        self.storing.is_some()
    }

    /// Takes a piece of the body. What is stored is taken as it comes; what isn't waits for the slowest reader.
    ///
    /// # Errors
    /// If there is no use in going on.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Stopped> {
        if piece.is_empty() {
            return Ok(());
        }
        self.length += piece.len() as u64;
        if self.expected.is_some_and(|expected| self.length > expected) {
            return Err(Stopped::WrongLength);
        }
        let cost = Buffer::cost(&piece) as u64;
        if self.storing.is_some() && !self.may_store(cost) {
            self.store_no_longer();
        }
        lock(&self.course.shared.state).buffer.push(piece);
        self.course.shared.changed.send_replace(());
        while self.storing.is_none() {
            {
                let state = lock(&self.course.shared.state);
                if !state.buffer.has_readers() {
                    return Err(Stopped::Abandoned);
                }
                if !state.buffer.is_full() {
                    break;
                }
            }
            self.course.shared.room.notified().await;
        }
        Ok(())
    }

    /// The body is complete; `trailers` are sent on, not stored.
    ///
    /// # Errors
    /// If it is shorter than it said; then it broke off.
    pub fn end(mut self, trailers: Option<HeaderMap>) -> Result<(), Stopped> {
        if self.expected.is_some_and(|expected| self.length != expected) {
            return Err(Stopped::WrongLength);
        }
        let body = self.store();
        lock(&self.course.shared.state).buffer.end(body, trailers);
        self.course.shared.changed.send_replace(());
        Ok(())
    }

    fn store(&mut self) -> Option<Bytes> {
        let (storing, fields) = self.storing.take()?;
        let chunks = {
            let state = lock(&self.course.shared.state);
            if state.purged {
                return None;
            }
            state.buffer.chunks()
        };
        let body = match &*chunks {
            [] => Bytes::new(),
            // A piece may be a small part of a large buffer.
            chunks => {
                let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
                chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
                whole.freeze()
            }
        };
        drop(chunks);
        let is_fresh = storing.freshness.is_fresh(self.times.received);
        let fields = stored_fields(&fields, &storing.withheld, self.times);
        let entry = Arc::new(Entry::new(self.status, fields, body.clone(), storing, self.course.born));
        let course = &self.course;
        course.cache.store_unless_purged(&course.key, &entry, &course.shared, self.times.received);
        if is_fresh {
            course.cache.set_shared(&course.key);
        }
        Some(body)
    }

    fn may_store(&mut self, cost: u64) -> bool {
        if self.length > self.limit || self.reserved + cost > self.limit.saturating_mul(2) {
            return false;
        }
        let reserved = self.course.cache.reserve(cost);
        self.reserved += if reserved { cost } else { 0 };
        reserved
    }

    /// Goes on for those who read, and for nobody else.
    fn store_no_longer(&mut self) {
        self.storing = None;
        self.course.cache.stats().not_stored.add(1);
        self.course.cache.set_alone(&self.course.key, self.times.received);
        self.course.shared.close();
        lock(&self.course.shared.state).buffer.keep_no_longer();
        self.course.cache.release(std::mem::take(&mut self.reserved));
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.course.cache.release(std::mem::take(&mut self.reserved));
    }
}
