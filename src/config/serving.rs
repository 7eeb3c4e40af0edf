//! How a site's pages are served that a platform or the old origin answers: cache, rewriting, header fields.

use http::{HeaderName, HeaderValue};

use super::keys::{Key, Kind, key};
use super::protection::{FRAMES, PERMISSIONS_POLICY, PROTECT_RELAYED, REFERRER_POLICY};
use super::reader::{At, Table};
use super::site::Builder;

/// How pages are served that come from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// How they are cached.
    pub cache: CacheRules,
    /// Fields to set in their heads.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to add to them.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Fields to remove.
    pub remove: Vec<HeaderName>,
    /// Whether their links to the platform are rewritten to the old host, where no rule says.
    pub rewrite: bool,
    /// The page, in HTML, that stands in for one that the platform can't give.
    pub stand_by: Option<String>,
}

/// How a site's pages are cached. All times are in seconds; what is `None` is for the pages to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRules {
    /// Whether anything is.
    pub enabled: bool,
    /// How long a page is fresh that does not say.
    pub default_ttl: Option<u32>,
    /// The shortest time that a page is fresh, whatever it says.
    pub min_ttl: u32,
    /// The longest.
    pub max_ttl: Option<u32>,
    /// Whether to guess from `Last-Modified`.
    pub heuristic: bool,
    /// How long a stale page is used while a new one is fetched.
    pub stale_while_revalidate: u32,
    /// How long a stale page is used instead of an error.
    pub stale_if_error: u32,
    /// How long a stale page is used while the platform is down.
    pub stale_if_down: u32,
    /// Whether that holds for pages that forbid it, too.
    pub down_overrides: bool,
    /// How long a client waits for a fresh page where such a stale one would do, in milliseconds.
    pub patience: u32,
    /// How long answers of these statuses are fresh that do not say.
    pub negative: Vec<(u16, u32)>,
    /// Largest body that is stored, in bytes.
    pub object_bytes: Option<u64>,
    /// Request fields that do not count where `Vary` names them.
    pub vary_ignore: Vec<HeaderName>,
    /// Whether clients may ask for fresher pages.
    pub client_directives: bool,
    /// Cookies that make a request personal.
    pub private_cookies: Vec<String>,
}

impl Builder<'_> {
    pub(super) fn serving(&mut self) -> Serving {
        let cache = self.cache_rules();
        Serving {
            cache,
            set: self.fields("set"),
            add: self.fields("add"),
            remove: self.field_names("headers", "remove"),
            rewrite: self.nearest("", |table| table.bool("rewrite")).is_some_and(|(_, at)| *at.value),
            stand_by: self.nearest("", |table| table.text("stand-by")).map(|(_, at)| at.value.to_owned()),
        }
    }

    fn cache_rules(&mut self) -> CacheRules {
        let layers = self.layers;
        let tables = || layers.iter().filter_map(|layer| Some(layer.table.table("cache")?.value));
        let number =
            |key: &str| -> Option<i64> { tables().find_map(|table: &Table| table.number(key).map(|at| *at.value)) };
        let is = |key: &str, default| {
            tables().find_map(|table: &Table| table.bool(key).map(|at| *at.value)).unwrap_or(default)
        };
        // The table of keys bounds every number.
        let seconds = |key: &str, default: u32| number(key).map_or(default, |value| value as u32);
        let mut rules = CacheRules {
            enabled: is("enabled", true),
            default_ttl: number("default-ttl").map(|value| value as u32),
            min_ttl: seconds("min-ttl", 0),
            max_ttl: number("max-ttl").map(|value| value as u32),
            heuristic: is("heuristic", false),
            stale_while_revalidate: seconds("stale-while-revalidate", 0),
            stale_if_error: seconds("stale-if-error", 0),
            stale_if_down: seconds("stale-if-down", WEEK),
            down_overrides: is("down-overrides", false),
            patience: seconds("patience", PATIENCE),
            negative: Vec::new(),
            object_bytes: number("object-size").map(|value| value as u64),
            vary_ignore: self.field_names("cache", "vary-ignore"),
            client_directives: is("client-directives", true),
            private_cookies: Vec::new(),
        };
        if let Some((_, at)) = self.nearest("cache", |table| table.texts("private-cookies")) {
            rules.private_cookies = at.value.iter().map(|at| at.value.clone()).collect();
        }
        let negative =
            self.nearest("cache", |table| table.texts("negative")).map(|(file, at)| (file, at.value.clone()));
        for (file, At { value, span }) in
            negative.into_iter().flat_map(|(file, list)| list.into_iter().map(move |at| (file, at)))
        {
            let parsed = value.split_once('=').and_then(|(status, ttl)| {
                let status = status.trim().parse().ok().filter(|status| (400..600).contains(status))?;
                Some((status, ttl.trim().parse().ok()?))
            });
            match parsed {
                Some(negative) => rules.negative.push(negative),
                None => {
                    let hint = "write the status and how many seconds such an answer is kept: \"404=60\"".to_owned();
                    self.error(
                        file,
                        "bad-value",
                        span,
                        format!("`{value}` is not an error status and a time"),
                        Some(hint),
                    );
                }
            }
        }
        rules
    }

    /// Fields to set or to add, written as in a head: `Name: value`.
    fn fields(&mut self, key: &str) -> Vec<(HeaderName, HeaderValue)> {
        let list = self.nearest("headers", |table| table.texts(key)).map(|(file, at)| (file, at.value.clone()));
        let Some((file, list)) = list else { return Vec::new() };
        let mut fields = Vec::new();
        for At { value, span } in list {
            let parsed = value.split_once(':').ok_or_else(|| "a field is written `Name: value`".to_owned());
            let parsed = parsed.and_then(|(name, text)| {
                let text =
                    HeaderValue::from_str(text.trim()).map_err(|_| "the value can't stand in a header".to_owned())?;
                Ok((field_name(name.trim())?, text))
            });
            match parsed {
                Ok(field) => fields.push(field),
                Err(why) => self.error(file, "bad-header", span, format!("`{value}`: {why}"), None),
            }
        }
        fields
    }

    fn field_names(&mut self, table: &str, key: &str) -> Vec<HeaderName> {
        let list = self.nearest(table, |table| table.texts(key)).map(|(file, at)| (file, at.value.clone()));
        let Some((file, list)) = list else { return Vec::new() };
        let mut names = Vec::new();
        for At { value, span } in list {
            match field_name(&value) {
                Ok(name) => names.push(name),
                Err(why) => self.error(file, "bad-header", span, format!("`{value}`: {why}"), None),
            }
        }
        names
    }
}

