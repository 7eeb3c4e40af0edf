//! Which links lead to the platform, and how they must look under the old host.

use std::ops::Range;
use std::sync::Arc;

/// What one rule (or site) maps: made at reload, shared by all its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkMap {
    hosts: Vec<MappedHost>,
    prefix: Option<(String, String)>,
    elsewhere: Option<String>,
}

/// A host whose links stay on the old host. `port`: `None` is the default port of the link's scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MappedHost {
    name: Box<str>,
    port: Option<u16>,
}

impl LinkMap {
    /// `hosts`: host names, IPv4 addresses or bracketed IPv6 addresses, in ASCII (A-labels) and lower case, each with
    /// an optional `:port`. Without a port, only links to the default port of their scheme are meant. Those that are no
    /// hosts are left out.
    ///
    /// `prefix`: (upstream, public) when the rule maps a path prefix onto another, such as `/interaction/mail/` onto
    /// `/mailbox/`; `None`, or two that are equal, when paths are the same on both sides.
    ///
    /// `elsewhere`: the platform's public base, such as `https://www.qingshan.example`, without a slash at its end.
    /// Links of a page that are relative to the platform's root and leave the upstream prefix are made absolute with
    /// it. Only read together with a prefix.
    pub fn new<H: AsRef<str>>(
        hosts: impl IntoIterator<Item = H>,
        prefix: Option<(String, String)>,
        elsewhere: Option<String>,
    ) -> Self {
        let map = LinkMap {
            hosts: hosts.into_iter().filter_map(|host| MappedHost::parse(host.as_ref())).collect(),
            prefix: None,
            elsewhere: elsewhere.map(|base| inert(base.trim_end_matches('/'))),
        };
        match prefix {
            Some((upstream, public)) => map.with_prefix(&upstream, &public),
            None => map,
        }
    }

    /// The same for a rule that maps a path prefix.
    pub fn with_prefix(&self, upstream: &str, public: &str) -> Self {
        let prefix = (upstream != public).then(|| (upstream.to_owned(), inert(public)));
        LinkMap { prefix, ..self.clone() }
    }

    /// Whether a cookie of `domain` (lower case, no dot before it) goes to one of the hosts: it is one, or a parent of
    /// one.
    pub(super) fn has_domain(&self, domain: &str) -> bool {
        self.hosts.iter().any(|host| domain_matches(&host.name, domain))
    }

    fn has(&self, name: &[u8], port: u16, default_port: u16) -> bool {
        self.hosts
            .iter()
            .any(|host| host.port.unwrap_or(default_port) == port && host.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl MappedHost {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = split_authority(text.as_bytes())?;
        let name = str::from_utf8(name).ok()?.to_ascii_lowercase().into();
        Some(MappedHost { name, port })
    }
}

/// How the links of one response must look to the client that asked. Cheap to make.
#[derive(Clone, Debug)]
pub struct Links {
    map: Arc<LinkMap>,
    scheme: &'static str,
    host: String,
    /// Whether links that are relative to the root lead to the host of the page.
    root_is_here: bool,
}

/// What must change in a link: these of its bytes become `with`. The rest stays as it is, in whatever charset.
///
/// `with` is ASCII that means nothing but itself in CSS, in header fields, in `srcset` and, `&` apart, in HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) with: String,
}

impl Links {
    /// `scheme`: `http` or `https`, as the client came. `host`: the old host in canonical spelling, with its port if
    /// that is not the scheme's default. If `host` could not stand in a URL, no link to a host ever changes.
    pub fn new(map: Arc<LinkMap>, scheme: &'static str, host: String) -> Self {
        Links { map, scheme, host, root_is_here: true }
    }

    /// How a link must look for the client; `None` if it stays as it is.
    ///
    /// Only absolute and protocol-relative links to a mapped host change, with a prefix those relative to the root, and
    /// over HTTPS those to the old host by plain HTTP.
    /// Where a browser might read a link in another way than this function (user names, backslashes, line ends or tabs
    /// inside, escapes in the host, a dot at its end), it stays as it is.
    pub fn map(&self, link: &str) -> Option<String> {
        let Edit { range, with } = self.edit(link.as_bytes())?;
        Some([&link[..range.start], &with, &link[range.end..]].concat())
    }

