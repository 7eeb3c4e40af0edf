//! Sitemaps: `<urlset>`, `<sitemapindex>`, feeds, and plain lists of URLs.

use quick_xml::{Reader, XmlVersion, events::Event};

use super::{SourceError, text};
use crate::suggest::{Day, Page};

/// What a sitemap lists.
#[derive(Clone, Debug, Default)]
pub struct Sitemap {
    /// Pages; titles and days where it is one for news, or a feed.
    pub pages: Vec<Page>,
    /// Further sitemaps.
    pub maps: Vec<String>,
}

/// Reads a sitemap, packed by gzip or not.
///
/// # Errors
/// If it is none, or too large.
pub fn sitemap(bytes: &[u8]) -> Result<Sitemap, SourceError> {
    let text = text(bytes)?;
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if start.starts_with('<') { xml(start) } else { list(start) }
}

fn list(text: &str) -> Result<Sitemap, SourceError> {
    let mut map = Sitemap::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !is_url(line) {
            let shown: String = line.chars().take(80).collect();
            return Err(SourceError::NoSitemap(format!("`{shown}` is no URL")));
        }
        map.pages.push(Page { url: line.to_owned(), ..Page::default() });
    }
    Ok(map)
}

/// What the text of an element says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Address,
    Title,
    Day,
}

fn xml(text: &str) -> Result<Sitemap, SourceError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    let mut map = Sitemap::default();
    let (mut page, mut field, mut value) = (Page::default(), None, String::new());
    let mut has_root = false;
    loop {
        let event = reader.read_event().map_err(|error| {
            let (line, _) = place(text, reader.error_position() as usize);
            SourceError::NoSitemap(format!("line {line}: {error}"))
        })?;
        match event {
            Event::Start(start) => {
                let name = start.name();
                let name: &str = name.as_ref();
                match name.to_ascii_lowercase().as_str() {
                    "html" => return Err(SourceError::NoSitemap("it is a page of HTML".to_owned())),
                    "urlset" | "sitemapindex" | "rss" | "feed" | "rdf:rdf" => has_root = true,
                    "url" | "sitemap" | "item" | "entry" => page = Page::default(),
                    _ => {}
                }
                value.clear();
                field = field_of(name);
            }
            Event::Empty(start) if start.name().as_ref() == "link" => {
                // Atom's links are attributes.
                let href = start.try_get_attribute("href").ok().flatten();
                let href = href.and_then(|href| href.normalized_value(XmlVersion::Implicit1_0).ok());
                if let Some(href) = href.filter(|_| page.url.is_empty()) {
                    page.url = href.trim().to_owned();
                }
            }
            Event::Text(text) if field.is_some() => push(&mut value, &text),
            Event::CData(text) if field.is_some() => push(&mut value, &text),
            Event::GeneralRef(entity) if field.is_some() => {
                let known = quick_xml::escape::resolve_predefined_entity(&entity).map(str::to_owned);
                let known = known.or_else(|| entity.resolve_char_ref().ok().flatten().map(String::from));
                push(&mut value, known.as_deref().unwrap_or_default());
            }
            Event::End(end) => {
                let text = value.trim();
                match field.take() {
                    Some(Field::Address) if page.url.is_empty() => page.url = text.to_owned(),
                    Some(Field::Title) if !text.is_empty() => page.title = Some(text.to_owned()),
                    Some(Field::Day) => page.day = Day::parse(text),
                    _ => {}
                }
                value.clear();
                let name = end.name();
                let name: &str = name.as_ref();
                let whole = std::mem::take(&mut page);
                match name.rsplit(':').next().unwrap_or(name) {
                    "url" | "item" | "entry" if is_url(&whole.url) => map.pages.push(whole),
                    "sitemap" if is_url(&whole.url) => map.maps.push(whole.url),
                    _ => page = whole,
                }
            }
            Event::Eof if has_root => return Ok(map),
            Event::Eof => return Err(SourceError::NoSitemap("it has neither <urlset> nor <sitemapindex>".to_owned())),
            _ => {}
        }
    }
}

