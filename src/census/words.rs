//! What people write into cells: full-width characters, yes and no in many forms, several hosts in a cell, dates.

use jiff::civil::Date;

use crate::model::{Disposition, HostPattern};

/// A text without blanks around it, with half-width letters, digits and signs.
pub(super) fn plain(text: &str) -> String {
    let half = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' | '\u{a0}' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{feff}' => ' ',
        c => c,
    };
    text.chars().map(half).collect::<String>().trim().to_owned()
}

/// A heading as it is compared: nothing but its letters, digits and signs, small; what stands in brackets is a remark.
pub(super) fn heading(text: &str) -> String {
    let mut depth = 0_usize;
    let mut out = String::new();
    for c in plain(text).to_lowercase().chars() {
        match c {
            '(' | '[' | '【' | '〔' => depth += 1,
            ')' | ']' | '】' | '〕' => depth = depth.saturating_sub(1),
            '*' | ':' | '、' | '/' | '.' | '-' | '_' => {}
            c if depth > 0 || c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// What a cell of a list of yes and no says; `None` if neither.
pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    match plain(text).to_lowercase().as_str() {
        "是" | "√" | "✓" | "✔" | "y" | "yes" | "1" | "true" | "有" | "对" => Some(true),
        "" | "否" | "×" | "✗" | "x" | "n" | "no" | "0" | "false" | "无" | "-" | "—" | "/" => Some(false),
        _ => None,
    }
}

/// What is to be done with a site, in the words of a sheet (or of its name); `None` if they don't say.
///
/// # Errors
/// When they say two things.
pub(super) fn disposition(text: &str) -> Result<Option<Disposition>, ()> {
    let text = heading(text).replace("不关停", "保留").replace("不保留", "关停").replace("不再保留", "关停");
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let exempt = says(&["例外", "豁免", "exempt"]);
    let keep = says(&["保留", "存续", "keep", "kept"]);
    let close = says(&["关停", "关闭", "并入", "整合", "归并", "迁移", "撤销", "撤并", "下线", "注销", "close"]);
    match (exempt, keep, close) {
        // What may stay by exception is often said to be kept.
        (true, _, false) => Ok(Some(Disposition::Exempt)),
        (false, true, false) => Ok(Some(Disposition::Keep)),
        (false, false, true) => Ok(Some(Disposition::Close)),
        (false, false, false) => Ok(None),
        _ => Err(()),
    }
}

/// What a cell names: hosts, each with what was written and what is left of its path.
pub(super) struct Named {
    /// As it was written.
    pub written: String,
    /// The host, or why it is none.
    pub host: Result<HostPattern, String>,
    /// Its path, where that leads to more than the home page.
    pub path: Option<String>,
}

/// The hosts that a cell names.
pub(super) fn hosts(text: &str) -> Vec<Named> {
    let text = plain(text);
    let words = text.split(['、', ',', ';', '\n', '，', '；', '|']).flat_map(|part| {
        // A blank within a name is a slip, before another name it separates.
        let words: Vec<&str> = part.split_whitespace().collect();
        if words.len() > 1 && words.iter().all(|word| word.contains('.')) { words } else { vec![part.trim()] }
    });
    words.filter(|word| !word.is_empty() && !matches!(*word, "无" | "-" | "—" | "/")).map(host).collect()
}

fn host(written: &str) -> Named {
    let lower = written.to_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest).trim_start_matches('/');
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_home = |path: &str| {
        let page = path.trim_start_matches('/');
        page.is_empty()
            || ["index.", "default.", "main."].iter().any(|name| page.starts_with(name)) && !page.contains('/')
    };
    Named { written: written.to_owned(), host: parse(authority), path: (!is_home(path)).then(|| path.to_owned()) }
}

fn parse(authority: &str) -> Result<HostPattern, String> {
    if authority.contains('@') {
        return Err("it is an address of mail, not of a site".to_owned());
    }
    let pattern = HostPattern::parse(authority).map_err(|error| error.to_string())?;
    let (HostPattern::Exact(name) | HostPattern::Below(name)) = &pattern;
    let name = name.as_str();
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Ok(pattern);
    }
    if !name.contains('.') {
        return Err("a name without a dot is no domain".to_owned());
    }
    if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err("no label of a domain begins or ends with `-`".to_owned());
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("it is neither a domain nor an IP address".to_owned());
    }
    if psl::domain(name.as_bytes()).is_none() {
        return Err("names below it belong to many: it is nobody's domain".to_owned());
    }
    Ok(pattern)
}

