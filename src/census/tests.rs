use std::{collections::BTreeMap, fs, path::Path};

use jiff::civil::date;

use super::*;
use crate::config::{Gateway, Severity, Site};
use crate::edits::Changes;
use crate::routing::Loader;

/// A sheet of a survey, from lines of cells between `|`.
fn sheet(name: &str, lines: &str) -> Sheet {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace("\\n", "\n")).collect();
    let rows = (1..).zip(lines.trim().lines()).map(|(number, line)| Row { number, cells: cells(line) }).collect();
    Sheet { name: name.to_owned(), rows }
}

fn survey(sheets: &[Sheet]) -> Survey {
    Survey::of("s.xlsx", "s", sheets, Columns::default()).unwrap()
}

/// Findings: `row column code`.
fn found(survey: &Survey) -> Vec<String> {
    let mark = |finding: &Finding| if finding.severity == Severity::Error { "" } else { "~" };
    survey
        .findings
        .iter()
        .map(|finding| format!("{}{}{} {}", mark(finding), finding.column, finding.row, finding.code))
        .collect()
}

/// Does something with the sites of a folder.
fn with_sites<T>(root: &Path, work: impl FnOnce(&[&Site]) -> T) -> T {
    let mut loader = Loader::new(&Gateway { routes: root.to_owned(), ..Gateway::default() });
    loader.load(0, |_, _| {}).unwrap();
    work(&loader.checked_sites().collect::<Vec<_>>())
}

/// Imports sheets into a folder; returns what was found.
fn import(root: &Path, sheets: &[Sheet]) -> Vec<String> {
    let mut survey = survey(sheets);
    let planned = with_sites(root, |sites| {
        survey.plan(&Target { folder: "", day: date(2025, 12, 1), sites }, Changes::new(root)).unwrap()
    });
    crate::edits::Journal::open(root).unwrap().0.commit(&planned.changes, "census", "").unwrap();
    found(&survey)
}

fn exported(root: &Path) -> Vec<Sheet> {
    with_sites(root, |sites| export(root, sites, "s", false).unwrap().sheets)
}

fn texts(root: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|file| file.path().is_file())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect()
}

const HEAD: &str = "序号|网站名称|主办单位|网址|处理意见|批次|迁移去向|网站标识码|备注|关停时间\n";

#[test]
fn contradictions_are_told_by_row() {
    let lines = "
1|政府|办|www.a.example|保留|||4300000001||
2|教育局|教|jyj.a.example|关停|1|www.a.example/jyj|4300000002||
3|教育|教|JYJ.a.example:80|保留|||||
4|林业局|林|lyj.a.example|关停|1|www.a.example/lyj|4300000004||
5|林业站|站|lyz.a.example、lyj.a.example|关停|1|www.a.example/lyz|||
6|水利局|水|slj a.example|关停|1|||
7|水利站|水||关停|1|||
8|卫生局|卫|wsj.a.example|关停|下次|www.a.example|43000|
9|文化局|文|whj.a.example|待定|1|whj.a.example|||
10|文物局|文|wwj.a.example|关停|1|http://|4300000001||
11||文|x.a.example|关停|1|jyj.a.example|||2026年13月
12|旅游局|旅|lvj.a.example|保留/关停|1||||
13|旅游局|旅|ly2.a.example|关停||www.a.example|||
13|旅游局|旅|ly2.a.example|关停||www.a.example|||
";
    let survey = survey(&[sheet("", &(HEAD.to_owned() + lines.trim()))]);
    assert_eq!(
        found(&survey),
        [
            "D4 kept-and-closed",
            "D6 duplicate-host",
            "D7 bad-host",
            "D8 no-host",
            "F9 bad-wave",
            "~H9 bad-code",
            "E10 bad-disposition",
            "G10 bad-home",
            "G11 bad-home",
            "H11 duplicate-code",
            "B12 no-name",
            "~J12 bad-date",
            "~G12 home-closes",
            "E13 kept-and-closed",
            "~F14 wave",
            "~F15 wave",
            "D15 duplicate-row",
        ],
        "{:#?}",
        survey.findings
    );
    let told = survey.findings[0].to_string();
    assert_eq!(
        told,
        "error[kept-and-closed]: jyj.a.example is kept here, and closed in row 3 (教育局)\n  --> s.xlsx, row 4, column D (网址): 教育\n  = help: one of the two rows is wrong: neither is imported\n"
    );
    // One site is good: the last of all.
    let good: Vec<u32> = survey.entries.iter().filter(|entry| entry.is_good).map(|entry| entry.row).collect();
    assert_eq!(good, [14]);
}

#[test]
fn each_list_may_be_a_sheet() {
    let head = "网站名称|域名";
    let sheets = [
        sheet("填表说明", "请填写\n每行一个网站"),
        sheet("保留名单", &format!("{head}\n政府|www.a.example")),
        sheet("关停名单", &format!("保留名单见前\n{head}\n教育局|jyj.a.example\n政府|www.a.example")),
        sheet("例外", &format!("{head}\n检察院|jc.a.example")),
        sheet("空", ""),
    ];
    let survey = survey(&sheets);
    assert_eq!(survey.skipped, ["填表说明"]);
    assert_eq!(found(&survey), ["B4 kept-and-closed"]);
    assert!(survey.findings[0].message.contains("kept in row 2 of 保留名单"), "{}", survey.findings[0]);
    let said: Vec<String> = survey.entries.iter().map(|entry| entry.entry.disposition.to_string()).collect();
    assert_eq!(said, ["keep", "close", "close", "exempt"]);
    assert!(matches!(
        Survey::of("s", "s", &sheets, Columns::default().of_sheets(&["没有".to_owned()])),
        Err(SheetError::Format(_))
    ));
    assert!(matches!(Survey::of("s", "s", &sheets[..1], Columns::default()), Err(SheetError::Format(_))));
}

