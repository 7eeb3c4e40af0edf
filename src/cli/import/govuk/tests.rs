use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use super::{LeftOut, Report, import};

const HEADER: &str = "Old Url,New Url,Status,Suggested Link,Archive Link\n";

/// A site file with what every site has, and `more` lines.
fn site(abbreviation: &str, host: &str, more: &str) -> String {
    format!(
        "---\nsite: {abbreviation}\nwhitehall_slug: office\nhomepage: https://www.gov.uk/home\n\
         tna_timestamp: 20140404084345\nhost: {host}\n{more}"
    )
}

struct Imported {
    report: Report,
    files: BTreeMap<String, String>,
}

/// Imports a folder of these files; the two lists are there unless they are given.
fn imported(files: &[(&str, &[u8])]) -> Imported {
    let dir = TempDir::new().unwrap();
    for folder in ["sites", "mappings"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("organisations.tsv"), "slug\ttitle\tcss\tfurl\thomepage\noffice\tThe Office\t\t\tx\n")
        .unwrap();
    fs::write(dir.path().join("whitelist.txt"), "# foreign\n\nwww.example.org\n").unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    run(dir.path())
}

fn run(dir: &Path) -> Imported {
    let out = TempDir::new().unwrap();
    let report = import(dir, &out.path().join("routes"), &mut |_| ()).unwrap();
    let files = fs::read_dir(out.path().join("routes")).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
    });
    Imported { report, files: files.collect() }
}

