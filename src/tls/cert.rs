//! One certificate: what it says, and who signed it.

use std::{ops::Range, sync::OnceLock};

use compact_str::CompactString;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::{extensions::GeneralName, prelude::*, public_key::PublicKey};

use super::{
    der::{Reader, tag},
    signature,
};

/// A certificate, as far as choosing and checking it takes.
#[derive(Debug)]
pub(super) struct Cert {
    pub der: CertificateDer<'static>,
    /// The line where it begins in its file.
    pub line: u32,
    /// Host names, lower-case; a wildcard is `*.name`.
    pub names: Box<[CompactString]>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Whether it may sign others.
    pub is_ca: bool,
    subject: Range<usize>,
    issuer: Range<usize>,
    serial: Range<usize>,
    /// Whether its issuer lets it sign OCSP responses.
    pub signs_ocsp: bool,
    public_key: Range<usize>,
    key_id: Option<Range<usize>>,
    issuer_key_id: Option<Range<usize>>,
    /// The key that was seen to have signed it, so that no signature is checked again with every reload.
    signer: OnceLock<Box<[u8]>>,
}

impl Cert {
    /// The certificate, and how many bits its key has if it is RSA.
    pub fn parse(der: Vec<u8>, line: u32) -> Result<(Self, Option<usize>), String> {
        let der = CertificateDer::from(der);
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|error| match error {
            nom::Err::Error(error) | nom::Err::Failure(error) => error.to_string(),
            nom::Err::Incomplete(_) => "it ends too soon".to_owned(),
        })?;
        if !rest.is_empty() {
            return Err("something follows it in its block".to_owned());
        }
        let within = |part: &[u8]| {
            let start = part.as_ptr() as usize - der.as_ptr() as usize;
            start..start + part.len()
        };
        let mut names: Vec<CompactString> = Vec::new();
        if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
            names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => host_name(name),
                _ => None,
            }));
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let (mut key_id, mut issuer_key_id) = (None, None);
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(within(id.0)),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer_key_id = id.key_identifier.as_ref().map(|id| within(id.0));
                }
                _ => {}
            }
        }
        let bits = match parsed.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        };
        let (subject, issuer) = (within(parsed.subject().as_raw()), within(parsed.issuer().as_raw()));
        let cert = Cert {
            line,
            names: names.into(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_ca: parsed.is_ca(),
            subject,
            issuer,
            serial: within(parsed.raw_serial()),
            signs_ocsp: matches!(parsed.extended_key_usage(), Ok(Some(usage)) if usage.value.ocsp_signing),
            public_key: within(parsed.public_key().raw),
            key_id,
            issuer_key_id,
            signer: OnceLock::new(),
            der,
        };
        Ok((cert, bits))
    }

    /// Its public key, a SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        &self.der[self.public_key.clone()]
    }

    /// The bits of its public key, without what says of which kind they are.
    pub fn key_bits(&self) -> Option<&[u8]> {
        let mut parts = Reader::new(signature::content(self.public_key())?);
        parts.take(tag::SEQUENCE)?;
        parts.bits()
    }

    /// Its serial number, the content of an INTEGER.
    pub fn serial(&self) -> &[u8] {
        &self.der[self.serial.clone()]
    }

    /// Whose it is, as DER.
    pub fn subject(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// Who signed it, as DER.
    pub fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// Who signed it, for people.
    pub fn issuer_name(&self) -> String {
        match X509Certificate::from_der(&self.der) {
            Ok((_, parsed)) => parsed.issuer().to_string(),
            Err(_) => String::new(),
        }
    }

    /// Whether it signed itself.
    pub fn is_root(&self) -> bool {
        self.subject() == self.issuer() && self.is_signed_by(signature::content(self.public_key()).unwrap_or_default())
    }

    /// Whether `issuer` signed it. The signature decides; where it can't be checked, the names and key identifiers do.
    pub fn is_issued_by(&self, issuer: &Cert) -> bool {
        self.issuer() == issuer.subject()
            && match (&self.issuer_key_id, &issuer.key_id) {
                (Some(wanted), Some(id)) => self.der[wanted.clone()] == issuer.der[id.clone()],
                _ => true,
            }
            && self.is_signed_by(signature::content(issuer.public_key()).unwrap_or_default())
    }

    /// Whether `anchor` signed it, or is it under another signature (a root that another root vouches for).
    pub fn is_vouched_for_by(&self, anchor: &TrustAnchor<'_>) -> bool {
        let (subject, key) = (anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref());
        let is = |name: &[u8]| signature::content(name) == Some(subject);
        (is(self.issuer()) && self.is_signed_by(key))
            || (self.is_ca && is(self.subject()) && signature::content(self.public_key()) == Some(key))
    }

    /// Whether a key (the content of a SubjectPublicKeyInfo) made its signature, or may have.
    fn is_signed_by(&self, key: &[u8]) -> bool {
        if let Some(signer) = self.signer.get() {
            return **signer == *key;
        }
        match signature::is_signed_by(&self.der, key) {
            Some(true) => {
                self.signer.get_or_init(|| key.into());
                true
            }
            Some(false) => false,
            None => true,
        }
    }
}

/// A name of a certificate in the spelling of [`Cert::names`]; `None` for what no client asks for.
fn host_name(name: &str) -> Option<CompactString> {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let fine = !bare.is_empty()
        && bare.len() <= 253
        && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    fine.then(|| CompactString::from(name.to_ascii_lowercase()))
}
