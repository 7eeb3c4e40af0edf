//! Connections in numbers: who came, who was let in, what TLS they speak, which limit ended them.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::{families::register, names};

/// The ways that a request can take through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// HTTP/1 answered straight from the connection's buffer.
    Fast,
    /// HTTP/1 through a session of Pingora's, or through more of the cache than its store.
    Session,
    /// HTTP/2.
    Http2,
}

impl Lane {
    /// All of them, in the order of their numbers.
    pub const ALL: [Lane; 3] = [Lane::Fast, Lane::Session, Lane::Http2];

    /// The word for labels and logs.
    pub fn name(self) -> &'static str {
        LANES[self as usize].1
    }
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many connections are open as may be.
    Connections,
    /// As many connections of this client are open as may be.
    Client,
    /// It had to begin with a PROXY header and its peer is no trusted proxy.
    UntrustedProxy,
    /// Its PROXY header was missing or malformed.
    BadProxyHeader,
    /// The system had no file descriptor left.
    Descriptors,
}

/// Which limit a client met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Time of a TLS handshake, or of a PROXY header.
    HandshakeTime,
    /// Time from the first byte of a head to its end.
    HeadTime,
    /// Time between two requests.
    IdleTime,
    /// Time, or rate, of a request body.
    BodyRate,
    /// Rate at which answers are taken.
    SendRate,
    /// Length of the request target.
    Target,
    /// Length or number of the header fields.
    Head,
    /// Requests of one connection.
    Requests,
    /// Streams reset or malformed, or other floods, within one HTTP/2 connection.
    Http2Flood,
    /// Not a limit of size or time: requests that are malformed.
    Malformed,
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client went away, or the network did.
    Closed,
    /// It took too long.
    Timeout,
    /// What came is not TLS.
    NotTls,
    /// The two have no version, suite, group or protocol in common.
    NothingInCommon,
    /// No certificate for the name that was asked for.
    NoCertificate,
    /// The client refused our certificate.
    Distrusted,
    /// Anything else.
    Other,
}

/// The handles of connections and lanes.
#[derive(Debug)]
pub struct Connections {
    accepted: [IntCounter; 2],
    open: [IntGauge; 2],
    refused: [IntCounter; REFUSED.len()],
    limits: [IntCounter; LIMITS.len()],
    handshakes: IntCounterVec,
    failures: [IntCounter; FAILURES.len()],
}

impl Connections {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |family: names::Family| register(registry, family.counters()?);
        let accepted = counters(names::CONNECTIONS_ACCEPTED)?;
        let open = register(registry, names::CONNECTIONS_OPEN.int_gauges()?)?;
        let refused = counters(names::CONNECTIONS_REFUSED)?;
        let limits = counters(names::LIMITS)?;
        let handshakes = counters(names::TLS_HANDSHAKES)?;
        let failures = counters(names::TLS_HANDSHAKE_FAILURES)?;
        Ok(Connections {
            accepted: bound(&accepted, LISTENERS)?,
            open: [
                open.get_metric_with_label_values(&[LISTENERS[0]])?,
                open.get_metric_with_label_values(&[LISTENERS[1]])?,
            ],
            refused: bound(&refused, REFUSED.map(|(_, name)| name))?,
            limits: bound(&limits, LIMITS.map(|(_, name)| name))?,
            handshakes,
            failures: bound(&failures, FAILURES.map(|(_, name)| name))?,
        })
    }

    /// Counts a connection, to a listener for HTTPS or not. Returns the gauge of those that are open.
    pub fn accepted(&self, https: bool) -> IntGauge {
        self.accepted[usize::from(https)].inc();
        self.open[usize::from(https)].clone()
    }

    /// Counts a connection that was not let in.
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }

    /// Counts a client that met a limit.
    pub fn limit(&self, limit: Limit) {
        self.limits[limit as usize].inc();
    }

    /// Counts a handshake; version and cipher are names of what we offer, so there are few.
    pub fn handshake(&self, version: &str, cipher: &str, resumed: bool) {
        let labels = [version, cipher, if resumed { "true" } else { "false" }];
        if let Ok(counter) = self.handshakes.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }

    /// Counts a handshake that failed.
    pub fn handshake_failure(&self, failure: HandshakeFailure) {
        self.failures[failure as usize].inc();
    }
}

impl HandshakeFailure {
    /// The word for labels and logs.
    pub fn name(self) -> &'static str {
        FAILURES[self as usize].1
    }
}

/// All series are there from the start, so that a rate over them never misses the first one.
fn bound<const N: usize>(family: &IntCounterVec, labels: [&str; N]) -> Result<[IntCounter; N], prometheus::Error> {
    let bound: Vec<IntCounter> =
        labels.iter().map(|label| family.get_metric_with_label_values(&[label])).collect::<Result<_, _>>()?;
    bound.try_into().map_err(|_| prometheus::Error::Msg("a label too many".to_owned()))
}

const LISTENERS: [&str; 2] = ["http", "https"];

const LANES: [(Lane, &str); 3] = [(Lane::Fast, "fast"), (Lane::Session, "session"), (Lane::Http2, "http2")];

const REFUSED: [(Refused, &str); 5] = [
    (Refused::Connections, "connections"),
    (Refused::Client, "client"),
    (Refused::UntrustedProxy, "untrusted_proxy"),
    (Refused::BadProxyHeader, "bad_proxy_header"),
    (Refused::Descriptors, "descriptors"),
];

const LIMITS: [(Limit, &str); 10] = [
    (Limit::HandshakeTime, "handshake_time"),
    (Limit::HeadTime, "head_time"),
    (Limit::IdleTime, "idle_time"),
    (Limit::BodyRate, "body_rate"),
    (Limit::SendRate, "send_rate"),
    (Limit::Target, "target"),
    (Limit::Head, "head"),
    (Limit::Requests, "requests"),
    (Limit::Http2Flood, "http2_flood"),
    (Limit::Malformed, "malformed"),
];

const FAILURES: [(HandshakeFailure, &str); 7] = [
    (HandshakeFailure::Closed, "closed"),
    (HandshakeFailure::Timeout, "timeout"),
    (HandshakeFailure::NotTls, "not_tls"),
    (HandshakeFailure::NothingInCommon, "nothing_in_common"),
    (HandshakeFailure::NoCertificate, "no_certificate"),
    (HandshakeFailure::Distrusted, "distrusted"),
    (HandshakeFailure::Other, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_their_numbers_say() {
        assert!(LANES.iter().enumerate().all(|(at, (lane, _))| *lane as usize == at));
        assert!(REFUSED.iter().enumerate().all(|(at, (reason, _))| *reason as usize == at));
        assert!(LIMITS.iter().enumerate().all(|(at, (limit, _))| *limit as usize == at));
        assert!(FAILURES.iter().enumerate().all(|(at, (failure, _))| *failure as usize == at));
    }
}
