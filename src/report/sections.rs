//! What stands on the page, section by section.

use super::chart::{self, Bar, Column, Frame, Parts};
use super::page::{Cell, escaped, number, percent, seconds, table};
use super::{Lang, Length, Missing, PageRow, Report, Summary, UrlRow, Visits, share};
use crate::monitor::{Family, Tally};

/// The title of the page.
pub(super) fn title(report: &Report, lang: Lang) -> String {
    let (kind, name) = match &report.span {
        Some(span) => {
            let kind = match span.length {
                Length::Week => lang.pick("周报", "weekly report"),
                Length::Month => lang.pick("月报", "monthly report"),
                Length::Year => lang.pick("年报", "yearly report"),
            };
            (kind, span.name.as_str())
        }
        None => (lang.pick("报告", "report"), ""),
    };
    let of = lang.pick("政府网站旧址服务", "Old addresses of government sites:");
    match lang {
        Lang::Zh => format!("{of}{kind} {name}"),
        Lang::En => format!("{of} {kind} {name}"),
    }
}

/// All sections.
pub(super) fn all(report: &Report, lang: Lang, out: &mut String) {
    let page = Page { report, lang };
    page.head(out);
    *out += "<main>\n";
    for (id, name, section) in SECTIONS {
        *out += &format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n", lang.pick(name.0, name.1));
        section(&page, out);
        *out += "</section>\n";
    }
    *out += "</main>\n";
    page.foot(out);
}

type Section = fn(&Page<'_>, &mut String);

const SECTIONS: &[(&str, (&str, &str), Section)] = &[
    ("summary", ("总览", "Summary"), |page, out| page.summary(out)),
    ("changes", ("与上期相比", "Changes since the last report"), |page, out| page.changes(out)),
    ("availability", ("可用性（一票否决）", "Availability and the veto rule"), |page, out| {
        page.availability(out)
    }),
    ("speed", ("打开速度", "Load time"), |page, out| page.speed(out)),
    ("traffic", ("访问量", "Traffic"), |page, out| page.traffic(out)),
    ("coverage", ("覆盖率与无去向网址", "Coverage and unmapped URLs"), |page, out| page.coverage(out)),
    ("links", ("死链", "Dead links"), |page, out| page.links(out)),
    ("tls", ("HTTPS 证书", "Certificates"), |page, out| page.tls(out)),
    ("ipv6", ("IPv6", "IPv6"), |page, out| page.ipv6(out)),
    ("owners", ("各单位排名", "Ranking of owners"), |page, out| page.owners(out)),
    ("waves", ("集约化进度", "Progress of the consolidation"), |page, out| page.waves(out)),
];

struct Page<'a> {
    report: &'a Report,
    lang: Lang,
}