/// A date as sheets have it: 2026-03-01, 2026/3/1, 2026.3.1, 2026年3月1日, 20260301; `None` if it is none.
pub(super) fn date(text: &str) -> Option<Date> {
    let text = plain(text);
    let text = text.split_whitespace().next().unwrap_or_default();
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Date::strptime("%Y%m%d", text).ok();
    }
    let numbers: Vec<&str> = text.trim_end_matches('日').split(['-', '/', '.', '年', '月']).collect();
    let [year, month, day] = numbers.as_slice() else { return None };
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() <= 2 && !text.starts_with('+'));
    let year = year.parse::<i16>().ok().filter(|year| (1990..=2200).contains(year))?;
    Date::new(year, number(month)?, number(day)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_of(text: &str) -> Vec<String> {
        hosts(text)
            .into_iter()
            .map(|named| named.host.map_or_else(|why| format!("! {why}"), |host| host.to_string()))
            .collect()
    }

    #[test]
    fn hosts_as_people_write_them() {
        for (text, wanted) in [
            ("http://JYJ.qingshan.example/", &["jyj.qingshan.example"][..]),
            ("ｗｗｗ．ａ．ｅｘａｍｐｌｅ", &["www.a.example"]),
            ("https://a.example:8080/index.html；b.example.", &["a.example", "b.example"]),
            ("a.example、www.a.example\nm.a.example", &["a.example", "www.a.example", "m.a.example"]),
            ("a.example b.example", &["a.example", "b.example"]),
            ("10.1.2.3:8081", &["10.1.2.3"]),
            ("教育局.青山.政务", &["xn--dgtp5sd2w.xn--rht138k.xn--zfr164b"]),
            ("无", &[]),
        ] {
            assert_eq!(hosts_of(text), wanted, "{text}");
        }
        for bad in [
            "jyj",
            "jyj qingshan.example",
            "info@qingshan.example",
            "jyj,qingshan",
            "a..example",
            "gov.cn",
            "1.2.3",
            "-a.example",
            "建设中",
        ] {
            assert!(hosts_of(bad).iter().any(|host| host.starts_with('!')), "{bad}: {:?}", hosts_of(bad));
        }
        let path = |text| hosts(text).remove(0).path;
        assert_eq!(path("http://a.example/jyj/"), Some("/jyj/".to_owned()));
        assert_eq!(path("http://a.example/Index.ASP"), None);
    }

    #[test]
    fn words() {
        for (text, wanted) in [
            ("保 留", Ok(Some(Disposition::Keep))),
            ("关停并入县政府门户", Ok(Some(Disposition::Close))),
            ("保留（例外）", Ok(Some(Disposition::Keep))),
            ("例外保留", Ok(Some(Disposition::Exempt))),
            ("不保留", Ok(Some(Disposition::Close))),
            ("保留/关停", Err(())),
            ("待定", Ok(None)),
        ] {
            assert_eq!(disposition(text), wanted, "{text}");
        }
        assert_eq!((yes_or_no(" √"), yes_or_no("否"), yes_or_no("也许")), (Some(true), Some(false), None));
        assert_eq!(heading(" *网站名称\n(必填)："), "网站名称");
    }

    #[test]
    fn dates() {
        for text in ["2026-03-01", "2026/3/1", "2026.3.1", "2026年3月1日", "20260301", "２０２６-03-01 08:00:00"]
        {
            assert_eq!(date(text).map(|date| date.to_string()).as_deref(), Some("2026-03-01"), "{text}");
        }
        for bad in ["", "2026年3月", "3月1日", "2026-02-30", "待定", "45000"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
