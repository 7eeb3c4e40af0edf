//! The passphrase that keys at rest are locked with.

use std::{env, fmt, fs, io, os::unix::ffi::OsStrExt, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::file::finding;
use crate::config::{Diagnostic, Stamp, TlsSettings};

/// The environment variable that it is in if no file is named.
pub const VARIABLE: &str = "WAYPOST_PASSPHRASE";

/// Longest one, in bytes: more is another file.
const MAX: usize = 1024;

/// What keys at rest are locked with.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Arc<[u8]>);

impl Passphrase {
    /// That of a node: the first line of `[tls] passphrase-file`, else the environment variable `WAYPOST_PASSPHRASE`;
    /// none if there is neither.
    ///
    /// # Errors
    /// If the file can't be read, or holds none.
    pub fn of(settings: &TlsSettings) -> io::Result<Option<Self>> {
        match &settings.passphrase_file {
            Some(path) => Self::read(path).map(Some),
            None => Ok(env::var_os(VARIABLE).and_then(|text| Self::first_line(text.as_bytes()))),
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        Self::first_line(&fs::read(path)?).ok_or_else(|| {
            let message = format!("its first line is no passphrase of 1 to {MAX} bytes");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    fn first_line(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|&byte| byte == b'\n').next()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (1..=MAX).contains(&line.len()).then(|| Passphrase(line.into()))
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Passphrase(text.as_bytes().into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Never what it is.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Keeps up with it.
#[derive(Debug)]
pub(super) struct Keeper {
    settings: TlsSettings,
    /// Of its file; none before the first look.
    stamp: Option<Option<Stamp>>,
    current: Option<Passphrase>,
    findings: Vec<Diagnostic>,
}

impl Keeper {
    pub fn new(settings: &TlsSettings) -> Self {
        Keeper { settings: settings.clone(), stamp: None, current: None, findings: Vec::new() }
    }

    /// What it is, as far as that could be read.
    pub fn current(&self) -> Option<&Passphrase> {
        self.current.as_ref()
    }

    /// What is wrong with its file.
    pub fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Looks at it again. Says whether it is another one now; where it can't be read, the last one stays.
    pub fn refresh(&mut self) -> bool {
        let stamp = self.settings.passphrase_file.as_deref().map(Stamp::look);
        if self.stamp.replace(stamp) == Some(stamp) {
            return false;
        }
        self.findings = self.settings.passphrase_file.as_deref().and_then(exposed).into_iter().collect();
        match Passphrase::of(&self.settings) {
            Ok(read) if read == self.current => false,
            Ok(read) => {
                self.current = read;
                true
            }
            Err(error) => {
                let file = self.settings.passphrase_file.clone().unwrap_or_default();
                let message = format!("the passphrase of keys can't be read: {error}");
                let hint =
                    "[tls] passphrase-file names a file whose first line it is, and which the gateway's user can read";
                self.findings = vec![finding("unreadable", &Arc::from(file.to_string_lossy()), 1, message).hint(hint)];
                false
            }
        }
    }
}

/// What every user may read is no passphrase.
fn exposed(path: &Path) -> Option<Diagnostic> {
    let mode = fs::metadata(path).ok()?.mode();
    let message = format!("every user of this machine may read this passphrase (mode {:03o})", mode & 0o777);
    let finding = finding("exposed-key", &Arc::from(path.to_string_lossy()), 1, message);
    (mode & 0o004 != 0).then(|| finding.hint("chmod 640, or 600").warning())
}
