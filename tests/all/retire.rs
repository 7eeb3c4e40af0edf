//! `waypost retire-check`, with a database of hits and a DNS server.

use std::{fs, net::SocketAddr, net::UdpSocket, path::Path, thread};

use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use serde_json::Value;
use waypost::telemetry::{Consumer, Exchange};

use crate::hits::{Counting, hit, redirected, sqlite};
use crate::program::waypost;

/// Answers with what `records` says; where that is nothing, the name is not there.
fn dns(records: impl Fn(&str, RecordType) -> Result<Vec<RData>, ResponseCode> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = question.clone();
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            let name = query.name().to_ascii().to_ascii_lowercase();
            match records(name.trim_end_matches('.'), query.query_type()) {
                Ok(found) if found.is_empty() => answer.metadata.response_code = ResponseCode::NXDomain,
                Ok(found) => {
                    answer
                        .answers
                        .extend(found.into_iter().map(|data| Record::from_rdata(query.name().clone(), 60, data)));
                }
                Err(code) => answer.metadata.response_code = code,
            }
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    address
}

/// A DNS that knows the host's address, and nothing else.
fn plain() -> SocketAddr {
    dns(|name, kind| match (name, kind) {
        (HOST, RecordType::A) => Ok(vec![RData::A(rdata::A::new(192, 0, 2, 1))]),
        _ => Ok(Vec::new()),
    })
}

const HOST: &str = "jyj.qingshan.example";

/// A site that was redirected long ago, and hits of a hundred days of which its own are `people`.
fn folder(people: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    fs::create_dir(folder.path().join("certs")).unwrap();
    let site = |id: &str, hosts: &str| {
        let text = format!(
            "name = \"{id}\"\nhosts = [{hosts}]\nhome = \"https://www.lanjiang.example/\"\n[lifecycle]\nredirect = 2019-02-01\narchive = 2021-02-01\n"
        );
        fs::write(folder.path().join(format!("routes/{id}.toml")), text).unwrap();
    };
    site("jyj", "\"jyj.qingshan.example\", \"www.jyj.qingshan.example\"");
    site("wsj", "\"wsj.qingshan.example\"");
    fs::write(folder.path().join("gateway.toml"), "[hits]\ndatabase = \"sqlite:hits.sqlite\"\nzone = \"UTC\"\n")
        .unwrap();
    let mut counting = Counting::new(&sqlite(folder.path()));
    let now = jiff::Timestamp::now().as_microsecond();
    counting.count(Exchange { at: now - 89 * 86_400_000_000, ..hit("wsj", "/a.htm") });
    for n in 0..people + 100 {
        let user_agent: &[u8] = if n < 100 { b"curl/8" } else { b"Mozilla/5.0" };
        counting.count(Exchange { at: now, user_agent, ..redirected("jyj", "/a.htm") });
    }
    counting.collector.end();
    folder
}

fn check(folder: &Path, resolver: SocketAddr, args: &[&str]) -> (String, i32) {
    let resolver = resolver.to_string();
    let args = [&["retire-check", "jyj", "--resolver", &resolver], args].concat();
    run(folder, &args)
}

