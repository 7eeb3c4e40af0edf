//! `[platforms.NAME]`: where requests are proxied to, and how.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{EJECT, HEALTH_CHECK, Key, PLATFORM};
use super::origin::{ORIGIN_HINT, Origin};
use super::reader::{At, Table};
use crate::model::Host;

/// A consolidated platform. [`Platform::default`] has no origins, and of everything else what the manual says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Addresses to proxy to.
    pub origins: Vec<Origin>,
    /// Its own host name, sent as `Host`; the client's where absent.
    pub host: Option<Host>,
    /// How TLS is spoken with origins that do.
    pub tls: OriginTls,
    /// Who gets the next request.
    pub balance: Balance,
    /// How long TCP and TLS may take, together.
    pub connect_time: Duration,
    /// How long an origin may be silent.
    pub read_time: Duration,
    /// How long an origin may take nothing of a request.
    pub write_time: Duration,
    /// How long it may take from a request's arrival to the head of its answer.
    pub total_time: Duration,
    /// Requests that it may have at the same time.
    pub connections: usize,
    /// Requests that may wait for one of them to end.
    pub queue: usize,
    /// How long they may wait.
    pub queue_time: Duration,
    /// How often a request is tried again.
    pub retries: u32,
    /// How long a connection is kept without a request.
    pub keep_alive: Duration,
    /// Whether HTTP/2 is offered to origins with TLS.
    pub http2: bool,
    /// How origins are asked whether they are well.
    pub health: Option<HealthCheck>,
    /// Consecutive failures of an origin after which it is left alone.
    pub eject_failures: u32,
    /// For how long.
    pub eject_time: Duration,
    /// How often names are looked up.
    pub resolve: Duration,
}

/// `balance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Whoever has the fewest requests.
    LeastConnections,
    /// The same origin for the same client.
    Client,
    /// The same origin for the same URL.
    Url,
}

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

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path that is asked for.
    pub path: String,
    /// The `Host` that is asked for; the platform's where absent.
    pub host: Option<Host>,
    /// The status of an origin that is well.
    pub status: u16,
    /// Time between two questions.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Good answers in a row after which an origin is well again.
    pub up: u32,
    /// Bad answers in a row after which it is not.
    pub down: u32,
}

impl Default for Platform {
    fn default() -> Self {
        let nothing = SourceFile::new("defaults", String::new());
        let mut reader = Reader { file: &nothing, table: &Table::default(), faults: &mut Vec::new(), lost: &mut false };
        reader.platform(Path::new(""))
    }
}

impl Balance {
    /// The words of `balance`, in the order of the variants.
    pub const WORDS: [&'static str; 4] = ["round-robin", "least-connections", "client", "url"];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    fn of(word: &str) -> Self {
        let all = [Balance::RoundRobin, Balance::LeastConnections, Balance::Client, Balance::Url];
        all.into_iter().find(|balance| balance.name() == word).unwrap_or_default()
    }
}

impl Platform {
    /// A platform with these origins and defaults for the rest.
    ///
    /// # Errors
    /// What is wrong with the first that is no origin.
    pub fn of<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, super::OriginError> {
        let origins = origins.into_iter().map(Origin::parse).collect::<Result<_, _>>()?;
        Ok(Platform { origins, ..Platform::default() })
    }

    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, key: &str) -> Option<String> {
        let milliseconds = |time: Duration| Some(time.as_millis().to_string());
        let list = |items: Vec<String>| Some(format!("[{}]", items.join(", ")));
        let file = |file: &Path| quote(&file.to_string_lossy());
        match key {
            "origins" => list(self.origins.iter().map(|origin| quote(origin.as_str())).collect()),
            "host" => self.host.as_ref().map(|host| quote(host.as_str())),
            "sni" => self.tls.sni.as_ref().map(|host| quote(host.as_str())),
            "ca" => self.tls.ca.as_ref().map(|ca| file(&ca.file)),
            "pin" => list(self.tls.pins.iter().map(|pin| quote(&hex(pin))).collect()),
            "certificate" => self.tls.identity.as_ref().map(|identity| file(&identity.chain.file)),
            "key" => self.tls.identity.as_ref().map(|identity| file(&identity.key_file)),
            "balance" => Some(quote(self.balance.name())),
            "connect-time" => milliseconds(self.connect_time),
            "read-time" => milliseconds(self.read_time),
            "write-time" => milliseconds(self.write_time),
            "total-time" => milliseconds(self.total_time),
            "connections" => Some(self.connections.to_string()),
            "queue" => Some(self.queue.to_string()),
            "queue-time" => milliseconds(self.queue_time),
            "retries" => Some(self.retries.to_string()),
            "keep-alive" => milliseconds(self.keep_alive),
            "http2" => Some(quote(if self.http2 { "on" } else { "off" })),
            "health" => self.health.as_ref().map(HealthCheck::to_toml),
            "eject" => {
                Some(format!("{{ failures = {}, time = {} }}", self.eject_failures, self.eject_time.as_millis()))
            }
            "resolve" => Some(self.resolve.as_secs().to_string()),
            _ => None,
        }
    }
}