fn field_name(name: &str) -> Result<HeaderName, String> {
    let name: HeaderName = name.parse().map_err(|_| "this is no name of a header field".to_owned())?;
    if FRAMING.contains(&name.as_str()) {
        return Err(format!(
            "`{name}` says where an answer ends or how the connection goes on: that is the gateway's to say"
        ));
    }
    Ok(name)
}

/// Fields that nobody may rule over.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "content-range",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const WEEK: u32 = 7 * 86_400;

/// Milliseconds.
const PATIENCE: u32 = 3_000;

const TIME: Kind = Kind::Number(0, 315_360_000);

/// `[cache]` of site files.
pub const CACHE: &[Key] = &[
    key("enabled", Kind::Bool, "true", "Whether answers of platforms are cached at all (RFC 9111)."),
    key(
        "default-ttl",
        TIME,
        "",
        "Seconds that an answer is fresh that does not say; where absent, such answers are not kept.",
    ),
    key(
        "min-ttl",
        TIME,
        "0",
        "Seconds that an answer is fresh at least, whatever it says (`no-cache`, `no-store` and `private` still count).",
    ),
    key("max-ttl", TIME, "", "Seconds that an answer is fresh at most."),
    key(
        "heuristic",
        Kind::Bool,
        "false",
        "Whether an answer that does not say is fresh for a tenth of its age since Last-Modified (RFC 9111, 4.2.2), a day at most.",
    ),
    key(
        "stale-while-revalidate",
        TIME,
        "0",
        "Seconds that a stale answer is used while a new one is fetched, where it has no such directive (RFC 5861).",
    ),
    key(
        "stale-if-error",
        TIME,
        "0",
        "Seconds that a stale answer is used instead of an error, where it has no such directive (RFC 5861).",
    ),
    key(
        "stale-if-down",
        TIME,
        "604800",
        "Seconds that a stale answer is used while the platform can't be reached, sends no proper answer, or says 502, 503 or 504.",
    ),
    key(
        "down-overrides",
        Kind::Bool,
        "false",
        "Whether stale-if-down holds for answers that forbid it (`must-revalidate`, `no-cache`, `s-maxage`), too.",
    ),
    key(
        "patience",
        Kind::Number(0, 86_400_000),
        "3000",
        "Milliseconds that a visitor waits for a fresh answer where stale-if-down allows a stale one: a platform that takes longer is taken for down, by this one request.",
    ),
    key(
        "negative",
        Kind::Texts,
        "[]",
        "How long errors are kept that do not say: [\"404=60\", \"500=5\"] (status and seconds).",
    ),
    key(
        "object-size",
        Kind::Number(0, 1 << 40),
        "",
        "Largest body that is stored, in bytes; [cache] of gateway.toml where absent.",
    ),
    key(
        "vary-ignore",
        Kind::Texts,
        "[]",
        "Request fields that do not count where Vary names them, such as User-Agent.",
    ),
    key(
        "client-directives",
        Kind::Bool,
        "true",
        "Whether clients may ask for fresher answers (Cache-Control and Pragma of requests).",
    ),
    key(
        "private-cookies",
        Kind::Texts,
        "[]",
        "Names of cookies with which a request is personal: it is neither answered from the cache nor stored.",
    ),
];

/// `[headers]` of site files.
pub const HEADERS: &[Key] = &[
    FRAMES,
    REFERRER_POLICY,
    PERMISSIONS_POLICY,
    PROTECT_RELAYED,
    key(
        "set",
        Kind::Texts,
        "[]",
        "Fields that answers of platforms get, in place of their own: [\"X-Frame-Options: SAMEORIGIN\"].",
    ),
    key("add", Kind::Texts, "[]", "Fields that are added to those of the same name."),
    key(
        "remove",
        Kind::Texts,
        "[]",
        "Names of fields that are removed; those that tell what server software runs there are in any case.",
    ),
];
