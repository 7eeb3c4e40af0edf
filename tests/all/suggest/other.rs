//! Another kind of migration, written when the code was done: other addresses, ids that move otherwise, several programs in one site.
//! It was run at the end only.

use std::collections::HashSet;

use waypost::suggest::{Day, Material, Old, Page};

use super::migration::{Migration, Numbers};

/// How the pages of a program of the old site moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// An export has old ids.
    Export,
    /// An export has old addresses.
    Addresses,
    /// Each column's ids were shifted by a number of its own.
    ByColumn,
    /// New ids, of hexadecimal digits; titles alone tell.
    Hex,
    /// The name of the file was kept.
    Named,
}

/// A program of the old site: how it writes addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `/plus/view-548-1.html`
    Dede,
    /// `/gkmlpt/content/3/3774/post_3774882.html`
    Gkmlpt,
    /// `/web/2570/2598/content_470385.html`
    Web,
    /// `/eportal/ui?pageId=314738&articleKey=77`
    Eportal,
    /// `/Item/156177.aspx`, and the mobile twin `/wap/item/156177.aspx`
    Item,
    /// `/doc/2015/000123.shtml`
    Padded,
    /// `/n1146290/n4388791/c5781140/content.html`
    Easy,
    /// `/zwgk/gongzuodongtai-xiaoxue.html`
    Slug,
}

pub const PROGRAMS: [(Program, Move); 8] = [
    (Program::Dede, Move::Export),
    (Program::Gkmlpt, Move::Addresses),
    (Program::Web, Move::ByColumn),
    (Program::Eportal, Move::Export),
    (Program::Item, Move::Export),
    (Program::Padded, Move::Hex),
    (Program::Easy, Move::Export),
    (Program::Slug, Move::Named),
];

const SYLLABLES: &[&str] = &[
    "gong", "zuo", "dong", "tai", "xiao", "xue", "jiao", "yu", "cai", "zheng", "nong", "ye", "shui", "li", "min",
    "sheng",
];
const PLACES: &[&str] =
    &["上河村", "东岭乡", "北关社区", "柳林镇", "石桥村", "南湖街道", "新华路小学", "人民医院", "县图书馆", "体育中心"];
const ACTS: &[&str] = &["通报", "公布", "解读", "征求意见", "答记者问", "开工", "验收", "表彰", "调研", "座谈"];
const THINGS: &[&str] = &[
    "饮水工程",
    "危房改造",
    "医保缴费",
    "文化下乡",
    "道路限行",
    "社保卡发放",
    "公租房申请",
    "老年大学",
    "垃圾分类",
    "防震减灾",
    "非遗展演",
    "消费维权",
    "志愿服务",
    "土地流转",
    "河长制",
    "光伏扶贫",
    "家庭医生签约",
    "创业贷款",
];
const ANNUAL: &[&str] = &["预算公开说明", "法治政府建设报告", "招聘启事", "高考志愿填报须知", "清明祭扫通告"];

struct Article {
    id: u64,
    column: u64,
    day: Day,
    title: String,
    slug: String,
}

/// Builds a site of the given programs, with as many articles in each.
pub fn site(programs: &[(Program, Move)], each: usize, seed: u64) -> Migration {
    let mut numbers = Numbers(seed ^ 0x0DD_BA11);
    let (mut material, mut right) = (Material::default(), Vec::new());
    for &(program, kind) in programs {
        add(program, kind, each, &mut numbers, &mut material, &mut right);
    }
    for n in 0..each as u64 / 5 {
        let number = numbers.below(5000);
        let key = match n % 5 {
            0 => format!("/plus/list.php?tid={number}"),
            1 => format!("/.env{number}"),
            2 => format!("/col/col{number}/index.html"),
            3 => format!("/uploads/allimg/{number}.gif"),
            _ => format!("/item/list.asp?id={number}"),
        };
        if !material.olds.iter().any(|old| old.key == key) {
            material.olds.push(Old { key, title: None, hits: 1 });
            right.push(None);
        }
    }
    Migration { material, right }
}

