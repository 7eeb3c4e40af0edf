//! When a request was, in the ways that logs write it. Only who asks reads it.

use jiff::{Timestamp, civil::Date};

/// A moment as a line has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moment<'a> {
    /// The line doesn't say.
    #[default]
    Unknown,
    /// `10/Oct/2020:13:55:36 +0800`.
    Local(&'a [u8]),
    /// RFC 3339: `2020-10-10T13:55:36+08:00`.
    Iso(&'a [u8]),
    /// Unix seconds, maybe with a fraction.
    Unix(&'a [u8]),
    /// A date and a time of UTC: `2020-10-10` and `05:55:36`.
    Split(&'a [u8], &'a [u8]),
}

impl Moment<'_> {
    /// Unix seconds; none if the line doesn't say, or not so that it can be read.
    pub fn seconds(&self) -> Option<i64> {
        match *self {
            Moment::Unknown => None,
            Moment::Local(text) => local(text),
            Moment::Iso(text) => str::from_utf8(text).ok()?.parse::<Timestamp>().ok().map(Timestamp::as_second),
            Moment::Unix(text) => {
                let whole = text.split(|&byte| byte == b'.').next().unwrap_or_default();
                (whole.len() <= 12).then(|| number(whole)).flatten()
            }
            Moment::Split(date, time) => {
                let [year, month, day] = numbers(date, b'-')?;
                let [hour, minute, second] = numbers(time, b':')?;
                at([year, month, day], [hour, minute, second], 0)
            }
        }
    }
}

fn local(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(11)?;
    let time = rest.get(1..9)?;
    let month = MONTHS.iter().position(|name| date[3..6].eq_ignore_ascii_case(name.as_bytes()))?;
    let date = [number(&date[7..])?, month as i64 + 1, number(&date[..2])?];
    let zone = match rest.get(10..15)? {
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let (hours, minutes) = (number(&digits[..2])?, number(&digits[2..])?);
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    at(date, numbers(time, b':')?, zone)
}

fn at([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3], zone: i64) -> Option<i64> {
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let days = date.to_datetime(jiff::civil::Time::midnight()).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    let is_time = hour < 24 && minute < 60 && second <= 60;
    is_time.then(|| days.timestamp().as_second() + hour * 3600 + minute * 60 + second - zone)
}

fn numbers(text: &[u8], between: u8) -> Option<[i64; 3]> {
    let mut parts = text.split(|&byte| byte == between).map(|part| number(part.get(..part.len().min(5))?));
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn number(digits: &[u8]) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.len() <= 12 && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (moment, want) in [
            (Moment::Local(b"10/Oct/2020:13:55:36 +0800"), Some(1_602_309_336)),
            (Moment::Local(b"10/Oct/2020:13:55:36 -0330"), Some(1_602_350_736)),
            (Moment::Iso(b"2020-10-10T13:55:36+08:00"), Some(1_602_309_336)),
            (Moment::Iso(b"2020-10-10T05:55:36.123Z"), Some(1_602_309_336)),
            (Moment::Unix(b"1602309336.999"), Some(1_602_309_336)),
            (Moment::Split(b"2020-10-10", b"05:55:36"), Some(1_602_309_336)),
            (Moment::Unknown, None),
            (Moment::Local(b"10/Okt/2020:13:55:36 +0800"), None),
            (Moment::Local(b"32/Oct/2020:13:55:36 +0800"), None),
            (Moment::Local("10/Oct/20\u{e9}é:13:55:36".as_bytes()), None),
            (Moment::Local(b""), None),
            (Moment::Iso(b"\xff"), None),
            (Moment::Unix(b"99999999999999999999"), None),
            (Moment::Split(b"2020-10-10-10", b"05:55:36"), None),
            (Moment::Split(b"2020-10", b"25:55:36"), None),
        ] {
            assert_eq!(moment.seconds(), want, "{moment:?}");
        }
    }
}
