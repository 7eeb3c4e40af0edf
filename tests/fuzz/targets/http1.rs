//! Heads and bodies of HTTP/1: any bytes, in any pieces; no panic, and the pieces say what the whole says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::door::{
    body::{Body, Framing},
    head::{Bounds, parse},
};

const BOUNDS: Bounds = Bounds { target: 512, head: 1024, fields: 16 };

fuzz_target!(|data: &[u8]| {
    let whole = parse(data, BOUNDS);
    if let Ok(Some(head)) = &whole {
        assert!(head.length <= data.len() && head.skipped + head.line <= head.length);
        assert!(data[..head.length].ends_with(b"\r\n\r\n"), "a head ends with an empty line");
        assert!(!head.target.is_empty() && !head.target.iter().any(|&b| b <= b' ' || b == 0x7F));
        assert!(head.host.is_some() || !head.is_1_1);
        assert_eq!(parse(&data[..head.length], BOUNDS), whole, "what follows a head is not looked at");
        for part in 0..head.length {
            assert_eq!(parse(&data[..part], BOUNDS), Ok(None), "a part of a good head is no fault and no head");
        }
        pass(&data[head.length..], head.framing);
    }
    pass(data, Framing::Chunked);
});

/// A body ends at the same byte however it comes.
fn pass(bytes: &[u8], framing: Framing) {
    let mut body = Body::new(framing);
    let whole = body.pass(bytes);
    let mut in_pieces = Body::new(framing);
    let mut passed = 0;
    for piece in bytes.chunks(3) {
        match in_pieces.pass(piece) {
            Ok(count) => passed += count,
            Err(_) => {
                assert!(whole.is_err());
                return;
            }
        }
    }
    assert_eq!(whole.map(|count| (count, body.is_done())), Ok((passed, in_pieces.is_done())));
}
