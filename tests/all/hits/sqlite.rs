//! In a file of SQLite.

use std::fs;

use jiff::civil::date;
use sqlx::{Connection, Executor, SqliteConnection};
use waypost::{
    config::HitsSettings,
    hits::{By, Group, HitsError, Period, Query, Reader, Sum},
    model::{Outcome, Reason},
    telemetry::{Consumer, Exchange},
};

use super::{Counting, all, hit, reader, redirected, sqlite};
use crate::program::until;

#[test]
fn what_is_counted_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let mut counting = Counting::new(&settings);
    for n in 0..7 {
        let referer: &[u8] =
            if n < 3 { b"https://who:secret@Www.Baidu.com:443/s?wd=private" } else { b"http://b.example" };
        counting.count(Exchange { referer, ..redirected("county/jyj", "/a.htm?id=7") });
    }
    counting.flush();
    counting.count(Exchange { at: 1_795_395_599_000_000, ..redirected("county/jyj", "/a.htm?id=7") });
    counting.count(Exchange { user_agent: b"Baiduspider/2.0", ..hit("county/jyj", "/no") });
    counting.count(Exchange { user_agent: b"", ..hit("county/jyj", "/no") });
    counting.count(hit("county/wsj", "/no"));
    let unknown = Exchange { site: "", outcome: Outcome::UnknownHost, unmapped: false, key: b"", ..hit("", "") };
    counting.count(Exchange { host: b"WWW.Forgotten.example:80", ..unknown });
    counting.count(Exchange { host: b"no host <script>", ..unknown });
    // No hits.
    counting.count(Exchange { outcome: Outcome::Health, ..hit("county/jyj", "/healthcheck/live") });
    counting.count(Exchange { outcome: Outcome::Denied, reason: Some(Reason::Probe), ..hit("county/jyj", "/.git") });
    counting.count(Exchange { reason: Some(Reason::Waf), outcome: Outcome::Serve, ..hit("county/jyj", "/x") });
    counting.count(Exchange { outcome: Outcome::BadRequest, ..hit("county/jyj", "") });
    counting.count(redirected("county/jyj", ""));
    counting.flush();
    counting.collector.end();
    assert_eq!((counting.stats.written(), counting.stats.unnamed(), counting.stats.lost()), (13, 1, 0));
    assert!(counting.stats.last_flush() > 1_790_000_000);

    let mut reader = reader(&settings);
    assert_eq!(reader.sum(&all()).unwrap(), Sum { hits: 13, unmapped: 3, bots: 2 });
    assert_eq!(reader.named(&all()).unwrap(), 12);
    let urls = reader.urls(&Query { site: Some("county/jyj"), ..all() }).unwrap();
    assert_eq!((urls.len(), urls[0].url.as_str(), urls[0].hits, urls[0].status), (2, "/a.htm?id=7", 8, 301));
    assert_eq!((urls[0].first_seen, urls[0].last_seen), (1_795_395_599, 1_795_395_600));
    // Of seven referrals, four named the second.
    assert_eq!((urls[0].referrer.as_str(), urls[1].referrer.as_str()), ("b.example", ""));
    assert_eq!((urls[1].outcome.as_str(), urls[1].hits, urls[1].bots, urls[1].unmapped), ("not_found", 2, 2, true));
    let unmapped = reader.urls(&Query { unmapped: true, top: 1, ..all() }).unwrap();
    assert_eq!((unmapped.len(), unmapped[0].site.as_str(), unmapped[0].hits), (1, "county/jyj", 2));
    let unknown = reader.urls(&Query { site: Some(""), ..all() }).unwrap();
    assert_eq!((unknown.len(), unknown[0].url.as_str()), (1, "www.forgotten.example"));

    let group = |name: &str, hits, unmapped, bots| Group { name: name.to_owned(), sum: Sum { hits, unmapped, bots } };
    let sites = [group("county/jyj", 10, 2, 2), group("", 2, 0, 0), group("county/wsj", 1, 1, 0)];
    assert_eq!(reader.groups(&all(), By::Site).unwrap(), sites);
    assert_eq!(reader.groups(&all(), By::Day).unwrap(), [group("2026-11-23", 13, 3, 2)]);
    assert_eq!(reader.groups(&all(), By::Outcome).unwrap()[0], group("redirect", 8, 0, 0));
    assert_eq!(reader.groups(&all(), By::Referrer).unwrap(), [group("b.example", 1, 0, 0)]);
    let early = Period { until: date(2026, 11, 22), ..all().period };
    assert_eq!(reader.sum(&Query { period: early, ..all() }).unwrap(), Sum::default());

    // Nothing else of what a client sent is there.
    let bytes = fs::read(folder.path().join("hits.sqlite")).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("/a.htm?id=7") && has("b.example"));
    for secret in ["192.0.2.77", "private", "secret", "wd=", "Mozilla", "Baiduspider", "script"] {
        assert!(!has(secret), "{secret}");
    }
}

