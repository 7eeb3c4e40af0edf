//! `waypost certs` as an operator types it, where no authority is asked.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

fn waypost(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost")).arg("certs").args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let output = waypost(folder, &[args, &["--json"]].concat());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder with sites of these hosts.
fn node(sites: &[(&str, String)], gateway: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("routes")).unwrap();
    for (id, hosts) in sites {
        let site =
            format!("name = \"{id}\"\nhosts = {hosts}\nhome = \"https://new.example/\"\nowner = \"o\"\nwave = 1\n");
        fs::write(dir.path().join(format!("routes/{id}.toml")), site).unwrap();
    }
    fs::write(dir.path().join("gateway.toml"), gateway).unwrap();
    dir
}

/// A self-signed chain and its key, PEM.
fn pair(names: &[&str], until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_plan_of_the_sample_says_what_would_be_ordered_and_what_not() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = json(sample, &["plan"]);
    assert_eq!((&plan["certificates"], &plan["days"]), (&Value::from(1), &Value::from(0)), "{plan:#}");
    let names = plan["orders"][0]["names"].as_array().unwrap();
    assert_eq!(plan["names"], names.len());
    assert!(names.contains(&"jyj.qingshan.example".into()), "{names:?}");
    assert_eq!(plan["orders"][0]["open"], false);
    let out = text(&waypost(sample, &["plan", "--names"]).stdout);
    for part in ["1 certificate for", "all today", "jyj.qingshan.example", "owner", "Nothing is ordered until [acme]"] {
        assert!(out.contains(part), "{part} in {out}");
    }
}

#[test]
fn a_province_takes_33_certificates_today_and_more_weeks_if_the_limits_want_it() {
    let sites: Vec<(String, String)> = (0..1_603)
        .map(|site| {
            (
                format!("s{site}"),
                format!("[\"s{site}.qing{}.gov.cn\", \"www.s{site}.qing{}.gov.cn\"]", site % 16, site % 16),
            )
        })
        .collect();
    let sites: Vec<(&str, String)> = sites.iter().map(|(id, hosts)| (id.as_str(), hosts.clone())).collect();
    let dir = node(&sites, "");
    let plan = json(dir.path(), &["plan"]);
    assert_eq!((&plan["certificates"], &plan["names"], &plan["days"]), (&33.into(), &3_206.into(), &0.into()));
    let gateway = "[acme]\ndirectory = \"https://ca.example/\"\nagree-terms = true\ncertificates = 1\n";
    fs::write(dir.path().join("gateway.toml"), gateway).unwrap();
    let plan = json(dir.path(), &["plan"]);
    assert_eq!(plan["certificates"], 33);
    // 200 names of each domain, in batches of 100 that don't end where a domain does: three weeks.
    assert!((14..=21).contains(&plan["days"].as_i64().unwrap()), "{}", plan["days"]);
}

#[test]
fn a_wildcard_needs_a_hook_and_hosts_with_files_need_nothing() {
    let dir = node(
        &[("a", "[\"a.gov.example\", \"*.a.gov.example\"]".to_owned()), ("b", "[\"b.gov.example\"]".to_owned())],
        "",
    );
    fs::create_dir(dir.path().join("certs")).unwrap();
    let (chain, key) = pair(&["b.gov.example"], 2099);
    fs::write(dir.path().join("certs/b.pem"), chain + &key).unwrap();
    let plan = json(dir.path(), &["plan"]);
    assert_eq!(plan["orders"][0]["names"], serde_json::json!(["a.gov.example"]));
    assert_eq!(plan["covered-by-files"], 1);
    let left = &plan["not-ordered"][0];
    assert_eq!(left["hosts"], serde_json::json!(["*.a.gov.example"]));
    assert!(left["why"].as_str().unwrap().contains("dns-hook"), "{left}");
}

