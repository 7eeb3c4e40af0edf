//! Traces: what platforms are told of them, and what a collector gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;
use waypost::{
    config::{Gateway, TraceSettings},
    telemetry::TraceContext,
};

use crate::lanes::{Lane, Request};
use crate::platform::{Origin, Seen};
use crate::relay::{self, HOST};

/// The lanes that relay differently.
const LANES: &[Lane] = &[Lane::Fast, Lane::Session, Lane::Tls13, Lane::H2, Lane::H2c];

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNRECORDED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const STATE: (&str, &str) = ("tracestate", "vendor=opaque,other=1");

fn traced(gateway: Gateway, endpoint: Option<&Origin>, sample: u32) -> Gateway {
    let endpoint = endpoint.map(|collector| format!("{}/v1/traces", collector.url()));
    Gateway {
        traces: TraceSettings { endpoint, sample, service: "gateway".to_owned(), trust_clients: false },
        ..gateway
    }
}

/// The span that the platform was asked from.
fn context(seen: &Seen) -> TraceContext {
    let values = seen.values("traceparent");
    assert_eq!(values.len(), 1, "{}", seen.head);
    TraceContext::parse(values[0].as_bytes()).unwrap()
}

/// The spans that a collector was sent, by id.
fn spans(collector: &Origin) -> BTreeMap<String, Value> {
    let mut spans = BTreeMap::new();
    for seen in collector.all() {
        assert_eq!(seen.line(), "POST /v1/traces");
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "gateway");
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let id = span["spanId"].as_str().unwrap().to_owned();
            assert!(spans.insert(id, span.clone()).is_none(), "{span} is there twice");
        }
    }
    spans
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a str {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("{span} has no {key}"))["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap()
}

