//! Made-up sites: addresses after the shapes that systems are known for, written without a look at the signs of packs, and
//! the noise of real logs.

/// Pseudo-random numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn n(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.n(0, of.len() as u64 - 1) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.n(1, 100) <= percent
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a & 0xFFFF,
            a >> 16 & 0xFFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF
        )
    }

    fn word(&mut self) -> &'static str {
        self.one(&[
            "xxgk", "tzgg", "zwgk", "bsfw", "hdjl", "jyxw", "zcfg", "rsxx", "ghjh", "tjsj", "ldjs", "jgsz", "gzdt",
        ])
    }

    /// Year, month and day.
    fn day(&mut self) -> (u64, u64, u64) {
        (self.n(2005, 2020), self.n(1, 12), self.n(1, 28))
    }
}

/// The families of systems, by the names of their packs.
pub const FAMILIES: [&str; 17] = [
    "jcms",
    "trs-wcm",
    "trs-was",
    "vsb",
    "eportal",
    "easysite",
    "gkmlpt",
    "phpcms",
    "powereasy",
    "kesion",
    "dedecms",
    "epoint",
    "web-content",
    "column-date",
    "content-article",
    "generic-asp",
    "generic-php",
];

/// An address of a page of a system. `site` is what a site has for all its pages.
pub fn page(family: &str, site: u64, r: &mut Random) -> String {
    let (y, m, d) = r.day();
    let id = r.n(100, 9_999_999);
    match family {
        "jcms" => match r.n(0, 9) {
            0..=5 => format!("/art/{y}/{m}/{d}/art_{}_{id}.html", r.n(100, 99_999)),
            6..=7 => format!("/col/col{}/index.html", r.n(100, 99_999)),
            8 => format!("/col/col{}/", r.n(100, 99_999)),
            _ => format!("/jcms_files/jcms1/web{site}/site/attach/0/{id}.pdf"),
        },
        "trs-wcm" => {
            let front = if site.is_multiple_of(3) { format!("/zwgk_{site}") } else { String::new() };
            let ending = if site.is_multiple_of(5) { "htm" } else { "html" };
            let (a, b) = (r.word(), r.word());
            match r.n(0, 5) {
                0 => format!("{front}/{a}/{b}/index.html"),
                _ => format!("{front}/{a}/{b}/{y}{m:02}/t{y}{m:02}{d:02}_{id}.{ending}"),
            }
        }
        "trs-was" => {
            let channel = r.n(200_000, 299_999);
            match r.n(0, 2) {
                0 => format!("/was5/web/search?channelid={channel}&page={}", r.n(1, 30)),
                1 => format!("/was5/web/search?searchword=%E6%95%99%E8%82%B2{id}&channelid={channel}"),
                _ => format!("/was5/web/search?channelid={channel}&page=1&searchword={id}&perpage=10"),
            }
        }
        "vsb" => match r.n(0, 4) {
            0 => format!("/{}/{}.htm", r.word(), r.n(1, 40)),
            _ => format!("/info/{}/{id}.htm", r.n(1000, 9999)),
        },
        "eportal" => {
            format!("/eportal/ui?pageId={}&currentPage={}&moduleId={}", r.n(300_000, 320_000), r.n(1, 9), r.uuid())
        }
        "easysite" => match r.n(0, 4) {
            0 => format!("/n{}/n{}/index.html", site * 7 + 1000, r.n(1000, 9_999_999)),
            1 => {
                format!("/n{}/n{}/n{}/c{id}/content.html", site * 7 + 1000, r.n(1000, 9_999_999), r.n(1000, 9_999_999))
            }
            _ => format!("/n{}/n{}/c{id}/content.html", site * 7 + 1000, r.n(1000, 9_999_999)),
        },
        "gkmlpt" => {
            let twin = if r.chance(30) { "mpost" } else { "post" };
            format!("/gkmlpt/content/{}/{}/{twin}_{id}.html", id / 1_000_000, id / 1000)
        }
        "phpcms" => match r.n(0, 2) {
            0 => format!("/index.php?m=content&c=index&a=lists&catid={}&page={}", r.n(1, 200), r.n(1, 20)),
            _ => format!("/index.php?m=content&c=index&a=show&catid={}&id={id}", r.n(1, 200)),
        },
        "powereasy" if site.is_multiple_of(2) => format!("/Item/{id}.aspx"),
        "powereasy" => {
            let folder = if r.chance(40) { "/Article" } else { "" };
            format!("{folder}/ShowArticle.asp?ArticleID={id}")
        }
        "kesion" => match r.n(0, 3) {
            0 => format!("/Item/Show.asp?m=1&d={id}"),
            _ => format!("/Item/list.asp?id={}", r.n(100, 9999)),
        },
        "dedecms" => match r.n(0, 1) {
            0 => format!("/plus/view-{id}-{}.html", r.n(1, 3)),
            _ => format!("/plus/list.php?tid={}&TotalResult={}&PageNo={}", r.n(1, 90), r.n(20, 900), r.n(1, 20)),
        },
        "epoint" => {
            let front = ["DongZhifront", "qingshanfront", "ggzyfront"][site as usize % 3];
            format!(
                "/{front}/InfoDetail/?InfoID={}&CategoryNum={:03}{:03}{:03}",
                r.uuid(),
                r.n(1, 9),
                r.n(1, 9),
                r.n(1, 9)
            )
        }
        "web-content" => format!("/web/{}/{}/{}/content_{id}.html", r.n(1000, 9999), r.n(1000, 9999), r.n(1000, 9999)),
        "column-date" => format!("/c{}/{y}{m:02}{d:02}/i{id}.html", r.n(1000, 9999)),
        "content-article" => format!("/content/article/{id}.html"),
        "generic-asp" => match r.n(0, 3) {
            0 => format!("/list.asp?classid={}&page={}", r.n(1, 90), r.n(1, 9)),
            1 => format!("/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6{}", r.n(1, 90)),
            2 => format!("/{}/shownews.asp?id={id}", r.word()),
            _ => format!("/news_view.aspx?newsid={id}"),
        },
        "generic-php" => match r.n(0, 2) {
            0 => format!("/list.php?cid={}&page={}", r.n(1, 90), r.n(1, 9)),
            1 => format!("/news.php?id={id}"),
            _ => format!("/{}/show.php?id={id}", r.word()),
        },
        other => panic!("{other}"),
    }
}