impl HealthCheck {
    fn to_toml(&self) -> String {
        let host = self.host.as_ref().map(|host| format!(", host = {}", quote(host.as_str()))).unwrap_or_default();
        format!(
            "{{ path = {}{host}, status = {}, interval = {}, timeout = {}, up = {}, down = {} }}",
            quote(&self.path),
            self.status,
            self.interval.as_millis(),
            self.timeout.as_millis(),
            self.up,
            self.down
        )
    }
}

/// Reads one `[platforms.NAME]`. `lost` becomes true if its host could not be read: redirects to it may be right.
pub(super) fn read(
    name: &At<String>,
    table: &Table,
    file: &SourceFile,
    folder: &Path,
    faults: &mut Vec<Diagnostic>,
    lost: &mut bool,
) -> Platform {
    if Origin::is_origin(&name.value) {
        let message = format!("`{}` is no name of a platform: it looks like an origin", name.value);
        let fault = file.error("bad-value", name.span.clone(), message);
        faults.push(fault.hint("a short name, such as [platforms.qingshan], with the address in `origins`"));
    }
    Reader { file, table, faults, lost }.platform(folder)
}

struct Reader<'a> {
    file: &'a SourceFile,
    table: &'a Table,
    faults: &'a mut Vec<Diagnostic>,
    lost: &'a mut bool,
}

