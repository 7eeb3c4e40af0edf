//! Every key of the two TOML formats: name, type, default and manual, in one place.
//!
//! The reader checks files against these tables, the JSON Schema and `waypost config` are printed from them, and their
//! docs are the manual that editors show. A key that is not here does not exist.

use crate::model::{Disposition, Https};

use super::acme::ACME;
use super::admin::ADMIN;
use super::guard::GUARD;
use super::hits::HITS;
use super::limits::LIMITS;
use super::log::LOG;
use super::monitor::MONITOR;
use super::platform::Balance;
use super::serving::{CACHE, HEADERS};
use super::traces::TRACES;
use super::verify::VERIFY;

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// True or false.
    Bool,
    /// A whole number from the first to the second, both included.
    Number(i64, i64),
    /// A number from 0 to 1, of which the first six decimals count.
    Share,
    /// A list of texts.
    Texts,
    /// A redirect status: `permanent`, `temporary` or a number.
    Status,
    /// A date (local midnight) or a date and time with offset.
    Date,
    /// A table.
    Table(&'static [Key]),
    /// A list of tables (`[[name]]`).
    Tables(&'static [Key]),
    /// A table whose keys the operator chooses, each with a table of these keys (`[platforms.NAME]`).
    Named(&'static [Key]),
    /// A table of texts whose keys the operator chooses.
    Free,
}

/// Which files a key may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Site files only: it makes no sense for more than one site.
    Site,
    /// `defaults.toml` only: sites may not decide it for themselves.
    Defaults,
    /// Both.
    Both,
    /// `gateway.toml` only, of keys that stand in all three: it makes no sense for a part of the sites.
    Gateway,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written in files.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Where it may stand.
    pub scope: Scope,
    /// Whether a file without it is faulty.
    pub required: bool,
    /// The value when it is absent, as TOML; empty if there is none.
    pub default: &'static str,
    /// The manual.
    pub doc: &'static str,
}

pub(super) const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, scope: Scope::Both, required: false, default, doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, scope: Scope::Site, required: true, default: "", doc }
}

pub(super) const fn only(scope: Scope, key: Key) -> Key {
    Key { scope, ..key }
}

