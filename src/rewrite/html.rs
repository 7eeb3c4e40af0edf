//! Links in HTML: attributes, style sheets inside the page, refreshes.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encoding_rs::WINDOWS_1252;
use lol_html::errors::RewritingError;
use lol_html::html_content::TextChunk;
use lol_html::send::{Element, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{AsciiCompatibleEncoding, MemorySettings, OutputSink};

use super::charset::Charset;
use super::css::Css;
use super::links::{Edit, Links};
use super::spelled::Spelled;
use super::splice::Splice;
use super::values;

/// Rewrites a page that comes in pieces.
///
/// lol_html only says where things stand: it is told that the page is windows-1252, in which every byte is a character
/// and every byte comes back, and it never changes anything. The edits are spliced into the bytes by their places. So a
/// page in any superset of ASCII stays byte for byte, quotes and blanks inside tags and bytes that are no text
/// included.
pub(super) struct Html {
    /// `None` once the page proved too much for it: the rest goes through as it is.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    page: Arc<Mutex<Page>>,
    /// Input that waits while the parser is inside a large tag, so that it does not read the tag anew for each chunk.
    gathered: Vec<u8>,
    fed: usize,
    gave_up: bool,
}

/// What the parser's handlers and its sink share. Nobody else ever has it locked: they are called in turn.
struct Page {
    links: Links,
    css: Css,
    splice: Splice,
    value: Spelled,
    has_base: bool,
    out: Vec<u8>,
}

struct Sink(Arc<Mutex<Page>>);

impl OutputSink for Sink {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        let page = &mut *lock(&self.0);
        page.splice.write(chunk, &mut page.out);
    }
}

impl Html {
    pub(super) fn new(links: Links, charset: Charset) -> Self {
        let page = Arc::new(Mutex::new(Page {
            links,
            css: Css::new(charset),
            splice: Splice::default(),
            value: Spelled::default(),
            has_base: false,
            out: Vec::new(),
        }));
        let (elements, texts) = (Arc::clone(&page), Arc::clone(&page));
        let settings = Settings::new_send()
            .with_encoding(AsciiCompatibleEncoding::new(WINDOWS_1252).unwrap_or_else(AsciiCompatibleEncoding::utf_8))
            .with_strict(false)
            .with_memory_settings(
                MemorySettings::new()
                    .with_max_allowed_memory_usage(MAX_PARSER_MEMORY)
                    .with_graceful_bail_out_on_memory_limit_exceeded(true),
            )
            .append_element_content_handler((
                std::borrow::Cow::Owned("*".parse().expect("a selector")),
                ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
                    lock(&elements).element(element);
                    Ok(())
                }),
            ))
            .append_element_content_handler((
                std::borrow::Cow::Owned("style".parse().expect("a selector")),
                ElementContentHandlers::default().text(move |text: &mut TextChunk<'_>| {
                    lock(&texts).style_text(text);
                    Ok(())
                }),
            ));
        let rewriter = Some(HtmlRewriter::new(settings, Sink(Arc::clone(&page))));
        Html { rewriter, page, gathered: Vec::new(), fed: 0, gave_up: false }
    }

    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let backlog = self.fed - lock(&self.page).splice.seen();
        if backlog < LARGE_TAG {
            self.feed(bytes, out);
        } else {
            self.gathered.extend_from_slice(bytes);
            // Each time half as much again: what is read anew stays proportional to the tag.
            if self.gathered.len() >= backlog / 2 {
                let gathered = std::mem::take(&mut self.gathered);
                self.feed(&gathered, out);
            }
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let gathered = std::mem::take(&mut self.gathered);
        self.feed(&gathered, out);
        if let Some(rewriter) = self.rewriter.take() {
            self.with_out(out, |_| rewriter.end());
        }
        lock(&self.page).splice.end(out);
    }

    /// Whether the page proved too much, so that the rest of it went through as it is.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.fed += bytes.len();
        match self.rewriter.take() {
            Some(mut rewriter) => {
                self.with_out(out, |_| rewriter.write(bytes));
                self.rewriter = Some(rewriter).filter(|_| !self.gave_up);
            }
            None => lock(&self.page).splice.write(bytes, out),
        }
    }

    /// Runs the parser with `out` as its output. The only error that can come says that the page needs too much memory;
    /// then the parser has handed over all that it was given.
    fn with_out(&mut self, out: &mut Vec<u8>, run: impl FnOnce(&Self) -> Result<(), RewritingError>) {
        std::mem::swap(&mut lock(&self.page).out, out);
        let result = run(self);
        let page = &mut *lock(&self.page);
        if result.is_err() {
            self.gave_up = true;
            page.splice.hold_from(None);
            page.splice.write(&[], &mut page.out);
        }
        std::mem::swap(&mut page.out, out);
    }
}

