//! A real gateway visits, and says so: in numbers, and by `waypost monitor`.

use std::fs;

use serde_json::Value;

use super::visits::Web;
use crate::{
    client::Conn,
    program::{Program, until, waypost},
};

#[test]
fn what_was_visited_is_told() {
    let web = Web::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("routes")).unwrap();
    // So many that some are due in every second, and one of them that fails.
    for number in 0..40 {
        let target = if number == 0 { "500".to_owned() } else { format!("?{number}") };
        let port = web.port;
        let text = format!(
            "name = \"S{number}\"\nhosts = [\"s{number}.example\"]\nhome = \"http://127.0.0.1:{port}/{target}\"\n"
        );
        fs::write(path(&format!("routes/s{number}.toml")), text).unwrap();
    }
    let ask = |args: &[&str]| {
        let output = waypost(folder.path(), args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let settings = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[process]\ndirectory = \"control\"\n";
    fs::write(path("gateway.toml"), settings).unwrap();
    let (code, said) = ask(&["monitor"]);
    assert!(code == Some(0) && said.contains("no visits yet: set [monitor] enabled = true"), "{said}");
    fs::write(path("gateway.toml"), format!("{settings}[monitor]\nenabled = true\nvisits = 1440\n")).unwrap();
    let (code, said) = ask(&["monitor"]);
    assert!(code == Some(0) && said.contains("no visits yet: the gateway makes them"), "{said}");

    let mut program = Program::start(folder.path());
    let page = |path: &str| {
        let answer = Conn::new(program.admin).get("localhost", path);
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    let mut shown = String::new();
    until("visits that are shown", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        shown = page("/metrics/sites");
        shown.lines().filter(|line| line.starts_with("waypost_monitor_week_visits{")).count() > 5
    });
    assert!(page("/metrics").contains("waypost_monitor_failing 0"));
    assert!(page("/metrics").contains("waypost_monitor_visits_total{family=\"ipv4\",result=\"open\"}"));
    program.signal("TERM");
    assert!(program.end().success());

    let (code, said) = ask(&["monitor", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&said).unwrap();
    let rows = told["pages"].as_array().unwrap();
    let number = |name: &str, row: &Value| -> f64 {
        let (url, family) = (row["page"].as_str().unwrap(), row["family"].as_str().unwrap());
        let line = format!("waypost_monitor_{name}{{page=\"{url}\",family=\"{family}\"}} ");
        shown.lines().find_map(|shown| shown.strip_prefix(&line)).map_or(-1.0, |number| number.parse().unwrap())
    };
    let mut equal = 0;
    for row in rows {
        // The gateway went on after its metrics were read: what it shows is what was there, or less.
        let visits = row["visits"].as_f64().unwrap();
        let failed = row["failed"].as_f64().unwrap();
        assert!(number("week_visits", row) <= visits && number("week_failures", row) <= failed, "{row}");
        equal += usize::from(number("week_visits", row) == visits && number("week_failures", row) == failed);
        let is_bad = row["page"].as_str().unwrap().ends_with("/500");
        assert_eq!(failed, if is_bad { visits } else { 0.0 }, "{row}");
        assert_eq!(row["verdict"], "too_few");
        if row["family"] == "ipv6" {
            assert_eq!((visits, row["now"].as_str()), (0.0, Some("no_address")));
        }
    }
    assert!(equal > 5, "{said}\n{shown}");
    // The report says the same.
    let today = jiff::Zoned::now().date().to_string();
    let report: Value = serde_json::from_str(&ask(&["report", "--year", "--of", &today, "--json"]).1).unwrap();
    let sum = |name: &str| Some(rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>());
    let summary = &report["summary"];
    assert_eq!((summary["visits"].as_u64(), summary["failed"].as_u64()), (sum("visits"), sum("failed")));
    assert!(ask(&["monitor"]).1.contains("too few visits to judge"));
    let (code, said) = ask(&["monitor", "probe", "s1.example"]);
    assert!(code == Some(0) && said.contains("open"), "{said}");
    let (code, said) = ask(&["monitor", "probe", "s0", "--json"]);
    assert_eq!(code, Some(1));
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&told["visits"][0]["result"], &told["visits"][0]["status"]), (&"status".into(), &500.into()));
    assert_eq!(told["visits"][1]["result"], "no_address");
}
