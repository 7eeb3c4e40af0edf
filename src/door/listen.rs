//! Listening sockets, bound before anything else is done.
//!
//! Bound here, a fault is one clear line at once. From then on the system queues connections, so clients wait for the
//! first snapshot instead of being refused.
//!
//! Owns: sockets and the files of Unix sockets. Never does: accepting (see `workers`).
//!
//! Invariants: a socket that exists listens; the file of a Unix socket is removed by the last who serves it, and never
//! if it is somebody else's.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, SockAddr, Type};

pub use crate::config::Address;

/// What a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
}

/// What a listener says about its connections.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What they speak.
    pub kind: Kind,
    /// Whether each begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The bound address, for logs and metrics.
    pub address: String,
}

/// A listener of the configuration and its sockets.
#[derive(Debug)]
pub struct Listener {
    /// What its connections are.
    pub origin: Arc<Origin>,
    /// What it is called when it is handed to a new process: the address that was asked for.
    pub name: String,
    /// One that all workers share, or several (SO_REUSEPORT), each of which must be accepted from.
    pub sockets: Vec<Socket>,
}

impl Listener {
    /// The IP address and port, if it has one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self.sockets.first()?.address() {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Socket {
    listener: Inner,
    address: Address,
    file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An address that can't be had. The configuration or another process is at fault.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {}", explained(.address, .reason))]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the system says.
    pub reason: io::Error,
}

/// What is asked of a socket beside its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether more sockets may be bound to the same address ([`Socket::extend`]), among which the system distributes
    /// connections (SO_REUSEPORT). A Unix socket can't be shared so.
    pub reuse_port: bool,
    /// Whether `[::]` leaves IPv4 alone, which another listener has the port for.
    pub only_v6: bool,
    /// Whether the file of a Unix socket is for its owner alone, in a folder that nobody else may write to.
    pub private: bool,
}

fn explained(address: &Address, error: &io::Error) -> String {
    let is_unix = matches!(address, Address::Unix(_));
    match error.kind() {
        io::ErrorKind::AddrInUse if is_unix => "another program answers there".to_owned(),
        io::ErrorKind::AddrInUse => "another program has this port".to_owned(),
        _ if error.raw_os_error() == Some(EAFNOSUPPORT) => "this machine has no IPv6".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied if is_unix => "no permission to write to its folder".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned(),
        io::ErrorKind::NotFound => "its folder is missing".to_owned(),
        io::ErrorKind::AlreadyExists => "a file that is no socket is in the way".to_owned(),
        _ => error.to_string(),
    }
}

impl Socket {
    /// Binds an address. `[::]` takes IPv4 too unless it is told not to, and is then `0.0.0.0` on a machine without
    /// IPv6. The file of a Unix socket gets mode 0660, or 0600 if it is private; one that nobody answers on is replaced.
    ///
    /// # Errors
    /// If the address can't be had; sharing it with another program doesn't count as having it.
    pub fn bind(address: &Address, options: Options) -> Result<Self, BindError> {
        if options.reuse_port
            && !address.is_any_port()
            && let Address::Inet(inet) = address
        {
            // The system would let us in beside another process of the same user that shares its port too. This one
            // never listens: who connected to it would be reset.
            drop(bind_address(address, |inet| bound(inet, Options { reuse_port: false, ..options }), *inet, options)?);
        }
        match address {
            Address::Inet(inet) => bind_address(address, |inet| listening(inet, options), *inet, options),
            Address::Unix(path) => {
                bind_unix(path, options.private).map_err(|reason| BindError { address: address.clone(), reason })
            }
        }
    }