impl Page {
    fn element(&mut self, element: &Element<'_, '_>) {
        for attribute in element.attributes() {
            let Some(at) = attribute.value_source_location().map(|at| at.bytes()).filter(|at| !at.is_empty()) else {
                continue;
            };
            let name = attribute.name();
            let holds = match name.as_str() {
                "href" | "src" | "action" | "formaction" | "poster" | "background" | "cite" | "longdesc"
                | "xlink:href" => Holds::Link,
                "data" if element.tag_name() == "object" => Holds::Link,
                "srcset" | "imagesrcset" => Holds::Srcset,
                "style" => Holds::Style,
                "content" if element.tag_name() == "meta" && is_refresh(element) => Holds::Refresh,
                _ => continue,
            };
            let value = attribute.value();
            let raw = WINDOWS_1252.encode(&value).0;
            // Most have no character references: they are what they seem.
            let text = if memchr::memchr(b'&', &raw).is_some() {
                self.value.read_attribute(&raw);
                self.value.bytes()
            } else {
                &*raw
            };
            let mut edits = edits(&self.links, self.css.charset(), holds, text);
            if name == "href" && !self.has_base && element.tag_name() == "base" {
                self.has_base = true;
                match edits.first() {
                    Some(edit) => self.links.set_base(edit.with.as_bytes()),
                    None => self.links.set_base(text),
                }
            }
            if text.len() != raw.len() {
                edits = edits.into_iter().map(|edit| self.value.edit(edit)).collect();
            }
            for Edit { range, with } in edits {
                let with = if with.contains('&') { with.replace('&', "&amp;") } else { with };
                self.splice.edit(Edit { range: at.start + range.start..at.start + range.end, with });
            }
        }
    }

    fn style_text(&mut self, text: &TextChunk<'_>) {
        let Page { links, css, splice, .. } = self;
        let at = text.source_location().bytes().start;
        let bytes = WINDOWS_1252.encode(text.as_str()).0;
        css.read(at, &bytes, links, &mut |edit| splice.edit(edit));
        if text.last_in_text_node() {
            css.end(at + bytes.len(), links, &mut |edit| splice.edit(edit));
        }
        splice.hold_from(css.pending());
    }
}

/// What the value of an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Link,
    Srcset,
    Style,
    Refresh,
}

/// What must change in the value of an attribute.
fn edits(links: &Links, charset: Charset, holds: Holds, text: &[u8]) -> Vec<Edit> {
    let link = |at: Range<usize>| {
        let Edit { range, with } = links.edit(&text[at.clone()])?;
        Some(Edit { range: at.start + range.start..at.start + range.end, with })
    };
    match holds {
        Holds::Link => link(0..text.len()).into_iter().collect(),
        Holds::Srcset => values::srcset(text).into_iter().filter_map(link).collect(),
        Holds::Refresh => values::refresh(text).into_iter().filter_map(link).collect(),
        // Most have no function in them.
        Holds::Style if memchr::memchr(b'(', text).is_none() => Vec::new(),
        Holds::Style => {
            let mut edits = Vec::new();
            let mut sheet = Css::new(charset);
            sheet.read(0, text, links, &mut |edit| edits.push(edit));
            sheet.end(text.len(), links, &mut |edit| edits.push(edit));
            edits
        }
    }
}

fn is_refresh(element: &Element<'_, '_>) -> bool {
    element.get_attribute("http-equiv").is_some_and(|value| value.eq_ignore_ascii_case("refresh"))
}

fn lock(page: &Mutex<Page>) -> MutexGuard<'_, Page> {
    // Nothing panics while it is locked; if it did, the bytes would still be whole.
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the parser may take: the largest tag (or a page's open tags: some 40,000 that are never closed). A tag with a
/// larger image inside it is rare; the page goes through, and links after it stay as they are.
const MAX_PARSER_MEMORY: usize = 4 << 20;

/// From this length on, a tag that has not come to its end is read anew only when half as much again has come.
const LARGE_TAG: usize = 16 << 10;
