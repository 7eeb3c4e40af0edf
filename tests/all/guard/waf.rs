//! The firewall in front of a platform, over every lane, with a few rules; `tests/waf` tests the rule set.

use std::{fs, path::Path};

use waypost::config::{Gateway, Platform};

use super::{Case, HOST, gateway, metric, over_every_lane, site};
use crate::{
    client::Conn,
    lanes::{Lane, Request},
    platform::Origin,
    program::waypost,
};

const BROWSER: &[(&str, &str)] = &[("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:109.0)"), ("Accept", "*/*")];

/// Two rules as the rule set has them.
const RULES: &str = r#"
SecDefaultAction "phase:2,log,auditlog,pass"
SecRule ARGS_NAMES|ARGS|XML:/* "@detectSQLi" "id:942100,phase:2,block,t:none,t:urlDecodeUni,msg:'SQL',severity:'CRITICAL',tag:'attack-sqli',tag:'paranoia-level/1'"
SecRule ARGS_NAMES|ARGS|XML:/* "@detectXSS" "id:941100,phase:2,block,t:none,t:urlDecodeUni,msg:'XSS',severity:'CRITICAL',tag:'attack-xss',tag:'paranoia-level/1'"
"#;

/// A gateway with those rules; `text` is more of `[guard]` in its file.
fn in_front_of(origin: &Origin, routes: &Path, text: &str) -> Gateway {
    let rules = routes.join("rules-of-the-firewall");
    fs::create_dir_all(rules.join("rules")).unwrap();
    fs::write(rules.join("rules/a.conf"), RULES).unwrap();
    let own = format!("waf-rules = \"{}\"\n", rules.display());
    let text = format!("[guard]\n{}{text}", if text.contains("waf-rules") { "" } else { &own });
    let mut gateway = gateway(routes, &text);
    gateway.platforms.insert("new".into(), Platform::of([&*format!("http://{}", origin.address)]).unwrap());
    gateway
}

const fn get<'a>(target: &'a [u8], status: u16) -> Case<'a> {
    Case { request: Request { method: "GET", host: HOST, target, headers: BROWSER, body: b"" }, status, headers: &[] }
}

const FORM: &[(&str, &str)] = &[
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:109.0)"),
    ("Accept", "*/*"),
    ("Content-Type", "application/x-www-form-urlencoded"),
];

const fn post<'a>(body: &'a [u8], status: u16) -> Case<'a> {
    Case {
        request: Request { method: "POST", host: HOST, target: b"/app/mail", headers: FORM, body },
        status,
        headers: &[],
    }
}

const ATTACK: &[u8] = b"/app/news?id=1%27%20or%20%271%27=%271";

