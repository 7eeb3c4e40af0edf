//! OCSP responses (RFC 6960) that are stapled to handshakes: a file each, in DER, as the authority's responder gave it.

use std::{path::Path, sync::Arc};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    cert::Cert,
    der::{Reader, tag},
    file::finding,
    signature,
};
use crate::config::Diagnostic;

/// The ending of files that hold one.
const ENDING: &str = "ocsp";

/// Largest response, in bytes: it is sent with every full handshake.
pub(super) const MAX_RESPONSE: u64 = 32 * 1024;

const BASIC: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const SHA1: &[u8] = &[0x2B, 0x0E, 0x03, 0x02, 0x1A];
const SHA2_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA2_384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA2_512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

/// Whether a file of that name holds a response.
pub(super) fn is_response(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING))
}

/// A response, and what it says.
#[derive(Debug)]
pub(super) struct Response {
    der: Vec<u8>,
    /// What is signed of it, with the signature.
    basic: Vec<u8>,
    /// Certificates that it brings along.
    certs: Vec<Cert>,
    statuses: Vec<Status>,
}

/// What is said of one certificate.
#[derive(Debug)]
struct Status {
    hash: &'static Algorithm,
    /// Hashes of the issuer's name and key.
    issuer: (Box<[u8]>, Box<[u8]>),
    serial: Box<[u8]>,
    kind: Kind,
    /// Unix seconds.
    this_update: i64,
    /// Unix seconds; none if nothing is said.
    next_update: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    Revoked,
    Unknown,
}

/// A response that may be stapled.
#[derive(Debug)]
pub(super) struct Staple {
    pub der: Vec<u8>,
    /// When it begins and ends to be good, Unix seconds.
    pub from: i64,
    pub until: i64,
    /// The file that it is from.
    pub file: Arc<str>,
}

impl Response {
    /// Reads a file; the error says what is wrong with it. Never panics, whatever the bytes.
    pub fn parse(der: &[u8]) -> Result<Self, &'static str> {
        const MALFORMED: &str = "this is no OCSP response in DER";
        let mut file = Reader::new(der);
        let mut outer = file.enter(tag::SEQUENCE).ok_or(MALFORMED)?;
        if outer.take(tag::ENUMERATED).ok_or(MALFORMED)? != [0] {
            return Err("the responder gave no answer, but an error");
        }
        let mut bytes =
            outer.enter(tag::CONTEXT_0).and_then(|mut inner| inner.enter(tag::SEQUENCE)).ok_or(MALFORMED)?;
        if bytes.take(tag::OID).ok_or(MALFORMED)? != BASIC {
            return Err("this OCSP response is of a kind that browsers don't know");
        }
        let basic = bytes.take(tag::OCTET_STRING).filter(|_| file.is_done()).ok_or(MALFORMED)?;
        let (statuses, certs) = parse_basic(basic).ok_or(MALFORMED)?;
        Ok(Response { der: der.to_vec(), basic: basic.to_vec(), certs, statuses })
    }

    /// The serial numbers of the certificates that it is about.
    pub fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.statuses.iter().map(|status| &*status.serial)
    }

    /// What of it may be stapled to the handshakes of a certificate with its issuer; a finding if nothing may. None if it
    /// is about others. Whether it is still good is for whoever staples it to see.
    pub fn staple(&self, file: &Arc<str>, leaf: &Cert, issuer: &Cert) -> Option<Result<Staple, Diagnostic>> {
        let status = self.statuses.iter().find(|status| status.is_about(leaf, issuer))?;
        let name = leaf.names.first().map_or("it", |name| name.as_str());
        let useless = |message: String| {
            let hint = "it is not stapled: fetch another from the responder that the certificate names";
            Some(Err(finding("bad-ocsp", file, 1, message).hint(hint).warning()))
        };
        if !self.is_signed_by(issuer) {
            return useless(format!("this OCSP response was not signed by who issued the certificate of {name}"));
        }
        match (status.kind, status.next_update) {
            (Kind::Revoked, _) => {
                let message = format!("the certificate of {name} is revoked, as this OCSP response says");
                Some(Err(finding("revoked-certificate", file, 1, message).hint("have another one issued")))
            }
            (Kind::Unknown, _) => useless(format!("the responder does not know the certificate of {name}")),
            (Kind::Good, None) => useless(format!("this OCSP response about {name} does not say how long it is good")),
            (Kind::Good, Some(until)) => {
                Some(Ok(Staple { der: self.der.clone(), from: status.this_update, until, file: file.clone() }))
            }
        }
    }

    /// Whether the issuer signed it, or somebody whom the issuer made its responder (RFC 6960, 4.2.2.2). A signature of a
    /// kind that can't be checked here may be good.
    fn is_signed_by(&self, issuer: &Cert) -> bool {
        let by = |key: &[u8]| signature::is_signed_by(&self.basic, signature::content(key).unwrap_or_default());
        let responders = self.certs.iter().filter(|cert| cert.signs_ocsp && cert.is_issued_by(issuer));
        let keys = std::iter::once(issuer.public_key()).chain(responders.map(Cert::public_key));
        keys.map(by).any(|signed| signed != Some(false))
    }
}