/// The keys of a site file and, less those of [`Scope::Site`], of `defaults.toml`.
pub const SITE: &[Key] = &[
    required("name", Kind::Text, "Name of the retired site, as citizens know it; shown on pages."),
    required(
        "hosts",
        Kind::Texts,
        "Host names that the site answered to: `example.org`, or `*.example.org` for every name below it. International names may be written in Unicode. The first that is no wildcard stands for the site where `check` and the start message need one.",
    ),
    key(
        "home",
        Kind::Text,
        "",
        "Where the site's content went: an http(s) URL. `/` goes there (only a mapping or a `first` rule for `/` comes before), and pages link to it. Every site needs one, of its own or from defaults.toml.",
    ),
    key("owner", Kind::Text, "", "Who may edit the site's files; a label on dashboards."),
    key("code", Kind::Text, "", "Site identification code, shown on pages and passed to the report-an-error link."),
    key(
        "wave",
        Kind::Number(0, 999),
        "",
        "The wave of the consolidation in which the site moved; `waypost wave` sets the dates of all its sites.",
    ),
    only(
        Scope::Site,
        key(
            "disposition",
            Kind::Word(&Disposition::WORDS),
            "\"close\"",
            "What the consolidation does with the site: `close` retires it: the gateway answers for it as all else here says. `keep` and `exempt` (from the consolidation, and from its rate) leave it where it is: its file is there for `waypost status` and the survey, it needs no `home`, and the gateway does not answer for its hosts, unless it names an `origin`: then all is passed on to that, in every phase.",
        ),
    ),
    key(
        "status",
        Kind::Status,
        "\"permanent\"",
        "Status of the site's redirects where nothing nearer says otherwise: `permanent` (301 for GET and HEAD, 308 otherwise), `temporary` (302, 307), or 301, 302, 303, 307, 308.",
    ),
    key(
        "cache-control",
        Kind::Text,
        "",
        "Cache-Control of the site's answers; gateway.toml's [answers] cache-control where absent.",
    ),
    key(
        "https",
        Kind::Word(&Https::WORDS),
        "\"allow\"",
        "What happens to a request by plain HTTP, in every phase: `allow` answers it; `redirect` sends it to the same URL with https:// (301 for GET and HEAD, 308 otherwise; the port is [listen] https-port of gateway.toml); `require` answers 403 with a page that links there.",
    ),
    key(
        "hsts",
        Kind::Table(HSTS),
        "",
        "Strict-Transport-Security of the site's answers over HTTPS, such as { max-age = 31536000 }: browsers then never ask its hosts by plain HTTP. Not sent where absent. Taken whole from the nearest file that has one.",
    ),
    key(
        "archive",
        Kind::Text,
        "",
        "Link to an archive's copy for pages that are gone: a template with {timestamp}, {url}, {host}, {path}, {query}.",
    ),
    key(
        "timestamp",
        Kind::Text,
        "",
        "What {timestamp} stands for in archive links: the moment of the archive's snapshot, such as 20181231120000.",
    ),
    key(
        "report",
        Kind::Text,
        "\"https://zfwzgl.www.gov.cn/exposure/jiucuo.html?site_code={code}&url={url}\"",
        "Report-an-error link on pages, with {code} and {url}; shown only if the site has a code.",
    ),
    key(
        "previews",
        Kind::Bool,
        "true",
        "Whether `aka-HOST` (and `aka.REST` for `www.REST`) answer as HOST, to try a site out before its DNS moves.",
    ),
    key(
        "acme",
        Kind::Bool,
        "true",
        "Whether certificates for the site's hosts are ordered, where [acme] of gateway.toml names an authority. Once the site is `retired` they are renewed no more.",
    ),
    key(
        "cache",
        Kind::Table(CACHE),
        "",
        "How answers of platforms and of the old origin are cached. Taken key by key from the nearest file.",
    ),
    key(
        "headers",
        Kind::Table(HEADERS),
        "",
        "Header fields by which browsers are careful with the site's pages, and what changes in those of platforms' answers. Taken key by key from the nearest file.",
    ),
    key(
        "guard",
        Kind::Table(GUARD),
        "",
        "Whom and what the site admits. Taken key by key from the nearest file, last from gateway.toml.",
    ),
    key(
        "stand-by",
        Kind::Text,
        "",
        "The page (HTML in UTF-8, whole) that is shown with 502, 503 or 504 and Retry-After while the platform or old origin gives no answer and the cache has none; a page of the gateway's where absent.",
    ),
    key(
        "rewrite",
        Kind::Bool,
        "false",
        "Whether links in their answers (header fields, cookies, HTML, CSS) that lead to the platform or origin are rewritten to the old host, so that visitors stay on it, and over HTTPS those by plain HTTP to the old host itself; rules may say otherwise. A platform with a `host` then sees its own name in Referer and Origin, too.",
    ),
    key(
        "origin",
        Kind::Text,
        "",
        "The server that still has the old site, `http://10.0.0.7:8080` or with https://: it answers in the phase `proxy`, with the client's Host and the settings that a platform has by default. Sites with the same origin share its connections and its health.",
    ),
    only(
        Scope::Defaults,
        key(
            "allowed-targets",
            Kind::Texts,
            "[]",
            "The only hosts that the sites below this folder may redirect to: `example.org` or `*.example.org`. Where no folder says, [guard] of gateway.toml decides.",
        ),
    ),
    key(
        "lifecycle",
        Kind::Table(LIFECYCLE),
        "",
        "When each phase begins; keys merge with those of defaults.toml one by one. A site without dates is redirected from the start; before `notice` or `redirect` begins, a site is proxied; one that only says when `archive` begins is redirected until then.",
    ),
    only(
        Scope::Site,
        key(
            "census",
            Kind::Table(CENSUS),
            "",
            "The site's row in the survey of sites, as `waypost census import` found it and `waypost census export` gives it back. Traffic knows nothing of it. A site that has one still answers by itself before its wave: `check` doesn't ask it for an `origin` then.",
        ),
    ),
    key(
        "url",
        Kind::Table(URL),
        "",
        "Which spellings of an old URL are the same page; keys merge with those of defaults.toml one by one.",
    ),
    key(
        "rule",
        Kind::Tables(RULE),
        "",
        "Patterns of old URLs, in order of precedence. Rules of defaults.toml come after the site's own, the nearest folder first.",
    ),
    key(
        "fallback",
        Kind::Table(FALLBACK),
        "",
        "What answers a URL that no mapping and no rule knows. Taken whole from the nearest file that has one.",
    ),
    only(
        Scope::Site,
        key(
            "test",
            Kind::Tables(TEST),
            "",
            "What old URLs are expected to do; `waypost test` and `waypost check` run them.",
        ),
    ),
];

