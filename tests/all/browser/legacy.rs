//! An imitated web site of the old kind: GBK, frames, absolute links to itself, forms that distrust strangers.

use std::io::{Read, Write};

use encoding_rs::GB18030;
use flate2::{Compression, write::GzEncoder};
use rustls::crypto::{aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, hash::Context};

use super::server::{Answer, Request, Server};

/// What the site is called inside: its links name this, whatever visitors call it, unless they ask for another host.
pub const INTERNAL: &str = "legacy-origin.example";

/// Starts the site.
pub fn start() -> Server {
    Server::start(answer)
}

fn answer(request: &Request, body: &mut dyn Read) -> Answer {
    let (path, query) = request.parts();
    let page = |content_type, template| page(request, content_type, template);
    let gif = || Answer::new("image/gif", GIF).with("Cache-Control", "max-age=600").with("ETag", "\"gif\"");
    match path {
        // Only the page itself says what it is written in.
        "/" => page("text/html", include_str!("pages/index.html")),
        "/main.asp" => page("text/html", include_str!("pages/main.html")),
        "/forms.asp" => page("text/html", include_str!("pages/forms.html")),
        "/inner.asp" => page("text/html", include_str!("pages/inner.html")),
        "/jump.asp" => page("text/html", include_str!("pages/jump.html")),
        "/col/col31238/index.html" => page("text/html", include_str!("pages/column.html")),
        "/interaction/mail/" => page("text/html", include_str!("pages/mail.html")),
        "/interaction/mail/receipt.asp" => words(request, "已收到", cookie(request, "receipt")),
        "/top.asp" => page("text/html; charset=gb2312", include_str!("pages/top.html")),
        "/menu.asp" => page("text/html; charset=GBK", include_str!("pages/menu.html")),
        "/art/2018/10/26/art_70739_6714054.html" => {
            page("text/html;charset=gb18030", include_str!("pages/article.html"))
        }
        "/css/style.css" => page("text/css", include_str!("pages/style.css")),
        "/css/imported.css" => page("text/css", "#imported { color: rgb(0, 0, 255) }"),
        "/css/more.css" => page("text/css", ".more { color: red }"),
        "/js/site.js" => page("application/x-javascript", "window.loaded = 'http://{origin}/never/changed';"),
        "/area.asp" => words(request, "来自", parameter(query, "from")),
        "/list.asp" => words(request, "栏目", parameter(query, "classname")),
        "/col/col31238/page2.html" => words(request, "通知公告", "第二页".into()),
        "/was5/web/search" if request.method == "GET" => words(request, "您查找的是", parameter(query, "searchword")),
        "/welcome.asp" => {
            let user = cookie(request, "user");
            words(request, "欢迎您", if user.is_empty() { "陌生人".into() } else { user })
        }
        // "请勿从站点外部提交数据": forms are taken from pages of the site itself only.
        _ if request.method == "POST" && !is_own_form(request) => Answer {
            status: 403,
            ..words(request, "请勿从站点外部提交数据", request.field("referer").to_owned())
        },
        "/was5/web/search" => words(request, "您查询的是", parameter(&read_all(body), "searchword")),
        "/check_login.asp" => {
            let form = read_all(body);
            let user: String = form.split('&').find_map(|pair| pair.strip_prefix("username=")).unwrap().to_owned();
            let host = host(request);
            // It was never told of HTTPS.
            let location = format!("http://{host}/welcome.asp");
            Answer { status: 302, ..Answer::new("text/html", "") }
                .with("Location", location)
                .with("Set-Cookie", format!("user={user}; Domain=.{host}; Path=/; HttpOnly"))
                .with("Set-Cookie", "ASPSESSIONIDQQ=KHGA; path=/")
        }
        "/interaction/mail/send.asp" => {
            let from = request.field("referer").split(INTERNAL).nth(1);
            assert_eq!(from, Some("/interaction/mail/"), "the page is called as it is here");
            let content = read_all(body).replace("content=", "receipt=");
            Answer { status: 302, ..Answer::new("text/html", "") }
                .with("Location", "/interaction/mail/receipt.asp")
                .with("Set-Cookie", format!("{content}; Path=/interaction/mail"))
        }
        "/upfile.asp" => {
            let Upload { title, name, length, digest } = receive(request, body);
            words(request, "上传成功", format!("{title}|{name}|{length}|{digest}"))
        }
        "/download.asp" => Answer::new("application/octet-stream", DOCUMENT).with("Content-Disposition", disposition()),
        _ if path.ends_with(".gif") && !path.contains("/never/") => gif(),
        _ => Answer { status: 404, ..words(request, "找不到", path.to_owned()) },
    }
    .with("Server", "Microsoft-IIS/6.0")
}

