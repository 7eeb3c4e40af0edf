//! A real authority, Pebble, with a DNS server that says what a test wants. Both live as long as the test.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// How it is to be.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Percentage of nonces that it refuses.
    pub refused_nonces: u32,
    /// Percentage of names that it asks no proof of, if they were proven before.
    pub reused: u32,
    /// Name and key (base64url) of the external account that it wants.
    pub external: Option<(&'static str, &'static str)>,
    /// Port at which it asks for files.
    pub http: u16,
    /// Port at which it makes handshakes.
    pub tls: u16,
    /// Address that all names lead to, unless told otherwise.
    pub default_address: Option<&'static str>,
}

/// Pebble and its DNS server.
pub struct Authority {
    /// Certificates, keys and settings.
    pub folder: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its other face, for tests.
    pub management: SocketAddr,
    /// Its DNS server.
    pub dns: SocketAddr,
    control: SocketAddr,
    children: Vec<Child>,
}

/// Whether Pebble is installed. Where it is not, a test says `skipped`; tests/run installs it.
pub fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let has = |program: &str| {
            let mut command = Command::new("sh");
            let found = command.args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
            found.is_ok_and(|status| status.success())
        };
        let there = has("pebble") && has("pebble-challtestsrv");
        if !there {
            eprintln!("skipped: no pebble or pebble-challtestsrv (apt-get install pebble)");
        }
        there
    })
}

impl Authority {
    pub fn start(wish: &Wish) -> Self {
        for _ in 0..5 {
            // Somebody may take a port between its choice and its use.
            if let Some(authority) = Self::try_start(wish) {
                return authority;
            }
        }
        panic!("pebble does not start");
    }

    fn try_start(wish: &Wish) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        let [address, management, control, dns] = [(); 4].map(|()| free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut pebble = serde_json::json!({
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": path("cert.pem"),
            "privateKey": path("key.pem"),
            "httpPort": wish.http,
            "tlsPort": wish.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": wish.external.is_some(),
        });
        if let Some((id, key)) = wish.external {
            pebble["externalAccountMACKeys"] = serde_json::json!({ id: key });
        }
        fs::write(folder.path().join("pebble.json"), serde_json::json!({ "pebble": pebble }).to_string()).unwrap();
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let default_address = wish.default_address.unwrap_or("127.0.0.1");
        let servers = quiet(Command::new("pebble-challtestsrv").args([
            "-dns01",
            &dns.to_string(),
            "-management",
            &control.to_string(),
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv4",
            default_address,
            "-defaultIPv6",
            "",
        ]));
        let pebble = quiet(
            Command::new("pebble")
                .args(["-config", &path("pebble.json"), "-dnsserver", &dns.to_string(), "-strict"])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", wish.refused_nonces.to_string())
                .env("PEBBLE_AUTHZREUSE", wish.reused.to_string()),
        );
        let children = vec![servers, pebble];
        let mut authority = Authority { folder, address, management, dns, control, children };
        let start = Instant::now();
        for address in [address, management, control] {
            while TcpStream::connect(address).is_err() {
                let has_ended = authority.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
                if has_ended || start.elapsed() > Duration::from_secs(30) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Some(authority)
    }

    /// The certificate that it is verified by.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Has a name lead somewhere else.
    pub fn set_address(&self, name: &str, address: &str) {
        let body = serde_json::json!({ "host": name, "addresses": [address] });
        self.control("add-a", &body.to_string());
    }

    /// Has a name lead where all lead again.
    pub fn clear_address(&self, name: &str) {
        self.control("clear-a", &serde_json::json!({ "host": name }).to_string());
    }

    /// The URL of the DNS server's control, for hooks.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    fn control(&self, what: &str, body: &str) {
        let mut stream = TcpStream::connect(self.control).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
    }

    /// The root of the certificates that it issues.
    pub fn issuing_root(&self) -> CertificateDer<'static> {
        let pem = self.manage("roots/0");
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// What its other face says.
    pub fn manage(&self, path: &str) -> String {
        let answer = crate::acme::relay::ask(
            self.management,
            &client(&self.root()),
            format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {text}");
        body.to_owned()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A TLS client that trusts what is in a file.
pub fn client(root: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    client_of(roots)
}

/// A TLS client that trusts these roots.
pub fn client_of(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// `ca.pem`, and `cert.pem` with `key.pem` that it vouches for.
fn write_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "test authority's own");
    fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "x".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(folder.join("cert.pem"), leaf.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

/// A port that is free now, and will be: none that the system gives to whoever asks for any, and no other test of this
/// process gets it.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + (number % 15_000) as u16));
        // DNS speaks both.
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
