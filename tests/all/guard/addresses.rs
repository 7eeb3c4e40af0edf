//! Addresses and countries: who is let in, by lists in settings and in files; what goes live by itself.

use std::{fs, path::Path};

use serde_json::Value;
use waypost::{
    config::{Gateway, Platform},
    server::{self, Running},
};

use super::{Case, HOST, countries, gateway, metric, mmdb, over_every_lane, site};
use crate::{
    client::{Conn, head},
    lanes::{Lane, Request},
    platform::Origin,
    program::{Program, waypost},
    serve::until,
};

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request that the trusted proxy on this machine says came from elsewhere.
fn case<'a>(host: &'a str, target: &'a [u8], headers: Fields<'a>, status: u16) -> Case<'a> {
    let request = Request { method: "GET", host, target, headers, body: b"" };
    let headers: Fields<'_> = if status == 403 { &[("cache-control", "no-store")] } else { &[] };
    Case { request, status, headers }
}

/// Renamed into place, as those who update such files do.
fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path.with_extension("new"), bytes).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

fn other(routes: &Path, guard: &str) {
    let site = "name = \"Other\"\nhosts = [\"other.example\"]\nhome = \"https://www.new.example/\"\n";
    replace(&routes.join("other.toml"), format!("{site}{guard}"));
}

/// The status of a request from somewhere.
fn from(running: &Running, host: &str, client: &str) -> u16 {
    let raw = head("GET", host, b"/", &[("X-Forwarded-For", client)], b"");
    Conn::new(running.http[0]).send(&raw, false).unwrap().status
}

fn ready(running: &Running) -> Value {
    serde_json::from_str(&Conn::new(running.admin).get("localhost", "/readyz?json").text()).unwrap()
}

#[test]
fn the_lists_say_who_is_let_in() {
    // Deny wins; an allow list refuses all others; nearer files win key by key.
    let routes = site("[guard]\nallow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\nallow-files = [\"lists/allow.txt\"]\n");
    fs::create_dir(routes.path().join("lists")).unwrap();
    fs::write(routes.path().join("lists/allow.txt"), "198.51.100.0/24 # the ministry\n").unwrap();
    fs::write(routes.path().join("deny.txt"), "198.51.100.13\n2001:db8:bad::/48\n").unwrap();
    other(routes.path(), "[guard]\ndeny = []\n");
    over_every_lane(
        &gateway(routes.path(), "[guard]\ndeny = [\"192.0.2.66\", \"203.0.113.0/24\"]\ndeny-files = [\"deny.txt\"]\n"),
        &[
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.1")], 301),
            case(HOST, b"/", &[("x-forwarded-for", "::ffff:192.0.2.1")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.66")], 403),
            case(HOST, b"/", &[("X-Forwarded-For", "198.51.100.1")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "198.51.100.13")], 403),
            case(HOST, b"/", &[("X-Forwarded-For", "198.51.101.1")], 403),
            case(HOST, b"/", &[("X-Forwarded-For", "[2001:db8::1]:4711")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "2001:db8:bad::1")], 403),
            // Before the platform is asked, which isn't there.
            case(HOST, b"/app/1", &[("X-Forwarded-For", "203.0.113.1")], 403),
            case(HOST, b"/app/1", &[("X-Forwarded-For", "192.0.2.1")], 503),
            // The first from the right that is no proxy, over all lines.
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.1, 203.0.113.1")], 403),
            case(HOST, b"/", &[("X-Forwarded-For", "203.0.113.1, 192.0.2.1, 127.0.0.9")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "192.0.2.1")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "203.0.113.1, 127.0.0.9")], 403),
            // Nobody but the proxy itself is known, which is on no list.
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.1, unknown")], 403),
            case(HOST, b"/", &[], 403),
            // Who allows nobody in particular takes all but those that are denied.
            case("other.example", b"/", &[("X-Forwarded-For", "203.0.113.1")], 301),
            case("other.example", b"/", &[("X-Forwarded-For", "198.51.100.13")], 403),
            case("other.example", b"/", &[], 301),
            // Hosts that nobody has are gateway.toml's.
            case("unknown.example", b"/", &[("X-Forwarded-For", "203.0.113.1")], 403),
            case("unknown.example", b"/", &[("X-Forwarded-For", "192.0.2.1")], 404),
        ],
        |lane, running| {
            let refused = |site| {
                metric(running, &format!("waypost_site_guard_refused_total{{reason=\"address\",site=\"{site}\"}}"))
            };
            assert_eq!((refused("old"), refused("other")), (9, 1), "{lane}");
        },
    );
}