#[test]
fn a_database_that_is_away_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    // Where a folder stands, no file can be.
    fs::create_dir(folder.path().join("hits.sqlite")).unwrap();
    let mut counting = Counting::new(&settings);
    for n in 0..50 {
        counting.count(hit("a", &format!("/{n}")));
        counting.collector.pause();
    }
    until("a failure", || counting.stats.is_failing() && counting.stats.failures() > 1);
    assert!(matches!(Reader::open(settings.database.as_ref().unwrap()), Err(HitsError::Database { .. })));
    fs::remove_dir(folder.path().join("hits.sqlite")).unwrap();
    counting.flush();
    counting.count(hit("a", "/last"));
    counting.flush();
    assert!(!counting.stats.is_failing());
    counting.collector.end();
    assert_eq!(reader(&settings).sum(&all()).unwrap().hits, 51);
    assert_eq!((counting.stats.written(), counting.stats.lost()), (51, 0));
}

#[test]
fn what_can_not_be_written_at_the_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("hits.sqlite")).unwrap();
    let mut counting = Counting::new(&sqlite(folder.path()));
    counting.count(hit("a", "/1"));
    counting.collector.end();
    assert_eq!((counting.stats.written(), counting.stats.lost()), (0, 1));
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let mut counting = Counting::new(&settings);
    counting.count(hit("a", "/1"));
    counting.flush();
    // What SQLite does at a full disk, in the middle of a batch: the statement fails, the transaction is taken back.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sql = |sql: &'static str| {
        let url = format!("sqlite://{}", folder.path().join("hits.sqlite").display());
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        });
    };
    sql("CREATE TRIGGER full BEFORE INSERT ON hits_urls BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END");
    let failures = counting.stats.failures();
    counting.count(hit("a", "/1"));
    counting.count(hit("b", "/2"));
    until("a failure", || {
        counting.collector.pause();
        counting.stats.failures() > failures
    });
    counting.count(hit("b", "/3"));
    assert_eq!(reader(&settings).sum(&all()).unwrap().hits, 1, "nothing of the batch is there");
    sql("DROP TRIGGER full");
    counting.flush();
    counting.collector.end();
    assert_eq!(reader(&settings).sum(&all()).unwrap().hits, 4);
    assert_eq!((counting.stats.written(), counting.stats.lost()), (4, 0));
}

