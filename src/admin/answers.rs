//! What the admin address answers, without any type of Pingora.

use std::fmt::Write;

use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::audit::{AuditLog, Author, Change, ChangeError};
use crate::answer::Live;
use crate::cache::{Cache, KeyParts};
use crate::monitor::{Monitor, Status};
use crate::telemetry::{Metrics, RouteCount};
use crate::url::split_absolute;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const CSV: &str = "text/csv; charset=utf-8; header=present";

/// What Prometheus calls its text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const ENDPOINTS: &str = "Not found. This is the admin address of a Waypost gateway:\n\
    /healthz      whether the process answers\n\
    /readyz       whether the routes are live, and what is wrong with them (?json for programs)\n\
    /metrics      for Prometheus: the node\n\
    /metrics/sites  and each site\n\
    /routes       ?site=ID: how often each rule and mapping of a site has answered (&json for programs)\n\
    /purge        POST with ?url=, ?host=, ?tag= or ?all: forgets cached answers\n";

/// An answer of the admin address.
#[derive(Debug)]
pub struct AdminAnswer {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer to a request.
pub fn respond(path: &str, query: Option<&str>, accept: &str, monitor: &Monitor, metrics: &Metrics) -> AdminAnswer {
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let status = monitor.status();
            let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            if wants_json(query, accept) { json(code, &status) } else { text(code, &readable(&status)) }
        }
        "/metrics" => match metrics.text() {
            Ok(body) => AdminAnswer { status: StatusCode::OK, content_type: METRICS, body },
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        "/metrics/sites" => {
            AdminAnswer { status: StatusCode::OK, content_type: METRICS, body: metrics.sites_text().into_bytes() }
        }
        _ => text(StatusCode::NOT_FOUND, ENDPOINTS),
    }
}

/// Whether somebody asks for JSON.
pub(super) fn wants_json(query: Option<&str>, accept: &str) -> bool {
    accept.contains(JSON)
        || query.is_some_and(|query| query.split('&').any(|part| part == "json" || part.starts_with("json=")))
}

/// How often each rule and mapping of the site that a query names (`site=`, percent-encoded) has answered. Takes its time
/// for a large table.
pub fn routes(live: &Live, query: &str, as_json: bool) -> AdminAnswer {
    let wanted = query.split('&').find_map(|part| part.strip_prefix("site="));
    let Some(wanted) = wanted.map(percent_decoded) else {
        return text(StatusCode::BAD_REQUEST, "say which: /routes?site=county/jyj\n");
    };
    let sites = live.snapshot.sites();
    let Some(number) = sites.iter().position(|site| site.id.as_bytes() == wanted) else {
        let told = format!("no site has this id: {}\n", wanted.escape_ascii());
        return text(StatusCode::NOT_FOUND, &told);
    };
    let counts = live.routes[number].counts();
    if as_json {
        return json(StatusCode::OK, &counts);
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = "file,line,hits,route\n".to_owned();
    for RouteCount { file, line, route, hits } in &counts {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{},{line},{hits},{}", quoted(file), quoted(route));
    }
    AdminAnswer { status: StatusCode::OK, content_type: CSV, body: out.into_bytes() }
}

/// Forgets cached answers, as a query says (`url=`, `host=`, `tag=`, percent-encoded, or `all`), and writes it into the
/// audit log. Blocks.
pub fn purge(query: &str, author: &Author, audit: &AuditLog, cache: &Cache) -> AdminAnswer {
    let (what, value) = query.split_once('=').unwrap_or((query, ""));
    let value = percent_decoded(value);
    let bad = |why: &str| text(StatusCode::BAD_REQUEST, &format!("{why}\n"));
    let purge: Box<dyn Fn() -> bool + '_> = match (what, &value[..]) {
        ("all", _) => Box::new(|| {
            cache.purge_all();
            true
        }),
        ("url" | "host" | "tag", b"") => return bad("say which: /purge?url=https://old.example/page"),
        ("url", url) => {
            let Some(url) = split_absolute(url) else { return bad("a URL begins with http:// or https://") };
            let target = if url.target.is_empty() { b"/" } else { url.target };
            Box::new(move || cache.purge_url(&KeyParts { secure: url.secure, host: url.authority, target }))
        }
        ("host", host) => Box::new(|| {
            cache.purge_host(host);
            true
        }),
        ("tag", tag) => Box::new(|| {
            cache.purge_tag(tag);
            true
        }),
        _ => return bad("what is to be purged: ?url=, ?host=, ?tag= or ?all"),
    };
    let stored = || json!({ "entries": cache.size().1 });
    let change = Change { what: "purge", on: query.to_owned(), before: stored() };
    changed(audit.change(author, change, || Ok::<_, String>((purge(), stored()))).map(|found| match found {
        true => "purged\n",
        false => "purged: nothing of it was stored\n",
    }))
}

