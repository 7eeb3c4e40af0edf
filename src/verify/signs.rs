//! What a page says of itself without meaning to: that it is not there, or that somebody has taken it over.
//!
//! Words are those that hijacked pages of public bodies have been full of: gambling, pornography, parked domains. A page of
//! the police about gambling uses some of them too, so words that any page may use count only together and not beside words of
//! the law, and the body counts less than the title.

use crate::robot::Document;

/// Why a page looks as if somebody had taken it over.
pub(super) fn hijack(page: &Document) -> Option<String> {
    let title = page.title.as_deref().unwrap_or_default().to_lowercase();
    let is_sober = SOBER.iter().any(|word| title.contains(word));
    let in_title = found(&title, STRONG);
    if let Some(word) = in_title.first()
        && (!is_sober || in_title.len() >= 3)
    {
        return Some(format!("`{word}` in the title"));
    }
    let weak = found(&title, WEAK);
    if weak.len() >= 2 && !is_sober {
        return Some(format!("`{}` and `{}` in the title", weak[0], weak[1]));
    }
    // What only search engines shall see: the title in numbers, and a script that shows people another one.
    if page.encoded_title >= 4 && page.scripts.contains("document.title") {
        return Some("a title in character references, which a script replaces".to_owned());
    }
    let scripts = page.scripts.to_lowercase();
    if SPIDERS.iter().any(|word| scripts.contains(word))
        && ["document.title", "location.href", "location.replace", "document.write"]
            .iter()
            .any(|word| scripts.contains(word))
        && (scripts.contains("useragent") || scripts.contains("referrer"))
    {
        return Some("a script that shows search engines another page".to_owned());
    }
    let meta = found(&page.meta.to_lowercase(), STRONG);
    if meta.len() >= 2 {
        return Some(format!("`{}` and `{}` in its keywords", meta[0], meta[1]));
    }
    let text = page.text.to_lowercase();
    let body = found(&text, STRONG);
    // News about a raid name one or two of them.
    if body.len() >= 4 && (!is_sober || body.len() >= 8) {
        return Some(format!("`{}`, `{}`, `{}` and more on the page", body[0], body[1], body[2]));
    }
    let is_parked = PARKED.iter().find(|word| title.contains(*word) || (text.len() < SHORT && text.contains(*word)));
    is_parked.map(|word| format!("the domain seems to be for sale: `{word}`"))
}

/// The words by which a page says that it is not there.
pub(super) fn not_there(page: &Document) -> Option<&'static str> {
    let title = page.title.as_deref().unwrap_or_default().to_lowercase();
    if let Some(word) = MISSING.iter().find(|word| title.contains(*word)) {
        return Some(word);
    }
    // A number that a title begins or ends with, but none within another, and none of a document.
    let is_apart = |rest: Option<&str>, at_start: bool| {
        rest.is_some_and(|rest| {
            let next = if at_start { rest.chars().next() } else { rest.chars().next_back() };
            next.is_none_or(|c| !c.is_alphanumeric() || matches!(c, '错' | '页'))
        })
    };
    if is_apart(title.strip_prefix("404"), true) || is_apart(title.strip_suffix("404"), false) {
        return Some("404");
    }
    // A page with much text may speak of others that are not there.
    if page.text.len() >= SHORT {
        return None;
    }
    let text = page.text.to_lowercase();
    let in_title = MISSING_TITLES.iter().find(|word| title.contains(*word));
    in_title.or_else(|| MISSING.iter().find(|word| text.contains(*word))).copied()
}

/// Whether a path is that of an error page.
pub(super) fn is_error_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.split('/').any(|part| {
        let stem = part.split('.').next().unwrap_or_default();
        matches!(
            stem,
            "404"
                | "error"
                | "error404"
                | "404error"
                | "notfound"
                | "not-found"
                | "not_found"
                | "pagenotfound"
                | "err404"
                | "500"
                | "err"
        )
    })
}

/// Whether a path is that of a home page.
pub(super) fn is_home_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let stem = path.trim_start_matches('/').split('.').next().unwrap_or_default();
    path == "/" || (matches!(stem, "index" | "default" | "home" | "main") && path.matches('/').count() == 1)
}

/// Whether a title is another one, by pairs of characters: pages change words of their titles, and their sites' names.
pub(super) fn is_another_title(before: &str, now: &str) -> bool {
    !before.is_empty() && !now.is_empty() && strsim::sorensen_dice(before, now) < ALIKE
}

