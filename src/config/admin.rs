//! `[admin]`: who may use the admin address, and where what they change is written down.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{Key, Kind, key};
use super::listen::Address;
use super::origin_tls::{Certificates, Identity};
use super::platform::Reader;
use super::reader::{At, Table};
use crate::model::Host;

/// The checked settings of `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Who may have issued client certificates.
    pub client_ca: Option<Certificates>,
    /// Subjects of client certificates that may change things; all may where absent.
    pub client_changers: Option<Vec<String>>,
    /// The gateway's own certificate: with it, the address speaks TLS.
    pub identity: Option<Identity>,
    /// Names beside those of this machine and IP addresses by which the address is asked for.
    pub hosts: Vec<Host>,
    /// The audit log.
    pub audit: PathBuf,
}

impl AdminSettings {
    /// Whether callers have to say who they are.
    pub fn asks_who(&self) -> bool {
        self.tokens.is_some() || self.client_ca.is_some()
    }

    /// Why the admin address may not be this one: it would be open to whoever reaches it.
    pub fn objection(&self, address: &Address) -> Option<String> {
        let is_private = match address {
            Address::Inet(inet) => inet.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        };
        (!is_private && !self.asks_who()).then(|| {
            format!("the admin address {address} can be reached from other machines, and anybody could use it")
        })
    }

    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| quote(&path.to_string_lossy());
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        match name {
            "tokens" => self.tokens.as_deref().map(path),
            "client-ca" => self.client_ca.as_ref().map(|ca| path(&ca.file)),
            "client-changers" => {
                self.client_changers.as_ref().map(|names| list(names.iter().map(|name| quote(name)).collect()))
            }
            "certificate" => self.identity.as_ref().map(|identity| path(&identity.chain.file)),
            "key" => self.identity.as_ref().map(|identity| path(&identity.key_file)),
            "hosts" => Some(list(self.hosts.iter().map(|host| quote(host.as_str())).collect())),
            "audit" => Some(path(&self.audit)),
            _ => None,
        }
    }
}

/// What is read of a `gateway.toml` in `folder`.
pub(super) struct Source<'a> {
    pub file: &'a SourceFile,
    pub top: &'a Table,
    pub folder: &'a Path,
}

/// Reads `[admin]`, for an address that is checked to go with it.
pub(super) fn read(source: &Source<'_>, address: &Address, faults: &mut Vec<Diagnostic>) -> AdminSettings {
    let none = Table::default();
    let table = source.top.table("admin").map_or(&none, |at| at.value);
    let path = |key: &str| table.text(key).map(|at| source.folder.join(at.value));
    let mut lost = false;
    let mut reader = Reader { file: source.file, table, faults, lost: &mut lost };
    let settings = AdminSettings {
        tokens: path("tokens"),
        client_ca: reader.certificates("client-ca", source.folder),
        client_changers: table.texts("client-changers").map(|at| at.value.iter().map(|at| at.value.clone()).collect()),
        identity: reader.identity(source.folder),
        hosts: hosts(&mut reader),
        audit: path("audit").unwrap_or_else(|| source.folder.join(AUDIT_FILE)),
    };
    check(&settings, &mut reader);
    // Whoever misspelt a key meant to have it.
    if !source.top.lost_within("admin") && !source.top.lost_within("listen") {
        exposure(source, &settings, address, reader.faults);
    }
    settings
}

fn hosts(reader: &mut Reader<'_>) -> Vec<Host> {
    let mut hosts = Vec::new();
    for At { value, span } in reader.table.texts("hosts").map(|at| at.value.as_slice()).unwrap_or_default() {
        match Host::parse(value.as_bytes()) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let message = format!("`{value}`: {error}");
                reader.fault("bad-host", span.clone(), message, "a host name without scheme and port");
            }
        }
    }
    hosts
}

/// Keys that need each other.
fn check(settings: &AdminSettings, reader: &mut Reader<'_>) {
    let has_certificate = reader.table.text("certificate").is_some();
    if let Some(span) = reader.table.key_span("client-ca").filter(|_| !has_certificate) {
        let hint = "name the gateway's own `certificate` and `key` too, or leave `client-ca` out";
        reader.fault("missing-key", span, "client certificates are shown in TLS only".to_owned(), hint);
    }
    let has_ca = reader.table.text("client-ca").is_some();
    if let Some(span) = reader.table.key_span("client-changers").filter(|_| !has_ca) {
        let hint = "name `client-ca`, or leave this out";
        reader.fault("missing-key", span, "this is about client certificates, and none are asked for".to_owned(), hint);
    }
    for At { value, span } in reader.table.texts("client-changers").map(|at| at.value.as_slice()).unwrap_or_default() {
        if !value.contains('=') {
            let message = format!("`{value}` is no subject of a certificate");
            reader.fault("bad-value", span.clone(), message, SUBJECT_HINT);
        }
    }
    debug_assert!(settings.client_ca.is_none() || has_ca);
}

fn exposure(source: &Source<'_>, settings: &AdminSettings, address: &Address, faults: &mut Vec<Diagnostic>) {
    let written = source.top.table("listen").and_then(|at| at.value.text("admin")).map_or(0..0, |at| at.span);
    if let Some(objection) = settings.objection(address) {
        faults.push(source.file.error("open-admin", written, objection).hint(OPEN_HINT));
        return;
    }
    let is_local = match address {
        Address::Inet(inet) => inet.ip().to_canonical().is_loopback(),
        Address::Unix(_) => true,
    };
    if !is_local && settings.identity.is_none() {
        let message = format!("tokens cross the network in the clear on their way to the admin address {address}");
        let hint = "name [admin] certificate and key, and it speaks TLS";
        faults.push(source.file.error("clear-tokens", written, message).hint(hint).warning());
    }
}