/// `hsts`.
pub const HSTS: &[Key] = &[
    key(
        "max-age",
        Kind::Number(0, 315_360_000),
        "31536000",
        "How long browsers remember it, in seconds; 0 makes them forget what an earlier answer said.",
    ),
    key("include-subdomains", Kind::Bool, "false", "Whether it holds for every host below the site's hosts too."),
    key(
        "preload",
        Kind::Bool,
        "false",
        "Whether browsers may build the site's hosts into their lists (hstspreload.org), which takes months to undo.",
    ),
];

/// `[lifecycle]`.
pub const LIFECYCLE: &[Key] = &[
    key("proxy", Kind::Date, "", "The old origin answers, through the gateway."),
    key("notice", Kind::Date, "", "A page says where things went, then goes there."),
    key("redirect", Kind::Date, "", "Old URLs are redirected."),
    key("archive", Kind::Date, "", "Every URL is gone (410), with a link to the archive's copy."),
    key("retired", Kind::Date, "", "The domain is safe to deregister; still answered as in `archive`."),
];

/// `[census]`.
pub const CENSUS: &[Key] = &[
    key("survey", Kind::Text, "", "The survey that it comes from; one routes folder may hold several."),
    key("sheet", Kind::Text, "", "The sheet, in a survey of several."),
    key("row", Kind::Number(1, 10_000_000), "", "Number of the row, as a spreadsheet program counts."),
    key("cells", Kind::Free, "", "What its cells say, by the heading of the column, word for word."),
];

/// `[url]`.
pub const URL: &[Key] = &[
    key(
        "charset",
        Kind::Word(&["utf-8", "gb18030", "gbk", "gb2312", "big5", "auto"]),
        "\"utf-8\"",
        "Charset of percent-encoded bytes. `auto` takes UTF-8 where the bytes are valid UTF-8, else GB18030: a guess, for sites that mixed them.",
    ),
    key(
        "case",
        Kind::Word(&["insensitive", "sensitive"]),
        "\"insensitive\"",
        "Whether case matters. Escapes are decoded before case is folded.",
    ),
    key("index", Kind::Texts, "[]", "File names that are the same as their folder: `index.html`, `default.aspx`."),
    key(
        "keep-query",
        Kind::Texts,
        "[]",
        "Query parameters that identify a page, in any order; others are ignored for mappings. `*` keeps all.",
    ),
    key("separators", Kind::Word(&["&", "&;"]), "\"&\"", "What separates query parameters."),
    key("trailing-slash", Kind::Word(&["ignore", "keep"]), "\"ignore\"", "Whether `/a/` is the same page as `/a`."),
    key("slashes", Kind::Word(&["merge", "keep"]), "\"merge\"", "Whether `//` and `\\` mean `/`."),
    key("dots", Kind::Word(&["resolve", "keep"]), "\"resolve\"", "Whether `/./` and `/../` are resolved."),
    key("session-id", Kind::Word(&["drop", "keep"]), "\"drop\"", "Whether `;jsessionid=…` in paths is ignored."),
    key(
        "escapes",
        Kind::Word(&["decode", "keep"]),
        "\"decode\"",
        "Whether `%XX` in paths is decoded, or compared as it was sent.",
    ),
    key(
        "invalid",
        Kind::Word(&["accept", "refuse"]),
        "\"accept\"",
        "Whether a raw `<`, `>` or `\"`, which no URL may contain, is taken as if it were escaped, or refused with 400.",
    ),
    key(
        "trailing-dot",
        Kind::Word(&["accept", "refuse"]),
        "\"accept\"",
        "Whether a host spelled with its trailing dot is the same host, or unknown.",
    ),
];

