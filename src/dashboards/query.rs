//! Queries in Prometheus' language, made of the constants that name metrics and labels.
//!
//! What is asked of one family is checked as it is made: a label that the family has not, or a rate of what is no counter,
//! ends the program that makes it, and so every test of the dashboards. What joins such parts (a quotient, a comparison)
//! is text.

use super::names::{Family, Kind};

/// The label that a scrape adds: the node's address.
pub(super) const INSTANCE: &str = "instance";

/// The label that a scrape adds: which of the two pages of metrics.
pub(super) const JOB: &str = "job";

/// The job that reads `/metrics` of every node, in prometheus.yml.
pub(super) const NODES: &str = "waypost";

/// The job that reads `/metrics/sites`.
pub(super) const SITES: &str = "waypost-sites";

/// Series of one family: those that all matchers hold for.
#[derive(Clone, Debug)]
pub(super) struct Series {
    family: Family,
    matchers: Vec<String>,
    window: &'static str,
    offset: &'static str,
}

/// All series of a family.
pub(super) fn of(family: Family) -> Series {
    Series { family, matchers: Vec::new(), window: "$__rate_interval", offset: "" }
}

/// Those of the nodes that are chosen at the top of a dashboard.
pub(super) fn here(family: Family) -> Series {
    of(family).like(INSTANCE, "$instance")
}

impl Series {
    /// Only those whose label is this.
    pub fn is(self, label: &str, value: &str) -> Self {
        self.matching(label, "=", value)
    }

    /// Only those whose label is not this.
    pub fn other_than(self, label: &str, value: &str) -> Self {
        self.matching(label, "!=", value)
    }

    /// Only those whose whole label a regular expression matches.
    pub fn like(self, label: &str, regex: &str) -> Self {
        self.matching(label, "=~", regex)
    }

    /// Only those whose whole label no regular expression matches.
    pub fn unlike(self, label: &str, regex: &str) -> Self {
        self.matching(label, "!~", regex)
    }

    /// Over this time, instead of what Grafana thinks fits the picture.
    pub fn within(mut self, window: &'static str) -> Self {
        self.window = window;
        self
    }

    /// As it was so long ago.
    pub fn ago(mut self, offset: &'static str) -> Self {
        self.offset = offset;
        self
    }

    /// How fast they grow per second, added up.
    pub fn rate(&self, by: &[&str]) -> String {
        self.counted("rate", "", by)
    }

    /// By how much they grew, added up.
    pub fn increase(&self, by: &[&str]) -> String {
        self.counted("increase", "", by)
    }

    /// Their values, added up.
    pub fn sum(&self, by: &[&str]) -> String {
        self.over("sum", by)
    }

    /// The largest of their values.
    pub fn max(&self, by: &[&str]) -> String {
        self.over("max", by)
    }

    /// The smallest of their values.
    pub fn min(&self, by: &[&str]) -> String {
        self.over("min", by)
    }

    /// How many there are.
    pub fn count(&self, by: &[&str]) -> String {
        format!("count{}({})", self.grouping(by), self.selector(""))
    }

    /// Each for itself.
    pub fn each(&self) -> String {
        assert_eq!(self.family.kind, Kind::Gauge, "{} is no gauge", self.family.name);
        self.selector("")
    }

    /// What this share of the sizes is below, by the buckets of a histogram.
    pub fn quantile(&self, share: f64, by: &[&str]) -> String {
        let by: Vec<&str> = by.iter().copied().chain(["le"]).collect();
        format!("histogram_quantile({share}, {})", self.counted("rate", "_bucket", &by))
    }

    /// How fast each bucket of a histogram grows.
    pub fn buckets(&self) -> String {
        self.counted("rate", "_bucket", &["le"])
    }

    fn matching(mut self, label: &str, operator: &str, value: &str) -> Self {
        self.check(label);
        self.matchers.push(format!("{label}{operator}\"{value}\""));
        self
    }

    fn counted(&self, function: &str, suffix: &str, by: &[&str]) -> String {
        let wanted = if suffix.is_empty() { Kind::Counter } else { Kind::Histogram };
        assert_eq!(self.family.kind, wanted, "{} is of another kind", self.family.name);
        format!("sum{}({function}({}[{}]{}))", self.grouping(by), self.named(suffix), self.window, self.offset())
    }

    fn over(&self, aggregate: &str, by: &[&str]) -> String {
        assert_eq!(self.family.kind, Kind::Gauge, "{} is no gauge", self.family.name);
        format!("{aggregate}{}({})", self.grouping(by), self.selector(""))
    }

    fn selector(&self, suffix: &str) -> String {
        self.named(suffix) + &self.offset()
    }

    fn named(&self, suffix: &str) -> String {
        let name = self.family.name;
        if self.matchers.is_empty() {
            return format!("{name}{suffix}");
        }
        format!("{name}{suffix}{{{}}}", self.matchers.join(", "))
    }

