//! `waypost dashboards`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;

use super::output::{count, print};
use crate::dashboards::{RUNBOOK, files};

/// What is written, and where.
#[derive(Clone, Debug, Args)]
pub(super) struct DashboardArgs {
    /// Folder to write them to; it is made if there is none. Files of these names in it are overwritten.
    #[arg(short, long, value_name = "DIR", default_value = "dashboards")]
    out: PathBuf,
    /// Where people find the runbook that alerts lead to, such as an address in your wiki: `#alertname` is put after it.
    #[arg(long, value_name = "URL", default_value = RUNBOOK)]
    runbook: String,
}

/// Writes dashboards, rules and what starts them.
pub(super) fn run(args: &DashboardArgs) -> anyhow::Result<ExitCode> {
    let files = files(&args.runbook);
    for file in &files {
        let path = args.out.join(&file.path);
        let folder = path.parent().unwrap_or(&args.out);
        fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
        fs::write(&path, &file.text).with_context(|| format!("can't write {}", path.display()))?;
    }
    let out = args.out.display();
    print(&format!(
        "{} in {out}\nstart Prometheus, Alertmanager and Grafana with: docker compose -f {out}/compose.yaml up\n",
        count(files.len(), "file")
    ))
}
