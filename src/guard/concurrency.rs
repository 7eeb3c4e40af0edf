//! How much of something each client has at once.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

use super::Client;

/// How many of something (connections, requests) each client has. It has an entry for each client that has some, so it is
/// bounded by what there is of them.
#[derive(Debug)]
pub struct Concurrency {
    /// Several maps, so that threads rarely wait for each other.
    shards: [Mutex<HashMap<Client, u32, RandomState>>; SHARDS],
    hasher: RandomState,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Occupied {
    of: Arc<Concurrency>,
    client: Client,
}

impl Default for Concurrency {
    fn default() -> Self {
        Concurrency { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::default() }
    }
}

impl Concurrency {
    /// Counts one more for a client, unless it has `most` already; 0 is no bound, for which nothing is counted.
    ///
    /// # Errors
    /// If it has as many as it may.
    pub fn enter(self: &Arc<Self>, client: Client, most: u32) -> Result<Option<Occupied>, TooMany> {
        if most == 0 {
            return Ok(None);
        }
        let mut counts = self.shard(client);
        let count = counts.entry(client).or_insert(0);
        if *count >= most {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Occupied { of: self.clone(), client }))
    }

    /// How many clients have some.
    pub fn clients(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, u32, RandomState>> {
        let shard = &self.shards[self.hasher.hash_one(client) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut counts = self.of.shard(self.client);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
        // After a flood the map is as large as it was then; the next one gets a smaller one.
        if counts.capacity() > KEPT && counts.len() < counts.capacity() / 4 {
            counts.shrink_to(KEPT);
        }
    }
}

const SHARDS: usize = 64;

/// Clients that a map has room for though there are none.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn client(address: &str) -> Client {
        Client::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn each_client_has_its_own_bound() {
        let all = Arc::new(Concurrency::default());
        let (one, other) = (client("192.0.2.1"), client("2001:db8::1"));
        let first = all.enter(one, 2).unwrap();
        let _second = all.enter(one, 2).unwrap();
        assert_eq!(all.enter(one, 2).unwrap_err(), TooMany);
        let _its = all.enter(other, 2).unwrap();
        // Another bound counts the same.
        let third = all.enter(one, 3).unwrap();
        drop(first);
        assert!(all.enter(one, 2).is_err());
        drop(third);
        assert!(all.enter(one, 2).is_ok());
        assert!(all.enter(one, 0).unwrap().is_none());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let all = Arc::new(Concurrency::default());
        let clients = (0..100_000u32).map(|bits| Client::from(IpAddr::from(bits.to_be_bytes())));
        let held: Vec<_> = clients.map(|client| all.enter(client, 1).unwrap()).collect();
        assert_eq!(all.clients(), 100_000);
        drop(held);
        assert_eq!(all.clients(), 0);
        assert!(all.shards.iter().all(|shard| shard.lock().unwrap().capacity() <= 2 * KEPT));
        // Whoever panics gives back what it had.
        let panicked = std::panic::catch_unwind(|| {
            let _held = all.enter(client("192.0.2.1"), 1).unwrap();
            panic!("as it should");
        });
        assert!(panicked.is_err() && all.clients() == 0);
    }
}
