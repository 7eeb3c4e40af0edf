//! Which of several responses to one URL suits a request (RFC 9111, 4.1), with values normalised so that spellings of
//! one wish are one.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::lists::{list, weight};

/// The content codings that a client takes, of those that the gateway knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encodings(u8);

impl Encodings {
    /// Reads `Accept-Encoding` (RFC 9110, 12.5.3). Without the field, and with an empty one, none.
    pub fn of(fields: &HeaderMap) -> Self {
        Self::read(fields.get_all(header::ACCEPT_ENCODING).into_iter().map(|line| line.as_bytes()))
    }

    /// Reads the lines of `Accept-Encoding`. Allocates nothing.
    pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut taken = 0;
        let mut named = 0;
        let mut any = 0;
        for member in lines.flat_map(super::lists::members) {
            let (name, parameters) = match memchr::memchr(b';', member) {
                Some(end) => (member[..end].trim_ascii_end(), &member[end + 1..]),
                None => (member, &b""[..]),
            };
            let wanted = weight(parameters) > 0;
            if name == b"*" {
                any = if wanted { ALL } else { 0 };
                continue;
            }
            let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
            let bit = NAMES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes())).map(|at| 1 << at);
            let bit: u8 = bit.unwrap_or(0);
            named |= bit;
            taken |= if wanted { bit } else { 0 };
        }
        Encodings(taken | (any & !named))
    }

    /// What the platform is asked with instead of the client's own `Accept-Encoding`, so that what it answers suits
    /// everybody with the same [`Encodings`]; empty for none.
    pub fn as_str(self) -> &'static str {
        TEXTS[usize::from(self.0 & ALL)]
    }

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        Encodings(bits & ALL)
    }
}

/// The values of the request fields that a response was chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selecting {
    /// Where `Vary` names `Accept-Encoding`.
    pub encodings: Option<Encodings>,
    pub others: Box<[(HeaderName, Box<[u8]>)]>,
}

impl Selecting {
    /// What a response with these fields was chosen by; `None` if no other request can be known to choose it (`*`, or
    /// more names than are worth it).
    pub fn of(response: &HeaderMap, request: &HeaderMap, ignored: &[HeaderName]) -> Option<Self> {
        let mut selecting = Selecting::default();
        let mut others: Vec<(HeaderName, Box<[u8]>)> = Vec::new();
        for name in list(response, &header::VARY) {
            // `*` is a token, but no name that a field can have.
            let name = HeaderName::from_bytes(name).ok().filter(|name| name != "*")?;
            if ignored.contains(&name) || others.iter().any(|(other, _)| *other == name) {
                continue;
            }
            if name == header::ACCEPT_ENCODING {
                selecting.encodings = Some(Encodings::of(request));
            } else {
                let value = normalised(&name, request);
                others.push((name, value));
            }
            if others.len() > MAX_NAMES {
                return None;
            }
        }
        selecting.others = others.into();
        Some(selecting)
    }

    /// The same fields with the values of another request.
    pub fn again(&self, request: &HeaderMap) -> Self {
        Selecting {
            encodings: self.encodings.map(|_| Encodings::of(request)),
            others: self.others.iter().map(|(name, _)| (name.clone(), normalised(name, request))).collect(),
        }
    }

    /// Whether the request chooses it too.
    pub fn suits(&self, request: &HeaderMap) -> bool {
        self.suits_in(None, request)
    }

    /// Whether the request chooses this response: as [`Self::suits`], but whoever likes no other language as much as that
    /// of the response need not have said so in the same words (RFC 9111, 4.1).
    pub fn suits_response(&self, response: &HeaderMap, request: &HeaderMap) -> bool {
        self.suits_in(response.get(header::CONTENT_LANGUAGE), request)
    }

    fn suits_in(&self, language: Option<&HeaderValue>, request: &HeaderMap) -> bool {
        let prefers = || language.is_some_and(|language| prefers(request, language.as_bytes()));
        let is_same = |name: &HeaderName, value: &[u8]| *normalised(name, request) == *value;
        self.encodings.is_none_or(|encodings| encodings == Encodings::of(request))
            && self
                .others
                .iter()
                .all(|(name, value)| is_same(name, value) || (*name == header::ACCEPT_LANGUAGE && prefers()))
    }

    /// Whether a request without any other field that matters chooses it.
    pub fn suits_plain(&self, encodings: Encodings) -> bool {
        self.others.is_empty() && self.encodings.is_none_or(|own| own == encodings)
    }
}

/// A field's lines as one list without white space around its members; languages in the order of their weights.
/// (A field that isn't there is as one that is empty.)
fn normalised(name: &HeaderName, request: &HeaderMap) -> Box<[u8]> {
    let mut members: Vec<&[u8]> = list(request, name).collect();
    if *name == header::ACCEPT_LANGUAGE {
        return languages(&members);
    }
    if *name == header::COOKIE {
        members = request.get_all(name).into_iter().map(|line| line.as_bytes()).collect();
    }
    members.join(&b","[..]).into()
}

fn languages(members: &[&[u8]]) -> Box<[u8]> {
    let mut tags: Vec<(u16, Vec<u8>)> = members
        .iter()
        .map(|member| {
            let (tag, weight) = language(member);
            (1_000 - weight, tag.to_ascii_lowercase())
        })
        .collect();
    tags.sort();
    let mut text = Vec::new();
    for (weight, tag) in tags {
        text.extend_from_slice(&tag);
        text.extend_from_slice(&weight.to_be_bytes());
    }
    text.into()
}