/// Systems that no pack is for; many look much like one that has.
pub const FOREIGN: [&str; 12] = [
    "wordpress",
    "empire",
    "discuz",
    "thinkphp",
    "people",
    "xinhua",
    "pinyin",
    "jsp",
    "almost-vsb",
    "almost-jcms",
    "joomla",
    "rails",
];

/// An address of a page of such a system.
pub fn foreign(system: &str, r: &mut Random) -> String {
    let (y, m, d) = r.day();
    let id = r.n(100, 999_999);
    match system {
        "wordpress" => match r.n(0, 2) {
            0 => format!("/?p={id}"),
            1 => format!("/{y}/{m:02}/{d:02}/{}-{id}/", r.word()),
            _ => format!("/archives/{id}"),
        },
        "empire" => match r.n(0, 2) {
            0 => format!("/e/action/ShowInfo.php?classid={}&id={id}", r.n(1, 90)),
            1 => format!("/e/action/ListInfo/?classid={}&page={}", r.n(1, 90), r.n(1, 9)),
            _ => format!("/{}/{y}-{m:02}-{d:02}/{id}.html", r.word()),
        },
        "discuz" => match r.n(0, 1) {
            0 => format!("/forum.php?mod=viewthread&tid={id}"),
            _ => format!("/thread-{id}-1-{}.html", r.n(1, 9)),
        },
        "thinkphp" => format!("/index.php?m=Home&c=Article&a=show&catid={}&id={id}", r.n(1, 90)),
        "people" => format!("/n1/{y}/{m:02}{d:02}/c{}-{id}.html", r.n(1000, 9999)),
        "xinhua" => format!("/{y}-{m:02}/{d:02}/content_{id}.htm"),
        "pinyin" => format!("/{}/{}/{}{}.html", r.word(), r.word(), r.word(), r.n(1, 300)),
        "jsp" => format!("/portal/detail.do?oid={id}"),
        "almost-vsb" => format!("/info/{id}.html"),
        "almost-jcms" => format!("/art/{y}-{m}/{id}.html"),
        "joomla" => format!("/index.php?option=com_content&view=article&id={id}"),
        "rails" => format!("/{}/{id}", r.one(&["articles", "posts", "notices"])),
        other => panic!("{other}"),
    }
}

