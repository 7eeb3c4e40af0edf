//! A site's URL habits, as its `[url]` table declares them.

use super::Charset;

/// How spellings of one page are recognised. The default suits most sites: escapes are decoded as UTF-8, case is
/// ignored, slashes and dot segments are repaired, and no query parameter identifies a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlSettings {
    /// Charset of percent-encoded bytes.
    pub charset: Charset,
    /// Whether upper and lower case are one (IIS).
    pub ignore_case: bool,
    /// File names that are the same as their folder, such as `index.html`.
    pub index: Vec<String>,
    /// Query parameters that identify a page; the others are ignored for mappings. `*` keeps all.
    pub keep_query: Vec<String>,
    /// Whether `;` separates query parameters like `&`.
    pub semicolon_separates: bool,
    /// Whether `/a/` is the same page as `/a`.
    pub ignore_trailing_slash: bool,
    /// Whether `//` and `\` are repaired to `/`.
    pub merge_slashes: bool,
    /// Whether `/./` and `/../` are resolved (RFC 3986, 5.2.4).
    pub resolve_dots: bool,
    /// Whether `;jsessionid=…` is dropped from paths.
    pub drop_session_id: bool,
    /// Whether percent escapes in paths are decoded. When not, paths are compared as they were sent, apart from case
    /// and from the few characters whose escape clients disagree about (`~ ! [ ] , " ' |`).
    pub decode_path: bool,
    /// Whether characters that no URL may contain raw (`<`, `>`, `"`) are refused with 400 instead of being taken as
    /// if they had been escaped.
    pub refuse_invalid: bool,
    /// Whether `www.example.org.` is the same host as `www.example.org`.
    pub accept_trailing_dot: bool,
}

impl Default for UrlSettings {
    fn default() -> Self {
        UrlSettings {
            charset: Charset::Utf8,
            ignore_case: true,
            index: Vec::new(),
            keep_query: Vec::new(),
            semicolon_separates: false,
            ignore_trailing_slash: true,
            merge_slashes: true,
            resolve_dots: true,
            drop_session_id: true,
            decode_path: true,
            refuse_invalid: false,
            accept_trailing_dot: true,
        }
    }
}
