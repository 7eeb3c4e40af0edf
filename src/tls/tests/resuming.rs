//! Sessions that one node of a fleet began and another resumes.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{tickets::Tickets, *};

/// A client that keeps its sessions, of one version.
fn returning(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = client(&[version], BOTH);
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

fn is_resumed(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> bool {
    let (_, server) = shake(server, client, "a.example").unwrap();
    server.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn a_session_is_resumed_at_another_node_as_long_as_its_key_lives() {
    static NOW: AtomicI64 = AtomicI64::new(1_800_000_000);
    const HOUR: i64 = 3_600;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &good("a.example").both());
    let (tls, _) = production(dir.path());
    let tickets = [(); 2].map(|()| Tickets::open(&dir.path().join(".tickets"), || NOW.load(Ordering::Relaxed)));
    let [one, other] = tickets.each_ref().map(|tickets| {
        let shared = Some(tickets.clone() as Arc<dyn ProducesTickets>);
        Arc::new(policy::server_config(TlsPolicy::Intermediate, tls.resolver.clone(), shared).unwrap())
    });
    let pass = |hours: i64| {
        NOW.fetch_add(hours * HOUR, Ordering::Relaxed);
        tickets.iter().for_each(|tickets| tickets.refresh());
    };
    for version in [&TLS13, &TLS12] {
        let (before, after, late) = (returning(version), returning(version), returning(version));
        assert!(!is_resumed(&one, &before) && is_resumed(&other, &before), "before a rotation");
        assert!(!is_resumed(&one, &after));
        pass(6);
        assert!(is_resumed(&other, &after), "after a rotation");
        assert!(!is_resumed(&one, &late));
        pass(12);
        assert!(!is_resumed(&other, &late) && is_resumed(&one, &late), "its key is gone, and it got another");
    }
}

#[test]
fn two_gateways_share_a_file_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &good("a.example").both());
    let node = |ticket_keys: Option<&str>| {
        let ticket_keys = ticket_keys.map(|name| dir.path().join(name));
        let tls = TlsSettings { mode: TlsMode::Production, ticket_keys, ..TlsSettings::default() };
        let gateway = Gateway { tls, ..settings(dir.path()) };
        Tls::open(&gateway, |_| true, challenges(dir.path()), Arc::new(Metrics::new().unwrap())).unwrap()
    };
    let (shared, alone) = ([(); 2].map(|()| node(Some(".tickets"))), [(); 2].map(|()| node(None)));
    for version in [&TLS13, &TLS12] {
        for (nodes, want) in [(&shared, true), (&alone, false)] {
            let client = returning(version);
            let [one, other] = nodes.each_ref().map(|(tls, _)| tls.server_config(&[]));
            assert!(!is_resumed(&one, &client));
            assert_eq!(is_resumed(&other, &client), want);
        }
    }
    // What is wrong with the file is told with each reload.
    write(dir.path(), ".tickets", "damaged");
    assert_eq!(codes(&shared[0].0.reload().unwrap()), ["ticket-keys"]);
    assert_eq!(codes(&node(Some(".tickets")).1), ["ticket-keys"]);
}
