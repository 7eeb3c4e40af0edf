//! Which day it is.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::config::HitsSettings;

/// The days of a time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// The day that was asked for last, and the seconds that it is made of.
    day: Date,
    from: i64,
    until: i64,
}

impl Calendar {
    /// That of the settings' zone; UTC if the system does not know it any more.
    pub fn new(settings: &HitsSettings) -> Self {
        let zone = match &settings.zone {
            Some(name) => TimeZone::get(name).unwrap_or(TimeZone::UTC),
            None => TimeZone::system(),
        };
        Calendar { zone, day: Date::ZERO, from: 0, until: 0 }
    }

    /// The day of a moment in Unix seconds.
    pub fn day(&mut self, seconds: i64) -> Date {
        if !(self.from..self.until).contains(&seconds) {
            let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone());
            let begin = moment.start_of_day().map_or(seconds, |begin| begin.timestamp().as_second());
            let end = moment.tomorrow().and_then(|next| next.start_of_day());
            self.day = moment.date();
            self.from = begin;
            self.until = end.map_or(seconds, |end| end.timestamp().as_second());
        }
        self.day
    }

    /// The day that it is now.
    pub fn today(&mut self) -> Date {
        self.day(Timestamp::now().as_second())
    }

    /// So many days before now.
    pub fn days_ago(&mut self, days: u32) -> Date {
        self.today().saturating_sub(i64::from(days).days())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    #[test]
    fn days_begin_at_midnight_of_the_zone() {
        let settings = HitsSettings { zone: Some("Asia/Shanghai".to_owned()), ..Gateway::default().hits };
        let mut calendar = Calendar::new(&settings);
        let day = |calendar: &mut Calendar, at: &str| calendar.day(at.parse::<Timestamp>().unwrap().as_second());
        for (at, is) in [
            ("2026-11-23T15:59:59Z", "2026-11-23"),
            ("2026-11-23T16:00:00Z", "2026-11-24"),
            ("2026-11-24T15:59:59Z", "2026-11-24"),
            ("2026-11-22T16:00:00Z", "2026-11-23"),
            ("2026-12-31T16:00:00Z", "2027-01-01"),
        ] {
            assert_eq!(day(&mut calendar, at).to_string(), is);
        }
        // No moment is a fault.
        for odd in [i64::MIN, i64::MAX, -1] {
            calendar.day(odd);
        }
    }
}
