//! What citizens see when there is no page to send them to: 404, 410, the notice of a move, leaving for
//! another site, and the gateway's own refusals.
//!
//! Owns: the texts in Chinese and English (`words.rs`), the one layout (`layout.html`, style included), the choice of the
//! language, the report-an-error link, and `robots.txt`. Never does: I/O, headers, status codes, or deciding which page to show.
//!
//! Invariants:
//! - Whatever a caller inserts is escaped, and is a link only if it is an http(s) URL; anything else is left out.
//! - A page is one file: no script, no font, no image, nothing to fetch. It works without CSS and in old browsers, so
//!   colours are written out instead of using variables.
//! - The order of help is fixed: the new address, a suggested page, the new home, the archive's copy, the report link.
//!
//! `answer/` calls this for both lanes.

#![forbid(unsafe_code)]

mod lang;
mod words;

pub use lang::Lang;

/// Seconds before the notice goes to the new address by itself.
///
/// A delay that the reader can't stop or lengthen fails WCAG 2.2.1 (failure F40), and without a script only another URL could
/// stop it: a known departure. To soften it the page says that it will go, and its link comes before all others.
const NOTICE_SECONDS: u32 = 10;

/// Characters of an inserted text that are shown. Links behind them stay whole, so a long URL still lengthens its report link.
const MAX_SHOWN: usize = 300;

const LAYOUT: &str = include_str!("layout.html");

/// The kinds of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// 404 on a site that the gateway knows.
    NotFound,
    /// 410: the page was withdrawn.
    Gone,
    /// 200: says where the page went, then goes there.
    Notice {
        /// The new address.
        location: &'a str,
    },
    /// 200: says that the link leaves for another site.
    Leaving {
        /// The address there.
        location: &'a str,
    },
    /// 503: the new address is frozen.
    Frozen,
    /// 404: no site has this host.
    UnknownHost,
    /// 501: this address is to be proxied, which the gateway can't do yet.
    NotServed,
    /// 501: the target is not allowed by the gateway's policy.
    Refused,
    /// 403: the site answers over https only.
    HttpsRequired {
        /// The same address with https.
        location: &'a str,
    },
    /// 400: the request target can't be a URL.
    BadRequest {
        /// Why, in English, for whoever repairs the link.
        reason: &'a str,
    },
    /// 403, 404, 405, 429 and so on: the guard does not admit the request.
    Denied {
        /// Why, in English, for whoever repairs the client.
        reason: &'a str,
    },
    /// 502, 503, 504: the platform that has the page gives no answer.
    Unavailable,
}

/// What a page can tell and offer, as far as it is known. Anything may stand in these: it is escaped, and links are checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The name of the old site.
    pub site_name: Option<&'a str>,
    /// The home page of the new site.
    pub home: Option<&'a str>,
    /// The URL that the citizen asked for; shown as text, left out if empty.
    pub url: &'a str,
    /// A page that may help instead.
    pub suggest: Option<&'a str>,
    /// A copy in an archive.
    pub archive: Option<&'a str>,
    /// The report-an-error link, as [`report_link`] makes it.
    pub report: Option<&'a str>,
    /// The site identification code.
    pub code: Option<&'a str>,
}

/// The whole page as HTML in UTF-8.
pub fn render(page: Page<'_>, facts: &Facts<'_>, lang: Lang) -> String {
    let words = words::of(page, lang);
    let labels = words::labels(lang);
    let other = words::of(page, lang.other());
    let is_notice = matches!(page, Page::Notice { .. });
    fill(LAYOUT, |name| {
        Some(match name {
            "lang" => lang.tag().into(),
            "refresh" => refresh(page),
            "title" => match facts.site_name {
                Some(site) => format!("{} - {}", words.heading, shown(site)),
                None => words.heading.into(),
            },
            "site" => facts.site_name.map(|site| site_header(site, lang)).unwrap_or_default(),
            "heading" => words.heading.into(),
            "happened" => words.happened.into(),
            "asked" if !is_notice => asked(facts.url, labels),
            // Little time: the link comes first.
            "asked_below" if is_notice => asked(facts.url, labels),
            "asked" | "asked_below" => String::new(),
            "detail" => match page {
                Page::BadRequest { reason } | Page::Denied { reason } => {
                    format!("<p>{}<span lang=\"en\">{}</span></p>\n", labels.detail, shown(reason))
                }
                Page::Leaving { location } if is_web_link(location) => {
                    format!("<p>{}<b>{}</b></p>\n", labels.leads_to, shown(host(location)))
                }
                _ => String::new(),
            },
            "advice_heading" => labels.advice_heading.into(),
            "advice" => words.advice.clone(),
            "links" => links(page, facts, labels),
            "code" => match facts.code {
                // The report link shows it.
                Some(code) if web_link(facts.report).is_none() => format!("<p>{}{}</p>\n", labels.code, shown(code)),
                _ => String::new(),
            },
            "other_lang" => lang.other().tag().into(),
            "other" => format!("{}{}{}", other.heading, words::labels(lang.other()).stop, other.happened),
            _ => return None,
        })
    })
}

