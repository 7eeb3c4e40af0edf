//! Dashboards: rows of panels, laid out from left to right, and what can be chosen at the top.

use serde_json::{Value, json};

use super::names::{BUILD_INFO, OWNER, PLATFORM, PLATFORM_ORIGIN_UP, SITE, SITE_INFO};
use super::panel::{Panel, datasource};
use super::query::{INSTANCE, JOB, NODES, STARTED, of};

/// Columns of Grafana's grid.
const COLUMNS: u8 = 24;

/// A dashboard.
#[derive(Clone, Debug)]
pub(super) struct Dashboard {
    /// Its name in addresses, and that of its file.
    pub uid: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What can be chosen.
    pub choices: &'static [Choice],
    /// Its rows: titles and panels.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

/// What can be chosen at the top of a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Nodes.
    Nodes,
    /// Owners.
    Owners,
    /// One site, of the owners that are chosen: comes after [`Choice::Owners`].
    Site,
    /// Platforms.
    Platforms,
}

impl Dashboard {
    /// For Grafana.
    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": format!("Waypost: {}", self.title),
            "description": self.about,
            "tags": ["waypost"],
            "schemaVersion": 42,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "weekStart": "monday",
            "timepicker": {"refresh_intervals": ["15s", "1m", "5m", "15m", "1h"]},
            "links": [link()],
            "annotations": {"list": [restarts()]},
            "templating": {"list": self.variables()},
            "panels": self.panels(),
        })
    }

    /// The panels at their places: each row begins with its title, and goes on below when it is full.
    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for (title, row) in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1,
                "type": "row",
                "title": title,
                "collapsed": false,
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                "panels": [],
            }));
            y += 1;
            let (mut x, mut line) = (0, 0);
            for panel in row {
                let (width, height) = panel.extent();
                if x + width > COLUMNS {
                    (x, y, line) = (0, y + line, 0);
                }
                panels.push(panel.json(panels.len() + 1, x, y));
                x += width;
                line = line.max(usize::from(height));
            }
            y += line;
        }
        panels
    }

    fn variables(&self) -> Vec<Value> {
        let source = json!({
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
            "includeAll": false,
            "multi": false,
            "refresh": 1,
            "regex": "",
            "options": [],
            "skipUrlSync": false,
        });
        [source].into_iter().chain(self.choices.iter().map(|choice| choice.json())).collect()
    }
}

impl Choice {
    fn json(self) -> Value {
        let (name, label, query) = match self {
            Choice::Nodes => (INSTANCE, "Node", values(BUILD_INFO.name, INSTANCE)),
            Choice::Owners => (OWNER, "Owner", values(SITE_INFO.name, OWNER)),
            Choice::Site => (SITE, "Site", values(&of(SITE_INFO).like(OWNER, "$owner").each(), SITE)),
            Choice::Platforms => (PLATFORM, "Platform", values(PLATFORM_ORIGIN_UP.name, PLATFORM)),
        };
        let many = self != Choice::Site;
        let mut variable = json!({
            "name": name,
            "label": label,
            "type": "query",
            "datasource": datasource(),
            "definition": query,
            "query": {"query": query, "refId": "variable", "qryType": 1},
            "hide": 0,
            "includeAll": many,
            "multi": many,
            // Owners and sites come and go with the routes.
            "refresh": 2,
            "regex": "",
            "sort": 1,
            "options": [],
            "skipUrlSync": false,
        });
        if many {
            variable["allValue"] = json!(".*");
            variable["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
        }
        variable
    }
}

fn values(series: &str, label: &str) -> String {
    format!("label_values({series}, {label})")
}

/// To the other dashboards, with what is chosen.
fn link() -> Value {
    json!({
        "type": "dashboards",
        "title": "Waypost",
        "icon": "external link",
        "tooltip": "The other dashboards",
        "url": "",
        "tags": ["waypost"],
        "asDropdown": true,
        "includeVars": true,
        "keepTime": true,
        "targetBlank": false,
    })
}

/// Marks where a node started.
fn restarts() -> Value {
    json!({
        "name": "Starts",
        "datasource": datasource(),
        "enable": true,
        "hide": false,
        "iconColor": "blue",
        "expr": format!("changes({}[$__interval]) > 0", of(STARTED).is(JOB, NODES).each()),
        "titleFormat": "{{instance}} started",
        "step": "1m",
    })
}
