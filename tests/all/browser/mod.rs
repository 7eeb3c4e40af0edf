//! A legacy site in a real browser: every page, form and file under the old host, before its cutover and after.
//!
//! The browser asks for the usual ports of made-up hosts; its resolver leads the old ones to the gateway. All others, the
//! site's internal name among them, lead to a server that remembers who was asked for: nobody may ever be sent inside.
//!
//! Needs Chromium and ChromeDriver, and says `skipped` where they are absent: `tests/run` installs them, and fails where
//! they are not.

mod driver;
mod legacy;
mod server;
mod visit;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

pub use self::driver::Browser;
use self::server::{Answer, Server};
use self::visit::Visit;
use crate::client::Conn;
use crate::program::{Program, until};

/// The old sites: how each is asked for, its host, and what the origin is asked for instead.
const SITES: &[(&str, &str, &str)] = &[
    // A platform that has a name of its own.
    ("http", "old.example", legacy::INTERNAL),
    ("https", "old.example", legacy::INTERNAL),
    // The old server itself, in the phase `proxy`: it builds links from the host, and knows plain HTTP only.
    ("https", "proxied.example", "proxied.example"),
];

#[test]
fn a_legacy_site_works_under_its_old_host_and_after_its_cutover() {
    if !Browser::is_installed() {
        // Past the test harness, which keeps to itself what a test says that passes.
        let _ = writeln!(io::stderr(), "skipped: chromium and chromedriver are not on the PATH");
        return;
    }
    let (legacy, elsewhere) = (legacy::start(), elsewhere());
    let folder = folder(legacy.address);
    let program = Program::start(folder.path());
    let (http, https) = (program.http[0], program.https[0]);
    let mut browser = Browser::start(&[
        ("old.example:80", http),
        ("old.example:443", https),
        ("proxied.example:443", https),
        ("*.example:80", elsewhere.address),
    ]);
    let (file, digest) = large_file(folder.path());
    for &(scheme, host, asked) in SITES {
        let mut visit = Visit { browser: &mut browser, scheme, host };
        visit.frames();
        visit.media();
        visit.login();
        visit.searches();
        if asked == legacy::INTERNAL {
            visit.mailbox();
        }
        visit.upload(&file, UPLOAD, &digest);
        visit.download();
        for request in legacy.take_seen() {
            assert_eq!(request.field("host"), asked, "{}", request.target);
            assert_eq!(request.field("x-forwarded-host"), host, "{}", request.target);
            assert!(!request.target.contains("/never/"), "{}", request.target);
        }
        for request in elsewhere.take_seen() {
            assert_eq!(request.field("host"), "www.foreign.example", "{}", request.target);
        }
    }

    // The cutover is a change of the route files, which the gateway sees by itself.
    for host in ["old.example", "proxied.example"] {
        write_site(folder.path(), host, legacy.address, CUT_OVER);
        until("the cutover", || Conn::new(http).get(host, ARTICLE).status == 301);
    }
    legacy.take_seen();
    for &(scheme, host, _) in SITES {
        for (old, new, words) in [
            (ARTICLE, "http://www.new.example/jyj/2018/6714054.html", "教育局召开2018年工作会议（新）"),
            (SEARCH, "http://www.new.example/search?q=%E6%94%BF%E5%8A%A1%E5%85%AC%E5%BC%80", "搜索结果（新）"),
        ] {
            browser.open(&format!("{scheme}://{host}{old}"));
            assert_eq!(browser.url(), new);
            assert_eq!(browser.text("return document.body.innerText"), words);
        }
    }
    assert!(legacy.take_seen().is_empty(), "the old server is still asked");
}

/// A server for all other hosts: a foreign one, and the new platform.
fn elsewhere() -> Server {
    let html = |text: &str| Answer::new("text/html; charset=utf-8", format!("<h1>{text}</h1>"));
    Server::start(move |request, _| match (request.field("host"), request.parts().0) {
        ("www.foreign.example", "/logo.gif") => Answer::new("image/gif", legacy::GIF),
        ("www.new.example", "/jyj/2018/6714054.html") => html("教育局召开2018年工作会议（新）"),
        ("www.new.example", "/search") => html("搜索结果（新）"),
        _ => Answer { status: 404, ..html("no such page") },
    })
}

/// A gateway's folder, as operators have it.
fn folder(legacy: SocketAddr) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes")).unwrap();
    let gateway = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
        [process]\ndirectory = \"control\"\n[guard]\nallowed-targets = [\"www.new.example\"]\n\
        [platforms.legacy]\norigins = [\"http://{legacy}\"]\nhost = \"{}\"\n",
        legacy::INTERNAL
    );
    fs::write(folder.path().join("gateway.toml"), gateway).unwrap();
    write_site(folder.path(), "old.example", legacy, SERVED);
    write_site(folder.path(), "proxied.example", legacy, PROXIED);
    folder
}

/// Writes a site's files, as they are before its cutover or after.
fn write_site(folder: &Path, host: &str, legacy: SocketAddr, phase: &str) {
    let routes = folder.join("routes");
    let site = SITE.replace("{host}", host).replace("{origin}", &format!("http://{legacy}"));
    let table = format!("old,new\n{ARTICLE},http://www.new.example/jyj/2018/6714054.html\n");
    fs::write(routes.join(format!("{host}.csv")), table).unwrap();
    fs::write(routes.join(format!("{host}.toml")), site + phase).unwrap();
}

/// A file to upload, and its SHA-256: no two of its blocks are the same.
fn large_file(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("公报.bin");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).unwrap());
    let mut hash = legacy::sha256();
    let mut block = [b'-'; 4096];
    for number in 0..UPLOAD / block.len() as u64 {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block).unwrap();
        hash.update(&block);
    }
    file.flush().unwrap();
    (path, legacy::hex(hash.finish().as_ref()))
}

/// Before the cutover, a rule or the phase sends everybody to the old server.
const SERVED: &str = r#"
[[rule]]
from  = "/mailbox/{*rest}"
first = true
serve = "legacy"
path  = "/interaction/mail/{rest}"
[[rule]]
from  = "/{*any}"
first = true
serve = "legacy"
"#;
const PROXIED: &str = "[lifecycle]\nproxy = 2019-01-01\n";

/// After it, old pages are new ones.
const CUT_OVER: &str = "[lifecycle]\nredirect = 2019-02-01\n";

/// What a site is, whatever its phase.
const SITE: &str = r#"
name    = "青山县教育局"
hosts   = ["{host}"]
home    = "http://www.new.example/jyj/"
origin  = "{origin}"
rewrite = true
url     = { charset = "gb18030" }
[[rule]]
from = "/was5/web/search?searchword={word}"
to   = "http://www.new.example/search?q={word}"
"#;

const ARTICLE: &str = "/art/2018/10/26/art_70739_6714054.html";

const SEARCH: &str = "/was5/web/search?channelid=237687&searchword=%D5%FE%CE%F1%B9%AB%BF%AA";

/// Bytes of the file that is uploaded.
const UPLOAD: u64 = 200 << 20;
