//! Lists of URLs: one a line, or a column of a table.

use super::{Line, MAX_LINE, NoLine};
use crate::url::split_absolute;

/// Where the URL stands in the lines of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Urls {
    /// What stands between the columns; the line is all URL where there is none.
    separator: Option<u8>,
    /// The column, counted from 0.
    column: usize,
}

impl Urls {
    /// Where most of the first lines of a list have a URL: whole, as `host/path`, or a path alone. None if they have none.
    pub fn detect(start: &[u8]) -> Option<Urls> {
        let lines: Vec<&[u8]> = start
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty() && !line.starts_with(b"#") && line.len() <= MAX_LINE)
            .take(LINES)
            .collect();
        let (&first, rest) = lines.split_first()?;
        // The first line may be the names of the columns.
        for separator in SEPARATORS {
            if first.contains(&separator) && !is_url(Urls::default().url(first)) {
                let named = (0..COLUMNS).find(|&column| is_name(Urls::field(first, separator, column)));
                let columns = named.into_iter().chain(0..COLUMNS);
                let found = columns.map(|column| Urls { separator: Some(separator), column });
                if let Some(urls) = found.into_iter().find(|urls| urls.fits(rest)) {
                    return Some(urls);
                }
            }
        }
        for separator in SEPARATORS {
            // A comma may be part of a URL: only what can't be the rest of one shows that it is not.
            let is_end = |line: &&&[u8]| {
                let next = Urls::field(line, separator, 1);
                line.contains(&separator)
                    && (separator == b'\t'
                        || line.starts_with(b"\"")
                        || next.is_empty()
                        || next.starts_with(b"http")
                        || next.starts_with(b"\"")
                        || next.starts_with(b" "))
            };
            if lines.iter().filter(is_end).count() * 2 > lines.len() {
                let found = (0..COLUMNS).map(|column| Urls { separator: Some(separator), column });
                if let Some(urls) = found.into_iter().find(|urls| urls.fits(&lines)) {
                    return Some(urls);
                }
            }
        }
        // One name of a column stands above a list of a few.
        Some(Urls::default()).filter(|urls| urls.fits(&lines) || (is_name(first) && urls.fits(rest)))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn read<'a>(&self, line: &'a [u8]) -> Result<Line<'a>, NoLine> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Err(NoLine::Comment);
        }
        let url = self.url(line);
        let (secure, host, target) = split(url).ok_or(NoLine::Unreadable("it has no URL"))?;
        Ok(Line { method: b"GET", host, target, secure, ..Line::default() })
    }

    fn url<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let field = match self.separator {
            Some(separator) => Urls::field(line, separator, self.column),
            None => unquoted(line),
        };
        let field = field.trim_ascii();
        // As `sort | uniq -c` counts them.
        let counted = field.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(0);
        let field = match field[counted..].strip_prefix(b" ") {
            Some(rest) if counted > 0 => rest.trim_ascii_start(),
            _ => field,
        };
        let end = field.iter().position(u8::is_ascii_whitespace).unwrap_or(field.len());
        &field[..end]
    }

    /// The field of that number, without its quotes; empty if there are fewer.
    fn field(line: &[u8], separator: u8, number: usize) -> &[u8] {
        let mut rest = line;
        for at in 0.. {
            let end = match rest.strip_prefix(b"\"") {
                Some(quoted) => memchr::memchr(b'"', quoted).map_or(rest.len(), |end| end + 2),
                None => memchr::memchr(separator, rest).unwrap_or(rest.len()),
            };
            if at == number {
                return unquoted(&rest[..end]);
            }
            match memchr::memchr(separator, &rest[end..]) {
                Some(next) => rest = &rest[end + next + 1..],
                None => break,
            }
        }
        b""
    }

    fn fits(&self, lines: &[&[u8]]) -> bool {
        lines.iter().filter(|line| is_url(self.url(line))).count() * 2 > lines.len()
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_prefix(b"\"").map_or(text, |text| text.strip_suffix(b"\"").unwrap_or(text))
}

/// Whether a text is how people call a column of URLs.
fn is_name(text: &[u8]) -> bool {
    let names: [&[u8]; 9] = [
        b"url",
        b"urls",
        b"old",
        b"old_url",
        b"address",
        b"link",
        "网址".as_bytes(),
        "地址".as_bytes(),
        "链接".as_bytes(),
    ];
    names.iter().any(|name| name.eq_ignore_ascii_case(text))
}

fn is_url(text: &[u8]) -> bool {
    split(text).is_some() && !text.iter().any(u8::is_ascii_whitespace)
}

/// Scheme, host and target of a URL; the host is empty where it has none.
fn split(url: &[u8]) -> Option<(Option<bool>, &[u8], &[u8])> {
    if let Some(absolute) = split_absolute(url) {
        let target = if absolute.target.is_empty() { b"/" } else { absolute.target };
        return (!absolute.authority.is_empty()).then_some((Some(absolute.secure), absolute.authority, target));
    }
    let rest = url.strip_prefix(b"//").unwrap_or(url);
    if url.starts_with(b"/") && rest.len() == url.len() {
        return Some((None, b"", url));
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    is_host(host).then_some((None, host, if target.is_empty() { b"/" } else { target }))
}

/// Whether a text is a name with a dot, or an address.
fn is_host(text: &[u8]) -> bool {
    let of_host =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':') || *byte >= 0x80;
    let name = text.split(|&byte| byte == b':').next().unwrap_or_default();
    let dot = name.iter().position(|&byte| byte == b'.');
    text.iter().all(of_host) && dot.is_some_and(|dot| dot > 0 && dot + 1 < name.len())
}

/// What stands between columns.
const SEPARATORS: [u8; 3] = *b"\t,;";

/// How many columns are looked at.
const COLUMNS: usize = 16;

/// How many lines are looked at.
const LINES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Option<Vec<(String, String)>> {
        let urls = Urls::detect(list.as_bytes())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let lines = list
            .lines()
            .filter_map(|line| urls.read(line.as_bytes()).ok().map(|line| (text(line.host), text(line.target))));
        Some(lines.collect())
    }

    #[test]
    fn lists_of_many_kinds() {
        let want =
            |host: &str| Some(vec![(host.to_owned(), "/a,b.htm?x=1".to_owned()), (host.to_owned(), "/".to_owned())]);
        for list in [
            "http://old.example/a,b.htm?x=1\nhttps://old.example\n",
            "old.example/a,b.htm?x=1\r\nold.example/\r\n",
            "# a list\n\n  12 http://old.example/a,b.htm?x=1\n   3 http://old.example/\n",
            "url\nold.example/a,b.htm?x=1\nold.example/\n",
            "hits,url,status\n3,\"http://old.example/a,b.htm?x=1\",200\n4,http://old.example/,404\n",
            "网址\t标题\nhttp://old.example/a,b.htm?x=1\t甲\nhttp://old.example/\t乙\n",
            "http://old.example/a,b.htm?x=1\t200\nhttp://old.example/\t404\n",
            "\"http://old.example/a,b.htm?x=1\",\"甲\"\n\"http://old.example/\",\"乙\"\n",
        ] {
            assert_eq!(read(list), want("old.example"), "{list}");
        }
        assert_eq!(read("/a,b.htm?x=1\n/\n"), want(""));
        let host = "青山县.example:8080";
        assert_eq!(read(&format!("http://{host}/a,b.htm?x=1\n{host}/\n")), want(host));
    }

    #[test]
    fn what_is_no_list() {
        for text in
            ["", "a line\nof something else\n", "what\nis\nthis\n", "{\"a\": 1}\n", "1,2,3\n4,5,6\n", "http://\n"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
