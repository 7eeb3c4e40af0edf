//! The rule set with its reference engine: what it stops, what it spares, what it costs, and that the prefilter never
//! spares it a request that it has something to say of.
//!
//! `tests/waf/get` brings the rules (Debian's modsecurity-crs) and their own regression tests. What is printed is for
//! SECURITY.md.
#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

mod corpus;
mod pages;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use corpus::Case;
use proptest::{prelude::*, sample::select};
use waypost::guard::waf::{self, Mode, Policy, Request, Rules};

const RULES: &str = "/usr/share/modsecurity-crs";

/// Loading takes a while; all tests share one set.
fn rules() -> &'static Rules {
    static RULES_OF_DEBIAN: LazyLock<Rules> = LazyLock::new(|| waf::load(Path::new(RULES)).unwrap());
    &RULES_OF_DEBIAN
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/waf-corpus");
    corpus::load(&std::env::var_os("WAF_CORPUS").map_or(folder, PathBuf::from))
}

fn block() -> Policy {
    Policy { mode: Mode::Block, ..Policy::default() }
}

/// What a browser sends for a page.
fn page(target: &str) -> Request {
    page_with(target, &[])
}

fn page_with(target: &str, more: &[(&str, &str)]) -> Request {
    let fields = [
        ("Host", "jyj.qingshan.example"),
        (
            "User-Agent",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36",
        ),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8"),
        ("Accept-Encoding", "gzip, deflate, br"),
    ];
    Request {
        method: "GET".into(),
        target: target.into(),
        version: "1.1",
        fields: fields.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        paranoia: 1,
        ..Request::default()
    }
}

/// Fails if the prefilter spares the engine a request that it has something to say of. Whether it was spared.
fn agree(request: &Request) -> bool {
    assert_eq!(rules().prefilter.obstacle(request.paranoia), None);
    let spared = rules().spares(request);
    if spared {
        let hits = rules().engine.inspect(request).unwrap();
        let target = String::from_utf8_lossy(&request.target);
        assert!(hits.is_empty(), "spared, at level {}: {target} {:?}: {hits:?}", request.paranoia, request.fields);
    }
    spared
}

#[test]
fn every_rule_of_debian_loads() {
    assert_eq!(rules().faults, []);
    assert!(rules().count > 400, "{}", rules().count);
    for level in [1, 2] {
        assert_eq!(rules().prefilter.obstacle(level), None, "at level {level}");
    }
}

/// The rule set's own tests, at the level that has all rules.
#[test]
fn its_own_tests() {
    let (mut right, mut wrong, mut attacks, mut stopped, mut heard) = (0, Vec::new(), 0, 0, 0);
    let mut time = Duration::ZERO;
    let cases = cases();
    for case in &cases {
        let request = Request { paranoia: 4, ..case.request.clone() };
        let begun = Instant::now();
        let hits = rules().engine.inspect(&request).unwrap();
        time += begun.elapsed();
        let has = |id| hits.iter().any(|hit| hit.id == id);
        match case.hits.is_none_or(has) && !case.spares.is_some_and(has) {
            true => right += 1,
            false => wrong.push(case.title.as_str()),
        }
        if case.hits.is_some() {
            attacks += 1;
            let policy = Policy { paranoia: 4, ..block() };
            stopped += usize::from(policy.is_attack(&policy.weigh(hits.clone(), &request.target)));
            heard += usize::from(block().is_attack(&block().weigh(hits, &request.target)));
        }
    }
    println!("{right} of {} as the rule set says; not: {}", cases.len(), wrong.join(" "));
    println!(
        "{stopped} of {attacks} attacks stopped at paranoia level 4, {heard} at level 1; {:?} each",
        time / cases.len() as u32
    );
    // What is left is about requests that need a server of another kind, or settings that are off.
    assert!(right * 100 >= cases.len() * 97, "{wrong:?}");
    assert!(stopped * 100 >= attacks * 98, "{stopped} of {attacks}");
}

#[test]
fn the_prefilter_spares_no_attack_of_the_rule_sets_tests() {
    for case in cases() {
        for paranoia in [1, 2] {
            agree(&Request { paranoia, ..case.request.clone() });
            // With the head of a browser, which would be spared.
            let target = String::from_utf8_lossy(&case.request.target).into_owned();
            agree(&Request { paranoia, ..page(&target) });
        }
    }
}

/// Every word that rules look for, in every place.
#[test]
fn the_prefilter_spares_no_word_of_the_rules() {
    let mut words: Vec<String> = Vec::new();
    for entry in fs::read_dir(Path::new(RULES).join("rules")).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("data") => words.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned)),
            Some("conf") => {
                let patterns = text.lines().filter(|line| line.contains("@rx") || line.contains("@pm"));
                let signs = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                words.extend(patterns.flat_map(|line| line.split(signs)).map(str::to_owned));
            }
            _ => {}
        }
    }
    words.retain(|word| word.len() > 1 && word.len() < 60);
    words.sort();
    words.dedup();
    let mut spared = 0;
    for (number, word) in words.iter().enumerate() {
        // Each word in one place at each level, and every place once in a while.
        let request = match number % 6 {
            0 => page(&format!("/a/{word}")),
            1 => page(&format!("/a/{word}.html?x={word}")),
            2 => page(&format!("/a?id={word}")),
            3 => page(&format!("/a?{word}=1")),
            4 => page_with("/a", &[("Cookie", &format!("id={word}"))]),
            _ => page_with("/a", &[("Referer", &format!("http://www.qingshan.example/{word}?x={word}"))]),
        };
        spared += usize::from(agree(&request));
        spared += usize::from(agree(&Request { paranoia: 2, ..page(&format!("/{word}/{word}?{word}={word}")) }));
    }
    println!("{} words, {spared} requests of {} with them spared", words.len(), words.len() * 2);
    assert!(spared > 0);
}

