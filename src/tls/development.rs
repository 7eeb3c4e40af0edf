//! Self-signed certificates for hosts that have none, so that HTTPS can be tried out before any are issued.

use std::{fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use moka::sync::Cache;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey},
};

use super::{Knows, TlsError};

/// Certificates that are kept at a time.
const MAX_MADE: u64 = 10_000;

/// How long one is served before it is made anew.
const LIFE: Duration = Duration::from_secs(30 * 86_400);

/// How long one is valid: what browsers accept of any certificate.
const VALID: SignedDuration = SignedDuration::from_hours(397 * 24);

/// Makes certificates, all for one key that never leaves the process.
pub(super) struct Development {
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    knows: Knows,
    /// By host; the empty name is that of all that are not known.
    made: Cache<String, Arc<CertifiedKey>>,
}

impl Development {
    /// `knows` says which hosts are served.
    pub fn new(knows: Knows) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let signing = any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
        let made = Cache::builder().max_capacity(MAX_MADE).time_to_live(LIFE).build();
        Ok(Development { key, signing, knows, made })
    }

    /// A certificate for a host if it is served, else one for no host in particular; none if the client can't use it.
    pub fn certificate(&self, name: Option<&str>, offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if !offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256) {
            return None;
        }
        let name = name.filter(|name| (self.knows)(name)).unwrap_or_default();
        self.made.optionally_get_with_by_ref(name, || self.make(name).ok().map(Arc::new))
    }

    fn make(&self, name: &str) -> Result<CertifiedKey, rcgen::Error> {
        let names = match name {
            "" => vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
            name => vec![name.to_owned()],
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Waypost development certificate");
        let now = Timestamp::now();
        // A day for clocks that are slow.
        let day = |time: Timestamp| {
            let date = time.to_zoned(TimeZone::UTC).date();
            date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
        };
        params.not_before = day(now - SignedDuration::from_hours(24));
        params.not_after = day(now + VALID);
        let certificate = params.self_signed(&self.key)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], self.signing.clone()))
    }
}

impl fmt::Debug for Development {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Development").field("made", &self.made.entry_count()).finish_non_exhaustive()
    }
}
