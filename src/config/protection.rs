//! Header fields by which browsers are told to be careful with a site's pages.

use super::keys::{Key, Kind, key};
use super::site::Builder;

/// What browsers are told of the gateway's own pages and, if a site wants it, of those of platforms that say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// `Referrer-Policy`.
    pub referrer: Box<str>,
    /// `Permissions-Policy`; empty if there is none.
    pub permissions: Box<str>,
    /// Who may show the pages in a frame.
    pub frames: Frames,
    /// Whether the answers of platforms get these fields where they have none of the name.
    pub relayed: bool,
}

/// Who may show a page in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// Nobody.
    Deny,
    /// Pages of the same host.
    #[default]
    SameOrigin,
    /// Everybody.
    Allow,
}

impl Frames {
    /// The value of `X-Frame-Options` (RFC 7034), for browsers that don't know `frame-ancestors`.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Frames::Deny => Some("DENY"),
            Frames::SameOrigin => Some("SAMEORIGIN"),
            Frames::Allow => None,
        }
    }
}

impl Default for Protection {
    fn default() -> Self {
        Protection {
            referrer: REFERRER.into(),
            permissions: PERMISSIONS.into(),
            frames: Frames::default(),
            relayed: false,
        }
    }
}

impl Builder<'_> {
    pub(super) fn protection(&mut self) -> Protection {
        let mut text = |key, default: &str| -> Box<str> {
            let found =
                self.nearest("headers", |table| table.text(key)).map(|(file, at)| (file, at.value.clone(), at.span));
            match found {
                Some((_, value, _)) if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => value.into(),
                Some((file, _, span)) => {
                    self.error(file, "bad-value", span, "a header takes printable ASCII characters only", None);
                    default.into()
                }
                None => default.into(),
            }
        };
        let (referrer, permissions) = (text("referrer-policy", REFERRER), text("permissions-policy", PERMISSIONS));
        let frames = self.nearest("headers", |table| table.text("frames")).map(|(_, at)| at.value.as_str());
        Protection {
            referrer,
            permissions,
            frames: match frames {
                Some("deny") => Frames::Deny,
                Some("allow") => Frames::Allow,
                _ => Frames::SameOrigin,
            },
            relayed: self.nearest("headers", |table| table.bool("protect-relayed")).is_some_and(|(_, at)| *at.value),
        }
    }
}

const REFERRER: &str = "strict-origin-when-cross-origin";

const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// `[headers]`, as far as it is about these.
pub(super) const REFERRER_POLICY: Key = key(
    "referrer-policy",
    Kind::Text,
    "\"strict-origin-when-cross-origin\"",
    "Referrer-Policy of the gateway's own pages: what of the page's address browsers tell the sites that it links to.",
);

pub(super) const PERMISSIONS_POLICY: Key = key(
    "permissions-policy",
    Kind::Text,
    "\"camera=(), geolocation=(), microphone=(), payment=(), usb=()\"",
    "Permissions-Policy of the gateway's own pages; not sent if it is empty.",
);

pub(super) const FRAMES: Key = key(
    "frames",
    Kind::Word(&["deny", "same-origin", "allow"]),
    "\"same-origin\"",
    "Who may show the gateway's own pages in a frame (X-Frame-Options, and frame-ancestors of Content-Security-Policy). `same-origin` lets the framesets of old sites go on.",
);

pub(super) const PROTECT_RELAYED: Key = key(
    "protect-relayed",
    Kind::Bool,
    "false",
    "Whether answers of platforms get these fields, and X-Content-Type-Options, where they have none of the name. A page that uses a camera or stands in another site's frame needs exceptions then.",
);
