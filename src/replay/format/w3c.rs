//! W3C extended log files (<https://www.w3.org/TR/WD-logfile.html>) as IIS writes them.
//!
//! IIS decodes paths before it writes them, in UTF-8 by default, and writes `+` for a space; queries stand there as they
//! were sent. What ASP adds to the query of a page that failed (`|12|800a000d|Type_mismatch`) is taken off.

use super::{Line, LineScratch, Moment, NoLine, is_method, said, status};

/// Which field stands in which column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Ignored,
    Date,
    Time,
    Client,
    Host,
    Port,
    Method,
    Stem,
    Query,
    Status,
    Referer,
    UserAgent,
}

impl Columns {
    /// The columns that a line `#Fields: …` names; none if it is no such line, or names no URL.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (start, names) = line.split_at_checked(FIELDS.len())?;
        if !start.eq_ignore_ascii_case(FIELDS) {
            return None;
        }
        let columns: Vec<Column> = names
            .split(u8::is_ascii_whitespace)
            .filter(|name| !name.is_empty())
            .take(MAX_COLUMNS)
            .map(|name| Column::of(&name.to_ascii_lowercase()))
            .collect();
        columns.contains(&Column::Stem).then_some(Columns(columns))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read<'a>(&self, line: &'a [u8], scratch: &'a mut LineScratch) -> Result<Line<'a>, NoLine> {
        if line[0] == b'#' {
            return Err(NoLine::Comment);
        }
        let mut read = Line { is_decoded: true, ..Line::default() };
        let (mut date, mut time, mut query) = (&b""[..], &b""[..], &b""[..]);
        let mut rest = line;
        for (number, column) in self.0.iter().enumerate() {
            let end = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
            let text = &rest[..end];
            if text.is_empty() {
                return Err(NoLine::Unreadable("it has fewer fields than `#Fields:` names"));
            }
            match column {
                Column::Ignored => {}
                Column::Date => date = text,
                Column::Time => time = text,
                Column::Client => read.client = text,
                Column::Host => read.host = said(text),
                Column::Port => read.secure = Some(text == b"443"),
                Column::Method => read.method = text,
                Column::Stem => read.target = text,
                Column::Query => query = said(text),
                Column::Status => match status(text) {
                    0 if text != b"-" && text != b"0" => return Err(NoLine::Unreadable("its status is no number")),
                    status => read.status = status,
                },
                Column::Referer => read.referer = said(text),
                Column::UserAgent => read.user_agent = said(text),
            }
            rest = rest.get(end + 1..).unwrap_or_default();
            if rest.is_empty() && number + 1 < self.0.len() {
                return Err(NoLine::Unreadable("it has fewer fields than `#Fields:` names"));
            }
        }
        if read.method.is_empty() {
            read.method = b"GET";
        }
        if read.target == b"-" || !is_method(read.method) {
            return Err(NoLine::NoRequest);
        }
        if !date.is_empty() && !time.is_empty() {
            read.moment = Moment::Split(date, time);
        }
        let query = without_error(query);
        let LineScratch { target, user_agent, .. } = scratch;
        if !query.is_empty() || memchr::memchr(b'+', read.target).is_some() {
            target.clear();
            push_stem(read.target, target);
            if !query.is_empty() {
                target.push(b'?');
                target.extend_from_slice(query);
            }
            read.target = target;
        }
        if memchr::memchr(b'+', read.user_agent).is_some() {
            user_agent.clear();
            user_agent.extend(read.user_agent.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }));
            read.user_agent = user_agent;
        }
        Ok(read)
    }
}

impl Column {
    fn of(name: &[u8]) -> Self {
        match name {
            b"date" => Column::Date,
            b"time" => Column::Time,
            b"c-ip" => Column::Client,
            b"cs-host" | b"cs(host)" => Column::Host,
            b"s-port" => Column::Port,
            b"cs-method" => Column::Method,
            b"cs-uri-stem" | b"cs-uri" => Column::Stem,
            b"cs-uri-query" => Column::Query,
            b"sc-status" => Column::Status,
            b"cs(referer)" => Column::Referer,
            b"cs(user-agent)" => Column::UserAgent,
            _ => Column::Ignored,
        }
    }
}

fn push_stem(mut stem: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'+', stem) {
        out.extend_from_slice(&stem[..at]);
        out.extend_from_slice(b"%20");
        stem = &stem[at + 1..];
    }
    out.extend_from_slice(stem);
}

/// A query without what ASP tells of an error: `|line|code|text`, the code with eight hexadecimal digits.
fn without_error(query: &[u8]) -> &[u8] {
    let Some(at) = memchr::memchr(b'|', query) else { return query };
    let mut parts = query[at + 1..].split(|&byte| byte == b'|');
    let is_line = |text: &[u8]| text == b"-" || (!text.is_empty() && text.iter().all(u8::is_ascii_digit));
    let is_code = |text: &[u8]| text.len() == 8 && text.iter().all(u8::is_ascii_hexdigit);
    match parts.next().is_some_and(is_line) && parts.next().is_some_and(is_code) {
        true => said(&query[..at]),
        false => query,
    }
}

const FIELDS: &[u8] = b"#Fields:";

/// Columns that are looked at.
const MAX_COLUMNS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_iis() {
        let columns = Columns::parse(
            b"#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs-host sc-status sc-substatus",
        )
        .unwrap();
        let mut scratch = LineScratch::default();
        let line = "2019-03-01 08:00:01 10.0.0.1 GET /科普/a+b.asp id=7|12|800a000d|Type_mismatch 443 - 192.0.2.7 Mozilla/5.0+(x) jyj.old.example 500 0";
        let read = columns.read(line.as_bytes(), &mut scratch).unwrap();
        assert_eq!(read.target, "/科普/a%20b.asp?id=7".as_bytes());
        assert_eq!((read.host, read.secure, read.status), (&b"jyj.old.example"[..], Some(true), 500));
        assert_eq!((read.client, read.user_agent), (&b"192.0.2.7"[..], &b"Mozilla/5.0 (x)"[..]));
        assert_eq!((read.moment.seconds(), read.is_decoded), (Some(1_551_427_201), true));
        for (query, want) in [("-", ""), ("|-|0|404_Object_Not_Found", "|-|0|404_Object_Not_Found"), ("a|b", "a|b")] {
            assert_eq!(without_error(said(query.as_bytes())), want.as_bytes());
        }
        for cut in [0, 1, 20, 40, 100] {
            let line = &line.as_bytes()[..cut];
            assert!(cut == 0 || columns.read(line, &mut LineScratch::default()).is_err(), "{cut}");
        }
        assert_eq!(columns.read(b"#Date: x", &mut scratch), Err(NoLine::Comment));
    }

    #[test]
    fn columns_in_any_order_but_with_a_url() {
        let columns = Columns::parse(b"#FIELDS: cs-uri-stem sc-status").unwrap();
        let mut scratch = LineScratch::default();
        let read = columns.read(b"/a 404", &mut scratch).unwrap();
        assert_eq!((read.method, read.target, read.status), (&b"GET"[..], &b"/a"[..], 404));
        assert_eq!(Columns::parse(b"#Fields: date time"), None);
        assert_eq!(Columns::parse(b"#Software: Microsoft Internet Information Services 8.5"), None);
        assert_eq!(Columns::parse(b""), None);
    }
}
