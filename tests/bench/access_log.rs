//! What a line of the access log costs.
//!
//! `cargo bench --bench access_log` prints nanoseconds a line, of each format, and of serde_json for the same fields; then of
//! reading them again.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use serde::Serialize;
use waypost::{
    config::{AccessLogSettings, Gateway},
    model::Outcome,
    telemetry::{
        Consumer, Exchange, Lane, Protocol,
        access_log::{AccessLog, Record, rotated},
    },
};

const ROUNDS: usize = 7;
const LINES: usize = 200_000;

/// As serde_json would write it.
#[derive(Serialize)]
struct Plain<'a> {
    time: String,
    client: IpAddr,
    method: &'a str,
    scheme: &'a str,
    host: &'a str,
    target: &'a str,
    protocol: &'a str,
    status: u16,
    outcome: &'a str,
    site: &'a str,
    location: &'a str,
    rule: String,
    sent: u64,
    took: f64,
    lane: &'a str,
    referer: &'a str,
    user_agent: &'a str,
}

fn main() {
    let exchange = Exchange {
        at: 1_795_348_800_000_000,
        took: 42,
        status: 301,
        outcome: Outcome::Redirect,
        lane: Lane::Fast,
        protocol: Protocol::Http11,
        secure: true,
        unmapped: false,
        client: Some(Ipv4Addr::new(192, 0, 2, 77).into()),
        site: "lanjiang/qingshan/jyj",
        method: "GET",
        host: b"jyj.qingshan.example",
        target: b"/NEWS.ASP?ClassID=3&ID=77&name=%BF%C6%C6%D5",
        location: "https://www.qingshan.example/jyj/c12/77.html",
        file: "lanjiang/qingshan/jyj.csv",
        line: 1234,
        referer: b"https://search.example/s?wd=%E9%9D%92%E5%B1%B1%E5%8E%BF%E6%95%99%E8%82%B2%E5%B1%80",
        user_agent: b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ..Exchange::default()
    };
    for format in ["json", "combined", "vhost-combined"] {
        write(format, "full", &exchange);
    }
    for client in ["truncated", "hashed", "none"] {
        write("json", client, &exchange);
    }
    print("serde_json", LINES, || {
        let mut out = Vec::with_capacity(1 << 20);
        for number in 0..LINES {
            let plain = plain(&exchange, number);
            if serde_json::to_writer(&mut out, &plain).is_err() {
                return;
            }
            out.push(b'\n');
            if out.len() > 256 << 10 {
                black_box(&out);
                out.clear();
            }
        }
    });
}

fn plain<'a>(exchange: &Exchange<'a>, number: usize) -> Plain<'a> {
    let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
    Plain {
        time: jiff::Timestamp::from_microsecond(exchange.at + number as i64).unwrap_or_default().to_string(),
        client: exchange.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        method: exchange.method,
        scheme: "https",
        host: text(exchange.host),
        target: text(exchange.target),
        protocol: exchange.protocol.name(),
        status: exchange.status,
        outcome: exchange.outcome.name(),
        site: exchange.site,
        location: exchange.location,
        rule: format!("{}:{}", exchange.file, exchange.line),
        sent: exchange.sent,
        took: f64::from(exchange.took) / 1e6,
        lane: exchange.lane.name(),
        referer: text(exchange.referer),
        user_agent: text(exchange.user_agent),
    }
}

fn write(format: &str, client: &str, exchange: &Exchange<'_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!("[log]\nformat = \"{format}\"\nclient = \"{client}\"\nrotate-size = 40000\n");
    let (gateway, _) = Gateway::parse("gateway.toml", text, folder.path());
    let settings = gateway.access_log;
    let (mut log, stats) = AccessLog::open(&settings).expect("a log");
    print(&format!("{format}, client {client}, into a file"), LINES, || {
        for number in 0..LINES {
            log.exchange(&Exchange { at: exchange.at + number as i64, ..*exchange });
        }
    });
    log.end();
    assert_eq!((stats.lines(), stats.lost()), ((LINES * ROUNDS) as u64, 0));
    if (format, client) == ("json", "full") {
        read(&settings);
    }
}

fn read(settings: &AccessLogSettings) {
    assert!(rotated(&settings.folder).is_ok_and(|files| files.is_empty()));
    let text = std::fs::read(settings.folder.join("access.log")).unwrap_or_default();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').take(LINES).collect();
    println!("{:<40} {:>8} bytes", "a line", lines[0].len());
    print("reading json", LINES, || {
        let found = lines.iter().filter_map(|line| Record::of_line(line)).filter(|record| record.status == 301).count();
        assert_eq!(found, LINES);
    });
}

fn print(what: &str, lines: usize, mut run: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e9 / lines as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{what:<40} {:>8.0} ns a line (best {:.0})", rounds[ROUNDS / 2], rounds[0]);
}
