//! `waypost verify`: do the targets of sites still answer?

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use serde_json::json;

use super::output::{count, print_and};
use super::{NodeArgs, load};
use crate::config::{Gateway, HitsDatabase};
use crate::hits::{Calendar, HitsError, Period};
use crate::model::Host;
use crate::robot::{Limits, Resolve, RobotSettings};
use crate::routing::{Scratch, Snapshot};
use crate::verify::{
    self, Choice, Finding, Job, Kind, Kinds, Outcome, Progress, Proposal, Results, SiteResults, freeze,
};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Targets of these sites only: ids (the site file without `.toml`, as `county/jyj`) or hosts. All where none is named.
    #[arg(value_name = "SITE")]
    sites: Vec<String>,
    /// Targets of this owner's sites only. May be given several times.
    #[arg(long, value_name = "OWNER")]
    owner: Vec<String>,
    /// So many targets of each site, drawn by lot; 0 is all. [verify] sample where absent.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    sample: Option<usize>,
    /// All targets, whatever [verify] sample says.
    #[arg(long)]
    all: bool,
    /// Draws other targets for each number; the same for the same. The day where absent.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Requests to a host in a second, such as 5 or 0.5; [verify] rate where absent.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Requests to a host at the same time; [verify] per-host where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    per_host: Option<u16>,
    /// Requests at the same time in all; [verify] concurrency where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: Option<u16>,
    /// Milliseconds that a request may take; [verify] timeout where absent.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(100..=600_000))]
    timeout: Option<u32>,
    /// Where a host is, whatever DNS says, as curl has it: HOST:PORT:ADDRESS, or HOST:PORT:ADDRESS:PORT. The host `*` is any.
    #[arg(long, value_name = "PLACE")]
    resolve: Vec<Resolve>,
    /// Begin anew, even if a run that asked the same was broken off.
    #[arg(long, conflicts_with = "resume")]
    fresh: bool,
    /// Go on with the last run that was broken off, whatever it asked.
    #[arg(long, conflicts_with_all = ["sites", "owner", "sample", "all", "seed"])]
    resume: bool,
    /// Ask nobody: show what was found when targets were looked at last.
    #[arg(long, conflicts_with_all = ["fresh", "resume", "sample", "all", "seed"])]
    last: bool,
    /// Freeze a host: nobody is sent there any more. Without a host, those that the last results propose. Asks nobody.
    #[arg(long, value_name = "HOST", num_args = 0..=1, require_equals = true, conflicts_with_all = ["fresh", "resume", "sample", "all", "seed"])]
    freeze: Option<Vec<String>>,
    /// How many targets are listed for people; 0 is all.
    #[arg(long, value_name = "N", default_value_t = 50)]
    top: u32,
    /// Print everything as JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print all targets with which something is wrong as CSV.
    #[arg(long)]
    csv: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|rate| (0.001..=1000.0).contains(rate));
    number.ok_or_else(|| format!("`{text}` is no number from 0.001 to 1000"))
}

/// Runs the command.
pub(super) fn run(args: &Args, node: &NodeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let Some(database) = &gateway.hits.database else {
        bail!("results need a database: gateway.toml has no [hits] database, or a faulty one (`waypost check`)");
    };
    let snapshot = Arc::new(load::routes(&gateway, load::now())?.snapshot);
    let sites = sites(&snapshot, args)?;
    if let Some(hosts) = &args.freeze {
        return freeze_hosts(&gateway, database, &snapshot, hosts);
    }
    let outcome = match args.last {
        true => None,
        false => Some(look(args, &gateway, database, &snapshot, &sites)?),
    };
    let mut results = match Results::open(database) {
        Err(HitsError::Missing(_)) if args.last => bail!("nothing was verified yet: run `waypost verify`"),
        results => results?,
    };
    let proposals = freeze::proposals(&mut results, &snapshot, &freeze::homes(&snapshot))?;
    let frozen = match outcome.is_some() && gateway.verify.freeze {
        true => freeze_certain(&gateway, &proposals)?,
        false => Vec::new(),
    };
    // By a filter, or all that the database knows, sites without a file included.
    let chosen: Option<BTreeSet<&str>> = (!is_all(args))
        .then(|| sites.iter().filter_map(|&number| Some(snapshot.sites().get(number)?.id.as_str())).collect());
    let is_chosen = |id: &str| chosen.as_ref().is_none_or(|chosen| chosen.contains(id));
    let by_site: BTreeMap<String, SiteResults> = results.sites()?.into_iter().filter(|(id, _)| is_chosen(id)).collect();
    if args.last && by_site.is_empty() {
        bail!("nothing of it was verified yet: run `waypost verify`");
    }
    let only = match args.resume {
        true => None,
        false => chosen.as_ref().filter(|chosen| chosen.len() == 1),
    };
    let only = only.and_then(|chosen| chosen.first().copied());
    let mut findings = results.findings(only, Kinds::findings(), u32::MAX >> 1)?;
    findings.retain(|finding| is_chosen(&finding.site));
    let shown = Shown { outcome, by_site, findings, proposals, frozen };
    let text = if args.csv {
        shown.csv()
    } else if args.json {
        shown.json()?
    } else {
        shown.text(args.top)
    };
    let code = if shown.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    print_and(&text, code)
}

