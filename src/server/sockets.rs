//! The gateway's listeners: those of the process before, if there is one, and new ones for the rest.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context;

use crate::config::{Address, Gateway, Listen};
use crate::door::listen::{BindError, Kind, Listener, Origin, Socket};

/// Everything that the gateway listens on.
pub(super) struct Sockets {
    /// For citizens: HTTP, then HTTPS.
    pub(super) public: Vec<Listener>,
    /// For those who run it.
    pub(super) admin: Listener,
}

/// Sockets that a process before this one had bound, by the names of their listeners.
pub(super) type Inherited = HashMap<String, Vec<Socket>>;

impl Sockets {
    /// Takes what fits from `inherited` and binds the others. What is left over there is not listened on any more.
    ///
    /// # Errors
    /// If an address can't be had: one clear line.
    pub(super) fn open(gateway: &Gateway, inherited: &mut Inherited) -> anyhow::Result<Self> {
        let lists = [(Kind::Http, &gateway.http), (Kind::Https, &gateway.https)];
        let asked = lists.into_iter().flat_map(|(kind, list)| list.iter().map(move |listen| (kind, listen)));
        let set_size = if gateway.reuse_port { threads(gateway) } else { 1 };
        let mut names = Names::default();
        let mut public = Vec::new();
        for (number, (kind, listen)) in asked.enumerate() {
            let name = names.name(&listen.address);
            public.push(open(listen, kind, number, set_size, name, inherited)?);
        }
        let admin = Listen::from(gateway.admin);
        let name = format!("admin {}", admin.address);
        let admin = open(&admin, Kind::Http, 0, 1, name, inherited).context("admin address")?;
        Ok(Sockets { public, admin })
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Listener> {
        self.public.iter().chain([&self.admin])
    }

    /// All of them.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Listener> {
        self.public.iter_mut().chain([&mut self.admin])
    }
}

/// The number of worker threads.
pub(super) fn threads(gateway: &Gateway) -> usize {
    match gateway.threads {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        threads => threads,
    }
}

fn open(
    listen: &Listen,
    kind: Kind,
    number: usize,
    set_size: usize,
    name: String,
    inherited: &mut Inherited,
) -> Result<Listener, BindError> {
    let sockets = match inherited.remove(&name) {
        Some(mut sockets) => {
            Socket::extend_set(&mut sockets, set_size)?;
            sockets
        }
        None if set_size > 1 => Socket::bind_set(&listen.address, set_size)?,
        None => vec![Socket::bind(&listen.address)?],
    };
    let address = sockets.first().map_or(&listen.address, Socket::address).to_string();
    let origin = Arc::new(Origin { kind, proxy_protocol: listen.proxy, address, number });
    Ok(Listener { origin, name, sockets })
}

/// Gives each listener a name that the next process will give it too.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    /// The address as it is written; port 0 may stand there several times.
    fn name(&mut self, address: &Address) -> String {
        let name = address.to_string();
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name} #{count}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_over_and_the_rest_is_bound() {
        let any: Listen = "127.0.0.1:0".parse().unwrap();
        let gateway = |http: Vec<Listen>, threads| Gateway {
            http,
            admin: "127.0.0.1:0".parse().unwrap(),
            threads,
            reuse_port: true,
            ..Gateway::default()
        };
        let old = Sockets::open(&gateway(vec![any.clone(), any.clone()], 3), &mut Inherited::new()).unwrap();
        let names: Vec<&str> = old.all().map(|listener| listener.name.as_str()).collect();
        assert_eq!(names, ["127.0.0.1:0", "127.0.0.1:0 #2", "admin 127.0.0.1:0"]);
        let before: Vec<String> = old.all().map(|listener| listener.origin.address.clone()).collect();
        let mut inherited: Inherited =
            old.public.into_iter().chain([old.admin]).map(|listener| (listener.name, listener.sockets)).collect();
        // One listener less, one thread more.
        let new = Sockets::open(&gateway(vec![any], 4), &mut inherited).unwrap();
        let after: Vec<&str> = new.all().map(|listener| listener.origin.address.as_str()).collect();
        assert_eq!(after, [&before[0], &before[2]]);
        assert_eq!((new.public[0].sockets.len(), new.admin.sockets.len()), (4, 1));
        assert_eq!(inherited.keys().collect::<Vec<_>>(), ["127.0.0.1:0 #2"]);
    }
}
