//! The registry and its handles.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::MetricFamily,
};

use super::{
    CertificateGauges, Connections, Exchange, PlatformFamilies, Reading, SiteCounters,
    families::{Readings, register},
    latencies::Latencies,
    names,
    sites::LiveSites,
};
use crate::routing::Snapshot;

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// Everything is live.
    Ok,
    /// Some sites have errors and keep their last good table.
    Partial,
    /// The routes could not be read; everything stays as it was.
    Failed,
}

impl ReloadResult {
    /// The word for labels, logs and `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            ReloadResult::Ok => "ok",
            ReloadResult::Partial => "partial",
            ReloadResult::Failed => "failed",
        }
    }
}

/// All metrics of one gateway, in a registry of its own (so that tests can run several).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What other parts tell that has as many series as there are sites.
    of_sites: Registry,
    requests: Arc<Requests>,
    rules: IntCounterVec,
    connections: Connections,
    snapshot: SnapshotGauges,
    reloads: IntCounterVec,
    reload_last: Gauge,
    reload_last_success: Gauge,
    reload_duration: Gauge,
    faulty: IntGaugeVec,
    faulty_now: Mutex<BTreeSet<String>>,
    diagnostics: GaugeVec,
    certificates: CertificateGauges,
    platforms: PlatformFamilies,
}

#[derive(Debug)]
struct SnapshotGauges {
    hosts: IntGauge,
    mappings: IntGauge,
    rules: IntGauge,
    mapping_bytes: IntGauge,
}

/// What is counted of requests.
#[derive(Debug, Default)]
struct Requests {
    live: Mutex<LiveSites>,
    /// What is counted of hosts that no site has.
    no_site: SiteCounters,
    /// What was counted of sites that are gone for good.
    gone: SiteCounters,
    latencies: Latencies,
}

impl Metrics {
    /// A fresh registry with every metric in it.
    ///
    /// # Errors
    /// Only if a name were registered twice or malformed: a mistake in this module.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests: Arc<Requests> = Arc::default();
        registry.register(Box::new(RequestCollector::new(requests.clone())?))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = register(&registry, names::BUILD_INFO.int_gauges()?)?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        let int_gauge = |family: names::Family| register(&registry, family.int_gauge()?);
        let snapshot = SnapshotGauges {
            hosts: int_gauge(names::SNAPSHOT_HOSTS)?,
            mappings: int_gauge(names::SNAPSHOT_MAPPINGS)?,
            rules: int_gauge(names::SNAPSHOT_RULES)?,
            mapping_bytes: int_gauge(names::SNAPSHOT_MAPPING_BYTES)?,
        };
        let reloads = register(&registry, names::RELOADS.counters()?)?;
        // All results are there from the start, so that a rate over them never misses the first one.
        for result in [ReloadResult::Ok, ReloadResult::Partial, ReloadResult::Failed] {
            reloads.get_metric_with_label_values(&[result.name()])?;
        }
        let gauge = |family: names::Family| register(&registry, family.gauge()?);
        Ok(Metrics {
            rules: register(&registry, names::GUARD_RULES.counters()?)?,
            connections: Connections::new(&registry)?,
            reload_last: gauge(names::RELOAD_LAST)?,
            reload_last_success: gauge(names::RELOAD_LAST_SUCCESS)?,
            reload_duration: gauge(names::RELOAD_DURATION)?,
            faulty: register(&registry, names::SITE_FAULTY.int_gauges()?)?,
            faulty_now: Mutex::default(),
            diagnostics: register(&registry, names::DIAGNOSTICS.gauges()?)?,
            certificates: CertificateGauges::new(&registry)?,
            platforms: PlatformFamilies::new(&registry)?,
            requests,
            registry,
            of_sites: Registry::new(),
            snapshot,
            reloads,
        })
    }

    /// Counts a request and its answer. `site` is what is counted of its site, [`Metrics::no_site`] if it has none.
    pub fn count(&self, site: &SiteCounters, exchange: &Exchange<'_>) {
        site.count(exchange);
        self.requests.latencies.observe(exchange.outcome, exchange.took);
    }

    /// Counts a request that a request rule holds for. There are as many series as operators wrote rules.
    pub fn rule(&self, rule: &str, action: &str, shadow: bool) {
        let shadow = if shadow { "true" } else { "false" };
        self.rules.with_label_values(&[rule, action, shadow]).inc();
    }

    /// The counters of requests that no site is asked for.
    pub fn no_site(&self) -> &SiteCounters {
        &self.requests.no_site
    }

    /// The counters of connections and lanes.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Shows the sites that went live, and what is counted of each.
    pub fn set_live(&self, snapshot: &Arc<Snapshot>, counters: &[Arc<SiteCounters>]) {
        let SnapshotGauges { hosts, mappings, rules, mapping_bytes } = &self.snapshot;
        hosts.set(snapshot.host_count() as i64);
        mappings.set(snapshot.mapping_count() as i64);
        rules.set(snapshot.rule_count() as i64);
        mapping_bytes.set(snapshot.mapping_bytes() as i64);
        lock(&self.requests.live).replace(snapshot.clone(), counters.to_vec());
    }

    /// Counts a reload that ended at `now` (Unix seconds).
    pub fn reloaded(&self, result: ReloadResult, now: i64, took: Duration) {
        if let Ok(counter) = self.reloads.get_metric_with_label_values(&[result.name()]) {
            counter.inc();
        }
        self.reload_last.set(now as f64);
        self.reload_duration.set(took.as_secs_f64());
        if result == ReloadResult::Ok {
            self.reload_last_success.set(now as f64);
        }
    }

    /// Shows what is wrong with the routes now.
    pub fn set_findings(&self, faulty: &[String], errors: usize, warnings: usize) {
        let mut now = self.faulty_now.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeSet<String> = faulty.iter().cloned().collect();
        for healed in now.difference(&wanted) {
            // An error means that it is not there, which is what is wanted.
            let _ = self.faulty.remove_label_values(&[healed]);
        }
        for site in &wanted {
            if let Ok(gauge) = self.faulty.get_metric_with_label_values(&[site]) {
                gauge.set(1);
            }
        }
        *now = wanted;
        for (severity, count) in [("error", errors), ("warning", warnings)] {
            if let Ok(gauge) = self.diagnostics.get_metric_with_label_values(&[severity]) {
                gauge.set(count as f64);
            }
        }
    }

    /// The metrics of platforms.
    pub fn platforms(&self) -> &PlatformFamilies {
        &self.platforms
    }

    /// The gauges of certificates.
    pub fn certificates(&self) -> &CertificateGauges {
        &self.certificates
    }

    /// Shows the metrics of a part that counts for itself.
    ///
    /// # Errors
    /// If one of that name is there already.
    pub fn add(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// As [`Metrics::add`], of what has as many series as there are sites.
    ///
    /// # Errors
    /// If one of that name is there already.
    pub fn add_of_sites(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.of_sites.register(Box::new(collector))
    }

    /// Shows numbers that are read whenever somebody asks for them.
    ///
    /// # Errors
    /// If one of that name is there already.
    pub fn add_readings(&self, readings: Vec<Reading>) -> Result<(), prometheus::Error> {
        self.add(Readings::new(readings)?)
    }

    /// What there is of the node, in the text format of Prometheus.
    ///
    /// # Errors
    /// If a metric can't be written, which would be a mistake in this module.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// What there is of each site, in the text format of Prometheus.
    pub fn sites_text(&self) -> String {
        let mut text = lock(&self.requests.live).text(self.no_site(), Timestamp::now().as_second());
        // What can't be written would be a mistake of who shows it; the rest is there all the same.
        if let Ok(more) = TextEncoder::new().encode_to_string(&self.of_sites.gather()) {
            text += &more;
        }
        text
    }
}

