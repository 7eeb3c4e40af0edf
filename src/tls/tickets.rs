//! Session tickets whose keys a fleet shares, so that a client resumes its session at whichever node it meets.
//!
//! The keys are in a file. One is in use at a time, for six hours; the next is published while it is, so that every node
//! knows it before the first makes tickets with it, however far apart their clocks are; the one before is accepted for
//! another six hours. Whichever node finds that a key is due makes it, under a lock. What a node can't read or write
//! keeps nobody waiting: it goes on with keys of its own, whose tickets other nodes don't know, and says so.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

use super::{
    file::finding,
    keyfile::write_secret,
    ticket_file::{LIFE, NAME, TicketKey, read, rotate, write},
};
use crate::config::Diagnostic;

/// How often, and how long between, it is looked whether the lock is free.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Longest ticket that is one, in bytes: rustls puts some 300 into it.
const MAX_TICKET: usize = 4_096;

/// Makes and opens tickets with the keys of a file.
pub(super) struct Tickets {
    path: PathBuf,
    /// Unix seconds.
    clock: fn() -> i64,
    ring: ArcSwap<Vec<Loaded>>,
    state: Mutex<State>,
}

/// A key that is ready for use.
struct Loaded {
    from: i64,
    name: [u8; NAME],
    key: RandomizedNonceKey,
}

/// What one look at the file leaves for the next.
#[derive(Default)]
struct State {
    keys: Vec<TicketKey>,
    findings: Vec<Diagnostic>,
}

impl Tickets {
    /// Those of a file, which is made if it is not there.
    pub fn open(path: &Path, clock: fn() -> i64) -> Arc<Self> {
        let tickets = Tickets { path: path.to_owned(), clock, ring: ArcSwap::default(), state: Mutex::default() };
        tickets.refresh();
        Arc::new(tickets)
    }

    /// Reads the file again, and puts a key that is due into it. To be called each minute.
    pub fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let (keys, findings) = match self.shared(now) {
            Ok(keys) => (keys, exposed(&self.path).into_iter().collect()),
            Err(error) => {
                let own = rotate(&state.keys, now).unwrap_or_else(|| state.keys.clone());
                (own, vec![useless(&self.path, &error)])
            }
        };
        if state.keys != keys || self.ring.load().is_empty() {
            self.ring.store(Arc::new(keys.iter().filter_map(Loaded::new).collect()));
        }
        *state = State { keys, findings };
    }

    /// What was wrong with the file at the last look.
    pub fn findings(&self) -> Vec<Diagnostic> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).findings.clone()
    }

    /// The keys of the file, none of them due.
    fn shared(&self, now: i64) -> io::Result<Vec<TicketKey>> {
        let keys = read(&self.path)?;
        if rotate(&keys, now).is_none() {
            return Ok(keys);
        }
        let _lock = self.lock()?;
        // Somebody else may have been quicker.
        let keys = read(&self.path)?;
        let Some(keys) = rotate(&keys, now) else { return Ok(keys) };
        write_secret(&self.path, write(&keys).as_bytes())?;
        Ok(keys)
    }

    /// Waits for whoever is making a key, and not for ever: that takes milliseconds. A file of its own, since the other is
    /// replaced; the system frees it with the process.
    fn lock(&self) -> io::Result<File> {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(name)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "another process has kept its lock too long"))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFE as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let ring = self.ring.load();
        // Of a clock that is slow, the first there is.
        let key = ring.iter().rev().find(|key| key.from <= now).or_else(|| ring.first())?;
        let mut sealed = plain.to_vec();
        let nonce = key.key.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let now = (self.clock)();
        let ring = self.ring.load();
        let key = ring.iter().find(|key| key.name == *name && now < key.from.saturating_add(LIFE))?;
        let mut sealed = sealed.to_vec();
        let opened = key.key.open_in_place(Nonce::from(nonce), Aad::from(name), &mut sealed).ok()?;
        Some(opened.to_vec())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Loaded {
    fn new(key: &TicketKey) -> Option<Self> {
        // Nonces are random and not counted by a fleet; should one come twice, this cipher gives away no more than that two
        // tickets were equal.
        let loaded = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.secret).ok()?;
        Some(Loaded { from: key.from, name: key.name, key: loaded })
    }
}

/// What is wrong with a file of keys; it need not be there.
pub(super) fn check(path: &Path) -> Vec<Diagnostic> {
    match read(path) {
        Ok(_) => exposed(path).into_iter().collect(),
        Err(error) => vec![useless(path, &error)],
    }
}

fn useless(path: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("the shared keys of session tickets can't be used: {error}");
    let hint = match error.kind() {
        io::ErrorKind::InvalidData => "remove it: a node makes another; meanwhile this one has keys of its own",
        _ => {
            "the gateway's user must be able to read it and to write to its folder; meanwhile this node has keys of its own"
        }
    };
    finding("ticket-keys", &Arc::from(path.to_string_lossy()), 1, message).hint(hint).warning()
}

/// What others may read is no secret. It is written for its owner alone.
fn exposed(path: &Path) -> Option<Diagnostic> {
    let mode = fs::metadata(path).ok()?.mode();
    let message = format!("others may read the keys of session tickets (mode {:03o})", mode & 0o777);
    let finding = finding("exposed-key", &Arc::from(path.to_string_lossy()), 1, message);
    (mode & 0o077 != 0).then(|| finding.hint("remove it: a node makes another").warning())
}