/// `[[rule]]`.
pub const RULE: &[Key] = &[
    key(
        "from",
        Kind::Text,
        "",
        "Pattern of a path, and of query parameters in any order: literal text, `{name}` (within a segment), `{name:regex}`, `{*name}` (the rest, slashes included). In a parameter's value `{name}` takes anything but nothing, `{*name}` also nothing; `?name` alone asks that the parameter is there. A repeated parameter never matches.",
    ),
    key(
        "regex",
        Kind::Text,
        "",
        "Regular expression over the canonical path (with its trailing slash, if one was sent; never the query), with (?<name>…) captures. It may match anywhere in the path unless it is anchored with ^ and $, and ignores case as [url] says. One of `from` and `regex` is needed.",
    ),
    key(
        "first",
        Kind::Bool,
        "false",
        "Whether the rule comes before the mappings, and before the lifecycle: it holds in every phase.",
    ),
    key(
        "to",
        Kind::Text,
        "",
        "Redirect to this http(s) URL; captures as {name}, with filters {name|div:1000}, mod, lower, upper, pad:8 (a value that a filter can't take makes the rule not match); {host}, {path}, {query} and {url} as they were sent; {timestamp}. The host must be literal.",
    ),
    key(
        "query",
        Kind::Word(&["drop", "keep"]),
        "\"drop\"",
        "Whether the query is appended to the target (or to `path`) as it was sent.",
    ),
    key("status", Kind::Status, "", "Status of the redirect; the site's `status` where absent."),
    key(
        "leaving",
        Kind::Bool,
        "false",
        "With `to`: instead of a redirect a page (200) says that the visitor leaves for that host, and links there.",
    ),
    key("gone", Kind::Bool, "false", "Answer 410."),
    key(
        "missing",
        Kind::Bool,
        "false",
        "Answer 404, whatever comes later: an exception from a wider rule or fallback.",
    ),
    key("text", Kind::Text, "", "Answer 200 with this text: site verification files, security.txt."),
    key("type", Kind::Text, "\"text/plain; charset=utf-8\"", "Content-Type of `text`."),
    key("serve", Kind::Text, "", "Proxy to this platform of gateway.toml under the old URL."),
    key(
        "path",
        Kind::Text,
        "",
        "Path (and query) to ask the platform for, a template as in `to`; the old path and query where absent.",
    ),
    key(
        "rewrite",
        Kind::Bool,
        "",
        "With `serve`: whether links to the platform are rewritten to the old host; the site's `rewrite` where absent. `path` may only exchange a prefix then: from = \"/mailbox/{*rest}\", path = \"/interaction/mail/{rest}\".",
    ),
    key("suggest", Kind::Text, "", "With `gone` or `missing`: a page that may help instead."),
    key(
        "archive",
        Kind::Text,
        "",
        "With `gone` or `missing`: link to the archive's copy; the site's `archive` where absent.",
    ),
    key("note", Kind::Text, "", "For other operators; `explain` shows it."),
    key(
        "pack",
        Kind::Text,
        "",
        "Ready-made rules for a CMS, in the place of this one: `waypost packs` lists them, `waypost packs NAME` shows patterns, captures and examples. Instead of `from`; with `prefix`, targets by shape (`article`, `column` …), or `to`, `gone`, `missing` or `serve` for all its pages. Shapes without a target are left to later rules.",
    ),
    key(
        "prefix",
        Kind::Text,
        "",
        "With `pack`: the old paths are kept below this URL, in the spelling that `waypost packs NAME` shows.",
    ),
    key(
        "under",
        Kind::Text,
        "",
        "With `pack`: the folder below which the system stood, such as `/cms`; the root of the site where absent.",
    ),
    key(
        "article",
        Kind::Text,
        "",
        "With `pack`: where its articles went, a template as in `to` with the captures that `waypost packs NAME` shows. Comes before `prefix`.",
    ),
    key("column", Kind::Text, "", "With `pack`: where its columns (lists) went, as `article`."),
    key("file", Kind::Text, "", "With `pack`: where its attachments and pictures went, as `article`."),
    key("search", Kind::Text, "", "With `pack`: where its searches went, as `article`."),
    key("page", Kind::Text, "", "With `pack`: where all its pages went, of a pack that doesn't tell them apart."),
    key(
        "hosts",
        Kind::Texts,
        "",
        "With pack = \"gate-big5\": the hosts that are taken off; the site's own, but for wildcards, where absent.",
    ),
];

