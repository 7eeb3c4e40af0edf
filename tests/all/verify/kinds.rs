//! Each kind of finding, over real sockets; and what is not found.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::origin::{Answer, Asked, Origin};
use super::{folder, found, site, verify};
use crate::program::waypost;

/// What the origins answer; `later` says whether things have changed.
fn answer(asked: &Asked, later: bool) -> Answer {
    let body = "青山县教育局政务公开。".repeat(50);
    let page = |title: &str| Answer::page(title, &format!("{}{body}", asked.target));
    match (asked.host.as_str(), asked.target.as_str()) {
        ("closed.origin.example", "/robots.txt") => {
            Answer { body: b"User-agent: *\nDisallow: /secret\n".to_vec(), ..Answer::new(200) }
        }
        ("broken.origin.example", "/robots.txt") => Answer::new(503),
        (_, "/robots.txt") => Answer::new(404),
        ("shell.origin.example", _) => Answer::page("应用", "正在加载"),
        ("front.origin.example", "/") => page("首页"),
        ("front.origin.example", "/deep.html") => page("深页"),
        ("front.origin.example", _) => Answer::redirect("/"),
        (_, "/gone.html") => Answer::new(404),
        (_, target) if target.starts_with("/waypost-") => Answer::new(404),
        (_, "/error.html") => Answer::new(500),
        (_, "/nowhere.html") => Answer::new(302),
        (_, "/soft.html") => Answer::gbk("提示信息", "对不起，您访问的页面不存在！"),
        (_, "/away.html") => Answer::redirect("/common/404.html"),
        (_, "/common/404.html") => page("提示"),
        (_, "/loop/1") => Answer::redirect("/loop/2"),
        (_, "/loop/2") => Answer::redirect("http://ok.origin.example/loop/1"),
        (_, "/hops/1") => Answer::redirect("2"),
        (_, "/hops/2") => Answer::redirect("/hops/3"),
        (_, "/one-hop") => Answer::redirect("/hops/3"),
        (_, "/meta") => Answer { body: b"<META http-equiv=Refresh content='0; url=/meta2'>".to_vec(), ..page("") },
        (_, "/meta2") => Answer::redirect("/hops/3"),
        (_, "/foreign") => Answer::redirect("http://evil.example/win"),
        (_, "/slow.html") => page("慢").late(Duration::from_millis(3100)),
        (_, "/never.html") => page("").late(Duration::from_secs(3600)),
        (_, "/once.html") if !later => page("偶尔"),
        (_, "/a.pdf") => page("不是文件"),
        (_, "/b.pdf") => Answer {
            fields: "Content-Type: application/pdf\r\n".to_owned(),
            body: b"%PDF-1.4".to_vec(),
            ..Answer::new(200)
        },
        (_, "/c.html") => {
            Answer { fields: "Content-Type: application/zip\r\n".to_owned(), body: b"PK".to_vec(), ..Answer::new(200) }
        }
        (_, "/hijack.html") => Answer::gbk("澳门新葡京娱乐官网", "欢迎"),
        (_, "/news.html") => page("县公安局破获一起网络赌博案"),
        ("ok.origin.example", "/moved.html") if later => Answer::redirect("http://other.origin.example/moved.html"),
        (_, "/title.html") if later => page("某某商城"),
        (_, "/title.html") => page("青山县教育局"),
        _ => page("青山县教育局通知"),
    }
}

