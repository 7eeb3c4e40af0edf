//! Dashboards as Grafana reads them.

use serde_json::Value;
use waypost::dashboards::{RUNBOOK, files};

/// A dashboard.
pub struct Board {
    pub uid: String,
    pub json: Value,
    pub panels: Vec<Panel>,
}

/// A panel that asks something.
pub struct Panel {
    pub id: u64,
    pub title: String,
    pub kind: String,
    pub json: Value,
    pub queries: Vec<Query>,
}

/// A question, with what Grafana puts in for variables still to be said.
pub struct Query {
    pub text: String,
    /// Asked for one point of time, and not for a range.
    pub is_instant: bool,
}

/// All that the program makes.
pub fn all() -> Vec<Board> {
    let files = files(RUNBOOK).into_iter().filter(|file| file.path.starts_with("grafana/dashboards/"));
    files.map(|file| Board::parse(&file.text)).collect()
}

impl Board {
    fn parse(text: &str) -> Board {
        let json: Value = serde_json::from_str(text).unwrap();
        let panels = json["panels"].as_array().unwrap();
        let panels = panels.iter().filter(|panel| panel["type"] != "row").map(Panel::parse).collect();
        Board { uid: json["uid"].as_str().unwrap().to_owned(), panels, json }
    }
}

impl Board {
    /// Lines of the grid that it takes.
    pub fn lines(&self) -> u64 {
        let place = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().unwrap();
        let ends = self.json["panels"].as_array().unwrap().iter().map(|panel| place(panel, "y") + place(panel, "h"));
        ends.max().unwrap()
    }
}

impl Panel {
    fn parse(json: &Value) -> Panel {
        let queries = json["targets"].as_array().unwrap().iter().map(|target| Query {
            text: target["expr"].as_str().unwrap().to_owned(),
            is_instant: target["instant"].as_bool().unwrap(),
        });
        Panel {
            id: json["id"].as_u64().unwrap(),
            title: json["title"].as_str().unwrap().to_owned(),
            kind: json["type"].as_str().unwrap().to_owned(),
            queries: queries.collect(),
            json: json.clone(),
        }
    }
}
