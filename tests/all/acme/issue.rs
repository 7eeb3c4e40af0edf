//! Names get certificates, which are renewed, and revoked when somebody says so.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use waypost::{
    acme::{Engine, RevocationReason, Session},
    server,
    tls::{Challenges, STATE_FOLDER},
};

use super::{
    Scene,
    authority::Wish,
    relay::{answer, ledger},
    until,
};

pub fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("h{number}.old.example.org")).collect()
}

#[test]
fn hosts_get_a_certificate_of_their_own_accord() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    // Plain HTTP goes elsewhere, but for the authority.
    scene.node.site("a", &hosts(3), "https = \"redirect\"\n");
    scene.node.site("b", &["apart.old.example.org".to_owned()], "acme = false\n");
    let running = server::start(scene.gateway()).unwrap();
    until("a handshake", || scene.shakes_hands("h2.old.example.org").is_ok());
    assert_eq!(scene.node.issued()[0].1, hosts(3));
    let events: Vec<String> =
        ledger(&scene.node.certs()).iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["ordering", "ordered", "finalizing", "issued"]);
    assert_eq!((scene.relay.asked("POST /order-plz"), scene.relay.asked("POST /sign-me-up")), (1, 1));
    // Another site is added: its host gets one, too, and nothing else is ordered.
    scene.node.site("c", &["new.old.example.org".to_owned()], "");
    until("a second handshake", || scene.shakes_hands("new.old.example.org").is_ok());
    assert!(scene.shakes_hands("h0.old.example.org").is_ok() && scene.shakes_hands("apart.old.example.org").is_err());
    assert_eq!(scene.relay.asked("POST /order-plz"), 2);
    running.stop();
}

/// Pebble 2.4 knows nothing of renewal information, so the relay does: the first certificate that it is asked about is due.
#[test]
fn a_certificate_is_renewed_when_the_authority_says() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    let own = format!("https://{}/ari", scene.relay.address);
    let due: Arc<Mutex<Option<String>>> = Arc::default();
    scene.relay.rewrite(move |what, old| {
        if what == "GET /dir" {
            let text = String::from_utf8(old).unwrap();
            let mut directory: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            directory["renewalInfo"] = own.clone().into();
            return Some(answer("", &directory.to_string()));
        }
        let id = what.strip_prefix("GET /ari/")?.to_owned();
        let mut due = due.lock().unwrap();
        let year = if *due.get_or_insert(id.clone()) == id { 2020 } else { 2200 };
        let window = json!({ "start": format!("{year}-01-01T00:00:00Z"), "end": format!("{year}-01-02T00:00:00Z") });
        Some(answer("Retry-After: 21600\r\n", &json!({ "suggestedWindow": window }).to_string()))
    });
    scene.node.site("a", &hosts(2), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a certificate", || scene.has("issued", 1));
    running.stop();
    // The authority is asked when the gateway starts, and from then on as often as it likes.
    let running = server::start(scene.gateway()).unwrap();
    until("a renewal", || scene.has("issued", 2));
    let issued = scene.events("issued");
    let ordering = scene.events("ordering");
    assert_eq!(ordering[1]["replaces"], issued[0]["certificate"]);
    // Pebble does not repeat what is replaced, as it would have to, and the order that it took is found again.
    assert_eq!(scene.relay.asked("POST /order-plz"), 2);
    until("a handshake", || scene.shakes_hands("h1.old.example.org").is_ok());
    assert_eq!(scene.node.issued().len(), 2, "the old one stays until everybody has the new one");
    running.stop();

    let old = scene.node.certs().join(issued[0]["file"].as_str().unwrap());
    let new = scene.node.certs().join(issued[1]["file"].as_str().unwrap());
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options().append(true).open(&new).unwrap().set_modified(hour_ago).unwrap();
    let running = server::start(scene.gateway()).unwrap();
    until("the end of the old one", || !old.exists());
    until("its entry", || scene.has("ended", 1));
    assert!(new.exists() && scene.shakes_hands("h1.old.example.org").is_ok());
    assert!(scene.has("issued", 2));
    running.stop();
}

#[test]
fn a_certificate_is_revoked_and_its_names_get_another() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &hosts(1), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a certificate", || scene.has("issued", 1));
    let id = scene.events("issued")[0]["certificate"].as_str().unwrap().to_owned();
    let file = scene.node.issued()[0].0.clone();
    let challenges = Arc::new(Challenges::open(&scene.node.certs().join(STATE_FOLDER)));
    let engine = Engine::new(&scene.gateway(), challenges, Vec::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    until("the journal", || {
        let revoked = runtime.block_on(engine.revoke(&id, RevocationReason::KeyCompromise));
        // The gateway may be looking at it just now.
        revoked.is_ok() || {
            assert!(revoked.unwrap_err().to_string().contains("another process"));
            false
        }
    });
    let der = CertificateDer::from_pem_file(&file).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let status = scene.authority.manage(&format!("cert-status-by-serial/{:x}", parsed.serial));
    assert!(status.contains("\"Status\": \"Revoked\""), "{status}");
    let unknown = runtime.block_on(engine.revoke("none", RevocationReason::Unspecified)).unwrap_err().to_string();
    assert!(unknown.contains("knows no certificate none"), "{unknown}");
    running.stop();
    let running = server::start(scene.gateway()).unwrap();
    until("another certificate", || scene.has("issued", 2));
    running.stop();
    assert!(runtime.block_on(engine.once(&mut Session::default(), &|_| {})).is_ok());
}

/// What a process that is killed between two writes leaves behind: a ledger that ends with any of its lines, and the files
/// of the moment.
#[test]
fn a_ledger_that_ends_anywhere_leads_to_the_same_certificate() {
    let Some(scene) = Scene::new(Wish::default()) else { return };
    scene.node.site("a", &hosts(2), "");
    let running = server::start(scene.gateway()).unwrap();
    until("a certificate", || scene.has("issued", 1));
    running.stop();
    let certs = scene.node.certs();
    let path = certs.join("acme/.state/ledger.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines.len(), 4, "{whole}");
    let file = scene.node.issued()[0].0.clone();
    let pem = fs::read_to_string(&file).unwrap();
    let key = &pem[pem.find("-----BEGIN PRIVATE KEY-----").unwrap()..];
    // Before the key's file was known, before the certificate's was written, and before that was known; and a line that is
    // cut off.
    for (count, has_file, rest) in [(2, false, ""), (3, false, ""), (3, true, ""), (3, true, &lines[3][..20])] {
        fs::write(&path, format!("{}\n{rest}", lines[..count].join("\n"))).unwrap();
        fs::write(certs.join("acme/.state/orders/1.key"), key).unwrap();
        if !has_file {
            fs::remove_file(&file).unwrap();
        }
        let running = server::start(scene.gateway()).unwrap();
        until("the entry", || scene.has("issued", 1));
        until("the end of the key", || !certs.join("acme/.state/orders/1.key").exists());
        running.stop();
        assert_eq!(fs::read_to_string(&file).unwrap(), pem);
        assert_eq!(scene.node.issued().len(), 1);
    }
    assert_eq!(scene.relay.asked("POST /order-plz"), 1);
}
