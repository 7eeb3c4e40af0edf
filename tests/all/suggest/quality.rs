//! How many suggestions are right, on migrations that the code knows nothing of.

use super::migration::{Cms, Ids, Score, Setting, USUAL, migration};

const ALL: [Cms; 7] = [Cms::Asp, Cms::Trs, Cms::Vsb, Cms::Jcms, Cms::Php, Cms::Guid, Cms::Dated];

/// What is right above 0.95, in all migrations of a setting together.
fn score(setting: &Setting, seeds: std::ops::RangeInclusive<u64>) -> Score {
    let scores = seeds.map(|seed| migration(setting, seed).score(0.95));
    scores.fold(Score::default(), |sum, score| Score {
        moved: sum.moved + score.moved,
        accepted: sum.accepted + score.accepted,
        correct: sum.correct + score.correct,
    })
}

fn must(name: &str, setting: &Setting, recall: f64) {
    for cms in ALL {
        let score = score(&Setting { cms, ..*setting }, 1..=2);
        let shown = format!("{name}, {cms:?}: recall {:.3}, precision {:.4}", score.recall(), score.precision());
        assert!(score.precision() >= 0.99, "{shown}");
        assert!(score.recall() >= recall, "{shown}");
    }
}

#[test]
fn a_usual_migration() {
    must("usual", &USUAL, 0.8);
}

#[test]
fn with_an_export_alone() {
    must("export", &Setting { table: 0.95, titles: 0.0, days: false, ..USUAL }, 0.9);
}

#[test]
fn with_titles_alone() {
    must("titles", &Setting { table: 0.0, titles: 1.0, ..USUAL }, 0.8);
    must("titles, no days", &Setting { table: 0.0, titles: 1.0, days: false, ..USUAL }, 0.8);
}

#[test]
fn with_ids_that_were_kept_or_shifted_and_a_sitemap_alone() {
    for cms in ALL.into_iter().filter(|cms| *cms != Cms::Guid) {
        for ids in [Ids::Kept, Ids::Shifted(77_123)] {
            let setting = Setting { cms, ids, table: 0.0, titles: 0.0, days: false, ..USUAL };
            let score = score(&setting, 3..=3);
            assert!(score.precision() >= 0.99 && score.recall() >= 0.9, "{cms:?} {ids:?}: {score:?}");
        }
    }
}

#[test]
fn where_nothing_can_be_known_nothing_is_claimed() {
    // New ids, no export, no titles: who says that he knows, guesses.
    for cms in ALL {
        for days in [true, false] {
            let setting = Setting { cms, table: 0.0, titles: 0.0, days, articles: 800, ..USUAL };
            let score = score(&setting, 1..=1);
            assert!(score.accepted - score.correct <= 3, "{cms:?} days {days}: {score:?}");
        }
    }
}