/// `[fallback]`.
pub const FALLBACK: &[Key] = &[
    key(
        "action",
        Kind::Word(&["page", "home", "gone", "redirect", "serve"]),
        "\"page\"",
        "`page`: a 404 page. `home`: to the site's home. `gone`: a 410 page. `redirect`: to `to`. `serve`: proxy to the platform `serve`.",
    ),
    key("to", Kind::Text, "", "With `redirect`: the target, a template as in rules."),
    key("query", Kind::Word(&["drop", "keep"]), "\"drop\"", "With `redirect`: whether the query is appended."),
    key("status", Kind::Status, "", "Status of the redirect, with `redirect` and `home`."),
    key("serve", Kind::Text, "", "With `serve`: the platform."),
    key("path", Kind::Text, "", "With `serve`: the path to ask for, with {path}, {query} and the like."),
];

/// `[[test]]`.
pub const TEST: &[Key] = &[
    required("url", Kind::Text, "An old URL, whole (http://host/path)."),
    required(
        "expect",
        Kind::Text,
        "`301 https://new.example/page`; `410`, `404`, `200`, `501` (a target that is not allowed); `200 URL` for a notice that goes there; `403 URL` for a page that asks for https and links there; `410 URL` for a page that offers that link; `serve PLATFORM /path`. What is left out is not compared.",
    ),
    key("method", Kind::Text, "\"GET\"", "The method of the request."),
    key("date", Kind::Date, "", "When the request is made; today where absent."),
];

/// The keys of `gateway.toml`.
pub const GATEWAY: &[Key] = &[
    key("routes", Kind::Text, "\"routes\"", "Folder of site files; relative to this file's folder."),
    key(
        "certs",
        Kind::Text,
        "\"certs\"",
        "Folder of certificates and keys, PEM files under any names; relative to this file's folder. Those in `default.pem` are for clients that name no host, or one that no other certificate covers.",
    ),
    key("listen", Kind::Table(LISTEN), "", "Addresses of this node."),
    key("limits", Kind::Table(LIMITS), "", "What one client may take of this node."),
    key("tls", Kind::Table(TLS), "", "How HTTPS is spoken. Certificates are in the folder `certs`."),
    key(
        "acme",
        Kind::Table(ACME),
        "",
        "Certificates that are ordered, renewed and put to use without a person (ACME, RFC 8555). They are kept in the folder `acme` of `certs`.",
    ),
    key("process", Kind::Table(PROCESS), "", "How the process ends and is replaced."),
    key("platforms", Kind::Named(PLATFORM), "", "Consolidated platforms, by name."),
    key(
        "cache",
        Kind::Table(CACHE_SIZE),
        "",
        "Memory of the cache of platforms' answers; what is cached, and for how long, is for site files to say.",
    ),
    key("admin", Kind::Table(ADMIN), "", "Who may use the admin address, and where changes are written down."),
    key("guard", Kind::Table(GUARD), "", "What is admitted, where site files do not say, and where redirects may go."),
    key("answers", Kind::Table(ANSWERS), "", "How answers are sent."),
    key("health", Kind::Table(HEALTH), "", "Health on the public addresses."),
    key("reload", Kind::Table(RELOAD), "", "How changes of routes and certificates go live."),
    key(
        "log",
        Kind::Table(LOG),
        "",
        "What the program tells of itself, on standard error, and the access log, which tells of every request.",
    ),
    key(
        "hits",
        Kind::Table(HITS),
        "",
        "How often each old URL is asked for: counted by site and day, without addresses of clients.",
    ),
    key(
        "monitor",
        Kind::Table(MONITOR),
        "",
        "How homes and platforms are visited, to see whether they open: by the checklist's rule a home page that does not open within 15 seconds in 5 % or more of a week's visits fails the site.",
    ),
    key(
        "verify",
        Kind::Table(VERIFY),
        "",
        "How `waypost verify` follows the targets of sites, to see whether they still answer, and with what.",
    ),
    key(
        "traces",
        Kind::Table(TRACES),
        "",
        "To which traces requests belong that go to platforms (W3C Trace Context), and where those are sent (OTLP).",
    ),
];

