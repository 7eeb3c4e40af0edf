//! Bytes of a page → what is read on it.

use encoding_rs::{Encoding, GB18030, UTF_8};

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Its title, decoded, with single spaces; at most 300 characters.
    pub title: Option<String>,
    /// Its visible text, with single spaces; at most 64 KiB.
    pub text: String,
    /// How many characters of the title were written as numbers (`&#35013;`), where the charset could have had them.
    pub encoded_title: usize,
    /// What `<meta name="keywords">` and `"description"` say.
    pub meta: String,
    /// Where `<meta http-equiv="refresh">` leads, as written, and after how many seconds.
    pub refresh: Option<(u32, String)>,
    /// Its scripts, those in the page; at most 64 KiB.
    pub scripts: String,
}

impl Document {
    /// Reads a page, or the beginning of one. Of what is no text, nothing.
    pub fn read(body: &[u8], content_type: &str) -> Self {
        if body.iter().take(512).any(|&b| b == 0) {
            return Document::default();
        }
        Scanner { text: &decode(body, content_type), out: Document::default() }.run()
    }
}

/// The title of a page, if it has one.
pub fn title(body: &[u8], content_type: &str) -> Option<String> {
    Document::read(body, content_type).title
}

/// A text in the charset that a byte order mark, the header or the page itself names, else in UTF-8 if it is that, else in
/// GB18030.
pub fn decode(body: &[u8], content_type: &str) -> String {
    let named = || charset(content_type.as_bytes()).or_else(|| charset(&body[..body.len().min(HEAD)]));
    let encoding = match Encoding::for_bom(body) {
        Some((encoding, _)) => encoding,
        None => named().unwrap_or_else(|| if is_utf8(body) { UTF_8 } else { GB18030 }),
    };
    let text = encoding.decode(body).0;
    if encoding == UTF_8 && !is_utf8(body) {
        // Pages that were moved keep what they said of themselves before.
        let other = GB18030.decode(body).0;
        let broken = |text: &str| text.matches(char::REPLACEMENT_CHARACTER).count();
        if broken(&other) < broken(&text) {
            return other.into_owned();
        }
    }
    text.into_owned()
}

/// Whether it is UTF-8; the last character may be cut.
fn is_utf8(body: &[u8]) -> bool {
    match std::str::from_utf8(body) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// The encoding behind the first `charset=`.
fn charset(text: &[u8]) -> Option<&'static Encoding> {
    let text = text.to_ascii_lowercase();
    let at = memchr::memmem::find(&text, b"charset=")? + b"charset=".len();
    let rest = text[at..].trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
    let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_:.".contains(b))).unwrap_or(rest.len());
    let found = Encoding::for_label(&rest[..end])?;
    Some(if found == encoding_rs::GBK { GB18030 } else { found })
}

struct Scanner<'a> {
    text: &'a str,
    out: Document,
}