#[cfg(test)]
mod tests {
    use super::{super::ticket_file::PERIOD, *};
    use rustls::crypto::aws_lc_rs::Ticketer;
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        time::Instant,
    };

    const START: i64 = 1_800_000_000;

    #[test]
    fn two_nodes_have_the_same_keys_and_one_makes_them() {
        static NOW: AtomicI64 = AtomicI64::new(START);
        let clock = || NOW.load(Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".tickets");
        let nodes = [(); 2].map(|()| Tickets::open(&path, clock));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let ticket = nodes[0].encrypt(b"session").unwrap();
        assert_eq!(nodes[1].decrypt(&ticket).unwrap(), b"session");
        // A node that sees the file late knows what the others use.
        NOW.fetch_add(PERIOD, Ordering::Relaxed);
        nodes[0].refresh();
        let later = nodes[0].encrypt(b"session").unwrap();
        assert_ne!(later[..NAME], ticket[..NAME]);
        assert_eq!(nodes[1].decrypt(&later).unwrap(), b"session");
        nodes[1].refresh();
        assert!(nodes.iter().all(|node| node.decrypt(&ticket).is_some() && node.findings().is_empty()));
        NOW.fetch_add(PERIOD - 1, Ordering::Relaxed);
        assert!(nodes[1].decrypt(&ticket).is_some());
        NOW.fetch_add(1, Ordering::Relaxed);
        assert!(nodes[1].decrypt(&ticket).is_none(), "without a look at the file");
        nodes.iter().for_each(|node| node.refresh());
        assert!(nodes[1].decrypt(&ticket).is_none() && nodes[1].decrypt(&later).is_some());
        assert_eq!(read(&path).unwrap().len(), 3);
        // What is not a ticket.
        for place in [0, NAME, NAME + NONCE_LEN, later.len() - 1] {
            let mut broken = later.clone();
            broken[place] ^= 1;
            assert!(nodes[1].decrypt(&broken).is_none(), "{place}");
        }
        assert!((0..later.len()).all(|length| nodes[1].decrypt(&later[..length]).is_none()));
        assert!(nodes[1].decrypt(&vec![0; 100_000]).is_none());
    }

    #[test]
    fn a_damaged_file_is_kept_and_told_while_the_node_has_keys_of_its_own() {
        static NOW: AtomicI64 = AtomicI64::new(START);
        let clock = || NOW.load(Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".tickets");
        fs::write(&path, "damaged").unwrap();
        let node = Tickets::open(&path, clock);
        let told: Vec<_> = node.findings().iter().map(|finding| finding.code).collect();
        assert_eq!((told, fs::read(&path).unwrap()), (vec!["ticket-keys"], b"damaged".to_vec()));
        assert_eq!(check(&path)[0].code, "ticket-keys");
        let ticket = node.encrypt(b"session").unwrap();
        NOW.fetch_add(PERIOD, Ordering::Relaxed);
        node.refresh();
        assert_ne!(node.encrypt(b"session").unwrap()[..NAME], ticket[..NAME], "its own keys change too");
        assert!(node.decrypt(&ticket).is_some());
        fs::remove_file(&path).unwrap();
        node.refresh();
        assert!(node.findings().is_empty() && node.decrypt(&ticket).is_none() && read(&path).unwrap().len() == 2);
        // Keys that are known stay in use when the file is damaged later.
        let ticket = node.encrypt(b"session").unwrap();
        fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap();
        node.refresh();
        assert!(node.decrypt(&ticket).is_some() && node.findings().len() == 1);
        // Whoever keeps the lock holds up nobody for long.
        fs::remove_file(&path).unwrap();
        let lock = node.lock().unwrap();
        let other = Tickets::open(&path, clock);
        assert!(other.findings()[0].message.contains("kept its lock") && other.encrypt(b"session").is_some());
        drop(lock);
        other.refresh();
        assert!(other.findings().is_empty());
        // Nor can it be written where there is no folder.
        let lost = Tickets::open(&dir.path().join("no/.tickets"), clock);
        assert!(lost.findings()[0].message.contains("can't be used") && lost.encrypt(b"session").is_some());
    }

    #[test]
    fn it_costs_no_more_than_keys_of_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Tickets::open(&dir.path().join(".tickets"), || jiff::Timestamp::now().as_second());
        let own = Ticketer::new().unwrap();
        let time = |tickets: &dyn ProducesTickets| {
            let start = Instant::now();
            for _ in 0..5_000 {
                let ticket = tickets.encrypt(&[7; 300]).unwrap();
                assert_eq!(tickets.decrypt(&ticket).unwrap().len(), 300);
            }
            start.elapsed() / 5_000
        };
        let (shared, own) = ((0..5).map(|_| time(&*shared)).min().unwrap(), (0..5).map(|_| time(&*own)).min().unwrap());
        println!("a ticket made and opened: {shared:?} with shared keys, {own:?} with one's own");
        assert!(shared < own * 3, "{shared:?} {own:?}");
    }
}
