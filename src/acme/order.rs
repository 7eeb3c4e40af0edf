//! Takes one order to its end, from wherever it is.
//!
//! Each step begins with what the authority says of the order, so the same way leads on after a restart, a lost answer or
//! a stop in the middle. What is about to be done is written down first; what the authority can't tell (which key, which
//! DNS records) is in files of the order's number.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use instant_acme::{CertificateIdentifier, Identifier, NewOrder, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::sleep;

use super::Progress;
use super::account::{Authority, retried};
use super::book::Book;
use super::fault::{Fault, Refusal};
use super::ledger::{Event, Failure, Order, OrderId};
use super::transport::now;
use crate::config::AcmeSettings;
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

impl Driver<'_> {
    /// Takes an order to its end: a certificate in its file, or nothing, with the reasons in the book. `is_new` says that
    /// its intent has just been written and the authority can't know of it.
    ///
    /// # Errors
    /// If the end is not reached for now: the order stays open, and this is called again.
    pub async fn drive(&self, book: &mut Book, id: OrderId, is_new: bool) -> Result<(), Fault> {
        let Some(order) = book.ledger().order(id).filter(|order| order.is_open()).cloned() else { return Ok(()) };
        let mut outcome = self.advance(book, &order, is_new).await;
        let patience = if order.finalizing { MAX_PROCESSING } else { MAX_PENDING };
        if let Err(fault @ (Fault::Refused(_) | Fault::Senseless(_))) = &outcome
            && now() - order.begun > patience
            && fault.limited(now()).is_none()
        {
            // Others are not to wait for it for ever.
            outcome = self.end(book, &order, fault.to_string());
        }
        self.sweep(book).await;
        outcome
    }

    /// Takes away what orders that have ended left behind, also those of a process that was killed: their keys, and their
    /// DNS records.
    pub async fn sweep(&self, book: &Book) {
        if book.ledger().open_order().is_none() {
            self.forget_handshakes();
        }
        // Before the first order there is none.
        let Ok(files) = fs::read_dir(self.state.join("orders")) else { return };
        for path in files.filter_map(Result::ok).map(|file| file.path()) {
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<OrderId>().ok());
            let Some(id) = id.filter(|id| book.ledger().order(*id).is_none_or(|order| !order.is_open())) else {
                continue;
            };
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("key") => self.remove(&path),
                Some("dns") => self.take_down_rest(id).await,
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
        mut failures: Vec<Failure>,
    ) -> Result<(), Fault> {
        let refusal = remote.state().error.as_ref().map(|problem| Refusal::of(400, problem, None));
        if let Some(refusal) = refusal.as_ref().filter(|_| failures.is_empty()) {
            // What was proven may be forbidden all the same (CAA).
            failures = refusal.names.iter().filter(|failure| order.names.contains(&failure.name)).cloned().collect();
        }
        let why = match &refusal {
            Some(refusal) => refusal.to_string(),
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

    pub(super) async fn pause(&self, pace: &mut Pace) -> Result<(), Fault> {
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

    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        make_secret_folder(&self.state.join("orders"))
            .and_then(|()| write_secret(path, bytes))
            .map_err(|error| Fault::file(path, &error))
    }

    pub(super) fn remove(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("acme: {} can't be removed: {error}", path.display());
        }
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
pub(super) struct Pace {
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

/// Seconds after which an order is given up that the authority does not decide, or issues no certificate for.
pub(super) const MAX_PENDING: i64 = 3600;
const MAX_PROCESSING: i64 = 6 * 3600;

/// Characters of a host in a file's name.
const MAX_NAME: usize = 200;
