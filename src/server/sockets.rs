//! The gateway's listeners: those of the process before, if there is one, and new ones for the rest.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc};

use anyhow::Context;

use crate::config::{Address, Gateway, Listen};
use crate::door::listen::{BindError, Kind, Listener, Options, Origin, Socket};

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
        let addresses: Vec<&Address> =
            gateway.http.iter().chain(&gateway.https).map(|listen| &listen.address).collect();
        let mut names = Names::default();
        let asked: Vec<_> = asked
            .map(|(kind, listen)| {
                let only_v6 = leaves_ipv4(&listen.address, &addresses);
                let options =
                    Options { reuse_port: gateway.reuse_port && threads(gateway) > 1, only_v6, private: false };
                (kind, listen, options, names.name(&listen.address))
            })
            .collect();
        // Before any is bound: what is in the way then is no other program.
        asked.iter().try_for_each(|(_, listen, options, name)| check(listen, *options, inherited.get(name)))?;
        let mut public = Vec::new();
        for (kind, listen, options, name) in asked {
            let opened = open(listen, kind, options, name, inherited).map_err(|error| blame(error, &public))?;
            public.push(opened);
        }
        let admin = Listen { address: gateway.admin.clone(), proxy: false };
        let kind = if gateway.admin_settings.identity.is_some() { Kind::Https } else { Kind::Http };
        let options = Options { private: true, ..Options::default() };
        let name = format!("admin {}", admin.address);
        let admin = open(&admin, kind, options, name, inherited).context("admin address")?;
        Ok(Sockets { public, admin })
    }

    /// Gives each worker a socket of its own where the configuration says so. From now on the system sends connections
    /// to them, so they are lost if nobody accepts: nothing that may fail should stand between this and the workers.
    ///
    /// # Errors
    /// If the system refuses one.
    pub(super) fn extend(&mut self, gateway: &Gateway) -> Result<(), BindError> {
        let count = if gateway.reuse_port { threads(gateway) } else { 1 };
        self.public.iter_mut().try_for_each(|listener| Socket::extend(&mut listener.sockets, count))
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
    options: Options,
    name: String,
    inherited: &mut Inherited,
) -> Result<Listener, BindError> {
    let sockets = match inherited.remove(&name) {
        Some(sockets) => sockets,
        None => vec![Socket::bind(&listen.address, options)?],
    };
    let address = sockets.first().map_or(&listen.address, Socket::address).to_string();
    let origin = Arc::new(Origin { kind, proxy_protocol: listen.proxy, address });
    Ok(Listener { origin, name, sockets })
}

/// The error as it is, unless it blames another program for what another address of the configuration has.
fn blame(error: BindError, before: &[Listener]) -> BindError {
    let Address::Inet(inet) = error.address else { return error };
    let has = |other: &&Listener| other.inet().is_some_and(|other| other.port() == inet.port());
    match before.iter().find(has) {
        Some(other) if error.reason.kind() == io::ErrorKind::AddrInUse => {
            let reason = format!("{} of this gateway has this port too", other.origin.address);
            BindError { reason: io::Error::other(reason), ..error }
        }
        _ => error,
    }
}

/// Refuses to take over sockets that are bound for something else than is asked for now.
fn check(listen: &Listen, options: Options, inherited: Option<&Vec<Socket>>) -> Result<(), BindError> {
    let address = &listen.address;
    // `0.0.0.0` stands for `[::]` where there is no IPv6.
    let differs = |socket: &Socket| is_any_v6(socket.address()) && socket.is_only_v6() != options.only_v6;
    if address.is_any_port() || !is_any_v6(address) || !inherited.into_iter().flatten().any(differs) {
        return Ok(());
    }
    let has = if options.only_v6 { "IPv4 too" } else { "IPv6 only" };
    let reason = format!("the process before has it for {has}, which no upgrade can change: stop that one, then start");
    Err(BindError { address: address.clone(), reason: io::Error::other(reason) })
}

