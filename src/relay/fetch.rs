//! Fetching for the cache: a request to a platform that belongs to no client, and whose answer many may get.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::header;
use jiff::Timestamp;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::origin::{Head, Origin};
use super::platforms::{Connection, Platform, Platforms, Stage, Turn};
use super::transform::{Transform, Wanted};
use crate::answer::Relayed;
use crate::cache::{Failure, Filling, Flight, Outcome, Times};
use crate::rewrite::Links;

/// A fetch that is to be made.
pub(super) struct Fetch {
    pub platforms: Arc<Platforms>,
    pub platform: Arc<Platform>,
    /// The request, but for what the cache asks besides.
    pub request: Box<RequestHeader>,
    pub relayed: Relayed,
    pub links: Option<Links>,
    /// Whether clients came by HTTPS.
    pub secure: bool,
    pub client: Option<IpAddr>,
    /// The host that clients asked for.
    pub asked: Vec<u8>,
    /// A hash of the URL, by which platforms may be chosen.
    pub url: u64,
}

/// What comes of a try.
enum Try {
    Done,
    Again(Flight),
}

impl Fetch {
    /// Makes it, and hands what comes to `flight`.
    pub async fn run(self, mut flight: Flight) {
        let mut turn = match self.platform.enter(self.client, self.url).await {
            Ok(turn) => turn,
            Err(_busy) => return flight.fail(Failure::Unreachable, now()),
        };
        if flight.has_stand_in(now()) {
            turn.hurry();
        }
        while let Try::Again(again) = self.attempt(&mut turn, flight).await {
            flight = again;
        }
    }

    async fn attempt(&self, turn: &mut Turn, flight: Flight) -> Try {
        let Ok(wire) = turn.idle().await else {
            flight.fail(Failure::Unreachable, now());
            return Try::Done;
        };
        let connector = self.platforms.connector();
        let (mut origin, reused) = match wire {
            Some(wire) => (Origin::reuse(wire, turn), true),
            None => {
                let Ok(peer) = turn.peer(Connection::Pooled).await else {
                    flight.fail(Failure::Unreachable, now());
                    return Try::Done;
                };
                // Boxed: it is seldom, and takes much room.
                match Box::pin(Origin::connect(connector, peer, turn)).await {
                    Ok(connected) => connected,
                    Err(error) => return failed(turn, flight, &error, Stage::Connecting),
                }
            }
        };
        let requested = now();
        let asked = flight.fields();
        let accept_encoding =
            asked.iter().find(|(name, _)| name == header::ACCEPT_ENCODING).map(|(_, value)| value.clone());
        let hsts = self.relayed.site().and_then(|site| site.hsts.as_deref()).filter(|_| self.secure);
        let mut wanted = Wanted {
            links: self.links.as_ref(),
            relayed: &self.relayed,
            asked: &self.asked,
            own: self.platform.config().host.as_ref().map(|host| host.as_str()),
            hsts,
            accept_encoding: accept_encoding.as_ref().and_then(|value| value.to_str().ok()),
            has_body: false,
        };
        let interim = |Head { status, mut fields }: Head| {
            Transform::new(status, &mut fields, &wanted);
            flight.interim(status, fields);
        };
        let Head { status, mut fields } = match origin.ask(&self.request, &asked, interim).await {
            Ok(head) => head,
            Err(error) => {
                origin.abandon().await;
                return failed(turn, flight, &error, Stage::Sent { reused, repeatable: true });
            }
        };
        turn.answered(status);
        origin.set_read_time(self.platform.config().read_time);
        wanted.has_body = true;
        let transform = Transform::new(status, &mut fields, &wanted);
        match flight.head(status, fields, Times { requested, received: now() }) {
            Outcome::Again(flight) => {
                origin.abandon().await;
                return Try::Again(flight);
            }
            Outcome::Done => {
                if !is_over(&mut origin).await {
                    origin.abandon().await;
                    return Try::Done;
                }
            }
            Outcome::Body(filling) => {
                if fill(&mut origin, *filling, transform, turn).await.is_err() {
                    origin.abandon().await;
                    return Try::Done;
                }
            }
        }
        origin.release(connector, turn).await;
        Try::Done
    }
}

fn failed(turn: &mut Turn, flight: Flight, error: &Error, stage: Stage) -> Try {
    if turn.failed(error, stage) {
        return Try::Again(flight);
    }
    flight.fail(Failure::of(error), now());
    Try::Done
}

/// Passes the body on; the connection can be used again if that went well.
async fn fill(origin: &mut Origin, mut filling: Filling, mut transform: Transform, turn: &Turn) -> Result<()> {
    // What is dropped unfinished broke off: whoever reads is told, and nothing is stored.
    let stopped = |_| Error::explain(ErrorType::InternalError, "nobody wants the rest");
    let broken = |failure| {
        turn.broke();
        Error::because(ErrorType::InvalidHTTPHeader, "changing an answer", failure)
    };
    // Trailers may be about the body as it was.
    let is_changed = transform.is_some();
    while let Some(piece) = origin.piece().await? {
        let piece = transform.write(piece).map_err(broken)?;
        filling.write(piece).await.map_err(stopped)?;
    }
    let trailers = origin.trailers().await?;
    let rest = transform.end().map_err(broken)?;
    filling.write(rest).await.map_err(stopped)?;
    filling.end(trailers.filter(|_| !is_changed)).map_err(stopped)
}

/// Whether nothing is left of an answer that nobody needs, such as a 304.
async fn is_over(origin: &mut Origin) -> bool {
    loop {
        match tokio::time::timeout(REST_TIME, origin.piece()).await {
            Ok(Ok(Some(piece))) if piece.len() < REST => {}
            Ok(Ok(None)) => return true,
            _ => return false,
        }
    }
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// How long, and how large a piece, is waited for of a body that nobody needs.
const REST_TIME: Duration = Duration::from_millis(100);
const REST: usize = 16 * 1024;
