//! How many different URLs there are, of each kind: exact up to a bound, beyond it estimated.
//!
//! URLs are told apart by a hash of 64 bits. When a part of the table is full, it keeps only those hashes that begin with one
//! more zero, and counts each for twice as many (Gibbons' distinct sampling). So whatever part of the URLs is asked for,
//! its number is estimated without a table of its own: the error is about one in the square root of those that were kept.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Mutex,
};

/// Different things, each with a kind and marks. Threads share it.
#[derive(Debug)]
pub struct Distinct {
    shards: Vec<Mutex<Shard>>,
    /// How many a shard may hold.
    bound: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// Kind and marks by hash.
    kept: HashMap<u64, (u32, u8), BuildHasherDefault<Given>>,
    /// How many zeros hashes must begin with.
    depth: u32,
}

impl Distinct {
    /// An empty table, exact for about `bound` things (16 to 34 bytes of memory each).
    pub fn new(bound: usize) -> Self {
        Distinct { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), bound: (bound / SHARDS).max(1) }
    }

    /// Adds a thing by its hash, if it is not there, and a mark to it. A thing is always of the same kind.
    pub fn add(&self, hash: u64, kind: u32, marks: u8) {
        // Shards by the last bits, depth by the first.
        let Ok(mut shard) = self.shards[hash as usize % SHARDS].lock() else { return };
        if hash.leading_zeros() < shard.depth {
            return;
        }
        shard.kept.entry(hash).or_insert((kind, 0)).1 |= marks;
        // As far as it takes at once: what is told again must change nothing.
        while shard.kept.len() > self.bound && shard.depth < DEEPEST {
            shard.depth += 1;
            let depth = shard.depth;
            shard.kept.retain(|hash, _| hash.leading_zeros() >= depth);
        }
    }

    /// Tells the kind and the marks of each thing that was kept, and how many it stands for.
    pub fn each(&self, mut tell: impl FnMut(u32, u8, u64)) {
        for shard in &self.shards {
            let Ok(shard) = shard.lock() else { continue };
            let times = 1 << shard.depth;
            shard.kept.values().for_each(|&(kind, marks)| tell(kind, marks, times));
        }
    }

    /// Whether every thing was kept.
    pub fn is_exact(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_ok_and(|shard| shard.depth == 0))
    }
}

/// Hashes are hashed already.
#[derive(Debug, Default)]
pub(super) struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        // The shard and the depth have taken bits from both ends; a table looks at both.
        self.0 = hash.rotate_right(SHARDS.trailing_zeros()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

const SHARDS: usize = 64;

/// Zeros beyond which nobody counts: more URLs than there are.
const DEEPEST: u32 = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hash(thing: u64) -> u64 {
        foldhash::quality::FixedState::with_seed(7).hash_one(thing)
    }

    fn counted(distinct: &Distinct, wanted: u32) -> (u64, u64) {
        let (mut all, mut marked) = (0, 0);
        distinct.each(|kind, marks, times| {
            if kind == wanted {
                all += times;
                marked += times * u64::from(marks & 1);
            }
        });
        (all, marked)
    }

    #[test]
    fn exact_below_the_bound_whoever_tells() {
        let distinct = Distinct::new(100_000);
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let distinct = &distinct;
                scope.spawn(move || {
                    for thing in 0..30_000u64 {
                        let marks = u8::from(thing % 10 == 0 && thread == 1);
                        distinct.add(hash(thing), (thing % 3) as u32, marks);
                        distinct.add(hash(thing), (thing % 3) as u32, 0);
                    }
                });
            }
        });
        assert!(distinct.is_exact());
        assert_eq!(counted(&distinct, 0), (10_000, 1_000));
        assert_eq!(counted(&distinct, 2), (10_000, 1_000));
    }

    #[test]
    fn estimated_above_it() {
        let distinct = Distinct::new(64 * 1024);
        for thing in 0..1_000_000u64 {
            distinct.add(hash(thing), u32::from(thing % 10 == 0), u8::from(thing % 2 == 0));
        }
        assert!(!distinct.is_exact());
        let (few, marked) = counted(&distinct, 1);
        let (many, half) = counted(&distinct, 0);
        for (estimate, truth) in [(few, 100_000), (marked, 100_000), (many, 900_000), (half, 400_000)] {
            let error = estimate as f64 / truth as f64 - 1.0;
            assert!(error.abs() < 0.05, "{estimate} for {truth}");
        }
    }
}
