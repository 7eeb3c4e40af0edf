//! What runs beside the traffic of one platform: looking its names up, and asking its origins how they are.

use std::{collections::HashMap, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::endpoint::{Connection, Endpoint, Place, check_pins};
use super::platform::Platform;
use super::{Platforms, mix};
use crate::config::{HealthCheck, OriginPlace};

/// How names become addresses: the system's way, or a test's.
pub type Lookup =
    Arc<dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// As the system does it: /etc/hosts, DNS, and whatever else it is told to ask.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|name, port| Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }))
}

impl Platform {
    /// Keeps addresses and health up to date, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, platforms: Arc<Platforms>) {
        tokio::join!(self.follow(&platforms), self.bring_back(&platforms));
    }

    /// Looks names up and checks whatever they mean.
    async fn follow(self: &Arc<Self>, platforms: &Arc<Platforms>) {
        let mut checks = Checks::default();
        let has_names = self.config.origins.iter().any(|origin| matches!(origin.place, OriginPlace::Name(..)));
        for round in 0.. {
            let mut again = self.config.resolve;
            if has_names && !self.resolve(&platforms.lookup).await {
                again = again.min(IMPATIENCE);
            }
            checks.follow(self, platforms);
            if !has_names {
                break;
            }
            sleep(jittered(again, round)).await;
        }
        while checks.tasks.join_next().await.is_some() {}
    }

    /// Tries to reach origins that are left alone, so that no client has to wait for one that is still dead.
    async fn bring_back(self: &Arc<Self>, platforms: &Arc<Platforms>) {
        let mut probes = JoinSet::new();
        loop {
            // Now and then without being told: one may have gone out just as its last probe ended.
            let _ = timeout(RESCAN, self.has_out.notified()).await;
            for endpoint in self.endpoints.load().iter().filter(|end| end.circuit.begin_probe()) {
                probes.spawn(probe(self.clone(), endpoint.clone(), platforms.clone()));
            }
            while probes.try_join_next().is_some() {}
        }
    }

    /// Looks every name up. False if one of them has no address yet.
    pub(super) async fn resolve(&self, lookup: &Lookup) -> bool {
        let before = self.endpoints.load_full();
        let mut after: Vec<Arc<Endpoint>> = Vec::new();
        let mut is_complete = true;
        for (number, origin) in self.config.origins.iter().enumerate() {
            let known = || before.iter().filter(|end| end.origin == number).cloned();
            let OriginPlace::Name(name, port) = &origin.place else {
                after.extend(known());
                continue;
            };
            let found = timeout(LOOKUP_TIME, lookup(name.to_string(), *port)).await;
            let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match found {
                Ok(mut addresses) if !addresses.is_empty() => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    addresses.truncate(MAX_ADDRESSES);
                    for address in addresses {
                        let new = Endpoint::new(&self.common, &self.config, number, origin, Place::Inet(address));
                        let Some(new) = new else { continue };
                        // What is known of an address stays known.
                        after.push(known().find(|end| end.id == new.id).unwrap_or_else(|| Arc::new(new)));
                    }
                }
                missing => {
                    let why = missing.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                    let kept = if known().next().is_some() { "; the last addresses hold" } else { "" };
                    log::warn!("platform `{}`: {name} can't be looked up: {why}{kept}", self.name);
                    is_complete &= known().next().is_some();
                    after.extend(known());
                }
            }
        }
        if !after.iter().map(|end| end.id).eq(before.iter().map(|end| end.id)) {
            self.endpoints.store(Arc::new(after));
        }
        (0..self.config.origins.len()).for_each(|origin| self.show(origin));
        self.resolved.send_replace(true);
        is_complete
    }
}

/// The health checks that run, one for each address.
#[derive(Default)]
struct Checks {
    tasks: JoinSet<()>,
    by_endpoint: HashMap<u64, AbortHandle>,
}

