//! What a visitor does on the old site, and what must come of it.

use std::path::Path;

use super::driver::Browser;
use super::legacy::{DOCUMENT, INTERNAL, disposition};

/// A visit of one old site.
pub struct Visit<'a> {
    pub browser: &'a mut Browser,
    /// How the browser asks.
    pub scheme: &'a str,
    /// The old host.
    pub host: &'a str,
}

impl Visit<'_> {
    /// The home page is a frameset; links in one frame open in another.
    pub fn frames(&mut self) {
        self.open("/");
        self.assert_whole();
        assert_eq!(self.browser.text("return document.title"), "青山县教育局");
        for (frame, text) in [("top", "青山县教育局欢迎您"), ("menu", "科普知识（二）"), ("main", "新闻中心")]
        {
            self.browser.enter(frame);
            let shown = self.browser.text("return document.body.innerText");
            assert!(shown.contains(text), "{frame}: {shown}");
            self.browser.leave_frames();
        }
        let coded = "/list.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6";
        for (link, to, text) in [
            ("article", "/art/2018/10/26/art_70739_6714054.html", "会议强调，要把思想和行动统一到各项部署上来。𠮷"),
            ("list", &format!("{coded}&page=1"), "栏目：科普知识"),
            ("coded", coded, "栏目：科普知识"),
            ("column", "/col/col31238/index.html", "通知公告"),
            ("jump", "/area.asp?from=%CC%F8%D7%AA", "来自：跳转"),
        ] {
            self.browser.enter("menu");
            self.browser.click(&format!("#{link}"));
            self.browser.leave_frames();
            self.browser.enter("main");
            self.until_at(to);
            let shown = self.browser.text("return document.body.innerText");
            assert!(shown.contains(text), "{link}: {shown}");
            if link == "column" {
                // Relative to the page's <base>.
                self.browser.click("#next");
                self.until_at("/col/col31238/page2.html");
                assert_eq!(self.words(), "通知公告：第二页");
            }
            self.browser.leave_frames();
            self.assert_whole();
        }
        // Another site's link leads there, whatever stands in it.
        self.browser.enter("menu");
        let abroad = self.browser.text("return document.querySelector('#abroad').getAttribute('href')");
        let origin = if self.is_proxied() { self.host } else { INTERNAL };
        assert_eq!(abroad, format!("http://www.foreign.example/?from=http://{origin}/"));
    }

    /// A page with everything that can name a file: all of it is there.
    pub fn media(&mut self) {
        self.open("/main.asp");
        self.browser.until("window.loaded !== undefined");
        self.assert_whole();
        let protocol = self.browser.text("return performance.getEntriesByType('navigation')[0].nextHopProtocol");
        assert_eq!(protocol, if self.scheme == "https" { "h2" } else { "http/1.1" });
        let missing = self.browser.run(
            "return [...document.images].filter(image => !(image.complete && image.naturalWidth)).map(image => image.src)",
        );
        // Over HTTPS browsers ask for the foreign one by HTTPS, which it doesn't speak.
        let foreign = if self.scheme == "https" { 1 } else { 0 };
        assert_eq!(missing.as_array().unwrap().len(), foreign, "{missing}");
        let loaded = self.browser.text("return performance.getEntriesByType('resource').map(e => e.name).join(' ')");
        for file in [
            "css/style.css",
            "css/more.css",
            "css/imported.css",
            "js/site.js",
            "inner.asp",
            "images/preload.gif",
            "images/body.gif",
            "images/banner.gif",
            "images/inline.gif",
            "images/quoted.gif",
            "images/border.gif",
            "images/a,b.gif",
            "images/%E6%A0%8F%E7%9B%AE.gif",
            "images/picture.gif",
            "images/poster.gif",
            "images/object.gif",
            "images/embed.gif",
            "images/svg.gif",
            "images/table.gif",
            "images/td.gif",
            "images/button.gif",
            "images/map.gif",
        ] {
            assert!(loaded.contains(&format!("{}://{}/{file}", self.scheme, self.host)), "{file} in {loaded}");
        }
        let color = "return getComputedStyle(document.querySelector('#imported')).color";
        assert_eq!(self.browser.text(color), "rgb(0, 0, 255)");
        // Scripts are the page's own affair.
        let origin = if self.is_proxied() { self.host } else { INTERNAL };
        assert_eq!(self.browser.text("return api"), format!("http://{origin}/never/asked.asp"));
        assert_eq!(self.browser.text("return loaded"), format!("http://{origin}/never/changed"));
        let abroad = self.browser.text("return document.querySelector('#abroad').getAttribute('href')");
        assert_eq!(abroad, format!("//www.foreign.example/{origin}"));
        assert_eq!(self.browser.text("return document.querySelector('#inline').innerText"), "至誠");
        self.browser.run("document.querySelector('#area').click()");
        self.until_at("/area.asp");
    }

    /// A form in GBK, a redirect, and a cookie that is kept.
    pub fn login(&mut self) {
        self.open("/welcome.asp");
        assert_eq!(self.words(), "欢迎您：陌生人");
        self.open("/forms.asp");
        self.browser.type_into("form[name=login] [name=username]", "张誠");
        self.browser.click("form[name=login] [type=submit]");
        self.until_at("/welcome.asp");
        assert_eq!(self.words(), "欢迎您：张誠");
        let cookies = self.browser.cookies();
        let mut names = Vec::new();
        for cookie in &cookies {
            assert_eq!(cookie["domain"].as_str().unwrap().trim_start_matches('.'), self.host, "{cookie}");
            names.push((cookie["name"].as_str().unwrap(), cookie["httpOnly"].as_bool().unwrap()));
        }
        names.sort();
        assert_eq!(names, [("ASPSESSIONIDQQ", false), ("user", true)]);
        self.browser.click("#home");
        self.until_at("/");
        self.open("/welcome.asp");
        assert_eq!(self.words(), "欢迎您：张誠");
        self.browser.forget_cookies();
    }

    /// Words that are looked for, in a URL and in a form.
    pub fn searches(&mut self) {
        self.open("/forms.asp");
        self.browser.type_into("form[name=search] [name=searchword]", "政务 公开");
        self.browser.click("form[name=search] [type=submit]");
        self.until_at("/was5/web/search?channelid=237687&searchword=%D5%FE%CE%F1+%B9%AB%BF%AA");
        assert_eq!(self.words(), "您查找的是：政务 公开");
        self.open("/forms.asp");
        self.browser.type_into("form[name=query] [name=searchword]", "誠信=档案&100%");
        self.browser.click("form[name=query] [type=submit]");
        self.until_at("/was5/web/search?channelid=237687");
        assert_eq!(self.words(), "您查询的是：誠信=档案&100%");
        self.assert_whole();
    }

    /// A part of a platform, which has another path there.
    pub fn mailbox(&mut self) {
        self.open("/mailbox/");
        self.assert_whole();
        let links = "return [...document.links].map(link => link.pathname).join(' ')";
        assert_eq!(self.browser.text(links), "/mailbox/list.asp /mailbox/list.asp");
        let loaded = self.browser.text("return performance.getEntriesByType('resource').map(e => e.name).join(' ')");
        assert_eq!(loaded, format!("{}://{}/mailbox/images/mail.gif", self.scheme, self.host));
        self.browser.type_into("form[name=mail] [name=content]", "路灯坏了");
        self.browser.click("form[name=mail] [type=submit]");
        self.until_at("/mailbox/receipt.asp");
        assert_eq!(self.words(), "已收到：路灯坏了");
        assert_eq!(self.browser.cookies()[0]["path"], "/mailbox");
        self.browser.forget_cookies();
    }

    /// A large file arrives whole.
    pub fn upload(&mut self, file: &Path, length: u64, digest: &str) {
        self.open("/forms.asp");
        self.browser.type_into("form[name=upload] [name=title]", "年度公报");
        self.browser.type_into("form[name=upload] [name=file]", file.to_str().unwrap());
        // Not a click of the driver's, which would wait for the whole upload.
        self.browser.run("setTimeout(() => document.querySelector('form[name=upload] [type=submit]').click())");
        self.until_at("/upfile.asp");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(self.words(), format!("上传成功：年度公报|{name}|{length}|{digest}"));
    }

    /// A file whose name is Chinese, in a header field.
    pub fn download(&mut self) {
        self.open("/art/2018/10/26/art_70739_6714054.html");
        self.browser.click("#attachment");
        let (name, content) = self.browser.downloaded();
        assert_eq!((name.as_str(), &*content), ("2018年政府公报.txt", DOCUMENT));
        // The old spelling has come as it was: scripts see each byte as a character.
        let name = "return fetch('/download.asp?id=3').then(answer => answer.headers.get('content-disposition'))";
        assert_eq!(self.browser.text(name), disposition().iter().map(|&byte| char::from(byte)).collect::<String>());
    }

    fn is_proxied(&self) -> bool {
        self.host == "proxied.example"
    }

    fn open(&mut self, path: &str) {
        self.browser.open(&format!("{}://{}{path}", self.scheme, self.host));
    }

    /// Waits until the page or frame that the browser is in has come there.
    fn until_at(&mut self, path: &str) {
        let url = format!("{}://{}{path}", self.scheme, self.host);
        self.browser.until(&format!("document.readyState == 'complete' && location.href == '{url}'"));
    }

    fn words(&mut self) -> String {
        self.browser.text("return document.querySelector('#words').textContent")
    }

    /// Looks at every link of the page and its frames, and at everything that was loaded: all is under the old host.
    fn assert_whole(&mut self) {
        let found = self.browser.run(COLLECT);
        let found = found.as_array().unwrap();
        assert!(found.len() > 2, "{found:?}");
        let own = format!("{}://{}/", self.scheme, self.host);
        let insecure = format!("http://{}/", self.host);
        for line in found.iter().map(|line| line.as_str().unwrap()) {
            let (kind, link) = line.split_once('=').unwrap();
            if link.contains("//www.foreign.example/") {
                continue;
            }
            assert!(!link.contains(INTERNAL), "{line}");
            assert!(self.scheme == "http" || !link.contains(&insecure), "{line}");
            // These are as the browser has resolved them.
            if kind == "loaded" || kind == "location" {
                assert!(link.starts_with(&own), "{line}");
            }
        }
    }
}

/// Lists all that names something, of the page and of the frames within it, which it may look into only if they are of
/// the same origin.
const COLLECT: &str = "
    const found = [];
    const names = ['href', 'src', 'srcset', 'imagesrcset', 'action', 'formaction', 'data', 'poster', 'background',
        'xlink:href', 'style', 'content'];
    const collect = page => {
        found.push('location=' + page.location.href);
        for (const element of page.document.querySelectorAll('*'))
            for (const name of names)
                if (element.hasAttribute(name)) found.push(name + '=' + element.getAttribute(name));
        for (const entry of page.performance.getEntriesByType('resource')) found.push('loaded=' + entry.name);
        for (let at = 0; at < page.frames.length; at++) collect(page.frames[at]);
    };
    collect(window.top);
    return found";
