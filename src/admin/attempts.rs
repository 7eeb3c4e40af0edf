//! How often somebody may offer a token that is not known yet: comparing it is slow by design, and must not be a way to
//! keep the machine busy, or to guess.
//!
//! Two token buckets count: one for the client (IPv6 by /64), one for all. Whoever has shown a good token before is not
//! concerned: that it is good is remembered.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The attempts of late.
#[derive(Debug)]
pub(super) struct Attempts {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    clients: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// So many at once, and one more in so long.
#[derive(Clone, Copy)]
struct Allowance {
    burst: f64,
    interval: Duration,
}

impl Attempts {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        let all = Bucket { left: ALL.burst, at: now };
        Attempts { buckets: Mutex::new(Buckets { all, clients: HashMap::new() }) }
    }

    /// Counts an attempt; how long to wait if it is one too many. `client` is none on a Unix socket.
    pub fn take(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, clients } = &mut *buckets;
        let client = key(client);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, bucket| !bucket.is_full(CLIENT, now));
            // Of so many clients at the same time no further ones are needed.
            if clients.len() >= MAX_CLIENTS {
                return Err(CLIENT.interval);
            }
        }
        let bucket = clients.entry(client).or_insert(Bucket { left: CLIENT.burst, at: now });
        bucket.take(CLIENT, now)?;
        all.take(ALL, now).inspect_err(|_| bucket.give_back())
    }

    /// Takes back an attempt that was no guess.
    pub fn give_back(&self, client: Option<IpAddr>) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.all.give_back();
        if let Some(bucket) = buckets.clients.get_mut(&key(client)) {
            bucket.give_back();
        }
    }
}

impl Bucket {
    fn take(&mut self, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        *self = Bucket { left: self.left_at(allowance, now), at: now };
        if self.left < 1.0 {
            return Err(allowance.interval.mul_f64(1.0 - self.left));
        }
        self.left -= 1.0;
        Ok(())
    }

    fn give_back(&mut self) {
        self.left += 1.0;
    }

    fn left_at(self, allowance: Allowance, now: Instant) -> f64 {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() / allowance.interval.as_secs_f64();
        (self.left + grown).min(allowance.burst)
    }

    fn is_full(self, allowance: Allowance, now: Instant) -> bool {
        self.left_at(allowance, now) >= allowance.burst
    }
}

/// Who has a bucket of his own: an IPv4 address, a /64 of IPv6, all that comes by Unix sockets.
fn key(client: Option<IpAddr>) -> IpAddr {
    match client.map(|client| client.to_canonical()) {
        None => Ipv6Addr::UNSPECIFIED.into(),
        Some(IpAddr::V6(v6)) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        Some(v4) => v4,
    }
}

const CLIENT: Allowance = Allowance { burst: 10.0, interval: Duration::from_secs(6) };

/// Comparing takes about 50 ms of a core: a second and a half at once, and then a tenth of it.
const ALL: Allowance = Allowance { burst: 30.0, interval: Duration::from_millis(500) };

/// 40 bytes each.
const MAX_CLIENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a_client_has_ten_at_once_and_ten_a_minute() {
        let start = Instant::now();
        let attempts = Attempts::new(start);
        assert!((0..10).all(|_| attempts.take(v4(1), start).is_ok()));
        assert_eq!(attempts.take(v4(1), start), Err(Duration::from_secs(6)));
        assert!(attempts.take(v4(2), start).is_ok(), "others are not concerned");
        let later = start + Duration::from_secs(6);
        assert!(attempts.take(v4(1), later).is_ok() && attempts.take(v4(1), later).is_err());
        attempts.give_back(v4(1));
        assert!(attempts.take(v4(1), later).is_ok());
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let start = Instant::now();
        let attempts = Attempts::new(start);
        let client = |last: u128| Some(IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + last)));
        assert!((0..10).all(|last| attempts.take(client(last), start).is_ok()));
        assert!(attempts.take(client(1 << 60), start).is_err());
        assert!(attempts.take(client(1 << 64), start).is_ok());
        let mapped = |n: u32| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(n).to_ipv6_mapped()));
        assert_eq!(key(mapped(7)), key(v4(7)));
        assert_ne!(key(mapped(7)), key(mapped(8)));
    }

    #[test]
    fn all_together_have_a_bound_in_number_and_memory() {
        let start = Instant::now();
        let attempts = Attempts::new(start);
        let taken = (0..100_000).filter(|&n| attempts.take(v4(n), start).is_ok()).count();
        assert_eq!(taken, 30);
        assert!(attempts.buckets.lock().unwrap().clients.len() <= MAX_CLIENTS);
        let mut now = start;
        let mut taken = 0;
        for n in 0..60_000 {
            now += Duration::from_millis(1);
            taken += usize::from(attempts.take(v4(n), now).is_ok());
        }
        assert!((60..=121).contains(&taken), "{taken} in a minute");
        assert!(attempts.buckets.lock().unwrap().clients.len() <= MAX_CLIENTS);
    }
}
