//! Exact mappings: canonical old URL → new URL, in one compact arena.
//!
//! A table of hashed slots points to records; each record holds its key right behind its few numbers, and its target
//! behind that, so that a look-up waits for memory twice: for the slot and for the record. Every look-up compares the
//! whole key, so two URLs whose hashes collide never share a redirect. A target that several rows name stands with the
//! first of them only. A mapping costs its text, 13 bytes for its numbers and 10 for its slot.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::model::RedirectStatus;

/// An immutable table of mappings.
#[derive(Debug, Default)]
pub struct MappingTable {
    slots: Box<[Slot]>,
    /// [`Record`]s in the order of the file, each followed by its key, and by its target unless an earlier one has it.
    records: Box<[u8]>,
    links: Box<[Links]>,
    hasher: foldhash::fast::RandomState,
    len: usize,
}

/// Half a hash, which all but never agrees by chance, and the offset of a record.
type Slot = u64;

const EMPTY: Slot = u64::MAX;

/// What a row offers for a page that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Links {
    suggest: Option<Box<str>>,
    archive: Option<Box<str>>,
}

/// The numbers of a mapping.
#[derive(Clone, Copy, Debug)]
struct Record {
    line: u32,
    /// Offset of the target among the records, or the number of the links of a row that is gone.
    target: u32,
    target_len: u16,
    key_len: u16,
    kind: Kind,
}

impl Record {
    const SIZE: usize = 13;

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.line.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.target.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.target_len.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.key_len.to_le_bytes());
        bytes[12] = self.kind.pack();
        bytes
    }

    /// The record at an offset, and its key.
    fn read(records: &[u8], at: usize) -> (Self, &[u8]) {
        let (numbers, rest) = records[at..].split_at(Self::SIZE);
        let half = |at: usize| u16::from_le_bytes([numbers[at], numbers[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let record = Record {
            line: word(0),
            target: word(4),
            target_len: half(8),
            key_len: half(10),
            kind: Kind::unpack(numbers[12]),
        };
        (record, &rest[..usize::from(record.key_len)])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Redirect(RedirectStatus),
    Refused,
    Gone,
    GoneWithLinks,
}

impl Kind {
    fn has_target(self) -> bool {
        matches!(self, Kind::Redirect(_) | Kind::Refused)
    }

    fn pack(self) -> u8 {
        match self {
            Kind::Gone => 0,
            Kind::GoneWithLinks => 1,
            Kind::Refused => 2,
            Kind::Redirect(RedirectStatus::Permanent) => 3,
            Kind::Redirect(RedirectStatus::Temporary) => 4,
            Kind::Redirect(RedirectStatus::Fixed(code)) => {
                RedirectStatus::NUMBERS.iter().position(|&number| number == code).map_or(3, |at| at as u8 + 5)
            }
        }
    }

    fn unpack(byte: u8) -> Self {
        match byte {
            0 => Kind::Gone,
            1 => Kind::GoneWithLinks,
            2 => Kind::Refused,
            3 => Kind::Redirect(RedirectStatus::Permanent),
            4 => Kind::Redirect(RedirectStatus::Temporary),
            n => Kind::Redirect(RedirectStatus::Fixed(RedirectStatus::NUMBERS[usize::from(n) - 5])),
        }
    }
}

/// What was found for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// Line of the row in the mapping table.
    pub line: u32,
    /// Its place, below [`MappingTable::places`]: what is counted for each mapping can stand there in a list.
    pub place: u32,
    /// What it does.
    pub action: HitAction<'a>,
}

/// What a mapping does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitAction<'a> {
    /// Redirect.
    Redirect {
        /// The target.
        to: &'a str,
        /// The status.
        status: RedirectStatus,
    },
    /// A redirect whose target the policy doesn't allow.
    Refused {
        /// The target.
        to: &'a str,
    },
    /// Gone.
    Gone {
        /// A page that may help instead.
        suggest: Option<&'a str>,
        /// A copy in an archive.
        archive: Option<&'a str>,
    },
}

impl MappingTable {
    /// Finds a canonical key.
    pub fn get(&self, key: &[u8]) -> Option<Hit<'_>> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        for (place, slot) in probe(&self.slots, hash) {
            if slot == EMPTY {
                return None;
            }
            if slot >> 32 == hash >> 32 {
                let (record, known) = Record::read(&self.records, slot as u32 as usize);
                if known == key {
                    return Some(self.hit(record, place));
                }
            }
        }
        None
    }

    /// Every place is below this.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All mappings in the order of the file: canonical key, line of the row, and what it does.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32, HitAction<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.records.len() {
                return None;
            }
            let (record, key) = Record::read(&self.records, at);
            at += Record::SIZE + key.len();
            if record.kind.has_target() && record.target as usize == at {
                at += usize::from(record.target_len);
            }
            Some((str::from_utf8(key).unwrap_or_default(), record.line, self.action(record)))
        })
    }

    /// The mapping at a place: its canonical key, and what is found for it.
    pub fn at(&self, place: usize) -> Option<(&str, Hit<'_>)> {
        let &slot = self.slots.get(place).filter(|&&slot| slot != EMPTY)?;
        let (record, key) = Record::read(&self.records, slot as u32 as usize);
        Some((str::from_utf8(key).unwrap_or_default(), self.hit(record, place)))
    }

    /// Bytes of memory that the table takes.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let links: usize =
            self.links.iter().map(|links| size_of::<Links>() + text(&links.suggest) + text(&links.archive)).sum();
        self.records.len() + size_of_val(&*self.slots) + links
    }

    fn hit(&self, record: Record, place: usize) -> Hit<'_> {
        Hit { line: record.line, place: place as u32, action: self.action(record) }
    }

    fn action(&self, record: Record) -> HitAction<'_> {
        let target = || text(&self.records, record.target, record.target_len);
        match record.kind {
            Kind::Redirect(status) => HitAction::Redirect { to: target(), status },
            Kind::Refused => HitAction::Refused { to: target() },
            Kind::Gone => HitAction::Gone { suggest: None, archive: None },
            Kind::GoneWithLinks => {
                let links = &self.links[record.target as usize];
                HitAction::Gone { suggest: links.suggest.as_deref(), archive: links.archive.as_deref() }
            }
        }
    }
}

