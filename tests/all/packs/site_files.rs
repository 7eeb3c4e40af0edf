//! `[[rule]] pack = "…"` in site files.

use std::fs;

use serde_json::Value;

use super::{folder, load};
use crate::program::waypost;

fn check(text: &str) -> Vec<String> {
    let (_, report) = load(&folder(text));
    report.diagnostics.iter().map(|fault| format!("{} {}", fault.code, fault.message)).collect()
}

fn tests(rules: &str, tests: &[(&str, &str)]) {
    let mut text = rules.to_owned();
    for (url, expect) in tests {
        text.push_str(&format!("\n[[test]]\nurl = \"http://old.example{url}\"\nexpect = \"{expect}\"\n"));
    }
    assert_eq!(check(&text), Vec::<String>::new(), "{text}");
}

#[test]
fn rules_of_packs_stand_where_the_pack_is_named() {
    let own = "[[rule]]\nfrom = \"/info/1/{id}.htm\"\nto = \"https://www.new.example/own/{id}\"\n";
    let pack = "[[rule]]\npack = \"vsb\"\nprefix = \"https://www.new.example\"\n";
    tests(
        &format!("{own}{pack}"),
        &[
            ("/info/1/7.htm", "301 https://www.new.example/own/7"),
            ("/info/2/7.htm", "301 https://www.new.example/info/2/7.htm"),
        ],
    );
    // The other way round the own rule still gets what the pack leaves alone.
    tests(
        &format!("{pack}{own}"),
        &[
            ("/info/1/7.htm", "301 https://www.new.example/info/1/7.htm"),
            ("/info/1/x.htm", "301 https://www.new.example/own/x"),
        ],
    );
    // And not at all where nothing is left.
    let hidden = own.replace("{id}.htm", "{id:[0-9]+}.htm");
    let found = check(&format!("{pack}{hidden}"));
    assert_eq!(found, ["unreachable-rule this rule can never match: the rule at site.toml:5 comes before it"]);
}

#[test]
fn a_pack_that_never_matches_is_told_once() {
    let all = "[[rule]]\nfrom = \"/{*all}\"\ngone = true\n";
    let pack = "[[rule]]\npack = \"jcms\"\nprefix = \"https://www.new.example\"\n";
    let found = check(&format!("{all}{pack}"));
    assert_eq!(found, ["unreachable-rule this pack can never match: the rule at site.toml:5 comes before it"]);
    let some = all.replace("/{*all}", "/art/{*all}");
    assert_eq!(check(&format!("{some}{pack}")), Vec::<String>::new());
}

#[test]
fn all_pages_of_a_pack_may_share_a_fate() {
    let pack = |action: &str| format!("[[rule]]\npack = \"phpcms\"\n{action}\n");
    let url = "/index.php?m=content&c=index&a=show&catid=82&id=17577";
    tests(&pack("gone = true"), &[(url, "410"), ("/index.php?m=content&a=lists&catid=1", "410"), ("/x", "404")]);
    tests(&pack("to = \"https://www.new.example/old\""), &[(url, "301 https://www.new.example/old")]);
    tests(&pack("to = \"https://www.new.example/old\"\nstatus = 302"), &[(url, "302 https://www.new.example/old")]);
    tests(
        &pack("gone = true\narticle = \"https://www.new.example/{id}\""),
        &[(url, "301 https://www.new.example/17577"), ("/index.php?m=content&a=lists&catid=1", "410")],
    );
}

#[test]
fn shapes_without_a_target_are_left_to_later_rules() {
    tests(
        "[[rule]]\npack = \"jcms\"\narticle = \"https://www.new.example/{id}\"\n\n[[rule]]\nfrom = \"/col/{*rest}\"\ngone = true\n",
        &[("/art/2018/1/2/art_3_4.html", "301 https://www.new.example/4"), ("/col/col3/index.html", "410")],
    );
}

