//! `waypost purge`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};

use super::report::print;
use super::{NodeArgs, PurgeArgs, load};

/// Has the running gateway forget cached answers.
pub(super) fn run(node: &NodeArgs, admin: Option<SocketAddr>, what: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let address = admin.unwrap_or(gateway.admin);
    let query = match (&what.url, &what.host, &what.tag) {
        (Some(url), _, _) => format!("url={}", escaped(url)),
        (_, Some(host), _) => format!("host={}", escaped(host)),
        (_, _, Some(tag)) => format!("tag={}", escaped(tag)),
        _ => "all".to_owned(),
    };
    let answer =
        ask(address, &query).with_context(|| format!("the gateway at {address} can't be asked: is it running?"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 200") {
        bail!("not purged: {}", body.trim());
    }
    print(body)
}

fn ask(address: SocketAddr, query: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /purge?{query} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(5);
