//! Migrations that never were: an old site, the platform that it moved to, and what is left to find out where pages went.
//!
//! Old pages have an id, a column, a day and a title; the kind of CMS says how that becomes an address. On the platform ids, columns
//! and titles are others, some pages are not there any more, and others were always only there.

use std::collections::HashMap;

use waypost::suggest::{Day, Material, Old, Page};

/// Pseudo-random numbers (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn chance(&mut self, part: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= part - 1e-12
    }

    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// How addresses of the old site look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cms {
    /// `/news/show.asp?id=77`
    Asp,
    /// `/xxgk/tzgg/201212/t20121210_4862855.html`
    Trs,
    /// `/info/9031/791692.htm`
    Vsb,
    /// `/art/2018/10/26/art_70739_6714054.html`
    Jcms,
    /// `/index.php?m=content&c=index&a=show&catid=82&id=17577`
    Php,
    /// `/InfoDetail/?InfoID=<UUID>&CategoryNum=002003`
    Guid,
    /// `/c5375/20260901/i2524327.html`
    Dated,
}

/// How ids of the platform come from old ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ids {
    /// They are the same.
    Kept,
    /// All are shifted.
    Shifted(i64),
    /// They are new.
    New,
}

/// What a migration is like.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub cms: Cms,
    pub ids: Ids,
    /// Part of the articles that the export names by their old id.
    pub table: f64,
    /// Part of the old pages whose titles are known; the platform's are, if there are any.
    pub titles: f64,
    /// Part of the titles that were changed.
    pub changed: f64,
    /// Part of the old pages that are gone.
    pub gone: f64,
    /// Whether addresses of the platform name the day.
    pub days: bool,
    /// Part of the moved articles whose mappings are there already.
    pub known: f64,
    pub articles: usize,
}

/// The usual: an export of most articles, half of old titles, a third of all titles changed.
pub const USUAL: Setting = Setting {
    cms: Cms::Trs,
    ids: Ids::New,
    table: 0.7,
    titles: 0.5,
    changed: 0.33,
    gone: 0.12,
    days: true,
    known: 0.0,
    articles: 1500,
};

/// A migration, and what is right.
pub struct Migration {
    pub material: Material,
    /// Of each old address its page, if it has one.
    pub right: Vec<Option<usize>>,
}

/// What came of suggestions above a confidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    pub moved: usize,
    pub accepted: usize,
    pub correct: usize,
}

impl Score {
    pub fn recall(self) -> f64 {
        self.correct as f64 / self.moved.max(1) as f64
    }

    pub fn precision(self) -> f64 {
        if self.accepted == 0 { 1.0 } else { self.correct as f64 / self.accepted as f64 }
    }
}

impl Migration {
    /// What is right of the suggestions of at least a confidence.
    pub fn score(&self, least: f64) -> Score {
        let mut score = Score { moved: self.right.iter().flatten().count(), ..Score::default() };
        for suggestion in waypost::suggest::suggest(&self.material) {
            let Some(best) = suggestion.best.filter(|best| best.confidence >= least) else { continue };
            score.accepted += 1;
            let is_right = self.right[suggestion.old] == Some(best.page);
            score.correct += usize::from(is_right);
            if !is_right && std::env::var_os("SUGGEST_SHOW").is_some() {
                let old = &self.material.olds[suggestion.old];
                eprintln!(
                    "{} {:?} → {} {:?} {:.3} {:?}; right: {:?}",
                    old.key,
                    old.title,
                    self.material.pages[best.page].url,
                    self.material.pages[best.page].title,
                    best.confidence,
                    best.reasons,
                    self.right[suggestion.old]
                        .map(|page| (&self.material.pages[page].url, &self.material.pages[page].title)),
                );
            }
        }
        score
    }
}

const COLUMNS: &[(&str, &str)] = &[
    ("tzgg", "notices"),
    ("xwzx", "news"),
    ("bmdt", "departments"),
    ("zcfg", "policies"),
    ("ghjh", "plans"),
    ("rsxx", "personnel"),
    ("czxx", "finance"),
    ("zfcg", "procurement"),
    ("jyjx", "teaching"),
    ("dwgk", "party"),
];

const WHO: &[&str] = &[
    "青山县教育局",
    "县安监局",
    "第一中学",
    "县财政局",
    "东河镇",
    "县农业局",
    "实验小学",
    "县审计局",
    "卫生院",
    "水利站",
];
const DOES: &[&str] = &["召开", "组织开展", "部署", "检查", "推进", "启动", "总结", "研究", "举办", "落实"];
const WHAT: &[&str] = &[
    "春季植树活动",
    "安全生产工作",
    "秋季招生工作",
    "防汛抗旱会议",
    "预算执行审计",
    "教师业务培训",
    "食品安全宣传",
    "农村公路养护",
    "困难群众救助",
    "森林防火演练",
    "义务教育均衡发展",
    "环境卫生整治",
    "禁毒知识讲座",
    "信访维稳工作",
    "高考组织服务",
    "疫苗接种点",
];
const YEARLY: &[&str] =
    &["部门决算公开", "政府信息公开工作年度报告", "放假安排的通知", "公开招聘教师公告", "中小学招生简章"];