#[test]
fn import_takes_what_is_good_and_nothing_else() {
    let dir = node(&[("a", "[\"a.gov.example\"]".to_owned())], "");
    let (chain, key) = pair(&["a.gov.example", "*.b.gov.example"], 2099);
    let (_, other) = pair(&["a.gov.example"], 2099);
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("chain.crt", &chain);
    put("key.pem", &key);
    put("other.pem", &other);
    put("noise.pem", "nothing");
    for (args, want) in [
        (&["import", "chain.crt"][..], "has no key"),
        (&["import", "chain.crt", "other.pem"], "nothing was imported"),
        (&["import", "noise.pem", "key.pem"], "nothing was imported"),
        (&["import", "missing.pem"], "can't read missing.pem"),
        (&["import", "chain.crt", "key.pem", "--name", "../x"], "no name of a file"),
    ] {
        let output = waypost(dir.path(), args);
        let told = text(&output.stderr);
        assert!(!output.status.success() && told.contains(want), "{args:?}: {told}");
        assert!(!told.contains("PRIVATE"), "{told}");
    }
    let files = || {
        let mut names: Vec<String> = fs::read_dir(dir.path().join("certs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files(), Vec::<String>::new());

    let output = waypost(dir.path(), &["import", "chain.crt", "key.pem"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("a.gov.example.pem made: 2 names"), "{}", text(&output.stdout));
    assert_eq!(files(), ["a.gov.example.pem"]);
    let mode = fs::metadata(dir.path().join("certs/a.gov.example.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = json(dir.path(), &["import", "chain.crt", "key.pem"]);
    assert_eq!((&again["replaced"], &again["names"][0]), (&true.into(), &"a.gov.example".into()));
    // With a passphrase, keys are locked on their way.
    put("gateway.toml", "[tls]\npassphrase-file = \"secret\"\n");
    put("secret", "a long passphrase\n");
    let locked = json(dir.path(), &["import", "chain.crt", "key.pem"]);
    assert_eq!(locked["replaced"], true);
    let written = fs::read_to_string(dir.path().join("certs/a.gov.example.pem")).unwrap();
    assert!(written.contains("BEGIN ENCRYPTED PRIVATE KEY") && !written.contains("BEGIN PRIVATE KEY"), "{written}");
    assert!(written.contains("BEGIN CERTIFICATE"), "{written}");
    let list = json(dir.path(), &["list"]);
    assert_eq!(list["certificates"][0]["names"][1], "*.b.gov.example");
    assert!(list["certificates"][0]["days-left"].as_i64().unwrap() > 365);
    assert_eq!(json(dir.path(), &["list", "x.gov.example"])["certificates"], serde_json::json!([]));
    assert!(text(&waypost(dir.path(), &["list"]).stdout).contains("1 certificate for 2 names"));
}

#[test]
fn doctor_says_why_and_what_to_do() {
    let hosts = "[\"good.gov.example\", \"old.gov.example\", \"none.gov.example\", \"*.wild.gov.example\"]".to_owned();
    let dir = node(&[("a", hosts)], "");
    fs::create_dir(dir.path().join("certs")).unwrap();
    for (name, until) in [("good.gov.example", 2099), ("old.gov.example", 2020)] {
        let (chain, key) = pair(&[name], until);
        let file = dir.path().join(format!("certs/{name}.pem"));
        fs::write(&file, chain + &key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let output = waypost(dir.path(), &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["hosts"], 4);
    let ailing = report["ailing"].as_array().unwrap();
    let of = |host: &str| ailing.iter().find(|row| row["host"] == host).unwrap_or_else(|| panic!("{host}: {report:#}"));
    assert_eq!(ailing.len(), 3, "{report:#}");
    assert!(of("old.gov.example")["what"].as_str().unwrap().contains("has ended on 2020"), "{report:#}");
    assert!(of("none.gov.example")["do"].as_str().unwrap().contains("agree-terms"), "{report:#}");
    assert!(of("*.wild.gov.example")["why"].as_str().unwrap().contains("dns-hook"), "{report:#}");
    let out = text(&waypost(dir.path(), &["doctor"]).stdout);
    assert!(out.contains("to do:") && out.contains("3 of 4 hosts"), "{out}");
    let good = waypost(dir.path(), &["doctor", "good.gov.example"]);
    assert!(good.status.success() && text(&good.stdout).contains("all have a good certificate"));
    let unknown = waypost(dir.path(), &["doctor", "x.example"]);
    assert!(text(&unknown.stderr).contains("no site has the host x.example"), "{}", text(&unknown.stderr));
}
