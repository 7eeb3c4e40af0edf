//! `sitemap.xml`: the redirects of a site, so that search engines come and learn the new addresses.
//!
//! A file holds at most 50,000 URLs and 50 MB (sitemaps.org); a larger table is split, and `sitemap.xml` is then the
//! index of `/sitemap-1.xml`, `/sitemap-2.xml` and so on. Where a part ends depends only on the table, so parts that are
//! fetched one after the other fit together as long as the table is the same.

use std::fmt::Write;

use crate::model::Verdict;
use crate::routing::{Decision, HitAction, SiteTable};
use crate::url::{Charset, to_wire};

/// What one file may hold.
#[derive(Clone, Copy, Debug)]
struct Limits {
    urls: usize,
    bytes: usize,
}

/// By sitemaps.org; with room for the frame of the file.
const LIMITS: Limits = Limits { urls: 50_000, bytes: 50_000_000 - 1_000 };

/// Longest URL of a sitemap, in characters (sitemaps.org); longer ones are left out.
const MAX_URL: usize = 2_047;

/// Mappings up to which a sitemap is written while other requests of the thread wait: well under a millisecond.
const LARGE: usize = 2_000;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const SCHEMA: &str = "xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\"";

/// Whether the answer is a sitemap that is worth a thread of its own.
pub fn is_large(decision: &Decision<'_>) -> bool {
    matches!(decision.verdict, Verdict::Sitemap(_))
        && decision.site.is_some_and(|(_, site)| site.mappings.len() > LARGE)
}

/// `sitemap.xml` (`None`), or part n of it, counted from 1; `None` if there is no such part.
pub fn render(site: &SiteTable, host: &str, secure: bool, part: Option<u32>) -> Option<String> {
    let keys = || {
        let redirects = site.mappings.iter().filter(|(.., action)| matches!(action, HitAction::Redirect { .. }));
        redirects.map(|(key, ..)| key)
    };
    let base = format!("{}://{host}", if secure { "https" } else { "http" });
    file(keys, &base, site.canonicalizer.settings().charset, part, LIMITS)
}

fn file<'k, I>(keys: impl Fn() -> I, base: &str, charset: Charset, part: Option<u32>, limits: Limits) -> Option<String>
where
    I: Iterator<Item = &'k str>,
{
    let numbered = || numbered(keys(), base.len(), limits);
    let parts = numbered().last().map_or(1, |(number, _)| number);
    match part {
        None if parts > 1 => Some(index(base, parts)),
        Some(number) if number == 0 || number > parts => None,
        _ => {
            let wanted = part.unwrap_or(1);
            let keys =
                numbered().skip_while(|(number, _)| *number < wanted).take_while(|(number, _)| *number == wanted);
            Some(urls(keys.map(|(_, key)| key), base, charset))
        }
    }
}

/// Each key with the number of its part, by the most that it can take.
fn numbered<'k>(
    keys: impl Iterator<Item = &'k str>,
    base: usize,
    limits: Limits,
) -> impl Iterator<Item = (u32, &'k str)> {
    let (mut part, mut urls, mut bytes) = (1, 0, 0);
    keys.map(move |key| {
        // One byte becomes at most six: `'` as an entity, or half a character that is four bytes in GB18030. Measuring
        // exactly would mean writing all parts for each.
        let most = "<url><loc></loc></url>\n".len() + base + 6 * key.len();
        if urls == limits.urls || (urls > 0 && bytes + most > limits.bytes) {
            (part, urls, bytes) = (part + 1, 0, 0);
        }
        urls += 1;
        bytes += most;
        (part, key)
    })
}

fn index(base: &str, parts: u32) -> String {
    let mut out = format!("{HEAD}<sitemapindex {SCHEMA}>\n");
    for part in 1..=parts {
        // Writing to a String can't fail.
        let _ = writeln!(out, "<sitemap><loc>{base}/sitemap-{part}.xml</loc></sitemap>");
    }
    out + "</sitemapindex>\n"
}

fn urls<'k>(keys: impl Iterator<Item = &'k str>, base: &str, charset: Charset) -> String {
    let mut out = format!("{HEAD}<urlset {SCHEMA}>\n");
    for key in keys {
        let path = to_wire(key, charset);
        if base.len() + path.len() > MAX_URL {
            continue;
        }
        out.push_str("<url><loc>");
        out.push_str(base);
        for c in path.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&apos;"),
                c => out.push(c),
            }
        }
        out.push_str("</loc></url>\n");
    }
    out + "</urlset>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://old.example";

    fn get(keys: &[String], part: Option<u32>, limits: Limits) -> Option<String> {
        file(|| keys.iter().map(String::as_str), BASE, Charset::Utf8, part, limits)
    }

    fn locations(xml: &str) -> Vec<&str> {
        xml.split("<loc>").skip(1).map(|rest| rest.split("</loc>").next().unwrap()).collect()
    }

    #[test]
    fn parts_hold_every_url_once_within_the_limits() {
        let keys: Vec<String> = (0..1000).map(|n| format!("/page/{n}")).collect();
        for limits in [
            Limits { urls: 1, bytes: 1 << 20 },
            Limits { urls: 999, bytes: 1 << 20 },
            Limits { urls: 5_000, bytes: 3_000 },
        ] {
            let index = get(&keys, None, limits).unwrap();
            assert!(index.contains("<sitemapindex "), "{index}");
            let parts = locations(&index).len() as u32;
            let mut all = Vec::new();
            for part in 1..=parts {
                let name = format!("{BASE}/sitemap-{part}.xml");
                assert_eq!(locations(&index)[part as usize - 1], name);
                let file = get(&keys, Some(part), limits).unwrap();
                let found = locations(&file);
                assert!(!found.is_empty() && found.len() <= limits.urls && file.len() < limits.bytes + 1_000);
                all.extend(found.into_iter().map(str::to_owned));
            }
            assert_eq!(all, keys.iter().map(|key| format!("{BASE}{key}")).collect::<Vec<_>>());
            assert_eq!(get(&keys, Some(0), limits), None);
            assert_eq!(get(&keys, Some(parts + 1), limits), None);
        }
    }

    #[test]
    fn a_small_table_is_one_file() {
        let keys: Vec<String> = (0..50).map(|n| format!("/page/{n}")).collect();
        let limits = Limits { urls: 50, bytes: 1 << 20 };
        let whole = get(&keys, None, limits).unwrap();
        assert!(whole.contains("<urlset ") && locations(&whole).len() == 50);
        assert_eq!(get(&keys, Some(1), limits), Some(whole));
        assert_eq!(get(&keys, Some(2), limits), None);
        let empty = get(&[], None, limits).unwrap();
        assert!(empty.contains("<urlset ") && locations(&empty).is_empty());
    }

    #[test]
    fn urls_are_escaped_twice_and_the_endless_are_left_out() {
        let keys = ["/a?x=1&y='2'".to_owned(), "/新闻".to_owned(), format!("/{}", "a".repeat(3_000))];
        let file = get(&keys, None, LIMITS).unwrap();
        assert_eq!(
            locations(&file),
            ["http://old.example/a?x=1&amp;y=&apos;2&apos;", "http://old.example/%E6%96%B0%E9%97%BB"]
        );
    }
}
