//! `Cache-Control` (RFC 9111, 5.2), of requests and of responses, and `CDN-Cache-Control` (RFC 9213).

use http::{HeaderMap, HeaderName, header};

use super::{
    lists::{is_token_byte, list, members, unquote},
    structured::{self, Item},
};

/// Longest time that a directive may give (RFC 9111, 1.2.2): longer ones count as this.
pub(super) const MAX_SECONDS: u32 = 1 << 31;

/// The directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// Whether they were written for caches like this one, and so count instead of `Cache-Control` and `Expires`.
    pub targeted: bool,
    /// Zero if it is malformed: stale when in doubt (RFC 9111, 4.2.1).
    pub max_age: Option<u32>,
    pub s_maxage: Option<u32>,
    pub no_store: bool,
    /// Without names of fields.
    pub no_cache: bool,
    /// Without names of fields.
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub stale_while_revalidate: Option<u32>,
    pub stale_if_error: Option<u32>,
    /// Fields that `no-cache` or `private` name: they are not stored.
    pub withheld: Vec<HeaderName>,
}

impl Response {
    /// Reads those that count. (RFC 9213, 2.2: a targeted field that is no dictionary, or empty, is as if it weren't
    /// there.)
    pub fn of(fields: &HeaderMap) -> Self {
        Self::targeted(fields).unwrap_or_else(|| Self::plain(fields))
    }

    fn plain(fields: &HeaderMap) -> Self {
        let mut directives = Response::default();
        for member in list(fields, &header::CACHE_CONTROL) {
            let (name, argument) = split(member);
            let seconds = argument.and_then(|argument| delta_seconds(&unquote(argument)));
            let names = argument.map(unquote);
            directives.set(name, seconds, names.as_deref());
        }
        directives
    }

    fn targeted(fields: &HeaderMap) -> Option<Self> {
        if !fields.contains_key(&CDN_CACHE_CONTROL) {
            return None;
        }
        let lines: Vec<&[u8]> = fields.get_all(&CDN_CACHE_CONTROL).into_iter().map(|line| line.as_bytes()).collect();
        let dictionary = structured::dictionary(&lines.join(&b", "[..]))?;
        if dictionary.is_empty() {
            return None;
        }
        let mut directives = Response { targeted: true, ..Response::default() };
        for (name, item) in &dictionary {
            let numeric = NUMERIC.contains(&name.as_slice());
            match item {
                // A directive of the wrong type spoils the field: what else is wrong in it?
                Item::Integer(seconds) if numeric => {
                    let seconds = u32::try_from((*seconds).clamp(0, i64::from(MAX_SECONDS))).ok();
                    directives.set(name, seconds, None);
                }
                _ if numeric => return None,
                Item::Boolean(true) => directives.set(name, None, None),
                Item::String(names) => directives.set(name, None, Some(names)),
                Item::Boolean(false) | Item::Integer(_) | Item::Other => {}
            }
        }
        Some(directives)
    }

    /// Of a directive that comes twice the first counts (RFC 9111, 4.2.1).
    fn set(&mut self, name: &[u8], seconds: Option<u32>, names: Option<&[u8]>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("max-age") {
            self.max_age.get_or_insert(seconds.unwrap_or(0));
        } else if is("s-maxage") {
            self.s_maxage.get_or_insert(seconds.unwrap_or(0));
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate.get_or_insert(seconds.unwrap_or(0));
        } else if is("stale-if-error") {
            self.stale_if_error.get_or_insert(seconds.unwrap_or(0));
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !self.withhold(names);
        } else if is("private") {
            self.private |= !self.withhold(names);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        }
    }

    /// Takes the names of fields down; `false` if there are none, or they can't be read.
    fn withhold(&mut self, names: Option<&[u8]>) -> bool {
        let Some(names) = names else { return false };
        let parsed: Option<Vec<HeaderName>> = members(names).map(|name| HeaderName::from_bytes(name).ok()).collect();
        let Some(parsed) = parsed.filter(|parsed| !parsed.is_empty()) else { return false };
        self.withheld.extend(parsed);
        true
    }
}

/// The directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub max_age: Option<u32>,
    pub min_fresh: u32,
    /// Without a number: any time.
    pub max_stale: Option<u32>,
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
}

impl Request {
    pub fn of(fields: &HeaderMap) -> Self {
        let mut directives = Request::default();
        if !fields.contains_key(header::CACHE_CONTROL) {
            // RFC 9111, 5.4: how HTTP/1.0 says it.
            directives.no_cache =
                list(fields, &header::PRAGMA).any(|member| split(member).0.eq_ignore_ascii_case(b"no-cache"));
            return directives;
        }
        for member in list(fields, &header::CACHE_CONTROL) {
            let (name, argument) = split(member);
            let seconds = argument.and_then(|argument| delta_seconds(&unquote(argument)));
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            if is("max-age") {
                directives.max_age.get_or_insert(seconds.unwrap_or(0));
            } else if is("min-fresh") {
                directives.min_fresh = directives.min_fresh.max(seconds.unwrap_or(0));
            } else if is("max-stale") {
                directives.max_stale = match argument {
                    None => Some(MAX_SECONDS),
                    Some(_) => seconds,
                };
            } else if is("no-cache") {
                directives.no_cache = true;
            } else if is("no-store") {
                directives.no_store = true;
            } else if is("only-if-cached") {
                directives.only_if_cached = true;
            }
        }
        directives
    }