/// Shows [`Requests`].
struct RequestCollector {
    requests: Arc<Requests>,
    descs: Vec<Desc>,
}

impl RequestCollector {
    fn new(requests: Arc<Requests>) -> Result<Self, prometheus::Error> {
        let families = [
            names::REQUESTS,
            names::REQUEST_DURATION,
            names::RESPONSE_BYTES,
            names::REQUEST_BYTES,
            names::UNMAPPED,
            names::GUARD_REFUSED,
            names::GUARD_SHADOWED,
            names::WAF_REQUESTS,
            names::SITES,
        ];
        Ok(RequestCollector { requests, descs: families.iter().map(names::Family::desc).collect::<Result<_, _>>()? })
    }
}

impl Collector for RequestCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Requests { live, no_site, gone, latencies } = &*self.requests;
        let sum = SiteCounters::default();
        let snapshot = {
            let mut live = lock(live);
            live.sum(&sum, gone);
            live.snapshot.clone()
        };
        sum.absorb(no_site);
        let refusals: Vec<_> = sum.refusals().collect();
        let mut sites: BTreeMap<(Option<u16>, &str), usize> = BTreeMap::new();
        let now = Timestamp::now().as_second();
        for site in snapshot.sites() {
            *sites.entry((site.wave, site.lifecycle.at(now).name())).or_default() += 1;
        }
        let wave = |wave: Option<u16>| wave.map(|wave| wave.to_string()).unwrap_or_default();
        let sites: Vec<(String, &str, usize)> =
            sites.into_iter().map(|((number, phase), count)| (wave(number), phase, count)).collect();
        vec![
            names::REQUESTS.with(sum.requests().map(|(labels, count)| (labels.to_vec(), count as f64))),
            names::REQUEST_DURATION
                .with_histograms(latencies.histograms().map(|(outcome, histogram)| (vec![outcome.name()], histogram))),
            names::RESPONSE_BYTES.with([(vec![], sum.sent() as f64)]),
            names::REQUEST_BYTES.with([(vec![], sum.received() as f64)]),
            names::UNMAPPED.with([(vec![], sum.unmapped() as f64)]),
            names::GUARD_REFUSED.with(refusals.iter().map(|(reason, count, _)| (vec![reason.name()], *count as f64))),
            names::GUARD_SHADOWED.with(refusals.iter().map(|(reason, _, count)| (vec![reason.name()], *count as f64))),
            names::WAF_REQUESTS.with(sum.waf_actions().map(|(action, count)| (vec![action.name()], count as f64))),
            names::SITES.with(sites.iter().map(|(wave, phase, count)| (vec![wave.as_str(), *phase], *count as f64))),
        ]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What stands there is whole whatever happened to another thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the firewall did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum WafAction {
    /// It was spared the rules: a plain page view.
    Spared,
    /// The rules found nothing, or not enough.
    Clean,
    /// They found an attack, and let it go on.
    Detected,
    /// It was refused.
    Blocked,
    /// It could not be inspected in full, and went on.
    Unchecked,
}

