//! Content codings: which a body has, which a client takes.

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// A content coding that can be undone or applied. `identity` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878), with windows of up to 8 MiB (RFC 9659).
    Zstd,
    /// `gzip` or `x-gzip` (RFC 1952).
    Gzip,
    /// `deflate`: zlib (RFC 1950), or bare deflate (RFC 1951) as some servers send it. Only ever undone.
    Deflate,
}

impl Coding {
    /// The name in header fields.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip), ("x-gzip", Coding::Gzip)]
            .into_iter()
            .chain([("deflate", Coding::Deflate)])
            .find_map(|(known, coding)| known.eq_ignore_ascii_case(name).then_some(coding))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The codings of a body in the order in which they were applied, from its `Content-Encoding` (RFC 9110, 8.4). Empty:
/// none. `None`: one is not known, or there are more than [`MAX_CODINGS`].
pub fn codings(headers: &HeaderMap) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if !name.is_empty() && !name.eq_ignore_ascii_case("identity") {
                codings.push(Coding::parse(name)?);
            }
        }
    }
    (codings.len() <= MAX_CODINGS).then_some(codings)
}

/// The coding for a client that sent this `Accept-Encoding` (RFC 9110, 12.5.3; several fields joined by commas), out of
/// those offered: the one of the highest quality, at equal quality br, zstd, gzip in this order. `None`: identity.
///
/// Identity is for clients that sent none, that like it better, or whose field can't be read. Who refuses identity and
/// everything offered gets it nevertheless: a page that may be readable is better than a 406 (RFC 9110, 15.5.7).
pub fn negotiate(accept_encoding: Option<&str>, offered: &[Coding]) -> Option<Coding> {
    let preferences = parse_preferences(accept_encoding?)?;
    let exactly = |names: &[&str]| {
        preferences
            .iter()
            .filter(|(name, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
            .map(|p| p.1)
            .max()
    };
    let any = exactly(&["*"]);
    let identity = exactly(&["identity"]);
    let (coding, quality) = [Coding::Brotli, Coding::Zstd, Coding::Gzip]
        .into_iter()
        .filter(|coding| offered.contains(coding))
        .map(|coding| {
            let names: &[&str] = if coding == Coding::Gzip { &["gzip", "x-gzip"] } else { &[coding.name()] };
            (coding, exactly(names).or(any).unwrap_or(0))
        })
        // The first of the best.
        .rev()
        .max_by_key(|&(_, quality)| quality)?;
    // Identity that is not named is acceptable, but no preference.
    (quality > 0 && identity.is_none_or(|identity| identity <= quality)).then_some(coding)
}

/// Names and qualities in thousandths. `None`: malformed.
fn parse_preferences(field: &str) -> Option<Vec<(&str, u16)>> {
    let mut preferences = Vec::new();
    for member in field.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (name, weight) = match member.split_once(';') {
            None => (member, 1000),
            Some((name, weight)) => {
                let weight = weight.trim_matches([' ', '\t']);
                let quality = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?;
                (name.trim_end_matches([' ', '\t']), parse_quality(quality)?)
            }
        };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        preferences.push((name, weight));
    }
    Some(preferences)
}

/// A quality value (RFC 9110, 12.4.2) in thousandths.
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, rest) = match text.split_once('.') {
        Some((whole, rest)) => (whole, rest),
        None => (text, ""),
    };
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether bodies of this `Content-Type` are worth compressing: text, and formats that are text inside. Pictures,
/// video, archives and office files are compressed already.
pub fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    match kind {
        // A stream of events must not wait in a compressor.
        "text" => subtype != "event-stream",
        "font" => matches!(subtype, "ttf" | "otf" | "collection"),
        "image" => matches!(subtype, "svg+xml" | "bmp" | "x-ms-bmp" | "x-icon" | "vnd.microsoft.icon"),
        "application" => {
            ["+json", "+xml"].iter().any(|suffix| subtype.ends_with(suffix))
                || matches!(
                    subtype,
                    "javascript"
                        | "x-javascript"
                        | "ecmascript"
                        | "json"
                        | "xml"
                        | "manifest"
                        | "wasm"
                        | "rtf"
                        | "vnd.ms-fontobject"
                        | "x-font-ttf"
                        | "x-font-opentype"
                )
        }
        _ => false,
    }
}

/// Most codings of one body that are undone. Real ones have one; two happen where proxies compress what is compressed.
pub const MAX_CODINGS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Zstd, Coding::Brotli];

    #[test]
    fn the_best_coding_that_the_client_takes() {
        for (field, want) in [
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Brotli)),
            ("GZIP, ZSTD", Some(Coding::Zstd)),
            ("br;q=0.5, gzip;q=0.501", Some(Coding::Gzip)),
            ("br;q=0, zstd ; q=0.000 , gzip;q=0.001", Some(Coding::Gzip)),
            ("*", Some(Coding::Brotli)),
            ("br;q=0, *", Some(Coding::Zstd)),
            ("gzip, *;q=0", Some(Coding::Gzip)),
            ("identity;q=0, gzip", Some(Coding::Gzip)),
            ("identity;q=0, *;q=0.1", Some(Coding::Brotli)),
            ("identity;q=0.5, gzip;q=0.4", None),
            ("identity, gzip", Some(Coding::Gzip)),
            ("identity", None),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("deflate", None),
            ("", None),
            (" , ,", None),
            (",gzip,,", Some(Coding::Gzip)),
            ("gzip;Q=1.000", Some(Coding::Gzip)),
            // Malformed.
            ("gzip;q=1.001", None),
            ("gzip;q=2", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=-1", None),
            ("gzip;q=", None),
            ("gzip;level=9", None),
            ("gzip br", None),
            (";q=1", None),
            ("g\u{7a}ip\"", None),
        ] {
            assert_eq!(negotiate(Some(field), &ALL), want, "{field}");
        }
        assert_eq!(negotiate(None, &ALL), None);
        assert_eq!(negotiate(Some("br, gzip;q=0.1"), &[Coding::Gzip]), Some(Coding::Gzip));
        assert_eq!(negotiate(Some("br"), &[]), None);
        assert_eq!(negotiate(Some("deflate"), &[Coding::Deflate]), None);
    }

    #[test]
    fn the_codings_of_a_body() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            codings(&headers)
        };
        assert_eq!(of(&[]), Some(vec![]));
        assert_eq!(of(&["identity", ""]), Some(vec![]));
        assert_eq!(of(&["Deflate, x-gzip", "br"]), Some(vec![Coding::Deflate, Coding::Gzip, Coding::Brotli]));
        assert_eq!(of(&["gzip, gzip, gzip, gzip"]), None);
        assert_eq!(of(&["compress"]), None);
        assert_eq!(of(&["gzip, aes128gcm"]), None);
    }

    #[test]
    fn what_is_worth_compressing() {
        for yes in [
            "text/html; charset=gbk",
            "TEXT/CSS",
            "application/json",
            "application/ld+json",
            "image/svg+xml",
            "application/wasm",
        ] {
            assert!(is_compressible(yes), "{yes}");
        }
        for no in [
            "",
            "text",
            "text/event-stream",
            "image/png",
            "application/pdf",
            "application/zip",
            "font/woff2",
            "video/mp4",
        ] {
            assert!(!is_compressible(no), "{no}");
        }
    }
}