/// The traces that the access log names, by target.
fn logged(routes: &Path) -> BTreeMap<String, Option<String>> {
    let log = fs::read_to_string(routes.join(".logs/access.log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["target"].as_str().unwrap().to_owned(), line["trace"].as_str().map(str::to_owned))).collect()
}

#[test]
fn spans_of_the_gateway_stand_between_those_of_proxies_and_platforms() {
    for &lane in LANES {
        let (origin, collector) = (Origin::start(), Origin::start());
        let (routes, gateway) = relay::gateway(origin.address);
        let running = lane.start(traced(gateway, Some(&collector), 1_000_000));
        let mut client = lane.client(&running);
        let mut seen = Vec::new();
        for (target, method, headers) in [
            ("/r/new?q=secret", "GET", &[][..]),
            ("/r/posted", "POST", &[]),
            ("/r/continued", "GET", &[("traceparent", PARENT), STATE]),
            ("/r/continued/posted", "POST", &[("traceparent", PARENT), STATE]),
            ("/r/unrecorded", "GET", &[("traceparent", UNRECORDED), STATE]),
            ("/r/invalid", "GET", &[("traceparent", "00-1-2-01"), STATE]),
            ("/r/twice", "GET", &[("traceparent", PARENT), ("traceparent", PARENT), STATE]),
        ] {
            let body = if method == "POST" { &b"body"[..] } else { b"" };
            let got = client.ask(&Request { method, host: HOST, target: target.as_bytes(), headers, body });
            assert_eq!(got.status, 200, "{lane} {target}");
            seen.push((target, origin.next()));
        }
        assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        drop(client);
        running.stop();
        let mut spans = spans(&collector);
        let traces = logged(routes.path());
        assert_eq!(traces["/v"], None, "{lane}");
        let (parent, unrecorded) = (TraceContext::parse(PARENT.as_bytes()), TraceContext::parse(UNRECORDED.as_bytes()));
        let mut own = BTreeSet::new();
        for (target, seen) in seen {
            let context = context(&seen);
            let continued = [parent, unrecorded].into_iter().flatten().find(|one| one.trace_id == context.trace_id);
            assert_eq!(
                continued.is_some(),
                target.starts_with("/r/continued") || target == "/r/unrecorded",
                "{lane} {target}"
            );
            assert!(continued.is_none_or(|parent| parent.span_id != context.span_id), "{lane} {target}");
            let state = if continued.is_some() { vec![STATE.1] } else { vec![] };
            assert_eq!(seen.values(STATE.0), state, "{lane} {target}");
            assert_eq!(traces[target].as_deref(), Some(&*format!("{:032x}", context.trace_id)), "{lane}");
            assert!(own.insert(context.span_id), "{lane} {target}");
            let span = spans.remove(&format!("{:016x}", context.span_id));
            assert_eq!(
                (context.sampled, span.is_some()),
                (target != "/r/unrecorded", target != "/r/unrecorded"),
                "{lane}"
            );
            let Some(span) = span else { continue };
            assert_eq!(span["traceId"], format!("{:032x}", context.trace_id), "{lane}");
            let above = continued.map(|parent| format!("{:016x}", parent.span_id));
            assert_eq!(span["parentSpanId"].as_str(), above.as_deref(), "{lane} {target}");
            assert_eq!(attribute(&span, "url.path"), target.split('?').next().unwrap());
            assert_eq!(attribute(&span, "http.response.status_code"), "200");
            assert_eq!(attribute(&span, "server.address"), HOST);
            assert_eq!(attribute(&span, "waypost.site"), "a");
            assert_eq!(attribute(&span, "waypost.platform"), "new");
            assert_eq!(attribute(&span, "network.protocol.version"), if lane.is_h2() { "2" } else { "1.1" });
            assert_eq!(attribute(&span, "url.scheme"), if lane.is_tls() { "https" } else { "http" });
            assert!(!span.to_string().contains("secret") && !span.to_string().contains("127.0.0.1"), "{span}");
        }
        assert!(spans.is_empty(), "{lane}: {spans:?}");
    }
}

#[test]
fn strangers_are_not_believed() {
    let collector = Origin::start();
    for &lane in LANES {
        for trust_clients in [false, true] {
            let origin = Origin::start();
            let (_routes, gateway) = relay::gateway(origin.address);
            let mut gateway = traced(Gateway { trusted_proxies: Vec::new(), ..gateway }, Some(&collector), 0);
            gateway.traces.trust_clients = trust_clients;
            let running = lane.start(gateway);
            let mut client = lane.client(&running);
            for (method, target) in [("GET", b"/r/a"), ("POST", b"/r/b")] {
                let headers = &[("traceparent", PARENT), STATE];
                client.ask(&Request { method, headers, ..Request::get(HOST, target) });
                let seen = origin.next();
                let (context, parent) = (context(&seen), TraceContext::parse(PARENT.as_bytes()).unwrap());
                assert_eq!(context.trace_id == parent.trace_id, trust_clients, "{lane} {method}");
                assert_eq!(context.sampled, trust_clients, "{lane} {method}");
                assert_ne!(context.span_id, parent.span_id, "{lane} {method}");
                assert_eq!(seen.values(STATE.0).len(), usize::from(trust_clients), "{lane} {method}");
            }
            drop(client);
            running.stop();
            let sent = spans(&collector);
            assert_eq!(sent.len(), if trust_clients { 2 } else { 0 }, "{lane}: {sent:?}");
        }
    }
}

#[test]
fn without_a_collector_no_trace_is_begun_and_those_of_others_pass_through() {
    for &lane in LANES {
        for is_trusted in [false, true] {
            let origin = Origin::start();
            let (routes, gateway) = relay::gateway(origin.address);
            let trusted_proxies = if is_trusted { gateway.trusted_proxies.clone() } else { Vec::new() };
            let running = lane.start(traced(Gateway { trusted_proxies, ..gateway }, None, 1_000_000));
            let mut client = lane.client(&running);
            for (method, target) in [("GET", b"/r/a"), ("POST", b"/r/b")] {
                client.ask(&Request { method, ..Request::get(HOST, target) });
                let seen = origin.next();
                assert_eq!(seen.values("traceparent").len(), 0, "{lane} {method}");
                let headers = &[("traceparent", PARENT), STATE];
                let target = [&target[..], b"/told"].concat();
                client.ask(&Request { method, headers, ..Request::get(HOST, &target) });
                let seen = origin.next();
                let want = if is_trusted { (vec![PARENT], vec![STATE.1]) } else { (vec![], vec![]) };
                assert_eq!((seen.values("traceparent"), seen.values(STATE.0)), want, "{lane} {method}");
            }
            drop(client);
            running.stop();
            let traces = logged(routes.path());
            let id = is_trusted.then(|| PARENT[3..35].to_owned());
            assert_eq!((&traces["/r/a"], &traces["/r/a/told"], &traces["/r/b/told"]), (&None, &id, &id), "{lane}");
        }
    }
}