impl Status {
    fn is_about(&self, leaf: &Cert, issuer: &Cert) -> bool {
        let is = |wanted: &[u8], bytes: &[u8]| digest(self.hash, bytes).as_ref() == wanted;
        *self.serial == *leaf.serial()
            && is(&self.issuer.0, leaf.issuer())
            && issuer.key_bits().is_some_and(|key| is(&self.issuer.1, key))
    }
}

/// BasicOCSPResponse: what is said, and the certificates that come with it.
fn parse_basic(der: &[u8]) -> Option<(Vec<Status>, Vec<Cert>)> {
    let mut whole = Reader::new(der);
    let mut basic = whole.enter(tag::SEQUENCE).filter(|_| whole.is_done())?;
    let mut data = basic.enter(tag::SEQUENCE)?;
    let (_algorithm, _signature) = (basic.take(tag::SEQUENCE)?, basic.bits()?);
    let mut certs = Vec::new();
    if let Some(mut brought) = basic.enter(tag::CONTEXT_0).and_then(|mut certs| certs.enter(tag::SEQUENCE)) {
        while !brought.is_done() && certs.len() < MAX_CERTS {
            // One that can't be read has not signed it.
            certs.extend(Cert::parse(brought.value()?.whole.to_vec(), 1).ok().map(|(cert, _)| cert));
        }
    }
    // The version, and who answers.
    let _ = data.take(tag::CONTEXT_0);
    let (_responder, _produced) = (data.value()?, data.take(tag::GENERALIZED_TIME)?);
    let mut answers = data.enter(tag::SEQUENCE)?;
    let mut statuses = Vec::new();
    while !answers.is_done() {
        let answer = answers.enter(tag::SEQUENCE)?;
        statuses.extend(parse_status(answer)?);
    }
    Some((statuses, certs))
}

/// SingleResponse; nothing if it is hashed in a way that is not known.
fn parse_status(mut answer: Reader<'_>) -> Option<Option<Status>> {
    let mut id = answer.enter(tag::SEQUENCE)?;
    let hash = match id.enter(tag::SEQUENCE)?.take(tag::OID)? {
        SHA1 => Some(&SHA1_FOR_LEGACY_USE_ONLY),
        SHA2_256 => Some(&SHA256),
        SHA2_384 => Some(&SHA384),
        SHA2_512 => Some(&SHA512),
        _ => None,
    };
    let issuer = (id.take(tag::OCTET_STRING)?.into(), id.take(tag::OCTET_STRING)?.into());
    let serial = id.take(tag::INTEGER)?.into();
    let kind = match answer.value()?.tag {
        0x80 => Kind::Good,
        0xA1 => Kind::Revoked,
        0x82 => Kind::Unknown,
        _ => return None,
    };
    let this_update = time(answer.take(tag::GENERALIZED_TIME)?)?;
    let next_update = match answer.enter(tag::CONTEXT_0) {
        Some(mut next) => Some(time(next.take(tag::GENERALIZED_TIME)?)?),
        None => None,
    };
    Some(hash.map(|hash| Status { hash, issuer, serial, kind, this_update, next_update }))
}

/// `20261123081500Z` (RFC 5280, 4.1.2.5.2) in Unix seconds.
fn time(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == 15 && text.is_ascii())?;
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize, to: usize| part(from, to).and_then(|part| i8::try_from(part).ok());
    let civil =
        DateTime::new(part(0, 4)?, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, small(12, 14)?, 0)
            .ok()?;
    TimeZone::UTC.to_timestamp(civil).ok().map(Timestamp::as_second)
}

/// Certificates of a response that are looked at.
const MAX_CERTS: usize = 4;
