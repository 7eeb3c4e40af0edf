//! TLS with origins: whom to believe, and as whom to appear.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::origin::Origin;
use super::platform::Reader;
use super::reader::At;
use crate::model::Host;

/// How TLS is spoken with origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginTls {
    /// The name that is asked for and that the certificate must have; `host`, or the origin's own, where absent.
    pub sni: Option<Host>,
    /// Who may have issued the certificate; whom the system trusts where absent.
    pub ca: Option<Certificates>,
    /// SHA-256 of certificates of which the origin must have one.
    pub pins: Vec<[u8; 32]>,
    /// Who the gateway is.
    pub identity: Option<Identity>,
}

/// Certificates, and the file that they are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// As it was written.
    pub file: PathBuf,
    /// DER.
    pub certificates: Vec<Vec<u8>>,
}

/// A client certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, the gateway's own certificate first.
    pub chain: Certificates,
    /// The key's file, as it was written.
    pub key_file: PathBuf,
    /// PKCS#8, SEC1 or PKCS#1, DER.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.file).finish_non_exhaustive()
    }
}

impl Reader<'_> {
    pub(super) fn tls(&mut self, folder: &Path, origins: &[Origin]) -> OriginTls {
        let tls = OriginTls {
            sni: self.host(self.table, "sni"),
            ca: self.certificates("ca", folder),
            pins: self.pins(),
            identity: self.identity(folder),
        };
        if !origins.is_empty() && !origins.iter().any(|origin| origin.secure) {
            let on = self.table.text("http2").filter(|at| at.value == "on").map(|_| "http2");
            let pins = self.table.texts("pin").filter(|at| !at.value.is_empty()).map(|_| "pin");
            for key in ["sni", "ca", "certificate", "key"].into_iter().chain(pins).chain(on) {
                if let Some(span) = self.table.key_span(key) {
                    let message = format!("`{key}` is for origins with TLS, and this platform has none");
                    self.fault("bad-value", span, message, "write the origin with https://, or leave this out");
                }
            }
        }
        tls
    }

    fn pins(&mut self) -> Vec<[u8; 32]> {
        let mut pins = Vec::new();
        for At { value, span } in self.table.texts("pin").map(|at| at.value.as_slice()).unwrap_or_default() {
            match parse_pin(value) {
                Some(pin) => pins.push(pin),
                None => {
                    let message = format!("`{value}` is no SHA-256 of a certificate: 64 hexadecimal digits");
                    let hint = "`openssl x509 -in FILE -noout -fingerprint -sha256` shows it";
                    self.fault("bad-value", span.clone(), message, hint);
                }
            }
        }
        pins
    }

    /// The certificates of a file that a key names, checked one by one.
    pub(super) fn certificates(&mut self, key: &str, folder: &Path) -> Option<Certificates> {
        let At { value: file, span } = self.table.text(key)?;
        let read = read_file(&folder.join(file)).and_then(|pem| {
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.map_err(|_| "a block of it is broken".to_owned())?;
            for certificate in &certificates {
                RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
                // Pingora reads it with another parser, and takes for granted that it can.
                X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
            }
            match certificates.is_empty() {
                true => Err("it holds no certificate in PEM".to_owned()),
                false => Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect()),
            }
        });
        match read {
            Ok(certificates) => Some(Certificates { file: file.into(), certificates }),
            Err(error) => {
                let message = format!("`{file}` can't be used: {error}");
                self.fault("bad-certificate", span, message, CERTIFICATE_HINT);
                None
            }
        }
    }

    pub(super) fn identity(&mut self, folder: &Path) -> Option<Identity> {
        let (certificate, key) = (self.table.key_span("certificate"), self.table.key_span("key"));
        if let (Some(span), None) | (None, Some(span)) = (&certificate, &key) {
            let message = "a certificate needs both `certificate` and `key`".to_owned();
            self.fault("missing-key", span.clone(), message, "name both files, or none");
            return None;
        }
        let chain = self.certificates("certificate", folder)?;
        let At { value: file, span } = self.table.text("key")?;
        let read = read_file(&folder.join(file)).and_then(|pem| {
            let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "it holds no private key in PEM".to_owned())?;
            let certificates = chain.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
            CertifiedKey::from_der(certificates, key.clone_key(), &aws_lc_rs::default_provider())
                .map_err(|error| format!("it does not go with the certificate: {error}"))?;
            let der = key.secret_der().to_vec();
            // Pingora tells the kind by the bytes, and takes for granted that it can.
            PrivateKeyDer::try_from(der.as_slice()).map_err(str::to_owned)?;
            Ok(der)
        });
        match read {
            Ok(key) => Some(Identity { chain, key_file: file.into(), key }),
            Err(error) => {
                let message = format!("`{file}` can't be used: {error}");
                self.fault("bad-key", span, message, CERTIFICATE_HINT);
                None
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map(|metadata| metadata.len());
    let read = length.and_then(|length| match length {
        0..=MAX_FILE => fs::read(path),
        _ => Err(io::Error::other(format!("it is larger than {} MiB", MAX_FILE >> 20))),
    });
    read.map_err(|error| error.to_string())
}

/// 64 hexadecimal digits, with colons between them as openssl prints them.
fn parse_pin(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.strip_prefix("sha256:").unwrap_or(text).chars().filter(|&c| c != ':').collect();
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut pin = [0; 32];
    for (byte, at) in pin.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(pin)
}

/// Largest file of certificates that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

const CERTIFICATE_HINT: &str = "a PEM file, by its path relative to the folder of gateway.toml";
