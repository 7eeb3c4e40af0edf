//! Targets that are attacks, probes of scanners, and what neither may be taken for.

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use waypost::guard::{Crawlers, Fields, Guard, Notes, Policy, Ruling, View};
use waypost::url::{Charset, UrlSettings};

use super::{Case, HOST, gateway, metric, over_every_lane, site};
use crate::{lanes::Request, oracle, payloads::unescape, program::waypost};

const fn case<'a>(target: &'a [u8], status: u16) -> Case<'a> {
    Case { request: Request::get(HOST, target), status, headers: &[] }
}

const NO_STORE: &[(&str, &str)] = &[("cache-control", "no-store")];

const fn refused<'a>(target: &'a [u8]) -> Case<'a> {
    Case { request: Request::get(HOST, target), status: 400, headers: NO_STORE }
}

#[test]
fn attacks_are_400_also_on_the_way_to_a_platform() {
    let cases = [
        case(b"/a/../b", 301),
        refused(b"/../../etc/passwd"),
        refused(b"/app/%2e%2e/%2e%2e/etc/passwd"),
        refused(b"/app/..%252f..%252f..%252fetc/passwd"),
        refused(b"/app/..%c0%af..%c0%af..%c0%afetc/passwd"),
        refused(b"/app/..;/manager/html"),
        refused(b"/..%5c..%5cwinnt/system32/cmd.exe"),
        refused(b"/a.php%00.jpg"),
        refused(b"/app/?file=a%00.jpg"),
        refused(b"/a%01b"),
        refused(b"/%0d%0aSet-Cookie:%20a=b"),
        refused(b"/app/%250d%250aSet-Cookie:%20a=b"),
        refused(b"/a?b=%0d%0aLocation:%20//evil.example/"),
        case(b"/a?b=%0d%0aone%20line%20more", 301),
        case(b"/a%0a", 301),
    ];
    let routes = site("");
    over_every_lane(&gateway(routes.path(), ""), &cases, |lane, running| {
        let count =
            |reason| metric(running, &format!("waypost_site_guard_refused_total{{reason=\"{reason}\",site=\"old\"}}"));
        assert_eq!(["traversal", "control", "injection"].map(count), [6, 3, 3], "{lane}");
    });
}

#[test]
fn only_http1_says_it_raw() {
    let routes = site("");
    over_every_lane(
        &gateway(routes.path(), ""),
        &[refused(b"/..\\..\\winnt"), refused(b"/\xC0\xAE\xC0\xAE/etc")],
        |_, _| {},
    );
}

