//! Who signed a certificate, by the signature itself: names and key identifiers may be anyone's.

use std::sync::LazyLock;

use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};

use super::{
    der::{Reader, tag},
    policy::provider,
};

/// Whether a key (the content of a SubjectPublicKeyInfo) signed a certificate or a basic OCSP response (DER); `None` if the
/// signature or the key is of a kind that can't be checked here, such as SHA-1, SM2 or RSA of 1024 bits.
pub(super) fn is_signed_by(certificate: &[u8], key: &[u8]) -> Option<bool> {
    let mut parts = Reader::new(content(certificate)?);
    let (signed, algorithm, signature) = (parts.value()?.whole, parts.take(tag::SEQUENCE)?, parts.bits()?);
    let mut key = Reader::new(key);
    let (key_algorithm, key) = (key.take(tag::SEQUENCE)?, key.bits()?);
    if *key_algorithm == *alg_id::RSA_ENCRYPTION && key.len() < MIN_RSA {
        return None;
    }
    let mut known = false;
    for candidate in ALGORITHMS.iter().filter(|candidate| *candidate.signature_alg_id() == *algorithm) {
        if *candidate.public_key_alg_id() == *key_algorithm {
            return Some(candidate.verify_signature(key, signed, signature).is_ok());
        }
        known = true;
    }
    // A key of another kind than the signature's did not make it.
    let is_known_key = ALGORITHMS.iter().any(|candidate| *candidate.public_key_alg_id() == *key_algorithm);
    (known && is_known_key).then_some(false)
}

/// The content of a DER value, without its tag and length.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    Some(Reader::new(der).value()?.content)
}

/// Bytes of an RSA key (its modulus and some) below which aws-lc-rs finds no signature valid.
const MIN_RSA: usize = 2048 / 8;

/// Whatever rustls can check, by the gateway's own cryptography.
static ALGORITHMS: LazyLock<&'static [&'static dyn SignatureVerificationAlgorithm]> =
    LazyLock::new(|| provider().signature_verification_algorithms.all);
