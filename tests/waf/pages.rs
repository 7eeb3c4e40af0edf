//! Page views and forms of citizens, none of which is an attack: the URL families of government sites, and old URLs of a
//! real consolidation.

use std::{fs, path::Path, time::Instant};

use super::{Request, agree, block, page, page_with, rules};

/// URL families.
const PAGES: &[&str] = &[
    "/",
    "/index.html",
    "/art/2018/10/26/art_70739_6714054.html",
    "/col/col31238/index.html",
    "/jcms_files/jcms1/web3505/site/attach/0/1234567890.pdf",
    "/xxgk/tzgg/swszf/201212/t20121210_4862855.html",
    "/was5/web/search?channelid=237687&page=1&searchword=%E7%A7%91%E6%99%AE",
    "/was5/web/search?channelid=237687&page=1",
    "/info/9031/791692.htm",
    "/eportal/ui?pageId=314738&articleKey=1234",
    "/n1146290/n4388791/c5781140/content.html",
    "/gkmlpt/content/3/3774/post_3774882.html",
    "/gkmlpt/content/3/3774/mpost_3774882.html",
    "/index.php?m=content&c=index&a=show&catid=82&id=17577",
    "/Item/156177.aspx",
    "/ShowArticle.asp?ArticleID=260423",
    "/Item/list.asp?id=1610",
    "/plus/view-548-1.html",
    "/plus/list.php?tid=22&TotalResult=243&PageNo=2",
    "/DongZhifront/InfoDetail/?InfoID=8f2c1a3e-5b7d-4c6e-9f10-2a3b4c5d6e7f&CategoryNum=002002003",
    "/web/2570/2598/3440/content_470385.html",
    "/c5375/20260901/i2524327.html",
    "/content/article/8130479.html",
    "/news.asp?classname=%BF%C6%C6%D5%D6%AA%CA%B6",
    "/default.aspx",
    "/images/logo.gif",
    "/css/style.css?v=20190101",
    "/js/jquery-1.8.3.min.js",
];

#[test]
fn citizens_are_not_taken_for_attackers() {
    for target in PAGES {
        let request = page(target);
        let findings = block().weigh(rules().engine.inspect(&request).unwrap(), &request.target);
        assert!(!block().is_attack(&findings), "{target}: {findings:?}");
        agree(&request);
    }
    let forms: &[(&str, &str)] = &[
        (
            "application/x-www-form-urlencoded",
            "name=%E5%BC%A0%E4%B8%89&tel=010-12345678&title=%E5%92%A8%E8%AF%A2&content=%E8%AF%B7%E9%97%AE%E5%A6%82%E4%BD%95%E5%8A%9E%E7%90%86%EF%BC%9F",
        ),
        ("application/x-www-form-urlencoded", "name=%D5%C5%C8%FD&content=%C7%EB%CE%CA"),
        ("application/json", "{\"name\":\"张三\",\"content\":\"请问如何办理？\"}"),
        ("text/xml", "<?xml version=\"1.0\"?><q><name>张三</name></q>"),
    ];
    for (content_type, body) in forms {
        let length = body.len().to_string();
        let fields = [("Content-Type", *content_type), ("Content-Length", &*length)];
        let request = Request { method: "POST".into(), body: (*body).into(), ..page_with("/mailbox/new", &fields) };
        let findings = block().weigh(rules().engine.inspect(&request).unwrap(), &request.target);
        assert!(!block().is_attack(&findings), "{content_type} {body}: {findings:?}");
        assert!(!rules().spares(&request), "a body is for the rules");
    }
}

/// How many old URLs of a real consolidation the engine is spared, and how many it would stop.
#[test]
fn old_urls_of_a_consolidation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/transition/dev/input/mappings");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    let mut targets: Vec<String> = Vec::new();
    for entry in entries {
        let text = String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned();
        for line in text.lines().skip(1) {
            let url = line.trim_start_matches('"').split([',', '"']).next().unwrap_or_default();
            let after = url.split_once("://").map_or(url, |(_, after)| after);
            if let Some(at) = after.find('/') {
                targets.push(after[at..].split('#').next().unwrap_or_default().replace(' ', "%20"));
            }
        }
    }
    targets.sort();
    targets.dedup();
    let begun = Instant::now();
    let spared = targets.iter().filter(|target| rules().spares(&page(target))).count();
    let each = begun.elapsed() / targets.len() as u32;
    println!("{} old URLs, {spared} spared ({} %), {each:?} each", targets.len(), spared * 100 / targets.len());
    // The engine takes milliseconds: a sample.
    let (mut stopped, mut inspected, begun) = (Vec::new(), 0, Instant::now());
    for target in targets.iter().step_by(targets.len() / 2_000 + 1) {
        let request = page(target);
        let findings = block().weigh(rules().engine.inspect(&request).unwrap(), &request.target);
        inspected += 1;
        if block().is_attack(&findings) {
            stopped.push(format!("{target} ({})", findings.rules()));
        }
    }
    println!(
        "{inspected} of them inspected, {:?} each; taken for attacks: {}",
        begun.elapsed() / inspected,
        stopped.join(" ")
    );
    assert!(spared * 2 > targets.len(), "{spared} of {}", targets.len());
    assert!(stopped.len() * 100 <= inspected as usize, "{stopped:?}");
}
