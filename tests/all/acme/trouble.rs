//! What goes wrong between a gateway and an authority, and what comes of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use waypost::{
    acme::{Engine, Session, Wanted},
    config::{AcmeSettings, Gateway},
    server,
    tls::{Challenges, STATE_FOLDER},
};

use super::{Scene, authority::Wish, issue::hosts, relay::Moment, until};

#[test]
fn half_of_all_nonces_may_be_refused() {
    let Some(scene) = Scene::new(Wish { refused_nonces: 50, ..Wish::default() }) else { return };
    scene.node.site("a", &hosts(20), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a handshake", || scene.shakes_hands("h19.old.example.org").is_ok());
    let ordered = scene.events("ordered");
    assert_eq!(ordered.len(), 1);
    assert!(scene.has("ordering", 1) && scene.node.issued()[0].1.len() == 20);
    running.stop();
}

#[test]
fn an_authority_that_goes_away_again_and_again_is_asked_again() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    // Every fifth request is lost, by turns on its way and on its way back; and for a while all are.
    scene.relay.judge(move |count, _, moment| match moment {
        Moment::Before => count % 10 != 0 && !(12..16).contains(&count),
        Moment::After => count % 10 != 5,
    });
    scene.node.site("a", &hosts(4), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a handshake", || scene.shakes_hands("h3.old.example.org").is_ok());
    assert!(scene.relay.count() > 20, "nothing was lost");
    assert!(scene.has("ordering", 1) || scene.events("ordering").iter().all(|entry| entry["order"] == 1));
    assert_eq!(scene.node.issued().len(), 1);
    assert_eq!(scene.relay.asked("POST /order-plz"), 1);
    running.stop();
}

#[test]
fn an_authority_that_has_forgotten_the_account_is_told_again() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    let forgot = AtomicBool::new(false);
    scene.relay.rewrite(move |what, _| {
        let body = r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist","detail":"who?"}"#;
        let head = "HTTP/1.1 400 Bad Request\r\nConnection: close";
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        (what == "POST /order-plz" && !forgot.swap(true, Ordering::Relaxed)).then(|| text.into_bytes())
    });
    scene.node.site("a", &hosts(2), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a handshake", || scene.shakes_hands("h1.old.example.org").is_ok());
    // Registered twice and looked up once, for the order that it had taken all the same.
    assert_eq!((scene.relay.asked("POST /sign-me-up"), scene.relay.asked("POST /order-plz")), (3, 1));
    let state = std::fs::read_dir(scene.node.certs().join("acme/.state")).unwrap();
    let names = state.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("account-")).count(), 1);
    running.stop();
}

#[test]
fn an_authority_that_has_had_enough_is_left_alone() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.relay.rewrite(|what, _| {
        let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many of old.example.org"}"#;
        let head = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7200\r\nConnection: close";
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        (what == "POST /order-plz").then(|| text.into_bytes())
    });
    scene.node.site("a", &hosts(1), "");
    let running = server::start(scene.gateway()).unwrap();
    until("the limit", || scene.has("dropped", 1));
    let limited = &scene.events("limited")[0];
    let wait = limited["until"].as_i64().unwrap() - limited["at"].as_i64().unwrap();
    assert!((7190..=7201).contains(&wait), "{limited}");
    assert!(limited["why"].as_str().unwrap().contains("too many of old.example.org"), "{limited}");
    running.stop();
    // A restart does not make it forget.
    let challenges = Arc::new(Challenges::open(&scene.node.certs().join(STATE_FOLDER)));
    let wanted = || vec![Wanted { name: hosts(1)[0].clone(), ..Wanted::default() }];
    let engine = Engine::new(&scene.gateway(), challenges, wanted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rest = runtime.block_on(engine.once(&mut Session::default(), &|_| {})).unwrap();
    assert_eq!(rest.until, limited["until"].as_i64().unwrap());
    assert_eq!(scene.relay.asked("POST /order-plz"), 1);
}

#[test]
fn nodes_that_share_a_folder_order_once() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &hosts(10), "");
    let first = scene.gateway();
    // The authority asks the first, whoever orders.
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let second = Gateway { http: any(), https: any(), ..first.clone() };
    let nodes = [first, second].map(|gateway| server::start(gateway).unwrap());
    until("a handshake", || {
        nodes.iter().for_each(|node| drop(node.reloader.reload_now()));
        scene.shakes_hands("h9.old.example.org").is_ok()
    });
    assert_eq!(scene.relay.asked("POST /order-plz"), 1);
    assert!(scene.has("ordering", 1) && scene.has("issued", 1));
    nodes.into_iter().for_each(server::Running::stop);
}

#[test]
fn names_that_lead_elsewhere_are_not_ordered_until_they_lead_here() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &hosts(3), "");
    // Nobody listens there, and that one is not the fleet's.
    scene.authority.set_address("h1.old.example.org", "127.0.0.2");
    let gateway = scene.gateway();
    let acme = AcmeSettings { addresses: vec!["127.0.0.1/32".parse().unwrap()], ..gateway.acme.clone() };
    let running = server::start(Gateway { acme, ..gateway }).unwrap();
    until("a handshake", || scene.shakes_hands("h2.old.example.org").is_ok());
    assert_eq!(scene.node.issued()[0].1, ["h0.old.example.org", "h2.old.example.org"]);
    assert!(scene.has("invalid", 0), "the authority was not asked");
    scene.authority.clear_address("h1.old.example.org");
    until("the third", || scene.shakes_hands("h1.old.example.org").is_ok());
    running.stop();
}
