//! A whole province: 3,206 names, of which a tenth fail at first.

use waypost::{
    config::{AcmeSettings, Gateway},
    server,
};

use super::{Scene, authority::Wish, until};

#[test]
fn a_province_of_3206_names_is_covered_by_40_certificates_though_a_tenth_fails_at_first() {
    let Some(scene) = Scene::new(Wish { reused: 100, refused_nonces: 5, ..Wish::default() }) else { return };
    let name = |number: usize| format!("s{number}.city{}.gov.cn", number % 14);
    let names: Vec<String> = (0..3_206).map(name).collect();
    for (site, names) in names.chunks(229).enumerate() {
        scene.node.site(&format!("site{site}"), names, &format!("owner = \"office {site}\"\n"));
    }
    let is_bad = |number: usize| number % 10 == 3;
    let bad: Vec<String> = (0..3_206).filter(|&number| is_bad(number)).map(name).collect();
    // Nobody listens there.
    bad.iter().for_each(|name| scene.authority.set_address(name, "127.0.0.2"));

    // Without being tried first, so that it is the authority that finds them unproven.
    let gateway = scene.gateway();
    let acme = AcmeSettings { preflight: false, directory: Some(scene.authority.directory()), ..gateway.acme.clone() };
    let gateway = Gateway { acme, ..gateway };
    let covered = || scene.node.issued().iter().map(|(_, names)| names.len()).sum::<usize>();
    let running = server::start(gateway.clone()).unwrap();
    until("certificates of all that is well", || covered() == 3_206 - bad.len());
    running.stop();
    let failed: usize = scene.events("invalid").iter().map(|entry| entry["failures"].as_array().unwrap().len()).sum();
    assert_eq!(failed, bad.len(), "each name that fails is told once, and no other");
    let why = &scene.events("invalid")[0]["failures"][0]["why"];
    assert!(why.as_str().unwrap().contains("127.0.0.2"), "{why}");

    bad.iter().for_each(|name| scene.authority.clear_address(name));
    scene.let_pass(2 * 3_600);
    let running = server::start(gateway).unwrap();
    until("certificates of all", || covered() == 3_206);
    until("the handshake", || scene.shakes_hands(&bad[0]).is_ok());
    for name in names.iter().step_by(97) {
        assert_eq!(scene.shakes_hands(name), Ok(()), "{name}");
    }
    assert!(scene.node.issued().len() <= 40, "{}", scene.node.issued().len());
    running.stop();
}
