//! The one pass over a request target.

use std::ops::Range;

use super::buffers::{Buffers, push_literal};
use super::charset::{Charset, Decoded, MAX_BYTES};
use super::raw::{is_utf8, split_target, unit};
use super::{Params, UrlSettings};

/// Longest request target that is looked at, in bytes (RFC 9110, 4.1 asks for at least 8,000). Longer ones are refused
/// before any other work.
pub const MAX_TARGET: usize = 8 * 1024;

/// Where the bytes of a URL come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A request: raw bytes above 0x7F are in the site's charset, as old clients send them.
    Wire,
    /// A file of the operator's, or a canonical text: raw characters above U+007F are what they are.
    Text,
}

/// Why a request target is no URL of the site. The client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Over [`MAX_TARGET`].
    #[error("the address is too long")]
    TooLong,
    /// A raw `<`, `>` or `"`, on a site that refuses them.
    #[error("the address contains characters that no address may contain")]
    Invalid,
}

impl TargetError {
    /// The message, for pages and logs.
    pub fn message(self) -> &'static str {
        match self {
            TargetError::TooLong => "the address is too long",
            TargetError::Invalid => "the address contains characters that no address may contain",
        }
    }
}

/// A canonical URL, in buffers that are used again for the next one.
#[derive(Debug, Default)]
pub struct Canonical {
    path: Buffers,
    key: Vec<u8>,
    key_has_query: bool,
    key_len: usize,
    params: Params,
}

impl Canonical {
    /// The canonical path, with a trailing slash if one was sent; case folded if the site ignores case.
    pub fn path(&self) -> &str {
        self.path.folded_str(0..self.path.len())
    }

    /// What a mapping is found by: the canonical path and the parameters that identify a page.
    pub fn key(&self) -> &[u8] {
        if self.key_has_query { &self.key } else { &self.path.folded[..self.key_len] }
    }

    /// Whether this is the site's front page, whatever the query.
    pub fn is_root(&self) -> bool {
        self.key_len == 1
    }

    /// The part of the path at `range` (byte offsets into [`Canonical::path`]) in the case in which it was sent.
    pub fn cased(&self, range: Range<usize>) -> &str {
        self.path.cased_str(range)
    }

    /// The query parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }
}

/// Which characters stay escaped in a part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    Path,
    QueryKey,
    QueryValue,
}

impl Escapes {
    fn keeps(self, byte: u8) -> bool {
        match self {
            _ if byte <= b' ' || byte == 0x7F || byte == b'%' || byte == b'#' => true,
            Escapes::Path => matches!(byte, b'/' | b'\\' | b'?'),
            Escapes::QueryKey => matches!(byte, b'&' | b';' | b'+' | b'='),
            Escapes::QueryValue => matches!(byte, b'&' | b';' | b'+'),
        }
    }
}

/// Maps every spelling of a page to one text. Built once per site, at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonicalizer {
    settings: UrlSettings,
    /// Bytes of a path that are copied (folded) without a second look.
    plain: [bool; 256],
    needs_query: bool,
}

impl Canonicalizer {
    /// A canonicaliser for a site's habits. `rules_read_query` says that some rule looks at the query, so that it must
    /// be parsed even if no parameter identifies a page.
    pub fn new(mut settings: UrlSettings, rules_read_query: bool) -> Self {
        let mut plain = [false; 256];
        for (byte, plain) in (0..=255u8).zip(&mut plain) {
            *plain = byte.is_ascii_graphic() && !matches!(byte, b'%' | b'/' | b'\\' | b'?' | b'#');
            if !settings.decode_path {
                *plain &= !SAME_AS_ESCAPE.contains(&byte) || matches!(byte, b'~' | b'!');
            }
        }
        let needs_query = rules_read_query || !settings.keep_query.is_empty();
        if settings.ignore_case {
            for name in settings.keep_query.iter_mut().chain(&mut settings.index) {
                *name = name.chars().flat_map(char::to_lowercase).collect();
            }
        }
        Canonicalizer { settings, plain, needs_query }
    }

