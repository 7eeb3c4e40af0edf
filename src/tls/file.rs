//! One file of certificates and keys.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::{self, PemObject, SectionKind},
    },
    sign::SigningKey,
};

use super::{
    cert::Cert,
    keyfile::LOCKED,
    ocsp::{MAX_RESPONSE, Response, is_response},
    passphrase::Passphrase,
    pbes2::{Locked, MAX_ROUNDS, unlock},
    pem::{Block, blocks, decode},
};
use crate::config::{Diagnostic, Severity};

/// The label of a certificate's block.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Largest file that is looked at to see whether it holds PEM, in bytes.
const MAX_GUESSED: u64 = 1 << 20;

/// Endings of files that hold PEM (or an OCSP response), or are faulty. Others may (any file with a block is read) or may not: notes, PKCS#12.
const ENDINGS: &[&str] = &["pem", "crt", "cer", "cert", "key", "chain", "fullchain", "bundle", "ca-bundle", "ocsp"];

/// Endings of files that are not read whatever they hold: documents, and what editors and tools leave or are just
/// writing.
const IGNORED: &[&str] = &["md", "bak", "old", "orig", "new", "tmp", "part", "swp"];

/// The keys that can be used.
const KINDS: &str = "keys are ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 to 8192 bits";

/// Smallest RSA key that isn't weak, in bits (NIST SP 800-131A, and what aws-lc-rs signs with).
const MIN_RSA_BITS: usize = 2048;

/// Whether a file of that name may be read.
pub(super) fn may_hold_certificates(name: &str) -> bool {
    !name.ends_with('~') && !ends_in(name, IGNORED)
}

/// Whether a file of that name has to hold certificates or keys.
pub(super) fn must_hold_certificates(name: &str) -> bool {
    ends_in(name, ENDINGS)
}

fn ends_in(name: &str, endings: &[&str]) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct CertFile {
    pub certs: Vec<Arc<Cert>>,
    pub keys: Vec<Key>,
    /// What a responder says of a certificate.
    pub response: Option<Response>,
    /// What is wrong with the file by itself.
    pub findings: Vec<Diagnostic>,
    /// Whether it has a key that only a passphrase opens.
    pub is_locked: bool,
    /// Whether it is something else.
    pub is_alien: bool,
}

/// A private key.
#[derive(Debug)]
pub(super) struct Key {
    /// The line where it begins in its file.
    pub line: u32,
    /// What its block is called: `PRIVATE KEY`, `EC PRIVATE KEY`, `RSA PRIVATE KEY`.
    pub label: Box<str>,
    pub signing: Arc<dyn SigningKey>,
    /// The public key (SubjectPublicKeyInfo) that it belongs to.
    pub public: Box<[u8]>,
}

