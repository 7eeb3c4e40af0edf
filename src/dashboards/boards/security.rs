//! The guard, the firewall, limits, and the admin address.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{Unit::*, View::*, panel};
use super::super::query::{here, of, share, top};
use super::TO_SITE;

pub(super) fn dashboard() -> Dashboard {
    let unchecked = here(WAF_REQUESTS).is(ACTION, "unchecked");
    Dashboard {
        uid: "waypost-security",
        title: "security",
        about: "What was refused, by whom and why; and whether citizens are hit by it.",
        choices: &[Choice::Nodes],
        rows: vec![
            (
                "Guard",
                vec![
                    panel(Stat, Requests, "Refused", "拒绝", "Requests a second that the guard did not admit.")
                        .ask("refused", here(GUARD_REFUSED).rate(&[]))
                        .size(6, 4),
                    panel(
                        Stat,
                        Share,
                        "Share refused",
                        "拒绝率",
                        "Of all requests. A fifth and more is an attack, or a rule that hits citizens: runbook, \
                        WaypostGuardFlood.",
                    )
                    .ask("share", share(&here(GUARD_REFUSED).rate(&[]), &here(REQUESTS).rate(&[])))
                    .steps(&[(0.05, "orange"), (0.2, "red")])
                    .up_to(1.0)
                    .size(6, 4),
                    panel(
                        Stat,
                        Count,
                        "Clients whose rates are known",
                        "限速条目",
                        "At [guard] rate-entries, clients displace each other, and rates hold less well.",
                    )
                    .ask("clients", here(GUARD_RATE_ENTRIES).sum(&[]))
                    .size(6, 4),
                    panel(
                        Stat,
                        Share,
                        "Not checked by the firewall",
                        "未检查",
                        "Share of requests that met a bound of the firewall and passed unchecked: more \
                        `waf-threads`, or `waf-at-bound = \"refuse\"`.",
                    )
                    .ask("unchecked", share(&unchecked.rate(&[]), &here(WAF_REQUESTS).rate(&[])))
                    .steps(&[(0.01, "red")])
                    .up_to(1.0)
                    .size(6, 4),
                    panel(
                        Stack,
                        Requests,
                        "Refused by reason",
                        "按原因拒绝",
                        "probe, traversal and injection are scanners. rate, concurrency: a client that asks too \
                        much; `waypost explain --from ADDRESS URL` says which rate.",
                    )
                    .ask("{{reason}}", here(GUARD_REFUSED).rate(&[REASON])),
                    panel(
                        Stack,
                        Requests,
                        "Would be refused, but for a shadow",
                        "影子规则",
                        "What rules and rates under trial would refuse. When it is right, take `shadow = true` \
                        away.",
                    )
                    .ask("{{reason}}", here(GUARD_SHADOWED).rate(&[REASON])),
                    panel(
                        Table,
                        Text,
                        "Request rules",
                        "请求规则",
                        "How often each request rule held, over the time shown. One that never does can go; one \
                        that always does may be too wide.",
                    )
                    .label(RULE, "Rule", None)
                    .label(ACTION, "Does", None)
                    .label(SHADOW, "Only counts", None)
                    .column(
                        "Held",
                        Count,
                        top(30, &here(GUARD_RULES).within("$__range").increase(&[RULE, ACTION, SHADOW])),
                    )
                    .sorted_by("Held")
                    .size(12, 9),
                    panel(
                        Table,
                        Text,
                        "Sites with the most refusals",
                        "拒绝最多的站点",
                        "Where the guard works most, over the time shown. A click opens the site.",
                    )
                    .label(SITE, "Site", Some(TO_SITE))
                    .label(REASON, "Reason", None)
                    .column(
                        "Refused",
                        Count,
                        top(30, &of(SITE_GUARD_REFUSED).within("$__range").increase(&[SITE, REASON])),
                    )
                    .sorted_by("Refused")
                    .size(12, 9),
                ],
            ),
            (
                "Firewall",
                vec![
                    panel(
                        Stack,
                        Requests,
                        "What the firewall did",
                        "防火墙",
                        "spared and clean are let through; detected would be blocked (`waf = \"detect\"`); \
                        unchecked met a bound. The log has each hit's rule.",
                    )
                    .ask("{{action}}", here(WAF_REQUESTS).rate(&[ACTION])),
                    panel(
                        Stack,
                        Requests,
                        "Requests that are none",
                        "畸形请求",
                        "Malformed heads, unknown hosts and plain HTTP where HTTPS is required. Many unknown \
                        hosts: DNS leads a name here that no site has.",
                    )
                    .ask(
                        "{{outcome}}",
                        here(REQUESTS).like(OUTCOME, "bad_request|unknown_host|https_required|denied").rate(&[OUTCOME]),
                    ),
                ],
            ),
            (
                "Limits and the admin address",
                vec![
                    panel(
                        Stack,
                        PerSecond,
                        "Limits that were met",
                        "触发的限制",
                        "Times that a client met one of [limits]. handshake_time and head_time: slow clients, or \
                        an attack by them. target, head: old programs with long URLs.",
                    )
                    .ask("{{limit}}", here(LIMITS).rate(&[LIMIT]))
                    .size(8, 8),
                    panel(
                        Stack,
                        PerSecond,
                        "Connections refused",
                        "拒绝的连接",
                        "Closed before anything else, by why: too many at all, or of one client.",
                    )
                    .ask("{{reason}}", here(CONNECTIONS_REFUSED).rate(&[REASON]))
                    .size(8, 8),
                    panel(
                        Stack,
                        PerSecond,
                        "Refused at the admin address",
                        "管理地址",
                        "bad_token, too_many_attempts: somebody guesses, or a token was revoked that is still in \
                        use. foreign_host: a name that is not in [admin] hosts.",
                    )
                    .ask("{{reason}}", here(ADMIN_REFUSED).rate(&[REASON]))
                    .size(8, 8),
                ],
            ),
        ],
    }
}
