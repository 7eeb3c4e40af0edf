//! From a survey of 127 sites to a cut-over, by the real program: the way that the README shows.

mod survey;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::program;

/// The sample survey that the README imports, and the same without its contradictions. `WAYPOST_BLESS=1` writes them anew.
const SAMPLES: [(&str, bool); 2] = [("survey.xlsx", true), ("corrected.xlsx", false)];

#[test]
fn the_samples_are_those_of_the_generator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/census");
    for (name, with_faults) in SAMPLES {
        let bytes = survey::workbook(with_faults).unwrap();
        if std::env::var_os("WAYPOST_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), &bytes).unwrap();
        }
        assert!(fs::read(folder.join(name)).unwrap() == bytes, "tests/census/{name} is another one: WAYPOST_BLESS=1");
    }
}

/// A folder as somebody has it who follows the README: the project's, but for what is written.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    symlink(project.join("tests"), folder.path().join("tests")).unwrap();
    fs::copy(project.join("gateway.toml"), folder.path().join("gateway.toml")).unwrap();
    folder
}

/// Runs a line of a shell, in which `waypost` is the program.
fn shell(folder: &Path, line: &str) -> (Option<i32>, String) {
    let programs = Path::new(env!("CARGO_BIN_EXE_waypost")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", line]).current_dir(folder).env("PATH", path).output().unwrap();
    told(&output)
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn waypost(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    told(&program::waypost(folder, args).output().unwrap())
}

/// What files say, by their path; the journal is left out.
fn texts(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut texts = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with(".edits") => {}
                true => folders.push(path),
                false => {
                    texts.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
                }
            }
        }
    }
    texts
}

/// The commands of the README's walk-through, each with the remark behind it.
fn walk() -> Vec<(String, String)> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section =
        readme.split("\n## From a survey to a cut-over\n").nth(1).expect("the section").split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = lines.filter(|line| line.starts_with("waypost ") || line.starts_with("mkdir "));
    commands
        .map(|line| {
            let (command, remark) = line.split_once("  #").unwrap_or((line, ""));
            (command.trim().to_owned(), remark.trim().to_owned())
        })
        .collect()
}

