//! `waypost replay`: what would become of the requests in old access logs.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::output::{count, print_and};
use super::{NodeArgs, load};
use crate::config::Gateway;
use crate::model::Host;
use crate::replay::format::{Format, Json, Pattern};
use crate::replay::judge::Judge;
use crate::replay::{Input, Job, Progress, Report, inputs, replay};
use crate::routing::Snapshot;

mod csv;
mod text;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Logs: files (packed by gzip or zstd, or not), folders of such, or `-` for standard input.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// How their lines are written; found from the first lines of each log where absent.
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatArg,
    /// How their lines are written, as the text of nginx's `log_format`: '$host $remote_addr [$time_local] "$request" $status'.
    #[arg(long, value_name = "TEXT", conflicts_with = "format", value_parser = nginx)]
    nginx_format: Option<Pattern>,
    /// The host of lines that name none. Where absent, the longest host of a site in the log's name or in its folder's.
    #[arg(long, value_parser = host)]
    host: Option<String>,
    /// The scheme of requests whose lines don't say it.
    #[arg(long, value_enum, default_value = "http")]
    scheme: Scheme,
    /// Decide as of this date (2027-01-31) or moment (2027-01-31T08:00:00+08:00).
    #[arg(long, value_parser = super::parse_date)]
    date: Option<i64>,
    /// Other routes: list every URL that they would answer another way.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// End with exit code 1 if there is such a URL.
    #[arg(long, requires = "against")]
    fail_on_change: bool,
    /// Look only at requests for this site, by its id: the path of its file, without `.toml`.
    #[arg(long)]
    site: Option<String>,
    /// Leave out requests before this date or moment.
    #[arg(long, value_name = "DATE", value_parser = super::parse_date)]
    since: Option<i64>,
    /// Leave out requests from this date or moment on.
    #[arg(long, value_name = "DATE", value_parser = super::parse_date)]
    until: Option<i64>,
    /// How many unmapped URLs, unknown hosts and changes are listed at most; 0 is all that are remembered. 20 for people, all for
    /// programs.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// How many threads decide; as many as there are cores where absent.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print everything as JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print one table as CSV: `changes` with --against and `sites` else, if none is named.
    #[arg(long, value_enum, value_name = "TABLE", num_args = 0..=1, require_equals = true)]
    csv: Option<Option<csv::Table>>,
}

/// Known formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Found from the first lines of each log.
    Auto,
    /// Apache's `combined`, which is nginx's own format too.
    #[value(alias = "nginx")]
    Combined,
    /// Apache's `common`.
    Common,
    /// `combined` with the host before it, as Apache's `vhost_combined`.
    Vhost,
    /// `combined` with the host behind it.
    VhostLast,
    /// W3C extended, as IIS writes it.
    Iis,
    /// The gateway's own JSON lines.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scheme {
    Http,
    Https,
}

fn nginx(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn host(text: &str) -> Result<String, String> {
    Host::parse(text.as_bytes()).map(|host| host.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Runs the command.
pub(super) fn run(args: Args, node: &NodeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = args.date.unwrap_or_else(load::now);
    let snapshot = load::routes(&gateway, now)?.snapshot;
    if let Some(site) = &args.site
        && !snapshot.sites().iter().any(|known| known.id == *site)
    {
        bail!(
            "no site has the id `{site}`: it is the path of the site's file below {}, without `.toml`",
            gateway.routes.display()
        );
    }
    let against = args.against.as_deref().map(|routes| other(&gateway, routes, now)).transpose()?;
    let inputs = inputs(&args.logs)
        .map_err(|(path, error)| anyhow::Error::new(error).context(format!("can't read {}", path.display())))?;
    let for_people = !args.json && args.csv.is_none();
    let job = Job {
        format: args.nginx_format.map(Format::Text).or(args.format.format()),
        must_be: args.format.name(),
        host: args.host,
        secure: args.scheme == Scheme::Https,
        judge: Judge::new(snapshot, now),
        against: against.map(|snapshot| Judge::new(snapshot, now)),
        site: args.site,
        since: args.since,
        until: args.until,
        top: args.top.unwrap_or(if for_people { 20 } else { 0 }),
        threads: args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into)),
        inputs,
    };
    let report = replay(&job, bar(&job.inputs));
    for file in &report.files {
        if let Some(fault) = &file.fault {
            eprintln!("waypost: {}: {fault}", file.path);
        }
    }
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else if let Some(table) = args.csv {
        let default = if job.against.is_some() { csv::Table::Changes } else { csv::Table::Sites };
        csv::print(&report, table.unwrap_or(default))
    } else {
        text::print(&report)
    };
    print_and(&text, exit_code(&report, args.fail_on_change))
}

impl FormatArg {
    fn format(self) -> Option<Format> {
        match self {
            // Where the columns are, and behind which fields the host is, stands in the logs.
            FormatArg::Auto | FormatArg::Iis | FormatArg::VhostLast => None,
            FormatArg::Combined => Some(Format::Text(Pattern::combined())),
            FormatArg::Common => Some(Format::Text(Pattern::common())),
            FormatArg::Vhost => Some(Format::Text(Pattern::vhost())),
            FormatArg::Json => Some(Format::Json(Json)),
        }
    }

    /// What must be found in the logs, where the format alone doesn't say how to read them.
    fn name(self) -> Option<&'static str> {
        match self {
            FormatArg::Iis => Some("iis"),
            FormatArg::VhostLast => Some("vhost-last"),
            _ => None,
        }
    }
}

