//! What a replay costs: lines a second over a log that is made up for it, plain and packed, with one tree of routes and with two.
//!
//! `cargo bench --bench replay` prints the figures; `-- --lines N --sites N --mappings N --rounds N` sets the size (10,000,000
//! lines, 3,206 sites, 200,000 mappings, 3 rounds). The log takes some 150 bytes of disk a line.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    thread,
};

use waypost::{
    config::Gateway,
    replay::{Input, Job, Report, judge::Judge, replay},
    routing::{Loader, Snapshot},
};

/// What is asked for.
#[derive(Clone, Copy)]
struct Size {
    lines: usize,
    sites: usize,
    mappings: usize,
    rounds: usize,
}

fn main() {
    let size = |flag: &str, default: usize| {
        let mut args = std::env::args().skip_while(|arg| arg != flag);
        args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let size = Size {
        lines: size("--lines", 10_000_000),
        sites: size("--sites", 3_206),
        mappings: size("--mappings", 200_000),
        rounds: size("--rounds", 3),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    routes(&one, size, "c");
    routes(&other, size, "d");
    let log = folder.path().join("access.log");
    write_log(&log, size);
    let packed = folder.path().join("access.log.gz");
    pack(&log, &packed);
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len()) as f64 / 1e6;
    println!(
        "{} lines, {:.0} MB ({:.0} MB packed); {} sites, {} mappings; {} threads",
        size.lines,
        bytes(&log),
        bytes(&packed),
        size.sites,
        size.mappings,
        threads()
    );
    measure("plain", size, || job(&one, None, &log));
    measure("packed by gzip", size, || job(&one, None, &packed));
    measure("against other routes", size, || job(&one, Some(&other), &log));
    println!("  peak memory            {:.0} MB", peak_memory());
}

fn measure(name: &str, size: Size, job: impl Fn() -> Job) {
    let (mut speeds, mut costs) = (Vec::new(), Vec::new());
    let mut last: Option<Report> = None;
    for _ in 0..size.rounds {
        let job = job();
        let before = processor_time();
        let report = replay(&job, |_| {});
        costs.push((processor_time() - before) / size.lines as f64 * 1e9);
        assert_eq!((report.lines, report.unreadable), (size.lines as u64, 0));
        speeds.push(report.lines as f64 / report.seconds);
        last = Some(report);
    }
    speeds.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    let Some(report) = last else { return };
    println!(
        "  {name:<22} {:.2} million lines a second, the median of {} (target > 1); {:.0} ns of processor time a line   covered {:.1} %, {} URLs{}{}",
        speeds[speeds.len() / 2] / 1e6,
        size.rounds,
        costs[costs.len() / 2],
        report.total.covered.hits_share * 100.0,
        report.total.all.urls,
        if report.urls_exact { "" } else { " (an estimate)" },
        report.changes.map_or_else(String::new, |changes| format!(", {} of them change", changes.urls)),
    );
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

fn job(routes: &Path, against: Option<&Path>, log: &Path) -> Job {
    Job {
        inputs: vec![Input::File(log.to_owned())],
        format: None,
        must_be: None,
        host: None,
        secure: false,
        judge: Judge::new(load(routes), NOW),
        against: against.map(|routes| Judge::new(load(routes), NOW)),
        site: None,
        since: None,
        until: None,
        top: 20,
        threads: threads(),
    }
}

fn load(routes: &Path) -> Snapshot {
    let gateway = Gateway { routes: routes.to_owned(), ..Gateway::default() };
    let (snapshot, report) = Loader::new(&gateway).load(NOW, |_, _| {}).expect("the routes");
    assert_eq!(report.errors(), 0, "{:?}", report.diagnostics.first());
    snapshot
}

/// Sites with a table, two rules and a query that names pages. `column` tells one tree from the other: in every tenth site.
fn routes(folder: &PathBuf, size: Size, column: &str) {
    fs::create_dir(folder).expect("a folder");
    for site in 0..size.sites {
        let column = if site % 10 == 0 { column } else { "c" };
        let text = format!(
            "name = \"Site {site}\"\nhosts = [\"s{site}.old.example\", \"www.s{site}.old.example\"]\nhome = \"https://www.new.example/s{site}/\"\n\
             [url]\nkeep-query = [\"id\"]\nindex = [\"index.html\"]\n\
             [[rule]]\nfrom = \"/col/{{id:[0-9]+}}/index.html\"\nto = \"https://www.new.example/s{site}/{column}/{{id}}\"\n\
             [[rule]]\nfrom = \"/old/{{*rest}}\"\ngone = true\n"
        );
        let mut table = String::from("old,new\n");
        for page in 0..size.mappings / size.sites {
            let _ = writeln!(table, "{},https://www.new.example/s{site}/{column}/{page}.html", page_of(site, page));
        }
        fs::write(folder.join(format!("s{site}.toml")), text).expect("a site file");
        fs::write(folder.join(format!("s{site}.csv")), table).expect("a table");
    }
}

fn page_of(site: usize, page: usize) -> String {
    format!("/art/20{:02}/{}/art_{site}_{page}.html", page % 19, page % 12 + 1)
}

/// Lines as Apache's `vhost_combined`: sites and pages by Zipf's law, a tenth unmapped, some assets, queries, GBK, scanners.
fn write_log(path: &Path, size: Size) {
    let mut random = Random(42);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("the log"));
    let pages = (size.mappings / size.sites).max(1);
    for line in 0..size.lines {
        let site = random.zipf(size.sites);
        let page = random.zipf(pages * 3);
        let target = match random.next() % 100 {
            0..45 => page_of(site, page % pages),
            45..60 => format!("/col/{}/index.html", page + 1),
            60..65 => format!("/old/{page}.htm"),
            65..72 => "/".to_owned(),
            72..80 => format!("/show.asp?id={page}&utm_source=x"),
            80..90 => format!("/images/{page}/logo.gif"),
            90..94 => format!("/%B9%AB%B8%E6/{page}.html"),
            94..98 => format!("/WEB/{page}/List.ASPX?page=2"),
            _ => "/wp-login.php".to_owned(),
        };
        let status = if random.next().is_multiple_of(8) { 404 } else { 200 };
        let host = if line % 50 == 0 { format!("nobody{}.example", page % 10) } else { format!("s{site}.old.example") };
        writeln!(
            out,
            "{host}:80 10.{}.{}.7 - - [10/Oct/2020:13:55:36 +0800] \"GET {target} HTTP/1.1\" {status} 5120 \"-\" \
             \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/86.0 Safari/537.36\"",
            random.next() % 256,
            random.next() % 256,
        )
        .expect("room for the log");
    }
    out.flush().expect("room for the log");
}

fn pack(from: &Path, to: &Path) {
    let file = File::create(to).expect("the packed log");
    let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::copy(&mut File::open(from).expect("the log"), &mut packer).expect("room for the packed log");
    packer.finish().expect("room for the packed log");
}

/// Megabytes that the process had in memory at most.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().split(' ').next().and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or_default() / 1e3
}

/// Seconds of processor time that the process has taken: what others take of a busy machine is not in it.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    // In hundredths of a second, whatever the kernel's own clock.
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// xorshift64*, seeded: the same log each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A number below `n` by Zipf's law with exponent 1, as the logarithm is its sum.
    fn zipf(&mut self, n: usize) -> usize {
        let share = self.next() as f64 / (1u64 << 53) as f64;
        ((n as f64 + 1.0).powf(share) - 1.0) as usize
    }
}

const NOW: i64 = 1_800_000_000;
