//! The hosts to which nobody is sent any more: those of gateway.toml, and those of a file that others write.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::hosts::HostSet;
use crate::config::{Diagnostic, Gateway, SourceFile};
use crate::model::HostPattern;

/// Reads the file again and again.
#[derive(Debug)]
pub(super) struct FrozenList {
    listed: Vec<HostPattern>,
    file: Option<PathBuf>,
    /// What the file said when it could last be read.
    last: Arc<HostSet>,
}

impl FrozenList {
    /// Nothing is read yet.
    pub fn new(gateway: &Gateway) -> Self {
        FrozenList {
            listed: gateway.frozen.clone(),
            file: gateway.frozen_file.clone(),
            last: Arc::new(gateway.frozen.iter().collect()),
        }
    }

    /// Takes what gateway.toml says now.
    pub fn set(&mut self, gateway: &Gateway) {
        if self.listed != gateway.frozen || self.file != gateway.frozen_file {
            *self = FrozenList::new(gateway);
        }
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// All of them, and what is wrong with the file. A file that can't be read leaves frozen what was; one that is not there
    /// has no hosts. A line that is no host is left out and told.
    pub fn read(&mut self) -> (Arc<HostSet>, Vec<Diagnostic>) {
        let Some(path) = &self.file else { return (self.last.clone(), Vec::new()) };
        let name = path.to_string_lossy().into_owned();
        let text = match fs::metadata(path).and_then(|found| match found.len() > LARGEST {
            true => Err(io::Error::other("it is too large")),
            false => fs::read_to_string(path),
        }) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let message = format!("the list of frozen hosts can't be read: {error}");
                let fault = SourceFile::new(name.as_str(), String::new()).error("unreadable", 0..0, message);
                return (self.last.clone(), vec![fault.hint("what was frozen stays so until it can")]);
            }
        };
        let mut set: HostSet = self.listed.iter().collect();
        let file = SourceFile::new(name.as_str(), text);
        let mut faults = Vec::new();
        let mut start = 0;
        for line in file.text.split_inclusive('\n') {
            let host = line.split('#').next().unwrap_or_default().trim();
            if !host.is_empty() {
                match HostPattern::parse(host) {
                    Ok(pattern) => set.insert(&pattern),
                    Err(error) => {
                        let fault = file.error("bad-host", start..start + host.len(), format!("`{host}`: {error}"));
                        faults.push(fault.hint("one host a line, such as `www.example.org` or `*.example.org`"));
                    }
                }
            }
            start += line.len();
        }
        self.last = Arc::new(set);
        (self.last.clone(), faults)
    }
}

/// Bytes of a file: hundreds of thousands of hosts.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_frozen_stays_so_until_the_file_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("frozen.txt");
        let listed = vec![HostPattern::parse("a.example").unwrap()];
        let gateway = Gateway { frozen: listed, frozen_file: Some(file.clone()), ..Gateway::default() };
        let mut list = FrozenList::new(&gateway);
        let mut hosts = || {
            let (set, faults) = list.read();
            let is_in = ["a.example", "b.example", "x.c.example", "c.example"].map(|host| set.contains(host));
            (is_in, faults.iter().map(|fault| fault.line).collect::<Vec<_>>())
        };
        assert_eq!(hosts(), ([true, false, false, false], vec![]));
        fs::write(&file, "# taken over\nB.example # today\n\nnot a host\n*.c.example").unwrap();
        assert_eq!(hosts(), ([true, true, true, false], vec![4]));
        fs::write(&file, b"\xFF").unwrap();
        assert_eq!(hosts(), ([true, true, true, false], vec![1]));
        fs::remove_file(&file).unwrap();
        assert_eq!(hosts(), ([true, false, false, false], vec![]));
    }
}
