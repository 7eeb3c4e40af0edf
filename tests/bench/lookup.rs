//! What the routing core costs: loading, memory, look-ups, rules, and one changed site.
//!
//! `cargo bench --bench lookup` prints the figures; `-- --mappings N --hosts N` sets the size (1,000,000 over 5,000).
//! Peers run in the same rounds: a `HashMap<String, String>` for look-ups, and one regex after the other for rules.
#![allow(unsafe_code, reason = "a counting allocator can't be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::HashMap,
    fmt::Write as _,
    fs,
    hint::black_box,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use waypost::{
    config::Gateway,
    model::{Method, Verdict},
    routing::{Loader, Request, Scratch, Snapshot},
};

/// Counts the bytes that are allocated and not yet freed.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only a counter is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 7;
const LOOKUPS: usize = 200_000;
const NOW: i64 = 1_800_000_000;

fn main() {
    let size = |flag: &str, default: usize| {
        let mut args = std::env::args().skip_while(|arg| arg != flag);
        args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (mappings, hosts) = (size("--mappings", 1_000_000), size("--hosts", 5_000));
    let folder = tempfile::tempdir().expect("a temporary folder");
    tables(folder.path(), mappings, hosts);
    rules(folder.path());
}

fn gateway(routes: &Path) -> Gateway {
    Gateway { routes: routes.to_owned(), ..Gateway::default() }
}

/// The old URL of a mapping: paths as content systems make them, about 40 bytes.
fn old_path(number: usize) -> String {
    format!("/art/20{:02}/{}/{}/art_{}_{number}.html", number % 19, number % 12 + 1, number % 28 + 1, number % 7919)
}

fn tables(folder: &Path, mappings: usize, hosts: usize) {
    let routes = folder.join("tables");
    fs::create_dir(&routes).expect("a folder");
    let per_host = mappings / hosts;
    let mut text_bytes = 0;
    for host in 0..hosts {
        let site = format!(
            "name = \"Site {host}\"\nhosts = [\"h{host}.old.example\"]\nhome = \"https://www.new.example/h{host}/\"\n"
        );
        let mut table = String::from("old,new,status\n");
        for n in 0..per_host {
            let number = host * per_host + n;
            let _ = writeln!(
                table,
                "{},https://www.new.example/h{host}/c{}/article-{number}.html,301",
                old_path(number),
                number % 97
            );
        }
        text_bytes += table.len();
        fs::write(routes.join(format!("s{host}.toml")), site).expect("a site file");
        fs::write(routes.join(format!("s{host}.csv")), table).expect("a table");
    }
    let before = LIVE.load(Ordering::Relaxed);
    let mut loader = Loader::new(&gateway(&routes));
    let start = Instant::now();
    let (snapshot, report) = loader.load(NOW, |_, _| {}).expect("the routes");
    let load = start.elapsed();
    assert_eq!((report.errors(), snapshot.mapping_count()), (0, per_host * hosts));
    let live = LIVE.load(Ordering::Relaxed) - before;
    println!(
        "tables: {} mappings over {hosts} hosts, {:.1} MB of mapping text",
        snapshot.mapping_count(),
        mb(text_bytes)
    );
    println!("  load                  {:.2} s   (target < 5 s)", load.as_secs_f64());
    println!(
        "  memory, mappings      {:.1} MB = {:.2} x the text   (target <= 1.5)",
        mb(snapshot.mapping_bytes()),
        ratio(snapshot.mapping_bytes(), text_bytes)
    );
    println!(
        "  memory, everything    {:.1} MB = {:.2} x the text, the loader's state and {hosts} sites included",
        mb(live),
        ratio(live, text_bytes)
    );

    let targets: Vec<(String, String)> = (0..LOOKUPS)
        .map(|n| {
            let number = n.wrapping_mul(2_654_435_761) % (per_host * hosts);
            (format!("h{}.old.example", number / per_host), old_path(number))
        })
        .collect();
    let peer: HashMap<String, String> = (0..per_host * hosts)
        .map(|number| {
            let host = number / per_host;
            (
                format!("h{host}.old.example{}", old_path(number)),
                format!("https://www.new.example/h{host}/c{}/article-{number}.html", number % 97),
            )
        })
        .collect();
    let numbers: HashMap<String, usize> =
        snapshot.sites().iter().enumerate().map(|(number, site)| (site.id.clone(), number)).collect();
    let keys: Vec<(usize, &str)> = targets
        .iter()
        .map(|(host, path)| {
            let name = host.split('.').next().unwrap_or_default().replacen('h', "s", 1);
            (numbers[&name], path.as_str())
        })
        .collect();
    let (mut ours, mut theirs, mut table) = (Vec::new(), Vec::new(), Vec::new());
    let mut single = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(per_item(LOOKUPS, || decide_all(&snapshot, &targets)));
        single.extend(decide_each(&snapshot, &targets));
        table.push(per_item(LOOKUPS, || {
            for (site, path) in &keys {
                assert!(black_box(snapshot.sites()[*site].mappings.get(path.as_bytes())).is_some());
            }
        }));
        theirs.push(per_item(LOOKUPS, || {
            for (host, path) in &targets {
                black_box(peer.get(&format!("{host}{path}")));
            }
        }));
    }
    let (ours, theirs, table) = (median(ours), median(theirs), median(table));
    single.sort_unstable();
    let percentile = |p: usize| single[(single.len() - 1) * p / 100];
    println!(
        "  look-up in a table    {table:.0} ns   (target < 1000; random mappings of random sites, so mostly waiting for memory)"
    );
    println!(
        "  whole decision        {ours:.0} ns on average; timed one by one: median {} ns, 99th percentile {} ns   (host, URL and table)",
        percentile(50),
        percentile(99)
    );
    println!(
        "  peer                  {theirs:.0} ns: one HashMap of {} \"host+path\" strings, no canonicalisation; average decision / peer {:.2}",
        peer.len(),
        ours / theirs
    );
    println!("  allocations           {} in {LOOKUPS} decisions", allocations(&snapshot, &targets));
    drop(peer);

    let mut changes = Vec::new();
    for round in 0..ROUNDS {
        let table = routes.join("s7.csv");
        let mut text = fs::read_to_string(&table).expect("a table");
        let _ = writeln!(text, "/new-{round}.html,https://www.new.example/{round},301");
        fs::write(&table, text).expect("a table");
        let start = Instant::now();
        let (snapshot, report) = loader.load(NOW, |_, _| {}).expect("the routes");
        changes.push(start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(report.rebuilt, ["s7"]);
        black_box(snapshot);
    }
    println!(
        "  one changed site      {:.1} ms median until its snapshot is there, 1 of {hosts} sites reparsed   (target < 500)",
        median(changes)
    );
}

fn rules(folder: &Path) {
    println!("rules: time of one decision, by rules of the site (the request matches the last rule)");
    for (name, rule) in [
        ("distinct prefixes", (|n| format!("/section{n}/{{id}}.html")) as fn(usize) -> String),
        ("one prefix, distinct ends", |n| format!("/{{dept}}/list{n}/{{id:[0-9]+}}.html")),
        ("query", |n| format!("/show{n}.asp?id={{id:[0-9]+}}")),
    ] {
        let mut figures = Vec::new();
        for count in [10, 100, 1000] {
            let routes = folder.join(format!("rules-{count}-{}", name.replace([' ', ','], "-")));
            fs::create_dir(&routes).expect("a folder");
            let mut site =
                String::from("name = \"Rules\"\nhosts = [\"r.old.example\"]\nhome = \"https://www.new.example/\"\n");
            for n in 0..count {
                let _ = writeln!(site, "[[rule]]\nfrom = '{}'\nto = \"https://www.new.example/{n}/{{id}}\"", rule(n));
            }
            fs::write(routes.join("r.toml"), site).expect("a site file");
            let (snapshot, report) = Loader::new(&gateway(&routes)).load(NOW, |_, _| {}).expect("the routes");
            assert_eq!(report.errors(), 0);
            let path = rule(count - 1)
                .replace("{id}", "abc-def")
                .replace("{id:[0-9]+}", "123456")
                .replace("{dept}", "education");
            let targets = vec![("r.old.example".to_owned(), path); 2000];
            let ours =
                median((0..ROUNDS).map(|_| per_item(targets.len(), || decide_all(&snapshot, &targets))).collect());
            figures.push((count, ours, linear(&rule, count, &targets[0].1)));
        }
        let (ten, thousand) = (figures[0].1, figures[2].1);
        let text: Vec<String> = figures
            .iter()
            .map(|(count, ours, peer)| format!("{count}: {ours:.0} ns (one regex after the other: {peer:.0})"))
            .collect();
        println!("  {name:<26} {}; 1000 cost {:.1} x 10", text.join(", "), thousand / ten);
    }
}

/// The peer: a list of regular expressions, tried in order.
fn linear(rule: &fn(usize) -> String, count: usize, path: &str) -> f64 {
    let list: Vec<regex::Regex> = (0..count)
        .map(|n| {
            let (path, query) = rule(n)
                .split_once('?')
                .map_or((rule(n), None), |(path, query)| (path.to_owned(), Some(query.to_owned())));
            let escaped = regex::escape(&path)
                .replace(r"\{id\}", "([^/]+)")
                .replace(r"\{id:\[0\-9\]\+\}", "([0-9]+)")
                .replace(r"\{dept\}", "([^/]+)");
            let query = query.map_or("", |_| r"\?id=([0-9]+)");
            regex::Regex::new(&format!("^{escaped}{query}$")).expect("a regex")
        })
        .collect();
    let find = || list.iter().find_map(|regex| regex.captures(black_box(path)));
    assert!(find().is_some(), "{path}");
    median(
        (0..ROUNDS)
            .map(|_| {
                per_item(200, || {
                    (0..200).for_each(|_| {
                        black_box(find());
                    })
                })
            })
            .collect(),
    )
}

fn decide_all(snapshot: &Snapshot, targets: &[(String, String)]) {
    let mut scratch = Scratch::default();
    for (host, path) in targets {
        let request = Request {
            method: Method::Get,
            host: Some(host.as_bytes()),
            target: path.as_bytes(),
            secure: false,
            user_agent: b"",
        };
        let decision = snapshot.decide(&request, NOW, &mut scratch);
        assert!(matches!(decision.verdict, Verdict::Redirect { .. }), "{host}{path}");
    }
}

/// Allocations of decisions in working space that has grown to its size.
fn allocations(snapshot: &Snapshot, targets: &[(String, String)]) -> usize {
    let mut scratch = Scratch::default();
    let mut decide = |(host, path): &(String, String)| {
        let request = Request {
            method: Method::Get,
            host: Some(host.as_bytes()),
            target: path.as_bytes(),
            secure: false,
            user_agent: b"",
        };
        black_box(snapshot.decide(&request, NOW, &mut scratch));
    };
    targets.iter().take(1000).for_each(&mut decide);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    targets.iter().for_each(decide);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Nanoseconds of each decision, the clock's own cost (some 20 ns) included.
fn decide_each(snapshot: &Snapshot, targets: &[(String, String)]) -> Vec<u64> {
    let mut scratch = Scratch::default();
    let decide = |(host, path): &(String, String)| {
        let request = Request {
            method: Method::Get,
            host: Some(host.as_bytes()),
            target: path.as_bytes(),
            secure: false,
            user_agent: b"",
        };
        let start = Instant::now();
        black_box(snapshot.decide(&request, NOW, &mut scratch));
        start.elapsed().as_nanos() as u64
    };
    targets.iter().map(decide).collect()
}

/// Nanoseconds per item.
fn per_item(items: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    let elapsed: Duration = start.elapsed();
    elapsed.as_nanos() as f64 / items as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