/// How a download is named: in GBK for old browsers, and for new ones (RFC 8187).
pub fn disposition() -> Vec<u8> {
    let old = GB18030.encode("2018年政府公报.txt").0;
    let new = b"2018%E5%B9%B4%E6%94%BF%E5%BA%9C%E5%85%AC%E6%8A%A5.txt";
    [b"attachment; filename=\"", &*old, b"\"; filename*=UTF-8''", new].concat()
}

/// What the page's links call the site: ASP pages build them from the host that is asked for.
fn host(request: &Request) -> &str {
    request.field("host")
}

/// Whether a form comes from a page of the same site, as its pages check themselves.
fn is_own_form(request: &Request) -> bool {
    let is_own = |url: &str| url.split('/').nth(2) == Some(host(request));
    let origin = request.field("origin");
    is_own(request.field("referer")) && (origin.is_empty() || is_own(origin))
}

/// A page from its template, in GBK, and compressed for those who take that.
fn page(request: &Request, content_type: &str, template: &str) -> Answer {
    let text = template.replace("{origin}", host(request));
    let bytes = GB18030.encode(&text).0.into_owned();
    let mut hash = sha256();
    hash.update(&bytes);
    let tag = format!("\"{}\"", hex(hash.finish().as_ref()));
    let answer = Answer::new(content_type, bytes).with("ETag", tag).with("X-Powered-By", "ASP.NET");
    if !request.field("accept-encoding").contains("gzip") || request.target.contains("menu") {
        return answer;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&answer.body).unwrap();
    Answer { body: encoder.finish().unwrap(), ..answer }.with("Content-Encoding", "gzip")
}

/// A page that shows what was understood.
fn words(request: &Request, what: &str, text: String) -> Answer {
    let head = "<html><head><meta http-equiv=Content-Type content='text/html; charset=gb2312'></head>";
    let escaped = text.replace('<', "&lt;");
    let body = format!("<body><p id=words>{what}：{escaped}</p><a id=home href='http://{{origin}}/'>首页</a></body>");
    page(request, "text/html", &format!("{head}{body}</html>"))
}

/// A value of a query or of a form, which are in GBK.
fn parameter(query: &str, name: &str) -> String {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map(|value| decoded(value.as_bytes())).unwrap_or_default()
}

/// The value of a cookie, which is in GBK as well.
fn cookie(request: &Request, name: &str) -> String {
    let mut cookies = request.field("cookie").split("; ");
    let value = cookies.find_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('='));
    value.map(|value| decoded(value.as_bytes())).unwrap_or_default()
}

/// What bytes mean that are percent-encoded GBK.
fn decoded(value: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        (bytes, rest) = match (first, hex) {
            (b'%', Some(byte)) => ([&bytes[..], &[byte]].concat(), &after[2..]),
            (b'+', _) => ([&bytes[..], b" "].concat(), after),
            (byte, _) => ([&bytes[..], &[*byte]].concat(), after),
        };
    }
    GB18030.decode_without_bom_handling(&bytes).0.into_owned()
}

fn read_all(body: &mut dyn Read) -> String {
    let mut text = String::new();
    body.read_to_string(&mut text).unwrap();
    text
}

/// What came of an upload.
struct Upload {
    title: String,
    name: String,
    length: u64,
    digest: String,
}

/// Takes an upload, whose last part is the file; it is weighed as it comes, and never kept.
fn receive(request: &Request, body: &mut dyn Read) -> Upload {
    let boundary = request.field("content-type").split("boundary=").nth(1).unwrap().to_owned();
    let total: u64 = request.field("content-length").parse().unwrap();
    let mut head = Vec::new();
    while !is_before_file(&head) {
        let mut byte = [0];
        body.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let length = total - head.len() as u64 - format!("\r\n--{boundary}--\r\n").len() as u64;
    let mut hash = sha256();
    let (mut left, mut buffer) = (length, vec![0; 256 << 10]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = body.read(&mut buffer[..most]).unwrap();
        assert!(read > 0, "{left} bytes of the upload are missing");
        hash.update(&buffer[..read]);
        left -= read as u64;
    }
    let head = GB18030.decode_without_bom_handling(&head).0.into_owned();
    let after =
        |mark: &str, end: &str| head.split(mark).nth(1).and_then(|rest| rest.split(end).next().map(str::to_owned));
    Upload {
        title: after("name=\"title\"\r\n\r\n", "\r\n").unwrap(),
        name: after("filename=\"", "\"").unwrap(),
        length,
        digest: hex(hash.finish().as_ref()),
    }
}

fn is_before_file(head: &[u8]) -> bool {
    head.ends_with(b"\r\n\r\n") && head.windows(9).any(|window| window == b"filename=")
}

/// The beginning of a SHA-256.
pub fn sha256() -> Box<dyn Context> {
    TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.start()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A picture of one pixel.
pub const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// What is downloaded.
pub const DOCUMENT: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 <a href=http://legacy-origin.example/>";
