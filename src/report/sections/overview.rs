//! The summary, and what changed.

use super::super::page::{Cell, escaped, number, percent, seconds, table};
use super::super::{Lang, PageRow, Summary, share};
use super::{MANY, Page};

impl Page<'_> {
    pub(super) fn summary(&self, out: &mut String) {
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

    pub(super) fn changes(&self, out: &mut String) {
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
}