#[test]
fn days_become_months_and_months_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let today = jiff::Timestamp::now().as_second();
    let at = |days: i64| (today - days * 86_400) * 1_000_000;
    let mut counting = Counting::new(&settings);
    // 100 days, of 10 hits each and one that is another URL's.
    for days in 0..100 {
        for _ in 0..10 {
            let referer = b"http://a.example/";
            counting.count(Exchange { at: at(days), referer, ..redirected("a", "/often") });
        }
        counting.count(Exchange { at: at(days), ..hit("a", "/rare") });
        // Only so many days wait.
        counting.flush();
    }
    counting.collector.end();
    let first = reader(&settings).groups(&all(), By::Day).unwrap();
    assert_eq!(first.len(), 100);

    // Days are kept for 20 days now.
    let settings = HitsSettings { keep_days: 20, ..settings };
    let mut counting = Counting::new(&settings);
    counting.count(Exchange { at: at(0), ..redirected("a", "/often") });
    counting.flush();
    counting.collector.end();
    let mut all_of_it = reader(&settings);
    let groups = all_of_it.groups(&all(), By::Day).unwrap();
    let (months, days): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.name.len() == 7);
    assert_eq!(days.len(), 21, "today and twenty before it: {groups:?}");
    assert!((2..=5).contains(&months.len()), "{groups:?}");
    assert_eq!(all_of_it.sum(&all()).unwrap(), Sum { hits: 1101, unmapped: 100, bots: 0 });
    assert_eq!(all_of_it.named(&all()).unwrap(), 1101);
    let urls = all_of_it.urls(&all()).unwrap();
    assert_eq!((urls[0].hits, urls[0].first_seen, urls[0].referrer.as_str()), (1001, at(99) / 1_000_000, "a.example"));
    // A month in whose middle the period begins is taken whole.
    let oldest = &months[0].name;
    let since = format!("{oldest}-28").parse().unwrap();
    let query = Query { period: Period { since, ..all().period }, ..all() };
    assert_eq!(all_of_it.sum(&query).unwrap().hits, 1101);

    // And months for one.
    let settings = HitsSettings { keep_months: 1, ..settings };
    let mut counting = Counting::new(&settings);
    counting.count(Exchange { at: at(0), ..redirected("a", "/often") });
    counting.flush();
    counting.collector.end();
    let groups = reader(&settings).groups(&all(), By::Day).unwrap();
    assert!(groups.iter().filter(|group| group.name.len() == 7).count() <= 2, "{groups:?}");
    assert_eq!(groups.iter().filter(|group| group.name.len() == 10).count(), 21);
}

#[test]
fn rows_are_bounded_and_sums_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HitsSettings { rows: 20, counters: 1_000, ..sqlite(folder.path()) };
    let mut counting = Counting::new(&settings);
    for round in 0..10 {
        for n in 0..15 {
            counting.count(hit("a", &format!("/{round}/{n}")));
        }
        for _ in 0..3 {
            counting.count(hit("a", "/often"));
        }
        counting.count(hit("b", "/"));
        counting.flush();
        let named = reader(&settings).urls(&Query { site: Some("a"), ..all() }).unwrap();
        // Those that are kept, as many before they are trimmed, and a batch that was written just now.
        assert!(named.len() <= 20 + 20 + 16, "{}", named.len());
    }
    counting.collector.end();
    let mut reader = reader(&settings);
    let urls = reader.urls(&all()).unwrap();
    assert_eq!((urls[0].url.as_str(), urls[0].hits), ("/often", 30));
    assert!(urls.iter().any(|url| url.site == "b"));
    assert_eq!(reader.sum(&all()).unwrap().hits, 190);
    assert!(reader.named(&all()).unwrap() < 100);
}

#[test]
fn readers_without_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let database = settings.database.as_ref().unwrap();
    assert!(matches!(Reader::open(database), Err(HitsError::Missing(_))));
    assert!(!folder.path().join("hits.sqlite").exists(), "who reads makes nothing");
    fs::write(folder.path().join("hits.sqlite"), "").unwrap();
    assert!(matches!(Reader::open(database), Err(HitsError::Missing(_))));
    fs::write(folder.path().join("hits.sqlite"), "this is no database, and long enough to be none".repeat(9)).unwrap();
    let error = Reader::open(database).unwrap_err();
    assert!(error.to_string().contains("hits.sqlite"), "{error}");
}

#[test]
fn tables_of_a_later_version_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let mut counting = Counting::new(&settings);
    counting.count(hit("a", "/"));
    counting.flush();
    counting.collector.end();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", folder.path().join("hits.sqlite").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        connection.execute("UPDATE hits_schema SET version = 99").await.unwrap();
        connection.close().await.unwrap();
    });
    assert!(matches!(Reader::open(settings.database.as_ref().unwrap()), Err(HitsError::Newer { version: 99, .. })));
    let counting = Counting::new(&settings);
    until("a failure", || counting.stats.is_failing());
}
