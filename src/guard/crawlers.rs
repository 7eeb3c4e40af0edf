//! Whether clients that call themselves crawlers are.
//!
//! By forward-confirmed reverse DNS: the reverse look-up of the client's address gives a name below one of the crawler's
//! domains, and that name's own look-up gives the address. Whoever owns an address can give it any reverse name; only who
//! owns the domain can confirm it.
//!
//! Owns: what is known of addresses, and the thread that asks DNS. Never does: wait for DNS on a request's way; until an
//! answer is there, and if DNS fails, nothing is known, which neither verifies nor refutes.
//!
//! Invariants: at most [`MAX_KNOWN`] addresses are remembered, [`MAX_WAITING`] wait to be asked for and [`MAX_ASKED`] are
//! asked for at a time, whoever claims what; without a rule that asks, there is no thread and no look-up.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use moka::{Expiry, sync::Cache};
use tokio::sync::{Semaphore, mpsc};

use super::View;
use super::names::{Names, SystemNames, Unanswered};
use super::networks::Networks;
use super::text::of_field;
use crate::config::CrawlerSettings;
use crate::config::condition::Standing;

/// Addresses that are remembered.
pub const MAX_KNOWN: u64 = 100_000;

/// Addresses that wait to be asked for. More are asked for when they come again.
const MAX_WAITING: usize = 1024;

/// Addresses that are asked for at the same time.
const MAX_ASKED: usize = 32;

/// Names of one address that are looked at.
const MAX_NAMES: usize = 4;

/// How long it is remembered that an address has a confirmed name, or has none; that DNS gave no answer; and that an
/// answer is awaited, in case it never comes.
const CONFIRMED: Duration = Duration::from_secs(24 * 3600);
const REFUTED: Duration = Duration::from_secs(3600);
const UNANSWERED: Duration = Duration::from_secs(300);
const AWAITED: Duration = Duration::from_secs(60);

/// The crawlers of a gateway, and what is known of addresses.
pub struct Crawlers {
    crawlers: Vec<Crawler>,
    known: Cache<IpAddr, Known>,
    names: Arc<dyn Names>,
    asked: OnceLock<mpsc::Sender<IpAddr>>,
}

#[derive(Debug)]
struct Crawler {
    name: String,
    /// In lower case.
    user_agents: Vec<String>,
    /// In lower case, without a dot in front.
    domains: Vec<String>,
    networks: Networks,
    has_networks: bool,
}

/// What is known of an address.
#[derive(Clone, Debug)]
enum Known {
    /// Its confirmed names, of those that any crawler has.
    Names(Arc<[String]>),
    /// DNS is out of order.
    Unanswered,
    /// DNS is being asked.
    Awaited,
}

impl Crawlers {
    /// Crawlers as gateway.toml has them; `servers` are asked for names, those of the system where there are none.
    pub fn new(crawlers: &[CrawlerSettings], servers: &[SocketAddr]) -> Self {
        Crawlers::with_names(crawlers, Arc::new(SystemNames::new(servers)))
    }

    fn with_names(crawlers: &[CrawlerSettings], names: Arc<dyn Names>) -> Self {
        let crawlers = crawlers.iter().map(|crawler| Crawler {
            name: crawler.name.clone(),
            user_agents: crawler.user_agents.clone(),
            domains: crawler.domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
            networks: Networks::new(&crawler.networks),
            has_networks: !crawler.networks.is_empty(),
        });
        Crawlers {
            crawlers: crawlers.collect(),
            known: Cache::builder().max_capacity(MAX_KNOWN).expire_after(ForAWhile).build(),
            names,
            asked: OnceLock::new(),
        }
    }

    /// Whether the client says that it is one of these crawlers (`*`: any), and this is known of its word. If nothing is
    /// known, DNS is asked, for the next time.
    pub(super) fn is_known_as(&self, standing: Standing, names: &[Box<str>], view: &View<'_>) -> bool {
        let Some(client) = view.client.map(|client| client.to_canonical()) else { return false };
        let mut agent = String::new();
        view.fields.each("user-agent", &mut |value| {
            agent.push_str(&of_field(value).to_ascii_lowercase());
            agent.push('\n');
        });
        let mut verified = false;
        let mut refuted = false;
        for crawler in &self.crawlers {
            let is_asked_for = names.iter().any(|name| **name == *"*" || **name == *crawler.name);
            if is_asked_for && crawler.user_agents.iter().any(|own| agent.contains(own)) {
                match self.standing(crawler, client) {
                    Some(Standing::Verified) => verified = true,
                    Some(Standing::Impostor) => refuted = true,
                    None => {}
                }
            }
        }
        match standing {
            Standing::Verified => verified,
            Standing::Impostor => refuted && !verified,
        }
    }