impl Checks {
    /// Checks the addresses that there are now, and no others.
    fn follow(&mut self, platform: &Arc<Platform>, platforms: &Arc<Platforms>) {
        let Some(health) = &platform.config.health else { return };
        let endpoints = platform.endpoints.load_full();
        self.by_endpoint.retain(|id, task| {
            let stays = endpoints.iter().any(|end| end.id == *id);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for endpoint in endpoints.iter() {
            if !self.by_endpoint.contains_key(&endpoint.id) {
                let check = check(platform.clone(), endpoint.clone(), health.clone(), platforms.clone());
                self.by_endpoint.insert(endpoint.id, self.tasks.spawn(check));
            }
        }
    }
}

/// Asks an origin how it is, for ever.
async fn check(platform: Arc<Platform>, endpoint: Arc<Endpoint>, health: HealthCheck, platforms: Arc<Platforms>) {
    let (mut good, mut bad) = (0, 0);
    for round in 0.. {
        let asked = timeout(health.timeout, ask(&platform, &endpoint, &health, platforms.connector())).await;
        let outcome = asked.unwrap_or_else(|_| {
            let why = format!("no answer in {:?}", health.timeout);
            Err(Error::explain(ErrorType::ReadTimedout, why))
        });
        (good, bad) = if outcome.is_ok() { (good + 1, 0) } else { (0, bad + 1) };
        match outcome {
            Ok(()) if good >= health.up && endpoint.circuit.set_well(true) => {
                log::info!("platform `{}`: {} is well again", platform.name, endpoint.shown);
                platform.show(endpoint.origin);
            }
            Err(error) if bad >= health.down && endpoint.circuit.set_well(false) => {
                log::warn!("platform `{}`: {} is unwell: {error}", platform.name, endpoint.shown);
                platform.show(endpoint.origin);
            }
            _ => {}
        }
        sleep(jittered(health.interval, mix(endpoint.id, round))).await;
    }
}

/// Tries to reach an origin that is left alone, until it can be reached.
async fn probe(platform: Arc<Platform>, endpoint: Arc<Endpoint>, platforms: Arc<Platforms>) {
    let (time, connector) = (platform.config.eject_time, platforms.connector());
    loop {
        sleep(time).await;
        let reached = match &platform.config.health {
            Some(health) => timeout(health.timeout, ask(&platform, &endpoint, health, connector)).await,
            None => timeout(platform.config.connect_time, reach(&platform, &endpoint, connector)).await,
        };
        if matches!(reached, Ok(Ok(()))) {
            endpoint.circuit.reached();
            return;
        }
        let is_known = platform.endpoints.load().iter().any(|end| end.id == endpoint.id);
        if !is_known || !endpoint.circuit.put_off(platform.now() + time.as_millis() as u64) {
            return;
        }
    }
}

/// Connects as a request does, and no more: there is no path that could be asked for without being told.
async fn reach(platform: &Platform, endpoint: &Endpoint, connector: &Connector) -> Result<()> {
    let peer = endpoint.peer(Connection::New, platform.config.connect_time);
    let (mut session, _) = connector.get_http_session(&*peer).await?;
    let checked = check_pins(&platform.config, session.digest());
    session.shutdown().await;
    checked
}

/// One question, over a connection of its own, just as requests are sent: the same TLS, the same names.
async fn ask(platform: &Platform, endpoint: &Endpoint, health: &HealthCheck, connector: &Connector) -> Result<()> {
    let peer = endpoint.peer(Connection::New, health.timeout);
    let (mut session, _) = connector.get_http_session(&*peer).await?;
    check_pins(&platform.config, session.digest())?;
    let origin = &platform.config.origins[endpoint.origin];
    let authority = origin.as_str().split_once("://").map_or("localhost", |(_, authority)| authority);
    let host = health.host.as_ref().or(platform.config.host.as_ref()).map_or(authority, |host| host.as_str());
    let mut request = RequestHeader::build("GET", health.path.as_bytes(), Some(2))?;
    if session.as_http2().is_some() {
        let url = format!("https://{host}{}", health.path).parse();
        request.set_uri(url.map_err(|error| Error::because(ErrorType::InternalError, "the path", error))?);
    } else {
        request.insert_header(http::header::HOST, host)?;
    }
    request.insert_header(http::header::USER_AGENT, "waypost-health-check")?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    let status = loop {
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |header| header.status.as_u16());
        if !(100..200).contains(&status) {
            break status;
        }
    };
    session.shutdown().await;
    match status == health.status {
        true => Ok(()),
        false => Err(Error::explain(ErrorType::HTTPStatus(status), format!("{} answers {status}", health.path))),
    }
}

/// A time, give or take a tenth, so that what began together doesn't stay together.
fn jittered(time: Duration, seed: u64) -> Duration {
    let share = mix(seed, 0x9E37_79B9_7F4A_7C15) % 2001;
    time.mul_f64(0.9 + share as f64 / 10_000.0)
}

/// How long one look-up may take.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// How soon a name without an address is looked up again.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How often it is seen whether all origins that are out are probed.
const RESCAN: Duration = Duration::from_secs(5);

/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 32;
