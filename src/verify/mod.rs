//! Verification: do the targets of sites still answer, and with what?
//!
//! The way of a target: `targets` (which there are) → the database, where it is *due* → a lane of its host → `check` (asks,
//! through the [`crate::robot`], follows redirects, judges) → the database, where its result stands until the next look →
//! [`Results`], for commands, metrics and the report; [`freeze`], for hosts that seem hijacked.
//!
//! Owns: the tables `verify_runs` and `verify_targets`, kinds of findings and what they mean. Never does: change a route; freeze
//! a host by itself, unless gateway.toml says so; ask a host to which no target may lead.
//!
//! Invariants:
//! - A target is asked for once in a run. What is under way when the program is killed, at most `per_host` targets of each
//!   host, is asked for again by the run that goes on: a target is done when its result is in the database.
//! - Memory does not grow with the number of targets, but for eight bytes for each of the site that is being planned.
//!
//! Called by: `cli`, `server` (metrics), `report`.

mod check;
pub mod freeze;
mod gauges;
mod kind;
mod results;
mod signs;
mod store;
mod targets;

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

pub use self::freeze::Proposal;
pub use self::gauges::Gauges;
pub use self::kind::{Kind, Kinds};
pub use self::results::{Finding, Results, SiteResults};
pub use self::store::Run;
pub use self::targets::Choice;

use self::check::Checker;
use self::store::{Book, Due, Seen};
use self::targets::{Asked, of_site, sends};
use crate::config::HitsDatabase;
use crate::hits::{HitsError, Period};
use crate::robot::{Limits, Robot, RobotSettings};
use crate::routing::Snapshot;

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// The routes.
    pub snapshot: Arc<Snapshot>,
    /// Numbers of the sites whose targets are looked at.
    pub sites: Vec<usize>,
    /// Whether these are all sites.
    pub is_all: bool,
    /// Which of their targets.
    pub choice: Choice,
    /// The same in words: a run that was broken off is continued by one that asks the same.
    pub question: String,
    /// Whether to begin anew, even if a run was broken off.
    pub fresh: bool,
    /// Whether to continue the last run that was broken off, whatever it asked.
    pub resume: bool,
    /// How hosts are asked.
    pub robot: RobotSettings,
    /// What a request may take.
    pub limits: Limits,
    /// How long to wait before a host that did not answer is asked once more.
    pub retry: Duration,
    /// The days of hits from which targets are taken that rules make.
    pub period: Period,
}

/// How far a run is. Read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    planned: AtomicU64,
    done: AtomicU64,
    faulty: AtomicU64,
}