impl Scanner<'_> {
    /// Goes over the tags once. Elements whose content is no text are jumped over.
    fn run(mut self) -> Document {
        let text = self.text;
        let mut at = 0;
        while let Some(open) = memchr::memchr(b'<', &text.as_bytes()[at..]).map(|found| at + found) {
            self.say(&text[at..open]);
            let rest = &text[open..];
            at = open
                + if let Some(comment) = rest.strip_prefix("<!--") {
                    comment.find("-->").map_or(rest.len(), |end| end + 7)
                } else if rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
                    self.tag(rest)
                } else {
                    self.say("<");
                    1
                };
        }
        self.say(&text[at..]);
        self.out
    }

    /// Takes in a tag and, where it is not text, what is in the element. How long that is.
    fn tag(&mut self, rest: &str) -> usize {
        let length = tag_length(rest);
        let tag = &rest[..length];
        let name_end = tag[1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(length, |end| end + 1);
        let name = tag[1..name_end].to_ascii_lowercase();
        match name.as_str() {
            "title" | "script" | "style" | "textarea" => {
                let inner = &rest[length..];
                let end = find_end(inner, &name).unwrap_or(inner.len());
                let inner = &inner[..end];
                if name == "title" && self.out.title.is_none() {
                    let (text, encoded) = entities(inner);
                    self.out.encoded_title = encoded;
                    self.out.title = Some(squeeze(&text, LONGEST_TITLE)).filter(|title| !title.is_empty());
                } else if name == "script" {
                    push(&mut self.out.scripts, inner);
                }
                length + end
            }
            "meta" => {
                self.meta(tag);
                length
            }
            _ => {
                self.say(" ");
                length
            }
        }
    }

    fn meta(&mut self, tag: &str) {
        let content = attribute(tag, "content").unwrap_or_default();
        if attribute(tag, "http-equiv").is_some_and(|value| value.eq_ignore_ascii_case("refresh")) {
            let (seconds, rest) = content.split_once([';', ',']).unwrap_or((&content, ""));
            let rest = rest.trim();
            let url = match rest.get(..4) {
                Some(start) if start.eq_ignore_ascii_case("url=") => rest[4..].trim().trim_matches(['"', '\'']),
                _ => rest,
            };
            let seconds: f64 = seconds.trim().parse().unwrap_or(0.0);
            if !url.is_empty() && self.out.refresh.is_none() {
                self.out.refresh = Some((seconds as u32, url.to_owned()));
            }
        }
        let name = attribute(tag, "name").unwrap_or_default().to_ascii_lowercase();
        if matches!(name.as_str(), "keywords" | "description") {
            push(&mut self.out.meta, " ");
            push(&mut self.out.meta, &content);
        }
    }

    fn say(&mut self, text: &str) {
        if self.out.text.len() >= LONGEST_TEXT {
            return;
        }
        let (text, _) = entities(text);
        for word in text.split_whitespace() {
            if !self.out.text.is_empty() && !self.out.text.ends_with(' ') {
                self.out.text.push(' ');
            }
            push(&mut self.out.text, word);
        }
    }
}

/// Appends, up to the longest text.
fn push(to: &mut String, text: &str) {
    let room = LONGEST_TEXT.saturating_sub(to.len());
    to.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
}

/// Length of a tag, its `>` included; quotes hide it.
fn tag_length(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') if text[..at].trim_ascii_end().ends_with('=') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        if at >= LONGEST_TAG {
            break;
        }
    }
    // A quote that never ends hides nothing.
    text.find('>').map_or(text.len(), |at| at + 1)
}

/// Where `</name` stands.
fn find_end(text: &str, name: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr::memmem::find_iter(bytes, b"</").find(|&at| {
        let rest = &bytes[at + 2..];
        rest.len() >= name.len() && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })
}

/// The value of an attribute of a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    for (at, _) in lower.match_indices(name) {
        let before = lower[..at].chars().next_back()?;
        let rest = tag[at + name.len()..].trim_start();
        if !(before.is_whitespace() || matches!(before, '"' | '\'' | '/')) || !rest.starts_with('=') {
            continue;
        }
        let rest = rest[1..].trim_start();
        let value = match rest.chars().next()? {
            quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
            _ => rest.split([' ', '\t', '\r', '\n', '>']).next()?,
        };
        return Some(entities(value).0);
    }
    None
}

/// Decodes numeric character references, and those names that pages are full of. Says how many ideographs were numbers.
fn entities(text: &str) -> (String, usize) {
    if !text.contains('&') {
        return (text.to_owned(), 0);
    }
    let (mut out, mut encoded) = (String::with_capacity(text.len()), 0);
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let body = &rest[1..];
        let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '#')).unwrap_or(body.len());
        let name = &body[..end];
        let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        });
        let c = match (number, name) {
            (Some(number), _) => char::from_u32(number).filter(|c| *c != '\0'),
            (None, "amp") => Some('&'),
            (None, "lt") => Some('<'),
            (None, "gt") => Some('>'),
            (None, "quot") => Some('"'),
            (None, "nbsp" | "emsp" | "ensp") => Some(' '),
            (None, "ldquo") => Some('“'),
            (None, "rdquo") => Some('”'),
            (None, "middot") => Some('·'),
            (None, "mdash") => Some('—'),
            _ => None,
        };
        let Some(c) = c else {
            out.push('&');
            rest = body;
            continue;
        };
        out.push(c);
        encoded += usize::from(number.is_some_and(|number| number >= 0x2E80));
        rest = &body[end..];
        rest = rest.strip_prefix(';').unwrap_or(rest);
    }
    out.push_str(rest);
    (out, encoded)
}