    /// Binds more sockets to the address of the first until there are `count`; one that can't be shared stays alone.
    /// Connections go to all of them from then on.
    ///
    /// # Errors
    /// If the system refuses one.
    pub fn extend(set: &mut Vec<Self>, count: usize) -> Result<(), BindError> {
        let Some(first) = set.first() else { return Ok(()) };
        let Address::Inet(inet) = first.address else { return Ok(()) };
        let options = Options {
            reuse_port: rustix::net::sockopt::socket_reuseport(first) == Ok(true),
            only_v6: first.is_only_v6(),
            ..Options::default()
        };
        while options.reuse_port && set.len() < count {
            let more = listening(inet, options);
            set.push(more.map_err(|reason| BindError { address: inet.into(), reason })?);
        }
        Ok(())
    }

    /// Whether it leaves IPv4 alone; true of `[::]` only.
    pub fn is_only_v6(&self) -> bool {
        matches!(self.address, Address::Inet(inet) if is_any_v6(inet))
            && rustix::net::sockopt::ipv6_v6only(self) == Ok(true)
    }

    /// Takes over a socket that another process bound. Its file stays that process' own until
    /// [`Socket::own_file`].
    ///
    /// # Errors
    /// If it is no socket that listens for TCP or Unix connections.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(fd);
        if !socket.is_listener()? {
            return Err(io::Error::other("this socket does not listen"));
        }
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        match (local.as_socket(), local.as_pathname()) {
            (Some(address), _) => Ok(Socket::tcp(socket, address)),
            (None, Some(path)) => {
                let mut taken = Socket::unix(socket, path)?;
                taken.leave_file();
                Ok(taken)
            }
            (None, None) => Err(io::Error::other("this socket has no address")),
        }
    }

    /// The address, with the port that the system chose for port 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Leaves the file of a Unix socket to whoever serves it now.
    pub fn leave_file(&mut self) {
        self.file.iter_mut().for_each(|file| file.is_ours = false);
    }

    /// Takes on the duty to remove the file of a Unix socket.
    pub fn own_file(&mut self) {
        self.file.iter_mut().for_each(|file| file.is_ours = true);
    }

    /// Another handle of the same socket, without the duty to remove its file.
    pub(super) fn handle(&self) -> io::Result<Inner> {
        match &self.listener {
            Inner::Tcp(listener) => listener.try_clone().map(Inner::Tcp),
            Inner::Unix(listener) => listener.try_clone().map(Inner::Unix),
        }
    }

    fn tcp(socket: socket2::Socket, address: SocketAddr) -> Self {
        // What is accepted inherits it. Without it the system keeps what it took from us for minutes, even of a
        // connection that we closed. Where it can't be set, that is how it is.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&socket, UNTAKEN_TIME);
        Socket { listener: Inner::Tcp(socket.into()), address: address.into(), file: None }
    }

    fn unix(socket: socket2::Socket, path: &Path) -> io::Result<Self> {
        let file = SocketFile::of(path)?;
        Ok(Socket { listener: Inner::Unix(socket.into()), address: Address::Unix(path.to_owned()), file: Some(file) })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Inner::Tcp(listener) => listener.as_fd(),
            Inner::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Calls `bind` with the address, or with that of IPv4 if the machine has no other and nobody else is to have it.
fn bind_address<T>(
    address: &Address,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
    inet: SocketAddr,
    options: Options,
) -> Result<T, BindError> {
    let bound = match bind(inet) {
        Err(error) if is_any_v6(inet) && !options.only_v6 && lacks_ipv6(&error) => {
            let port = inet.port();
            log::warn!("this machine has no IPv6: listening on 0.0.0.0:{port} instead of {inet}");
            bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        bound => bound,
    };
    bound.map_err(|reason| BindError { address: address.clone(), reason })
}

fn bound(address: SocketAddr, options: Options) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Or a restart would have to wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Connections have it from here. Without it a slow client's answer vanishes into megabytes of the system's buffer, and
    // nobody can see at which rate it is taken.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    socket.set_reuse_port(options.reuse_port)?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!is_any_v6(address) || options.only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(address: SocketAddr, options: Options) -> io::Result<Socket> {
    let socket = bound(address, options)?;
    socket.listen(backlog())?;
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Socket::tcp(socket, bound))
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.ip() == IpAddr::from([0u16; 8])
}

