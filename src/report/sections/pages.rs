//! Pages that were visited: availability, load time, IPv6.

use super::super::chart::{self, Bar, Frame};
use super::super::page::{Cell, number, percent, seconds, table};
use super::super::{Lang, PageRow, Visits, share};
use super::{FEW, MANY, Page};
use crate::monitor::{Family, Tally};

impl Page<'_> {
    pub(super) fn availability(&self, out: &mut String) {
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

    pub(super) fn speed(&self, out: &mut String) {
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

    pub(super) fn ipv6(&self, out: &mut String) {
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
}
