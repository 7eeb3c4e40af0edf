//! What is remembered, and how it is judged: whole weeks, by a clock that the test turns.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use waypost::{
    config::{HitsDatabase, HitsSettings},
    monitor::{DAY, Due, Family, Finding, Rounds, Schedule, Tally, Verdict, Visit, WEEK, Week},
};

use super::{MONDAY, due, found, open, page, wait};

fn settings(folder: &std::path::Path) -> HitsSettings {
    HitsSettings {
        database: Some(HitsDatabase::Sqlite(folder.join("hits.sqlite"))),
        zone: Some("UTC".to_owned()),
        ..waypost::config::Gateway::default().hits
    }
}

/// A week of visits each ten minutes (1,008), of which so many fail and so many are not made; the rest opens.
fn week_of(failed: usize, unmade: usize) -> (Week, Tally) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let pages = [page("https://www.new.example/jyj/")];
    let mut rounds = Rounds::new(Schedule::new(144), MONDAY);
    let mut all: Vec<Due> = Vec::new();
    // Twice a minute somebody looks what is due.
    for step in 1..=2 * 60 * 24 * 7 {
        all.extend(rounds.turn(MONDAY + step * 30, &pages).into_iter().filter(|due| due.family == Family::V4));
    }
    assert_eq!(all.len(), 1_008);
    let finding = |number: usize| match number {
        number if number < failed => Finding::Timeout,
        number if number < failed + unmade => Finding::NoNetwork,
        _ => Finding::Open,
    };
    wait(async {
        let mut history = open(&settings).await;
        let claimed = history.claim(all).await.unwrap();
        // The order in which they fail is of no concern: every 17th is next.
        let visits = claimed.iter().enumerate().map(|(at, due)| (due.clone(), found(finding(at * 17 % 1_008))));
        history.finish(&visits.collect::<Vec<_>>()).await.unwrap();
        let weeks = history.week(MONDAY + WEEK).await.unwrap();
        assert_eq!(weeks.len(), 1);
        let days = history.days(date(2026, 11, 23), date(2026, 11, 29)).await.unwrap();
        let mut tally = Tally::default();
        for sum in days.iter().filter(|sum| sum.finding.is_made()) {
            tally.made += sum.visits;
            tally.failed += if sum.finding.is_failure() { sum.visits } else { 0 };
        }
        (weeks[0].2.clone(), tally)
    })
}

#[test]
fn five_percent_of_a_week_is_a_veto() {
    // Eight visits were not made: of a thousand, 4.9 % and 5.0 %.
    let (week, days) = week_of(49, 8);
    assert_eq!((week.tally, week.unmade), (Tally { made: 1_000, failed: 49 }, 8));
    assert_eq!((week.tally.week(), days), (Verdict::Passes, week.tally));
    let (week, days) = week_of(50, 8);
    assert_eq!((week.tally.week(), days), (Verdict::Veto, Tally { made: 1_000, failed: 50 }));
    // However many are missed, they are no failures.
    let (week, _) = week_of(8, 840);
    assert_eq!((week.tally.made, week.tally.week()), (168, Verdict::Passes));
    // Of 140 in a week nobody may judge.
    assert_eq!(week_of(100, 1_008 - 140).0.tally.week(), Verdict::TooFew);
    assert_eq!(week_of(141, 1_008 - 141).0.tally.week(), Verdict::Veto);
}

#[test]
fn a_node_that_is_away_misses_visits_and_nothing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let pages = [page("https://www.new.example/")];
    let mut rounds = Rounds::new(Schedule::new(24), MONDAY);
    let mut now = MONDAY;
    wait(async {
        let mut history = open(&settings).await;
        while now < MONDAY + WEEK {
            // On Wednesday, the machine sleeps.
            now += if (now - MONDAY) / DAY == 2 { DAY } else { 60 };
            let claimed = history.claim(rounds.turn(now, &pages)).await.unwrap();
            let visits: Vec<_> = claimed.into_iter().map(|due| (due, found(Finding::Open))).collect();
            history.finish(&visits).await.unwrap();
        }
        for (_, _, week) in history.week(now).await.unwrap() {
            assert!((144..=146).contains(&week.tally.made), "{week:?}");
            assert_eq!((week.tally.failed, week.tally.week()), (0, Verdict::Passes));
        }
    });
}

#[test]
fn nodes_share_the_visits() {
    let folder = tempfile::tempdir().unwrap();
    fleet(&settings(folder.path()));
}