    fn offset(&self) -> String {
        if self.offset.is_empty() { String::new() } else { format!(" offset {}", self.offset) }
    }

    fn grouping(&self, by: &[&str]) -> String {
        by.iter().for_each(|label| self.check(label));
        if by.is_empty() { String::new() } else { format!(" by ({}) ", by.join(", ")) }
    }

    fn check(&self, label: &str) {
        let is_bucket = self.family.kind == Kind::Histogram && label == "le";
        let has = self.family.labels.contains(&label) || [INSTANCE, JOB].contains(&label) || is_bucket;
        assert!(has, "{} has no label {label}", self.family.name);
    }
}

/// A part of a whole, from 0 to 1; 0 where there is none of the part. Both have the same labels.
pub(super) fn share(part: &str, whole: &str) -> String {
    format!("({part} or 0 * {whole}) / {whole}")
}

/// The part of a whole that is left, from 0 to 1.
pub(super) fn rest(part: &str, whole: &str) -> String {
    format!("1 - {}", share(part, whole))
}

/// The largest `count` of them.
pub(super) fn top(count: usize, query: &str) -> String {
    format!("topk({count}, {query})")
}

/// Seconds since this Unix time; nothing if it is 0, which means never.
pub(super) fn age(time: &str) -> String {
    format!("time() - ({time} > 0)")
}

/// A metric that Prometheus makes itself, or the library that counts.
pub(super) const fn gauge(name: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, kind: Kind::Gauge, labels, help: "", endpoint: super::names::Endpoint::Node }
}

/// As [`gauge`], of what only grows.
pub(super) const fn counter(name: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, kind: Kind::Counter, labels, help: "", endpoint: super::names::Endpoint::Node }
}

/// 1 for each page of metrics that could be read, else 0.
pub(super) const UP: Family = gauge("up", &[]);
/// Seconds that the last reading of a page of metrics took.
pub(super) const SCRAPE_DURATION: Family = gauge("scrape_duration_seconds", &[]);
/// Series on a page of metrics.
pub(super) const SCRAPE_SAMPLES: Family = gauge("scrape_samples_scraped", &[]);
/// 1 for each alert that waits or fires.
pub(super) const ALERTS: Family = gauge("ALERTS", &["alertname", "alertstate", "severity"]);
/// Processor time of the process.
pub(super) const CPU: Family = counter("process_cpu_seconds_total", &[]);
/// Files and sockets that the process has open.
pub(super) const OPEN_FDS: Family = gauge("process_open_fds", &[]);
/// Files and sockets that it may have open.
pub(super) const MAX_FDS: Family = gauge("process_max_fds", &[]);
/// Memory that it has.
pub(super) const RESIDENT: Family = gauge("process_resident_memory_bytes", &[]);
/// Memory that it has asked for.
pub(super) const VIRTUAL: Family = gauge("process_virtual_memory_bytes", &[]);
/// When it started.
pub(super) const STARTED: Family = gauge("process_start_time_seconds", &[]);
/// Its threads.
pub(super) const THREADS: Family = gauge("process_threads", &[]);

#[cfg(test)]
mod tests {
    use super::super::names::{OUTCOME, PROCESS, REQUEST_DURATION, REQUESTS, SITE, STATUS};
    use super::*;

    #[test]
    fn queries_are_written() {
        let errors = of(REQUESTS).is(STATUS, "5xx").other_than(OUTCOME, "health");
        assert_eq!(
            errors.rate(&[OUTCOME]),
            "sum by (outcome) (rate(waypost_requests_total{status=\"5xx\", outcome!=\"health\"}[$__rate_interval]))"
        );
        assert_eq!(
            of(REQUESTS).within("1h").ago("1w").increase(&[]),
            "sum(increase(waypost_requests_total[1h] offset 1w))"
        );
        assert_eq!(
            of(REQUEST_DURATION).within("5m").quantile(0.99, &[]),
            "histogram_quantile(0.99, sum by (le) (rate(waypost_request_duration_seconds_bucket[5m])))"
        );
    }

    #[test]
    #[should_panic(expected = "has no label site")]
    fn a_label_that_a_family_has_not() {
        let _ = of(REQUESTS).rate(&[SITE]);
    }

    #[test]
    #[should_panic(expected = "is no gauge")]
    fn a_counter_is_no_gauge() {
        let _ = of(REQUESTS).sum(&[]);
    }

    #[test]
    fn the_process_is_told_by_its_names() {
        let own = [CPU, OPEN_FDS, MAX_FDS, RESIDENT, VIRTUAL, STARTED, THREADS].map(|family| family.name);
        assert!(own.iter().all(|name| PROCESS.contains(name)) && own.len() == PROCESS.len());
    }
}
