//! Listening sockets, bound before anything else is done and then handed to Pingora.
//!
//! Pingora binds when its services start, retries a port in use for half a minute, panics in the end, and does not tell
//! the port it got for port 0. Bound here, a fault is one clear line at once. From then on the system queues
//! connections, so clients wait for the first snapshot instead of being refused.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::IntoRawFd,
};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{Service, listening};

/// A bound address.
#[derive(Debug)]
pub struct Socket {
    listener: TcpListener,
    address: SocketAddr,
}

/// An address that can't be had. The configuration or another process is at fault.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {}", explained(.reason))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub reason: io::Error,
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned(),
        _ => error.to_string(),
    }
}

impl Socket {
    /// Binds an address. `[::]` takes IPv4 too, and is `0.0.0.0` on a machine without IPv6.
    ///
    /// # Errors
    /// If the address can't be had.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bind = |address| {
            let listener = TcpListener::bind(address)?;
            // Pingora takes over the socket as it is, and needs it so.
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Socket { listener, address })
        };
        let bound = match bind(address) {
            Err(error) if address.ip() == IpAddr::from([0u16; 8]) && lacks_ipv6(&error) => {
                log::warn!("this machine has no IPv6: listening on 0.0.0.0:{} instead of {address}", address.port());
                bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
            }
            bound => bound,
        };
        bound.map_err(|reason| BindError { address, reason })
    }

    /// The address, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// A Pingora service on sockets that are bound already.
pub struct Listening<A> {
    service: listening::Service<A>,
    sockets: Vec<Socket>,
}

impl<A: ServerApp + Send + Sync + 'static> Listening<A> {
    /// `app` on `sockets`; `threads` is the gateway's setting if `None`.
    pub fn new(name: &str, app: A, sockets: Vec<Socket>, threads: Option<usize>) -> Self {
        let mut service = listening::Service::new(name.to_owned(), app);
        for socket in &sockets {
            service.add_tcp(&socket.address.to_string());
        }
        service.threads = threads;
        Listening { service, sockets }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Listening<A> {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        if let Some(fds) = &fds {
            let mut fds = fds.lock();
            for Socket { listener, address } in self.sockets.drain(..) {
                // The table of sockets is how Pingora hands them to a new process; finding one there, it doesn't bind.
                fds.add(address.to_string(), listener.into_raw_fd());
            }
        }
        self.service.start_service(fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_is_told_and_a_port_in_use_is_one_clear_line() {
        let socket = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(socket.address().port(), 0);
        let error = Socket::bind(socket.address()).unwrap_err().to_string();
        assert_eq!(error, format!("can't listen on {}: another program has this port", socket.address()));
        let error = Socket::bind(SocketAddr::from(([192, 0, 2, 1], 0))).unwrap_err().to_string();
        assert_eq!(error, "can't listen on 192.0.2.1:0: this machine has no such address");
    }
}