/// The report-an-error link: `{code}` and `{url}` of the template, both percent-encoded as query values.
pub fn report_link(template: &str, code: &str, url: &str) -> String {
    // Encoded text has no braces, so the second replacement can't touch what the first inserted.
    template.replace("{code}", &query_value(code)).replace("{url}", &query_value(url))
}

/// A `robots.txt` that allows everything, so that search engines follow the redirects, and names the site's sitemap.
/// `host` is in canonical spelling, `secure` says whether the sitemap is at https.
pub fn robots(host: &str, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    format!("User-agent: *\nAllow: /\n\nSitemap: {scheme}://{host}/sitemap.xml\n")
}

fn refresh(page: Page<'_>) -> String {
    match page {
        // A URL that begins with its scheme needs no quotes of its own: it runs to the end of the attribute (HTML, 4.2.5.3).
        Page::Notice { location } if is_web_link(location) => {
            format!("<meta http-equiv=\"refresh\" content=\"{NOTICE_SECONDS}; url={}\">\n", escape(location))
        }
        _ => String::new(),
    }
}

fn site_header(name: &str, lang: Lang) -> String {
    // So that an English voice does not spell out Chinese characters.
    let foreign = if lang == Lang::En && !name.is_ascii() { " lang=\"zh-CN\"" } else { "" };
    format!("<header>\n<p{foreign}>{}</p>\n</header>\n", shown(name))
}

fn asked(url: &str, labels: &words::Labels) -> String {
    if url.is_empty() {
        return String::new();
    }
    format!("<p class=\"asked\"><span>{}</span>{}</p>\n", labels.asked, shown(url))
}

/// The ways on, best first; nothing at all if there are none. The same URL is offered once.
fn links(page: Page<'_>, facts: &Facts<'_>, labels: &words::Labels) -> String {
    let (new, secure) = match page {
        Page::Notice { location } | Page::Leaving { location } => (Some(location), None),
        Page::HttpsRequired { location } => (None, Some(location)),
        _ => (None, None),
    };
    let mut offered = Vec::new();
    let mut items = String::new();
    for (class, label, href) in [
        (" class=\"new\"", labels.new, new),
        (" class=\"new\"", labels.secure, secure),
        ("", labels.suggest, facts.suggest),
        ("", labels.home, facts.home),
        ("", labels.archive, facts.archive),
    ] {
        if let Some(href) = web_link(href).filter(|href| !offered.contains(href)) {
            offered.push(href);
            items += &format!(
                "<li><a{class} href=\"{}\"><b>{label}</b> <span>{}</span></a></li>\n",
                escape(href),
                shown(href)
            );
        }
    }
    if let Some(href) = web_link(facts.report) {
        let code = facts.code.map(|code| format!(" <span>{}{}</span>", labels.code, shown(code))).unwrap_or_default();
        items += &format!("<li><a href=\"{}\"><b>{}</b>{code}</a></li>\n", escape(href), labels.report);
    }
    // The role brings back what Safari takes from a list without bullets.
    if items.is_empty() { items } else { format!("<ul role=\"list\">\n{items}</ul>\n") }
}

/// The link, if it may be one.
fn web_link(href: Option<&str>) -> Option<&str> {
    href.filter(|href| is_web_link(href))
}

/// Whether the text begins like an http or https URL. The targets were checked long before; this is the second lock.
fn is_web_link(href: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| href.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// The host of an absolute URL, with its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Text to read: escaped, and cut if it is very long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => escape(&text[..end]) + "…",
        None => escape(text),
    }
}

/// Escapes for HTML text and quoted attributes; control characters, which HTML forbids, become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn query_value(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]),
        }
    }
    out
}

/// Replaces each `{{name}}` by its value, once: what is inserted is not looked at again. An unknown name stays as it is.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        if let Some((value, after)) = after.split_once("}}").and_then(|(name, after)| Some((value(name)?, after))) {
            out.push_str(&value);
            rest = after;
        } else {
            out.push_str("{{");
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests;
