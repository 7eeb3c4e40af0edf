//! Families of [`super::names`] as the library knows them.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::{Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::names::{Family, Kind};

type Result<T> = std::result::Result<T, prometheus::Error>;

impl Family {
    /// What the library is told of it.
    pub fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    /// A counter.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn counter(&self) -> Result<IntCounter> {
        IntCounter::with_opts(self.opts())
    }

    /// Counters by label.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn counters(&self) -> Result<IntCounterVec> {
        IntCounterVec::new(self.opts(), self.labels)
    }

    /// A gauge of whole numbers.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn int_gauge(&self) -> Result<IntGauge> {
        IntGauge::with_opts(self.opts())
    }

    /// Gauges of whole numbers, by label.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn int_gauges(&self) -> Result<IntGaugeVec> {
        IntGaugeVec::new(self.opts(), self.labels)
    }

    /// A gauge.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn gauge(&self) -> Result<Gauge> {
        Gauge::with_opts(self.opts())
    }

    /// Gauges by label.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn gauges(&self) -> Result<GaugeVec> {
        GaugeVec::new(self.opts(), self.labels)
    }

    /// Histograms by label.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`] and bounds in ascending order.
    pub fn histograms(&self, bounds: &[f64]) -> Result<HistogramVec> {
        HistogramVec::new(HistogramOpts::new(self.name, self.help).buckets(bounds.to_vec()), self.labels)
    }

    /// What the library checks of it.
    ///
    /// # Errors
    /// Never, for a family of [`super::names`].
    pub fn desc(&self) -> Result<Desc> {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, Default::default())
    }

    /// The family with series that somebody has counted for himself: the values of its labels, and the number.
    pub fn with<'v>(&self, series: impl IntoIterator<Item = (Vec<&'v str>, f64)>) -> MetricFamily {
        let metrics = series.into_iter().map(|(values, number)| {
            let mut metric = self.metric(&values);
            match self.kind {
                Kind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(number);
                    metric.set_counter(counter);
                }
                Kind::Gauge | Kind::Histogram => {
                    let mut gauge = prometheus::proto::Gauge::default();
                    gauge.set_value(number);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        self.family(metrics.collect())
    }

    /// The family with histograms that somebody has counted for himself.
    pub(super) fn with_histograms<'v>(
        &self,
        series: impl IntoIterator<Item = (Vec<&'v str>, Histogram)>,
    ) -> MetricFamily {
        let metrics = series.into_iter().map(|(values, histogram)| {
            let mut metric = self.metric(&values);
            metric.set_histogram(histogram);
            metric
        });
        self.family(metrics.collect())
    }

    fn metric(&self, values: &[&str]) -> Metric {
        let pairs = self.labels.iter().zip(values).map(|(&name, &value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }

    fn family(&self, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        family
    }
}

/// Puts a metric into a registry.
pub(super) fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Numbers that are read when somebody asks for them.
pub(super) struct Readings {
    descs: Vec<Desc>,
    readings: Vec<Reading>,
}

/// A number that is read when somebody asks for it.
pub struct Reading {
    family: Family,
    labels: Vec<&'static str>,
    read: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Reading {
    /// The only number of a family.
    pub fn new(family: Family, read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Reading { family, labels: Vec::new(), read: Box::new(read) }
    }

    /// The number of a family that has this value of its only label.
    pub fn of(family: Family, label: &'static str, read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Reading { labels: vec![label], ..Reading::new(family, read) }
    }
}

impl Readings {
    /// Shows these.
    ///
    /// # Errors
    /// Never, for families of [`super::names`].
    pub fn new(mut readings: Vec<Reading>) -> Result<Self> {
        readings.sort_by_key(|reading| reading.family.name);
        let families = readings.chunk_by(|one, other| one.family == other.family);
        let descs = families.map(|same| same[0].family.desc()).collect::<Result<_>>()?;
        Ok(Readings { descs, readings })
    }
}

impl Collector for Readings {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let families = self.readings.chunk_by(|one, other| one.family == other.family);
        families
            .map(|same| same[0].family.with(same.iter().map(|reading| (reading.labels.clone(), (reading.read)()))))
            .collect()
    }
}
