//! An exchange as a line.

use std::borrow::Cow;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    client::Clients,
    fields::{self, Field},
    record::Record,
    text,
};
use crate::config::LogFormat;
use crate::telemetry::Exchange;

/// Writes lines of one format.
#[derive(Debug)]
pub(super) struct Lines {
    format: LogFormat,
    zone: TimeZone,
    /// The second that `stamp` shows.
    second: i64,
    stamp: Vec<u8>,
}

impl Lines {
    /// Of `format`, with times of `zone` where the format wants local ones.
    pub(super) fn new(format: LogFormat, zone: TimeZone) -> Self {
        Lines { format, zone, second: i64::MIN, stamp: Vec::new() }
    }

    /// Appends a line with its end, which is the only line feed in it.
    pub(super) fn write(&mut self, exchange: &Exchange<'_>, clients: &Clients, out: &mut Vec<u8>) {
        self.turn(exchange.at.div_euclid(MICROSECONDS));
        match self.format {
            LogFormat::Off => return,
            LogFormat::Json => self.json(exchange, clients, out),
            LogFormat::Combined | LogFormat::VhostCombined => self.combined(&Combined::of(exchange, clients), out),
        }
        out.push(b'\n');
    }

    fn turn(&mut self, second: i64) {
        if self.second != second {
            self.second = second;
            self.stamp = self.stamp_of(second);
        }
    }

    /// What all exchanges of a second have of their time in common.
    fn stamp_of(&self, second: i64) -> Vec<u8> {
        // Only years before 0 or after 9999 have none.
        let time = Timestamp::from_second(second).unwrap_or_default();
        let text = match self.format {
            LogFormat::Json => time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            _ => time.to_zoned(self.zone.clone()).strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
        };
        text.into_bytes()
    }

    fn json(&self, exchange: &Exchange<'_>, clients: &Clients, out: &mut Vec<u8>) {
        let milliseconds = exchange.at.rem_euclid(MICROSECONDS) / 1000;
        out.push(b'{');
        out.extend_from_slice(&fields::TIME.lead.as_bytes()[1..]);
        out.push(b'"');
        out.extend_from_slice(&self.stamp);
        out.push(b'.');
        text::digits::<3>(milliseconds as u32, out);
        out.extend_from_slice(b"Z\"");

        let mut object = Object { out, escaped: [None; 5], bad: 0 };
        object.client(exchange, clients);
        object.word(fields::METHOD, exchange.method);
        object.word(fields::SCHEME, if exchange.secure { "https" } else { "http" });
        object.bytes(fields::HOST, exchange.host);
        object.bytes(fields::TARGET, exchange.target);
        object.word(fields::PROTOCOL, exchange.protocol.name());
        object.number(fields::STATUS, exchange.status.into());
        object.word(fields::OUTCOME, exchange.outcome.name());
        object.word(fields::REASON, exchange.reason.map_or("", |reason| reason.name()));
        if exchange.unmapped {
            object.raw(fields::UNMAPPED, b"true");
        }
        object.word(fields::SITE, exchange.site);
        object.word(fields::LOCATION, exchange.location);
        object.rule(exchange.file, exchange.line);
        object.word(fields::PLATFORM, exchange.platform);
        object.bytes(fields::CACHE, exchange.cache);
        object.number(fields::SENT, exchange.sent);
        if exchange.received > 0 {
            object.number(fields::RECEIVED, exchange.received);
        }
        object.number(fields::TOOK, (exchange.took / 1_000_000).into());
        object.out.push(b'.');
        text::digits::<6>(exchange.took % 1_000_000, object.out);
        object.word(fields::LANE, exchange.lane.name());
        object.bytes(fields::REFERER, exchange.referer);
        object.bytes(fields::USER_AGENT, exchange.user_agent);
        object.list(fields::TAGS, exchange.tags.split_ascii_whitespace());
        object.word(fields::TRACE, exchange.trace);
        let escaped = object.escaped;
        object.list(fields::ESCAPED, escaped.iter().flatten().copied());
        object.out.push(b'}');
    }

    fn combined(&self, of: &Combined<'_>, out: &mut Vec<u8>) {
        if self.format == LogFormat::VhostCombined {
            text::combined_word(&of.host, out);
            if !has_port(&of.host) {
                out.extend_from_slice(if of.secure { b":443" } else { b":80" });
            }
            out.push(b' ');
        }
        text::combined_word(&of.client, out);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(&self.stamp);
        out.extend_from_slice(b"] \"");
        text::combined(of.method, out);
        out.push(b' ');
        text::combined(&of.target, out);
        out.push(b' ');
        text::combined(of.protocol, out);
        out.extend_from_slice(b"\" ");
        text::digits::<3>(of.status.into(), out);
        out.push(b' ');
        text::number(of.sent, out);
        out.extend_from_slice(b" \"");
        text::combined(&of.referer, out);
        out.extend_from_slice(b"\" \"");
        text::combined(&of.user_agent, out);
        out.push(b'"');
    }
}

