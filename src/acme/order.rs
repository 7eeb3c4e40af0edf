//! Takes one order to its end, from wherever it is.
//!
//! Each step begins with what the authority says of the order, so the same way leads on after a restart, a lost answer or
//! a stop in the middle. What is about to be done is written down first; what the authority can't tell (which key, which
//! DNS records) is in files of the order's number.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier, NewOrder, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Progress;
use super::account::{Authority, LOSSES, Retries, retried};
use super::book::Book;
use super::dns_hook::{self, Act};
use super::fault::{Fault, Refusal};
use super::ledger::{Event, Failure, Order, OrderId};
use super::transport::now;
use crate::config::{AcmeSettings, Challenge};
use crate::tls::{ACME_FOLDER, Challenges, Passphrase, check_issued, make_secret_folder, seal, unseal, write_secret};

/// What it takes to drive orders.
pub(super) struct Driver<'a> {
    pub authority: &'a Authority,
    pub settings: &'a AcmeSettings,
    /// The folder of certificates.
    pub certs: &'a Path,
    /// The folder of states.
    pub state: &'a Path,
    pub challenges: &'a Challenges,
    /// What keys are locked with.
    pub passphrase: Option<&'a Passphrase>,
    pub tell: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A DNS record that was published for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    name: String,
    value: String,
}

/// What an authorization is at.
enum State {
    Proven,
    Waiting,
    Failed(String),
}

/// What was put up so that names can be proven, and is to be taken away.
#[derive(Default)]
struct Exhibits {
    hosts: Vec<String>,
    records: Vec<Record>,
}

