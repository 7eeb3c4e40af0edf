//! `[platforms.NAME]`: where requests are proxied to, and how.

use std::{path::Path, time::Duration};

use super::diagnostic::{Diagnostic, SourceFile};
use super::keys::{EJECT, HEALTH_CHECK, Key, PLATFORM};
use super::origin::{ORIGIN_HINT, Origin};
use super::origin_tls::OriginTls;
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

/// Reads one platform.
pub(super) struct Reader<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) table: &'a Table,
    pub(super) faults: &'a mut Vec<Diagnostic>,
    pub(super) lost: &'a mut bool,
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

    pub(super) fn fault(&mut self, code: &'static str, span: std::ops::Range<usize>, message: String, hint: &str) {
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

    pub(super) fn host(&mut self, table: &Table, key: &str) -> Option<Host> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str, folder: &Path) -> Gateway {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), folder);
        assert!(faults.is_empty(), "{faults:?}");
        gateway
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let platform = &parse("[platforms.p]", Path::new("")).platforms["p"];
        assert_eq!(*platform, Platform::default());
        assert_eq!((platform.connections, platform.retries, platform.eject_failures), (1000, 2, 5));
        assert_eq!(platform.total_time, Duration::from_secs(90));
        assert!(platform.health.is_none() && !platform.http2 && platform.balance == Balance::RoundRobin);
        let health = parse("[platforms.p]\nhealth = {}", Path::new("")).platforms["p"].health.clone().unwrap();
        assert_eq!((health.path.as_str(), health.status, health.up, health.down), ("/", 200, 2, 3));
    }

    #[test]
    fn what_config_prints_is_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
        fs::write(folder.path().join("own.pem"), own.cert.pem()).unwrap();
        fs::write(folder.path().join("own.key"), own.signing_key.serialize_pem()).unwrap();
        let text = r#"
            [platforms.p]
            origins = ["https://10.1.2.3:8443", "https://app.example"]
            host = "www.app.example"
            sni = "app.example"
            ca = "own.pem"
            pin = ["sha256:00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF"]
            certificate = "own.pem"
            key = "own.key"
            balance = "url"
            connect-time = 1
            read-time = 2
            write-time = 3
            total-time = 4
            connections = 5
            queue = 6
            queue-time = 7
            retries = 8
            keep-alive = 9
            http2 = "on"
            health = { path = "/h?a=b", host = "h.example", status = 204, interval = 10, timeout = 11, up = 12, down = 13 }
            eject = { failures = 14, time = 15 }
            resolve = 16
            [platforms."a b"]
            origins = ["unix:/run/app.sock"]
        "#;
        let gateway = parse(text, folder.path());
        let again = parse(&gateway.to_toml(), folder.path());
        assert_eq!(gateway.platforms, again.platforms);
        let platform = &gateway.platforms["p"];
        assert_eq!(platform.tls.pins[0][..2], [0, 0xFF]);
        assert_eq!((platform.resolve.as_secs(), platform.keep_alive.as_millis()), (16, 9));
        let shown = format!("{platform:?}");
        assert!(!shown.contains(&format!("{:?}", platform.tls.identity.as_ref().unwrap().key)), "no key in logs");
    }
}