#[test]
fn the_readme_leads_from_the_survey_to_the_cut_over() {
    let folder = folder();
    let folder = folder.path();
    let mut before: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    let mut seen = Vec::new();
    for (command, remark) in walk() {
        if folder.join("plan").is_dir() {
            before.push(texts(&folder.join("plan")));
        }
        let (code, text) = shell(folder, &command);
        let fails = remark.contains("nothing is written");
        assert_eq!(code, Some(i32::from(fails)), "{command}\n{text}");
        let name: Vec<&str> = command.split(' ').filter(|word| !word.starts_with('-')).take(3).collect();
        seen.push(name.join(" "));
        match name.join(" ").as_str() {
            "waypost census import" if fails => {
                for word in
                    ["bad-host", "bad-disposition", "bad-wave", "duplicate-host", "duplicate-row", "kept-and-closed"]
                {
                    assert!(text.contains(&format!("error[{word}]")), "{word}: {text}");
                }
                assert!(text.contains("sheet 网站普查表, row 14, column E (首页网址): 澜江市统计局"), "{text}");
                assert_eq!(texts(&folder.join("plan")), BTreeMap::new());
            }
            "waypost census import" => {
                assert!(text.contains("127 good (111 to close, 16 kept, 0 exempt; 127 new), 0 with errors"), "{text}");
            }
            "waypost status plan" | "waypost status" => {
                assert!(text.contains("127 sites on 2026-07-02: 111 of 111 closed, 16 kept, 0 exempt"), "{text}");
                assert!(text.contains("rate: 87 % closed, 87 % when all is done"), "{text}");
                let has = |line: [&str; 3]| text.lines().any(|known| known.split_whitespace().take(3).eq(line));
                assert!([["1", "39", "39"], ["2", "36", "36"], ["3", "36", "36"]].into_iter().all(has), "{text}");
                assert!(text.contains("overdue: none") && text.contains("blocked: none"), "{text}");
            }
            "waypost report plan" => {
                let page = fs::read_to_string(folder.join("report.html")).unwrap();
                for words in ["共 127 个站点：应关停 111 个，已关停 111 个；保留 16 个", "集约化率 87.40 %"]
                {
                    assert!(page.contains(words), "{words}: {page}");
                }
            }
            _ if command.contains("--rollback") => {
                // As before the command that set the wave's dates: the last but those that changed nothing.
                let now = texts(&folder.join("plan"));
                let was = before.iter().rev().find(|was| **was != before[before.len() - 1]).unwrap();
                assert_eq!(now.len(), was.len());
                let differ: Vec<&String> = now.keys().filter(|name| now.get(*name) != was.get(*name)).collect();
                assert_eq!(differ, Vec::<&String>::new());
            }
            _ => {}
        }
    }
    for needed in [
        "waypost census import",
        "waypost report plan",
        "waypost wave 1",
        "waypost wave 2",
        "waypost wave 3",
        "waypost census export",
    ] {
        assert!(seen.iter().any(|name| name == needed), "{needed}: {seen:?}");
    }
    let (code, text) = waypost(folder, &["check", "plan"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("111 sites") && text.contains("16 sites left alone: nothing to complain about"), "{text}");
}

/// Imports the survey without contradictions into `plan`.
fn imported(folder: &Path, file: &str) {
    fs::create_dir_all(folder.join("plan")).unwrap();
    let args = ["census", "import", file, "--routes", "plan", "--date", "2025-12-01", "--yes"];
    let (code, text) = waypost(folder, &args);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn status_tells_what_is_due_late_and_blocked() {
    let folder = folder();
    let folder = folder.path();
    imported(folder, "tests/census/corrected.xlsx");
    let wave = |args: &[&str]| waypost(folder, &[&["wave"], args, &["--routes", "plan", "--yes"]].concat());
    assert_eq!(wave(&["1", "--phase", "redirect", "--at", "2026-03-01", "--notice", "2026-02-01"]).0, Some(0));
    assert_eq!(wave(&["2", "--phase", "notice", "--at", "2026-05-01"]).0, Some(0));
    // A home that goes, and a site that comes too late to its wave.
    let edit = |name: &str, from: &str, to: &str| {
        let path = folder.join("plan").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    edit("jyj.qingshan.example.toml", "home", "# home");
    edit("lyj.qingshan.example.toml", "wave  = 2", "wave  = 1");
    edit("lyj.qingshan.example.toml", "notice   = 2026-05-01\n", "");
    edit("rd.qingshan.example.toml", "\"keep\"", "\"exempt\"");
    let status = |date: &str| -> Value {
        let (_, text) = waypost(folder, &["status", "--routes", "plan", "--date", date, "--json"]);
        serde_json::from_str(&text).unwrap()
    };
    let early = status("2026-02-10");
    assert_eq!(
        (&early["sites"], &early["closed"], &early["kept"], &early["exempt"]),
        (&127.into(), &0.into(), &15.into(), &1.into())
    );
    assert_eq!((&early["by_phase"]["notice"], &early["by_phase"]["proxy"]), (&39.into(), &72.into()));
    assert_eq!(early["due"].as_array().unwrap().len(), 39);
    assert_eq!(early["due"][0]["phase"], "redirect");
    assert_eq!(early["overdue"][0]["site"], "lyj.qingshan.example");
    assert_eq!(early["blocked"].as_array().unwrap().len(), 1);
    assert!(early["blocked"][0]["why"].as_str().unwrap().contains("`home`"), "{early}");
    let late = status("2026-08-15");
    assert_eq!(late["closed"], 39);
    let rate = late["rate"].as_f64().unwrap();
    assert!((rate - 39.0 / 126.0).abs() < 1e-9, "{rate}");
    // The notices of wave 2 have stood for more than three months.
    assert_eq!(late["overdue"].as_array().unwrap().len(), 1 + 35);
    let (_, text) = waypost(folder, &["status", "--routes", "plan", "--date", "2026-08-15", "--owner", "青山县林业局"]);
    assert!(text.starts_with("1 site on 2026-08-15: 0 of 1 closed"), "{text}");
    assert_eq!(waypost(folder, &["status", "--routes", "plan", "--owner", "nobody"]).0, Some(1));
}

#[test]
fn a_wave_is_changed_as_a_whole_or_not_at_all() {
    let folder = folder();
    let folder = folder.path();
    imported(folder, "tests/census/corrected.xlsx");
    let plan = folder.join("plan");
    let wave = |args: &[&str]| waypost(folder, &[&["wave"], args, &["--routes", "plan"]].concat());
    let before = texts(&plan);
    // Nobody is there to be asked; a dry run; a wave that isn't there; what can't be.
    let redirect = ["2", "--phase", "redirect", "--at", "2026-03-01"];
    for (args, code, words) in [
        (&redirect[..], 1, "nothing was written (--yes writes without asking)"),
        (&[&redirect[..], &["--dry-run"]].concat(), 0, "36 files would change; nothing was written"),
        (&["7", "--phase", "redirect", "--at", "2026-03-01", "--yes"], 1, "no site to close has wave = 7"),
        (&["2", "--phase", "redirect", "--at", "soon", "--yes"], 2, "neither a date"),
        (&["2", "--phase", "redirect"], 2, "--at"),
        (&["2", "--phase", "redirect", "--at", "2026-03-01", "--notice", "2026-04-01", "--yes"], 1, "bad-lifecycle"),
        (&["2", "--rollback", "--yes"], 1, "nothing to take back of wave 2"),
    ] {
        let (got, text) = wave(args);
        assert_eq!(got, Some(code), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
        assert_eq!(texts(&plan), before, "{args:?}");
    }
    let (_, text) = wave(&redirect);
    assert!(text.contains("--- a/lyj.qingshan.example.toml") && text.contains("+redirect = 2026-03-01"), "{text}");

    // Two steps, another wave between them, and back.
    assert_eq!(wave(&["2", "--phase", "notice", "--at", "2026-02-01", "--yes"]).0, Some(0));
    let noticed = texts(&plan);
    assert_eq!(wave(&["3", "--phase", "redirect", "--at", "2026-06-01", "--yes"]).0, Some(0));
    assert_eq!(wave(&[&redirect[..], &["--yes"]].concat()).0, Some(0));
    assert_eq!(wave(&["3", "--rollback", "--yes"]).0, Some(0));
    assert_eq!(wave(&["2", "--rollback", "--yes"]).0, Some(0));
    assert!(texts(&plan) == noticed);
    // Somebody's edit is not lost.
    let name = plan.join("lyj.qingshan.example.toml");
    let own = fs::read_to_string(&name).unwrap() + "# mine\n";
    fs::write(&name, &own).unwrap();
    let (code, text) = wave(&["2", "--rollback", "--yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("  lyj.qingshan.example.toml\n"), "{text}");
    assert_eq!(fs::read_to_string(&name).unwrap(), own);
    assert_eq!(wave(&["2", "--rollback", "--yes", "--force"]).0, Some(0));
    assert!(texts(&plan) == before);
    // And the import itself.
    assert_eq!(waypost(folder, &["census", "import", "--rollback", "--routes", "plan", "--yes"]).0, Some(0));
    assert_eq!(texts(&plan), BTreeMap::new());
}

#[test]
fn the_survey_comes_back_as_it_was() {
    let folder = folder();
    let folder = folder.path();
    // As CSV in the charset of the country.
    let text = survey::csv(false);
    fs::write(folder.join("名单.csv"), encoding_rs::GB18030.encode(&text).0).unwrap();
    imported(folder, "名单.csv");
    let export = ["census", "export", "--routes", "plan", "--encoding", "gb18030", "-o"];
    assert_eq!(waypost(folder, &[&export[..], &["back.csv"]].concat()).0, Some(0));
    let cells = |path: &str| -> Vec<Vec<String>> {
        let bytes = fs::read(folder.join(path)).unwrap();
        waypost::census::read(path, bytes).unwrap()[0].rows.iter().map(|row| row.cells.clone()).collect()
    };
    assert!(cells("back.csv") == cells("名单.csv"));
    // From CSV to a workbook, which knows the same sites.
    assert_eq!(waypost(folder, &[&export[..], &["back.xlsx"]].concat()).0, Some(0));
    let (code, text) =
        waypost(folder, &["census", "import", "back.xlsx", "--survey", "名单", "--routes", "plan", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("127 good (111 to close, 16 kept, 0 exempt; 0 new)"), "{text}");
    // Rows with errors stay out.
    let args =
        ["census", "import", "tests/census/survey.xlsx", "--routes", "other", "--json", "--partial", "--dry-run"];
    fs::create_dir(folder.join("other")).unwrap();
    let (code, text) = waypost(folder, &args);
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&text).unwrap();
    let (faults, added) = survey::FAULTS;
    assert_eq!(report["rows"], 127 + added);
    assert_eq!(report["left_out"], faults, "{:#}", report["findings"]);
    assert_eq!(report["sites"], 127 + added - faults);
    let (_, template) = waypost(folder, &["census", "template"]);
    assert!(template.contains("网站名称,主办单位,网站标识码,域名"), "{template}");
}