    /// The habits, with the names in them folded as URLs are.
    pub fn settings(&self) -> &UrlSettings {
        &self.settings
    }

    /// Canonicalises a request target (origin-form, absolute-form or `*`) or an old URL of a file.
    ///
    /// # Errors
    /// When the target can't be a URL of the site; `out` then holds nothing of use.
    pub fn canonicalize(&self, target: &[u8], form: Form, out: &mut Canonical) -> Result<(), TargetError> {
        if target.len() > MAX_TARGET {
            return Err(TargetError::TooLong);
        }
        if self.settings.refuse_invalid && form == Form::Wire && target.iter().any(|b| matches!(b, b'<' | b'>' | b'"'))
        {
            return Err(TargetError::Invalid);
        }
        let (path, query) = split_target(target);
        let charset = self.charset_of(path, query);
        out.path.clear();
        self.push_path(path, form, charset, &mut out.path);

        out.key_len = out.path.len();
        if self.settings.ignore_trailing_slash {
            out.key_len = without_trailing_slashes(&out.path.folded).len().max(1);
        }
        out.key_has_query = false;
        out.params.clear();
        if self.needs_query
            && let Some(query) = query
        {
            out.params.parse(self, query, form);
            out.key.clear();
            out.key.extend_from_slice(&out.path.folded[..out.key_len]);
            out.params.append_significant(&self.settings.keep_query, &mut out.key);
            out.key_has_query = true;
        }
        Ok(())
    }

    /// The charset to decode this URL by: the declared one, or the guess that `auto` asks for.
    fn charset_of(&self, path: &[u8], query: Option<&[u8]>) -> Charset {
        if self.settings.charset != Charset::Auto {
            return self.settings.charset;
        }
        let utf8 = is_utf8(path) && query.is_none_or(is_utf8);
        if utf8 { Charset::Utf8 } else { Charset::Gb18030 }
    }

    fn push_path(&self, raw: &[u8], form: Form, charset: Charset, out: &mut Buffers) {
        let fold = self.settings.ignore_case;
        out.push_ascii(b'/', false);
        let mut segment = 1;
        let mut at = usize::from(raw.first() == Some(&b'/'));
        while let Some(&byte) = raw.get(at) {
            if self.plain[usize::from(byte)] {
                let rest = &raw[at..];
                let run = rest.iter().position(|&b| !self.plain[usize::from(b)]).unwrap_or(rest.len());
                out.push_ascii_run(&rest[..run], fold);
                at += run;
            } else if byte == b'/' || (byte == b'\\' && self.settings.merge_slashes) {
                at += 1;
                if self.end_segment(segment, out) {
                    out.push_ascii(b'/', false);
                }
                segment = out.len();
            } else if self.settings.decode_path {
                at += self.push_unit(raw, at, form, charset, Escapes::Path, out);
            } else {
                at += push_as_sent(raw, at, out);
            }
        }
        self.end_segment(segment, out);
        if !self.settings.index.is_empty() {
            self.drop_index_pages(out);
        }
    }

    /// Drops a file name that is the same as its folder; and again, if the folder is named like one.
    fn drop_index_pages(&self, out: &mut Buffers) {
        loop {
            let path = out.folded.as_slice();
            let end = if self.settings.ignore_trailing_slash { without_trailing_slashes(path) } else { path };
            let last = end.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
            let name = &end[last..];
            if name.is_empty() || !self.settings.index.iter().any(|index| index.as_bytes() == name) {
                return;
            }
            out.truncate(last);
        }
    }

