//! HTTP/2 conformance: the cases of the public suite h2spec 2.6 (its numbers, RFC 7540's sections), 146 and the one that
//! it calls strict, over HTTP/2 with TLS and without.
//!
//! What each accepts is what that suite accepts: a connection error is a GOAWAY with the code or the end of the
//! connection; a stream error may be a RST_STREAM as well.

mod cases;
pub mod raw;

use crate::{
    lanes::Lane,
    serve::{gateway, routes},
};
use raw::{Event, Frame, Raw, Settings, code, flag, kind};

/// One conversation.
pub struct Case {
    /// Part of the suite, section, number.
    id: &'static str,
    what: &'static str,
    /// False where the connection is to be left as it is after it was made.
    handshake: bool,
    steps: Vec<Step>,
    want: Want,
}

/// Bytes by what the server set.
type BySettings = dyn Fn(&Settings) -> Vec<u8>;

pub enum Step {
    Send(Vec<u8>),
    /// Bytes that depend on what the server set.
    SendBy(Box<BySettings>),
    /// Waits for the acknowledgement of settings.
    Acknowledged,
    /// Waits for a DATA frame.
    Data,
    /// Waits for the end of the answer.
    Ended,
}

pub enum Want {
    /// GOAWAY with one of these codes, or the end of the connection.
    ConnectionError(&'static [u32]),
    /// The same, or a RST_STREAM with one of these codes.
    StreamError(&'static [u32]),
    GoAway(u32),
    Reset(u32),
    Closed,
    /// An answer to a PING with this payload.
    Ping([u8; 8]),
    PingOrClosed([u8; 8]),
    /// HEADERS on stream 1.
    Headers,
    /// A DATA frame, of this many bytes if that is said.
    DataOf(Option<usize>),
    Acknowledgement,
    /// SETTINGS as the very first frame.
    SettingsFirst,
}

#[test]
fn conformance() {
    let cases = cases::all("http");
    assert_eq!(cases.len(), 147);
    let routes = routes();
    let mut faults = Vec::new();
    for &lane in Lane::TWO {
        let running = lane.start(gateway(routes.path()));
        let dial = lane.dial(&running, cases::HOST);
        let mut failed = 0;
        for case in cases::all(if lane.is_tls() { "https" } else { "http" }) {
            let mut raw = Raw::connect(&dial);
            if let Err(fault) = case.run(&mut raw) {
                failed += 1;
                faults.push(format!("{lane}: {} ({}): {fault}", case.id, case.what));
            }
        }
        println!("{lane}: {} of {} cases pass", cases.len() - failed, cases.len());
        running.stop();
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

impl Case {
    fn run(&self, raw: &mut Raw) -> Result<(), String> {
        if self.handshake {
            raw.handshake()?;
        }
        for step in &self.steps {
            match step {
                Step::Send(bytes) => raw.send(bytes),
                Step::SendBy(bytes) => {
                    let bytes = bytes(&raw.settings);
                    raw.send(&bytes);
                }
                Step::Acknowledged => {
                    until(raw, "acknowledgement", |frame| frame.is(kind::SETTINGS) && frame.has(flag::ACK))?;
                }
                Step::Data => {
                    until(raw, "DATA", |frame| frame.is(kind::DATA))?;
                }
                Step::Ended => {
                    let ends = |frame: &Frame| {
                        (frame.is(kind::DATA) || frame.is(kind::HEADERS)) && frame.has(flag::END_STREAM)
                    };
                    until(raw, "end of the answer", ends)?;
                }
            }
        }
        self.want.check(raw)
    }
}

/// Waits for a frame.
fn until(raw: &mut Raw, what: &str, is_it: impl Fn(&Frame) -> bool) -> Result<Frame, String> {
    loop {
        match raw.next() {
            Event::Frame(frame) if is_it(&frame) => return Ok(frame),
            Event::Frame(_) => {}
            Event::Closed | Event::Silence => return Err(format!("no {what}: {:?}", raw.heard)),
        }
    }
}

impl Want {
    fn check(&self, raw: &mut Raw) -> Result<(), String> {
        loop {
            let event = raw.next();
            let met = match (self, &event) {
                (
                    Want::ConnectionError(_) | Want::StreamError(_) | Want::Closed | Want::PingOrClosed(_),
                    Event::Closed,
                ) => true,
                (Want::ConnectionError(codes), Event::Frame(frame)) => {
                    frame.is(kind::GOAWAY) && frame.error().is_some_and(|code| codes.contains(&code))
                }
                (Want::StreamError(codes), Event::Frame(frame)) => {
                    frame.error().is_some_and(|code| codes.contains(&code))
                }
                (Want::GoAway(code), Event::Frame(frame)) => frame.is(kind::GOAWAY) && frame.error() == Some(*code),
                (Want::Reset(code), Event::Frame(frame)) => {
                    frame.is(kind::RST_STREAM) && frame.stream == 1 && frame.error() == Some(*code)
                }
                (Want::Ping(data) | Want::PingOrClosed(data), Event::Frame(frame)) if frame.is(kind::PING) => {
                    if !frame.has(flag::ACK) || frame.payload != data {
                        return Err(format!("not the answer to the PING: {:?}", raw.heard));
                    }
                    true
                }
                (Want::Headers, Event::Frame(frame)) => frame.is(kind::HEADERS) && frame.stream == 1,
                (Want::DataOf(length), Event::Frame(frame)) if frame.is(kind::DATA) => {
                    if length.is_some_and(|length| frame.payload.len() != length) {
                        return Err(format!("DATA of another length: {:?}", raw.heard));
                    }
                    true
                }
                (Want::Acknowledgement, Event::Frame(frame)) => frame.is(kind::SETTINGS) && frame.has(flag::ACK),
                (Want::SettingsFirst, Event::Frame(frame)) => {
                    if !frame.is(kind::SETTINGS) || frame.has(flag::ACK) {
                        return Err(format!("something comes before the settings: {:?}", raw.heard));
                    }
                    true
                }
                _ => false,
            };
            match event {
                _ if met => return Ok(()),
                Event::Frame(_) => {}
                Event::Closed | Event::Silence => return Err(format!("{}, heard {:?}", self.told(), raw.heard)),
            }
        }
    }

    fn told(&self) -> String {
        match self {
            Want::ConnectionError(codes) => format!("wanted a GOAWAY with {codes:?} or the end"),
            Want::StreamError(codes) => format!("wanted a RST_STREAM or GOAWAY with {codes:?} or the end"),
            Want::GoAway(code) => format!("wanted a GOAWAY with {code}"),
            Want::Reset(code) => format!("wanted a RST_STREAM with {code}"),
            Want::Closed => "wanted the end of the connection".to_owned(),
            Want::Ping(_) => "wanted the answer to a PING".to_owned(),
            Want::PingOrClosed(_) => "wanted the answer to a PING or the end".to_owned(),
            Want::Headers => "wanted an answer".to_owned(),
            Want::DataOf(length) => format!("wanted DATA ({length:?} bytes)"),
            Want::Acknowledgement => "wanted the acknowledgement of settings".to_owned(),
            Want::SettingsFirst => "wanted settings first".to_owned(),
        }
    }
}

/// Codes by what they are about.
const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];
const CLOSED: &[u32] = &[code::STREAM_CLOSED];
const CLOSED_OR_PROTOCOL: &[u32] = &[code::STREAM_CLOSED, code::PROTOCOL_ERROR];
const SIZE: &[u32] = &[code::FRAME_SIZE_ERROR];
const SIZE_OR_PROTOCOL: &[u32] = &[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR];
const FLOW: &[u32] = &[code::FLOW_CONTROL_ERROR];
const COMPRESSION: &[u32] = &[code::COMPRESSION_ERROR];
const REFUSED: &[u32] = &[code::REFUSED_STREAM, code::PROTOCOL_ERROR];