/// A text in 64 bits, of which similar texts share most.
pub(super) fn sketch(text: &str) -> u64 {
    let mut votes = [0i32; 64];
    let chars: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).take(20_000).collect();
    for three in chars.windows(3) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &c in three {
            hash = (hash ^ u64::from(u32::from(c))).wrapping_mul(0x0100_0000_01b3);
        }
        // The last steps of a hash, so that every bit depends on every character.
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        for (bit, vote) in votes.iter_mut().enumerate() {
            *vote += if hash >> bit & 1 == 1 { 1 } else { -1 };
        }
    }
    votes.iter().enumerate().fold(0, |sketch, (bit, vote)| sketch | u64::from(*vote > 0) << bit)
}

fn found(text: &str, words: &'static [&'static str]) -> Vec<&'static str> {
    words.iter().copied().filter(|word| text.contains(word)).collect()
}

/// Bytes of text up to which a page is short: some hundred characters.
const SHORT: usize = 1500;

/// Share of pairs of characters that two titles have in common, below which they are different.
const ALIKE: f64 = 0.2;

/// No page of a public body has these in its title.
const STRONG: &[&str] = &[
    "博彩",
    "百家乐",
    "老虎机",
    "六合彩",
    "时时彩",
    "娱乐城",
    "真人荷官",
    "新葡京",
    "葡京",
    "威尼斯人娱乐",
    "澳门威尼斯",
    "澳门金沙",
    "太阳城集团",
    "开元棋牌",
    "皇冠体育",
    "皇冠足球",
    "亚博",
    "必赢",
    "bet365",
    "bwin",
    "澳门赌场",
    "线上赌场",
    "在线赌场",
    "北京赛车",
    "pk10",
    "快三",
    "重庆时彩",
    "体育投注",
    "足球投注",
    "外围投注",
    "网上投注",
    "电子游艺",
    "捕鱼达人",
    "牛牛",
    "炸金花",
    "ag真人",
    "ag视讯",
    "pg电子",
    "买球",
    "云顶国际",
    "太阳城娱乐",
    "注册送彩金",
    "彩金",
    "下注平台",
    "开户送",
    "赌球",
    "真人娱乐",
    "成人视频",
    "成人电影",
    "成人影院",
    "无码",
    "av在线",
    "三级片",
    "国产精品",
    "一区二区",
    "裸聊",
    "约炮",
    "情色",
    "黄色网站",
    "色情网站",
    "一夜情",
    "online casino",
    "slot gacor",
    "sbobet",
    "porn",
    "xxx video",
    "viagra",
];

/// Others have these in their titles too.
const WEAK: &[&str] = &[
    "彩票",
    "棋牌",
    "投注",
    "赌场",
    "赌博",
    "娱乐平台",
    "娱乐官网",
    "真人",
    "荷官",
    "开户",
    "在线娱乐",
    "国际娱乐",
    "体育平台",
    "手机版下载",
    "app下载",
    "官网入口",
    "色情",
    "偷拍",
    "激情",
    "裸体",
    "casino",
    "poker",
    "betting",
    "jackpot",
    "sex",
];

/// Words of those who fight it.
const SOBER: &[&str] = &[
    "打击",
    "整治",
    "查处",
    "严禁",
    "防范",
    "反赌",
    "禁赌",
    "犯罪",
    "警方",
    "警惕",
    "公安",
    "举报",
    "通报",
    "案件",
    "专项行动",
    "扫黄",
    "处罚",
    "违法",
    "判决",
    "抓获",
    "破获",
    "涉嫌",
    "清理",
    "治理",
    "关于",
];

/// Scripts look for these, to show them another page.
const SPIDERS: &[&str] =
    &["baiduspider", "\"baidu\"", "'baidu'", "baidu|", "|baidu", "sogou|", "360spider", "bytespider"];

/// A page with these is not there.
const MISSING: &[&str] = &[
    "页面不存在",
    "网页不存在",
    "文章不存在",
    "内容不存在",
    "信息不存在",
    "文件不存在",
    "栏目不存在",
    "找不到页面",
    "找不到网页",
    "找不到该页",
    "找不到您",
    "找不到你",
    "无法找到",
    "未找到页面",
    "页面未找到",
    "页面没有找到",
    "没有找到您",
    "没有找到该",
    "您访问的页面",
    "你访问的页面",
    "您要访问的页面",
    "您要查看的网页",
    "您请求的页面",
    "您浏览的页面",
    "页面已删除",
    "页面已被删除",
    "文章已被删除",
    "信息已被删除",
    "内容已被删除",
    "该信息已删除",
    "已被删除或",
    "已下线",
    "页面走丢",
    "页面飞走",
    "页面丢失",
    "页面出错",
    "页面错误",
    "page not found",
    "404 not found",
    "not found on this server",
    "the page you requested",
    "page cannot be found",
    "page can't be found",
    "page could not be found",
    "does not exist",
    "no longer available",
    "object not found",
    "resource not found",
];

