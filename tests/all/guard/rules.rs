//! Rules of the operators.

use std::{fs, path::Path, time::Duration};

use waypost::server::Running;

use super::{Case, HOST, distrusting, gateway, metric, over_every_lane, site};
use crate::{client::Conn, lanes::Lane, lanes::Request, program::waypost};

const fn case<'a>(
    method: &'a str,
    target: &'a [u8],
    fields: &'a [(&'a str, &'a str)],
    status: u16,
    headers: &'a [(&'a str, &'a str)],
) -> Case<'a> {
    Case { request: Request { method, host: HOST, target, headers: fields, body: b"" }, status, headers }
}

const SITE: &str = r#"
[[guard.rule]]
name       = "scanners"
user-agent = { contains = ["sqlmap", "nikto"] }
deny       = 404

[[guard.rule]]
path = ["/app/admin/{*rest}"]
not  = { client = ["192.0.2.0/24"] }
deny = 403

[[guard.rule]]
name     = "moved"
path     = ["/app/moved"]
redirect = "https://www.new.example/app?from=old"
status   = "permanent"

[[guard.rule]]
name   = "try"
path   = ["/shadow"]
deny   = 403
shadow = true

[[guard.rule]]
name  = "tagger"
query = { name = "debug" }
tag   = "odd"

[[guard.rule]]
tagged = ["odd"]
method = ["POST"]
deny   = 499

[[guard.rule]]
path = ["/search"]
rate = "search"

[[guard.rate]]
name     = "search"
class    = "search"
requests = 1
seconds  = 3600
burst    = 2
"#;

const GATEWAY: &str = r#"
[[guard.rule]]
header = { name = "x-bad", regex = "^(yes|1)$" }
deny   = 451

# The site's own rules come first.
[[guard.rule]]
path = ["/app/moved"]
deny = 410
"#;

const NO_STORE: &[(&str, &str)] = &[("cache-control", "no-store"), ("location", "")];

