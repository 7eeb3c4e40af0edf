//! One site.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, Unit::*, View::*, panel};
use super::super::query::{Series, rest, share};

fn of(family: Family) -> Series {
    super::super::query::of(family).is(SITE, "$site")
}

pub(super) fn dashboard() -> Dashboard {
    let asked = || super::asked(SITE_REQUESTS).is(SITE, "$site").within("$__range").increase(&[]);
    let failed = || super::failed(SITE_REQUESTS).is(SITE, "$site").within("$__range").increase(&[]);
    Dashboard {
        uid: "waypost-site",
        title: "one site",
        about: "What citizens ask of one old site, and what they get.",
        choices: &[Choice::Owners, Choice::Site],
        rows: vec![
            (
                "$site",
                vec![
                    panel(
                        Stat,
                        Requests,
                        "Requests",
                        "请求量",
                        "Requests a second. None for weeks: the site may be ready to be retired; `waypost hits` \
                        is the evidence.",
                    )
                    .ask("requests", of(SITE_REQUESTS).rate(&[])),
                    panel(
                        Stat,
                        Share,
                        "Availability",
                        "可用率",
                        "Share of requests that did not end in 5xx, over the time shown. Below 95 % an \
                        assessment fails the site outright.",
                    )
                    .ask("answered", rest(&failed(), &asked()))
                    .steps(&[(f64::NEG_INFINITY, "red"), (0.95, "orange"), (0.999, "green")])
                    .up_to(1.0),
                    panel(
                        Stat,
                        Share,
                        "Unmapped",
                        "无去向",
                        "Share of requests for URLs of which nothing says where they went. `waypost hits $site \
                        --unmapped` names them.",
                    )
                    .ask("unmapped", share(&of(SITE_UNMAPPED).within("$__range").increase(&[]), &asked()))
                    .steps(&[(0.05, "orange"), (0.2, "red")])
                    .up_to(1.0),
                    panel(
                        Stat,
                        Seconds,
                        "Mean time",
                        "平均用时",
                        "Seconds that a request took, on average. Above 3 s: look at the platform that answers.",
                    )
                    .ask(
                        "mean",
                        format!(
                            "{} / {}",
                            of(SITE_DURATION).within("$__range").increase(&[]),
                            of(SITE_REQUESTS).within("$__range").increase(&[])
                        ),
                    )
                    .steps(&[(3.0, "orange"), (15.0, "red")]),
                    panel(
                        Stat,
                        Yes,
                        "Files faulty",
                        "配置有误",
                        "Whether the site's files have errors: then its last good table stays live. `waypost \
                        check` says where.",
                    )
                    .ask("faulty", format!("{} or vector(0)", of(SITE_FAULTY).max(&[])))
                    .steps(RED_ABOVE_0),
                    panel(
                        Stat,
                        Count,
                        "Nodes that have it",
                        "所在节点",
                        "Nodes on which the site is live. Fewer than there are: a node could not read the routes.",
                    )
                    .ask("nodes", of(SITE_INFO).count(&[])),
                    panel(
                        Table,
                        Text,
                        "What the files say",
                        "站点信息",
                        "Owner, wave, identification code, and the phase that the site is in today.",
                    )
                    .label(NAME, "Name", None)
                    .label(OWNER, "Owner", None)
                    .label(CODE, "Identification code", None)
                    .label(WAVE, "Wave", None)
                    .label(PHASE, "Phase", None)
                    .column("Live", Yes, of(SITE_INFO).max(&[NAME, OWNER, CODE, WAVE, PHASE]))
                    .size(24, 4),
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
                        "What was answered. `redirect` is as it should be; `not_found` wants mappings.",
                    )
                    .ask("{{outcome}}", of(SITE_REQUESTS).rate(&[OUTCOME])),
                    panel(
                        Stack,
                        Requests,
                        "By class of status",
                        "按状态码",
                        "5xx come from the platform or the old server that answers for the site.",
                    )
                    .ask("{{status}}", of(SITE_REQUESTS).rate(&[STATUS])),
                    panel(
                        Stack,
                        Requests,
                        "By protocol and lane",
                        "按协议与通道",
                        "HTTP versions, and the way that requests took.",
                    )
                    .ask("{{protocol}} {{lane}}", of(SITE_REQUESTS).rate(&[PROTOCOL, LANE]))
                    .size(8, 8),
                    panel(Lines, ByteRate, "Bytes", "流量", "Bodies of answers and of requests.")
                        .ask("answers", of(SITE_RESPONSE_BYTES).rate(&[]))
                        .ask("requests", of(SITE_REQUEST_BYTES).rate(&[]))
                        .size(8, 8),
                    panel(
                        Lines,
                        Seconds,
                        "Mean time of a request",
                        "平均用时",
                        "Seconds that a request took. A rise alone on this site: its platform, or its old server.",
                    )
                    .ask("mean", format!("{} / {}", of(SITE_DURATION).rate(&[]), of(SITE_REQUESTS).rate(&[])))
                    .size(8, 8),
                ],
            ),
            (
                "What is not found, and what is refused",
                vec![
                    panel(
                        Lines,
                        Requests,
                        "Unmapped requests",
                        "无去向请求",
                        "Requests for URLs of which nothing says where they went. A step up after a change of \
                        files: a rule or a table was lost.",
                    )
                    .ask("unmapped", of(SITE_UNMAPPED).rate(&[])),
                    panel(
                        Stack,
                        Requests,
                        "Refused by the guard",
                        "拒绝的请求",
                        "By reason. If citizens are hit, `waypost explain URL --from ADDRESS` says by which line \
                        of which file.",
                    )
                    .ask("{{reason}}", of(SITE_GUARD_REFUSED).rate(&[REASON])),
                    panel(
                        Stack,
                        Requests,
                        "Would be refused, but for a shadow",
                        "影子规则",
                        "What rules and rates under trial would refuse. When it is right, take `shadow = true` away.",
                    )
                    .ask("{{reason}}", of(SITE_GUARD_SHADOWED).rate(&[REASON])),
                    panel(
                        Stack,
                        Requests,
                        "What the firewall did",
                        "防火墙",
                        "Of requests to platforms. If citizens are `blocked`, the log names the rule; `waf-exclude` in the \
                        site's file takes it away for this site.",
                    )
                    .ask("{{action}}", of(SITE_WAF_REQUESTS).rate(&[ACTION])),
                ],
            ),
        ],
    }
}
