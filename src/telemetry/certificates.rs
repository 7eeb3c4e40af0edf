//! Gauges of certificates.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use prometheus::{GaugeVec, IntGauge, Registry};

use super::{families::register, names};

/// Names whose certificates' expiry is shown, at most. They come from certificate files, never from requests.
pub const MAX_EXPIRIES: usize = 10_000;

/// How many certificates there are and when they expire.
#[derive(Debug)]
pub struct CertificateGauges {
    expiry: GaugeVec,
    live: IntGauge,
    faulty: IntGauge,
    unreadable: IntGauge,
    named: Mutex<BTreeSet<String>>,
}

impl CertificateGauges {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(CertificateGauges {
            expiry: register(registry, names::CERTIFICATE_EXPIRY.gauges()?)?,
            live: register(registry, names::CERTIFICATES.int_gauge()?)?,
            faulty: register(registry, names::CERTIFICATES_FAULTY.int_gauge()?)?,
            unreadable: register(registry, names::CERTIFICATES_UNREADABLE.int_gauge()?)?,
            named: Mutex::default(),
        })
    }

    /// Shows that the folder can't be read, until [`CertificateGauges::set`] is called again.
    pub fn set_unreadable(&self) {
        self.unreadable.set(1);
    }

    /// Shows what is live now: how many certificates, when each expires (Unix seconds, by name; at most
    /// [`MAX_EXPIRIES`]), and how many
    /// files have errors. The series of names that are gone are removed.
    pub fn set(&self, live: usize, expiries: &BTreeMap<&str, i64>, faulty: usize) {
        self.unreadable.set(0);
        self.live.set(live as i64);
        self.faulty.set(faulty as i64);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in named.iter().filter(|name| !expiries.contains_key(name.as_str())) {
            // An error means that it is not there, which is what is wanted.
            let _ = self.expiry.remove_label_values(&[gone]);
        }
        for (name, &expiry) in expiries {
            if let Ok(gauge) = self.expiry.get_metric_with_label_values(&[name]) {
                gauge.set(expiry as f64);
            }
        }
        *named = expiries.keys().map(|&name| name.to_owned()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn the_series_of_a_removed_certificate_ends() {
        let metrics = Metrics::new().unwrap();
        let text = || String::from_utf8(metrics.text().unwrap()).unwrap();
        metrics.certificates().set(2, &BTreeMap::from([("a.example", 1_900_000_000), ("*.b.example", 7)]), 1);
        for line in [
            r#"waypost_certificate_expiry_timestamp_seconds{name="a.example"} 1900000000"#,
            r#"waypost_certificate_expiry_timestamp_seconds{name="*.b.example"} 7"#,
            "waypost_certificates 2",
            "waypost_certificate_faulty 1",
        ] {
            assert!(text().contains(line), "{line} in\n{}", text());
        }
        metrics.certificates().set(1, &BTreeMap::from([("a.example", 1)]), 0);
        assert!(text().contains(r#"{name="a.example"} 1"#) && !text().contains("b.example"));
    }
}
