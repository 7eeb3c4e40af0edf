//! Has the names of an order proven: puts up what the authority looks for, tells it so, waits, and takes it away.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, OrderStatus};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Progress;
use super::account::{LOSSES, Retries, retried};
use super::dns_hook::{self, Act};
use super::fault::{Fault, Refusal};
use super::ledger::{Failure, Order, OrderId};
use super::order::{Driver, MAX_PENDING, Pace};
use super::transport::now;
use crate::config::Challenge;

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
    /// Has every name proven, and returns those that were not. All are tried: one that fails ends the order, but what is
    /// wrong with the others is worth knowing.
    pub(super) async fn prove(&self, order: &Order, remote: &mut instant_acme::Order) -> Result<Vec<Failure>, Fault> {
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
        self.withdraw(exhibits.hosts);
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

    /// How a name is proven.
    fn kind(&self, name: &str) -> Challenge {
        if name.starts_with("*.") { Challenge::Dns01 } else { self.settings.challenge }
    }

    /// Takes away what is left of challenges by handshake, when no order is under way.
    pub(super) fn forget_handshakes(&self) {
        let Ok(files) = fs::read_dir(self.state.join("challenges")) else { return };
        let hosts = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
        self.withdraw(hosts);
    }

    fn withdraw(&self, hosts: Vec<String>) {
        for host in hosts {
            if let Err(error) = self.challenges.withdraw_alpn(&host) {
                log::warn!("acme: the challenge of {host} can't be removed: {error}");
            }
        }
    }

    /// Takes away what a process that is gone put up for an order.
    pub(super) async fn take_down_rest(&self, id: OrderId) {
        self.take_down(id, Exhibits { records: self.records(id), ..Exhibits::default() }).await;
    }

    fn records_file(&self, id: OrderId) -> PathBuf {
        self.state.join("orders").join(format!("{id}.dns"))
    }

    /// The DNS records that were published for an order and perhaps not taken away.
    fn records(&self, id: OrderId) -> Vec<Record> {
        let bytes = fs::read(self.records_file(id)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
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

/// Looks at the other names of an order that one name ended.
const MAX_LOOKS: u32 = 12;
