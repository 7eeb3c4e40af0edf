//! Does what is to be done: asks [`next`], tries names, drives orders, and waits.
//!
//! The gateway runs it beside the traffic ([`Engine::run`]), the command line once ([`Engine::once`]). Both may: whoever
//! has the journal orders, and everybody goes by what it says.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use instant_acme::{RevocationReason, RevocationRequest};
use tokio::time::sleep;

use super::Progress;
use super::account::{self, Authority, retried};
use super::book::Book;
use super::fault::Fault;
use super::journal::JournalError;
use super::journal::read;
use super::ledger::{Event, Failure, Ledger};
use super::order::{Driver, certificate, identifier};
use super::preflight::preflight;
use super::schedule::{Batch, Step, Wanted, due_at, next};
use super::transport::now;
use crate::config::{AcmeSettings, Gateway, TlsSettings};
use crate::tls::{Challenges, Passphrase, STATE_FOLDER};

/// Orders certificates for the names that are wanted.
pub struct Engine {
    settings: AcmeSettings,
    tls: TlsSettings,
    /// The folder of certificates.
    certs: PathBuf,
    /// The folder of states.
    state: PathBuf,
    challenges: Arc<Challenges>,
    wanted: Box<dyn Fn() -> Vec<Wanted> + Send + Sync>,
    stats: Arc<EngineStats>,
}

/// What an engine has done since it was made, and how it is. All are as good as the last round.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Orders placed.
    pub orders: AtomicU64,
    /// Certificates that came of them.
    pub issued: AtomicU64,
    /// Orders that came to nothing.
    pub dropped: AtomicU64,
    /// Names that an authority did not find proven.
    pub failures: AtomicU64,
    /// Names that are wanted.
    pub wanted: AtomicU64,
    /// Those that a certificate of the authority covers.
    pub covered: AtomicU64,
    /// Those without one that were tried in vain, by the gateway or the authority.
    pub failing: AtomicU64,
    /// When something is to be done next, Unix seconds; 0 if nothing is.
    pub next: AtomicI64,
    /// Whether the last round ended with a fault.
    pub is_failing: AtomicBool,
}

/// What is kept between rounds, in memory: losing it costs a few questions.
#[derive(Default)]
pub struct Session {
    authority: Option<Arc<Authority>>,
    trials: HashMap<String, Trial>,
    /// When the authority wants to be asked about the renewal of a certificate next, by its id.
    renewals: HashMap<String, i64>,
}

/// What came of trying a name.
struct Trial {
    outcome: Result<(), String>,
    /// Until when that is good, or when it is tried again, Unix seconds.
    until: i64,
    tries: u32,
}

/// Where a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Nothing can be done before then, Unix seconds; [`i64::MAX`] if nothing will be.
    pub until: i64,
    /// Names that are wanted and can't be ordered as things are, with the reasons.
    pub not_ready: Vec<Failure>,
}

impl Engine {
    /// An engine for the authority of `[acme]`. `challenges` are those that this process answers with, `wanted` says which
    /// names are to have certificates now; it is asked often.
    pub fn new(
        gateway: &Gateway,
        challenges: Arc<Challenges>,
        wanted: impl Fn() -> Vec<Wanted> + Send + Sync + 'static,
    ) -> Self {
        Engine {
            settings: gateway.acme.clone(),
            tls: gateway.tls.clone(),
            certs: gateway.certs.clone(),
            state: gateway.certs.join(STATE_FOLDER),
            challenges,
            wanted: Box::new(wanted),
            stats: Arc::default(),
        }
    }

    /// How it is.
    pub fn stats(&self) -> &Arc<EngineStats> {
        &self.stats
    }