fn add(
    program: Program,
    kind: Move,
    each: usize,
    numbers: &mut Numbers,
    material: &mut Material,
    right: &mut Vec<Option<usize>>,
) {
    let mut id = match program {
        Program::Dede | Program::Item | Program::Padded => 1,
        Program::Slug => 0,
        _ => 10_000 + numbers.below(4_000_000),
    };
    let mut slugs = HashSet::new();
    let mut rows = Vec::new();
    let base = 5_000_000 + numbers.below(1_000_000);
    let offsets: Vec<u64> = (0..6).map(|n| 300_000 + n * 500_000 + numbers.below(90_000)).collect();
    for n in 0..each {
        id += 1 + numbers.below(6);
        let mut slug = String::new();
        while slug.is_empty() || !slugs.insert(slug.clone()) {
            slug = (0..4 + numbers.below(3)).map(|_| numbers.of(SYLLABLES)).collect::<Vec<_>>().join("");
        }
        let day = Day {
            year: 2009 + (n * 10 / each) as u16,
            month: 1 + numbers.below(12) as u8,
            day: 1 + numbers.below(28) as u8,
        };
        let title = match numbers.below(12) {
            0 => format!("{}{}年度{}", numbers.of(PLACES), day.year, numbers.of(ANNUAL)),
            1 => format!("{}{}", numbers.of(PLACES), numbers.of(ANNUAL)),
            _ => format!(
                "{}{}{}：{}{}",
                numbers.of(PLACES),
                numbers.of(THINGS),
                numbers.of(ACTS),
                numbers.of(PLACES),
                numbers.of(THINGS)
            ),
        };
        let article = Article { id, column: numbers.below(6), day, title, slug };
        let is_gone = numbers.chance(0.1);
        let known_title = numbers.chance(if kind == Move::Hex { 0.95 } else { 0.3 });
        let old_title = known_title.then(|| format!("青山县政府网-{}", article.title));
        let keys = old_addresses(program, &article);
        let page = (!is_gone).then(|| {
            let new_id = match kind {
                Move::ByColumn => id + offsets[article.column as usize],
                _ => base + numbers.below(1 << 40) % 7_000_000,
            };
            let title = if numbers.chance(0.25) {
                format!("{}【组图】", article.title.replace("：", " "))
            } else {
                article.title.clone()
            };
            material.pages.push(Page {
                url: new_address(kind, &article, new_id, numbers),
                title: (kind == Move::Hex || numbers.chance(0.5)).then(|| format!("{title}|青山县融媒体")),
                day: numbers.chance(0.3).then_some(article.day),
            });
            material.pages.len() - 1
        });
        if let Some(page) = page.filter(|_| numbers.chance(0.93)) {
            match kind {
                Move::Export => rows.push((id.to_string(), page as u32)),
                Move::Addresses => material.told.extend(keys.iter().map(|key| (key.clone(), page as u32))),
                _ => {}
            }
        }
        for key in keys {
            material.olds.push(Old { key, title: old_title.clone(), hits: 1 + numbers.below(90) });
            right.push(page);
        }
    }
    if !rows.is_empty() {
        material.exports.push(("id".to_owned(), rows));
    }
}

fn old_addresses(program: Program, article: &Article) -> Vec<String> {
    let Article { id, column, day, slug, .. } = article;
    vec![match program {
        Program::Dede => format!("/plus/view-{id}-1.html"),
        Program::Gkmlpt => format!("/gkmlpt/content/{}/{}/post_{id}.html", id / 1_000_000, id / 1000),
        Program::Web => format!("/web/2570/{}/content_{id}.html", 2590 + column),
        Program::Eportal => format!("/eportal/ui?articlekey={id}&pageid={}", 314_700 + column),
        Program::Item => return vec![format!("/item/{id}.aspx"), format!("/wap/item/{id}.aspx")],
        Program::Padded => format!("/doc/{}/{id:06}.shtml", day.year),
        Program::Easy => format!("/n1146290/n43887{column}/c{id}/content.html"),
        Program::Slug => format!("/zwgk/lanmu{column}/{slug}.html"),
    }]
}

fn new_address(kind: Move, article: &Article, id: u64, numbers: &mut Numbers) -> String {
    let Day { year, month, .. } = article.day;
    let column = article.column;
    match kind {
        Move::Hex => format!("https://www.qingshan.example/d/{:016x}.html", numbers.next() | 0xA),
        Move::Named => format!("https://www.qingshan.example/fuwu/l{column}/{}/", article.slug),
        Move::ByColumn => format!("https://www.qingshan.example/zx/{}/p{id:09}.shtml", 700 + column),
        _ => format!("https://www.qingshan.example/c10{column}/{year}{month:02}/{id:08}.shtml"),
    }
}