fn is_all(args: &Args) -> bool {
    args.sites.is_empty() && args.owner.is_empty()
}

/// Numbers of the sites that are asked for.
fn sites(snapshot: &Snapshot, args: &Args) -> anyhow::Result<Vec<usize>> {
    let mut numbers = BTreeSet::new();
    for name in &args.sites {
        let id = name.strip_suffix(".toml").unwrap_or(name);
        let number = snapshot.sites().iter().position(|site| site.id == id);
        let number = number.or_else(|| snapshot.site_of(id.as_bytes(), &mut Scratch::default()));
        numbers.insert(number.ok_or_else(|| anyhow!("`{name}` is no site and no host of one"))?);
    }
    if args.sites.is_empty() {
        numbers.extend(0..snapshot.sites().len());
    }
    if !args.owner.is_empty() {
        let is_owned = |number: &usize| {
            let owner = snapshot.sites().get(*number).and_then(|site| site.owner.as_ref());
            owner.is_some_and(|owner| args.owner.contains(owner))
        };
        numbers.retain(is_owned);
        if numbers.is_empty() {
            bail!("no site of these has the owner {}", args.owner.join(" or "));
        }
    }
    Ok(numbers.into_iter().collect())
}

/// Looks at the targets.
fn look(
    args: &Args,
    gateway: &Gateway,
    database: &HitsDatabase,
    snapshot: &Arc<Snapshot>,
    sites: &[usize],
) -> anyhow::Result<Outcome> {
    let settings = &gateway.verify;
    let mut calendar = Calendar::new(&gateway.hits);
    let period = Period { since: calendar.days_ago(HITS_DAYS), until: calendar.days_ago(0) };
    let sample = match args.all {
        true => 0,
        false => args.sample.unwrap_or(settings.sample),
    };
    // Another day, another sample; a run that is broken off goes on with its own.
    let seed = args.seed.unwrap_or_else(|| u64::try_from(load::now() / 86_400).unwrap_or_default());
    let job = Job {
        snapshot: snapshot.clone(),
        sites: sites.to_vec(),
        is_all: is_all(args),
        choice: Choice { sample: (sample > 0).then_some(sample), seed },
        question: question(args, sample),
        fresh: args.fresh,
        resume: args.resume,
        robot: RobotSettings {
            rate: args.rate.unwrap_or(settings.rate.into()),
            per_host: args.per_host.map_or(settings.per_host, Into::into),
            concurrency: args.concurrency.map_or(settings.concurrency, Into::into),
            resolve: args.resolve.clone(),
            authorities: settings.root.clone(),
            purpose: "verify",
        },
        limits: Limits {
            total: args.timeout.map_or(settings.timeout, |ms| Duration::from_millis(ms.into())),
            ..Limits::default()
        },
        retry: RETRY,
        period,
    };
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(progress.clone());
    let outcome = verify::run(database, &job, &progress);
    drop(bar);
    Ok(outcome?)
}

/// What is asked, in words that are the same for the same.
fn question(args: &Args, sample: usize) -> String {
    let list =
        |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",");
    let seed = args.seed.map(|seed| format!(" seed={seed}")).unwrap_or_default();
    format!("sites={} owners={} sample={sample}{seed}", list(&args.sites), list(&args.owner))
}

/// Writes hosts into the list of frozen ones.
fn freeze_hosts(
    gateway: &Gateway,
    database: &HitsDatabase,
    snapshot: &Snapshot,
    named: &[String],
) -> anyhow::Result<ExitCode> {
    let hosts: Vec<(String, String)> = if named.is_empty() {
        let mut results = Results::open(database)?;
        let proposals = freeze::proposals(&mut results, snapshot, &freeze::homes(snapshot))?;
        proposals.into_iter().map(|proposal| (proposal.host, proposal.reason)).collect()
    } else {
        let host = |text: &String| {
            let host = Host::parse(text.as_bytes()).map_err(|error| anyhow!("`{text}`: {error}"))?;
            Ok((host.as_str().to_owned(), "by hand".to_owned()))
        };
        named.iter().map(host).collect::<anyhow::Result<_>>()?
    };
    if hosts.is_empty() {
        return print_and("No host is proposed to be frozen.\n", ExitCode::SUCCESS);
    }
    let added = write(gateway, &hosts)?;
    let mut text = String::new();
    for (host, _) in hosts {
        let word = if added.contains(&host) { "frozen" } else { "frozen already" };
        text += &format!("{word}: {host}\n");
    }
    print_and(&text, ExitCode::SUCCESS)
}