/// A target; what was put in was text.
fn text(records: &[u8], at: u32, len: u16) -> &str {
    str::from_utf8(&records[at as usize..at as usize + usize::from(len)]).unwrap_or_default()
}

/// The slots where a hash may stand, in order: linear, from a place that the low half of the hash chooses.
fn probe(slots: &[Slot], hash: u64) -> impl Iterator<Item = (usize, Slot)> {
    let first = place(slots.len(), hash);
    (first..slots.len()).chain(0..first).map(|place| (place, slots[place]))
}

fn place(slots: usize, hash: u64) -> usize {
    (((hash & 0xFFFF_FFFF) * slots as u64) >> 32) as usize
}

/// Why a mapping can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The key is there already, from this line.
    Duplicate {
        /// Line of the earlier row.
        line: u32,
        /// Whether it does the same.
        same: bool,
    },
    /// Key or target is too long, or the table's text is over 4 GiB.
    TooLarge,
}

/// Collects mappings.
#[derive(Debug, Default)]
pub struct MappingTableBuilder {
    records: Vec<u8>,
    links: Vec<Links>,
    /// Offsets of records by key, and places of targets, while the table grows.
    known_keys: HashTable<u32>,
    known_targets: HashTable<(u32, u16)>,
    hasher: foldhash::fast::RandomState,
}

impl MappingTableBuilder {
    /// Adds a mapping; the first of two rows with the same key stays.
    ///
    /// # Errors
    /// When the row can't be added; the table is as it was.
    pub fn add(&mut self, key: &str, line: u32, action: HitAction<'_>) -> Result<(), AddError> {
        let hash = self.hasher.hash_one(key.as_bytes());
        let records = &self.records;
        let found = self.known_keys.find(hash, |&at| Record::read(records, at as usize).1 == key.as_bytes());
        if let Some(&at) = found {
            let (record, _) = Record::read(&self.records, at as usize);
            return Err(AddError::Duplicate { line: record.line, same: self.same(record, &action) });
        }
        let at = u32::try_from(self.records.len()).map_err(|_| AddError::TooLarge)?;
        let key_len = u16::try_from(key.len()).map_err(|_| AddError::TooLarge)?;
        let (kind, to) = match action {
            HitAction::Redirect { to, status } => (Kind::Redirect(status), Some(to)),
            HitAction::Refused { to } => (Kind::Refused, Some(to)),
            HitAction::Gone { suggest: None, archive: None } => (Kind::Gone, None),
            HitAction::Gone { suggest, archive } => {
                self.links.push(Links { suggest: suggest.map(Into::into), archive: archive.map(Into::into) });
                (Kind::GoneWithLinks, None)
            }
        };
        let behind_key = self.records.len() + Record::SIZE + key.len();
        let (target, target_len) = match to {
            Some(to) => self.intern(to, behind_key)?,
            None => (self.links.len().saturating_sub(1) as u32, 0),
        };
        self.records.extend(Record { line, target, target_len, key_len, kind }.to_bytes());
        self.records.extend(key.as_bytes());
        if let Some(to) = to
            && target as usize == behind_key
        {
            self.records.extend(to.as_bytes());
        }
        let (records, hasher) = (&self.records, &self.hasher);
        self.known_keys.insert_unique(hash, at, |&at| hasher.hash_one(Record::read(records, at as usize).1));
        Ok(())
    }

