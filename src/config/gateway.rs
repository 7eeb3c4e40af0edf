//! `gateway.toml`: this node.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use super::acme::{self, AcmeSettings};
use super::admin::{self, AdminSettings};
use super::crawler::{CrawlerSettings, crawlers, known_crawlers};
use super::diagnostic::{Diagnostic, SourceFile};
use super::guard::{GuardSettings, ListFile};
use super::hits::{self, HitsSettings};
use super::keys::{self, Key, Kind};
use super::limits::Limits;
use super::listen::{Address, Listen};
use super::log::AccessLogSettings;
use super::monitor::{self, MonitorSettings};
use super::network::{Network, NetworkError};
use super::platform::{self, Platform};
use super::reader::{At, Role, Table, read};
use super::request_rule;
use super::site::host_patterns;
use super::syntax::drop_echoes;
use super::traces::TraceSettings;
use super::verify::{self, VerifySettings};
use super::waf::WafBounds;
use crate::model::HostPattern;

/// The checked settings of a node. [`Gateway::default`] is a gateway that works without a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The file that it was read from, or would be if it were there.
    pub file: Option<PathBuf>,
    /// Folder of site files.
    pub routes: PathBuf,
    /// Folder of certificates.
    pub certs: PathBuf,
    /// How HTTPS is spoken.
    pub tls: TlsSettings,
    /// Who issues certificates.
    pub acme: AcmeSettings,
    /// Listeners for plain HTTP.
    pub http: Vec<Listen>,
    /// Listeners for HTTPS.
    pub https: Vec<Listen>,
    /// Port of HTTPS for citizens, as redirects to https name it.
    pub https_port: u16,
    /// The admin address: health, metrics, changes.
    pub admin: Address,
    /// Who may use it.
    pub admin_settings: AdminSettings,
    /// Proxies whose X-Forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether plain addresses take HTTP/2 by prior knowledge.
    pub h2c: bool,
    /// Whether HTTP/1 answers are written straight from the connection's buffer.
    pub fast_lane: bool,
    /// What one client may take.
    pub limits: Limits,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
    /// Whether each worker thread has listening sockets of its own (SO_REUSEPORT).
    pub reuse_port: bool,
    /// How the process ends and is replaced.
    pub process: Process,
    /// Platforms by name.
    pub platforms: BTreeMap<String, Platform>,
    /// How much the cache may take.
    pub cache: CacheSize,
    /// Hosts that redirects may go to; homes, sites and platforms where absent.
    pub allowed_targets: Option<Vec<HostPattern>>,
    /// Hosts to which nobody is sent any more.
    pub frozen: Vec<HostPattern>,
    /// A file with more of them.
    pub frozen_file: Option<PathBuf>,
    /// What is admitted where sites do not say.
    pub guard: GuardSettings,
    /// DNS servers that verify crawlers; the system's where there are none.
    pub crawler_dns: Vec<SocketAddr>,
    /// Clients whose rates are remembered.
    pub rate_entries: usize,
    /// The database of countries.
    pub countries: Option<PathBuf>,
    /// What the firewall may take.
    pub waf: WafBounds,
    /// Cache-Control of answers.
    pub cache_control: String,
    /// Paths of health on the public addresses.
    pub health_paths: Vec<String>,
    /// Whether changes of routes go live by themselves.
    pub watch: bool,
    /// How long the routes must be quiet before they are read, in milliseconds.
    pub debounce: u64,
    /// Least severe level that is logged.
    pub log_level: String,
    /// The log of every request.
    pub access_log: AccessLogSettings,
    /// How hits are counted.
    pub hits: HitsSettings,
    /// How homes and platforms are visited.
    pub monitor: MonitorSettings,
    /// How targets are followed.
    pub verify: VerifySettings,
    /// How requests are traced.
    pub traces: TraceSettings,
    /// Whether some platforms or allowed targets were faulty and left out: what routes do with them can't be judged.
    pub lost_targets: bool,
}

/// `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Versions and ciphers.
    pub policy: TlsPolicy,
    /// What a host without a certificate gets.
    pub mode: TlsMode,
    /// File of the passphrase that keys are locked with.
    pub passphrase_file: Option<PathBuf>,
    /// File of the keys of session tickets that a fleet shares.
    pub ticket_keys: Option<PathBuf>,
}

/// Versions and ciphers, by the names of Mozilla's guidelines (wiki.mozilla.org/Security/Server_Side_TLS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// TLS 1.3 and 1.2, ECDHE and AEAD only.
    #[default]
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

