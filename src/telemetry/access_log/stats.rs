//! The access log in numbers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What the access log tells of itself, at any time and on any thread.
#[derive(Debug, Default)]
pub struct AccessLogStats {
    pub(super) lines: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) failing: AtomicBool,
    pub(super) current_bytes: AtomicU64,
    pub(super) rotated_bytes: AtomicU64,
    pub(super) oldest: AtomicI64,
    pub(super) short: AtomicBool,
}

impl AccessLogStats {
    /// Lines that were written.
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// Lines that could not be written, and are lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Whether lines can't be written now.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.current_bytes.load(Relaxed) + self.rotated_bytes.load(Relaxed)
    }

    /// When the oldest file begins, in Unix seconds; 0 if there is none.
    pub fn oldest(&self) -> i64 {
        self.oldest.load(Relaxed)
    }

    /// Whether files were removed before their time, because all may take no more bytes.
    pub fn is_short(&self) -> bool {
        self.short.load(Relaxed)
    }
}
