//! Token buckets of clients, in memory of a fixed size.
//!
//! A bucket is the moment at which it will be full again (the generic cell rate algorithm, "virtual scheduling" in ITU-T
//! I.371): one number, which a compare-and-swap brings up to date. So taking a token needs no lock, and a bucket that is
//! full is the same as none.
//!
//! Buckets stand in a table of sets, eight to a set. A client's set follows from a keyed hash, so that nobody can choose
//! whom to share one with. Crate `governor` has the same algorithm over a map that grows with the number of clients and
//! that somebody has to sweep: a flood of source addresses would be a flood of memory.
//!
//! When a set has no room, the bucket that remembers the least gives way. What that costs, and whom:
//! - A bucket is worth the requests that it remembers, and one whose client was refused is worth more than any other. So
//!   addresses that come once displace each other, never a client that is being held back. To displace that one, seven
//!   others of its set must have been refused as well: who can't choose sets has to have the whole table's worth of
//!   clients refused at the same time, each of which takes a burst of requests and then goes on at the full rate.
//! - A bucket that gave way is full when its client comes again: it lets one more burst through, and nobody is refused who
//!   should not be.
//! - One site's buckets take at most half of a set from others. However many clients come to one site, the other half is
//!   for those of the others.
//!
//! Two threads that race for the same bucket or place can give or take one token, no more: key and moment are two words,
//! which don't change together.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A table of buckets.
#[derive(Debug)]
pub struct Buckets {
    /// As many as a power of two.
    sets: Box<[Set]>,
    /// When time begins.
    epoch: Instant,
}

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Nanoseconds in which one token comes.
    interval: u64,
    /// Nanoseconds in which an empty bucket is full.
    whole: u64,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Of everything that tells one bucket from another, by a keyed function.
    pub hash: u64,
    /// Which site its requests are for: an eighth of a hash is enough, since it only says whom to displace.
    pub site: u8,
}

/// Four to a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Bucket; WAYS]);

#[derive(Debug, Default)]
struct Bucket {
    /// Owner and what else is known; 0 is nobody's. From the top: 49 bits of the owner's hash, whether a request was
    /// refused since the bucket was full, 6 bits of the interval's logarithm, 8 bits of the site.
    key: AtomicU64,
    /// When it will be full, in nanoseconds since the epoch.
    full_at: AtomicU64,
}

impl Fill {
    /// `requests` tokens come in `seconds`; at most `burst` are there.
    pub fn new(requests: u32, seconds: u32, burst: u32) -> Self {
        let interval = (u64::from(seconds) * SECOND / u64::from(requests.max(1))).clamp(1, MOST);
        Fill { interval, whole: interval.saturating_mul(burst.max(1).into()).min(MOST) }
    }

    fn scale(&self) -> u64 {
        u64::from(self.interval.ilog2()) << SCALE_SHIFT
    }
}

