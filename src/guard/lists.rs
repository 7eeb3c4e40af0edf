//! Lists of addresses in files: one address or prefix a line, `#` begins a comment.
//!
//! A file is read once, however many sites name it, and read again when it has changed. What it held then takes effect in
//! every policy at once, without a new snapshot. A faulty file keeps what it was before; one that never was good counts
//! for what is good in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

use super::addresses::AddressSet;
use crate::config::{Diagnostic, ListFile, Network, NetworkError, Severity, SourceFile, Stamp};

/// The list of one file, as it is at the moment.
#[derive(Debug)]
pub struct List {
    name: Arc<str>,
    set: ArcSwap<AddressSet>,
}

/// All lists that settings name.
#[derive(Debug, Default)]
pub struct Lists {
    routes: PathBuf,
    files: Mutex<BTreeMap<ListFile, File>>,
}

#[derive(Debug)]
struct File {
    list: Arc<List>,
    stamp: Stamp,
    faults: Vec<Diagnostic>,
}

impl List {
    /// The file's name, as diagnostics show it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether an address is in it now.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.set.load().contains(address)
    }
}

impl Lists {
    /// For settings of that folder of routes. Nothing is read yet.
    pub fn new(routes: &Path) -> Self {
        Lists { routes: routes.to_owned(), files: Mutex::default() }
    }

    /// The list in a file, which is read now if it isn't known.
    pub fn open(&self, file: &ListFile) -> Arc<List> {
        let read = || File::read(file, &self.path(file));
        self.files().entry(file.clone()).or_insert_with(read).list.clone()
    }

    /// Reads those of the `wanted` files that changed or are new, and forgets all others. Returns the names of the lists
    /// that are other ones now.
    pub fn refresh(&self, wanted: &BTreeSet<&ListFile>) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file, _| wanted.contains(file));
        let mut changed = Vec::new();
        for &file in wanted {
            let path = self.path(file);
            match files.get_mut(file) {
                None => {
                    files.insert(file.clone(), File::read(file, &path));
                }
                Some(known) => {
                    if known.read_again(&path) {
                        changed.push(file.name.clone());
                    }
                }
            }
        }
        changed
    }

    /// What is wrong with the files, as they were last read.
    pub fn faults(&self) -> Vec<Diagnostic> {
        self.files().values().flat_map(|file| file.faults.iter().cloned()).collect()
    }

    /// The files that want to be watched.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files().keys().map(|file| self.path(file)).collect()
    }

    fn path(&self, file: &ListFile) -> PathBuf {
        if file.in_routes { self.routes.join(&file.name) } else { PathBuf::from(&file.name) }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<ListFile, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn read(file: &ListFile, path: &Path) -> Self {
        let stamp = Stamp::look(path);
        let (set, faults) = read(path, &file.name, stamp);
        let list = Arc::new(List { name: file.name.as_str().into(), set: ArcSwap::from_pointee(set) });
        File { list, stamp, faults }
    }

    /// Whether it is another list now.
    fn read_again(&mut self, path: &Path) -> bool {
        let stamp = Stamp::look(path);
        if stamp == self.stamp {
            return false;
        }
        let (set, faults) = read(path, &self.list.name, stamp);
        (self.stamp, self.faults) = (stamp, faults);
        let is_new = !is_faulty(&self.faults) && set != **self.list.set.load();
        if is_new {
            self.list.set.store(Arc::new(set));
        }
        is_new
    }
}

fn is_faulty(faults: &[Diagnostic]) -> bool {
    faults.iter().any(|fault| fault.severity == Severity::Error)
}

/// The networks of a file and what is wrong with it.
fn read(path: &Path, name: &str, stamp: Stamp) -> (AddressSet, Vec<Diagnostic>) {
    let broken = |message: String, hint: &str| {
        let file = SourceFile::new(name, String::new());
        (AddressSet::default(), vec![file.error("unreadable", 0..0, message).hint(hint)])
    };
    if stamp.size() > MAX_FILE {
        return broken(
            format!("this list is larger than {} MiB", MAX_FILE >> 20),
            "join its networks into larger ones",
        );
    }
    match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => parse(&SourceFile::new(name, text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))),
        Ok(Err(_)) => broken("this list is not text".to_owned(), NetworkError::HINT),
        Err(error) => broken(format!("this list can't be read: {error}"), "the gateway's user must be able to read it"),
    }
}

/// The networks of a list's text and what is wrong with it.
fn parse(file: &SourceFile) -> (AddressSet, Vec<Diagnostic>) {
    let mut faults = Vec::new();
    let mut untold = 0;
    let mut start = 0;
    let networks = file.text.split_inclusive('\n').filter_map(|line| {
        let at = start;
        start += line.len();
        let entry = line.split('#').next().unwrap_or_default();
        let text = entry.trim();
        if text.is_empty() {
            return None;
        }
        let from = at + (entry.len() - entry.trim_start().len());
        let fault = |code, message: String| file.error(code, from..from + text.len(), message);
        let (network, fault) = match text.parse::<Network>() {
            Ok(Network { network, has_host_bits: false }) => return Some(network),
            Ok(Network { network, .. }) => {
                let fault =
                    fault("host-bits", format!("`{text}` has bits beyond its prefix; `{network}` is what counts"));
                (Some(network), fault.hint("write the network's first address, or the prefix that is meant").warning())
            }
            Err(error) => (None, fault("bad-address", format!("`{text}` is {error}")).hint(NetworkError::HINT)),
        };
        // A warning must not take the room of an error, by which the list is judged.
        if faults.len() < MAX_FAULTS || fault.severity == Severity::Error && !is_faulty(&faults) {
            faults.push(fault);
        } else {
            untold += 1;
        }
        network
    });
    let set = networks.collect();
    if let Some(last) = faults.last_mut().filter(|_| untold > 0) {
        last.message += &format!(" (and {untold} lines more are not as they should be)");
    }
    (set, faults)
}