impl Progress {
    /// Targets in all, those that are done, and those of them with which something is wrong.
    pub fn now(&self) -> (u64, u64, u64) {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (get(&self.planned), get(&self.done), get(&self.faulty))
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Its number.
    pub run: i64,
    /// Whether it went on with one that was broken off.
    pub resumed: bool,
    /// Targets that it had to look at, those before it was broken off included.
    pub targets: u64,
    /// Targets that it has looked at now.
    pub looked: u64,
    /// Targets that are too long to be looked at.
    pub too_long: u64,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database is at fault.
    #[error(transparent)]
    Database(#[from] HitsError),
    /// A file of settings is at fault, or the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody else is at it.
    #[error("run {0} is under way elsewhere: wait for its end, or ask for something else")]
    UnderWay(i64),
    /// There is nothing to go on with.
    #[error("no run was broken off: there is nothing to resume")]
    NothingToResume,
}

/// Looks at targets until none is due. Blocks.
///
/// # Errors
/// What kept it from that. What was looked at is in the database, and a next run goes on.
pub fn run(database: &HitsDatabase, job: &Job, progress: &Arc<Progress>) -> Result<Outcome, VerifyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(verify(database, job, progress));
    // A name that nobody answers for must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn verify(database: &HitsDatabase, job: &Job, progress: &Arc<Progress>) -> Result<Outcome, VerifyError> {
    let robot = Robot::new(&job.robot)?;
    let mut book = Book::open(database).await?;
    let mut outcome = Outcome::default();
    let broken_off = match job.fresh {
        true => None,
        // What another command was about to look at is known when it is planned.
        false if job.resume => book.unfinished(None).await?.filter(|run| run.targets >= 0),
        false => book.unfinished(Some(&job.question)).await?,
    };
    if job.resume && broken_off.is_none() {
        return Err(VerifyError::NothingToResume);
    }
    if let Some(run) = &broken_off {
        alone(&mut book, run).await?;
        (outcome.run, outcome.resumed) = (run.run, run.targets >= 0);
    }
    if broken_off.is_none() {
        outcome.run = book.begin(&job.question, now()).await?;
    }
    match broken_off.filter(|run| run.targets >= 0) {
        Some(run) => outcome.targets = u64::try_from(run.targets).unwrap_or_default(),
        None => {
            outcome.too_long = plan(&mut book, database, job, outcome.run).await?;
            outcome.targets = book.planned(outcome.run).await?;
        }
    }
    let hosts = book.hosts(outcome.run).await?;
    outcome.looked = hosts.iter().map(|(_, due)| due).sum();
    progress.planned.store(outcome.targets, Ordering::Relaxed);
    progress.done.store(outcome.targets.saturating_sub(outcome.looked), Ordering::Relaxed);
    let nonce = format!("waypost-{:x}-{:x}", outcome.run, Timestamp::now().as_nanosecond() as u64);
    let checker = Arc::new(Checker::new(robot, job.limits, job.snapshot.clone(), nonce, job.retry));
    let mut book = look(book, outcome.run, job, hosts, &checker, progress).await?;
    book.end(outcome.run, now()).await?;
    Ok(outcome)
}

/// Waits until it is sure that nobody else goes on with a run: a run that is alive shows it each second.
async fn alone(book: &mut Book, run: &Run) -> Result<(), VerifyError> {
    if now() - run.beat > BEAT.as_secs() as i64 * 3 {
        return Ok(());
    }
    sleep(BEAT * 3).await;
    match book.run(run.run).await? {
        Some(again) if again.beat == run.beat && again.ended == 0 => Ok(()),
        _ => Err(VerifyError::UnderWay(run.run)),
    }
}

/// Marks targets as due, a site at a time. How many are too long.
async fn plan(book: &mut Book, database: &HitsDatabase, job: &Job, run: i64) -> Result<u64, VerifyError> {
    let (sender, mut sites) = mpsc::channel(1);
    let (database, job) = (database.clone(), job.clone());
    let (snapshot, is_all) = (job.snapshot.clone(), job.is_all);
    // It reads the database of hits, and blocks.
    let reading = tokio::task::spawn_blocking(move || {
        let mut asked = Asked::new(&database, job.period);
        for &number in &job.sites {
            let Some(site) = job.snapshot.sites().get(number) else { continue };
            let now = now();
            let found = sends(site, now).then(|| of_site(&job.snapshot, number, &job.choice, &mut asked, now));
            if sender.blocking_send((site.id.clone(), found)).is_err() {
                return;
            }
        }
    });
    let mut too_long = 0;
    while let Some((site, found)) = sites.recv().await {
        let mut known = HashSet::new();
        if let Some(found) = found {
            too_long += found.too_long;
            for chunk in found.chosen.chunks(CHUNK) {
                book.plan(run, chunk).await?;
            }
            known = found.known;
        }
        book.forget(run, &site, &known).await?;
    }
    reading.await.map_err(io::Error::other)?;
    if is_all {
        let ids: HashSet<&str> = snapshot.sites().iter().map(|site| site.id.as_str()).collect();
        book.forget_sites(|id| ids.contains(id)).await?;
    }
    Ok(too_long)
}

/// What lanes ask of who has the book.
enum Ask {
    /// The next targets of a host, behind a URL.
    Pull { host: Arc<str>, after: String, reply: oneshot::Sender<Vec<Due>> },
    /// A result; the answer says that it is in the database.
    Record(Box<Seen>, oneshot::Sender<()>),
}

/// Looks at all that is due: a lane for each host, and the book for all.
async fn look(
    mut book: Book,
    run: i64,
    job: &Job,
    hosts: Vec<(String, u64)>,
    checker: &Arc<Checker>,
    progress: &Arc<Progress>,
) -> Result<Book, VerifyError> {
    let (sender, mut asks) = mpsc::channel::<Ask>(ASKS);
    let most = (IN_MEMORY / hosts.len().max(1)).clamp(4, 128);
    let mut lanes = JoinSet::new();
    for (host, _) in hosts {
        let lane = Lane {
            host: host.into(),
            sender: sender.clone(),
            checker: checker.clone(),
            at_once: job.robot.per_host.max(1),
            most,
        };
        lanes.spawn(lane.run());
    }
    drop(sender);
    let mut batch = Vec::new();
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let count = tokio::select! {
            count = asks.recv_many(&mut batch, BATCH) => count,
            // So that others see that somebody is at it, even if every host is slow.
            _ = beat.tick() => {
                book.record(run, now(), &[]).await?;
                continue;
            }
        };
        if count == 0 {
            break;
        }
        let (mut seen, mut told) = (Vec::new(), Vec::new());
        for ask in batch.drain(..) {
            match ask {
                Ask::Pull { host, after, reply } => {
                    // A lane that is gone wants nothing.
                    let _ = reply.send(book.pull(run, &host, &after, most).await?);
                }
                Ask::Record(result, done) => {
                    seen.push(*result);
                    told.push(done);
                }
            }
        }
        if seen.is_empty() {
            continue;
        }
        book.record(run, now(), &seen).await?;
        let faulty = seen.iter().filter(|seen| seen.findings.iter().any(|kind| kind != Kind::Robots)).count();
        progress.done.fetch_add(seen.len() as u64, Ordering::Relaxed);
        progress.faulty.fetch_add(faulty as u64, Ordering::Relaxed);
        told.into_iter().for_each(|done| {
            let _ = done.send(());
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.map_err(io::Error::other)?;
    }
    Ok(book)
}

/// One host's targets, in their order.
struct Lane {
    host: Arc<str>,
    sender: mpsc::Sender<Ask>,
    checker: Arc<Checker>,
    at_once: usize,
    most: usize,
}

impl Lane {
    async fn run(self) {
        let mut running = JoinSet::new();
        let mut after = String::new();
        loop {
            let (reply, pulled) = oneshot::channel();
            let ask = Ask::Pull { host: self.host.clone(), after: after.clone(), reply };
            if self.sender.send(ask).await.is_err() {
                return;
            }
            let Ok(due) = pulled.await else { return };
            let is_last = due.len() < self.most;
            for due in due {
                after.clone_from(&due.url);
                while running.len() >= self.at_once {
                    running.join_next().await;
                }
                let (host, sender, checker) = (self.host.clone(), self.sender.clone(), self.checker.clone());
                running.spawn(async move {
                    let seen = checker.check(&host, &due, now).await;
                    let (done, is_done) = oneshot::channel();
                    if sender.send(Ask::Record(Box::new(seen), done)).await.is_ok() {
                        // An error means that all is over.
                        let _ = is_done.await;
                    }
                });
            }
            if is_last {
                break;
            }
        }
        while running.join_next().await.is_some() {}
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// How often a run shows that it is alive.
const BEAT: Duration = Duration::from_secs(1);

/// Targets of all hosts that are in memory.
const IN_MEMORY: usize = 65_536;

/// Targets of a transaction when they are planned.
const CHUNK: usize = 1000;

/// What lanes may ask before somebody listens, and what is done at once.
const ASKS: usize = 1024;
const BATCH: usize = 512;
