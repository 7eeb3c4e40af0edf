//! What Pingora writes of an answer over HTTP/1, on its way to the client.
//!
//! Pingora writes a head, and then each piece of a body as it comes; on a socket each would be a packet and a call of the
//! system. Here they are gathered until there is a good deal of them, or Pingora flushes, which it does at the end of an
//! answer and after each chunk of one whose length it doesn't know, or waits for the client or the platform.
//!
//! Pingora also writes the time at which it sends into the head of every answer. But an answer has the date of its making
//! (RFC 9110, 6.6.1), from which its age is counted (RFC 9111, 4.2.3). What stands in a head that Pingora writes is as
//! long as what belongs there, so the one replaces the other here. (Over HTTP/2 nothing can: h2 encodes heads.)

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use memchr::memmem;
use tokio::io::AsyncWrite;

use crate::relay::AnswerDate;

/// Bytes that have been written, and not yet sent.
pub(super) struct Outgoing {
    /// Where the relay leaves the date of the answer.
    date: AnswerDate,
    is_head_past: bool,
    bytes: Vec<u8>,
    /// How many of them are sent.
    sent: usize,
}

impl Outgoing {
    pub fn new(date: AnswerDate) -> Self {
        Outgoing { date, is_head_past: false, bytes: Vec::new(), sent: 0 }
    }

    /// Keeps `buf` or sends it, after what was kept.
    pub fn poll_write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What comes before the body is kept whole, whatever its size.
        if !self.is_head_past || self.bytes.len() + buf.len() <= MAX_KEPT {
            self.keep(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            let kept = &self.bytes[self.sent..];
            let length = kept.len();
            let both = [io::IoSlice::new(kept), io::IoSlice::new(buf)];
            let count = ready!(Pin::new(&mut *to).poll_write_vectored(cx, &both))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.note_sent(count.min(length));
            if count > length {
                return Poll::Ready(Ok(count - length));
            }
        }
    }

    /// Sends what was kept.
    pub fn poll_send(&mut self, to: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.bytes[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.note_sent(count);
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, buf: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(buf);
        if !self.is_head_past && is_final(buf) {
            self.is_head_past = true;
            let head = &mut self.bytes[start..];
            if let (Some(date), Some(at)) = (self.date.get(), find_date(head)) {
                head[at..at + AnswerDate::LENGTH].copy_from_slice(date);
            }
        }
    }

    fn note_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            // A client that reads slowly should not keep memory that it has no use for.
            (self.bytes, self.sent) = (Vec::new(), 0);
        }
    }
}

/// Whether this is the head of an answer, and not one of an interim one that comes before (RFC 9110, 15.2).
fn is_final(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(9..12).is_some_and(|status| status[0] != b'1' || status == b"101")
}

/// Where the date is in a head, if it is as long as it should be.
fn find_date(head: &[u8]) -> Option<usize> {
    let at = memmem::find(head, b"\r\nDate: ")? + b"\r\nDate: ".len();
    head.get(at + AnswerDate::LENGTH..)?.starts_with(b"\r\n").then_some(at)
}

/// Bytes that are kept: pages and their heads are mostly smaller.
const MAX_KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 09:50:38 GMT";

    /// Takes so many bytes at a time, and nothing every other time.
    struct Narrow {
        most: usize,
        is_full: bool,
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            this.is_full = !this.is_full && this.most < usize::MAX;
            if this.is_full {
                return Poll::Pending;
            }
            let count = buf.len().min(this.most);
            this.taken.extend_from_slice(&buf[..count]);
            this.calls += 1;
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            self.poll_write(cx, &all)
        }
    }

    fn outgoing(is_set: bool) -> Outgoing {
        let date = AnswerDate::default();
        if is_set {
            date.leave(&HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(OLD))]));
        }
        Outgoing::new(date)
    }

    /// What comes of `pieces` where no more than `most` bytes are taken at a time, and in how many calls.
    fn sent(mut outgoing: Outgoing, pieces: &[&str], most: usize) -> (String, usize) {
        let mut to = Narrow { most, is_full: false, taken: Vec::new(), calls: 0 };
        let mut cx = Context::from_waker(Waker::noop());
        for piece in pieces {
            let mut rest = piece.as_bytes();
            while !rest.is_empty() {
                if let Poll::Ready(count) = outgoing.poll_write(&mut to, &mut cx, rest) {
                    rest = &rest[count.unwrap()..];
                }
            }
        }
        while outgoing.poll_send(&mut to, &mut cx).is_pending() {}
        (String::from_utf8(to.taken).unwrap(), to.calls)
    }

    #[test]
    fn a_head_and_a_page_are_one_packet() {
        let page = "x".repeat(5_000);
        let (all, calls) = sent(outgoing(true), &["HTTP/1.1 200 OK\r\n\r\n", &page, &page, &page], usize::MAX);
        assert_eq!((all.len(), calls), (15_019, 1));
        let large = "x".repeat(60_000);
        let (all, calls) = sent(outgoing(true), &["HTTP/1.1 200 OK\r\n\r\n", &large, &large], usize::MAX);
        assert_eq!((all.len(), calls), (120_019, 2));
    }

    #[test]
    fn only_the_date_of_the_final_head_changes() {
        let interim = format!("HTTP/1.1 103 Early Hints\r\nDate: {NEW}\r\n\r\n");
        let head = |date| format!("HTTP/1.1 200 OK\r\nX-Date: {NEW}\r\nDate: {date}\r\nExpires: {NEW}\r\n\r\n");
        let body = format!("HTTP/1.1 200 OK\r\nDate: {NEW}\r\n\r\n");
        let large = body.repeat(300);
        let pieces = [&interim, &head(NEW), &body, &large, &body];
        let pieces: Vec<&str> = pieces.iter().map(|piece| piece.as_str()).collect();
        for most in [1, 2, 7, 29, 30, 60, 100_000, usize::MAX] {
            let want = [&*interim, &head(OLD), &body, &large, &body].concat();
            assert_eq!(sent(outgoing(true), &pieces, most).0, want, "{most}");
            assert_eq!(sent(outgoing(false), &pieces, most).0, pieces.concat(), "{most}");
        }
    }

    #[test]
    fn what_is_no_such_date_stays() {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: "] {
            assert_eq!(sent(outgoing(true), &[head, head], usize::MAX).0, head.repeat(2));
        }
        // What is spoken after an upgrade.
        let pieces = ["HTTP/1.1 101 Switching Protocols\r\n\r\n", &format!("HTTP/1.1 200 OK\r\nDate: {NEW}\r\n\r\n")];
        assert_eq!(sent(outgoing(true), &pieces, usize::MAX).0, pieces.concat());
    }
}
