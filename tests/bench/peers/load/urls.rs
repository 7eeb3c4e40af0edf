//! What is asked for.

use std::fs;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Uri;
use rustls::pki_types::ServerName;

/// What Firefox sends with a navigation, less what only makes it longer.
pub const HEADERS: [(&str, &str); 4] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "zh-CN,zh;q=0.8,en-US;q=0.5,en;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
];

/// The URLs, ready to be sent.
pub struct Urls {
    pub all: Vec<Url>,
    /// Where each host's URLs are, in `all`.
    pub hosts: Vec<(ServerName<'static>, std::ops::Range<usize>)>,
}

/// One of them.
pub struct Url {
    pub head: Bytes,
    pub uri: Uri,
    pub location: String,
}

impl Urls {
    pub fn read(path: &str, bare: bool) -> anyhow::Result<Urls> {
        let mut urls = Urls { all: Vec::new(), hosts: Vec::new() };
        let mut last = String::new();
        for line in fs::read_to_string(path).with_context(|| path.to_owned())?.lines() {
            let mut fields = line.split('\t').map(str::to_owned);
            let (Some(host), Some(path), Some(location)) = (fields.next(), fields.next(), fields.next()) else {
                bail!("a line of the URLs is not host, path, Location: {line}");
            };
            let mut head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
            for (name, value) in HEADERS.iter().filter(|_| !bare) {
                head += &format!("{name}: {value}\r\n");
            }
            head += "\r\n";
            let at = urls.all.len();
            urls.all.push(Url { head: head.into(), uri: format!("https://{host}{path}").parse()?, location });
            if host != last {
                urls.hosts.push((ServerName::try_from(host.clone())?, at..at));
                last = host;
            }
            urls.hosts.last_mut().context("there is a host")?.1.end = at + 1;
        }
        ensure!(!urls.all.is_empty(), "no URLs");
        Ok(urls)
    }
}

/// xorshift64*: which URL comes next.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize) % end
    }
}
