//! Small MaxMind databases (maxmind.github.io/MaxMind-DB), written for tests.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

/// A value of a record.
pub enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Texts(Vec<&'static str>),
    Map(Vec<(&'static str, Value)>),
}

/// A record as GeoLite2-Country has them.
pub fn country(code: &'static str) -> Value {
    Value::Map(vec![("country", Value::Map(vec![("geoname_id", Value::Number(7)), ("iso_code", Value::Text(code))]))])
}

/// The bytes of a database of these networks, the more specific ones after those around them.
pub fn database(kind: &'static str, records: &[(&str, Value)]) -> Vec<u8> {
    // A node has two children: another node, nothing, or a record.
    let mut nodes: Vec<[Child; 2]> = vec![[Child::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in records {
        let at = data.len();
        encode(record, &mut data);
        let (bits, length) = match network.parse::<IpNet>().unwrap() {
            // IPv4 lies at ::/96.
            IpNet::V4(v4) => (u128::from(v4.network().to_bits()), 96 + v4.prefix_len()),
            IpNet::V6(v6) => (v6.network().to_bits(), v6.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth)) as usize & 1;
            if depth + 1 == length {
                nodes[node][side] = Child::Record(at);
                break;
            }
            node = match nodes[node][side] {
                Child::Node(next) => next,
                // A record for more than this is handed down to both halves.
                known => {
                    nodes.push([known; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][side] = Child::Node(next);
                    next
                }
            };
        }
    }
    let mut out = Vec::new();
    for child in nodes.iter().flatten() {
        let number = match *child {
            Child::Node(number) => number,
            Child::Nothing => nodes.len(),
            Child::Record(at) => nodes.len() + 16 + at,
        };
        out.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let fields = BTreeMap::from([
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_800_000_000)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![("en", Value::Text("made for a test"))])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::Texts(vec!["en"])),
        ("node_count", Value::Number(nodes.len().try_into().unwrap())),
        ("record_size", Value::Short(24)),
    ]);
    encode(&Value::Map(fields.into_iter().collect()), &mut out);
    out
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Record(usize),
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    let head = |kind: u8, size: usize, out: &mut Vec<u8>| {
        let short = size.min(29);
        // Types from 8 on don't fit into the first byte.
        match kind {
            0..8 => out.push(kind << 5 | short as u8),
            _ => out.extend_from_slice(&[short as u8, kind - 7]),
        }
        if short == 29 {
            out.push(u8::try_from(size - 29).unwrap());
        }
    };
    match value {
        Value::Text(text) => {
            head(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Short(number) => {
            head(5, 2, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Number(number) => {
            head(6, 4, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Long(number) => {
            head(9, 8, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Texts(texts) => {
            head(11, texts.len(), out);
            texts.iter().for_each(|text| encode(&Value::Text(text), out));
        }
        Value::Map(fields) => {
            head(7, fields.len(), out);
            for (name, value) in fields {
                encode(&Value::Text(name), out);
                encode(value, out);
            }
        }
    }
}

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