fn bind_unix(path: &Path, private: bool) -> io::Result<Socket> {
    if private {
        check_folder(path)?;
    }
    remove_stale(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, so that nobody connects who may not.
    fs::set_permissions(path, fs::Permissions::from_mode(if private { PRIVATE_MODE } else { UNIX_MODE }))?;
    socket.listen(backlog())?;
    socket.set_nonblocking(true)?;
    Socket::unix(socket, path)
}

/// Refuses a folder where somebody else could put a socket of his own in place of ours, and hear what is meant for us.
fn check_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let found = fs::metadata(folder)?;
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("its folder belongs to user {}, not to us", found.uid())));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(io::Error::other(format!(
            "others may write to its folder (mode {mode:o}): give it one of its own"
        )));
    }
    Ok(())
}

/// Removes the file that a gateway left which did not end well.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Somebody whose queue is full is somebody: don't wait.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// As many waiting connections as the system allows: they queue while routes load and while a new process takes over.
fn backlog() -> i32 {
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn");
    allowed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0).max(MIN_BACKLOG)
}

/// The file of a Unix socket, removed on drop if it is still the same and ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    is_ours: bool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()), is_ours: true })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if self.is_ours && same {
            // If it can't be removed, the next start finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The system's number for a family of addresses that it doesn't have.
const EAFNOSUPPORT: i32 = 97;

/// What the owner's group may connect to.
const UNIX_MODE: u32 = 0o660;

/// What only the owner may connect to.
const PRIVATE_MODE: u32 = 0o600;

/// How long a client may take nothing at all of what was sent to it, in milliseconds. A little longer than the door
/// watches the rate of what it still holds itself, so that the door counts whom it finds too slow.
const UNTAKEN_TIME: u32 = 12_000;

/// The system caps it at net.core.somaxconn.
const MIN_BACKLOG: i32 = 1024;

