//! The files of a routes folder.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use crate::config::{Diagnostic, Layer, Role, SourceFile, Stamp, Table, mapping};

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 16;

/// Largest site file, in bytes. Mapping tables may be larger.
const MAX_SITE_FILE: u64 = 16 << 20;

pub(super) fn is_defaults(name: &str) -> bool {
    name == "defaults.toml" || name.ends_with("/defaults.toml")
}

pub(super) fn is_site(name: &str) -> bool {
    name.ends_with(".toml") && !is_defaults(name)
}

pub(super) fn table_name(id: &str) -> String {
    format!("{id}.csv")
}

pub(super) fn read_layer(root: &Path, name: &str, stamp: Stamp, role: Role) -> Layer {
    let broken = |message: String, hint: &str| {
        let mut layer = Layer::parse(name, String::new(), Role::Defaults);
        layer.faults.push(layer.file.error("unreadable", 0..0, message).hint(hint));
        layer.table = Table::unreadable();
        layer
    };
    if stamp.size() > MAX_SITE_FILE {
        return broken(
            format!("this file is larger than {} MiB", MAX_SITE_FILE >> 20),
            "put mappings into a table beside it",
        );
    }
    match fs::read(root.join(name)).map(String::from_utf8) {
        Ok(Ok(text)) => Layer::parse(name, text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text), role),
        Ok(Err(_)) => {
            broken("this file is not UTF-8".to_owned(), "save it as UTF-8; only mapping tables may be GB18030")
        }
        Err(error) => broken(format!("this file can't be read: {error}"), "the gateway's user must be able to read it"),
    }
}

pub(super) fn read_table(root: &Path, name: &str) -> Result<Arc<SourceFile>, Box<Diagnostic>> {
    match fs::read(root.join(name)) {
        Ok(bytes) => mapping::decode(name, bytes),
        Err(error) => {
            let file = SourceFile::new(name, String::new());
            Err(Box::new(
                file.error("unreadable", 0..0, format!("this table can't be read: {error}"))
                    .hint("the gateway's user must be able to read it"),
            ))
        }
    }
}

/// Whether a file of that name belongs to the routes.
pub(super) fn is_route_file(name: &str) -> bool {
    name.ends_with(".toml") || Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
}

/// Every file below `root` whose name is `wanted`, by its path with `/`. Links are followed, hidden names skipped (Kubernetes
/// keeps the old and new state of a mounted folder in them). What is there and can't be looked at is among them.
///
/// # Errors
/// If a folder can't be read.
pub(crate) fn scan(root: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, Stamp>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        // Not to be read is not the same as gone: what it holds must not vanish.
        let unreadable = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{prefix}{name}");
            let metadata = fs::metadata(entry.path());
            if metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
                if depth < MAX_DEPTH {
                    folders.push((entry.path(), format!("{path}/"), depth + 1));
                }
                continue;
            }
            let stamp = metadata.as_ref().map_or(Stamp::UNREADABLE, Stamp::of);
            if wanted(&name) {
                files.insert(path, stamp);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;
    use crate::routing::Loader;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_cannot_be_looked_at_is_not_gone() {
        let (routes, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = elsewhere.path().join("a.toml");
        let text = "name = \"a\"\nhosts = [\"a.example\"]\nhome = \"https://new.example/\"\n";
        fs::write(&file, text).unwrap();
        symlink(&file, routes.path().join("a.toml")).unwrap();
        // Neither is read: an editor's lock, and what is no route file.
        symlink("nowhere", routes.path().join(".#a.toml")).unwrap();
        symlink("nowhere", routes.path().join("notes.txt")).unwrap();
        let gateway = Gateway { routes: routes.path().to_owned(), ..Gateway::default() };
        let mut loader = Loader::new(&gateway);
        let mut load = || {
            let (snapshot, report) = loader.load(0, |_, _| {}).unwrap();
            (snapshot.host_count(), report.faulty, report.diagnostics)
        };
        let fine = (1, vec![], vec![]);
        assert_eq!(load(), fine);
        fs::rename(&file, elsewhere.path().join("away")).unwrap();
        for _ in 0..2 {
            let (hosts, faulty, findings) = load();
            assert_eq!((hosts, faulty, findings[0].code), (1, vec!["a".to_owned()], "unreadable"));
        }
        fs::rename(elsewhere.path().join("away"), &file).unwrap();
        assert_eq!(load(), fine);
        fs::remove_file(routes.path().join("a.toml")).unwrap();
        assert_eq!(load(), (0, vec![], vec![]));
    }
}