/// The routes to compare with, for the same gateway.
fn other(gateway: &Gateway, routes: &Path, now: i64) -> anyhow::Result<Snapshot> {
    let gateway = Gateway { routes: routes.to_owned(), ..gateway.clone() };
    Ok(load::routes(&gateway, now).with_context(|| format!("can't read {}", routes.display()))?.snapshot)
}

fn exit_code(report: &Report, fail_on_change: bool) -> ExitCode {
    let changes = report.changes.as_ref().is_some_and(|changes| changes.hits > 0);
    let failed = report.files.iter().any(|file| file.fault.is_some());
    if failed || (fail_on_change && changes) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A line on the terminal that says how far it is; nothing where standard error is none.
fn bar(inputs: &[Input]) -> impl FnMut(&Progress) {
    let size: u64 = inputs.iter().map(Input::size).sum();
    let is_shown = io::stderr().is_terminal();
    let started = Instant::now();
    let width = 30;
    let shown = Bar(is_shown);
    move |progress| {
        if !shown.0 || started.elapsed() < Duration::from_millis(500) {
            return;
        }
        let seconds = started.elapsed().as_secs_f64();
        let lines = progress.lines();
        let speed = lines as f64 / seconds / 1e6;
        let done = if size == 0 { 0.0 } else { (progress.bytes() as f64 / size as f64).min(1.0) };
        let filled = (done * f64::from(width)) as usize;
        let left = if done > 0.0 { format!(", {:.0} s left", seconds / done - seconds) } else { String::new() };
        let bar = "#".repeat(filled) + &"·".repeat(width as usize - filled);
        eprint!("\r[{bar}] {:3.0} %  {lines} lines, {speed:.1} million a second{left}\x1b[K", done * 100.0);
    }
}

/// Clears the line when it is dropped.
struct Bar(bool);

impl Drop for Bar {
    fn drop(&mut self) {
        if self.0 {
            eprint!("\r\x1b[K");
        }
    }
}

/// What `--help` says behind the options.
pub(super) const MORE: &str = "EXAMPLES:
  waypost replay /var/log/apache2/other_vhosts_access.log*      what is covered, of all sites
  waypost replay logs/ --site lanjiang/qingshan/jyj --top 100   what is missing on one site
  zcat access.gz | waypost replay - --host jyj.qingshan.example
  waypost replay logs/ --against ../new-routes --fail-on-change before new routes go live

WHAT IS COUNTED:
  redirected    sent on, at once or by a page        served    answered by a platform or the old server
  gone          said to be gone (410)                missing   said by a rule not to be there (404)
  other         robots.txt, sitemap, fixed texts, bad requests, refused and frozen targets
  unmapped      nothing says where it went: the site's fallback answers
  denied        refused by the guard (rates aside)   unknown_host   no site has the host
  Covered is all that sites were asked for and the guard admits, but the unmapped. A site that sends clients to HTTPS first is
  judged by what it answers there. `found` is what the old server had answered 2xx or 3xx: what was 404 there is no loss.

Lines without a host are for --host, or for the longest host of a site in the log's name or its folder's.
Progress is shown if standard error is a terminal. Exit code 1: a log can't be read, or with --fail-on-change a URL changes.";

/// A count as people read it: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1,234 lines`.
fn counted(number: u64, one: &str) -> String {
    match number {
        1 => count(1, one),
        _ => format!("{} {one}s", grouped(number)),
    }
}
