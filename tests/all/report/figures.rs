//! The report's figures are those of the metrics and of the database.

use std::{fs, time::Duration};

use serde_json::Value;
use waypost::{
    config::Gateway,
    hits::{Period, Query, Reader},
    server,
};

use super::{County, site};
use crate::{client::Conn, monitor::Web, program::waypost};

#[test]
fn the_report_says_what_metrics_and_database_say() {
    let sites = ["a", "b", "c"].map(|name| {
        let more = "[[rule]]\nfrom = \"/old/{*rest}\"\nto = \"https://www.lanjiang.example/new/{rest}\"\n";
        let home = format!("https://www.lanjiang.example/{name}/");
        (name.to_owned(), site(name, &format!("{name}.example"), &home, "q", 1, more))
    });
    let county = County::new(sites);
    let text = fs::read_to_string(county.path().join("gateway.toml")).unwrap();
    let (gateway, faults) = Gateway::parse("gateway.toml", text, county.path());
    assert!(faults.is_empty(), "{faults:?}");
    let hits = waypost::config::HitsSettings { flush: Duration::from_secs(3600), ..gateway.hits.clone() };
    let today = |running: &server::Running| {
        let answer = Conn::new(running.admin).get("localhost", "/metrics/sites");
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    let running = server::start(Gateway { hits: hits.clone(), ..gateway }).unwrap();
    let mut conn = Conn::new(running.http[0]);
    for (site, found, lost) in [("a", 9, 3), ("b", 4, 0), ("c", 1, 6)] {
        (0..found).for_each(|number| drop(conn.get(&format!("{site}.example"), &format!("/old/{number}"))));
        (0..lost).for_each(|number| drop(conn.get(&format!("{site}.example"), &format!("/lost/{}", number % 2))));
    }
    (0..5).for_each(|_| drop(conn.get("nobody.example", "/")));
    let metrics = today(&running);
    running.stop();
    let metric = |name: &str, site: &str| -> f64 {
        let start = format!("{name}{{site=\"{site}\"");
        let lines = metrics.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };

    // The year, so that no midnight comes between.
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let told = county.report(&["--year", "--of", &day.to_string()]);
    let rows = told["sites"].as_array().unwrap();
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let mut reader = Reader::open(hits.database.as_ref().unwrap()).unwrap();
    let period = Period { since: day.first_of_year(), until: day.last_of_year() };
    for row in rows {
        let id = row["site"].as_str().unwrap();
        assert_eq!(number(row, "hits") as f64, metric("waypost_site_requests_total", id), "{row}\n{metrics}");
        assert_eq!(number(row, "unmapped") as f64, metric("waypost_site_unmapped_total", id), "{row}\n{metrics}");
        let sum = reader.sum(&Query { period, site: Some(id), unmapped: false, top: 1 }).unwrap();
        assert_eq!(
            (number(row, "hits"), number(row, "unmapped"), number(row, "bots")),
            (sum.hits, sum.unmapped, sum.bots)
        );
    }
    let all = reader.sum(&Query { period, site: None, unmapped: false, top: 1 }).unwrap();
    let summary = &told["summary"];
    assert_eq!(
        (number(summary, "hits") + number(summary, "unknown"), number(summary, "unmapped")),
        (all.hits, all.unmapped)
    );
    assert_eq!((number(summary, "hits"), number(summary, "unmapped"), number(summary, "unknown")), (23, 9, 5));
    assert_eq!(metric("waypost_site_requests_total", "other"), 5.0);
    let outcomes: u64 = told["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(outcomes, 23);
}

#[test]
fn dead_links_are_those_that_verification_found() {
    let web = Web::start();
    let port = web.port;
    let home = format!("http://127.0.0.1:{port}/");
    let of = |name: &str, owner: &str| (name.to_owned(), site(name, &format!("{name}.example"), &home, owner, 1, ""));
    let county = County::new([of("a", "q"), of("b", "h")]);
    let table = format!("old,new\n/1.htm,{home}404\n/2.htm,{home}500\n/3.htm,{home}round\n/4.htm,{home}moved\n");
    fs::write(county.path().join("routes/a.csv"), table).unwrap();
    let told = county.report(&["--week"]);
    assert!(told["missing"].as_array().unwrap().contains(&"links".into()), "{told}");
    let output = waypost(county.path(), &["verify", "--rate", "200", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let told = county.report(&["--week", "--csv", "tables"]);
    let verified = waypost(county.path(), &["verify", "--last", "--json"]).output().unwrap();
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let is_dead = |kinds: &Value| {
        kinds.as_array().unwrap().iter().any(|kind| kind == "dead" || kind == "loop" || kind == "soft-404")
    };
    let dead = verified["findings"].as_array().unwrap().iter().filter(|found| is_dead(&found["kinds"])).count();
    assert_eq!(told["summary"]["dead_links"], dead);
    // Four targets and the home of one site, the home of the other.
    assert!(told["summary"]["links"] == 6 && dead >= 3, "{told:#}");
    assert_eq!(told["link_findings"]["loop"], 1);
    let rows = told["dead_links"].as_array().unwrap();
    assert!(
        rows.iter().all(|row| row["site"] == "a" && row["source"].as_str().unwrap().starts_with("a.csv:")),
        "{rows:?}"
    );
    let csv = fs::read_to_string(county.path().join("tables/dead_links.csv")).unwrap();
    assert!(csv.contains(&format!("a,{home}404,dead,")) && csv.lines().count() == dead + 1, "{csv}");
    let of_owner = |owner: &str| county.report(&["--week", "--owner", owner])["summary"]["dead_links"].clone();
    assert_eq!((of_owner("q"), of_owner("h")), (dead.into(), 0.into()));
    assert!(county.run(&["report", "--week", "-o", "-"]).contains("死链清单"));
}