/// What a host without a certificate gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// A self-signed one, made in memory.
    #[default]
    Development,
    /// No handshake.
    Production,
}

impl TlsPolicy {
    fn name(self) -> &'static str {
        match self {
            TlsPolicy::Intermediate => "intermediate",
            TlsPolicy::Modern => "modern",
        }
    }
}

impl TlsMode {
    fn name(self) -> &'static str {
        match self {
            TlsMode::Development => "development",
            TlsMode::Production => "production",
        }
    }
}

/// How the process ends and is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// How long connections are still accepted after SIGTERM, while readiness already says no.
    pub lame_duck: Duration,
    /// How long open connections may take to finish after that.
    pub drain: Duration,
    /// Folder of the control socket; one is chosen where absent.
    pub directory: Option<PathBuf>,
}

impl Default for Gateway {
    fn default() -> Self {
        // The defaults stand in the tables of keys, so that the manual, the schema and the program agree.
        let (gateway, faults) = Gateway::parse("defaults", String::new(), Path::new(""));
        debug_assert!(faults.is_empty(), "{faults:?}");
        gateway
    }
}

/// How much memory the cache may take, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// For what is stored.
    pub bytes: u64,
    /// For one body.
    pub object_bytes: u64,
    /// For all bodies that are on their way into it.
    pub flight_bytes: u64,
    /// Where it outlives a restart, if it does.
    pub snapshot: Option<PathBuf>,
    /// For that file.
    pub snapshot_bytes: u64,
}

impl Gateway {
    /// Reads the text of a `gateway.toml` that stands in `folder`. Every fault is in the list; what was faulty has its
    /// default.
    pub fn parse(name: &str, text: String, folder: &Path) -> (Self, Vec<Diagnostic>) {
        let file = Arc::new(SourceFile::new(name, text));
        let mut faults = Vec::new();
        let top = read(&file, keys::GATEWAY, Role::Gateway, &mut faults);
        let defaults = SourceFile::new("defaults", default_text());
        let default_top = read(&defaults, keys::GATEWAY, Role::Gateway, &mut faults);
        let lost_targets = ["platforms", "guard"].iter().any(|table| top.lost_within(table));
        let mut reader = Reader { file: &file, top: &top, default_top: &default_top, faults, lost_targets };
        let listen = "listen";
        let admin = reader.address(listen, "admin");
        let source = admin::Source { file: &file, top: &top, folder };
        let admin_settings = admin::read(&source, &admin, &mut reader.faults);
        let access_log =
            AccessLogSettings::read(folder, |key| reader.text("log", key), |key| reader.number("log", key));
        access_log.check(&source, &mut reader.faults);
        let (sample, trust) = (reader.number("traces", "sample"), reader.flag("traces", "trust-clients"));
        let service = reader.text("traces", "service");
        let traces = TraceSettings::read(&source, service, sample, trust, &mut reader.faults);
        let source = hits::Source { file: &file, top: &top, default_top: &default_top, folder };
        let hits = hits::read(&source, &mut reader.faults);
        let reach = (reader.networks("acme", "addresses"), reader.servers("acme", "dns"));
        let source = admin::Source { file: &file, top: &top, folder };
        let acme = acme::read(&source, &default_top, reach, &mut reader.faults);
        let servers = monitor::Servers {
            references: reader.servers("monitor", "references"),
            dns: reader.servers("monitor", "dns"),
        };
        let has_history = hits.database.is_some();
        let monitor = monitor::read(&source, &default_top, servers, has_history, &mut reader.faults);
        let gateway = Gateway {
            file: None,
            routes: folder.join(reader.text("", "routes")),
            certs: folder.join(reader.text("", "certs")),
            tls: reader.tls(folder),
            acme,
            http: reader.listeners("http"),
            https: reader.listeners("https"),
            https_port: u16::try_from(reader.number(listen, "https-port")).unwrap_or(443),
            admin,
            admin_settings,
            trusted_proxies: reader.networks(listen, "trusted-proxies"),
            h2c: reader.flag(listen, "h2c"),
            fast_lane: reader.flag(listen, "fast-lane"),
            limits: Limits::read(|key| reader.number("limits", key)),
            threads: reader.number(listen, "threads") as usize,
            reuse_port: reader.flag(listen, "reuse-port"),
            process: Process {
                lame_duck: reader.milliseconds("process", "lame-duck"),
                drain: reader.milliseconds("process", "drain"),
                directory: reader.find("process", |table| table.text("directory")).map(|at| folder.join(at.value)),
            },
            cache: CacheSize {
                bytes: reader.bytes("cache", "size"),
                object_bytes: reader.bytes("cache", "object-size"),
                flight_bytes: reader.bytes("cache", "flight-size"),
                snapshot: reader.find("cache", |table| table.text("snapshot")).map(|at| folder.join(at.value)),
                snapshot_bytes: reader.bytes("cache", "snapshot-size"),
            },
            platforms: reader.platforms(folder),
            allowed_targets: reader.allowed_targets(),
            frozen: reader.frozen(),
            frozen_file: reader.find("guard", |table| table.text("frozen-file")).map(|at| folder.join(at.value)),
            crawler_dns: reader.servers("guard", "crawler-dns"),
            guard: reader.guard(folder),
            countries: reader.find("guard", |table| table.text("countries")).map(|at| folder.join(at.value)),
            rate_entries: reader.number("guard", "rate-entries") as usize,
            waf: WafBounds::read(folder.join(reader.text("guard", "waf-rules")), |key| reader.number("guard", key)),
            cache_control: reader.header("answers", "cache-control"),
            health_paths: reader.health_paths(),
            watch: reader.flag("reload", "watch"),
            debounce: reader.number("reload", "debounce") as u64,
            log_level: reader.text("log", "level"),
            access_log,
            hits,
            monitor,
            verify: reader.verify(folder),
            traces,
            lost_targets: reader.lost_targets,
        };
        let mut faults = reader.faults;
        let crawlers: Vec<String> = gateway.guard.crawlers.iter().map(|crawler| crawler.name.clone()).collect();
        faults.extend(gateway.guard.rules.iter().flat_map(|rules| rules.unknown_crawlers(&crawlers)));
        drop_echoes(&mut faults);
        faults.sort_by_key(|fault| (fault.line, fault.column));
        (gateway, faults)
    }