#[test]
fn attacks_do_not_reach_the_platform() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf = \"block\"\n");
    over_every_lane(
        &in_front_of(&origin, routes.path(), ""),
        &[
            get(b"/app/index.html", 200),
            get(b"/app/index.html", 200),
            get(b"/app/search?q=%E7%A7%91%E6%99%AE", 200),
            get(ATTACK, 403),
            get(b"/app/?x=%3Cscript%3Ealert(1)%3C/script%3E", 403),
            post(b"name=Li&text=How+do+I+apply%3F", 200),
            post(b"name=Li&text=1%27+union+select+password+from+users--", 403),
            get(b"/app/index.html", 200),
            // The gateway's own answers need no firewall.
            get(b"/news?id=1%27%20or%20%271%27=%271", 301),
        ],
        |lane, running| {
            let seen = origin.all();
            assert!(
                seen.iter().all(|seen| !seen.head.contains("%27") && !seen.head.contains("script")),
                "{lane}: {seen:?}"
            );
            assert!(seen.iter().all(|seen| !seen.body.starts_with(b"name=Li&text=1")), "{lane}: {seen:?}");
            assert_eq!(metric(running, r#"waypost_site_guard_refused_total{reason="waf",site="old"}"#), 3, "{lane}");
            assert_eq!(metric(running, r#"waypost_site_waf_requests_total{action="blocked",site="old"}"#), 3, "{lane}");
        },
    );
}

#[test]
fn detecting_lets_all_pass() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf = \"detect\"\n");
    over_every_lane(
        &in_front_of(&origin, routes.path(), ""),
        &[get(ATTACK, 200), post(b"text=1%27+union+select+password+from+users--", 200)],
        |lane, running| {
            assert_eq!(
                metric(running, r#"waypost_site_waf_requests_total{action="detected",site="old"}"#),
                2,
                "{lane}"
            );
        },
    );
}

#[test]
fn what_a_site_excludes_does_not_count() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf-exclude = [\"tag:attack-sqli /app/sql/{*rest}\", \"941100\"]\n");
    over_every_lane(
        &in_front_of(&origin, routes.path(), "waf = \"block\"\n"),
        &[
            get(b"/app/sql/news?id=1%27%20or%20%271%27=%271", 200),
            get(b"/app/sql/../news?id=1%27%20or%20%271%27=%271", 403),
            get(ATTACK, 403),
        ],
        |_, _| {},
    );
}

#[test]
fn bodies_pass_byte_for_byte() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf = \"block\"\n");
    // More than is inspected, and every byte there is.
    let large: Vec<u8> = (0..300_000u32).map(|at| if at % 97 == 0 { b'&' } else { b'a' + (at % 26) as u8 }).collect();
    for &lane in Lane::ALL {
        let running = lane.start(in_front_of(&origin, routes.path(), "waf-body = 64\n"));
        let mut client = lane.client(&running);
        for body in [&large[..10], &large[..60_000], &large[..70_000], &large] {
            let answer = client.ask(&Request { method: "POST", host: HOST, target: b"/app/mail", headers: FORM, body });
            assert_eq!(answer.status, 200, "{lane}, {} bytes", body.len());
            assert!(answer.body == body, "{lane}: {} bytes of {}", answer.body.len(), body.len());
            assert!(origin.next().body == body, "{lane}");
        }
        drop(client);
        running.stop();
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_where_the_site_says_so() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf = \"block\"\nwaf-at-bound = \"refuse\"\n");
    let long = vec![b'a'; 3000];
    over_every_lane(
        &in_front_of(&origin, routes.path(), "waf-body = 2\n"),
        &[post(&long[..2048], 200), post(&long, 403)],
        |_, _| {},
    );
}

#[test]
fn chunks_are_put_together_before_debians_rules_look_at_them() {
    let origin = Origin::start();
    let routes = site("[guard]\nwaf = \"block\"\n");
    let text = "waf-rules = \"/usr/share/modsecurity-crs\"\nwaf-time = 60000\n";
    let running = Lane::Fast.start(in_front_of(&origin, routes.path(), text));
    let attack = b"text=1%27+union+select+password+from+users--";
    let fields: String = FORM.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let raw = format!("POST /app/mail HTTP/1.1\r\nHost: {HOST}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    let mut raw = raw.into_bytes();
    for byte in attack {
        raw.extend(format!("1\r\n{}\r\n", *byte as char).into_bytes());
    }
    raw.extend(b"0\r\n\r\n");
    let answer = Conn::new(running.http[0]).send(&raw, false).unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("looks like an attack"), "a page says why: {}", answer.text());
    running.stop();
}

#[test]
fn rules_that_are_not_there_are_a_bound() {
    let origin = Origin::start();
    for (at_bound, status) in [("pass", 200), ("refuse", 403)] {
        let routes = site(&format!("[guard]\nwaf = \"block\"\nwaf-at-bound = \"{at_bound}\"\n"));
        let empty = tempfile::tempdir().unwrap();
        let text = format!("waf-rules = \"{}\"\n", empty.path().display());
        over_every_lane(&in_front_of(&origin, routes.path(), &text), &[get(b"/app/a", status)], |_, _| {});
    }
}

#[test]
fn an_exclusion_that_names_no_rules_is_a_fault() {
    let routes = site("[guard]\nwaf = \"block\"\nwaf-exclude = [\"sqli\"]\n");
    let output = waypost(routes.path(), &["check", "--routes", routes.path().to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("`sqli` names no rules") && text.contains("tag:attack-sqli"), "{text}");
    fs::remove_file(routes.path().join("old.toml")).unwrap();
}