struct Article {
    id: u64,
    column: usize,
    day: Day,
    title: String,
}

/// Builds a migration; the same seed gives the same one.
pub fn migration(setting: &Setting, seed: u64) -> Migration {
    let mut numbers = Numbers(seed ^ 0x5EED_0000);
    let articles = articles(setting, &mut numbers);
    let (mut pages, mut right, mut export) = (Vec::new(), Vec::new(), Vec::new());
    let (mut olds, mut known) = (Vec::new(), Vec::new());
    let first_new = 100_000 + numbers.below(900_000);
    // The order in which the platform has taken them over.
    let mut order: Vec<usize> = (0..articles.len()).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, numbers.below(n as u64 + 1) as usize);
    }
    let merged = numbers.below(3) as usize;
    let mut front: HashMap<usize, usize> = HashMap::new();
    for (place, &n) in order.iter().enumerate() {
        let article = &articles[n];
        let is_gone = numbers.chance(setting.gone);
        let has_old_title = numbers.chance(setting.titles);
        let old = Old {
            key: old_address(setting.cms, article, &mut numbers),
            title: has_old_title.then(|| format!("{}_青山县教育局", article.title)),
            hits: 1 + numbers.below(500),
        };
        if is_gone {
            olds.push(old);
            right.push(None);
            continue;
        }
        let id = match setting.ids {
            Ids::Kept => article.id,
            Ids::Shifted(offset) => article.id.saturating_add_signed(offset),
            Ids::New => first_new + 3 * place as u64 + numbers.below(3),
        };
        let column = if article.column < merged { 0 } else { article.column };
        let title =
            if numbers.chance(setting.changed) { changed(&article.title, &mut numbers) } else { article.title.clone() };
        let page = pages.len();
        pages.push(Page {
            url: new_address(setting, column, article.day, id),
            title: (setting.titles > 0.0).then(|| format!("{title} - 青山县人民政府")),
            day: None,
        });
        front.entry(column).or_insert(page);
        if numbers.chance(setting.table) {
            export.push((article.id.to_string(), page as u32));
            if setting.cms == Cms::Guid {
                export.last_mut().unwrap().0 = guid(article.id);
            }
        }
        if numbers.chance(setting.known) {
            known.push((old.key, page as u32));
        } else {
            olds.push(old);
            right.push(Some(page));
        }
    }
    // What was only ever there.
    for n in 0..setting.articles as u64 / 4 {
        let article = article(&mut numbers, 0);
        let id = first_new + 3 * (articles.len() as u64 + n);
        pages.push(Page {
            url: new_address(setting, article.column, article.day, id),
            title: (setting.titles > 0.0).then(|| format!("{} - 青山县人民政府", article.title)),
            day: None,
        });
    }
    noise(&mut olds, &mut right, &mut numbers, setting);
    columns(&mut olds, &mut right, &mut pages, setting, merged);
    let exports = if export.is_empty() { Vec::new() } else { vec![("原id".to_owned(), export)] };
    Migration { material: Material { olds, pages, exports, told: Vec::new(), known }, right }
}

fn articles(setting: &Setting, numbers: &mut Numbers) -> Vec<Article> {
    // Ids grow with time, with holes: other sites have had the others.
    let mut id = match setting.cms {
        Cms::Asp | Cms::Php => 100,
        Cms::Vsb | Cms::Dated => 10_000 + numbers.below(500_000),
        _ => 1_000_000 + numbers.below(4_000_000),
    };
    let mut all: Vec<Article> = (0..setting.articles).map(|_| article(numbers, 0)).collect();
    all.sort_by_key(|article| (article.day.year, article.day.month, article.day.day));
    let gap = if matches!(setting.cms, Cms::Asp | Cms::Php) { 2 } else { 12 };
    for article in &mut all {
        id += 1 + numbers.below(gap);
        article.id = id;
    }
    all
}

fn article(numbers: &mut Numbers, id: u64) -> Article {
    let year = 2008 + numbers.below(12) as u16;
    let day = Day { year, month: 1 + numbers.below(12) as u8, day: 1 + numbers.below(28) as u8 };
    let title = match numbers.below(10) {
        // One of the announcements that come every year, with the year or without.
        0 => format!("{}{year}年{}", numbers.of(WHO), numbers.of(YEARLY)),
        1 if numbers.chance(0.5) => format!("关于{}的公示", numbers.of(YEARLY)),
        _ => format!(
            "{}{}{}{}{}",
            numbers.of(WHO),
            numbers.of(DOES),
            numbers.of(WHO),
            numbers.of(WHAT),
            numbers.of(&["情况", "动员会", "座谈会", "取得成效", "专题会议", "纪实", "", "现场会", "经验交流"])
        ),
    };
    Article { id, column: numbers.below(COLUMNS.len() as u64) as usize, day, title }
}

