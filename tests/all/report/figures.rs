//! The report's figures are those of the metrics and of the database.

use std::{fs, time::Duration};

use serde_json::Value;
use waypost::{
    config::Gateway,
    hits::{Period, Query, Reader},
    server,
};

use super::{County, site};
use crate::client::Conn;

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
