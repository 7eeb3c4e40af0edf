//! `waypost check` and `waypost test`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::json;

use super::output::{count, print_and};
use super::{NodeArgs, load};
use crate::config::{Diagnostic, Severity, Site, TlsMode};
use crate::guard::waf;
use crate::routing::SiteTable;

/// Prints everything that is wrong.
pub(super) fn run(path: Option<PathBuf>, node: &NodeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let (mut gateway, mut findings) = load::gateway(node)?;
    let only = path.and_then(|path| select(path, &mut gateway.routes));
    let routes = load::routes(&gateway, load::now())?;
    // What the routes want of platforms and targets that gateway.toml failed to name is no fault of theirs.
    let follows = |finding: &Diagnostic| {
        gateway.lost_targets && matches!(finding.code, "target-not-allowed" | "unknown-platform")
    };
    findings.extend(routes.report.diagnostics.iter().filter(|finding| !follows(finding)).cloned());
    let hosts = routes.snapshot.sites().iter().flat_map(|site| &site.hosts);
    // Without HTTPS there need be none.
    let needed = gateway.tls.mode == TlsMode::Production && !gateway.https.is_empty();
    let certificates = match needed || gateway.certs.is_dir() {
        true => Some(crate::tls::check(&gateway, hosts).context("can't read the certificates")?),
        false => None,
    };
    findings.extend(certificates.iter().flat_map(|report| report.diagnostics.iter().cloned()));
    findings.extend(gateway.admin_settings.tokens.iter().flat_map(|path| crate::admin::tokens::check(path)));
    let wants_waf = |site: &SiteTable| waf::Policy::new(&site.guard.waf, &gateway.guard.waf).mode != waf::Mode::Off;
    if routes.snapshot.sites().iter().any(|site| wants_waf(site)) {
        findings.extend(firewall(&gateway.waf.rules));
    }
    if let Some(only) = &only {
        findings.retain(|finding| concerns(finding, only));
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let snapshot = &routes.snapshot;
    let text = if json {
        let mut report = json!({
            "diagnostics": findings,
            "errors": errors,
            "warnings": warnings,
            "sites": snapshot.sites().len(),
            "hosts": snapshot.host_count(),
            "mappings": snapshot.mapping_count(),
            "rules": snapshot.rule_count(),
        });
        if let Some(certificates) = &certificates {
            report["certificates"] = certificates.certificates.into();
        }
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        let mut checked = format!(
            "{}, {}, {}, {}",
            count(snapshot.sites().len(), "site"),
            count(snapshot.host_count(), "host"),
            count(snapshot.mapping_count(), "mapping"),
            count(snapshot.rule_count(), "rule")
        );
        let kept = routes.loader.checked_sites().filter(|site| !site.is_fronted()).count();
        if kept > 0 {
            checked += &format!(", {} left alone", count(kept, "site"));
        }
        if let Some(certificates) = &certificates {
            checked += &format!(", {}", count(certificates.certificates, "certificate"));
        }
        text.push_str(&match findings.len() {
            0 => format!("{checked}: nothing to complain about\n"),
            _ => format!("{checked}: {}, {}\n", count(errors, "error"), count(warnings, "warning")),
        });
        text
    };
    print_and(&text, exit_code(findings.is_empty()))
}

/// Runs the `[[test]]`s alone.
pub(super) fn run_tests(path: Option<PathBuf>, node: &NodeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let (mut gateway, _) = load::gateway(node)?;
    let only = path.and_then(|path| select(path, &mut gateway.routes));
    let routes = load::routes(&gateway, load::now())?;
    let wanted = |id: &str| only.as_ref().is_none_or(|only| *only == id);
    let sites = routes.loader.checked_sites().filter(|site| wanted(&site.id));
    let (tested, untested): (Vec<&Site>, Vec<&Site>) = sites.partition(|site| routes.loader.is_tested(&site.id));
    let tests: usize = tested.iter().map(|site| site.tests.len()).sum();
    let not_run: usize = untested.iter().map(|site| site.tests.len()).sum();
    let failed: Vec<&Diagnostic> = routes
        .report
        .diagnostics
        .iter()
        .filter(|finding| matches!(finding.code, "test-failed" | "bad-test"))
        .filter(|finding| only.as_ref().is_none_or(|only| concerns(finding, only)))
        .collect();
    // Nor were those that stand where nobody could read them; `check` says what is wrong.
    let syntax =
        |finding: &Diagnostic| finding.code == "syntax" && only.as_ref().is_none_or(|only| concerns(finding, only));
    let unread = not_run > 0 || routes.report.diagnostics.iter().any(syntax);
    let passed = tests.saturating_sub(failed.iter().filter(|finding| finding.code == "test-failed").count());
    let text = if json {
        let report = json!({ "passed": passed, "failed": failed.len(), "not_run": not_run, "failures": failed });
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        let mut text: String = failed.iter().map(|finding| format!("{finding}\n")).collect();
        if unread {
            text.push_str(&format!("{} not run, of files with faults: see `waypost check`\n", count(not_run, "test")));
        }
        text.push_str(&format!("{passed} passed, {} failed\n", failed.len()));
        text
    };
    print_and(&text, exit_code(failed.is_empty() && !unread))
}

fn exit_code(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Points `routes` at the folder that `path` names. For a file, returns the id of its site, to show its findings only.
fn select(path: PathBuf, routes: &mut PathBuf) -> Option<String> {
    if !path.is_file() {
        *routes = path;
        return None;
    }
    let inside = |root: &Path| {
        let (root, file) = (root.canonicalize().ok()?, path.canonicalize().ok()?);
        file.strip_prefix(root).ok().map(Path::to_owned)
    };
    let relative = inside(routes).unwrap_or_else(|| {
        *routes = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        PathBuf::from(path.file_name().unwrap_or_default())
    });
    Some(relative.with_extension("").to_string_lossy().into_owned())
}

/// What is wrong with the rules of the firewall: those that can't be loaded are left out, and the others work.
fn firewall(folder: &Path) -> Vec<Diagnostic> {
    let (faults, severity) = match waf::load(folder) {
        Ok(rules) => (rules.faults, Severity::Warning),
        Err(fault) => (vec![fault], Severity::Error),
    };
    let finding = |fault: waf::Fault| Diagnostic {
        severity,
        code: "firewall-rule",
        file: fault.file.as_deref().unwrap_or(folder).to_string_lossy().into(),
        line: u32::try_from(fault.line.max(1)).unwrap_or(u32::MAX),
        column: 1,
        length: 1,
        source: String::new(),
        message: match fault.id {
            Some(id) => format!("rule {id}: {}", fault.why),
            None => fault.why,
        },
        hint: None,
    };
    faults.into_iter().map(finding).collect()
}

fn concerns(finding: &Diagnostic, id: &str) -> bool {
    finding.file.strip_prefix(id).is_some_and(|rest| rest == ".toml" || rest == ".csv")
}