fn guid(id: u64) -> String {
    let mut numbers = Numbers(id);
    let (a, b) = (numbers.next(), numbers.next());
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xFFFF, a & 0xFFFF, b >> 48, b & 0xFFFF_FFFF_FFFF)
}

fn old_address(cms: Cms, article: &Article, numbers: &mut Numbers) -> String {
    let Article { id, column, day: Day { year, month, day }, .. } = article;
    let name = COLUMNS[*column].0;
    match cms {
        Cms::Asp => format!("/{name}/show.asp?id={id}"),
        Cms::Trs => format!("/xxgk/{name}/{year}{month:02}/t{year}{month:02}{day:02}_{id}.html"),
        Cms::Vsb => format!("/info/{}/{id}.htm", 1000 + column * 17),
        Cms::Jcms => format!("/art/{year}/{month}/{day}/art_{}_{id}.html", 70_000 + column * 31),
        Cms::Php => format!("/index.php?a=show&c=index&catid={}&id={id}&m=content", 10 + column),
        Cms::Guid => format!("/infodetail?categorynum=00200{column}&infoid={}", guid(*id)),
        Cms::Dated => {
            let day = 1 + (u64::from(*day) + numbers.below(2)) % 28;
            format!("/c{}/{year}{month:02}{day:02}/i{id}.html", 5000 + column * 7)
        }
    }
}

fn new_address(setting: &Setting, column: usize, day: Day, id: u64) -> String {
    let Day { year, month, day } = day;
    let name = COLUMNS[column].1;
    if setting.days {
        format!("https://www.qingshan.example/jyj/{name}/{year}-{month:02}/{day:02}/content_{id}.html")
    } else {
        format!("https://www.qingshan.example/jyj/{name}/content_{id}.html")
    }
}

/// The same article under another title.
fn changed(title: &str, numbers: &mut Numbers) -> String {
    match numbers.below(5) {
        0 => format!("【转载】{title}"),
        1 => format!("{title}（图）"),
        2 => title.replace("工作", "").replace("召开", "组织召开"),
        3 => format!("我县{title}"),
        _ => {
            // Written anew.
            let chars: Vec<char> = title.chars().collect();
            let half: String = chars[..chars.len() / 2].iter().collect();
            format!("工作动态：{half}")
        }
    }
}

/// What else is asked for: scanners, pictures, lists, other programs of the site.
fn noise(olds: &mut Vec<Old>, right: &mut Vec<Option<usize>>, numbers: &mut Numbers, setting: &Setting) {
    for n in 0..setting.articles as u64 / 10 {
        let number = numbers.below(900) + 1;
        let key = match n % 6 {
            0 => format!("/wp-content/plugins/{number}/readme.txt"),
            1 => format!("/images/2012/{number}.jpg"),
            2 => format!("/list.asp?classid={}&page={number}", number % 10),
            3 => format!("/guestbook/view.asp?id={}", number * 7),
            4 => format!("/vote/result.php?vid={number}"),
            _ => format!("/xxgk/search.jsp?p={number}"),
        };
        if !olds.iter().any(|old| old.key == key) {
            olds.push(Old { key, title: None, hits: 1 });
            right.push(None);
        }
    }
}

/// Front pages of columns.
fn columns(
    olds: &mut Vec<Old>,
    right: &mut Vec<Option<usize>>,
    pages: &mut Vec<Page>,
    setting: &Setting,
    merged: usize,
) {
    let mut fronts = HashMap::new();
    pages.push(Page { url: "https://www.qingshan.example/jyj/".into(), ..Page::default() });
    for (n, (_, name)) in COLUMNS.iter().enumerate().filter(|(n, _)| *n == 0 || *n >= merged) {
        fronts.insert(n, pages.len());
        pages.push(Page { url: format!("https://www.qingshan.example/jyj/{name}/index.html"), ..Page::default() });
    }
    for (n, (name, _)) in COLUMNS.iter().enumerate() {
        let key = match setting.cms {
            Cms::Trs => format!("/xxgk/{name}"),
            Cms::Vsb => format!("/info/{}", 1000 + n * 17),
            Cms::Asp => format!("/{name}"),
            _ => continue,
        };
        olds.push(Old { key, title: None, hits: 3 });
        right.push(fronts.get(if n < merged { &0 } else { &n }).copied());
    }
}