    fn standing(&self, crawler: &Crawler, client: IpAddr) -> Option<Standing> {
        if crawler.networks.contains(client) {
            return Some(Standing::Verified);
        }
        if crawler.domains.is_empty() {
            return crawler.has_networks.then_some(Standing::Impostor);
        }
        match self.known.get(&client) {
            Some(Known::Names(names)) if names.iter().any(|name| crawler.has(name)) => Some(Standing::Verified),
            Some(Known::Names(_)) => Some(Standing::Impostor),
            Some(Known::Unanswered | Known::Awaited) => None,
            None => {
                self.ask(client);
                None
            }
        }
    }

    fn ask(&self, client: IpAddr) {
        self.known.insert(client, Known::Awaited);
        let asked = self.asked.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(MAX_WAITING);
            let domains = self.crawlers.iter().flat_map(|crawler| &crawler.domains).cloned().collect();
            let asker = Asker { known: self.known.clone(), names: self.names.clone(), domains: Arc::new(domains) };
            let spawned = thread::Builder::new().name("crawlers".to_owned()).spawn(move || asker.run(receiver));
            if let Err(error) = spawned {
                log::error!("guard: no thread to verify crawlers: {error}");
            }
            sender
        });
        if asked.try_send(client).is_err() {
            self.known.invalidate(&client);
        }
    }
}

impl fmt::Debug for Crawlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crawlers").field("crawlers", &self.crawlers.len()).finish_non_exhaustive()
    }
}

impl Crawler {
    fn has(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| is_below(name, domain))
    }
}

/// Whether a name is a domain, or below it. Both are in lower case.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

struct ForAWhile;

impl Expiry<IpAddr, Known> for ForAWhile {
    fn expire_after_create(&self, _: &IpAddr, known: &Known, _: Instant) -> Option<Duration> {
        Some(match known {
            Known::Names(names) if names.is_empty() => REFUTED,
            Known::Names(_) => CONFIRMED,
            Known::Unanswered => UNANSWERED,
            Known::Awaited => AWAITED,
        })
    }

    fn expire_after_update(
        &self,
        client: &IpAddr,
        known: &Known,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(client, known, now)
    }
}

/// Asks DNS, on a thread of its own.
struct Asker {
    known: Cache<IpAddr, Known>,
    names: Arc<dyn Names>,
    /// Of all crawlers.
    domains: Arc<HashSet<String>>,
}

impl Asker {
    /// Until the crawlers are gone.
    fn run(self, mut asked: mpsc::Receiver<IpAddr>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return log::error!("guard: crawlers can't be verified: {error}"),
        };
        runtime.block_on(async move {
            let turns = Arc::new(Semaphore::new(MAX_ASKED));
            while let Some(client) = asked.recv().await {
                // The semaphore is never closed.
                let Ok(turn) = turns.clone().acquire_owned().await else { return };
                let (known, names, domains) = (self.known.clone(), self.names.clone(), self.domains.clone());
                tokio::spawn(async move {
                    let found = match confirmed(&*names, &domains, client).await {
                        Ok(names) => Known::Names(names.into()),
                        Err(Unanswered) => Known::Unanswered,
                    };
                    known.insert(client, found);
                    drop(turn);
                });
            }
        });
    }
}

/// The names of an address that are in one of the domains and give the address.
async fn confirmed(names: &dyn Names, domains: &HashSet<String>, client: IpAddr) -> Result<Vec<String>, Unanswered> {
    let mut confirmed = Vec::new();
    let mut unanswered = false;
    let reverse = names.names_of(client).await?;
    for name in reverse.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).take(MAX_NAMES) {
        if !domains.iter().any(|domain| is_below(&name, domain)) {
            continue;
        }
        match names.addresses_of(&name, client.is_ipv4()).await {
            Ok(addresses) if addresses.contains(&client) => confirmed.push(name),
            Ok(_) => {}
            Err(Unanswered) => unanswered = true,
        }
    }
    // One name is enough; without one, the name that nobody told of could have been it.
    if confirmed.is_empty() && unanswered { Err(Unanswered) } else { Ok(confirmed) }
}

#[cfg(test)]
mod tests;