fn run(folder: &Path, args: &[&str]) -> (String, i32) {
    let output = waypost(folder, args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

#[test]
fn a_domain_that_nobody_needs_may_go_and_the_evidence_is_kept() {
    let folder = folder(3);
    let (text, code) = check(folder.path(), plain(), &["-o", "evidence.json"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("yes, its domain may be deregistered"), "{text}");
    assert!(text.contains("3 requests by people and 100 by bots"), "{text}");
    let (text, code) = run(folder.path(), &["retire-check", "--verify", "evidence.json"]);
    assert!(code == 0 && text.contains("by the key that was expected"), "{text}");
    let path = folder.path().join("evidence.json");
    let evidence = fs::read_to_string(&path).unwrap();
    let value: Value = serde_json::from_str(&evidence).unwrap();
    assert_eq!(value["evidence"]["hits"]["hits"], 103);
    assert_eq!(value["evidence"]["judgement"]["verdict"], "yes");
    let public_key = value["signature"]["public-key"].as_str().unwrap();
    // Elsewhere nobody has the key; who was told the public one can check.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("e.json"), &evidence).unwrap();
    let (text, code) = run(elsewhere.path(), &["retire-check", "--verify", "e.json"]);
    assert!(code == 0 && text.contains("whose key that is"), "{text}");
    let (text, code) = run(elsewhere.path(), &["retire-check", "--verify", "e.json", "--public-key", public_key]);
    assert!(code == 0 && text.contains("expected"), "{text}");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (text, code) = run(elsewhere.path(), &["retire-check", "--verify", "e.json", "--public-key", other]);
    assert!(code == 1 && text.contains("signed by another key"), "{text}");
    // Somebody makes it look better.
    fs::write(&path, evidence.replace("\"hits\": 103", "\"hits\": 101")).unwrap();
    let (text, code) = run(folder.path(), &["retire-check", "--verify", "evidence.json"]);
    assert!(code == 1 && text.contains("hits.hits was changed"), "{text}");
}

#[test]
fn what_speaks_against_it_is_named() {
    let many = folder(31);
    let (text, code) = check(many.path(), plain(), &[]);
    assert!(code == 1 && text.contains("not yet") && text.contains("near zero is at most 30"), "{text}");
    let (_, code) = check(many.path(), plain(), &["--hits", "31"]);
    assert_eq!(code, 0);

    let folder = folder(0);
    let mail = dns(|name, kind| {
        let exchange = Name::from_ascii("mx.qingshan.example.").unwrap();
        match (name, kind) {
            (HOST, RecordType::MX) => Ok(vec![RData::MX(rdata::MX::new(10, exchange))]),
            (HOST, RecordType::TXT) => Ok(vec![RData::TXT(rdata::TXT::new(vec!["v=spf1 mx -all".to_owned()]))]),
            ("oa.jyj.qingshan.example", RecordType::A) => Ok(vec![RData::A(rdata::A::new(192, 0, 2, 9))]),
            _ => Ok(Vec::new()),
        }
    });
    let (text, code) = check(folder.path(), mail, &["--json"]);
    assert_eq!(code, 1, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["judgement"]["verdict"], "not-yet");
    for words in ["gets mail by 10 mx.qingshan.example.", "sends mail", "oa.jyj.qingshan.example"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Another site has a host below.
    let text = "name = \"oa\"\nhosts = [\"oa.jyj.qingshan.example\"]\nhome = \"https://www.lanjiang.example/\"\n";
    fs::write(folder.path().join("routes/oa.toml"), text).unwrap();
    let (text, code) = check(folder.path(), plain(), &[]);
    assert!(code == 1 && text.contains("oa.jyj.qingshan.example is a host of the site oa"), "{text}");
}

#[test]
fn what_is_not_known_is_no_yes() {
    let folder = folder(0);
    let failing = dns(|_, kind| match kind {
        RecordType::MX => Err(ResponseCode::ServFail),
        _ => Ok(Vec::new()),
    });
    let (text, code) = check(folder.path(), failing, &[]);
    assert!(code == 1 && text.contains("unknown") && text.contains("MX of jyj.qingshan.example"), "{text}");
    // Counted for 90 days, asked about 365.
    let (text, code) = check(folder.path(), plain(), &["--days", "365"]);
    assert!(code == 1 && text.contains("unknown: not all") && text.contains("hits were counted since"), "{text}");
    fs::remove_file(folder.path().join("hits.sqlite")).unwrap();
    let (text, code) = check(folder.path(), plain(), &[]);
    assert!(code == 1 && text.contains("unknown: not all") && text.contains("nobody knows how often"), "{text}");
    let (text, code) = run(folder.path(), &["retire-check", "nosite"]);
    assert!(code == 1 && text.contains("`nosite` is no site"), "{text}");
    let (_, code) = run(folder.path(), &["retire-check"]);
    assert_eq!(code, 2);
}