    /// Whether the client wants something fresher than what is merely fresh.
    pub fn is_demanding(&self) -> bool {
        self.no_cache || self.max_age.is_some() || self.min_fresh > 0
    }
}

/// Name and argument. There is no white space around the `=` (RFC 9111, 5.2); where it is, the argument is malformed.
fn split(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = member.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(member.len());
    let (name, rest) = member.split_at(end);
    match rest {
        [] => (name, None),
        [b'=', argument @ ..] => (name, Some(argument)),
        garbage => (name, Some(garbage)),
    }
}

/// A number of seconds (RFC 9111, 1.2.2); the largest one if there are more.
pub(super) fn delta_seconds(value: &[u8]) -> Option<u32> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum = value.iter().fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    Some(sum.min(MAX_SECONDS))
}

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const NUMERIC: [&[u8]; 4] = [b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    fn max_age(lines: &[&str]) -> Option<u32> {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        Response::of(&fields(&lines)).max_age
    }

    #[test]
    fn rfc_9111_1_2_2_and_4_2_1_numbers() {
        for (line, want) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=2147483648", Some(MAX_SECONDS)),
            ("max-age=99999999999", Some(MAX_SECONDS)),
            ("max-age=0", Some(0)),
            ("max-age", Some(0)),
            ("max-age=", Some(0)),
            ("max-age=-100", Some(0)),
            ("max-age=a100", Some(0)),
            ("max-age=100a", Some(0)),
            ("max-age=100.0", Some(0)),
            ("max-age='100'", Some(0)),
            ("max-age =100", Some(0)),
            ("max-age= 100", Some(0)),
            ("max-age=1800, max-age=1", Some(1800)),
            ("max-age=1, max-age=1800", Some(1)),
            ("extension=\"max-age=100\", max-age=1", Some(1)),
            ("max-age=1, extension=\"max-age=100\"", Some(1)),
            ("extension=\"max-age=100\"", None),
            ("x-max-age=100", None),
            ("max-age-x=100", None),
        ] {
            assert_eq!(max_age(&[line]), want, "{line}");
        }
        assert_eq!(max_age(&["max-age=1", "max-age=1800"]), Some(1));
    }

    #[test]
    fn rfc_9111_5_2_2_names_of_fields() {
        let read = |line| Response::of(&fields(&[("cache-control", line)]));
        let some = read("no-cache=\"a, B\", private=c");
        assert_eq!((some.no_cache, some.private), (false, false));
        assert_eq!(some.withheld, ["a", "b", "c"]);
        for all in ["no-cache", "No-CaChE", "no-cache=", "no-cache=\"a b\"", "no-cache=\"a\", no-cache"] {
            assert!(read(all).no_cache, "{all}");
        }
        assert!(read("private=\"\"").private && read("No-StOrE").no_store);
    }

    #[test]
    fn rfc_9213_2_1_a_targeted_field_counts_alone_if_it_is_a_dictionary() {
        let both = |cdn: &str| Response::of(&fields(&[("cache-control", "max-age=1, no-store"), (CDN, cdn)]));
        const CDN: &str = "cdn-cache-control";
        for (cdn, want) in [
            ("max-age=3600", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=99999999999", Some(MAX_SECONDS)),
            ("max-age=5;x=1, a=(1 \"b\" c);d, e=:YWI=:, f=1.5", Some(5)),
            ("max-age=1, max-age=7", Some(7)),
            ("max-age=-1", Some(0)),
            ("no-store", None),
        ] {
            let read = both(cdn);
            assert!(read.targeted, "{cdn}");
            assert_eq!((read.max_age, read.no_store), (want, cdn == "no-store"), "{cdn}");
        }
        for ignored in ["max-age=10000, &&&&&", "max-age=\"10000\"", "max-age =100", "max-age= 100", "", "MaX-aGe=1"] {
            let read = both(ignored);
            assert!(!read.targeted && read.no_store && read.max_age == Some(1), "{ignored}");
        }
        assert_eq!(both("no-cache=\"a\", private, no-store=?0").withheld, ["a"]);
    }

    #[test]
    fn rfc_9111_5_2_1_and_5_4_requests() {
        let read = |name, line: &str| Request::of(&fields(&[(name, line)]));
        let max_stale = |line| read("cache-control", line).max_stale;
        assert_eq!(
            (max_stale("max-stale"), max_stale("max-stale=5"), max_stale("max-stale=x")),
            (Some(MAX_SECONDS), Some(5), None)
        );
        assert_eq!(read("cache-control", "min-fresh=7").min_fresh, 7);
        assert_eq!(read("cache-control", "max-age=x").max_age, Some(0));
        assert!(read("pragma", "x, No-Cache").no_cache && !read("pragma", "other").no_cache);
        assert!(!Request::of(&fields(&[("pragma", "no-cache"), ("cache-control", "max-stale")])).no_cache);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in [header::CACHE_CONTROL, CDN_CACHE_CONTROL, header::PRAGMA] {
                    let map = HeaderMap::from_iter([(name, value.clone())]);
                    let read = Response::of(&map);
                    prop_assert!(read.max_age.unwrap_or(0) <= MAX_SECONDS);
                    Request::of(&map);
                }
            }
        }
    }
}