fn freeze_certain(gateway: &Gateway, proposals: &[Proposal]) -> anyhow::Result<Vec<String>> {
    let certain = proposals.iter().filter(|proposal| proposal.is_certain());
    let hosts: Vec<_> = certain.map(|proposal| (proposal.host.clone(), proposal.reason.clone())).collect();
    if hosts.is_empty() { Ok(Vec::new()) } else { write(gateway, &hosts) }
}

fn write(gateway: &Gateway, hosts: &[(String, String)]) -> anyhow::Result<Vec<String>> {
    let Some(file) = &gateway.frozen_file else {
        bail!("there is no list of frozen hosts: name a file as [guard] frozen-file in gateway.toml");
    };
    let date = Timestamp::now().to_zoned(jiff::tz::TimeZone::system()).date().to_string();
    freeze::freeze(file, hosts, &date).with_context(|| format!("can't write {}", file.display()))
}

/// What is printed.
struct Shown {
    /// None if nothing was looked at now.
    outcome: Option<Outcome>,
    by_site: BTreeMap<String, SiteResults>,
    findings: Vec<Finding>,
    proposals: Vec<Proposal>,
    /// Hosts that were frozen now.
    frozen: Vec<String>,
}

impl Shown {
    fn sums(&self) -> (u64, BTreeMap<Kind, u64>) {
        let mut kinds = BTreeMap::new();
        for (kind, number) in self.by_site.values().flat_map(|site| &site.kinds) {
            *kinds.entry(*kind).or_default() += number;
        }
        (self.by_site.values().map(|site| site.targets).sum(), kinds)
    }

