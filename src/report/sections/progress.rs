//! Owners, and waves of the consolidation.

use super::super::chart::{self, Bar, Frame, Parts};
use super::super::page::{Cell, number, percent, table};
use super::super::{Lang, share};
use super::{FEW, MANY, Page};
use crate::model::Phase;

impl Page<'_> {
    pub(super) fn owners(&self, out: &mut String) {
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

    pub(super) fn waves(&self, out: &mut String) {
        let sum = &self.report.summary;
        self.paragraph(
            out,
            &format!(
                "共 {} 个站点：应关停 {} 个，已关停 {} 个；保留 {} 个，豁免 {} 个。集约化率 {}（豁免站点不计）。",
                sum.sites,
                sum.to_close,
                sum.closed,
                sum.kept,
                sum.exempt,
                percent(Some(sum.rate))
            ),
            &format!(
                "Of {} sites {} are to close, and {} are closed; {} stay, {} are exempt. The rate is {}: closed sites among all but the exempt.",
                sum.sites,
                sum.to_close,
                sum.closed,
                sum.kept,
                sum.exempt,
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
        let phases = Phase::ALL.map(|phase| phase.name());
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
}