#[test]
fn every_kind_is_found() {
    let later = Arc::new(AtomicBool::new(false));
    let is_later = later.clone();
    let origin = Origin::start(move |asked, _| answer(asked, is_later.load(Ordering::SeqCst)));
    let (tls, pem) = Origin::tls(&["tls.origin.example"], |asked, _| answer(asked, false));
    let (foreign_tls, _) = Origin::tls(&["bad.origin.example"], |asked, _| answer(asked, false));
    let fine = [
        "ok.origin.example/fine.html",
        "ok.origin.example/one-hop",
        "ok.origin.example/b.pdf",
        "ok.origin.example/news.html",
        "front.origin.example/",
        "front.origin.example/deep.html",
        "ok.origin.example/moved.html",
        "ok.origin.example/title.html",
        "closed.origin.example/open.html",
        "shell.origin.example/",
    ];
    let wrong = [
        ("ok.origin.example/gone.html", "dead"),
        ("ok.origin.example/error.html", "dead"),
        ("ok.origin.example/nowhere.html", "dead"),
        ("ok.origin.example/never.html", "dead"),
        ("refused.origin.example/", "dead"),
        ("refused.origin.example/2.html", "dead"),
        ("ok.origin.example/soft.html", "soft-404"),
        ("ok.origin.example/away.html", "soft-404"),
        ("shell.origin.example/article/7.html", "soft-404"),
        ("front.origin.example/lost.html", "soft-404"),
        ("ok.origin.example/loop/1", "loop hops"),
        ("ok.origin.example/hops/1", "hops"),
        ("ok.origin.example/meta", "hops"),
        ("ok.origin.example/foreign", "foreign"),
        ("ok.origin.example/slow.html", "slow"),
        ("ok.origin.example/a.pdf", "content-type"),
        ("ok.origin.example/c.html", "content-type"),
        ("ok.origin.example/hijack.html", "hijack"),
    ];
    let http = |rest: &&str| format!("http://{rest}");
    let targets = fine.iter().map(http).chain(wrong.iter().map(|(rest, _)| http(rest)));
    let more = [
        "https://tls.origin.example/fine.html",
        "https://bad.origin.example/fine.html",
        "http://closed.origin.example/secret/1.html",
        "http://broken.origin.example/1.html",
    ];
    let folder = folder(targets.chain(more.iter().map(|&url| url.to_owned())), "[verify]\nroot = \"ca.pem\"\n");
    let folder = folder.path();
    fs::write(folder.join("ca.pem"), pem).unwrap();
    let places = [
        origin.place("*", 80),
        "refused.origin.example:80:127.0.0.1:1".to_owned(),
        tls.place("tls.origin.example", 443),
        foreign_tls.place("bad.origin.example", 443),
    ];
    let mut args = vec!["--rate", "200", "--per-host", "20", "--timeout", "4500"];
    args.extend(places.iter().flat_map(|place| ["--resolve", place]));
    let (report, output) = verify(folder, &args);
    assert_eq!(output.status.code(), Some(1));
    let mut expected: Vec<(&str, &str)> = wrong.to_vec();
    expected.push(("bad.origin.example/fine.html", "dead"));
    expected.sort_unstable();
    let seen = found(&report);
    let seen: Vec<(&str, &str)> = seen.iter().map(|(url, kinds)| (url.as_str(), kinds.as_str())).collect();
    assert_eq!(seen, expected, "{report:#}");
    let sum = &report["sum"];
    assert_eq!((sum["targets"].as_u64(), sum["kinds"]["robots"].as_u64()), (Some(fine.len() as u64 + 22), Some(2)));
    assert_eq!(sum["kinds"]["dead"], 7);
    let detail = |report: &serde_json::Value, url: &str| {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["url"] == format!("http://{url}")).unwrap();
        finding["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail(&report, "ok.origin.example/hijack.html").contains("葡京"));
    assert!(detail(&report, "ok.origin.example/never.html").contains("no answer within"));
    // What is asked of nobody: foreign hosts, and what robots.txt closes.
    let asked = origin.asked();
    let count =
        |host: &str, target: &str| asked.iter().filter(|asked| asked.host == host && asked.target == target).count();
    assert!(asked.iter().all(|asked| asked.host != "evil.example"));
    assert!(asked.iter().all(|asked| !asked.target.starts_with("/secret") || asked.host != "closed.origin.example"));
    assert!(asked.iter().all(|asked| asked.host != "broken.origin.example" || asked.target == "/robots.txt"));
    assert_eq!(count("ok.origin.example", "/robots.txt"), 1);
    assert_eq!(count("ok.origin.example", "/gone.html"), 1);
    assert_eq!(count("ok.origin.example", "/never.html"), 2, "asked once more before it is called dead");

    // Later, some things are not as they were; and what was found before is not found again by itself.
    later.store(true, Ordering::SeqCst);
    site(
        folder,
        "jyj",
        ["moved.html", "title.html", "fine.html"].map(|name| format!("http://ok.origin.example/{name}")),
    );
    let (report, _) = verify(folder, &args);
    let seen = found(&report);
    let seen: Vec<(&str, &str)> = seen.iter().map(|(url, kinds)| (url.as_str(), kinds.as_str())).collect();
    assert_eq!(
        seen,
        [("ok.origin.example/moved.html", "moved"), ("ok.origin.example/title.html", "title")],
        "{report:#}"
    );
    assert!(detail(&report, "ok.origin.example/title.html").contains("某某商城"));
    // A third time, that is how they are.
    let (report, output) = verify(folder, &args);
    assert_eq!((found(&report).len(), output.status.code()), (0, Some(0)), "{report:#}");
}

#[test]
fn results_are_shown_again_without_asking() {
    let origin = Origin::start(|asked, _| answer(asked, false));
    let folder = folder(["http://ok.origin.example/gone.html".to_owned()], "");
    let folder = folder.path();
    site(folder, "wjj", ["gone.html", "soft.html", "fine.html"].map(|name| format!("http://ok.origin.example/{name}")));
    let output = waypost(folder, &["verify", "--last"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was verified yet"), "{output:?}");
    let place = origin.place("*", 80);
    let (report, _) = verify(folder, &["--rate", "200", "--resolve", &place]);
    assert_eq!((report["sum"]["targets"].as_u64(), report["sum"]["faulty"].as_u64()), (Some(4), Some(3)));
    let asked = origin.asked().len();
    // A target of two sites is asked for once.
    assert_eq!(origin.asked().iter().filter(|asked| asked.target == "/gone.html").count(), 1);
    for (filter, faulty) in [(&["jyj"][..], 1), (&["wjj.qingshan.example"], 2), (&["--owner", "wjj"], 2), (&[], 3)] {
        let (report, output) = verify(folder, &[&["--last"], filter].concat());
        assert_eq!((report["sum"]["faulty"].as_u64(), output.status.code()), (Some(faulty), Some(1)), "{filter:?}");
    }
    assert_eq!(origin.asked().len(), asked);
    let csv = waypost(folder, &["verify", "--last", "--csv"]).output().unwrap();
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert!(csv.starts_with("kinds,site,url,source,") && csv.lines().count() == 4, "{csv}");
    assert!(csv.contains("dead,jyj,http://ok.origin.example/gone.html,jyj.csv:2,404,"), "{csv}");
    for (args, why) in [
        (&["verify", "nobody"][..], "is no site"),
        (&["verify", "--owner", "nobody"], "no site of these"),
        (&["verify", "--resume"], "nothing to resume"),
    ] {
        let output = waypost(folder, args).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains(why) && !output.status.success(), "{output:?}");
    }
}

#[test]
fn a_sample_is_of_each_site() {
    let origin = Origin::start(|asked, _| answer(asked, false));
    let targets = |site: &str| (0..50).map(|n| format!("http://{site}.origin.example/{n}.html")).collect::<Vec<_>>();
    let folder = folder(targets("a"), "");
    let folder = folder.path();
    site(folder, "wjj", targets("b"));
    let place = origin.place("*", 80);
    let args = ["--rate", "500", "--resolve", &place, "--sample", "5", "--seed", "1"];
    let (report, _) = verify(folder, &args);
    assert_eq!(report["run"]["targets"], 10);
    let pages = |origin: &Origin| {
        let asked = origin.asked().into_iter().filter(|asked| asked.target.len() <= "/00.html".len());
        asked.map(|asked| (asked.host, asked.target)).collect::<std::collections::BTreeSet<_>>()
    };
    let first = pages(&origin);
    assert_eq!(first.len(), 10);
    assert_eq!(first.iter().filter(|(host, _)| host == "a.origin.example").count(), 5);
    verify(folder, &args);
    assert_eq!(pages(&origin), first, "the same lot draws the same");
    verify(folder, &["--rate", "500", "--resolve", &place, "--sample", "5", "--seed", "2"]);
    assert!(pages(&origin).len() > 12);
}
