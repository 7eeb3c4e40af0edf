//! An application of Pingora on connections that our own workers accepted.
//!
//! Called by: `server`, for the admin address.

use std::{os::fd::AsRawFd, sync::Arc};

use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};

use super::drain::Drain;
use super::listen::Origin;
use super::workers::{Accepted, Serve};

/// An application of Pingora as one who serves connections.
pub struct PingoraApp<A> {
    app: Arc<A>,
    drain: Arc<Drain>,
}

impl<A: ServerApp + Send + Sync + 'static> PingoraApp<A> {
    /// `app`, which is told by `drain` when to end its connections.
    pub fn new(app: A, drain: &Arc<Drain>) -> Arc<Self> {
        Arc::new(PingoraApp { app: Arc::new(app), drain: drain.clone() })
    }
}

impl<A: ServerApp + Send + Sync + 'static> Serve for PingoraApp<A> {
    fn accepted(self: &Arc<Self>, stream: Accepted, _origin: &Arc<Origin>) {
        let guard = self.drain.guard();
        let (app, shutdown) = (self.app.clone(), self.drain.shutdown_watch());
        tokio::spawn(async move {
            let mut next: Option<pingora::protocols::Stream> = Some(Box::new(l4_stream(stream)));
            while let Some(stream) = next {
                next = app.process_new(stream, &shutdown).await;
            }
            drop(guard);
        });
    }
}

/// The connection as Pingora wants it, with its addresses.
fn l4_stream(stream: Accepted) -> L4Stream {
    let mut stream = match stream {
        Accepted::Tcp(stream, _) => L4Stream::from(stream),
        Accepted::Unix(stream) => L4Stream::from(stream),
    };
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    stream.set_socket_digest(digest);
    stream
}