    fn text(&self, top: u32) -> String {
        let mut text = String::new();
        let top = if top == 0 { usize::MAX } else { top as usize };
        for finding in self.findings.iter().take(top) {
            let Finding { url, kinds, detail, source, site, .. } = finding;
            let source = if source.is_empty() { site } else { source };
            text += &format!("{}  {}\n    {}\n    {}\n", kinds, printable(url), printable(detail), printable(source));
        }
        if self.findings.len() > top {
            text += &format!("… and {} more (--top 0, --csv)\n", self.findings.len() - top);
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let (targets, kinds) = self.sums();
        text += &format!("{} of {}", count(targets as usize, "target"), count(self.by_site.len(), "site"));
        text += &format!(", {} with something wrong\n", self.findings.len());
        for kind in Kind::ALL {
            if let Some(number) = kinds.get(kind) {
                text += &format!("{number:>9}  {:<12}  {}\n", kind.name(), kind.meaning());
            }
        }
        if let Some(outcome) = &self.outcome {
            let resumed = if outcome.resumed { ", resumed" } else { "" };
            text +=
                &format!("run {}{resumed}: looked at {} now\n", outcome.run, count(outcome.looked as usize, "target"));
            if outcome.too_long > 0 {
                text += &format!("{} too long to be looked at\n", count(outcome.too_long as usize, "target"));
            }
        }
        for host in &self.frozen {
            text += &format!("frozen: {host}\n");
        }
        for proposal in self.proposals.iter().filter(|proposal| !self.frozen.contains(&proposal.host)) {
            let Proposal { host, reason, targets, looked, .. } = proposal;
            text +=
                &format!("should perhaps be frozen: {host} ({targets} of {looked} targets; {})\n", printable(reason));
            text += &format!("    waypost verify --freeze={host}\n");
        }
        text
    }

    /// RFC 4180, but for its line ends. Programs read it: new columns come last.
    fn csv(&self) -> String {
        let mut text = "kinds,site,url,source,status,hops,milliseconds,landing,title,detail,checked\n".to_owned();
        for finding in &self.findings {
            let kinds = finding.kinds.iter().map(Kind::name).collect::<Vec<_>>().join(" ");
            let cells = [
                kinds,
                finding.site.clone(),
                finding.url.clone(),
                finding.source.clone(),
                finding.status.to_string(),
                finding.hops.to_string(),
                finding.millis.to_string(),
                finding.landing.clone(),
                finding.title.clone(),
                finding.detail.clone(),
                moment(finding.checked),
            ];
            text += &(cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n");
        }
        text
    }

    fn json(&self) -> anyhow::Result<String> {
        let kinds = |kinds: &BTreeMap<Kind, u64>| {
            Kind::ALL
                .iter()
                .map(|kind| (kind.name().to_owned(), json!(kinds.get(kind).copied().unwrap_or(0))))
                .collect::<serde_json::Map<_, _>>()
        };
        let (targets, sums) = self.sums();
        let sites = self.by_site.iter().map(|(id, site)| {
            json!({ "site": id, "targets": site.targets, "faulty": site.faulty, "kinds": kinds(&site.kinds), "last": moment(site.last) })
        });
        let sites: Vec<_> = sites.collect();
        let findings = self.findings.iter().map(|finding| {
            json!({
                "kinds": finding.kinds.iter().map(Kind::name).collect::<Vec<_>>(), "site": finding.site, "url": finding.url,
                "source": finding.source, "status": finding.status, "hops": finding.hops, "milliseconds": finding.millis,
                "landing": finding.landing, "title": finding.title, "detail": finding.detail, "checked": moment(finding.checked),
            })
        });
        let findings: Vec<_> = findings.collect();
        let proposals = self.proposals.iter().map(|proposal| {
            json!({
                "host": proposal.host, "reason": proposal.reason, "targets": proposal.targets, "looked": proposal.looked,
                "hijack": proposal.is_hijacked, "home": proposal.is_home, "frozen": self.frozen.contains(&proposal.host),
            })
        });
        let proposals: Vec<_> = proposals.collect();
        let run = self.outcome.as_ref().map(|outcome| {
            json!({ "run": outcome.run, "resumed": outcome.resumed, "targets": outcome.targets, "looked": outcome.looked, "too_long": outcome.too_long })
        });
        let report = json!({
            "run": run, "sum": { "targets": targets, "faulty": self.findings.len(), "kinds": kinds(&sums) },
            "sites": sites, "findings": findings, "proposals": proposals,
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
    }
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// As a field of CSV.
fn quoted(text: &str) -> String {
    // What spreadsheet programs would take for a formula was written by a foreign server.
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A text without what a terminal would obey: foreign servers wrote it.
fn printable(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
    };
    text.chars().map(|c| if is_odd(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// A line on the terminal that says how far it is; nothing where standard error is none.
struct Bar {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Bar {
    fn show(progress: Arc<Progress>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let draw = move || {
            let started = Instant::now();
            let mut first = None;
            while !is_over.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(250));
                let (planned, done, faulty) = progress.now();
                if planned == 0 || started.elapsed() < Duration::from_millis(500) {
                    continue;
                }
                let first = *first.get_or_insert(done);
                let filled = (done * WIDTH / planned).min(WIDTH) as usize;
                let bar = "#".repeat(filled) + &"·".repeat(WIDTH as usize - filled);
                let rate = (done - first.min(done)) as f64 / started.elapsed().as_secs_f64();
                let left = if rate > 0.0 {
                    format!(", {:.0} s left", (planned.saturating_sub(done)) as f64 / rate)
                } else {
                    String::new()
                };
                eprint!("\r[{bar}] {done} of {planned} targets, {faulty} with something wrong{left}\x1b[K");
            }
            eprint!("\r\x1b[K");
        };
        let thread = io::stderr().is_terminal().then(|| thread::spawn(draw));
        Bar { ends, thread }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Characters of the bar.
const WIDTH: u64 = 30;

/// Days of hits from which targets are taken that rules make.
const HITS_DAYS: u32 = 89;

/// How long to wait before a host that did not answer is asked once more.
const RETRY: Duration = Duration::from_secs(3);

/// What `--help` says behind the options.
pub(super) const MORE: &str = "EXAMPLES:
  waypost verify                           all targets of all sites
  waypost verify --sample 100              100 of each site
  waypost verify jyj.qingshan.example      those of one site
  waypost verify --last --csv > found.csv  what was found last, without asking anybody
  waypost verify --freeze=www.example.org  nobody is sent there any more

WHAT IS FOUND:
  dead          no answer, or an error               soft-404      a page that says it is not there, with status 200
  loop          redirects that never end             hops          more than one redirect
  foreign       leads to a host that targets may not have; that host is not asked
  moved         leads to another host than last time slow          takes more than 3 seconds
  content-type  another kind of content than its name says
  hijack        signs that somebody has taken the page over        title  quite another title than last time
  robots        not looked at: robots.txt does not want it

A run may be broken off at any moment; the next one that asks the same goes on where it was (--fresh begins anew). Progress is
shown if standard error is a terminal. Exit code 1: something was found, or failed.";
