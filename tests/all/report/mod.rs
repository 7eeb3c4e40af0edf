//! `waypost report`: what it tells, that its figures are those of the database and the metrics, and that everybody can read it.

mod browser;
mod content;
mod figures;

use std::{fs, path::Path, time::Duration};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde_json::Value;
use tempfile::TempDir;
use waypost::{
    config::{Gateway, HitsSettings},
    hits,
    model::{Outcome, Target},
    monitor::{Due, Family, Finding, History, Page, Schedule, Visit},
    report::{Length, Span},
    telemetry::{Consumer, Exchange},
};

use crate::program::{until, waypost};

/// The week that is over, and the one before.
fn last_week() -> Span {
    Span::last(Length::Week, Timestamp::now().to_zoned(TimeZone::UTC).date())
}

/// Noon of a day, in Unix seconds.
fn noon(day: Date) -> i64 {
    day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp().as_second()
}

/// A county's gateway, with its files and its database.
struct County {
    folder: TempDir,
}

const GATEWAY: &str = "[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[process]\ndirectory = \"control\"\n\
    [hits]\nzone = \"UTC\"\n[platforms.lanjiang]\norigins = [\"https://127.0.0.1:1\"]\nhost = \"www.lanjiang.example\"\n";

impl County {
    /// One with these sites: id and file.
    fn new(sites: impl IntoIterator<Item = (String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), GATEWAY).unwrap();
        let routes = folder.path().join("routes");
        fs::create_dir(&routes).unwrap();
        for (id, text) in sites {
            let path = routes.join(format!("{id}.toml"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        County { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn hits(&self) -> HitsSettings {
        let (gateway, faults) = Gateway::parse("gateway.toml", GATEWAY.to_owned(), self.path());
        assert!(faults.is_empty(), "{faults:?}");
        HitsSettings { flush: Duration::from_secs(3600), ..gateway.hits }
    }

    /// Counts hits: site, URL, day, how many, and whether they are unmapped.
    fn count<'a>(&self, all: impl IntoIterator<Item = (&'a str, &'a str, Date, u64, bool)>) {
        let (mut collector, stats) = hits::open(&self.hits()).unwrap().unwrap();
        let mut counted = 0;
        for (site, url, day, times, unmapped) in all {
            let outcome = match (site, unmapped) {
                ("", _) => Outcome::UnknownHost,
                (_, true) => Outcome::NotFound,
                (_, false) => Outcome::Redirect,
            };
            for number in 0..times {
                collector.exchange(&Exchange {
                    at: noon(day) * 1_000_000,
                    status: if outcome == Outcome::Redirect { 301 } else { 404 },
                    outcome,
                    unmapped,
                    site,
                    method: "GET",
                    host: if site.is_empty() { url.as_bytes() } else { b"old.example" },
                    target: url.as_bytes(),
                    key: if site.is_empty() { b"" } else { url.as_bytes() },
                    // A tenth is by bots.
                    user_agent: if number % 10 == 9 {
                        b"Baiduspider/2.0"
                    } else {
                        b"Mozilla/5.0 (Windows NT 10.0) Chrome/126.0"
                    },
                    referer: b"http://www.baidu.com/link",
                    ..Exchange::default()
                });
            }
            counted += times;
        }
        collector.end();
        until("hits that are written", || stats.written() == counted);
    }

    /// Visits a page in a week, 24 times a day by each family that `of` has an answer for: it is asked with the number of the visit.
    fn visit(&self, url: &str, week: &Span, of: impl Fn(Family, usize) -> Option<(Finding, u64)>) {
        let settings = self.hits();
        let page = Page::new(Target::parse(url).unwrap());
        let schedule = Schedule::new(24);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = settings.database.as_ref().unwrap();
            let mut history = History::write(database, &settings, Duration::from_secs(3)).await.unwrap();
            let (begin, end) = (noon(week.since) - 43_200, noon(week.until) + 43_199);
            let mut done = Vec::new();
            for family in Family::ALL {
                for (number, at) in schedule.moments(&page, family, begin, end).enumerate() {
                    let Some((finding, millis)) = of(family, number) else { continue };
                    let visit = Visit { finding, status: 0, took: Duration::from_millis(millis) };
                    done.push((Due { page: page.clone(), family, at }, visit));
                }
            }
            let claimed = history.claim(done.iter().map(|(due, _)| due.clone()).collect()).await.unwrap();
            assert_eq!(claimed.len(), done.len());
            history.finish(&done).await.unwrap();
        });
    }

    /// What the command prints.
    fn run(&self, args: &[&str]) -> String {
        let output = waypost(self.path(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn report(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = ["report", "--json"].iter().chain(args).copied().collect();
        serde_json::from_str(&self.run(&args)).unwrap()
    }
}

/// A site's file.
fn site(name: &str, host: &str, home: &str, owner: &str, wave: u16, more: &str) -> String {
    format!("name = \"{name}\"\nhosts = [\"{host}\"]\nhome = \"{home}\"\nowner = \"{owner}\"\nwave = {wave}\n{more}")
}

/// A county with sites of three owners and three waves, two weeks of hits and visits, and some trouble.
fn sample() -> County {
    let week = last_week();
    let before = week.before();
    let moved = format!("[lifecycle]\nnotice = 2019-01-01\nredirect = {}\n", week.since.saturating_add(2.days()));
    let mut sites = Vec::new();
    for (number, (owner, wave)) in [("qingshan", 1), ("hongshan", 1), ("lanjiang", 2), ("qingshan", 2), ("hongshan", 3)]
        .into_iter()
        .cycle()
        .take(20)
        .enumerate()
    {
        let more = match number % 5 {
            2 => moved.as_str(),
            4 => "origin = \"http://127.0.0.1:1\"\n[lifecycle]\nnotice = 2090-01-01\n",
            _ => "",
        };
        let home = format!("https://www.lanjiang.example/{owner}/{number}/");
        let text =
            site(&format!("{owner}第{number}局"), &format!("s{number}.{owner}.example"), &home, owner, wave, more);
        sites.push((format!("{owner}/s{number}"), text));
    }
    let county = County::new(sites);
    let ids: Vec<String> = (0..20)
        .map(|number| {
            let owner = ["qingshan", "hongshan", "lanjiang", "qingshan", "hongshan"][number % 5];
            format!("{owner}/s{number}")
        })
        .collect();
    let mut counts = Vec::new();
    for day in 0..7 {
        for (number, id) in ids.iter().enumerate().take(15) {
            let hits = (number as u64 * 7 + day as u64 * 3) % 23 + 1;
            counts.push((id.as_str(), "/index.html", week.since.saturating_add(day.days()), hits, false));
            counts.push((id.as_str(), "/", before.since.saturating_add(day.days()), 3, false));
            if number % 3 == 0 {
                counts.push((
                    id.as_str(),
                    "/news.asp?id=7&x=<script>alert(1)</script>",
                    week.since.saturating_add(day.days()),
                    4,
                    true,
                ));
                counts.push((id.as_str(), "/通知/公告.htm", week.since.saturating_add(day.days()), 1, true));
            }
        }
        counts.push(("", "forgotten.example", week.since.saturating_add(day.days()), 2, false));
    }
    county.count(counts);
    for number in 0..20 {
        let owner = ["qingshan", "hongshan", "lanjiang", "qingshan", "hongshan"][number % 5];
        let url = format!("https://www.lanjiang.example/{owner}/{number}/");
        county.visit(&url, &week, |family, visit| match (family, number) {
            // No IPv6; a veto by IPv4; just not one; slow; too few.
            (Family::V6, 0..=9) => Some((Finding::NoAddress, 0)),
            (Family::V4, 1) if visit < 9 => Some((Finding::Timeout, 15_000)),
            (Family::V4, 2) if visit < 8 => Some((Finding::Connect, 30)),
            (Family::V6, 12) if visit % 10 == 0 => Some((Finding::Tls, 40)),
            (_, 3) => Some((Finding::Open, 3_500)),
            (Family::V4, 4) if visit > 100 => None,
            _ => Some((Finding::Open, 200 + number as u64 * 20)),
        });
        county.visit(&url, &before, |family, visit| match (family, number) {
            (Family::V6, 0..=9) => Some((Finding::NoAddress, 0)),
            (Family::V4, 5) if visit < 20 => Some((Finding::Status, 20)),
            _ => Some((Finding::Open, 300)),
        });
    }
    county
}
