//! Origins that misbehave: each gives the client a defined answer, and none spoils a connection for the next request.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use socket2::SockRef;
use waypost::server;

use crate::client::{Heard, PATIENCE, head};
use crate::lanes::Lane;
use crate::platforms;
use crate::relay::HOST;

/// What an origin does after it has sent its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It waits for the next request.
    Waits,
    /// It closes.
    Closes,
    /// It resets the connection.
    Resets,
    /// It says nothing more, and doesn't listen either.
    Stalls,
}

/// What the client has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A page of the gateway's own.
    Failed(u16),
    /// The whole of this body.
    Whole(&'static str),
    /// An answer that can be seen not to be whole.
    Cut,
}

use Outcome::{Cut, Failed, Whole};
use Then::{Closes, Resets, Stalls, Waits};

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// The name of a misbehaviour, what is sent, what then, and what the client has of it.
const ORIGINS: &[(&str, &str, Then, Outcome)] = &[
    ("closes at once", "", Closes, Failed(502)),
    ("resets at once", "", Resets, Failed(502)),
    ("says nothing", "", Stalls, Failed(504)),
    ("speaks no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", Closes, Failed(502)),
    ("speaks half a status line", "HTTP/1.1 20", Closes, Failed(502)),
    ("closes within the head", "HTTP/1.1 200 OK\r\nContent-Le", Closes, Failed(502)),
    ("stalls within the head", "HTTP/1.1 200 OK\r\nContent-Le", Stalls, Failed(504)),
    ("has a bad status", "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", Waits, Failed(502)),
    ("has a bad field", "HTTP/1.1 200 OK\r\nA\0b: c\r\nContent-Length: 0\r\n\r\n", Waits, Failed(502)),
    ("has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Waits, Failed(502)),
    ("has a bad length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", Waits, Failed(502)),
    ("closes too early", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Closes, Cut),
    ("resets too early", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Resets, Cut),
    ("stalls too early", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Stalls, Cut),
    ("has a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", Waits, Cut),
    ("has half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", Closes, Cut),
    ("has no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", Closes, Cut),
    (
        "has a length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
        Waits,
        Whole("good"),
    ),
    ("is of the last century", "HTTP/1.0 200 OK\r\n\r\ngood", Closes, Whole("good")),
    (
        "sends more than it said",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Waits,
        Whole("good"),
    ),
    (
        "sends a body that no client expects",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Waits,
        Whole(""),
    ),
    (
        "hints before it answers",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        Waits,
        Whole("good"),
    ),
];

/// A server that does what the number in the path says, and answers `/good` and `/evil-later` as a server should; after
/// the latter it says more than it was asked for, and tells what it hears then.
fn start() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(&stream.unwrap(), &sender));
        }
    });
    (address, heard)
}

fn serve(mut stream: &TcpStream, sender: &mpsc::Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?;
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        if path == "/endless" {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
            // Until the gateway has had enough.
            for number in 0.. {
                stream.write_all(format!("X-{number}: {}\r\n", "x".repeat(1000)).as_bytes()).ok()?;
            }
        }
        let (bytes, then) = match path.strip_prefix("/").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => (ORIGINS[number].1, ORIGINS[number].2),
            None => (good, Waits),
        };
        stream.write_all(bytes.as_bytes()).ok()?;
        if path == "/evil-later" {
            stream.write_all(EVIL.as_bytes()).ok()?;
            let mut heard = String::new();
            let _ = reader.read_line(&mut heard);
            sender.send(heard).ok()?;
            return None;
        }
        match then {
            Waits => {}
            Closes => return None,
            Resets => {
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok()?;
                return None;
            }
            Stalls => {
                // Nobody reads what may come.
                let mut gone = String::new();
                reader.read_line(&mut gone).ok()?;
                return None;
            }
        }
    }
}

/// What comes of a GET, read until it is whole or the connection ends: status, whether it is whole, body.
fn get(lane: Lane, running: &server::Running, path: &str) -> (u16, bool, String) {
    let mut wire = lane.dial(running, HOST).open().unwrap();
    wire.send(&head("GET", HOST, path.as_bytes(), &[], b"")).unwrap();
    let mut buffer = Vec::new();
    loop {
        if let Some(got) = parse(&buffer, false) {
            return got;
        }
        match wire.hear(&mut buffer, PATIENCE) {
            Heard::Bytes => {}
            Heard::Closed => return parse(&buffer, true).unwrap_or((0, false, String::new())),
            Heard::Silence => panic!("{path}: {}", buffer.escape_ascii()),
        }
    }
}

fn parse(buffer: &[u8], is_closed: bool) -> Option<(u16, bool, String)> {
    let text = String::from_utf8_lossy(buffer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
    if status < 200 {
        return parse(body.as_bytes(), is_closed);
    }
    let head = head.to_ascii_lowercase();
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
    if status == 204 {
        return Some((status, true, String::new()));
    }
    if field("transfer-encoding").is_some() {
        let whole = body.strip_suffix("0\r\n\r\n");
        let chunks = whole.unwrap_or(body);
        let decoded = chunks.split("\r\n").skip(1).step_by(2).collect();
        return (whole.is_some() || is_closed).then_some((status, whole.is_some(), decoded));
    }
    match field("content-length") {
        Some(length) => {
            let whole = body.len() >= length.parse().unwrap();
            (whole || is_closed).then(|| (status, whole, body.to_owned()))
        }
        None => is_closed.then(|| (status, true, body.to_owned())),
    }
}

#[test]
fn each_misbehaviour_has_a_defined_answer_and_spoils_nothing() {
    for lane in [Lane::Fast, Lane::Tls13] {
        let (address, heard) = start();
        let settings = format!(
            "origins = [\"http://{address}\"]\nread-time = 300\nretries = 1\neject = {{ failures = 1000, time = 1 }}"
        );
        let (_folder, gateway) = platforms::gateway(&settings);
        let running = lane.start(gateway);
        for (number, (name, _, _, want)) in ORIGINS.iter().enumerate() {
            let (status, whole, body) = get(lane, &running, &format!("/{number}"));
            match *want {
                Failed(wanted) => assert!(whole && status == wanted, "{lane}: {name}: {status} {whole} {body}"),
                Whole(wanted) => assert!(whole && body == wanted, "{lane}: {name}: {status} {whole} {body}"),
                Cut => assert!(!whole && status == 200 && body == "half", "{lane}: {name}: {status} {whole} {body}"),
            }
            assert!(!body.contains("evil"), "{lane}: {name}: {body}");
            for _ in 0..3 {
                assert_eq!(get(lane, &running, "/good"), (200, true, "good".to_owned()), "{lane}: after {name}");
            }
        }
        assert_eq!(get(lane, &running, "/endless").0, 502, "{lane}");
        // A connection over which something comes while it is idle serves no other request. (Had one been sent meanwhile,
        // nobody could tell whose answer it is.)
        for _ in 0..3 {
            assert_eq!(get(lane, &running, "/evil-later"), (200, true, "good".to_owned()), "{lane}");
            assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok(""), "{lane}");
            assert_eq!(get(lane, &running, "/good"), (200, true, "good".to_owned()), "{lane}");
        }
        running.stop();
    }
}
