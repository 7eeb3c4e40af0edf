//! Dashboards for Grafana, rules for Prometheus, and what starts both around a gateway.
//!
//! Everything is made from [`crate::telemetry::names`] by pure functions: tables of panels and alerts, whose queries are put
//! together from the constants of metrics and labels. So a metric that is renamed is renamed on every dashboard, and one
//! that is gone does not compile. What is made is committed in `dashboards/`, and a test holds it true; `waypost
//! dashboards` writes the same for operators who have but the binary.
//!
//! It never talks to Grafana or Prometheus, and reads no file: what is written by hand is part of the program.

mod alerts;
mod boards;
mod dashboard;
mod panel;
mod query;
mod rules;

use crate::telemetry::names;

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where, from the folder of all of them; with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Every file. Alerts say that their sections of the runbook are at `runbook`, an address or the path of the file.
pub fn files(runbook: &str) -> Vec<File> {
    let made = [
        ("prometheus/recording.rules.yml", rules::recording()),
        ("prometheus/alerts.rules.yml", rules::alerting(runbook)),
    ];
    let made = made.into_iter().map(|(path, text)| File { path: path.to_owned(), text });
    let boards = boards::all().into_iter().map(|board| File {
        path: format!("grafana/dashboards/{}.json", board.uid),
        text: format!("{:#}\n", board.json()),
    });
    let written = WRITTEN.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() });
    made.chain(boards).chain(written).collect()
}

/// Where the runbook is unless somebody says it is elsewhere: beside the other files.
pub const RUNBOOK: &str = "RUNBOOK.md";

/// What is written by hand.
const WRITTEN: &[(&str, &str)] = &[
    ("RUNBOOK.md", include_str!("../../dashboards/RUNBOOK.md")),
    ("compose.yaml", include_str!("../../dashboards/compose.yaml")),
    ("prometheus/prometheus.yml", include_str!("../../dashboards/prometheus/prometheus.yml")),
    ("alertmanager/alertmanager.yml", include_str!("../../dashboards/alertmanager/alertmanager.yml")),
    (
        "grafana/provisioning/datasources/waypost.yaml",
        include_str!("../../dashboards/grafana/provisioning/datasources/waypost.yaml"),
    ),
    (
        "grafana/provisioning/dashboards/waypost.yaml",
        include_str!("../../dashboards/grafana/provisioning/dashboards/waypost.yaml"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_shown_or_watched() {
        let all: String = files(RUNBOOK).into_iter().map(|file| file.text).collect();
        let unseen: Vec<&str> =
            names::ALL.iter().map(|family| family.name).filter(|name| !all.contains(name)).collect();
        assert!(unseen.is_empty(), "no dashboard and no rule has {unseen:?}");
    }
}
