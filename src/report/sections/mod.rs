//! What stands on the page, section by section: `overview`, `pages` that were visited, `hits`, `links` and certificates,
//! `progress`.

mod hits;
mod links;
mod overview;
mod pages;
mod progress;

use super::page::escaped;
use super::{Lang, Length, Missing, Report};

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
                Missing::Weeks => (
                    "该时段部分逐日监测数据已合并为月，无法按周判定一票否决。",
                    "Of some weeks of that time only the month is known by now: whether there was a veto can't be told.",
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
}

/// Rows of a chart.
const FEW: usize = 15;

/// Rows of a table.
const MANY: usize = 50;