    /// [`map`](Self::map) for bytes in any charset that is a superset of ASCII: what to replace. Never looks at bytes
    /// that are not ASCII, except to find `..` among the segments of a path.
    pub(super) fn edit(&self, link: &[u8]) -> Option<Edit> {
        // Browsers strip controls and blanks around a URL (WHATWG URL 4.4, steps 1 and 2).
        let start = link.iter().position(|&byte| byte > b' ')?;
        let end = link.iter().rposition(|&byte| byte > b' ')? + 1;
        let url = &link[start..end];
        let (len, with) = if let Some(rest) = url.strip_prefix(b"//") {
            let path = self.edit_authority(rest, self.scheme)?;
            (url.len() - rest.len() + path.taken, format!("//{}{}", self.host, path.prefix))
        } else if let Some((scheme, rest)) = split_scheme(url) {
            let authority = authority(rest);
            if scheme == "http" && self.scheme == "https" && self.is_own(authority) {
                let end = start + url.len() - rest.len() + authority.len();
                return Some(Edit { range: start..end, with: format!("https://{}", self.host) });
            }
            let path = self.edit_authority(rest, scheme)?;
            (url.len() - rest.len() + path.taken, format!("{}://{}{}", self.scheme, self.host, path.prefix))
        } else if url[0] == b'/' && self.root_is_here {
            self.edit_root_relative(url)?
        } else {
            return None;
        };
        (url[..len] != *with.as_bytes()).then(|| Edit { range: start..start + len, with })
    }

    /// Follows a page's `<base href>`, whose value for the client is `base`: if it names another host than the old one,
    /// links that are relative to the root lead there, and stay as they are.
    pub(super) fn set_base(&mut self, base: &[u8]) {
        let base = base.trim_ascii_start();
        let rest = if let Some(rest) = base.strip_prefix(b"//") {
            rest
        } else if let Some((_, rest)) = split_scheme(base) {
            rest
        } else {
            // Relative to this page, if it is plainly that.
            let is_odd = base.first() == Some(&b'\\')
                || base.starts_with(b"/") && looks_protocol_relative(base)
                || base.iter().any(|byte| matches!(byte, b':' | b'\t' | b'\r' | b'\n'));
            self.root_is_here &= !is_odd;
            return;
        };
        self.root_is_here &= authority(rest).eq_ignore_ascii_case(self.host.as_bytes());
    }

    pub(super) fn link_map(&self) -> &LinkMap {
        &self.map
    }

    /// The name of the old host, without its port.
    pub(super) fn host_name(&self) -> &str {
        match split_authority(self.host.as_bytes()) {
            Some((name, _)) => &self.host[..name.len()],
            None => &self.host,
        }
    }

    /// The path prefix on the platform, and the one that the client sees, if they differ.
    pub(super) fn prefix(&self) -> Option<(&str, &str)> {
        self.map.prefix.as_ref().map(|(upstream, public)| (upstream.as_str(), public.as_str()))
    }

    /// Whether a link by plain HTTP leads to the old host itself. Old servers call themselves so, as they know nothing of
    /// HTTPS; but into a page that came by HTTPS, browsers load nothing else.
    fn is_own(&self, authority: &[u8]) -> bool {
        // Which unusual port of HTTPS would go with one of HTTP, nobody knows.
        matches!(split_authority(authority), Some((name, None | Some(80))) if name.eq_ignore_ascii_case(self.host.as_bytes()))
    }

    /// `rest` stands after the slashes. How many of its bytes are replaced, and by which path prefix.
    fn edit_authority(&self, rest: &[u8], scheme: &str) -> Option<Taken<'_>> {
        let len = authority(rest).len();
        let (name, port) = split_authority(&rest[..len])?;
        let default_port = if scheme == "http" { 80 } else { 443 };
        if !self.map.has(name, port.unwrap_or(default_port), default_port) {
            return None;
        }
        split_authority(self.host.as_bytes())?;
        let Some((upstream, public)) = &self.map.prefix else { return Some(Taken { taken: len, prefix: "" }) };
        let path = &rest[len..];
        // An empty path is the root.
        let (path, unwritten) = if path.starts_with(b"/") { (path, 0) } else { (&b"/"[..], 1) };
        is_under(path, upstream).then(|| Taken { taken: len + upstream.len() - unwritten, prefix: public })
    }