/// Bytes of an answer that the system takes before they can be sent.
#[cfg(target_os = "linux")]
const NOT_SENT: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    const ALONE: Options = Options { reuse_port: false, only_v6: false, private: false };
    const SHARED: Options = Options { reuse_port: true, only_v6: false, private: false };

    fn local() -> Address {
        SocketAddr::from(([127, 0, 0, 1], 0)).into()
    }

    fn inet(socket: &Socket) -> SocketAddr {
        match socket.address() {
            Address::Inet(address) => *address,
            Address::Unix(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn port_0_is_told_and_a_port_in_use_is_one_clear_line() {
        let socket = Socket::bind(&local(), ALONE).unwrap();
        assert_ne!(inet(&socket).port(), 0);
        for options in [ALONE, SHARED] {
            let error = Socket::bind(socket.address(), options).unwrap_err().to_string();
            assert_eq!(error, format!("can't listen on {}: another program has this port", socket.address()));
        }
        let error = Socket::bind(&SocketAddr::from(([192, 0, 2, 1], 0)).into(), ALONE).unwrap_err().to_string();
        assert_eq!(error, "can't listen on 192.0.2.1:0: this machine has no such address");
    }

    #[test]
    fn a_set_shares_its_port_with_itself_only() {
        let mut set = vec![Socket::bind(&local(), SHARED).unwrap()];
        Socket::extend(&mut set, 3).unwrap();
        assert!(set.len() == 3 && set.iter().all(|socket| socket.address() == set[0].address()));
        let error = Socket::bind(set[0].address(), SHARED).unwrap_err().to_string();
        assert!(error.ends_with("another program has this port"), "{error}");
        Socket::extend(&mut set, 5).unwrap();
        assert_eq!(set.len(), 5);
        let mut alone = vec![Socket::bind(&local(), ALONE).unwrap()];
        Socket::extend(&mut alone, 5).unwrap();
        assert_eq!(alone.len(), 1);
    }

    #[test]
    fn the_file_of_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let address = Address::Unix(path.clone());
        let socket = Socket::bind(&address, ALONE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, UNIX_MODE);
        UnixStream::connect(&path).unwrap();
        let error = Socket::bind(&address, ALONE).unwrap_err().to_string();
        assert_eq!(error, format!("can't listen on unix:{}: another program answers there", path.display()));

        // Taken over, it is the new owner's to remove, once it says so.
        let take = |from: &Socket| Socket::from_fd(from.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let taken = take(&socket);
        assert_eq!(taken.address(), &address);
        drop(taken);
        assert!(path.exists());
        let mut taken = take(&socket);
        let mut socket = socket;
        taken.own_file();
        socket.leave_file();
        drop(socket);
        assert!(path.exists());
        drop(taken);
        assert!(!path.exists());

        // Left behind by a process that was killed.
        drop(UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&address, ALONE).unwrap();
        // Somebody else's by now.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(socket);
        let error = Socket::bind(&address, ALONE).unwrap_err().to_string();
        assert!(error.ends_with("a file that is no socket is in the way"), "{error}");
        let error = Socket::bind(&Address::Unix(folder.path().join("no/a.sock")), ALONE).unwrap_err().to_string();
        assert!(error.ends_with("its folder is missing"), "{error}");
    }

    #[test]
    fn a_private_socket_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let private = Options { private: true, ..ALONE };
        for (options, mode) in [(ALONE, 0o660), (private, 0o600)] {
            let _socket = Socket::bind(&Address::Unix(path.clone()), options).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = Socket::bind(&Address::Unix(path.clone()), private).unwrap_err().to_string();
        assert!(error.ends_with("others may write to its folder (mode 1777): give it one of its own"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn any_ipv6_takes_ipv4_too() {
        let any: Address = "[::]:0".parse().unwrap();
        let port = inet(&Socket::bind(&any, ALONE).unwrap()).port();
        let socket = Socket::bind(&format!("[::]:{port}").parse().unwrap(), ALONE).unwrap();
        TcpStream::connect(("127.0.0.1", inet(&socket).port())).unwrap();
        if inet(&socket).is_ipv6() {
            TcpStream::connect(("::1", inet(&socket).port())).unwrap();
        }
    }

    #[test]
    fn any_ipv6_leaves_a_port_to_ipv4_if_told() {
        for reuse_port in [false, true] {
            let options = Options { reuse_port, only_v6: true, private: false };
            let v4 = Socket::bind(&local(), options).unwrap();
            let any: Address = format!("[::]:{}", inet(&v4).port()).parse().unwrap();
            let mut set = vec![match Socket::bind(&any, options) {
                // Nothing to test without IPv6, and nobody else's address is taken instead.
                Err(error) if lacks_ipv6(&error.reason) => return,
                bound => bound.unwrap(),
            }];
            Socket::extend(&mut set, 3).unwrap();
            assert!(set.len() == if reuse_port { 3 } else { 1 } && set.iter().all(Socket::is_only_v6));
            assert!(!v4.is_only_v6() && set.iter().all(|socket| *socket.address() == any));
        }
    }

    #[test]
    fn what_is_accepted_is_given_up_when_it_takes_nothing() {
        let socket = Socket::bind(&local(), ALONE).unwrap();
        let _client = TcpStream::connect(inet(&socket)).unwrap();
        let Inner::Tcp(listener) = socket.handle().unwrap() else { panic!("not TCP") };
        listener.set_nonblocking(false).unwrap();
        let accepted = listener.accept().unwrap().0;
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(accepted).unwrap(), UNTAKEN_TIME);
    }

    #[test]
    fn only_what_listens_is_taken_over() {
        let stream = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(Socket::from_fd(stream.into()).is_err());
        assert!(Socket::from_fd(fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
