//! Methods.

use super::{Case, HOST, gateway, metric, over_every_lane, site};
use crate::{lanes::Request, program::waypost};

const fn case<'a>(method: &'a str, target: &'a [u8], status: u16, headers: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { request: Request { method, host: HOST, target, headers: &[], body: b"" }, status, headers }
}

const ALLOW: &[(&str, &str)] = &[("allow", "GET, HEAD, POST, OPTIONS"), ("cache-control", "no-store")];

#[test]
fn those_that_nobody_needs_are_405() {
    let routes = site("");
    over_every_lane(
        &gateway(routes.path(), ""),
        &[
            case("GET", b"/a", 301, &[]),
            case("OPTIONS", b"/a", 308, &[]),
            case("PUT", b"/a", 405, ALLOW),
            case("DELETE", b"/app/1", 405, ALLOW),
            case("PROPFIND", b"/", 405, ALLOW),
            case("BREW", b"/", 405, ALLOW),
            case("HEAD", b"/a", 301, &[]),
        ],
        |lane, running| {
            let refused = metric(running, r#"waypost_site_guard_refused_total{reason="method",site="old"}"#);
            let denied = metric(running, r#"waypost_site_requests_total{outcome="denied",site="old"}"#);
            assert_eq!((refused, denied), (4, 4), "{lane}");
        },
    );
}

#[test]
fn the_nearest_file_says_which() {
    let routes = site("[guard]\nmethods = [\"GET\", \"PUT\"]\n");
    std::fs::write(
        routes.path().join("other.toml"),
        "name = \"Other\"\nhosts = [\"other.example\"]\nhome = \"https://www.new.example/\"\n",
    )
    .unwrap();
    let other = |method| Request { method, host: "other.example", target: b"/", headers: &[], body: b"" };
    over_every_lane(
        &gateway(routes.path(), "[guard]\nmethods = [\"GET\", \"DELETE\"]\n"),
        &[
            case("PUT", b"/a", 308, &[]),
            case("POST", b"/a", 405, &[("allow", "GET, PUT")]),
            Case { request: other("DELETE"), status: 308, headers: &[] },
            Case { request: other("POST"), status: 405, headers: &[("allow", "GET, DELETE")] },
        ],
        |_, _| {},
    );
}

#[test]
fn explain_asks_the_guard() {
    let routes = site("");
    let explain = |more: &[&str]| {
        let mut args = vec!["explain", "http://old.example/a", "--routes", routes.path().to_str().unwrap()];
        args.extend(more);
        let output = waypost(routes.path(), &args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = explain(&["--from", "203.0.113.9", "--method", "PUT", "--header", "User-Agent: x"]);
    assert!(told.contains("405 denied") && told.contains("the site takes GET, HEAD, POST, OPTIONS"), "{told}");
    let told = explain(&["--from", "203.0.113.9"]);
    assert!(told.contains("admitted") && told.contains("301 redirect"), "{told}");
}