    /// What the ledger says now.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn ledger(&self) -> Result<Ledger, JournalError> {
        read(&self.state).map(|entries| super::book::ledger_of(&entries))
    }

    /// Keeps all wanted names covered, for as long as it is polled. To drop it at any moment is as good as killing the
    /// process, and both are safe: the next goes on where it was.
    pub async fn run(&self) {
        let mut session = Session::default();
        let mut faults = 0;
        let mut told = String::new();
        loop {
            let wanted = (self.wanted)();
            let pause = match self.round(&mut session, &log_progress).await {
                Ok(rest) => {
                    if !std::mem::take(&mut told).is_empty() {
                        log::info!("acme: well again");
                    }
                    faults = 0;
                    self.stats.is_failing.store(false, Ordering::Relaxed);
                    self.stats.next.store(if rest.until == i64::MAX { 0 } else { rest.until }, Ordering::Relaxed);
                    rest.until
                }
                Err(fault) => {
                    let text = fault.to_string();
                    if text != told {
                        log::warn!("acme: {text}");
                        told = text;
                    }
                    self.stats.is_failing.store(true, Ordering::Relaxed);
                    faults += 1;
                    let again = now() + pause_after(&fault, faults);
                    self.stats.next.store(again, Ordering::Relaxed);
                    again
                }
            };
            loop {
                let left = pause.saturating_sub(now());
                if left <= 0 {
                    break;
                }
                sleep(Duration::from_secs(left.min(LOOK).unsigned_abs())).await;
                // Routes were reloaded, or files of the operator came or went.
                if faults == 0 && (self.wanted)() != wanted {
                    break;
                }
            }
        }
    }

    /// Does all that can be done now, and says until when nothing can be. Faults that may pass are given a few tries.
    ///
    /// # Errors
    /// If another process orders, the authority can't be had, or this machine is at fault.
    pub async fn once(&self, session: &mut Session, tell: &(dyn Fn(Progress) + Send + Sync)) -> Result<Rest, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.round(session, tell).await {
                Err(fault @ (Fault::Unreachable(_) | Fault::Senseless(_) | Fault::Refused(_))) if tries < TRIES => {
                    let until = now() + pause_after(&fault, tries);
                    tell(Progress::Waiting { until, why: fault.to_string() });
                    sleep(Duration::from_secs(pause_after(&fault, tries).unsigned_abs())).await;
                }
                done => return done,
            }
        }
    }

    /// Steps until there is nothing to be done now.
    async fn round(&self, session: &mut Session, tell: &(dyn Fn(Progress) + Send + Sync)) -> Result<Rest, Fault> {
        let mut book = Book::open(&self.state)?;
        let done = self.steps(&mut book, session, tell).await;
        match &done {
            Err(fault) if fault.refused("accountDoesNotExist").is_some() => {
                session.authority = None;
                account::forget(&self.settings, &self.state, self.passphrase()?.as_ref())?;
            }
            // The directory may have moved.
            Err(Fault::Unreachable(_) | Fault::Senseless(_) | Fault::Settings(_)) => session.authority = None,
            _ => {}
        }
        let tidied = book.tidy();
        let rest = done?;
        tidied?;
        Ok(rest)
    }

    async fn steps(
        &self,
        book: &mut Book,
        session: &mut Session,
        tell: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Rest, Fault> {
        self.tidy(book)?;
        let passphrase = self.passphrase()?;
        let mut asked = false;
        loop {
            let now = now();
            let wanted = (self.wanted)();
            self.count(book, session, &wanted, now);
            if let Some((until, why)) = book.ledger().limited().filter(|(until, _)| *until > now) {
                tell(Progress::Waiting { until, why: why.to_owned() });
                return Ok(Rest { until, not_ready: session.not_ready(&wanted) });
            }
            let due: Vec<String> = due(book.ledger(), &wanted, now);
            let is_open = book.ledger().open_order().is_some();
            if session.authority.is_none() && (is_open || !due.is_empty() || has_live(book.ledger(), now)) {
                let passphrase = self.passphrase()?;
                let authority = Authority::open(&self.settings, &self.state, passphrase.as_ref()).await?;
                self.challenges.set_thumbprint(Some(authority.thumbprint()))?;
                session.authority = Some(Arc::new(authority));
            }
            let Some(authority) = session.authority.clone() else {
                return Ok(Rest { until: i64::MAX, not_ready: Vec::new() });
            };
            let driver = Driver {
                authority: &authority,
                settings: &self.settings,
                certs: &self.certs,
                state: &self.state,
                challenges: &self.challenges,
                passphrase: passphrase.as_ref(),
                tell: &|progress| {
                    self.note(&progress);
                    tell(progress);
                },
            };
            if !std::mem::replace(&mut asked, true) {
                driver.sweep(book).await;
                self.ask_renewals(&authority, book, &mut session.renewals).await?;
            }
            // One that is under way goes on, whatever is wanted now.
            if !is_open {
                let untried: Vec<String> = due
                    .iter()
                    .filter(|name| session.trials.get(*name).is_none_or(|trial| trial.until <= now))
                    .cloned()
                    .collect();
                if !untried.is_empty() {
                    let outcomes = preflight(&self.settings, &self.challenges, &untried, tell).await;
                    session.note(outcomes, tell);
                }
            }
            let ready: Vec<Wanted> = wanted.iter().filter(|name| session.is_ready(&name.name)).cloned().collect();
            let (order, is_new) = match next(book.ledger(), &ready, &self.settings.limits, now) {
                Step::Wait(until) => {
                    let retry = due.iter().filter_map(|name| session.retry(name)).min().unwrap_or(i64::MAX);
                    let renewals = session.renewals.values().copied().min().unwrap_or(i64::MAX);
                    let until = until.min(retry).min(renewals).max(now + 1);
                    let until = if until < i64::MAX { until } else { i64::MAX };
                    return Ok(Rest { until, not_ready: session.not_ready(&wanted) });
                }
                Step::Resume(order) => (order, false),
                Step::Order(Batch { names, replaces }) => {
                    let order = book.ledger().next_order();
                    book.record(Event::Ordering { order, names, replaces })?;
                    self.stats.orders.fetch_add(1, Ordering::Relaxed);
                    (order, true)
                }
            };
            let names = book.ledger().order(order).map_or(0, |order| order.names.len());
            tell(Progress::Ordering { order, names });
            if let Err(fault) = driver.drive(book, order, is_new).await {
                let Some((until, why)) = fault.limited(now) else { return Err(fault) };
                let is_placed = book.ledger().order(order).is_some_and(|order| order.url.is_some());
                // What the authority does not take may be one domain's fault: others are tried before its time is over.
                let until = if is_placed { until } else { until.min(now + LONGEST_LIMIT) };
                book.record(Event::Limited { until, why: why.clone() })?;
                if !is_placed {
                    book.record(Event::Dropped { order, why })?;
                }
            }
        }
    }

    /// What keys are locked with, now.
    fn passphrase(&self) -> Result<Option<Passphrase>, Fault> {
        Passphrase::of(&self.tls).map_err(|error| Fault::Settings(format!("[tls] passphrase-file: {error}")))
    }

    /// Asks the authority when it would like certificates to be renewed (RFC 9773), those whose time to be asked about
    /// has come.
    async fn ask_renewals(
        &self,
        authority: &Authority,
        book: &mut Book,
        renewals: &mut HashMap<String, i64>,
    ) -> Result<(), Fault> {
        let moment = now();
        let live: BTreeMap<String, (String, Option<(i64, i64)>)> = book
            .ledger()
            .certificates()
            .filter(|certificate| certificate.is_live(moment))
            .map(|one| (one.id.clone(), (one.file.clone(), one.suggested)))
            .collect();
        renewals.retain(|id, _| live.contains_key(id));
        if !authority.has_renewal_info().await {
            return Ok(());
        }
        for (id, (file, known)) in live {
            if renewals.get(&id).is_some_and(|&at| at > moment) {
                continue;
            }
            let Some(identifier) = identifier(&self.certs.join(file)) else { continue };
            let pause = match authority.account.renewal_info(&identifier).await.map_err(Fault::from) {
                Ok((info, pause)) => {
                    let window = info.suggested_window;
                    let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
                    if known != Some((start, end)) && start <= end {
                        book.record(Event::Suggested { certificate: id.clone(), start, end })?;
                    }
                    i64::try_from(pause.as_secs()).unwrap_or(MAX_RENEWAL_PAUSE)
                }
                // Its own date will do.
                Err(fault) => {
                    log::debug!("acme: when to renew {id}: {fault}");
                    RENEWAL_PAUSE
                }
            };
            renewals.insert(id, moment + pause.clamp(MIN_RENEWAL_PAUSE, MAX_RENEWAL_PAUSE));
        }
        Ok(())
    }

    /// Removes files of certificates that others have taken the place of, and takes note of those that are gone.
    fn tidy(&self, book: &mut Book) -> Result<(), Fault> {
        let now = now();
        let mut ended = Vec::new();
        let coverage = book.ledger().coverage(now);
        for certificate in book.ledger().certificates() {
            let path = self.certs.join(&certificate.file);
            if certificate.ended.is_some() {
                // Revoked ones are served until there are others, and no longer.
                if certificate.names.iter().all(|name| coverage.contains_key(name.as_str())) {
                    remove(&path)?;
                }
                continue;
            }
            let written = fs::metadata(&path).and_then(|found| found.modified());
            let is_replaced = |name: &String| {
                let best = coverage.get(name.as_str());
                // Whoever is just reading the folder has seen the new one before the old one goes.
                best.is_some_and(|best| best.id != certificate.id && is_settled(&self.certs.join(&best.file)))
            };
            let why = match &written {
                Err(error) if error.kind() == io::ErrorKind::NotFound => "its file is gone",
                _ if now > certificate.not_after + KEPT => "it has expired",
                _ if certificate.names.iter().all(is_replaced) => "others have taken its place",
                _ => continue,
            };
            ended.push((certificate.id.clone(), path, why));
        }
        for (certificate, path, why) in ended {
            // First the file: a certificate that is forgotten would never be removed.
            remove(&path)?;
            book.record(Event::Ended { certificate, why: why.to_owned() })?;
        }
        Ok(())
    }

    /// Revokes a certificate that the ledger knows, by its id: its names are ordered anew. `reason` is a number of RFC
    /// 5280, section 5.3.1.
    ///
    /// # Errors
    /// If there is none, or the authority does not do it.
    pub async fn revoke(&self, id: &str, reason: RevocationReason) -> Result<(), Fault> {
        let mut book = Book::open(&self.state)?;
        let known = book.ledger().certificate(id).cloned();
        let known = known.ok_or_else(|| Fault::Local(format!("the ledger knows no certificate {id}")))?;
        let path = self.certs.join(&known.file);
        let der = certificate(&path).ok_or_else(|| Fault::Local(format!("{} holds no certificate", path.display())))?;
        let passphrase = self.passphrase()?;
        let authority = Authority::open(&self.settings, &self.state, passphrase.as_ref()).await?;
        let request = RevocationRequest { certificate: &der, reason: Some(reason) };
        match retried!(authority.account.revoke(&request)) {
            Err(fault) if fault.refused("alreadyRevoked").is_none() => return Err(fault),
            _ => {}
        }
        book.record(Event::Ended { certificate: id.to_owned(), why: "it was revoked".to_owned() })?;
        self.tidy(&mut book)
    }

    fn count(&self, book: &Book, session: &Session, wanted: &[Wanted], now: i64) {
        let coverage = book.ledger().coverage(now);
        let (covered, open): (Vec<&Wanted>, _) =
            wanted.iter().partition(|name| coverage.contains_key(name.name.as_str()));
        let has_failed = |name: &&&Wanted| {
            !session.is_ready(&name.name)
                || book.ledger().trouble(&name.name).is_some_and(|trouble| trouble.failures > 0)
        };
        self.stats.wanted.store(wanted.len() as u64, Ordering::Relaxed);
        self.stats.covered.store(covered.len() as u64, Ordering::Relaxed);
        self.stats.failing.store(open.iter().filter(has_failed).count() as u64, Ordering::Relaxed);
    }

    fn note(&self, progress: &Progress) {
        let add = |count: &AtomicU64, by: usize| count.fetch_add(by as u64, Ordering::Relaxed);
        match progress {
            Progress::Issued { .. } => add(&self.stats.issued, 1),
            Progress::Dropped { .. } => add(&self.stats.dropped, 1),
            Progress::Failed { failures, .. } => add(&self.stats.failures, failures.len()),
            _ => 0,
        };
    }
}