    /// The finished table.
    pub fn build(self) -> MappingTable {
        let len = self.known_keys.len();
        // Four slots for three records keep the ways to a free one short, and one is always free.
        let mut slots = vec![EMPTY; if len == 0 { 0 } else { len + len / 3 + 1 }].into_boxed_slice();
        for &at in &self.known_keys {
            let hash = self.hasher.hash_one(Record::read(&self.records, at as usize).1);
            let mut slot = place(slots.len(), hash);
            while slots[slot] != EMPTY {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = (hash >> 32 << 32) | u64::from(at);
        }
        MappingTable {
            slots,
            records: self.records.into_boxed_slice(),
            links: self.links.into_boxed_slice(),
            hasher: self.hasher,
            len,
        }
    }

    /// The place of a target: `free`, where it is to be put, unless it stands somewhere already.
    fn intern(&mut self, target: &str, free: usize) -> Result<(u32, u16), AddError> {
        let hash = self.hasher.hash_one(target.as_bytes());
        let records = &self.records;
        if let Some(&place) = self.known_targets.find(hash, |&(at, len)| text(records, at, len) == target) {
            return Ok(place);
        }
        let at = u32::try_from(free).map_err(|_| AddError::TooLarge)?;
        let len = u16::try_from(target.len()).map_err(|_| AddError::TooLarge)?;
        u32::try_from(free + target.len()).map_err(|_| AddError::TooLarge)?;
        let hasher = &self.hasher;
        self.known_targets
            .insert_unique(hash, (at, len), |&(at, len)| hasher.hash_one(text(records, at, len).as_bytes()));
        Ok((at, len))
    }

    fn same(&self, record: Record, action: &HitAction<'_>) -> bool {
        let target = || text(&self.records, record.target, record.target_len);
        match (record.kind, *action) {
            (Kind::Redirect(known), HitAction::Redirect { to, status }) => known == status && target() == to,
            (Kind::Refused, HitAction::Refused { to }) => target() == to,
            (Kind::Gone, HitAction::Gone { suggest: None, archive: None }) => true,
            (Kind::GoneWithLinks, HitAction::Gone { suggest, archive }) => {
                let links = &self.links[record.target as usize];
                links.suggest.as_deref() == suggest && links.archive.as_deref() == archive
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_own_row_and_no_other() {
        let mut builder = MappingTableBuilder::default();
        for n in 0..1000u32 {
            let (key, to) = (format!("/page/{n}"), format!("https://new.example/{}", n % 10));
            let action = HitAction::Redirect { to: &to, status: RedirectStatus::Fixed(302) };
            builder.add(&key, n + 2, action).unwrap();
        }
        let gone = HitAction::Gone { suggest: Some("https://s.example/"), archive: None };
        builder.add("/gone", 5000, gone).unwrap();
        assert_eq!(builder.add("/gone", 5001, gone), Err(AddError::Duplicate { line: 5000, same: true }));
        assert_eq!(
            builder.add("/gone", 5001, HitAction::Gone { suggest: None, archive: None }),
            Err(AddError::Duplicate { line: 5000, same: false })
        );
        let table = builder.build();
        assert_eq!(table.len(), 1001);
        for n in 0..1000u32 {
            let hit = table.get(format!("/page/{n}").as_bytes()).unwrap();
            assert_eq!(hit.line, n + 2);
            assert_eq!(table.at(hit.place as usize), Some((&*format!("/page/{n}"), hit)));
            let to = format!("https://new.example/{}", n % 10);
            assert_eq!(hit.action, HitAction::Redirect { to: &to, status: RedirectStatus::Fixed(302) });
        }
        assert_eq!(table.get(b"/gone").unwrap().action, gone);
        assert_eq!((0..table.places()).filter(|&place| table.at(place).is_some()).count(), 1001);
        assert_eq!(table.get(b"/page/1000"), None);
        assert_eq!(table.get(b""), None);
        let keys: Vec<&str> = table.iter().map(|(key, ..)| key).collect();
        assert_eq!((keys[0], keys[999], keys[1000]), ("/page/0", "/page/999", "/gone"));
        // Ten targets stand in the table once each.
        let keys: usize = keys.iter().map(|key| key.len()).sum();
        assert_eq!(table.records.len(), 1001 * Record::SIZE + keys + 10 * "https://new.example/0".len());
    }
}