impl Driver<'_> {
    /// Takes an order to its end: a certificate in its file, or nothing, with the reasons in the book. `is_new` says that
    /// its intent has just been written and the authority can't know of it.
    ///
    /// # Errors
    /// If the end is not reached for now: the order stays open, and this is called again.
    pub async fn drive(&self, book: &mut Book, id: OrderId, is_new: bool) -> Result<(), Fault> {
        let Some(order) = book.ledger().order(id).filter(|order| order.is_open()).cloned() else { return Ok(()) };
        let outcome = self.advance(book, &order, is_new).await;
        self.sweep(book).await;
        outcome
    }

    /// Takes away what orders that have ended left behind, also those of a process that was killed: their keys, and their
    /// DNS records.
    pub async fn sweep(&self, book: &Book) {
        // Before the first order there is none.
        let Ok(files) = fs::read_dir(self.state.join("orders")) else { return };
        for path in files.filter_map(Result::ok).map(|file| file.path()) {
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<OrderId>().ok());
            let Some(id) = id.filter(|id| book.ledger().order(*id).is_none_or(|order| !order.is_open())) else {
                continue;
            };
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("key") => self.remove(&path),
                Some("dns") => self.take_down(id, Exhibits { records: self.records(id), ..Exhibits::default() }).await,
                _ => {}
            }
        }
    }

    async fn advance(&self, book: &mut Book, order: &Order, is_new: bool) -> Result<(), Fault> {
        let Some(mut remote) = self.find(book, order, is_new).await? else { return Ok(()) };
        let mut pace = Pace::default();
        loop {
            let status = remote.state().status;
            let age = now() - order.begun;
            match status {
                OrderStatus::Pending | OrderStatus::Invalid => {
                    let failures = self.prove(order, &mut remote).await?;
                    if remote.state().status == OrderStatus::Invalid || !failures.is_empty() {
                        return self.fail(book, order, &mut remote, failures);
                    }
                }
                OrderStatus::Ready => match self.finalize(book, order, &mut remote).await {
                    // It knows better what the order is at.
                    Err(fault) if fault.refused("orderNotReady").is_some() => {}
                    Err(Fault::Refused(refusal)) if refusal.kind == "badCSR" => {
                        return self.end(book, order, refusal.to_string());
                    }
                    done => done?,
                },
                OrderStatus::Processing if age > MAX_PROCESSING => {
                    return self.end(book, order, "the authority did not issue it in time".to_owned());
                }
                OrderStatus::Processing => {}
                OrderStatus::Valid => return self.collect(book, order, &mut remote).await,
            }
            if remote.state().status == status {
                self.pause(&mut pace).await?;
                retried!(safe remote.refresh())?;
            }
        }
    }

    /// The order as the authority has it; placed, if it has not. None if there is none and the book says why.
    async fn find(&self, book: &mut Book, order: &Order, is_new: bool) -> Result<Option<instant_acme::Order>, Fault> {
        let id = order.id;
        let mut url = order.url.clone();
        if url.is_none() && !is_new {
            let known: Vec<&str> = book.ledger().orders().filter_map(|order| order.url.as_deref()).collect();
            url = self.authority.find_order(&order.names, &known).await?;
            match &url {
                Some(url) => book.record(Event::Ordered { order: id, url: url.clone() })?,
                // The one that was sent may have been lost on its way, or not: it counts, and so does the next.
                None => book.record(Event::Ordering {
                    order: id,
                    names: order.names.clone(),
                    replaces: order.replaces.clone(),
                })?,
            }
        }
        if let Some(url) = url {
            return match retried!(safe self.authority.account.order(url.clone())) {
                Ok(remote) => Ok(Some(remote)),
                Err(Fault::Refused(refusal)) if is_gone(&refusal) => {
                    self.end(book, order, format!("the authority does not know it any more: {refusal}"))?;
                    Ok(None)
                }
                Err(fault) => Err(fault),
            };
        }
        let identifiers: Vec<Identifier> = order.names.iter().cloned().map(Identifier::Dns).collect();
        let mut request = NewOrder::new(&identifiers);
        if let Some(profile) = &self.settings.profile {
            request = request.profile(profile);
        }
        // Only the first time: an authority may refuse what was replaced already.
        if is_new
            && self.authority.has_renewal_info().await
            && let Some(replaced) = order.replaces.as_ref().and_then(|id| book.ledger().certificate(id))
            && let Some(replaced) = identifier(&self.certs.join(&replaced.file))
        {
            request = request.replaces(replaced);
        }
        match retried!(self.authority.account.new_order(&request)) {
            Ok(remote) => {
                book.record(Event::Ordered { order: id, url: remote.url().to_owned() })?;
                Ok(Some(remote))
            }
            Err(Fault::Refused(refusal)) if NAMES_REFUSED.contains(&refusal.kind.as_str()) => {
                let failures = blamed(&refusal, &order.names);
                (self.tell)(Progress::Failed { order: id, failures: failures.clone() });
                book.record(Event::Invalid { order: id, failures })?;
                self.end(book, order, refusal.to_string())?;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Has every name proven, and returns those that were not. All are tried: one that fails ends the order, but what is
    /// wrong with the others is worth knowing.
    async fn prove(&self, order: &Order, remote: &mut instant_acme::Order) -> Result<Vec<Failure>, Fault> {
        let mut exhibits = Exhibits::default();
        let outcome = self.prove_by(order, remote, &mut exhibits).await;
        self.take_down(order.id, exhibits).await;
        outcome
    }

    async fn prove_by(
        &self,
        order: &Order,
        remote: &mut instant_acme::Order,
        exhibits: &mut Exhibits,
    ) -> Result<Vec<Failure>, Fault> {
        let of = order.names.len();
        exhibits.records = self.records(order.id);
        let mut failures: BTreeMap<String, String> = BTreeMap::new();
        fetch(remote).await?;
        self.put_up(order.id, remote, exhibits, &mut failures).await?;
        if !exhibits.records.is_empty() {
            sleep(Duration::from_secs(self.settings.dns_wait)).await;
        }
        self.declare_ready(remote, &mut failures).await?;

        let mut pace = Pace::default();
        let mut since_invalid = 0;
        loop {
            retried!(safe remote.refresh())?;
            match remote.state().status {
                OrderStatus::Pending if now() - order.begun > MAX_PENDING => {
                    fetch(remote).await?;
                    self.look(remote, &mut failures, Some("the authority did not decide in time")).await?;
                    break;
                }
                // One failed, and the others are still being looked at.
                OrderStatus::Invalid => {
                    fetch(remote).await?;
                    let waiting = self.look(remote, &mut failures, None).await?;
                    since_invalid += 1;
                    if waiting == 0 || since_invalid > MAX_LOOKS {
                        break;
                    }
                }
                // Names that could not even be tried leave it so for ever.
                OrderStatus::Pending if !failures.is_empty() => {
                    fetch(remote).await?;
                    let waiting = self.look(remote, &mut failures, None).await?;
                    if waiting <= failures.len() {
                        break;
                    }
                }
                OrderStatus::Pending => {}
                _ => break,
            }
            (self.tell)(Progress::Proving { order: order.id, failed: failures.len(), of });
            self.pause(&mut pace).await?;
        }
        Ok(failures.into_iter().map(|(name, why)| Failure { name, why }).collect())
    }

    /// Publishes what proves the names that are not proven yet.
    async fn put_up(
        &self,
        id: OrderId,
        remote: &mut instant_acme::Order,
        exhibits: &mut Exhibits,
        failures: &mut BTreeMap<String, String>,
    ) -> Result<(), Fault> {
        let mut records = Vec::new();
        let mut authorizations = remote.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let kind = self.kind(&name);
            let Some(challenge) = authorization.challenge(kind_of(kind)) else {
                let why = format!("the authority does not offer {} for it", kind.name());
                failures.insert(name, why);
                continue;
            };
            match kind {
                // Every node answers for every token.
                Challenge::Http01 => {}
                Challenge::TlsAlpn01 => {
                    let digest = challenge.key_authorization().digest().as_ref().try_into();
                    let digest = digest.map_err(|_| Fault::Local("a digest of the wrong length".to_owned()))?;
                    self.challenges.publish_alpn(&name, digest)?;
                    exhibits.hosts.push(name);
                }
                Challenge::Dns01 => {
                    let value = challenge.key_authorization().dns_value();
                    records.push((name.clone(), Record { name: dns_hook::record_of(&name), value }));
                }
            }
        }
        let known: Vec<Record> = exhibits.records.clone();
        exhibits.records.extend(records.iter().map(|(_, record)| record.clone()).filter(|new| !known.contains(new)));
        if !records.is_empty() {
            // Before they are published: whoever comes after us must know what to take away.
            let text = serde_json::to_vec(&exhibits.records).map_err(|error| Fault::Local(error.to_string()))?;
            self.write(&self.records_file(id), &text)?;
        }
        for (name, record) in records {
            let added = dns_hook::run(&self.settings.dns_hook, Act::Add, &record.name, &record.value).await;
            if let Err(why) = added {
                failures.insert(name, format!("its DNS record was not published: {why}"));
            }
        }
        Ok(())
    }

    /// Says to the authority that it may look, for each name that is not proven and could be tried.
    async fn declare_ready(
        &self,
        remote: &mut instant_acme::Order,
        failures: &mut BTreeMap<String, String>,
    ) -> Result<(), Fault> {
        let mut authorizations = remote.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            if authorization.status != AuthorizationStatus::Pending || failures.contains_key(&name) {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(kind_of(self.kind(&name))) else { continue };
            if challenge.status != ChallengeStatus::Pending {
                continue;
            }
            match retried!(safe challenge.set_ready()) {
                Ok(()) => {}
                Err(Fault::Refused(refusal)) if Fault::Refused(refusal.clone()).limited(0).is_none() => {
                    // It may have heard it before, and have decided since. What it decided is looked at later.
                    if refusal.status >= 500 {
                        return Err(Fault::Refused(refusal));
                    }
                    log::debug!("acme: {name}: {refusal}");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Takes note of the names that were not proven, and returns how many are not decided. Those fail with `late`, if it
    /// is given.
    async fn look(
        &self,
        remote: &mut instant_acme::Order,
        failures: &mut BTreeMap<String, String>,
        late: Option<&str>,
    ) -> Result<usize, Fault> {
        let mut waiting = 0;
        let mut authorizations = remote.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            let name = authorization.identifier().to_string();
            match state_of(&authorization) {
                State::Proven => {}
                State::Failed(why) => {
                    failures.insert(name, why);
                }
                State::Waiting => {
                    waiting += 1;
                    if let Some(late) = late {
                        failures.entry(name).or_insert_with(|| late.to_owned());
                    }
                }
            }
        }
        Ok(waiting)
    }

    /// Takes away what was put up. What can't be is told and left.
    async fn take_down(&self, id: OrderId, exhibits: Exhibits) {
        for host in exhibits.hosts {
            if let Err(error) = self.challenges.withdraw_alpn(&host) {
                log::warn!("acme: the challenge of {host} can't be removed: {error}");
            }
        }
        for record in &exhibits.records {
            let removed = dns_hook::run(&self.settings.dns_hook, Act::Remove, &record.name, &record.value).await;
            if let Err(why) = removed {
                log::warn!("acme: a DNS record is left behind, {} TXT {}: {why}", record.name, record.value);
            }
        }
        if !exhibits.records.is_empty() {
            self.remove(&self.records_file(id));
        }
    }

    async fn finalize(&self, book: &mut Book, order: &Order, remote: &mut instant_acme::Order) -> Result<(), Fault> {
        let unusable =
            |error: rcgen::Error| Fault::Local(format!("no request for a certificate could be made: {error}"));
        let path = self.key_file(order.id);
        let key = match fs::read_to_string(&path) {
            Ok(sealed) => self.key_pair(&path, &sealed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
                let sealed = seal(key.serialized_der(), self.passphrase).map_err(|error| Fault::file(&path, &error))?;
                self.write(&path, sealed.as_bytes())?;
                key
            }
            Err(error) => return Err(Fault::file(&path, &error)),
        };
        let mut params = CertificateParams::new(order.names.clone()).map_err(unusable)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(unusable)?;
        if !order.finalizing {
            book.record(Event::Finalizing { order: order.id })?;
        }
        retried!(remote.finalize_csr(request.der()))
    }

    fn key_pair(&self, path: &Path, sealed: &str) -> Result<KeyPair, Fault> {
        let key = unseal(sealed, self.passphrase).map_err(|error| Fault::file(path, &error))?;
        let unusable =
            |error: rcgen::Error| Fault::Local(format!("{}: its key can't be used: {error}", path.display()));
        KeyPair::from_pkcs8_der_and_sign_algo(&key.into(), &PKCS_ECDSA_P256_SHA256).map_err(unusable)
    }

    /// Puts the certificate into its file, if it is what was ordered.
    async fn collect(&self, book: &mut Book, order: &Order, remote: &mut instant_acme::Order) -> Result<(), Fault> {
        let chain = match retried!(safe remote.certificate())? {
            Some(chain) => chain,
            None => return Err(Fault::Senseless("it issued a certificate and has none".to_owned())),
        };
        let path = self.key_file(order.id);
        let sealed = match fs::read_to_string(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.end(book, order, format!("its key is gone: {}", path.display()));
            }
            Err(error) => return Err(Fault::file(&path, &error)),
        };
        let key = self.key_pair(&path, &sealed)?;
        let issued = match check_issued(&chain, &key.serialize_pem(), &order.names, now()) {
            Ok(issued) => issued,
            Err(why) => return self.end(book, order, format!("the certificate that was issued is no good: {why}")),
        };
        let file = format!("{ACME_FOLDER}/{}", file_name(order));
        let target = self.certs.join(&file);
        write_secret(&target, format!("{}\n{}\n", chain.trim(), sealed.trim()).as_bytes())
            .map_err(|error| Fault::file(&target, &error))?;
        book.record(Event::Issued {
            order: order.id,
            certificate: issued.sha256,
            file: file.clone(),
            not_before: issued.not_before,
            not_after: issued.not_after,
        })?;
        let (names, not_after) = (order.names.clone(), issued.not_after);
        (self.tell)(Progress::Issued { order: order.id, names, file, not_after });
        Ok(())
    }

    /// Ends an order that came to nothing because of names.
    fn fail(
        &self,
        book: &mut Book,
        order: &Order,
        remote: &mut instant_acme::Order,
        failures: Vec<Failure>,
    ) -> Result<(), Fault> {
        let why = match &remote.state().error {
            Some(problem) => Refusal::of(400, problem, None).to_string(),
            None => format!("{} of {} names were not proven", failures.len(), order.names.len()),
        };
        if !failures.is_empty() {
            (self.tell)(Progress::Failed { order: order.id, failures: failures.clone() });
            book.record(Event::Invalid { order: order.id, failures })?;
        }
        self.end(book, order, why)
    }

    fn end(&self, book: &mut Book, order: &Order, why: String) -> Result<(), Fault> {
        book.record(Event::Dropped { order: order.id, why: why.clone() })?;
        (self.tell)(Progress::Dropped { order: order.id, why });
        Ok(())
    }

    /// How a name is proven.
    fn kind(&self, name: &str) -> Challenge {
        if name.starts_with("*.") { Challenge::Dns01 } else { self.settings.challenge }
    }

    async fn pause(&self, pace: &mut Pace) -> Result<(), Fault> {
        let asked = self.authority.transport.take_pause(now()).unwrap_or(0);
        pace.spent += 1;
        if pace.spent > MAX_POLLS {
            return Err(Fault::Unreachable("it does not decide".to_owned()));
        }
        sleep(pace.next.max(Duration::from_secs(asked.min(MAX_ASKED)))).await;
        pace.next = (pace.next * 3 / 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn key_file(&self, id: OrderId) -> PathBuf {
        self.state.join("orders").join(format!("{id}.key"))
    }

    fn records_file(&self, id: OrderId) -> PathBuf {
        self.state.join("orders").join(format!("{id}.dns"))
    }

    /// The DNS records that were published for an order and perhaps not taken away.
    fn records(&self, id: OrderId) -> Vec<Record> {
        let bytes = fs::read(self.records_file(id)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        make_secret_folder(&self.state.join("orders"))
            .and_then(|()| write_secret(path, bytes))
            .map_err(|error| Fault::file(path, &error))
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("acme: {} can't be removed: {error}", path.display());
        }
    }
}

/// Reads all authorizations of an order.
async fn fetch(remote: &mut instant_acme::Order) -> Result<(), Fault> {
    let mut retries = Retries::new(LOSSES);
    'again: loop {
        let mut authorizations = remote.authorizations();
        // Those that were read before are not asked for again.
        while let Some(authorization) = authorizations.next().await {
            if let Err(error) = authorization {
                retries.after(error).await?;
                continue 'again;
            }
            retries = Retries::new(LOSSES);
        }
        return Ok(());
    }
}

fn state_of(authorization: &instant_acme::AuthorizationState) -> State {
    match authorization.status {
        AuthorizationStatus::Valid => State::Proven,
        AuthorizationStatus::Pending => State::Waiting,
        status => {
            let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            State::Failed(match problem.map(|problem| Refusal::of(400, problem, None)) {
                Some(refusal) if refusal.words.is_empty() => refusal.kind,
                Some(refusal) => format!("{} ({})", refusal.words, refusal.kind),
                None => {
                    format!("the authority says that its authorization is {}", format!("{status:?}").to_lowercase())
                }
            })
        }
    }
}

fn kind_of(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

/// Which names an authority refuses with these words: those that it names, else all.
fn blamed(refusal: &Refusal, names: &[String]) -> Vec<Failure> {
    if !refusal.names.is_empty() {
        let known = |failure: &&Failure| names.contains(&failure.name);
        let named: Vec<Failure> = refusal.names.iter().filter(known).cloned().collect();
        if !named.is_empty() {
            return named;
        }
    }
    let quoted = |name: &&String| refusal.words.split(|c: char| !is_of_name(c)).any(|word| word == **name);
    let mut found: Vec<&String> = names.iter().filter(quoted).collect();
    if found.is_empty() {
        found = names.iter().collect();
    }
    found.into_iter().map(|name| Failure { name: name.clone(), why: refusal.to_string() }).collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*')
}

/// Whether an order is not there any more.
fn is_gone(refusal: &Refusal) -> bool {
    matches!(refusal.status, 404 | 410)
}

/// Which certificate a file holds first, as authorities name it (RFC 9773, 4.1).
pub(super) fn identifier(path: &Path) -> Option<CertificateIdentifier<'static>> {
    let der = certificate(path)?;
    Some(CertificateIdentifier::try_from(&der).ok()?.into_owned())
}

/// The first certificate of a file.
pub(super) fn certificate(path: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(&fs::read(path).ok()?).ok()
}

/// The file of an order's certificate: after its first name, for people, and its number, so that no two are the same.
fn file_name(order: &Order) -> String {
    let first = order.names.first().map_or("none", String::as_str);
    let first: String = first.replace('*', "_wildcard").chars().take(MAX_NAME).collect();
    format!("{first}-{}.pem", order.id)
}

/// How long is waited between two looks.
struct Pace {
    next: Duration,
    spent: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { next: FIRST_PAUSE, spent: 0 }
    }
}

/// Refusals of an order that are about its names (RFC 8555, 6.7).
const NAMES_REFUSED: &[&str] =
    &["rejectedIdentifier", "unsupportedIdentifier", "malformed", "caa", "dns", "unauthorized", "compound"];

/// Pauses between two looks at an order: the first, and the longest, unless the authority asks for longer (seconds).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const MAX_ASKED: u64 = 60;

/// Looks at an order before something else may be done, which is after about five minutes.
const MAX_POLLS: u32 = 70;

/// Looks at the other names of an order that one name ended.
const MAX_LOOKS: u32 = 20;

/// Seconds after which an order is given up that the authority does not decide, or issues no certificate for.
const MAX_PENDING: i64 = 3600;
const MAX_PROCESSING: i64 = 6 * 3600;

/// Characters of a host in a file's name.
const MAX_NAME: usize = 200;
