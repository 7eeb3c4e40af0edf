//! An HTTP/2 client that sends whatever frames it is told to, in whatever order, and hears what comes back.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::client::{Dial, Heard, Wire};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags.
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113, 6.5.2).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Error codes (RFC 9113, 7).
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// How long an answer may take; nothing that a server must do is slower.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settings by their identifier.
pub type Settings = BTreeMap<u16, u32>;

#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn is(&self, kind: u8) -> bool {
        self.kind == kind
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error code of a RST_STREAM or GOAWAY.
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 10] = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        let name = NAMES.get(usize::from(self.kind)).unwrap_or(&"unknown");
        write!(f, "{name}(stream {}, flags {:#x}, {} bytes", self.stream, self.flags, self.payload.len())?;
        match self.error() {
            Some(error) => write!(f, ", error {error})"),
            None => f.write_str(")"),
        }
    }
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without indexing, no Huffman coding (RFC 7541, 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(text.len(), 7, 0, &mut out);
            out.extend(text.bytes());
        }
    }
    out
}

/// An integer with a prefix of `bits`, under the bits of `first` (RFC 7541, 5.1).
pub fn integer(value: usize, bits: u32, first: u8, out: &mut Vec<u8>) {
    let limit = (1 << bits) - 1;
    if value < limit {
        out.push(first | value as u8);
        return;
    }
    out.push(first | limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        out.push(0x80 | (rest % 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Frame(Frame),
    /// The server closed the connection.
    Closed,
    /// Nothing came in time.
    Silence,
}

pub struct Raw {
    wire: Wire,
    buffer: Vec<u8>,
    /// What the server set.
    pub settings: Settings,
    /// What came, for the report.
    pub heard: Vec<Event>,
}

impl Raw {
    pub fn connect(dial: &Dial) -> Self {
        let wire = dial.open().unwrap();
        Raw { wire, buffer: Vec::new(), settings: Settings::new(), heard: Vec::new() }
    }

    /// Prefaces and settings of both sides, acknowledged.
    ///
    /// # Errors
    /// If the server doesn't do its part.
    pub fn handshake(&mut self) -> Result<(), String> {
        let own = [&setting::INITIAL_WINDOW_SIZE.to_be_bytes()[..], &65_535_u32.to_be_bytes()].concat();
        self.send(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &own)].concat());
        let (mut set, mut acknowledged) = (false, false);
        while !(set && acknowledged) {
            match self.next() {
                Event::Frame(frame) if frame.is(kind::SETTINGS) && frame.has(flag::ACK) => acknowledged = true,
                Event::Frame(frame) if frame.is(kind::SETTINGS) => {
                    for entry in frame.payload.chunks_exact(6) {
                        let id = u16::from_be_bytes([entry[0], entry[1]]);
                        self.settings.insert(id, u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]));
                    }
                    set = true;
                }
                Event::Frame(_) => {}
                Event::Closed | Event::Silence => return Err(format!("no handshake: {:?}", self.heard)),
            }
        }
        self.send(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        self.heard.clear();
        Ok(())
    }

    /// Sends bytes. Whether the server has closed the connection is heard later.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.wire.send(bytes);
    }

    /// What comes next.
    pub fn next(&mut self) -> Event {
        let event = loop {
            if let Some(frame) = take(&mut self.buffer) {
                break Event::Frame(frame);
            }
            match self.wire.hear(&mut self.buffer, PATIENCE) {
                Heard::Bytes => {}
                Heard::Closed => break Event::Closed,
                Heard::Silence => break Event::Silence,
            }
        };
        self.heard.push(event.clone());
        event
    }
}

/// The first frame of what has come, if that is whole.
pub fn take(buffer: &mut Vec<u8>) -> Option<Frame> {
    let head = buffer.get(..9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (kind, flags) = (head[3], head[4]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7FFF_FFFF;
    let payload = buffer.get(9..9 + length)?.to_vec();
    buffer.drain(..9 + length);
    Some(Frame { kind, flags, stream, payload })
}
