//! All sites together.

use super::super::dashboard::Dashboard;
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, RED_AT_0, Unit::*, View::*, panel};
use super::super::query::{ALERTS, CPU, INSTANCE, JOB, NODES, OPEN_FDS, RESIDENT, UP, age, of, rest, share, top};
use super::super::rules;
use super::{TO_SITE, asked, failed};

/// Later phases: nobody needs the old servers any more.
const MOVED: &str = "redirect|archive|retired";

pub(super) fn dashboard() -> Dashboard {
    let range = "$__range";
    let in_phases = |phases: &str| of(SITES).like(PHASE, phases).max(&[WAVE, PHASE]);
    let by_wave = |query: String| format!("sum by ({WAVE}) ({query})");
    Dashboard {
        uid: "waypost-province",
        title: "province",
        about: "All sites: is everything up, what do citizens ask for and not find, and how far is the \
        consolidation?",
        choices: &[],
        rows: vec![
            (
                "Now",
                vec![
                    panel(
                        Stat,
                        Requests,
                        "Requests",
                        "请求量",
                        "Requests a second at all nodes. Compare with last week at the same time: a sudden fall \
                        is an outage before us (DNS, load balancer).",
                    )
                    .ask("requests", asked(REQUESTS).rate(&[])),
                    panel(
                        Stat,
                        Share,
                        "Availability",
                        "可用率",
                        "Share of requests that did not end in 5xx, over the time shown. The objective is 99.9 \
                        %. Below it: look at “Errors by how fast the budget burns”, then at platforms.",
                    )
                    .ask(
                        "answered",
                        rest(
                            &failed(REQUESTS).within(range).increase(&[]),
                            &asked(REQUESTS).within(range).increase(&[]),
                        ),
                    )
                    .steps(&[(f64::NEG_INFINITY, "red"), (0.999, "green")])
                    .up_to(1.0),
                    panel(
                        Stat,
                        Share,
                        "Unmapped",
                        "无去向",
                        "Share of requests for old URLs of which no mapping and no rule says where they went. \
                        Owners with many are on the owners' dashboard; `waypost hits --unmapped` names the URLs.",
                    )
                    .ask(
                        "unmapped",
                        share(&of(UNMAPPED).within(range).increase(&[]), &asked(REQUESTS).within(range).increase(&[])),
                    )
                    .steps(&[(0.05, "orange"), (0.2, "red")])
                    .up_to(1.0),
                    panel(
                        Stat,
                        Count,
                        "Sites live",
                        "在线站点",
                        "Sites that are live. It falls when files are removed, or when a node starts with files \
                        that it can't read.",
                    )
                    .ask("sites", format!("sum({})", of(SITES).max(&[WAVE, PHASE]))),
                    panel(
                        Stat,
                        Count,
                        "Nodes down",
                        "故障节点",
                        "Nodes whose metrics can't be read. Each is a node that is down, or one that Prometheus \
                        can't reach: runbook, WaypostScrapeMissing.",
                    )
                    .ask("down", format!("sum(1 - {})", of(UP).is(JOB, NODES).each()))
                    .steps(RED_ABOVE_0),
                    panel(
                        Stat,
                        Count,
                        "Alerts firing",
                        "告警",
                        "Alerts that fire now. The table below names them; each has a section in the runbook.",
                    )
                    .ask("alerts", format!("{} or vector(0)", of(ALERTS).is("alertstate", "firing").count(&[])))
                    .steps(RED_ABOVE_0),
                ],
            ),
            (
                "Traffic",
                vec![
                    panel(
                        Stack,
                        Requests,
                        "By outcome",
                        "按结果",
                        "What was answered. Many `not_found` mean that mappings are missing; `refused` and \
                        `denied` are the guard's (security dashboard).",
                    )
                    .ask("{{outcome}}", of(REQUESTS).rate(&[OUTCOME])),
                    panel(
                        Stack,
                        Requests,
                        "By class of status",
                        "按状态码",
                        "5xx come from platforms, almost always: the platforms' dashboard says which.",
                    )
                    .ask("{{status}}", of(REQUESTS).rate(&[STATUS])),
                    panel(
                        Stack,
                        Requests,
                        "By protocol and lane",
                        "按协议与通道",
                        "HTTP versions, and the way requests took: `fast` for answers of the gateway's own, \
                        `session` and `http2` for all others.",
                    )
                    .ask("{{protocol}} {{lane}}", of(REQUESTS).rate(&[PROTOCOL, LANE]))
                    .size(8, 8),
                    panel(
                        Lines,
                        ByteRate,
                        "Bytes",
                        "流量",
                        "Bodies of answers and of requests. Compare with the bandwidth of the line.",
                    )
                    .ask("answers", of(RESPONSE_BYTES).rate(&[]))
                    .ask("requests", of(REQUEST_BYTES).rate(&[]))
                    .size(8, 8),
                    panel(
                        Lines,
                        Seconds,
                        "Time of a request",
                        "响应时间",
                        "What 50, 95 and 99 of 100 requests are faster than. Assessors allow 3 s for a page and \
                        15 s for a home page; slow ones wait for platforms.",
                    )
                    .ask("50 %", of(REQUEST_DURATION).quantile(0.5, &[]))
                    .ask("95 %", of(REQUEST_DURATION).quantile(0.95, &[]))
                    .ask("99 %", of(REQUEST_DURATION).quantile(0.99, &[]))
                    .steps(&[(3.0, "orange"), (15.0, "red")])
                    .size(8, 8),
                ],
            ),
            (
                "Availability",
                vec![
                    panel(
                        Lines,
                        Share,
                        "Errors by how fast the budget burns",
                        "错误预算",
                        "Share of requests that failed, over 5 minutes to 3 days. The budget is 0.1 %: 1.44 % \
                        over an hour uses up 2 % of a month's (runbook, WaypostErrorBudgetBurnsFast).",
                    )
                    .ask("5 minutes", rules::errors("5m").each())
                    .ask("1 hour", rules::errors("1h").each())
                    .ask("6 hours", rules::errors("6h").each())
                    .ask("3 days", rules::errors("3d").each())
                    .steps(&[(0.001, "orange"), (0.0144, "red")]),
                    panel(
                        Table,
                        Text,
                        "Alerts that fire",
                        "正在告警",
                        "Name and severity of each alert. Open its section in the runbook.",
                    )
                    .label("alertname", "Alert", None)
                    .label(SEVERITY, "Severity", None)
                    .column("Number", Count, of(ALERTS).is("alertstate", "firing").count(&["alertname", SEVERITY]))
                    .size(12, 8),
                    panel(
                        Table,
                        Text,
                        "Sites with the most errors",
                        "错误最多的站点",
                        "Sites by requests that failed (5xx). A click opens the site.",
                    )
                    .label(SITE, "Site", Some(TO_SITE))
                    .label(OWNER, "Owner", None)
                    .column("Failed", Count, top(15, &failed(SITE_REQUESTS).within(range).increase(&[SITE, OWNER])))
                    .steps(RED_ABOVE_0)
                    .sorted_by("Failed")
                    .size(12, 9),
                    panel(
                        Table,
                        Text,
                        "Sites whose files are faulty",
                        "配置有误的站点",
                        "Their last good tables stay live, so what was changed since is not. `waypost check` \
                        says what is wrong, with file and line.",
                    )
                    .label(SITE, "Site", Some(TO_SITE))
                    .column("Faulty", Yes, of(SITE_FAULTY).max(&[SITE]))
                    .steps(RED_ABOVE_0)
                    .size(12, 9),
                ],
            ),
            (
                "Unmapped",
                vec![
                    panel(
                        Lines,
                        Requests,
                        "Unmapped requests",
                        "无去向请求",
                        "Requests for URLs of which nothing says where they went. A step up after a reload: a \
                        rule or a table was lost.",
                    )
                    .ask("unmapped", of(UNMAPPED).rate(&[]))
                    .ask("loops", of(REDIRECT_LOOPS).rate(&[])),
                    panel(
                        Table,
                        Text,
                        "Sites with the most unmapped requests",
                        "无去向最多的站点",
                        "Where a mapping helps most. `waypost hits SITE --unmapped --top 50` names the URLs.",
                    )
                    .label(SITE, "Site", Some(TO_SITE))
                    .label(OWNER, "Owner", None)
                    .column("Unmapped", Count, top(15, &of(SITE_UNMAPPED).within(range).increase(&[SITE, OWNER])))
                    .sorted_by("Unmapped")
                    .size(12, 8),
                ],
            ),
            (
                "Consolidation",
                vec![
                    panel(
                        Bars,
                        Share,
                        "Moved, by wave",
                        "各批次完成率",
                        "Share of each wave's sites that redirect, are archived or retired: nobody needs their \
                        old servers. Sites without a wave are in the bar without a number.",
                    )
                    .ask(
                        "wave {{wave}}",
                        format!(
                            "({} or 0 * {whole}) / {whole}",
                            by_wave(in_phases(MOVED)),
                            whole = by_wave(in_phases(".*"))
                        ),
                    )
                    .up_to(1.0)
                    .size(8, 9),
                    panel(
                        Table,
                        Text,
                        "Sites by wave and phase",
                        "批次与阶段",
                        "How many sites of a wave are in each phase. What should have moved on and has not: its \
                        lifecycle's dates in the site files.",
                    )
                    .column("Sites", Count, of(SITES).max(&[WAVE, PHASE]))
                    .matrix(WAVE, PHASE)
                    .size(8, 9),
                    panel(
                        Stack,
                        Count,
                        "Sites by phase",
                        "各阶段站点",
                        "proxy → notice → redirect → archive → retired. A step back is a date that was changed.",
                    )
                    .ask("{{phase}}", format!("sum by ({PHASE}) ({})", of(SITES).max(&[WAVE, PHASE])))
                    .size(8, 9),
                ],
            ),
            (
                "Nodes",
                vec![
                    panel(
                        Table,
                        Text,
                        "Nodes",
                        "节点",
                        "Every node that Prometheus knows. All should have one version, and their shares of the \
                        traffic should be alike.",
                    )
                    .label(
                        INSTANCE,
                        "Node",
                        Some(
                            "\
                            /d/waypost-node?var-instance=${__value.text}&${__url_time_range}&${datasource:queryparam}",
                        ),
                    )
                    .column("Up", Yes, of(UP).is(JOB, NODES).max(&[INSTANCE]))
                    .steps(RED_AT_0)
                    .column("Requests", Requests, of(REQUESTS).within("5m").rate(&[INSTANCE]))
                    .column("Processors", Count, of(CPU).is(JOB, NODES).within("5m").rate(&[INSTANCE]))
                    .column("Memory", Bytes, of(RESIDENT).is(JOB, NODES).sum(&[INSTANCE]))
                    .column("Files and sockets", Count, of(OPEN_FDS).is(JOB, NODES).sum(&[INSTANCE]))
                    .column("Connections", Count, of(CONNECTIONS_OPEN).sum(&[INSTANCE]))
                    .column("Since the last good reload", Seconds, age(&of(RELOAD_LAST_SUCCESS).max(&[INSTANCE])))
                    .size(24, 7),
                ],
            ),
        ],
    }
}
