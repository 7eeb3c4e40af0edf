//! What proves to an authority that a name leads here (ACME).
//!
//! Any node of a fleet may be asked, and only one of them orders. What they share is a folder: the one that orders writes
//! there, all answer from it.
//!
//! - `http-01` (RFC 8555, 8.3): the answer is the token that was asked for and the thumbprint of the account's key, and
//!   needs nothing that depends on the order. So each node answers every token, and nothing has to reach it in time.
//! - `tls-alpn-01` (RFC 8737): the answer is a certificate that holds a digest of the token, which nobody tells in the
//!   handshake. The digest is in a file named for the host, as long as its name is being proven.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use moka::sync::Cache;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey},
};

use super::keyfile::{make_secret_folder, write_secret};
use crate::model::{Host, is_challenge_token};

/// The protocol that an authority offers in a handshake for `tls-alpn-01`.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// What is answered to an authority that asks whether a name leads here. One for all lanes and threads.
pub struct Challenges {
    folder: PathBuf,
    thumbprint: ArcSwapOption<String>,
    /// Made with the first certificate: most nodes never need it.
    maker: OnceLock<Option<Maker>>,
    /// By host, with the digest that each was made for.
    made: Cache<String, ([u8; 32], Arc<CertifiedKey>)>,
    /// One at a time writes the thumbprint.
    writing: Mutex<()>,
    /// When it was last looked for because there was none, Unix seconds.
    looked: AtomicI64,
}

impl Challenges {
    /// Answers from the state in `folder` (`certs/acme/.state`), which need not be there yet. What can't be read of it is
    /// not there.
    pub fn open(folder: &Path) -> Self {
        let challenges = Challenges {
            folder: folder.to_owned(),
            thumbprint: ArcSwapOption::empty(),
            maker: OnceLock::new(),
            made: Cache::new(MAX_MADE),
            writing: Mutex::new(()),
            looked: AtomicI64::new(0),
        };
        challenges.reload();
        challenges
    }

    /// Reads the thumbprint again, which another node may have written. To be called with each reload of certificates.
    pub fn reload(&self) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::read_to_string(self.folder.join(THUMBPRINT)) {
            Ok(text) => {
                let thumbprint = text.trim();
                if is_thumbprint(thumbprint) && self.thumbprint.load().as_ref().is_none_or(|old| **old != thumbprint) {
                    self.thumbprint.store(Some(Arc::new(thumbprint.to_owned())));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.thumbprint.store(None),
            // A file system that does not answer for a moment has lost no account.
            Err(_) => {}
        }
    }

    /// The answer to `http-01` for a token: its key authorization (RFC 8555, 8.1). None without an account, and for what
    /// is no token.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        let mut thumbprint = self.thumbprint.load();
        if thumbprint.is_none() && self.is_time_to_look() {
            // Another node may just have opened the account, and asks whether this one knows.
            self.reload();
            thumbprint = self.thumbprint.load();
        }
        Some(format!("{token}.{}", thumbprint.as_ref().filter(|_| is_challenge_token(token))?))
    }

    /// Once a second at most, whoever asks.
    fn is_time_to_look(&self) -> bool {
        let now = Timestamp::now().as_second();
        let last = self.looked.load(Relaxed);
        last != now && self.looked.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// Sets the thumbprint (RFC 7638) of the account's key, here and in the folder for all nodes; `None` takes it away.
    ///
    /// # Errors
    /// If it is no thumbprint, or the folder can't be written to; it is set on this node all the same if it is one.
    pub fn set_thumbprint(&self, thumbprint: Option<String>) -> io::Result<()> {
        if thumbprint.as_deref().is_some_and(|thumbprint| !is_thumbprint(thumbprint)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no thumbprint of a key"));
        }
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(THUMBPRINT);
        self.thumbprint.store(thumbprint.clone().map(Arc::new));
        match thumbprint {
            Some(thumbprint) => {
                make_secret_folder(&self.folder)?;
                write_secret(&path, format!("{thumbprint}\n").as_bytes())
            }
            None => gone(fs::remove_file(path)),
        }
    }

    /// The certificate that answers `tls-alpn-01` for a host in canonical spelling (RFC 8737, 3); none unless its name is
    /// being proven. Reads a file.
    pub fn alpn_certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let digest = parse_digest(&fs::read(self.alpn_file(host)?).ok()?)?;
        if let Some((_, certificate)) = self.made.get(host).filter(|(made_for, _)| *made_for == digest) {
            return Some(certificate);
        }
        let maker = self.maker.get_or_init(|| Maker::new().ok()).as_ref()?;
        let certificate = Arc::new(maker.make(host, &digest).ok()?);
        self.made.insert(host.to_owned(), (digest, certificate.clone()));
        Some(certificate)
    }

    /// Lets every node answer `tls-alpn-01` for a host in canonical spelling; `digest` is the SHA-256 of the key
    /// authorization.
    ///
    /// # Errors
    /// If that is no host, or the folder can't be written to.
    pub fn publish_alpn(&self, host: &str, digest: [u8; 32]) -> io::Result<()> {
        let path =
            self.alpn_file(host).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this is no host"))?;
        make_secret_folder(&self.folder.join(CHALLENGES))?;
        let mut text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        write_secret(&path, text.as_bytes())
    }

