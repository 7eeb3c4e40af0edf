//! Real visits, over real sockets, with a DNS server of the test's own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use waypost::{
    config::{Gateway, MonitorSettings},
    monitor::{Family, Finding, Visit, Visitor},
};

use super::{page, wait};

/// A web server on both families, on the same port, until the test ends.
pub struct Web {
    pub port: u16,
}

/// What it answers: by path.
const PAGES: &[(&str, &str)] = &[
    ("/", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("/moved", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    ("/round", "HTTP/1.1 301 Moved\r\nLocation: round\r\n\r\n"),
    ("/nowhere", "HTTP/1.1 301 Moved\r\nLocation: javascript:alert(1)\r\n\r\n"),
    ("/cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
    ("/500", "HTTP/1.1 500 No\r\n\r\n"),
    ("/404", "HTTP/1.1 404 No\r\n\r\n"),
    ("/ssh", "SSH-2.0-x\r\n\r\n"),
    ("/robots.txt", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
];

impl Web {
    pub fn start() -> Self {
        let (four, six) = both();
        let port = four.local_addr().unwrap().port();
        for listener in [four, six] {
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    thread::spawn(move || serve(stream));
                }
            });
        }
        Web { port }
    }
}

/// Two listeners with the same port.
fn both() -> (TcpListener, TcpListener) {
    loop {
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = four.local_addr().unwrap().port();
        if let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            return (four, six);
        }
    }
}

fn serve(stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let _ = lines.find(String::is_empty);
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let mut stream = stream;
    match PAGES.iter().find(|(of, _)| *of == path) {
        Some((_, answer)) => drop(stream.write_all(answer.as_bytes())),
        // Until the visitor goes.
        None if path == "/hang" => drop(lines.next()),
        None if path == "/drip" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        None if path == "/huge" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        }
        None => {}
    }
}

