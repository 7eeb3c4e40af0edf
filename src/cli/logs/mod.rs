//! `waypost logs`: reads the access log.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use super::{NodeArgs, load, output::count};
use filter::Filter;
use history::History;
use show::{Shape, Show};

mod filter;
mod follow;
mod history;
mod show;

/// Which requests are shown, and how.
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = "EXAMPLES:\n  waypost logs -f                                    what happens now\n  waypost logs --unmapped --since 1d                 which old URLs nothing is said of\n  waypost logs --host jyj.old.example --status 5xx   what fails on a host\n  waypost logs --path '/news/*.asp?*' --count 20     the last twenty such URLs\n  waypost logs --since 2026-11-01 --json | jq .target\n  waypost logs --vhost-combined | goaccess --log-format=VCOMBINED -\n\nThe fields of a JSON line, all but the first few absent where empty:\n  time client method scheme host target protocol status outcome reason unmapped site location rule platform cache\n  sent received took lane referer user_agent tags trace escaped (fields that were no UTF-8, and are percent-encoded)"
)]
pub(super) struct LogsArgs {
    /// Folder of the log's files; [log] folder of gateway.toml where absent.
    folder: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    filter: Filter,
    /// Show the last N only. With --follow, 10 unless --since says otherwise.
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<usize>,
    /// Go on showing requests as they come.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Shows requests.
pub(super) fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => load::gateway(&args.node)?.0.access_log.folder,
    };
    // A file that is no folder fails below, with the system's own words.
    if !folder.exists() {
        bail!("there is no access log in {}: [log] folder of gateway.toml says where it is", folder.display());
    }
    let mut show = Show::new(&args.shape, io::stdout().lock());
    let shown = (|| {
        let mut history =
            History::open(&folder).with_context(|| format!("can't read the access log in {}", folder.display()))?;
        let count = args.count.or((args.follow && !args.filter.is_since()).then_some(FOLLOWED));
        history.show(&args.filter, count, &mut show)?;
        if args.follow {
            follow::follow(&folder, history.into_current(), &args.filter, &mut show)?;
        }
        Ok(())
    })();
    match shown {
        // Who reads has enough (`waypost logs | head`).
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => {
            if show.strange() > 0 {
                eprintln!("warning: {} left out: not of the JSON log", count(show.strange(), "line"));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Requests that are shown before those that come.
const FOLLOWED: usize = 10;