#[test]
fn rules_hold_on_every_lane() {
    let routes = site(SITE);
    let unknown = |fields| Request { method: "GET", host: "unknown.example", target: b"/", headers: fields, body: b"" };
    over_every_lane(
        &distrusting(routes.path(), GATEWAY),
        &[
            case("GET", b"/a", &[], 301, &[]),
            case("GET", b"/a", &[("user-agent", "SQLmap/1.0")], 404, NO_STORE),
            case("HEAD", b"/a", &[("user-agent", "x nikto")], 404, NO_STORE),
            // What a platform would answer is refused before it is asked.
            case("GET", b"/app/x/..%2F..//ADMIN/1", &[], 503, &[]),
            case("GET", b"/app/x/..//ADMIN/1", &[], 403, NO_STORE),
            case("POST", b"/app/%61dmin", &[], 403, NO_STORE),
            case(
                "GET",
                b"/app/moved",
                &[],
                301,
                &[("location", "https://www.new.example/app?from=old"), ("cache-control", "no-store")],
            ),
            case("POST", b"/app/moved?a=b", &[], 308, &[("location", "https://www.new.example/app?from=old")]),
            case("GET", b"/shadow", &[], 301, &[]),
            case("GET", b"/a?DEBUG=1", &[], 301, &[]),
            case("POST", b"/a?debug", &[], 499, NO_STORE),
            case("GET", b"/a", &[("x-bad", "no"), ("x-bad", "YES")], 451, NO_STORE),
            case("GET", b"/a", &[("x-bad", "yes!")], 301, &[]),
            Case { request: unknown(&[("x-bad", "1")]), status: 451, headers: NO_STORE },
            Case { request: unknown(&[]), status: 404, headers: &[] },
            case("GET", b"/search?q=1", &[], 301, &[]),
            case("GET", b"/search?q=2", &[], 301, &[]),
            case("GET", b"/search?q=3", &[], 429, &[]),
            case("GET", b"/a", &[], 301, &[]),
        ],
        |lane, running| {
            let rule = |action: &str, rule: &str, shadow: bool| {
                let series =
                    format!(r#"waypost_guard_rules_total{{action="{action}",rule="{rule}",shadow="{shadow}"}}"#);
                metric(running, &series)
            };
            assert_eq!(rule("deny", "scanners", false), 2, "{lane}");
            assert_eq!(rule("redirect", "moved", false), 2, "{lane}");
            assert_eq!(rule("deny", "try", true), 1, "{lane}");
            assert_eq!(rule("tag", "tagger", false), 2, "{lane}");
            assert_eq!(rule("deny", "gateway.toml:2", false), 2, "{lane}");
            let refused = metric(running, r#"waypost_site_guard_refused_total{reason="rule",site="old"}"#);
            let shadowed = metric(running, r#"waypost_site_guard_shadowed_total{reason="rule",site="old"}"#);
            assert_eq!((refused, shadowed), (6, 1), "{lane}");
        },
    );
}

#[test]
fn a_target_that_is_not_allowed_is_never_sent() {
    // In a file that no site had a say in, the rule goes live with the rest; its target doesn't.
    let routes = site("");
    let elsewhere = "[[guard.rule]]\npath = [\"/out\"]\nredirect = \"https://evil.example/\"\n";
    over_every_lane(
        &gateway(routes.path(), elsewhere),
        &[
            case("GET", b"/out", &[], 501, NO_STORE),
            Case { request: Request::get("unknown.example", b"/out"), status: 501, headers: NO_STORE },
        ],
        |_, _| {},
    );
    let allowed = format!("[guard]\nallowed-targets = [\"www.new.example\", \"evil.example\"]\n{elsewhere}");
    over_every_lane(
        &gateway(routes.path(), &allowed),
        &[case("GET", b"/out", &[], 302, &[("location", "https://evil.example/")])],
        |_, _| {},
    );
}

#[test]
fn rules_are_reloaded_with_the_routes() {
    let routes = site("");
    let mut gateway = gateway(routes.path(), "");
    gateway.watch = true;
    let running = Lane::Fast.start(gateway);
    let status = |running: &Running| Conn::new(running.http[0]).get(HOST, "/a").status;
    assert_eq!(status(&running), 301);
    write(routes.path(), "[[guard.rule]]\nmethod = [\"GET\"]\ndeny = 403\n");
    wait_until(|| status(&running) == 403);
    // A faulty file keeps what was good.
    write(routes.path(), "[[guard.rule]]\nmethod = [\"get\"]\npath = [\"/b\"]\ndeny = 404\n");
    wait_until(|| metric(&running, r#"waypost_reloads_total{result="partial"}"#) > 0);
    assert_eq!(status(&running), 403);
    running.stop();
}

fn write(routes: &Path, defaults: &str) {
    fs::write(routes.join("new.part"), defaults).unwrap();
    fs::rename(routes.join("new.part"), routes.join("defaults.toml")).unwrap();
}

fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it took too long");
}

#[test]
fn explain_says_which_rule_holds() {
    let routes = site(SITE);
    let explain = |url: &str, more: &[&str]| {
        let mut args = vec!["explain", url, "--routes", routes.path().to_str().unwrap()];
        args.extend(more);
        let output = waypost(routes.path(), &args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = explain("http://old.example/a", &["--header", "User-Agent: sqlmap"]);
    assert!(told.contains("scanners: deny 404  (old.toml:"), "{told}");
    let told = explain("http://old.example/app/admin/", &["--from", "192.0.2.1"]);
    assert!(told.contains("admitted"), "{told}");
    let told = explain("http://old.example/app/admin/", &["--from", "192.0.3.1"]);
    assert!(told.contains("deny 403  (old.toml:") && told.contains("403 denied"), "{told}");
    let told = explain("http://old.example/app/moved", &[]);
    assert!(told.contains("301 redirect https://www.new.example/app?from=old"), "{told}");
    let told = explain("http://old.example/shadow", &[]);
    assert!(told.contains("shadow of try: deny 403") && told.contains("301 redirect"), "{told}");
}
