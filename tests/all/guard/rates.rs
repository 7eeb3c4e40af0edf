//! Rates, and how much a client may ask for at once.

use std::{fs, path::Path};

use waypost::{config::Platform, server};

use super::{HOST, distrusting, gateway, metric, site};
use crate::{
    client::{Conn, Dial, Wire, head},
    http2::raw::{PREFACE, block, flag, frame, kind},
    lanes::{Lane, Request},
    platform::Origin,
    program::{until, waypost},
};

const OTHER: &str = "name = \"Other\"\nhosts = [\"other.example\"]\nhome = \"https://www.new.example/\"\n";

/// So slow that nothing comes in while a test runs.
pub(super) fn rate(name: &str, requests: u32, more: &str) -> String {
    format!("[[guard.rate]]\nname = \"{name}\"\nrequests = {requests}\nseconds = 3600\n{more}\n")
}

fn statuses(client: &mut crate::lanes::Client, host: &str, targets: &[&str]) -> Vec<u16> {
    targets.iter().map(|target| client.get(host, target).status).collect()
}

#[test]
fn what_is_over_a_rate_is_429_over_every_lane() {
    let routes = site(&rate("each", 3, ""));
    fs::write(routes.path().join("other.toml"), OTHER).unwrap();
    for &lane in Lane::ALL {
        let running = lane.start(distrusting(routes.path(), ""));
        let mut client = lane.client(&running);
        let post = Request { method: "POST", host: HOST, target: b"/c", headers: &[], body: b"x=y" };
        assert_eq!(statuses(&mut client, HOST, &["/a", "/b"]), [301, 301], "{lane}");
        assert_eq!(client.ask(&post).status, 308, "{lane}");
        // Whatever it is, and wherever it would have gone.
        for request in [
            Request::get(HOST, b"/a"),
            Request::get(HOST, b"/app/x"),
            Request { method: "HEAD", ..Request::get(HOST, b"/sitemap.xml") },
            post,
        ] {
            let answer = client.ask(&request);
            let told = format!("{lane}: {} {}", request.method, request.target.escape_ascii());
            assert_eq!((answer.status, answer.header("cache-control")), (429, "no-store"), "{told}");
            // One request comes in 1,200 seconds.
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=1200).contains(&wait) && wait > 1000, "{told}: {wait}");
            let has_page = answer.text().contains("too many requests");
            assert_eq!(has_page, request.method != "HEAD", "{told}: {}", answer.text());
        }
        assert_eq!(statuses(&mut client, "other.example", &["/", "/", "/", "/"]), [301; 4], "{lane}: another site");
        drop(client);
        let refused = metric(&running, r#"waypost_site_guard_refused_total{reason="rate",site="old"}"#);
        // The rate of the site's own, and for some milliseconds the shipped one.
        let entries = metric(&running, "waypost_guard_rate_entries");
        assert!(refused == 4 && (1..=2).contains(&entries), "{lane}: {refused}, {entries}");
        running.stop();
    }
}

