//! What the counters of 5,000 sites cost: memory, a request, a scrape.
//!
//! `cargo bench --bench metrics [-- --sites N]`

#![allow(clippy::unwrap_used, reason = "a benchmark that panics says why")]

use std::{env, fs, hint::black_box, path::Path, sync::Arc, time::Instant};

use waypost::{
    config::Gateway,
    model::Outcome,
    routing::Loader,
    telemetry::{Exchange, Lane, Metrics, Protocol, SiteCounters},
};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let sites = arguments.iter().position(|argument| argument == "--sites").map_or(5_000, |at| {
        arguments.get(at + 1).and_then(|number| number.parse().ok()).expect("--sites takes a number")
    });
    let routes = tempfile::tempdir().unwrap();
    (0..sites).for_each(|number| write_site(routes.path(), number));
    let gateway = Gateway { routes: routes.path().to_owned(), ..Gateway::default() };
    let (snapshot, _) = Loader::new(&gateway).load(0, |_, _| {}).unwrap();
    let snapshot = Arc::new(snapshot);

    let before = resident();
    let metrics = Metrics::new().unwrap();
    let counters: Vec<Arc<SiteCounters>> = (0..sites).map(|_| Arc::default()).collect();
    metrics.set_live(&snapshot, &counters);
    // A usual mix: three kinds of answers over both versions, each in two lanes.
    let kinds = [(Outcome::Redirect, 301), (Outcome::NotFound, 404), (Outcome::Robots, 200), (Outcome::Serve, 200)];
    let ways = [(Protocol::Http11, Lane::Fast), (Protocol::Http11, Lane::Session), (Protocol::Http2, Lane::Http2)];
    let exchanges: Vec<Exchange<'_>> = kinds
        .iter()
        .flat_map(|&(outcome, status)| {
            ways.iter().map(move |&(protocol, lane)| Exchange {
                outcome,
                status,
                protocol,
                lane,
                took: 60,
                sent: 300,
                ..Exchange::default()
            })
        })
        .collect();
    for counters in &counters {
        exchanges.iter().for_each(|exchange| metrics.count(counters, exchange));
    }
    println!("memory of {sites} sites: {:.1} MB", (resident() - before) as f64 / 1e6);

    let rounds = 2_000_000;
    let start = Instant::now();
    for round in 0..rounds {
        // Another site each time, so that nothing is in the nearest cache by chance.
        let (site, kind) = (round * 7_919 % sites, round % exchanges.len());
        metrics.count(&counters[site], black_box(&exchanges[kind]));
    }
    println!("a request: {:.1} ns", start.elapsed().as_nanos() as f64 / rounds as f64);

    for (name, scrape) in [
        ("/metrics", &(|| metrics.text().unwrap()) as &dyn Fn() -> Vec<u8>),
        ("/metrics/sites", &|| metrics.sites_text().into_bytes()),
    ] {
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let start = Instant::now();
                black_box(scrape());
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let text = scrape();
        let series = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
        println!("{name}: {series} series, {:.1} MB, {:.1} ms (median of 5)", text.len() as f64 / 1e6, times[2]);
    }
    println!("memory after that: {:.1} MB", (resident() - before) as f64 / 1e6);
}

fn write_site(routes: &Path, number: usize) {
    let folder = routes.join(format!("prefecture{}/county{}", number % 14, number % 131));
    fs::create_dir_all(&folder).unwrap();
    let site = format!(
        "name = \"Site {number}\"\nhosts = [\"s{number}.old.example\"]\nhome = \"https://www.new.example/\"\nowner = \"county{}\"\nwave = {}\n",
        number % 131,
        number % 3 + 1
    );
    fs::write(folder.join(format!("s{number}.toml")), site).unwrap();
}

/// Bytes of memory that are in use.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
