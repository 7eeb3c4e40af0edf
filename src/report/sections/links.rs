//! Where old URLs lead, and certificates.

use super::super::Lang;
use super::super::page::{Cell, number, table};
use super::{MANY, Page};

impl Page<'_> {
    pub(super) fn links(&self, out: &mut String) {
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

    pub(super) fn tls(&self, out: &mut String) {
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
}

/// Days before the end of a certificate from which on something is to be done.
const SOON: i64 = 21;