/// Nodes that share a database: each visit is made by one, and counted once, whatever happens to it.
pub fn fleet(settings: &HitsSettings) {
    let settings = &HitsSettings { keep_days: 400, keep_months: 120, ..settings.clone() };
    let pages: Vec<_> = (0..40).map(|number| page(&format!("https://www.new.example/{number}/"))).collect();
    let moments = [MONDAY, MONDAY + 3_600, MONDAY + 7_200];
    let all: Vec<Due> = moments
        .iter()
        .flat_map(|at| pages.iter().flat_map(|page| Family::ALL.map(|family| due(page, family, *at))))
        .collect();
    // Tables are there before two want to make them.
    wait(async { drop(open(settings).await) });
    let claimed: Vec<Due> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..3)
            .map(|_| {
                let all = &all;
                scope.spawn(move || {
                    wait(async {
                        let mut history = open(settings).await;
                        let mut own = Vec::new();
                        for due in all.chunks(16) {
                            let claimed = history.claim(due.to_vec()).await.unwrap();
                            let visits: Vec<_> =
                                claimed.iter().map(|due| (due.clone(), found(Finding::Open))).collect();
                            history.finish(&visits).await.unwrap();
                            // As if nobody had learnt that it was written.
                            history.finish(&visits).await.unwrap();
                            own.extend(claimed);
                        }
                        own
                    })
                })
            })
            .collect();
        nodes.into_iter().flat_map(|node| node.join().unwrap()).collect()
    });
    assert_eq!(claimed.len(), all.len());
    wait(async {
        let mut history = open(settings).await;
        // A node claims a visit and is killed: nobody makes it, and it is no failure.
        let lost = due(&pages[0], Family::V4, MONDAY + 10_800);
        assert_eq!(history.claim(vec![lost.clone()]).await.unwrap(), std::slice::from_ref(&lost));
        assert_eq!(history.claim(vec![lost]).await.unwrap(), []);
        // What nobody has claimed can't be finished.
        history.finish(&[(due(&pages[1], Family::V4, 7), found(Finding::Dns))]).await.unwrap();
        let weeks = history.week(MONDAY + DAY).await.unwrap();
        assert_eq!(weeks.len(), 80);
        for (url, family, week) in weeks {
            assert_eq!(week.tally, Tally { made: 3, failed: 0 }, "{url} {family:?}");
            assert_eq!((week.first, week.last, week.now), (MONDAY, MONDAY + 7_200, Some(Finding::Open)));
            assert_eq!((week.millis, week.last_millis, week.slow), (360, 120, 0));
        }
        let days = history.days(date(2026, 11, 23), date(2026, 11, 23)).await.unwrap();
        assert_eq!((days.len(), days.iter().map(|day| day.visits).sum::<u64>()), (80, 240));
        tidy(&mut history, &pages[0]).await;
    });
}

/// Old days become months; old visits go; sums stay.
async fn tidy(history: &mut waypost::monitor::History, page: &waypost::monitor::Page) {
    let sums = |days: Vec<waypost::monitor::DaySum>| {
        let mut sums: BTreeMap<(String, Finding), (u64, u64, u64, u64)> = BTreeMap::new();
        for day in days {
            let sum = sums.entry((day.url, day.finding)).or_default();
            *sum = (sum.0 + day.visits, sum.1 + day.millis, sum.2 + day.slow, sum.3.max(day.longest));
        }
        sums
    };
    let slow = Visit { took: std::time::Duration::from_millis(3_001), ..found(Finding::Open) };
    for day in 1..100 {
        let at = due(page, Family::V4, MONDAY + day * DAY + 5);
        history.claim(vec![at.clone()]).await.unwrap();
        history.finish(&[(at, if day % 3 == 0 { found(Finding::Tls) } else { slow })]).await.unwrap();
    }
    let all = || (date(2020, 1, 1), Date::MAX);
    let before = sums(history.days(all().0, all().1).await.unwrap());
    assert_eq!(before[&(page.url().to_string(), Finding::Tls)], (33, 33 * 120, 0, 120));
    // 66 by IPv4 that were slow, and the three of each family from above.
    assert_eq!(before[&(page.url().to_string(), Finding::Open)], (72, 66 * 3_001 + 6 * 120, 66, 3_001));
    // The settings keep 400 days.
    let later = MONDAY + 450 * DAY;
    history.tidy(later).await.unwrap();
    history.tidy(later).await.unwrap();
    let days = history.days(all().0, all().1).await.unwrap();
    assert!(days.iter().any(|day| day.day == "2026-11") && days.iter().any(|day| day.day == "2027-02-20"));
    assert_eq!(sums(days), before);
    assert!(history.week(MONDAY + 10 * DAY).await.unwrap().is_empty());
    history.tidy(MONDAY + 6_000 * DAY).await.unwrap();
    assert!(history.days(all().0, all().1).await.unwrap().is_empty());
}
