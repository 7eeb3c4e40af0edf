//! Preconditions of requests, evaluated on a stored response (RFC 9110, 13; RFC 9111, 4.3.2).

use http::{HeaderMap, HeaderValue, header};

use super::{date, lists::list};

/// Whether the client has what is stored: then it gets a 304. `received` stands in for the date of a response that has
/// none.
pub(super) fn is_not_modified(request: &HeaderMap, response: &HeaderMap, received: i64) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        // RFC 9110, 13.1.3: then If-Modified-Since does not count.
        let own = response.get(header::ETAG);
        return list(request, &header::IF_NONE_MATCH)
            .any(|tag| tag == b"*" || own.is_some_and(|own| weakly_equal(tag, own.as_bytes())));
    }
    let Some(since) = only(request, &header::IF_MODIFIED_SINCE).and_then(|value| date::parse(value.as_bytes())) else {
        return false;
    };
    let modified = date::of(response, &header::LAST_MODIFIED).or_else(|| date::of(response, &header::DATE));
    modified.unwrap_or(received) <= since
}

/// Whether a range may be taken of what is stored (RFC 9110, 13.1.5): there is no `If-Range`, or it holds.
pub(super) fn allows_range(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let condition = condition.as_bytes().trim_ascii();
    if is_tag(condition) {
        return response.get(header::ETAG).is_some_and(|own| strongly_equal(condition, own.as_bytes()));
    }
    // A date must be the very same, and a strong validator: a second older than the response (RFC 9110, 8.8.2.2).
    let modified = date::of(response, &header::LAST_MODIFIED);
    modified.is_some()
        && modified == date::parse(condition)
        && date::of(response, &header::DATE).zip(modified).is_some_and(|(date, modified)| date > modified)
}

/// Whether what a 304 says of itself is said of the stored response (RFC 9111, 4.3.4).
pub(super) fn is_same(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if let Some(new) = not_modified.get(header::ETAG) {
        // Weak beside strong is one: the gateway weakens the tags of what it rewrites.
        return stored.get(header::ETAG).is_some_and(|own| weakly_equal(own.as_bytes(), new.as_bytes()));
    }
    match (not_modified.get(header::LAST_MODIFIED), stored.get(header::LAST_MODIFIED)) {
        (Some(new), Some(own)) => new == own || stored.contains_key(header::ETAG),
        _ => true,
    }
}

/// Whether a HEAD response describes the stored response (RFC 9111, 4.3.5).
pub(super) fn is_described(stored: &HeaderMap, head: &HeaderMap, length: usize) -> bool {
    let agree = |name: &http::HeaderName| match (stored.get(name), head.get(name)) {
        (own, Some(new)) => own == Some(new),
        (_, None) => true,
    };
    let length_agrees =
        head.get(header::CONTENT_LENGTH).is_none_or(|value| value.as_bytes() == length.to_string().as_bytes());
    agree(&header::ETAG) && agree(&header::LAST_MODIFIED) && length_agrees
}

/// Weak comparison (RFC 9110, 8.8.3.2).
fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag: &'_ [u8]| if tag.starts_with(b"W/") { 2 } else { 0 };
    one[opaque(one)..] == other[opaque(other)..]
}

fn strongly_equal(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

fn is_tag(value: &[u8]) -> bool {
    value.starts_with(b"\"") || value.starts_with(b"W/\"")
}

/// The value of a field that must not come twice.
fn only<'a>(fields: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = fields.get_all(name).into_iter();
    lines.next().filter(|_| lines.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn rfc_9110_13_1_2_and_13_1_3() {
        for (request, response, want) in [
            (&[("if-none-match", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "\"a\"")], true),
            (&[("if-none-match", "\"a\"")], &[("etag", "W/\"a\"")], true),
            (&[("if-none-match", "\"1\", \"a\", \"2\"")], &[("etag", "\"a\"")], true),
            (&[("if-none-match", "\"1,a\"")], &[("etag", "\"a\"")], false),
            (&[("if-none-match", "*")], &[], true),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", NEW)],
                &[("etag", "\"a\""), ("last-modified", OLD)],
                false,
            ),
            (
                &[("if-none-match", "\"a\""), ("if-modified-since", OLD)],
                &[("etag", "\"a\""), ("last-modified", NEW)],
                true,
            ),
            (&[("if-none-match", "\"a\"")], &[("last-modified", OLD)], false),
            (&[("if-modified-since", OLD)], &[("last-modified", OLD)], true),
            (&[("if-modified-since", NEW)], &[("last-modified", OLD)], true),
            (&[("if-modified-since", OLD)], &[("last-modified", NEW)], false),
            (&[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], &[("last-modified", OLD)], true),
            (&[("if-modified-since", "yesterday")], &[("last-modified", OLD)], false),
            (&[("if-modified-since", OLD)], &[("date", OLD)], true),
            (&[("if-modified-since", OLD)], &[], false),
            (&[], &[("etag", "\"a\"")], false),
        ] {
            assert_eq!(
                is_not_modified(&fields(request), &fields(response), i64::MAX),
                want,
                "{request:?} {response:?}"
            );
        }
    }

    #[test]
    fn rfc_9110_13_1_5_if_range_is_strong() {
        for (condition, response, want) in [
            ("\"a\"", &[("etag", "\"a\"")][..], true),
            ("W/\"a\"", &[("etag", "W/\"a\"")], false),
            ("\"a\"", &[("etag", "W/\"a\"")], false),
            (OLD, &[("last-modified", OLD), ("date", NEW)], true),
            (OLD, &[("last-modified", OLD), ("date", OLD)], false),
            (NEW, &[("last-modified", OLD), ("date", NEW)], false),
            ("nonsense", &[("etag", "\"a\"")], false),
        ] {
            assert_eq!(allows_range(&fields(&[("if-range", condition)]), &fields(response)), want, "{condition}");
        }
    }

    #[test]
    fn rfc_9111_4_3_4_and_4_3_5_which_response_is_meant() {
        let stored = fields(&[("etag", "W/\"a\""), ("last-modified", OLD)]);
        for (said, same) in [
            (&[][..], true),
            (&[("etag", "\"a\"")], true),
            (&[("etag", "\"b\"")], false),
            (&[("last-modified", OLD)], true),
        ] {
            assert_eq!(is_same(&stored, &fields(said)), same, "{said:?}");
        }
        assert!(!is_same(&fields(&[("last-modified", OLD)]), &fields(&[("last-modified", NEW)])));
        assert!(is_described(&stored, &fields(&[("content-length", "7")]), 7));
        assert!(!is_described(&stored, &fields(&[("content-length", "8")]), 7));
        assert!(!is_described(&stored, &fields(&[("last-modified", NEW)]), 7));
    }
}