/// The title of a short page with these is of such a page.
const MISSING_TITLES: &[&str] = &[
    "not found",
    "出错了",
    "错误页",
    "错误提示",
    "系统错误",
    "访问出错",
    "error page",
    "http error",
    "找不到",
    "未找到",
    "不存在",
];

/// A page with these is nobody's.
const PARKED: &[&str] = &[
    "域名出售",
    "域名转让",
    "本域名",
    "此域名可",
    "该域名可",
    "该域名已过期",
    "域名已过期",
    "域名停放",
    "domain is for sale",
    "domain for sale",
    "buy this domain",
    "domain has expired",
    "parked free",
    "domain parking",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Document {
        Document::read(html.as_bytes(), "text/html; charset=utf-8")
    }

    fn titled(title: &str) -> Document {
        page(&format!("<title>{title}</title><p>{}", "青山县政务信息公开。".repeat(300)))
    }

    #[test]
    fn hijacked_pages_give_themselves_away() {
        for html in [
            "<title>澳门新葡京娱乐官网</title>",
            "<title>真人棋牌投注平台_app下载</title>",
            "<title>&#31454;&#24425;&#36275;&#29699;</title><script>if(navigator.userAgent.indexOf('x')==-1){document.title='青山县教育局'}</script>",
            "<title>青山县教育局</title><script>var s=document.referrer;if(/baidu|sogou/.test(s)){location.href='http://x.example'}</script>",
            "<title>青山县教育局</title><meta name=keywords content='百家乐,老虎机'>",
            "<title>青山县教育局</title><div style='display:none'>百家乐 老虎机 六合彩 时时彩 博彩</div>",
            "<title>qingshan.example</title>本域名出售",
            "<title>成人视频在线观看</title>",
        ] {
            assert!(hijack(&page(html)).is_some(), "{html}");
        }
    }

    #[test]
    fn the_police_may_speak_of_it() {
        for title in [
            "青山县公安局破获一起网络赌博案件",
            "关于打击整治六合彩违法活动的通告",
            "中国福利彩票发行管理办法",
            "警惕网络博彩陷阱",
            "棋牌室消防安全检查",
            "青山县教育局",
            "关于开展真人图书馆活动的通知",
            "",
        ] {
            assert_eq!(hijack(&titled(title)), None, "{title}");
        }
        let news = "<title>以案说法</title>民警在现场查获老虎机十台，赌资若干。以六合彩、百家乐等方式聚众";
        assert_eq!(hijack(&page(news)), None);
    }

    #[test]
    fn pages_that_are_not_there_say_so() {
        for html in [
            "<title>404</title>",
            "<title>404 - 青山县人民政府</title>",
            "<title>青山县人民政府</title><p>您访问的页面不存在，3秒后返回首页",
            "<title>Page Not Found</title>",
            "<title>出错了</title>",
        ] {
            assert!(not_there(&page(html)).is_some(), "{html}");
        }
        for title in [
            "青山县教育局",
            "教育局404号文件",
            "通知1404",
            "/page/4040.html",
            "网传停课消息不存在",
            "关于失物招领的通知",
        ] {
            assert_eq!(not_there(&titled(title)), None, "{title}");
        }
        assert_eq!(not_there(&page(&format!("<title>公告</title>{}您访问的页面不存在", "正文".repeat(1000)))), None);
    }

    #[test]
    fn paths() {
        for path in ["/404.html", "/error/404.htm", "/common/error.jsp", "/notfound", "/Error.aspx"] {
            assert!(is_error_path(path), "{path}");
        }
        for path in ["/", "/art/4040/1.html", "/errors-of-history.html"] {
            assert!(!is_error_path(path), "{path}");
        }
        for path in ["/", "/index.html", "/Default.aspx", "/index.jsp"] {
            assert!(is_home_path(path), "{path}");
        }
        for path in ["/jyj/", "/jyj/index.html", "/indexes.html"] {
            assert!(!is_home_path(path), "{path}");
        }
    }

    #[test]
    fn sketches_of_similar_texts_are_similar() {
        let text = |id: u32| {
            format!(
                "{}您请求的地址 /p/{id}.html 已经搬家{}",
                "青山县人民政府 首页 政务公开 ".repeat(20),
                "联系我们 网站地图 ".repeat(20)
            )
        };
        let far = |a: &str, b: &str| (sketch(a) ^ sketch(b)).count_ones();
        assert!(far(&text(1), &text(22_222)) <= 6, "{}", far(&text(1), &text(22_222)));
        assert!(far(&text(1), &"关于召开全县教育工作会议的通知各乡镇中心校县直各学校".repeat(8)) > 12);
        assert!(is_another_title("青山县教育局", "澳门新葡京"));
        assert!(!is_another_title("青山县教育局", "青山县教育局 - 首页"));
    }
}
