//! `waypost verify`: the real program, and local origins that have everything that can be wrong.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::waypost;

mod freezing;
mod kinds;
mod many;
mod metrics;
mod origin;
mod postgres;

/// A folder with a site whose mappings have these targets, and what gateway.toml says.
pub fn folder(targets: impl IntoIterator<Item = String>, gateway: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let settings =
        format!("[guard]\nallowed-targets = [\"*.origin.example\"]\nfrozen-file = \"frozen.txt\"\n{gateway}");
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    site(folder.path(), "jyj", targets);
    folder
}

/// A site of that folder.
pub fn site(folder: &Path, name: &str, targets: impl IntoIterator<Item = String>) {
    let text = format!("name = \"青山县教育局\"\nhosts = [\"{name}.qingshan.example\"]\nowner = \"{name}\"\n");
    fs::write(folder.join(format!("routes/{name}.toml")), text).unwrap();
    let mut table = std::io::BufWriter::new(fs::File::create(folder.join(format!("routes/{name}.csv"))).unwrap());
    writeln!(table, "old,new").unwrap();
    for (number, target) in targets.into_iter().enumerate() {
        writeln!(table, "/{number}.html,\"{target}\"").unwrap();
    }
    table.flush().unwrap();
}

/// Runs it, and gives what it printed as JSON.
pub fn verify(folder: &Path, args: &[&str]) -> (Value, Output) {
    let output = waypost(folder, &[&["verify", "--json"], args].concat()).stderr(Stdio::piped()).output().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat())));
    (value, output)
}

/// What was found of each target, by what follows its scheme.
pub fn found(report: &Value) -> BTreeMap<String, String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let pair = |finding: &Value| {
        let url = finding["url"].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        let kinds: Vec<&str> = finding["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
        (url, kinds.join(" "))
    };
    findings.map(pair).collect()
}