#[test]
fn probes_are_404_and_mappings_are_none() {
    let routes = site("[guard]\nextra-probes = [\"/app/setup.asp\"]\nallow-probes = [\"wp-login.php\"]\n");
    fs::write(routes.path().join("old.csv"), "old,new\n/old.bak,https://www.new.example/mapped\n").unwrap();
    let probe = |target| Case {
        request: Request::get(HOST, target),
        status: 404,
        headers: &[
            ("content-length", "10"),
            ("cache-control", "no-store"),
            ("content-type", "text/plain; charset=utf-8"),
        ],
    };
    let mapped = Case {
        request: Request::get(HOST, b"/OLD.bak"),
        status: 301,
        headers: &[("location", "https://www.new.example/mapped")],
    };
    let cases = [
        probe(b"/.git/config"),
        probe(b"/app/.env"),
        probe(b"/phpMyAdmin/"),
        probe(b"/app/setup.asp?step=1"),
        probe(b"/other.bak"),
        mapped,
        case(b"/wp-login.php", 301),
        Case { request: Request::get("unknown.example", b"/.git/config"), status: 404, headers: NO_STORE },
    ];
    over_every_lane(&gateway(routes.path(), ""), &cases, |lane, running| {
        assert_eq!(metric(running, r#"waypost_site_guard_refused_total{reason="probe",site="old"}"#), 5, "{lane}");
    });
}

#[test]
fn a_site_may_be_strict() {
    let routes = site("[guard]\nstrict = [\"backslash\", \"double-encoding\", \"invalid-utf-8\"]\n");
    let cases = [refused(b"/a%5Cb"), refused(b"/a%2541"), refused(b"/%BF%C6"), case(b"/%E7%A7%91?a=%2541%5C", 301)];
    over_every_lane(&gateway(routes.path(), ""), &cases, |_, _| {});
    let lenient = site("");
    let cases = [case(b"/a%5Cb", 301), case(b"/a%2541", 301), case(b"/%BF%C6", 301)];
    over_every_lane(&gateway(lenient.path(), ""), &cases, |_, _| {});
}

#[test]
fn explain_says_what_is_wrong() {
    let routes = site("");
    let explain = |url: &str| {
        let output = waypost(routes.path(), &["explain", url, "--routes", routes.path().to_str().unwrap()]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let told = explain("http://old.example/app/%2e%2e/../x");
    assert!(told.contains("400 denied") && told.contains("the path leads out of the site"), "{told}");
    let told = explain("http://old.example/x/site.bak");
    assert!(told.contains("404 denied") && told.contains("`*.bak`"), "{told}");
}

#[test]
fn faults_in_settings_are_told() {
    let routes = site(
        "[guard]\nstrict = [\"backslashs\"]\nextra-probes = [\"Setup.asp\", \"*\"]\nallow-probes = [\"wp-logn.php\"]\n",
    );
    let output = waypost(routes.path(), &["check", routes.path().to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    for part in [
        "`backslashs` is nothing to be strict about",
        "did you mean `backslash`?",
        "'S' is never found",
        "`*` is no pattern of a probe: it would hit every address",
        "no shipped pattern of a probe is `wp-logn.php`",
        "did you mean `wp-login.php`?",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

/// What the default guard says to targets of a site with these habits.
fn rulings<'a>(targets: impl IntoIterator<Item = &'a [u8]>, habits: &UrlSettings) -> Vec<String> {
    let now = Instant::now();
    let (guard, policy) = (Guard::new(1, Crawlers::new(&[]), now), Policy::default());
    let none: Vec<(String, String)> = Vec::new();
    let mut refused = Vec::new();
    for target in targets {
        let view = View {
            site: "old",
            method: "GET",
            host: Some(b"old.example"),
            target,
            secure: false,
            client: None,
            fields: &none as &dyn Fields,
            is_many: false,
            habits: Some(habits),
            // Not even as a last resort.
            is_mapped: &|| false,
        };
        if let Ruling::Refuse(denial) = guard.admit(&policy, &view, now, &mut Notes::default(), &mut ()) {
            refused.push(format!("{}: {}", denial.reason.name(), target.escape_ascii()));
        }
    }
    refused
}

#[test]
fn no_url_of_the_families_is_refused_whatever_the_charset() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/guard/families.txt");
    let text = fs::read_to_string(file).unwrap();
    let targets: Vec<Vec<u8>> = text.lines().filter(|line| !line.starts_with('#')).map(unescape).collect();
    assert!(targets.len() > 60);
    for charset in [Charset::Utf8, Charset::Gb18030, Charset::Big5, Charset::Auto] {
        let habits = UrlSettings { charset, ..UrlSettings::default() };
        let refused = rulings(targets.iter().map(Vec::as_slice), &habits);
        assert!(refused.is_empty(), "{charset:?}:\n{}", refused.join("\n"));
    }
}

#[test]
fn no_recorded_url_is_refused() {
    let Some(data) = oracle::data() else { return };
    // As the importer sets them: that gateway compared dots as they were sent.
    let habits = UrlSettings { resolve_dots: false, decode_path: false, ..UrlSettings::default() };
    let mut count = 0;
    let mut targets: Vec<Vec<u8>> = Vec::new();
    for name in ["as_written", "variants", "site_basics", "unknown_hosts", "rules", "guard_empty_whitelist"] {
        targets.extend(oracle::rows(&data, &format!("{name}.tsv.zst")).into_iter().map(|row| row.target));
    }
    count += targets.len();
    let refused = rulings(targets.iter().map(Vec::as_slice), &habits);
    assert!(refused.is_empty(), "{}:\n{}", refused.len(), refused[..refused.len().min(20)].join("\n"));
    // And the old URLs of the input, without what the recording made of them.
    let mut by_site: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in fs::read_dir(data.join("input/mappings")).unwrap() {
        let file = file.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let old = text.lines().skip(1).filter_map(|line| Some(line.split(',').next()?.trim_matches('"').to_owned()));
        by_site.insert(file.display().to_string(), old.collect());
    }
    for (site, urls) in &by_site {
        count += urls.len();
        let refused = rulings(urls.iter().map(String::as_bytes), &habits);
        assert!(refused.is_empty(), "{site}:\n{}", refused.join("\n"));
    }
    println!("{count} recorded URLs, none refused");
    assert!(count > 400_000, "{count}");
}