impl Imported {
    fn toml(&self, name: &str) -> toml::Table {
        self.files[name].parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The rows of a table, without its header.
    fn rows(&self, name: &str) -> Vec<&str> {
        self.files[name].lines().skip(1).collect()
    }

    /// File, line and what of all that was left out for a reason that contains `why`.
    fn left_out(&self, why: &str) -> Vec<(&str, u32, &str)> {
        let all = self.report.left_out.iter().filter(|left_out| left_out.why.contains(why));
        all.map(|LeftOut { file, line, what, .. }| (file.as_str(), *line, what.as_str())).collect()
    }
}

/// Imports one site `a` of `www.a.gov.uk` (also `b.gov.uk`) and these rows.
fn with_rows(more: &str, rows: &str) -> Imported {
    let site = site("a", "www.a.gov.uk", &format!("aliases:\n- b.gov.uk\n{more}"));
    imported(&[("sites/a.yml", site.as_bytes()), ("mappings/a.csv", format!("{HEADER}{rows}").as_bytes())])
}

#[test]
fn a_site_is_carried_over() {
    let more =
        "aliases:\n- B.gov.uk\n- 'c.gov.uk' # old\noptions: --query-string Id:page\nhomepage_title: \"A \\\"b\\\"\"\n";
    let site = site("a", "www.a.gov.uk", more);
    let done = imported(&[("sites/a.yml", site.as_bytes())]);
    let want = toml::toml! {
        name = "A \"b\""
        hosts = ["www.a.gov.uk", "b.gov.uk", "c.gov.uk"]
        home = "https://www.gov.uk/home"
        owner = "office"
        timestamp = "20140404084345"
        [url]
        keep-query = ["id", "page"]
    };
    assert_eq!(done.toml("a.toml"), want);
    assert!(!done.files.contains_key("a.csv"));
    assert_eq!((done.report.sites, done.report.hosts, &done.report.left_out[..]), (1, 3, &[][..]));
}

#[test]
fn defaults_are_that_gateways() {
    let done = imported(&[]);
    let defaults = done.toml("defaults.toml");
    assert_eq!(defaults["status"].as_integer(), Some(301));
    let allowed: Vec<_> =
        defaults["allowed-targets"].as_array().unwrap().iter().filter_map(|host| host.as_str()).collect();
    assert_eq!(allowed, ["*.gov.uk", "*.mod.uk", "*.nhs.uk", "www.example.org"]);
    let rules = defaults["rule"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["first"].as_bool() == Some(true)));
    let from: Vec<_> = rules.iter().filter_map(|rule| rule["from"].as_str()).collect();
    assert_eq!(from, ["/404", "/410", "/gone.css", "/favicon.ico"]);
    assert_eq!(defaults["url"]["escapes"].as_str(), Some("keep"));
    assert_eq!(defaults["guard"]["methods"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_name_is_the_nearest_title() {
    let files = [
        ("sites/a.yml", site("a", "a.gov.uk", "homepage_title: Title\n")),
        ("sites/b.yml", site("b", "b.gov.uk", "")),
        ("sites/c.yml", site("c", "c.gov.uk", "").replace("office", "nobody")),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let done = imported(&files);
    let name = |file| done.toml(file)["name"].as_str().map(str::to_owned);
    assert_eq!([name("a.toml"), name("b.toml"), name("c.toml")].map(Option::unwrap), ["Title", "The Office", "c"]);
}

#[test]
fn one_answer_for_all_shadows_the_rows() {
    let row = "http://www.a.gov.uk/x,https://www.gov.uk/x,301,,\n";
    let done = with_rows("global: =410\n", row);
    assert_eq!(done.toml("a.toml")["lifecycle"].to_string(), "{ archive = 2014-04-04 }");
    assert!(!done.files.contains_key("a.csv"));
    assert_eq!(done.left_out("alike"), [("mappings/a.csv", 2, "http://www.a.gov.uk/x")]);

    let done = with_rows("global: '=301 https://www.gov.uk/{x}?a[]=1'\nglobal_redirect_append_path: false\n", row);
    let site = done.toml("a.toml");
    let first = toml::toml! { from = "/" first = true to = "https://www.gov.uk/{{x}}?a[]=1" };
    let fallback = toml::toml! { action = "redirect" to = "https://www.gov.uk/{{x}}?a[]=1" };
    assert_eq!((&site["rule"][0], &site["fallback"]), (&first.into(), &fallback.into()));

    let done = with_rows("global: =301 https://www.gov.uk/x//\nglobal_redirect_append_path: true\n", row);
    let fallback = toml::toml! { action = "redirect" to = "https://www.gov.uk/x{path}" query = "keep" };
    assert_eq!(done.toml("a.toml")["fallback"], fallback.into());
    assert_eq!(done.toml("a.toml")["rule"][0]["query"].as_str(), Some("keep"));
}

#[test]
fn an_archived_site_needs_no_moment() {
    for timestamp in ["", "soon", "20140231000000", "29990101000000"] {
        let text = site("a", "www.a.gov.uk", "global: =410\n").replace("20140404084345", timestamp);
        let done = imported(&[("sites/a.yml", text.as_bytes())]);
        assert_eq!(done.toml("a.toml")["lifecycle"].to_string(), "{ archive = 2000-01-01 }", "{timestamp}");
        assert_eq!(done.toml("a.toml").contains_key("timestamp"), timestamp.starts_with("2999"));
    }
}

#[test]
fn a_global_answer_that_is_none_is_left_out() {
    let globals =
        ["=302 https://www.gov.uk", "=301", "=301 /x", "=301 https://www.gov.uk/$1", "=410 x", "=301 https://a.uk b"];
    for global in globals {
        let done = with_rows(&format!("global: {global}\n"), "http://b.gov.uk/x,,410,,\n");
        assert_eq!(done.left_out("").iter().map(|&(_, line, what)| (line, what)).collect::<Vec<_>>(), [(9, global)]);
        assert_eq!(done.rows("a.csv"), ["/x,,410,,,"]);
    }
}

#[test]
fn what_has_no_counterpart_is_listed() {
    let more = "css: blue\nhomepage_furl: www.gov.uk/a\nextra_organisation_slugs:\n- x\n- y\nspecial_redirect_strategy: supplier\n\
                colour: red\noptions: --lowercase --query-string=a:b --deep\n";
    let done = imported(&[
        ("sites/a.yml", site("a", "a.gov.uk", more).as_bytes()),
        ("sites/notes.txt", b""),
        ("mappings/old", b""),
    ]);
    let listed: Vec<_> =
        done.left_out("").into_iter().map(|(file, line, what)| format!("{file}:{line} {what}")).collect();
    let want = [
        "mappings/old:0 the whole file",
        "sites/a.yml:7 css: blue",
        "sites/a.yml:8 homepage_furl: www.gov.uk/a",
        "sites/a.yml:9 extra_organisation_slugs: x, y",
        "sites/a.yml:12 special_redirect_strategy: supplier",
        "sites/a.yml:13 colour: red",
        "sites/a.yml:14 --deep",
        "sites/a.yml:14 --lowercase",
        "sites/notes.txt:0 the whole file",
    ];
    assert_eq!(listed, want);
    assert_eq!(done.toml("a.toml")["url"].to_string(), r#"{ keep-query = ["a", "b"] }"#);
}

#[test]
fn bad_site_files_stop_no_other() {
    let files: [(&str, &[u8]); 9] = [
        ("sites/empty.yml", b""),
        ("sites/list.yml", b"- a\n"),
        ("sites/broken.yml", b"site: x\nhost: \"y\n"),
        ("sites/gbk.yml", b"site: \xC7\xE0\n"),
        ("sites/hostless.yml", b"site: h\nhost: a b\naliases: [http://x, [y]]\n"),
        ("sites/good.yml", b"\xEF\xBB\xBF\"site\": g/../h\r\nhost: GOOD.gov.uk\r\nhost: best.gov.uk\r\n"),
        ("sites/same.yml", b"site: s\nhost: best.gov.uk\naliases: s.gov.uk\n"),
        ("sites/t.yml", b"host: t.gov.uk\n"),
        ("sites/twin.yml", b"site: T\nhost: twin.gov.uk\n"),
    ];
    let done = imported(&files);
    let names: Vec<_> = done.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["defaults.toml", "g-..-h.toml", "s.toml", "t.toml"]);
    assert_eq!(done.toml("g-..-h.toml")["hosts"].to_string(), r#"["best.gov.uk"]"#);
    assert_eq!(done.toml("s.toml")["hosts"].to_string(), r#"["s.gov.uk"]"#);
    for file in ["empty", "list", "broken", "gbk", "hostless", "good", "same", "t", "twin"] {
        let file = format!("sites/{file}.yml");
        assert!(done.report.left_out.iter().any(|left_out| left_out.file == file), "{file}");
    }
    assert_eq!(done.left_out("last one counts"), [("sites/good.yml", 2, "host")]);
    assert_eq!(done.left_out("has this host"), [("sites/same.yml", 2, "best.gov.uk")]);
}

#[test]
fn rows_go_to_the_site_of_their_host() {
    let a = site("a", "www.a.gov.uk", "");
    let b = site("b", "b.gov.uk", "");
    let rows = "http://b.gov.uk/1,,410,,\nhttp://aka.a.gov.uk/2,,410,,\nhttps://AKA-b.gov.uk:8080/3?q,,410,,\n\
                www.a.gov.uk/4,,410,,\n/5,,410,,\nhttp://c.gov.uk/6,,410,,\nhttp://aka-a.gov.uk/7,,410,,\n";
    let bare = format!("{HEADER}/8,,410,,\n");
    let done = imported(&[
        ("sites/a.yml", a.as_bytes()),
        ("sites/b.yml", b.as_bytes()),
        ("mappings/a.csv", format!("{HEADER}{rows}").as_bytes()),
        ("mappings/z.csv", bare.as_bytes()),
    ]);
    assert_eq!(done.rows("a.csv"), ["/2,,410,,,", "/4,,410,,,", "/5,,410,,,"]);
    assert_eq!(done.rows("b.csv"), ["/1,,410,,,", "/3?q,,410,,,"]);
    let unknown = [("mappings/a.csv", 7, "http://c.gov.uk/6"), ("mappings/a.csv", 8, "http://aka-a.gov.uk/7")];
    assert_eq!(done.left_out("no site has"), unknown);
    assert_eq!(done.left_out("named after no site"), [("mappings/z.csv", 2, "/8")]);
    assert_eq!((done.report.rows, done.report.mappings), (8, 5));
}

#[test]
fn rows_keep_what_the_new_table_has_a_place_for() {
    let archive = "http://webarchive.nationalarchives.gov.uk/2012/x";
    let rows = format!(
        "http://b.gov.uk/1,https://www.gov.uk/A b#C,301,,\nhttp://b.gov.uk/2,,410,www.shelter.org.uk,{archive}\n\
         http://b.gov.uk/3,https://www.gov.uk/3,418,,\nhttp://b.gov.uk/4,{archive},301,,\n\
         \"http://b.gov.uk/5,\"\"\u{e9}\",\"https://www.gov.uk/5,a\",301,https://x.uk,\n\
         http://b.gov.uk/6#f,,410,mailto:a@b.uk,\nhttp://b.gov.uk/7,,410,,,more\n"
    );
    let done = with_rows("", &rows);
    let want = [
        "/1,https://www.gov.uk/A%20b#C,301,,,".to_owned(),
        format!("/2,,410,http://www.shelter.org.uk,{archive},"),
        "/3,,410,,,undecided".to_owned(),
        format!("/4,,410,,{archive},"),
        "\"/5,%22\u{e9}\",\"https://www.gov.uk/5,a\",301,,,".to_owned(),
        "/6,,410,,,".to_owned(),
        "/7,,410,,,".to_owned(),
    ];
    assert_eq!(done.rows("a.csv"), want);
    let lost: Vec<_> = done.left_out("").into_iter().map(|(_, line, what)| (line, what)).collect();
    assert_eq!(lost, [(4, "https://www.gov.uk/3"), (6, "https://x.uk"), (7, "#f"), (7, "mailto:a@b.uk"), (8, "more")]);
}

#[test]
fn rows_that_mean_nothing_say_why() {
    let rows = "http://b.gov.uk/1,,301,,\nhttp://b.gov.uk/2,/x,301,,\nhttp://b.gov.uk/3,,,,\nhttp://b.gov.uk/4,,200,,\n,,410,,\n\
                ftp://b.gov.uk/6,,410,,\nhttp://b.gov.uk,https://www.gov.uk,301,,\nhttp://b.gov.uk//?x,,410,,\n\
                http://b.gov.uk/Robots.txt?a,,410,,\n\n\"http://b.gov.uk/12\nx\",,410,,\nhttp://b.gov.uk/13\n";
    let done = with_rows("options: --query-string x\n", rows);
    let lines: Vec<_> = done.left_out("").into_iter().map(|(_, line, _)| line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14]);
    assert_eq!(done.left_out("home page").len(), 2);
    assert!(!done.files.contains_key("a.csv"));
}

#[test]
fn the_best_of_several_rows_wins() {
    let rows = "http://b.gov.uk/1,,410,,\nhttp://www.a.gov.uk/1/,https://www.gov.uk/x,301,,\nhttp://b.gov.uk/1?y,https://www.gov.uk/y,301,,\n\
                http://b.gov.uk/2,,418,,\nhttp://b.gov.uk/2,,410,,\nhttp://b.gov.uk/2,,410,,http://webarchive.nationalarchives.gov.uk/2\n\
                http://b.gov.uk/a~b?x=1&z=2,,410,,\nhttp://b.gov.uk/A%7Eb?q&X=1,,410,,\nhttp://b.gov.uk/a~b?x=2,,410,,\n\
                http://b.gov.uk//1,,410,,\n";
    let done = with_rows("options: --query-string x:w\n", rows);
    let want = [
        "/1/,https://www.gov.uk/x,301,,,",
        "/2,,410,,http://webarchive.nationalarchives.gov.uk/2,",
        "/a~b?x=1&z=2,,410,,,",
        "/a~b?x=2,,410,,,",
        "//1,,410,,,",
    ];
    assert_eq!(done.rows("a.csv"), want);
    assert_eq!((done.report.duplicates_same, done.report.duplicates_lost), (1, 4));
    let lost: Vec<_> = done.left_out("beats it").into_iter().map(|(_, line, _)| line).collect();
    assert_eq!(lost, [2, 4, 5, 6]);
}

#[test]
fn files_come_in_the_order_of_their_stems() {
    let row = |to: &str| format!("{HEADER}http://www.a.gov.uk/x,https://www.gov.uk/{to},301,,\n").into_bytes();
    let names = ["mappings/fco_ukin.old.csv", "mappings/fco_ukinarmenia.csv", "mappings/fco_ukin.csv"];
    let site = site("a", "www.a.gov.uk", "");
    let rows: Vec<_> = names.iter().map(|name| row(&name.replace('/', "-"))).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().zip(&rows).map(|(name, row)| (*name, row.as_slice())).collect();
    files.push(("sites/a.yml", site.as_bytes()));
    let done = imported(&files);
    assert_eq!(done.rows("a.csv"), ["/x,https://www.gov.uk/mappings-fco_ukin.csv,301,,,"]);
    assert_eq!(done.left_out("beats it").len(), 2);
}

#[test]
fn tables_of_other_shapes_are_read_or_listed() {
    let site = site("a", "www.a.gov.uk", "");
    let done = imported(&[
        ("sites/a.yml", site.as_bytes()),
        ("mappings/1.csv", b"\xEF\xBB\xBFStatus,Note,Old URL\r\n410,x,http://www.a.gov.uk/1\r\n"),
        ("mappings/2.csv", b""),
        ("mappings/3.csv", b"http://www.a.gov.uk/3,,410,,\n"),
        ("mappings/4.csv", b"Old Url,New Url,Status\nhttp://www.a.gov.uk/\xC7\xE0,,410\nhttp://www.a.gov.uk/4,,410\n"),
        ("mappings/5.csv", b"Old Url,Status\n\"http://www.a.gov.uk/5,410\nhttp://www.a.gov.uk/6,410\n"),
    ]);
    assert_eq!(done.rows("a.csv"), ["/1,,410,,,", "/4,,410,,,"]);
    let listed: Vec<_> = done.left_out("").into_iter().map(|(file, line, _)| (file, line)).collect();
    let want = [
        ("mappings/1.csv", 1),
        ("mappings/2.csv", 1),
        ("mappings/3.csv", 1),
        ("mappings/4.csv", 2),
        ("mappings/5.csv", 2),
    ];
    assert_eq!(listed, want);
}

#[test]
fn only_sites_are_needed() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let error = import(dir.path(), &out, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("sites/*.yml") && error.contains("whitelist.txt"), "{error}");
    assert!(!out.exists());

    fs::create_dir(dir.path().join("sites")).unwrap();
    fs::write(dir.path().join("sites/a.yml"), site("a", "a.gov.uk", "")).unwrap();
    let done = run(dir.path());
    let missing: Vec<_> = done.left_out("can't be read").into_iter().map(|(file, _, _)| file).collect();
    assert_eq!(missing, ["mappings", "organisations.tsv", "whitelist.txt"]);
    assert_eq!(done.toml("a.toml")["name"].as_str(), Some("a"));
}

#[test]
fn the_out_folder_must_be_free() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("sites")).unwrap();
    for out in ["full", "file", "free"] {
        fs::create_dir(dir.path().join(out)).unwrap();
    }
    fs::write(dir.path().join("full/x"), "").unwrap();
    fs::remove_dir(dir.path().join("file")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let run = |out: &str| import(dir.path(), &dir.path().join(out), &mut |_| ()).map_err(|error| format!("{error:#}"));
    assert!(run("full").unwrap_err().contains("is not empty"));
    assert!(run("file").unwrap_err().contains("not an empty folder"));
    assert!(run("free").is_ok() && run("new/deep").is_ok());
    assert_eq!(fs::read_dir(dir.path().join("full")).unwrap().count(), 1);
}

#[test]
fn bad_lines_of_the_lists_are_listed() {
    let done = imported(&[
        ("organisations.tsv", b"slug\ttitle\tcss\nb\tBee\tyellow\nc\n\n"),
        ("whitelist.txt", b"WWW.b.org # x\r\nwww.c.org\r\n*.d.org\r\nwww.c.org\r\n"),
    ]);
    let listed: Vec<_> = done.left_out("").into_iter().collect();
    let want =
        [("organisations.tsv", 2, "css: yellow"), ("organisations.tsv", 3, "c"), ("whitelist.txt", 1, "WWW.b.org # x")];
    assert_eq!(listed, want);
    assert!(done.files["defaults.toml"].contains("    \"*.d.org\",\n    \"www.c.org\",\n]"));
}

#[test]
fn the_report_reads_well() {
    let done = with_rows("css: x\n", "http://b.gov.uk/1,,410,,\nhttp://b.gov.uk/1,,410,,\nhttp://b.gov.uk/,,410,,\n");
    let want = [
        "mappings/a.csv:4: http://b.gov.uk/: the home page goes where the site file says",
        "sites/a.yml:9: css: x: all sites' pages look alike here",
        "1 sites with 2 hosts",
        "3 rows read, 1 mappings written",
        "1 duplicates that say the same, 0 that lost",
        "2 left out",
        "       1  all sites' pages look alike here",
        "       1  the home page goes where the site file says",
    ];
    assert_eq!(done.report.to_string().lines().collect::<Vec<_>>(), want);
    assert!(serde_json::to_string(&done.report).unwrap().contains("\"left_out\":[{"));
}