impl Buckets {
    /// A table for at least so many buckets.
    pub fn new(buckets: usize, epoch: Instant) -> Self {
        let sets = buckets.div_ceil(WAYS).next_power_of_two();
        Buckets { sets: (0..sets).map(|_| Set::default()).collect(), epoch }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// If there is none: how long until there is one.
    pub fn take(&self, owner: Owner, fill: &Fill, now: Instant) -> Result<(), Duration> {
        let now = self.nanoseconds(now);
        let set = &self.sets[owner.hash as usize & (self.sets.len() - 1)];
        for bucket in &set.0 {
            let key = bucket.key.load(Relaxed);
            if key & OWNER == owner.bits() {
                return bucket.take(key, fill, now).map_err(Duration::from_nanos);
            }
        }
        let (bucket, known) = set.place(owner.site, now);
        let key = owner.bits() | fill.scale() | u64::from(owner.site);
        // Another thread may have been faster: then the request passes and nobody remembers it.
        if bucket.key.compare_exchange(known, key, Relaxed, Relaxed).is_ok() {
            bucket.full_at.store(now + fill.interval, Relaxed);
        }
        Ok(())
    }

    /// Frees the buckets that are full; how many are left.
    pub fn sweep(&self, now: Instant) -> usize {
        let now = self.nanoseconds(now);
        let buckets = self.sets.iter().flat_map(|set| &set.0);
        buckets
            .filter(|bucket| {
                let key = bucket.key.load(Relaxed);
                let is_used = key != 0 && bucket.debt(now) > 0;
                if key != 0 && !is_used {
                    let _ = bucket.key.compare_exchange(key, 0, Relaxed, Relaxed);
                }
                is_used
            })
            .count()
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

impl Owner {
    fn bits(self) -> u64 {
        // 0 is nobody.
        (self.hash & OWNER).max(1 << OWNER_SHIFT)
    }
}

impl Set {
    /// The bucket that is free, or that remembers the least of those that may be taken, and its key.
    fn place(&self, site: u8, now: u64) -> (&Bucket, u64) {
        let known = self.0.each_ref().map(|bucket| {
            let key = bucket.key.load(Relaxed);
            (bucket, key, bucket.worth(key, now))
        });
        let is_own = |key: u64| key & SITE == u64::from(site);
        let own = known.iter().filter(|(_, key, worth)| *worth > 0 && is_own(*key)).count();
        let may_take = known.iter().filter(|(_, key, worth)| *worth == 0 || own < SHARE || is_own(*key));
        let (bucket, key, _) = may_take.min_by_key(|(_, _, worth)| *worth).unwrap_or(&known[0]);
        (bucket, *key)
    }
}

impl Bucket {
    /// Nanoseconds until it is full.
    fn debt(&self, now: u64) -> u64 {
        self.full_at.load(Relaxed).saturating_sub(now)
    }

    /// How much would be forgotten with it; 0 if nothing.
    fn worth(&self, key: u64, now: u64) -> u64 {
        let debt = self.debt(now);
        if key == 0 || debt == 0 {
            return 0;
        }
        // Less than half of the top bit, as MOST says.
        (key & REFUSED).wrapping_shl(REFUSED_TO_TOP) | ((debt >> ((key & SCALE) >> SCALE_SHIFT)) + 1)
    }

    /// Takes a token, or tells how many nanoseconds to wait.
    fn take(&self, key: u64, fill: &Fill, now: u64) -> Result<(), u64> {
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            // With other figures than before, nobody waits longer than these say.
            let debt = full_at.saturating_sub(now).min(fill.whole);
            let after = debt + fill.interval;
            if after > fill.whole {
                if key & REFUSED == 0 {
                    let _ = self.key.compare_exchange(key, key | REFUSED, Relaxed, Relaxed);
                }
                return Err(after - fill.whole);
            }
            match self.full_at.compare_exchange_weak(full_at, now + after, Relaxed, Relaxed) {
                Ok(_) => {
                    let wanted = (key & !SCALE & if debt == 0 { !REFUSED } else { !0 }) | fill.scale();
                    if wanted != key {
                        let _ = self.key.compare_exchange(key, wanted, Relaxed, Relaxed);
                    }
                    return Ok(());
                }
                Err(other) => full_at = other,
            }
        }
    }
}

/// Buckets of a set: two cache lines, which processors fetch together.
const WAYS: usize = 8;

/// Buckets of a set that one site may take from others.
const SHARE: usize = WAYS / 2;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Nanoseconds in which the slowest bucket is full: a day, which the configuration promises too.
const MOST: u64 = 86_400 * SECOND;

const SITE: u64 = 0xFF;
const SCALE_SHIFT: u32 = 8;
const SCALE: u64 = 0x3F << SCALE_SHIFT;
const REFUSED: u64 = 1 << 14;
const REFUSED_TO_TOP: u32 = 63 - 14;
const OWNER_SHIFT: u32 = 15;
const OWNER: u64 = !0 << OWNER_SHIFT;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    struct Table {
        buckets: Buckets,
        hasher: RandomState,
        start: Instant,
    }

    impl Table {
        fn new(buckets: usize) -> Self {
            let start = Instant::now();
            Table { buckets: Buckets::new(buckets, start), hasher: RandomState::new(), start }
        }

        /// Whether a client of a site gets a token after so many milliseconds.
        fn take(&self, client: u64, site: u8, fill: &Fill, after: f64) -> Result<(), Duration> {
            let owner = Owner { hash: self.hasher.hash_one((client, site)), site };
            self.buckets.take(owner, fill, self.start + Duration::from_secs_f64(after / 1000.0))
        }
    }

    const SLOW: Fill = Fill { interval: SECOND / 10, whole: 20 * SECOND / 10 };

    #[test]
    fn a_burst_and_then_the_rate() {
        let (table, fill) = (Table::new(64), Fill::new(10, 1, 20));
        assert_eq!(fill, SLOW);
        let passed = |from: u32, to: u32| {
            (from..to).filter(|millisecond| table.take(1, 0, &fill, f64::from(*millisecond)).is_ok()).count()
        };
        // The burst, and what comes in meanwhile.
        assert_eq!(passed(0, 1000), 20 + 9);
        assert_eq!(passed(1000, 11_000), 100);
        assert_eq!(table.take(2, 0, &fill, 10_999.0), Ok(()), "another client has a bucket of its own");
        assert_eq!(table.take(1, 0, &fill, 10_999.0), Err(Duration::from_millis(1)));
        assert_eq!(passed(30_000, 30_019), 19, "it is full again");
    }

    #[test]
    fn a_single_token() {
        let (table, fill) = (Table::new(64), Fill::new(1, 60, 1));
        assert_eq!(table.take(1, 0, &fill, 0.0), Ok(()));
        assert_eq!(table.take(1, 0, &fill, 1000.0), Err(Duration::from_secs(59)));
        assert_eq!(table.take(1, 0, &fill, 59_999.0), Err(Duration::from_millis(1)));
        assert_eq!(table.take(1, 0, &fill, 60_000.0), Ok(()));
        // A clock that another thread read a little earlier.
        assert!(table.take(1, 0, &fill, 59_000.0).is_err());
    }

    #[test]
    fn other_figures_go_on_from_the_same_fill() {
        let table = Table::new(64);
        (0..20).for_each(|_| table.take(1, 0, &SLOW, 0.0).unwrap());
        assert!(table.take(1, 0, &SLOW, 0.0).is_err());
        // Twice the burst: what was taken stays taken.
        let more = Fill::new(10, 1, 40);
        assert_eq!((0..40).filter(|_| table.take(1, 0, &more, 0.0).is_ok()).count(), 20);
        // A tenth of it: nobody waits longer than for the whole of it.
        let less = Fill::new(10, 1, 2);
        assert_eq!(table.take(1, 0, &less, 0.0), Err(Duration::from_millis(100)));
        assert_eq!(table.take(1, 0, &less, 3900.0), Ok(()), "after the time of the larger one, all is as ever");
    }

    #[test]
    fn memory_is_what_it_was_at_the_start() {
        let table = Table::new(10_000);
        assert_eq!(size_of_val(&*table.buckets.sets), 16_384 * 16);
        for client in 0..200_000 {
            table.take(client, 0, &SLOW, 0.0).unwrap();
        }
        let used = table.buckets.sweep(table.start);
        assert!(used <= 16_384 && used > 16_000, "{used}");
        assert_eq!(table.buckets.sweep(table.start + Duration::from_millis(101)), 0, "each had taken one token");
    }

    /// A client that asks all the time while a flood of addresses that come once goes by, so many for each of its
    /// requests. How many of its requests passed, and how many would have if there were no others.
    fn flooded(fill: &Fill, flood: &Fill, buckets: usize, each: u64) -> (usize, usize) {
        let (table, alone) = (Table::new(buckets), Table::new(buckets));
        let (mut passed, mut wanted, mut stranger) = (0, 0, 1 << 32);
        for turn in 0..2_000 {
            let after = f64::from(turn);
            for _ in 0..each {
                stranger += 1;
                table.take(stranger, 1, flood, after).unwrap();
            }
            passed += usize::from(table.take(1, 2, fill, after).is_ok());
            wanted += usize::from(alone.take(1, 2, fill, after).is_ok());
        }
        (passed, wanted)
    }

    #[test]
    fn a_flood_of_addresses_frees_nobody() {
        // 100,000 addresses a second over a table for 8,192, for two seconds. The client asks for 1,000 a second.
        for (fill, flood) in [
            (SLOW, SLOW),
            // The flood's buckets take far longer to fill than the client's.
            (SLOW, Fill::new(1, 3600, 5)),
            (Fill::new(100, 1, 200), Fill::new(1, 3600, 1)),
        ] {
            let (passed, wanted) = flooded(&fill, &flood, 8192, 100);
            assert_eq!(passed, wanted, "{fill:?} {flood:?}");
        }
        // One token in a minute: the first is remembered like any of the flood's until the client is refused.
        let (passed, wanted) = flooded(&Fill::new(1, 60, 1), &Fill::new(1, 60, 1), 8192, 100);
        assert!(wanted == 1 && passed <= 2, "{passed}");
    }

    #[test]
    fn a_site_keeps_half_of_the_places() {
        // Two sites of as many clients as there are places, all of which are being refused.
        let (table, fill) = (Table::new(4096), Fill::new(1, 3600, 2));
        let refused = |site: u8, clients: u64| {
            (0..clients).filter(|client| (0..3).any(|_| table.take(*client, site, &fill, 0.0).is_err())).count()
        };
        let known =
            |site: u8, clients: u64| (0..clients).filter(|at| table.take(*at, site, &fill, 0.0).is_err()).count();
        assert_eq!(refused(7, 500), 500);
        // A hundred times as many come to another site, each until it is refused.
        assert_eq!(refused(8, 50_000), 50_000);
        // Of the few sets where they had more than half, they had to give some back.
        let kept = known(7, 500);
        assert!(kept >= 480, "{kept}");
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let (table, fill) = (Table::new(64), Fill::new(1, 8, 10_000));
        // Its bucket is there, so nobody races for a place.
        table.take(1, 0, &fill, 0.0).unwrap();
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..10_000).filter(|_| table.take(1, 0, &fill, 0.0).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 9_999);
    }

    proptest::proptest! {
        #[test]
        fn any_figures_and_any_time(
            requests in 0u32.., seconds in 0u32.., burst in 0u32..,
            turns in proptest::collection::vec((0u64..64, 0u8..3, 0f64..1e8), 1..200),
        ) {
            let (table, fill) = (Table::new(16), Fill::new(requests, seconds, burst));
            for (client, site, after) in turns {
                if let Err(wait) = table.take(client, site, &fill, after) {
                    assert!(!wait.is_zero() && wait <= Duration::from_nanos(fill.whole.max(fill.interval)));
                }
            }
        }
    }
}
