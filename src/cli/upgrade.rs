//! `waypost upgrade`.

use std::process::ExitCode;

use anyhow::bail;

use super::output::{print, print_and};
use super::{NodeArgs, load};
use crate::config::{Address, Severity};
use crate::server::upgrade::{Outcome, ask_for_upgrade, socket_path};

/// Asks the running gateway to let a new process take over, and says what came of it.
pub(super) fn run(node: &NodeArgs, admin: Option<Address>, json: bool) -> anyhow::Result<ExitCode> {
    let (mut gateway, faults) = load::gateway(node)?;
    // The new process reads the file anyway; better to hear of it here.
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        faults.iter().for_each(|fault| eprintln!("{fault}"));
        bail!("gateway.toml has errors, so a new process would not start");
    }
    if let Some(admin) = admin {
        gateway.admin = admin;
    }
    let outcome = ask_for_upgrade(&socket_path(&gateway)?)?;
    let code = if outcome.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&outcome)?), code);
    }
    match outcome {
        Outcome { error: Some(error), .. } => bail!("not upgraded, the old process goes on: {error}"),
        Outcome { pid, version, .. } => {
            print(&format!("upgraded: process {}, version {}\n", pid.unwrap_or_default(), version.unwrap_or_default()))
        }
    }
}