    fn edit_root_relative(&self, url: &[u8]) -> Option<(usize, String)> {
        // Browsers drop tabs and line ends and take `\` for `/`: these may be protocol-relative.
        if looks_protocol_relative(url) {
            return None;
        }
        let (upstream, public) = self.map.prefix.as_ref()?;
        // With the prefix `/app/` for `/`, `/app//host/` would become a link to another host.
        let stays_path =
            !(public == "/" && looks_protocol_relative(&url[(upstream.len().saturating_sub(1)).min(url.len())..]));
        if is_under(url, upstream) && stays_path {
            return Some((upstream.len(), public.clone()));
        }
        Some((0, self.map.elsewhere.clone()?))
    }
}

struct Taken<'a> {
    taken: usize,
    prefix: &'a str,
}

/// The scheme and what follows its `://`.
fn split_scheme(url: &[u8]) -> Option<(&'static str, &[u8])> {
    for (scheme, start) in [("http", &b"http://"[..]), ("https", b"https://")] {
        if url.get(..start.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(start)) {
            return Some((scheme, &url[start.len()..]));
        }
    }
    None
}

/// What stands before the path of a URL, `rest` after its slashes.
fn authority(rest: &[u8]) -> &[u8] {
    let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    &rest[..len]
}

/// Host and port, if this is nothing but a plainly written host and an optional port.
fn split_authority(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let name_end = if text.starts_with(b"[") {
        let end = text.iter().position(|&byte| byte == b']')?;
        if !text[1..end].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
            return None;
        }
        end + 1
    } else {
        let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
        if !text[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            return None;
        }
        end
    };
    let (name, rest) = text.split_at(name_end);
    if name.is_empty() {
        return None;
    }
    let port = match rest {
        [] => None,
        [b':', digits @ ..] if matches!(digits, [b'1'..=b'9', ..]) => Some(str::from_utf8(digits).ok()?.parse().ok()?),
        _ => return None,
    };
    Some((name, port))
}

/// Whether the path of `url` (which begins with it) is `prefix` or below it, by segments, as browsers resolve it.
fn is_under(url: &[u8], prefix: &str) -> bool {
    let Some(rest) = url.strip_prefix(prefix.as_bytes()) else { return false };
    (prefix.ends_with('/') || rest.first().is_none_or(|byte| matches!(byte, b'/' | b'?' | b'#')))
        && !has_dot_segment(url)
}

/// Whether a browser would see, or after dropping tabs and line ends might see, a host after the first slash.
fn looks_protocol_relative(url: &[u8]) -> bool {
    url.get(1).is_some_and(|byte| matches!(byte, b'/' | b'\\' | b'\t' | b'\r' | b'\n'))
}

/// Whether a segment of the path is `.` or `..`, in any spelling that browsers resolve. Then what the path says
/// literally is not where it leads.
fn has_dot_segment(url: &[u8]) -> bool {
    let end = url.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(url.len());
    url[..end].split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let mut dots = 0;
        let mut rest = segment.iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'));
        loop {
            match rest.next() {
                None => return dots == 1 || dots == 2,
                Some(b'.') => dots += 1,
                Some(b'%') if rest.next() == Some(b'2') && matches!(rest.next(), Some(b'e' | b'E')) => dots += 1,
                _ => return false,
            }
        }
    })
}