/// `[listen]`.
pub const LISTEN: &[Key] = &[
    key(
        "http",
        Kind::Texts,
        "[\"[::]:8080\"]",
        "Listeners for plain HTTP: an IP address and a port (`[::]:8080` takes IPv4 too, unless an IPv4 address is listed with the same port), or `unix:` and the absolute path of a Unix socket. The word `proxy` after it (`127.0.0.1:8081 proxy`) says that each connection begins with a PROXY protocol header, v1 or v2; it is taken from `trusted-proxies` and Unix sockets only.",
    ),
    key("https", Kind::Texts, "[]", "Listeners for HTTPS (HTTP/2 and HTTP/1.1), written as those of `http`."),
    key(
        "https-port",
        Kind::Number(1, 65_535),
        "443",
        "The port at which citizens reach the HTTPS addresses: redirects of sites with https = \"redirect\" name it unless it is 443.",
    ),
    key("h2c", Kind::Bool, "false", "Whether plain addresses take HTTP/2 too, by prior knowledge."),
    key(
        "fast-lane",
        Kind::Bool,
        "true",
        "Whether HTTP/1 answers are written straight from the connection's buffer. Without it they take the way of proxied requests: the same answers, slower.",
    ),
    key(
        "admin",
        Kind::Text,
        "\"127.0.0.1:9180\"",
        "The admin address: /healthz, /readyz, /metrics and changes such as purges. An IP address and a port, or `unix:` and the absolute path of a Unix socket, which only its owner may connect to (mode 0600). One that other machines can reach needs [admin] tokens or client-ca.",
    ),
    key(
        "trusted-proxies",
        Kind::Texts,
        "[\"127.0.0.0/8\", \"::1/128\"]",
        "Addresses of proxies in front of the gateway whose X-Forwarded-Host, X-Forwarded-Proto and X-Forwarded-For are believed. The client is the last address in X-Forwarded-For that is none of them.",
    ),
    key("threads", Kind::Number(0, 1024), "0", "Worker threads; 0 is one per core."),
    key(
        "reuse-port",
        Kind::Bool,
        "false",
        "Whether each worker thread listens on sockets of its own (SO_REUSEPORT), so that the system spreads connections evenly and wakes one thread for each: worth it with many cores and new connections. A connection that waits for a busy thread is then not taken by an idle one.",
    ),
];

/// `[process]`.
pub const PROCESS: &[Key] = &[
    key(
        "lame-duck",
        Kind::Number(0, 3_600_000),
        "0",
        "How long connections are still accepted after SIGTERM, while /readyz already says no, in milliseconds. Behind a load balancer, longer than it takes to notice: its probe's interval times the failures it waits for. 0 where nothing probes.",
    ),
    key(
        "drain",
        Kind::Number(0, 3_600_000),
        "30000",
        "How long connections that are open when listening ends may take to finish, in milliseconds. Idle ones are closed within two seconds.",
    ),
    key(
        "directory",
        Kind::Text,
        "",
        "Folder of the socket by which `waypost upgrade` reaches the running gateway; relative to this file's folder. It is made where missing, and must be the gateway's own with mode 0700. Where absent: `control` in $RUNTIME_DIRECTORY (systemd), else in /run/waypost for root and in $XDG_RUNTIME_DIR/waypost for others, else waypost-UID in the folder for temporary files.",
    ),
];