/// Whether `[::]` with this port leaves IPv4 to another of `addresses`. Alone it takes both.
fn leaves_ipv4(address: &Address, addresses: &[&Address]) -> bool {
    let Address::Inet(any) = address else { return false };
    let same_port = |other: &&Address| matches!(other, Address::Inet(v4) if v4.is_ipv4() && v4.port() == any.port());
    is_any_v6(address) && any.port() != 0 && addresses.iter().any(same_port)
}

fn is_any_v6(address: &Address) -> bool {
    matches!(address, Address::Inet(inet) if inet.ip() == IpAddr::from([0u16; 8]))
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
    use std::net::SocketAddr;

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
        let before = gateway(vec![any.clone(), any.clone()], 3);
        let mut old = Sockets::open(&before, &mut Inherited::new()).unwrap();
        assert!(old.all().all(|listener| listener.sockets.len() == 1));
        old.extend(&before).unwrap();
        assert_eq!(old.public[1].sockets.len(), 3);
        let names: Vec<&str> = old.all().map(|listener| listener.name.as_str()).collect();
        assert_eq!(names, ["127.0.0.1:0", "127.0.0.1:0 #2", "admin 127.0.0.1:0"]);
        let before: Vec<String> = old.all().map(|listener| listener.origin.address.clone()).collect();
        let mut inherited: Inherited =
            old.public.into_iter().chain([old.admin]).map(|listener| (listener.name, listener.sockets)).collect();
        // One listener less, one thread more.
        let after = gateway(vec![any], 4);
        let mut new = Sockets::open(&after, &mut inherited).unwrap();
        assert_eq!(new.public[0].sockets.len(), 3, "no more until somebody accepts");
        new.extend(&after).unwrap();
        let after: Vec<&str> = new.all().map(|listener| listener.origin.address.as_str()).collect();
        assert_eq!(after, [&before[0], &before[2]]);
        assert_eq!((new.public[0].sockets.len(), new.admin.sockets.len()), (4, 1));
        assert_eq!(inherited.keys().collect::<Vec<_>>(), ["127.0.0.1:0 #2"]);
    }

    #[test]
    fn any_ipv6_leaves_ipv4_to_who_asks_for_it() {
        let addresses: Vec<Address> =
            ["0.0.0.0:80", "[::]:80", "[::]:443", "[::]:0", "127.0.0.1:0", "[::1]:80", "unix:/a"]
                .map(|text| text.parse().unwrap())
                .into();
        let all: Vec<&Address> = addresses.iter().collect();
        let leaving: Vec<String> =
            all.iter().filter(|address| leaves_ipv4(address, &all)).map(ToString::to_string).collect();
        assert_eq!(leaving, ["[::]:80"]);
    }

    #[test]
    fn addresses_that_exclude_each_other_are_told() {
        let any = Socket::bind(&"0.0.0.0:0".parse().unwrap(), Options::default()).unwrap();
        let address = any.address().clone();
        let Address::Inet(inet) = address else { unreachable!() };
        let mut inherited = Inherited::from([(address.to_string(), vec![any])]);
        let local = Listen::from(SocketAddr::from(([127, 0, 0, 1], inet.port())));
        let gateway = Gateway { http: vec![inet.into(), local.clone()], ..Gateway::default() };
        let error = Sockets::open(&gateway, &mut inherited).err().unwrap().to_string();
        assert_eq!(error, format!("can't listen on {}: {inet} of this gateway has this port too", local.address));
    }

    #[test]
    fn an_upgrade_says_when_it_would_have_to_bind_anew() {
        let port = Socket::bind(&"[::]:0".parse().unwrap(), Options::default()).unwrap();
        if !is_any_v6(port.address()) {
            return;
        }
        let address = port.address().clone();
        let Address::Inet(inet) = address else { unreachable!() };
        let mut inherited = Inherited::from([(address.to_string(), vec![port])]);
        let v4 = Listen::from(SocketAddr::from(([0, 0, 0, 0], inet.port())));
        let gateway = Gateway { http: vec![v4, inet.into()], ..Gateway::default() };
        let error = Sockets::open(&gateway, &mut inherited).err().unwrap().to_string();
        assert!(error.contains("has it for IPv4 too") && error.contains("stop that one"), "{error}");
    }
}
