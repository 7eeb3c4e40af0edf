//! Certificates without a person, of a real authority.

mod authority;
mod issue;
mod kills;
mod proofs;
mod province;
mod relay;
mod trouble;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustls::RootCertStore;
use waypost::config::{AcmeSettings, Gateway, TlsMode};

use crate::serve;
use authority::{Authority, Wish, free_port, is_there};
use relay::Relay;

/// An authority, a relay before it, a node, and the node's ports.
pub struct Scene {
    pub authority: Authority,
    pub relay: Relay,
    pub node: Node,
    pub ports: [u16; 2],
}

impl Scene {
    /// None where there is no Pebble.
    pub fn new(wish: Wish) -> Option<Self> {
        if !is_there() {
            return None;
        }
        let ports = [(); 2].map(|()| free_port().port());
        let authority = Authority::start(&Wish { http: ports[0], tls: ports[1], ..wish });
        let relay = Relay::start(authority.folder.path(), authority.address);
        Some(Scene { authority, relay, node: Node::new(), ports })
    }

    /// The settings of the node, which asks the relay.
    pub fn gateway(&self) -> Gateway {
        self.node.gateway(&self.authority, self.relay.directory(), self.ports)
    }

    /// Whether the ledger has so many of these.
    pub fn has(&self, event: &str, count: usize) -> bool {
        self.events(event).len() == count
    }

    /// The entries of one kind.
    pub fn events(&self, event: &str) -> Vec<serde_json::Value> {
        relay::ledger(&self.node.certs()).into_iter().filter(|entry| entry["event"] == event).collect()
    }

    /// Makes a handshake for a host that only the authority's certificates can make good.
    pub fn shakes_hands(&self, host: &str) -> Result<(), String> {
        shakes_hands(&self.authority, ([127, 0, 0, 1], self.ports[1]).into(), host)
    }

    /// Lets `seconds` pass, as far as the ledger knows. Nobody may have it open.
    pub fn let_pass(&self, seconds: i64) {
        let path = self.node.certs().join("acme/.state/ledger.jsonl");
        let mut text = String::new();
        for mut entry in relay::ledger(&self.node.certs()) {
            entry["at"] = (entry["at"].as_i64().unwrap() - seconds).into();
            text += &format!("{entry}\n");
        }
        fs::write(path, text).unwrap();
    }
}

/// A folder with routes and certificates.
pub struct Node {
    pub folder: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("routes")).unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        Node { folder }
    }

    pub fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// A site with these hosts.
    pub fn site(&self, name: &str, hosts: &[String], more: &str) {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        let text = format!(
            "name = \"{name}\"\nhosts = [{}]\nhome = \"https://new.example.org/{name}\"\n{more}",
            hosts.join(", ")
        );
        fs::write(self.folder.path().join(format!("routes/{name}.toml")), text).unwrap();
    }

    /// The settings of a gateway that orders at `directory` and listens at these ports, of which 0 is any.
    pub fn gateway(&self, authority: &Authority, directory: String, [http, https]: [u16; 2]) -> Gateway {
        let gateway = serve::gateway(&self.folder.path().join("routes"));
        let acme = AcmeSettings {
            directory: Some(directory),
            root: Some(authority.root()),
            contact: vec!["mailto:webmaster@example.org".to_owned()],
            agrees: true,
            dns: vec![authority.dns],
            port: http,
            ..gateway.acme.clone()
        };
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Gateway {
            acme,
            http: vec![address(http).into()],
            https: vec![address(https).into()],
            certs: self.certs(),
            watch: true,
            tls: waypost::config::TlsSettings { mode: TlsMode::Production, ..gateway.tls },
            ..gateway
        }
    }

    /// Its certificates of the authority: files, and the names of each.
    pub fn issued(&self) -> Vec<(PathBuf, Vec<String>)> {
        issued(&self.certs())
    }
}

/// Files of certificates and their names.
pub fn issued(certs: &Path) -> Vec<(PathBuf, Vec<String>)> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::*;
    let Ok(entries) = fs::read_dir(certs.join("acme")) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        let der = CertificateDer::from_pem_file(&path).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        let names = names.map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            name => panic!("{name:?}"),
        });
        found.push((path.clone(), names.collect()));
    }
    found.sort();
    found
}

/// Waits for what takes an authority some time.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(300), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a handshake for a host that only the authority's certificates can make good.
pub fn shakes_hands(authority: &Authority, https: SocketAddr, host: &str) -> Result<(), String> {
    use std::io::Write;
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuing_root()).unwrap();
    let name = host.to_owned().try_into().unwrap();
    let connection = rustls::ClientConnection::new(authority::client_of(roots), name).unwrap();
    let stream = std::net::TcpStream::connect(https).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, stream);
    tls.flush().map_err(|error| error.to_string())
}
