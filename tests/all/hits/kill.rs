//! The power goes in the middle of a flush.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection, Row, SqliteConnection};

use super::{Counting, all, hit, reader, redirected, sqlite};

/// Hits of a batch, of so many URLs of three sites.
const BATCH: u64 = 300;
const URLS: u64 = 60;

/// Times that a process is killed.
const KILLS: u32 = 40;

#[test]
fn a_kill_loses_at_most_one_flush() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    let mut before = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["hits::kill::counts_until_it_is_killed", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = |line: String| line.strip_prefix("written ").map(|number| number.parse::<u64>().unwrap());
        let mut told = lines.by_ref().find_map(written).expect("a first flush");
        // Some moment of the flushes that follow, another one each time.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(u64::from(round) * 397 % 9_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died.
        told = lines.filter_map(written).last().unwrap_or(told);

        let mut reader = reader(&settings);
        let sum = reader.sum(&all()).unwrap().hits;
        assert_eq!(sum % BATCH, 0, "half a batch is there");
        assert_eq!(reader.named(&all()).unwrap(), sum, "URLs and sums belong together");
        // A flush that was done and not yet told may be there, too.
        assert!((before + told..=before + told + BATCH).contains(&sum), "{told} told, {} there", sum - before);
        assert_eq!(integrity(&folder.path().join("hits.sqlite")), "ok");
        before = sum;
    }
    assert!(before >= u64::from(KILLS) * BATCH);
}

fn integrity(path: &std::path::Path) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let row = sqlx::query("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.get(0)
    })
}

/// Not a test of its own: what the one above kills.
#[test]
fn counts_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut counting = Counting::new(&sqlite(folder.as_ref()));
    let start = Instant::now();
    // Nobody may forget it.
    while start.elapsed() < Duration::from_secs(60) {
        for n in 0..BATCH {
            let key = format!("/page/{}.htm", n % URLS);
            let site = ["a", "b", "c"][(n % 3) as usize];
            counting.count(if n % 2 == 0 { hit(site, &key) } else { redirected(site, &key) });
        }
        counting.flush();
        println!("written {}", counting.stats.written());
    }
}

const FOLDER: &str = "WAYPOST_TEST_HITS_FOLDER";
