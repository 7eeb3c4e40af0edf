//! `waypost serve` and `waypost config`.

use std::process::ExitCode;

use super::output::print;
use super::{ServeArgs, load};
use crate::config::{Gateway, Severity};

/// Serves until the process is told to stop.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    match effective(args)? {
        Some(gateway) => {
            crate::server::run(gateway)?;
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(ExitCode::FAILURE),
    }
}

/// Prints the settings that `serve` would use.
pub(super) fn print_config(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    match effective(args)? {
        Some(gateway) => print(&gateway.to_toml()),
        None => Ok(ExitCode::FAILURE),
    }
}

/// The settings of file and command line; `None` if the file is faulty, and the faults have been printed.
fn effective(args: &ServeArgs) -> anyhow::Result<Option<Gateway>> {
    let (mut gateway, faults) = load::gateway(&args.node)?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        return Ok(None);
    }
    if let Some(certs) = &args.certs {
        gateway.certs.clone_from(certs);
    }
    if !args.http.is_empty() {
        gateway.http.clone_from(&args.http);
    }
    if !args.https.is_empty() {
        gateway.https.clone_from(&args.https);
    }
    if let Some(admin) = &args.admin {
        gateway.admin.clone_from(admin);
        crate::admin::check(&gateway)?;
    }
    Ok(Some(gateway))
}
