//! Spans in OTLP's JSON, with the attributes that OpenTelemetry's semantic conventions for HTTP name.

use serde_json::{Value, json};

use crate::telemetry::{Exchange, Protocol};

/// The span of a request. There is no query in it, and nothing of who asked but the `User-Agent`.
pub(super) fn of(exchange: &Exchange<'_>) -> Value {
    let start = exchange.at.saturating_mul(1000);
    let end = start.saturating_add(i64::from(exchange.took) * 1000);
    let is_known = METHODS.contains(&exchange.method);
    let path = exchange.target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (host, port) = authority(exchange.host);
    let mut attributes = Vec::new();
    let mut text = |key: &str, value: &str| {
        if !value.is_empty() {
            attributes.push(json!({ "key": key, "value": { "stringValue": value } }));
        }
    };
    text("http.request.method", if is_known { exchange.method } else { "_OTHER" });
    text("http.request.method_original", if is_known { "" } else { exchange.method });
    text("url.scheme", if exchange.secure { "https" } else { "http" });
    text("url.path", &readable(path));
    text("server.address", &readable(host).to_ascii_lowercase());
    text("network.protocol.version", version(exchange.protocol));
    text("user_agent.original", &readable(exchange.user_agent));
    text("waypost.site", exchange.site);
    text("waypost.outcome", exchange.outcome.name());
    text("waypost.platform", exchange.platform);
    text("waypost.cache", &readable(exchange.cache));
    let failed = exchange.status >= 500;
    if failed {
        text("error.type", &exchange.status.to_string());
    }
    let numbers = [("http.response.status_code", exchange.status), ("server.port", port)];
    for (key, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        // 64 bits are texts in protobuf's JSON.
        attributes.push(json!({ "key": key, "value": { "intValue": number.to_string() } }));
    }
    let mut span = json!({
        "traceId": exchange.trace,
        "spanId": format!("{:016x}", exchange.span),
        "flags": SAMPLED,
        "name": if is_known { exchange.method } else { "HTTP" },
        "kind": SERVER,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": if failed { json!({ "code": ERROR }) } else { json!({}) },
    });
    if exchange.parent != 0 {
        span["parentSpanId"] = format!("{:016x}", exchange.parent).into();
        span["flags"] = (SAMPLED | IS_REMOTE_KNOWN | IS_REMOTE).into();
    }
    span
}

/// What is posted: the spans of a service.
pub(super) fn request(service: &str, spans: Vec<Value>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": [text("service.name", service), text("service.version", version)] },
            "scopeSpans": [{ "scope": { "name": "waypost", "version": version }, "spans": spans }],
        }],
    });
    request.to_string().into_bytes()
}

/// Host and port as they were sent; the port is 0 where there is none.
fn authority(host: &[u8]) -> (&[u8], u16) {
    let split = memchr::memrchr(b':', host).filter(|_| !host.ends_with(b"]"));
    let port = split.and_then(|at| str::from_utf8(&host[at + 1..]).ok()?.parse().ok());
    match (split, port) {
        (Some(at), Some(port)) => (&host[..at], port),
        _ => (host, 0),
    }
}

/// What a client sent, as text, and not too much of it.
fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes)).into_owned()
}

fn version(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
    }
}

/// The methods that have names in traces (RFC 9110, 9; RFC 5789).
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Longest text of a client's, in bytes.
const LONGEST: usize = 2048;

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Bits of a span's flags: those of its `traceparent`, and whether its parent is another program's.
const SAMPLED: u32 = 1;
const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    #[test]
    fn a_span() {
        let exchange = Exchange {
            at: 1_790_000_000_123_456,
            took: 1_500,
            status: 502,
            outcome: Outcome::Serve,
            protocol: Protocol::Http2,
            secure: true,
            client: Some([192, 0, 2, 1].into()),
            site: "county/jyj",
            method: "GET",
            host: b"JYJ.old.example:8443",
            target: b"/mailbox/\xff?id=secret",
            platform: "new",
            cache: b"miss",
            user_agent: b"Mozilla/5.0",
            trace: "4bf92f3577b34da6a3ce929d0e0e4736",
            span: 0x00f0_67aa_0ba9_02b7,
            parent: 1,
            sampled: true,
            ..Exchange::default()
        };
        let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let number = |key: &str, value: &str| json!({ "key": key, "value": { "intValue": value } });
        let want = json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "spanId": "00f067aa0ba902b7",
            "parentSpanId": "0000000000000001",
            "flags": 0x301,
            "name": "GET",
            "kind": 2,
            "startTimeUnixNano": "1790000000123456000",
            "endTimeUnixNano": "1790000000124956000",
            "attributes": [
                text("http.request.method", "GET"),
                text("url.scheme", "https"),
                text("url.path", "/mailbox/\u{fffd}"),
                text("server.address", "jyj.old.example"),
                text("network.protocol.version", "2"),
                text("user_agent.original", "Mozilla/5.0"),
                text("waypost.site", "county/jyj"),
                text("waypost.outcome", "serve"),
                text("waypost.platform", "new"),
                text("waypost.cache", "miss"),
                text("error.type", "502"),
                number("http.response.status_code", "502"),
                number("server.port", "8443"),
            ],
            "status": { "code": 2 },
        });
        assert_eq!(of(&exchange), want);
        let begun = of(&Exchange { parent: 0, status: 0, method: "BREW", host: b"[::1]", ..exchange });
        assert_eq!(
            (&begun["parentSpanId"], &begun["flags"], &begun["name"]),
            (&Value::Null, &json!(1), &json!("HTTP"))
        );
        let attributes = begun["attributes"].as_array().unwrap();
        for attribute in [
            text("http.request.method", "_OTHER"),
            text("http.request.method_original", "BREW"),
            text("server.address", "[::1]"),
        ] {
            assert!(attributes.contains(&attribute), "{attribute}");
        }
        assert!(!begun.to_string().contains("status_code"));
    }
}
