//! The file of ticket keys that a fleet shares, and which keys there should be in it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::rand;

/// Seconds for which tickets are made with one key.
pub(super) const PERIOD: i64 = 6 * 3_600;

/// Seconds for which a key's tickets are accepted, from when it is first in use.
pub(super) const LIFE: i64 = 2 * PERIOD;

/// What the file begins with.
const HEADER: &str =
    "# Keys of session tickets (waypost 1): from when (Unix time), name, secret. Whoever reads them reads sessions.";

/// Largest file that is one, in bytes.
const MAX_FILE: u64 = 4_096;

/// Bytes of the name of a key.
pub(super) const NAME: usize = 16;

/// A key as the file has it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TicketKey {
    /// When it is first in use, Unix seconds.
    pub from: i64,
    /// In front of its tickets.
    pub name: [u8; NAME],
    pub secret: [u8; 32],
}

impl TicketKey {
    fn make(from: i64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME], [0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Some(TicketKey { from, name, secret })
    }
}

/// The keys that there should be at `now`, by when they are in use: the one before, the one in use and the next. None if
/// these are they.
pub(super) fn rotate(keys: &[TicketKey], now: i64) -> Option<Vec<TicketKey>> {
    // One that is far ahead was made by a clock that was.
    let is_alive = |key: &&TicketKey| now < key.from.saturating_add(LIFE) && key.from <= now.saturating_add(LIFE);
    let mut alive: Vec<TicketKey> = keys.iter().filter(is_alive).cloned().collect();
    alive.sort_by_key(|key| key.from);
    let used = alive.iter().rev().find(|key| key.from <= now).map(|key| key.from);
    let used = match used.filter(|from| now < from + PERIOD) {
        Some(from) => from,
        None => {
            alive.push(TicketKey::make(now)?);
            now
        }
    };
    alive.sort_by_key(|key| key.from);
    if alive.last().is_none_or(|last| last.from <= now) {
        alive.push(TicketKey::make(used + PERIOD)?);
    }
    (alive != keys).then_some(alive)
}

/// The keys of a file; none if there is no file.
pub(super) fn read(path: &Path) -> io::Result<Vec<TicketKey>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
}

/// The keys of a file's text; none if that is not what was written.
fn parse(bytes: &[u8]) -> Option<Vec<TicketKey>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= MAX_FILE && text.ends_with('\n'))?;
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let key = |line: &str| {
        let mut words = line.split(' ');
        let key = TicketKey {
            from: words.next()?.parse().ok().filter(|from| (0..MAX_TIME).contains(from))?,
            name: unhex(words.next()?)?,
            secret: unhex(words.next()?)?,
        };
        words.next().is_none().then_some(key)
    };
    lines.map(key).collect()
}

/// Whatever is read as keys is written as it was, but for letters that are capitals.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(keys) = parse(bytes) {
        assert!(parse(write(&keys).as_bytes()) == Some(keys.clone()));
        let _ = rotate(&keys, 1_800_000_000);
    }
}

pub(super) fn write(keys: &[TicketKey]) -> String {
    let line = |key: &TicketKey| format!("{} {} {}\n", key.from, hex(&key.name), hex(&key.secret));
    format!("{HEADER}\n") + &keys.iter().map(line).collect::<String>()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// No time of a key is later, so that sums of times are times.
const MAX_TIME: i64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_800_000_000;

    #[test]
    fn there_is_always_a_key_in_use_and_a_next_one() {
        let first = rotate(&[], START).unwrap();
        assert_eq!(first.iter().map(|key| key.from - START).collect::<Vec<_>>(), [0, PERIOD]);
        let (mut keys, mut made) = (first, 2);
        for minute in 1..6_000 {
            let now = START + minute * 60;
            if let Some(rotated) = rotate(&keys, now) {
                made += rotated.iter().filter(|key| !keys.contains(key)).count();
                keys = rotated;
            }
            assert!(rotate(&keys, now).is_none());
            let used = keys.iter().filter(|key| key.from <= now).count();
            assert!((1..=2).contains(&used) && keys.len() == used + 1, "{minute}");
        }
        assert_eq!(made as i64, 2 + 6_000 * 60 / PERIOD, "one each period");
        // Nobody was there for a day.
        let later = rotate(&keys, START + 10 * 86_400).unwrap();
        assert_eq!(later.iter().map(|key| key.from - START).collect::<Vec<_>>(), [864_000, 864_000 + PERIOD]);
        // A clock that was ahead, and is not any more.
        assert_eq!(rotate(&later, START).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..300), place in 0usize..400) {
            prop_assert!(parse(&bytes).is_none());
            let keys = rotate(&[], START).unwrap();
            let mut text = write(&keys).into_bytes();
            prop_assert!(parse(&text) == Some(keys.clone()));
            let place = place % text.len();
            prop_assert!(parse(&text[..place]).is_none_or(|fewer| fewer.len() < keys.len()));
            text.splice(place..=place, bytes);
            let _ = parse(&text);
        }
    }
}
