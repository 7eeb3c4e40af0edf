//! Under which name a response is stored.

use std::sync::Arc;

/// A key as it is stored.
pub(super) type Key = Arc<[u8]>;

/// The parts of a key (RFC 9111, 2): what a request is for, whatever else it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Whether the scheme is https.
    pub secure: bool,
    /// Host and port, of a request that was let through: without control characters. The port may be left out where it
    /// is the scheme's own.
    pub host: &'a [u8],
    /// Path and query; one page should have one spelling.
    pub target: &'a [u8],
}

impl KeyParts<'_> {
    /// Writes the key over what is in `out`. Two requests have the same key if and only if they have the same parts.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(if self.secure { b's' } else { b'p' });
        let own = if self.secure { &b":443"[..] } else { b":80" };
        let host = self.host.strip_suffix(own).unwrap_or(self.host);
        out.extend(host.iter().map(u8::to_ascii_lowercase));
        out.push(SEPARATOR);
        out.extend_from_slice(self.target);
    }

    pub(super) fn key(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.host.len() + self.target.len() + 2);
        self.write(&mut bytes);
        bytes.into()
    }

    /// The target that a reference in a response is for (RFC 9110, 10.2.2 and 8.7), if it has the same origin.
    pub(super) fn resolve(&self, reference: &[u8]) -> Option<Vec<u8>> {
        let end = reference.iter().position(|&byte| byte == b'#').unwrap_or(reference.len());
        let reference = &reference[..end];
        let scheme = if self.secure { &b"https:"[..] } else { b"http:" };
        let has_scheme = reference.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        let reference = if has_scheme { &reference[scheme.len()..] } else { reference };
        let path = match reference.strip_prefix(b"//") {
            Some(rest) => {
                let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
                let (host, path) = rest.split_at(end);
                let (one, other) = (KeyParts { host, target: b"", ..*self }, KeyParts { target: b"", ..*self });
                if one.key() != other.key() {
                    return None;
                }
                if !path.starts_with(b"/") {
                    return Some([b"/", path].concat());
                }
                path
            }
            None if has_scheme => return None,
            None => reference,
        };
        if path.starts_with(b"/") {
            return Some(without_dots(path));
        }
        let query = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        let base = &self.target[..query];
        let base = match path.first() {
            Some(b'?') => base,
            None => return Some(self.target.to_vec()),
            Some(_) => &base[..memchr::memrchr(b'/', base).map_or(0, |slash| slash + 1)],
        };
        // A scheme of another kind is no path.
        let colon = memchr::memchr(b':', path);
        if colon.is_some_and(|colon| !path[..colon].contains(&b'/') && !path[..colon].contains(&b'?')) {
            return None;
        }
        Some(without_dots(&[base, path].concat()))
    }
}

/// The host in a key.
pub(super) fn host(key: &[u8]) -> &[u8] {
    let end = memchr::memchr(SEPARATOR, key).unwrap_or(key.len());
    key.get(1..end).unwrap_or_default()
}

/// Resolves `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(target: &[u8]) -> Vec<u8> {
    let query = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(query);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    segments.next_if(|first| first.is_empty());
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(target.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(query);
    out
}

/// Stands in no host.
const SEPARATOR: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: KeyParts<'_> = KeyParts { secure: true, host: b"H.example:443", target: b"/a/b?c=/d" };

    #[test]
    fn spellings_of_one_host_are_one_key() {
        let of = |secure, host: &'static str| KeyParts { secure, host: host.as_bytes(), target: b"/" }.key();
        assert_eq!(of(true, "h.example"), of(true, "H.Example:443"));
        assert_ne!(of(true, "h.example"), of(false, "h.example"));
        assert_ne!(of(true, "h.example"), of(true, "h.example:80"));
        assert_eq!(host(&HERE.key()), b"h.example");
    }

    #[test]
    fn rfc_9111_4_4_references_of_the_same_origin() {
        for (reference, want) in [
            ("/x?y#z", Some("/x?y")),
            ("x", Some("/a/x")),
            ("../x", Some("/x")),
            ("./", Some("/a/")),
            ("..", Some("/")),
            ("?q", Some("/a/b?q")),
            ("", Some("/a/b?c=/d")),
            ("https://h.example/x", Some("/x")),
            ("HTTPS://H.example:443?x", Some("/?x")),
            ("//h.example/x", Some("/x")),
            ("http://h.example/x", None),
            ("https://other.example/x", None),
            ("//h.example:8443/x", None),
            ("mailto:a@h.example", None),
        ] {
            let resolved = HERE.resolve(reference.as_bytes()).map(|target| String::from_utf8(target).unwrap());
            assert_eq!(resolved.as_deref(), want, "{reference}");
        }
    }

    proptest! {
        #[test]
        fn no_reference_panics(reference in prop::collection::vec(any::<u8>(), 0..40)) {
            HERE.resolve(&reference);
        }
    }
}
