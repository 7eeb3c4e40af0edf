//! The checklist's rule, in whole numbers.

/// Visits of a page by one family of addresses, of a week or any other time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Visits that were made.
    pub made: u64,
    /// Of them, those by which the page did not open in time.
    pub failed: u64,
}

/// What the rule says of a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There were no more than 20 visits a day: nobody may judge by them.
    TooFew,
    /// Less than 5 % failed.
    Passes,
    /// 5 % or more failed: the site fails outright, whatever else is well.
    Veto,
}

impl Verdict {
    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::TooFew => "too_few",
            Verdict::Passes => "passes",
            Verdict::Veto => "veto",
        }
    }
}

impl Tally {
    /// The verdict of a week.
    pub fn week(self) -> Verdict {
        self.days(7)
    }

    /// The verdict of so many days.
    pub fn days(self, days: u64) -> Verdict {
        if self.made <= FEWEST_A_DAY.saturating_mul(days) {
            Verdict::TooFew
        } else if self.is_over() {
            Verdict::Veto
        } else {
            Verdict::Passes
        }
    }

    /// Whether 5 % or more failed, however few there were.
    pub fn is_over(self) -> bool {
        self.made > 0 && u128::from(self.failed) * 20 >= u128::from(self.made)
    }

    /// The share that opened, in ten thousandths, rounded so that what is over the bound never looks as if it were not; none
    /// if no visit was made.
    pub fn opened(self) -> Option<u64> {
        let opened = u128::from(self.made.saturating_sub(self.failed));
        (self.made > 0).then(|| (opened * 10_000 / u128::from(self.made)) as u64)
    }

    /// With those of another.
    pub fn and(self, other: Tally) -> Tally {
        Tally { made: self.made + other.made, failed: self.failed + other.failed }
    }
}

/// The checklist wants more than so many visits a day.
const FEWEST_A_DAY: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_hundred_are_too_many() {
        let verdict = |failed, made| Tally { made, failed }.week();
        assert_eq!(verdict(49, 1000), Verdict::Passes);
        assert_eq!(verdict(50, 1000), Verdict::Veto);
        // 168 visits, 24 a day: 8.4 are 5 %.
        assert_eq!((verdict(8, 168), verdict(9, 168)), (Verdict::Passes, Verdict::Veto));
        assert_eq!((verdict(7, 141), verdict(8, 141)), (Verdict::Passes, Verdict::Veto));
        assert_eq!(verdict(0, 141), Verdict::Passes);
        assert_eq!((verdict(140, 140), verdict(0, 0)), (Verdict::TooFew, Verdict::TooFew));
        assert_eq!(verdict(u64::MAX, u64::MAX), Verdict::Veto);
    }

    #[test]
    fn shares_are_never_better_than_they_are() {
        let opened = |failed, made| Tally { made, failed }.opened();
        assert_eq!((opened(0, 168), opened(168, 168), opened(0, 0)), (Some(10_000), Some(0), None));
        assert_eq!(opened(1, 30_000), Some(9_999));
        assert_eq!(opened(51, 1000), Some(9_490));
    }
}
