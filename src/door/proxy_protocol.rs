//! The PROXY protocol, versions 1 and 2 (haproxy's specification): who the client is, from a proxy in front.

use std::{io, net::SocketAddr};

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a header says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It is this one.
    Client(SocketAddr),
    /// Nothing: the proxy itself asks (a health check), or the client has no address that we know of.
    Nobody,
}

/// Reads the header that a connection begins with, and not a byte more.
///
/// # Errors
/// If there is none, it is malformed, or the peer is gone.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Named> {
    // The shortest header is `PROXY UNKNOWN` with its line end.
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SHORTEST..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > MOST_FACTS {
            return Err(malformed());
        }
        header.resize(FIXED + rest, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
    } else {
        // A line has to be read to its end byte by byte, since what follows it is not ours.
        while !header.ends_with(b"\r\n") {
            if !header.starts_with(b"PROXY ") || header.len() >= LONGEST_LINE {
                return Err(malformed());
            }
            header.push(stream.read_u8().await?);
        }
    }
    named(HeaderResult::parse(&header))
}

fn named(parsed: HeaderResult<'_>) -> io::Result<Named> {
    let named = match parsed {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(tcp) => Named::Client((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Named::Client((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Unknown => Named::Nobody,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Named::Client((ip.source_address, ip.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Named::Client((ip.source_address, ip.source_port).into()),
            _ => Named::Nobody,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(malformed()),
    };
    Ok(named)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the connection does not begin with a PROXY header")
}

const SHORTEST: usize = 15;

/// Bytes of a version 1 header.
const LONGEST_LINE: usize = 107;

/// Bytes of a version 2 header before its addresses.
const FIXED: usize = 16;

/// Version 2 may carry kilobytes of TLS facts after the addresses.
const MOST_FACTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    async fn seen(header: &[u8]) -> (Option<Named>, String) {
        let bytes = [header, b"GET / HTTP/1.1"].concat();
        let mut rest = &bytes[..];
        let named = read(&mut rest).await.ok();
        (named, String::from_utf8_lossy(rest).into_owned())
    }

    #[tokio::test]
    async fn headers_name_the_client_and_end_where_they_end() {
        let version_2 = |command: u8, family: u8, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, addresses].concat()
        };
        let v4 = [192, 0, 2, 1, 127, 0, 0, 1, 0xC0, 0, 0, 80];
        let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0xC0, 0, 0, 80]].concat();
        let long = [&v4[..], &[4, 0, 100], &[0; 100]].concat();
        let client = |text: &str| Some(Named::Client(text.parse().unwrap()));
        for (header, want) in [
            (b"PROXY TCP4 192.0.2.1 127.0.0.1 49152 80\r\n".to_vec(), client("192.0.2.1:49152")),
            (b"PROXY TCP6 2001:db8::1 ::1 49152 80\r\n".to_vec(), client("[2001:db8::1]:49152")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(Named::Nobody)),
            (version_2(1, 0x11, &v4), client("192.0.2.1:49152")),
            (version_2(1, 0x21, &v6), client("[2001:db8::1]:49152")),
            (version_2(1, 0x11, &long), client("192.0.2.1:49152")),
            (version_2(0, 0, &[]), Some(Named::Nobody)),
        ] {
            assert_eq!(seen(&header).await, (want, "GET / HTTP/1.1".to_owned()), "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        let huge = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xFF, 0xFF], &[0; 70_000]].concat();
        for header in [
            &b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 127.0.0.1 99999 80\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 1 80\r\n",
            long.as_bytes(),
            &huge,
        ] {
            assert_eq!(seen(header).await.0, None, "{}", header[..20].escape_ascii());
        }
    }
}
