//! Noticing that a folder changed, or one of some files: the routes, the certificates, what the guard reads.
//!
//! What must be noticed: files written, replaced by a rename, added and removed, in any folder below the root; the root
//! itself moved away and another put in its place; and links on the way that are pointed elsewhere, since Kubernetes and
//! deployment tools switch a whole folder by renaming one link. So every folder below the root is watched, and for each
//! link (the root may be one, or lie behind one) the folder that the link is in. Of a single file likewise the folder that
//! it is in, where only what happens to that file counts.
//!
//! The system tells when a file that was written is closed. Until then it may be half of what it is to be.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Folders within folders that are watched; deeper ones are not read either.
const MAX_DEPTH: usize = 16;

/// What the watcher says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Something changed that may concern the folder.
    Changed,
    /// Watching doesn't work any more.
    Broken(String),
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All in a folder.
    Folder(PathBuf),
    /// All in a folder that need not be there yet.
    Optional(PathBuf),
    /// Some files, which need not be there yet, but their folders.
    Files(Vec<PathBuf>),
}

/// The places where a change may concern what is watched, without links: a folder that is watched by two names has one
/// of them only in what the system tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    /// Folders to watch, each with its device and inode: another folder in the same place must be watched anew.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    /// Those of them in which every change counts.
    trees: BTreeSet<PathBuf>,
    /// Single entries of the others that count: links, what they point to, and the root.
    entries: BTreeSet<PathBuf>,
}

/// A running watch. Dropping it ends it.
pub(super) struct Watch {
    places: Arc<Places>,
    written: Arc<Mutex<HashSet<PathBuf>>>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches what is wanted as it is now.
    ///
    /// # Errors
    /// If the folder can't be read, or the system can't watch (so many folders).
    pub fn start(wanted: &Wanted, signals: mpsc::Sender<Signal>) -> Result<Self, String> {
        let places = Arc::new(Places::find(wanted).map_err(|error| format!("{wanted}: {error}"))?);
        let written = Arc::<Mutex<HashSet<PathBuf>>>::default();
        let (concerned, open) = (places.clone(), written.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let signal = match event {
                Ok(event) if concerned.concern(&event) => {
                    note_writers(&event, &mut open.lock().unwrap_or_else(PoisonError::into_inner));
                    Signal::Changed
                }
                Ok(_) => return,
                Err(error) => Signal::Broken(error.to_string()),
            };
            // A full queue is enough to say that something changed.
            let _ = signals.try_send(signal);
        })
        .map_err(|error| error.to_string())?;
        for folder in places.folders.keys() {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // Gone since it was found: the folder around it says so, and then all is done again.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Watch { places, written, _watcher: watcher })
    }

    /// Whether somebody has a file open that was written to.
    pub fn is_written(&self) -> bool {
        !self.written().is_empty()
    }

    /// Waits no longer for those who write.
    pub fn forget_writers(&self) {
        self.written().clear();
    }

    fn written(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the same folders would be watched if it started now.
    ///
    /// # Errors
    /// If the folder can't be read now; what is watched may still tell when it can.
    pub fn is_current(&self, wanted: &Wanted) -> io::Result<bool> {
        Ok(Places::find(wanted)? == *self.places)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Folder(root) | Wanted::Optional(root) => root.display().fmt(f),
            Wanted::Files(files) => match files.as_slice() {
                [file] => file.display().fmt(f),
                _ => write!(f, "{} files", files.len()),
            },
        }
    }
}

/// Keeps the list of files that are written to and not closed yet.
fn note_writers(event: &Event, written: &mut HashSet<PathBuf>) {
    let is_begun = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => true,
        // A new link is as it is to be.
        EventKind::Create(_) => {
            event.paths.iter().any(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()))
        }
        _ => false,
    };
    for path in &event.paths {
        if is_begun {
            written.insert(path.clone());
        } else {
            written.remove(path);
        }
    }
}

