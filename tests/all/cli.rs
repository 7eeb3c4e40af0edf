//! The commands as an operator types them, over the sample.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn waypost(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_sample_is_clean_and_its_tests_pass() {
    let check = waypost(&["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    let test = waypost(&["test", "--json"]);
    let report = json(&test);
    assert_eq!((test.status.code(), &report["failed"]), (Some(0), &Value::from(0)));
    assert!(report["passed"].as_u64().unwrap() > 50);
    // One file of it, by its path.
    let one = waypost(&["test", "routes/lanjiang/qingshan/jyj.toml", "--json"]);
    let of_one = json(&one)["passed"].as_u64().unwrap();
    assert!(of_one > 0 && of_one < report["passed"].as_u64().unwrap());
}

#[test]
fn explain_looks_into_the_future() {
    let at = |date: &str| {
        let output = waypost(&["explain", "http://wsj.qingshan.example/", "--json", "--date", date]);
        let report = json(&output);
        (report["phase"].as_str().unwrap().to_owned(), report["status"].as_u64().unwrap())
    };
    assert_eq!(at("2026-12-01"), ("notice".to_owned(), 200));
    let later = at("2090-01-01");
    assert_ne!(later.0, "notice");
    let text = stdout(&waypost(&["explain", "JYJ.qingshan.example:8080//NEWS.ASP?ClassID=3&ID=77"]));
    for part in ["host", "phase", "url", "mapping", "verdict", "301", ".toml:", "/news.asp"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn config_prints_a_file_that_says_the_same() {
    let first =
        stdout(&waypost(&["config", "--http", "127.0.0.1:1 proxy", "--http", "unix:/a b", "--admin", "127.0.0.1:3"]));
    assert!(
        first.contains("http = [\"127.0.0.1:1 proxy\", \"unix:/a b\"]") && first.contains("admin = \"127.0.0.1:3\""),
        "{first}"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, &first).unwrap();
    let second = stdout(&waypost(&["config", "--config", file.to_str().unwrap()]));
    // Folders are relative to the file.
    let without_folders = |text: &str| {
        text.lines()
            .filter(|line| {
                !["routes =", "certs =", "audit =", "folder =", "database ="].iter().any(|key| line.starts_with(key))
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(without_folders(&first), without_folders(&second));
    // Every knob is shown.
    for key in waypost::config::keys::GATEWAY {
        assert!(first.contains(key.name), "{}", key.name);
    }
}

#[test]
fn exit_codes() {
    let code = |args: &[&str]| waypost(args).status.code().unwrap();
    assert_eq!(code(&["--help"]), 0);
    assert_eq!(code(&["--version"]), 0);
    assert_eq!(code(&["completions", "bash"]), 0);
    assert_eq!(code(&["nonsense"]), 2);
    assert_eq!(code(&["--http", "nonsense"]), 2);
    assert_eq!(code(&["explain", "http://a.example/", "--date", "nonsense"]), 2);
    assert_eq!(code(&["check", "no/such/folder"]), 1);
    assert_eq!(code(&["check", "--config", "no/such/file"]), 1);
    assert_eq!(code(&["upgrade", "--admin", "127.0.0.1:1"]), 1);
    let finding = tempfile::tempdir().unwrap();
    std::fs::write(finding.path().join("a.toml"), "hots = []\n").unwrap();
    let check = waypost(&["check", "--json", finding.path().to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1));
    let first = &json(&check)["diagnostics"][0];
    assert_eq!(
        (&first["file"], &first["line"], &first["column"]),
        (&Value::from("a.toml"), &Value::from(1), &Value::from(1))
    );
    assert!(first["hint"].as_str().unwrap().contains("hosts"));
}

#[test]
fn help_is_a_manual() {
    let help = stdout(&waypost(&["--help"]));
    for word in [
        "serve",
        "check",
        "explain",
        "test",
        "import",
        "upgrade",
        "logs",
        "hits",
        "config",
        "schema",
        "completions",
        "EXIT CODES",
        "EXAMPLES",
        "--routes",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md").is_file());
}
