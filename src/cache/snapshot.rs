//! What is stored, on disk over a restart.
//!
//! The file: [`MAGIC`]; for each response its length (4 bytes, big-endian as all numbers), a checksum of it (8) and
//! itself; a length of zero, and how many there were (8).

use std::{
    cmp::Reverse,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Cache, Encodings, Entry, freshness::Freshness, key::Key, policy::Storing, vary::Selecting};

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system's word.
    #[error("the snapshot of the cache can't be read or written")]
    Io(#[from] io::Error),
    /// It is no snapshot, or one of another version.
    #[error("the file is no snapshot of a cache of this version: remove it")]
    Foreign,
    /// It is damaged.
    #[error("the snapshot of the cache is damaged at response {0}: remove it")]
    Damaged(u64),
}

impl Cache {
    /// Writes what is stored, the latest first, as far as `limit` bytes go; how many responses. What is at `path` stays as
    /// it is until all is written. Blocks.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path, now: i64, limit: u64) -> Result<u64, SnapshotError> {
        let store = self.store();
        let mut found: Vec<(Key, Arc<Entry>)> = Vec::new();
        for (key, resource) in store.iter() {
            let useful = |entry: &&Arc<Entry>| now < entry.useful_until() && !store.purges.is_purged(&key, entry);
            found.extend(resource.variants.iter().filter(useful).map(|entry| (key.clone(), entry.clone())));
        }
        found.sort_by_key(|(_, entry)| Reverse(entry.freshness.received));
        let temporary = path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let written = write(file, &found, limit).and_then(|count| fs::rename(&temporary, path).map(|()| count));
        if written.is_err() {
            // What is left of it is of no use; that it can't be removed changes nothing.
            let _ = fs::remove_file(&temporary);
        }
        Ok(written?)
    }

    /// Stores what is in a snapshot and still of use; how many responses. Blocks.
    ///
    /// # Errors
    /// If the file can't be read, or is damaged: then nothing is stored.
    pub fn load(&self, path: &Path, now: i64) -> Result<u64, SnapshotError> {
        let loaded = self.read(BufReader::new(File::open(path)?), now);
        if loaded.is_err() {
            self.store().clear();
        }
        loaded
    }

    fn read(&self, mut file: impl Read, now: i64) -> Result<u64, SnapshotError> {
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(|_| SnapshotError::Foreign)?;
        if magic != *MAGIC {
            return Err(SnapshotError::Foreign);
        }
        let born = self.store().purges.latest();
        let mut stored = 0;
        for number in 1.. {
            let damaged = || SnapshotError::Damaged(number);
            let length = u64::from(u32::from_be_bytes(array(&mut file).ok_or_else(damaged)?));
            let checksum = u64::from_be_bytes(array(&mut file).ok_or_else(damaged)?);
            if length == 0 {
                return if checksum == number - 1 { Ok(stored) } else { Err(damaged()) };
            }
            // What is said of the length is not believed: memory is taken as bytes come.
            let mut record = Vec::new();
            let read = file.by_ref().take(length).read_to_end(&mut record)?;
            if read as u64 != length || fnv(&record) != checksum {
                return Err(damaged());
            }
            let (key, entry) = decode(record.into(), born).ok_or_else(damaged)?;
            if now < entry.useful_until() {
                self.store().put(&key, &Arc::new(entry), now);
                stored += 1;
            }
        }
        Ok(stored)
    }
}

fn write(file: File, found: &[(Key, Arc<Entry>)], limit: u64) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(MAGIC)?;
    let (mut count, mut size) = (0u64, 0u64);
    for (key, entry) in found {
        let record = encode(key, entry);
        let Ok(length) = u32::try_from(record.len()) else { continue };
        size += u64::from(length) + 12;
        if size > limit {
            break;
        }
        out.write_all(&length.to_be_bytes())?;
        out.write_all(&fnv(&record).to_be_bytes())?;
        out.write_all(&record)?;
        count += 1;
    }
    out.write_all(&0u32.to_be_bytes())?;
    out.write_all(&count.to_be_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(count)
}

fn encode(key: &[u8], entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.body.len() + 1024);
    let freshness = &entry.freshness;
    text(&mut out, key);
    out.extend_from_slice(&entry.status.to_be_bytes());
    out.extend_from_slice(&freshness.received.to_be_bytes());
    let Freshness { initial_age, lifetime, while_revalidate, if_error, if_down, .. } = *freshness;
    for number in [initial_age, lifetime, while_revalidate, if_error, if_down] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let encodings = entry.selecting.encodings;
    let flags = [freshness.ask_always, freshness.strict, entry.for_authorized, encodings.is_some()];
    out.extend(flags.map(u8::from));
    out.push(encodings.map_or(0, Encodings::bits));
    fields(&mut out, entry.fields.iter().map(|(name, value)| (name, value.as_bytes())));
    fields(&mut out, entry.selecting.others.iter().map(|(name, value)| (name, &**value)));
    out.extend_from_slice(&entry.body);
    out
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).expect("keys and fields are shorter than the heads they come in");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text);
}

fn fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a HeaderName, &'a [u8])>) {
    for (name, value) in fields {
        text(out, name.as_str().as_bytes());
        text(out, value);
    }
    text(out, b"");
}

fn decode(record: Bytes, born: u64) -> Option<(Key, Entry)> {
    let mut rest = &record[..];
    let key = take_text(&mut rest)?.into();
    let status = u16::from_be_bytes(array(&mut rest)?);
    let received = i64::from_be_bytes(array(&mut rest)?);
    let mut number = || array(&mut rest).map(u32::from_be_bytes);
    let [initial_age, lifetime, while_revalidate, if_error, if_down] =
        [number()?, number()?, number()?, number()?, number()?];
    let [ask_always, strict, for_authorized, has_encodings, encodings] = array(&mut rest)?;
    let mut map = HeaderMap::new();
    for (name, value) in take_fields(&mut rest)? {
        map.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    let others = take_fields(&mut rest)?.into_iter().map(|(name, value)| (name, value.into())).collect();
    let body = record.slice_ref(rest);
    let encodings = (has_encodings == 1).then(|| Encodings::from_bits(encodings));
    let storing = Storing {
        freshness: Freshness {
            received,
            initial_age,
            lifetime,
            while_revalidate,
            if_error,
            if_down,
            ask_always: ask_always == 1,
            strict: strict == 1,
        },
        selecting: Selecting { encodings, others },
        withheld: Vec::new(),
        for_authorized: for_authorized == 1,
    };
    (200..600).contains(&status).then(|| (key, Entry::new(status, map, body, storing, born)))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(array(rest)?);
    let (text, behind) = rest.split_at_checked(length as usize)?;
    *rest = behind;
    Some(text)
}

fn take_fields<'a>(rest: &mut &'a [u8]) -> Option<Vec<(HeaderName, &'a [u8])>> {
    let mut fields = Vec::new();
    loop {
        match take_text(rest)? {
            [] => return Some(fields),
            name => fields.push((HeaderName::from_bytes(name).ok()?, take_text(rest)?)),
        }
    }
}

fn array<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// FNV-1a over words: against damage, not against people; whoever may write the file may write anything.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_be_bytes(*word)));
    rest.iter().fold(hash, |hash, &byte| step(hash, byte.into()))
}

/// What a snapshot begins with; the number is its version.
const MAGIC: &[u8; 16] = b"waypost cache 1\n";