impl Places {
    fn find(wanted: &Wanted) -> io::Result<Self> {
        let mut places = Places::default();
        let (root, optional) = match wanted {
            Wanted::Folder(root) => (std::path::absolute(root)?, false),
            Wanted::Optional(root) => (std::path::absolute(root)?, true),
            Wanted::Files(files) => {
                for file in files {
                    places.follow(&std::path::absolute(file)?);
                }
                return Ok(places);
            }
        };
        places.follow(&root);
        let mut folders = vec![(real(&root), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // The folder around it says when it comes.
                Err(error) if depth == 0 && optional && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if depth == 0 => return Err(error),
                Err(_) => continue,
            };
            places.folder(&folder);
            places.trees.insert(folder.clone());
            for entry in entries.flatten() {
                // Hidden names are not read; that one of them comes or goes is noticed all the same.
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let Ok(kind) = entry.file_type() else { continue };
                let path = entry.path();
                if kind.is_symlink() {
                    places.follow(&path);
                }
                if depth < MAX_DEPTH && (kind.is_dir() || (kind.is_symlink() && path.is_dir())) {
                    folders.push((real(&path), depth + 1));
                }
            }
        }
        Ok(places)
    }

    /// Adds a path, and every link on the way to what it is in the end.
    fn follow(&mut self, path: &Path) {
        for part in path.ancestors() {
            let link = fs::read_link(part);
            let (Some(parent), Some(name)) = (part.parent(), part.file_name()) else { continue };
            if link.is_err() && part != path {
                continue;
            }
            let folder = real(parent);
            self.folder(&folder);
            if self.entries.insert(folder.join(name))
                && let Ok(target) = link
            {
                self.follow(&parent.join(target));
            }
        }
    }

    fn folder(&mut self, path: &Path) {
        if let Ok(metadata) = fs::metadata(path) {
            self.folders.insert(path.to_owned(), (metadata.dev(), metadata.ino()));
        }
    }

