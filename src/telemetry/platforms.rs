//! What platforms do, in numbers.

use std::{fmt, time::Duration};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{families::register, names};

/// What came of a request to a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformOutcome {
    /// 2xx, and 101.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// No answer.
    Failed,
}

/// Why a request got no answer, or a try of it none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformError {
    /// No connection could be made.
    Connect,
    /// Something took too long.
    Timeout,
    /// The connection ended too early.
    Reset,
    /// The handshake failed, or the certificate is not the right one.
    Tls,
    /// What came is not HTTP.
    Protocol,
    /// The platform has as many requests as it may, and the queue is full or too slow.
    Busy,
    /// None of its origins is well: nothing was tried.
    Breaker,
}

impl PlatformOutcome {
    /// All of them, in the order of the variants.
    pub const ALL: [PlatformOutcome; 5] = [
        PlatformOutcome::Success,
        PlatformOutcome::Redirect,
        PlatformOutcome::ClientError,
        PlatformOutcome::ServerError,
        PlatformOutcome::Failed,
    ];

    /// By the status of an answer.
    pub fn of(status: u16) -> Self {
        match status {
            0..=299 => PlatformOutcome::Success,
            300..=399 => PlatformOutcome::Redirect,
            400..=499 => PlatformOutcome::ClientError,
            _ => PlatformOutcome::ServerError,
        }
    }

    /// The word for labels.
    pub fn name(self) -> &'static str {
        ["success", "redirect", "client_error", "server_error", "failed"][self as usize]
    }
}

impl PlatformError {
    /// All of them, in the order of the variants.
    pub const ALL: [PlatformError; 7] = [
        PlatformError::Connect,
        PlatformError::Timeout,
        PlatformError::Reset,
        PlatformError::Tls,
        PlatformError::Protocol,
        PlatformError::Busy,
        PlatformError::Breaker,
    ];

    /// The word for labels.
    pub fn name(self) -> &'static str {
        ["connect", "timeout", "reset", "tls", "protocol", "busy", "breaker"][self as usize]
    }
}

/// The families of metrics of all platforms.
#[derive(Clone, Debug)]
pub struct PlatformFamilies {
    requests: IntCounterVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    broken: IntCounterVec,
    ejections: IntCounterVec,
    duration: HistogramVec,
    up: IntGaugeVec,
    in_flight: IntGaugeVec,
    queued: IntGaugeVec,
}

/// The metrics of one platform, all bound: counting takes no lock and looks nothing up.
pub struct PlatformMetrics {
    name: Box<str>,
    origins: Vec<Box<str>>,
    families: PlatformFamilies,
    requests: [IntCounter; PlatformOutcome::ALL.len()],
    errors: [IntCounter; PlatformError::ALL.len()],
    ejections: Vec<IntCounter>,
    up: Vec<IntGauge>,
    duration: Histogram,
    /// Requests that were tried again.
    pub retries: IntCounter,
    /// Answers whose bodies could not be rewritten.
    pub broken: IntCounter,
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Requests that wait.
    pub queued: IntGauge,
}

impl PlatformFamilies {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |family: names::Family| register(registry, family.counters()?);
        let gauges = |family: names::Family| register(registry, family.int_gauges()?);
        Ok(PlatformFamilies {
            requests: counters(names::PLATFORM_REQUESTS)?,
            errors: counters(names::PLATFORM_ERRORS)?,
            retries: counters(names::PLATFORM_RETRIES)?,
            broken: counters(names::PLATFORM_BROKEN)?,
            ejections: counters(names::PLATFORM_EJECTIONS)?,
            duration: register(registry, names::PLATFORM_DURATION.histograms(&DURATION_BUCKETS)?)?,
            up: gauges(names::PLATFORM_ORIGIN_UP)?,
            in_flight: gauges(names::PLATFORM_IN_FLIGHT)?,
            queued: gauges(names::PLATFORM_QUEUED)?,
        })
    }

    /// The metrics of a platform with these origins, each at 0 and each origin up.
    ///
    /// # Errors
    /// Never, since the labels are as many as the families have.
    pub fn bind<'a>(
        &self,
        name: &str,
        origins: impl IntoIterator<Item = &'a str>,
    ) -> Result<PlatformMetrics, prometheus::Error> {
        let origins: Vec<Box<str>> = origins.into_iter().map(Into::into).collect();
        let each = |family: &IntCounterVec| {
            origins.iter().map(|origin| family.get_metric_with_label_values(&[name, origin])).collect::<Result<_, _>>()
        };
        let outcome = |outcome: PlatformOutcome| self.requests.get_metric_with_label_values(&[name, outcome.name()]);
        let error = |error: PlatformError| self.errors.get_metric_with_label_values(&[name, error.name()]);
        let up = origins.iter().map(|origin| self.up.get_metric_with_label_values(&[name, origin]));
        let up = up.inspect(|gauge| gauge.iter().for_each(|gauge| gauge.set(1)));
        let [o0, o1, o2, o3, o4] = PlatformOutcome::ALL.map(outcome);
        let [e0, e1, e2, e3, e4, e5, e6] = PlatformError::ALL.map(error);
        Ok(PlatformMetrics {
            requests: [o0?, o1?, o2?, o3?, o4?],
            errors: [e0?, e1?, e2?, e3?, e4?, e5?, e6?],
            ejections: each(&self.ejections)?,
            up: up.collect::<Result<_, _>>()?,
            duration: self.duration.get_metric_with_label_values(&[name])?,
            retries: self.retries.get_metric_with_label_values(&[name])?,
            broken: self.broken.get_metric_with_label_values(&[name])?,
            in_flight: self.in_flight.get_metric_with_label_values(&[name])?,
            queued: self.queued.get_metric_with_label_values(&[name])?,
            families: self.clone(),
            name: name.into(),
            origins,
        })
    }
}