/// Writes what is read of the JSON log in the combined format, for tools that know no other.
#[derive(Debug)]
pub struct CombinedLines(pub(super) Lines);

impl CombinedLines {
    /// With the system's local times; with the host and the port before each line, or not.
    pub fn new(with_host: bool) -> Self {
        let format = if with_host { LogFormat::VhostCombined } else { LogFormat::Combined };
        CombinedLines(Lines::new(format, TimeZone::system()))
    }

    /// Appends the line that the exchange of `record` has in this format, with its end.
    pub fn write(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let time: Timestamp = record.time.parse().unwrap_or_default();
        self.0.turn(time.as_second());
        self.0.combined(&Combined::read(record), out);
        out.push(b'\n');
    }
}

/// What the combined formats tell.
struct Combined<'a> {
    client: Cow<'a, [u8]>,
    host: Cow<'a, [u8]>,
    secure: bool,
    method: &'a [u8],
    target: Cow<'a, [u8]>,
    protocol: &'a [u8],
    status: u16,
    sent: u64,
    referer: Cow<'a, [u8]>,
    user_agent: Cow<'a, [u8]>,
}

impl<'a> Combined<'a> {
    fn of(exchange: &Exchange<'a>, clients: &Clients) -> Self {
        let mut client = Vec::new();
        clients.write(exchange.client, &mut client);
        Combined {
            client: client.into(),
            host: exchange.host.into(),
            secure: exchange.secure,
            method: exchange.method.as_bytes(),
            target: exchange.target.into(),
            protocol: exchange.protocol.name().as_bytes(),
            status: exchange.status,
            sent: exchange.sent,
            referer: exchange.referer.into(),
            user_agent: exchange.user_agent.into(),
        }
    }

    fn read(record: &'a Record<'_>) -> Self {
        Combined {
            client: record.client.as_bytes().into(),
            host: record.host_bytes(),
            secure: record.scheme == "https",
            method: record.method.as_bytes(),
            target: record.target_bytes(),
            protocol: record.protocol.as_bytes(),
            status: record.status,
            sent: record.sent,
            referer: record.bytes(fields::REFERER.name, &record.referer),
            user_agent: record.bytes(fields::USER_AGENT.name, &record.user_agent),
        }
    }
}

/// An object that is being written, after its first field.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// The fields whose values had to be percent-encoded.
    escaped: [Option<&'static str>; 5],
    bad: usize,
}

impl Object<'_> {
    fn raw(&mut self, field: Field, value: &[u8]) {
        self.out.extend_from_slice(field.lead.as_bytes());
        self.out.extend_from_slice(value);
    }

    fn number(&mut self, field: Field, value: u64) {
        self.out.extend_from_slice(field.lead.as_bytes());
        text::number(value, self.out);
    }

    fn word(&mut self, field: Field, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn bytes(&mut self, field: Field, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.out.extend_from_slice(field.lead.as_bytes());
        if text::json(value, self.out)
            && let Some(place) = self.escaped.get_mut(self.bad)
        {
            *place = Some(field.name);
            self.bad += 1;
        }
    }

    fn list<'a>(&mut self, field: Field, values: impl Iterator<Item = &'a str>) {
        let mut separator = b'[';
        for value in values {
            if separator == b'[' {
                self.out.extend_from_slice(field.lead.as_bytes());
            }
            self.out.push(separator);
            text::json(value.as_bytes(), self.out);
            separator = b',';
        }
        if separator == b',' {
            self.out.push(b']');
        }
    }

    fn client(&mut self, exchange: &Exchange<'_>, clients: &Clients) {
        let before = self.out.len();
        self.raw(fields::CLIENT, b"\"");
        if clients.write(exchange.client, self.out) {
            self.out.push(b'"');
        } else {
            self.out.truncate(before);
        }
    }

    fn rule(&mut self, file: &str, line: u32) {
        if file.is_empty() {
            return;
        }
        self.out.extend_from_slice(fields::RULE.lead.as_bytes());
        text::json(file.as_bytes(), self.out);
        // Before the closing quote.
        self.out.pop();
        self.out.push(b':');
        text::number(line.into(), self.out);
        self.out.push(b'"');
    }
}

fn has_port(host: &[u8]) -> bool {
    let mut parts = host.rsplitn(2, |&byte| byte == b':');
    let last = parts.next().unwrap_or_default();
    parts.next().is_some() && !last.is_empty() && last.iter().all(u8::is_ascii_digit)
}

const MICROSECONDS: i64 = 1_000_000;
