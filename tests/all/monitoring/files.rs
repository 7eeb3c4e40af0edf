//! The files themselves: committed, whole, and with a runbook for every alert.

use std::{collections::BTreeSet, env, fs, path::Path};

use serde_json::Value;
use waypost::dashboards::{RUNBOOK, files};

use super::rules::alerts;
use crate::program::waypost;

fn committed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

#[test]
fn the_committed_files_are_what_the_program_makes() {
    let folder = committed();
    let mut wrong = Vec::new();
    for file in files(RUNBOOK) {
        let path = folder.join(&file.path);
        if env::var_os("WAYPOST_BLESS").is_some_and(|value| value == "1") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &file.text).unwrap();
        }
        if fs::read_to_string(&path).ok() != Some(file.text) {
            wrong.push(file.path);
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:?} in dashboards/ differ from what `waypost dashboards` writes; WAYPOST_BLESS=1 rewrites them"
    );
    // And there is nothing else.
    let made: BTreeSet<_> = files(RUNBOOK).into_iter().map(|file| folder.join(file.path)).collect();
    let mut found = BTreeSet::new();
    walk(&folder, &mut found);
    assert_eq!(found, made);
}

fn walk(folder: &Path, found: &mut BTreeSet<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn the_program_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["dashboards", "-o", "out", "--runbook", "https://wiki.example/runbook"];
    let output = waypost(folder.path(), &args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for file in files("https://wiki.example/runbook") {
        assert_eq!(fs::read_to_string(folder.path().join("out").join(&file.path)).unwrap(), file.text);
    }
    let rules = fs::read_to_string(folder.path().join("out/prometheus/alerts.rules.yml")).unwrap();
    assert!(rules.contains("runbook_url: \"https://wiki.example/runbook#waypostsitedown\""), "{rules}");
    // A file is in the way.
    fs::write(folder.path().join("file"), "").unwrap();
    let output = waypost(folder.path(), &["dashboards", "-o", "file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't make the folder file"), "{output:?}");
}

/// Each alert has its section, and each section its alert; each says what to do.
#[test]
fn the_runbook_knows_every_alert() {
    let runbook = fs::read_to_string(committed().join(RUNBOOK)).unwrap();
    let sections: Vec<(&str, &str)> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let titles: Vec<&str> = sections.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, names, "the runbook has the alerts in their order");
    for (title, text) in sections {
        let severity = &alerts.iter().find(|alert| alert.name == title).unwrap().severity;
        assert!(text.contains(&format!("**Means** ({severity})")), "{title} says not that it is {severity}");
        assert!(text.to_lowercase().contains("do**"), "{title} says not what to do");
    }
}

/// The files that are mounted are there, and everything is of a named version and listens on this machine alone.
#[test]
fn the_compose_file_leads_to_what_there_is() {
    let folder = committed();
    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let mut mounts = 0;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("- ./").and_then(|rest| rest.strip_suffix(":ro")) {
            let path = folder.join(path.split(':').next().unwrap());
            assert!(path.is_dir(), "{}", path.display());
            mounts += 1;
        }
        if let Some(image) = line.strip_prefix("image: ") {
            let tag = image.split_once(':').map_or("", |(_, tag)| tag);
            assert!(tag.contains('.') && tag != "latest", "{image}");
        }
        let listens = line.contains("listen-address=") || line.starts_with("GF_SERVER_HTTP_ADDR");
        assert!(!listens || line.contains("127.0.0.1") || line.ends_with("cluster.listen-address="), "{line}");
    }
    assert_eq!(mounts, 4);
    // Grafana knows dashboards and data source by the paths that are mounted.
    let provider = fs::read_to_string(folder.join("grafana/provisioning/dashboards/waypost.yaml")).unwrap();
    assert!(provider.contains("path: /var/lib/waypost\n") && text.contains(":/var/lib/waypost:ro"));
}

/// Links lead to dashboards that exist, with variables that they have.
#[test]
fn links_lead_somewhere() {
    let boards = super::board::all();
    let mut links = 0;
    for board in &boards {
        for panel in &board.panels {
            let overrides = panel.json["fieldConfig"]["overrides"].as_array().unwrap();
            let properties = overrides.iter().flat_map(|one| one["properties"].as_array().unwrap());
            for link in
                properties.filter(|property| property["id"] == "links").flat_map(|p| p["value"].as_array().unwrap())
            {
                let url = link["url"].as_str().unwrap();
                let (path, query) = url.split_once('?').unwrap();
                let to = boards.iter().find(|board| path == format!("/d/{}", board.uid));
                let to = to.unwrap_or_else(|| panic!("{url} leads to no dashboard"));
                let variable = query.split(['-', '=']).nth(1).unwrap();
                let has = |one: &Value| one["name"] == variable;
                assert!(to.json["templating"]["list"].as_array().unwrap().iter().any(has), "{url}: no {variable}");
                links += 1;
            }
        }
    }
    assert!(links > 5);
}
