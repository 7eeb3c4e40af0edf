//! What counting hits costs: time of a hit, memory, time and size of a flush.
//!
//! `cargo bench --bench hits` prints the figures for a busy province (3,206 sites, few URLs with most hits) and for a flood of
//! URLs that nobody ever asked for before.

#![allow(clippy::unwrap_used, reason = "a bench that panics says why")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use waypost::{
    config::{Gateway, HitsDatabase, HitsSettings},
    hits::{self, Collector, Stats},
    model::Outcome,
    telemetry::{Consumer, Exchange},
};

const SITES: u64 = 3_206;
const HITS: u64 = 3_000_000;

fn main() {
    let mut random = Random(7);
    let mut province: Vec<(String, String)> = Vec::new();
    for _ in 0..200_000 {
        // Of a site's 1,000 URLs the n-th has 1/n of the hits of the first, about.
        let (site, url) = (random.next() % SITES, (1_000.0_f64).powf(random.share()) as u64);
        province.push((
            format!("province/county{}/site{site}", site % 14),
            format!("/art/2012/11/23/art_{site}_{url}.html"),
        ));
    }
    run("a province", HITS, |n| {
        let (site, url) = &province[(n % province.len() as u64) as usize];
        (site.clone(), url.clone())
    });
    run("a flood at one site", HITS, |n| ("province/county1/site1".to_owned(), format!("/art/{n:x}/index_{n}.html")));
    run("a flood at all sites", HITS, |n| {
        (format!("province/county1/site{}", n % SITES), format!("/art/{n:x}/index_{n}.html"))
    });
}

fn run(name: &str, hits: u64, url: impl Fn(u64) -> (String, String)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hits.sqlite");
    let settings = HitsSettings {
        database: Some(HitsDatabase::Sqlite(file.clone())),
        flush: Duration::from_secs(3600),
        ..Gateway::default().hits
    };
    let (mut collector, stats) = hits::open(&settings).unwrap().unwrap();
    let before = resident();
    let mut spent = Duration::ZERO;
    let mut n = 0;
    while n < hits {
        let some: Vec<_> = (n..n + 10_000).map(&url).collect();
        let start = Instant::now();
        for (site, key) in &some {
            collector.exchange(&exchange(site, key));
        }
        spent += start.elapsed();
        n += 10_000;
    }
    let memory = resident().saturating_sub(before);
    println!(
        "{name}: {:.0} ns a hit; {hits} hits of {} URLs in {:.0} MB",
        spent.as_secs_f64() * 1e9 / hits as f64,
        entries(&mut collector, &stats),
        memory as f64 / 1e6
    );
    let start = Instant::now();
    collector.end();
    assert_eq!(stats.lost(), 0);
    // The end waits for ten seconds at most.
    while stats.written() < hits {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "{name}: written in {:.2} s, {:.1} MB on the disk, {} hits without a URL",
        start.elapsed().as_secs_f64(),
        size(&file) as f64 / 1e6,
        stats.unnamed()
    );
}

fn entries(collector: &mut Collector, stats: &Stats) -> u64 {
    collector.pause();
    stats.entries()
}

fn exchange<'a>(site: &'a str, key: &'a str) -> Exchange<'a> {
    Exchange {
        at: 1_795_395_600_000_000,
        status: 404,
        outcome: Outcome::NotFound,
        unmapped: true,
        site,
        host: b"www.old.example",
        target: key.as_bytes(),
        key: key.as_bytes(),
        referer: b"https://www.baidu.com/link?url=abcdefghijklmnopqrstuvwxyz",
        user_agent: b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        ..Exchange::default()
    }
}

fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 56) as f64
    }
}
