//! Bodies that are far larger than memory is to grow by, both ways, with the real program.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use crate::program::Program;

const HOST: &str = "old.example";

const LENGTH: u64 = 2 << 30;

/// How much more memory it may take, in KiB.
const GROWTH: u64 = 50 << 10;

const PIECE: usize = 1 << 20;

#[test]
fn two_gibibytes_pass_both_ways_in_little_memory() {
    let platform = platform();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let gateway = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\nadmin = \"127.0.0.1:0\"\n[process]\ndirectory = \"control\"\n\
         [platforms.new]\norigins = [\"http://{platform}\"]\n"
    );
    fs::write(folder.path().join("gateway.toml"), gateway).unwrap();
    let site = format!(
        "name = \"A\"\nhosts = [\"{HOST}\"]\nhome = \"https://new.example/\"\n[fallback]\naction = \"serve\"\nserve = \"new\"\n"
    );
    fs::write(folder.path().join("routes/a.toml"), site).unwrap();
    let program = Program::start(folder.path());
    let mut wire = BufReader::with_capacity(PIECE, TcpStream::connect(program.http[0]).unwrap());
    // What everything takes that is there for good.
    assert_eq!(get(&mut wire, "/10"), 10);
    let before = memory(&program, "VmRSS");
    // One that could be stored but for its size, one that may not be, and one that is sent.
    assert_eq!(get(&mut wire, &format!("/{LENGTH}")), LENGTH);
    assert_eq!(get(&mut wire, &format!("/private/{LENGTH}")), LENGTH);
    let mut sending = wire.get_ref().try_clone().unwrap();
    let sender = thread::spawn(move || {
        let head = format!("POST /form HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n");
        sending.write_all(head.as_bytes()).unwrap();
        write(&mut sending, LENGTH).unwrap();
    });
    let length = length(&read_head(&mut wire).unwrap());
    let mut told = vec![0; length as usize];
    wire.read_exact(&mut told).unwrap();
    assert_eq!(String::from_utf8(told).unwrap(), LENGTH.to_string());
    sender.join().unwrap();
    let grown = memory(&program, "VmHWM").saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB more at most");
}

fn get(wire: &mut BufReader<TcpStream>, path: &str) -> u64 {
    wire.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).unwrap();
    let head = read_head(wire).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    skip(wire, length(&head))
}

/// Kilobytes of the program's memory.
fn memory(program: &Program, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A platform that answers with as many bytes as its path says, or tells how many it was sent.
fn platform() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::with_capacity(PIECE, stream.unwrap());
            thread::spawn(move || while serve(&mut stream).is_some() {});
        }
    });
    address
}

/// None when the connection ends.
fn serve(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let head = read_head(stream)?;
    let path = head.split(' ').nth(1)?;
    if path == "/form" {
        let told = skip(stream, length(&head)).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
        return stream.get_mut().write_all(answer.as_bytes()).ok();
    }
    let length: u64 = path.rsplit('/').next()?.parse().ok()?;
    let how = if path.starts_with("/private") { "private" } else { "max-age=60" };
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: {how}\r\nContent-Length: {length}\r\n\r\n");
    stream.get_mut().write_all(head.as_bytes()).ok()?;
    write(stream.get_mut(), length)
}

fn write(stream: &mut TcpStream, mut length: u64) -> Option<()> {
    let piece = vec![b'x'; PIECE];
    while length > 0 {
        let part = length.min(PIECE as u64);
        stream.write_all(&piece[..part as usize]).ok()?;
        length -= part;
    }
    Some(())
}

fn skip(stream: &mut BufReader<TcpStream>, length: u64) -> u64 {
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).unwrap()
}

fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn length(head: &str) -> u64 {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(0, |(_, length)| length.parse().unwrap())
}