#[test]
fn the_database_says_which_country() {
    let routes = site("[guard]\nallow-countries = [\"CN\", \"hk\"]\nallow = [\"127.0.0.0/8\"]\n");
    other(routes.path(), "[guard]\ndeny-countries = [\"FR\"]\n");
    fs::write(routes.path().join("geo.mmdb"), countries::geo()).unwrap();
    over_every_lane(
        &gateway(routes.path(), "[guard]\ncountries = \"geo.mmdb\"\n"),
        &[
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.1")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "192.0.2.200")], 301),
            case(HOST, b"/", &[("X-Forwarded-For", "2001:db8::1")], 403),
            case(HOST, b"/", &[("X-Forwarded-For", "198.51.100.8")], 403),
            case(HOST, b"/", &[], 301),
            case("other.example", b"/", &[("X-Forwarded-For", "2001:db8::1")], 403),
            case("other.example", b"/", &[("X-Forwarded-For", "198.51.100.8")], 301),
        ],
        |lane, running| {
            let refused = |reason| {
                metric(running, &format!("waypost_site_guard_refused_total{{reason=\"{reason}\",site=\"old\"}}"))
            };
            assert_eq!((refused("country"), refused("address")), (1, 1), "{lane}");
        },
    );
}

#[test]
fn lists_and_databases_go_live_when_they_change() {
    let routes = site("[guard]\ndeny-files = [\"deny.txt\"]\n");
    let deny = routes.path().join("deny.txt");
    replace(&deny, "192.0.2.1\n");
    other(routes.path(), "[guard]\ndeny-countries = [\"FR\"]\ndeny-files = [\"deny.txt\"]\n");
    let geo = routes.path().join("geo.mmdb");
    replace(&geo, countries::geo());
    let running = server::start(gateway(routes.path(), "[guard]\ncountries = \"geo.mmdb\"\n")).unwrap();
    let reload = || running.reloader.reload_now().unwrap();
    let statuses = || {
        [(HOST, "192.0.2.1"), ("other.example", "192.0.2.1"), (HOST, "192.0.2.2"), ("other.example", "2001:db8::1")]
            .map(|(host, client)| from(&running, host, client))
    };
    assert_eq!(statuses(), [403, 403, 301, 403]);

    replace(&deny, "192.0.2.2\n");
    let report = reload();
    assert_eq!((&*report.reread, report.rebuilt.len(), report.errors()), (&["deny.txt".to_owned()][..], 0, 0));
    assert_eq!(statuses(), [301, 301, 403, 403]);

    replace(&deny, "192.0.2.1\nnonsense\n");
    replace(&geo, "<html>");
    let report = reload();
    assert_eq!((report.reread.len(), report.errors()), (0, 2));
    assert_eq!(statuses(), [301, 301, 403, 403]);
    let status = ready(&running);
    assert_eq!(
        (&status["ready"], &status["errors"], &status["faulty"]),
        (&true.into(), &2.into(), &Value::Array(vec![]))
    );
    let files = status["faulty-files"].as_array().unwrap();
    let faulty = |name: &str| files.iter().find(|file| file["file"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!((files.len(), &faulty("deny.txt")["diagnostics"][0]["line"]), (2, &2.into()));
    assert_eq!(faulty("geo.mmdb")["diagnostics"][0]["code"], "bad-database");
    assert_eq!(status["last-reload"]["result"], "partial");

    replace(&deny, "");
    replace(&geo, mmdb::database("GeoLite2-Country", &[("192.0.2.0/24", mmdb::country("FR"))]));
    assert_eq!((reload().errors(), statuses()), (0, [301, 403, 301, 301]));
    assert!(ready(&running).get("faulty-files").is_none());
    // A site that names another list.
    replace(&routes.path().join("other.txt"), "192.0.2.0/24\n");
    other(routes.path(), "[guard]\ndeny-files = [\"other.txt\"]\n");
    reload();
    assert_eq!(statuses(), [301, 403, 301, 301]);
    replace(&routes.path().join("other.txt"), "2001:db8::1\n");
    assert_eq!(reload().reread, ["other.txt"]);
    assert_eq!(statuses(), [301, 301, 301, 403]);
    running.stop();
}

#[test]
fn a_database_that_cannot_be_used_ends_the_start() {
    let routes = site("");
    fs::write(routes.path().join("geo.mmdb"), "<html>").unwrap();
    let started = server::start(gateway(routes.path(), "[guard]\ncountries = \"geo.mmdb\"\n"));
    let error = started.err().unwrap().to_string();
    assert!(error.contains("geo.mmdb: this is no good MaxMind database: "), "{error}");
}

#[test]
fn the_guard_of_gateway_toml_goes_live_and_the_rest_waits() {
    let routes = site("");
    let file = routes.path().join("gateway.conf");
    fs::write(&file, "[guard]\ndeny = [\"192.0.2.1\"]\n").unwrap();
    let base = gateway(routes.path(), "[guard]\ndeny = [\"192.0.2.1\"]\n");
    let running = server::start(Gateway { file: Some(file.clone()), ..base }).unwrap();
    let statuses = || ["192.0.2.1", "192.0.2.2"].map(|client| from(&running, HOST, client));
    let reload = || running.reloader.reload_now().unwrap();
    // The settings are those that the process was started with, until the file says something else.
    assert!(reload().reread.is_empty());
    assert_eq!(statuses(), [403, 301]);

    replace(&file, "[guard]\ndeny = [\"192.0.2.2\"]\n[cache]\nsize = 1\n");
    assert_eq!(reload().reread, [file.to_string_lossy()]);
    assert_eq!(statuses(), [301, 403]);

    replace(&file, "[guard]\ndeny = [\"nonsense\"]\n");
    let report = reload();
    assert_eq!((report.errors(), report.reread.len(), report.faulty_files.len()), (1, 0, 1));
    assert_eq!(statuses(), [301, 403]);
    let text = Conn::new(running.admin).get("localhost", "/readyz").text();
    assert!(text.contains("gateway.conf (it counts as it last was good)"), "{text}");
    let status = ready(&running);
    assert_eq!(status["faulty-files"][0]["diagnostics"][0]["message"], "`nonsense` is no IP address");

    replace(&file, "");
    assert_eq!((reload().errors(), statuses()), (0, [301, 301]));
    // Where redirects may go belongs to it, and it is the loader that judges.
    replace(&file, "[guard]\nallowed-targets = [\"elsewhere.example\"]\n");
    assert!(reload().diagnostics.iter().any(|fault| fault.code == "target-not-allowed"));
    replace(&file, "");
    assert_eq!(reload().errors(), 0);
    running.stop();
}

#[test]
fn what_the_guard_reads_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("routes")).unwrap();
    let text = "name = \"Old\"\nhosts = [\"old.example\"]\nhome = \"https://www.new.example/\"\n";
    fs::write(at("routes/old.toml"), text).unwrap();
    fs::write(at("deny.txt"), "192.0.2.1\n").unwrap();
    let settings = |guard: &str, more: &str| {
        let listen =
            "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[process]\ndirectory = \"control\"\n";
        replace(&at("gateway.toml"), format!("{listen}[reload]\ndebounce = 20\n[guard]\n{guard}{more}"));
    };
    settings("deny-files = [\"deny.txt\"]\n", "");
    let mut program = Program::start(dir.path());
    let status = |client: &str| {
        let raw = head("GET", HOST, b"/", &[("X-Forwarded-For", client)], b"");
        Conn::new(program.http[0]).send(&raw, false).unwrap().status
    };
    assert_eq!((status("192.0.2.1"), status("192.0.2.2")), (403, 301));
    replace(&at("deny.txt"), "192.0.2.2\n");
    until("the new list", || (status("192.0.2.1"), status("192.0.2.2")) == (301, 403));
    settings("deny-files = [\"other.txt\"]\n", "[cache]\nsize = 1\n");
    program.wait_for("gateway.toml has changed: [cache] size after a restart or `waypost upgrade`");
    until("the new settings", || status("192.0.2.2") == 301);
    // The file that the new settings name is watched, even before it is there.
    fs::write(at("other.txt"), "192.0.2.1\n").unwrap();
    until("the other list", || status("192.0.2.1") == 403);
    program.signal("TERM");
    assert!(program.end().success());
}

