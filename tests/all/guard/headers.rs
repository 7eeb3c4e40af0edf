//! Header fields by which browsers are careful with pages.

use std::fs;

use waypost::config::Platform;

use super::{Case, HOST, gateway, over_every_lane, site};
use crate::{
    cached::Scripted,
    lanes::{Lane, Request},
};

const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// A page of the gateway's own.
fn page<'a>(headers: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { request: Request::get(HOST, b"/gone"), status: 410, headers }
}

fn routes(headers: &str) -> tempfile::TempDir {
    let routes = site(headers);
    let file = routes.path().join("old.toml");
    let rule = "[[rule]]\nfrom = \"/gone\"\ngone = true\nfirst = true\n";
    fs::write(&file, fs::read_to_string(&file).unwrap() + rule).unwrap();
    routes
}

#[test]
fn pages_are_protected_as_the_nearest_file_says() {
    let usual = format!("{POLICY}; frame-ancestors 'self'");
    let denied = format!("{POLICY}; frame-ancestors 'none'");
    let both = [("referrer-policy", "strict-origin-when-cross-origin"), ("x-content-type-options", "nosniff")];
    for (settings, headers) in [
        (
            "",
            vec![
                ("content-security-policy", &*usual),
                ("x-frame-options", "SAMEORIGIN"),
                ("permissions-policy", PERMISSIONS),
                both[0],
                both[1],
                ("server", ""),
            ],
        ),
        (
            "[headers]\nframes = \"deny\"\nreferrer-policy = \"no-referrer\"\n",
            vec![
                ("content-security-policy", &*denied),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("permissions-policy", PERMISSIONS),
            ],
        ),
        (
            "[headers]\nframes = \"allow\"\npermissions-policy = \"\"\n",
            vec![("content-security-policy", POLICY), ("x-frame-options", ""), ("permissions-policy", ""), both[0]],
        ),
    ] {
        let routes = routes(settings);
        if !settings.is_empty() {
            fs::write(routes.path().join("defaults.toml"), "[headers]\nframes = \"deny\"\n").unwrap();
        }
        let redirect = Case {
            request: Request::get(HOST, b"/a"),
            status: 301,
            headers: &[("x-frame-options", ""), ("content-length", "0")],
        };
        over_every_lane(&gateway(routes.path(), ""), &[page(&headers), redirect], |_, _| {});
    }
}

#[test]
fn what_platforms_say_themselves_stands() {
    let platform = Scripted::start(|path, _| {
        let own = match path {
            "/app/own" => "X-Frame-Options: DENY\r\nReferrer-Policy: origin\r\nPermissions-Policy: camera=(self)\r\n",
            "/app/csp" => "Content-Security-Policy: frame-ancestors https://a.example\r\n",
            _ => "Server: Old/1.0\r\nX-Powered-By: ASP\r\n",
        };
        format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 2\r\n\r\nok").into_bytes()
    });
    let names = [
        "x-frame-options",
        "referrer-policy",
        "permissions-policy",
        "x-content-type-options",
        "server",
        "x-powered-by",
    ];
    for (setting, path, want) in [
        ("", "/app/x", ["", "", "", "", "", ""]),
        ("", "/app/own", ["DENY", "origin", "camera=(self)", "", "", ""]),
        ("true", "/app/x", ["SAMEORIGIN", "strict-origin-when-cross-origin", PERMISSIONS, "nosniff", "", ""]),
        ("true", "/app/own", ["DENY", "origin", "camera=(self)", "nosniff", "", ""]),
        ("true", "/app/csp", ["", "strict-origin-when-cross-origin", PERMISSIONS, "nosniff", "", ""]),
    ] {
        let settings = if setting.is_empty() { "" } else { "[headers]\nprotect-relayed = true\n" };
        let routes = routes(settings);
        let mut gateway = gateway(routes.path(), "");
        gateway.platforms.insert("new".to_owned(), Platform::of([&*format!("http://{}", platform.address)]).unwrap());
        for &lane in Lane::ALL {
            let running = lane.start(gateway.clone());
            let mut client = lane.client(&running);
            for method in ["GET", "POST"] {
                let request = Request { method, host: HOST, target: path.as_bytes(), headers: &[], body: b"" };
                let answer = client.ask(&request);
                assert_eq!(names.map(|name| answer.header(name)), want, "{lane}: {method} {path} {setting:?}");
            }
            drop(client);
            running.stop();
        }
    }
}