/// Largest file, in bytes: some three million networks.
const MAX_FILE: u64 = 64 << 20;

/// Faults of one file that are told.
const MAX_FAULTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn file(name: &str) -> ListFile {
        ListFile { name: name.to_owned(), in_routes: true }
    }

    #[test]
    fn a_list_has_an_entry_a_line() {
        let text = "# blocked on 1 May\n\n192.0.2.0/24\r\n  198.51.100.7  # a scanner\n2001:db8::/32#and this";
        let (set, faults) = parse(&SourceFile::new("deny.txt", text));
        assert_eq!(faults, []);
        assert_eq!(set.ranges(), 3);
        assert!(["192.0.2.255", "198.51.100.7", "2001:db8:1::"].into_iter().all(|address| set.contains(ip(address))));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = "192.0.2.1/24\n  evil.example # who?\n10.0.0.0/33\n203.0.113.1\n192.0.2.1-192.0.2.9\n";
        let (set, faults) = parse(&SourceFile::new("lists/deny.txt", text));
        let shown: String = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            "warning[host-bits]: `192.0.2.1/24` has bits beyond its prefix; `192.0.2.0/24` is what counts\n \
             --> lists/deny.txt:1:1\n  |\n1 | 192.0.2.1/24\n  | ^^^^^^^^^^^^\n  \
             = help: write the network's first address, or the prefix that is meant\n\
             error[bad-address]: `evil.example` is no IP address\n \
             --> lists/deny.txt:2:3\n  |\n2 |   evil.example # who?\n  |   ^^^^^^^^^^^^\n  \
             = help: an address or a prefix, such as `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`\n\
             error[bad-address]: `10.0.0.0/33` is no prefix: an IPv4 address has 32 bits, an IPv6 address 128\n \
             --> lists/deny.txt:3:1\n  |\n3 | 10.0.0.0/33\n  | ^^^^^^^^^^^\n  \
             = help: an address or a prefix, such as `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`\n\
             error[bad-address]: `192.0.2.1-192.0.2.9` is no IP address\n \
             --> lists/deny.txt:5:1\n  |\n5 | 192.0.2.1-192.0.2.9\n  | ^^^^^^^^^^^^^^^^^^^\n  \
             = help: an address or a prefix, such as `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`\n"
        );
        assert!(set.contains(ip("192.0.2.77")) && set.contains(ip("203.0.113.1")));
    }

    #[test]
    fn a_flood_of_faults_is_told_in_short() {
        let text = "10.0.0.1/8\n".repeat(30) + &"nonsense\n".repeat(1000);
        let (_, faults) = parse(&SourceFile::new("deny.txt", text));
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert!(is_faulty(&faults));
        assert!(faults[MAX_FAULTS].message.ends_with("(and 1009 lines more are not as they should be)"));
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deny.txt");
        // Renamed into place, so that each state is another file, whatever the clock of the file system.
        let write = |text: &str| {
            fs::write(dir.path().join("new"), text).unwrap();
            fs::rename(dir.path().join("new"), &path).unwrap();
        };
        write("192.0.2.1\n");
        let lists = Lists::new(dir.path());
        let file = file("deny.txt");
        let wanted = BTreeSet::from([&file]);
        let refresh = || lists.refresh(&wanted);
        assert!(refresh().is_empty());
        let list = lists.open(&file);
        assert!(Arc::ptr_eq(&list, &lists.open(&file)));
        assert_eq!((list.contains(ip("192.0.2.1")), list.contains(ip("192.0.2.2"))), (true, false));
        assert!(refresh().is_empty());

        write("192.0.2.2\n");
        assert_eq!(refresh(), ["deny.txt"]);
        assert_eq!((list.contains(ip("192.0.2.1")), list.contains(ip("192.0.2.2"))), (false, true));

        // The last good state stays, and the fault is told for as long as it lasts.
        write("192.0.2.3\nnonsense\n");
        assert!(refresh().is_empty() && refresh().is_empty());
        assert_eq!((lists.faults()[0].line, lists.faults()[0].code), (2, "bad-address"));
        assert!(list.contains(ip("192.0.2.2")) && !list.contains(ip("192.0.2.3")));
        fs::remove_file(&path).unwrap();
        assert!(refresh().is_empty());
        assert_eq!(lists.faults()[0].code, "unreadable");
        assert!(list.contains(ip("192.0.2.2")));

        // A comment more changes nothing.
        write("# good again\n192.0.2.2\n");
        assert!(refresh().is_empty() && lists.faults().is_empty());

        assert_eq!(lists.paths(), [path]);
        assert!(lists.refresh(&BTreeSet::new()).is_empty() && lists.paths().is_empty());
    }

    #[test]
    fn what_is_good_counts_where_the_list_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let lists = Lists::new(dir.path());
        let list = lists.open(&file("deny.txt"));
        assert_eq!(lists.faults()[0].code, "unreadable");
        write("deny.txt", b"192.0.2.1\n");
        assert_eq!(lists.refresh(&BTreeSet::from([&file("deny.txt")])), ["deny.txt"]);
        assert!(list.contains(ip("192.0.2.1")));
        write("half.txt", b"192.0.2.1\nnonsense\n");
        assert!(lists.open(&file("half.txt")).contains(ip("192.0.2.1")));
        write("binary.txt", &[0xff, 0xfe, 0]);
        lists.open(&file("binary.txt"));
        assert!(lists.faults().iter().any(|fault| fault.message == "this list is not text"));
    }
}
