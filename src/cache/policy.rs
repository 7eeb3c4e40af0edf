//! What may be stored (RFC 9111, 3), and what of it.

use http::{HeaderMap, HeaderName, header};

use super::{
    Rules,
    directives::Response,
    freshness::{self, Freshness, Times},
    lists::list,
    vary::Selecting,
};

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The status is one that this cache doesn't store, or does not know where it must (`must-understand`).
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// It sets a cookie.
    SetCookie,
    /// The request had credentials, and the response doesn't say that it is for all.
    Authorization,
    /// `Vary: *`.
    Vary,
    /// Nothing would ever use it.
    Useless,
    /// It is larger than may be stored.
    Large,
}

/// How a response is stored.
#[derive(Clone, Debug)]
pub(super) struct Storing {
    pub freshness: Freshness,
    pub selecting: Selecting,
    /// Fields that are sent on but not stored.
    pub withheld: Vec<HeaderName>,
    /// Whether requests with credentials may have it too (RFC 9111, 3.5).
    pub for_authorized: bool,
}

/// Decides on a response. `fields` are as they came.
pub(super) fn storing(
    request: &HeaderMap,
    status: u16,
    fields: &HeaderMap,
    rules: &Rules,
    times: Times,
) -> Result<Storing, NotStored> {
    let directives = Response::of(fields);
    // RFC 9111, 5.2.2.3: who understands the status may forget no-store.
    let understood = directives.must_understand && is_understood(status);
    if !(200..600).contains(&status) || matches!(status, 206 | 304) || (directives.must_understand && !understood) {
        return Err(NotStored::Status);
    }
    if directives.no_store && !understood {
        return Err(NotStored::NoStore);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    if fields.contains_key(header::SET_COOKIE) || fields.contains_key("set-cookie2") {
        return Err(NotStored::SetCookie);
    }
    let for_authorized = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if request.contains_key(header::AUTHORIZATION) && !for_authorized {
        return Err(NotStored::Authorization);
    }
    let selecting = Selecting::of(fields, request, &rules.vary_ignore).ok_or(NotStored::Vary)?;
    let freshness = Freshness::new(status, fields, &directives, rules, times);
    if !is_of_use(request, status, fields, &directives, rules, times, &freshness) {
        return Err(NotStored::Useless);
    }
    Ok(Storing { freshness, selecting, withheld: directives.withheld, for_authorized })
}

fn is_of_use(
    request: &HeaderMap,
    status: u16,
    fields: &HeaderMap,
    directives: &Response,
    rules: &Rules,
    times: Times,
    freshness: &Freshness,
) -> bool {
    if freshness.lifetime > 0 && !freshness.ask_always {
        return true;
    }
    // What says how long it is fresh, or that it is for all, is meant for caches, though it may be stale already.
    let explicit = freshness::explicit_lifetime(fields, directives, times).is_some()
        || directives.public
        || directives.no_cache
        || rules.negative_ttl(status).is_some();
    if has_validator(fields) && (explicit || freshness::is_heuristically_cacheable(status)) {
        return true;
    }
    // The rest is kept for the day when the platform is down: pages, not errors, and none that may be personal.
    let pages = freshness.if_error > 0 || freshness.if_down > 0;
    pages && matches!(status, 200 | 203 | 301 | 308) && (explicit || !request.contains_key(header::COOKIE))
}

/// Whether a response can be asked for again with a condition.
pub(super) fn has_validator(fields: &HeaderMap) -> bool {
    fields.contains_key(header::ETAG) || fields.contains_key(header::LAST_MODIFIED)
}

/// The fields that belong to the connection that a message came by (RFC 9110, 7.6.1; RFC 9111, 3.1), removed.
pub(super) fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let nominated: Vec<HeaderName> =
        list(fields, &header::CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// Whether this is a final status that RFC 9110 or its registry defines (RFC 9111, 5.2.2.3).
fn is_understood(status: u16) -> bool {
    http::StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some())
}

const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const NOW: Times = Times { requested: 1_800_000_000, received: 1_800_000_000 };

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn bare() -> Rules {
        Rules { stale_if_down: 0, ..Rules::default() }
    }

    fn decided(request: &HeaderMap, status: u16, response: &[(&'static str, &str)]) -> Option<NotStored> {
        storing(request, status, &fields(response), &bare(), NOW).err()
    }

    #[test]
    fn rfc_9111_3_what_is_stored() {
        let cached = |value| [("cache-control", value)];
        let get = HeaderMap::new();
        for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
            assert_eq!(decided(&get, status, &cached("max-age=60")), None, "{status}");
        }
        for status in [100, 101, 206, 304, 600] {
            assert_eq!(decided(&get, status, &cached("max-age=60")), Some(NotStored::Status), "{status}");
        }
        for (response, want) in [
            (&[("cache-control", "max-age=60, no-store")][..], Some(NotStored::NoStore)),
            (&[("cache-control", "max-age=60, private")], Some(NotStored::Private)),
            (&[("cache-control", "max-age=60, private=\"a\"")], None),
            (&[("cache-control", "max-age=60"), ("cdn-cache-control", "private")], Some(NotStored::Private)),
            (&[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")], None),
            (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], Some(NotStored::SetCookie)),
            (&[("cache-control", "max-age=60"), ("vary", "*")], Some(NotStored::Vary)),
            (&[("cache-control", "no-cache"), ("etag", "\"a\"")], None),
            (&[("cache-control", "no-cache")], Some(NotStored::Useless)),
            (&[("etag", "\"a\"")], None),
            (&[], Some(NotStored::Useless)),
        ] {
            assert_eq!(decided(&get, 200, response), want, "{response:?}");
        }
        assert_eq!(decided(&get, 503, &[("etag", "\"a\"")]), Some(NotStored::Useless));
    }

    #[test]
    fn rfc_9111_5_2_2_3_must_understand() {
        let line = [("cache-control", "max-age=60, must-understand, no-store")];
        assert_eq!(decided(&HeaderMap::new(), 200, &line), None);
        assert_eq!(decided(&HeaderMap::new(), 299, &line), Some(NotStored::Status));
    }

    #[test]
    fn rfc_9111_3_5_credentials() {
        let request = fields(&[("authorization", "Basic x")]);
        for (line, want) in [
            ("max-age=60", Some(NotStored::Authorization)),
            ("max-age=60, public", None),
            ("max-age=60, must-revalidate", None),
            ("s-maxage=60", None),
            ("max-age=60, proxy-revalidate", Some(NotStored::Authorization)),
        ] {
            assert_eq!(decided(&request, 200, &[("cache-control", line)]), want, "{line}");
        }
    }

    #[test]
    fn pages_are_kept_for_when_the_platform_is_down() {
        let keep = Rules { stale_if_down: 60, ..Rules::default() };
        let kept =
            |request: &HeaderMap, status, response: &HeaderMap| storing(request, status, response, &keep, NOW).is_ok();
        let none = HeaderMap::new();
        assert!(kept(&none, 200, &none) && !kept(&none, 500, &none));
        let cookie = fields(&[("cookie", "session=1")]);
        assert!(!kept(&cookie, 200, &none), "it may be personal");
        assert!(kept(&cookie, 200, &fields(&[("expires", "0")])));
    }

    #[test]
    fn rfc_9110_7_6_1_fields_of_the_connection_go() {
        let mut map = fields(&[
            ("connection", "a, b"),
            ("connection", "D"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "x"),
        ]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, fields(&[("c", "3")]));
    }

    proptest! {
        #[test]
        fn nothing_private_is_stored(
            before in "[a-z=\", 0-9\\-]{0,20}", cookie: bool, status in 0u16..1000, vary in "[a-z*, ]{0,9}",
        ) {
            let word = if cookie { "max-age=60" } else { "private" };
            let mut map = fields(&[("cache-control", &format!("{word}, {before}")), ("vary", &vary)]);
            if cookie {
                map.insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
            }
            prop_assert!(storing(&HeaderMap::new(), status, &map, &Rules::default(), NOW).is_err());
        }
    }
}
