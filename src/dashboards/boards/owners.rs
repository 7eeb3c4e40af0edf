//! A leader board of owners.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, Unit::*, View::*, panel};
use super::super::query::{Series, of, share, top};
use super::{TO_OWNER, TO_SITE, asked, failed};

pub(super) fn dashboard() -> Dashboard {
    let total = |series: Series, by: &[&str]| series.within("$__range").increase(by);
    let chosen = |series: Series| series.like(OWNER, "$owner");
    let sites = |by: &[&str]| format!("count by ({}) ({})", by.join(", "), of(SITE_INFO).max(&[SITE, OWNER]));
    Dashboard {
        uid: "waypost-owners",
        title: "owners",
        about: "Which prefecture or owner has the most URLs that lead nowhere, and the most errors?",
        choices: &[Choice::Owners],
        rows: vec![
            (
                "Leader board",
                vec![
                    panel(
                        Table,
                        Text,
                        "Owners",
                        "各单位排名",
                        "Over the time shown. Begin with whoever has most unmapped requests: a mapping there \
                        helps most citizens. A click on an owner chooses it below.",
                    )
                    .label(OWNER, "Owner", Some(TO_OWNER))
                    .column("Sites", Count, sites(&[OWNER]))
                    .column("Requests", Count, total(asked(SITE_REQUESTS), &[OWNER]))
                    .column("Unmapped", Count, total(of(SITE_UNMAPPED), &[OWNER]))
                    .column(
                        "Share unmapped",
                        Share,
                        share(&total(of(SITE_UNMAPPED), &[OWNER]), &total(asked(SITE_REQUESTS), &[OWNER])),
                    )
                    .steps(&[(0.05, "orange"), (0.2, "red")])
                    .column("Failed", Count, total(failed(SITE_REQUESTS), &[OWNER]))
                    .steps(RED_ABOVE_0)
                    .column("Refused", Count, total(of(SITE_GUARD_REFUSED), &[OWNER]))
                    .column("Bytes", Bytes, total(of(SITE_RESPONSE_BYTES), &[OWNER]))
                    .sorted_by("Unmapped")
                    .size(24, 12),
                    panel(
                        Lines,
                        Requests,
                        "Unmapped, the first ten",
                        "无去向前十",
                        "The ten owners with the most. A step up after a change of files: a rule or a table was \
                        lost.",
                    )
                    .ask("{{owner}}", top(10, &of(SITE_UNMAPPED).rate(&[OWNER]))),
                    panel(
                        Lines,
                        Requests,
                        "Failed, the first ten",
                        "错误前十",
                        "Requests that ended in 5xx. One owner alone: its platform or its old server. All: a \
                        platform that they share, or this gateway.",
                    )
                    .ask("{{owner}}", top(10, &failed(SITE_REQUESTS).rate(&[OWNER]))),
                ],
            ),
            (
                "Sites of $owner",
                vec![
                    panel(
                        Table,
                        Text,
                        "Sites",
                        "站点",
                        "Sites of the owners that are chosen, over the time shown; by unmapped requests, when \
                        that column is clicked. A click on a site opens it.",
                    )
                    .label(SITE, "Site", Some(TO_SITE))
                    .label(OWNER, "Owner", None)
                    .column("Requests", Count, total(chosen(asked(SITE_REQUESTS)), &[SITE, OWNER]))
                    .column("Unmapped", Count, total(chosen(of(SITE_UNMAPPED)), &[SITE, OWNER]))
                    .column("Failed", Count, total(chosen(failed(SITE_REQUESTS)), &[SITE, OWNER]))
                    .steps(RED_ABOVE_0)
                    .column(
                        "Mean time",
                        Seconds,
                        format!(
                            "{} / {}",
                            total(chosen(of(SITE_DURATION)), &[SITE, OWNER]),
                            total(chosen(of(SITE_REQUESTS)), &[SITE, OWNER])
                        ),
                    )
                    .sorted_by("Unmapped")
                    .size(24, 12),
                    panel(
                        Stack,
                        Requests,
                        "Requests by outcome",
                        "按结果",
                        "What was answered. `redirect` is as it should be; `not_found` wants mappings, `serve` \
                        still needs a platform.",
                    )
                    .ask("{{outcome}}", chosen(of(SITE_REQUESTS)).rate(&[OUTCOME])),
                    panel(
                        Bars,
                        Count,
                        "Sites by phase",
                        "各阶段站点",
                        "How far the owners' sites are: proxy → notice → redirect → archive → retired.",
                    )
                    .ask("{{phase}}", format!("count by ({PHASE}) ({})", chosen(of(SITE_INFO)).max(&[SITE, PHASE]))),
                ],
            ),
        ],
    }
}
