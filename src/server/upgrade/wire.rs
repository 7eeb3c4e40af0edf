//! What goes over the control socket: messages, each a length and JSON, and file descriptors.
//!
//! Both ends may be of different versions: fields may be added, none may change its meaning.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::successor::PATIENCE;

/// The first message of whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub(super) enum Request {
    /// A new process wants the sockets.
    Take,
    /// An operator wants an upgrade.
    Upgrade,
}

/// The answer to [`Request::Take`]; the descriptors follow in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The name of the listener that each descriptor belongs to.
    pub(super) sockets: Vec<String>,
}

/// The new process accepts connections.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The names of the listeners that it took over.
    pub(super) kept: Vec<String>,
    /// Its version.
    pub(super) version: String,
}

/// What came of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The new process.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Why there is no new process; the old one goes on.
    pub error: Option<String>,
}

impl Outcome {
    pub(in crate::server) fn failed(error: impl Into<String>) -> Self {
        Outcome { pid: None, version: None, error: Some(error.into()) }
    }
}

/// Asks the gateway with the control socket `path` to upgrade, and waits for what comes of it.
///
/// # Errors
/// If no gateway answers there.
pub fn ask_for_upgrade(path: &Path) -> anyhow::Result<Outcome> {
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!(
            "no gateway answers at {} (is it running, with this gateway.toml, and are you its user or root?)",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(5)))?;
    send(&mut stream, &Request::Upgrade).context("can't ask the gateway")?;
    receive(&mut stream).context("the gateway did not say what came of it")
}

/// Sends a message.
pub(super) fn send(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &text].concat())
}

/// Receives a message, and not a byte more.
pub(super) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::other("a message is too long"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Sends an offer and its descriptors.
pub(super) fn send_sockets(stream: &mut UnixStream, sockets: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
    let names = sockets.iter().map(|(name, _)| name.clone()).collect();
    send(stream, &Offer { sockets: names })?;
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, fd)| *fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_BATCH))];
    for batch in descriptors.chunks(MAX_BATCH) {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("descriptors did not fit"));
        }
        // They travel with a byte.
        rustix::net::sendmsg(&*stream, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives an offer and its descriptors.
pub(super) fn receive_sockets(stream: &mut UnixStream) -> anyhow::Result<Vec<(String, OwnedFd)>> {
    let Offer { sockets: names } = receive(stream)?;
    let mut descriptors: Vec<OwnedFd> = Vec::with_capacity(names.len());
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_BATCH))];
    while descriptors.len() < names.len() {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let received = rustix::net::recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let before = descriptors.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(batch) = message {
                descriptors.extend(batch);
            }
        }
        if received.bytes == 0 || descriptors.len() == before {
            bail!("the sockets did not arrive (is the limit of open files too low?)");
        }
    }
    if descriptors.len() != names.len() {
        bail!("{} sockets arrived instead of {}", descriptors.len(), names.len());
    }
    Ok(names.into_iter().zip(descriptors).collect())
}

/// The system takes 253 descriptors at once (SCM_MAX_FD).
const MAX_BATCH: usize = 250;

/// Names of sockets; a thousand listeners of 64 threads each fit.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn hundreds_of_descriptors_arrive_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<File> = (0..600).map(|n| File::create(folder.path().join(n.to_string())).unwrap()).collect();
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let sent: Vec<_> = files.iter().enumerate().map(|(n, file)| (format!("n{n}"), file.as_fd())).collect();
        let received = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let received = receive_sockets(&mut there).unwrap();
                // The byte stream goes on where the descriptors end.
                assert_eq!(receive::<Request>(&mut there).unwrap(), Request::Upgrade);
                received
            });
            send_sockets(&mut here, &sent).unwrap();
            send(&mut here, &Request::Upgrade).unwrap();
            receiver.join().unwrap()
        });
        assert_eq!(received.len(), 600);
        for (n, (name, fd)) in received.into_iter().enumerate() {
            assert_eq!(name, format!("n{n}"));
            assert_eq!(File::from(fd).metadata().unwrap().ino(), files[n].metadata().unwrap().ino());
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(receive::<Request>(&mut &b"\xff\xff\xff\xff"[..]).is_err());
        assert!(receive::<Request>(&mut &b"\0\0\0\x02{"[..]).is_err());
        assert!(receive::<Request>(&mut &b"\0\0\0\x02{}"[..]).is_err());
        let (mut here, there) = UnixStream::pair().unwrap();
        let mut there = there;
        send(&mut here, &Offer { sockets: vec!["a".to_owned()] }).unwrap();
        drop(here);
        assert!(receive_sockets(&mut there).is_err());
    }
}
