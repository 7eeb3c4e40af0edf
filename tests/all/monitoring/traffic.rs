//! A gateway with sites of every kind, and citizens, robots and attackers that ask it for things.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig,
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use crate::client::{Conn, Dial, head, tls};
use crate::platform::Origin;
use crate::program::Program;

/// The site that dashboards of one site are looked at for.
pub const SITE: &str = "jyj";

const GATEWAY: &str = r#"
[listen]
http  = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"

[process]
directory = "control"

[limits]
target = 2000

[hits]
flush = 1

[platforms.new]
origins = ["ORIGIN", "http://127.0.0.1:1"]
host    = "www.new.example"

[platforms.down]
origins = ["http://127.0.0.1:1"]

[traces]
# Where nobody listens: that nothing can be sent is shown.
endpoint = "http://127.0.0.1:9/v1/traces"

[guard]
allowed-targets = ["www.new.example"]

[[guard.rate]]
name     = "trial"
per      = "site"
requests = 1
seconds  = 3600
shadow   = true

[[guard.rule]]
name       = "scanners"
user-agent = { contains = ["sqlmap"] }
deny       = 403
"#;

const SITES: &[(&str, &str)] = &[
    (
        "jyj.toml",
        r#"
name  = "青山县教育局"
hosts = ["jyj.example"]
home  = "https://www.new.example/jyj/"
owner = "qingshan"
code  = "4300000012"
wave  = 1
[cache]
default-ttl = 60
[[rule]]
from = "/a.htm"
to   = "https://www.new.example/a"
[[rule]]
from = "/circle.htm"
to   = "https://www.new.example/circle"
[[rule]]
from  = "/app/{*rest}"
serve = "new"
[[rule]]
from  = "/down/{*rest}"
serve = "down"
"#,
    ),
    (
        "wjj.toml",
        r#"
name   = "青山县卫健局"
hosts  = ["wjj.example"]
home   = "https://www.new.example/wjj/"
owner  = "hongshan"
wave   = 2
origin = "http://127.0.0.1:1"
[lifecycle]
notice = 2090-01-01
"#,
    ),
    (
        "gone.toml",
        r#"
name  = "青山县旅游局"
hosts = ["gone.example"]
home  = "https://www.new.example/"
[lifecycle]
archive = 2001-01-01
"#,
    ),
];

/// A file whose last line is wrong.
const FAULTY: &str = "name = \"F\"\nhosts = [\"faulty.example\"]\nhome = \"https://www.new.example/\"\nnothing = 1\n";

/// A gateway under traffic of all kinds.
pub struct Town {
    pub program: Program,
    folder: TempDir,
    secure: [Arc<ClientConfig>; 2],
    rounds: usize,
    _origin: Origin,
}

impl Town {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::start();
        fs::write(folder.path().join("gateway.toml"), GATEWAY.replace("ORIGIN", &origin.url())).unwrap();
        fs::create_dir(folder.path().join("routes")).unwrap();
        for (name, text) in SITES {
            fs::write(folder.path().join("routes").join(name), text).unwrap();
        }
        let certificate = folder.path().join("certs/jyj.pem");
        fs::create_dir(folder.path().join("certs")).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([SITE_HOST.to_owned()]).unwrap();
        fs::write(&certificate, cert.pem() + &signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
        let program = Program::start(folder.path());
        // Whoever uses the same settings again resumes.
        let secure = [tls(&TLS13, &["http/1.1"]), tls(&TLS12, &["http/1.1"])];
        Town { program, folder, secure, rounds: 0, _origin: origin }
    }

    /// A little of everything.
    pub fn round(&mut self) {
        self.rounds += 1;
        let browser = ("user-agent", "Mozilla/5.0");
        let mut conn = Conn::new(self.program.http[0]);
        let mut ask = |method: &str, host: &str, target: &str, fields: &[(&str, &str)]| {
            let body: &[u8] = if method == "POST" { b"name=value" } else { b"" };
            // Some are answered by closing the connection.
            let _ = conn.send(&head(method, host, target.as_bytes(), fields, body), false);
        };
        let fresh = format!("/app/page?{}", self.rounds);
        for target in ["/", "/a.htm", "/no-such-page.htm", "/app/page", &fresh, "/app/nothing", "/down/page"] {
            ask("GET", SITE_HOST, target, &[browser]);
        }
        ask("POST", SITE_HOST, "/app/form", &[]);
        ask("GET", SITE_HOST, "/.git/config", &[]);
        ask("GET", SITE_HOST, "/a.htm", &[("user-agent", "sqlmap/1.0")]);
        ask("GET", SITE_HOST, &format!("/{}", "a".repeat(3000)), &[]);
        ask("GET", "wjj.example", "/", &[]);
        ask("GET", "gone.example", "/page", &[]);
        ask("GET", "unknown.example", "/", &[]);
        ask("GET", "10.0.0.1", "/healthcheck/live", &[]);
        // Round and round.
        (0..25).for_each(|_| ask("GET", SITE_HOST, "/circle.htm", &[browser]));
        let _ = Conn::new(self.program.http[0]).send(b"NO HTTP\r\n\r\n", false);
        for config in &self.secure {
            let name = SITE_HOST.try_into().unwrap();
            let dial = Dial { address: self.program.https[0], tls: Some((config.clone(), name)) };
            Conn::over(dial).get(SITE_HOST, "/a.htm");
        }
        let mut garbage = TcpStream::connect(self.program.https[0]).unwrap();
        garbage.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = garbage.read_to_end(&mut Vec::new());
        let _ = Conn::new(self.program.admin).get("evil.example", "/metrics");
        // An owner at work: a site's file changes.
        let path = self.folder.path().join("routes/gone.toml");
        let text = SITES.iter().find(|(name, _)| *name == "gone.toml").unwrap().1;
        fs::write(path, format!("{text}# {}\n", self.rounds)).unwrap();
        // Once, after all was well, with a mistake.
        if self.rounds == 3 {
            fs::write(self.folder.path().join("routes/faulty.toml"), FAULTY).unwrap();
        }
    }
}

const SITE_HOST: &str = "jyj.example";