impl Session {
    fn is_ready(&self, name: &str) -> bool {
        self.trials.get(name).is_none_or(|trial| trial.outcome.is_ok())
    }

    /// When a name is tried again that could not be ordered.
    fn retry(&self, name: &str) -> Option<i64> {
        self.trials.get(name).filter(|trial| trial.outcome.is_err()).map(|trial| trial.until)
    }

    fn not_ready(&self, wanted: &[Wanted]) -> Vec<Failure> {
        let why = |name: &Wanted| {
            let why = self.trials.get(&name.name)?.outcome.as_ref().err()?.clone();
            Some(Failure { name: name.name.clone(), why })
        };
        wanted.iter().filter_map(why).collect()
    }

    fn note(&mut self, outcomes: HashMap<String, Result<(), String>>, tell: &(dyn Fn(Progress) + Send + Sync)) {
        let now = now();
        for (name, outcome) in outcomes {
            let before = self.trials.get(&name);
            let tries = before.filter(|trial| trial.outcome.is_err()).map_or(0, |trial| trial.tries);
            let until = match &outcome {
                Ok(()) => now + GOOD,
                Err(why) => {
                    if before.is_none_or(|before| before.outcome.as_ref().err() != Some(why)) {
                        tell(Progress::NotReady(Failure { name: name.clone(), why: why.clone() }));
                    }
                    now + (FIRST_TRIAL << tries.min(20)).min(LONGEST_TRIAL)
                }
            };
            self.trials.insert(name, Trial { outcome, until, tries: tries + 1 });
        }
    }
}

