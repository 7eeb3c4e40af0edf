//! The signs of all packs, compiled.

use crate::config::pattern::Pattern;
use crate::model::Host;
use crate::packs::{self, Kind, Own, Pack, Strength};
use crate::routing::{RuleScratch, RuleSet};
use crate::url::{Canonical, Canonicalizer, UrlSettings};

/// All signs, by number.
#[derive(Debug)]
pub(super) struct Signs {
    pub canonicalizer: Canonicalizer,
    set: RuleSet,
    /// Of each pattern, its sign.
    patterns: Vec<u16>,
    pub list: Vec<SignOf>,
}

/// A sign of a pack.
#[derive(Debug)]
pub(super) struct SignOf {
    /// The pack.
    pub pack: &'static Pack,
    /// What it is.
    pub doc: &'static str,
    /// How sure it is.
    pub strength: Strength,
}

impl Signs {
    pub fn new() -> Self {
        let canonicalizer = Canonicalizer::new(UrlSettings::default(), true);
        let (mut patterns, mut numbers, mut list) = (Vec::new(), Vec::new(), Vec::new());
        for pack in packs::all() {
            let rules = pack.rules.iter().filter(|rule| rule.own != Some(Own::Each));
            let rules = rules.map(|rule| (rule.doc.as_str(), rule.sign, &rule.from));
            let signs = pack.signs.iter().map(|sign| (sign.doc.as_str(), sign.sign, &sign.like));
            for (doc, strength, texts) in rules.chain(signs).filter(|(_, strength, _)| *strength != Strength::None) {
                for text in texts {
                    patterns.push(Pattern::parse(text, &canonicalizer).expect("patterns of packs are tested"));
                    numbers.push(list.len() as u16);
                }
                list.push(SignOf { pack, doc, strength });
            }
        }
        let set = RuleSet::compile(&patterns.iter().collect::<Vec<_>>()).expect("patterns of packs are tested");
        Signs { canonicalizer, set, patterns: numbers, list }
    }

    /// The surest sign of a URL; none if it has none, or equally sure ones of several packs. A proxy or twin comes before what is
    /// within it.
    pub fn best(&self, url: &Canonical, scratch: &mut RuleScratch) -> Option<u16> {
        let mut best: Option<u16> = None;
        let mut is_tie = false;
        self.set.each_match(url, scratch, |pattern| {
            let number = self.patterns[pattern];
            let sign = &self.list[usize::from(number)];
            let Some(other) = best.map(|number| &self.list[usize::from(number)]) else {
                best = Some(number);
                return;
            };
            let rank =
                |sign: &SignOf| (sign.pack.kind == Kind::Wrapper && sign.strength == Strength::Certain, sign.strength);
            match rank(sign).cmp(&rank(other)) {
                std::cmp::Ordering::Greater => (best, is_tie) = (Some(number), false),
                std::cmp::Ordering::Equal => is_tie |= other.pack.name != sign.pack.name,
                std::cmp::Ordering::Less => {}
            }
        });
        best.filter(|_| !is_tie)
    }

    /// Whether a sign is of something around a site.
    pub fn is_wrapper(&self, sign: u16) -> bool {
        self.list[usize::from(sign)].pack.kind == Kind::Wrapper
    }
}

/// The path within the address of a proxy or mobile twin; none if it is a page of another host.
pub(super) fn unwrap(path: &str, host: &str) -> Option<String> {
    let mut names = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (names.next()?, names.next().unwrap_or_default());
    if first != "gate" {
        return Some(format!("/{rest}"));
    }
    let mut names = rest.splitn(3, '/').skip(1);
    let inner = Host::parse(names.next()?.as_bytes()).ok()?;
    let bare = |host: &str| host.strip_prefix("www.").unwrap_or(host).to_owned();
    (bare(inner.as_str()) == bare(host)).then(|| format!("/{}", names.next().unwrap_or_default()))
}

/// Whether a canonical path that has no sign says nothing of the system: part of a page, the front page, what robots ask for.
pub(super) fn is_no_page(path: &str, has_query: bool) -> bool {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    // With a query, all pages of some systems are /index.php.
    let is_front = matches!(stem, "" | "index" | "default" | "home" | "main") && path.matches('/').count() <= 1;
    is_front && !has_query || PARTS.contains(&ending) || matches!(name, "robots.txt" | "sitemap.xml" | "favicon.ico")
}

