//! Names get certificates, and what stands in the way is told.

use super::{
    Node,
    authority::{Authority, Wish, free_port, is_there},
    relay::{Relay, ledger},
    shakes_hands, start, until,
};

fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("h{number}.old.example.org")).collect()
}

#[test]
fn hosts_get_a_certificate_of_their_own_accord() {
    if !is_there() {
        return;
    }
    let [http, https] = [(); 2].map(|()| free_port().port());
    let authority = Authority::start(&Wish { http, tls: https, ..Wish::default() });
    let relay = Relay::start(authority.folder.path(), authority.address);
    let node = Node::new();
    node.site("a", &hosts(3), "https = \"redirect\"\n");
    let running = start(node.gateway(&authority, relay.directory(), [http, https]));
    until("a handshake", || shakes_hands(&authority, running.https[0], "h2.old.example.org").is_ok());
    assert_eq!(node.issued()[0].1, hosts(3));
    let events: Vec<String> =
        ledger(&node.certs()).iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["ordering", "ordered", "finalizing", "issued"]);
    assert_eq!((relay.asked("POST /order-plz"), relay.asked("POST /sign-me-up")), (1, 1));
    running.stop();
}
