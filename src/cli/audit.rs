//! `waypost audit`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;
use clap::Subcommand;

use super::output::{count, print_and};
use super::{NodeArgs, load};
use crate::admin::audit;

/// The audit log of changes.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Check that nothing in the audit log was edited, cut out, reordered or lost at its end.
    ///
    /// Each line holds the hash of the one before it, and the file beside the log (FILE.head) says where it ends. Somebody
    /// who may write to both can cut the end off both; that shows by a hash that was kept elsewhere: this command prints
    /// that of the last line, and the gateway's own log has that of each.
    Verify {
        /// The files of the log, the oldest first; `[admin]` audit of gateway.toml where absent.
        files: Vec<PathBuf>,
        /// A hash that was printed before: the log must have its line.
        #[arg(long, value_name = "HASH", value_parser = hash)]
        expect: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { mut files, expect, node, json } = command;
    if files.is_empty() {
        files.push(load::gateway(&node)?.0.admin_settings.audit);
    }
    let report = audit::verify(&files, expect.as_deref())
        .map_err(|(path, error)| anyhow!(error).context(format!("can't read the audit log {}", path.display())))?;
    let code = if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&report)?), code);
    }
    let mut text: String = report.faults.iter().map(|fault| format!("error: {fault}\n")).collect();
    text.extend(report.notes.iter().map(|note| format!("note: {note}\n")));
    let records = usize::try_from(report.records).unwrap_or(usize::MAX);
    let verdict = if report.faults.is_empty() { "ok" } else { "NOT ok" };
    text += &format!(
        "{verdict}: {}, the last has number {} and hash {}\n",
        count(records, "record"),
        report.seq,
        report.head
    );
    print_and(&text, code)
}

fn hash(text: &str) -> Result<String, &'static str> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned()).ok_or("a hash has 64 hexadecimal digits")
}
