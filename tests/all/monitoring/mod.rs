//! Dashboards, rules and runbook: that the committed ones are what the program makes, that they are as they should be, and
//! that a real Prometheus has an answer to every question in them.
//!
//! Prometheus and promtool are Debian's, and pictures are drawn in Chromium; tests that need them say `skipped` where they
//! are absent: `tests/run` installs them, and fails where they are not. (`tests/monitoring/schema` checks the dashboards by
//! Grafana's types.)

mod board;
mod files;
mod layout;
mod live;
mod pictures;
mod prometheus;
mod query;
mod rules;
mod traffic;

use std::{
    io::{self, Write},
    process::Command,
};

/// Whether a program is on the PATH; says so if it is not.
fn has(program: &str) -> bool {
    let has = Command::new(program).arg("--version").output().is_ok();
    if !has {
        // Past the test harness, which keeps to itself what a test says that passes.
        let _ = writeln!(io::stderr(), "skipped: {program} is not on the PATH");
    }
    has
}