/// Pieces of which attacks are made, as far as plain text has them.
const PIECES: &[&str] = &[
    "1",
    "0",
    "2019",
    "0x41",
    "1e5",
    "a",
    "id",
    "select",
    "union",
    "from",
    "or",
    "and",
    "case",
    "when",
    "sleep",
    "benchmark",
    "having",
    "like",
    "null",
    "true",
    "user",
    "version",
    "information_schema",
    "admin",
    "script",
    "onload",
    "eval",
    "exec",
    "etc",
    "passwd",
    "bin",
    "sh",
    "cmd",
    "php",
    "system",
    "java.lang",
    "Runtime",
    "http",
    "https:",
    "ftp",
    "file",
    "data",
    "index",
    "html",
    "-",
    "--",
    ".",
    "..",
    "/",
    "//",
    "_",
    "=",
    "&",
    "?",
    " ",
    "'",
    "\"",
    ";",
    "(",
    ")",
    "<",
    ">",
    "%27",
    "%20",
    "+",
    "news",
    "asp",
    "jsp",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// The library is no Rust: what it is given, and what it says, must not end the process.
    #[test]
    fn no_bytes_end_the_process(
        target in prop::collection::vec(any::<u8>(), 0..60),
        name in "[a-zA-Z-]{1,12}",
        value in prop::collection::vec(any::<u8>(), 0..60),
        body in prop::collection::vec(any::<u8>(), 0..200),
        content_type in select(&["", "text/xml", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "\u{ff}"][..]),
        attack in select(&["", "' or 1=1--", "<script>", "../../etc/passwd", "\"] [id \"1\"] [tag \""][..]),
    ) {
        let target = [b"/?x=", attack.as_bytes(), &target].concat();
        let mut request = Request { method: "POST".into(), target, body: [attack.as_bytes(), &body].concat().into(), paranoia: 4, ..page("/") };
        request.fields.push((name, [attack.as_bytes(), &value].concat()));
        request.fields.push(("Content-Type".into(), content_type.into()));
        let hits = rules().engine.inspect(&request).unwrap();
        prop_assert!(hits.iter().all(|hit| hit.id > 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_prefilter_agrees_with_the_engine(
        path in prop::collection::vec(select(PIECES), 0..6),
        query in prop::collection::vec(select(PIECES), 0..9),
        cookie in prop::collection::vec(select(PIECES), 0..5),
        paranoia in 1u8..3,
    ) {
        let target = format!("/{}?x={}", path.concat(), query.concat());
        let target = target.replace(' ', "%20");
        let cookie = format!("a={}", cookie.concat());
        agree(&Request { paranoia, ..page_with(&target, &[("Cookie", &cookie)]) });
    }

    #[test]
    fn the_prefilter_agrees_with_the_engine_on_plain_text(
        path in "/[a-zA-Z0-9_.-]{1,12}(/[a-z0-9_-]{1,8}){0,3}(\\.(html|asp|jsp|pdf))?",
        query in "([a-z]{1,6}=[a-zA-Z0-9._/-]{0,16}(&[a-z]{1,6}=[A-Z0-9-]{0,12}){0,2})?",
        paranoia in 1u8..3,
    ) {
        agree(&Request { paranoia, ..page(&format!("{path}?{query}")) });
    }
}

/// A release's folder, with a rule that nobody can load and one of the operator's own.
#[test]
fn a_rule_that_cannot_be_loaded_is_named_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    fs::write(folder.path().join("crs-setup.conf.example"), "SecDefaultAction \"phase:2,log,auditlog,pass\"\n")
        .unwrap();
    let file = folder.path().join("rules/REQUEST-942-A.conf");
    let text = "# a\nSecRule ARGS \"@rx x\" \\\n    \"id:942001,phase:2,frobnicate\"\n\
        SecRule ARGS \"@rx select\" \"id:942002,phase:2,block,msg:'a word',severity:'CRITICAL',tag:'attack-sqli'\"\n\
        SecRule ARGS \"@rx drop\" \"id:942003,phase:2,deny,msg:'mine'\"\n\
        SecRule ARGS \"@rx secretly\" \"id:942005,phase:1,deny,nolog\"\n\
        SecRule ARGS \"@pmFromFile words.data\" \"id:942004,phase:2,block,severity:'NOTICE',multiMatch,t:lowercase\"\n";
    fs::write(&file, text).unwrap();
    fs::write(folder.path().join("rules/words.data"), "needle\n").unwrap();
    let rules = waf::load(folder.path()).unwrap();
    let [fault] = &rules.faults[..] else { panic!("{:?}", rules.faults) };
    let told = fault.to_string();
    assert!(told.starts_with(&format!("{}:2: rule 942001: ", file.display())), "{told}");
    let hits = |value: &str| -> Vec<(u32, bool)> {
        let hits = rules.engine.inspect(&page(&format!("/?q={value}"))).unwrap();
        hits.iter().map(|hit| (hit.id, hit.denies)).collect()
    };
    assert_eq!(hits("select"), [(942002, false)]);
    assert_eq!(hits("needle"), [(942004, false)]);
    assert_eq!(hits("plain"), []);
    assert_eq!(hits("drop"), [(942003, true)]);
    assert_eq!(hits("secretly"), [(942005, true)]);
}