    /// Ends that.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn withdraw_alpn(&self, host: &str) -> io::Result<()> {
        self.made.invalidate(host);
        self.alpn_file(host).map_or(Ok(()), |path| gone(fs::remove_file(path)))
    }

    /// The file of a host; none for what is not one, such as a way out of the folder.
    fn alpn_file(&self, host: &str) -> Option<PathBuf> {
        let canonical = Host::parse(host.as_bytes()).ok()?;
        let is_name = canonical.as_str() == host && !host.contains([':', '/']) && !host.starts_with('.');
        is_name.then(|| self.folder.join(CHALLENGES).join(host))
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Whether a text is the SHA-256 of a key in base64url, without padding.
fn is_thumbprint(text: &str) -> bool {
    text.len() == 43 && is_challenge_token(text)
}

fn parse_digest(bytes: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// What is not there any more is as good as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes certificates, all for one key that never leaves the process.
struct Maker {
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
}

impl Maker {
    fn new() -> Result<Self, super::TlsError> {
        let key = KeyPair::generate()?;
        let signing = any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
        Ok(Maker { key, signing })
    }

    /// RFC 8737, 3: signed by itself, one name, and the digest in a critical extension.
    fn make(&self, host: &str, digest: &[u8; 32]) -> Result<CertifiedKey, rcgen::Error> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Waypost ACME challenge");
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&self.key)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], self.signing.clone()))
    }
}

/// The file of the account's thumbprint.
const THUMBPRINT: &str = "thumbprint";

/// The folder of digests.
const CHALLENGES: &str = "challenges";

/// Certificates that are kept: a few orders of a hundred names at a time.
const MAX_MADE: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use x509_parser::{extensions::GeneralName, prelude::*};

    const THUMB: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    #[test]
    fn the_first_account_of_a_fleet_is_known_to_all_nodes_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let node = Challenges::open(folder.path());
        assert_eq!(node.key_authorization("token"), None);
        Challenges::open(folder.path()).set_thumbprint(Some(THUMB.to_owned())).unwrap();
        let start = std::time::Instant::now();
        while node.key_authorization("token").is_none() {
            assert!(start.elapsed().as_secs() < 30);
            std::thread::yield_now();
        }
        assert_eq!(node.key_authorization("token"), Some(format!("token.{THUMB}")));
    }

    #[test]
    fn every_node_answers_every_token_of_the_account() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("acme/.state");
        let (orders, answers) = (Challenges::open(&state), Challenges::open(&state));
        assert_eq!(orders.key_authorization("token"), None);
        assert!(orders.set_thumbprint(Some("short".to_owned())).is_err());
        orders.set_thumbprint(Some(THUMB.to_owned())).unwrap();
        assert_eq!(fs::metadata(state.join(THUMBPRINT)).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(orders.key_authorization("to-ken_1"), Some(format!("to-ken_1.{THUMB}")));
        answers.reload();
        assert_eq!(answers.key_authorization("token"), Some(format!("token.{THUMB}")));
        assert!(answers.key_authorization(&"t".repeat(128)).is_some());
        for token in ["", "to.ken", "to/ken", "tok%65n", "tök", &"t".repeat(129)] {
            assert_eq!(answers.key_authorization(token), None, "{token}");
        }
        // Half a file is none, and what was known stays.
        fs::write(state.join(THUMBPRINT), "Nzb").unwrap();
        answers.reload();
        assert!(answers.key_authorization("token").is_some());
        orders.set_thumbprint(None).unwrap();
        orders.set_thumbprint(None).unwrap();
        answers.reload();
        assert_eq!((orders.key_authorization("token"), answers.key_authorization("token")), (None, None));
    }

    #[test]
    fn a_host_has_a_certificate_while_its_name_is_being_proven() {
        let folder = tempfile::tempdir().unwrap();
        let (orders, answers) = (Challenges::open(folder.path()), Challenges::open(folder.path()));
        assert!(answers.alpn_certificate("a.example").is_none());
        orders.publish_alpn("a.example", [7; 32]).unwrap();
        let made = answers.alpn_certificate("a.example").unwrap();
        let again = answers.alpn_certificate("a.example").unwrap();
        assert!(Arc::ptr_eq(&made, &again), "made once");
        let (_, cert) = X509Certificate::from_der(&made.cert[0]).unwrap();
        let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(matches!(names[..], [GeneralName::DNSName("a.example")]), "{names:?}");
        let oid = x509_parser::oid_registry::asn1_rs::oid!(1.3.6.1.5.5.7.1.31);
        let extension = cert.get_extension_unique(&oid).unwrap().unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(cert.validity().is_valid());

        orders.publish_alpn("a.example", [8; 32]).unwrap();
        assert!(!Arc::ptr_eq(&made, &answers.alpn_certificate("a.example").unwrap()), "for another order");
        orders.withdraw_alpn("a.example").unwrap();
        orders.withdraw_alpn("a.example").unwrap();
        assert!(answers.alpn_certificate("a.example").is_none());
        for host in ["../a", "A.example", "a.example.", "", ".", "..", "a/b", "[::1]", "a.example:443"] {
            assert!(orders.publish_alpn(host, [7; 32]).is_err(), "{host}");
            assert!(answers.alpn_certificate(host).is_none() && orders.withdraw_alpn(host).is_ok(), "{host}");
        }
    }
}
