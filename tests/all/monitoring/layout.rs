//! How dashboards are laid out: nothing overlaps, nothing sticks out, and everything says what it is.

use std::collections::BTreeSet;

use super::board::all;

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

#[test]
fn panels_do_not_overlap() {
    for board in all() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in board.json["panels"].as_array().unwrap() {
            let title = format!("{}: {}", board.uid, panel["title"]);
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
            assert!(width > 0 && height > 0 && x + width <= COLUMNS, "{title} sticks out");
            for column in x..x + width {
                for line in y..y + height {
                    assert!(taken.insert((column, line)), "{title} overlaps another at {column}, {line}");
                }
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has another's id");
        }
        // No holes of a whole line, either.
        let lines: BTreeSet<u64> = taken.iter().map(|(_, line)| *line).collect();
        assert_eq!(lines.len() as u64, lines.last().unwrap() + 1, "{} has empty lines", board.uid);
    }
}

#[test]
fn every_panel_says_what_it_is() {
    let mut titles = BTreeSet::new();
    for board in all() {
        for panel in &board.panels {
            let title = format!("{}: {}", board.uid, panel.title);
            assert!(!panel.queries.is_empty(), "{title} asks nothing");
            let unit = panel.json["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            assert!(!unit.is_empty(), "{title} has no unit");
            let about = panel.json["description"].as_str().unwrap();
            let (chinese, english) = about.split_once("\n\n").unwrap();
            assert!(
                chinese.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)) || chinese == "CPU",
                "{title}: {chinese}"
            );
            assert!(english.ends_with('.') && english.len() > 10, "{title}: {english}");
            assert!(titles.insert(title.clone()), "{title} is there twice");
            // Of tables, every column of numbers.
            if panel.kind == "table" {
                let overrides = panel.json["fieldConfig"]["overrides"].as_array().unwrap();
                let has_unit = |one: &serde_json::Value| one["properties"][0]["id"] == "unit";
                assert!(overrides.iter().all(has_unit) && overrides.len() >= panel.queries.len(), "{title}");
            }
        }
    }
}

#[test]
fn dashboards_have_what_people_expect() {
    let mut uids = BTreeSet::new();
    for board in all() {
        assert!(board.uid.starts_with("waypost-") && board.uid.len() <= 40 && uids.insert(board.uid.clone()));
        assert_eq!(board.json["tags"], serde_json::json!(["waypost"]));
        assert_eq!(board.json["timezone"], "browser");
        assert_eq!(board.json["links"][0]["tags"], board.json["tags"], "to the others");
        let variables = board.json["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["name"], "datasource");
        // What is asked for can be chosen, and what can be chosen is asked for.
        let text = serde_json::to_string(&board.json["panels"]).unwrap() + &board.json["templating"].to_string();
        for variable in variables {
            let name = variable["name"].as_str().unwrap();
            assert!(
                text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}")),
                "{}: {name}",
                board.uid
            );
        }
        for asked in text.split('$').skip(1) {
            let name: String =
                asked.trim_start_matches('{').chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_own = name.starts_with("__") || variables.iter().any(|variable| variable["name"] == name.as_str());
            assert!(is_own, "{}: ${name} can't be chosen", board.uid);
        }
    }
    assert_eq!(uids.len(), 8);
}
