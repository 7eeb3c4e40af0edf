//! Which format a log has, told by its first lines.

use std::net::IpAddr;

use super::{Columns, Format, Json, LineScratch, MAX_LINE, NoLine, Pattern};

impl Format {
    /// The format that most of the first lines of a log have; none if they have none that is known here. `is_known` says
    /// whether a host is one of ours.
    pub fn detect(start: &[u8], is_known: &dyn Fn(&[u8]) -> bool) -> Option<Format> {
        let lines: Vec<&[u8]> = start
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty() && line.len() <= MAX_LINE)
            .take(LINES)
            .collect();
        if let Some(columns) = lines.iter().find_map(|line| Columns::parse(line)) {
            return Some(Format::W3c(columns));
        }
        if most(&lines, |line| Json.read(line, &mut LineScratch::default()).map(|_| ()).or_else(is_request).is_ok()) {
            return Some(Format::Json(Json));
        }
        let vhost = Pattern::vhost();
        let has_host = |line: &[u8]| {
            // Here the client is the second word.
            let mut words = line.split(|&byte| byte == b' ');
            let is_host = words.next().is_some_and(|word| !is_address(word) && word != b"-");
            is_host && words.next().is_some_and(is_address)
        };
        if most(&lines, |line| has_host(line) && fits(&vhost, line)) {
            return Some(Format::Text(vhost));
        }
        let combined = Pattern::combined();
        let fitting: Vec<&[u8]> = lines.iter().copied().filter(|line| fits(&combined, line)).collect();
        if fitting.len() * 2 <= lines.len() {
            return None;
        }
        Some(Format::Text(with_host_behind(&fitting, is_known).unwrap_or_else(|| {
            let has_agent = |line: &[u8]| tail(line).is_some();
            if most(&fitting, has_agent) { combined } else { Pattern::common() }
        })))
    }
}

/// The pattern of lines that have a known host in the same place behind what `combined` has.
fn with_host_behind(lines: &[&[u8]], is_known: &dyn Fn(&[u8]) -> bool) -> Option<Pattern> {
    let tails: Vec<Vec<(&[u8], bool)>> = lines.iter().filter_map(|line| tail(line)).map(words).collect();
    let first = tails.iter().max_by_key(|words| words.len())?;
    (0..first.len().min(MAX_BEHIND)).find_map(|place| {
        let is_there = |words: &&Vec<(&[u8], bool)>| words.get(place).is_some_and(|(word, _)| is_known(word));
        let known = tails.iter().filter(is_there);
        (known.count() * 2 > lines.len()).then(|| {
            let quoted: Vec<bool> = first[..place].iter().map(|(_, quoted)| *quoted).collect();
            Pattern::vhost_last(&quoted, first[place].1)
        })
    })
}

/// What stands behind the six quotes of request, referer and agent.
fn tail(line: &[u8]) -> Option<&[u8]> {
    let is_escaped = |at: usize| line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    let at = memchr::memchr_iter(b'"', line).filter(|&at| !is_escaped(at)).nth(5)?;
    Some(&line[at + 1..])
}

/// The words of a text, and whether they stand in quotes.
fn words(mut text: &[u8]) -> Vec<(&[u8], bool)> {
    let mut words = Vec::new();
    while let Some(rest) = text.strip_prefix(b" ")
        && words.len() < MAX_BEHIND
    {
        let (end, quoted) = match rest.strip_prefix(b"\"") {
            Some(inner) => (memchr::memchr(b'"', inner).map_or(rest.len(), |end| end + 2), true),
            None => (memchr::memchr(b' ', rest).unwrap_or(rest.len()), false),
        };
        let word = &rest[..end];
        words.push((word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or(word), quoted));
        text = &rest[end..];
    }
    words
}

fn fits(pattern: &Pattern, line: &[u8]) -> bool {
    pattern.read(line, &mut LineScratch::default()).map(|_| ()).or_else(is_request).is_ok()
}

/// A line that tells of no request is of the format too.
fn is_request(fault: NoLine) -> Result<(), NoLine> {
    if fault == NoLine::NoRequest { Ok(()) } else { Err(fault) }
}

fn most(lines: &[&[u8]], is_so: impl Fn(&[u8]) -> bool) -> bool {
    lines.iter().filter(|line| is_so(line)).count() * 2 > lines.len()
}

fn is_address(word: &[u8]) -> bool {
    str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}

/// Lines that are looked at.
const LINES: usize = 200;

/// Fields behind those of `combined` among which the host is looked for.
const MAX_BEHIND: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found() {
        let rest = r#"192.0.2.1 - - [10/Oct/2020:13:55:36 +0800] "GET /a HTTP/1.1" 200 5"#;
        let iis = "#Software: x\r\n#Fields: date cs-uri-stem\r\n2020-01-01 /a\r\n";
        for (text, want) in [
            (rest.to_owned(), Some("common")),
            (format!(r#"{rest} "-" "-""#), Some("combined")),
            (format!(r#"{rest} "-" "a \" b" 0.001 "10.0.0.1""#), Some("combined")),
            (format!(r#"jyj.old.example:80 {rest} "-" "-""#), Some("vhost")),
            (format!(r#"jyj.old.example {rest}"#), Some("vhost")),
            (format!(r#"{rest} "-" "-" "jyj.old.example""#), Some("vhost-last")),
            (format!(r#"{rest} "-" "-" 0.002 "10.0.0.1, x" jyj.old.example 7"#), Some("vhost-last")),
            (iis.to_owned(), Some("iis")),
            (r#"{"method":"GET","target":"/"}"#.to_owned(), Some("json")),
            ("a line\nof something else\n".to_owned(), None),
            (String::new(), None),
        ] {
            let found = Format::detect(text.as_bytes(), &|host| host == b"jyj.old.example");
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), want, "{text}");
            // A host at the end is where the pattern found it.
            if let Some(format @ Format::Text(_)) = found.filter(|_| text.contains("jyj")) {
                let mut scratch = LineScratch::default();
                let line = format.read(text.as_bytes(), &mut scratch).unwrap();
                assert!(line.host.starts_with(b"jyj.old.example"), "{text}");
            }
        }
    }
}
