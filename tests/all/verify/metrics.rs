//! What a running gateway shows of results that the command has put into the database.

use std::fs;

use super::origin::{Answer, Origin};
use super::{folder, verify};
use crate::client::Conn;
use crate::program::{Program, until};

#[test]
fn a_gateway_shows_what_was_found() {
    let origin = Origin::start(|asked, _| match asked.target.as_str() {
        "/robots.txt" | "/2.html" | "/3.html" => Answer::new(404),
        "/1.html" => Answer::gbk("澳门新葡京", ""),
        target => Answer::page("通知", target),
    });
    let folder = folder((0..4).map(|n| format!("http://a.origin.example/{n}.html")), "");
    let settings = fs::read_to_string(folder.path().join("gateway.toml")).unwrap();
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[process]\ndirectory = \"control\"\n";
    fs::write(folder.path().join("gateway.toml"), format!("{listen}{settings}")).unwrap();
    verify(folder.path(), &["--rate", "200", "--resolve", &origin.place("*", 80)]);
    let program = Program::start(folder.path());
    let shows =
        |path: &str, line: &str| Conn::new(program.admin).get("localhost", path).text().contains(&format!("\n{line}"));
    until("a reading", || shows("/metrics", "waypost_verify_targets{kind=\"dead\"} 2\n"));
    for line in [
        "waypost_verify_targets{kind=\"hijack\"} 1\n",
        "waypost_verify_targets{kind=\"slow\"} 0\n",
        "waypost_verify_targets_looked_at 4\n",
        "waypost_verify_freeze_proposals 1\n",
    ] {
        assert!(shows("/metrics", line), "{line}");
    }
    assert!(shows("/metrics/sites", "waypost_site_verify_targets{site=\"jyj\",kind=\"dead\"} 2\n"));
}
