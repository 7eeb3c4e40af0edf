//! Packs: their examples, what becomes of them in site files, and which of them a site's URLs call for.

mod command;
mod detect;
mod examples;
mod site_files;
mod sites;

use std::fs;

use tempfile::TempDir;
use waypost::config::Gateway;
use waypost::routing::{LoadReport, Loader, Snapshot};

/// A moment after all that sites say of their phases.
pub const NOW: i64 = 1_900_000_000;

/// A folder with `routes/site.toml` of that text, behind a name, a host and a home.
pub fn folder(rest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let text = format!(
        "name = \"x\"\nhosts = [\"old.example\", \"*.old.example\"]\nhome = \"https://www.new.example/\"\n{rest}"
    );
    fs::write(folder.path().join("routes/site.toml"), text).unwrap();
    folder
}

/// Loads a folder as the gateway would.
pub fn load(folder: &TempDir) -> (Snapshot, LoadReport) {
    let text = "[guard]\nallowed-targets = [\"*.new.example\", \"old.example\", \"other.example\"]\n";
    let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), folder.path());
    assert!(faults.is_empty(), "{faults:?}");
    Loader::new(&gateway).load(NOW, |_, _| {}).unwrap()
}
