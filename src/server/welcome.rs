//! What is printed at start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sockets::Sockets;
use crate::config::Gateway;
use crate::door::listen::{Kind, Listener};
use crate::routing::{LoadReport, Snapshot};

/// What a person wants to know: the version, each address, what is served, and how to try it.
pub(super) fn welcome(gateway: &Gateway, sockets: &Sockets, snapshot: &Snapshot, report: &LoadReport) -> String {
    let mut out = format!("waypost {}\n", env!("CARGO_PKG_VERSION"));
    for listener in &sockets.public {
        let scheme = if listener.origin.kind == Kind::Http { "http" } else { "https" };
        let proxy = if listener.origin.proxy_protocol { " (PROXY protocol)" } else { "" };
        out += &format!("{scheme:6} {}{proxy}\n", url(scheme, listener));
    }
    let scheme = if sockets.admin.origin.kind == Kind::Http { "http" } else { "https" };
    out += &match sockets.admin.inet() {
        Some(address) => format!("admin  {scheme}://{address}/readyz and /metrics\n"),
        None => format!("admin  {}: /readyz and /metrics\n", sockets.admin.origin.address),
    };
    out += &format!(
        "routes {}: {} sites, {} hosts, {} mappings, {} rules, in {} ms\n",
        gateway.routes.display(),
        snapshot.sites().len(),
        snapshot.host_count(),
        snapshot.mapping_count(),
        snapshot.rule_count(),
        report.elapsed.as_millis()
    );
    if !report.faulty.is_empty() {
        out += &format!("faulty {} of them have errors: run `waypost check`\n", report.faulty.len());
    }
    let first = |kind| {
        let direct = sockets.public.iter().filter(|listener| !listener.origin.proxy_protocol);
        direct.filter(|listener| listener.origin.kind == kind).find_map(Listener::inet).map(local)
    };
    let examples = examples(snapshot, first(Kind::Http), first(Kind::Https));
    if !examples.is_empty() {
        out += "\nTry:\n";
        examples.iter().for_each(|line| out += &format!("  {line}\n"));
    }
    out
}

fn url(scheme: &str, listener: &Listener) -> String {
    match listener.inet() {
        Some(address) => format!("{scheme}://{address}"),
        None => listener.origin.address.clone(),
    }
}

/// What is bound to every address is tried at the one that is always there.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip == Ipv6Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A few commands that show what the first sites do.
fn examples(snapshot: &Snapshot, http: Option<SocketAddr>, https: Option<SocketAddr>) -> Vec<String> {
    let sites = snapshot.sites().iter().filter_map(|site| {
        let host = site.main_host()?;
        let charset = site.canonicalizer.settings().charset;
        let mapped = site.mappings.iter().next().map(|(key, ..)| crate::url::to_wire(key, charset));
        Some((host, mapped))
    });
    // Sites with mappings show more than a front page.
    let mut sites: Vec<_> = sites.take(100).collect();
    sites.sort_by_key(|(_, mapped)| mapped.is_none());
    let mut lines = Vec::new();
    for (number, (host, mapped)) in sites.into_iter().take(3).enumerate() {
        let path = mapped.filter(|path| !path.contains(['\'', '!'])).unwrap_or_else(|| "/".to_owned());
        lines.extend(http.map(|base| format!("curl -i -H 'Host: {host}' 'http://{base}{path}'")));
        if let Some((https, port)) = https.map(|base| (base, base.port())).filter(|_| number == 0) {
            // The host has to be in the handshake too. (-k: the certificate may be one made in memory.)
            let to = format!("{host}:{port}:{}", https.ip());
            lines.push(format!("curl -ik --resolve '{to}' 'https://{host}:{port}{path}'"));
        }
    }
    lines
}
