//! TLS and certificates.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, Unit::*, View::*, panel};
use super::super::query::{here, share};

pub(super) fn dashboard() -> Dashboard {
    let left = |by: &[&str]| format!("{} - time()", here(CERTIFICATE_EXPIRY).min(by));
    let handshakes = here(TLS_HANDSHAKES);
    Dashboard {
        uid: "waypost-tls",
        title: "TLS and certificates",
        about: "Which certificates expire soon, and with what clients connect.",
        choices: &[Choice::Nodes],
        rows: vec![
            (
                "Certificates",
                vec![
                    panel(
                        Stat,
                        Seconds,
                        "Time until the first expires",
                        "最近到期",
                        "Put a new certificate into certs/ before: it goes live by itself. The table names it.",
                    )
                    .ask("left", left(&[]))
                    .steps(&[(f64::NEG_INFINITY, "red"), (604_800.0, "orange"), (1_814_400.0, "green")])
                    .size(6, 4),
                    panel(
                        Stat,
                        Count,
                        "Certificates",
                        "证书数",
                        "Certificates that are live, on the node that has most.",
                    )
                    .ask("certificates", here(CERTIFICATES).max(&[]))
                    .size(6, 4),
                    panel(
                        Stat,
                        Count,
                        "Faulty files",
                        "有误的证书文件",
                        "Files of certificates and keys with errors; what was good in them before stays live. \
                        `waypost check` names them.",
                    )
                    .ask("faulty", here(CERTIFICATES_FAULTY).max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(
                        Stat,
                        Yes,
                        "Folder unreadable",
                        "目录不可读",
                        "Whether the folder of certificates can't be read: its permissions, or its disk.",
                    )
                    .ask("unreadable", here(CERTIFICATES_UNREADABLE).max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                    panel(
                        Table,
                        Text,
                        "The next to expire",
                        "即将到期",
                        "Names by the time that is left. Fewer than 21 days: a person should look why it was not \
                        renewed.",
                    )
                    .label(NAME, "Name", None)
                    .column("Left", Seconds, format!("bottomk(20, {})", left(&[NAME])))
                    .steps(&[(f64::NEG_INFINITY, "red"), (604_800.0, "orange"), (1_814_400.0, "green")])
                    .size(12, 9),
                    panel(
                        Bars,
                        Count,
                        "Names by time left",
                        "按剩余时间",
                        "Names whose certificates expire within 7 and 21 days, 3 months and a year: when the \
                        next work comes.",
                    )
                    .ask("7 days", within(&left(&[NAME]), 7))
                    .ask("21 days", within(&left(&[NAME]), 21))
                    .ask("90 days", within(&left(&[NAME]), 90))
                    .ask("1 year", within(&left(&[NAME]), 366))
                    .size(12, 9),
                ],
            ),
            (
                "Orders",
                vec![
                    panel(
                        Lines,
                        Count,
                        "Hosts by state",
                        "按申请状态",
                        "Hosts for which certificates are ordered by themselves. Failing: the authority could not \
                        verify them; `waypost certs doctor` says why.",
                    )
                    .ask("{{state}}", here(ACME_NAMES).max(&[STATE])),
                    panel(
                        Bars,
                        Count,
                        "Orders in a day",
                        "每日申请数",
                        "Orders that came to their end: issued, or failed.",
                    )
                    .ask("{{result}}", here(ACME_ORDERS).within("1d").increase(&[RESULT])),
                    panel(
                        Stat,
                        Yes,
                        "Authority failing",
                        "签发机构异常",
                        "Whether the authority can't be reached, or refuses what is asked.",
                    )
                    .ask("failing", here(ACME_FAILING).max(&[]))
                    .steps(RED_ABOVE_0)
                    .size(6, 4),
                ],
            ),
            (
                "Handshakes",
                vec![
                    panel(Stack, PerSecond, "By version", "按版本", "TLS 1.3 and 1.2; older ones are not offered.")
                        .ask("{{version}}", handshakes.rate(&[VERSION])),
                    panel(Stack, PerSecond, "By cipher suite", "按密码套件", "All have forward secrecy.")
                        .ask("{{cipher}}", handshakes.rate(&[CIPHER])),
                    panel(
                        Lines,
                        Share,
                        "Resumed",
                        "会话复用率",
                        "Share of handshakes that went on with an earlier session. It falls to nothing after a \
                        restart, and comes back.",
                    )
                    .ask("resumed", share(&handshakes.clone().is(RESUMED, "true").rate(&[]), &handshakes.rate(&[])))
                    .up_to(1.0),
                    panel(
                        Stack,
                        PerSecond,
                        "Failures by reason",
                        "握手失败",
                        "Old clients and scanners always fail a little. A jump: a name without a certificate, or \
                        a load balancer that speaks something else.",
                    )
                    .ask("{{reason}}", here(TLS_HANDSHAKE_FAILURES).rate(&[REASON])),
                ],
            ),
        ],
    }
}

/// How many of them are less than so many days; 0 if none is.
fn within(seconds: &str, days: u32) -> String {
    format!("count({seconds} < {}) or vector(0)", days * 86_400)
}
