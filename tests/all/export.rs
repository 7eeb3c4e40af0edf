//! `waypost export`: what it writes is what crawlers are answered.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::client::{Conn, head};
use crate::program::{Program, until, waypost};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let settings = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 1\n\
        [hits]\nflush = 1\n[guard]\nfrozen = [\"frozen.example\"]\nallowed-targets = [\"new.example\", \"frozen.example\"]\n";
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    folder
}

fn site(folder: &Path, name: &str, more: &str) {
    let text = format!(
        "name = \"{name}\"\nhosts = [\"{name}.example\", \"www.{name}.example\", \"*.{name}.example\"]\nowner = \"{name}\"\n\
         home = \"https://new.example/{name}/\"\norigin = \"http://127.0.0.1:1\"\n{more}"
    );
    fs::write(folder.join(format!("routes/{name}.toml")), text).unwrap();
}

fn export(folder: &Path, args: &[&str]) -> Value {
    let output = waypost(folder, &[&["export", "-o", "out", "--json"], args].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lines(path: PathBuf) -> Vec<String> {
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn pairs_are_what_crawlers_are_answered() {
    let folder = folder();
    let path = folder.path();
    // In phase notice: people see a page, and crawlers are redirected.
    let more = "lifecycle = { notice = 2001-01-01 }\n[url]\ncharset = \"gb18030\"\nkeep-query = [\"id\"]\n\
        [[rule]]\nfrom = \"/item/{id}.htm\"\nto = \"https://new.example/i/{id}\"\n";
    site(path, "old", more);
    let table = "old,new,status\n/a.htm,https://new.example/a,\n/b.htm?id=7,\"https://new.example/b,7\",308\n/新闻,https://new.example/n,\n\
        /one,https://new.example/same,\n/two,https://new.example/same,\n/t,https://new.example/t,302\n/f,https://frozen.example/,\n/gone,,\n";
    fs::write(path.join("routes/old.csv"), table).unwrap();
    site(path, "away", "lifecycle = { archive = 2001-01-01 }\n");
    let mut program = Program::start(path);
    let mut client = Conn::new(program.http[0]);
    assert_eq!(client.get("old.example", "/item/12.htm").status, 200);
    assert_eq!(client.get("old.example", "/item/12.htm").status, 200);
    assert_eq!(client.get("old.example", "/none.htm").status, 404);
    until("hits", || waypost(path, &["hits", "--csv"]).output().unwrap().stdout.windows(8).any(|w| w == b"/none.ht"));

    let report = export(path, &["--hits"]);
    let hosts = report["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 2, "{report}");
    for host in hosts {
        let figures = ["pairs", "many-to-one", "left-out"].map(|name| host[name].as_u64().unwrap());
        assert_eq!(figures, [5, 2, 2], "{host}");
    }
    assert_eq!(report["skipped"], serde_json::json!([{ "site": "away", "phase": "archive" }]));
    assert_eq!(report["wildcards"], serde_json::json!(["*.old.example"]));
    let www = path.join("out/www.old.example");
    let pairs = lines(www.join("pairs-1.txt"));
    for wanted in [
        "http://www.old.example/a.htm https://new.example/a",
        "http://www.old.example/b.htm?id=7 https://new.example/b,7",
        "http://www.old.example/%D0%C2%CE%C5 https://new.example/n",
        "http://www.old.example/item/12.htm https://new.example/i/12",
        "http://www.old.example/ https://new.example/old/",
    ] {
        assert!(pairs.iter().any(|line| line == wanted), "{wanted} is not in {pairs:#?}");
    }
    // What a crawler is answered is what the pair says.
    for (old, new) in pairs.iter().map(|line| line.split_once(' ').unwrap()) {
        let target = old.strip_prefix("http://www.old.example").unwrap();
        let raw = head("GET", "www.old.example", target.as_bytes(), &[("user-agent", "Baiduspider/2.0")], b"");
        let answer = client.send(&raw, false).unwrap();
        assert_eq!((answer.header("location"), answer.status / 100), (new, 3), "{old}");
    }
    let same = ["/one", "/two"].map(|old| format!("https://new.example/same,http://www.old.example{old}"));
    assert_eq!(lines(www.join("many-to-one.csv"))[1..], same);
    let left_out = lines(www.join("left-out.csv"));
    assert!(left_out[1..].iter().any(|line| line.starts_with("http://www.old.example/t,a temporary")), "{left_out:?}");
    assert!(left_out[1..].iter().any(|line| line.contains("/f,") && line.contains("frozen")), "{left_out:?}");
    assert!(fs::read_to_string(www.join("sitemap.xml")).unwrap().contains("<loc>http://www.old.example/a.htm</loc>"));
    program.signal("TERM");
    program.end();

    // By host, with https, without what was asked for.
    let report = export(path, &["www.old.example", "--https"]);
    assert_eq!(report["hosts"][0]["pairs"], 4, "{report}");
    assert!(lines(www.join("pairs-1.txt"))[0].starts_with("https://www.old.example/"));
    // By owner; and what is wrong is said.
    assert_eq!(export(path, &["--owner", "away"])["hosts"], serde_json::json!([]));
    for (args, word) in [(["--owner", "none"], "none"), (["none.example", "--https"], "no site")] {
        let output = waypost(path, &[&["export", "-o", "out"][..], &args].concat()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(word), "{text}");
    }
}

#[test]
fn no_file_has_more_pairs_than_baidu_takes() {
    let folder = folder();
    let path = folder.path();
    site(path, "old", "");
    let write = |rows: usize| {
        let rows: String = (0..rows).map(|n| format!("/p/{n}.htm,https://new.example/{n}\n")).collect();
        fs::write(path.join("routes/old.csv"), format!("old,new\n{rows}")).unwrap();
    };
    write(100_000);
    let report = export(path, &[]);
    assert_eq!(
        (&report["hosts"][0]["pairs"], report["hosts"][0]["files"].as_array().unwrap().len()),
        (&100_001.into(), 3)
    );
    let out = path.join("out/old.example");
    let parts: Vec<Vec<String>> = (1..=3).map(|n| lines(out.join(format!("pairs-{n}.txt")))).collect();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [50_000, 50_000, 1]);
    let all = parts.iter().flatten().map(|line| line.split_once(' ').unwrap());
    let (old, new): (HashSet<&str>, HashSet<&str>) = all.unzip();
    assert_eq!((old.len(), new.len()), (100_001, 100_001));
    assert!(out.join("sitemap-2.xml").exists() && !out.join("sitemap-3.xml").exists());
    // What a shorter table has no need for goes.
    write(3);
    assert_eq!(export(path, &[])["hosts"][0]["pairs"], 4);
    assert_eq!(lines(out.join("pairs-1.txt")).len(), 4);
    assert!(!out.join("pairs-2.txt").exists() && !out.join("sitemap-1.xml").exists());
}