impl CertFile {
    /// Reads `path`, which findings call `name`. What can't be used is a finding; that it holds no PEM at all is one
    /// only if it `must`. Keys that are locked are opened with `passphrase`.
    pub fn read(path: &Path, name: &Arc<str>, must: bool, passphrase: Option<&Passphrase>) -> Self {
        let alien = CertFile { is_alien: true, ..CertFile::default() };
        let unreadable = |message: String, hint: &str| CertFile {
            findings: vec![finding("unreadable", name, 1, message).hint(hint)],
            ..CertFile::default()
        };
        let bytes = match fs::metadata(path) {
            Ok(metadata) if !must && (!metadata.is_file() || metadata.len() > MAX_GUESSED) => return alien,
            Ok(metadata) if !metadata.is_file() => return unreadable("this is no file".to_owned(), "remove it"),
            Ok(metadata) if metadata.len() > MAX_FILE => {
                let message = format!("this file is larger than {} MiB", MAX_FILE >> 20);
                return unreadable(message, "put each host's certificate into a file of its own");
            }
            Ok(metadata) => fs::read(path).map(|bytes| (bytes, metadata.permissions().mode())),
            Err(error) => Err(error),
        };
        match bytes {
            Ok((bytes, _)) if is_response(name) => CertFile::read_response(&bytes, name),
            Ok((bytes, _)) if !must && memchr::memmem::find(&bytes, b"-----BEGIN ").is_none() => alien,
            Ok((bytes, mode)) => {
                let mut file = CertFile::parse(&bytes, name, passphrase);
                file.note_exposed(mode, name);
                file
            }
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => "the gateway's user must be able to read it",
                    io::ErrorKind::NotFound => "it is a link that leads nowhere: put back what it led to, or remove it",
                    _ => "see whether the disk is well",
                };
                unreadable(format!("this file can't be read: {error}"), hint)
            }
        }
    }

    /// Reads an OCSP response.
    fn read_response(bytes: &[u8], name: &Arc<str>) -> Self {
        let response = match bytes.len() as u64 > MAX_RESPONSE {
            true => Err("this OCSP response is larger than any that is stapled"),
            false => Response::parse(bytes),
        };
        let hint = "write it as `openssl ocsp -respout FILE` does, or remove it; it is not stapled";
        CertFile {
            findings: response
                .as_ref()
                .err()
                .map(|&why| finding("bad-ocsp", name, 1, why).hint(hint).warning())
                .into_iter()
                .collect(),
            response: response.ok(),
            ..CertFile::default()
        }
    }

    /// Reads the text of a file. Never panics, whatever the bytes.
    pub fn parse(bytes: &[u8], name: &Arc<str>, passphrase: Option<&Passphrase>) -> Self {
        let mut file = CertFile::default();
        let mut rounds = MAX_ROUNDS;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut any = false;
        for block in blocks(bytes) {
            any = true;
            match block.label {
                LOCKED => file.locked(&block, name, passphrase, &mut rounds),
                _ => file.block(&block, name),
            }
        }
        if !any {
            // A DER structure begins with a SEQUENCE.
            let (message, hint) = match bytes.first() {
                None => ("this file is empty", "write the chain and its key into it, as PEM"),
                Some(0x30) => {
                    ("this file is DER, not PEM", "`openssl x509 -inform der -in FILE -out FILE.pem` turns it into PEM")
                }
                Some(_) => ("this file holds no PEM", "PEM begins with a line such as `-----BEGIN CERTIFICATE-----`"),
            };
            file.findings.push(finding("bad-certificate", name, 1, message).hint(hint));
        }
        file
    }

    fn block(&mut self, block: &Block<'_>, name: &Arc<str>) {
        let line = block.line;
        let fault =
            |code, message: String, hint: &str| block_finding(code, name, line, block.label, message).hint(hint);
        let is_key = block.label.ends_with("PRIVATE KEY");
        if is_key && block.is_encrypted() {
            let hint = "`openssl pkcs8 -topk8 -in FILE -out FILE.key` turns it into PKCS#8, which can";
            self.findings.push(fault(
                "bad-key",
                "this key is locked in a way that can't be opened here".to_owned(),
                hint,
            ));
            return;
        }
        let decoded = <(SectionKind, Vec<u8>)>::from_pem_slice(block.text);
        let broken = "export it again; the file may have been cut off or edited";
        match decoded {
            Ok((SectionKind::Certificate, der)) => match Cert::parse(der, line) {
                Ok((cert, bits)) => {
                    if let Some(bits) = bits.filter(|&bits| bits < MIN_RSA_BITS) {
                        let message = format!("an RSA key of {bits} bits is too weak: clients refuse it");
                        self.findings.push(fault(
                            "weak-key",
                            message,
                            "have it issued again for an ECDSA P-256 key, or RSA of 2048 bits",
                        ));
                    }
                    self.certs.push(Arc::new(cert));
                }
                Err(error) => {
                    self.findings.push(fault(
                        "bad-certificate",
                        format!("this certificate is malformed: {error}"),
                        broken,
                    ));
                }
            },
            Ok((kind @ (SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey), der)) => {
                let der = PrivateKeyDer::from_pem(kind, der).ok_or_else(|| "unknown encoding".to_owned());
                match der.and_then(|der| Key::load(der, block)) {
                    Ok(key) => self.keys.push(key),
                    Err(error) => {
                        self.findings.push(fault("bad-key", format!("this key can't be used: {error}"), KINDS));
                    }
                }
            }
            Ok(_) | Err(pem::Error::NoItemsFound) if is_key => {
                let hint = "`openssl pkey -in FILE -out FILE.key` turns a key of most kinds into PKCS#8";
                let message = format!("a key of this kind is not for TLS: {}", block.label);
                self.findings.push(fault("bad-key", message, hint));
            }
            // Requests, parameters, revocation lists: they may be here, and nobody needs them.
            Ok(_) => {}
            Err(_) if !is_key && block.label != CERTIFICATE => {}
            Err(error) => {
                let code = if is_key { "bad-key" } else { "bad-certificate" };
                self.findings.push(fault(code, format!("this block of PEM is broken: {}", describe(&error)), broken));
            }
        }
    }

    /// A key that only a passphrase opens.
    fn locked(&mut self, block: &Block<'_>, name: &Arc<str>, passphrase: Option<&Passphrase>, rounds: &mut u32) {
        self.is_locked = true;
        let (message, hint) = match (passphrase, decode(block)) {
            (None, _) => (
                "this key has a passphrase, and none was given".to_owned(),
                "put it into a file and name that as [tls] passphrase-file, or set WAYPOST_PASSPHRASE",
            ),
            (_, None) => {
                ("this block of PEM is broken".to_owned(), "export it again; the file may have been cut off or edited")
            }
            (Some(passphrase), Some(der)) => match unlock(&der, passphrase.as_bytes(), rounds) {
                Ok(key) => match Key::load(PrivatePkcs8KeyDer::from(key).into(), block) {
                    Ok(key) => return self.keys.push(key),
                    Err(error) => (format!("this key can't be used: {error}"), KINDS),
                },
                Err(Locked::Wrong) => (
                    "the passphrase does not open this key".to_owned(),
                    "[tls] passphrase-file, or else WAYPOST_PASSPHRASE, must be what it was locked with",
                ),
                Err(Locked::Unknown) => (
                    "this key is locked in a way that can't be opened here".to_owned(),
                    "`openssl pkcs8 -topk8 -in FILE -out FILE.key` locks it with AES-256 and PBKDF2",
                ),
                Err(Locked::Costly) => (
                    format!("to open this key would take more than the {MAX_ROUNDS} rounds that a file may take"),
                    "put each key into a file of its own, locked with fewer rounds (`openssl pkcs8 -topk8 -iter 100000`)",
                ),
                Err(Locked::Malformed) => ("this key is malformed".to_owned(), "export it again"),
            },
        };
        self.findings.push(block_finding("bad-key", name, block.line, block.label, message).hint(hint));
    }

    /// A key that every user of the machine may read is no secret.
    fn note_exposed(&mut self, mode: u32, name: &Arc<str>) {
        if let Some(key) = self.keys.first()
            && mode & 0o004 != 0
        {
            let message = format!("every user of this machine may read this key (mode {:03o})", mode & 0o777);
            let finding = block_finding("exposed-key", name, key.line, &key.label, message);
            self.findings.push(finding.hint("chmod 640, or 600").warning());
        }
    }
}