/// The names that would be ordered now if they are ready.
fn due(ledger: &Ledger, wanted: &[Wanted], now: i64) -> Vec<String> {
    let coverage = ledger.coverage(now);
    let is_due = |name: &&Wanted| due_at(ledger, &coverage, name) <= now;
    wanted.iter().filter(is_due).map(|name| name.name.clone()).collect()
}

fn has_live(ledger: &Ledger, now: i64) -> bool {
    ledger.certificates().any(|certificate| certificate.is_live(now))
}

/// Removes a file, if it is there.
fn remove(path: &std::path::Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::file(path, &error)),
        _ => Ok(()),
    }
}

/// Whether a file has been there for a while.
fn is_settled(path: &std::path::Path) -> bool {
    let written = fs::metadata(path).and_then(|found| found.modified());
    written.is_ok_and(|written| SystemTime::now().duration_since(written).is_ok_and(|age| age > SETTLED))
}

/// Seconds after which a fault is given another try.
fn pause_after(fault: &Fault, faults: u32) -> i64 {
    match fault {
        // Somebody else's work ends when it ends.
        Fault::Local(_) if faults < 60 => 5,
        Fault::Unreachable(_) | Fault::Senseless(_) | Fault::Refused(_) | Fault::Local(_) => {
            (1 << faults.saturating_sub(1).min(20)).min(LONGEST_PAUSE)
        }
        // A person has to do something.
        Fault::Settings(_) => LONGEST_PAUSE,
    }
}

