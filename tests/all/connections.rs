//! Where connections come from, and how they end.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use waypost::{
    config::{Gateway, Limits},
    server,
};

use crate::{client::PATIENCE, serve};

/// What comes until the server closes in good order: a reset is an error.
fn read_all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_client_that_still_sends_gets_the_last_answer_and_no_reset() {
    let routes = serve::routes();
    let gateway = serve::gateway(routes.path());
    let gateway = Gateway { limits: Limits { requests: 2, ..gateway.limits }, ..gateway };
    let running = server::start(gateway).unwrap();
    // More than the gateway reads at once.
    let request = "GET /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n".repeat(5000);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.http[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answers = read_all(&stream);
        assert_eq!((answers.matches("HTTP/1.1 301").count(), answers.matches("Connection: close").count()), (2, 1));
    }
    running.stop();
}
