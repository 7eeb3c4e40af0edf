//! The files of a routes folder.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use crate::config::{Diagnostic, Layer, Role, SourceFile, Table, mapping};

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 16;

/// Largest site file, in bytes. Mapping tables may be larger.
const MAX_SITE_FILE: u64 = 16 << 20;

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    file: (u64, u64),
}

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
    if stamp.size > MAX_SITE_FILE {
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
/// keeps the old and new state of a mounted folder in them).
pub(crate) fn scan(root: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, Stamp>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => continue,
            // Not to be read is not the same as gone: its sites must not vanish.
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display()))),
        };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{prefix}{name}");
            if metadata.is_dir() {
                if depth < MAX_DEPTH {
                    folders.push((entry.path(), format!("{path}/"), depth + 1));
                }
            } else if wanted(&name) {
                let stamp = Stamp {
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    changed: (metadata.ctime(), metadata.ctime_nsec()),
                    size: metadata.len(),
                    file: (metadata.dev(), metadata.ino()),
                };
                files.insert(path, stamp);
            }
        }
    }
    Ok(files)
}