impl Page<'_> {
    fn pick(&self, zh: &'static str, en: &'static str) -> &'static str {
        self.lang.pick(zh, en)
    }

    fn paragraph(&self, out: &mut String, zh: &str, en: &str) {
        let text = match self.lang {
            Lang::Zh => zh,
            Lang::En => en,
        };
        *out += &format!("<p>{}</p>\n", escaped(text));
    }

    fn head(&self, out: &mut String) {
        let Report { span, owner, is_over, made, .. } = self.report;
        *out += &format!("<header>\n<h1>{}</h1>\n", escaped(&title(self.report, self.lang)));
        if let Some(span) = span {
            let (since, until) = (span.since, span.until);
            let so_far = if *is_over {
                ""
            } else {
                self.pick("（尚未结束，为截至目前的数据）", " (not over yet: figures so far)")
            };
            self.paragraph(
                out,
                &format!("统计时段：{since} 至 {until}{so_far}"),
                &format!("From {since} to {until}{so_far}"),
            );
        }
        let all = self.pick("全部单位", "all owners").to_owned();
        let owner = owner.clone().unwrap_or(all);
        self.paragraph(out, &format!("范围：{owner}　生成时间：{made}"), &format!("Of: {owner}. Made {made}"));
        for missing in &self.report.missing {
            let (zh, en) = match missing {
                Missing::Hits => (
                    "没有访问记录：[hits] database 为空或尚无数据。",
                    "No hits were counted: [hits] database is empty, or there is none.",
                ),
                Missing::Days => (
                    "该时段的逐日数据已合并为月，本周数据为整月合计。",
                    "Days of that time are not kept any more: figures are those of whole months.",
                ),
                Missing::Visits => (
                    "没有可用性监测记录：请设置 [monitor] enabled = true。",
                    "No pages were visited: set [monitor] enabled = true.",
                ),
                Missing::Links => {
                    ("没有核验记录：请运行 waypost verify。", "No targets were followed: run `waypost verify`.")
                }
                Missing::Certificates => ("无法读取证书目录。", "The folder of certificates can't be read."),
            };
            *out += &format!(
                "<p class=\"note\">{}</p>\n",
                escaped(match self.lang {
                    Lang::Zh => zh,
                    Lang::En => en,
                })
            );
        }
        *out += &format!("<nav aria-label=\"{}\"><ul>\n", self.pick("目录", "Contents"));
        for (id, name, _) in SECTIONS {
            *out += &format!("<li><a href=\"#{id}\">{}</a></li>\n", self.lang.pick(name.0, name.1));
        }
        *out += "</ul></nav>\n</header>\n";
    }

    fn summary(&self, out: &mut String) {
        let (now, before) = (&self.report.summary, &self.report.summary_before);
        let vetoed: Vec<&PageRow> = self.report.pages.iter().filter(|page| page.is_vetoed()).collect();
        if !vetoed.is_empty() {
            let names: Vec<&str> = vetoed.iter().take(5).map(|page| page.url.as_str()).collect();
            let (count, names) = (vetoed.len(), names.join("　"));
            let text = match self.lang {
                Lang::Zh => format!("一票否决：{count} 个页面在至少一周内打不开的比例达到 5 %：{names}"),
                Lang::En => {
                    format!("Veto: {count} page(s) did not open in 5 % or more of the visits of a week: {names}")
                }
            };
            *out += &format!("<p class=\"veto\">{}</p>\n", escaped(&text));
        }
        *out += "<dl class=\"tiles\">\n";
        let mut tile = |name: &str, big: String, small: String| {
            *out += &format!(
                "<div><dt>{}</dt><dd class=\"big\">{}</dd><dd class=\"delta\">{}</dd></div>\n",
                escaped(name),
                escaped(&big),
                escaped(&small)
            );
        };
        let was = |text: String| format!("{} {text}", self.pick("上期", "before:"));
        tile(self.pick("访问量", "Hits"), number(now.hits), was(number(before.hits)));
        tile(self.pick("覆盖率", "Coverage"), percent(now.coverage), was(percent(before.coverage)));
        tile(self.pick("无去向访问", "Unmapped hits"), number(now.unmapped), was(number(before.unmapped)));
        tile(self.pick("可用率", "Availability"), percent(now.availability), was(percent(before.availability)));
        tile(self.pick("一票否决页面", "Pages with a veto"), number(now.vetoes), was(number(before.vetoes)));
        tile(self.pick("平均打开时间", "Mean load time"), seconds(now.mean_millis), was(seconds(before.mean_millis)));
        let part = |part: u64, whole: u64| format!("{} / {}", number(part), number(whole));
        tile(
            self.pick("有效证书域名", "Hosts with a certificate"),
            part(now.covered_hosts, now.hosts),
            percent(share(now.covered_hosts, now.hosts)),
        );
        tile(
            self.pick("支持 IPv6 的页面", "Pages with IPv6"),
            part(now.ipv6, now.pages),
            percent(share(now.ipv6, now.pages)),
        );
        tile(
            self.pick("死链", "Dead links"),
            part(now.dead_links, now.links),
            percent(share(now.dead_links, now.links)),
        );
        tile(
            self.pick("集约化率", "Consolidation rate"),
            percent(Some(now.rate)),
            match self.lang {
                Lang::Zh => format!("已关停 {} / {}，上期 {}", now.closed, now.to_close, percent(Some(before.rate))),
                Lang::En => {
                    format!("{} of {} closed; before: {}", now.closed, now.to_close, percent(Some(before.rate)))
                }
            },
        );
        *out += "</dl>\n";
    }

    fn changes(&self, out: &mut String) {
        let (now, before) = (&self.report.summary, &self.report.summary_before);
        let name = self.report.before.as_ref().map_or("", |span| span.name.as_str());
        let points = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => {
                let sign = if now < before { '−' } else { '+' };
                let by = now.abs_diff(before);
                format!("{sign}{}.{:02}", by / 100, by % 100)
            }
            _ => "–".to_owned(),
        };
        let growth = |now: u64, before: u64| {
            if now == before {
                return "0".to_owned();
            }
            let sign = if now < before { '−' } else { '+' };
            format!("{sign}{}", number(now.abs_diff(before)))
        };
        let row = |name: &'static str, now: String, before: String, by: String| {
            vec![Cell::Text(name.to_owned()), Cell::Number(now), Cell::Number(before), Cell::Number(by)]
        };
        let counted = |name, get: fn(&Summary) -> u64| {
            row(name, number(get(now)), number(get(before)), growth(get(now), get(before)))
        };
        let shared = |name, get: fn(&Summary) -> Option<u64>| {
            row(name, percent(get(now)), percent(get(before)), points(get(now), get(before)))
        };
        let rows = vec![
            counted(self.pick("访问量", "Hits"), |sum| sum.hits),
            counted(self.pick("无去向访问", "Unmapped hits"), |sum| sum.unmapped),
            shared(self.pick("覆盖率", "Coverage"), |sum| sum.coverage),
            counted(self.pick("监测次数", "Visits"), |sum| sum.visits),
            counted(self.pick("其中打不开", "Of them failed"), |sum| sum.failed),
            shared(self.pick("可用率", "Availability"), |sum| sum.availability),
            counted(self.pick("一票否决页面", "Pages with a veto"), |sum| sum.vetoes),
            counted(self.pick("支持 IPv6 的页面", "Pages with IPv6"), |sum| sum.ipv6),
            counted(self.pick("已关停站点", "Sites closed"), |sum| sum.closed),
            shared(self.pick("集约化率", "Consolidation rate"), |sum| Some(sum.rate)),
        ];
        let heads = [
            self.pick("指标", "Figure"),
            self.pick("本期", "Now"),
            if name.is_empty() { self.pick("上期", "Before") } else { name },
            self.pick("变化（比率为百分点）", "Change (of shares: points)"),
        ];
        table(out, self.pick("与上期对比", "This report and the one before"), &heads, &rows);
        for (urls, zh, en) in [
            (&self.report.new_vetoes, "新出现一票否决", "New vetoes"),
            (&self.report.cleared_vetoes, "一票否决已解除", "Vetoes that are over"),
        ] {
            if !urls.is_empty() {
                let names = urls.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("　");
                self.paragraph(
                    out,
                    &format!("{zh}（{}）：{names}", urls.len()),
                    &format!("{en} ({}): {names}", urls.len()),
                );
            }
        }
        let began = &self.report.began;
        if began.is_empty() {
            return self.paragraph(out, "本期没有站点进入新的阶段。", "No site entered another phase.");
        }
        let rows: Vec<_> = began
            .iter()
            .take(MANY)
            .map(|row| {
                let cells = [row.site.clone(), row.name.clone(), self.phase(row.phase).to_owned(), row.day.to_string()];
                cells.map(Cell::Text).into()
            })
            .collect();
        let heads = [
            self.pick("站点", "Site"),
            self.pick("名称", "Name"),
            self.pick("阶段", "Phase"),
            self.pick("日期", "Day"),
        ];
        table(out, self.pick("进入新阶段的站点", "Sites that entered a phase"), &heads, &rows);
        self.more(out, began.len(), MANY, "changes.csv");
    }

    fn availability(&self, out: &mut String) {
        self.paragraph(
            out,
            "规则：一周内每天错时访问 20 次以上，首页 15 秒内打不开的次数占全部访问的 5 % 及以上，即单项否决。IPv4 与 IPv6 \
             分别计算；因监测方原因未能进行的访问不计为失败；一周不足 141 次的不予判定。",
            "The rule: a page is visited more than 20 times a day, spaced; if it does not open within 15 seconds in 5 % or more of \
             a week's visits, the site fails outright. IPv4 and IPv6 are counted apart; visits that could not be made are no failures; \
             140 visits a week or fewer are not judged.",
        );
        let pages = &self.report.pages;
        if pages.is_empty() {
            return self.nothing(out);
        }
        let sum = &self.report.summary;
        self.paragraph(
            out,
            &format!(
                "共监测 {} 个页面，访问 {} 次，其中 {} 次打不开。",
                number(sum.pages),
                number(sum.visits),
                number(sum.failed)
            ),
            &format!(
                "{} pages were visited {} times; {} visits failed.",
                number(sum.pages),
                number(sum.visits),
                number(sum.failed)
            ),
        );
        let bars: Vec<Bar> = pages
            .iter()
            .take(FEW)
            .map(|page| {
                let (family, tally) = page.worst();
                let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
                let (opened, is_bad) = (tally.opened(), page.is_vetoed());
                let veto = if is_bad { self.pick(" 否决", " veto") } else { "" };
                let text = format!("{} {family}{veto}", percent(opened));
                Bar { label: page.url.clone(), value: opened.unwrap_or(0), text, is_bad }
            })
            .collect();
        let frame = Frame {
            id: "c-availability",
            title: self.pick("可用率最低的页面（图）", "Pages that opened least (chart)"),
            about: self.pick(
                "每个页面打开成功的访问比例（取 IPv4 与 IPv6 中较低者），由低到高；红色为一票否决。数据见下表。",
                "The share of visits by which each page opened, by the worse of IPv4 and IPv6, lowest first; red ones have a veto. The table below has the figures.",
            ),
        };
        *out += &chart::bars(&frame, &bars, 10_000, Some((9_500, "95 %")));
        let heads = [
            self.pick("页面", "Page"),
            self.pick("协议", "By"),
            self.pick("访问", "Visits"),
            self.pick("打不开", "Failed"),
            self.pick("未进行", "Not made"),
            self.pick("可用率", "Opened"),
            self.pick("判定", "Verdict"),
            self.pick("主要原因", "Why"),
        ];
        let mut rows = Vec::new();
        for page in pages.iter().take(MANY) {
            for (name, visits) in [("IPv4", &page.v4), ("IPv6", &page.v6)] {
                // That there is no IPv6 is told below.
                if visits.made > 0 {
                    rows.push(self.visits(&page.url, name, visits));
                }
            }
        }
        table(out, self.pick("各页面可用率", "Availability of pages"), &heads, &rows);
        self.more(out, pages.len(), MANY, "pages.csv");
    }

    fn visits(&self, url: &str, family: &str, visits: &Visits) -> Vec<Cell> {
        let tally: Tally = visits.tally();
        let (vetoes, weeks) = (visits.vetoes(), visits.weeks.len());
        let verdict = match vetoes {
            0 if !visits.is_judged() => Cell::Number(self.pick("次数不足", "too few visits").to_owned()),
            0 => Cell::Number(self.pick("通过", "passes").to_owned()),
            _ if weeks == 1 => Cell::Bad(self.pick("一票否决", "VETO").to_owned()),
            _ => Cell::Bad(match self.lang {
                Lang::Zh => format!("一票否决 {vetoes}/{weeks} 周"),
                Lang::En => format!("VETO in {vetoes} of {weeks} weeks"),
            }),
        };
        let why = visits.why.iter().filter(|(why, _)| !["no_address", "no_network"].contains(*why));
        let why = why.max_by_key(|(_, count)| **count).map_or("", |(why, _)| self.why(why));
        vec![
            Cell::Text(url.to_owned()),
            Cell::Text(family.to_owned()),
            Cell::Number(number(tally.made)),
            Cell::Number(number(tally.failed)),
            Cell::Number(number(visits.unmade)),
            Cell::Number(percent(tally.opened())),
            verdict,
            Cell::Text(why.to_owned()),
        ]
    }

    fn speed(&self, out: &mut String) {
        let mean = |page: &PageRow| {
            let opened = page.tally().made - page.tally().failed;
            u64::checked_div(page.v4.millis + page.v6.millis, opened)
        };
        let mut pages: Vec<(&PageRow, u64)> =
            self.report.pages.iter().filter_map(|page| Some((page, mean(page)?))).collect();
        if pages.is_empty() {
            return self.nothing(out);
        }
        pages.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.url.cmp(&other.0.url)));
        self.paragraph(
            out,
            &format!(
                "从域名解析到整页读完的时间，不应超过 3 秒。平均 {}，超过规定时间的占 {}。",
                seconds(self.report.summary.mean_millis),
                percent(self.report.summary.slow)
            ),
            &format!(
                "From the look-up of the name to the end of the page; it should not take more than 3 s. On average {}; {} of visits were slow.",
                seconds(self.report.summary.mean_millis),
                percent(self.report.summary.slow)
            ),
        );
        let bar = |(page, mean): &(&PageRow, u64)| Bar {
            label: page.url.clone(),
            value: *mean,
            text: seconds(Some(*mean)),
            is_bad: *mean > 3_000,
        };
        let max = pages.first().map_or(0, |(_, mean)| *mean).max(4_000);
        let frame = Frame {
            id: "c-speed",
            title: self.pick("打开最慢的页面（图）", "Slowest pages (chart)"),
            about: self.pick("各页面平均打开时间，最慢的在前；红色超过 3 秒。数据见下表。", "The mean load time of each page, slowest first; red ones take more than 3 s. The table below has the figures."),
        };
        *out += &chart::bars(&frame, &pages.iter().take(FEW).map(bar).collect::<Vec<_>>(), max, Some((3_000, "3 s")));
        let heads = [
            self.pick("页面", "Page"),
            self.pick("平均", "Mean"),
            self.pick("最长", "Longest"),
            self.pick("超时比例", "Slow"),
        ];
        let rows: Vec<_> = pages
            .iter()
            .take(MANY)
            .map(|(page, mean)| {
                let opened = page.tally().made - page.tally().failed;
                let slow = share(page.v4.slow + page.v6.slow, opened);
                vec![
                    Cell::Text(page.url.clone()),
                    if *mean > 3_000 { Cell::Bad(seconds(Some(*mean))) } else { Cell::Number(seconds(Some(*mean))) },
                    Cell::Number(seconds(Some(page.v4.longest.max(page.v6.longest)))),
                    Cell::Number(percent(slow)),
                ]
            })
            .collect();
        table(out, self.pick("各页面打开时间", "Load time of pages"), &heads, &rows);
        self.more(out, pages.len(), MANY, "pages.csv");
    }

    fn traffic(&self, out: &mut String) {
        let report = self.report;
        if report.summary.hits == 0 && report.summary.unknown == 0 {
            return self.nothing(out);
        }
        let sum = &report.summary;
        self.paragraph(
            out,
            &format!(
                "旧网址共被访问 {} 次，其中机器访问占 {}；另有 {} 次访问指向没有登记的域名。",
                number(sum.hits),
                percent(share(sum.bots, sum.hits)),
                number(sum.unknown)
            ),
            &format!(
                "Old URLs were asked for {} times, {} of it by bots; {} more hits were for hosts that no site has.",
                number(sum.hits),
                percent(share(sum.bots, sum.hits)),
                number(sum.unknown)
            ),
        );
        let column = |row: &super::DayRow| Column {
            label: row.day.rsplit('-').next().unwrap_or_default().to_owned(),
            whole: row.hits,
            part: row.unmapped,
        };
        let frame = Frame {
            id: "c-traffic",
            title: self.pick("访问量走势（图）", "Hits over time (chart)"),
            about: self.pick("每日（年报为每月）访问量，下部红色为无去向访问。数据见下表。", "Hits by day (in the report of a year by month); the red foot is unmapped. The table below has the figures."),
        };
        let names = (self.pick("有去向", "led somewhere"), self.pick("无去向", "unmapped"));
        *out += &chart::columns(&frame, &report.days.iter().map(column).collect::<Vec<_>>(), names.0, names.1);
        let rows: Vec<_> = report
            .days
            .iter()
            .map(|row| {
                vec![Cell::Text(row.day.clone()), Cell::Number(number(row.hits)), Cell::Number(number(row.unmapped))]
            })
            .collect();
        let heads = [self.pick("日期", "Day"), self.pick("访问量", "Hits"), self.pick("无去向", "Unmapped")];
        table(out, self.pick("各日访问量", "Hits by day"), &heads, &rows);
        let mut outcomes: Vec<(&String, &u64)> = report.outcomes.iter().collect();
        outcomes.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
        let rows: Vec<_> = outcomes
            .iter()
            .map(|(outcome, hits)| {
                let share = share(**hits, sum.hits);
                vec![Cell::Text(self.outcome(outcome)), Cell::Number(number(**hits)), Cell::Number(percent(share))]
            })
            .collect();
        let heads = [self.pick("应答方式", "Answer"), self.pick("访问量", "Hits"), self.pick("占比", "Share")];
        table(out, self.pick("应答方式", "How hits were answered"), &heads, &rows);
        let asked: Vec<_> = report.sites.iter().filter(|site| site.hits > 0).collect();
        let rows: Vec<_> = asked
            .iter()
            .take(MANY)
            .map(|row| {
                vec![
                    Cell::Text(row.site.clone()),
                    Cell::Text(row.name.clone()),
                    Cell::Text(row.owner.clone()),
                    Cell::Text(self.phase(row.phase).to_owned()),
                    Cell::Number(number(row.hits)),
                    Cell::Number(number(row.hits_before)),
                    Cell::Number(number(row.unmapped)),
                    Cell::Number(percent(share(row.hits - row.unmapped, row.hits))),
                ]
            })
            .collect();
        let heads = [
            self.pick("站点", "Site"),
            self.pick("名称", "Name"),
            self.pick("单位", "Owner"),
            self.pick("阶段", "Phase"),
            self.pick("访问量", "Hits"),
            self.pick("上期", "Before"),
            self.pick("无去向", "Unmapped"),
            self.pick("覆盖率", "Coverage"),
        ];
        table(out, self.pick("各站点访问量", "Hits by site"), &heads, &rows);
        self.more(out, asked.len(), MANY, "sites.csv");
        let silent = report.sites.len() - asked.len();
        self.paragraph(
            out,
            &format!("本期有访问的站点 {} 个，没有访问的 {silent} 个。", asked.len()),
            &format!("{} sites were asked for anything; {silent} were not.", asked.len()),
        );
    }

    fn coverage(&self, out: &mut String) {
        self.paragraph(
            out,
            "覆盖率＝有去向的访问÷全部访问。无去向指没有任何映射或规则说明该旧网址去了哪里。",
            "Coverage is the share of hits for which a mapping, a rule or the phase of the site says where the old URL went.",
        );
        let urls = |rows: &[UrlRow]| -> Vec<Vec<Cell>> {
            let row = |row: &UrlRow| {
                vec![
                    Cell::Text(row.url.clone()),
                    Cell::Text(row.site.clone()),
                    Cell::Number(number(row.hits)),
                    Cell::Number(number(row.bots)),
                    Cell::Text(row.referrer.clone()),
                ]
            };
            rows.iter().take(MANY).map(row).collect()
        };
        let heads = [
            self.pick("网址", "URL"),
            self.pick("站点", "Site"),
            self.pick("访问量", "Hits"),
            self.pick("其中机器", "By bots"),
            self.pick("主要来源", "Referrer"),
        ];
        let report = self.report;
        if report.unmapped.is_empty() {
            self.paragraph(out, "没有无去向的网址。", "No URL was unmapped.");
        } else {
            table(
                out,
                self.pick("访问最多的无去向网址", "Unmapped URLs that are asked for most"),
                &heads,
                &urls(&report.unmapped),
            );
            self.more(out, report.unmapped.len(), MANY, "unmapped.csv");
        }
        if !report.unknown_hosts.is_empty() {
            let caption = self.pick("没有登记的域名", "Hosts that no site has");
            table(out, caption, &heads, &urls(&report.unknown_hosts));
        }
    }

    fn links(&self, out: &mut String) {
        let (sum, dead) = (&self.report.summary, &self.report.dead_links);
        if sum.links == 0 {
            return self.nothing(out);
        }
        self.paragraph(
            out,
            &format!(
                "最近一次核验共检查 {} 个跳转目标，其中死链 {} 个：没有应答、返回错误、名为正常实为“页面不存在”，或循环跳转。",
                number(sum.links),
                number(sum.dead_links)
            ),
            &format!(
                "Of {} targets that verification has followed, {} are dead: no answer, an error, a page that says it is not there, or \
                 redirects without an end.",
                number(sum.links),
                number(sum.dead_links)
            ),
        );
        let rows: Vec<_> = self
            .report
            .link_findings
            .iter()
            .map(|(kind, count)| vec![Cell::Text(self.kind(kind).to_owned()), Cell::Number(number(*count))])
            .collect();
        if !rows.is_empty() {
            let heads = [self.pick("问题", "What is wrong"), self.pick("数量", "Targets")];
            table(out, self.pick("核验发现的问题", "What verification found"), &heads, &rows);
        }
        if dead.is_empty() {
            return;
        }
        let rows: Vec<_> = dead
            .iter()
            .take(MANY)
            .map(|row| {
                let cells = [
                    row.url.clone(),
                    row.site.clone(),
                    self.kind(row.kind).to_owned(),
                    row.detail.clone(),
                    row.source.clone(),
                ];
                cells.map(Cell::Text).into()
            })
            .collect();
        let heads = [
            self.pick("目标网址", "Target"),
            self.pick("站点", "Site"),
            self.pick("问题", "What"),
            self.pick("说明", "Detail"),
            self.pick("所在行", "Line"),
        ];
        table(out, self.pick("死链清单", "Targets that are dead"), &heads, &rows);
        self.more(out, dead.len(), MANY, "dead_links.csv");
    }

    fn kind(&self, kind: &'static str) -> &'static str {
        let zh = match kind {
            "dead" => "打不开",
            "soft-404" => "名为正常实为不存在",
            "loop" => "循环跳转",
            "hops" => "多次跳转",
            "foreign" => "跳到不允许的域名",
            "moved" => "落地域名已变",
            "slow" => "超过 3 秒",
            "content-type" => "内容类型不符",
            "hijack" => "疑似被劫持",
            "title" => "标题大变",
            "robots" => "robots.txt 不允许检查",
            other => other,
        };
        if self.lang == Lang::Zh { zh } else { kind }
    }

    fn tls(&self, out: &mut String) {
        let hosts = &self.report.hosts;
        if hosts.is_empty() {
            return self.nothing(out);
        }
        let bare = hosts.iter().filter(|host| host.until.is_none()).count();
        let soon = hosts.iter().filter(|host| host.days.is_some_and(|days| days < SOON)).count();
        self.paragraph(
            out,
            &format!("{} 个域名中，{bare} 个没有有效证书，{soon} 个证书将在 {SOON} 天内到期（生成报告时）。", hosts.len()),
            &format!("Of {} hosts, {bare} have no valid certificate, and those of {soon} end within {SOON} days (when this was made).", hosts.len()),
        );
        let pressing: Vec<_> = hosts.iter().filter(|host| host.days.is_none_or(|days| days < 3 * SOON)).collect();
        if pressing.is_empty() {
            return;
        }
        let rows: Vec<_> = pressing
            .iter()
            .take(MANY)
            .map(|row| {
                let state = match row.days {
                    None => Cell::Bad(self.pick("无有效证书", "none").to_owned()),
                    Some(days) if days < SOON => Cell::Bad(days.to_string()),
                    Some(days) => Cell::Number(days.to_string()),
                };
                vec![Cell::Text(row.host.clone()), Cell::Text(row.site.clone()), state]
            })
            .collect();
        let heads = [self.pick("域名", "Host"), self.pick("站点", "Site"), self.pick("剩余天数", "Days left")];
        table(out, self.pick("证书需要处理的域名", "Hosts whose certificates want attention"), &heads, &rows);
        self.more(out, pressing.len(), MANY, "hosts.csv");
    }

    fn ipv6(&self, out: &mut String) {
        let pages = &self.report.pages;
        if pages.is_empty() {
            return self.nothing(out);
        }
        let sum = &self.report.summary;
        self.paragraph(
            out,
            &format!(
                "{} 个页面中 {} 个可以通过 IPv6 打开（{}）。",
                number(sum.pages),
                number(sum.ipv6),
                percent(share(sum.ipv6, sum.pages))
            ),
            &format!(
                "{} of {} pages open by IPv6 ({}).",
                number(sum.ipv6),
                number(sum.pages),
                percent(share(sum.ipv6, sum.pages))
            ),
        );
        let poor: Vec<&PageRow> = pages
            .iter()
            .filter(|page| page.v6.tally().opened().unwrap_or(0) < page.v4.tally().opened().unwrap_or(0))
            .collect();
        if poor.is_empty() {
            return self.paragraph(out, "没有页面的 IPv6 差于 IPv4。", "No page is worse by IPv6 than by IPv4.");
        }
        let rows: Vec<_> = poor
            .iter()
            .take(MANY)
            .map(|page| {
                let state = if page.v6.made == 0 {
                    self.pick("没有 IPv6 地址", "no IPv6 address")
                } else {
                    self.pick("差于 IPv4", "worse than IPv4")
                };
                vec![
                    Cell::Text(page.url.clone()),
                    Cell::Number(percent(page.v4.tally().opened())),
                    Cell::Number(percent(page.v6.tally().opened())),
                    Cell::Text(state.to_owned()),
                ]
            })
            .collect();
        let heads = [self.pick("页面", "Page"), "IPv4", "IPv6", self.pick("说明", "What is wrong")];
        table(out, self.pick("IPv6 差于 IPv4 的页面", "Pages that are worse by IPv6"), &heads, &rows);
        self.more(out, poor.len(), MANY, "pages.csv");
    }

    fn owners(&self, out: &mut String) {
        self.paragraph(
            out,
            "得分（满分 100）＝覆盖率×40＋可用率×40＋有效证书域名比例×10＋支持 IPv6 页面比例×10；没有数据的部分不计，其余按权重折算。\
             出现一票否决的单位得 0 分。",
            "Points (of 100) = coverage × 40 + availability × 40 + share of hosts with a certificate × 10 + share of pages with IPv6 × 10. \
             What nothing is known of is left out, and the rest counts for it. An owner with a veto has 0.",
        );
        let owners = &self.report.owners;
        if owners.is_empty() {
            return self.nothing(out);
        }
        let nobody = self.pick("（未填写）", "(nobody)");
        let name = |owner: &str| if owner.is_empty() { nobody.to_owned() } else { owner.to_owned() };
        let points = |score: Option<u64>| {
            score.map_or_else(|| "–".to_owned(), |score| format!("{}.{:02}", score / 100, score % 100))
        };
        let bars: Vec<Bar> = owners
            .iter()
            .take(FEW)
            .map(|row| Bar {
                label: format!("{}. {}", row.rank, name(&row.owner)),
                value: row.score.unwrap_or(0),
                text: points(row.score),
                is_bad: row.summary.vetoes > 0,
            })
            .collect();
        let frame = Frame {
            id: "c-owners",
            title: self.pick("各单位得分（图）", "Points of owners (chart)"),
            about: self.pick(
                "各单位得分，高的在前。数据见下表。",
                "Points of each owner, best first. The table below has the figures.",
            ),
        };
        *out += &chart::bars(&frame, &bars, 10_000, None);
        let heads = [
            self.pick("单位", "Owner"),
            self.pick("名次", "Rank"),
            self.pick("得分", "Points"),
            self.pick("站点", "Sites"),
            self.pick("访问量", "Hits"),
            self.pick("覆盖率", "Coverage"),
            self.pick("可用率", "Availability"),
            self.pick("否决", "Vetoes"),
            self.pick("证书", "Certificates"),
            "IPv6",
            self.pick("集约化率", "Closed"),
        ];
        let rows: Vec<_> = owners
            .iter()
            .take(MANY)
            .map(|row| {
                let sum = &row.summary;
                let vetoes = number(sum.vetoes);
                vec![
                    Cell::Text(name(&row.owner)),
                    Cell::Number(row.rank.to_string()),
                    Cell::Number(points(row.score)),
                    Cell::Number(number(sum.sites)),
                    Cell::Number(number(sum.hits)),
                    Cell::Number(percent(sum.coverage)),
                    Cell::Number(percent(sum.availability)),
                    if sum.vetoes > 0 { Cell::Bad(vetoes) } else { Cell::Number(vetoes) },
                    Cell::Number(percent(share(sum.covered_hosts, sum.hosts))),
                    Cell::Number(percent(share(sum.ipv6, sum.pages))),
                    Cell::Number(percent(Some(sum.rate))),
                ]
            })
            .collect();
        table(out, self.pick("各单位得分与指标", "Owners by points"), &heads, &rows);
        self.more(out, owners.len(), MANY, "owners.csv");
    }

    fn waves(&self, out: &mut String) {
        let sum = &self.report.summary;
        self.paragraph(
            out,
            &format!(
                "应关停 {} 个站点，已关停 {} 个；集约化率 {}（豁免站点不计）。",
                sum.to_close,
                sum.closed,
                percent(Some(sum.rate))
            ),
            &format!(
                "{} of {} sites are closed. The rate is {}: closed sites among all but the exempt.",
                sum.closed,
                sum.to_close,
                percent(Some(sum.rate))
            ),
        );
        let waves = &self.report.waves;
        if waves.is_empty() {
            return self.nothing(out);
        }
        let name = |wave: Option<u16>| match (wave, self.lang) {
            (Some(wave), Lang::Zh) => format!("第 {wave} 批"),
            (Some(wave), Lang::En) => format!("wave {wave}"),
            (None, _) => self.pick("未分批", "no wave").to_owned(),
        };
        let phases = crate::model::Phase::ALL.map(|phase| phase.name());
        let rows: Vec<Parts> = waves
            .iter()
            .take(MANY)
            .map(|row| Parts {
                label: name(row.wave),
                parts: phases.iter().map(|phase| row.phases.get(phase).copied().unwrap_or(0)).collect(),
                text: percent(share(row.closed, row.to_close)),
            })
            .collect();
        let frame = Frame {
            id: "c-waves",
            title: self.pick("各批次站点所处阶段（图）", "Phases of the sites to close, by wave (chart)"),
            about: self.pick("每批应关停站点中处于各阶段的数量，右侧为已关停比例。数据见下表。", "How many of the sites to close are in each phase, by wave; on the right the share that is closed. The table below has the figures."),
        };
        *out += &chart::parts(&frame, &rows, &phases.map(|phase| self.phase(phase)));
        let mut heads = vec![
            self.pick("批次", "Wave"),
            self.pick("站点", "Sites"),
            self.pick("应关停", "To close"),
            self.pick("已关停", "Closed"),
        ];
        heads.extend(phases.map(|phase| self.phase(phase)));
        heads.extend([self.pick("集约化率", "Rate"), self.pick("上期", "Before")]);
        let rows: Vec<_> = waves
            .iter()
            .take(MANY)
            .map(|row| {
                let mut cells = vec![Cell::Text(name(row.wave))];
                cells.extend([row.sites, row.to_close, row.closed].map(|count| Cell::Number(number(count))));
                let in_phase = |phase| Cell::Number(number(row.phases.get(phase).copied().unwrap_or(0)));
                cells.extend(phases.map(in_phase));
                cells.extend([row.rate, row.rate_before].map(|rate| Cell::Number(percent(Some(rate)))));
                cells
            })
            .collect();
        table(out, self.pick("各批次进度", "Progress by wave"), &heads, &rows);
        self.more(out, waves.len(), MANY, "waves.csv");
    }

    fn foot(&self, out: &mut String) {
        *out += "<footer>\n";
        self.paragraph(
            out,
            "访问量来自网关的访问统计数据库（不含访问者地址和查询内容），可用性来自网关的定时访问，进度来自站点文件。本页不加载任何外部内容。",
            "Hits are those that the gateway counted (no addresses of visitors, no queries), availability is from its own visits, progress \
             from the site files. This page loads nothing from elsewhere.",
        );
        *out += "</footer>\n";
    }

    fn nothing(&self, out: &mut String) {
        self.paragraph(out, "本期没有数据。", "There is nothing to tell.");
    }

    /// Says how many rows are not shown.
    fn more(&self, out: &mut String, all: usize, shown: usize, file: &str) {
        if all > shown {
            self.paragraph(
                out,
                &format!("共 {all} 项，此处列出 {shown} 项；全部见 {file}（--csv）。"),
                &format!("{shown} of {all} are shown; all are in {file} (--csv)."),
            );
        }
    }

    fn phase(&self, phase: &'static str) -> &'static str {
        match (self.lang, phase) {
            (Lang::Zh, "proxy") => "代理原站",
            (Lang::Zh, "notice") => "公告",
            (Lang::Zh, "redirect") => "跳转",
            (Lang::Zh, "archive") => "归档",
            (Lang::Zh, "retired") => "可注销",
            (Lang::Zh, "") => "文件已删除",
            (Lang::En, "") => "no file any more",
            (_, phase) => phase,
        }
    }

    fn why(&self, why: &'static str) -> &'static str {
        let (zh, en) = match why {
            "dns" => ("域名解析失败", "DNS"),
            "connect" => ("无法连接", "no connection"),
            "tls" => ("证书或 TLS 错误", "TLS"),
            "timeout" => ("超过时限", "too late"),
            "broken" => ("应答不完整", "broken answer"),
            "status" => ("返回错误状态", "an error's status"),
            "redirects" => ("跳转异常", "leads nowhere"),
            _ => ("", ""),
        };
        self.pick(zh, en)
    }

    fn outcome(&self, outcome: &str) -> String {
        let zh = match outcome {
            "redirect" => "跳转到新址",
            "gone" => "已删除（410）",
            "not_found" => "无去向（404）",
            "notice" => "公告页",
            "serve" => "由平台提供",
            "proxy" => "由原站提供",
            _ => "",
        };
        if self.lang == Lang::Zh && !zh.is_empty() { zh.to_owned() } else { outcome.replace('_', " ") }
    }
}

/// Rows of a chart.
const FEW: usize = 15;

/// Rows of a table.
const MANY: usize = 50;

/// Days before the end of a certificate from which on something is to be done.
const SOON: i64 = 21;
