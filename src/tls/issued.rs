//! Whether what an authority issued may be put to use.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::file::CertFile;

/// A certificate that fits what was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// SHA-256 of the certificate, in hex.
    pub sha256: String,
    /// Unix seconds.
    pub not_before: i64,
    /// When the first certificate of the chain expires, Unix seconds.
    pub not_after: i64,
}

/// Looks at a chain and the key of its first certificate (PEM) before anyone is served with them: the key fits, all these
/// names (canonical, wildcards as `*.name`) are covered, it is valid at `now`, and each certificate of the chain is signed
/// by the one after it. `now` may be some minutes off.
///
/// # Errors
/// What is wrong, in words that quote no key.
pub fn check_issued(chain: &str, key: &str, names: &[String], now: i64) -> Result<Issued, String> {
    let text = format!("{chain}\n{key}\n");
    let file = CertFile::parse(text.as_bytes(), &Arc::from("the certificate that was issued"), None);
    if let Some(finding) = file.findings.first() {
        return Err(finding.message.clone());
    }
    let (Some(leaf), [key]) = (file.certs.first(), &file.keys[..]) else {
        return Err("it is no certificate".to_owned());
    };
    if *key.public != *leaf.public_key() {
        return Err("it is for another key".to_owned());
    }
    if let Some(missing) = names.iter().find(|name| !leaf.names.iter().any(|own| **own == ***name)) {
        return Err(format!("it does not cover {missing}"));
    }
    let not_after = file.certs.iter().map(|cert| cert.not_after).min().unwrap_or(leaf.not_after);
    if now + SKEW < leaf.not_before {
        return Err("it is not valid yet: is the clock of this machine right?".to_owned());
    }
    if now > not_after {
        return Err("it has expired already: is the clock of this machine right?".to_owned());
    }
    for pair in file.certs.windows(2) {
        if !pair[0].is_issued_by(&pair[1]) {
            return Err("its chain is not in order".to_owned());
        }
    }
    let sha256 = digest(&SHA256, &leaf.der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Issued { sha256, not_before: leaf.not_before, not_after })
}

/// Seconds that two clocks may differ.
const SKEW: i64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    #[test]
    fn only_what_was_ordered_is_put_to_use() {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "CA");
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, &ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["a.example".to_owned(), "*.b.example".to_owned()];
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let chain = leaf.pem() + &ca.pem();
        let (start, end) = (params.not_before.unix_timestamp(), params.not_after.unix_timestamp());
        let check = |chain: &str, key: &str, names: &[String], now| check_issued(chain, key, names, now);

        let issued = check(&chain, &key.serialize_pem(), &names, start).unwrap();
        assert_eq!((issued.not_before, issued.not_after, issued.sha256.len()), (start, end, 64));
        for (chain, key, names, now, why) in [
            (&chain, &ca_key, &names[..], start, "another key"),
            (&chain, &key, &["c.example".to_owned()][..], start, "c.example"),
            (&chain, &key, &names[..], start - 3600, "not valid yet"),
            (&chain, &key, &names[..], end + 1, "expired"),
            (&(leaf.pem() + &leaf.pem()), &key, &names[..], start, "order"),
            (&"x".to_owned(), &key, &names[..], start, "no certificate"),
            (&chain.replace("MI", "M"), &key, &names[..], start, ""),
        ] {
            let error = check(chain, &key.serialize_pem(), names, now).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
