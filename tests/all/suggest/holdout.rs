//! Migrations that were written when the code was done. What they say of it is written down, whatever it is.

use super::migration::Score;
use super::other::{Move, PROGRAMS, site};

#[test]
fn other_programs_and_other_ways_of_moving() {
    for program in PROGRAMS {
        let score = site(&[program], 500, 101).score(0.95);
        let shown = format!("{program:?}: recall {:.3}, precision {:.4}", score.recall(), score.precision());
        assert!(score.precision() >= 0.99, "{shown}");
        // Ids that were shifted by column are found where they lie apart.
        let least = if program.1 == Move::ByColumn { 0.5 } else { 0.8 };
        assert!(score.recall() >= least, "{shown}");
    }
}

#[test]
fn all_programs_in_one_site() {
    // Four exports whose ids overlap: often nobody can know which is meant.
    let scores = (201..=202).map(|seed| site(&PROGRAMS, 600, seed).score(0.95));
    let sum = scores.fold(Score::default(), |sum, score| Score {
        moved: sum.moved + score.moved,
        accepted: sum.accepted + score.accepted,
        correct: sum.correct + score.correct,
    });
    assert!(sum.precision() >= 0.99 && sum.recall() >= 0.6, "{sum:?}");
}
