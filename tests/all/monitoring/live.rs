//! A real Prometheus reads a gateway under traffic: every question of every panel and rule has an answer.

use std::collections::BTreeSet;

use super::board::{self, Board};
use super::has;
use super::pictures;
use super::prometheus::Prometheus;
use super::query::{filled, selectors};
use super::rules::{alerts, records};
use super::traffic::{SITE, Town};

/// What is rightly without an answer here, and why: what is read, as it is put to Prometheus.
const EMPTY: &[(&str, &str)] = &[
    ("waypost_site_faulty{site=\"jyj\"}", "the site's files are good; the panel shows 0 then"),
    ("waypost_site_waf_requests_total{site=\"jyj\"}", "the firewall is off; tests/waf has it"),
    (r#"waypost_acme_names{instance=~".*"}"#, "no authority is named; tests/all/acme has one"),
    (r#"waypost_acme_orders_total{instance=~".*"}"#, "no authority is named"),
    (r#"waypost_acme_failing{instance=~".*"}"#, "no authority is named"),
    (r#"waypost_acme_names{state="failing"}"#, "no authority is named"),
    ("waypost_acme_failing", "no authority is named"),
    ("waypost_monitor_up", OFF),
    (r#"waypost_monitor_up{family="ipv4"}"#, OFF),
    (r#"waypost_monitor_up{family="ipv6"}"#, OFF),
    ("waypost_monitor_seconds", OFF),
    ("waypost_monitor_week_visits", OFF),
    ("waypost_monitor_week_failures", OFF),
    ("waypost_monitor_week_mean_seconds", OFF),
    ("waypost_monitor_veto", OFF),
    ("waypost_monitor_failing", OFF),
    ("waypost_monitor_visits_total", OFF),
    (r#"waypost_verify_targets{kind="hijack"}"#, UNVERIFIED),
    (r#"waypost_verify_targets{kind="dead"}"#, UNVERIFIED),
    ("waypost_verify_targets", UNVERIFIED),
    ("waypost_verify_targets_looked_at", UNVERIFIED),
    ("waypost_verify_last_run_timestamp_seconds", UNVERIFIED),
    ("waypost_verify_freeze_proposals", UNVERIFIED),
    (r#"waypost_site_verify_targets{kind="dead"}"#, UNVERIFIED),
];

const UNVERIFIED: &str = "nobody has run `waypost verify` there; tests/all/verify has it";

const OFF: &str = "nothing is visited, that no test asks DNS for homes; tests/all/monitor has it";

/// Of alerts, those that fire here, as they should.
const FIRING: &[&str] = &["WaypostPlatformDown"];

#[test]
fn every_question_has_an_answer() {
    if !has("prometheus") {
        return;
    }
    let mut town = Town::start();
    let prometheus = Prometheus::start(town.program.admin);
    let boards = board::all();
    let alerts: Vec<String> = alerts().into_iter().map(|alert| alert.query).collect();
    let questions = questions(&boards);

    // Each by itself, and what it reads: a sum with a part that nothing is known of may look well. Alerts have an answer only
    // when something is wrong, so of them what they read.
    let mut all: BTreeSet<&str> = BTreeSet::new();
    let read: BTreeSet<String> = questions.iter().flat_map(|question| selectors(question)).collect();
    all.extend(read.iter().map(String::as_str));
    all.extend(questions.iter().filter(|question| !alerts.contains(question)).map(String::as_str));
    let excused = |question: &str| selectors(question).iter().any(|read| EMPTY.iter().any(|(empty, _)| read == empty));
    let open = all.iter().copied().filter(|question| !excused(question)).collect();
    let silent = prometheus.wait_for(open, || town.round());
    assert!(silent.is_empty(), "{} questions without an answer:\n{}", silent.len(), silent.join("\n"));
    // What is said to have none has none: else the list is old.
    for (read, reason) in EMPTY {
        assert!(all.contains(read), "nobody reads {read} ({reason})");
        assert!(prometheus.ask(read).is_empty(), "{read} has an answer: not true that {reason}");
    }
    check_rules(&prometheus);
    pictures::draw(&boards, |panel| {
        let text = |query: &board::Query| filled(&query.text, SITE);
        let ask = |query: &board::Query| match query.is_instant {
            true => prometheus.ask(&text(query)),
            false => prometheus.ask_range(&text(query), 60.0),
        };
        panel.queries.iter().map(ask).collect()
    });
}

/// Rules are computed without a fault, and those alerts fire that should.
fn check_rules(prometheus: &Prometheus) {
    let groups = prometheus.api("rules");
    let rules = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let rules: Vec<_> = rules.collect();
    assert_eq!(rules.len(), alerts().len() + records().len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    for alert in FIRING {
        let rule = rules.iter().find(|rule| rule["name"] == *alert).unwrap();
        assert_ne!(rule["state"], "inactive", "{rule}");
    }
}

/// All that is asked, of panels and rules.
fn questions(boards: &[Board]) -> Vec<String> {
    let panels = boards.iter().flat_map(|board| &board.panels).flat_map(|panel| &panel.queries);
    let panels = panels.map(|query| filled(&query.text, SITE));
    let rules = alerts().into_iter().map(|alert| alert.query);
    panels.chain(rules).chain(records().into_iter().map(|(_, query)| query)).collect()
}
