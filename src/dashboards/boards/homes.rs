//! Homes and platforms, as they are visited.

use super::super::alerts::failed_of_week;
use super::super::dashboard::Dashboard;
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, Unit::*, View::*, panel};
use super::super::query::{INSTANCE, age, of, top};

pub(super) fn dashboard() -> Dashboard {
    let by = &[PAGE, FAMILY];
    Dashboard {
        uid: "waypost-homes",
        title: "homes and platforms",
        about: "Do the homes that old addresses lead to open, by the checklist's rule: within 15 seconds, in more than 95 % of a \
        week's visits?",
        choices: &[],
        rows: vec![
            (
                "Now",
                vec![
                    panel(
                        Stat,
                        Count,
                        "Vetoes",
                        "一票否决",
                        "Pages that did not open in 5 % or more of the last seven days' visits, by one family of addresses. The \
                        table names them.",
                    )
                    .ask("vetoes", format!("sum({})", of(MONITOR_VETO).max(by)))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(
                        Stat,
                        Count,
                        "Closed now",
                        "当前打不开",
                        "Pages that did not open when they were last visited. `waypost monitor probe` visits them at once.",
                    )
                    .ask("closed", format!("count({} == 0) or vector(0)", of(MONITOR_UP).max(by)))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(Stat, Count, "Visited", "监测页面", "Pages that are visited, each by IPv4 and by IPv6.")
                        .ask("pages", format!("count({})", of(MONITOR_WEEK_VISITS).max(&[PAGE])))
                        .size(6, 4),
                    panel(
                        Stat,
                        Yes,
                        "Monitor failing",
                        "监测中断",
                        "Whether a node can't visit, because the database of hits takes nothing.",
                    )
                    .ask("failing", of(MONITOR_FAILING).max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                ],
            ),
            (
                "Targets",
                vec![
                    panel(
                        Stat,
                        Count,
                        "Hijack signs",
                        "疑似被篡改",
                        "Targets with signs of a hijack, as `waypost verify` found them last. `waypost verify --last` names them.",
                    )
                    .ask("hijacked", of(VERIFY_TARGETS).is(KIND, "hijack").max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(
                        Stat,
                        Count,
                        "Proposed to be frozen",
                        "建议冻结",
                        "Hosts that `waypost verify` proposes to freeze: `waypost verify --freeze=HOST` does so.",
                    )
                    .ask("hosts", of(VERIFY_PROPOSALS).max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(Stat, Count, "Looked at", "已核验链接", "Targets that `waypost verify` has looked at.")
                        .ask("targets", of(VERIFY_LOOKED).max(&[]))
                        .size(6, 4),
                    panel(Stat, Seconds, "Since the last run", "距上次核验", "Time since `waypost verify` last came to its end.")
                        .ask("age", age(&of(VERIFY_LAST).max(&[])))
                        .size(6, 4),
                    panel(
                        Lines,
                        Count,
                        "What is wrong with targets",
                        "链接问题",
                        "Targets by what is wrong with them; one may be of several kinds. `robots`: not looked at.",
                    )
                    .ask("{{kind}}", of(VERIFY_TARGETS).max(&[KIND])),
                    panel(
                        Lines,
                        Count,
                        "Sites with most dead targets",
                        "死链最多的网站",
                        "Dead targets of the ten sites that have most of them.",
                    )
                    .ask("{{site}}", top(10, &of(SITE_VERIFY_TARGETS).is(KIND, "dead").max(&[SITE]))),
                ],
            ),
            (
                "The last seven days",
                vec![
                    panel(
                        Table,
                        Text,
                        "Pages",
                        "监测明细",
                        "Those that failed most come first. From 5 % on the checklist fails a site outright. `waypost monitor` \
                        has all of them.",
                    )
                    .label(PAGE, "Page", None)
                    .label(FAMILY, "By", None)
                    .column("Failed", Share, top(100, &failed_of_week()))
                    .steps(&[(0.04, "orange"), (0.05, "red")])
                    .column("Visits", Count, of(MONITOR_WEEK_VISITS).max(by))
                    .column("Seconds", Seconds, of(MONITOR_WEEK_SECONDS).max(by))
                    .steps(&[(3.0, "orange"), (15.0, "red")])
                    .sorted_by("Failed")
                    .size(24, 12),
                    panel(
                        Lines,
                        Seconds,
                        "Slowest",
                        "最慢页面",
                        "Seconds until a page had opened, of the ten slowest. It should not take more than 3.",
                    )
                    .ask("{{page}} {{family}}", top(10, &of(MONITOR_SECONDS).max(by))),
                    panel(
                        Stack,
                        PerSecond,
                        "Visits by what came of them",
                        "监测结果",
                        "Of all nodes. `no_address` is no failure: a page without IPv6, mostly. `no_network` is our own network.",
                    )
                    .ask("{{family}} {{result}}", of(MONITOR_VISITS).rate(&[FAMILY, RESULT])),
                    panel(
                        Lines,
                        Yes,
                        "Nodes that can't visit",
                        "中断节点",
                        "Nodes whose visits can't be written: see whether the database of hits is there.",
                    )
                    .ask("{{instance}}", of(MONITOR_FAILING).max(&[INSTANCE])),
                ],
            ),
        ],
    }
}
