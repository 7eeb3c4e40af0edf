//! How many connections are open, and how many each client has.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::telemetry::Refused;

/// The connections that are open. A map has as many entries as clients have connections, so it is bounded by those.
#[derive(Debug)]
pub(super) struct Clients {
    open: AtomicU32,
    most: u32,
    most_per_client: u32,
    /// Several maps, so that threads rarely wait for each other.
    shards: [Mutex<HashMap<Client, u32, foldhash::fast::RandomState>>; SHARDS],
    hasher: foldhash::fast::RandomState,
}

/// Whom connections are counted for: an IPv4 address, or the network that one IPv6 customer has (a /64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(u64, bool);

/// A connection that was let in. Dropped with it.
#[derive(Debug)]
pub(super) struct Admitted {
    clients: Arc<Clients>,
    client: Option<Client>,
}

impl Clients {
    /// At most so many connections in all and of one client; 0 is no bound.
    pub fn new(most: u32, most_per_client: u32) -> Arc<Self> {
        Arc::new(Clients {
            open: AtomicU32::new(0),
            most,
            most_per_client,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
        })
    }

    /// Lets a connection in, if there is room.
    pub fn enter(self: &Arc<Self>) -> Result<Admitted, Refused> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted { clients: self.clone(), client: None };
        if self.most > 0 && before >= self.most { Err(Refused::Connections) } else { Ok(admitted) }
    }

    fn shard(&self, client: Client) -> &Mutex<HashMap<Client, u32, foldhash::fast::RandomState>> {
        &self.shards[self.hasher.hash_one(client) as usize % SHARDS]
    }
}

impl Admitted {
    /// Counts the connection for its client, once that is known.
    pub fn name(&mut self, address: SocketAddr) -> Result<(), Refused> {
        if self.clients.most_per_client == 0 {
            return Ok(());
        }
        let client = Client::from(address.ip());
        let mut counts = self.clients.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_insert(0);
        if *count >= self.clients.most_per_client {
            return Err(Refused::Client);
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut counts = self.clients.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Client(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Client((address.to_bits() >> 64) as u64, true),
        }
    }
}

const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    #[test]
    fn each_client_has_its_own_bound() {
        let clients = Clients::new(0, 2);
        let enter = |address: &str| {
            let mut admitted = clients.enter().unwrap();
            admitted.name(from(address)).map(|()| admitted)
        };
        let one = enter("192.0.2.1").unwrap();
        let _same = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Refused::Client);
        let _other = enter("192.0.2.2").unwrap();
        drop(one);
        let _again = enter("192.0.2.1").unwrap();
        let _v6 = [enter("2001:db8::1").unwrap(), enter("2001:db8::ffff:1").unwrap()];
        assert_eq!(enter("2001:db8:0:0:1::1").unwrap_err(), Refused::Client);
        let _neighbour = enter("2001:db8:0:1::1").unwrap();
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let clients = Clients::new(2, 9);
        let mut both = vec![clients.enter().unwrap(), clients.enter().unwrap()];
        assert_eq!(clients.enter().unwrap_err(), Refused::Connections);
        both.iter_mut().for_each(|admitted| admitted.name(from("192.0.2.1")).unwrap());
        both.clear();
        assert!(clients.enter().is_ok());
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