impl WafAction {
    /// Every action, in the order of their numbers.
    pub const ALL: [WafAction; 5] =
        [WafAction::Spared, WafAction::Clean, WafAction::Detected, WafAction::Blocked, WafAction::Unchecked];

    /// The word for labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            WafAction::Spared => "spared",
            WafAction::Clean => "clean",
            WafAction::Detected => "detected",
            WafAction::Blocked => "blocked",
            WafAction::Unchecked => "unchecked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Outcome, Reason};
    use crate::telemetry::{Lane, Protocol};

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    fn exchange(outcome: Outcome, status: u16) -> Exchange<'static> {
        Exchange { outcome, status, took: 60, sent: 5, ..Exchange::default() }
    }

    #[test]
    fn the_node_is_the_sum_of_its_sites_also_of_those_that_are_gone() {
        let metrics = Metrics::new().unwrap();
        let (one, other) = (Arc::<SiteCounters>::default(), Arc::<SiteCounters>::default());
        let snapshot = Arc::<Snapshot>::default();
        metrics.set_live(&snapshot, &[one.clone(), other.clone()]);
        metrics.count(&one, &exchange(Outcome::Redirect, 301));
        metrics.count(&one, &exchange(Outcome::Redirect, 302));
        metrics.count(&one, &Exchange { unmapped: true, ..exchange(Outcome::NotFound, 404) });
        let way = Exchange { lane: Lane::Http2, protocol: Protocol::Http2, ..exchange(Outcome::Redirect, 301) };
        metrics.count(&other, &way);
        metrics.count(metrics.no_site(), &exchange(Outcome::UnknownHost, 404));
        one.deny(Reason::Rate);
        metrics.no_site().shadow(Reason::Rate);
        let lines = [
            r#"waypost_requests_total{outcome="redirect",status="3xx",protocol="http/1.1",lane="fast"} 2"#,
            r#"waypost_requests_total{outcome="redirect",status="3xx",protocol="http/2",lane="http2"} 1"#,
            r#"waypost_requests_total{outcome="unknown_host",status="4xx",protocol="http/1.1",lane="fast"} 1"#,
            r#"waypost_request_duration_seconds_bucket{outcome="redirect",le="0.00005"} 0"#,
            r#"waypost_request_duration_seconds_bucket{outcome="redirect",le="0.0001"} 3"#,
            r#"waypost_request_duration_seconds_count{outcome="redirect"} 3"#,
            "waypost_unmapped_total 1",
            "waypost_response_body_bytes_total 25",
            r#"waypost_guard_refused_total{reason="rate"} 1"#,
            r#"waypost_guard_refused_total{reason="probe"} 0"#,
            r#"waypost_guard_shadowed_total{reason="rate"} 1"#,
            concat!(r#"waypost_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            r#"waypost_reloads_total{result="failed"} 0"#,
            "process_cpu_seconds_total",
        ];
        let shown = text(&metrics);
        for line in lines {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }
        metrics.set_live(&snapshot, &[other]);
        // A request that began before its site went.
        metrics.count(&one, &exchange(Outcome::Gone, 410));
        let shown = text(&metrics);
        assert!(shown.contains(r#"outcome="gone",status="4xx",protocol="http/1.1",lane="fast"} 1"#), "{shown}");
        drop(one);
        for _ in 0..2 {
            let shown = text(&metrics);
            assert!(shown.contains(lines[0]) && shown.contains("waypost_unmapped_total 1"), "{shown}");
        }
    }

    #[test]
    fn a_healed_site_is_not_shown_as_faulty() {
        let metrics = Metrics::new().unwrap();
        metrics.set_findings(&["a".to_owned(), "b".to_owned()], 3, 1);
        assert!(text(&metrics).contains(r#"waypost_site_faulty{site="a"} 1"#));
        assert!(text(&metrics).contains(r#"waypost_diagnostics{severity="error"} 3"#));
        metrics.set_findings(&["b".to_owned()], 1, 0);
        assert!(!text(&metrics).contains(r#"site="a""#));
        assert!(text(&metrics).contains(r#"waypost_site_faulty{site="b"} 1"#));
    }
}
