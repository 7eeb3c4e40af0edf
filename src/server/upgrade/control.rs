//! The control socket: by it `waypost upgrade` and a new process reach the gateway that runs.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use aws_lc_rs::digest::{SHA256, digest};
use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle};

use super::wire::{self, Request};
use crate::config::{Address, Gateway};
use crate::door::listen::{Options, Socket};

/// What the control socket is called when it is handed over.
pub(in crate::server) const NAME: &str = "control";

/// The control socket of a gateway that serves.
pub(in crate::server) struct Control {
    /// The socket, and the duty to remove its file.
    pub(in crate::server) socket: Socket,
    /// Whether it was the process' before this one.
    pub(in crate::server) is_inherited: bool,
    requests: mpsc::Receiver<(Request, UnixStream)>,
    task: Option<JoinHandle<()>>,
    sender: mpsc::Sender<(Request, UnixStream)>,
}

/// The path of the control socket of the gateway with these settings, whether it runs or not. It is named after the
/// admin address, which no two gateways of a machine share.
///
/// # Errors
/// If the admin port is chosen by the system, and not exactly one gateway has its control socket in the folder.
pub fn socket_path(gateway: &Gateway) -> anyhow::Result<PathBuf> {
    let folders = folders(gateway)?;
    let Address::Inet(any) = &gateway.admin else { return fixed_path(gateway, &folders) };
    if any.port() != 0 {
        return fixed_path(gateway, &folders);
    }
    let prefix = file_name(&any.ip().to_string());
    let prefix = prefix.trim_end_matches(SUFFIX);
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    let mut found = entries.map(|entry| entry.path()).filter(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX) && UnixStream::connect(path).is_ok())
    });
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => {
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            bail!("no gateway runs: none has its control socket in {}", folders.join(" or "))
        }
        _ => bail!("several gateways run: say which one by --admin and its real port"),
    }
}

fn fixed_path(gateway: &Gateway, folders: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let name = file_name(&gateway.admin.to_string());
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.join(&name)).collect();
    // Where none is, the first is where it should be.
    let found = paths.iter().find(|path| path.exists()).or(paths.first());
    found.cloned().context("there is no folder for control sockets")
}