    /// The effective settings as a `gateway.toml` that shows every knob.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("# Effective settings of this node; every knob is shown.\n");
        for key in keys::GATEWAY {
            match key.kind {
                Kind::Table(keys) => {
                    out.push_str(&format!("\n# {}\n[{}]\n", key.doc, key.name));
                    for inner in keys {
                        self.knob(key.name, inner, &mut out);
                    }
                }
                Kind::Named(keys) => {
                    out.push_str(&format!("\n# {}\n", key.doc));
                    if self.platforms.is_empty() {
                        out.push_str(&format!("# [{}.NAME]\n", key.name));
                        for inner in keys {
                            out.push_str(&format!("# {} = …  # {}\n", inner.name, inner.doc));
                        }
                    }
                    for (number, (name, platform)) in self.platforms.iter().enumerate() {
                        out.push_str(&format!("[{}.{}]\n", key.name, quote_key(name)));
                        for inner in keys {
                            // Once is enough.
                            if number == 0 {
                                out.push_str(&format!("# {}\n", inner.doc));
                            }
                            match platform.knob(inner.name) {
                                Some(value) => out.push_str(&format!("{} = {value}\n", inner.name)),
                                None => absent(inner, &mut out),
                            }
                        }
                    }
                }
                _ => self.knob("", key, &mut out),
            }
        }
        out
    }

    fn countries_knob(&self, name: &str) -> Option<String> {
        let path = self.countries.as_ref().filter(|_| name == "countries")?;
        Some(quote(&path.to_string_lossy()))
    }

    fn knob(&self, table: &str, key: &Key, out: &mut String) {
        out.push_str(&format!("# {}\n", key.doc));
        let text = |items: Vec<String>| quote_all(&items);
        let strings = |items: &[Listen]| text(items.iter().map(ToString::to_string).collect());
        let value = match (table, key.name) {
            ("", "routes") => quote(&self.routes.to_string_lossy()),
            ("", "certs") => quote(&self.certs.to_string_lossy()),
            ("listen", "http") => strings(&self.http),
            ("listen", "https") => strings(&self.https),
            ("listen", "https-port") => self.https_port.to_string(),
            ("listen", "admin") => quote(&self.admin.to_string()),
            ("listen", "trusted-proxies") => text(self.trusted_proxies.iter().map(ToString::to_string).collect()),
            ("listen", "threads") => self.threads.to_string(),
            ("listen", "h2c") => self.h2c.to_string(),
            ("listen", "fast-lane") => self.fast_lane.to_string(),
            ("limits", name) => self.limits.value(name).to_string(),
            ("tls", "policy") => quote(self.tls.policy.name()),
            ("tls", "mode") => quote(self.tls.mode.name()),
            ("tls", "passphrase-file") => match &self.tls.passphrase_file {
                Some(path) => quote(&path.to_string_lossy()),
                None => return absent(key, out),
            },
            ("tls", "ticket-keys") => match &self.tls.ticket_keys {
                Some(path) => quote(&path.to_string_lossy()),
                None => return absent(key, out),
            },
            ("listen", "reuse-port") => self.reuse_port.to_string(),
            ("process", "lame-duck") => self.process.lame_duck.as_millis().to_string(),
            ("process", "drain") => self.process.drain.as_millis().to_string(),
            ("process", "directory") => match &self.process.directory {
                Some(directory) => quote(&directory.to_string_lossy()),
                None => return absent(key, out),
            },
            ("cache", "size") => (self.cache.bytes >> 20).to_string(),
            ("cache", "object-size") => (self.cache.object_bytes >> 20).to_string(),
            ("cache", "flight-size") => (self.cache.flight_bytes >> 20).to_string(),
            ("cache", "snapshot") => match &self.cache.snapshot {
                Some(path) => quote(&path.to_string_lossy()),
                None => return absent(key, out),
            },
            ("cache", "snapshot-size") => (self.cache.snapshot_bytes >> 20).to_string(),
            ("guard", "allowed-targets") => match &self.allowed_targets {
                Some(list) => text(list.iter().map(ToString::to_string).collect()),
                None => return absent(key, out),
            },
            ("guard", "frozen") => text(self.frozen.iter().map(ToString::to_string).collect()),
            ("guard", "frozen-file") => match &self.frozen_file {
                Some(path) => quote(&path.to_string_lossy()),
                None => return absent(key, out),
            },
            ("guard", "platform-redirects") => {
                quote(if self.guard.any_redirect == Some(true) { "any" } else { "listed" })
            }
            ("guard", "methods") => {
                let methods = self.guard.methods.unwrap_or_default();
                text(methods.to_string().split(", ").map(str::to_owned).collect())
            }
            ("guard", "strict") => text(self.guard.strict.unwrap_or_default().names().map(str::to_owned).collect()),
            ("guard", "extra-probes") => {
                text(self.guard.extra_probes.iter().flatten().map(ToString::to_string).collect())
            }
            ("guard", "allow-probes") => text(self.guard.allow_probes.clone().unwrap_or_default()),
            ("guard", name) if let Some(value) = self.guard.waf.value(name).or_else(|| self.waf.value(name)) => value,
            ("guard", "rate") => {
                let rates: Vec<String> = self.guard.rates.iter().map(ToString::to_string).collect();
                format!("[{}]", rates.join(", "))
            }
            // Too much to be shown here; their files show them.
            ("guard", "rule" | "crawler") => return absent(key, out),
            ("guard", "crawler-dns") => text(self.crawler_dns.iter().map(ToString::to_string).collect()),
            ("guard", "client-concurrency") => self.guard.client_concurrency.unwrap_or_default().to_string(),
            ("guard", "rate-entries") => self.rate_entries.to_string(),
            ("guard", name) => match self.guard.knob(name).or_else(|| self.countries_knob(name)) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("acme", name) => match self.acme.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("admin", name) => match self.admin_settings.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("hits", name) => match self.hits.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("monitor", name) => match self.monitor.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("verify", name) => match self.verify.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("traces", name) => match self.traces.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            ("answers", "cache-control") => quote(&self.cache_control),
            ("health", "paths") => text(self.health_paths.clone()),
            ("reload", "watch") => self.watch.to_string(),
            ("reload", "debounce") => self.debounce.to_string(),
            ("log", "level") => quote(&self.log_level),
            ("log", name) => match self.access_log.knob(name) {
                Some(value) => value,
                None => return absent(key, out),
            },
            _ => key.default.to_owned(),
        };
        out.push_str(&format!("{} = {value}\n", key.name));
    }
}