#[test]
fn a_rate_is_for_what_it_says() {
    let search = rate("search", 2, "per = \"site\"\npaths = [\"/search/{*rest}\"]");
    let routes = site(&(search + &rate("shadow", 1, "shadow = true")));
    for &lane in Lane::ALL {
        let running = lane.start(distrusting(routes.path(), ""));
        let mut client = lane.client(&running);
        let targets = ["/a", "/Search/1", "/%73earch/../search", "/search/3", "/SEARCH/4", "/searching", "/a"];
        let wanted = [301, 301, 301, 429, 429, 301, 301];
        assert_eq!(statuses(&mut client, HOST, &targets), wanted, "{lane}");
        drop(client);
        let shadowed = metric(&running, r#"waypost_site_guard_shadowed_total{reason="rate",site="old"}"#);
        let refused = metric(&running, r#"waypost_site_guard_refused_total{reason="rate",site="old"}"#);
        assert_eq!((shadowed, refused), (6, 2), "{lane}");
        running.stop();
    }
}

#[test]
fn request_rules_say_what_is_of_a_class() {
    let rule = "[[guard.rule]]\nuser-agent = { contains = [\"bot\"] }\nrate = \"bots\"\n";
    let routes = site(&(rate("few", 2, "class = \"bots\"") + rule));
    for &lane in Lane::ALL {
        let running = lane.start(distrusting(routes.path(), ""));
        let mut client = lane.client(&running);
        let bot = Request { headers: &[("user-agent", "SomeBot/1.0")], ..Request::get(HOST, b"/a") };
        let statuses: Vec<u16> = (0..4).map(|_| client.ask(&bot).status).collect();
        assert_eq!((statuses, client.get(HOST, "/a").status), (vec![301, 301, 429, 429], 301), "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn the_nearest_file_says_how_many() {
    let routes = site(&rate("each", 2, ""));
    fs::create_dir(routes.path().join("county")).unwrap();
    fs::write(routes.path().join("county/defaults.toml"), rate("each", 3, "") + &rate("all", 4, "")).unwrap();
    let county = |name: &str, guard: &str| {
        let text = format!("name = \"A\"\nhosts = [\"{name}.example\"]\nhome = \"https://www.new.example/\"\n{guard}");
        fs::write(routes.path().join(format!("county/{name}.toml")), text).unwrap();
    };
    county("a", "");
    county("b", &rate("each", 0, ""));
    county("c", &(rate("each", 0, "") + &rate("all", 0, "")));
    let node = rate("each", 1, "") + &rate("client", 0, "");
    let running = server::start(distrusting(routes.path(), &node)).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let mut passed = |host: &str| (0..6).filter(|_| conn.get(host, "/").status != 429).count();
    let all = [HOST, "a.example", "b.example", "c.example", "unknown.example"].map(&mut passed);
    assert_eq!(all, [2, 3, 4, 6, 1]);
    running.stop();
}

#[test]
fn a_client_everywhere_is_one_at_all_sites() {
    let routes = site("");
    fs::write(routes.path().join("other.toml"), OTHER).unwrap();
    let node = rate("client", 3, "per = \"client-everywhere\"");
    let running = server::start(distrusting(routes.path(), &node)).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let all = [HOST, "other.example", "unknown.example", HOST, "other.example", "unknown.example"]
        .map(|host| conn.get(host, "/").status);
    assert_eq!(all, [301, 301, 404, 429, 429, 429]);
    // Who asks whether the gateway lives is nobody's visitor.
    assert_eq!(conn.get(HOST, "/healthcheck/live").status, 200);
    running.stop();
}

#[test]
fn counts_outlive_a_reload() {
    let routes = site(&rate("each", 3, ""));
    let running = server::start(distrusting(routes.path(), "")).unwrap();
    let mut conn = Conn::new(running.http[0]);
    let file = routes.path().join("old.toml");
    let mut passed = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(from, to)).unwrap();
        assert_eq!(running.reloader.reload_now().unwrap().faulty, [""; 0]);
        (0..9).filter(|_| conn.get(HOST, "/a").status == 301).count()
    };
    assert_eq!(passed("Old", "New"), 3);
    assert_eq!(passed("New", "Newer"), 0);
    assert_eq!(passed("requests = 3", "requests = 3\nburst = 5"), 2);
    assert_eq!(passed("\"each\"", "\"other\""), 5);
    running.stop();
}

#[test]
fn a_trusted_proxy_that_names_nobody_may_stand_for_many() {
    let routes = site(&(rate("each", 1, "") + &rate("all", 9, "per = \"site\"")));
    for &lane in Lane::ALL {
        let running = lane.start(gateway(routes.path(), ""));
        let mut client = lane.client(&running);
        let wanted = [301, 301, 301, 301, 301, 301, 301, 301, 301, 429];
        assert_eq!(statuses(&mut client, HOST, &["/a"; 10]), wanted, "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn explain_tells_which_rates_hold() {
    let routes = site(&(rate("each", 3, "") + &rate("search", 2, "paths = [\"/search\"]")));
    let explain = |target: &str, more: &[&str]| {
        let url = format!("http://{HOST}{target}");
        let args = [&["explain", &url, "--routes", routes.path().to_str().unwrap()], more].concat();
        String::from_utf8(waypost(routes.path(), &args).output().unwrap().stdout).unwrap()
    };
    let told = explain("/search", &["--from", "192.0.2.1"]);
    assert!(
        told.contains("`each` holds: 3 requests in 3600 s, 3 at once") && told.contains("`search` holds"),
        "{told}"
    );
    let told = explain("/a", &["--from", "192.0.2.1"]);
    assert!(told.contains("`client` holds") && !told.contains("`search`"), "{told}");
    assert!(!explain("/a", &[]).contains("holds"));
}

/// A request that is on its way, until this is dropped.
fn send(lane: Lane, dial: &Dial, target: &str) -> Wire {
    let mut wire = dial.open().unwrap();
    if lane.is_h2() {
        let scheme = if lane.is_tls() { "https" } else { "http" };
        let fields = [(":method", "GET"), (":scheme", scheme), (":authority", HOST), (":path", target)];
        let headers = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block(&fields));
        wire.send(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &[]), &headers].concat()).unwrap();
    } else {
        wire.send(&head("GET", HOST, target.as_bytes(), &[], b"")).unwrap();
    }
    wire
}

/// A site whose sitemap is large.
fn large(routes: &Path) {
    let rows: String = (0..2_500).map(|n| format!("/p/{n}.htm,https://www.new.example/{n}\n")).collect();
    let site = "name = \"Large\"\nhosts = [\"large.example\"]\nhome = \"https://www.new.example/\"\n[guard]\nclient-concurrency = 2\n";
    fs::write(routes.join("large.toml"), site).unwrap();
    fs::write(routes.join("large.csv"), format!("old,new\n{rows}")).unwrap();
}

#[test]
fn a_client_may_ask_for_so_much_at_once_over_every_lane() {
    let routes = site("[guard]\nclient-concurrency = 2\n");
    large(routes.path());
    for &lane in Lane::ALL {
        let origin = Origin::start();
        let mut gateway = distrusting(routes.path(), "");
        gateway.platforms.insert("new".to_owned(), Platform::of([&*origin.url()]).unwrap());
        let running = lane.start(gateway);
        let dial = lane.dial(&running, HOST);
        let first = send(lane, &dial, "/app/held/1");
        assert_eq!(origin.next().line(), "GET /app/held/1", "{lane}");
        let second = send(lane, &dial, "/app/held/2");
        assert_eq!(origin.next().line(), "GET /app/held/2", "{lane}");

        let mut client = lane.client(&running);
        let post = Request { method: "POST", host: HOST, target: b"/app/x", headers: &[], body: b"x=y" };
        for request in [Request::get(HOST, b"/app/x"), Request::get("large.example", b"/sitemap.xml"), post.clone()] {
            let answer = client.ask(&request);
            let told = format!("{lane}: {} {}", request.method, request.target.escape_ascii());
            assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{told}");
        }
        // What takes no time is not counted.
        assert_eq!(client.get(HOST, "/a").status, 301, "{lane}");
        let refused = ["old", "large"].map(|site| {
            metric(&running, &format!("waypost_site_guard_refused_total{{reason=\"concurrency\",site=\"{site}\"}}"))
        });
        assert_eq!((refused, origin.all().len()), ([2, 1], 0), "{lane}");

        // A client that goes away gives back what it had, though the platform has not answered.
        drop(first);
        until("room for another request", || client.get(HOST, "/app/x").status == 200);
        origin.release();
        // An answer is there a little before its request is over.
        for _ in 0..4 {
            until("room for a large answer", || client.get("large.example", "/sitemap.xml").status == 200);
            until("room for another request", || client.ask(&post).status == 200);
        }
        drop((second, client));
        running.stop();
        origin.stop();
    }
}