/// An error at a line of a certificate file.
pub(super) fn finding(code: &'static str, file: &Arc<str>, line: u32, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code,
        file: file.clone(),
        line,
        column: 1,
        length: 1,
        source: String::new(),
        message: message.into(),
        hint: None,
    }
}

/// As [`finding`], at a block of PEM, whose first line says what it is. What follows that line may be secret.
pub(super) fn block_finding(
    code: &'static str,
    file: &Arc<str>,
    line: u32,
    label: &str,
    message: impl Into<String>,
) -> Diagnostic {
    let source = format!("-----BEGIN {label}-----");
    Diagnostic { length: source.chars().count() as u32, source, ..finding(code, file, line, message) }
}

fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing".to_owned(),
        pem::Error::Base64Decode(_) => "it is not base64".to_owned(),
        // The others may quote the file, and so a key.
        _ => "it can't be read".to_owned(),
    }
}

impl Key {
    fn load(der: PrivateKeyDer<'static>, block: &Block<'_>) -> Result<Self, String> {
        let signing = any_supported_type(&der).map_err(|error| match error {
            rustls::Error::General(text) => text,
            error => error.to_string(),
        })?;
        let public = signing.public_key().ok_or("it has no public key")?.as_ref().into();
        Ok(Key { line: block.line, label: block.label.into(), signing, public })
    }
}