/// The answer to a change.
fn changed(outcome: Result<&str, ChangeError>) -> AdminAnswer {
    match outcome {
        Ok(told) => text(StatusCode::OK, told),
        Err(error) => {
            log::error!("admin: {error}");
            let status = match error {
                ChangeError::NotLogged(_) => StatusCode::SERVICE_UNAVAILABLE,
                ChangeError::Failed(_) | ChangeError::NotConfirmed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text(status, &format!("{error}\n"))
        }
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let mut ahead = bytes.clone();
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    out
}

pub(super) fn text(status: StatusCode, body: &str) -> AdminAnswer {
    AdminAnswer { status, content_type: TEXT, body: body.as_bytes().to_vec() }
}

fn json(status: StatusCode, body: &impl Serialize) -> AdminAnswer {
    match serde_json::to_vec_pretty(body) {
        Ok(mut body) => {
            body.push(b'\n');
            AdminAnswer { status, content_type: JSON, body }
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn readable(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let word = match status {
        Status { stopping: true, .. } => "stopping",
        Status { ready: true, .. } => "ready",
        _ => "not ready: the routes are not loaded yet",
    };
    let _ = writeln!(out, "{word}");
    let _ = writeln!(out, "{} sites, {} hosts, {} mappings", status.sites, status.hosts, status.mappings);
    if let Some(last) = &status.last_reload {
        let _ = write!(out, "last reload: {} at {:.0}, {:.0} ms", last.result, last.at, last.seconds * 1000.0);
        let _ = writeln!(out, "{}", last.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default());
    }
    if status.errors + status.warnings > 0 {
        let _ = writeln!(out, "{} errors, {} warnings", status.errors, status.warnings);
    }
    if let Some(certificates) = &status.certificates {
        let _ = writeln!(out, "{} certificates for {} names", certificates.live, certificates.names);
        if let Some(error) = &certificates.error {
            let _ = writeln!(out, "the certificates can't be read, so they stay as they were: {error}");
        }
        for diagnostic in &certificates.diagnostics {
            let _ = write!(out, "\n{diagnostic}");
        }
    }
    for faulty in &status.faulty_files {
        let _ = writeln!(out, "\nfaulty: {} (it counts as it last was good)", faulty.file);
        for diagnostic in &faulty.diagnostics {
            let _ = write!(out, "{diagnostic}");
        }
    }
    for faulty in &status.faulty {
        let _ = writeln!(out, "\nfaulty: {} (served from its last good state)", faulty.site);
        for diagnostic in &faulty.diagnostics {
            let _ = write!(out, "{diagnostic}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{LoadReport, Snapshot};
    use crate::telemetry::ReloadResult;
    use crate::tls::CertReport;

    #[test]
    fn every_endpoint_of_the_list_answers() {
        let (monitor, metrics) = (Monitor::default(), Metrics::new().unwrap());
        let get = |path, query, accept| {
            let answer = respond(path, query, accept, &monitor, &metrics);
            (answer.status.as_u16(), answer.content_type, String::from_utf8(answer.body).unwrap())
        };
        assert_eq!(get("/healthz", None, "*/*"), (200, TEXT, "ok\n".to_owned()));
        assert_eq!(get("/readyz", None, "*/*").0, 503);
        assert_eq!(get("/readyz", Some("json"), "*/*").0, 503);
        let report = LoadReport { faulty: vec!["a/b".to_owned()], ..LoadReport::default() };
        monitor.loaded(&Snapshot::default(), &report, ReloadResult::Partial);
        let (status, _, body) = get("/readyz", None, "*/*");
        assert!(status == 200 && body.starts_with("ready\n") && body.contains("faulty: a/b"), "{body}");
        monitor.certificates_failed("certs: Permission denied");
        let (status, _, body) = get("/readyz", None, "*/*");
        assert!(status == 200 && body.contains("can't be read, so they stay as they were: certs: Perm"), "{body}");
        monitor.certificates(&CertReport { certificates: 2, names: 3, ..CertReport::default() });
        monitor.loaded(&Snapshot::default(), &report, ReloadResult::Partial);
        let body = get("/readyz", None, "*/*").2;
        assert!(body.contains("2 certificates for 3 names\n") && !body.contains("can't be read"), "{body}");
        for (query, accept) in [(Some("json"), "*/*"), (None, "application/json")] {
            let (status, content_type, body) = get("/readyz", query, accept);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, content_type, &body["faulty"][0]["site"]), (200, JSON, &"a/b".into()));
            assert_eq!(body["last-reload"]["result"], "partial");
        }
        assert_eq!(get("/metrics", None, "").1, METRICS);
        let (status, _, list) = get("/", None, "");
        assert!(
            status == 404
                && ["/healthz", "/readyz", "/metrics", "/metrics/sites"].iter().all(|path| list.contains(path))
        );
    }
}