/// `[tls]`.
pub const TLS: &[Key] = &[
    key(
        "policy",
        Kind::Word(&["intermediate", "modern"]),
        "\"intermediate\"",
        "Versions and ciphers, as Mozilla's guidelines name them. `intermediate`: TLS 1.3 and 1.2, with forward secrecy and authenticated encryption only. `modern`: TLS 1.3 only.",
    ),
    key(
        "mode",
        Kind::Word(&["development", "production"]),
        "\"development\"",
        "What a host without a certificate gets: `development` makes a self-signed one in memory, which browsers warn of; `production` refuses the handshake.",
    ),
    key(
        "passphrase-file",
        Kind::Text,
        "",
        "File whose first line is the passphrase that keys in `certs` are locked with (PKCS#8, as `openssl pkcs8 -topk8` writes them), and those that the gateway gets by itself; relative to this file's folder. Where absent, the environment variable WAYPOST_PASSPHRASE. Without either, keys are not locked.",
    ),
    key(
        "ticket-keys",
        Kind::Text,
        "",
        "File of the keys of session tickets, such as `certs/.tickets` in a folder that a fleet shares: a client resumes its session at any node. One of the nodes makes a new key every 6 hours; whoever can read the file can decrypt what clients of TLS 1.2 have sent. Where absent, each process has keys of its own.",
    ),
];

/// `[platforms.NAME]`.
pub const PLATFORM: &[Key] = &[
    key(
        "origins",
        Kind::Texts,
        "[]",
        "Addresses to proxy to: `https://10.1.2.3:8443`, `http://app.example`, or `unix:/run/app.sock` for a Unix socket that speaks plain HTTP. Each address that DNS has for a name is an origin of its own.",
    ),
    key(
        "host",
        Kind::Text,
        "",
        "The platform's own host name: redirects to it are allowed, and it is sent to the origins as Host. Where absent, the origins get the host that the client asked for.",
    ),
    key(
        "sni",
        Kind::Text,
        "",
        "With https: the name that is asked for in the handshake, and that the origin's certificate must have. Where absent: `host`, else the origin's own name or address.",
    ),
    key(
        "ca",
        Kind::Text,
        "",
        "With https: PEM file of the authorities that may have issued the origins' certificates, relative to this file's folder; a self-signed certificate is its own authority. Where absent, those that the system trusts. There is no switch that turns checks off.",
    ),
    key(
        "pin",
        Kind::Texts,
        "[]",
        "With https: SHA-256 fingerprints of certificates, as `openssl x509 -noout -fingerprint -sha256` prints them. An origin must show one of them; name, dates and issuer then don't matter, unless `ca` is written too.",
    ),
    key(
        "certificate",
        Kind::Text,
        "",
        "With https: PEM file of the certificate by which the origins know the gateway.",
    ),
    key("key", Kind::Text, "", "PEM file of the key of `certificate`."),
    key(
        "balance",
        Kind::Word(&Balance::WORDS),
        "\"round-robin\"",
        "Which origin gets a request, among those that are well: `round-robin`: each in turn. `least-connections`: the one with the fewest requests under way. `client`: the same for the same client, `url`: the same for the same host, path and query; when an origin goes or comes, only its own share moves.",
    ),
    key(
        "connect-time",
        Kind::Number(1, 600_000),
        "5000",
        "How long connecting to an origin may take, TCP and TLS together, in milliseconds.",
    ),
    key(
        "read-time",
        Kind::Number(1, 86_400_000),
        "60000",
        "How long an origin may be silent while an answer is waited for or read, in milliseconds.",
    ),
    key(
        "write-time",
        Kind::Number(1, 86_400_000),
        "60000",
        "How long an origin may take nothing of a request's body, in milliseconds.",
    ),
    key(
        "total-time",
        Kind::Number(1, 86_400_000),
        "90000",
        "How long it may take until an answer begins, in milliseconds: waiting, connecting and retries included. Then 504. Bodies may take longer.",
    ),
    key(
        "connections",
        Kind::Number(1, 1_000_000),
        "1000",
        "Requests that the platform may have at the same time, WebSockets included.",
    ),
    key(
        "queue",
        Kind::Number(0, 1_000_000),
        "1000",
        "Requests that may wait while the platform has as many as it may. One more is answered 503 with Retry-After.",
    ),
    key(
        "queue-time",
        Kind::Number(0, 600_000),
        "2000",
        "How long a request may wait, in milliseconds. Then 503 with Retry-After.",
    ),
    key(
        "retries",
        Kind::Number(0, 10),
        "2",
        "How often a request is tried again, at another origin if there is one: any request if no connection could be made; one with an idempotent method and a body of at most 64 KiB if the connection ended before an answer began. Nothing else is ever sent twice, and nothing after a time-out.",
    ),
    key(
        "keep-alive",
        Kind::Number(0, 86_400_000),
        "60000",
        "How long a connection is kept for the next request, in milliseconds; 0 makes a new one each time. Less than the origins keep it, so that they are not the first to close.",
    ),
    key(
        "http2",
        Kind::Word(&["off", "on"]),
        "\"off\"",
        "Whether origins with https are offered HTTP/2 (ALPN). One that declines is spoken to in HTTP/1.1.",
    ),
    key(
        "health",
        Kind::Table(HEALTH_CHECK),
        "",
        "A question that each origin is asked again and again, such as { path = \"/healthz\" }: one that fails it gets no requests until it is well. Not asked where absent.",
    ),
    key(
        "eject",
        Kind::Table(EJECT),
        "",
        "When an origin is left alone because requests to it fail. When no origin is left, requests are answered at once, without a connection.",
    ),
    key(
        "resolve",
        Kind::Number(1, 86_400),
        "30",
        "Seconds between two look-ups of the origins' names, in the background. While DNS fails, the last answer holds.",
    ),
];

