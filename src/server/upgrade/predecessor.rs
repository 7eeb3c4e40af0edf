//! The new process's part: takes the sockets over from the process that started it.

use std::{os::unix::net::UnixStream, path::PathBuf};

use anyhow::Context;

use super::control::NAME;
use super::successor::PATIENCE;
use super::wire::{self, Ready, Request};
use crate::door::listen::Socket;
use crate::server::sockets::Inherited;

/// Where the process before this one has its control socket. It sets this; nobody else should.
pub(in crate::server) const VARIABLE: &str = "WAYPOST_TAKE_OVER";

/// The process before this one, which waits for a word.
pub(in crate::server) struct Predecessor {
    stream: UnixStream,
    /// Its public and admin sockets.
    pub(in crate::server) sockets: Inherited,
    /// Its control socket.
    pub(in crate::server) control: Option<Vec<Socket>>,
}

impl Predecessor {
    /// Whether there is one: its control socket.
    pub(in crate::server) fn announced() -> Option<PathBuf> {
        std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Asks it for its sockets. It goes on serving.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(in crate::server) fn take(path: &std::path::Path) -> anyhow::Result<Self> {
        let take = || {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            wire::send(&mut stream, &Request::Take)?;
            let mut sockets = Inherited::new();
            for (name, fd) in wire::receive_sockets(&mut stream)? {
                sockets.entry(name).or_default().push(Socket::from_fd(fd)?);
            }
            Ok::<_, anyhow::Error>((stream, sockets))
        };
        let (stream, mut sockets) =
            take().with_context(|| format!("can't take the sockets over by {}", path.display()))?;
        let control = sockets.remove(NAME);
        Ok(Predecessor { stream, sockets, control })
    }

    /// Tells it that everything is accepted here now, and that it may go.
    pub(in crate::server) fn relieve(mut self, kept: Vec<String>) {
        let ready = Ready { kept, version: env!("CARGO_PKG_VERSION").to_owned() };
        if let Err(error) = wire::send(&mut self.stream, &ready) {
            // It has ended by itself: the more reason to stay.
            log::warn!("the process before this one is gone: {error}");
        }
    }
}