/// Whether the request gives `wanted` a greater weight than every other language.
fn prefers(request: &HeaderMap, wanted: &[u8]) -> bool {
    let (mut own, mut most) = (0, 0);
    for (tag, weight) in list(request, &header::ACCEPT_LANGUAGE).map(language) {
        let highest = if tag.eq_ignore_ascii_case(wanted) { &mut own } else { &mut most };
        *highest = weight.max(*highest);
    }
    own > most
}

/// A member of `Accept-Language` (RFC 9110, 12.5.4): the tag and its weight.
fn language(member: &[u8]) -> (&[u8], u16) {
    let end = memchr::memchr(b';', member).unwrap_or(member.len());
    let (tag, parameters) = member.split_at(end);
    (tag.trim_ascii(), weight(parameters))
}

/// The codings, as bits from the lowest.
const NAMES: [&str; 3] = ["gzip", "br", "zstd"];
const ALL: u8 = 0b111;
const TEXTS: [&str; 8] = ["", "gzip", "br", "br, gzip", "zstd", "zstd, gzip", "zstd, br", "zstd, br, gzip"];

/// Most names of one `Vary` that are followed.
const MAX_NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn rfc_9110_12_5_3_codings() {
        for (line, want) in [
            ("gzip, deflate, br, zstd", "zstd, br, gzip"),
            ("br;q=1.0, gzip;q=0.8", "br, gzip"),
            ("gzip;q=0, br", "br"),
            ("*", "zstd, br, gzip"),
            ("*, br;q=0", "zstd, gzip"),
            ("GZIP , X-Gzip", "gzip"),
            ("*;q=0, gzip", "gzip"),
            ("identity, deflate", ""),
            ("", ""),
        ] {
            assert_eq!(Encodings::of(&fields(&[("accept-encoding", line)])).as_str(), want, "{line}");
        }
        assert_eq!(Encodings::of(&HeaderMap::new()).as_str(), "");
    }

    #[test]
    fn rfc_9111_4_1_what_chooses() {
        let vary = |value| fields(&[("vary", value)]);
        for (vary_value, first, second, suits) in [
            ("Foo", &[("foo", "1")][..], &[("foo", "1"), ("other", "3")][..], true),
            ("Foo", &[("foo", "1")], &[("foo", "2")], false),
            ("Foo", &[("foo", "1")], &[], false),
            ("Foo, Bar", &[("foo", "1"), ("bar", "abc")], &[("bar", "abc"), ("foo", "1")], true),
            ("Foo, Bar", &[("foo", "1"), ("bar", "abc")], &[("foo", "1"), ("bar", "abcd")], false),
            ("Foo, Bar", &[("foo", "1")], &[("foo", "1")], true),
            ("Foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")], true),
            ("Foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("Foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false),
            ("Cookie", &[("cookie", "a=1, b")], &[("cookie", "a=1,b")], false),
            ("Accept-Language", &[("accept-language", "en, de")], &[("accept-language", "DE,en;q=1")], true),
            ("Accept-Language", &[("accept-language", "en, de;q=0.5")], &[("accept-language", "de, en;q=0.5")], false),
            ("Accept-Encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "br;q=1,gzip")], true),
            ("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "gzip")], false),
        ] {
            let selecting = Selecting::of(&vary(vary_value), &fields(first), &[]).unwrap();
            assert_eq!(selecting.suits(&fields(second)), suits, "{vary_value} {first:?} {second:?}");
            assert_eq!(selecting.again(&fields(second)) == selecting, suits);
        }
    }

    #[test]
    fn rfc_9111_4_1_the_language_of_a_response_is_for_all_who_like_it_best() {
        let vary = fields(&[("vary", "Accept-Language")]);
        let selecting = Selecting::of(&vary, &fields(&[("accept-language", "en, de")]), &[]).unwrap();
        for (wanted, language, suits) in [
            ("fr;q=0.5, de;q=1.0", Some("de"), true),
            ("zh-cn,zh;q=0.9,en;q=0.8", Some("zh-CN"), true),
            ("de, en", None, true),
            ("de", None, false),
            ("de, fr", Some("de"), false),
            ("de;q=0.5, fr", Some("de"), false),
            ("de-AT", Some("de"), false),
            ("*, de;q=0.9", Some("de"), false),
            ("de;q=0", Some("de"), false),
            ("de", Some("de, en"), false),
            ("", Some("de"), false),
        ] {
            let language = language.map(HeaderValue::from_static);
            let request = fields(&[("accept-language", wanted)]);
            assert_eq!(selecting.suits_in(language.as_ref(), &request), suits, "{wanted} {language:?}");
        }
    }

    #[test]
    fn rfc_9111_4_1_a_star_anywhere_fails_always() {
        for value in ["*", "*, *", ", *", "*, Foo", "Foo, *", "a b"] {
            assert_eq!(Selecting::of(&fields(&[("vary", value)]), &HeaderMap::new(), &[]), None, "{value}");
        }
        assert_eq!(Selecting::of(&fields(&[("vary", ""), ("vary", "*")]), &HeaderMap::new(), &[]), None);
        let ignored = [header::USER_AGENT];
        let selecting = Selecting::of(&fields(&[("vary", "User-Agent")]), &HeaderMap::new(), &ignored).unwrap();
        assert!(selecting.suits(&fields(&[("user-agent", "x")])));
    }
}
