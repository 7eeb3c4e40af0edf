//! The command line: one file per subcommand.
//!
//! Exit codes: 0 fine, 1 something was found or failed, 2 the command line itself is wrong.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

mod admin;
mod apply;
mod audit;
mod census;
mod certs;
mod check;
mod dashboards;
mod explain;
mod export;
mod hits;
mod import;
mod load;
mod logs;
mod monitor;
mod output;
mod packs;
mod purge;
mod replay;
mod report;
mod retire_check;
mod routes;
mod serve;
mod status;
mod suggest;
mod upgrade;
mod verify;
mod wave;

use self::admin::client::AdminArgs;
use crate::config::{Address, Listen, parse_date};

/// Keeps a government's retired web addresses alive: fronts the old domains and sends every old URL to its new home.
///
/// Without a command the gateway is served, as by `waypost serve`.
#[derive(Debug, Parser)]
#[command(
    name = "waypost",
    version,
    args_conflicts_with_subcommands = true,
    after_long_help = "FILES:\n  gateway.toml  this node: addresses, platforms, policy (`waypost config` shows every knob)\n  routes/       what every node serves: a site file (TOML) per retired site, its mappings (CSV) beside it\n  certs/        certificates and keys\n\nEXAMPLES:\n  waypost                                     serve ./routes by ./gateway.toml\n  waypost check                               what is wrong with ./routes, before citizens find out\n  waypost explain http://old.example/a.htm    where an old URL goes, and which line says so\n  waypost test                                run the [[test]]s of all site files\n\nEXIT CODES:\n  0  fine\n  1  something was found, or failed\n  2  the command line is wrong\n\nENVIRONMENT:\n  WAYPOST_LOG  what is logged, such as `debug` or `waypost=debug`; overrides [log] level\n  WAYPOST_TOKEN  the token that `purge` shows at the admin address"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the routes (the default).
    Serve(ServeArgs),
    /// Say everything that is wrong with gateway.toml, the routes and the certificates.
    ///
    /// Each finding names file, line and column, shows the line and says what to do. Exit code 1 if there is any.
    Check {
        /// Routes folder, or one file in it; `routes` of gateway.toml where absent.
        path: Option<PathBuf>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how one old URL is decided: host, site, phase, each step tried, the verdict and the line that says so.
    Explain {
        /// The old URL. Without a scheme, http:// is meant.
        url: OsString,
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        asked: explain::Asked,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the [[test]]s of all site files.
    Test {
        /// Routes folder; `routes` of gateway.toml where absent.
        path: Option<PathBuf>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print the results as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what would become of the requests in access logs of the old servers: how many hits are covered, and which are not.
    ///
    /// Reads Apache's and nginx's formats, IIS's W3C extended format and the gateway's own JSON lines, packed by gzip or zstd
    /// or not at all, and finds out by itself which it is. Nothing is asked of the network. With --against, says which URLs
    /// would be answered another way by other routes.
    #[command(after_long_help = replay::MORE)]
    Replay {
        #[command(flatten)]
        args: Box<replay::Args>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Show the packs (ready-made rules for the systems that old sites ran on), or one of them.
    ///
    /// A rule of a site file that says pack = "NAME" has all its rules. Shown are its keys, patterns, captures and examples.
    Packs(packs::Args),
    /// Propose new URLs for the old URLs of a site that lead nowhere, from sitemaps, exports and titles.
    ///
    /// Writes a CSV for review (old, new, confidence, reason, hits …), those with the most hits first. What the old URLs are is
    /// read from the database of hits, from logs or from a list. Which number of an address is an id, and how ids have moved, is
    /// learnt from the files, and from the mappings that the site has already.
    #[command(after_long_help = suggest::MORE)]
    Suggest {
        #[command(flatten)]
        args: Box<suggest::Args>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Say whether the domain of a site may be deregistered: hits, referrers, certificates, mail and other DNS records.
    ///
    /// Exit code 0 if it may; 1 if not yet, or if not all that must be known is known. With -o, what was found is written to a file that
    /// is signed, so that nobody can change it unnoticed; --verify says what was changed in one.
    #[command(after_long_help = retire_check::MORE)]
    RetireCheck {
        #[command(flatten)]
        args: Box<retire_check::Args>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Turn another system's redirects into route files.
    #[command(subcommand)]
    Import(import::Import),
    /// Let a new process take over from the running gateway, without a refused connection.
    ///
    /// The running gateway starts the program again, by the path and with the arguments that it was started with itself:
    /// a new version put in its place, and new settings, take effect. The new process loads everything, takes the
    /// listening sockets over and serves; then the old one finishes what it has begun. If the new one fails, the old one
    /// goes on as if nothing had happened: exit code 1.
    Upgrade {
        #[command(flatten)]
        node: NodeArgs,
        /// Admin address of the running gateway, if it was started with --admin.
        #[arg(long, value_name = "ADDR")]
        admin: Option<Address>,
        /// Print what came of it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have the running gateway forget cached answers of platforms.
    Purge {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        what: PurgeArgs,
    },
    /// Show how often each rule and mapping of a site has answered, by the running gateway.
    ///
    /// It counts from its start; `hits` knows of what was before.
    Routes {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        args: RoutesArgs,
    },
    /// Show, plan, order, renew and mend certificates.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Say who may use the admin address.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Check the audit log of what was changed through the admin address.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show requests of the access log, filtered, and follow it.
    Logs(logs::LogsArgs),
    /// Show how often old URLs are asked for, and how they are answered; above all those that lead nowhere.
    ///
    /// Reads the database of gateway.toml ([hits] database), while the gateway runs or not. What was asked for less than a
    /// minute ago ([hits] flush) is not there yet. A hit is a request for an old URL; health checks and requests that the
    /// guard refused are none. A URL may have had more hits than is told, never fewer; the sums below the table are exact.
    ///
    /// The columns of --csv and the names in --json stay as they are; new ones come last.
    Hits {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        asked: hits::Asked,
    },
    /// Write what search engines want to be told of a move: pairs of old and new URLs for each host, and sitemaps.
    #[command(after_long_help = export::MORE)]
    Export {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: export::ExportArgs,
    },
    /// Turn the survey of sites into site files, and back.
    #[command(subcommand)]
    Census(census::Census),
    /// Say when the sites of a wave move, or take that back; without --phase, show waves and their dates.
    ///
    /// Edits `[lifecycle]` in the file of each site to close whose `wave` is NAME, and nothing else of it: comments and layout
    /// stay. Shows the difference, checks what would come of it, asks, and writes all files or none. Phases then begin by
    /// themselves, on every node in the same second. --rollback takes the wave's last change back, byte for byte.
    Wave {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: wave::WaveArgs,
    },
    /// Show how far the consolidation has come: sites by phase, wave and owner, the rate, what is due, overdue and blocked.
    ///
    /// All of it is read from the site files. A site is closed once it is in the phase `redirect` or a later one; the rate is
    /// the share of closed sites among all but the exempt. Blocked are sites that can't be closed as their files are.
    Status {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        asked: status::Asked,
    },
    /// Show how often homes and platforms opened in the last seven days, by the checklist's rule.
    ///
    /// The gateway visits them while it runs ([monitor] enabled), by IPv4 and by IPv6, and writes what came of it to the database
    /// of hits. A page that did not open within 15 seconds in 5 % or more of a week's visits fails the checklist outright: VETO,
    /// and exit code 1. Visits that were missed are no failures.
    Monitor(monitor::Asked),
    /// Follow the targets of sites and say which are dead, lead astray, or show signs of a hijack.
    ///
    /// Asks for each target of mappings, homes, rules and fallbacks (of rules that make targets from what was asked: for URLs
    /// that were asked for in the last 90 days), slowly, and only where robots.txt allows it. What was found is kept in the
    /// database of gateway.toml ([hits] database), for metrics and the report.
    #[command(after_long_help = verify::MORE)]
    Verify {
        #[command(flatten)]
        args: Box<verify::Args>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Write the report of a week, month or year: one HTML file that needs nothing else, CSV tables, or JSON.
    ///
    /// Availability by the checklist's veto rule, load time, traffic, coverage, unmapped URLs, dead links, certificates, IPv6, a ranking
    /// of owners, the progress of waves, and what changed since the last report. It is made from the database of hits, the route files and
    /// the certificates; the gateway need not run.
    Report {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        asked: report::Asked,
    },
    /// Write dashboards for Grafana, alerts for Prometheus, the runbook, and a compose file that starts all around a gateway.
    Dashboards(dashboards::DashboardArgs),
    /// Print the effective gateway.toml, every knob shown.
    Config {
        #[command(flatten)]
        args: ServeArgs,
    },
    /// Print the JSON Schema of a file format, for editors.
    Schema {
        /// Which format.
        #[arg(value_enum, default_value = "site")]
        format: Format,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Site files and defaults.toml.
    Site,
    /// gateway.toml.
    Gateway,
}

/// What is to be forgotten.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct PurgeArgs {
    /// The answers to one old URL, written whole, as <https://jyj.qingshan.example/page>.
    url: Option<String>,
    /// All answers of a host.
    #[arg(long)]
    host: Option<String>,
    /// All answers with this tag in Cache-Tag, Surrogate-Key or xkey.
    #[arg(long)]
    tag: Option<String>,
    /// All.
    #[arg(long)]
    all: bool,
}

/// Which counts are shown, and how.
#[derive(Clone, Debug, Args)]
struct RoutesArgs {
    /// The site: path of its file below the routes folder, without `.toml`.
    site: String,
    /// Only those that have never answered.
    #[arg(long)]
    unused: bool,
    /// How many are shown.
    #[arg(long, default_value_t = 50)]
    top: usize,
    /// For programs: all of them, as JSON.
    #[arg(long)]
    json: bool,
}

/// Where the node's settings come from.
#[derive(Clone, Debug, Default, Args)]
struct NodeArgs {
    /// The node's settings; ./gateway.toml where absent, and built-in defaults if there is none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of site files.
    #[arg(long, value_name = "DIR")]
    routes: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
struct ServeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Folder of certificates and keys.
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
    /// Address for plain HTTP, such as 0.0.0.0:8080 or unix:/run/waypost/http.sock; may be given several times. "ADDR proxy" expects the PROXY protocol.
    #[arg(long, value_name = "ADDR")]
    http: Vec<Listen>,
    /// Address for HTTPS, as --http; may be given several times.
    #[arg(long, value_name = "ADDR")]
    https: Vec<Listen>,
    /// The admin address: 127.0.0.1:9180 or unix:/run/waypost/admin.sock. Others need [admin] tokens or client-ca.
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
}

/// Runs the program.
///
/// # Errors
/// What keeps a command from doing its work; findings are no errors but exit code 1.
pub fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(&args),
        Command::Check { path, node, json } => check::run(path, &node, json),
        Command::Explain { url, node, asked, json } => explain::run(&url, &node, &asked, json),
        Command::Test { path, node, json } => check::run_tests(path, &node, json),
        Command::Replay { args, node } => replay::run(*args, &node),
        Command::RetireCheck { args, node } => retire_check::run(&args, &node),
        Command::Suggest { args, node } => suggest::run(&args, &node),
        Command::Packs(args) => packs::run(&args),
        Command::Census(census) => census::run(&census),
        Command::Wave { node, args } => wave::run(&node, &args),
        Command::Import(import) => import::run(import),
        Command::Upgrade { node, admin, json } => upgrade::run(&node, admin, json),
        Command::Purge { node, admin, what } => purge::run(&node, &admin, &what),
        Command::Routes { node, admin, args } => routes::run(&node, &admin, &args),
        Command::Certs(command) => certs::run(command),
        Command::Admin(command) => admin::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Logs(args) => logs::run(&args),
        Command::Hits { node, asked } => hits::run(&node, &asked),
        Command::Export { node, args } => export::run(&node, &args),
        Command::Status { node, asked } => status::run(&node, &asked),
        Command::Monitor(asked) => monitor::run(asked),
        Command::Verify { args, node } => verify::run(&args, &node),
        Command::Report { node, asked } => report::run(&node, &asked),
        Command::Dashboards(args) => dashboards::run(&args),
        Command::Config { args } => serve::print_config(&args),
        Command::Schema { format } => {
            let schema = match format {
                Format::Site => crate::config::schema::site(),
                Format::Gateway => crate::config::schema::gateway(),
            };
            output::print(&format!("{}\n", serde_json::to_string_pretty(&schema)?))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "waypost", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}
