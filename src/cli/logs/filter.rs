//! Which requests are shown.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::model::Outcome;
use crate::telemetry::access_log::Record;

/// All of these have to hold.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Requests for this host, or with `*.HOST` for those below it; the port does not matter.
    #[arg(long)]
    host: Option<String>,
    /// Requests for this site, by its id (the path of its file without .toml); with `*` for any text: `lanjiang/*`.
    #[arg(long)]
    site: Option<String>,
    /// Requests with this status, such as 404, or one of a class: 4xx. May be given several times.
    #[arg(long, value_parser = status)]
    status: Vec<(u16, u16)>,
    /// Requests whose path and query begin so; with `*` for any text, are so: `/news/*.asp?*`.
    #[arg(long)]
    path: Option<String>,
    /// Requests with this kind of answer, such as redirect, not_found or denied. May be given several times.
    #[arg(long, value_parser = outcome)]
    outcome: Vec<Outcome>,
    /// Requests for URLs of which nothing says where they went.
    #[arg(long)]
    unmapped: bool,
    /// Requests from then on: 90s, 15m, 2h, 7d ago, a date (2027-01-31) or a moment (2027-01-31T08:00:00+08:00).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Requests before then, written as for --since.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

impl Filter {
    /// Whether it says from when on.
    pub(super) fn is_since(&self) -> bool {
        self.since.is_some()
    }

    /// From when on, and until when.
    pub(super) fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.since, self.until)
    }

    /// Whether a request is to be shown.
    pub(super) fn holds(&self, record: &Record<'_>) -> bool {
        let status = |&(from, to): &(u16, u16)| (from..=to).contains(&record.status);
        (self.status.is_empty() || self.status.iter().any(status))
            && (!self.unmapped || record.unmapped)
            && (self.outcome.is_empty() || self.outcome.iter().any(|outcome| outcome.name() == record.outcome))
            && self.host.as_deref().is_none_or(|host| is_host(&record.host, host))
            && self.site.as_deref().is_none_or(|site| is_like(record.site.as_bytes(), site.as_bytes()))
            && self.path.as_deref().is_none_or(|path| match path.contains('*') {
                true => is_like(record.target.as_bytes(), path.as_bytes()),
                false => record.target.starts_with(path),
            })
            && self.is_in_period(record)
    }

    fn is_in_period(&self, record: &Record<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = record.time.parse::<Timestamp>() else { return false };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Whether a request's `Host` is the one that is wanted.
fn is_host(sent: &str, wanted: &str) -> bool {
    let host = match sent.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => sent,
    };
    let host = host.trim_end_matches('.');
    match wanted.strip_prefix('*') {
        None => host.eq_ignore_ascii_case(wanted),
        Some(below) => {
            let start = host.len().saturating_sub(below.len());
            start > 0 && host.is_char_boundary(start) && host[start..].eq_ignore_ascii_case(below)
        }
    }
}

/// Whether `text` is like `pattern`, in which `*` is any text.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Where to go on if what follows the last `*` is not there: the `*` takes a byte more.
    let mut again = None;
    while at < text.len() {
        match pattern.get(of) {
            Some(b'*') => {
                again = Some((at, of));
                of += 1;
            }
            Some(byte) if *byte == text[at] => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((taken, star)) = again else { return false };
                again = Some((taken + 1, star));
                (at, of) = (taken + 1, star + 1);
            }
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

fn status(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}` is neither a status (404) nor a class of them (4xx)");
    match text.as_bytes() {
        [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
            let from = u16::from(class - b'0') * 100;
            Ok((from, from + 99))
        }
        _ => text.parse().ok().filter(|status| *status < 1000).map(|status| (status, status)).ok_or_else(wrong),
    }
}

fn outcome(text: &str) -> Result<Outcome, String> {
    Outcome::ALL.into_iter().find(|outcome| outcome.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

/// A moment, or how long ago it is.
fn moment(text: &str) -> Result<Timestamp, String> {
    let wrong = |error: String| format!("{error}, nor how long ago (90s, 15m, 2h, 7d)");
    if let Some(ago) = duration(text) {
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    let second = crate::config::parse_date(text).map_err(wrong)?;
    Timestamp::from_second(second).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let seconds = UNITS.iter().find(|(letter, _)| *letter == unit)?.1;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    Some(SignedDuration::from_secs(number.checked_mul(seconds)?))
}

const UNITS: [(char, i64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_whatever_their_case_and_port() {
        for (sent, wanted, is) in [
            ("jyj.old.example", "jyj.old.example", true),
            ("JYJ.Old.Example.:8080", "jyj.old.example", true),
            ("jyj.old.example", "*.old.example", true),
            ("old.example", "*.old.example", false),
            (".old.example", "*.old.example", false),
            ("bad-old.example", "*.old.example", false),
            ("青山.example", "*a.example", false),
            ("", "*.old.example", false),
        ] {
            assert_eq!(is_host(sent, wanted), is, "{sent} {wanted}");
        }
    }

    #[test]
    fn stars_are_any_text() {
        for (text, pattern, is) in [
            ("/news/1.asp?id=7", "/news/*.asp?*", true),
            ("/news/1.asp", "/news/*.asp?*", false),
            ("/news/1.asp?", "/news/*.asp?*", true),
            ("/a/b/a/b/c", "*/b/c", true),
            ("/a/b/a/b", "*/b/c", false),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("abc", "a*b*c*", true),
        ] {
            assert_eq!(is_like(text.as_bytes(), pattern.as_bytes()), is, "{text} {pattern}");
        }
        // What takes naive matchers longer than the universe is old.
        let pattern = "*a".repeat(50) + "b";
        assert!(!is_like("a".repeat(10_000).as_bytes(), pattern.as_bytes()));
    }

    #[test]
    fn words_of_the_command_line() {
        assert_eq!((status("404"), status("5xx")), (Ok((404, 404)), Ok((500, 599))));
        assert!(["6xx", "4x", "all", "-1", "40x"].iter().all(|text| status(text).is_err()));
        assert_eq!(outcome("not_found"), Ok(Outcome::NotFound));
        assert!(outcome("lost").unwrap_err().contains("redirect, notice"));
        let then = moment("2h").unwrap();
        let ago = Timestamp::now().duration_since(then);
        assert!((7200..7260).contains(&ago.as_secs()), "{ago}");
        assert_eq!(moment("2027-01-31T08:00:00+08:00").unwrap().to_string(), "2027-01-31T00:00:00Z");
        for text in ["", "h", "2", "-2h", "2y", "99999999999999999w", "yesterday"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
