//! Arrows point down only: a module names modules of its own layer or of lower ones, and Pingora stays where it belongs.

use std::{fs, path::Path};

/// The house, from the ground up. Within a layer a module may name those before it in its row.
const LAYERS: &[&[&str]] = &[
    &["model", "url"],
    &["packs", "config", "guard", "routing", "pages", "telemetry", "dashboards"],
    &["tls", "acme", "cache", "rewrite", "hits", "robot"],
    &[
        "answer", "relay", "monitor", "door", "reload", "admin", "replay", "verify", "suggest", "edits", "census",
        "waves", "retire", "export", "report",
    ],
    &["server", "cli"],
];

/// Modules that may name Pingora.
const PINGORA: &[&str] = &["relay", "door", "cache", "answer", "server", "admin"];

fn position(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(layer, row)| Some((layer, row.iter().position(|name| *name == module)?)))
}

fn sources(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn arrows_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(own) = position(&module) else {
            faults.push(format!("{}: `{module}` stands in no layer of tests/all/layers.rs", relative.display()));
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split("//").next().unwrap_or_default();
            for (at, _) in line.match_indices("crate::") {
                let named: String =
                    line[at + "crate::".len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if let Some(other) = position(&named)
                    && other > own
                {
                    faults.push(format!(
                        "{}:{number}: `{module}` names `{named}`, which stands above it",
                        relative.display()
                    ));
                }
            }
            if line.contains("pingora::") && !PINGORA.contains(&module.as_str()) {
                faults.push(format!("{}:{number}: Pingora is named in `{module}`", relative.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