/// What to do about an admin address that is open to all.
pub const OPEN_HINT: &str = "name [admin] tokens (`waypost admin token NAME` makes them) or [admin] client-ca, or listen on 127.0.0.1 or on a Unix socket";

const SUBJECT_HINT: &str =
    "as `openssl x509 -noout -subject -nameopt RFC2253,-esc_msb -in FILE` prints it, such as `CN=ops,O=Qingshan`";

const AUDIT_FILE: &str = "audit.jsonl";

/// `[admin]`.
pub(super) const ADMIN: &[Key] = &[
    key(
        "tokens",
        Kind::Text,
        "",
        "File of the tokens by which callers are known (`Authorization: Bearer …`), relative to this file's folder; `waypost admin token NAME` writes it. A line is `NAME:ROLE:HASH`: what NAME may (`read`: probes and metrics; `change`: everything), and an argon2id hash of the token, which stands nowhere else. Only its owner may have access to the file (mode 0600). What changes in it holds from the next request on. Where absent, and without `client-ca`, whoever can connect may do everything: then the address must be on this machine.",
    ),
    key(
        "client-ca",
        Kind::Text,
        "",
        "PEM file of the authorities that issue client certificates, relative to this file's folder: callers are known by the subject of theirs. Needs `certificate` and `key`. With `tokens` too, either will do.",
    ),
    key(
        "client-changers",
        Kind::Texts,
        "",
        "Subjects of client certificates that may change things, such as `CN=ops,O=Qingshan` (RFC 2253); all others may read. Where absent, all may change things.",
    ),
    key(
        "certificate",
        Kind::Text,
        "",
        "PEM file of the gateway's certificate for the admin address, which speaks TLS then; read at start.",
    ),
    key("key", Kind::Text, "", "PEM file of the key of `certificate`."),
    key(
        "hosts",
        Kind::Texts,
        "[]",
        "Host names by which the admin address is asked for, beside `localhost` and IP addresses. All others are refused, or a web page could have a browser on this machine ask for it (DNS rebinding).",
    ),
    key(
        "audit",
        Kind::Text,
        "\"audit.jsonl\"",
        "The audit log: every change through the admin address or `waypost admin` is appended to it before it is made, and what can't be written there is refused. Relative to this file's folder. `waypost audit verify` checks that nothing was cut or edited. Rotate it by renaming it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (Gateway, Vec<String>) {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new("/etc/waypost"));
        (gateway, faults.iter().map(|fault| format!("{} {}", fault.code, fault.message)).collect())
    }

    #[test]
    fn an_open_address_needs_somebody_who_is_asked_for() {
        for private in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:9180", "[::ffff:127.0.0.1]:1", "unix:/run/waypost/a.sock"]
        {
            assert_eq!(parse(&format!("[listen]\nadmin = \"{private}\"")).1, <[&str; 0]>::default(), "{private}");
        }
        for open in ["0.0.0.0:9180", "[::]:9180", "10.1.2.3:9180", "[2001:db8::1]:9180"] {
            let text = format!("[listen]\nadmin = \"{open}\"\n");
            let (gateway, faults) = parse(&text);
            assert!(faults.len() == 1 && faults[0].starts_with("open-admin"), "{faults:?}");
            assert!(gateway.admin_settings.objection(&gateway.admin).is_some());
            let faults = parse(&format!("{text}[admin]\ntokens = \"tokens\"")).1;
            assert!(faults.len() == 1 && faults[0].starts_with("clear-tokens"), "{faults:?}");
            // The slip is told, and not what follows from it.
            let faults = parse(&format!("{text}[admin]\ntoken = \"tokens\"")).1;
            assert!(faults.len() == 1 && faults[0].starts_with("unknown-key"), "{faults:?}");
        }
    }

    #[test]
    fn keys_that_need_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join("own.pem"), own.cert.pem()).unwrap();
        std::fs::write(folder.path().join("own.key"), own.signing_key.serialize_pem()).unwrap();
        let parse = |text: &str| Gateway::parse("gateway.toml", format!("[admin]\n{text}"), folder.path());
        let faults = |text: &str| parse(text).1.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>();
        assert_eq!(faults("client-ca = \"own.pem\""), ["client certificates are shown in TLS only"]);
        assert!(faults("certificate = \"own.pem\"")[0].contains("both"));
        assert!(faults("client-changers = [\"CN=a\"]")[0].contains("none are asked for"));
        assert!(faults("hosts = [\"a b\"]")[0].contains("`a b`"));
        let text = "tokens = \"t\"\nclient-ca = \"own.pem\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\
            client-changers = [\"CN=ops\"]\nhosts = [\"Gateway.Example\"]\naudit = \"a\"\n";
        assert!(faults(&text.replace("CN=ops", "ops"))[0].contains("no subject"));
        let (gateway, faults) = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(gateway.admin_settings.hosts[0].as_str(), "gateway.example");
        assert_eq!(gateway.admin_settings.audit, folder.path().join("a"));
        // What `config` prints is what was read.
        let (again, faults) = Gateway::parse("gateway.toml", gateway.to_toml(), folder.path());
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(gateway.admin_settings, again.admin_settings);
    }

    #[test]
    fn files_are_relative_to_the_settings() {
        let gateway = parse("[admin]\ntokens = \"tokens\"").0;
        assert_eq!(gateway.admin_settings.tokens.as_deref(), Some(Path::new("/etc/waypost/tokens")));
        assert_eq!(gateway.admin_settings.audit, Path::new("/etc/waypost/audit.jsonl"));
    }
}
