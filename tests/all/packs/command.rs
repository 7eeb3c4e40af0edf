//! `waypost packs`.

use std::path::Path;

use serde_json::Value;
use waypost::packs;

use super::{folder, load};
use crate::program::waypost;

fn run(args: &[&str]) -> (String, i32) {
    let output = waypost(Path::new("."), &[&["packs"], args].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

#[test]
fn all_are_listed_and_each_is_shown() {
    let (list, code) = run(&[]);
    assert_eq!(code, 0);
    let (json, code) = run(&["--json"]);
    assert_eq!(code, 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let told = json["packs"].as_array().unwrap();
    assert_eq!(told.len(), packs::all().len());
    for (pack, told) in packs::all().iter().zip(told) {
        assert!(list.contains(&format!("\n  {} ", pack.name)), "{list}");
        assert_eq!(told["name"], pack.name);
        assert_eq!(told["examples"].as_array().unwrap().len(), pack.examples.len());
    }
    let (manual, code) = run(&["gkmlpt"]);
    assert_eq!(code, 0);
    for words in ["pack   = \"gkmlpt\"", "{id|div:1000000}", "captures: ", "mpost_3774882.html", "(unconfirmed)"] {
        assert!(manual.contains(words), "{words}: {manual}");
    }
    assert_eq!(run(&["动易"]), run(&["powereasy"]));
}

#[test]
fn a_name_that_nobody_knows_is_an_error() {
    let (text, code) = run(&["jcm"]);
    assert_eq!((text.contains("did you mean `jcms`?"), code), (true, 1), "{text}");
}

/// What is shown to be pasted can be pasted, and the captures that are named can be used.
#[test]
fn snippets_and_captures_are_true() {
    for pack in packs::all() {
        let (json, _) = run(&[&pack.name, "--json"]);
        let told: Value = serde_json::from_str(&json).unwrap();
        let (_, report) = load(&folder(told["snippet"].as_str().unwrap()));
        assert!(report.diagnostics.is_empty(), "{}: {:?}", pack.name, report.diagnostics);
        let mut text = format!("[[rule]]\npack = \"{}\"\n", pack.name);
        for key in told["keys"].as_array().unwrap() {
            let captures = key["captures"].as_array().unwrap();
            if pack.shapes().contains(&key["name"].as_str().unwrap()) {
                let captures: Vec<String> =
                    captures.iter().map(|name| format!("{{{}}}", name.as_str().unwrap())).collect();
                let key = key["name"].as_str().unwrap();
                text.push_str(&format!("{key} = \"https://www.new.example/{}\"\n", captures.join("/")));
            }
        }
        let (_, report) = load(&folder(&text));
        assert!(report.diagnostics.is_empty(), "{text}: {:?}", report.diagnostics);
    }
}