impl Control {
    /// Listens by the settings of a gateway whose admin address is really `admin`; or takes over the socket of the
    /// process before, if it is the same.
    ///
    /// # Errors
    /// If the folder can't be had or isn't safe: one clear line.
    pub(in crate::server) fn open(
        gateway: &Gateway,
        admin: &str,
        inherited: Option<Vec<Socket>>,
    ) -> anyhow::Result<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let mut folders = folders(gateway)?.into_iter();
        let folder = folders
            .find(|folder| is_root || gateway.process.directory.is_some() || folder != Path::new(SYSTEM))
            .context("there is no folder for the control socket")?;
        secure(&folder).with_context(|| {
            format!(
                "the folder of the control socket, {}, can't be used ([process] directory sets another)",
                folder.display()
            )
        })?;
        let address: Address = format!("unix:{}", folder.join(file_name(admin)).display())
            .parse()
            .with_context(|| format!("the control socket in {} ([process] directory)", folder.display()))?;
        let same = inherited.into_iter().flatten().find(|socket| *socket.address() == address);
        let is_inherited = same.is_some();
        let socket = match same {
            Some(socket) => socket,
            None => Socket::bind(&address, Options::default()).context("control socket")?,
        };
        let (sender, requests) = mpsc::channel(16);
        Ok(Control { socket, is_inherited, requests, task: None, sender })
    }

    /// Begins to answer; within a runtime.
    ///
    /// # Errors
    /// If the system has no file descriptor left.
    pub(in crate::server) fn listen(&mut self) -> io::Result<()> {
        let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(
            std::os::fd::AsFd::as_fd(&self.socket).try_clone_to_owned()?,
        ))?;
        let sender = self.sender.clone();
        self.task = Some(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let sender = sender.clone();
                        // Whoever connects and says nothing keeps nobody from speaking.
                        tokio::task::spawn_blocking(move || match stream.into_std().and_then(admit) {
                            // An error means that the gateway ends.
                            Ok(request) => drop(sender.blocking_send(request)),
                            Err(error) => log::warn!("control socket: {error}"),
                        });
                    }
                    Err(error) => {
                        log::warn!("control socket: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }));
        Ok(())
    }

    /// The next request, and whom to answer.
    pub(super) async fn next(&mut self) -> (Request, UnixStream) {
        match self.requests.recv().await {
            Some(request) => request,
            // It has a sender of its own.
            None => std::future::pending().await,
        }
    }

    /// As [`Control::next`], for whoever may have none.
    pub(in crate::server) async fn asked_for_upgrade(control: &mut Option<Self>) -> UnixStream {
        let Some(control) = control else { return std::future::pending().await };
        loop {
            if let (Request::Upgrade, stream) = control.next().await {
                return stream;
            }
            // A process that we did not start wants our sockets.
            log::warn!("control socket: somebody wants to take over who was not asked to");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A new process may listen on the same socket by now.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Reads the request of somebody who may ask.
fn admit(mut stream: UnixStream) -> io::Result<(Request, UnixStream)> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?.uid;
    if !peer.is_root() && peer != rustix::process::geteuid() {
        return Err(io::Error::other(format!("user {} may not ask", peer.as_raw())));
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(MESSAGE_TIME))?;
    stream.set_write_timeout(Some(MESSAGE_TIME))?;
    Ok((wire::receive(&mut stream)?, stream))
}

/// The folders where control sockets may be: the one that is set, or those that are usual, the likeliest first.
fn folders(gateway: &Gateway) -> io::Result<Vec<PathBuf>> {
    if let Some(directory) = &gateway.process.directory {
        return Ok(vec![std::path::absolute(directory)?]);
    }
    let user = rustix::process::geteuid();
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The runtime directory of a service is often open to others, for its other sockets.
    let service = variable("RUNTIME_DIRECTORY").map(|folder| folder.join(NAME));
    // Root's is that of a login, which a service does not have.
    let session =
        variable("XDG_RUNTIME_DIR").filter(|_| !user.is_root()).map(|folder| folder.join("waypost").join(NAME));
    let temporary = std::env::temp_dir().join(format!("waypost-{}", user.as_raw()));
    let all = service.into_iter().chain(session).chain([PathBuf::from(SYSTEM), temporary]);
    all.map(std::path::absolute).collect()
}

/// Makes sure that nobody else can put anything into the folder or connect to what is in it.
fn secure(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        bail!("it is no folder");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        bail!("it belongs to user {}, not to us", found.uid());
    }
    if found.mode() & 0o077 != 0 {
        bail!("it is open to others (mode {:o}): `chmod 700` it", found.mode() & 0o7777);
    }
    Ok(())
}

fn file_name(admin: &str) -> String {
    // A path is no file name, and a long one would leave no room for the folder.
    if admin.contains('/') {
        let digest = digest(&SHA256, admin.as_bytes());
        let short: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("upgrade-unix-{short}{SUFFIX}");
    }
    format!("upgrade-{admin}{SUFFIX}")
}

/// Where a service has it that was given `RuntimeDirectory=waypost`, or that root runs.
const SYSTEM: &str = "/run/waypost/control";

const SUFFIX: &str = ".sock";

/// How long a message may take.
const MESSAGE_TIME: Duration = Duration::from_secs(5);

/// How long is waited when the system can't accept.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Process;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn gateway(folder: &Path, admin: &str) -> Gateway {
        let process = Process { directory: Some(folder.to_owned()), ..Process::default() };
        Gateway { admin: admin.parse().unwrap(), process, ..Gateway::default() }
    }

    #[test]
    fn the_folder_is_the_users_own() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        secure(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        secure(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        let error = Control::open(&gateway(&folder, "127.0.0.1:1"), "127.0.0.1:1", None).err().unwrap();
        let line = format!("{error:#}");
        assert!(line.contains("mode 750") && line.contains("[process] directory") && !line.contains('\n'), "{line}");
        symlink(base.path().join("a"), base.path().join("link")).unwrap();
        assert!(secure(&base.path().join("link")).unwrap_err().to_string().contains("no folder"));
    }

    #[test]
    fn a_running_gateway_is_found_by_its_settings() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let (fixed, any) = (gateway(base.path(), "127.0.0.1:9180"), gateway(base.path(), "127.0.0.1:0"));
        assert!(socket_path(&fixed).unwrap().ends_with("upgrade-127.0.0.1:9180.sock"));
        assert!(socket_path(&any).unwrap_err().to_string().contains("no gateway runs"));
        let unix = socket_path(&gateway(base.path(), &format!("unix:/{}", "a/".repeat(50)))).unwrap();
        assert!(unix.parent() == Some(base.path()) && unix.file_name().unwrap().len() < 40, "{}", unix.display());
        let one = Control::open(&any, "127.0.0.1:4711", None).unwrap();
        assert!(socket_path(&any).unwrap().ends_with("upgrade-127.0.0.1:4711.sock"));
        let error = Control::open(&any, "127.0.0.1:4711", None).err().unwrap();
        assert!(format!("{error:#}").contains("another program answers there"), "{error:#}");
        let other = Control::open(&any, "127.0.0.1:4712", None).unwrap();
        assert!(socket_path(&any).unwrap_err().to_string().contains("--admin"));
        drop((one, other));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
