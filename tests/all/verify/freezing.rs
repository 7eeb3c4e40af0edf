//! What verification finds feeds the list of frozen hosts: proposed, and by itself only where that is set.

use std::fs;

use super::origin::{Answer, Asked, Origin};
use super::{folder, site, verify};
use crate::program::waypost;

fn answer(asked: &Asked) -> Answer {
    match (asked.host.as_str(), asked.target.as_str()) {
        (_, "/robots.txt") => Answer::new(404),
        ("taken.origin.example", _) => Answer::gbk("澳门新葡京娱乐官网", "欢迎"),
        ("home.origin.example", "/2.html") => Answer::page("真人棋牌投注", "留言"),
        ("strange.origin.example", "/1.html") => Answer::redirect("http://evil.example/"),
        _ => Answer::page("通知", &asked.target),
    }
}

fn targets() -> Vec<String> {
    let hosts = ["taken", "home", "strange"];
    hosts.iter().flat_map(|host| (1..4).map(move |n| format!("http://{host}.origin.example/{n}.html"))).collect()
}

#[test]
fn hosts_are_proposed_and_frozen_when_somebody_says_so() {
    let origin = Origin::start(|asked, _| answer(asked));
    let folder = folder(targets(), "");
    let folder = folder.path();
    let text = fs::read_to_string(folder.join("routes/jyj.toml")).unwrap();
    fs::write(folder.join("routes/jyj.toml"), format!("{text}home = \"http://home.origin.example/1.html\"\n")).unwrap();
    let place = origin.place("*", 80);
    let (report, _) = verify(folder, &["--rate", "200", "--resolve", &place]);
    let proposals = report["proposals"].as_array().unwrap();
    let told: Vec<_> = proposals
        .iter()
        .map(|proposal| {
            (
                proposal["host"].as_str().unwrap(),
                proposal["targets"].as_u64().unwrap(),
                proposal["hijack"] == true,
                proposal["frozen"] == true,
            )
        })
        .collect();
    let expected = [
        ("home.origin.example", 1, true, false),
        ("strange.origin.example", 1, false, false),
        ("taken.origin.example", 3, true, false),
    ];
    assert_eq!(told, expected, "{report:#}");
    let list = folder.join("frozen.txt");
    assert!(!list.exists(), "proposed, and no more");
    let output = waypost(folder, &["verify", "--last"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("    waypost verify --freeze=taken.origin.example\n"), "{text}");

    let output = waypost(folder, &["verify", "--freeze=taken.origin.example"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read_to_string(&list).unwrap().starts_with("taken.origin.example  # "));
    // Nobody is sent there any more.
    let output = waypost(folder, &["explain", "http://jyj.qingshan.example/0.html"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("frozen"), "{output:?}");
    // It is not proposed again, and the rest can be frozen at once.
    let (report, _) = verify(folder, &["--last"]);
    assert_eq!(report["proposals"].as_array().unwrap().len(), 2);
    let output = waypost(folder, &["verify", "--freeze"]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "frozen: home.origin.example\nfrozen: strange.origin.example\n"
    );
    assert_eq!(fs::read_to_string(&list).unwrap().lines().count(), 3);
    let output = waypost(folder, &["verify", "--freeze=no host"]).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn by_itself_only_where_that_is_set() {
    let origin = Origin::start(|asked, _| answer(asked));
    let folder = folder(targets(), "[verify]\nfreeze = true\n");
    let folder = folder.path();
    site(folder, "wjj", []);
    let text = fs::read_to_string(folder.join("routes/wjj.toml")).unwrap();
    fs::write(folder.join("routes/wjj.toml"), format!("{text}home = \"http://home.origin.example/1.html\"\n")).unwrap();
    let place = origin.place("*", 80);
    let (report, _) = verify(folder, &["--rate", "200", "--resolve", &place]);
    // One page of a home is proposed, as is a host that leads astray.
    let list = fs::read_to_string(folder.join("frozen.txt")).unwrap();
    assert!(list.starts_with("taken.origin.example  # ") && list.lines().count() == 1, "{list}");
    let frozen: Vec<bool> =
        report["proposals"].as_array().unwrap().iter().map(|proposal| proposal["frozen"] == true).collect();
    assert_eq!(frozen, [false, false, true], "{report:#}");
    // What was known is not frozen by looking at it again.
    fs::remove_file(folder.join("frozen.txt")).unwrap();
    verify(folder, &["--last"]);
    assert!(!folder.join("frozen.txt").exists());
}
