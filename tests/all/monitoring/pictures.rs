//! Pictures of the dashboards, by a small renderer in Chromium: where panels stand, and what real data looks like in them.

use std::{env, fs, path::Path, process::Command};

use serde_json::{Map, Value, json};

use super::board::{Board, Panel};
use super::has;
use super::prometheus::Answer;

/// Draws each into `target/dashboards`.
pub fn draw(boards: &[Board], answers: impl Fn(&Panel) -> Vec<Vec<Answer>>) {
    if !has("chromium") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let folder = target.join("dashboards");
    fs::create_dir_all(&folder).unwrap();
    let renderer = fs::read_to_string(root.join("tests/monitoring/board.html")).unwrap();
    for board in boards {
        let all: Map<String, Value> =
            board.panels.iter().map(|panel| (panel.id.to_string(), json!(answers(panel)))).collect();
        let data = json!({"board": board.json, "answers": all}).to_string().replace('<', "\\u003c");
        let page = folder.join(format!("{}.html", board.uid));
        fs::write(&page, renderer.replacen("= DATA;", &format!("= {data};"), 1)).unwrap();
        let said = render(&page, &folder.join(format!("{}.png", board.uid)), board.lines());
        let panels = board.json["panels"].as_array().unwrap().len();
        assert!(said.contains(&format!("drawn {panels}\n\nend")), "{}: {said}", board.uid);
    }
}

/// Draws a page of so many lines of the grid; gives back what it says of itself.
fn render(page: &Path, picture: &Path, lines: u64) -> String {
    let profile = tempfile::tempdir().unwrap();
    let chromium = |order: &str| {
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size=1600,{}", 60 + lines * 38))
            .arg(order)
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let _ = fs::remove_file(picture);
    chromium(&format!("--screenshot={}", picture.display()));
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"));
    let document = chromium("--dump-dom");
    let start = document.rfind("<pre id=\"faults\"").unwrap();
    document[start..].split_once('>').unwrap().1.split("</pre>").next().unwrap().to_owned()
}
