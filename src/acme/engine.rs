//! Does what is to be done: asks [`next`], tries names, drives orders, and waits.
//!
//! The gateway runs it beside the traffic ([`Engine::run`]), the command line once ([`Engine::once`]). Both may: whoever
//! has the journal orders, and everybody goes by what it says.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
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
use super::session::Session;
use super::stats::EngineStats;
use super::told::Log;
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

/// Where a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Nothing can be done before then, Unix seconds; [`i64::MAX`] if nothing will be.
    pub until: i64,
    /// Whether the authority wants no orders before then.
    pub is_limited: bool,
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
        let (mut session, log) = (Session::default(), Log::default());
        let mut faults = 0;
        loop {
            let wanted = (self.wanted)();
            let done = self.round(&mut session, &|progress| log.tell(progress)).await;
            log.ended(done.as_ref().err(), done.as_ref().is_ok_and(|rest| rest.is_limited));
            let is_failing = matches!(&done, Err(fault) if !matches!(fault, Fault::Busy(_)));
            self.stats.is_failing.store(is_failing, Ordering::Relaxed);
            let until = match &done {
                Ok(rest) => {
                    faults = 0;
                    rest.until
                }
                Err(fault) => {
                    faults += 1;
                    now() + pause_after(fault, faults)
                }
            };
            self.stats.next.store(if until == i64::MAX { 0 } else { until }, Ordering::Relaxed);
            // Others may have written into the ledger.
            let until = until.min(now() + IDLE);
            while now() < until {
                sleep(Duration::from_secs((until - now()).clamp(1, LOOK).unsigned_abs())).await;
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
            self.stats.count(book, session, &wanted, now);
            if let Some((until, why)) = book.ledger().limited().filter(|(until, _)| *until > now) {
                tell(Progress::Waiting { until, why: why.to_owned() });
                return Ok(Rest { until, is_limited: true, not_ready: session.not_ready(&wanted) });
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
                return Ok(Rest { until: i64::MAX, is_limited: false, not_ready: Vec::new() });
            };
            let driver = Driver {
                authority: &authority,
                settings: &self.settings,
                certs: &self.certs,
                state: &self.state,
                challenges: &self.challenges,
                passphrase: passphrase.as_ref(),
                tell: &|progress| {
                    self.stats.note(&progress);
                    tell(progress);
                },
            };
            if !std::mem::replace(&mut asked, true) {
                driver.sweep(book).await;
                self.ask_renewals(&authority, book, &mut session.renewals).await?;
            }
            // One that is under way goes on, whatever is wanted now.
            if !is_open {
                session.keep(&wanted);
                let untried = session.untried(&due, now);
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
                    return Ok(Rest { until, is_limited: false, not_ready: session.not_ready(&wanted) });
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
        Fault::Busy(_) => BUSY,
        Fault::Unreachable(_) | Fault::Senseless(_) | Fault::Refused(_) | Fault::Local(_) => {
            (1 << faults.saturating_sub(1).min(20)).min(LONGEST_PAUSE)
        }
        // A person has to do something.
        Fault::Settings(_) => LONGEST_PAUSE,
    }
}

/// How often it is looked whether other names are wanted, in seconds.
const LOOK: i64 = 10;

/// Longest pause without a look at the ledger, in seconds.
const IDLE: i64 = 300;

/// Pause while another process orders, in seconds.
const BUSY: i64 = 5;

/// Rounds that [`Engine::once`] gives an authority that can't be reached.
const TRIES: u32 = 6;

/// Longest pause between two rounds that end with faults, in seconds.
const LONGEST_PAUSE: i64 = 600;

/// Longest pause for all orders because one was too many, in seconds.
const LONGEST_LIMIT: i64 = 3 * 3600;

/// Seconds between two questions about the renewal of a certificate: what the authority says is kept within bounds, and
/// without an answer it is asked again after six hours (RFC 9773, 4.3.3).
const RENEWAL_PAUSE: i64 = 6 * 3600;
const MIN_RENEWAL_PAUSE: i64 = 60;
const MAX_RENEWAL_PAUSE: i64 = 86_400;

/// How long a certificate has been in its file before another's is removed for it.
const SETTLED: Duration = Duration::from_secs(600);

/// Seconds for which a certificate that has expired stays in its file.
const KEPT: i64 = 86_400;
