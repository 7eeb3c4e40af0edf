//! How names are proven, and accounts bound.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use waypost::{
    acme::{Engine, Fault, Session, Wanted},
    config::{AcmeSettings, Challenge, Gateway},
    server,
    tls::{Challenges, STATE_FOLDER},
};

use super::{Scene, authority::Wish, issue::hosts, until};

#[test]
fn names_are_proven_in_handshakes() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &hosts(5), "");
    let gateway = scene.gateway();
    let port = scene.ports[1];
    let acme = AcmeSettings { challenge: Challenge::TlsAlpn01, port, ..gateway.acme.clone() };
    let running = server::start(Gateway { acme, ..gateway }).unwrap();
    until("a handshake", || scene.shakes_hands("h4.old.example.org").is_ok());
    assert_eq!(scene.node.issued()[0].1, hosts(5));
    let left = fs::read_dir(scene.node.certs().join("acme/.state/challenges")).unwrap().count();
    assert_eq!(left, 0, "a challenge is left behind");
    running.stop();
}

/// The hook posts to the authority's DNS server with bash alone, and notes what it was told.
#[test]
fn wildcards_are_proven_by_records_that_a_hook_publishes() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    let hook = scene.node.folder.path().join("hook");
    let (control, told) = (scene.authority.control_url(), scene.node.folder.path().join("told"));
    let (host, port) = control.strip_prefix("http://").unwrap().split_once(':').unwrap();
    let script = format!(
        r#"#!/bin/bash
echo "$@" >> {}
case "$2" in add) act=set-txt; body="{{\"host\":\"$3.\",\"value\":\"$4\"}}";; remove) act=clear-txt; body="{{\"host\":\"$3.\"}}";; esac
exec 3<>/dev/tcp/{host}/{port}
printf 'POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "$act" "${{#body}}" "$body" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
"#,
        told.display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let names = ["*.old.example.org".to_owned(), "old.example.org".to_owned(), "other.example.org".to_owned()];
    scene.node.site("a", &names, "");
    let gateway = scene.gateway();
    let dns_hook = vec![hook.display().to_string(), "zone".to_owned()];
    let acme = AcmeSettings { dns_hook, dns_wait: 0, ..gateway.acme.clone() };
    let running = server::start(Gateway { acme, ..gateway }).unwrap();
    until("a handshake", || scene.shakes_hands("any.old.example.org").is_ok());
    assert_eq!(scene.node.issued()[0].1.len(), 3);
    let told = fs::read_to_string(told).unwrap();
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert_eq!(lines[0][..3], ["zone", "add", "_acme-challenge.old.example.org"]);
    assert_eq!(lines[1][..3], ["zone", "remove", "_acme-challenge.old.example.org"]);
    assert_eq!(lines[0][3], lines[1][3]);
    running.stop();
}

#[test]
fn a_hook_that_fails_holds_up_its_own_names_only() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &["*.old.example.org".to_owned(), "other.example.org".to_owned()], "");
    let gateway = scene.gateway();
    let dns_hook = ["/bin/sh", "-c", "echo no such zone >&2; exit 1"].map(str::to_owned).to_vec();
    let acme = AcmeSettings { dns_hook, dns_wait: 0, ..gateway.acme.clone() };
    let running = server::start(Gateway { acme, ..gateway }).unwrap();
    until("a handshake", || scene.shakes_hands("other.example.org").is_ok());
    let failures = scene.events("invalid")[0]["failures"].clone();
    assert_eq!((failures.as_array().unwrap().len(), &failures[0]["name"]), (1, &"*.old.example.org".into()));
    assert!(failures[0]["why"].as_str().unwrap().contains("no such zone"), "{failures}");
    assert_eq!(scene.relay.asked("POST /order-plz"), 2);
    running.stop();
}

/// An account that the authority knows, and its key.
const EXTERNAL: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

#[test]
fn an_account_is_bound_to_one_that_the_authority_knows() {
    let Some(scene) = Scene::new(Wish { external: Some(EXTERNAL), ..Wish::default() }) else { return };
    scene.node.site("a", &hosts(1), "");
    let gateway = scene.gateway();
    let once = |acme: &AcmeSettings| {
        let challenges = Arc::new(Challenges::open(&scene.node.certs().join(STATE_FOLDER)));
        let wanted = || vec![Wanted { name: hosts(1)[0].clone(), ..Wanted::default() }];
        let engine = Engine::new(&Gateway { acme: acme.clone(), ..gateway.clone() }, challenges, wanted);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(engine.once(&mut Session::default(), &|_| {}))
    };
    let fault = once(&gateway.acme).unwrap_err();
    assert!(matches!(&fault, Fault::Settings(why) if why.contains("eab-id")), "{fault}");
    let file = scene.node.folder.path().join("eab.key");
    fs::write(&file, EXTERNAL.1.replace('z', "y")).unwrap();
    let acme = AcmeSettings { binding: Some((EXTERNAL.0.to_owned(), file.clone())), ..gateway.acme.clone() };
    let fault = once(&acme).unwrap_err();
    assert!(matches!(&fault, Fault::Settings(why) if why.contains("eab-key-file")), "{fault}");
    fs::write(&file, format!("{}\n", EXTERNAL.1)).unwrap();
    let running = server::start(Gateway { acme, ..gateway.clone() }).unwrap();
    until("a certificate", || scene.has("issued", 1));
    running.stop();
}
