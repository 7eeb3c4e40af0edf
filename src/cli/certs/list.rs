//! `waypost certs list`.

use std::{fmt::Write, process::ExitCode};

use serde_json::json;

use super::super::output::{count, print};
use super::{NodeArgs, View, days, moment};
use crate::model::Host;

/// Names that one line shows.
const SHOWN: usize = 3;

pub(super) fn run(node: &NodeArgs, host: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let host = host.map(|host| Host::parse(host.as_bytes())).transpose()?;
    let shown =
        view.inventory.certificates.iter().filter(|info| host.as_ref().is_none_or(|host| info.covers(host.as_str())));
    let shown: Vec<_> = shown.collect();
    if json {
        let rows: Vec<_> = shown
            .iter()
            .map(|info| {
                let mut row = serde_json::to_value(info).unwrap_or_default();
                row["days-left"] = days(view.now, info.not_after).into();
                row["renewal"] = view.ledger.certificate(&info.sha256).map(|known| known.renewal()).into();
                row
            })
            .collect();
        let report = json!({ "certificates": rows, "findings": view.inventory.findings });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    let mut out = String::new();
    for info in &shown {
        let left = days(view.now, info.not_after);
        let state = match () {
            () if info.not_before > view.now => format!("not before {}", moment(info.not_before)),
            () if left < 0 => format!("EXPIRED {}", moment(info.not_after)),
            () => format!("until {} ({})", moment(info.not_after), count(left as usize, "day")),
        };
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}:{}  {state}", info.file, info.line);
        let names: Vec<&str> = info.names.iter().take(SHOWN).map(String::as_str).collect();
        let more = match info.names.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
        let _ = writeln!(out, "    {names}{more}");
        let renewal = match view.ledger.certificate(&info.sha256) {
            Some(known) if info.is_acme => format!(", renewed from {}", moment(known.renewal())),
            _ => String::new(),
        };
        let _ = writeln!(out, "    by {}{renewal}", info.issuer);
        for problem in &info.problems {
            let _ = writeln!(out, "    {}: {}", problem.code, problem.message);
        }
    }
    for finding in &view.inventory.findings {
        let _ = writeln!(out, "{}:{}  {}: {}", finding.file, finding.line, finding.code, finding.message);
    }
    let names: usize = shown.iter().map(|info| info.names.len()).sum();
    let _ = writeln!(out, "{} for {}", count(shown.len(), "certificate"), count(names, "name"));
    print(&out)
}