    /// Drops a session id, and resolves a dot segment, that ends here. Says whether the segment wants a slash after it.
    fn end_segment(&self, start: usize, out: &mut Buffers) -> bool {
        const SESSION: &[u8] = b";jsessionid=";
        let segment = &out.folded[start..];
        if self.settings.drop_session_id
            && let Some(at) = segment.iter().position(|&b| b == b';')
            && let Some(found) =
                segment[at..].windows(SESSION.len()).position(|window| window.eq_ignore_ascii_case(SESSION))
        {
            out.truncate(start + at + found);
        }
        let segment = &out.folded[start..];
        if self.settings.resolve_dots {
            match segment {
                b"." => {
                    out.truncate(start);
                    return false;
                }
                b".." => {
                    let parent = &out.folded[..start - 1];
                    let parent = parent.iter().rposition(|&b| b == b'/').map_or(1, |slash| slash + 1);
                    out.truncate(parent);
                    return false;
                }
                _ => {}
            }
        }
        !(segment.is_empty() && self.settings.merge_slashes)
    }

    /// The canonical spelling of a query parameter's name (`key`) or value, as a pattern of the operator's has it.
    pub fn query_text(&self, raw: &str, key: bool) -> String {
        let mut out = Buffers::default();
        let escapes = if key { Escapes::QueryKey } else { Escapes::QueryValue };
        self.push_text(raw.as_bytes(), Form::Text, escapes, &mut out);
        out.folded_str(0..out.len()).to_owned()
    }

    /// Decodes a part of a query into `out`.
    pub(super) fn push_text(&self, raw: &[u8], form: Form, escapes: Escapes, out: &mut Buffers) {
        let charset = self.charset_of(raw, None);
        let mut at = 0;
        while at < raw.len() {
            if raw[at] == b'+' {
                out.push_escape(b' ');
                at += 1;
            } else {
                at += self.push_unit(raw, at, form, charset, escapes, out);
            }
        }
    }

    /// Decodes one character at `at` and says how many bytes of `raw` it took.
    fn push_unit(
        &self,
        raw: &[u8],
        at: usize,
        form: Form,
        charset: Charset,
        escapes: Escapes,
        out: &mut Buffers,
    ) -> usize {
        let fold = self.settings.ignore_case;
        let Some(first) = unit(raw, at) else { return 1 };
        if first.byte.is_ascii() {
            if escapes.keeps(first.byte) {
                out.push_escape(first.byte);
            } else {
                out.push_ascii(first.byte, fold);
            }
            return first.width;
        }
        if form == Form::Text && !first.escaped {
            return push_literal(&raw[at..], fold, out);
        }
        let mut bytes = [0; MAX_BYTES];
        let mut ends = [0; MAX_BYTES];
        let mut count = 0;
        let mut next = at;
        while count < MAX_BYTES
            && let Some(unit) = unit(raw, next)
            && (form == Form::Wire || unit.escaped || unit.byte.is_ascii())
        {
            next += unit.width;
            bytes[count] = unit.byte;
            ends[count] = next - at;
            count += 1;
        }
        match charset.decode_first(&bytes[..count]) {
            Decoded::Text { text, text_len, len } => {
                out.push_str(std::str::from_utf8(&text[..text_len]).unwrap_or_default(), fold);
                ends[len - 1]
            }
            Decoded::Invalid { len } => {
                for &byte in &bytes[..len] {
                    out.push_escape(byte);
                }
                ends[len - 1]
            }
        }
    }
}

fn without_trailing_slashes(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1)]
}

/// In paths that are compared as sent: the characters whose raw and escaped spellings are the same all the same.
const SAME_AS_ESCAPE: &[u8] = b"~![],\"'|";

/// One character of a path that is compared as it was sent.
fn push_as_sent(raw: &[u8], at: usize, out: &mut Buffers) -> usize {
    let Some(unit) = unit(raw, at) else { return 1 };
    match unit.byte {
        b'~' | b'!' => out.push_ascii(unit.byte, false),
        byte if unit.escaped || !byte.is_ascii_graphic() || SAME_AS_ESCAPE.contains(&byte) => out.push_escape(byte),
        byte => out.push_ascii(byte, false),
    }
    unit.width
}
