//! The cases, as data: what is sent, and what must come back.

use super::{
    CLOSED, CLOSED_OR_PROTOCOL, COMPRESSION, Case, FLOW, PROTOCOL, REFUSED, SIZE, SIZE_OR_PROTOCOL, Step, Want, code,
    flag::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY},
    kind,
    raw::{self, PREFACE, Settings, block, setting},
};

/// The host that is asked for. Its answer must have a body of 5 bytes at least.
pub const HOST: &str = "jyj.old.example";
const PATH: &str = "/gone.htm";

/// A header of 4,000 bytes.
const DUMMY: usize = 4_000;

/// What a server takes if it doesn't say otherwise.
const MAX_FRAME_SIZE: u32 = 16_384;
const HEADER_TABLE_SIZE: u32 = 4_096;

const WHOLE: u8 = END_STREAM | END_HEADERS;
const TEST: [u8; 8] = *b"h2spec\0\0";
/// Priority fields: depends on nothing, weight 256.
const WEIGHT: [u8; 5] = [0, 0, 0, 0, 255];

/// Every case, for the scheme of the connection.
pub fn all(scheme: &str) -> Vec<Case> {
    let c = &Requests::new(scheme);
    [
        generic(c),
        generic_hpack(c),
        hpack(c),
        starting_and_framing(c),
        stream_states(c),
        frame_definitions(c),
        settings_and_windows(c),
        continuations_and_codes(c),
        messages(c),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The requests that the cases are made of.
struct Requests {
    fields: [(&'static str, String); 4],
    get: Vec<u8>,
    post: Vec<u8>,
    dummy: Vec<u8>,
}

impl Requests {
    fn new(scheme: &str) -> Self {
        let fields = [
            (":method", "GET".to_owned()),
            (":scheme", scheme.to_owned()),
            (":path", PATH.to_owned()),
            (":authority", HOST.to_owned()),
        ];
        let mut requests = Requests { fields, get: Vec::new(), post: Vec::new(), dummy: Vec::new() };
        requests.get = requests.with("GET", &[]);
        requests.post = requests.with("POST", &[]);
        requests.dummy = block(&[("x-dummy0", &"x".repeat(DUMMY))]);
        requests
    }

    /// A request with more header fields.
    fn with(&self, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut fields = self.pairs();
        fields[0].1 = method;
        fields.extend(more);
        block(&fields)
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// A GET without one of its four fields.
    fn without(&self, at: usize) -> Vec<u8> {
        let mut fields = self.pairs();
        fields.remove(at);
        block(&fields)
    }

    /// A GET whose block is followed by other bytes.
    fn get_and(&self, more: &[u8]) -> Step {
        headers(1, WHOLE, &[&self.get, more].concat())
    }

    /// A GET whose block begins with other bytes.
    fn get_after(&self, first: &[u8]) -> Step {
        headers(1, WHOLE, &[first, &self.get].concat())
    }
}

fn case(id: &'static str, what: &'static str, steps: Vec<Step>, want: Want) -> Case {
    Case { id, what, handshake: true, steps, want }
}

fn without_handshake(case: Case) -> Case {
    Case { handshake: false, ..case }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Step {
    Step::Send(raw::frame(kind, flags, stream, payload))
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Step {
    frame(kind::HEADERS, flags, stream, block)
}

fn continuation(stream: u32, flags: u8, block: &[u8]) -> Step {
    frame(kind::CONTINUATION, flags, stream, block)
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Step {
    frame(kind::DATA, flags, stream, payload)
}

fn priority(stream: u32, depends_on: u32, weight: u8) -> Step {
    frame(kind::PRIORITY, 0, stream, &[&depends_on.to_be_bytes()[..], &[weight]].concat())
}

fn reset(stream: u32, code: u32) -> Step {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn settings(settings: &[(u16, u32)]) -> Step {
    frame(kind::SETTINGS, 0, 0, &entries(settings))
}

fn entries(settings: &[(u16, u32)]) -> Vec<u8> {
    settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}

fn window(stream: u32, increment: u32) -> Step {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn ping(data: [u8; 8]) -> Step {
    frame(kind::PING, 0, 0, &data)
}

fn go_away(code: u32) -> Step {
    frame(kind::GOAWAY, 0, 0, &[0, code].map(u32::to_be_bytes).concat())
}

fn generic(c: &Requests) -> Vec<Case> {
    use Want::{Acknowledgement, DataOf, Headers, Ping, PingOrClosed, SettingsFirst};
    let initial = |size| settings(&[(setting::INITIAL_WINDOW_SIZE, size)]);
    let start = Step::Send([PREFACE, &raw::frame(kind::SETTINGS, 0, 0, &[])].concat());
    let padded = data(1, END_STREAM | PADDED, b"\x06test\0\0\0\0\0\0");
    let padded_head = [&[8], &c.get[..], &[0; 8]].concat();
    let weighted_head = [&WEIGHT, &c.get[..]].concat();
    let trailers = block(&[("x-test", "ok")]);
    vec![
        without_handshake(case("generic/1/1", "client preface", vec![start], SettingsFirst)),
        case("generic/2/1", "PRIORITY on an idle stream", vec![priority(1, 0, 255), ping(TEST)], Ping(TEST)),
        case(
            "generic/2/2",
            "WINDOW_UPDATE on a half-closed (remote) stream",
            vec![initial(0), headers(1, WHOLE, &c.get), window(1, 1)],
            DataOf(None),
        ),
        case(
            "generic/2/3",
            "PRIORITY on a half-closed (remote) stream",
            vec![initial(0), headers(1, WHOLE, &c.get), priority(1, 0, 255), window(1, 1)],
            DataOf(None),
        ),
        case(
            "generic/2/4",
            "RST_STREAM on a half-closed (remote) stream",
            vec![headers(1, WHOLE, &c.get), reset(1, code::CANCEL), ping(TEST)],
            PingOrClosed(TEST),
        ),
        case(
            "generic/2/5",
            "PRIORITY on a closed stream",
            vec![headers(1, WHOLE, &c.get), Step::Ended, priority(1, 0, 255), ping(TEST)],
            Ping(TEST),
        ),
        case("generic/3.1/1", "DATA", vec![headers(1, END_HEADERS, &c.post), data(1, END_STREAM, b"test")], Headers),
        case(
            "generic/3.1/2",
            "several DATA",
            vec![headers(1, END_HEADERS, &c.post), data(1, 0, b"test"), data(1, END_STREAM, b"test")],
            Headers,
        ),
        case("generic/3.1/3", "DATA with padding", vec![headers(1, END_HEADERS, &c.post), padded], Headers),
        case("generic/3.2/1", "HEADERS", vec![headers(1, WHOLE, &c.get)], Headers),
        case("generic/3.2/2", "HEADERS with padding", vec![headers(1, WHOLE | PADDED, &padded_head)], Headers),
        case("generic/3.2/3", "HEADERS with priority", vec![headers(1, WHOLE | PRIORITY, &weighted_head)], Headers),
        case("generic/3.3/1", "PRIORITY 1", vec![priority(1, 0, 0), headers(1, WHOLE, &c.get)], Headers),
        case("generic/3.3/2", "PRIORITY 256", vec![priority(1, 0, 255), headers(1, WHOLE, &c.get)], Headers),
        case("generic/3.3/3", "PRIORITY with dependency", vec![priority(3, 1, 0), headers(1, WHOLE, &c.get)], Headers),
        case(
            "generic/3.3/4",
            "PRIORITY with exclusive dependency",
            vec![priority(1, 1 << 31, 0), headers(1, WHOLE, &c.get)],
            Headers,
        ),
        case(
            "generic/3.3/5",
            "PRIORITY for an idle stream, then HEADERS for a lower one",
            vec![priority(3, 0, 255), headers(1, WHOLE, &c.get)],
            Headers,
        ),
        case(
            "generic/3.4/1",
            "RST_STREAM",
            vec![headers(1, END_HEADERS, &c.get), reset(1, code::CANCEL), ping(TEST)],
            PingOrClosed(TEST),
        ),
        case(
            "generic/3.5/1",
            "SETTINGS",
            vec![settings(&[
                (setting::HEADER_TABLE_SIZE, 4_096),
                (setting::ENABLE_PUSH, 1),
                (setting::MAX_CONCURRENT_STREAMS, 100),
                (setting::INITIAL_WINDOW_SIZE, 65_535),
                (setting::MAX_FRAME_SIZE, 16_384),
                (setting::MAX_HEADER_LIST_SIZE, 100),
            ])],
            Acknowledgement,
        ),
        case("generic/3.7/1", "PING", vec![ping(TEST)], Ping(TEST)),
        case("generic/3.8/1", "GOAWAY", vec![go_away(code::NO_ERROR), ping(TEST)], PingOrClosed(TEST)),
        case("generic/3.9/1", "WINDOW_UPDATE of the connection", vec![window(0, 1), ping(TEST)], Ping(TEST)),
        case("generic/3.9/2", "WINDOW_UPDATE of a stream", vec![headers(1, WHOLE, &c.get), window(1, 1)], Headers),
        case(
            "generic/3.10/1",
            "CONTINUATION",
            vec![headers(1, END_STREAM, &c.get[..5]), continuation(1, END_HEADERS, &c.get[5..])],
            Headers,
        ),
        case(
            "generic/3.10/2",
            "several CONTINUATION",
            vec![
                headers(1, END_STREAM, &c.get[..5]),
                continuation(1, 0, &c.get[5..10]),
                continuation(1, END_HEADERS, &c.get[10..]),
            ],
            Headers,
        ),
        case("generic/4/1", "GET", vec![headers(1, WHOLE, &c.get)], Headers),
        case("generic/4/2", "HEAD", vec![headers(1, WHOLE, &c.with("HEAD", &[]))], Headers),
        case("generic/4/3", "POST", vec![headers(1, END_HEADERS, &c.post), data(1, END_STREAM, b"test")], Headers),
        case(
            "generic/4/4",
            "POST with trailers",
            vec![
                headers(1, END_HEADERS, &c.with("POST", &[("trailer", "x-test")])),
                data(1, 0, b"test"),
                headers(1, WHOLE, &trailers),
            ],
            Headers,
        ),
    ]
}

/// Representations of header fields (RFC 7541, 6) that every decoder must take.
fn generic_hpack(c: &Requests) -> Vec<Case> {
    // Names and values with Huffman coding, and without.
    const USER_AGENT: &[u8] = b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93";
    const H2SPEC: &[u8] = b"\x84\x9c\x48\xac\xa4";
    const X_TEST: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff";
    const PLAIN_AGENT: &[u8] = b"\x0auser-agent\x06h2spec";
    const PLAIN_TEST: &[u8] = b"\x06x-test\x06h2spec";
    let agent = [USER_AGENT, H2SPEC].concat();
    let test = [X_TEST, H2SPEC].concat();
    let literal =
        |id, what, first: u8, rest: &[u8]| case(id, what, vec![c.get_and(&[&[first], rest].concat())], Want::Headers);
    let updated = |id, what, update: &[u8]| case(id, what, vec![c.get_after(update)], Want::Headers);
    vec![
        literal("generic/5/1", "indexed", 0xBA, b""),
        literal("generic/5/2", "incremental indexing, known name, Huffman", 0x40, &agent),
        literal("generic/5/3", "incremental indexing, known name", 0x40, PLAIN_AGENT),
        literal("generic/5/4", "incremental indexing, new name", 0x40, PLAIN_TEST),
        literal("generic/5/5", "incremental indexing, new name, Huffman", 0x40, &test),
        literal("generic/5/6", "without indexing, known name", 0x00, PLAIN_AGENT),
        literal("generic/5/7", "without indexing, known name, Huffman", 0x00, &agent),
        literal("generic/5/8", "without indexing, new name", 0x00, PLAIN_TEST),
        literal("generic/5/9", "without indexing, new name, Huffman", 0x00, &test),
        literal("generic/5/10", "never indexed, known name", 0x10, PLAIN_AGENT),
        literal("generic/5/11", "never indexed, known name, Huffman", 0x10, &agent),
        literal("generic/5/12", "never indexed, new name", 0x10, PLAIN_TEST),
        literal("generic/5/13", "never indexed, new name, Huffman", 0x10, &test),
        updated("generic/5/14", "dynamic table size update", b"\x20"),
        updated("generic/5/15", "two dynamic table size updates", b"\x20\x3f\xe1\x1f"),
    ]
}

fn hpack(c: &Requests) -> Vec<Case> {
    let bad = |id, what, more: &[u8]| case(id, what, vec![c.get_and(more)], Want::ConnectionError(COMPRESSION));
    let get = c.get.clone();
    let too_large = move |set: &Settings| {
        let size = set.get(&setting::HEADER_TABLE_SIZE).copied().unwrap_or(HEADER_TABLE_SIZE);
        let mut block = Vec::new();
        raw::integer(size as usize + 1, 5, 0x20, &mut block);
        block.extend(&get);
        raw::frame(kind::HEADERS, WHOLE, 1, &block)
    };
    vec![
        bad("hpack/2.3.3/1", "indexed, no such index", b"\xc6"),
        bad("hpack/2.3.3/2", "literal, no such index of a name", b"\x7f\x07\x00"),
        bad("hpack/4.2/1", "size update at the end of a block", b"\x21"),
        bad("hpack/5.2/1", "Huffman padding longer than 7 bits", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        bad("hpack/5.2/2", "Huffman padding of zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        bad("hpack/5.2/3", "Huffman with EOS", b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f"),
        bad("hpack/6.1/1", "indexed, index 0", b"\x80"),
        case(
            "hpack/6.3/1",
            "size update beyond SETTINGS_HEADER_TABLE_SIZE",
            vec![Step::SendBy(Box::new(too_large))],
            Want::ConnectionError(COMPRESSION),
        ),
    ]
}

fn starting_and_framing(c: &Requests) -> Vec<Case> {
    use Want::{Closed, ConnectionError, Headers, Ping, SettingsFirst, StreamError};
    let own = entries(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]);
    let start = Step::Send([PREFACE, &raw::frame(kind::SETTINGS, 0, 0, &own)].concat());
    let max_frame = |set: &Settings| set.get(&setting::MAX_FRAME_SIZE).copied().unwrap_or(MAX_FRAME_SIZE) as usize;
    let of = |length: usize| raw::frame(kind::DATA, END_STREAM, 1, &vec![b'x'; length]);
    let large_head = {
        let get = c.get.clone();
        move |set: &Settings| {
            let mut block = get.clone();
            while block.len() <= max_frame(set) {
                block.extend(raw::block(&[("x-dummy", &"x".repeat(DUMMY))]));
            }
            raw::frame(kind::HEADERS, WHOLE, 1, &block)
        }
    };
    vec![
        without_handshake(case("http2/3.5/1", "client preface", vec![start], SettingsFirst)),
        without_handshake(case(
            "http2/3.5/2",
            "invalid client preface",
            vec![Step::Send(b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec())],
            Closed,
        )),
        case("http2/4.1/1", "unknown frame type", vec![frame(0x16, 0, 0, &[0; 8]), ping(TEST)], Ping(TEST)),
        case("http2/4.1/2", "undefined flags", vec![frame(kind::PING, 0x16, 0, &TEST)], Ping(TEST)),
        case("http2/4.1/3", "reserved bit", vec![frame(kind::PING, 0x16, 1 << 31, &TEST)], Ping(TEST)),
        case(
            "http2/4.2/1",
            "DATA of 2^14 bytes",
            vec![headers(1, END_HEADERS, &c.post), Step::SendBy(Box::new(move |_| of(MAX_FRAME_SIZE as usize)))],
            Headers,
        ),
        case(
            "http2/4.2/2",
            "DATA beyond SETTINGS_MAX_FRAME_SIZE",
            vec![headers(1, END_HEADERS, &c.post), Step::SendBy(Box::new(move |set| of(max_frame(set) + 1)))],
            StreamError(SIZE),
        ),
        case(
            "http2/4.2/3",
            "HEADERS beyond SETTINGS_MAX_FRAME_SIZE",
            vec![Step::SendBy(Box::new(large_head))],
            ConnectionError(SIZE),
        ),
        case("http2/4.3/1", "invalid header block", vec![headers(1, WHOLE, b"\x40")], ConnectionError(COMPRESSION)),
        case(
            "http2/4.3/2",
            "PRIORITY within a header block",
            vec![headers(1, 0, &c.get), priority(1, 0, 255), continuation(1, END_HEADERS, &c.dummy)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/4.3/3",
            "HEADERS of another stream within a header block",
            vec![headers(1, 0, &c.get), headers(3, WHOLE, &c.get), continuation(1, END_HEADERS, &c.dummy)],
            ConnectionError(PROTOCOL),
        ),
    ]
}

fn stream_states(c: &Requests) -> Vec<Case> {
    use Want::{Closed, ConnectionError, GoAway, Ping, StreamError};
    let get = || headers(1, WHOLE, &c.get);
    let open = || headers(1, END_HEADERS, &c.get);
    let rest = || continuation(1, END_HEADERS, &c.dummy);
    let one_more_than_allowed = {
        let get = c.get.clone();
        move |set: &Settings| {
            let limit = set.get(&setting::MAX_CONCURRENT_STREAMS).copied().expect("a limit of streams");
            (0..=limit).flat_map(|n| raw::frame(kind::HEADERS, WHOLE, 2 * n + 1, &get)).collect()
        }
    };
    vec![
        case("http2/5.1/1", "idle: DATA", vec![data(1, END_STREAM, b"test")], ConnectionError(PROTOCOL)),
        case("http2/5.1/2", "idle: RST_STREAM", vec![reset(1, code::CANCEL)], ConnectionError(PROTOCOL)),
        case("http2/5.1/3", "idle: WINDOW_UPDATE", vec![window(1, 100)], ConnectionError(PROTOCOL)),
        case(
            "http2/5.1/4",
            "idle: CONTINUATION",
            vec![continuation(1, END_HEADERS, &c.get)],
            ConnectionError(PROTOCOL),
        ),
        case("http2/5.1/5", "half-closed: DATA", vec![get(), data(1, END_STREAM, b"test")], StreamError(CLOSED)),
        case("http2/5.1/6", "half-closed: HEADERS", vec![get(), get()], StreamError(CLOSED)),
        case(
            "http2/5.1/7",
            "half-closed: CONTINUATION",
            vec![get(), continuation(1, END_HEADERS, &c.get)],
            StreamError(CLOSED_OR_PROTOCOL),
        ),
        case(
            "http2/5.1/8",
            "closed: DATA after RST_STREAM",
            vec![open(), reset(1, code::CANCEL), data(1, END_STREAM, b"test")],
            StreamError(CLOSED),
        ),
        case(
            "http2/5.1/9",
            "closed: HEADERS after RST_STREAM",
            vec![open(), reset(1, code::CANCEL), get()],
            StreamError(CLOSED),
        ),
        case(
            "http2/5.1/10",
            "closed: CONTINUATION after RST_STREAM",
            vec![open(), reset(1, code::CANCEL), rest()],
            StreamError(CLOSED_OR_PROTOCOL),
        ),
        case(
            "http2/5.1/11",
            "closed: DATA",
            vec![get(), Step::Ended, data(1, END_STREAM, b"test")],
            StreamError(CLOSED),
        ),
        case("http2/5.1/12", "closed: HEADERS", vec![get(), Step::Ended, get()], ConnectionError(CLOSED)),
        case(
            "http2/5.1/13",
            "closed: CONTINUATION",
            vec![get(), Step::Ended, rest()],
            ConnectionError(CLOSED_OR_PROTOCOL),
        ),
        case("http2/5.1.1/1", "an even stream", vec![headers(2, WHOLE, &c.get)], ConnectionError(PROTOCOL)),
        case(
            "http2/5.1.1/2",
            "a stream below the last",
            vec![headers(5, WHOLE, &c.get), headers(3, WHOLE, &c.get)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/5.1.2/1",
            "more streams than allowed",
            vec![settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]), Step::SendBy(Box::new(one_more_than_allowed))],
            StreamError(REFUSED),
        ),
        case(
            "http2/5.3.1/1",
            "HEADERS that depend on themselves",
            vec![headers(1, WHOLE | PRIORITY, &[&[0, 0, 0, 1, 255], &c.get[..]].concat())],
            StreamError(PROTOCOL),
        ),
        case("http2/5.3.1/2", "PRIORITY that depends on itself", vec![priority(1, 1, 255)], StreamError(PROTOCOL)),
        case("http2/5.4.1/1", "a connection error closes the connection", vec![frame(kind::PING, 0, 3, &TEST)], Closed),
        case(
            "http2/5.4.1/2",
            "a connection error sends GOAWAY (strict)",
            vec![frame(kind::PING, 0, 3, &TEST)],
            GoAway(code::PROTOCOL_ERROR),
        ),
        case("http2/5.5/1", "unknown extension frame", vec![frame(0x16, 0, 0, &[0; 8]), ping(TEST)], Ping(TEST)),
        case(
            "http2/5.5/2",
            "unknown extension frame within a header block",
            vec![headers(1, END_STREAM, &c.get), frame(0x16, 0, 0, &[0; 8])],
            ConnectionError(PROTOCOL),
        ),
    ]
}

fn frame_definitions(c: &Requests) -> Vec<Case> {
    use Want::{ConnectionError, StreamError};
    let get = || headers(1, WHOLE, &c.get);
    vec![
        case("http2/6.1/1", "DATA on stream 0", vec![data(0, END_STREAM, b"test")], ConnectionError(PROTOCOL)),
        case(
            "http2/6.1/2",
            "DATA on a stream that is not open",
            vec![headers(1, WHOLE, &c.post), data(1, END_STREAM, b"test")],
            StreamError(CLOSED),
        ),
        case(
            "http2/6.1/3",
            "DATA with too much padding",
            vec![
                headers(1, END_HEADERS, &c.with("POST", &[("content-length", "4")])),
                data(1, END_STREAM | PADDED, b"\x06test"),
            ],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.2/1",
            "HEADERS without END_HEADERS, then PRIORITY",
            vec![headers(1, 0, &c.get), priority(1, 0, 255), continuation(1, END_HEADERS, &c.dummy)],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.2/2",
            "HEADERS without END_HEADERS, then HEADERS of another stream",
            vec![headers(1, 0, &c.get), headers(3, WHOLE, &c.get), continuation(1, END_HEADERS, &c.dummy)],
            ConnectionError(PROTOCOL),
        ),
        case("http2/6.2/3", "HEADERS on stream 0", vec![headers(0, WHOLE, &c.get)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.2/4",
            "HEADERS with too much padding",
            vec![headers(1, WHOLE | PADDED, &[&[c.get.len() as u8 + 2], &c.get[..]].concat())],
            StreamError(PROTOCOL),
        ),
        case("http2/6.3/1", "PRIORITY on stream 0", vec![priority(0, 0, 255)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.3/2",
            "PRIORITY of 4 bytes",
            vec![get(), frame(kind::PRIORITY, 0, 1, b"\x80\0\0\x01")],
            StreamError(SIZE),
        ),
        case("http2/6.4/1", "RST_STREAM on stream 0", vec![reset(0, code::CANCEL)], ConnectionError(PROTOCOL)),
        case("http2/6.4/2", "RST_STREAM on an idle stream", vec![reset(1, code::CANCEL)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.4/3",
            "RST_STREAM of 3 bytes",
            vec![get(), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
            StreamError(SIZE),
        ),
        case(
            "http2/6.5/1",
            "SETTINGS with ACK and payload",
            vec![frame(kind::SETTINGS, ACK, 0, &[0])],
            ConnectionError(SIZE),
        ),
        case(
            "http2/6.5/2",
            "SETTINGS on a stream",
            vec![frame(kind::SETTINGS, 0, 1, &entries(&[(setting::MAX_CONCURRENT_STREAMS, 100)]))],
            ConnectionError(PROTOCOL),
        ),
        case(
            "http2/6.5/3",
            "SETTINGS of 3 bytes",
            vec![frame(kind::SETTINGS, 0, 0, b"\0\x03\0")],
            StreamError(SIZE_OR_PROTOCOL),
        ),
    ]
}

fn settings_and_windows(c: &Requests) -> Vec<Case> {
    use Want::{Acknowledgement, ConnectionError, DataOf, GoAway, Ping, Reset, StreamError};
    let get = || headers(1, WHOLE, &c.get);
    let initial = |size| settings(&[(setting::INITIAL_WINDOW_SIZE, size)]);
    let bad_setting =
        |id, what, name, value, codes| case(id, what, vec![settings(&[(name, value)])], ConnectionError(codes));
    const MOST: u32 = 0x7FFF_FFFF;
    vec![
        bad_setting("http2/6.5.2/1", "ENABLE_PUSH 2", setting::ENABLE_PUSH, 2, PROTOCOL),
        bad_setting("http2/6.5.2/2", "INITIAL_WINDOW_SIZE 2^31", setting::INITIAL_WINDOW_SIZE, MOST + 1, FLOW),
        bad_setting("http2/6.5.2/3", "MAX_FRAME_SIZE 16,383", setting::MAX_FRAME_SIZE, 16_383, PROTOCOL),
        bad_setting("http2/6.5.2/4", "MAX_FRAME_SIZE 2^24", setting::MAX_FRAME_SIZE, 1 << 24, PROTOCOL),
        case("http2/6.5.2/5", "unknown setting", vec![settings(&[(0xFF, 1)]), ping(TEST)], Ping(TEST)),
        case(
            "http2/6.5.3/1",
            "INITIAL_WINDOW_SIZE twice: the last counts",
            vec![
                settings(&[(setting::INITIAL_WINDOW_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 1)]),
                Step::Acknowledged,
                get(),
            ],
            DataOf(Some(1)),
        ),
        case(
            "http2/6.5.3/2",
            "SETTINGS are acknowledged",
            vec![settings(&[(setting::ENABLE_PUSH, 0)])],
            Acknowledgement,
        ),
        case("http2/6.7/1", "PING is answered with its payload", vec![ping(TEST)], Ping(TEST)),
        case(
            "http2/6.7/2",
            "PING with ACK is not answered",
            vec![frame(kind::PING, ACK, 0, b"invalid\0"), ping(TEST)],
            Ping(TEST),
        ),
        case("http2/6.7/3", "PING on a stream", vec![frame(kind::PING, 0, 1, &TEST)], ConnectionError(PROTOCOL)),
        case("http2/6.7/4", "PING of 6 bytes", vec![frame(kind::PING, 0, 0, &TEST[..6])], ConnectionError(SIZE)),
        case("http2/6.8/1", "GOAWAY on a stream", vec![frame(kind::GOAWAY, 0, 1, &[0; 8])], ConnectionError(PROTOCOL)),
        case("http2/6.9/1", "WINDOW_UPDATE of 0", vec![window(0, 0)], ConnectionError(PROTOCOL)),
        case(
            "http2/6.9/2",
            "WINDOW_UPDATE of 0 on a stream",
            vec![headers(1, END_HEADERS, &c.get), window(1, 0)],
            StreamError(PROTOCOL),
        ),
        case(
            "http2/6.9/3",
            "WINDOW_UPDATE of 3 bytes",
            vec![frame(kind::WINDOW_UPDATE, 0, 0, b"\0\0\x01")],
            ConnectionError(SIZE),
        ),
        case("http2/6.9.1/1", "a window of 1", vec![initial(1), Step::Acknowledged, get()], DataOf(Some(1))),
        case(
            "http2/6.9.1/2",
            "the connection's window beyond 2^31-1",
            vec![window(0, MOST), window(0, MOST)],
            GoAway(code::FLOW_CONTROL_ERROR),
        ),
        case(
            "http2/6.9.1/3",
            "a stream's window beyond 2^31-1",
            vec![headers(1, END_HEADERS, &c.get), window(1, MOST), window(1, MOST)],
            Reset(code::FLOW_CONTROL_ERROR),
        ),
        case(
            "http2/6.9.2/1",
            "INITIAL_WINDOW_SIZE changes after HEADERS",
            vec![initial(0), Step::Acknowledged, get(), initial(1), Step::Acknowledged],
            DataOf(Some(1)),
        ),
        case(
            "http2/6.9.2/2",
            "a window that becomes negative",
            vec![initial(3), Step::Acknowledged, get(), Step::Data, initial(2), Step::Acknowledged, window(1, 2)],
            DataOf(Some(1)),
        ),
        bad_setting("http2/6.9.2/3", "INITIAL_WINDOW_SIZE beyond 2^31-1", setting::INITIAL_WINDOW_SIZE, MOST + 1, FLOW),
    ]
}

fn continuations_and_codes(c: &Requests) -> Vec<Case> {
    use Want::{ConnectionError, Headers, Ping, PingOrClosed};
    let more = |stream| continuation(stream, 0, &c.dummy);
    let last = |stream| continuation(stream, END_HEADERS, &c.dummy);
    let bad = |id, what, steps| case(id, what, steps, ConnectionError(PROTOCOL));
    vec![
        case("http2/6.10/1", "several CONTINUATION", vec![headers(1, END_STREAM, &c.get), more(1), last(1)], Headers),
        bad(
            "http2/6.10/2",
            "CONTINUATION, then another frame",
            vec![headers(1, 0, &c.post), more(1), data(1, END_STREAM, b"test")],
        ),
        bad("http2/6.10/3", "CONTINUATION on stream 0", vec![headers(1, END_STREAM, &c.get), last(0)]),
        bad("http2/6.10/4", "CONTINUATION after END_HEADERS", vec![headers(1, WHOLE, &c.get), last(1)]),
        bad(
            "http2/6.10/5",
            "CONTINUATION after CONTINUATION with END_HEADERS",
            vec![headers(1, END_STREAM, &c.get), last(1), last(1)],
        ),
        bad(
            "http2/6.10/6",
            "CONTINUATION after DATA",
            vec![headers(1, 0, &c.post), data(1, END_STREAM, b"test"), more(1), last(0)],
        ),
        case("http2/7/1", "GOAWAY with an unknown code", vec![go_away(0xFF), ping(TEST)], PingOrClosed(TEST)),
        case(
            "http2/7/2",
            "RST_STREAM with an unknown code",
            vec![headers(1, END_HEADERS, &c.post), reset(1, 0xFF), ping(TEST)],
            Ping(TEST),
        ),
    ]
}

fn messages(c: &Requests) -> Vec<Case> {
    let malformed =
        |id, what, block: &[u8]| case(id, what, vec![headers(1, WHOLE, block)], Want::StreamError(PROTOCOL));
    let with = |id, what, more: &[(&str, &str)]| malformed(id, what, &c.with("GET", more));
    let after = |id, what, trailers: &[(&str, &str)]| {
        let steps =
            vec![headers(1, END_HEADERS, &c.post), data(1, 0, b"test"), headers(1, END_HEADERS, &block(trailers))];
        case(id, what, steps, Want::StreamError(PROTOCOL))
    };
    let body = |id, what, parts: &[&[u8]]| {
        let mut steps = vec![headers(1, END_HEADERS, &c.with("POST", &[("content-length", "1")]))];
        steps.extend((1..).zip(parts).map(|(n, part)| data(1, u8::from(n == parts.len()) * END_STREAM, part)));
        case(id, what, steps, Want::StreamError(PROTOCOL))
    };
    let late = {
        let mut fields = vec![("x-test", "ok")];
        fields.extend(c.pairs());
        block(&fields)
    };
    let pathless = {
        let mut fields = c.pairs();
        fields[2].1 = "";
        block(&fields)
    };
    let again = |id, what, at: usize| with(id, what, &[c.pairs()[at]]);
    let promise = [&3_u32.to_be_bytes()[..], &c.get].concat();
    vec![
        after("http2/8.1/1", "a second HEADERS without END_STREAM", &[("x-test", "ok")]),
        with("http2/8.1.2/1", "a name in upper case", &[("X-TEST", "ok")]),
        with("http2/8.1.2.1/1", "an unknown pseudo-header", &[(":test", "ok")]),
        with("http2/8.1.2.1/2", "a pseudo-header of responses", &[(":status", "200")]),
        after("http2/8.1.2.1/3", "a pseudo-header among trailers", &[(":method", "POST")]),
        malformed("http2/8.1.2.1/4", "pseudo-headers after a header", &late),
        with("http2/8.1.2.2/1", "Connection", &[("connection", "keep-alive")]),
        with("http2/8.1.2.2/2", "TE other than trailers", &[("trailers", "test"), ("te", "trailers, deflate")]),
        malformed("http2/8.1.2.3/1", "an empty :path", &pathless),
        malformed("http2/8.1.2.3/2", "no :method", &c.without(0)),
        malformed("http2/8.1.2.3/3", "no :scheme", &c.without(1)),
        malformed("http2/8.1.2.3/4", "no :path", &c.without(2)),
        again("http2/8.1.2.3/5", "two :method", 0),
        again("http2/8.1.2.3/6", "two :scheme", 1),
        again("http2/8.1.2.3/7", "two :path", 2),
        body("http2/8.1.2.6/1", "Content-Length is not the length of DATA", &[b"test"]),
        body("http2/8.1.2.6/2", "Content-Length is not the length of several DATA", &[b"test", b"test"]),
        case(
            "http2/8.2/1",
            "PUSH_PROMISE",
            vec![frame(kind::PUSH_PROMISE, END_HEADERS, 1, &promise)],
            Want::ConnectionError(PROTOCOL),
        ),
    ]
}
