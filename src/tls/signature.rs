//! Who signed a certificate, by the signature itself: names and key identifiers may be anyone's.

use std::sync::LazyLock;

use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};
use x509_parser::asn1_rs::{Any, FromDer, Tag};

use super::policy::provider;

/// Whether a key (the content of a SubjectPublicKeyInfo) signed a certificate (DER); `None` if the signature or the
/// key is of a kind that can't be checked here, such as SHA-1, SM2 or RSA of 1024 bits.
pub(super) fn is_signed_by(certificate: &[u8], key: &[u8]) -> Option<bool> {
    let (signed, rest) = value(content(certificate)?)?;
    let (algorithm, rest) = value(rest)?;
    let (signature, _) = bits(rest)?;
    let (key_algorithm, rest) = value(key)?;
    let (key, _) = bits(rest)?;
    let (algorithm, key_algorithm) = (content(algorithm)?, content(key_algorithm)?);
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
    Some(Any::from_der(der).ok()?.1.data)
}

/// The first DER value, all of it, and what follows it.
fn value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = Any::from_der(der).ok()?.0;
    Some((&der[..der.len() - rest.len()], rest))
}

/// The bytes of the BIT STRING that a text begins with, and what follows it.
fn bits(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    let bytes = any.data.strip_prefix(&[0])?;
    (any.header.tag() == Tag::BitString).then_some((bytes, rest))
}

/// Bytes of an RSA key (its modulus and some) below which aws-lc-rs finds no signature valid.
const MIN_RSA: usize = 2048 / 8;

/// Whatever rustls can check, by the gateway's own cryptography.
static ALGORITHMS: LazyLock<&'static [&'static dyn SignatureVerificationAlgorithm]> =
    LazyLock::new(|| provider().signature_verification_algorithms.all);