/// Whether `host` is `domain` or below it (RFC 6265, 5.1.3).
pub(super) fn domain_matches(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Percent-encodes what could mean something where links stand: in CSS, `srcset`, header fields, or quotes.
fn inert(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:%[]@!$*+=&?#".contains(&byte) {
            out.push(byte.into());
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn links(prefix: Option<(&str, &str)>) -> Links {
        let map = LinkMap::new(
            ["platform.example", "10.1.2.3:8443", "[2001:db8::1]:8080", "not a host"],
            prefix.map(|(upstream, public)| (upstream.into(), public.into())),
            Some("https://www.platform.example/".into()),
        );
        Links::new(Arc::new(map), "https", "old.example:4433".into())
    }

    #[test]
    fn links_to_mapped_hosts_stay_on_the_old_host() {
        let links = links(None);
        for (link, want) in [
            ("http://platform.example/a?b#c", "https://old.example:4433/a?b#c"),
            ("https://platform.example", "https://old.example:4433"),
            ("https://platform.example?q", "https://old.example:4433?q"),
            ("https://platform.example#f", "https://old.example:4433#f"),
            ("//platform.example/a", "//old.example:4433/a"),
            ("//platform.example:443/a", "//old.example:4433/a"),
            ("HTTPS://Platform.EXAMPLE:443/A", "https://old.example:4433/A"),
            ("http://platform.example:80/", "https://old.example:4433/"),
            (" \n\thttp://platform.example/a \r\n", " \n\thttps://old.example:4433/a \r\n"),
            ("http://10.1.2.3:8443/", "https://old.example:4433/"),
            ("http://[2001:DB8::1]:8080/", "https://old.example:4433/"),
            ("http://platform.example/a\\b\n中", "https://old.example:4433/a\\b\n中"),
        ] {
            assert_eq!(links.map(link).as_deref(), Some(want), "{link:?}");
        }
    }

    #[test]
    fn the_old_host_itself_is_called_as_the_client_came() {
        let own = |scheme, host: &str, link: &str| {
            let map = LinkMap::new(["platform.example"], Some(("/a/".into(), "/b/".into())), None);
            Links::new(Arc::new(map), scheme, host.into()).map(link)
        };
        for (link, want) in [
            ("http://old.example/x?y", Some("https://old.example/x?y")),
            (" HTTP://Old.Example", Some(" https://old.example")),
            ("http://old.example:80/x", Some("https://old.example/x")),
            ("https://old.example/x", None),
            ("//old.example/x", None),
            ("http://old.example:8080/x", None),
            ("http://old.example@evil.example/", None),
            ("http://old.example\\evil.example/", None),
            ("http://www.old.example/x", None),
        ] {
            assert_eq!(own("https", "old.example", link).as_deref(), want, "{link:?}");
            assert_eq!(own("http", "old.example", link), None, "{link:?}");
        }
        assert_eq!(own("https", "old.example:8443", "http://old.example:8443/"), None);
        assert_eq!(own("https", "old.example:8443", "http://old.example/"), None);
    }

    #[test]
    fn other_links_never_change() {
        for prefix in [None, Some(("/interaction/mail/", "/mailbox/"))] {
            let mut links = links(prefix);
            for link in [
                "",
                " ",
                "a/b",
                "../a",
                "?q",
                "#f",
                "data:text/css,url(http://platform.example/)",
                "javascript:location='http://platform.example/'",
                "mailto:a@platform.example",
                "ftp://platform.example/interaction/mail/",
                "ws://platform.example/interaction/mail/",
                "http://platform.example.evil.com/interaction/mail/",
                "http://evil.platform.example/interaction/mail/",
                "http://evilplatform.example/interaction/mail/",
                "http://user@platform.example/interaction/mail/",
                "http://platform.example@evil.com/interaction/mail/",
                "http://platform.example:80@evil.com/interaction/mail/",
                "http://platform.example\\@evil.com/interaction/mail/",
                "http://platform.example\\.evil.com/interaction/mail/",
                "http://platform.example\n.evil.com/interaction/mail/",
                "http://platform.example .evil.com/",
                "http://platform.example:8443/interaction/mail/",
                "http://platform.example:443/interaction/mail/",
                "https://platform.example:80/interaction/mail/",
                "//platform.example:80/interaction/mail/",
                "http://platform.example:/interaction/mail/",
                "http://platform.example:0443/interaction/mail/",
                "http://platform.example:4+3/",
                "http://platform.example:65979/",
                "http://platform.example./interaction/mail/",
                "http://platform%2eexample/interaction/mail/",
                "http://platform。example/interaction/mail/",
                "http://ｐlatform.example/interaction/mail/",
                "ht\ntp://platform.example/interaction/mail/",
                "http:/\n/platform.example/interaction/mail/",
                "http:\\\\platform.example/interaction/mail/",
                "http:/platform.example/interaction/mail/",
                "http:platform.example/interaction/mail/",
                "http:///platform.example/interaction/mail/",
                "///platform.example/interaction/mail/",
                "\\\\platform.example/interaction/mail/",
                "/\\platform.example/interaction/mail/",
                "/\t/platform.example/interaction/mail/",
                "/\n\\platform.example/interaction/mail/",
                "http://10.1.2.3/interaction/mail/",
                "http://[2001:db8::1]/interaction/mail/",
                "http://[2001:db8::1",
                "http://",
                "//",
                "https://old.example:4433/interaction/mail/",
            ] {
                assert_eq!(links.map(link), None, "{link:?}");
            }
            links.host = "evil\"host".into();
            assert_eq!(links.map("http://platform.example/interaction/mail/"), None);
        }
        assert_eq!(links(None).map("/a"), None);
    }

    #[test]
    fn a_prefix_maps_what_is_under_it() {
        let links = links(Some(("/interaction/mail/", "/mailbox/")));
        for (link, want) in [
            ("/interaction/mail/x?y", Some("/mailbox/x?y")),
            ("/interaction/mail/", Some("/mailbox/")),
            ("/interaction/mail", Some("https://www.platform.example/interaction/mail")),
            ("/interaction/mailing", Some("https://www.platform.example/interaction/mailing")),
            ("/", Some("https://www.platform.example/")),
            ("/other?/interaction/mail/", Some("https://www.platform.example/other?/interaction/mail/")),
            ("/interaction/mail/../x", Some("https://www.platform.example/interaction/mail/../x")),
            ("/interaction/mail/%2E./x", Some("https://www.platform.example/interaction/mail/%2E./x")),
            ("/interaction/mail/.\n./x", Some("https://www.platform.example/interaction/mail/.\n./x")),
            ("/interaction/mail/..\\x", Some("https://www.platform.example/interaction/mail/..\\x")),
            ("/interaction/mail/...?a=/../", Some("/mailbox/...?a=/../")),
            ("http://platform.example/interaction/mail/x", Some("https://old.example:4433/mailbox/x")),
            ("//platform.example/interaction/mail/x", Some("//old.example:4433/mailbox/x")),
            ("http://platform.example/other", None),
            ("http://platform.example/interaction/mail/../other", None),
            ("http://platform.example", None),
            ("http://platform.example?/interaction/mail/", None),
        ] {
            assert_eq!(links.map(link).as_deref(), want, "{link:?}");
        }
    }

    #[test]
    fn prefixes_of_other_shapes() {
        let root = links(Some(("/", "/app/")));
        assert_eq!(root.map("/x").as_deref(), Some("/app/x"));
        assert_eq!(root.map("http://platform.example").as_deref(), Some("https://old.example:4433/app/"));
        assert_eq!(root.map("http://platform.example?q").as_deref(), Some("https://old.example:4433/app/?q"));
        let to_root = links(Some(("/app/", "/")));
        assert_eq!(to_root.map("/app/x").as_deref(), Some("/x"));
        for link in ["/app//evil.com/", "/app/\\evil.com/", "/app/\t/evil.com"] {
            assert_eq!(to_root.map(link), Some(format!("https://www.platform.example{link}")));
        }
        let bare = links(Some(("/app", "/a b\"<")));
        assert_eq!(bare.map("/app").as_deref(), Some("/a%20b%22%3C"));
        assert_eq!(bare.map("/app/x").as_deref(), Some("/a%20b%22%3C/x"));
        assert_eq!(bare.map("/apple").as_deref(), Some("https://www.platform.example/apple"));
        let same = links(Some(("/app/", "/app/")));
        assert_eq!(same.map("/x"), None);
        let silent = Links::new(
            Arc::new(LinkMap::new(["p.example"], Some(("/a/".into(), "/b/".into())), None)),
            "http",
            "old.example".into(),
        );
        assert_eq!(silent.map("/x"), None);
    }

    proptest! {
        #[test]
        fn hosts_that_are_not_mapped_never_change(
            scheme in "(https?:)?",
            before in "[a-z0-9.@:_-]{0,6}",
            after in "[a-z0-9.@:\\\\_-]{1,6}",
            path in "[/?#].{0,20}",
        ) {
            let links = links(None);
            let port = if scheme == "http:" { ":80" } else { ":443" };
            prop_assume!(after != port);
            let link = format!("{scheme}//{before}platform.example{after}{path}");
            prop_assert_eq!(links.map(&link), None);
        }

        #[test]
        fn any_text_is_a_link_or_none(link in "(https?:)?(//)?(platform.example)?\\PC{0,20}") {
            for prefix in [None, Some(("/", "/app/"))] {
                let links = links(prefix);
                if let Some(mapped) = links.map(&link) {
                    // Once is enough: what was mapped is on the old host.
                    prop_assert!(!mapped.contains(char::is_control) || link.contains(char::is_control));
                    if prefix.is_none() {
                        prop_assert_eq!(links.map(&mapped), None);
                    }
                }
            }
        }

        #[test]
        fn bytes_never_panic(link in proptest::collection::vec(any::<u8>(), 0..40)) {
            for prefix in [None, Some(("/", "/app/"))] {
                if let Some(edit) = links(prefix).edit(&link) {
                    prop_assert!(edit.range.end <= link.len());
                }
            }
        }
    }
}
