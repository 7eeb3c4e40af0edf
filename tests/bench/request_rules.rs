//! What request rules cost: 1,000 rules as operators write them, asked of usual requests, together and one after the
//! other.
//!
//! `cargo bench --bench request_rules` prints the figures.

use std::{fmt::Write as _, hint::black_box, ops::ControlFlow, path::Path, time::Instant};

use waypost::{
    config::{Gateway, RequestRule},
    guard::{Crawlers, Declared, RuleSet, View},
};

const ROUNDS: usize = 7;
const REQUESTS: usize = 20_000;

const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

fn main() {
    for count in [10, 100, 1_000] {
        let rules = rules(count);
        let start = Instant::now();
        let together = RuleSet::new(&rules);
        let compiled = start.elapsed();
        let alone: Vec<RuleSet> = rules.iter().map(|rule| RuleSet::new(std::slice::from_ref(rule))).collect();
        let requests: Vec<Asked> = (0..REQUESTS).map(Asked::new).collect();
        let hits: usize = requests.iter().map(|asked| holding(&together, asked)).sum();
        let naive: usize = requests.iter().take(500).map(|asked| one_by_one(&alone, asked)).sum();
        let same: usize = requests.iter().take(500).map(|asked| holding(&together, asked)).sum();
        assert_eq!(naive, same);
        let ours = median(|| per_request(&requests, |asked| holding(&together, asked)));
        let peer = median(|| per_request(&requests[..500], |asked| one_by_one(&alone, asked)));
        println!(
            "{count:>5} rules: {ours:>7.0} ns a request (one after the other: {peer:.0} ns), {hits} hits of {REQUESTS}, compiled in {:.1} ms",
            compiled.as_secs_f64() * 1e3
        );
    }
}

/// Rules of all kinds, as often as operators write them.
fn rules(count: usize) -> Vec<RequestRule> {
    let mut text = String::new();
    for n in 0..count {
        let condition = match n % 20 {
            0..=5 => format!("path = [\"/app{n}/admin/{{*rest}}\", \"/backup-{n}.zip\"]"),
            6..=8 => format!("path = [\"/old{n}/{{name}}.asp\"]\nmethod = [\"POST\"]"),
            9..=13 => format!("user-agent = {{ contains = [\"Scanner-{n}/\", \"harvest{n}\"] }}"),
            14 => format!("user-agent = {{ regex = \"^(curl|wget|python-requests)/{n}\\\\.\" }}"),
            15 => format!("query = {{ name = \"id\", contains = [\"union select {n}\", \"sleep({n})\"] }}"),
            16 => format!("header = {{ name = \"referer\", contains = [\"spam{n}.example\"] }}"),
            17 => format!("client = [\"10.{}.{}.0/24\"]\npath = [\"/login{n}\"]", n / 256, n % 256),
            18 => format!("client = [\"172.{}.{}.0/24\", \"2001:db8:{n:x}::/48\"]", 16 + n / 256, n % 256),
            _ => format!(
                "any = [{{ path-regex = \"/shell{n}\\\\.(jsp|php)$\" }}, {{ header = {{ name = \"x-scan\", is = [\"{n}\"] }} }}]\nnot = {{ client = [\"192.0.2.0/24\"] }}"
            ),
        };
        let _ = write!(text, "[[guard.rule]]\n{condition}\nlog = true\n");
    }
    let (gateway, faults) = Gateway::parse("gateway.toml", text, Path::new(""));
    assert!(faults.is_empty(), "{:?}", faults.first());
    gateway.guard.rules[0].rules.clone()
}

/// A request as browsers send them; one of fifty meets a rule.
struct Asked {
    target: String,
    fields: Vec<(String, String)>,
}

impl Asked {
    fn new(n: usize) -> Self {
        let target = match n % 50 {
            0 => format!("/app{}/admin/{n}", n % 6),
            _ => {
                format!("/art/20{:02}/{}/{}/art_{}_{n}.html?id={n}&from=home", n % 19, n % 12 + 1, n % 28 + 1, n % 7919)
            }
        };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let fields = vec![
            field("user-agent", BROWSER),
            field("accept", "text/html,application/xhtml+xml"),
            field("referer", "https://www.example.org/news/index.html"),
        ];
        Asked { target, fields }
    }

    fn view(&self) -> View<'_> {
        View {
            site: "old",
            method: "GET",
            host: Some(b"old.example"),
            target: self.target.as_bytes(),
            secure: true,
            client: Some([203, 0, 113, 9].into()),
            fields: &self.fields,
            is_many: false,
            habits: None,
            is_mapped: &|| false,
        }
    }
}

/// How many rules hold.
fn holding(set: &RuleSet, asked: &Asked) -> usize {
    thread_local! {
        static CRAWLERS: (Declared, Crawlers) = (Declared::default(), Crawlers::new(&[]));
    }
    let mut count = 0;
    let mut tell = |_: &_| {
        count += 1;
        ControlFlow::Continue(())
    };
    let _ = CRAWLERS
        .with(|(declared, known)| set.holding(&black_box(asked).view(), (declared, known), &mut Vec::new(), &mut tell));
    count
}

fn one_by_one(sets: &[RuleSet], asked: &Asked) -> usize {
    sets.iter().map(|set| holding(set, asked)).sum()
}

/// Nanoseconds a request.
fn per_request(requests: &[Asked], of: impl Fn(&Asked) -> usize) -> f64 {
    let start = Instant::now();
    let hits: usize = requests.iter().map(of).sum();
    black_box(hits);
    start.elapsed().as_nanos() as f64 / requests.len() as f64
}

fn median(run: impl Fn() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..ROUNDS).map(|_| run()).collect();
    values.sort_by(f64::total_cmp);
    values[ROUNDS / 2]
}
