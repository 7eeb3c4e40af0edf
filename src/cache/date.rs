//! HTTP-dates (RFC 9110, 5.6.7), read strictly: a date in doubt is no date, and a response without one is stale. Only
//! case does not matter (RFC 9111, 4.2).

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};

/// The date in a field, in Unix seconds; of several lines the first.
pub(super) fn of(fields: &HeaderMap, name: &HeaderName) -> Option<i64> {
    parse(fields.get(name)?.as_bytes())
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
pub(super) fn parse(value: &[u8]) -> Option<i64> {
    let text = str::from_utf8(value).ok()?.trim_ascii();
    imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

/// The date as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn write(seconds: i64) -> HeaderValue {
    // Only years before 0 or after 9999 have no such date.
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let text = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

fn imf_fixdate(text: &str) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    let rest = without_zone(rest)?;
    if !DAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(weekday))
        || rest.len() != "06 Nov 1994 08:49:37".len()
        || !rest.is_ascii()
    {
        return None;
    }
    let (date, time) = rest.split_at(11);
    let [day, name, year] = words(date, ' ')?;
    seconds(number(year, 4)?, month(name)?, number(day, 2)?, time.strip_prefix(' ')?)
}

fn rfc850(text: &str) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    let (date, time) = without_zone(rest)?.split_once(' ')?;
    let [day, name, year] = words(date, '-')?;
    if !DAYS.iter().any(|day| day.eq_ignore_ascii_case(weekday)) {
        return None;
    }
    // A year more than 50 ahead is the last one with these digits.
    let now = Timestamp::now().to_zoned(TimeZone::UTC).year();
    let mut full = now / 100 * 100 + number(year, 2)?;
    if full > now + 50 {
        full -= 100;
    }
    seconds(full, month(name)?, number(day, 2)?, time)
}

fn asctime(text: &str) -> Option<i64> {
    if text.len() != "Sun Nov  6 08:49:37 1994".len() || !text.is_ascii() {
        return None;
    }
    let day = text[8..10].trim_start();
    let separated = [3, 7, 10, 19].iter().all(|&at| text.as_bytes()[at] == b' ');
    if !separated || !DAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(&text[..3])) {
        return None;
    }
    seconds(number(&text[20..], 4)?, month(&text[4..7])?, number(day, day.len())?, &text[11..19])
}

fn seconds(year: i16, month: i8, day: i16, time: &str) -> Option<i64> {
    let [hour, minute, second] = words(time, ':')?;
    let small = |text| number(text, 2).and_then(|number| i8::try_from(number).ok());
    // A leap second counts as the one before it.
    let second = small(second)?.min(if second == "60" { 59 } else { i8::MAX });
    let time = civil::DateTime::new(year, month, i8::try_from(day).ok()?, small(hour)?, small(minute)?, second, 0);
    Some(time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The text before the zone, of which there is only one.
fn without_zone(text: &str) -> Option<&str> {
    let (rest, zone) = text.split_at_checked(text.len().checked_sub(" GMT".len())?)?;
    zone.eq_ignore_ascii_case(" GMT").then_some(rest)
}

fn words(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut words = text.split(separator);
    let three = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(three)
}

fn number(digits: &str, len: usize) -> Option<i16> {
    (digits.len() == len && len > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

fn month(name: &str) -> Option<i8> {
    (1..).zip(MONTHS).find_map(|(number, month)| month.eq_ignore_ascii_case(name).then_some(number))
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_9110_5_6_7_three_spellings_of_one_second() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in ["SUN, 06 nov 1994 08:49:37 gMT", "sunday, 06-NOV-94 08:49:37 Gmt", "sun nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(write(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse(b"Wed, 31 Dec 2008 23:59:60 GMT"), parse(b"Wed, 31 Dec 2008 23:59:59 GMT"));
    }

    #[test]
    fn what_is_malformed_is_no_date() {
        for text in [
            "0",
            "-1",
            "",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 32 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:61 GMT",
            "Thursday, 18 Aug 2050 02:01:18 GMT",
            "é GMT",
            "Thu, 1é Aug 2050 02:01:18 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(seconds in 0i64..253_402_300_799) {
            prop_assert_eq!(parse(write(seconds).as_bytes()), Some(seconds));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[A-Za-z0-9 :,\\-é]{0,32}") {
            parse(&bytes);
            parse(text.as_bytes());
        }
    }
}