/// With single spaces, and no longer than so many characters.
fn squeeze(text: &str, longest: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(longest).collect()
}

/// Bytes in which a page says its charset.
const HEAD: usize = 4096;

/// Characters of a title.
pub const LONGEST_TITLE: usize = 300;

/// Bytes of text.
pub const LONGEST_TEXT: usize = 64 << 10;

/// Bytes of a tag in which quotes count.
const LONGEST_TAG: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets() {
        let gbk = |text: &str| GB18030.encode(text).0.into_owned();
        let page = |head: &str| gbk(&format!("<html><head>{head}<title>青山县 教育局</title>"));
        for (body, content_type) in [
            (page(""), "text/html; charset=GBK"),
            (page("<meta charset=gb2312>"), "text/html"),
            (page("<META http-equiv=Content-Type content='text/html; charset=GB18030'>"), ""),
            (page(""), "text/html"),
            (page("<meta charset=utf-8>"), "text/html"),
            ("\u{feff}<title>青山县 教育局</title>".into(), "text/html; charset=gbk"),
            ("<title>青山县 教育局</title>".into(), ""),
            ("<title>青山县 教育局</title>青".as_bytes()[.."<title>青山县 教育局</title>青".len() - 1].to_vec(), ""),
        ] {
            assert_eq!(title(&body, content_type).as_deref(), Some("青山县 教育局"), "{content_type}");
        }
    }

    #[test]
    fn documents() {
        let page = "<!DOCTYPE html><!-- <title>no</title> --><script>document.write('<title>no</title>')</script>\
            <meta name=keywords content=\"教育,局\"><META HTTP-EQUIV='Refresh' CONTENT=\"3; URL='/new/'\">\
            <title lang=\"a>b\">\n &#x9752;&#23665;&amp;县 \n</title><style>p{}</style><p>一 &lt; 二&nbsp;三</p>4 < 5<b>六</b>";
        let document = Document::read(page.as_bytes(), "");
        assert_eq!(document.title.as_deref(), Some("青山&县"));
        assert_eq!(document.encoded_title, 2);
        assert_eq!(document.refresh, Some((3, "/new/".to_owned())));
        assert_eq!(document.meta.trim(), "教育,局");
        assert!(document.scripts.contains("document.write"));
        assert_eq!(document.text, "一 < 二 三 4 < 5 六");
    }

    #[test]
    fn nothing_is_too_odd() {
        for page in [
            "<",
            "<a",
            "<title>",
            "<title",
            "<!--",
            "</",
            "<meta content=",
            "<meta content='",
            "&#99999999999;&#0;&",
            "<a b=\"",
            "<!",
            "<script><title>x",
        ] {
            let _ = Document::read(page.as_bytes(), "");
        }
        assert_eq!(Document::read(b"%PDF\0<title>x</title>", ""), Document::default());
        let long = format!("<title>{}</title>{}", "青".repeat(10_000), "山 ".repeat(100_000));
        let document = Document::read(long.as_bytes(), "");
        assert_eq!(document.title.unwrap().chars().count(), LONGEST_TITLE);
        assert!(document.text.len() <= LONGEST_TEXT + 4);
        // What would take for ever if each of them were looked through to the end.
        for part in ["<!--", "<script>", "<a b=\"", "<title>", "&", "<"] {
            Document::read(part.repeat((256 << 10) / part.len()).as_bytes(), "");
        }
    }
}