/// What an operator wants to know of.
fn log_progress(progress: Progress) {
    match progress {
        Progress::Issued { names, file, .. } => log::info!("acme: {file} has a certificate for {}", listed(&names)),
        Progress::Failed { failures, .. } => {
            for Failure { name, why } in failures.iter().take(MAX_LISTED) {
                log::warn!("acme: {name} was not proven: {why}");
            }
            if failures.len() > MAX_LISTED {
                log::warn!("acme: nor were {} more, which `waypost certs doctor` lists", failures.len() - MAX_LISTED);
            }
        }
        Progress::NotReady(Failure { name, why }) => log::warn!("acme: {name} is not ordered: {why}"),
        Progress::Dropped { order, why } => log::warn!("acme: nothing came of order {order}: {why}"),
        Progress::Waiting { why, .. } => log::warn!("acme: {why}"),
        Progress::Trying { .. } | Progress::Ordering { .. } | Progress::Proving { .. } => {}
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name".to_owned(),
        [name] => name.clone(),
        [name, rest @ ..] => format!("{name} and {} more", rest.len()),
    }
}

/// Names of a failed order that the log lists.
const MAX_LISTED: usize = 20;

/// How often it is looked whether other names are wanted, in seconds.
const LOOK: i64 = 10;

/// Rounds that [`Engine::once`] gives an authority that can't be reached.
const TRIES: u32 = 6;

/// Longest pause between two rounds that end with faults, in seconds.
const LONGEST_PAUSE: i64 = 600;

/// Longest pause for all orders because one was too many, in seconds.
const LONGEST_LIMIT: i64 = 3 * 3600;

/// Seconds for which a name that is ready stays so; and between two trials of one that is not: the first, and the longest.
const GOOD: i64 = 3600;
const FIRST_TRIAL: i64 = 5;
const LONGEST_TRIAL: i64 = 3600;

/// Seconds between two questions about the renewal of a certificate: what the authority says is kept within bounds, and
/// without an answer it is asked again after six hours (RFC 9773, 4.3.3).
const RENEWAL_PAUSE: i64 = 6 * 3600;
const MIN_RENEWAL_PAUSE: i64 = 60;
const MAX_RENEWAL_PAUSE: i64 = 86_400;

/// How long a certificate has been in its file before another's is removed for it.
const SETTLED: Duration = Duration::from_secs(600);

/// Seconds for which a certificate that has expired stays in its file.
const KEPT: i64 = 86_400;
