//! `waypost import`: other systems' redirects → route files.

mod govuk;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::output::print;

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Import the site files and mapping tables of GOV.UK's Transition programme.
    ///
    /// DIR holds sites/*.yml, mappings/*.csv, organisations.tsv and whitelist.txt. What can't be imported is listed
    /// with file, line and reason.
    Govuk {
        /// Folder with sites/, mappings/, organisations.tsv, whitelist.txt.
        dir: PathBuf,
        /// Routes folder to write; must not exist yet, or be empty.
        #[arg(short, long, value_name = "OUT")]
        out: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(import: Import) -> anyhow::Result<ExitCode> {
    let Import::Govuk { dir, out, json } = import;
    let report = govuk::import(&dir, &out, &mut |line| eprintln!("{line}"))?;
    print(&if json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.to_string() })
}