fn field_of(name: &str) -> Option<Field> {
    let (prefix, local) = name.rsplit_once(':').unwrap_or(("", name));
    // `<image:loc>` is a picture of the page.
    match local {
        "loc" if !matches!(prefix, "image" | "video") => Some(Field::Address),
        "link" if prefix.is_empty() => Some(Field::Address),
        "title" if !matches!(prefix, "image" | "video" | "media") => Some(Field::Title),
        "publication_date" | "published" if prefix != "video" => Some(Field::Day),
        _ => None,
    }
}

fn push(value: &mut String, text: &str) {
    if value.len() + text.len() <= MOST_TEXT {
        value.push_str(text);
    }
}

fn is_url(text: &str) -> bool {
    crate::model::Target::parse(text).is_ok()
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    (line, before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1))
}

/// Longest text of an element, in bytes: as long as an address may be.
const MOST_TEXT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sitemaps_of_all_kinds() {
        let news = "<?xml version=\"1.0\"?><urlset xmlns=\"x\"><url><loc> https://a.example/?a=1&amp;b=2 </loc>\
            <image:image><image:loc>https://a.example/p.png</image:loc><image:title>p</image:title></image:image><news:news>\
            <news:publication><news:name>n</news:name></news:publication>\
            <news:publication_date>2018-10-26T08:00:00+08:00</news:publication_date><news:title><![CDATA[科普&]]>&#x77E5;</news:title>\
            </news:news></url><url><loc>javascript:alert(1)</loc></url></urlset>";
        let map = sitemap(news.as_bytes()).unwrap();
        assert_eq!(map.pages.len(), 1);
        let page = &map.pages[0];
        assert_eq!(
            (page.url.as_str(), page.title.as_deref(), page.day),
            ("https://a.example/?a=1&b=2", Some("科普&知"), Some(Day { year: 2018, month: 10, day: 26 }))
        );
        let index = "<sitemapindex><sitemap><loc>https://a.example/1.xml.gz</loc></sitemap></sitemapindex>";
        assert_eq!(sitemap(index.as_bytes()).unwrap().maps, ["https://a.example/1.xml.gz"]);
        let rss = "<rss><channel><link>https://a.example/</link><item><title>T</title><link>https://a.example/1</link></item></channel></rss>";
        let pages = sitemap(rss.as_bytes()).unwrap().pages;
        assert_eq!(pages.len(), 1);
        assert_eq!((pages[0].url.as_str(), pages[0].title.as_deref()), ("https://a.example/1", Some("T")));
        let atom = "<feed><entry><title>T</title><link href=\"https://a.example/2\"/></entry></feed>";
        assert_eq!(sitemap(atom.as_bytes()).unwrap().pages[0].url, "https://a.example/2");
        let (gbk, ..) = encoding_rs::GB18030.encode("<urlset><url><loc>https://a.example/科</loc></url></urlset>");
        assert_eq!(sitemap(&gbk).unwrap().pages[0].url, "https://a.example/科");
        assert_eq!(sitemap(b"https://a.example/1\r\nhttps://a.example/2\r\n").unwrap().pages.len(), 2);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "<html></html>",
            "hello",
            "<a",
            "<urlset><url></url>&&&",
            "<x/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><d>&b;</d>",
        ] {
            let _ = sitemap(text.as_bytes());
        }
        assert!(matches!(sitemap(b"<html></html>"), Err(SourceError::NoSitemap(_))));
        assert!(matches!(sitemap(b"<x></x>"), Err(SourceError::NoSitemap(_))));
        let deep = "<urlset>".to_owned() + &"<a>".repeat(500_000);
        assert!(sitemap(deep.as_bytes()).is_ok());
    }
}