/// Endings of what pages are made of.
const PARTS: [&str; 28] = [
    "css", "js", "map", "png", "jpg", "jpeg", "gif", "bmp", "ico", "svg", "webp", "woff", "woff2", "ttf", "eot", "otf",
    "swf", "flv", "mp4", "mp3", "wmv", "avi", "xml", "json", "rss", "axd", "txt", "htc",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Form;

    fn pack(signs: &Signs, target: &str) -> &'static str {
        let mut url = Canonical::default();
        signs.canonicalizer.canonicalize(target.as_bytes(), Form::Wire, &mut url).unwrap();
        let best = signs.best(&url, &mut RuleScratch::default());
        best.map_or("", |sign| &signs.list[usize::from(sign)].pack.name)
    }

    #[test]
    fn each_shape_has_its_sign() {
        let signs = Signs::new();
        for (target, want) in [
            ("/art/2018/10/26/art_70739_6714054.html", "jcms"),
            ("/col/col31238/index.html", "jcms"),
            ("/jcms_files/jcms1/web3505/site/attach/0/1.pdf", "jcms"),
            ("/xxgk/tzgg/swszf/201212/t20121210_4862855.html", "trs-wcm"),
            ("/was5/web/search?channelid=237687&page=1&searchword=x", "trs-was"),
            ("/info/9031/791692.htm", "vsb"),
            ("/eportal/ui?pageId=314738&a=b", "eportal"),
            ("/n1146290/n4388791/c5781140/content.html", "easysite"),
            ("/gkmlpt/content/3/3774/post_3774882.html", "gkmlpt"),
            ("/gkmlpt/content/3/3774/mpost_3774882.html", "gkmlpt"),
            ("/index.php?m=content&c=index&a=show&catid=82&id=17577", "phpcms"),
            ("/Item/156177.aspx", "powereasy"),
            ("/ShowArticle.asp?ArticleID=260423", "powereasy"),
            ("/Item/list.asp?id=1610", "kesion"),
            ("/plus/view-548-1.html", "dedecms"),
            ("/plus/list.php?tid=22&TotalResult=243&PageNo=2", "dedecms"),
            ("/dongzhifront/infodetail/?infoid=1f0e9c2a-6a54-4f3b-9a7e-0c4d5b6e7f80&categorynum=002002003", "epoint"),
            ("/web/2570/2598/3440/content_470385.html", "web-content"),
            ("/c5375/20260901/i2524327.html", "column-date"),
            ("/content/article/8130479.html", "content-article"),
            ("/gate/big5/old.example/art/2018/10/26/art_70739_6714054.html", "gate-big5"),
            ("/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6", "generic-asp"),
            ("/shownews.php?id=7", "generic-php"),
            ("/xwzx_view.asp?id=7", "generic-asp"),
            ("/news/read.php?nid=7", "generic-php"),
            ("/wap/about.html", "mobile"),
            // What looks like one of them, and is none.
            ("/n1/2018/1026/c1001-30363635.html", ""),
            ("/index.php?m=Home&c=Article&a=show&id=3", ""),
            ("/info/1234.htm", ""),
            ("/art/1234.html", ""),
            ("/plus/download.php?open=1", ""),
            ("/forum.php?mod=viewthread&tid=3", ""),
            ("/viewthread.php?tid=3", ""),
            ("/info.php", ""),
            ("/2018-10/26/content_1234.htm", ""),
            ("/e/action/ShowInfo.php?classid=1&id=2", ""),
        ] {
            assert_eq!(pack(&signs, target), want, "{target}");
        }
    }

    #[test]
    fn only_own_pages_are_taken_out() {
        assert_eq!(unwrap("/gate/big5/www.a.example/b/c", "a.example").as_deref(), Some("/b/c"));
        assert_eq!(unwrap("/gate/big5/a.example", "a.example").as_deref(), Some("/"));
        assert_eq!(unwrap("/gate/big5/b.example/c", "a.example"), None);
        assert_eq!(unwrap("/wap/b/c", "a.example").as_deref(), Some("/b/c"));
    }
}