impl PlatformMetrics {
    /// Counts a request that is over.
    pub fn request(&self, outcome: PlatformOutcome) {
        self.requests[outcome as usize].inc();
    }

    /// Counts a try that got no answer.
    pub fn error(&self, error: PlatformError) {
        self.errors[error as usize].inc();
    }

    /// Notes how long a request took to the head of its answer.
    pub fn observe(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts an origin, by number, that is left alone.
    pub fn ejected(&self, origin: usize) {
        if let Some(ejections) = self.ejections.get(origin) {
            ejections.inc();
        }
    }

    /// Shows whether an origin, by number, gets requests.
    pub fn set_up(&self, origin: usize, up: bool) {
        if let Some(gauge) = self.up.get(origin) {
            gauge.set(i64::from(up));
        }
    }

    /// Removes the platform's series: it is gone.
    pub fn retire(&self) {
        let PlatformFamilies { requests, errors, retries, broken, ejections, duration, up, in_flight, queued } =
            &self.families;
        // Errors mean that a series is not there, which is what is wanted.
        let name = &*self.name;
        for outcome in PlatformOutcome::ALL {
            let _ = requests.remove_label_values(&[name, outcome.name()]);
        }
        for error in PlatformError::ALL {
            let _ = errors.remove_label_values(&[name, error.name()]);
        }
        for origin in &self.origins {
            let _ = ejections.remove_label_values(&[name, origin]);
            let _ = up.remove_label_values(&[name, origin]);
        }
        let _ = retries.remove_label_values(&[name]);
        let _ = broken.remove_label_values(&[name]);
        let _ = duration.remove_label_values(&[name]);
        let _ = in_flight.remove_label_values(&[name]);
        let _ = queued.remove_label_values(&[name]);
    }
}

impl fmt::Debug for PlatformMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Upper bounds in seconds: platforms build pages, and some take their time.
const DURATION_BUCKETS: [f64; 14] =
    [500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn series_begin_with_a_platform_and_end_with_it() {
        let metrics = Metrics::new().unwrap();
        let text = || String::from_utf8(metrics.text().unwrap()).unwrap();
        let bound = metrics.platforms().bind("p", ["http://a", "http://b"]).unwrap();
        bound.request(PlatformOutcome::of(204));
        bound.request(PlatformOutcome::of(502));
        bound.error(PlatformError::Breaker);
        bound.set_up(1, false);
        bound.ejected(1);
        bound.observe(Duration::from_millis(3));
        for line in [
            r#"waypost_platform_requests_total{outcome="success",platform="p"} 1"#,
            r#"waypost_platform_requests_total{outcome="server_error",platform="p"} 1"#,
            r#"waypost_platform_errors_total{error="breaker",platform="p"} 1"#,
            r#"waypost_platform_errors_total{error="connect",platform="p"} 0"#,
            r#"waypost_platform_origin_up{origin="http://a",platform="p"} 1"#,
            r#"waypost_platform_origin_up{origin="http://b",platform="p"} 0"#,
            r#"waypost_platform_ejections_total{origin="http://b",platform="p"} 1"#,
            r#"waypost_platform_duration_seconds_count{platform="p"} 1"#,
        ] {
            assert!(text().contains(line), "{line} in\n{}", text());
        }
        bound.retire();
        assert!(!text().contains("waypost_platform_"), "{}", text());
    }
}