#[test]
fn what_was_imported_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let lines = "
1|政府|办|http://www.a.example/|保 留|||4300000001|主站|
2|教育局|教|JYJ.a.example、www.jyj.a.example|关停并入|第一批|www.a.example/jyj/|4300000002|有，逗号\\n和行|2026年3月1日
合计|2
3|林业局|林|lyj.a.example|关停|2|https://www.a.example/lyj/||\"引号\"|待定|多余
注：以上为全部网站
";
    let sheets = [sheet("名单", &format!("青山县普查表\n{HEAD}{}", lines.trim()))];
    assert_eq!(import(root, &sheets), ["~J6 bad-date"]);
    let trimmed = |sheets: &[Sheet]| -> Vec<Vec<String>> {
        let cells = |row: &Row| {
            let end = row.cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
            row.cells[..end].to_vec()
        };
        sheets.iter().flat_map(|sheet| sheet.rows.iter().map(cells)).collect()
    };
    assert_eq!(trimmed(&exported(root)), trimmed(&sheets));
    // Also through a workbook, and CSV in both charsets.
    let export = with_sites(root, |sites| export(root, sites, "s", false).unwrap());
    for bytes in [
        export.xlsx().unwrap(),
        export.csv(None, Encoding::Utf8).unwrap(),
        export.csv(Some("名单"), Encoding::Gb18030).unwrap(),
    ] {
        assert_eq!(trimmed(&sheet::parse("s", bytes).unwrap()), trimmed(&sheets));
    }
    assert!(export.csv(Some("x"), Encoding::Utf8).is_err());
    // Nothing changes if nothing has changed.
    let before = texts(root);
    assert_eq!(import(root, &sheets), ["~J6 bad-date"]);
    assert_eq!(texts(root), before);
    assert!(before["jyj.a.example.toml"].contains("\nproxy    = 2025-12-01\nredirect = 2026-03-01\n"));

    // What is edited in the files shows.
    let edit = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(name)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(root.join(name), text.replacen(from, to, 1)).unwrap();
    };
    edit("lyj.a.example.toml", "hosts = [", "hosts = [\"www.lyj.a.example\", ");
    edit("lyj.a.example.toml", "wave  = 2", "wave  = 3");
    edit("a.example.toml", "\"keep\"", "\"exempt\"");
    let rows = trimmed(&exported(root));
    assert_eq!(rows[2][4], "例外");
    assert_eq!(rows[5][3..6], ["www.lyj.a.example、lyj.a.example", "关停", "3"]);
    assert_eq!(rows[3], trimmed(&sheets)[3]);
}

#[test]
fn edits_by_hand_outlive_an_import() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let own = "# mine\nname  = \"教育局\" # as citizens know it\nhosts = [\r\n    \"jyj.a.example\", # old\n]\nhome  = \"https://www.a.example/jyj/\"\nowner = \"county\"\n\n[[rule]]\nfrom = \"/a\"\ngone = true\n";
    fs::write(root.join("own.toml"), own).unwrap();
    let line = |rest: &str| sheet("", &format!("{HEAD}1|教育局|{rest}"));
    let first = line("教|jyj.a.example、www.jyj.a.example|关停|1|www.a.example/jyj/|4300000002||");
    assert_eq!(import(root, &[first]), ["~2 edited-by-hand"]);
    let text = texts(root)["own.toml"].clone();
    let head = own
        .replace("    \"jyj.a.example\", # old", "    \"jyj.a.example\",\r\n    \"www.jyj.a.example\", # old")
        .replace("owner = \"county\"\n", "owner = \"county\"\r\ncode  = \"4300000002\"\r\nwave  = 1\r\n");
    assert!(text.replace("\r\n", "\n").starts_with(&head.replace("\r\n", "\n")), "{text}");
    // The survey's wave has changed, and so has the file's home.
    fs::write(root.join("own.toml"), text.replace("https://www.a.example/jyj/", "https://jy.a.example/")).unwrap();
    let second = line("教|jyj.a.example|关停|2|www.a.example/jy/|4300000002||");
    assert_eq!(import(root, &[second]), ["~2 edited-by-hand", "~2 edited-by-hand"]);
    let text = &texts(root)["own.toml"];
    assert!(text.contains("wave  = 2") && text.contains("https://jy.a.example/"), "{text}");
    assert!(text.contains("\"www.jyj.a.example\""), "{text}");
    assert!(text.contains("owner = \"county\""), "{text}");
    assert_eq!(texts(root).len(), 1);
}

#[test]
fn any_bytes_are_read_in_the_end() {
    let seeds: [&[u8]; 4] = ["网址,网站名称\nhttp://,x\n".as_bytes(), b"PK\x05\x06", b"\"", b"host;name\na.b;\xB9\n"];
    let mut state = 7_u64;
    for _ in 0..2000 {
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut bytes = seeds[random() % seeds.len()].to_vec();
        for _ in 0..random() % 8 {
            let at = random() % bytes.len();
            bytes[at] = random() as u8;
        }
        fuzz(&bytes);
    }
}
