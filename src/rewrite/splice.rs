//! Edits of a stream whose places are known before, or soon after, its bytes come.

use std::collections::VecDeque;

use super::links::Edit;

/// Copies a stream and makes edits in it, in the order of their places. What is not edited stays byte for byte.
#[derive(Debug, Default)]
pub(super) struct Splice {
    /// Place of the first byte that has not been copied.
    at: usize,
    edits: VecDeque<Edit>,
    /// Bytes from `at` on that may still have to change.
    held: Vec<u8>,
    hold_from: Option<usize>,
    /// Up to here bytes are left out.
    skip_to: usize,
}

impl Splice {
    /// An edit of bytes that have not been copied, after all edits so far.
    pub(super) fn edit(&mut self, edit: Edit) {
        debug_assert!(edit.range.start >= self.at, "the bytes are gone");
        self.edits.push_back(edit);
    }

    /// Keeps what comes from here on, until told otherwise.
    pub(super) fn hold_from(&mut self, at: Option<usize>) {
        self.hold_from = at;
    }

    /// How many bytes of the stream have come so far.
    pub(super) fn seen(&self) -> usize {
        self.at + self.held.len()
    }

    /// The next bytes of the stream.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() {
            let copied = self.copy(bytes, out);
            self.held.extend_from_slice(&bytes[copied..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let copied = self.copy(&held, out);
            held.drain(..copied);
            self.held = held;
        }
    }

    /// The stream is over: nothing is held any more.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.hold_from = None;
        self.write(&[], out);
        // An edit at the very end.
        for edit in self.edits.drain(..) {
            out.extend_from_slice(edit.with.as_bytes());
        }
    }

    /// Copies what need not be held. Returns how many bytes that were.
    fn copy(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let start = self.at;
        let end = (start + bytes.len()).min(self.hold_from.unwrap_or(usize::MAX)).max(start);
        while self.at < end {
            // Up to the next edit, or through it.
            let next = self.edits.front().map_or(usize::MAX, |edit| edit.range.start);
            if self.at < self.skip_to {
                self.at = self.skip_to.min(end);
            } else if let Some(edit) = self.edits.pop_front_if(|edit| edit.range.start <= self.at) {
                out.extend_from_slice(edit.with.as_bytes());
                self.skip_to = edit.range.end;
            } else {
                let until = next.min(end);
                out.extend_from_slice(&bytes[self.at - start..until - start]);
                self.at = until;
            }
        }
        end - start
    }
}
