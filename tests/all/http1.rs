//! Malformed and ambiguous HTTP/1.x, over every lane that speaks it: the cases of `tests/golden/http1`.
//!
//! A case says what is sent, as lines whose ends count for nothing: `\r`, `\n`, `\t`, `\0`, `\xHH` and `\\` stand for
//! bytes, `\{N text}` for a text N times. After it a probe is sent, in the same breath, which asks to close the
//! connection. `want` lists the outcomes that are acceptable: the statuses of the answers in order, then
//! - `close`: the connection ended without an answer to the probe, as it must after anything that leaves in doubt where a
//!   request ends (RFC 9112, 11.2);
//! - `keep`: the probe was answered, so that both sides agree where the case ended.
//!
//! Whatever the outcome, nothing that stands inside of another request may be answered.

use std::{fs, path::Path, time::Duration};

use serde::Deserialize;
use waypost::config::Gateway;

use crate::{
    client::{Dial, Heard, Response, Wire},
    lanes::Lane,
    serve::gateway,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The section that it is about.
    rfc: String,
    want: Vec<String>,
    send: String,
    /// Whether the first answer is one to HEAD.
    #[serde(default)]
    head: bool,
}

const SITE: &str = "name = \"Site\"\nhosts = [\"jyj.old.example\"]\nhome = \"https://www.new.example/\"\n";
const TABLE: &str = "old,new,status\n\
    /a.htm,https://www.new.example/a,\n\
    /probe,https://www.new.example/probe,302\n\
    /smuggled,https://www.new.example/smuggled,\n";
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: jyj.old.example\r\nConnection: close\r\n\r\n";
const PROBE_LOCATION: &str = "https://www.new.example/probe";
const SMUGGLED_LOCATION: &str = "https://www.new.example/smuggled";

/// The fewest cases that the suite must have.
const FEWEST: usize = 158;

/// A server that has something to say does so sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two segments, so that they don't become one.
const PAUSE: Duration = Duration::from_micros(100);

#[test]
fn malformed_requests_are_refused() {
    let groups = read();
    let count: usize = groups.iter().map(|(_, cases)| cases.len()).sum();
    assert!(count >= FEWEST, "{count} cases");
    let routes = tempfile::tempdir().unwrap();
    fs::write(routes.path().join("site.toml"), SITE).unwrap();
    fs::write(routes.path().join("site.csv"), TABLE).unwrap();
    let mut faults = Vec::new();
    for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
        let gateway: Gateway = gateway(routes.path());
        let running = lane.start(gateway);
        let dial = lane.dial(&running, "jyj.old.example");
        let mut passed = 0;
        for (group, cases) in &groups {
            for case in cases {
                let before = faults.len();
                let bytes = [bytes(&case.send), PROBE.to_vec()].concat();
                for piece in [bytes.len(), (bytes.len() / 24).max(7)] {
                    if let Err(fault) = case.check(&dial, &bytes, piece) {
                        let how = if piece < bytes.len() { format!("{piece} bytes at a time") } else { "whole".into() };
                        faults.push(format!("{lane}: {group}/{} ({}), {how}: {fault}", case.name, case.rfc));
                    }
                }
                passed += usize::from(faults.len() == before);
            }
        }
        println!("{lane}: {passed} of {count} cases pass");
        running.stop();
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

impl Case {
    fn check(&self, dial: &Dial, bytes: &[u8], piece: usize) -> Result<(), String> {
        let mut wire = dial.open().unwrap();
        let (mut buffer, mut answers) = (Vec::new(), Vec::new());
        let mut heard = send(&mut wire, bytes, piece, &mut buffer);
        let is_open = loop {
            while let Some(answer) = Response::take(&mut buffer, self.head && answers.is_empty())? {
                answers.push(answer);
            }
            match heard {
                Heard::Closed => break false,
                Heard::Silence => break true,
                Heard::Bytes => heard = wire.hear(&mut buffer, PATIENCE),
            }
        };
        let outcome = outcome(&answers, is_open);
        if !buffer.is_empty() {
            return Err(format!("{outcome}, and half an answer: {:?}", String::from_utf8_lossy(&buffer)));
        }
        if answers.iter().any(|answer| answer.header("location") == SMUGGLED_LOCATION) {
            return Err(format!("{outcome}: the request inside of the other was answered"));
        }
        // A host that may be unknown may be another than that of the handshake (RFC 9110, 7.4).
        let same = if dial.tls.is_some() { outcome.replace("421", "404") } else { outcome.clone() };
        if !self.want.contains(&outcome) && !self.want.contains(&same) {
            return Err(format!("{outcome}, not {}", self.want.join(" or ")));
        }
        let is_told = answers.last().is_none_or(|last| last.status < 400 || last.header("connection") == "close");
        if outcome.ends_with("close") && !is_told && !self.send.contains("HTTP/1.0") {
            return Err(format!("{outcome} without `Connection: close`"));
        }
        Ok(())
    }
}

/// Sends `bytes` in pieces and takes in what comes meanwhile.
fn send(wire: &mut Wire, bytes: &[u8], piece: usize, buffer: &mut Vec<u8>) -> Heard {
    for part in bytes.chunks(piece) {
        // An error means that the server has closed, which is heard below.
        if wire.send(part).is_err() {
            break;
        }
        if part.len() < bytes.len() {
            std::thread::sleep(PAUSE);
            if wire.hear_now(buffer) == Heard::Closed {
                return Heard::Closed;
            }
        }
    }
    Heard::Bytes
}

/// The statuses, and how it ended.
fn outcome(answers: &[Response], is_open: bool) -> String {
    let (probed, rest) = match answers.split_last() {
        Some((last, rest)) if last.header("location") == PROBE_LOCATION => (true, rest),
        _ => (false, answers),
    };
    let mut words: Vec<String> = rest.iter().map(|answer| answer.status.to_string()).collect();
    words.push(
        match (probed, is_open) {
            (true, false) => "keep",
            (false, false) => "close",
            (true, true) => "keep, but the connection stays open after `Connection: close`",
            (false, true) => "open",
        }
        .to_owned(),
    );
    words.join(" ")
}

/// Every group of cases by its file's name.
fn read() -> Vec<(String, Vec<Case>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/http1");
    let mut groups: Vec<(String, Vec<Case>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let file: File = toml::from_str(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), file.case)
        })
        .collect();
    groups.sort_by(|(one, _), (other, _)| one.cmp(other));
    groups
}

/// What the text of a case stands for.
fn bytes(text: &str) -> Vec<u8> {
    let text: String = text.lines().collect();
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend(c.to_string().bytes());
            continue;
        }
        let escape = rest.chars().next().expect("something after a backslash");
        rest = &rest[escape.len_utf8()..];
        match escape {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let (hex, after) = rest.split_at(2);
                out.push(u8::from_str_radix(hex, 16).unwrap());
                rest = after;
            }
            '{' => {
                let (repeated, after) = rest.split_once('}').expect("a closing brace");
                let (times, what) = repeated.split_once(' ').expect("a number and a text");
                out.extend(bytes(what).repeat(times.parse().unwrap()));
                rest = after;
            }
            other => panic!("no such escape: \\{other}"),
        }
    }
    out
}
