//! Answers on their way to a client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Bytes to be sent, and a body of the cache after them: it is shared by all who get it, and is never copied, so that slow
/// clients cost no more than their place in it.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of these are sent.
    sent: usize,
    tail: Bytes,
}

impl Output {
    /// An empty one with room.
    pub fn with_capacity(capacity: usize) -> Self {
        Output { bytes: Vec::with_capacity(capacity), ..Output::default() }
    }

    /// How many bytes are yet to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.sent, self.tail) = (0, Bytes::new());
    }

    /// Keeps no more room than `most` bytes between two uses.
    pub fn shrink(&mut self, most: usize, to: usize) {
        if self.bytes.capacity() > most {
            self.bytes = Vec::with_capacity(to);
        }
    }

    /// Where to append.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        if !self.tail.is_empty() {
            self.bytes.extend_from_slice(&self.tail);
            self.tail = Bytes::new();
        }
        &mut self.bytes
    }

    /// Appends a body.
    pub fn append(&mut self, body: &Bytes) {
        let bytes = self.bytes();
        if body.len() < WORTH_SHARING { bytes.extend_from_slice(body) } else { self.tail = body.clone() }
    }

    /// Takes what is left to a place of its own; the room stays.
    pub fn take_rest(&mut self) -> Output {
        let rest = Output { bytes: self.bytes[self.sent..].to_vec(), sent: 0, tail: std::mem::take(&mut self.tail) };
        self.clear();
        rest
    }

    /// Sends some of it, and says how much; there has to be something.
    pub fn poll_send(&mut self, to: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.sent..];
        let to = Pin::new(to);
        let count = match (rest.is_empty(), self.tail.is_empty()) {
            (true, _) => ready!(to.poll_write(cx, &self.tail))?,
            (_, true) => ready!(to.poll_write(cx, rest))?,
            _ => ready!(to.poll_write_vectored(cx, &[io::IoSlice::new(rest), io::IoSlice::new(&self.tail)]))?,
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_rest = count.min(rest.len());
        self.sent += of_rest;
        self.tail.advance(count - of_rest);
        Poll::Ready(Ok(count))
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Output { bytes, ..Output::default() }
    }
}

/// Bytes of a body from which on sending it from where it is is cheaper than copying it.
const WORTH_SHARING: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time.
    struct Narrow(usize, Vec<u8>);

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let Narrow(most, taken) = self.get_mut();
            let count = buf.len().min(*most);
            taken.extend_from_slice(&buf[..count]);
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

    #[test]
    fn everything_is_sent_in_order() {
        let (large, small) = (Bytes::from(vec![b'b'; 3_000]), Bytes::from_static(b"small"));
        for most in [1, 7, 2_999, 5_000, usize::MAX] {
            for parts in [1, 2] {
                let (mut output, mut want) = (Output::with_capacity(10), Vec::new());
                for part in 0..parts {
                    let body = if part == 0 { &large } else { &small };
                    output.bytes().extend_from_slice(b"head");
                    output.append(body);
                    want.extend_from_slice(b"head");
                    want.extend_from_slice(body);
                }
                let mut to = Narrow(most, Vec::new());
                let mut cx = Context::from_waker(Waker::noop());
                assert_eq!(output.len(), want.len());
                let mut left = output.len();
                while !output.is_empty() {
                    let Poll::Ready(sent) = output.poll_send(&mut to, &mut cx) else { panic!("it never waits") };
                    left -= sent.unwrap();
                    assert_eq!(output.len(), left);
                    if left == 3_000 {
                        let before = output.tail.as_ptr();
                        output = output.take_rest();
                        assert!(output.tail.is_empty() || output.tail.as_ptr() == before, "it is not copied");
                    }
                }
                assert!(to.1 == want, "{most} {parts}");
            }
        }
    }
}
