//! A real Prometheus, with the files that are committed.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;
use waypost::dashboards::{RUNBOOK, files};

use crate::client::{Conn, Response, head};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// One that reads a gateway's metrics four times a second.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// A series that a question was answered with.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Answer {
    pub labels: BTreeMap<String, String>,
    /// Unix times and values.
    pub values: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Reads the metrics at this admin address.
    pub fn start(gateway: SocketAddr) -> Self {
        let mut folder = tempfile::tempdir().unwrap();
        for file in files(RUNBOOK).into_iter().filter(|file| file.path.starts_with("prometheus/")) {
            let name = file.path.split('/').next_back().unwrap();
            fs::write(folder.path().join(name), hurried(&file.text, gateway)).unwrap();
        }
        // A port that was free just now; another may take it, and then another is tried.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let child = Command::new("prometheus")
                .arg(format!("--web.listen-address={address}"))
                .arg("--config.file=prometheus.yml")
                .arg("--storage.tsdb.path=data")
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut prometheus = Prometheus { child, address, folder };
            if prometheus.is_ready() {
                return prometheus;
            }
            folder = std::mem::replace(&mut prometheus.folder, tempfile::tempdir().unwrap());
        }
        panic!("prometheus does not start: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    }

    /// Waits until it answers; not if it ends before.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let request = head("GET", "localhost", b"/-/ready", &[], b"");
            if Conn::new(self.address).send(&request, false).is_ok_and(|answer| answer.status == 200) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn get(&self, target: &str) -> Response {
        Conn::new(self.address).get("localhost", target)
    }

    /// What it has for a page of its API.
    pub fn api(&self, target: &str) -> Value {
        let answer = self.get(&format!("/api/v1/{target}"));
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["status"], "success", "{target}: {json}");
        json["data"].clone()
    }

    /// Asks for now.
    pub fn ask(&self, query: &str) -> Vec<Answer> {
        answers(&self.api(&format!("query?query={}", escaped(query))), "value")
    }

    /// Asks for the last seconds, a value each second.
    pub fn ask_range(&self, query: &str, seconds: f64) -> Vec<Answer> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = now - seconds;
        answers(&self.api(&format!("query_range?query={}&start={start}&end={now}&step=1", escaped(query))), "values")
    }

    /// Waits until all of `open` are answered with something; gives back what never is.
    pub fn wait_for<'a>(&self, mut open: Vec<&'a str>, mut meanwhile: impl FnMut()) -> Vec<&'a str> {
        let start = Instant::now();
        while !open.is_empty() && start.elapsed() < PATIENCE {
            meanwhile();
            open.retain(|query| self.ask(query).is_empty());
            std::thread::sleep(Duration::from_millis(50));
        }
        open
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file as it is committed, but for where things are and how often they are read.
fn hurried(text: &str, gateway: SocketAddr) -> String {
    let mut text = text.replace("127.0.0.1:9180", &gateway.to_string());
    for (committed, hurried) in [
        ("scrape_interval: 15s", "scrape_interval: 250ms"),
        ("evaluation_interval: 15s", "evaluation_interval: 250ms"),
        ("scrape_interval: 60s", "scrape_interval: 500ms"),
        ("scrape_timeout: 20s", "scrape_timeout: 500ms"),
        ("/run/secrets/waypost_token", "/dev/null"),
        // Nobody is told.
        ("127.0.0.1:9093", "127.0.0.1:1"),
        ("interval: 1m\n", "interval: 250ms\n"),
        ("interval: 30s\n", "interval: 250ms\n"),
    ] {
        text = text.replace(committed, hurried);
    }
    text
}

fn answers(data: &Value, key: &str) -> Vec<Answer> {
    let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let pair = |pair: &Value| (pair[0].as_f64().unwrap(), number(&pair[1]));
    let series = |one: &Value| Answer {
        labels: serde_json::from_value(one["metric"].clone()).unwrap(),
        values: match &one[key] {
            Value::Array(values) if key == "values" => values.iter().map(pair).collect(),
            value => vec![pair(value)],
        },
    };
    match data["resultType"].as_str().unwrap() {
        "scalar" => vec![Answer { labels: BTreeMap::new(), values: vec![pair(&data["result"])] }],
        _ => data["result"].as_array().unwrap().iter().map(series).collect(),
    }
}

fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
