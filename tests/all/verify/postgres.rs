//! Results in a real PostgreSQL. Says `skipped` where there is none, as the tests of hits.

use std::io::{self, Write as _};

use waypost::config::HitsDatabase;

use super::origin::{Answer, Origin};
use super::{folder, found, site, verify};
use crate::hits::postgres::Server;

#[test]
fn results_stand_in_postgresql_too() {
    let Some(server) = Server::start() else {
        let _ = writeln!(io::stderr(), "skipped: there is no PostgreSQL");
        return;
    };
    let Some(HitsDatabase::Postgres { url, .. }) = server.database("verify").database else { unreachable!() };
    let origin = Origin::start(|asked, _| match asked.target.as_str() {
        "/robots.txt" => Answer::new(404),
        "/7.html" => Answer::new(410),
        "/8.html" => Answer::gbk("六合彩", ""),
        target => Answer::page("通知", target),
    });
    let targets = (0..40).map(|n| format!("http://h{}.origin.example/{n}.html", n % 4));
    let folder = folder(targets, &format!("[hits]\ndatabase = \"{url}\"\n"));
    let folder = folder.path();
    site(folder, "wjj", ["http://h3.origin.example/7.html".to_owned()]);
    let place = origin.place("*", 80);
    let args = ["--rate", "200", "--resolve", &place];
    for round in 1..=2 {
        let (report, _) = verify(folder, &args);
        let expected = [("h0.origin.example/8.html", "hijack"), ("h3.origin.example/7.html", "dead")];
        let seen = found(&report);
        assert_eq!(seen.iter().map(|(url, kinds)| (&**url, &**kinds)).collect::<Vec<_>>(), expected, "{report:#}");
        assert_eq!((&report["run"]["run"], &report["run"]["targets"]), (&round.into(), &40.into()));
        // One of them is a target of both sites.
        assert_eq!((&report["sum"]["targets"], &report["sum"]["kinds"]["dead"]), (&41.into(), &2.into()));
    }
    site(folder, "jyj", ["http://h0.origin.example/0.html".to_owned()]);
    let (report, _) = verify(folder, &args);
    assert_eq!(report["sum"]["targets"], 2, "what is no target any more is forgotten");
    let (report, _) = verify(folder, &["--last", "wjj"]);
    assert_eq!(report["sum"]["faulty"], 1);
}
