//! Noticing that a folder changed: the routes, the certificates.
//!
//! What must be noticed: files written, replaced by a rename, added and removed, in any folder below the root; the root
//! itself moved away and another put in its place; and links on the way that are pointed elsewhere, since Kubernetes and
//! deployment tools switch a whole folder by renaming one link. So every folder below the root is watched, and for each
//! link (the root may be one, or lie behind one) the folder that the link is in.
//!
//! The system tells when a file that was written is closed. Until then it may be half of what it is to be.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
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

/// The places where a change may concern the folder.
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
    root: PathBuf,
    optional: bool,
    places: Arc<Places>,
    written: Arc<Mutex<HashSet<PathBuf>>>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches the folder `root` as it is now; an `optional` one need not be there yet.
    ///
    /// # Errors
    /// If the folder can't be read, or the system can't watch (so many folders).
    pub fn start(root: &Path, optional: bool, signals: mpsc::Sender<Signal>) -> Result<Self, String> {
        let places = Arc::new(Places::find(root, optional).map_err(|error| format!("{}: {error}", root.display()))?);
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
        Ok(Watch { root: root.to_owned(), optional, places, written, _watcher: watcher })
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
    pub fn is_current(&self) -> io::Result<bool> {
        Ok(Places::find(&self.root, self.optional)? == *self.places)
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
    fn find(root: &Path, optional: bool) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let mut places = Places::default();
        places.follow(&root);
        let mut folders = vec![(root.clone(), 0)];
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
                    folders.push((path, depth + 1));
                }
            }
        }
        Ok(places)
    }

    /// Adds a path, and every link on the way to what it is in the end.
    fn follow(&mut self, path: &Path) {
        if !self.entries.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        for part in path.ancestors() {
            let (Some(parent), Ok(target)) = (part.parent(), fs::read_link(part)) else { continue };
            if self.entries.insert(part.to_owned()) {
                self.folder(parent);
            }
            self.follow(&parent.join(target));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::symlink, time::Duration};

    /// Does something to a folder and says whether the watch noticed.
    async fn notices(root: &Path, change: impl FnOnce()) -> bool {
        let (to, mut signals) = mpsc::channel(1);
        let watch = Watch::start(root, false, to).unwrap();
        assert!(watch.is_current().unwrap());
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

        assert!(notices(&root, || fs::write(root.join("county/a.toml"), "aa").unwrap()).await);
        assert!(notices(&root, || fs::write(root.join("county/c.toml"), "c").unwrap()).await);
        assert!(notices(&root, || fs::rename(root.join("county/c.toml"), root.join("county/a.toml")).unwrap()).await);
        assert!(notices(&root, || fs::create_dir(root.join("new")).unwrap()).await);
        assert!(notices(&root, || fs::remove_file(root.join("county/a.toml")).unwrap()).await);
        assert!(notices(&root, || fs::write(at("elsewhere/b.toml"), "bb").unwrap()).await);
        assert!(notices(&root, || fs::rename(&root, at("old")).unwrap()).await);
        fs::rename(at("old"), &root).unwrap();

        assert!(!notices(&root, || drop(fs::read(root.join("b.toml")).unwrap())).await);
        assert!(!notices(&root, || fs::write(at("log.txt"), "x").unwrap()).await);
        assert!(!notices(&root, || fs::write(at("elsewhere/x.toml"), "x").unwrap()).await);
    }

    #[tokio::test]
    async fn a_folder_that_need_not_be_there_is_noticed_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("certs");
        let (to, mut signals) = mpsc::channel(16);
        assert!(Watch::start(&root, false, to.clone()).is_err());
        let watch = Watch::start(&root, true, to).unwrap();
        assert!(watch.is_current().unwrap());
        fs::create_dir(&root).unwrap();
        assert_eq!(signals.recv().await, Some(Signal::Changed));
        assert!(!watch.is_current().unwrap());
    }

    #[tokio::test]
    async fn a_file_is_written_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.toml"), "a").unwrap();
        let (to, mut signals) = mpsc::channel(16);
        let watch = Watch::start(dir.path(), false, to).unwrap();
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
        assert!(notices(&root, switch).await);
        // And what is behind the link now.
        assert!(notices(&root, || fs::write(at("releases/2/routes/a.toml"), "x").unwrap()).await);

        // As Kubernetes mounts a ConfigMap.
        let mount = at("mount");
        fs::create_dir_all(mount.join("..1")).unwrap();
        fs::create_dir_all(mount.join("..2")).unwrap();
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/a.toml", mount.join("a.toml")).unwrap();
        let (to, mut signals) = mpsc::channel(16);
        let watch = Watch::start(&mount, false, to).unwrap();
        symlink("..2", mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        assert_eq!(signals.recv().await, Some(Signal::Changed));
        assert!(!watch.is_current().unwrap());
    }
}
