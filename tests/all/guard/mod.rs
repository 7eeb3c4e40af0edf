//! What the guard admits and refuses, over every lane.

use std::{fs, path::Path};

use waypost::{config::Gateway, server::Running};

use crate::{
    lanes::{Lane, Request},
    serve,
};

mod addresses;
mod countries;
mod flood;
mod headers;
mod hygiene;
mod methods;
mod mmdb;
mod rates;
mod rules;
mod targets;
#[cfg(feature = "waf")]
mod waf;

/// A request and what must come of it.
pub struct Case<'a> {
    pub request: Request<'a>,
    pub status: u16,
    /// Header fields that the answer must have.
    pub headers: &'a [(&'a str, &'a str)],
}

pub const HOST: &str = "old.example";

/// A site that redirects every URL and hands `/app/` on, with the settings of `guard` in its file.
pub fn site(guard: &str) -> tempfile::TempDir {
    let routes = tempfile::tempdir().unwrap();
    let site = format!(
        "name = \"Old\"\nhosts = [\"{HOST}\"]\nhome = \"https://www.new.example/\"\n\
        [[rule]]\nfrom = \"/app/{{*rest}}\"\nserve = \"new\"\n\
        [[rule]]\nfrom = \"/{{*rest}}\"\nto = \"https://www.new.example/{{rest}}\"\n{guard}"
    );
    fs::write(routes.path().join("old.toml"), site).unwrap();
    routes
}

/// The settings of [`serve::gateway`], with `text` as its `gateway.toml`.
pub fn gateway(routes: &Path, text: &str) -> Gateway {
    let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), routes);
    assert!(faults.is_empty(), "{faults:?}");
    let base = serve::gateway(routes);
    Gateway {
        platforms: base.platforms,
        routes: base.routes,
        http: base.http,
        admin: base.admin,
        watch: false,
        limits: base.limits,
        access_log: base.access_log,
        hits: base.hits,
        ..gateway
    }
}

/// As [`gateway`], and nobody is trusted: a client on this machine is one like others.
pub fn distrusting(routes: &Path, text: &str) -> Gateway {
    Gateway { trusted_proxies: Vec::new(), ..gateway(routes, text) }
}

/// Sends each case over every lane; each lane has a gateway of its own, with counters that begin at none.
pub fn over_every_lane(gateway: &Gateway, cases: &[Case<'_>], and_then: impl Fn(Lane, &Running)) {
    let mut faults = Vec::new();
    for &lane in Lane::ALL {
        let running = lane.start(gateway.clone());
        let mut client = lane.client(&running);
        for Case { request, status, headers } in cases {
            if lane.target(request.host, request.target).is_none() {
                continue;
            }
            let answer = client.ask(request);
            let told = format!("{lane}: {} {} {}", request.method, request.host, request.target.escape_ascii());
            if answer.status != *status {
                faults.push(format!("{told}: {}, not {status}", answer.status));
            }
            for (name, value) in *headers {
                if answer.header(name) != *value {
                    faults.push(format!("{told}: {name}: {:?}, not {value:?}", answer.header(name)));
                }
            }
        }
        // A connection that nobody reads would have to be waited for.
        drop(client);
        and_then(lane, &running);
        running.stop();
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The sum of the series that have these labels.
pub fn metric(running: &Running, series: &str) -> u64 {
    serve::metric(running, series) as u64
}