/// Shows a knob that has no value.
fn absent(key: &Key, out: &mut String) {
    out.push_str(&format!("# {} = …\n", key.name));
}

/// A file that says what the tables of keys say.
fn default_text() -> String {
    let mut out = String::new();
    for key in keys::GATEWAY {
        if !key.default.is_empty() {
            out.push_str(&format!("{} = {}\n", key.name, key.default));
        }
    }
    for key in keys::GATEWAY {
        let Kind::Table(keys) = key.kind else { continue };
        out.push_str(&format!("[{}]\n", key.name));
        for inner in keys.iter().filter(|inner| !inner.default.is_empty()) {
            out.push_str(&format!("{} = {}\n", inner.name, inner.default));
        }
    }
    out
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    top: &'a Table,
    default_top: &'a Table,
    faults: Vec<Diagnostic>,
    lost_targets: bool,
}

impl<'a> Reader<'a> {
    fn find<T>(&self, table: &str, get: impl Fn(&'a Table) -> Option<T>) -> Option<T> {
        [self.top, self.default_top].into_iter().find_map(|top| {
            let table = if table.is_empty() { top } else { top.table(table)?.value };
            get(table)
        })
    }

    fn text(&self, table: &str, key: &str) -> String {
        self.find(table, |table| table.text(key)).map(|at| at.value.clone()).unwrap_or_default()
    }

    fn texts(&self, table: &str, key: &str) -> Vec<At<String>> {
        self.find(table, |table| table.texts(key)).map(|at| at.value.clone()).unwrap_or_default()
    }

    /// A number of MiB as bytes.
    fn bytes(&self, table: &str, key: &str) -> u64 {
        (self.number(table, key) as u64) << 20
    }

    fn number(&self, table: &str, key: &str) -> i64 {
        self.find(table, |table| table.number(key)).map_or(0, |at| *at.value)
    }

    fn tls(&self, folder: &Path) -> TlsSettings {
        let file = |key| self.find("tls", |table| table.text(key)).map(|at| folder.join(at.value));
        // The reader has refused other words.
        let modern = self.text("tls", "policy") == TlsPolicy::Modern.name();
        let production = self.text("tls", "mode") == TlsMode::Production.name();
        TlsSettings {
            policy: if modern { TlsPolicy::Modern } else { TlsPolicy::Intermediate },
            mode: if production { TlsMode::Production } else { TlsMode::Development },
            passphrase_file: file("passphrase-file"),
            ticket_keys: file("ticket-keys"),
        }
    }

    fn flag(&self, table: &str, key: &str) -> bool {
        self.find(table, |table| table.bool(key)).is_some_and(|at| *at.value)
    }

    fn milliseconds(&self, table: &str, key: &str) -> Duration {
        Duration::from_millis(self.number(table, key) as u64)
    }

    fn header(&mut self, table: &str, key: &'static str) -> String {
        let text = self.text(table, key);
        if text.is_ascii() && !text.chars().any(char::is_control) {
            return text;
        }
        let span = self.top.table(table).and_then(|t| t.value.text(key)).map_or(0..0, |at| at.span);
        self.faults.push(self.file.error("bad-value", span, "a header takes printable ASCII characters only"));
        String::new()
    }

    fn parsed<T: std::str::FromStr>(&mut self, list: Vec<At<String>>, hint: &str) -> Vec<T> {
        let mut parsed = Vec::new();
        for At { value, span } in list {
            match value.parse() {
                Ok(item) => parsed.push(item),
                Err(_) => {
                    let fault = self.file.error("bad-address", span, format!("`{value}` is no address")).hint(hint);
                    self.faults.push(fault);
                }
            }
        }
        parsed
    }

    fn listeners(&mut self, key: &str) -> Vec<Listen> {
        let mut listeners: Vec<Listen> = Vec::new();
        for At { value, span } in self.texts("listen", key) {
            let fault = match value.parse::<Listen>() {
                // Port 0 is another port each time.
                Ok(new) if !new.address.is_any_port() && listeners.iter().any(|known| known.address == new.address) => {
                    self.file.error("bad-address", span, format!("`{}` is listed twice", new.address))
                }
                Ok(new) => {
                    listeners.push(new);
                    continue;
                }
                Err(error) => self.file.error("bad-address", span, format!("`{value}` is {error}")).hint(LISTEN_HINT),
            };
            self.faults.push(fault);
        }
        listeners
    }

    fn address(&mut self, table: &str, key: &str) -> Address {
        let found = self.find(table, |table| table.text(key)).map(|at| At { value: at.value.clone(), span: at.span });
        let addresses = self.parsed(found.into_iter().collect(), ADDRESS_HINT);
        let default = || SocketAddr::from(([127, 0, 0, 1], 9180)).into();
        addresses.into_iter().next().unwrap_or_else(default)
    }

    fn networks(&mut self, table: &str, key: &str) -> Vec<IpNet> {
        let networks: Vec<Network> = self.parsed(self.texts(table, key), NetworkError::HINT);
        networks.into_iter().map(|written| written.network).collect()
    }

    fn health_paths(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        for At { value, span } in self.texts("health", "paths") {
            if value.starts_with('/') && !value.contains('?') {
                paths.push(value);
                continue;
            }
            let why = if value.starts_with('/') { "it has a query" } else { "a path begins with `/`" };
            self.faults.push(self.file.error("bad-value", span, format!("`{value}` is no path of health: {why}")));
        }
        paths
    }

    fn allowed_targets(&mut self) -> Option<Vec<HostPattern>> {
        let list = self.top.table("guard")?.value.texts("allowed-targets")?.value;
        let (patterns, faults) = host_patterns(list, self.file);
        self.lost_targets |= !faults.is_empty();
        self.faults.extend(faults);
        Some(patterns)
    }

    fn frozen(&mut self) -> Vec<HostPattern> {
        let (patterns, faults) = host_patterns(&self.texts("guard", "frozen"), self.file);
        self.faults.extend(faults);
        patterns
    }

    fn verify(&mut self, folder: &Path) -> VerifySettings {
        let settings = verify::read(self.top, self.default_top, folder);
        let has_list = self.find("guard", |table| table.text("frozen-file")).is_some();
        let own = self.top.table("verify").and_then(|table| table.value.bool("freeze"));
        match own.filter(|_| settings.freeze && !has_list) {
            Some(at) => {
                let fault = self.file.error("bad-value", at.span, "there is no list that hosts could be written into");
                self.faults.push(fault.hint("name a file as [guard] frozen-file"));
                VerifySettings { freeze: false, ..settings }
            }
            None => settings,
        }
    }

    fn guard(&mut self, folder: &Path) -> GuardSettings {
        let find = |_: u16, text: &str| match text {
            "" => Err("is no file"),
            text => Ok(ListFile { name: folder.join(text).to_string_lossy().into_owned(), in_routes: false }),
        };
        let tables = [self.top, self.default_top].into_iter().filter_map(|top| Some((0, top.table("guard")?.value)));
        let settings = GuardSettings::read(&tables.collect::<Vec<_>>(), &find, &mut |_, span, code, message, hint| {
            self.faults.push(self.file.error(code, span, message).maybe_hint(hint));
        });
        let rules = request_rule::of_file(self.file, self.top, &mut self.faults);
        GuardSettings { rules: rules.into_iter().collect(), crawlers: self.crawlers(), ..settings }
    }

    /// The file's crawlers, and those of the gateway's own whose names it does not take.
    fn crawlers(&mut self) -> Vec<CrawlerSettings> {
        let guard = self.top.table("guard");
        let mut all = guard.map_or_else(Vec::new, |guard| crawlers(self.file, guard.value, &mut self.faults));
        let known = known_crawlers().into_iter();
        let others: Vec<_> = known.filter(|known| all.iter().all(|own| own.name != known.name)).collect();
        all.extend(others);
        all
    }

    /// DNS servers.
    fn servers(&mut self, table: &str, key: &str) -> Vec<SocketAddr> {
        let mut servers = Vec::new();
        for At { value, span } in self.texts(table, key) {
            match value.parse().or_else(|_| value.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53))) {
                Ok(server) => servers.push(server),
                Err(_) => {
                    let fault = self.file.error("bad-address", span, format!("`{value}` is no address of a server"));
                    self.faults.push(fault.hint("`10.0.0.53`, or with a port: `10.0.0.53:5353`, `[2001:db8::53]:53`"));
                }
            }
        }
        servers
    }

    fn platforms(&mut self, folder: &Path) -> BTreeMap<String, Platform> {
        let Some(named) = self.top.named("platforms") else { return BTreeMap::new() };
        let mut read = |(name, table): &(At<String>, Table)| {
            let platform = platform::read(name, table, self.file, folder, &mut self.faults, &mut self.lost_targets);
            (name.value.clone(), platform)
        };
        named.value.iter().map(&mut read).collect()
    }
}

const LISTEN_HINT: &str = "an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or a Unix socket, such as `unix:/run/waypost/http.sock`; then perhaps the word `proxy`";

const ADDRESS_HINT: &str = "an IP address and a port, such as `127.0.0.1:9180`, or `unix:` and an absolute path, such as `unix:/run/waypost/admin.sock`";

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quote_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quote(name) }
}

pub(super) fn quote_all(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(", "))
}
