//! What `waypost check` says of faulty files, compared with `tests/golden/check`: each folder there is a case, with its
//! inputs, `expected.txt` (what is printed, and the exit code) and `expected.json` (the same with `--json`).
//! `WAYPOST_BLESS=1` rewrites the expectations; read the diff then.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::Value;

/// Every kind of finding. A new one needs a line here and a golden case.
const CODES: [&str; 54] = [
    "bad-address",
    "bad-certificate",
    "bad-charset",
    "bad-condition",
    "bad-crawler",
    "bad-database",
    "bad-fallback",
    "bad-filter",
    "bad-header",
    "bad-host",
    "bad-key",
    "bad-lifecycle",
    "bad-pack",
    "bad-pattern",
    "bad-regex",
    "bad-rewrite",
    "bad-row",
    "bad-rule",
    "bad-status",
    "bad-table",
    "bad-target",
    "bad-test",
    "bad-url",
    "bad-value",
    "chain",
    "clear-tokens",
    "duplicate-host",
    "duplicate-mapping",
    "foreign-host",
    "host-bits",
    "loop",
    "loose-table",
    "misplaced-key",
    "missing-key",
    "missing-origin",
    "no-countries",
    "open-admin",
    "probe-mapping",
    "self-redirect",
    "short-log",
    "syntax",
    "target-not-allowed",
    "test-failed",
    "too-large",
    "unknown-capture",
    "unknown-column",
    "unknown-crawler",
    "unknown-key",
    "unknown-pack",
    "unknown-platform",
    "unreachable-rule",
    "unreadable",
    "weak-hsts",
    "wrong-type",
];

/// Kinds without a golden case: it takes a table of 4 GiB to see them.
const WITHOUT_CASE: [&str; 1] = ["too-large"];

#[test]
fn check_says_what_is_expected() {
    let bless = blessing();
    let cases = cases();
    let share = cases.len().div_ceil(thread::available_parallelism().map_or(1, Into::into));
    let differences: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = cases
            .chunks(share)
            .map(|cases| scope.spawn(move || cases.iter().flat_map(|case| compare(case, bless)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(
        differences.is_empty(),
        "{} files of {} cases differ from what `check` says; WAYPOST_BLESS=1 rewrites them\n\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

#[test]
fn every_kind_of_finding_has_a_case() {
    if blessing() {
        // The files are being rewritten.
        return;
    }
    let seen: BTreeSet<String> = cases()
        .iter()
        .flat_map(|case| findings(&fs::read_to_string(case.join("expected.json")).unwrap()))
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect();
    let wanted: BTreeSet<String> =
        CODES.iter().filter(|code| !WITHOUT_CASE.contains(code)).map(ToString::to_string).collect();
    assert_eq!(seen, wanted, "kinds of finding in the golden files, and those in this test's list");
    let known: BTreeSet<String> = CODES.iter().map(ToString::to_string).collect();
    assert_eq!(
        codes_in_sources(),
        known,
        "kinds of finding in src/config, src/guard and src/routing, and those in this test's list"
    );
}

fn blessing() -> bool {
    env::var_os("WAYPOST_BLESS").is_some_and(|value| value == "1")
}

/// The folders of cases, sorted.
fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    let mut cases: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

/// Where what `check` says of a case differs from what is expected, which `bless` rewrites first.
fn compare(case: &Path, bless: bool) -> Vec<String> {
    let (text, code) = check(case, &[]);
    let (json, json_code) = check(case, &["--json"]);
    assert_eq!(code, json_code, "{}: exit codes with and without --json", name(case));
    let places = text.lines().filter_map(|line| line.trim_start().strip_prefix("--> ")).map(str::to_owned);
    let in_json = findings(&json)
        .into_iter()
        .map(|finding| format!("{}:{}:{}", finding["file"].as_str().unwrap(), finding["line"], finding["column"]));
    assert!(places.eq(in_json), "{}: findings with and without --json", name(case));
    let mut differences = Vec::new();
    for (file, got) in [("expected.txt", format!("{text}exit {code}\n")), ("expected.json", json)] {
        let path = case.join(file);
        if bless {
            fs::write(&path, &got).unwrap();
        }
        let want = fs::read_to_string(&path).unwrap_or_default();
        differences
            .extend(first_difference(&want, &got).map(|difference| format!("{}/{file}:{difference}", name(case))));
    }
    differences
}

/// Runs the program in a case's folder; what it prints, and its exit code.
fn check(case: &Path, options: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(["check", "routes"]).args(options).current_dir(case).env("TZ", "UTC");
    if case.join("gateway.toml").exists() {
        command.args(["--config", "gateway.toml"]);
    }
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}: {}", name(case), String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

/// The line at which two texts part, and what each has there.
fn first_difference(want: &str, got: &str) -> Option<String> {
    if want == got {
        return None;
    }
    let (mut wanted, mut gotten) = (want.split('\n'), got.split('\n'));
    for number in 1.. {
        let (want, got) = (wanted.next(), gotten.next());
        if want != got {
            return Some(format!(
                "{number}\n  want: {}\n  got:  {}\n",
                want.unwrap_or("(the end)"),
                got.unwrap_or("(the end)")
            ));
        }
    }
    None
}

/// The findings of a report.
fn findings(json: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(json).unwrap();
    report["diagnostics"].as_array().unwrap().clone()
}

/// The kinds of finding that the sources name: the first text soon after `error(`, `fault(` or `code:`, if it is
/// written like one.
fn codes_in_sources() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for folder in ["src/config", "src/guard", "src/routing"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let source = fs::read_to_string(path).unwrap();
            for (at, _) in ["error(", "fault(", "code: \""].iter().flat_map(|start| source.match_indices(start)) {
                let call = source[at..].split(['{', ';', ')']).next().unwrap_or_default();
                codes.extend(call.split('"').nth(1).filter(|text| is_code(text)).map(str::to_owned));
            }
        }
    }
    codes
}

/// Whether a text is written like a kind: `unknown-key`, `syntax`.
fn is_code(text: &str) -> bool {
    text.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}
