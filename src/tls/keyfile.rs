//! Writing what nobody else may read.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

/// Puts a file that only its owner may read in the place of whatever is at `path`, as a whole: who reads it sees the old
/// one or the new one, also after a crash. It is on disk when this returns.
///
/// # Errors
/// If it can't be written; then what was there is still there.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = beside(folder, name)?;
    let written = File::options().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // As far as it came to be. If it can't be removed either, its hidden name keeps it from being read.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // The name is on disk only with the folder.
    File::open(folder)?.sync_all()
}

/// Makes a folder that only its owner may look into, and those above it that are missing.
///
/// # Errors
/// If it can't be made.
pub fn make_secret_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A hidden name in the same folder that nobody else uses: another machine may write the same file.
fn beside(folder: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut hidden = OsStr::new(".").to_owned();
    hidden.push(if name.len() <= MAX_NAME { name } else { OsStr::new("long") });
    hidden.push(format!(".{:016x}", u64::from_ne_bytes(random)));
    Ok(folder.join(hidden))
}

/// Longest name, in bytes, that has room for what is put around it (a system takes 255).
const MAX_NAME: usize = 230;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_secret_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("acme/.state");
        make_secret_folder(&state).unwrap();
        make_secret_folder(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
        for name in ["a", &"n".repeat(255)] {
            let path = state.join(name);
            fs::write(&path, "open to all").unwrap();
            write_secret(&path, b"secret").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"secret");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        }
        // A folder is in the way.
        assert!(write_secret(&state, b"secret").is_err());
        let left: Vec<_> = fs::read_dir(state.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read_dir(&state).unwrap().count(), 2);
    }
}
