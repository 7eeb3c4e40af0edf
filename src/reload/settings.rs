//! The reload of gateway.toml: what it says in `[guard]` goes live, the rest with the next process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::log;
use crate::config::{Diagnostic, Gateway, Severity, SourceFile, Stamp};

/// Keeps up with gateway.toml.
#[derive(Debug, Default)]
pub(super) struct Settings {
    file: Option<PathBuf>,
    stamp: Option<Stamp>,
    /// What the file said when it was last good.
    last: Option<Gateway>,
    /// What is wrong with it now.
    faults: Vec<Diagnostic>,
}

impl Settings {
    /// For the file of a gateway. Nothing is read yet.
    pub fn new(gateway: &Gateway) -> Self {
        Settings { file: gateway.file.clone(), ..Settings::default() }
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is wrong with the file, as it was last read; then all stays as it was.
    pub fn faults(&self) -> &[Diagnostic] {
        &self.faults
    }

    /// Reads the file if it has changed. None if it hasn't or is faulty.
    pub fn read(&mut self) -> Option<&Gateway> {
        let path = self.file.as_ref()?;
        let stamp = Stamp::look(path);
        if self.stamp.replace(stamp) == Some(stamp) {
            return None;
        }
        let name = path.to_string_lossy();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // There need not be one, but one that was there has a reason.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.last.is_none() => String::new(),
            Err(error) => {
                let file = SourceFile::new(name, String::new());
                self.faults = vec![file.error("unreadable", 0..0, format!("this file can't be read: {error}"))];
                return None;
            }
        };
        let (gateway, faults) = Gateway::parse(&name, text, path.parent().unwrap_or(Path::new("")));
        if faults.iter().any(|fault| fault.severity == Severity::Error) {
            self.faults = faults;
            return None;
        }
        self.faults.clear();
        if let Some(last) = &self.last {
            let waiting = differences(last, &gateway);
            if !waiting.is_empty() {
                log::waiting(&name, &waiting);
            }
        }
        Some(self.last.insert(gateway))
    }
}

/// The settings, but for those of the guard, in which two files differ.
fn differences(one: &Gateway, other: &Gateway) -> Vec<String> {
    let (one, other) = (one.to_toml(), other.to_toml());
    let (one, other) = (knobs(&one), knobs(&other));
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| name.0 != "[guard]" && one.get(name) != other.get(name));
    differ.map(|(table, key)| format!("{table} {key}").trim_start().to_owned()).collect()
}

/// The settings that [`Gateway::to_toml`] shows, by table and key.
fn knobs(text: &str) -> BTreeMap<(&str, &str), &str> {
    let mut table = "";
    let mut knobs = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line;
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            knobs.insert((table, key), value);
        }
    }
    knobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let parse = |text: &str| Gateway::parse("gateway.toml", text.to_owned(), Path::new("")).0;
        let one = parse("[cache]\nsize = 100\n[guard]\ndeny = [\"192.0.2.1\"]\n[platforms.a]\nhost = \"a.example\"\n");
        let other = parse(
            "routes = \"r\"\n[cache]\nsize = 200\n[platforms.b]\nhost = \"b.example\"\n[log]\nlevel = \"warn\"\n",
        );
        let mut found = differences(&one, &other);
        found.retain(|name| !name.starts_with("[platforms.") || name.ends_with(" host"));
        assert_eq!(found, ["routes", "[cache] size", "[log] level", "[platforms.a] host", "[platforms.b] host"]);
        assert!(differences(&one, &one).is_empty());
        let guard = parse("[cache]\nsize = 100\n[platforms.a]\nhost = \"a.example\"\n");
        assert!(differences(&one, &guard).is_empty());
    }

    #[test]
    fn a_faulty_file_keeps_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.toml");
        let replace = |text: &str| {
            fs::write(dir.path().join("new"), text).unwrap();
            fs::rename(dir.path().join("new"), &path).unwrap();
        };
        let gateway = Gateway { file: Some(path.clone()), ..Gateway::default() };
        let mut settings = Settings::new(&gateway);
        // It need not be there.
        assert!(settings.read().is_some() && settings.faults().is_empty());
        assert!(settings.read().is_none());
        replace("[guard]\nmethods = [\"GET\"]\n");
        assert_eq!(settings.read().unwrap().guard.methods.unwrap().to_string(), "GET");
        replace("[guard]\nmethods = [\"GETT\"]\n");
        assert!(settings.read().is_none() && settings.read().is_none());
        assert_eq!((settings.faults()[0].line, settings.faults()[0].code), (2, "bad-value"));
        fs::remove_file(&path).unwrap();
        assert!(settings.read().is_none());
        assert_eq!(settings.faults()[0].code, "unreadable");
        replace("[guard]\nmethods = [\"HEAD\"]\n");
        assert!(settings.read().is_some() && settings.faults().is_empty());
    }
}
