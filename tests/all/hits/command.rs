//! `waypost hits`.

use std::{fs, path::Path};

use serde_json::Value;
use waypost::telemetry::{Consumer, Exchange};

use super::{Counting, hit, redirected, sqlite};
use crate::program::waypost;

/// What the command prints, and its exit code.
fn hits(folder: &Path, args: &[&str]) -> (String, i32) {
    let output = waypost(folder, &[&["hits"], args].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

/// A folder with two sites, and hits of today.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    for (site, owner) in [("jyj", "qingshan"), ("wsj", "qingshan"), ("ga", "lanjiang")] {
        let text = format!("name = \"{site}\"\nhosts = [\"{site}.old.example\"]\nowner = \"{owner}\"\n");
        fs::write(folder.path().join(format!("routes/{site}.toml")), text).unwrap();
    }
    fs::write(folder.path().join("gateway.toml"), "[hits]\nzone = \"UTC\"\n").unwrap();
    let mut counting = Counting::new(&sqlite(folder.path()));
    let at = jiff::Timestamp::now().as_microsecond();
    for n in 0..4 {
        let user_agent: &[u8] = if n == 0 { b"curl/8" } else { b"Mozilla/5.0" };
        counting.count(Exchange {
            at,
            user_agent,
            referer: b"http://www.new.example/x",
            ..redirected("jyj", "/a.htm")
        });
    }
    counting.count(Exchange { at, ..hit("jyj", "/no,\u{202e}\"page\"") });
    counting.count(Exchange { at, ..hit("wsj", "/no") });
    counting.count(Exchange { at, ..hit("wsj", "/no") });
    counting.count(Exchange { at: at - 40 * 86_400_000_000, ..hit("wsj", "/long-ago") });
    counting.collector.end();
    assert_eq!(counting.stats.written(), 8);
    folder
}

#[test]
fn tables_csv_and_json() {
    let folder = folder();
    let run = |args: &[&str]| {
        let (text, code) = hits(folder.path(), args);
        assert_eq!(code, 0, "{text}");
        text
    };
    let text = run(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("HITS  BOTS  SITE  URL"), "{text}");
    assert!(lines[1].contains("25 %") && lines[1].contains("/a.htm") && lines[1].contains("www.new.example"), "{text}");
    assert!(text.contains("\\u{202e}") && !text.contains('\u{202e}'), "{text}");
    assert!(lines.last().unwrap().starts_with("7 hits from ") && text.contains("3 unmapped"), "{text}");

    let csv = run(&["--unmapped", "--csv", "--since", "60d"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "hits,bots,site,url,outcome,status,unmapped,first_seen,last_seen,referrer");
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[1].starts_with("2,0,wsj,/no,not_found,404,true,20"), "{csv}");
    assert!(csv.contains("\"/no,\u{202e}\"\"page\"\"\""), "{csv}");

    let json: Value = serde_json::from_str(&run(&["jyj.old.example", "--json", "--top", "1"])).unwrap();
    assert_eq!((&json["sum"]["hits"], &json["rows"][0]["hits"]), (&Value::from(5), &Value::from(4)));
    assert_eq!(json["rows"].as_array().unwrap().len(), 1);
    assert_eq!(json["rows"][0]["url"], "/a.htm");

    assert_eq!(run(&["--by", "owner", "--csv"]), "hits,bots,unmapped,owner\n7,1,3,qingshan\n");
    assert_eq!(run(&["--by", "site", "--csv", "--unmapped"]), "hits,bots,unmapped,site\n2,0,2,wsj\n1,0,1,jyj\n");
    assert_eq!(run(&["--by", "outcome", "--csv"]), "hits,bots,unmapped,outcome\n4,1,0,redirect\n3,0,3,not_found\n");
    assert_eq!(run(&["--by", "referrer", "--csv"]), "referrals,unmapped,referrer\n4,0,www.new.example\n");
    assert_eq!(run(&["--by", "day", "--csv", "--since", "60d"]).lines().count(), 3);
    assert!(run(&["wsj.toml", "--unmapped"]).contains("/no"));
    // A site without any hits is a site all the same.
    assert!(run(&["ga"]).starts_with("0 hits"), "{}", run(&["ga"]));
}

#[test]
fn what_is_wrong_is_said() {
    let folder = folder();
    let (text, code) = hits(folder.path(), &["nothing.example"]);
    assert!(code == 1 && text.contains("`nothing.example` is no site"), "{text}");
    assert_eq!(hits(folder.path(), &["--since", "soon"]).1, 2);
    assert_eq!(hits(folder.path(), &["--csv", "--json"]).1, 2);
    fs::write(folder.path().join("gateway.toml"), "[hits]\ndatabase = \"\"\n").unwrap();
    let (text, code) = hits(folder.path(), &[]);
    assert!(code == 1 && text.contains("not counted"), "{text}");
    fs::write(folder.path().join("gateway.toml"), "[hits]\ndatabase = \"sqlite:none\"\n").unwrap();
    let (text, code) = hits(folder.path(), &[]);
    assert!(code == 1 && text.contains("no hits yet"), "{text}");
    let nowhere = folder.path().join("no-server");
    let text = format!("[hits]\ndatabase = \"postgres://waypost@localhost/waypost?host={}\"\n", nowhere.display());
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    let (text, code) = hits(folder.path(), &[]);
    assert!(code == 1 && text.contains("can't be reached"), "{text}");
}