#[test]
fn a_platform_is_told_of_no_client_that_nobody_vouches_for() {
    let origin = Origin::start();
    let routes = site("");
    let mut base = gateway(routes.path(), "");
    base.platforms.insert("new".to_owned(), Platform::of([&*format!("http://{}", origin.address)]).unwrap());
    for (trusted, headers, want) in [
        ("127.0.0.0/8", &[("X-Forwarded-For", "203.0.113.9, 192.0.2.1")][..], "192.0.2.1, 127.0.0.1"),
        (
            "127.0.0.0/8",
            &[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "192.0.2.1, 127.0.0.9")],
            "192.0.2.1, 127.0.0.1",
        ),
        ("127.0.0.0/8", &[("X-Forwarded-For", "evil, 127.0.0.9")], "127.0.0.9, 127.0.0.1"),
        ("127.0.0.0/8", &[("X-Forwarded-For", "<script>")], "127.0.0.1"),
        ("127.0.0.0/8", &[], "127.0.0.1"),
        ("192.0.2.0/24", &[("X-Forwarded-For", "203.0.113.9, 192.0.2.1")], "127.0.0.1"),
    ] {
        let trusted_proxies = vec![trusted.parse().unwrap()];
        for lane in [Lane::Fast, Lane::H2c] {
            let running = lane.start(Gateway { trusted_proxies: trusted_proxies.clone(), ..base.clone() });
            let mut client = lane.client(&running);
            let request = Request { method: "GET", host: HOST, target: b"/app/r/1", headers, body: b"" };
            assert_eq!(client.ask(&request).status, 200, "{lane} {headers:?}");
            assert_eq!(origin.next().values("x-forwarded-for").join(", "), want, "{lane} {headers:?}");
            drop(client);
            running.stop();
        }
    }
}

#[test]
fn explain_says_which_list() {
    let routes = site("[guard]\ndeny-files = [\"deny.txt\"]\nallow = [\"192.0.2.0/24\"]\n");
    fs::write(routes.path().join("deny.txt"), "192.0.2.66\n").unwrap();
    let explain = |client: &str| {
        let args = ["explain", "http://old.example/a", "--routes", routes.path().to_str().unwrap(), "--from", client];
        String::from_utf8(waypost(routes.path(), &args).output().unwrap().stdout).unwrap()
    };
    let told = explain("192.0.2.66");
    assert!(told.contains("403 denied") && told.contains("the address is in deny.txt"), "{told}");
    let told = explain("203.0.113.9");
    assert!(told.contains("403 denied") && told.contains("the address is on no allow list"), "{told}");
    assert!(explain("192.0.2.1").contains("301 redirect"));
}