/// `health` of a platform.
pub const HEALTH_CHECK: &[Key] = &[
    key("path", Kind::Text, "\"/\"", "The path (and query) that is asked for with GET."),
    key("host", Kind::Text, "", "The Host that is asked for; the platform's `host` where absent, else the origin's."),
    key("status", Kind::Number(200, 599), "200", "The status of an origin that is well."),
    key(
        "interval",
        Kind::Number(10, 3_600_000),
        "5000",
        "Time between two questions, in milliseconds, give or take a tenth.",
    ),
    key(
        "timeout",
        Kind::Number(1, 600_000),
        "2000",
        "How long an answer may take, connecting included, in milliseconds.",
    ),
    key("up", Kind::Number(1, 100), "2", "Good answers in a row after which an origin gets requests again."),
    key("down", Kind::Number(1, 100), "3", "Bad answers in a row after which it gets none."),
];

/// `eject` of a platform.
pub const EJECT: &[Key] = &[
    key(
        "failures",
        Kind::Number(1, 1_000_000),
        "5",
        "Failures in a row, of connecting or of an answer (not its status), after which an origin gets no requests.",
    ),
    key(
        "time",
        Kind::Number(1, 3_600_000),
        "5000",
        "For how long, in milliseconds. When it can be connected to after that, one request tries it, and if that is answered the others follow.",
    ),
];

/// `[cache]` of gateway.toml.
pub const CACHE_SIZE: &[Key] = &[
    key("size", Kind::Number(0, 1 << 20), "512", "Memory for stored answers, in MiB."),
    key("object-size", Kind::Number(0, 1 << 20), "32", "Largest body that is stored, in MiB."),
    key(
        "flight-size",
        Kind::Number(0, 1 << 20),
        "128",
        "Memory for all bodies that are on their way into the cache, in MiB; what comes on top is passed on and not stored.",
    ),
    key(
        "snapshot",
        Kind::Text,
        "",
        "File that stored answers are written to when the gateway stops or is upgraded, and read from when it starts, so that they outlive a restart; relative to gateway.toml. Once read it is removed. None where absent.",
    ),
    key("snapshot-size", Kind::Number(0, 1 << 20), "512", "Largest snapshot, in MiB: the latest answers come first."),
];

/// `[answers]`.
pub const ANSWERS: &[Key] =
    &[key("cache-control", Kind::Text, "\"public, max-age=3600\"", "Cache-Control of redirects and pages.")];

/// `[health]`.
pub const HEALTH: &[Key] = &[key(
    "paths",
    Kind::Texts,
    "[\"/healthcheck/live\", \"/healthcheck/ready\"]",
    "Paths that answer 200 on every host of the public addresses, known or not, for load balancers.",
)];

/// `[reload]`.
pub const RELOAD: &[Key] = &[
    key(
        "watch",
        Kind::Bool,
        "true",
        "Whether changes under `routes` and `certs` go live by themselves; SIGHUP always works.",
    ),
    key(
        "debounce",
        Kind::Number(0, 60_000),
        "5",
        "How long the folders must be quiet before they are read, in milliseconds. A file that is open for writing is waited for in any case, for up to a second; longer is calmer where many files are copied in.",
    ),
];
