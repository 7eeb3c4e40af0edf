//! The time that a report is about.

use jiff::{
    ToSpan,
    civil::{Date, Weekday, date},
};
use serde::{Serialize, Serializer};

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// From Monday to Sunday (ISO 8601).
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

/// A week, month or year.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Which of them.
    pub length: Length,
    /// `2026-W47`, `2026-11` or `2026`.
    pub name: String,
    /// The first day.
    #[serde(serialize_with = "day")]
    pub since: Date,
    /// The last day.
    #[serde(serialize_with = "day")]
    pub until: Date,
}

impl Span {
    /// The one that a day is in.
    pub fn of(length: Length, day: Date) -> Self {
        match length {
            Length::Week => {
                let iso = day.iso_week_date();
                let since = day.saturating_sub(i64::from(day.weekday().since(Weekday::Monday)).days());
                let until = since.saturating_add(6.days());
                Span { length, name: format!("{:04}-W{:02}", iso.year(), iso.week()), since, until }
            }
            Length::Month => {
                let name = format!("{:04}-{:02}", day.year(), day.month());
                Span { length, name, since: day.first_of_month(), until: day.last_of_month() }
            }
            Length::Year => Span {
                length,
                name: format!("{:04}", day.year()),
                since: day.first_of_year(),
                until: day.last_of_year(),
            },
        }
    }

    /// The last one that is over on a day.
    pub fn last(length: Length, today: Date) -> Self {
        Span::of(length, today).before()
    }

    /// The one before.
    pub fn before(&self) -> Self {
        Span::of(self.length, self.since.saturating_sub(1.day()))
    }

    /// The one of a name: `2026-W47`, `2026-11`, `2026`, or a day in it.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn parse(length: Length, name: &str) -> Result<Self, String> {
        let wrong = || {
            let like = match length {
                Length::Week => "2026-W47",
                Length::Month => "2026-11",
                Length::Year => "2026",
            };
            format!("`{name}` is no {}: write `{like}`, or a day in it (2026-11-23)", length.name())
        };
        let number = |text: &str, digits: usize| -> Option<i16> {
            (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
        };
        let day = match length {
            _ if name.len() == 10 => name.parse().ok(),
            Length::Week => name.split_once("-W").and_then(|(year, week)| {
                // The fourth of January is always in the first week.
                let first = Date::new(number(year, 4)?, 1, 4).ok()?;
                let day = first.saturating_add((i64::from(number(week, 2)?) * 7 - 7).days());
                (Span::of(length, day).name == name).then_some(day)
            }),
            Length::Month => name
                .split_once('-')
                .and_then(|(year, month)| Date::new(number(year, 4)?, i8::try_from(number(month, 2)?).ok()?, 1).ok()),
            Length::Year => number(name, 4).map(|year| date(year, 1, 1)),
        };
        day.map(|day| Span::of(length, day)).ok_or_else(wrong)
    }

    /// The weeks whose Monday is in it, each with its last day: by whole weeks the checklist judges.
    pub fn weeks(&self) -> impl Iterator<Item = (Date, Date)> + use<> {
        let to_monday = (7 - i64::from(self.since.weekday().since(Weekday::Monday))) % 7;
        let (first, until) = (self.since.saturating_add(to_monday.days()), self.until);
        let mondays = (0..54).map(move |week| first.saturating_add((7 * week).days()));
        mondays.take_while(move |monday| *monday <= until).map(|monday| (monday, monday.saturating_add(6.days())))
    }
}

impl Length {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Length::Week => "week",
            Length::Month => "month",
            Length::Year => "year",
        }
    }
}

/// As text.
pub(super) fn day<S: Serializer>(day: &Date, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let today = date(2026, 11, 23);
        let last = |length| {
            let span = Span::last(length, today);
            (span.name.clone(), span.since.to_string(), span.until.to_string(), span.before().name)
        };
        let told = |name: &str, since: &str, until: &str, before: &str| {
            (name.to_owned(), since.to_owned(), until.to_owned(), before.to_owned())
        };
        assert_eq!(last(Length::Week), told("2026-W47", "2026-11-16", "2026-11-22", "2026-W46"));
        assert_eq!(last(Length::Month), told("2026-10", "2026-10-01", "2026-10-31", "2026-09"));
        assert_eq!(last(Length::Year), told("2025", "2025-01-01", "2025-12-31", "2024"));
        // A week belongs to the year of its Thursday.
        assert_eq!(Span::of(Length::Week, date(2027, 1, 3)).name, "2026-W53");
    }

    #[test]
    fn names() {
        for (length, name) in
            [(Length::Week, "2026-W01"), (Length::Week, "2026-W53"), (Length::Month, "2026-02"), (Length::Year, "2024")]
        {
            assert_eq!(Span::parse(length, name).unwrap().name, name);
        }
        assert_eq!(Span::parse(Length::Week, "2026-11-22").unwrap().name, "2026-W47");
        assert_eq!(Span::parse(Length::Month, "2026-11-22").unwrap().name, "2026-11");
        for (length, bad) in [
            (Length::Week, "2026-W54"),
            (Length::Week, "2026-W00"),
            (Length::Week, "2025-W53"),
            (Length::Week, "2026-11"),
            (Length::Month, "2026-13"),
            (Length::Month, "2026-1"),
            (Length::Year, "26"),
            (Length::Year, "2026-11"),
            (Length::Week, "W"),
            (Length::Month, "2026-02-30"),
        ] {
            assert!(Span::parse(length, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weeks_begin_within() {
        let weeks = |span: Span| span.weeks().map(|(monday, _)| monday.to_string()).collect::<Vec<_>>();
        assert_eq!(weeks(Span::parse(Length::Week, "2026-W47").unwrap()), ["2026-11-16"]);
        let november = ["2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23", "2026-11-30"];
        assert_eq!(weeks(Span::parse(Length::Month, "2026-11").unwrap()), november);
        assert_eq!(weeks(Span::parse(Length::Year, "2026").unwrap()).len(), 52);
    }
}