/// A DNS server that knows these names; of others it says that there are none.
fn dns(names: &'static [(&'static str, &'static [IpAddr])]) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let names: BTreeMap<&str, &[IpAddr]> = names.iter().copied().collect();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let mut name = Vec::new();
            let mut at = 12;
            while query[at] != 0 {
                let end = at + 1 + usize::from(query[at]);
                name.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
                at = end;
            }
            let (kind, end) = (query[at + 2], at + 5);
            let known = names.get(name.join(".").as_str());
            let addresses: Vec<Vec<u8>> = known
                .into_iter()
                .flat_map(|all| all.iter())
                .filter_map(|address| match (address, kind) {
                    (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
                    (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
                    _ => None,
                })
                .collect();
            let code = if known.is_some() { 0x80 } else { 0x83 };
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            for address in addresses {
                answer.extend([0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, address.len() as u8]);
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NAMES: &[(&str, &[IpAddr])] = &[
    ("both.example", &[FOUR, SIX]),
    ("four.example", &[FOUR]),
    ("six.example", &[SIX]),
    // Nobody listens at the first.
    ("many.example", &[IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99)), FOUR]),
];

fn settings() -> MonitorSettings {
    MonitorSettings { dns: vec![dns(NAMES)], timeout: Duration::from_secs(30), ..Gateway::default().monitor }
}

fn visit(settings: &MonitorSettings, url: &str) -> [Visit; 2] {
    let visitor = Visitor::new(settings).unwrap();
    let page = page(url);
    wait(async { [visitor.visit(&page, Family::V4).await, visitor.visit(&page, Family::V6).await] })
}

fn findings(settings: &MonitorSettings, url: &str) -> [Finding; 2] {
    visit(settings, url).map(|visit| visit.finding)
}

#[test]
fn each_family_for_itself() {
    let web = Web::start();
    let settings = settings();
    let port = web.port;
    use Finding::{Broken, Connect, Dns, NoAddress, Open, Redirects, Status};
    for (url, want) in [
        (format!("http://both.example:{port}/"), [Open, Open]),
        (format!("http://four.example:{port}/"), [Open, NoAddress]),
        (format!("http://six.example:{port}/"), [NoAddress, Open]),
        (format!("http://many.example:{port}/"), [Open, NoAddress]),
        (format!("http://127.0.0.1:{port}/"), [Open, NoAddress]),
        (format!("http://[::1]:{port}/"), [NoAddress, Open]),
        (format!("http://none.example:{port}/"), [Dns, NoAddress]),
        (format!("http://both.example:{port}/moved"), [Open, Open]),
        (format!("http://both.example:{port}/huge"), [Open, Open]),
        (format!("http://both.example:{port}/round"), [Redirects, Redirects]),
        (format!("http://both.example:{port}/nowhere"), [Redirects, Redirects]),
        (format!("http://both.example:{port}/cut"), [Broken, Broken]),
        (format!("http://both.example:{port}/ssh"), [Broken, Broken]),
        (format!("http://both.example:{port}/500"), [Status, Status]),
        (format!("http://both.example:{port}/404"), [Status, Status]),
        // A port that nobody has.
        ("http://both.example:1/".to_owned(), [Connect, Connect]),
        (format!("https://both.example:{port}/"), [Finding::Tls, Finding::Tls]),
    ] {
        assert_eq!(findings(&settings, &url), want, "{url}");
    }
    let [found, _] = visit(&settings, &format!("http://both.example:{port}/500"));
    assert_eq!(found.status, 500);
}

#[test]
fn what_is_too_slow_has_failed() {
    let web = Web::start();
    // In place of the 15 seconds.
    let settings = MonitorSettings { timeout: Duration::from_millis(300), ..settings() };
    for path in ["hang", "drip"] {
        let url = format!("http://both.example:{}/{path}", web.port);
        for visit in visit(&settings, &url) {
            assert_eq!(visit.finding, Finding::Timeout, "{url}");
            assert!(visit.took >= Duration::from_millis(300));
        }
    }
}

#[test]
fn a_network_of_our_own_that_is_away_is_no_failure() {
    let web = Web::start();
    let answering: SocketAddr = ([127, 0, 0, 1], web.port).into();
    let silent: SocketAddr = ([127, 0, 0, 1], 1).into();
    let silent_six: SocketAddr = (Ipv6Addr::LOCALHOST, 1).into();
    use Finding::{Connect, Dns, NoAddress, NoNetwork, Status};
    let nobody = "http://both.example:1/";
    for (references, want) in [
        (vec![], [Connect, Connect]),
        (vec![silent], [NoNetwork, Connect]),
        (vec![silent, silent_six], [NoNetwork, NoNetwork]),
        (vec![silent, answering, silent_six], [Connect, NoNetwork]),
    ] {
        let settings = MonitorSettings { references: references.clone(), ..settings() };
        assert_eq!(findings(&settings, nobody), want, "{references:?}");
    }
    // Who has answered is there.
    let settings = MonitorSettings { references: vec![silent, silent_six], ..settings() };
    assert_eq!(findings(&settings, &format!("http://both.example:{}/500", web.port)), [Status, Status]);
    assert_eq!(findings(&settings, "http://none.example/"), [NoNetwork, NoAddress]);
    let settings = MonitorSettings { references: vec![answering], ..settings };
    assert_eq!(findings(&settings, "http://none.example/"), [Dns, NoAddress]);
}

#[test]
fn certificates_are_verified() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["four.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ca.pem");
    std::fs::write(&root, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap());
    let (listener, _six) = both();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut line = String::new();
            if BufReader::new(&mut stream).read_line(&mut line).is_ok() {
                // The end of the connection is the end of the page, and nobody says so.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n<p>");
                let _ = stream.flush();
            }
        }
    });
    let trusting = MonitorSettings { root: Some(root.clone()), ..settings() };
    let url = |host: &str| format!("https://{host}:{port}/");
    assert_eq!(findings(&trusting, &url("four.example"))[0], Finding::Open);
    assert_eq!(findings(&trusting, &url("both.example"))[0], Finding::Tls);
    assert_eq!(findings(&settings(), &url("four.example"))[0], Finding::Tls);
    std::fs::write(&root, "nothing").unwrap();
    assert!(Visitor::new(&trusting).is_err_and(|error| error.to_string().contains("ca.pem")));
}
