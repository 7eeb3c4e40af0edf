//! `waypost monitor`: whether homes and platforms open.

use std::{process::ExitCode, sync::Arc};

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::{runtime, sync::Semaphore, task::JoinSet};

use super::output::{print, print_and, table};
use super::{NodeArgs, load};
use crate::config::Gateway;
use crate::hits::HitsError;
use crate::model::Target;
use crate::monitor::{Family, Finding, History, Page, Schedule, Verdict, Visit, Visitor, Week, pages};

/// What is asked.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Asked {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    node: NodeArgs,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Visit homes and platforms now, once, by IPv4 and IPv6, and say what came of it. Nothing is written down.
    ///
    /// Exit code 1 if one does not open.
    Probe {
        /// Only the home of this site (its id or one of its hosts), or this URL; all where absent.
        what: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Shows the week, or visits.
pub(super) fn run(asked: Asked) -> anyhow::Result<ExitCode> {
    match asked.command {
        None => week(&asked.node, asked.json),
        Some(Command::Probe { what, node, json }) => probe(&node, what.as_deref(), json),
    }
}

fn week(node: &NodeArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let Some(database) = &gateway.hits.database else {
        bail!("there is no history of visits: gateway.toml has no [hits] database, or a faulty one (`waypost check`)");
    };
    let now = load::now();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let found =
        runtime.block_on(async { History::read(database, &gateway.hits, gateway.monitor.slow).await?.week(now).await });
    let weeks = match found {
        Err(HitsError::Missing(_)) => Vec::new(),
        found => found?,
    };
    let rows: Vec<Row> =
        weeks.into_iter().map(|(url, family, week)| Row::new(url, family, week, &gateway, now)).collect();
    let is_vetoed = rows.iter().any(|row| row.week.tally.week() == Verdict::Veto);
    let code = if is_vetoed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if as_json {
        let pages: Vec<Value> = rows.iter().map(Row::json).collect();
        return print_and(&format!("{:#}\n", json!({ "pages": pages })), code);
    }
    if rows.is_empty() {
        return print(match gateway.monitor.enabled {
            true => "no visits yet: the gateway makes them while it runs, each page once in an hour or so\n",
            false => "no visits yet: set [monitor] enabled = true in gateway.toml, and let the gateway run\n",
        });
    }
    let head = ["PAGE", "BY", "VISITS", "FAILED", "OPENED", "MISSED", "MEAN", "NOW", "WEEK"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    print_and(&table(&lines, &[2, 3, 4, 5, 6]), code)
}

/// A page by one family of addresses.
struct Row {
    url: String,
    family: Family,
    week: Week,
    /// Visits that were due since the first, and not even tried.
    missed: u64,
}

impl Row {
    fn new(url: String, family: Family, week: Week, gateway: &Gateway, now: i64) -> Self {
        let schedule = Schedule::new(gateway.monitor.visits);
        // What is under way now is not missed.
        let due = |url| schedule.moments(&Page::new(url), family, week.first - 1, now - 60).count() as u64;
        let due = Target::parse(&url).map_or(0, due);
        let missed = due.saturating_sub(week.tally.made + week.unmade);
        Row { url, family, week, missed }
    }

    fn mean(&self) -> Option<f64> {
        let opened = self.week.tally.made - self.week.tally.failed;
        (opened > 0).then(|| self.week.millis as f64 / 1000.0 / opened as f64)
    }

    fn json(&self) -> Value {
        let Week { tally, unmade, no_address, first, last, now, slow, .. } = &self.week;
        json!({
            "page": self.url,
            "family": self.family.name(),
            "visits": tally.made,
            "failed": tally.failed,
            "missed": self.missed,
            "not_made": unmade,
            "no_address": no_address,
            "slow": slow,
            "mean_seconds": self.mean(),
            "first": moment(*first),
            "last": moment(*last),
            "now": now.map(Finding::name),
            "verdict": tally.week().name(),
        })
    }

    fn cells(&self) -> Vec<String> {
        let tally = self.week.tally;
        let dash = || "-".to_owned();
        vec![
            self.url.clone(),
            self.family.name().to_owned(),
            tally.made.to_string(),
            tally.failed.to_string(),
            tally.opened().map_or_else(dash, |share| format!("{}.{:02} %", share / 100, share % 100)),
            self.missed.to_string(),
            self.mean().map_or_else(dash, |seconds| format!("{seconds:.2} s")),
            self.week.now.map_or("-", words).to_owned(),
            match tally.week() {
                Verdict::TooFew if tally.made == 0 => dash(),
                Verdict::TooFew => "too few visits to judge".to_owned(),
                Verdict::Passes => "passes".to_owned(),
                Verdict::Veto => "VETO: 5 % or more failed".to_owned(),
            },
        ]
    }
}

fn probe(node: &NodeArgs, what: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let pages = asked_for(&gateway, what)?;
    let visitor = Arc::new(Visitor::new(&gateway.monitor)?);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let visits = runtime.block_on(visit_all(visitor, &pages, gateway.monitor.concurrency));
    let has_failed = visits.iter().any(|(_, _, visit)| visit.finding.is_failure());
    let code = if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if as_json {
        let row = |(page, family, visit): &(Page, Family, Visit)| {
            json!({
                "page": page.url().as_str(),
                "family": family.name(),
                "result": visit.finding.name(),
                "status": visit.status,
                "seconds": visit.took.as_secs_f64(),
            })
        };
        let rows: Vec<Value> = visits.iter().map(row).collect();
        return print_and(&format!("{:#}\n", json!({ "visits": rows })), code);
    }
    if visits.is_empty() {
        return print(
            "nothing to visit: no site has a home, and gateway.toml names no platform and no [monitor] pages\n",
        );
    }
    let mut lines = vec![["PAGE", "BY", "RESULT", "STATUS", "TOOK"].map(str::to_owned).to_vec()];
    lines.extend(visits.iter().map(|(page, family, visit)| {
        let status = if visit.status == 0 { "-".to_owned() } else { visit.status.to_string() };
        let took = format!("{:.2} s", visit.took.as_secs_f64());
        vec![page.url().to_string(), family.name().to_owned(), words(visit.finding).to_owned(), status, took]
    }));
    print_and(&table(&lines, &[3, 4]), code)
}

/// The pages that are meant.
fn asked_for(gateway: &Gateway, what: Option<&str>) -> anyhow::Result<Vec<Page>> {
    if let Some(url) = what.filter(|what| what.contains("://")) {
        return Ok(vec![Page::new(Target::parse(url)?)]);
    }
    let now = load::now();
    let snapshot = load::routes(gateway, now)?.snapshot;
    let Some(name) = what else { return Ok(pages(gateway, &snapshot, now)) };
    let id = name.strip_suffix(".toml").unwrap_or(name);
    let site = snapshot.sites().iter().find(|site| site.id == id).or_else(|| {
        let number = snapshot.site_of(name.as_bytes(), &mut crate::routing::Scratch::default())?;
        snapshot.sites().get(number)
    });
    let site = site.ok_or_else(|| anyhow!("`{name}` is no site and no host of one"))?;
    let home = site.home.clone().ok_or_else(|| anyhow!("the site {} has no home", site.id))?;
    Ok(vec![Page::new(home)])
}

async fn visit_all(visitor: Arc<Visitor>, pages: &[Page], concurrency: usize) -> Vec<(Page, Family, Visit)> {
    let room = Arc::new(Semaphore::new(concurrency));
    let mut visits = JoinSet::new();
    for page in pages {
        for family in Family::ALL {
            let (visitor, room, page) = (visitor.clone(), room.clone(), page.clone());
            visits.spawn(async move {
                // It is never closed.
                let _place = room.acquire().await;
                let visit = visitor.visit(&page, family).await;
                (page, family, visit)
            });
        }
    }
    let mut done: Vec<_> = visits.join_all().await;
    done.sort_by(|one, other| (one.0.url().as_str(), one.1).cmp(&(other.0.url().as_str(), other.1)));
    done
}

fn words(finding: Finding) -> &'static str {
    match finding {
        Finding::Open => "open",
        Finding::Dns => "DNS does not know it",
        Finding::Connect => "no connection",
        Finding::Tls => "TLS failed",
        Finding::Timeout => "too late",
        Finding::Broken => "broken answer",
        Finding::Status => "an error's status",
        Finding::Redirects => "leads nowhere",
        Finding::NoAddress => "has no such address",
        Finding::NoNetwork => "no network here",
    }
}

fn moment(seconds: i64) -> Option<String> {
    (seconds > 0).then(|| jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string())
}
