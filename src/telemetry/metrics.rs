//! The registry and its handles.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{CertificateGauges, Connections, PlatformFamilies, names};
use crate::model::{Outcome, Reason};
use crate::routing::Snapshot;

/// Upper bounds in seconds. A redirect takes tens of microseconds; what takes seconds is a slow client.
const DURATION_BUCKETS: [f64; 16] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

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
    families: SiteFamilies,
    rules: IntCounterVec,
    no_site: Arc<SiteCounters>,
    connections: Connections,
    duration: Histogram,
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
    sites: IntGauge,
    hosts: IntGauge,
    mappings: IntGauge,
    rules: IntGauge,
    mapping_bytes: IntGauge,
}

impl Metrics {
    /// A fresh registry with every metric in it.
    ///
    /// # Errors
    /// Only if a name were registered twice or malformed: a mistake in this module.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = register(
            &registry,
            IntCounterVec::new(
                Opts::new(names::REQUESTS, "Answered requests, by site and kind of answer."),
                &[names::SITE, names::OUTCOME],
            )?,
        )?;
        let refused = Opts::new(names::GUARD_REFUSED, "Requests that the guard did not admit, by site and reason.");
        let refused = register(&registry, IntCounterVec::new(refused, &[names::SITE, names::REASON])?)?;
        let shadowed = Opts::new(
            names::GUARD_SHADOWED,
            "Requests that the guard would not have admitted, had a shadow been in force, by site and reason.",
        );
        let shadowed = register(&registry, IntCounterVec::new(shadowed, &[names::SITE, names::REASON])?)?;
        let waf = Opts::new(names::WAF_REQUESTS, "Requests to platforms, by site and what the firewall did with them.");
        let waf = register(&registry, IntCounterVec::new(waf, &[names::SITE, names::ACTION])?)?;
        let families = SiteFamilies { requests, refused, shadowed, waf };
        let rules = Opts::new(
            names::GUARD_RULES,
            "Requests that a request rule holds for, by rule, action, and whether the rule only counts.",
        );
        let rules = register(&registry, IntCounterVec::new(rules, &[names::RULE, names::ACTION, names::SHADOW])?)?;
        let duration =
            HistogramOpts::new(names::REQUEST_DURATION, "Seconds from a request's head to the end of its answer.")
                .buckets(DURATION_BUCKETS.to_vec());
        let build = register(
            &registry,
            IntGaugeVec::new(Opts::new(names::BUILD_INFO, "The running program."), &[names::VERSION])?,
        )?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        let gauge = |name, help| register(&registry, IntGauge::new(name, help)?);
        let snapshot = SnapshotGauges {
            sites: gauge(names::SNAPSHOT_SITES, "Sites that are live.")?,
            hosts: gauge(names::SNAPSHOT_HOSTS, "Hosts that are live, a wildcard counted once.")?,
            mappings: gauge(names::SNAPSHOT_MAPPINGS, "Exact mappings that are live.")?,
            rules: gauge(names::SNAPSHOT_RULES, "Rules that are live.")?,
            mapping_bytes: gauge(names::SNAPSHOT_MAPPING_BYTES, "Bytes of memory of the live mapping tables.")?,
        };
        let reloads = Opts::new(names::RELOADS, "Reloads that changed something or failed, the first load included.");
        let reloads = register(&registry, IntCounterVec::new(reloads, &[names::RESULT])?)?;
        // All results are there from the start, so that a rate over them never misses the first one.
        for result in [ReloadResult::Ok, ReloadResult::Partial, ReloadResult::Failed] {
            reloads.get_metric_with_label_values(&[result.name()])?;
        }
        let seconds = |name, help| register(&registry, Gauge::new(name, help)?);
        Ok(Metrics {
            no_site: SiteCounters::new("", &families),
            connections: Connections::new(&registry)?,
            duration: register(&registry, Histogram::with_opts(duration)?)?,
            reload_last: seconds(names::RELOAD_LAST, "Unix time of the last reload.")?,
            reload_last_success: seconds(
                names::RELOAD_LAST_SUCCESS,
                "Unix time of the last reload without a faulty site.",
            )?,
            reload_duration: seconds(names::RELOAD_DURATION, "Seconds that the last reload took.")?,
            faulty: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(names::SITE_FAULTY, "1 for each site whose files have errors."),
                    &[names::SITE],
                )?,
            )?,
            faulty_now: Mutex::default(),
            diagnostics: register(
                &registry,
                GaugeVec::new(
                    Opts::new(names::DIAGNOSTICS, "Findings in the routes, by severity."),
                    &[names::SEVERITY],
                )?,
            )?,
            certificates: CertificateGauges::new(&registry)?,
            platforms: PlatformFamilies::new(&registry)?,
            registry,
            families,
            rules,
            snapshot,
            reloads,
        })
    }

    /// Fresh counters for a site.
    pub fn site(&self, id: &str) -> Arc<SiteCounters> {
        SiteCounters::new(id, &self.families)
    }

    /// Counts a request that a request rule holds for. There are as many series as operators wrote rules.
    pub fn rule(&self, rule: &str, action: &str, shadow: bool) {
        let shadow = if shadow { "true" } else { "false" };
        self.rules.with_label_values(&[rule, action, shadow]).inc();
    }

    /// The counters of requests that no site is asked for.
    pub fn no_site(&self) -> &SiteCounters {
        &self.no_site
    }

    /// The counters of connections and lanes.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Notes how long a request took.
    pub fn observe(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }

    /// Shows the size of a snapshot that went live.
    pub fn set_snapshot(&self, snapshot: &Snapshot) {
        let SnapshotGauges { sites, hosts, mappings, rules, mapping_bytes } = &self.snapshot;
        sites.set(snapshot.sites().len() as i64);
        hosts.set(snapshot.host_count() as i64);
        mappings.set(snapshot.mapping_count() as i64);
        rules.set(snapshot.rule_count() as i64);
        mapping_bytes.set(snapshot.mapping_bytes() as i64);
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

    /// Shows a gauge that is read whenever somebody asks for it.
    ///
    /// # Errors
    /// If one of that name is there already.
    pub fn add_gauge(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        self.add(Reading { gauge: IntGauge::new(name, help)?, read })
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// If a metric can't be written, which would be a mistake in this module.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

pub(super) fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// A gauge that is read whenever somebody asks for it.
struct Reading<F> {
    gauge: IntGauge,
    read: F,
}

impl<F: Fn() -> usize + Send + Sync> Collector for Reading<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from((self.read)()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

/// Counters that each site has.
#[derive(Clone, Debug)]
struct SiteFamilies {
    requests: IntCounterVec,
    refused: IntCounterVec,
    shadowed: IntCounterVec,
    waf: IntCounterVec,
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

/// The request counters of one site.
///
/// A counter is bound when what it counts first happens: 5,000 sites with twelve outcomes each would be 60,000 series at
/// once, most of them zero for ever.
#[derive(Debug)]
pub struct SiteCounters {
    site: Box<str>,
    outcomes: [OnceLock<IntCounter>; Outcome::ALL.len()],
    reasons: [OnceLock<IntCounter>; Reason::ALL.len()],
    shadows: [OnceLock<IntCounter>; Reason::ALL.len()],
    actions: [OnceLock<IntCounter>; WafAction::ALL.len()],
    /// Where counters come from; none once the site is removed, so that a late request can't bring a series back.
    families: Mutex<Option<SiteFamilies>>,
}

impl SiteCounters {
    fn new(site: &str, families: &SiteFamilies) -> Arc<Self> {
        Arc::new(SiteCounters {
            site: site.into(),
            outcomes: Default::default(),
            reasons: Default::default(),
            shadows: Default::default(),
            actions: Default::default(),
            families: Mutex::new(Some(families.clone())),
        })
    }

    /// Counts a request.
    pub fn count(&self, outcome: Outcome) {
        self.inc(&self.outcomes[outcome as usize], |families| &families.requests, outcome.name());
    }

    /// Counts a request that the guard refused.
    pub fn deny(&self, reason: Reason) {
        self.inc(&self.reasons[reason as usize], |families| &families.refused, reason.name());
    }

    /// Counts a request that the guard would have refused, had not the reason been one that only counts.
    pub fn shadow(&self, reason: Reason) {
        self.inc(&self.shadows[reason as usize], |families| &families.shadowed, reason.name());
    }

    /// Counts what the firewall did with a request.
    pub fn waf(&self, action: WafAction) {
        self.inc(&self.actions[action as usize], |families| &families.waf, action.name());
    }

    fn inc(&self, counter: &OnceLock<IntCounter>, family: fn(&SiteFamilies) -> &IntCounterVec, label: &str) {
        match counter.get() {
            Some(counter) => counter.inc(),
            None => self.inc_first(counter, family, label),
        }
    }

    #[cold]
    fn inc_first(&self, counter: &OnceLock<IntCounter>, family: fn(&SiteFamilies) -> &IntCounterVec, label: &str) {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.as_ref().map(family);
        let bound = family.and_then(|family| family.get_metric_with_label_values(&[&*self.site, label]).ok());
        if let Some(bound) = bound {
            counter.get_or_init(|| bound).inc();
        }
    }

    /// Removes the site's series. Requests that are still under way count nowhere.
    pub fn retire(&self) {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(families) = families else { return };
        let remove = |family: &IntCounterVec, counter: &OnceLock<IntCounter>, label| {
            if counter.get().is_some() {
                // An error means that it is not there, which is what is wanted.
                let _ = family.remove_label_values(&[&*self.site, label]);
            }
        };
        for outcome in Outcome::ALL {
            remove(&families.requests, &self.outcomes[outcome as usize], outcome.name());
        }
        for reason in Reason::ALL {
            remove(&families.refused, &self.reasons[reason as usize], reason.name());
            remove(&families.shadowed, &self.shadows[reason as usize], reason.name());
        }
        for action in WafAction::ALL {
            remove(&families.waf, &self.actions[action as usize], action.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn a_series_begins_with_the_first_request_and_ends_with_its_site() {
        let metrics = Metrics::new().unwrap();
        let site = metrics.site("county/jyj");
        assert!(!text(&metrics).contains("county/jyj"));
        site.count(Outcome::Redirect);
        site.count(Outcome::Redirect);
        site.count(Outcome::Gone);
        metrics.no_site().count(Outcome::UnknownHost);
        let shown = text(&metrics);
        for line in [
            r#"waypost_requests_total{outcome="redirect",site="county/jyj"} 2"#,
            r#"waypost_requests_total{outcome="gone",site="county/jyj"} 1"#,
            r#"waypost_requests_total{outcome="unknown_host",site=""} 1"#,
            concat!(r#"waypost_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            r#"waypost_reloads_total{result="failed"} 0"#,
        ] {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }
        site.deny(Reason::Rate);
        assert!(text(&metrics).contains(r#"waypost_guard_refused_total{reason="rate",site="county/jyj"} 1"#));
        site.shadow(Reason::Rate);
        assert!(text(&metrics).contains(r#"waypost_guard_shadowed_total{reason="rate",site="county/jyj"} 1"#));
        site.retire();
        site.shadow(Reason::Rate);
        site.deny(Reason::Rate);
        site.count(Outcome::Redirect);
        site.count(Outcome::NotFound);
        assert!(!text(&metrics).contains("county/jyj"));
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
