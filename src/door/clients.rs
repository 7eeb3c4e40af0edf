//! How many connections are open, and how many each client has.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::guard::{Concurrency, Occupied, TooMany};
use crate::telemetry::Refused;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Clients {
    open: AtomicU32,
    most: u32,
    most_per_client: u32,
    named: Arc<Concurrency>,
}

/// A connection that was let in. Dropped with it.
#[derive(Debug)]
pub(super) struct Admitted {
    clients: Arc<Clients>,
    client: Option<Occupied>,
}

impl Clients {
    /// At most so many connections in all and of one client; 0 is no bound.
    pub fn new(most: u32, most_per_client: u32) -> Arc<Self> {
        Arc::new(Clients { open: AtomicU32::new(0), most, most_per_client, named: Arc::default() })
    }

    /// Lets a connection in, if there is room.
    pub fn enter(self: &Arc<Self>) -> Result<Admitted, Refused> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted { clients: self.clone(), client: None };
        if self.most > 0 && before >= self.most { Err(Refused::Connections) } else { Ok(admitted) }
    }
}

impl Admitted {
    /// Counts the connection for its client, once that is known.
    pub fn name(&mut self, address: SocketAddr) -> Result<(), Refused> {
        let Clients { named, most_per_client, .. } = &*self.clients;
        self.client = named.enter(address.ip().into(), *most_per_client).map_err(|TooMany| Refused::Client)?;
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.open.fetch_sub(1, Ordering::Relaxed);
    }
}

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
        let _same = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Refused::Client);
        let _other = enter("192.0.2.2").unwrap();
        drop(one);
        let _again = enter("192.0.2.1").unwrap();
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let clients = Clients::new(2, 9);
        let mut both = vec![clients.enter().unwrap(), clients.enter().unwrap()];
        assert_eq!(clients.enter().unwrap_err(), Refused::Connections);
        both.iter_mut().for_each(|admitted| admitted.name(from("192.0.2.1")).unwrap());
        both.clear();
        assert!(clients.enter().is_ok());
        assert_eq!(clients.named.clients(), 0);
    }
}
