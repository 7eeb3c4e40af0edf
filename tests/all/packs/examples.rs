//! Each example of a pack comes out as it says, decided by what decides traffic.

use waypost::packs::{self, Pack};

use super::{folder, load};

/// A `[[rule]]` with a pack, and a `[[test]]` for each example of these keys.
fn site_file(pack: &Pack, with: &toml::Table) -> String {
    let mut text = format!("[[rule]]\npack = \"{}\"\n{with}", pack.name);
    for example in pack.examples.iter().filter(|example| example.with == *with) {
        let url = format!("http://old.example{}", example.url);
        text.push_str(&format!("\n[[test]]\nurl = \"{url}\"\nexpect = \"{}\"\n", example.expect));
    }
    text
}

#[test]
fn examples_come_out_as_they_say() {
    for pack in packs::all() {
        let mut tested: Vec<&toml::Table> = Vec::new();
        for example in &pack.examples {
            if tested.contains(&&example.with) {
                continue;
            }
            tested.push(&example.with);
            let text = site_file(pack, &example.with);
            let (_, report) = load(&folder(&text));
            let found: Vec<String> = report.diagnostics.iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "{}\n{text}\n{}", pack.name, found.join("\n"));
        }
    }
}

#[test]
fn examples_that_are_wrong_are_found() {
    let pack = packs::find("jcms").unwrap();
    let text = site_file(pack, &pack.examples[0].with)
        .replace("6714054.html\"\n\n", "1.html\"\n\n")
        .replacen("6714054", "6714055", 1);
    let (_, report) = load(&folder(&text));
    assert!(report.diagnostics.iter().any(|fault| fault.code == "test-failed"), "{text}");
}

/// Every pack shows what it does.
#[test]
fn packs_have_examples() {
    for pack in packs::all() {
        assert!(pack.examples.iter().any(|example| example.expect.starts_with("301 ")), "{}", pack.name);
        assert!(pack.examples.len() >= 3, "{}", pack.name);
        assert!(pack.doc.len() > 40 && !pack.zh.is_empty() && !pack.en.is_empty(), "{}", pack.name);
    }
}

/// No pack's example of what it takes is taken by another system's pack: a site that ran both may name both.
#[test]
fn systems_leave_each_other_alone() {
    for pack in packs::all().iter().filter(|pack| pack.kind == packs::Kind::System) {
        for other in packs::all().iter().filter(|other| other.kind == packs::Kind::System && other.name != pack.name) {
            let mut text =
                format!("[[rule]]\npack = \"{}\"\nprefix = \"https://www.new.example/{}\"\n", other.name, other.name);
            for example in pack.examples.iter().filter(|example| example.expect.starts_with("301 ")) {
                text.push_str(&format!("\n[[test]]\nurl = \"http://old.example{}\"\nexpect = \"404\"\n", example.url));
            }
            let (_, report) = load(&folder(&text));
            let found: Vec<String> = report.diagnostics.iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "{} takes what is of {}\n{}", other.name, pack.name, found.join("\n"));
        }
    }
}
