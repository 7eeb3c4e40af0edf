//! A gateway that is killed at any request of an order goes on where it was: no account, key or line of the ledger is
//! lost, and nothing is ordered twice. With the real program.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use waypost::{
    model::CHALLENGE_PATH,
    tls::{Challenges, STATE_FOLDER},
};

use super::{
    Node,
    authority::{Authority, Wish, is_there},
    relay::{Moment, Relay, ledger},
    until,
};
use crate::program::{Program, signal};

/// Another node of the fleet, which is not killed: an authority that asks just then would find nobody otherwise. It knows
/// what is in the folder that they share, and nothing else.
struct Neighbour {
    address: SocketAddr,
    state: Arc<Mutex<PathBuf>>,
}

impl Neighbour {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<PathBuf>> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                let challenges = Challenges::open(&shared.lock().unwrap());
                let token = line.split(' ').nth(1).and_then(|path| path.strip_prefix(CHALLENGE_PATH)).unwrap_or("");
                let body = challenges.key_authorization(token).unwrap_or_default();
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            }
        });
        Neighbour { address, state }
    }
}

/// gateway.toml of a node that orders at `relay` and is asked at `http`.
fn settings(authority: &Authority, relay: &Relay, http: u16) -> String {
    format!(
        r#"[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
threads = 1
[hits]
database = ""
[acme]
directory = "{}"
root = "{}"
agree-terms = true
dns = ["{}"]
challenge-port = {http}
"#,
        relay.directory(),
        authority.root().display(),
        authority.dns,
    )
}

fn account_key(node: &Node) -> Option<String> {
    let state = fs::read_dir(node.certs().join("acme/.state")).ok()?;
    let mut accounts = state
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("account-"));
    let account = accounts.next()?;
    assert_eq!(accounts.next(), None);
    let account: Value = serde_json::from_slice(&fs::read(account).unwrap()).unwrap();
    Some(account["key"].as_str().unwrap().to_owned())
}

fn is_issued(node: &Node) -> bool {
    ledger(&node.certs()).iter().any(|entry| entry["event"] == "issued")
}

/// Whether nothing of an order is left behind.
fn is_swept(node: &Node) -> bool {
    fs::read_dir(node.certs().join("acme/.state/orders")).unwrap().count() == 0
}

#[test]
fn a_gateway_that_is_killed_at_any_request_goes_on_where_it_was() {
    if !is_there() {
        return;
    }
    let neighbour = Neighbour::start();
    let port = neighbour.address.port();
    let authority = Authority::start(&Wish { http: port, tls: port, ..Wish::default() });
    let mut ended = [None; 2];
    for (place, moment) in [Moment::Before, Moment::After].into_iter().enumerate() {
        for number in 1.. {
            let relay = Relay::start(authority.folder.path(), authority.address);
            let node = Node::new();
            let hosts = [format!("a{place}-{number}.old.example.org"), format!("b{place}-{number}.old.example.org")];
            node.site("a", &hosts, "");
            fs::write(node.folder.path().join("gateway.toml"), settings(&authority, &relay, port)).unwrap();

            *neighbour.state.lock().unwrap() = node.certs().join(STATE_FOLDER);

            // The process is killed while a request of it waits.
            let process: Arc<Mutex<Option<u32>>> = Arc::default();
            let victim = process.clone();
            let killed = Arc::new(Mutex::new(None));
            let note = killed.clone();
            relay.judge(move |count, what, at| {
                if (count, at) != (number, moment) {
                    return true;
                }
                until("the start", || victim.lock().unwrap().is_some());
                signal(victim.lock().unwrap().unwrap(), "KILL");
                *note.lock().unwrap() = Some(what.to_owned());
                false
            });
            let mut program = Program::start(node.folder.path());
            *process.lock().unwrap() = Some(program.id());
            until("an end", || killed.lock().unwrap().is_some() || is_issued(&node));
            let Some(what) = killed.lock().unwrap().clone() else {
                ended[place] = Some(number);
                break;
            };
            program.end();
            let key = account_key(&node);
            let before = ledger(&node.certs()).len();

            relay.judge(|_, _, _| true);
            let again = Program::start(node.folder.path());
            until("a certificate", || is_issued(&node) && is_swept(&node));
            drop(again);
            let scene = format!("killed at request {number}, {what}, {moment:?}");
            let issued = node.issued();
            assert_eq!(issued.len(), 1, "{scene}");
            assert_eq!(issued[0].1, hosts, "{scene}");
            if let Some(key) = key {
                assert_eq!(account_key(&node), Some(key), "{scene}: another account");
            }
            let entries = ledger(&node.certs());
            assert!(entries.len() > before, "{scene}");
            assert!(entries.iter().all(|entry| entry["order"] == 1), "{scene}: {entries:#?}");
            assert_eq!(relay.asked("POST /order-plz"), 1, "{scene}: {entries:#?}");
        }
    }
    // An order takes more than a dozen requests, and each was a place to be killed at.
    assert!(ended.iter().all(|number| number.unwrap() > 12), "{ended:?}");
}
