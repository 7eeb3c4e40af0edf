//! What was asked for: traffic, coverage.

use super::super::chart::{self, Column, Frame};
use super::super::page::{Cell, number, percent, table};
use super::super::{DayRow, Lang, UrlRow, share};
use super::{MANY, Page};

impl Page<'_> {
    pub(super) fn traffic(&self, out: &mut String) {
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
        let column = |row: &DayRow| Column {
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

    pub(super) fn coverage(&self, out: &mut String) {
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