impl Reader<'_> {
    fn platform(&mut self, folder: &Path) -> Platform {
        let origins = self.origins();
        let host = self.host(self.table, "host");
        *self.lost |= self.table.text("host").is_some() && host.is_none();
        let tls = self.tls(folder, &origins);
        let milliseconds = |key| Duration::from_millis(number(self.table, PLATFORM, key));
        let none = Table::default();
        let eject = self.table.table("eject").map_or(&none, |at| at.value);
        Platform {
            host,
            tls,
            balance: Balance::of(&text(self.table, PLATFORM, "balance")),
            connect_time: milliseconds("connect-time"),
            read_time: milliseconds("read-time"),
            write_time: milliseconds("write-time"),
            total_time: milliseconds("total-time"),
            connections: number(self.table, PLATFORM, "connections") as usize,
            queue: number(self.table, PLATFORM, "queue") as usize,
            queue_time: milliseconds("queue-time"),
            retries: number(self.table, PLATFORM, "retries") as u32,
            keep_alive: milliseconds("keep-alive"),
            http2: text(self.table, PLATFORM, "http2") == "on",
            health: self.health(),
            eject_failures: number(eject, EJECT, "failures") as u32,
            eject_time: Duration::from_millis(number(eject, EJECT, "time")),
            resolve: Duration::from_secs(number(self.table, PLATFORM, "resolve")),
            origins,
        }
    }

    fn fault(&mut self, code: &'static str, span: std::ops::Range<usize>, message: String, hint: &str) {
        self.faults.push(self.file.error(code, span, message).hint(hint));
    }

    fn origins(&mut self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for At { value, span } in self.table.texts("origins").map(|at| at.value.as_slice()).unwrap_or_default() {
            match Origin::parse(value) {
                Ok(origin) if origins.contains(&origin) => {
                    let hint = "remove it: balancing gives each origin the same share";
                    self.fault("bad-address", span.clone(), format!("`{origin}` is listed twice"), hint);
                }
                Ok(origin) => origins.push(origin),
                Err(error) => {
                    self.fault("bad-address", span.clone(), format!("`{value}` is no origin: {error}"), ORIGIN_HINT);
                }
            }
        }
        origins
    }

    fn host(&mut self, table: &Table, key: &str) -> Option<Host> {
        let at = table.text(key)?;
        Host::parse(at.value.as_bytes())
            .map_err(|error| self.faults.push(self.file.error("bad-host", at.span, format!("`{}`: {error}", at.value))))
            .ok()
    }

    fn health(&mut self) -> Option<HealthCheck> {
        let table = self.table.table("health")?.value;
        let milliseconds = |key| Duration::from_millis(number(table, HEALTH_CHECK, key));
        let mut path = text(table, HEALTH_CHECK, "path");
        if !path.starts_with('/') || !path.bytes().all(|b| matches!(b, b'!'..=b'~')) {
            let span = table.text("path").map_or(table.span.clone(), |at| at.span);
            let message = format!("`{path}` is no path to ask for");
            self.fault("bad-value", span, message, "it begins with `/` and is printable ASCII, escaped where need be");
            "/".clone_into(&mut path);
        }
        Some(HealthCheck {
            path,
            host: self.host(table, "host"),
            status: number(table, HEALTH_CHECK, "status") as u16,
            interval: milliseconds("interval"),
            timeout: milliseconds("timeout"),
            up: number(table, HEALTH_CHECK, "up") as u32,
            down: number(table, HEALTH_CHECK, "down") as u32,
        })
    }

    fn tls(&mut self, folder: &Path, origins: &[Origin]) -> OriginTls {
        let tls = OriginTls {
            sni: self.host(self.table, "sni"),
            ca: self.certificates("ca", folder),
            pins: self.pins(),
            identity: self.identity(folder),
        };
        if !origins.is_empty() && !origins.iter().any(|origin| origin.secure) {
            let on = self.table.text("http2").filter(|at| at.value == "on").map(|_| "http2");
            for key in ["sni", "ca", "pin", "certificate", "key"].into_iter().chain(on) {
                // An empty list says nothing, and `waypost config` prints it.
                let is_empty = self.table.texts(key).is_some_and(|at| at.value.is_empty());
                if let Some(span) = self.table.key_span(key).filter(|_| !is_empty) {
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
    fn certificates(&mut self, key: &str, folder: &Path) -> Option<Certificates> {
        let At { value: file, span } = self.table.text(key)?;
        let read = read_file(&folder.join(file)).and_then(|pem| {
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.map_err(|_| "a block of it is broken".to_owned())?;
            for certificate in &certificates {
                RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
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

    fn identity(&mut self, folder: &Path) -> Option<Identity> {
        let (certificate, key) = (self.table.key_span("certificate"), self.table.key_span("key"));
        if let (Some(span), None) | (None, Some(span)) = (&certificate, &key) {
            let message = "a client certificate needs both `certificate` and `key`".to_owned();
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
            Ok(key.secret_der().to_vec())
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

/// A number that was written, or else the key's default. The reader has checked its range.
fn number(table: &Table, keys: &[Key], name: &str) -> u64 {
    let written = table.number(name).map(|at| *at.value);
    let number = written.or_else(|| default(keys, name).parse().ok());
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn text(table: &Table, keys: &[Key], name: &str) -> String {
    let written = table.text(name).map(|at| at.value.clone());
    written.unwrap_or_else(|| default(keys, name).trim_matches('"').to_owned())
}

fn default(keys: &[Key], name: &str) -> &'static str {
    keys.iter().find(|key| key.name == name).map_or("", |key| key.default)
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Largest file of certificates that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

const CERTIFICATE_HINT: &str = "a PEM file, by its path relative to the folder of gateway.toml";