/// What every log is full of.
pub fn noise(r: &mut Random) -> String {
    let id = r.n(1, 9999);
    match r.n(0, 11) {
        0 => "/".to_owned(),
        1 => "/favicon.ico".to_owned(),
        2 => "/robots.txt".to_owned(),
        3 => format!("/images/{}{id}.jpg", r.word()),
        4 => format!("/css/style{}.css?v={id}", r.n(1, 9)),
        5 => "/js/jquery.min.js".to_owned(),
        6 => "/wp-login.php".to_owned(),
        7 => "/phpmyadmin/index.php".to_owned(),
        8 => format!("/{}/", r.word()),
        9 => "/index.html".to_owned(),
        10 => format!("/UploadFiles/{}/{id}.doc", r.n(2005, 2020)),
        _ => format!("/about{}.html", r.n(1, 9)),
    }
}

/// A site, its URLs, and what is to be said of it.
pub struct Site {
    pub host: String,
    pub urls: Vec<String>,
    /// What it ran; `unknown` where that can't be told.
    pub want: Vec<&'static str>,
}

/// Sites of all families, and of none.
pub fn sites(seed: u64, count: u64) -> Vec<Site> {
    let mut r = Random(seed);
    (0..count)
        .map(|number| {
            let host = format!("s{number}.old.example");
            let noises = r.n(0, 40);
            let mut urls: Vec<String> = (0..noises).map(|_| noise(&mut r)).collect();
            let family = FAMILIES[number as usize % FAMILIES.len()];
            let pages = |family: &str, pages: u64, r: &mut Random| -> Vec<String> {
                (0..pages).map(|_| page(family, number, r)).collect()
            };
            let want = match r.n(0, 99) {
                // The usual case.
                0..=54 => {
                    let many = r.n(15, 200);
                    urls.extend(pages(family, many, &mut r));
                    vec![family]
                }
                // Few pages are known.
                55..=64 => {
                    let few = r.n(6, 14);
                    urls.truncate(8);
                    urls.extend(pages(family, few, &mut r));
                    vec![family]
                }
                // All in lower case, as some servers write logs.
                65..=69 => {
                    urls.extend(pages(family, 30, &mut r).iter().map(|url| url.to_lowercase()));
                    vec![family]
                }
                // Behind the proxy for traditional characters, or a mobile twin, in part.
                70..=74 => {
                    let wrap = if r.chance(50) {
                        format!("/gate/big5/{host}")
                    } else {
                        r.one(&["/wap", "/m", "/3g", "/mobile"]).to_owned()
                    };
                    let urls_of = pages(family, 40, &mut r);
                    urls.extend(
                        urls_of
                            .into_iter()
                            .enumerate()
                            .map(|(n, url)| if n < 15 { format!("{wrap}{url}") } else { url }),
                    );
                    vec![family]
                }
                // Two systems, one after the other: either may be named.
                75..=79 => {
                    let other = FAMILIES[..15][r.n(0, 14) as usize];
                    urls.extend(pages(family, 60, &mut r));
                    urls.extend(pages(other, 60, &mut r));
                    vec![family, other]
                }
                // A single stray link among many pages of something else.
                80..=85 => {
                    let system = r.one(&FOREIGN);
                    urls.extend((0..60).map(|_| foreign(system, &mut r)));
                    urls.extend(pages(FAMILIES[..15][r.n(0, 14) as usize], 1, &mut r));
                    vec!["unknown"]
                }
                // No page at all.
                86..=87 => vec!["unknown"],
                _ => {
                    let system = r.one(&FOREIGN);
                    let many = r.n(5, 150);
                    urls.extend((0..many).map(|_| foreign(system, &mut r)));
                    vec!["unknown"]
                }
            };
            Site { host, urls, want }
        })
        .collect()
}
