//! GET and HEAD through the cache: answered from the store, or with what one fetch brings for all who wait for it.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, Version, header};
use pingora::Result;
use pingora::http::RequestHeader;
use tokio::time::sleep;

use super::{
    RETRY_AFTER, Relay, Visit,
    client::Client,
    fetch::{Fetch, now},
    forward, links,
    platforms::{self, Platform},
};
use crate::answer::{Relayed, Sent, session::Ready};
use crate::cache::{Asked, Body, CACHE_STATUS, Flight, Followed, Follower, KeyParts, Lookup, ONLY_IF_CACHED, Reply};
use crate::model::Method;

impl Relay {
    /// Answers a request that the cache may answer: a GET or HEAD without a body, whose fields are `fields`. False if it is
    /// for the proxy. What was sent is left in `sent`, as far as an answer was begun.
    ///
    /// # Errors
    /// If the client is gone, or the platform's answer broke off when it had begun.
    pub(super) async fn answer_cached(
        &self,
        client: &mut impl Client,
        fields: &HeaderMap,
        visit: &Visit,
        relayed: &Relayed,
        sent: &mut Sent<'_>,
    ) -> Result<bool> {
        let rules = &relayed.serving().cache;
        if visit.facts.method == Method::Other || !rules.enabled {
            return Ok(false);
        }
        let (Some(host), Some(platform)) = (visit.facts.host.as_deref(), self.platforms.get(&relayed.platform)) else {
            return Ok(false);
        };
        let asked = Asked {
            key: KeyParts { secure: visit.facts.secure, host, target: &visit.facts.target },
            head_only: visit.facts.method == Method::Head,
            fields,
            rules,
            now: now(),
            down: platform.is_down(),
        };
        let fetch = |version, flight| self.fetch(version, fields, visit, relayed, &platform, flight);
        loop {
            let mut patience = Some(relayed.serving().patience);
            let mut follower: Follower = match self.cache.lookup(&asked) {
                Lookup::Hit(hit) => return send(client, hit.respond(&asked), sent).await,
                Lookup::Stale(hit, flight) => {
                    if let Some(Err(error)) = flight.map(|flight| fetch(client.version(), flight)) {
                        self.complain(&error, Some(relayed));
                    }
                    return send(client, hit.respond(&asked), sent).await;
                }
                Lookup::Fetch(flight, follower) => {
                    if !flight.has_stand_in(asked.now) {
                        // A clock costs more than it seems.
                        patience = None;
                    }
                    if let Err(error) = fetch(client.version(), flight) {
                        self.complain(&error, Some(relayed));
                        let ready = self.responder.stand_in(&visit.facts, relayed, 500, None, Ready::new)?;
                        return send_page(client, ready, asked.head_only, sent).await;
                    }
                    follower
                }
                Lookup::Join(follower) => follower,
                Lookup::Pass(_) => return Ok(false),
                Lookup::GatewayTimeout => {
                    let mut ready = self.responder.stand_in(&visit.facts, relayed, 504, None, Ready::new)?;
                    ready.header.insert_header(CACHE_STATUS, ONLY_IF_CACHED)?;
                    return send_page(client, ready, asked.head_only, sent).await;
                }
            };
            loop {
                match self.follow(client, follower, &asked, patience).await? {
                    Followed::Interim(interim, again) => {
                        client.interim(&interim).await?;
                        follower = again;
                    }
                    Followed::Reply(reply) => return send(client, reply, sent).await,
                    Followed::Again => break,
                    Followed::Failed(failure) => {
                        let (status, time) = (failure.status(), Some(RETRY_AFTER));
                        let ready = self.responder.stand_in(&visit.facts, relayed, status, time, Ready::new)?;
                        return send_page(client, ready, asked.head_only, sent).await;
                    }
                }
            }
        }
    }

    /// Waits for what is being fetched, as long as the client does; no longer than `patience` if something stale may be had
    /// instead.
    async fn follow(
        &self,
        client: &mut impl Client,
        follower: Follower,
        asked: &Asked<'_>,
        patience: Option<Duration>,
    ) -> Result<Followed> {
        let mut followed = pin!(follower.reply(asked));
        // The fetch goes on without the client: others may want it.
        let mut gone = pin!(client.gone());
        tokio::select! {
            biased;
            followed = &mut followed => return Ok(followed),
            gone = &mut gone => return Err(gone),
            () = sleep(patience.unwrap_or_default()), if patience.is_some() => {
                if let Some(stale) = self.cache.stand_in(asked) {
                    return Ok(Followed::Reply(stale.respond(asked)));
                }
            }
        }
        tokio::select! {
            biased;
            followed = followed => Ok(followed),
            gone = gone => Err(gone),
        }
    }

    /// Begins a fetch, which goes on without the client.
    fn fetch(
        &self,
        version: Version,
        fields: &HeaderMap,
        visit: &Visit,
        relayed: &Relayed,
        platform: &Arc<Platform>,
        flight: Flight,
    ) -> Result<()> {
        let mut request = RequestHeader::build_no_case("GET", b"/", Some(fields.len() + 8))?;
        // What the client said of its own connection is not for the platform (RFC 9110, 7.6.1).
        let nominated = fields.get_all(header::CONNECTION);
        let is_nominated = |name: &str| {
            let mut options = nominated.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        };
        for (name, value) in fields {
            if !(HOP_BY_HOP.contains(&name.as_str()) || Flight::NOT_SENT.contains(name) || is_nominated(name.as_str()))
            {
                request.append_header(name, value)?;
            }
        }
        let own = platform.config().host.as_ref().map(|host| host.as_str());
        forward::address(&mut request, visit, relayed, own, version)?;
        let host = visit.facts.host.as_deref().unwrap_or_default();
        let fetch = Fetch {
            platforms: self.platforms.clone(),
            platform: platform.clone(),
            request: Box::new(request),
            relayed: relayed.clone(),
            links: links(visit, relayed, platform),
            secure: visit.facts.secure,
            client: visit.facts.client,
            asked: host.to_vec(),
            url: platforms::hash(relayed.path.as_bytes(), platforms::hash(host, 0)),
        };
        // It is large, and tokio moves what it is given.
        tokio::spawn(Box::pin(fetch.run(flight)));
        Ok(())
    }
}

/// Sends an answer of the cache.
async fn send(client: &mut impl Client, reply: Reply, sent: &mut Sent<'_>) -> Result<bool> {
    (sent.status, sent.cache) = (reply.status, reply.source.name());
    let answered = client.answer(reply.status, reply.fields, reply.body).await;
    sent.bytes = client.sent();
    answered.map(|()| true)
}

/// Sends an answer of our own instead.
pub(super) async fn send_page(
    client: &mut impl Client,
    page: Ready,
    head_only: bool,
    sent: &mut Sent<'_>,
) -> Result<bool> {
    let body = if head_only || page.body.is_empty() { Body::Empty } else { Body::Pieces(vec![page.body]) };
    sent.status = page.header.status.as_u16();
    let answered = client.answer(sent.status, page.header.headers.clone(), body).await;
    sent.bytes = client.sent();
    answered.map(|()| true)
}

/// Fields that are about one connection (RFC 9110, 7.6.1), or that the gateway answers itself.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
