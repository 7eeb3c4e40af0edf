//! What a line tells of its client.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use aws_lc_rs::{hmac, rand};
use jiff::civil::Date;

use super::{files, text};
use crate::config::ClientShown;

/// Shows clients as the settings want it.
#[derive(Debug)]
pub(super) enum Clients {
    Full,
    Truncated,
    Hashed(Box<DayKey>),
    None,
}

/// The key of a day. It stands in a file as long as the day lasts, so that a restart changes nothing; without it nobody
/// can tell whose hashes they are, not even by trying all addresses.
#[derive(Debug)]
pub(super) struct DayKey {
    day: Date,
    key: hmac::Key,
}

impl Clients {
    /// For the log in `folder` on that day.
    pub(super) fn new(shown: ClientShown, folder: &Path, day: Date) -> Self {
        match shown {
            ClientShown::Full => Clients::Full,
            ClientShown::Truncated => Clients::Truncated,
            ClientShown::Hashed => Clients::Hashed(Box::new(DayKey::of(folder, day))),
            ClientShown::None => Clients::None,
        }
    }

    /// Tells which day it is.
    pub(super) fn turn(&mut self, folder: &Path, day: Date) {
        if let Clients::Hashed(key) = self
            && key.day != day
        {
            **key = DayKey::of(folder, day);
        }
    }

    /// Appends what is told of `client`, which needs no escape. Returns whether anything is.
    pub(super) fn write(&self, client: Option<IpAddr>, out: &mut Vec<u8>) -> bool {
        let Some(client) = client else { return false };
        match (self, client) {
            (Clients::None, _) => return false,
            (Clients::Full, client) => address(client, out),
            (Clients::Truncated, IpAddr::V4(v4)) => address(Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(), out),
            (Clients::Truncated, IpAddr::V6(v6)) => {
                address(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).into(), out);
            }
            (Clients::Hashed(key), client) => key.write(client, out),
        }
        true
    }
}

impl DayKey {
    /// That of `day`: another process or an earlier start may have made it. Those of other days are deleted. If it can't be
    /// in a file, it is in memory.
    fn of(folder: &Path, day: Date) -> Self {
        let bytes = Self::shared(folder, day).unwrap_or_else(|error| {
            log::warn!(
                "access log: clients' hashes change with a restart, since their key can't be in {}: {error}",
                folder.display()
            );
            random()
        });
        DayKey { day, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    fn shared(folder: &Path, day: Date) -> io::Result<[u8; KEY]> {
        files::make(folder)?;
        let name = format!("{PREFIX}{day}");
        for entry in fs::read_dir(folder)? {
            let other = entry?.file_name();
            let other = other.to_string_lossy();
            // One that another process is just making is named after the day, too.
            if other.starts_with(PREFIX) && !other.starts_with(&name) {
                fs::remove_file(folder.join(&*other))?;
            }
        }
        let path = folder.join(&name);
        if let Some(key) = read(&path) {
            return Ok(key);
        }
        // Nobody sees it half written, and of two processes that make one, one has it its way.
        let draft = folder.join(format!("{PREFIX}{day}.{}", std::process::id()));
        let written = private(&draft).and_then(|mut file| file.write_all(&random()).and_then(|()| file.sync_all()));
        let linked = written.and_then(|()| fs::hard_link(&draft, &path));
        let removed = fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => removed?,
        }
        read(&path).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no key: remove it")))
    }

    fn write(&self, client: IpAddr, out: &mut Vec<u8>) {
        let tag = match client {
            IpAddr::V4(v4) => hmac::sign(&self.key, &v4.octets()),
            IpAddr::V6(v6) => hmac::sign(&self.key, &v6.octets()),
        };
        for &byte in tag.as_ref().iter().take(HASH) {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
    }
}

fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            for (number, octet) in v4.octets().into_iter().enumerate() {
                if number > 0 {
                    out.push(b'.');
                }
                text::number(octet.into(), out);
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

fn read(path: &Path) -> Option<[u8; KEY]> {
    fs::read(path).ok()?.try_into().ok()
}

fn private(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn random() -> [u8; KEY] {
    let mut key = [0; KEY];
    // The generator of the system fails never, or from the start: then TLS had no keys, either.
    rand::fill(&mut key).expect("random bytes");
    key
}

/// How the names of files of keys begin.
const PREFIX: &str = ".client-key-";

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of a hash that are shown. With a million clients a day, two have the same on one day of 37 million.
const HASH: usize = 8;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::civil::date;

    use super::*;

    fn shown(clients: &Clients, client: &str) -> String {
        let mut out = Vec::new();
        assert!(clients.write(Some(client.parse().unwrap()), &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn full_truncated_none() {
        assert_eq!(shown(&Clients::Full, "192.0.2.255"), "192.0.2.255");
        assert_eq!(shown(&Clients::Full, "2001:db8::1"), "2001:db8::1");
        assert_eq!(shown(&Clients::Truncated, "192.0.2.255"), "192.0.2.0");
        assert_eq!(shown(&Clients::Truncated, "2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert!(!Clients::None.write(Some([192, 0, 2, 1].into()), &mut Vec::new()));
        assert!(!Clients::Full.write(None, &mut Vec::new()));
    }

    #[test]
    fn hashes_are_those_of_a_day() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("logs");
        let today = date(2026, 11, 22);
        let mut clients = Clients::new(ClientShown::Hashed, &folder, today);
        let hash = shown(&clients, "192.0.2.1");
        assert!(hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
        assert_ne!(hash, shown(&clients, "192.0.2.2"));
        // A restart, or the other process of an upgrade.
        assert_eq!(hash, shown(&Clients::new(ClientShown::Hashed, &folder, today), "192.0.2.1"));
        let key = folder.join(".client-key-2026-11-22");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        clients.turn(&folder, today);
        assert_eq!(hash, shown(&clients, "192.0.2.1"));
        clients.turn(&folder, today.tomorrow().unwrap());
        assert_ne!(hash, shown(&clients, "192.0.2.1"));
        assert!(!key.exists(), "nobody can find out any more");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn without_a_folder_keys_are_in_memory() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let clients = Clients::new(ClientShown::Hashed, &file, date(2026, 11, 22));
        assert_eq!(shown(&clients, "192.0.2.1"), shown(&clients, "192.0.2.1"));
    }
}