    fn concern(&self, event: &Event) -> bool {
        match event.kind {
            // Reading the files would cause the next reading of the files.
            EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write) => return false,
            _ => {}
        }
        // Without a path: the system lost events.
        event.need_rescan() || event.paths.iter().any(|path| self.concerns(path))
    }

    fn concerns(&self, path: &Path) -> bool {
        self.entries.contains(path)
            || self.trees.contains(path)
            || path.parent().is_some_and(|parent| self.trees.contains(parent))
    }
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::symlink, time::Duration};

    /// Does something and says whether the watch noticed.
    async fn notices(wanted: &Wanted, change: impl FnOnce()) -> bool {
        let (to, mut signals) = mpsc::channel(1);
        let watch = Watch::start(wanted, to).unwrap();
        assert!(watch.is_current(wanted).unwrap());
        // Events of what was done before may still be on their way.
        while tokio::time::timeout(Duration::from_millis(50), signals.recv()).await.is_ok() {}
        change();
        tokio::time::timeout(Duration::from_millis(500), signals.recv()).await.is_ok()
    }

    #[tokio::test]
    async fn changes_are_noticed_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let root = at("routes");
        fs::create_dir_all(root.join("county")).unwrap();
        fs::write(root.join("county/a.toml"), "a").unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/b.toml"), "b").unwrap();
        symlink("../elsewhere/b.toml", root.join("b.toml")).unwrap();

        let wanted = Wanted::Folder(root.clone());
        assert!(notices(&wanted, || fs::write(root.join("county/a.toml"), "aa").unwrap()).await);
        assert!(notices(&wanted, || fs::write(root.join("county/c.toml"), "c").unwrap()).await);
        assert!(notices(&wanted, || fs::rename(root.join("county/c.toml"), root.join("county/a.toml")).unwrap()).await);
        assert!(notices(&wanted, || fs::create_dir(root.join("new")).unwrap()).await);
        assert!(notices(&wanted, || fs::remove_file(root.join("county/a.toml")).unwrap()).await);
        assert!(notices(&wanted, || fs::write(at("elsewhere/b.toml"), "bb").unwrap()).await);
        assert!(notices(&wanted, || fs::rename(&root, at("old")).unwrap()).await);
        fs::rename(at("old"), &root).unwrap();

        assert!(!notices(&wanted, || drop(fs::read(root.join("b.toml")).unwrap())).await);
        assert!(!notices(&wanted, || fs::write(at("log.txt"), "x").unwrap()).await);
        assert!(!notices(&wanted, || fs::write(at("elsewhere/x.toml"), "x").unwrap()).await);
    }

    #[tokio::test]
    async fn a_folder_that_need_not_be_there_is_noticed_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("certs");
        let (to, mut signals) = mpsc::channel(16);
        assert!(Watch::start(&Wanted::Folder(root.clone()), to.clone()).is_err());
        let wanted = Wanted::Optional(root.clone());
        let watch = Watch::start(&wanted, to).unwrap();
        assert!(watch.is_current(&wanted).unwrap());
        fs::create_dir(&root).unwrap();
        assert_eq!(signals.recv().await, Some(Signal::Changed));
        assert!(!watch.is_current(&wanted).unwrap());
    }

    #[tokio::test]
    async fn single_files_are_noticed_and_their_neighbours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("lists")).unwrap();
        fs::write(at("real.txt"), "1").unwrap();
        symlink("../real.txt", at("lists/linked.txt")).unwrap();
        let wanted = Wanted::Files(vec![at("gateway.toml"), at("lists/linked.txt")]);
        assert!(notices(&wanted, || fs::write(at("gateway.toml"), "new").unwrap()).await);
        assert!(notices(&wanted, || fs::write(at("gateway.toml"), "other").unwrap()).await);
        assert!(
            notices(&wanted, || {
                fs::write(at("beside"), "renamed").unwrap();
                fs::rename(at("beside"), at("gateway.toml")).unwrap();
            })
            .await
        );
        assert!(notices(&wanted, || fs::write(at("real.txt"), "2").unwrap()).await);
        assert!(notices(&wanted, || fs::remove_file(at("gateway.toml")).unwrap()).await);
        assert!(!notices(&wanted, || fs::write(at("lists/other.txt"), "x").unwrap()).await);
        assert!(!notices(&wanted, || fs::write(at("log.txt"), "x").unwrap()).await);
        // A link that leads to itself by a detour, and one that leads nowhere.
        symlink("../lists/loop", at("lists/loop")).unwrap();
        symlink("../nowhere", at("lists/dangling")).unwrap();
        let odd = Wanted::Files(vec![at("lists/loop"), at("lists/dangling")]);
        assert!(notices(&odd, || fs::write(at("nowhere"), "x").unwrap()).await);
        // Files that nobody names any more.
        let (to, _signals) = mpsc::channel(1);
        let watch = Watch::start(&wanted, to).unwrap();
        assert!(!watch.is_current(&Wanted::Files(vec![at("gateway.toml")])).unwrap());
    }

    #[tokio::test]
    async fn a_file_is_written_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.toml"), "a").unwrap();
        let (to, mut signals) = mpsc::channel(16);
        let watch = Watch::start(&Wanted::Folder(dir.path().to_owned()), to).unwrap();
        for name in ["a.toml", "new.toml"] {
            let mut file = fs::File::create(at(name)).unwrap();
            file.write_all(b"aa").unwrap();
            while !watch.is_written() {
                assert_eq!(signals.recv().await, Some(Signal::Changed));
            }
            drop(file);
            while watch.is_written() {
                assert_eq!(signals.recv().await, Some(Signal::Changed));
            }
        }
        // What is put in place is whole.
        symlink("a.toml", at("b.toml")).unwrap();
        fs::rename(at("a.toml"), at("c.toml")).unwrap();
        assert_eq!(signals.recv().await, Some(Signal::Changed));
        assert!(!watch.is_written());
    }

    #[tokio::test]
    async fn links_that_are_switched_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for release in ["1", "2"] {
            fs::create_dir_all(at("releases").join(release).join("routes")).unwrap();
            fs::write(at("releases").join(release).join("routes/a.toml"), release).unwrap();
        }
        symlink("releases/1", at("current")).unwrap();
        let root = at("current/routes");
        let switch = || {
            symlink("releases/2", at("next")).unwrap();
            fs::rename(at("next"), at("current")).unwrap();
        };
        let wanted = Wanted::Folder(root);
        assert!(notices(&wanted, switch).await);
        // And what is behind the link now.
        assert!(notices(&wanted, || fs::write(at("releases/2/routes/a.toml"), "x").unwrap()).await);

        // As Kubernetes mounts a ConfigMap.
        let mount = at("mount");
        fs::create_dir_all(mount.join("..1")).unwrap();
        fs::create_dir_all(mount.join("..2")).unwrap();
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/a.toml", mount.join("a.toml")).unwrap();
        let (to, mut signals) = mpsc::channel(16);
        let wanted = Wanted::Folder(mount.clone());
        let watch = Watch::start(&wanted, to).unwrap();
        symlink("..2", mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        assert_eq!(signals.recv().await, Some(Signal::Changed));
        assert!(!watch.is_current(&wanted).unwrap());
    }
}