#[test]
fn a_system_may_have_stood_in_a_folder() {
    tests(
        "[[rule]]\npack = \"kesion\"\nunder = \"/cms/\"\nprefix = \"https://www.new.example/x/\"\n",
        &[
            ("/cms/item/LIST.asp?ID=7", "301 https://www.new.example/x/Item/list.asp?id=7"),
            ("/item/list.asp?id=7", "404"),
        ],
    );
}

#[test]
fn no_request_chooses_where_the_gate_leads() {
    let url = |host: &str| format!("/gate/big5/{host}/a.htm");
    let gate = "[[rule]]\npack = \"gate-big5\"\n";
    tests(
        gate,
        &[
            (&url("old.example"), "301 http://old.example/a.htm"),
            (&url("old.example:8080"), "301 http://old.example/a.htm"),
            (&url("OLD.example"), "301 http://old.example/a.htm"),
            (&url("old.example@evil.example"), "404"),
            (&url("old.example.evil.example"), "404"),
            (&url("old.example:80@evil.example"), "404"),
            (&url("evil.example"), "404"),
            (&url("a.old.example"), "404"),
            (&url("old.example%2F@evil.example"), "404"),
            ("/gate/big5/old.example//evil.example/a", "301 http://old.example/evil.example/a"),
            ("/gate/big5/old.example", "301 http://old.example/"),
        ],
    );
    // Where redirects may go is decided as for every other rule.
    let found = check(&format!("{gate}hosts = [\"evil.example\"]\n"));
    assert_eq!(found, ["target-not-allowed redirects to `evil.example` are not allowed"]);
}

#[test]
fn the_gate_leads_to_https_where_the_site_wants_it() {
    let text = "https = \"redirect\"\n[[rule]]\npack = \"gate-big5\"\n[[test]]\nurl = \"https://old.example/gate/big5/old.example/a.htm\"\nexpect = \"301 https://old.example/a.htm\"\n";
    assert_eq!(check(text), Vec::<String>::new());
}

/// A defaults.toml may name a pack for all sites below it, also for those that it has nothing to do with.
#[test]
fn packs_of_defaults_are_for_those_whom_they_concern() {
    let folder = folder("");
    fs::write(folder.path().join("routes/defaults.toml"), "[[rule]]\npack = \"gate-big5\"\n").unwrap();
    let other = "name = \"y\"\nhosts = [\"*.other.example\"]\nhome = \"https://www.new.example/\"\n";
    fs::write(folder.path().join("routes/other.toml"), other).unwrap();
    assert_eq!(load(&folder).1.diagnostics, []);
    fs::write(folder.path().join("routes/other.toml"), format!("{other}[[rule]]\npack = \"gate-big5\"\n")).unwrap();
    let codes: Vec<&str> = load(&folder).1.diagnostics.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["bad-pack"]);
}

#[test]
fn a_query_may_be_kept() {
    tests(
        "[[rule]]\npack = \"eportal\"\ncolumn = \"https://www.new.example/p/{page}\"\nquery = \"keep\"\n",
        &[("/eportal/ui?pageId=7&currentPage=2", "301 https://www.new.example/p/7?pageId=7&currentPage=2")],
    );
}

#[test]
fn explain_names_the_pack_and_its_line() {
    let folder = folder("[[rule]]\npack = \"gkmlpt\"\nprefix = \"https://www.new.example\"\n");
    fs::write(folder.path().join("gateway.toml"), "[guard]\nallowed-targets = [\"*.new.example\"]\n").unwrap();
    let url = "http://old.example/gkmlpt/content/3/3774/mpost_3774882.html";
    let output = waypost(folder.path(), &["explain", url, "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["location"], "https://www.new.example/gkmlpt/content/3/3774/post_3774882.html");
    assert_eq!(told["source"], "site.toml:5");
    let steps = told["steps"].as_array().unwrap();
    let rule = steps.iter().find(|step| step["step"] == "rules").unwrap();
    let detail = rule["detail"].as_str().unwrap();
    assert!(detail.starts_with("pack gkmlpt, article: /gkmlpt/content/") && detail.ends_with(": matches"), "{detail}");
}
